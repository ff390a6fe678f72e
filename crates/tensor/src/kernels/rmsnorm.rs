//! RMS normalisation: `y = x / √(mean(x²) + ε) · (offset + g)`, over each row, or over groups of columns of each row (heads).
//!
//! Forward gives 1/rms of each row (4 bytes), which backward needs with `x`. With `x̂ = x·rstd` and `d = dy·(offset + g)`:
//! `dx = rstd · (d − x̂·mean(d·x̂))`, `dg += Σ dy·x̂`. Zhang & Sennrich 2019; equals `torch.nn.functional.rms_norm`; Gemma's
//! form has offset 1.

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
    offset: f32,
    eps: f32,
    width: usize,
    y: &mut [Y],
    rstd: &mut [f32],
) {
    let rows = rstd.len();
    assert!(
        x.len() == rows * width && y.len() == x.len(),
        "rmsnorm: {rows} rows of {width}, x {}, y {}",
        x.len(),
        y.len()
    );
    let each = reduce::block_rows(rows);
    let r = Shareable(rstd.as_mut_ptr());
    pool::chunks(y, each * width.max(1), |i, y| {
        let (begin, n) = (i * each, y.len() / width);
        // SAFETY: chunk i alone has rows `begin .. begin + n` of the `rows` numbers.
        let r = unsafe { std::slice::from_raw_parts_mut(r.get().add(begin), n) };
        forward_rows(&x[begin * width..(begin + n) * width], gain, offset, eps, width, y, r);
    });
}

vectorised! {
    fn forward_rows[X: Element, Y: Element](
        x: &[X], gain: Option<&[f32]>, offset: f32, eps: f32, width: usize, y: &mut [Y], rstd: &mut [f32],
    ) {
        for ((x, y), rstd) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(rstd) {
            let r = inverse_rms(x, eps);
            *rstd = r;
            match gain {
                Some(g) => for i in 0..width { y[i] = Y::from_f32(x[i].to_f32() * r * (offset + g[i])); },
                None => for i in 0..width { y[i] = Y::from_f32(x[i].to_f32() * r); },
            }
        }
    }
}

#[inline(always)]
fn inverse_rms<X: Element>(x: &[X], eps: f32) -> f32 {
    let squares = vector::sum(x.len(), |i| x[i].to_f32() * x[i].to_f32());
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

/// Gives `dx` (added to what it holds if `accumulate`) and adds to `dgain`.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward<X: Element, Y: Element>(
    x: &[X],
    gain: Option<&[f32]>,
    offset: f32,
    rstd: &[f32],
    dy: &[Y],
    width: usize,
    dx: &mut [X],
    accumulate: bool,
    dgain: Option<&mut [f32]>,
) {
    let rows = rstd.len();
    assert!(
        x.len() == rows * width && dy.len() == x.len() && dx.len() == x.len(),
        "rmsnorm backward: {rows} rows of {width}, x {}, dy {}",
        x.len(),
        dy.len()
    );
    let out = Shareable(dx.as_mut_ptr());
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.resize(width, 0.0);
    reduce::rows(rows, dgain.unwrap_or(&mut scratch), |r, partial| {
        let at = r.start * width..r.end * width;
        // SAFETY: blocks of rows do not overlap, and `dx` has all rows.
        let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(at.start), at.len()) };
        backward_rows(&x[at.clone()], gain, offset, &rstd[r], &dy[at], width, dx, accumulate, partial);
    });
    SCRATCH.set(scratch);
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

vectorised! {
    fn backward_rows[X: Element, Y: Element](
        x: &[X], gain: Option<&[f32]>, offset: f32, rstd: &[f32], dy: &[Y], width: usize, dx: &mut [X],
        accumulate: bool, dgain: &mut [f32],
    ) {
        for (r, &s) in rstd.iter().enumerate() {
            let at = r * width..(r + 1) * width;
            let dx = &mut dx[at.clone()];
            backward_row(&x[at.clone()], gain, offset, s, &dy[at], dgain, |i, d| {
                let old = if accumulate { dx[i].to_f32() } else { 0.0 };
                dx[i] = X::from_f32(old + d);
            });
        }
    }
}

#[inline(always)]
fn backward_row<X: Element, Y: Element>(
    x: &[X],
    gain: Option<&[f32]>,
    offset: f32,
    rstd: f32,
    dy: &[Y],
    dgain: &mut [f32],
    mut put: impl FnMut(usize, f32),
) {
    let width = x.len();
    let weight = |i: usize| gain.map_or(1.0, |g| offset + g[i]);
    for i in 0..width {
        dgain[i] += dy[i].to_f32() * (x[i].to_f32() * rstd);
    }
    let c = vector::sum(width, |i| dy[i].to_f32() * weight(i) * (x[i].to_f32() * rstd)) / width as f32;
    for i in 0..width {
        put(i, rstd * (dy[i].to_f32() * weight(i) - x[i].to_f32() * rstd * c));
    }
}

/// Groups of columns of a matrix with `stride` columns: `groups` of `width` side by side from column `offset` on.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Columns of the matrix.
    pub stride: usize,
    /// First column of the first group.
    pub offset: usize,
    /// Number of groups.
    pub groups: usize,
    /// Columns of a group.
    pub width: usize,
}

impl Groups {
    fn check(&self, len: usize, rstd: usize) -> usize {
        let rows = len / self.stride.max(1);
        assert!(
            self.offset + self.groups * self.width <= self.stride && rows * self.groups == rstd,
            "rmsnorm of groups: {self:?} of {len} numbers, {rstd} row numbers"
        );
        rows
    }
}

/// Normalises each group of each row in place, all with one gain of `width`; `rstd` has a number for each row and group.
///
/// # Panics
/// If the groups do not fit.
pub fn forward_groups<X: Element>(
    x: &mut [X],
    layout: Groups,
    gain: Option<&[f32]>,
    offset: f32,
    eps: f32,
    rstd: &mut [f32],
) {
    let rows = layout.check(x.len(), rstd.len());
    let each = reduce::block_rows(rows);
    let r = Shareable(rstd.as_mut_ptr());
    pool::chunks(x, each * layout.stride.max(1), |i, x| {
        let n = x.len() / layout.stride * layout.groups;
        // SAFETY: chunk i alone has the numbers of its rows.
        let r = unsafe { std::slice::from_raw_parts_mut(r.get().add(i * each * layout.groups), n) };
        forward_group_rows(x, layout, gain, offset, eps, r);
    });
}

vectorised! {
    fn forward_group_rows[X: Element](
        x: &mut [X], layout: Groups, gain: Option<&[f32]>, offset: f32, eps: f32, rstd: &mut [f32],
    ) {
        for (row, rstd) in x.chunks_exact_mut(layout.stride).zip(rstd.chunks_exact_mut(layout.groups.max(1))) {
            for (g, rstd) in rstd.iter_mut().enumerate() {
                let x = &mut row[layout.offset + g * layout.width..][..layout.width];
                let r = inverse_rms(x, eps);
                *rstd = r;
                for (i, x) in x.iter_mut().enumerate() {
                    *x = X::from_f32(x.to_f32() * r * gain.map_or(1.0, |g| offset + g[i]));
                }
            }
        }
    }
}

/// Turns the gradient of the normalised groups, `d`, into that of the groups, in place, and adds to `dgain`; `x` is the input of
/// [`forward_groups`] before it was overwritten.
///
/// # Panics
/// If the groups do not fit.
pub fn backward_groups<X: Element>(
    x: &[X],
    layout: Groups,
    gain: Option<&[f32]>,
    offset: f32,
    rstd: &[f32],
    d: &mut [X],
    dgain: Option<&mut [f32]>,
) {
    let rows = layout.check(x.len(), rstd.len());
    assert_eq!(x.len(), d.len(), "rmsnorm of groups: gradient of another size");
    let out = Shareable(d.as_mut_ptr());
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.resize(layout.width, 0.0);
    reduce::rows(rows, dgain.unwrap_or(&mut scratch), |r, partial| {
        let at = r.start * layout.stride..r.end * layout.stride;
        // SAFETY: blocks of rows do not overlap, and `d` has all rows.
        let d = unsafe { std::slice::from_raw_parts_mut(out.get().add(at.start), at.len()) };
        let rstd = &rstd[r.start * layout.groups..r.end * layout.groups];
        backward_group_rows(&x[at], layout, gain, offset, rstd, d, partial);
    });
    SCRATCH.set(scratch);
}

vectorised! {
    fn backward_group_rows[X: Element](
        x: &[X], layout: Groups, gain: Option<&[f32]>, offset: f32, rstd: &[f32], d: &mut [X], dgain: &mut [f32],
    ) {
        let Groups { stride, groups, width, .. } = layout;
        let mut dy = [0f32; 256];
        for (r, row) in d.chunks_exact_mut(stride).enumerate() {
            for g in 0..groups {
                let at = layout.offset + g * width;
                let d = &mut row[at..at + width];
                let dy = &mut dy[..width];
                for (a, b) in dy.iter_mut().zip(d.iter()) { *a = b.to_f32(); }
                let x = &x[r * stride + at..][..width];
                backward_row(x, gain, offset, rstd[r * groups + g], dy, dgain, |i, v| d[i] = X::from_f32(v));
            }
        }
    }
}
