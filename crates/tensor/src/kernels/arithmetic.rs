//! Sums, scalings, conversions: the element-wise rest.

use crate::kernels::matrix::Element;
use crate::kernels::pool;
use crate::kernels::reduce;
use crate::kernels::vector::{self, vectorised};

/// Elements of a task.
pub(crate) const CHUNK: usize = 1 << 14;

/// `a += b`, rounded to the type of `a`.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign<A: Element, B: Element>(a: &mut [A], b: &[B]) {
    assert_eq!(a.len(), b.len(), "add_assign: {} numbers to {}", b.len(), a.len());
    pool::chunks(a, CHUNK, |i, a| add_chunk(a, &b[i * CHUNK..][..a.len()]));
}

vectorised! {
    fn add_chunk[A: Element, B: Element](a: &mut [A], b: &[B]) {
        for (a, b) in a.iter_mut().zip(b) { *a = A::from_f32(a.to_f32() + b.to_f32()); }
    }
}

/// Converts between element types.
///
/// # Panics
/// If the lengths differ.
pub fn convert<A: Element, B: Element>(from: &[A], to: &mut [B]) {
    assert_eq!(from.len(), to.len(), "convert: {} numbers to {}", from.len(), to.len());
    pool::chunks(to, CHUNK, |i, to| convert_chunk(&from[i * CHUNK..][..to.len()], to));
}

vectorised! {
    fn convert_chunk[A: Element, B: Element](from: &[A], to: &mut [B]) {
        for (t, f) in to.iter_mut().zip(from) { *t = B::from_f32(f.to_f32()); }
    }
}

/// `a = s·a + t·b`.
///
/// # Panics
/// If the lengths differ.
pub fn scale_add(a: &mut [f32], s: f32, t: f32, b: &[f32]) {
    assert_eq!(a.len(), b.len(), "scale_add: {} numbers and {}", b.len(), a.len());
    pool::chunks(a, CHUNK, |i, a| scale_add_chunk(a, s, t, &b[i * CHUNK..][..a.len()]));
}

vectorised! {
    fn scale_add_chunk(a: &mut [f32], s: f32, t: f32, b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) { *a = s * *a + t * b; }
    }
}

/// Muon's momentum with Nesterov's look ahead: `m = μ·m + scale·g`, `update = scale·g + μ·m`.
///
/// # Panics
/// If the lengths differ.
pub fn momentum(m: &mut [f32], g: &[f32], decay: f32, scale: f32, update: &mut [f32]) {
    assert!(m.len() == g.len() && g.len() == update.len(), "momentum: lengths differ");
    for ((m, g), u) in m.iter_mut().zip(g).zip(update) {
        *m = decay * *m + scale * g;
        *u = scale * g + decay * *m;
    }
}

/// `Σ x²`: chunks in f32 lanes, their sums in f64 in order.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    // A stack of partial sums would do for any length; a chunk count of 4,096 covers a step without allocating.
    let mut total = 0f64;
    for part in x.chunks(CHUNK * 64) {
        let mut sums = [0f64; 64];
        pool::chunks(&mut sums[..part.len().div_ceil(CHUNK)], 1, |i, sum| {
            let end = ((i + 1) * CHUNK).min(part.len());
            sum[0] = f64::from(squares_chunk(&part[i * CHUNK..end]));
        });
        total += sums.iter().sum::<f64>();
    }
    total
}

vectorised! {
    fn squares_chunk(x: &[f32]) -> f32 {
        vector::sum(x.len(), |i| x[i] * x[i])
    }
}

/// `out[c] += Σ_r x[r][c]` for rows of `out.len()` columns.
///
/// # Panics
/// If `width` is not the length of `out`, or does not divide that of `x`.
pub fn column_sums<X: Element>(x: &[X], width: usize, out: &mut [f32]) {
    assert!(out.len() == width && x.len().is_multiple_of(width.max(1)), "column_sums: rows of {width}");
    reduce::rows(x.len() / width.max(1), out, |rows, partial| {
        sum_rows(&x[rows.start * width..rows.end * width], partial)
    });
}

vectorised! {
    fn sum_rows[X: Element](x: &[X], out: &mut [f32]) {
        for row in x.chunks_exact(out.len()) {
            for (o, x) in out.iter_mut().zip(row) { *o += x.to_f32(); }
        }
    }
}

/// The index of the first NaN or infinity.
pub fn first_nonfinite<X: Element>(x: &[X]) -> Option<usize> {
    x.iter().position(|x| !x.to_f32().is_finite())
}
