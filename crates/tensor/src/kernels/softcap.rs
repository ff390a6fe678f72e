//! Soft cap: `cap · tanh(x / cap)`, in place (Gemma Team 2024).

use crate::kernels::arithmetic::CHUNK;
use crate::kernels::math;
use crate::kernels::pool;
use crate::kernels::vector::vectorised;

/// Caps every number.
pub fn forward(x: &mut [f32], cap: f32) {
    pool::chunks(x, CHUNK, |_, x| forward_chunk(x, cap));
}

vectorised! {
    fn forward_chunk(x: &mut [f32], cap: f32) {
        for x in x.iter_mut() { *x = cap * math::tanh::<FUSED>(*x / cap); }
    }
}

/// Turns the gradient `d` of the capped numbers `y` into that of the numbers: `d · (1 − (y/cap)²)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward(y: &[f32], cap: f32, d: &mut [f32]) {
    assert_eq!(y.len(), d.len(), "softcap: {} numbers, {} gradients", y.len(), d.len());
    pool::chunks(d, CHUNK, |i, d| backward_chunk(&y[i * CHUNK..][..d.len()], cap, d));
}

vectorised! {
    fn backward_chunk(y: &[f32], cap: f32, d: &mut [f32]) {
        for (d, y) in d.iter_mut().zip(y) { *d *= 1.0 - (y / cap) * (y / cap); }
    }
}
