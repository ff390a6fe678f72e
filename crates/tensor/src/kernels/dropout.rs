//! Dropout in place: zero with probability `p`, else divided by `1 − p`; which, the counter-based generator says by index.

use crate::kernels::matrix::Element;
use crate::kernels::pool;
use crate::kernels::random::Key;

/// Elements of a task; a multiple of 4, the numbers of one draw.
const CHUNK: usize = 1 << 13;

/// Applies the mask of a key. Applying the same key to a gradient is the backward.
///
/// # Panics
/// If `p` is not in [0, 1).
pub fn apply<E: Element>(x: &mut [E], p: f32, key: Key) {
    assert!((0.0..1.0).contains(&p), "dropout: probability {p}");
    let bound = (f64::from(p) * f64::powi(2.0, 32)) as u32;
    let keep = 1.0 / (1.0 - p);
    pool::chunks(x, CHUNK, |i, x| {
        for (k, four) in x.chunks_mut(4).enumerate() {
            let draw = key.draw((i * CHUNK / 4 + k) as u64);
            for (x, d) in four.iter_mut().zip(draw) {
                *x = if d < bound { E::default() } else { E::from_f32(x.to_f32() * keep) };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_and_the_scale_are_right_and_the_mask_repeats() {
        // 10⁵ draws: off by more than 1 % of the whole with probability below 1e-9.
        let key = Key { seed: 3, stream: 1, step: 4 };
        let mut x = vec![1f32; 100_003];
        apply(&mut x, 0.25, key);
        let dropped = x.iter().filter(|&&v| v == 0.0).count() as f64 / x.len() as f64;
        assert!((dropped - 0.25).abs() < 0.01, "{dropped}");
        assert!(x.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
        let mut again = vec![1f32; 100_003];
        pool::with_threads(3, || apply(&mut again, 0.25, key));
        assert_eq!(x, again);
    }
}
