//! The Newton–Schulz iteration that Muon needs: pushes all singular values of a matrix towards 1, using products only.
//!
//! Five rounds of `X ← aX + (bA + cA²)X` with `A = XXᵀ`, after scaling to norm 1. The coefficients (Jordan et al. 2024) are not those of exact
//! convergence: singular values end between about 0.7 and 1.2, which is enough and much faster.

use crate::kernels::arithmetic::{scale_add, sum_of_squares};
use crate::kernels::matmul::{Epilogue, Panels, matmul};
use crate::kernels::matrix::{DType, Mat, MatMut};

const A: f32 = 3.4445;
const B: f32 = -4.7750;
const C: f32 = 2.0315;
const ROUNDS: usize = 5;

/// The iteration with its working memory, which keeps its size.
#[derive(Default)]
pub struct NewtonSchulz {
    x: Vec<f32>,
    gram: Vec<f32>,
    mixed: Vec<f32>,
    next: Vec<f32>,
    panels: Panels,
}

impl NewtonSchulz {
    /// Replaces the matrix `[rows, cols]` by an approximately orthogonal one with the same singular vectors. Zero stays zero.
    ///
    /// # Panics
    /// If the length is not `rows · cols`.
    pub fn orthogonalise(&mut self, matrix: &mut [f32], rows: usize, cols: usize, dtype: DType) {
        assert_eq!(matrix.len(), rows * cols, "newton_schulz: {rows}×{cols} of {} numbers", matrix.len());
        let norm = sum_of_squares(matrix).sqrt() as f32;
        let inverse = 1.0 / (norm + 1e-7);
        // The smaller side is that of the square products.
        let flip = rows > cols;
        let (m, n) = if flip { (cols, rows) } else { (rows, cols) };
        self.x.resize(m * n, 0.0);
        self.next.resize(m * n, 0.0);
        self.gram.resize(m * m, 0.0);
        self.mixed.resize(m * m, 0.0);
        if flip {
            transpose(matrix, rows, cols, inverse, &mut self.x);
        } else {
            self.x.iter_mut().zip(matrix.iter()).for_each(|(x, v)| *x = v * inverse);
        }
        for _ in 0..ROUNDS {
            let x = Mat::f32(&self.x, m, n);
            self.panels.pack(x, true, dtype);
            matmul(x, &self.panels, MatMut::f32(&mut self.gram, m, m), &Epilogue::default());
            // mixed = b·A + c·A·A; A is symmetric.
            let gram = Mat::f32(&self.gram, m, m);
            self.panels.pack(gram, true, dtype);
            let epilogue = Epilogue { scale: Some(C), ..Epilogue::default() };
            matmul(gram, &self.panels, MatMut::f32(&mut self.mixed, m, m), &epilogue);
            scale_add(&mut self.mixed, 1.0, B, &self.gram);
            self.panels.pack(Mat::f32(&self.x, m, n), false, dtype);
            let mixed = Mat::f32(&self.mixed, m, m);
            matmul(mixed, &self.panels, MatMut::f32(&mut self.next, m, n), &Epilogue::default());
            scale_add(&mut self.next, 1.0, A, &self.x);
            std::mem::swap(&mut self.x, &mut self.next);
        }
        if flip {
            transpose(&self.x, m, n, 1.0, matrix);
        } else {
            matrix.copy_from_slice(&self.x);
        }
    }
}

/// `to [cols, rows] = scale · from [rows, cols]ᵀ`, in tiles that both sides' cache lines survive.
fn transpose(from: &[f32], rows: usize, cols: usize, scale: f32, to: &mut [f32]) {
    const TILE: usize = 16;
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..cols).step_by(TILE) {
            for c in c0..(c0 + TILE).min(cols) {
                for r in r0..(r0 + TILE).min(rows) {
                    to[c * rows + r] = scale * from[r * cols + c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Key, normal};

    #[test]
    fn rows_or_columns_become_nearly_orthonormal() {
        for (rows, cols) in [(8, 8), (5, 19), (33, 7), (64, 48)] {
            for (dtype, slack) in [(DType::F32, 0.0), (DType::Bf16, 0.08)] {
                let mut x = vec![0.0; rows * cols];
                normal(Key { seed: 1, stream: rows as u64, step: 0 }, 0.0, 0.3, &mut x);
                NewtonSchulz::default().orthogonalise(&mut x, rows, cols, dtype);
                // The eigenvalues of the Gram matrix lie in [0.4, 1.6]: so do its Rayleigh quotients on unit vectors.
                let (m, n) = (rows.min(cols), rows.max(cols));
                let at = |i: usize, k: usize| if rows <= cols { x[i * cols + k] } else { x[k * cols + i] };
                for i in 0..m {
                    let square: f32 = (0..n).map(|k| at(i, k) * at(i, k)).sum();
                    assert!(
                        (0.4 - slack..1.6 + slack).contains(&square),
                        "{rows}×{cols} {dtype:?}: {square}"
                    );
                    for j in 0..i {
                        let dot: f32 = (0..n).map(|k| at(i, k) * at(j, k)).sum();
                        assert!(dot.abs() < 0.6 + slack, "{rows}×{cols} {dtype:?}: {dot}");
                    }
                }
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        let mut x = vec![0.0; 12];
        NewtonSchulz::default().orthogonalise(&mut x, 3, 4, DType::F32);
        assert_eq!(x, [0.0; 12]);
    }
}
