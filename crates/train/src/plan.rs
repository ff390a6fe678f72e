//! What a run will do, every number of it: settled before the first step, written into the run's directory, compared on resume.

use std::time::Instant;

use pupil_model::{self as model, Batch, Lora, Network};
use pupil_tensor::DType;
use pupil_tensor::kernels::random::{Key, below};
use serde::{Deserialize, Serialize};

use crate::optim::Settings;
use crate::schedule::Schedule;
use crate::step::Step;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// The model's settings.
    pub model: model::Settings,
    /// The adapters that learn in its place, if it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// The optimiser's settings.
    pub optimiser: Settings,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Updates.
    pub steps: u64,
    /// Rows of an update.
    pub rows: usize,
    /// Tokens of a row at most.
    pub row_tokens: usize,
    /// Of initial values and orders.
    pub seed: u64,
    /// Element type of matrix operands: `bf16` or `f32`.
    pub dtype: String,
    /// Steps from one evaluation to the next.
    pub evaluate_every: u64,
    /// Steps from one checkpoint to the next.
    pub save_every: u64,
    /// Whether the finished model is that of the evaluation with the lowest loss.
    #[serde(default)]
    pub keep_best: bool,
    /// BLAKE3 of everything that is learned from.
    pub data: String,
    /// What may end it before its last step, and what may change how many there are.
    #[serde(default)]
    pub limits: Limits,
    /// What it was expected to take and to reach.
    #[serde(default)]
    pub forecast: Option<Forecast>,
}

/// What bounds a run beside its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds that all sittings together may take, from the first step to the last evaluation; see [`crate::pace`].
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Bits for each byte of validation text at which it is enough.
    #[serde(default)]
    pub bits_per_byte: Option<f64>,
    /// Evaluations in a row without a new lowest loss after which it is enough.
    #[serde(default)]
    pub evaluations: Option<u64>,
    /// Tokens of an evaluation at most; the same ones each time.
    #[serde(default)]
    pub evaluate_tokens: Option<u64>,
}

/// What a run is expected to take and to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// From the command to the finished model.
    pub seconds: f64,
    /// Of these, one step.
    pub seconds_per_step: f64,
    /// Of these, one evaluation.
    pub seconds_per_evaluation: f64,
    /// Most resident memory of the process.
    pub memory_bytes: u64,
    /// Largest size of the run's directory.
    pub disk_bytes: u64,
    /// Bits for each byte of validation text at the end.
    pub bits_per_byte: Option<f64>,
}

impl Plan {
    /// The element type of matrix operands.
    pub fn dtype(&self) -> DType {
        if self.dtype == "bf16" { DType::Bf16 } else { DType::F32 }
    }

    /// Bytes of parameters, gradients and moments, packed operands, activations and of a save: what a run needs beside what is learned from and the
    /// program itself (about ten megabytes).
    ///
    /// A save holds the model's tensors as they are written, its file, the moments, and their file together.
    pub fn memory_bytes(&self) -> u64 {
        let parameters = self.model.parameter_count();
        let largest = match &self.model {
            model::Settings::Gpt(c) => c.width * c.vocab.max(c.up_columns()).max(c.qkv_columns()),
            model::Settings::Mlp(c) => c.hidden * c.vocab,
            model::Settings::Conv(c) => c.width * c.vocab,
            model::Settings::Rnn(c) => c.hidden * c.vocab,
            model::Settings::Seq2Seq(c) => c.hidden * c.vocab,
            model::Settings::Bert(c) => c.width * c.vocab.max(c.hidden).max(3 * c.width),
            model::Settings::RnnSearch(c) => c.width * c.vocab,
            model::Settings::Transformer(c) => c.width * c.vocab.max(c.hidden),
        };
        let packed = 2 * (largest * self.dtype().size()) as u64;
        // Buffers have classes of sizes, which waste up to an eighth.
        let activations = self.model.activation_bytes(self.row_tokens, self.dtype().size()) as u64 * 9 / 8;
        let rows = (self.rows * self.row_tokens * 20) as u64;
        let saving = 8 * parameters + 2 * self.moment_bytes();
        // Sums of some of the rows' gradients: one for each bit of the number of rows before the last.
        let partial = u64::from(usize::BITS - self.rows.saturating_sub(1).leading_zeros());
        let learned = match (&self.lora, &self.model) {
            (Some(lora), model::Settings::Gpt(c)) => {
                parameters * 4 + lora.parameter_count(c) * (16 + 4 * partial)
            }
            _ => parameters * (8 + 4 * partial) + self.moment_bytes() + saving,
        };
        learned + packed + activations + rows
    }

    /// Bytes of the optimiser's moments: two for a parameter, one for Muon's matrices.
    fn moment_bytes(&self) -> u64 {
        let matrices = match (&self.model, self.optimiser.muon) {
            (model::Settings::Gpt(c), Some(_)) => {
                let block = c.qkv_columns() + c.heads * c.head_width + c.up_columns() + c.hidden;
                (c.layers * c.width * block) as u64
            }
            _ => 0,
        };
        8 * self.model.parameter_count() - 4 * matrices
    }

    /// Bytes that the run's directory holds at most: two checkpoints, that of the best evaluation, the one that is being written and the finished
    /// model, with a line of metrics for each step.
    pub fn disk_bytes(&self) -> u64 {
        // With a tokenizer.json of about 64 bytes an id.
        let model = 4 * self.model.parameter_count() + 64 * self.model.vocab() as u64 + 10_000;
        4 * (model + self.moment_bytes()) + 2 * model + 300 * self.steps.min(1 << 30)
    }

    /// The fields in which two plans differ, with both values. What was expected of them is none.
    pub fn differences(&self, other: &Plan) -> Vec<String> {
        let fields = |p: &Plan| {
            let p = Plan { forecast: None, ..p.clone() };
            serde_json::to_value(p).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default()
        };
        let (a, b) = (fields(self), fields(other));
        a.iter()
            .filter(|(k, v)| b.get(*k) != Some(v))
            .map(|(k, v)| format!("{k}: {v} here, {} there", b[k]))
            .collect()
    }
}

/// Seconds that a step of one full row takes on this machine, after one to warm up.
pub fn seconds_per_row(
    architecture: &model::Settings,
    settings: Settings,
    row_tokens: usize,
    dtype: DType,
) -> f64 {
    let mut model = Network::new(architecture.clone(), 0);
    let mut step = Step::new(&model, settings, dtype, 0);
    let mut ids = vec![0; row_tokens];
    below(Key { seed: 0, stream: 0, step: 0 }, architecture.vocab() as u32, &mut ids);
    let context = architecture.context();
    let spans: Vec<_> = (0..row_tokens).step_by(context).map(|b| b..(b + context).min(row_tokens)).collect();
    // A BERT says something of every seventh token, or of each sequence, that any of its heads may say.
    let mut batch = match architecture {
        model::Settings::Bert(_) => {
            let weights: Vec<f32> = (0..row_tokens).map(|i| f32::from(u8::from(i % 7 == 0))).collect();
            [Batch::new(&ids, &vec![0; row_tokens], &weights, &spans)]
        }
        _ => [Batch::new(&ids, &ids, &vec![1.0; row_tokens], &spans)],
    };
    if model.encoder_decoder().is_some() {
        // Half of a row is read, the other half written.
        let half = &ids[..row_tokens / 2];
        let spans: Vec<_> =
            (0..half.len()).step_by(context).map(|b| b..(b + context).min(half.len())).collect();
        batch = [Batch::new(half, half, &vec![1.0; half.len()], &spans)];
        batch[0].set_source(half, &spans);
    }
    let mut best = f64::INFINITY;
    for i in 0..4 {
        let begun = Instant::now();
        if step.run(&mut model, &batch, 0.0).is_ok() && i > 0 {
            best = best.min(begun.elapsed().as_secs_f64());
        }
    }
    best
}
