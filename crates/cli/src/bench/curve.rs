//! `pupil bench curve`: learns from the weights and batches that `benches/compare/loss_curve.py` wrote and compares the losses.

use std::path::PathBuf;

use pupil_model::{Batch, Gpt, Model, families};
use pupil_train::optim::Settings;
use pupil_train::step::Step;
use serde::Deserialize;

use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder that the script wrote.
    #[arg(long)]
    fixture: PathBuf,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    dtype: String,
}

/// `curve.json`: what was learned and how.
#[derive(Deserialize)]
struct Curve {
    preset: String,
    vocab: usize,
    context: usize,
    learning_rate: f32,
    /// Where each window of each step begins in the tokens.
    offsets: Vec<Vec<usize>>,
    losses: Vec<f64>,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read(a.fixture.join(name)).map_err(|e| anyhow::anyhow!("{name}: {e}"));
    let curve: Curve = serde_json::from_slice(&read("curve.json")?)?;
    let tokens: Vec<u32> =
        read("tokens.bin")?.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
    let config =
        families::preset(&curve.preset).ok_or_else(|| anyhow::anyhow!("no preset `{}`", curve.preset))?;
    anyhow::ensure!(
        config.vocab == curve.vocab && config.context == curve.context,
        "the preset has other sizes"
    );
    let mut gpt = Gpt::zeros(config);
    let weights = pupil_checkpoint::directory::plain_tensors(&a.fixture.join("weights.safetensors"))?;
    let ids: Vec<_> = gpt.parameters().iter().map(|(id, p)| (id, p.name.clone())).collect();
    for (id, name) in ids {
        let data = weights.get(&name).ok_or_else(|| anyhow::anyhow!("weights.safetensors lacks `{name}`"))?;
        gpt.parameters_mut().data_mut(id).copy_from_slice(data);
    }
    let settings = Settings { learning_rate: curve.learning_rate, ..Settings::default() };
    let mut step = Step::new(&gpt, settings, process::dtype(&a.dtype)?, 0);
    let mut batch = [Batch::default()];
    let (mut worst, mut last) = (0f64, 0f64);
    for (s, offsets) in curve.offsets.iter().enumerate() {
        let n = curve.context;
        let ids: Vec<u32> = offsets.iter().flat_map(|&o| tokens[o..o + n].iter().copied()).collect();
        let targets: Vec<u32> =
            offsets.iter().flat_map(|&o| tokens[o + 1..o + 1 + n].iter().copied()).collect();
        let spans: Vec<_> = (0..offsets.len()).map(|i| i * n..(i + 1) * n).collect();
        batch[0].fill(&ids, &targets, &vec![1.0; ids.len()], &spans);
        let loss = step.run(&mut gpt, &batch, 1.0)?.loss.mean();
        let difference = (loss / curve.losses[s] - 1.0).abs();
        worst = worst.max(difference);
        last = difference;
        if s % 20 == 0 || s + 1 == curve.offsets.len() {
            println!("step {s}: {loss:.5}, there {:.5}, {:.3} % apart", curve.losses[s], 100.0 * difference);
        }
    }
    println!(
        "largest difference over {} steps {:.3} %, after the last {:.3} %",
        curve.offsets.len(),
        100.0 * worst,
        100.0 * last
    );
    anyhow::ensure!(last < 0.01, "after the last step the curves are more than 1 % apart");
    Ok(())
}
