//! How much of the time of adding gradients up between machines hides behind backward: two ranks as threads of this process, with one thread each to
//! compute, and between them a network that is as slow as asked and takes no processor.
//!
//! `cargo run --release -p pupil-train --example overlap -- 1 10`: Gbit/s of each rank in each direction.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::{Duration, Instant};

use pupil_model::{Batch, Model, Network, Settings as Architecture, families};
use pupil_tensor::DType;
use pupil_tensor::kernels::pool::with_threads;
use pupil_train::collective::{self, Collective, Threads};
use pupil_train::optim::Settings;
use pupil_train::step::Step;

/// Tokens of a row; each rank has one.
const ROW: usize = 2048;
const STEPS: usize = 6;

/// Ranks that wait as long as their bytes would take.
struct Slow {
    ranks: Threads,
    bytes_per_second: f64,
}

impl Collective for Slow {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) {
        // Both directions at once.
        let seconds = send.len().max(receive.len()) as f64 / self.bytes_per_second;
        self.ranks.exchange(partner, send, receive);
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
}

/// Fastest seconds of a step, and of adding up as many numbers as the model has.
fn measure(bytes_per_second: f64) -> [f64; 2] {
    let one = |ranks: Threads| {
        let ranks = Slow { ranks, bytes_per_second };
        let architecture = Architecture::Gpt(families::llama(4096, 512, 6, 256, [4, 4], 704));
        let mut model = Network::new(architecture, 1);
        let mut step = Step::new(&model, Settings::default(), DType::Bf16, 1);
        let ids: Vec<u32> = (0..ROW as u32).map(|i| i * 7 % 4096).collect();
        let spans: Vec<_> = (0..4).map(|s| s * 512..(s + 1) * 512).collect();
        let batches = [0, 1].map(|_| Batch::new(&ids, &ids, &[1.0; ROW], &spans));
        let mut gradients = vec![1.0; model.parameters().count()];
        let mut fastest = [f64::INFINITY; 2];
        for _ in 0..STEPS {
            collective::all_agree(&ranks, true);
            let begun = Instant::now();
            let learned = step.run_across(&ranks, &mut model, &batches, 1.0);
            let taken = begun.elapsed().as_secs_f64();
            if learned.is_ok() {
                fastest[0] = fastest[0].min(taken);
            }
            let begun = Instant::now();
            gradients.chunks_mut(1 << 20).for_each(|bucket| collective::all_reduce(&ranks, bucket));
            fastest[1] = fastest[1].min(begun.elapsed().as_secs_f64());
        }
        fastest
    };
    std::thread::scope(|scope| {
        let one = &one;
        let start = |rank: Threads| scope.spawn(move || with_threads(1, || one(rank)));
        let both: Vec<_> = Threads::new(2).into_iter().map(start).collect();
        let slower = |a: [f64; 2], b: [f64; 2]| [a[0].max(b[0]), a[1].max(b[1])];
        both.into_iter().filter_map(|rank| rank.join().ok()).fold([0.0; 2], slower)
    })
}

fn main() {
    let [step, add] = measure(f64::INFINITY);
    println!("no network:  step {:.1} ms, of adding up {:.1}", step * 1e3, add * 1e3);
    for gbit in std::env::args().skip(1).filter_map(|a| a.parse::<f64>().ok()) {
        let [with, alone] = measure(gbit * 1e9 / 8.0);
        let (network, hidden) = (alone - add, step + alone - add - with);
        println!(
            "{gbit} Gbit/s: step {:.1} ms; the network alone {:.1} ms, of which {:.1} ({:.0} %) hid behind backward",
            with * 1e3,
            network * 1e3,
            hidden * 1e3,
            100.0 * hidden / network
        );
    }
}
