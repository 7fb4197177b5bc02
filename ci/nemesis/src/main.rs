//! Breaks a cluster of real servers under load, and checks the history that its clients saw.
//!
//! ```text
//! main -> run: cluster (member: process, disk; proxy and links between them)
//!              workload, watcher (client: asks and records)         -> record: a keelkv-history
//!              scenarios: what is done to the cluster
//!              finale: full histories and hashes of all members     -> check -> report
//! ```
//!
//! Everything that is chosen comes from one seed; what servers do in time stays their own.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command prints its result")]

mod account;
mod client;
mod clock;
mod cluster;
mod disk;
mod figures;
mod finale;
mod liar;
mod links;
mod member;
mod proxy;
mod record;
mod refusal;
mod run;
mod scenarios;
mod security;
mod service;
mod watcher;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use account::Account;
use disk::DiskFaults;
use liar::Lie;
use member::Launch;
use run::{Outcome, Plan, Run};
use scenarios::mix::Fault;
use security::Security;

/// Breaks a cluster of real servers under load, and checks the history that its clients saw.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    scenario: Scenario,

    /// The server's binary; it takes etcd's flags.
    #[arg(long, env = "KEELKV_BIN", global = true)]
    server: Option<PathBuf>,

    /// A further flag for the servers; may be repeated.
    #[arg(long, allow_hyphen_values = true, global = true)]
    flag: Vec<String>,

    /// Members of the cluster.
    #[arg(long, default_value_t = 3, global = true)]
    members: usize,

    /// Of all choices; a random one is taken and printed when there is none.
    #[arg(long, global = true)]
    seed: Option<u64>,

    /// Clients that read and write keys.
    #[arg(long, default_value_t = 8, global = true)]
    clients: u32,

    /// Milliseconds between two requests of such a client.
    #[arg(long, default_value_t = 15, global = true)]
    pause_ms: u64,

    /// Clients with leases that come and go.
    #[arg(long, default_value_t = 4, global = true)]
    leases: u32,

    /// Watches besides that of everything.
    #[arg(long, default_value_t = 5, global = true)]
    watchers: u32,

    /// Milliseconds between heartbeats.
    #[arg(long, default_value_t = 100, global = true)]
    heartbeat_ms: u64,

    /// Milliseconds without a leader until an election.
    #[arg(long, default_value_t = 1000, global = true)]
    election_ms: u64,

    /// Library to preload that makes syncs slow; without it strace does.
    #[arg(long, global = true)]
    shim: Option<PathBuf>,

    /// Give each server a disk of its own, of so many MiB, that can be full: needs a mount namespace.
    #[arg(long, global = true)]
    small_disks: Option<u64>,

    /// Everything within TLS, with certificates of members, and with a user who has to log in.
    #[arg(long, global = true)]
    tls: bool,

    /// Milliseconds that a lease may outlive its time while nothing is wrong.
    #[arg(long, default_value_t = 1500, global = true)]
    lease_slack_ms: u64,

    /// Tell the checker this lie, and succeed only if it sees it and nothing else.
    #[arg(long, global = true)]
    lie: Option<Lie>,

    /// Keep the history there even if nothing is wrong with it.
    #[arg(long, global = true)]
    keep: Option<PathBuf>,

    /// Where data directories are made; a real disk.
    #[arg(long, default_value = "target/nemesis", global = true)]
    dir: PathBuf,
}

#[derive(Subcommand, Debug)]
enum Scenario {
    /// Kills the leader under load.
    Failover {
        /// How often.
        #[arg(long, default_value_t = 10)]
        times: u32,
    },
    /// Moves the leadership under load.
    MoveLeader {
        /// How often.
        #[arg(long, default_value_t = 10)]
        times: u32,
        /// Milliseconds that writes may pause for, in 99 moves of 100.
        #[arg(long, default_value_t = 200)]
        bound_ms: u64,
    },
    /// Replaces all members, one after the other, under load.
    Replace {
        /// How many times over.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// Keys of 16 KiB that there are before, which a new member gets with a snapshot; the servers flush their
        /// state, and let go of the log behind it, only from some megabytes on.
        #[arg(long, default_value_t = 3000)]
        preload: u32,
    },
    /// Slow syncs on the leader, then on a follower.
    SlowDisk {
        /// For how long each.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Milliseconds that reads on the other members may take, in 99 cases of 100.
        #[arg(long, default_value_t = 20)]
        bound_ms: u64,
    },
    /// Nothing: what clients see of a cluster that is well.
    Calm {
        /// For how long.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Random faults.
    Mix {
        /// For how long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Which; all if there are none.
        #[arg(long, value_delimiter = ',')]
        faults: Vec<Fault>,
    },
}

const RENEWERS: u32 = 40;
/// Where members are replaced: a new one lacks more.
const CATCH_UP_ENTRIES: u32 = 100;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    fs::create_dir_all(&options.dir)?;
    let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&options.dir)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let server = options.server.clone().context("--server or KEELKV_BIN has to name the server's binary")?;
    println!("{:?}, seed {seed}, {} members of {}", options.scenario, options.members, server.display());
    let disk = match &options.shim {
        Some(library) => DiskFaults::Library(library.canonicalize()?),
        None => DiskFaults::Trace,
    };
    let (mut flags, mut preload) = (Vec::new(), 0);
    if let Scenario::Replace { preload: keys, .. } = options.scenario {
        flags.push(format!("--snapshot-catchup-entries={CATCH_UP_ENTRIES}"));
        preload = keys;
    }
    flags.extend(options.flag.iter().cloned());
    let plan = Plan {
        launch: Launch {
            binary: server,
            flags,
            heartbeat_ms: options.heartbeat_ms,
            election_ms: options.election_ms,
            disk,
            small_disks: options.small_disks,
            security: options.tls.then(|| Security::new(directory.path())).transpose()?,
        },
        members: options.members,
        seed,
        clients: options.clients,
        pause: Duration::from_millis(options.pause_ms),
        preload,
        leases: options.leases,
        renewers: if matches!(options.scenario, Scenario::SlowDisk { .. }) { RENEWERS } else { 0 },
        probes: matches!(
            options.scenario,
            Scenario::Failover { .. } | Scenario::MoveLeader { .. } | Scenario::Replace { .. }
        ),
        watchers: options.watchers,
        lease_slack: Duration::from_millis(options.lease_slack_ms),
        lie: options.lie,
        directory: directory.path().to_owned(),
        keep: options.keep.clone(),
    };
    let mut run = Run::start(&plan).await?;
    let passed = match report(&options.scenario, &mut run).await {
        Ok(Outcome { report, account, .. }) => {
            let expected = options.lie.map_or_else(|| report.is_clean(), |lie| lie.is_found(&report));
            expected && account.violations.is_empty()
        }
        Err(error) => {
            println!("VIOLATION the run came to no end: {error:#}");
            println!("what there is of the history is kept: keelkv-history check {}", run.rescue()?.display());
            false
        }
    };
    drop(run);
    if !passed {
        println!("what the servers left is kept in {}", directory.keep().display());
    }
    println!("{} passed, {} failed", u32::from(passed), u32::from(!passed));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays a scenario and says what came of it.
async fn report(scenario: &Scenario, run: &mut Run) -> Result<Outcome> {
    let account = match scenario {
        Scenario::Failover { times } => scenarios::failover::run(run, *times).await?,
        Scenario::MoveLeader { times, bound_ms } => {
            scenarios::move_leader::run(run, *times, Duration::from_millis(*bound_ms)).await?
        }
        Scenario::Replace { times, .. } => scenarios::replace::run(run, *times).await?,
        Scenario::SlowDisk { seconds, bound_ms } => {
            let (length, bound) = (Duration::from_secs(*seconds), Duration::from_millis(*bound_ms));
            scenarios::slow_disk::run(run, length, bound).await?
        }
        Scenario::Calm { seconds } => {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Account::default()
        }
        Scenario::Mix { seconds, faults } => {
            let all = Fault::value_variants().iter().copied();
            let possible: Vec<Fault> =
                all.filter(|fault| *fault != Fault::FullDisk || run.cluster.launch.small_disks.is_some()).collect();
            let faults = if faults.is_empty() { &possible } else { faults };
            scenarios::mix::run(run, faults, Duration::from_secs(*seconds)).await?
        }
    };
    let outcome = run.finish(account).await?;
    outcome.account.lines.iter().for_each(|line| println!("{line}"));
    outcome.account.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    println!("{}", outcome.report);
    if let Some(kept) = &outcome.kept {
        println!("the history is kept: keelkv-history check {}", kept.display());
    }
    Ok(outcome)
}
