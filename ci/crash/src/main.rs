//! Kills a server under load, again and again, and checks after each restart that nothing which it had promised
//! is gone and nothing is there that cannot be.
//!
//! ```text
//! main -> campaign: load (writers, watcher; SIGKILL) -> Ledger: sent, acknowledged, watched
//!                   disk (undoes unsynced writes, if asked for)
//!                   verifier: replay of the history against model and ledger; keys; old views; HashKV
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command prints its result")]

mod campaign;
mod disk;
mod load;
mod model;
mod replay;
mod verifier;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use keelkv_bench::machine::Machine;
use keelkv_bench::server::Launch;

use campaign::{Outcome, Plan, Violation};
use disk::ForgetfulDisk;

/// Kills a server under load and checks that nothing acknowledged was lost.
#[derive(Parser, Debug)]
#[command(version, args_override_self = true)]
struct Options {
    /// The server's binary; it takes etcd's flags.
    #[arg(long, env = "KEELKV_BIN")]
    server: PathBuf,

    /// A further flag for the server; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    flag: Vec<String>,

    /// A further flag for the server once it has its data directory, from its second start on; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    later_flag: Vec<String>,

    /// Kills under load.
    #[arg(long, default_value_t = 200)]
    cycles: u32,

    /// Longest load before a kill, in milliseconds.
    #[arg(long, default_value_t = 400)]
    load_ms: u64,

    /// Writes outstanding.
    #[arg(long, default_value_t = 128)]
    in_flight: usize,

    /// Seed of writes and times; a random one is taken and printed when there is none.
    #[arg(long)]
    seed: Option<u64>,

    /// Read the whole history after every so many cycles.
    #[arg(long, default_value_t = 20)]
    whole_history_every: u32,

    /// Compact after every so many cycles; 0 for never.
    #[arg(long, default_value_t = 0)]
    compact_every: u32,

    /// Library to preload, which keeps a journal of what unsynced writes replaced.
    #[arg(long, requires = "undo")]
    shim: Option<PathBuf>,

    /// Program that undoes unsynced writes after each kill; called with the journal and the data directory.
    #[arg(long, requires = "shim")]
    undo: Option<PathBuf>,

    /// Always take back everything that was not synced, never a part.
    #[arg(long, requires = "undo")]
    lose_all: bool,

    /// Succeed only if a violation is found in what the server serves, in one of a few attempts: proves that this
    /// server's fault is one that is caught.
    #[arg(long)]
    expect_violation: bool,

    /// Where data directories are made; a real disk.
    #[arg(long, default_value = "target/crash")]
    dir: PathBuf,
}

/// A proof needs a server that serves: one that refuses to start has noticed by itself, which proves nothing about
/// the checks. How soon that happens is chance, so another data directory and the next seed are tried.
const PROOF_ATTEMPTS: u64 = 8;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    fs::create_dir_all(&options.dir)?;
    let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&options.dir)?;
    let machine = Machine::describe(directory.path())?;
    let seed = options.seed.unwrap_or_else(rand::random);
    println!(
        "{} cycles of SIGKILL, seed {seed}, data on {} ({})",
        options.cycles, machine.directory, machine.file_system
    );
    let (passed, failed) = if options.expect_violation {
        let found = prove(&options, directory.path(), seed)?;
        (u32::from(found), u32::from(!found))
    } else {
        let outcome = run(&options, directory.path(), seed)?;
        (outcome.passed, u32::from(outcome.violation.is_some()))
    };
    if failed > 0 {
        println!("what the server left is kept in {}", directory.keep().display());
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the checks find what the server's fault does to its data.
fn prove(options: &Options, directory: &Path, seed: u64) -> Result<bool> {
    for attempt in 0..PROOF_ATTEMPTS {
        let seed = seed.wrapping_add(attempt);
        let outcome = run(options, &directory.join(format!("attempt-{attempt}")), seed)?;
        if outcome.violation.is_some_and(|violation| violation.in_data) {
            return Ok(true);
        }
        println!("attempt {} of {PROOF_ATTEMPTS}, seed {seed}: no violation in the data", attempt + 1);
    }
    Ok(false)
}

/// One campaign, with all that it leaves below `directory`.
fn run(options: &Options, directory: &Path, seed: u64) -> Result<Outcome> {
    let server = directory.join("server");
    let disk = options.shim.clone().zip(options.undo.clone()).map(|(library, undo)| ForgetfulDisk {
        library,
        undo,
        journal: directory.join("journal"),
        data: server.join("data"),
        lose_all: options.lose_all,
    });
    let plan = Plan {
        cycles: options.cycles,
        load: Duration::from_millis(options.load_ms),
        in_flight: options.in_flight,
        seed,
        whole_history_every: options.whole_history_every.max(1),
        compact_every: options.compact_every,
        disk,
        later_flags: options.later_flag.clone(),
    };
    let mut launch = Launch::new("server", &options.server);
    launch.flags.clone_from(&options.flag);
    let outcome = campaign::run(&launch, &server, &plan)?;
    report(&outcome);
    Ok(outcome)
}

fn report(outcome: &Outcome) {
    let Outcome { totals, revision, .. } = outcome;
    println!(
        "{} writes sent, {} acknowledged, {} more survived; {} revisions were watched live; the store ended at {revision}",
        totals.sent, totals.acknowledged, totals.survived_unacknowledged, totals.watched
    );
    let mut restarts = outcome.restarts.clone();
    restarts.sort();
    if let (Some(median), Some(longest)) = (restarts.get(restarts.len() / 2), restarts.last()) {
        println!("restart to the first linearizable read: median {median:.1?}, longest {longest:.1?}");
    }
    if let Some(Violation { cycle, error, log, .. }) = &outcome.violation {
        println!("VIOLATION in cycle {cycle}: {error:#}\nend of the server's log:\n{log}");
    }
}
