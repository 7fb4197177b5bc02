//! The writer: a bounded queue of lines and the thread that empties it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::journal::Journal;
use super::line;
use crate::config::LogFormat;

/// At either limit further lines are dropped.
const MAX_LINES: usize = 16 * 1024;
const MAX_BYTES: usize = 8 << 20;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Takes lines without ever waiting. Clones feed the same thread.
#[derive(Clone, Debug)]
pub struct Sink {
    queue: Sender<Message>,
    load: Arc<Load>,
}

/// What waits, and what found no room.
#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(&'static str, Vec<u8>),
    Flush(Sender<()>),
}

/// Where lines end.
pub(super) enum Output {
    Bytes(Box<dyn Write + Send>),
    Journal(Journal),
}

impl Sink {
    /// Starts the thread, which ends when the last clone is gone.
    #[allow(clippy::disallowed_methods, reason = "the log is the process's, not a member's, and blocks on disks")]
    pub(super) fn start(outputs: Vec<Output>) -> io::Result<Self> {
        let (queue, lines) = bounded(MAX_LINES);
        let load = Arc::new(Load::default());
        let sink = Self { queue, load: Arc::clone(&load) };
        std::thread::Builder::new().name("keelkv-log".into()).spawn(move || run(&lines, &load, outputs))?;
        Ok(sink)
    }

    /// Takes a line, or drops it when the writer lags too far behind.
    pub(super) fn write(&self, level: &'static str, line: Vec<u8>) {
        let size = line.len();
        let fits = self.load.bytes.fetch_add(size, Ordering::Relaxed) + size <= MAX_BYTES;
        if !fits || self.queue.try_send(Message::Line(level, line)).is_err() {
            self.load.bytes.fetch_sub(size, Ordering::Relaxed);
            self.load.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything written so far is out, but not for long: a stuck disk must not keep the
    /// process alive.
    pub fn flush(&self) {
        let (done, finished) = bounded(1);
        if self.queue.send_timeout(Message::Flush(done), LAST_LINES).is_ok() {
            // A timeout means that the lines are given up.
            let _ = finished.recv_timeout(LAST_LINES);
        }
    }
}

/// Errors of an output are passed over: there is no better place to tell.
fn run(lines: &Receiver<Message>, load: &Load, mut outputs: Vec<Output>) {
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(level, line) => {
                    load.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    put(&mut outputs, level, &line);
                }
                Message::Flush(done) => {
                    flush(&mut outputs);
                    let _ = done.send(());
                }
            }
            next = lines.try_recv().ok();
        }
        let lost = load.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let field = format!(",\"lines\":{lost}");
            let caller = line::caller(Some(file!()), Some(line!()));
            let text = "the log could not be written fast enough; lines were dropped";
            put(&mut outputs, "warn", &line::write(LogFormat::Json, "warn", &caller, text, field.as_bytes()));
        }
        flush(&mut outputs);
    }
}

fn put(outputs: &mut [Output], level: &str, line: &[u8]) {
    for output in outputs {
        let _ = match output {
            Output::Bytes(bytes) => bytes.write_all(line),
            Output::Journal(journal) => journal.send(level, line),
        };
    }
}

fn flush(outputs: &mut [Output]) {
    for output in outputs {
        if let Output::Bytes(bytes) = output {
            let _ = bytes.flush();
        }
    }
}
