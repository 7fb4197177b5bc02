//! Simulated clusters: members, their disks, clocks and network in one thread, all from one seed.
//!
//! ```text
//! seed ─▶ plan ─▶ world: hosts ◀─ network ─▶ hosts          faults
//!                   ▲    clients, watchers, operators ─▶ history ─▶ keelkv_history::check
//!                   └─ every step: invariants                └─▶ finale: healed, converged, judged
//! ```
//!
//! A seed that fails is printed with the end of its story and the command that runs it again.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool")]
#![allow(clippy::disallowed_methods, reason = "it tells how fast it is by the real clock")]

mod child;
mod clock;
mod env;
mod faults;
mod finale;
mod host;
mod invariants;
mod network;
mod options;
mod report;
mod runner;
mod scene;
mod trace;
mod workload;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use self::faults::Plan;
use self::options::{Options, USAGE};
use self::world::World;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            println!("{what}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if options.bugs {
        return list_bugs();
    }
    // Here too, where nothing runs: a bug that there is not must not pass for one that was found.
    if let Some(name) = &options.planted
        && let Err(why) = plant(name)
    {
        println!("{why}");
        return ExitCode::FAILURE;
    }
    if options.story {
        return tell(&options);
    }
    match runner::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One seed, in this process.
fn tell(options: &Options) -> ExitCode {
    if options.log {
        let level = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_ansi(false).init();
    }
    let plan = Plan::new(options.first, Duration::from_secs(options.seconds));
    let story = finale::run(World::new(options.first, plan));
    match serde_json::to_string(&story) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(feature = "planted")]
fn plant(name: &str) -> Result<(), String> {
    keelkv_core::env::planted::plant(name)
}

/// A line for each.
#[cfg(feature = "planted")]
fn list_bugs() -> ExitCode {
    for (name, about) in keelkv_core::env::planted::BUGS {
        println!("{name}: {about}");
    }
    ExitCode::SUCCESS
}

#[cfg(not(feature = "planted"))]
const NOT_PLANTED: &str = "bugs are planted by ci/sim/run only: it builds another simulator for that";

#[cfg(not(feature = "planted"))]
fn plant(_name: &str) -> Result<(), String> {
    Err(NOT_PLANTED.to_owned())
}

#[cfg(not(feature = "planted"))]
fn list_bugs() -> ExitCode {
    println!("{NOT_PLANTED}");
    ExitCode::FAILURE
}
