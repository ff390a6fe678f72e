//! Matrices of 8-bit whole numbers with a scale for each row, and their product with a few rows of f32.
//!
//! `y[t, r] = scale[r] · Σ_c number[r, c] · x[t, c]`: what one new token needs of a model is every weight once, so the time is that of reading the weights,
//! and a quarter of the bytes takes a quarter of it. Nothing is rounded but the weights. Sums run in the fixed order of
//! `vector`, so a row has the same bits whatever is computed beside it.

use crate::kernels::matmul::Epilogue;
use crate::kernels::matrix::{Element, Elements, ElementsMut, Mat, MatMut};
use crate::kernels::pool;
use crate::kernels::vector::{LANES, fold, vectorised};

/// Rows of weights that share one reading of `x`.
const ROWS: usize = 4;

/// Rows of weights of a task: a few thousand numbers each, far more than it costs to begin one.
const TASK: usize = 32;

/// A matrix `[rows, cols]` of whole numbers from −127 to 127; row `r` is `scales[r]` times them.
#[derive(Clone, Debug, PartialEq)]
pub struct Eight {
    numbers: Vec<i8>,
    scales: Vec<f32>,
    cols: usize,
}

impl Eight {
    /// A matrix of the given columns.
    ///
    /// # Panics
    /// If there is not a scale for each row.
    pub fn new(numbers: Vec<i8>, scales: Vec<f32>, cols: usize) -> Eight {
        assert_eq!(
            numbers.len(),
            scales.len() * cols,
            "eight: {} numbers in {} rows of {cols}",
            numbers.len(),
            scales.len()
        );
        Eight { numbers, scales, cols }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.scales.len(), self.cols]
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.numbers.len() + 4 * self.scales.len()
    }

    /// Writes the rows from `first` on, as f32, into `to`.
    ///
    /// # Panics
    /// If they are not there.
    pub fn widen(&self, first: usize, to: &mut [f32]) {
        let cols = self.cols.max(1);
        for (r, to) in (first..).zip(to.chunks_exact_mut(cols)) {
            scaled(&self.numbers[r * cols..(r + 1) * cols], self.scales[r], to);
        }
    }

    /// All of it as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.numbers.len()];
        if self.cols > 0 {
            pool::chunks(&mut all, TASK * self.cols, |i, to| self.widen(i * TASK, to));
        }
        all
    }

    /// `out [T, rows] = x [T, cols] · selfᵀ + bias + residual`; of an epilogue these two.
    ///
    /// # Panics
    /// If the shapes do not fit, or the epilogue asks for more.
    pub fn product(&self, x: Mat<'_>, mut out: MatMut<'_>, epilogue: &Epilogue<'_>) {
        let [rows, cols] = self.shape();
        let t = x.rows;
        assert!(
            x.cols == cols && [out.rows, out.cols] == [t, rows],
            "eight: x {t}×{} times {rows}×{cols} into {}×{}",
            x.cols,
            out.rows,
            out.cols
        );
        assert!(!epilogue.accumulate && epilogue.scale.is_none(), "eight: bias and residual only");
        if t == 0 || rows == 0 {
            return;
        }
        let mut wide = vec![0f32; t * cols];
        for (r, to) in wide.chunks_exact_mut(cols.max(1)).enumerate() {
            let from = r * x.stride..r * x.stride + cols;
            match x.data {
                Elements::F32(d) => to.copy_from_slice(&d[from]),
                Elements::Bf16(d) => to.iter_mut().zip(&d[from]).for_each(|(to, x)| *to = x.to_f32()),
            }
        }
        // Sums of row r of the weights stand together: [rows, T].
        let mut sums = vec![0f32; rows * t];
        pool::chunks(&mut sums, TASK * t, |i, sums| {
            let n = sums.len() / t;
            let first = i * TASK;
            dots(
                &self.numbers[first * cols..(first + n) * cols],
                &self.scales[first..first + n],
                &wide,
                cols,
                sums,
            );
        });
        for i in 0..t {
            for r in 0..rows {
                let bias = epilogue.bias.map_or(0.0, |b| b[r]);
                let residual = epilogue.residual.as_ref().map_or(0.0, |m| m.get(i, r));
                let y = sums[r * t + i] + bias + residual;
                let at = i * out.stride + r;
                match &mut out.data {
                    ElementsMut::F32(d) => d[at] = y,
                    ElementsMut::Bf16(d) => d[at] = Element::from_f32(y),
                }
            }
        }
    }
}

vectorised! {
    fn scaled(numbers: &[i8], scale: f32, to: &mut [f32]) {
        for (to, q) in to.iter_mut().zip(numbers) { *to = f32::from(*q) * scale; }
    }
}

vectorised! {
    /// `sums[r, t] = scales[r] · Σ numbers[r, c] · x[t, c]`.
    fn dots(numbers: &[i8], scales: &[f32], x: &[f32], cols: usize, sums: &mut [f32]) {
        let t = sums.len() / scales.len();
        for (r, (scales, sums)) in scales.chunks(ROWS).zip(sums.chunks_mut(ROWS * t)).enumerate() {
            let first = r * ROWS * cols;
            // A last group that is not full computes its last row several times.
            let row = |i: usize| &numbers[first + i.min(scales.len() - 1) * cols..][..cols];
            let rows = [row(0), row(1), row(2), row(3)];
            for (i, x) in x.chunks_exact(cols).enumerate() {
                let all = four::<FUSED>(rows, x);
                for (j, s) in scales.iter().enumerate() {
                    sums[j * t + i] = all[j] * s;
                }
            }
        }
    }
}

/// The sums of the products of four rows with `x`, each in lanes and their order. Whole chunks are arrays, so that the compiler sees their length: with
/// slices the loop stayed scalar, at a twentieth of the speed.
#[inline(always)]
fn four<const FUSED: bool>(rows: [&[i8]; ROWS], x: &[f32]) -> [f32; ROWS] {
    let (xs, tail) = x.as_chunks::<LANES>();
    let [a, b, c, d] = rows.map(|r| r.as_chunks::<LANES>());
    let mut lanes = [[0f32; LANES]; ROWS];
    for ((((x, a), b), c), d) in xs.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        for (lanes, q) in lanes.iter_mut().zip([a, b, c, d]) {
            for (l, (q, x)) in lanes.iter_mut().zip(q.iter().zip(x)) {
                let q = f32::from(*q);
                *l = if FUSED { q.mul_add(*x, *l) } else { *l + q * x };
            }
        }
    }
    for (lanes, q) in lanes.iter_mut().zip([a.1, b.1, c.1, d.1]) {
        for (l, (q, x)) in lanes.iter_mut().zip(q.iter().zip(tail)) {
            *l += f32::from(*q) * x;
        }
    }
    lanes.map(fold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix::bf16;
    use crate::kernels::random::{Key, normal};

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut x = vec![0.0; n];
        normal(Key { seed, stream: 0, step: 0 }, 0.0, 1.0, &mut x);
        x
    }

    fn eight(rows: usize, cols: usize) -> Eight {
        let q = numbers(rows * cols, 1).iter().map(|x| (x * 40.0).clamp(-127.0, 127.0) as i8).collect();
        Eight::new(q, numbers(rows, 2).iter().map(|x| x.abs() * 0.01).collect(), cols)
    }

    #[test]
    fn the_product_is_that_of_the_widened_matrix() {
        for (t, rows, cols) in [(1, 1, 1), (1, 70, 33), (3, 5, 64), (7, 33, 100), (2, 4, 15)] {
            let w = eight(rows, cols);
            let (x, bias, residual) = (numbers(t * cols, 3), numbers(rows, 4), numbers(t * rows, 5));
            let plain = w.to_f32();
            let mut y = vec![0.0; t * rows];
            let epilogue = Epilogue {
                bias: Some(&bias),
                residual: Some(Mat::f32(&residual, t, rows)),
                ..Epilogue::default()
            };
            w.product(Mat::f32(&x, t, cols), MatMut::f32(&mut y, t, rows), &epilogue);
            for i in 0..t {
                for r in 0..rows {
                    let terms =
                        (0..cols).map(|c| f64::from(plain[r * cols + c]) * f64::from(x[i * cols + c]));
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, a): (f64, f64), p| (s + p, a + p.abs()));
                    let expected = sum + f64::from(bias[r]) + f64::from(residual[i * rows + r]);
                    // Each of cols/16 + 4 additions of a lane rounds once, and so do the product, the scale and the epilogue.
                    let bound = (cols as f64 / 16.0 + 10.0) * 6e-8 * (size + 4.0);
                    assert!((f64::from(y[i * rows + r]) - expected).abs() < bound, "{t}×{cols}×{rows}");
                }
            }
            // A row alone has the bits that it has among others, and bf16 goes in and out.
            let mut alone = vec![0.0; rows];
            w.product(Mat::f32(&x[..cols], 1, cols), MatMut::f32(&mut alone, 1, rows), &Epilogue::default());
            let mut all = vec![0.0; t * rows];
            w.product(Mat::f32(&x, t, cols), MatMut::f32(&mut all, t, rows), &Epilogue::default());
            assert_eq!(alone, all[..rows]);
            let half: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
            let mut out = vec![bf16::ZERO; t * rows];
            w.product(Mat::bf16(&half, t, cols), MatMut::bf16(&mut out, t, rows), &Epilogue::default());
            assert!(out.iter().zip(&all).all(|(a, b)| (a.to_f32() - b).abs() < 0.02 * b.abs().max(1.0)));
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let (w, x) = (eight(300, 77), numbers(2 * 77, 3));
        let run = |threads| {
            pool::with_threads(threads, || {
                let mut y = vec![0.0; 600];
                w.product(Mat::f32(&x, 2, 77), MatMut::f32(&mut y, 2, 300), &Epilogue::default());
                y
            })
        };
        assert_eq!(run(1), run(3));
    }
}
