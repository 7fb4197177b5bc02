//! Writes `ffi/include/keelkv.h`, or checks that it is what it would write.
//!
//! ```text
//! ffi/src/*.rs -> cbindgen -+-> keelkv.h
//! the table of errors ------+
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a tool that says what it did")]

mod config;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: keelkv-header [--check]";

fn main() -> ExitCode {
    let ffi = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let header = ffi.join("include").join("keelkv.h");
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let wanted = match text(&ffi) {
        Ok(text) => text,
        Err(error) => {
            println!("cannot make the header: {error}");
            return ExitCode::FAILURE;
        }
    };
    if check {
        let there = std::fs::read_to_string(&header).unwrap_or_default();
        if there == wanted {
            return ExitCode::SUCCESS;
        }
        let line = there.lines().zip(wanted.lines()).take_while(|(there, wanted)| there == wanted).count() + 1;
        println!(
            "ffi/include/keelkv.h is not what its sources make, from line {line} on: run `cargo run -p keelkv-header`"
        );
        return ExitCode::FAILURE;
    }
    match std::fs::write(&header, wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cannot write {}: {error}", header.display());
            ExitCode::FAILURE
        }
    }
}

fn text(ffi: &Path) -> Result<String, cbindgen::Error> {
    let mut text = Vec::new();
    cbindgen::generate_with_config(ffi, config::config())?.write(&mut text);
    // What Rust's documentation calls safety is what a caller in C has to see to.
    Ok(String::from_utf8_lossy(&text).replace("# Safety", "What must hold:"))
}
