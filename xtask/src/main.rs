//! Developer tasks: `cargo xtask tidy` checks what no compiler checks, `cargo xtask ci [--fast]` runs what a change must pass,
//! `cargo xtask ranks` compares what several MPI processes write with what one writes, `cargo xtask fuzz TARGET SECONDS` looks for inputs that break a reader.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod ci;
mod fuzz;
mod ranks;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(&root),
        ["ci"] => ci::run(&root, false),
        ["ci", "--fast"] => ci::run(&root, true),
        ["ranks"] => ranks::run(&root),
        ["fuzz", target, seconds] => fuzz::run(&root, target, seconds),
        _ => Err("usage: cargo xtask tidy | ci [--fast] | ranks | fuzz TARGET SECONDS".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}
