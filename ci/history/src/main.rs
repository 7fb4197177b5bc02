//! `keelkv-history check FILE`: checks a history that was kept, and says what is wrong with it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command prints its result")]

use std::fs::File;
use std::io::{self, BufReader};
use std::process::ExitCode;

use keelkv_history::{History, check};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, file] = &arguments[..] else {
        println!("usage: keelkv-history check FILE");
        return Ok(ExitCode::from(2));
    };
    if verb != "check" {
        println!("there is no {verb:?}, only: keelkv-history check FILE");
        return Ok(ExitCode::from(2));
    }
    let history = File::open(file).and_then(|file| History::read(BufReader::new(file)));
    let history = history.map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    let report = check(&history);
    println!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
