//! Softmax and cross-entropy of rows of logits, with the gradient in place of the logits.
//!
//! With probabilities `p`: loss `−ln p[target]`, gradient `weight·scale·(p − onehot)`. With smoothing ε the target's share is 1 − ε and ε is
//! spread over all ids (Szegedy et al. 2016). Equals `torch.nn.functional.cross_entropy`.

use crate::kernels::math;
use crate::kernels::matrix::Element;
use crate::kernels::pool::{self, Shareable};
use crate::kernels::vector::{self, vectorised};

/// Writes each row's loss and whether the target has the highest score (1 or 0), and in place of its logits the gradient, `weight · scale` times
/// that of the loss. A row of weight 0 has loss 0 and gradient 0, whatever its logits are.
///
/// # Panics
/// If the lengths do not fit.
pub fn loss_and_gradient(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: &[f32],
    scale: f32,
    smoothing: f32,
    losses: &mut [f32],
    right: &mut [f32],
) {
    let rows = losses.len();
    assert!(
        logits.len() == rows * vocab && targets.len() == rows && weights.len() == rows && right.len() == rows,
        "cross_entropy: {} logits, {rows} rows of {vocab}",
        logits.len()
    );
    // A few rows a task when they are short.
    let each = (4096 / vocab.max(1)).max(1);
    let (losses, right) = (Shareable(losses.as_mut_ptr()), Shareable(right.as_mut_ptr()));
    pool::chunks(logits, each * vocab.max(1), |i, logits| {
        for (k, row) in logits.chunks_exact_mut(vocab).enumerate() {
            let r = i * each + k;
            let (loss, is_right) = row_loss(row, targets[r] as usize, weights[r], scale, smoothing);
            // SAFETY: row r belongs to this task alone, and there are `rows` losses and answers.
            unsafe {
                *losses.get().add(r) = loss;
                *right.get().add(r) = f32::from(u8::from(is_right));
            }
        }
    });
}

vectorised! {
    fn row_loss(row: &mut [f32], target: usize, weight: f32, scale: f32, smoothing: f32) -> (f32, bool) {
        if weight == 0.0 {
            row.fill(0.0);
            return (0.0, false);
        }
        let top = vector::max(row);
        let wanted = row[target] - top;
        let mean = if smoothing > 0.0 { vector::sum(row.len(), |i| row[i] - top) / row.len() as f32 } else { 0.0 };
        let mut lanes = [0f32; vector::LANES];
        for chunk in row.chunks_mut(vector::LANES) {
            for (x, l) in chunk.iter_mut().zip(&mut lanes) {
                let e = math::exp::<FUSED>(*x - top);
                *x = e;
                *l += e;
            }
        }
        let total = vector::fold(lanes);
        let factor = weight * scale;
        let share = factor / total;
        let spread = factor * smoothing / row.len() as f32;
        for x in row.iter_mut() { *x = *x * share - spread; }
        row[target] -= factor * (1.0 - smoothing);
        let log_total = total.ln();
        (log_total - (1.0 - smoothing) * wanted - smoothing * mean, wanted == 0.0)
    }
}

/// Turns each row of `width` numbers into probabilities: `softmax(x / temperature)`.
///
/// # Panics
/// If the temperature is not positive.
pub fn softmax<E: Element>(x: &mut [E], width: usize, temperature: f32) {
    assert!(temperature > 0.0, "softmax: temperature {temperature}");
    let mut row = vec![0f32; width];
    for x in x.chunks_exact_mut(width.max(1)) {
        for (r, x) in row.iter_mut().zip(x.iter()) {
            *r = x.to_f32() / temperature;
        }
        probabilities(&mut row);
        for (x, r) in x.iter_mut().zip(&row) {
            *x = E::from_f32(*r);
        }
    }
}

vectorised! {
    fn probabilities(row: &mut [f32]) {
        let top = vector::max(row);
        for x in row.iter_mut() { *x = math::exp::<FUSED>(*x - top); }
        let total = vector::sum(row.len(), |i| row[i]);
        for x in row.iter_mut() { *x /= total; }
    }
}
