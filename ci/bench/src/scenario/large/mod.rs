//! A store of many keys: what reads about all of them take, and what single calls notice of those and of the server's
//! own large works.
//!
//! ```text
//! fill -> counts (count, first key) -> reads (all keys in one call) -> works (compaction, defragmentation)
//! ```

mod counts;
mod reads;
mod table;
mod works;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::options::Options;
use crate::probe::Keys;
use crate::process::{self, Memory};
use crate::runner;
use crate::server::{Launch, Server};

pub use counts::CountFigures;
pub use reads::ReadFigures;
pub(crate) use table::write;
pub use works::WorkFigures;

const LETTER: u8 = b'k';
const SETTLE: Duration = Duration::from_secs(15);

/// What came out on one side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LargeFigures {
    /// Keys in the store.
    pub keys: u64,
    /// Memory once the server had come to rest after the load.
    pub loaded: Memory,
    /// Small answers about all keys.
    pub counts: Vec<CountFigures>,
    /// All keys in one call; the first is none, for comparison.
    pub reads: Vec<ReadFigures>,
    /// Puts beside the server's works; the last is none, for comparison.
    pub works: Vec<WorkFigures>,
}

/// Runs the scenario on one side, in a directory of its own.
pub fn run(launch: &Launch, directory: &Path, options: &Options) -> Result<LargeFigures> {
    let mut server = launch.start(directory)?;
    server.ready()?;
    let figures = measure(&server, options);
    let figures = figures.with_context(|| format!("large store of {}: {}", launch.name, server.log_tail()))?;
    server.terminate()?;
    Ok(figures)
}

fn measure(server: &Server, options: &Options) -> Result<LargeFigures> {
    let keys = Keys { letter: LETTER, keys: options.load_keys, value_size: options.value_size };
    runner::fill(&server.target(), options, LETTER, options.load_keys)?;
    server.settle(SETTLE)?;
    Ok(LargeFigures {
        keys: options.load_keys,
        loaded: process::memory(server.pid())?,
        counts: counts::measure(server, keys, options)?,
        reads: reads::measure(server, keys)?,
        works: works::measure(server, keys, options)?,
    })
}

impl LargeFigures {
    /// What is required: of what, the figure, its limit.
    pub fn limits(&self) -> Vec<(String, f64, f64)> {
        let counts = self.counts.iter().filter(|figures| figures.in_flight == 1);
        let counts = counts.map(|CountFigures { what, sample, .. }| {
            (format!("{what} of {} keys at 1: p99 in ms, at most", self.keys), sample.p99_ms, counts::P99_LIMIT_MS)
        });
        let reads = self.reads.iter().filter(|figures| figures.limited);
        let reads = reads.map(|figures| {
            (format!("{}: peak above idle in MiB, at most", figures.what), figures.peak_mib(), reads::PEAK_LIMIT_MIB)
        });
        let works = self.works.iter().filter(|figures| figures.call_ms.is_some());
        let works = works.map(|figures| {
            (format!("{}: longest call in ms, at most", figures.what), figures.longest_ms(), works::CALL_LIMIT_MS)
        });
        counts.chain(reads).chain(works).collect()
    }
}
