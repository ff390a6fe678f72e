//! The loss on text that was not learned from.

use pupil_data::{Items, Packer, Row};
use pupil_model::{Batch, Model};
use pupil_tensor::{DType, Graph, Loss};
use pupil_tokenizer::Tokenizer;

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

/// Evaluates a model on sequences, `budget` tokens at a time.
pub fn evaluate(
    model: &impl Model,
    items: &Items,
    tokenizer: &Tokenizer,
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
        batch.fill(&row.ids, &row.targets, &row.weights, &row.spans);
        let mut graph = Graph::inference(model.parameters(), dtype).passing();
        result.loss += model.loss(&mut graph, &batch, 1.0);
        let learned = row.targets.iter().zip(&row.weights).filter(|(_, w)| **w > 0.0);
        let bytes =
            |id: u32| if tokenizer.is_special(id) { 0 } else { tokenizer.bytes(id).map_or(0, <[u8]>::len) };
        result.bytes += learned.map(|(&id, _)| bytes(id) as u64).sum::<u64>();
    }
    result
}
