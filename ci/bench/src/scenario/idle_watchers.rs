//! Puts beside watchers of other keys, by turns with and without them.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::median;
use crate::client::Client;
use crate::data::key;
use crate::generator;
use crate::meter::Sample;
use crate::options::Options;
use crate::process::{self, Memory};
use crate::runner::plan;
use crate::server::Launch;
use crate::watchers;
use crate::workload::Put;

const WRITTEN: u8 = b'p';
const WATCHED: u8 = b'q';
const IN_FLIGHT: usize = 256;

/// What came out on one side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IdleWatcherFigures {
    /// Puts per second without the watchers, median.
    pub without: f64,
    /// Puts per second with them, median.
    pub with: f64,
    /// The second over the first.
    pub kept: f64,
    /// Memory without watchers.
    pub memory_without: Memory,
    /// Memory with all of them.
    pub memory_with: Memory,
    /// The rounds behind the medians: without, with.
    pub rounds: Vec<(Sample, Sample)>,
}

/// Runs the scenario on one side, in a directory of its own.
pub fn run(launch: &Launch, directory: &Path, options: &Options) -> Result<IdleWatcherFigures> {
    let mut server = launch.start(directory)?;
    server.ready()?;
    let plan = plan(options, IN_FLIGHT);
    let keys: Vec<_> = (0..options.idle_watchers as u64).map(|n| key(WATCHED, n)).collect();
    let streams = options.idle_streams.min(keys.len()).max(1);
    let connections = options.connections.min(streams);
    let mut figures = IdleWatcherFigures::default();
    for round in 0..options.rounds.max(2) {
        let mut put = Put::new(WRITTEN, options.keys, options.value_size);
        let without = generator::run(&server.target(), &mut put, plan)?;
        if round == 0 {
            figures.memory_without = process::memory(server.pid())?;
        }
        // The watchers go when their connections are dropped at the end of the round.
        let mut client = Client::connect(server.address(), connections)?;
        watchers::open(&mut client, connections, streams, &keys)?;
        if round == 0 {
            figures.memory_with = process::memory(server.pid())?;
        }
        let with = generator::run(&server.target(), &mut put, plan)?;
        figures.rounds.push((without, with));
    }
    figures.without = median(figures.rounds.iter().map(|(without, _)| without.ops_per_second).collect());
    figures.with = median(figures.rounds.iter().map(|(_, with)| with.ops_per_second).collect());
    figures.kept = figures.with / figures.without;
    server.terminate()?;
    Ok(figures)
}
