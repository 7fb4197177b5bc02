//! Cycles of: start, check, load, kill.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use keelkv_bench::client::Client;
use keelkv_bench::server::{Launch, Server};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::disk::ForgetfulDisk;
use crate::load::{self, Ledger};
use crate::replay::NoAnswer;
use crate::verifier::{Totals, Verifier};

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Kills under load.
    pub(crate) cycles: u32,
    /// Longest load before a kill.
    pub(crate) load: Duration,
    /// Writes outstanding.
    pub(crate) in_flight: usize,
    /// Of all choices made here; what the server does in time stays its own.
    pub(crate) seed: u64,
    /// Read the whole history after every so many cycles.
    pub(crate) whole_history_every: u32,
    /// Compact after every so many cycles; 0 for never.
    pub(crate) compact_every: u32,
    /// Undo unsynced writes after each kill.
    pub(crate) disk: Option<ForgetfulDisk>,
    /// Further flags for the server from its second start on.
    pub(crate) later_flags: Vec<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Cycles after which everything was found in order.
    pub(crate) passed: u32,
    /// The first thing that was not in order.
    pub(crate) violation: Option<Violation>,
    /// From start of the process to the first answered linearizable read.
    pub(crate) restarts: Vec<Duration>,
    /// Counts.
    pub(crate) totals: Totals,
    /// Last revision.
    pub(crate) revision: i64,
}

/// What a server did wrong.
#[derive(Debug)]
pub(crate) struct Violation {
    /// In which cycle.
    pub(crate) cycle: u32,
    /// What it is.
    pub(crate) error: anyhow::Error,
    /// It served, and what it served was wrong; otherwise it did not come back at all.
    pub(crate) in_data: bool,
    /// The end of its log.
    pub(crate) log: String,
}

/// Every so many cycles the server is also killed while it starts.
const KILL_AT_START_EVERY: u32 = 5;
const KILL_AT_START_WITHIN: Duration = Duration::from_millis(80);
/// Making a data directory takes longer than opening one, and most of its steps happen only once.
const KILLS_AT_FIRST_START: u32 = 4;
const KILL_AT_FIRST_START_WITHIN: Duration = Duration::from_millis(300);
const SHORTEST_LOAD: Duration = Duration::from_millis(5);
/// Revisions that compaction leaves.
const KEPT_REVISIONS: i64 = 500;

/// Runs the cycles. An `Err` is a mistake of this program or its environment, not of the server.
pub(crate) fn run(launch: &Launch, directory: &Path, plan: &Plan) -> Result<Outcome> {
    let mut launch = launch.clone();
    if let Some(disk) = &plan.disk {
        disk.install(&mut launch)?;
    }
    let mut outcome = Outcome::default();
    let mut verifier = Verifier::default();
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut next_id = 0;
    let mut server = launch.start(directory)?;
    if let Err(error) = first_start(&mut server, plan, &mut random) {
        outcome.violation = Some(Violation { cycle: 0, error, in_data: false, log: server.log_tail() });
        return Ok(outcome);
    }
    for cycle in 1..=plan.cycles {
        let length = random.random_range(SHORTEST_LOAD..=plan.load);
        let from = verifier.revision() + 1;
        let ledger = load::until_killed(&mut server, plan.in_flight, length, &mut next_id, from, &mut random);
        let mut serves = false;
        let checked = ledger.and_then(|ledger| {
            restart(&mut server, plan, cycle, &mut random, &mut outcome.restarts)?;
            serves = true;
            check(&server, plan, cycle, &mut verifier, ledger, &mut random)
        });
        if let Err(error) = checked {
            let in_data = serves && error.downcast_ref::<NoAnswer>().is_none();
            outcome.violation = Some(Violation { cycle, error, in_data, log: server.log_tail() });
            break;
        }
        outcome.passed += 1;
    }
    outcome.totals = verifier.totals;
    outcome.revision = verifier.revision();
    if outcome.violation.is_none()
        && let Err(error) = outcome.totals.check(plan.cycles)
    {
        let log = server.log_tail();
        outcome.violation = Some(Violation { cycle: plan.cycles, error, in_data: false, log });
    }
    server.kill()?;
    Ok(outcome)
}

/// Gets a server that has just been started for the first time to serve, through some kills. Nothing was promised
/// yet, but it must come up.
fn first_start(server: &mut Server, plan: &Plan, random: &mut SmallRng) -> Result<()> {
    for _ in 0..KILLS_AT_FIRST_START {
        std::thread::sleep(random.random_range(Duration::ZERO..KILL_AT_FIRST_START_WITHIN));
        server.kill()?;
        forget(plan, random)?;
        server.restart()?;
    }
    server.ready().context("first start")?;
    if !plan.later_flags.is_empty() {
        server.kill()?;
        forget(plan, random)?;
        server.add_flags(&plan.later_flags);
        server.restart()?;
        server.ready().context("start with further flags")?;
    }
    Ok(())
}

/// Brings the killed server back.
fn restart(
    server: &mut Server,
    plan: &Plan,
    cycle: u32,
    random: &mut SmallRng,
    times: &mut Vec<Duration>,
) -> Result<()> {
    forget(plan, random)?;
    if cycle.is_multiple_of(KILL_AT_START_EVERY) {
        server.restart()?;
        std::thread::sleep(random.random_range(Duration::ZERO..KILL_AT_START_WITHIN));
        server.kill()?;
        forget(plan, random)?;
    }
    server.restart()?;
    times.push(server.ready().context("restart after a kill")?);
    Ok(())
}

fn forget(plan: &Plan, random: &mut SmallRng) -> Result<()> {
    plan.disk.as_ref().map_or(Ok(()), |disk| disk.forget(random))
}

fn check(
    server: &Server,
    plan: &Plan,
    cycle: u32,
    verifier: &mut Verifier,
    ledger: Ledger,
    random: &mut SmallRng,
) -> Result<()> {
    let connect = || Client::connect(server.address(), 1);
    verifier.check(&mut connect()?, ledger, random)?;
    if cycle.is_multiple_of(plan.whole_history_every) || cycle == plan.cycles {
        verifier.check_whole_history(&mut connect()?)?;
    }
    if plan.compact_every != 0 && cycle.is_multiple_of(plan.compact_every) {
        verifier.compact(&mut connect()?, KEPT_REVISIONS)?;
    }
    Ok(())
}
