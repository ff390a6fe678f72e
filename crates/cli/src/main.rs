//! pupil: raises a small ChatGPT on the machine in front of you.
//!
//! This room turns arguments into one call each; everything that is printed is printed here.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one room that prints")]

mod bench;
mod process;

use clap::Parser;
use pupil_tensor::kernels::{allocations, pool};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

#[derive(Parser)]
#[command(name = "pupil", version, about)]
struct Cli {
    /// Threads; by default as many as the processors and the control group's quota give.
    #[arg(short, long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measures how fast this machine trains.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(n) = cli.threads {
        pool::set_threads(n);
    }
    match cli.command {
        Command::Bench(b) => bench::run(b),
    }
}
