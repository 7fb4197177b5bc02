//! Many keys: how fast they load, what they weigh in memory and on disk, how long a restart takes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::median;
use crate::generator::{self, Plan, UNTIL_DONE};
use crate::meter::Sample;
use crate::options::Options;
use crate::process::{self, Memory};
use crate::server::{Launch, Server};
use crate::workload::{Get, Load};

const LETTER: u8 = b'k';
const IN_FLIGHT: usize = 1000;
const SETTLE: Duration = Duration::from_secs(15);

/// What came out on one side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadFigures {
    /// The load itself.
    pub load: Sample,
    /// Memory once the server had come to rest after the load.
    pub loaded: Memory,
    /// What the data directory then takes on the disk, with what is reserved there and not yet written.
    pub allocated_bytes: u64,
    /// From start of the process to the first answered linearizable read, after SIGTERM; median.
    pub restart_seconds: f64,
    /// Every restart behind that median.
    pub restarts_seconds: Vec<f64>,
    /// The same after SIGKILL, once.
    pub restart_after_kill_seconds: f64,
    /// Memory after a restart, at rest.
    pub restarted: Memory,
}

/// Runs the scenario on one side, in a directory of its own.
pub fn run(launch: &Launch, directory: &Path, options: &Options) -> Result<LoadFigures> {
    let mut server = launch.start(directory)?;
    server.ready()?;
    let figures = measure(&mut server, options).with_context(|| format!("load of {}", launch.name))?;
    server.terminate()?;
    Ok(figures)
}

fn measure(server: &mut Server, options: &Options) -> Result<LoadFigures> {
    let mut workload = Load::new(LETTER, options.load_keys, options.load_batch, options.value_size);
    let in_flight = (IN_FLIGHT / options.load_batch as usize).max(1);
    let connections = options.connections;
    let plan = Plan { in_flight, connections, warm_up: Duration::ZERO, measure: UNTIL_DONE };
    let load = generator::run(&server.target(), &mut workload, plan)?.in_units(options.load_batch as usize);
    server.settle(SETTLE)?;
    let mut figures = LoadFigures {
        load,
        loaded: process::memory(server.pid())?,
        allocated_bytes: process::allocated_bytes(&server.data())?,
        ..Default::default()
    };
    for _ in 0..options.restarts {
        server.terminate()?;
        server.restart()?;
        figures.restarts_seconds.push(server.ready()?.as_secs_f64());
        verify(server, options)?;
    }
    figures.restart_seconds = median(figures.restarts_seconds.clone());
    server.settle(SETTLE)?;
    figures.restarted = process::memory(server.pid())?;
    server.kill()?;
    server.restart()?;
    figures.restart_after_kill_seconds = server.ready()?.as_secs_f64();
    verify(server, options)?;
    Ok(figures)
}

/// Reads a few keys: a server that is fast because it has lost its data must not win.
fn verify(server: &Server, options: &Options) -> Result<()> {
    let mut get = Get::new(LETTER, options.load_keys, options.load_keys.min(100), false);
    let plan = Plan { in_flight: 1, connections: 1, warm_up: Duration::ZERO, measure: Duration::from_millis(20) };
    if generator::run(&server.target(), &mut get, plan)?.ops == 0 {
        bail!("no key could be read after a restart");
    }
    Ok(())
}
