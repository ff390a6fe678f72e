//! `pupil bench train`: steps of a preset on random ids, as one JSON object or a few lines.

use std::time::Instant;

use pupil_model::{Batch, Gpt, families};
use pupil_tensor::kernels::{allocations, level, peak, pool, random};
use pupil_train::optim::Settings;
use pupil_train::step::Step;

use super::median;
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which configuration.
    #[arg(long, value_parser = ["char-tiny", "char-small", "base-30m", "llama-30m"], default_value = "char-small")]
    preset: String,
    /// Timed steps after the first; without it, as many as fit into --seconds.
    #[arg(long)]
    steps: Option<usize>,
    /// Timed seconds if --steps is not given.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Element type of matrix operands: bf16, f32, or auto (bf16 where the processor multiplies it).
    #[arg(long, default_value = "auto")]
    dtype: String,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Sequences in a step of each preset.
fn sequences(preset: &str) -> usize {
    match preset {
        "char-tiny" => 12,
        "char-small" => 16,
        _ => 4,
    }
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtype = process::dtype(&a.dtype)?;
    let config = families::preset(&a.preset).ok_or_else(|| anyhow::anyhow!("no preset `{}`", a.preset))?;
    let (context, n) = (config.context, sequences(&a.preset));
    let tokens = n * context;
    let flops = config.training_flops_per_token(context);
    let mut model = Gpt::new(config, 1);
    let mut step = Step::new(&model, Settings::default(), dtype, 1);
    let spans: Vec<_> = (0..n).map(|i| i * context..(i + 1) * context).collect();
    let weights = vec![1.0; tokens];
    let (mut ids, mut targets) = (vec![0u32; tokens], vec![0u32; tokens]);
    let mut batch = [Batch::default()];
    let vocab = model.config.vocab as u32;
    let mut draw = |i: u64, batch: &mut Batch| {
        random::below(random::Key { seed: 7, stream: 0, step: i }, vocab, &mut ids);
        random::below(random::Key { seed: 7, stream: 1, step: i }, vocab, &mut targets);
        batch.fill(&ids, &targets, &weights, &spans);
    };
    draw(0, &mut batch[0]);
    let ready = process::seconds_since_start();
    let first = step.run(&mut model, &batch, 1.0)?;
    let first_done = process::seconds_since_start();
    let (mut ms, mut last, mut allocated) = (Vec::with_capacity(1 << 16), first, 0);
    let begun = Instant::now();
    while a.steps.map_or(begun.elapsed().as_secs_f64() < a.seconds || ms.len() < 3, |s| ms.len() < s) {
        draw(ms.len() as u64 + 1, &mut batch[0]);
        let before = allocations::count();
        let t = Instant::now();
        last = step.run(&mut model, &batch, 1.0)?;
        ms.push(1e3 * t.elapsed().as_secs_f64());
        allocated += allocations::count() - before;
    }
    let step_ms = median(ms.clone());
    let gflops = flops * tokens as f64 / step_ms / 1e6;
    // Last, so that the peak's own threads and time are in nobody's way.
    let peak = peak::measure(dtype, pool::threads());
    let report = serde_json::json!({
        "preset": a.preset,
        "parameters": model.config.parameter_count(),
        "tokens_per_s": 1e3 * tokens as f64 / step_ms,
        "step_ms": step_ms,
        "steps": ms.len(),
        "flop_per_token": flops,
        "gflops": gflops,
        "peak_gflops": peak,
        "peak_fraction": gflops / peak,
        "peak_rss_mb": process::peak_rss_mb(),
        "activation_mb": model.config.activation_bytes(tokens, dtype.size()) / 1_000_000,
        "allocations_after_first_step": allocated,
        "first_step_s": ready,
        "first_step_done_s": first_done,
        "loss_first": first.loss.mean(),
        "loss_last": last.loss.mean(),
        "threads": pool::threads(),
        "simd": level::level().name(),
        "dtype": dtype.name(),
    });
    if a.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    Ok(())
}
