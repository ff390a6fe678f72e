//! Element-wise kernels in parallel: chunks of fixed length, whatever the threads.

use crate::kernels::arithmetic::CHUNK;
use crate::kernels::matrix::Element;
use crate::kernels::pool;

/// `f(x, y)` for each chunk.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn map<E: Element>(x: &[E], y: &mut [E], f: impl Fn(&[E], &mut [E]) + Sync) {
    assert_eq!(x.len(), y.len(), "activation: {} numbers into {}", x.len(), y.len());
    pool::chunks(y, CHUNK, |i, y| f(&x[i * CHUNK..][..y.len()], y));
}

/// `f(x, dy, dx)` for each chunk.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn map2<E: Element>(x: &[E], dy: &[E], dx: &mut [E], f: impl Fn(&[E], &[E], &mut [E]) + Sync) {
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "activation backward: lengths differ");
    pool::chunks(dx, CHUNK, |i, dx| f(&x[i * CHUNK..][..dx.len()], &dy[i * CHUNK..][..dx.len()], dx));
}
