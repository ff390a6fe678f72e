//! The loss on text that was not learned from.

use pupil_data::{Error, Examples, Row};
use pupil_model::{Aim, Batch, Model};
use pupil_tensor::{DType, Graph, Loss};
use serde::{Deserialize, Serialize};

use crate::collective::{self, Collective, Single};

/// A loss and the bytes that were predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub struct Evaluation {
    /// Over all learned targets.
    pub loss: Loss,
    /// Bytes of those targets; special tokens have none, because no text holds them.
    pub bytes: u64,
}

/// Numbers by their bits: a checkpoint gives back what it was given.
impl From<Evaluation> for [u64; 4] {
    fn from(e: Evaluation) -> [u64; 4] {
        [e.loss.sum.to_bits(), e.loss.weight.to_bits(), e.loss.right.to_bits(), e.bytes]
    }
}

impl From<[u64; 4]> for Evaluation {
    fn from([sum, weight, right, bytes]: [u64; 4]) -> Evaluation {
        let [sum, weight, right] = [sum, weight, right].map(f64::from_bits);
        Evaluation { loss: Loss { sum, weight, right }, bytes }
    }
}

impl Evaluation {
    /// Bits for each byte of text.
    pub fn bits_per_byte(&self) -> f64 {
        self.loss.sum / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// Evaluates a model on sequences, `budget` tokens at a time. `id_bytes` has for each id the bytes of text that it stands for.
///
/// # Errors
/// If the sequences cannot be read.
pub fn evaluate(
    model: &impl Model,
    examples: &dyn Examples,
    id_bytes: &[u32],
    budget: usize,
    dtype: DType,
) -> Result<Evaluation, Error> {
    let all = evaluate_part(&Single, model, examples, id_bytes, budget, dtype, u64::MAX, &mut || true)?;
    Ok(all.unwrap_or_default())
}

/// The same on the first rows that hold `most` tokens, which are the same ones each time, dealt out among ranks; all have the same result.
/// A process that is alone asks `go_on` before each row; `None` if it said no.
///
/// # Errors
/// If the sequences cannot be read.
#[expect(clippy::too_many_arguments, reason = "what is evaluated, on what, and with whom")]
pub fn evaluate_part(
    ranks: &dyn Collective,
    model: &impl Model,
    examples: &dyn Examples,
    id_bytes: &[u32],
    budget: usize,
    dtype: DType,
    most: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Evaluation>, Error> {
    let (mut losses, mut count) = (Vec::new(), 0);
    let mut result = Evaluation::default();
    if examples.tokens() == 0 {
        return Ok(Some(result));
    }
    let mut rows = examples.rows(budget, 0);
    let (mut row, mut batch) = (Row::default(), Batch::default());
    let mut read = 0;
    while rows.position().epoch == 0 && read < most {
        // Ranks that wait for each other's losses cannot leave one by one.
        if !go_on() && ranks.size() == 1 {
            return Ok(None);
        }
        rows.next(&mut row)?;
        read += row.ids.len() as u64;
        if count % ranks.size() == ranks.rank() {
            fill(&mut batch, &row);
            let mut graph = Graph::inference(model.parameters(), dtype).passing();
            losses.push(model.loss(&mut graph, &batch, 1.0));
        }
        count += 1;
        if row.preferences.is_some() {
            continue;
        }
        let learned = row.targets.iter().zip(&row.weights).filter(|(_, w)| **w > 0.0);
        let bytes = |id: u32| id_bytes.get(id as usize).copied().unwrap_or(0);
        result.bytes += learned.map(|(&id, _)| u64::from(bytes(id))).sum::<u64>();
    }
    let losses = collective::all_losses(ranks, &losses);
    let in_order = (0..count).filter_map(|i| losses[i % ranks.size()].get(i / ranks.size()));
    in_order.for_each(|&loss| result.loss += loss);
    Ok(Some(result))
}

/// Puts a row into a batch, reusing its memory.
pub fn fill(batch: &mut Batch, row: &Row) {
    batch.fill(&row.ids, &row.targets, &row.weights, &row.spans);
    if !row.kinds.is_empty() {
        batch.set_kinds(&row.kinds);
    }
    if !row.source_spans.is_empty() {
        batch.set_source(&row.source_ids, &row.source_spans);
    }
    batch.aim = row.preferences.clone().map(|p| Aim::Preferences {
        beta: p.beta,
        smoothing: p.smoothing,
        normalised: p.normalised,
        reference: p.reference,
    });
}
