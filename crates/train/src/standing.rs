//! Where a run stands: what a checkpoint holds beside the weights, the moments and the plan.
//!
//! `state.json` has all that a step depends on: how many are done, where the next row stands, which losses are usual, which evaluation was
//! the best. Numbers that are compared later stand there by their bits.

use std::path::Path;

use pupil_checkpoint::{Error as FileError, directory, state};
use pupil_data::Position;
use pupil_model::{Model, Network};
use pupil_tensor::kernels::level;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::evaluate::Evaluation;
use crate::guard::{Guard, bits};
use crate::run::Error;
use crate::step::Step;

/// What moves while a run goes on, beside the model, the optimiser and the place in the data.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) tokens: u64,
    /// Of all sittings.
    pub(crate) seconds: f64,
    pub(crate) guard: Guard,
    /// The step after which the validation text was evaluated last, and what came out.
    pub(crate) evaluated: u64,
    pub(crate) result: Option<Evaluation>,
    pub(crate) best: Option<Best>,
    /// Evaluations in a row that were not the best.
    pub(crate) in_vain: u64,
}

/// The evaluation with the lowest loss.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: u64,
    #[serde(with = "bits")]
    pub(crate) loss: f64,
}

impl Standing {
    /// Takes note of an evaluation; says whether none had a lower loss.
    pub(crate) fn evaluated(&mut self, step: u64, result: Evaluation) -> bool {
        (self.evaluated, self.result) = (step, Some(result));
        let loss = result.loss.mean();
        let is_best = result.loss.weight > 0.0 && self.best.is_none_or(|b| loss < b.loss);
        self.in_vain += 1;
        if is_best {
            (self.best, self.in_vain) = (Some(Best { step, loss }), 0);
        }
        is_best
    }
}

/// `state.json` beside the plan.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) step: u64,
    pub(crate) position: Position,
    #[serde(flatten)]
    pub(crate) standing: Standing,
    pub(crate) bits: Bits,
}

/// What decides about the bits of a step, beside the plan and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bits {
    kernels: u32,
    simd: String,
}

impl Bits {
    /// This process's.
    pub(crate) fn here() -> Bits {
        Bits { kernels: level::REVISION, simd: level::level().name().to_owned() }
    }
}

impl std::fmt::Display for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kernels of revision {} with {} instructions", self.kernels, self.simd)
    }
}

/// The state of a checkpoint.
pub(crate) fn read_state(path: &Path, state: &Value) -> Result<State, Error> {
    let bad = |e: serde_json::Error| FileError::Content {
        path: path.join("state.json"),
        what: format!("is no state of a run: {e}"),
    };
    Ok(serde_json::from_value(state.clone()).map_err(bad)?)
}

/// The model of a checkpoint; the optimiser takes up its state.
pub(crate) fn restore(path: &Path, steps: u64, step: &mut Step) -> Result<Network, Error> {
    let model = directory::load(path)?;
    let mut moments = state::moments(path)?;
    let find = |name: &str, k: usize| moments.remove(&format!("{name}.{}", ["first", "second"][k]));
    let restored = step.optimiser_mut().restore(model.parameters(), steps, find);
    restored.map_err(|what| FileError::Content { path: path.join("optimiser.safetensors"), what })?;
    Ok(model)
}
