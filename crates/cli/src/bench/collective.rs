//! `pupil bench collective`: seconds of an all-reduce between the ranks of a job, by size, and what follows for larger jobs (docs/mpi.md).

use std::time::Instant;

use pupil_train::collective::{self, Collective, Threads};

use super::median;
use crate::exit::Usage;
use crate::ranks;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Comma-separated KiB of gradients.
    #[arg(long, default_value = "1,64,1024,4096,16384,65536")]
    kib: String,
    /// Times that each is measured; the median counts.
    #[arg(long, default_value_t = 9)]
    times: usize,
    /// Outside of a job: so many ranks that are threads of this process.
    #[arg(long, default_value_t = 2)]
    threads_as_ranks: usize,
    /// A JSON object for each line of the table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let sizes: Vec<usize> = a
        .kib
        .split(',')
        .map(|n| n.trim().parse::<usize>().map(|kib| kib * 256))
        .collect::<Result<_, _>>()
        .map_err(|e| Usage(format!("--kib {}: {e}", a.kib)))?;
    let here = ranks::here();
    if here.size() > 1 {
        let seconds = measure(here, &sizes, a.times);
        if here.rank() == 0 {
            show(a, "mpi", here.size(), &sizes, &seconds);
        }
        return Ok(());
    }
    let size = a.threads_as_ranks.max(1);
    let seconds = std::thread::scope(|scope| {
        let each = |rank: Threads| {
            scope.spawn({
                let sizes = &sizes;
                move || measure(&rank, sizes, a.times)
            })
        };
        let all: Vec<_> = Threads::new(size).into_iter().map(each).collect();
        all.into_iter().filter_map(|r| r.join().ok()).next().unwrap_or_default()
    });
    show(a, "threads", size, &sizes, &seconds);
    Ok(())
}

/// Seconds of an all-reduce of each size.
fn measure(ranks: &dyn Collective, sizes: &[usize], times: usize) -> Vec<f64> {
    let one = |&numbers: &usize| {
        let mut data = vec![1.0f32; numbers];
        let mut once = || {
            collective::all_agree(ranks, true);
            let begun = Instant::now();
            collective::all_reduce(ranks, &mut data);
            begun.elapsed().as_secs_f64()
        };
        once();
        median((0..times.max(1)).map(|_| once()).collect())
    };
    sizes.iter().map(one).collect()
}

fn show(a: &Arguments, between: &str, ranks: usize, sizes: &[usize], seconds: &[f64]) {
    if !a.json {
        println!("all-reduce between {ranks} ranks ({between})");
        println!("{:>10} {:>12} {:>22} {:>26}", "KiB", "ms", "GB/s of gradient", "GB/s sent by each rank");
    }
    for (&numbers, &s) in sizes.iter().zip(seconds) {
        let bytes = (numbers * 4) as f64;
        // Each rank sends all but its own share, twice.
        let sent = 2.0 * bytes * (1.0 - 1.0 / ranks as f64);
        if a.json {
            let line = serde_json::json!({"between": between, "ranks": ranks, "bytes": bytes, "seconds": s, "sent_bytes_per_second": sent / s});
            println!("{line}");
        } else {
            println!(
                "{:>10} {:>12.3} {:>22.2} {:>26.2}",
                numbers / 256,
                s * 1e3,
                bytes / s / 1e9,
                sent / s / 1e9
            );
        }
    }
}
