//! The server's log: lines in the form of etcd's, written by a thread of their own.
//!
//! ```text
//! tracing event ─> LineLayer (one line of bytes) ─> Sink (bounded queue) ─> thread ─> stderr, file, journal
//!                                                                                    (a file may be rotated)
//! ```
//!
//! A thread that logs never waits: when the queue is full the line is dropped, and once there is room again a
//! line says how many were. Nothing here is global; the binary decides to install the subscriber.

mod journal;
mod layer;
mod line;
mod rotate;
mod sink;

use std::fs::OpenOptions;
use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;

pub use self::sink::Sink;

use self::journal::Journal;
use self::layer::LineLayer;
use self::rotate::RotatingFile;
use self::sink::Output;
use crate::config::{LogOptions, LogOutput};

/// Events with this target end the process: they are written at level `fatal`.
pub const FATAL: &str = "keelkv::fatal";

/// Opens the outputs and starts the writer. Returns what events go to, and the handle to flush it at the end.
pub fn start(options: &LogOptions) -> io::Result<(impl Subscriber + Send + Sync + use<>, Sink)> {
    let mut outputs = Vec::new();
    for output in &options.outputs {
        outputs.push(match output {
            LogOutput::Stderr => Output::Bytes(Box::new(io::stderr())),
            LogOutput::Stdout => Output::Bytes(Box::new(io::stdout())),
            LogOutput::File(path) => {
                let file: io::Result<Box<dyn Write + Send>> = match options.rotation {
                    Some(rotation) => RotatingFile::open(path, rotation).map(|file| Box::new(file) as _),
                    None => OpenOptions::new().create(true).append(true).open(path).map(|file| Box::new(file) as _),
                };
                let file = file.map_err(|e| {
                    io::Error::new(
                        e.kind(),
                        format!("cannot open the log file {} (--log-outputs): {e}", path.display()),
                    )
                })?;
                Output::Bytes(file)
            }
            // Outside systemd there is no journal: standard error then, as in etcd.
            LogOutput::Journal => match Journal::connect() {
                Ok(journal) => Output::Journal(journal),
                Err(_) => Output::Bytes(Box::new(io::stderr())),
            },
        });
    }
    let sink = Sink::start(outputs)?;
    let layer = LineLayer::new(options.level, options.format, sink.clone());
    Ok((tracing_subscriber::registry().with(layer), sink))
}

#[cfg(test)]
mod tests;
