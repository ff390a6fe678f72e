//! `pupil bench train`: steps of a preset or of a run's shape on random ids, as one JSON object or a few lines.

use std::path::{Path, PathBuf};
use std::time::Instant;

use pupil_model::gpt::Config;
use pupil_model::{Batch, Gpt, Settings as Architecture, families};
use pupil_tensor::kernels::{allocations, level, peak, pool, random};
use pupil_train::optim::Settings;
use pupil_train::step::Step;

use super::median;
use crate::exit::Usage;
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which configuration.
    #[arg(long, value_parser = ["char-tiny", "char-small", "base-30m", "llama-30m"], default_value = "char-small")]
    preset: String,
    /// The model, the batch and the optimiser of the run in this directory, instead of a preset.
    #[arg(long, conflicts_with = "preset")]
    run: Option<PathBuf>,
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

/// What a step is of.
struct Shape {
    name: String,
    config: Config,
    rows: usize,
    row_tokens: usize,
    optimiser: Settings,
}

/// The shape of a preset: all sequences of a step in one row.
fn preset(name: &str) -> anyhow::Result<Shape> {
    let config = families::preset(name).ok_or_else(|| anyhow::anyhow!("no preset `{name}`"))?;
    let sequences = match name {
        "char-tiny" => 12,
        "char-small" => 16,
        _ => 4,
    };
    let row_tokens = sequences * config.context;
    Ok(Shape { name: name.to_owned(), config, rows: 1, row_tokens, optimiser: Settings::default() })
}

/// The shape of a run.
fn of_run(dir: &Path) -> anyhow::Result<Shape> {
    let Some(plan) = pupil_train::planned(dir)? else {
        anyhow::bail!(Usage(format!("{}: no run; a run's directory has a run.json", dir.display())));
    };
    let Architecture::Gpt(config) = plan.model else {
        anyhow::bail!(Usage(format!("{}: its model is no GPT", dir.display())));
    };
    let (rows, row_tokens, optimiser) = (plan.rows, plan.row_tokens, plan.optimiser);
    Ok(Shape { name: dir.display().to_string(), config, rows, row_tokens, optimiser })
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtype = process::dtype(&a.dtype)?;
    let shape = a.run.as_deref().map_or_else(|| preset(&a.preset), of_run)?;
    let (context, row) = (shape.config.context, shape.row_tokens);
    let tokens = shape.rows * row;
    let flops = shape.config.training_flops_per_token(context);
    let mut model = Gpt::new(shape.config, 1);
    let mut step = Step::new(&model, shape.optimiser, dtype, 1);
    let spans: Vec<_> = (0..row).step_by(context).map(|b| b..(b + context).min(row)).collect();
    let weights = vec![1.0; row];
    let (mut ids, mut targets) = (vec![0u32; row], vec![0u32; row]);
    let mut batches: Vec<Batch> = (0..shape.rows).map(|_| Batch::default()).collect();
    let vocab = model.config.vocab as u32;
    let mut draw = |i: u64, batches: &mut [Batch]| {
        for (n, batch) in (0u64..).zip(batches) {
            random::below(random::Key { seed: 7, stream: 2 * n, step: i }, vocab, &mut ids);
            random::below(random::Key { seed: 7, stream: 2 * n + 1, step: i }, vocab, &mut targets);
            batch.fill(&ids, &targets, &weights, &spans);
        }
    };
    draw(0, &mut batches);
    let ready = process::seconds_since_start();
    let first = step.run(&mut model, &batches, 1.0)?;
    let first_done = process::seconds_since_start();
    let (mut ms, mut last, mut allocated) = (Vec::with_capacity(1 << 16), first, 0);
    let begun = Instant::now();
    while a.steps.map_or(begun.elapsed().as_secs_f64() < a.seconds || ms.len() < 3, |s| ms.len() < s) {
        draw(ms.len() as u64 + 1, &mut batches);
        let before = allocations::count();
        let t = Instant::now();
        last = step.run(&mut model, &batches, 1.0)?;
        ms.push(1e3 * t.elapsed().as_secs_f64());
        allocated += allocations::count() - before;
    }
    let step_ms = median(ms.clone());
    let gflops = flops * tokens as f64 / step_ms / 1e6;
    // Last, so that the peak's own threads and time are in nobody's way.
    let peak = peak::measure(dtype, pool::threads());
    let report = serde_json::json!({
        "preset": shape.name,
        "parameters": model.config.parameter_count(),
        "tokens_per_s": 1e3 * tokens as f64 / step_ms,
        "step_ms": step_ms,
        "steps": ms.len(),
        "flop_per_token": flops,
        "gflops": gflops,
        "peak_gflops": peak,
        "peak_fraction": gflops / peak,
        "peak_rss_mb": process::peak_rss_mb(),
        "activation_mb": model.config.activation_bytes(row, dtype.size()) / 1_000_000,
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
