//! SiLU: `x · σ(x)` (Elfwing et al. 2017); equals `torch.nn.functional.silu`.

use crate::kernels::math;
use crate::kernels::matrix::Element;
use crate::kernels::unary::{map, map2};
use crate::kernels::vector::vectorised;

/// SiLU of one number and its derivative.
#[inline(always)]
pub(crate) fn form<const FUSED: bool>(x: f32) -> (f32, f32) {
    let s = math::sigmoid::<FUSED>(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// `y = x·σ(x)`.
pub fn forward<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_chunk);
}

vectorised! {
    fn forward_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (y, x) in y.iter_mut().zip(x) { *y = E::from_f32(form::<FUSED>(x.to_f32()).0); }
    }
}

/// `dx = dy · σ(x)·(1 + x·(1 − σ(x)))`.
pub fn backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_chunk);
}

vectorised! {
    fn backward_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            *dx = E::from_f32(dy.to_f32() * form::<FUSED>(x.to_f32()).1);
        }
    }
}
