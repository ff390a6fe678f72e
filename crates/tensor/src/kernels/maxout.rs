//! Maxout over rows of `2·width`: of column `i` and column `width + i` the larger. Goodfellow et al. 2013.
//!
//! The gradient goes to the larger; of two equal ones to the first.

use crate::kernels::matrix::Element;
use crate::kernels::pool;
use crate::kernels::reduce;
use crate::kernels::vector::vectorised;

/// Rows of `2·width` into rows of `width`.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward<E: Element>(x: &[E], width: usize, y: &mut [E]) {
    assert_eq!(x.len(), 2 * y.len(), "maxout: {} numbers into {}", x.len(), y.len());
    let each = reduce::block_rows(y.len() / width.max(1)) * width.max(1);
    pool::chunks(y, each, |i, y| forward_rows(&x[2 * i * each..][..2 * y.len()], width, y));
}

vectorised! {
    fn forward_rows[E: Element](x: &[E], width: usize, y: &mut [E]) {
        for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
            let (a, b) = x.split_at(width);
            for i in 0..width {
                y[i] = if a[i].to_f32() >= b[i].to_f32() { a[i] } else { b[i] };
            }
        }
    }
}

/// The gradient of [`forward`]: rows of `2·width`.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward<E: Element>(x: &[E], width: usize, dy: &[E], dx: &mut [E]) {
    assert!(x.len() == dx.len() && dx.len() == 2 * dy.len(), "maxout backward: lengths differ");
    let each = reduce::block_rows(dy.len() / width.max(1)) * width.max(1);
    pool::chunks(dx, 2 * each, |i, dx| {
        let (x, dy) = (&x[2 * i * each..][..dx.len()], &dy[i * each..][..dx.len() / 2]);
        backward_rows(x, width, dy, dx);
    });
}

vectorised! {
    fn backward_rows[E: Element](x: &[E], width: usize, dy: &[E], dx: &mut [E]) {
        let rows = x.chunks_exact(2 * width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width));
        for ((x, dy), dx) in rows {
            let (a, b) = x.split_at(width);
            let (da, db) = dx.split_at_mut(width);
            for i in 0..width {
                let first = a[i].to_f32() >= b[i].to_f32();
                da[i] = if first { dy[i] } else { E::from_f32(0.0) };
                db[i] = if first { E::from_f32(0.0) } else { dy[i] };
            }
        }
    }
}
