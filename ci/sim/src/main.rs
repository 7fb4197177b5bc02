//! Simulated members: many lives of one store from one seed, each ended by a crash.
//!
//! ```text
//! seed ─▶ disk, engine ─▶ life: start, check what survived, clients at work, crash ─▶ next life ...
//!                                                │
//!                                      ledger of what was promised
//! ```
//!
//! Run with a range of seeds; each is run twice and must leave the same trace. A seed that fails is
//! printed with its trace, and fails again when it is given alone.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool")]

mod client;
mod env;
mod ledger;
mod life;
mod trace;

use std::process::ExitCode;

use self::life::World;
use self::trace::Trace;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let count: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut failed = 0;
    let mut totals = trace::Totals::default();
    for seed in first..first + count {
        let (trace, again) = (run(seed), run(seed));
        totals.add(&trace);
        if let Some(violation) = trace.violation() {
            println!("{trace}seed {seed}: {violation}");
            failed += 1;
        } else if trace != again {
            println!("{}seed {seed}: the second run differs from the first", trace.difference(&again));
            failed += 1;
        } else if count == 1 {
            println!("{trace}");
        }
    }
    println!("{totals}");
    println!("simulator: {} passed, {failed} failed", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(seed: u64) -> Trace {
    let mut world = World::new(seed);
    while world.live() {}
    world.into_trace()
}
