//! `pupil bench shakespeare`: wall time until a character model of Tiny Shakespeare reaches nanoGPT's validation loss.
//!
//! Data as in nanoGPT: the first nine tenths to learn from, the last tenth to validate on. Model, optimiser and batch are pupil's
//! choice; evaluation reads the whole validation part in windows and its time counts.

use std::path::PathBuf;
use std::time::Instant;

use pupil_model::gpt::{Config, Mlp};
use pupil_model::{Batch, Gpt, Model, families};
use pupil_tensor::kernels::random::{Key, below};
use pupil_tensor::{DType, Graph, Loss};
use pupil_train::optim::Settings;
use pupil_train::schedule::Schedule;
use pupil_train::step::Step;

use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tiny Shakespeare as one file (1,115,394 bytes).
    #[arg(long)]
    text: PathBuf,
    /// Of initial values and batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop at this validation loss (nats a character).
    #[arg(long, default_value_t = 1.90)]
    until: f64,
    /// Steps at most; the schedule ends there.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Steps from one evaluation to the next.
    #[arg(long, default_value_t = 10)]
    evaluate_every: u64,
    /// No evaluation before this step.
    #[arg(long, default_value_t = 170)]
    evaluate_from: u64,
    /// Blocks.
    #[arg(long, default_value_t = 3)]
    layers: usize,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// Heads.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Characters in a window.
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Windows in a step.
    #[arg(long, default_value_t = 40)]
    batch: usize,
    /// Learning rate of Muon's matrices.
    #[arg(long, default_value_t = 0.01)]
    muon: f32,
    /// Learning rate of the rest.
    #[arg(long, default_value_t = 0.01)]
    rate: f32,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let text = std::fs::read_to_string(&a.text)?;
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let id = |c: char| characters.binary_search(&c).map_or(0, |i| i as u32);
    let ids: Vec<u32> = text.chars().map(id).collect();
    let cut = ids.len() * 9 / 10;
    let (train, validation) = ids.split_at(cut);
    anyhow::ensure!(validation.len() > a.context + 1, "the text has {} characters: too short", ids.len());
    let dtype = process::dtype("auto")?;
    let hidden = a.width * 8 / 3 / 16 * 16;
    let llama = families::llama(characters.len(), a.context, a.layers, a.width, [a.heads, a.heads], hidden);
    let config = Config { mlp: Mlp::SwiGlu, ..llama };
    let parameters = config.parameter_count();
    let mut model = Gpt::new(config, a.seed);
    let settings = Settings {
        learning_rate: a.rate,
        muon: Some(a.muon),
        beta2: 0.95,
        weight_decay: 0.0,
        ..Settings::default()
    };
    let schedule = Schedule::Trapezoid { warmup: 5, decay: a.steps / 2, floor: 0.0 };
    let mut step = Step::new(&model, settings, dtype, a.seed);
    let tokens = a.batch * a.context;
    let spans: Vec<_> = (0..a.batch).map(|i| i * a.context..(i + 1) * a.context).collect();
    let weights = vec![1.0; tokens];
    let mut offsets = vec![0; a.batch];
    let (mut x, mut y) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
    let mut batch = [Batch::default()];
    let mut reached = None;
    for s in 0..a.steps {
        below(Key { seed: a.seed, stream: 1 << 40, step: s }, (train.len() - a.context) as u32, &mut offsets);
        x.clear();
        y.clear();
        for &o in &offsets {
            x.extend_from_slice(&train[o as usize..][..a.context]);
            y.extend_from_slice(&train[o as usize + 1..][..a.context]);
        }
        batch[0].fill(&x, &y, &weights, &spans);
        let outcome = step.run(&mut model, &batch, schedule.factor(s, a.steps))?;
        let done = s + 1;
        if (done % a.evaluate_every == 0 && done >= a.evaluate_from) || done == a.steps {
            let loss = validate(&model, validation, a.context, dtype);
            let seconds = begun.elapsed().as_secs_f64();
            if !a.json {
                println!(
                    "step {done}: batch {:.4}, validation {loss:.4}, {seconds:.2} s",
                    outcome.loss.mean()
                );
            }
            if loss <= a.until {
                reached = Some((done, loss, seconds));
                break;
            }
        }
    }
    let report = serde_json::json!({
        "seed": a.seed, "until": a.until, "parameters": parameters, "tokens_per_step": tokens,
        "reached": reached.is_some(),
        "steps": reached.map_or(a.steps, |r| r.0),
        "validation_loss": reached.map(|r| r.1),
        "seconds": begun.elapsed().as_secs_f64(),
        "seconds_since_process_start": process::seconds_since_start(),
    });
    println!("{report}");
    Ok(())
}

/// The mean loss over all of a text, in windows side by side.
fn validate(model: &Gpt, ids: &[u32], context: usize, dtype: DType) -> f64 {
    let mut loss = Loss::default();
    let window = context * 64;
    for begin in (0..ids.len() - 1).step_by(window) {
        let n = window.min(ids.len() - 1 - begin);
        let spans: Vec<_> = (0..n).step_by(context).map(|b| b..(b + context).min(n)).collect();
        let batch = Batch::new(&ids[begin..begin + n], &ids[begin + 1..begin + 1 + n], &vec![1.0; n], &spans);
        let mut graph = Graph::inference(model.parameters(), dtype).passing();
        loss += model.loss(&mut graph, &batch, 1.0);
    }
    loss.mean()
}
