//! All keys in one call: what the server needs for it at its peak, and how long single calls wait meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use super::SETTLE;
use crate::client::Client;
use crate::large_read::LargeRead;
use crate::probe::{self, Keys, ProbeFigures};
use crate::process::{self, Memory};
use crate::report::MIB;
use crate::server::Server;

/// Required of the peak above idle while everything is streamed.
pub(super) const PEAK_LIMIT_MIB: f64 = 64.0;
/// A reader so slow that the server is done long before unless it waits for it.
const SLOW_BYTES_PER_SECOND: u64 = 32 << 20;
const LOOK: Duration = Duration::from_millis(5);
const CALM: Duration = Duration::from_secs(3);

/// One read of all keys.
#[derive(Clone, Debug, Serialize)]
pub struct ReadFigures {
    /// How it was read.
    pub what: &'static str,
    /// Whether a peak is required of it.
    pub limited: bool,
    /// From the request to the end of the answer.
    pub seconds: f64,
    /// Messages that it came in.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Memory just before.
    pub idle: Memory,
    /// Memory just after; its peak is that of the read.
    pub after: Memory,
    /// The most that was resident and not a mapped file, of many looks.
    pub anonymous_peak_bytes: u64,
    /// Single calls meanwhile.
    pub probes: ProbeFigures,
}

impl ReadFigures {
    /// What the read took at its peak, above what was resident before.
    pub fn peak_mib(&self) -> f64 {
        self.after.peak_bytes.saturating_sub(self.idle.rss_bytes) as f64 / MIB
    }

    /// The same without mapped files.
    pub fn anonymous_peak_mib(&self) -> f64 {
        self.anonymous_peak_bytes.saturating_sub(self.idle.anonymous_bytes) as f64 / MIB
    }
}

pub(super) fn measure(server: &Server, keys: Keys) -> Result<Vec<ReadFigures>> {
    let stream = |bytes_per_second| Some(LargeRead { stream: true, bytes_per_second });
    // The answer in one message comes last: what it leaves in the server's allocator would hide other peaks.
    let ways = [
        ("no read", None, false),
        ("stream", stream(None), true),
        ("stream, slow reader", stream(Some(SLOW_BYTES_PER_SECOND)), true),
        ("one message", Some(LargeRead { stream: false, bytes_per_second: None }), false),
    ];
    ways.into_iter().map(|(what, read, limited)| one(server, keys, what, read, limited).context(what)).collect()
}

fn one(server: &Server, keys: Keys, what: &'static str, read: Option<LargeRead>, limited: bool) -> Result<ReadFigures> {
    server.settle(SETTLE)?;
    let client = Client::connect(server.address(), 1)?;
    let idle = process::memory(server.pid())?;
    process::reset_peak(server.pid()).context("cannot reset the peak of the server's memory")?;
    let done = AtomicBool::new(false);
    let (looked, read) = thread::scope(|scope| {
        let looks = scope.spawn(|| look(server.pid(), &done));
        let read = probe::beside(server, keys, || {
            let began = Instant::now();
            let was_read = match read {
                Some(read) => Some(read.run(client)?),
                None => {
                    thread::sleep(CALM);
                    None
                }
            };
            Ok((was_read, began.elapsed().as_secs_f64(), process::memory(server.pid())?))
        });
        done.store(true, Ordering::Relaxed);
        (looks.join(), read)
    });
    let anonymous_peak_bytes = looked.map_err(|_| anyhow!("a thread of this program panicked"))??;
    let ((was_read, seconds, after), probes) = read?;
    if let Some(was_read) = was_read {
        ensure!(was_read.keys == keys.keys, "{} keys instead of {}", was_read.keys, keys.keys);
    }
    let was_read = was_read.unwrap_or_default();
    let (messages, bytes) = (was_read.messages, was_read.bytes);
    Ok(ReadFigures { what, limited, seconds, messages, bytes, idle, after, anonymous_peak_bytes, probes })
}

/// The kernel keeps no peak of what is not a mapped file.
fn look(pid: u32, done: &AtomicBool) -> Result<u64> {
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        most = process::memory(pid)?.anonymous_bytes.max(most);
        thread::sleep(LOOK);
    }
    Ok(most)
}
