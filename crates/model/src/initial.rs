//! Initial values that recurrent networks are usually given: Glorot's uniform ones, orthogonal ones, and a forget gate that is open.
//!
//! Glorot & Bengio 2010; Saxe et al. 2014; Jozefowicz et al. 2015. Keras' defaults for LSTM and Dense.

use pupil_tensor::kernels::random::{self, Key};

/// Uniform in ±`limit`.
pub(crate) fn uniform(key: Key, limit: f32, to: &mut [f32]) {
    random::uniform(key, to);
    to.iter_mut().for_each(|x| *x = (2.0 * *x - 1.0) * limit);
}

/// Uniform in ±√(6 / (in + out)).
pub(crate) fn glorot(key: Key, [rows, cols]: [usize; 2], to: &mut [f32]) {
    uniform(key, (6.0 / (rows + cols) as f32).sqrt(), to);
}

/// A `[rows, cols]` matrix, rows ≥ cols, whose columns are orthonormal: normal numbers, made so by Gram and Schmidt.
pub(crate) fn orthogonal(key: Key, [rows, cols]: [usize; 2], to: &mut [f32]) {
    let mut random = vec![0f32; rows * cols];
    random::normal(key, 0.0, 1.0, &mut random);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(cols);
    for c in 0..cols {
        let mut v: Vec<f64> = (0..rows).map(|r| f64::from(random[r * cols + c])).collect();
        for b in &basis {
            let along: f64 = b.iter().zip(&v).map(|(b, v)| b * v).sum();
            v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        v.iter().enumerate().for_each(|(r, x)| to[r * cols + c] = *x as f32);
        basis.push(v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_orthonormal_and_limits_are_kept() {
        let key = Key { seed: 1, stream: 2, step: 0 };
        let mut q = vec![0.0; 24 * 7];
        orthogonal(key, [24, 7], &mut q);
        for a in 0..7 {
            for b in 0..7 {
                let dot: f32 = (0..24).map(|r| q[r * 7 + a] * q[r * 7 + b]).sum();
                assert!((dot - f32::from(u8::from(a == b))).abs() < 1e-5, "{a} {b} {dot}");
            }
        }
        glorot(key, [24, 7], &mut q);
        let most = q.iter().fold(0f32, |m, x| m.max(x.abs()));
        let limit = (6.0f32 / 31.0).sqrt();
        assert!(most <= limit && most > 0.9 * limit);
    }
}
