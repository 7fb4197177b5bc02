//! How long a long history takes.

#![allow(clippy::print_stdout, reason = "the figure is worth reading")]

use std::time::{Duration, Instant};

use keelkv_history::check;

use crate::simulate::simulate;

#[test]
fn a_long_history_is_checked_in_seconds() {
    // Without optimization only that it gets through.
    let operations = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let history = simulate(1, operations);
    let began = Instant::now();
    let report = check(&history);
    println!("{operations} operations checked in {:?}", began.elapsed());
    assert!(report.is_clean(), "{report}");
    assert!(cfg!(debug_assertions) || began.elapsed() < Duration::from_secs(5));
}
