//! Hyperbolic tangent, element by element; backward `dy · (1 − tanh²x)`.

use crate::kernels::math::tanh;
use crate::kernels::matrix::Element;
use crate::kernels::unary::{map, map2};
use crate::kernels::vector::vectorised;

/// `y = tanh x`.
///
/// # Panics
/// If the lengths differ.
pub fn forward<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_chunk);
}

vectorised! {
    fn forward_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (x, y) in x.iter().zip(y) {
            *y = E::from_f32(tanh::<FUSED>(x.to_f32()));
        }
    }
}

/// `dx = dy · (1 − tanh²x)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_chunk);
}

vectorised! {
    fn backward_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let t = tanh::<FUSED>(x.to_f32());
            *dx = E::from_f32(dy.to_f32() * (1.0 - t * t));
        }
    }
}
