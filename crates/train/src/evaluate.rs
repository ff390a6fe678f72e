//! The loss on text that was not learned from.

use pupil_data::{Items, Packer, Row};
use pupil_model::{Batch, Model};
use pupil_tensor::{DType, Graph, Loss};

/// A loss and the bytes that were predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Over all learned targets.
    pub loss: Loss,
    /// Bytes of those targets; special tokens have none, because no text holds them.
    pub bytes: u64,
}

impl Evaluation {
    /// Bits for each byte of text.
    pub fn bits_per_byte(&self) -> f64 {
        self.loss.sum / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// Evaluates a model on sequences, `budget` tokens at a time. `id_bytes` has for each id the bytes of text that it stands for.
pub fn evaluate(
    model: &impl Model,
    items: &Items,
    id_bytes: &[u32],
    budget: usize,
    dtype: DType,
) -> Evaluation {
    let mut result = Evaluation::default();
    if items.is_empty() {
        return result;
    }
    let mut packer = Packer::new(items, budget, 0);
    let (mut row, mut batch) = (Row::default(), Batch::default());
    for number in 0..packer.rows_per_epoch() as u64 {
        packer.fill(number, &mut row);
        fill(&mut batch, &row);
        let mut graph = Graph::inference(model.parameters(), dtype).passing();
        result.loss += model.loss(&mut graph, &batch, 1.0);
        let learned = row.targets.iter().zip(&row.weights).filter(|(_, w)| **w > 0.0);
        let bytes = |id: u32| id_bytes.get(id as usize).copied().unwrap_or(0);
        result.bytes += learned.map(|(&id, _)| u64::from(bytes(id))).sum::<u64>();
    }
    result
}

/// Puts a row into a batch, reusing its memory.
pub fn fill(batch: &mut Batch, row: &Row) {
    batch.fill(&row.ids, &row.targets, &row.weights, &row.spans);
    if !row.source_spans.is_empty() {
        batch.set_source(&row.source_ids, &row.source_spans);
    }
}
