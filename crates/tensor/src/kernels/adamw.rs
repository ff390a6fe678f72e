//! One step of AdamW over one parameter, in a single pass over memory.
//!
//! `w −= lr·λ·w`, `m = β₁m + (1−β₁)g`, `v = β₂v + (1−β₂)g²`, `w −= lr·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)`. Loshchilov & Hutter 2019; equals
//! `torch.optim.AdamW`.

use crate::kernels::pool::{self, Shareable};
use crate::kernels::vector::vectorised;

/// The numbers of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// λ.
    pub weight_decay: f32,
}

/// Elements of a task: its four arrays together fill the second-level cache's share.
const CHUNK: usize = 1 << 14;

/// Changes `w` by its gradient times `scale` and updates the moments; `step` counts from 1.
///
/// # Panics
/// If the lengths differ.
pub fn step(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], rule: &AdamW, step: u64, scale: f32) {
    let n = w.len();
    assert!(g.len() == n && m.len() == n && v.len() == n, "adamw: lengths differ");
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let rate = (f64::from(rule.lr) / correction(rule.beta1)) as f32;
    let root = (1.0 / correction(rule.beta2).sqrt()) as f32;
    let (m, v) = (Shareable(m.as_mut_ptr()), Shareable(v.as_mut_ptr()));
    pool::chunks(w, CHUNK, |i, w| {
        // SAFETY: chunk i alone has these elements of the two arrays, which are as long as `w`.
        let (m, v) = unsafe {
            (
                std::slice::from_raw_parts_mut(m.get().add(i * CHUNK), w.len()),
                std::slice::from_raw_parts_mut(v.get().add(i * CHUNK), w.len()),
            )
        };
        chunk(w, &g[i * CHUNK..][..w.len()], m, v, rule, rate, root, scale);
    });
}

vectorised! {
    fn chunk(
        w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], rule: &AdamW, rate: f32, root: f32, scale: f32,
    ) {
        let n = w.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        let (b1, b2) = (rule.beta1, rule.beta2);
        let keep = 1.0 - rule.lr * rule.weight_decay;
        for i in 0..n {
            let d = g[i] * scale;
            m[i] = b1 * m[i] + (1.0 - b1) * d;
            v[i] = b2 * v[i] + (1.0 - b2) * (d * d);
            w[i] = keep * w[i] - rate * m[i] / (v[i].sqrt() * root + rule.eps);
        }
    }
}
