//! ReLU `max(x, 0)` and its square (So et al. 2021).

use crate::kernels::matrix::Element;
use crate::kernels::unary::{map, map2};
use crate::kernels::vector::vectorised;

/// `y = max(x, 0)`.
pub fn forward<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_chunk);
}

vectorised! {
    fn forward_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (y, x) in y.iter_mut().zip(x) { *y = E::from_f32(positive(x.to_f32())); }
    }
}

/// `max(x, 0)` that lets NaN through.
#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `dx = dy` where `x > 0`, else 0.
pub fn backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_chunk);
}

vectorised! {
    fn backward_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            *dx = E::from_f32(if x.to_f32() > 0.0 { dy.to_f32() } else { 0.0 });
        }
    }
}

/// `y = max(x, 0)²`.
pub fn forward_squared<E: Element>(x: &[E], y: &mut [E]) {
    map(x, y, forward_squared_chunk);
}

vectorised! {
    fn forward_squared_chunk[E: Element](x: &[E], y: &mut [E]) {
        for (y, x) in y.iter_mut().zip(x) {
            let p = positive(x.to_f32());
            *y = E::from_f32(p * p);
        }
    }
}

/// `dx = dy · 2·max(x, 0)`.
pub fn backward_squared<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    map2(x, dy, dx, backward_squared_chunk);
}

vectorised! {
    fn backward_squared_chunk[E: Element](x: &[E], dy: &[E], dx: &mut [E]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            *dx = E::from_f32(dy.to_f32() * 2.0 * positive(x.to_f32()));
        }
    }
}
