//! GELU: `x · Φ(x)`, exact or in its tanh form `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
//!
//! Hendrycks & Gimpel 2016; equals `torch.nn.functional.gelu` with `approximate="none"` and `"tanh"`.

use crate::kernels::math;
use crate::kernels::matrix::Element;
use crate::kernels::unary::{map, map2};
use crate::kernels::vector::vectorised;

/// 1/√(2π).
const GAUSS: f32 = 0.398_942_3;
/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// `y = x·Φ(x)`.
pub fn forward<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_chunk);
}

vectorised! {
    fn forward_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (y, x) in y.iter_mut().zip(x) {
            let x = x.to_f32();
            *y = E::from_f32(x * math::normal_cdf::<FUSED>(x).0);
        }
    }
}

/// `dx = dy · (Φ(x) + x·φ(x))`.
pub fn backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_chunk);
}

vectorised! {
    fn backward_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let x = x.to_f32();
            let (cdf, gauss) = math::normal_cdf::<FUSED>(x);
            *dx = E::from_f32(dy.to_f32() * (cdf + x * GAUSS * gauss));
        }
    }
}

/// The tanh form.
pub fn forward_tanh<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_tanh_chunk);
}

/// The tanh form of one number and its derivative.
#[inline(always)]
pub(crate) fn tanh_form<const FUSED: bool>(x: f32) -> (f32, f32) {
    let t = math::tanh::<FUSED>(ROOT * (x + CUBE * x * x * x));
    let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBE * x * x);
    (0.5 * x * (1.0 + t), slope)
}

vectorised! {
    fn forward_tanh_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (y, x) in y.iter_mut().zip(x) { *y = E::from_f32(tanh_form::<FUSED>(x.to_f32()).0); }
    }
}

/// Its gradient.
pub fn backward_tanh<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_tanh_chunk);
}

vectorised! {
    fn backward_tanh_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            *dx = E::from_f32(dy.to_f32() * tanh_form::<FUSED>(x.to_f32()).1);
        }
    }
}
