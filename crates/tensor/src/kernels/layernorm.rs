//! Layer normalisation: `y = (x − mean(x)) / √(var(x) + ε) · g + b`, over each row.
//!
//! Forward gives mean and 1/std of each row (8 bytes), which backward needs with `x`. With `x̂ = (x − mean)·rstd` and `d = dy·g`:
//! `dx = rstd · (d − mean(d) − x̂·mean(d·x̂))`, `dg += Σ dy·x̂`. Ba, Kiros & Hinton 2016; equals
//! `torch.nn.functional.layer_norm`.

use crate::kernels::matrix::Element;
use crate::kernels::pool::{self, Shareable};
use crate::kernels::reduce;
use crate::kernels::vector::{self, vectorised};

/// Normalises rows of `width`.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward<X: Element, Y: Element>(
    x: &[X],
    gain: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    width: usize,
    y: &mut [Y],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let rows = mean.len();
    assert!(
        x.len() == rows * width && y.len() == x.len() && rstd.len() == rows,
        "layernorm: {rows} rows of {width}, x {}, y {}",
        x.len(),
        y.len()
    );
    let each = reduce::block_rows(rows);
    let (m, r) = (Shareable(mean.as_mut_ptr()), Shareable(rstd.as_mut_ptr()));
    pool::chunks(y, each * width.max(1), |i, y| {
        let (begin, n) = (i * each, y.len() / width);
        // SAFETY: chunk i alone has rows `begin .. begin + n`, and both slices have `rows` numbers.
        let (m, r) = unsafe {
            (
                std::slice::from_raw_parts_mut(m.get().add(begin), n),
                std::slice::from_raw_parts_mut(r.get().add(begin), n),
            )
        };
        forward_rows(&x[begin * width..(begin + n) * width], gain, bias, eps, width, y, m, r);
    });
}

vectorised! {
    fn forward_rows[X: Element, Y: Element](
        x: &[X], gain: Option<&[f32]>, bias: Option<&[f32]>, eps: f32, width: usize, y: &mut [Y],
        mean: &mut [f32], rstd: &mut [f32],
    ) {
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(mean.iter_mut().zip(rstd.iter_mut()));
        for ((x, y), (mean, rstd)) in rows {
            let m = vector::sum(width, |i| x[i].to_f32()) / width as f32;
            let var = vector::sum(width, |i| {
                let d = x[i].to_f32() - m;
                d * d
            }) / width as f32;
            let r = 1.0 / (var + eps).sqrt();
            (*mean, *rstd) = (m, r);
            match (gain, bias) {
                (Some(g), Some(b)) => {
                    for i in 0..width {
                        y[i] = Y::from_f32((x[i].to_f32() - m) * r * g[i] + b[i]);
                    }
                }
                (Some(g), None) => {
                    for i in 0..width {
                        y[i] = Y::from_f32((x[i].to_f32() - m) * r * g[i]);
                    }
                }
                (None, _) => {
                    for i in 0..width {
                        y[i] = Y::from_f32((x[i].to_f32() - m) * r + bias.map_or(0.0, |b| b[i]));
                    }
                }
            }
        }
    }
}

/// Gives `dx` (added to what it holds if `accumulate`) and adds to `dgain`.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward<X: Element, Y: Element>(
    x: &[X],
    gain: Option<&[f32]>,
    mean: &[f32],
    rstd: &[f32],
    dy: &[Y],
    width: usize,
    dx: &mut [X],
    accumulate: bool,
    dgain: Option<&mut [f32]>,
) {
    let rows = mean.len();
    assert!(
        x.len() == rows * width && dy.len() == x.len() && dx.len() == x.len() && rstd.len() == rows,
        "layernorm backward: {rows} rows of {width}, x {}, dy {}",
        x.len(),
        dy.len()
    );
    let out = Shareable(dx.as_mut_ptr());
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.resize(width, 0.0);
    let sums: &mut [f32] = dgain.unwrap_or(&mut scratch);
    reduce::rows(rows, sums, |r, partial| {
        let at = r.start * width..r.end * width;
        // SAFETY: blocks of rows do not overlap, and `dx` has all rows.
        let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(at.start), at.len()) };
        backward_rows(
            &x[at.clone()],
            gain,
            &mean[r.clone()],
            &rstd[r],
            &dy[at],
            width,
            dx,
            accumulate,
            partial,
        );
    });
    SCRATCH.set(scratch);
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

vectorised! {
    fn backward_rows[X: Element, Y: Element](
        x: &[X], gain: Option<&[f32]>, mean: &[f32], rstd: &[f32], dy: &[Y], width: usize, dx: &mut [X],
        accumulate: bool, dgain: &mut [f32],
    ) {
        let inverse = 1.0 / width as f32;
        for (r, (&m, &s)) in mean.iter().zip(rstd).enumerate() {
            let at = r * width..(r + 1) * width;
            let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], &mut dx[at]);
            let dgain = &mut dgain[..width];
            let (mut a, mut b) = ([0f32; vector::LANES], [0f32; vector::LANES]);
            for i in 0..width {
                let xhat = (x[i].to_f32() - m) * s;
                dgain[i] += dy[i].to_f32() * xhat;
            }
            for (k, (x, dy)) in x.chunks(vector::LANES).zip(dy.chunks(vector::LANES)).enumerate() {
                for (j, (x, dy)) in x.iter().zip(dy).enumerate() {
                    let d = dy.to_f32() * gain.map_or(1.0, |g| g[k * vector::LANES + j]);
                    a[j] += d;
                    b[j] += d * ((x.to_f32() - m) * s);
                }
            }
            let (c1, c2) = (vector::fold(a) * inverse, vector::fold(b) * inverse);
            for i in 0..width {
                let xhat = (x[i].to_f32() - m) * s;
                let d = dy[i].to_f32() * gain.map_or(1.0, |g| g[i]);
                let old = if accumulate { dx[i].to_f32() } else { 0.0 };
                dx[i] = X::from_f32(old + s * (d - c1 - xhat * c2));
            }
        }
    }
}
