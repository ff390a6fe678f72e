//! Attention within the spans of a row: `softmax(scale · q kᵀ) v`, causal or full, grouped queries, windows, soft caps.
//!
//! A task is one span and one key-value head. Keys and values are packed once for it; queries pass by in panels, and only the blocks and tiles
//! of keys that a panel can see are touched. Scores are held transposed, `k qᵀ`, keys as rows; they, the probabilities and their gradients live in
//! scratch of one panel and one block, and all products run in the matrix product's tiles (bf16 operands, f32 sums). Forward goes from
//! block to block with a running maximum (Milakov & Gimelshein 2018). Backward recomputes the probabilities from the log-sum-exp `L`:
//! `P = exp(S − L)`, `dV = Pᵀ dO`, `dP = dO Vᵀ`, `dS = P ∘ (dP − rowsum(dO ∘ O))`, `dQ = scale · dS K`, `dK = scale · dSᵀ Q`
//! (Dao et al. 2022). Every sum has a fixed order: the same bits for any number of threads, and beside any other span.

mod backward;
mod block;
mod forward;
mod reference;
mod weights;

use std::ops::Range;

pub use backward::{Gradients, backward};
pub use forward::forward;
pub use reference::{reference, reference_backward};
pub use weights::weights;

use crate::kernels::matrix::{Element, Elements, ElementsMut, Mat, MatMut, bf16};
use crate::kernels::pool::Shareable;
use crate::kernels::vector::vectorised;

/// One sequence of the row: which rows of `q` attend to which rows of `k` and `v`. Causal: of `n` queries and `m` keys query `i` sees the keys
/// before position `m − n + i + 1`; so training has queries equal to keys, and decoding one query at the end of many keys. Across two rows of
/// tokens (a decoder's queries, an encoder's keys) the ranges have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Rows of `q`.
    pub queries: Range<usize>,
    /// Rows of `k` and `v`.
    pub keys: Range<usize>,
}

/// Heads and their width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Query heads, H.
    pub heads: usize,
    /// Key-value heads, K; divides H.
    pub kv_heads: usize,
    /// Columns of a head, E.
    pub width: usize,
}

/// What a query sees and how scores are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// A query sees no key after it.
    pub causal: bool,
    /// A query sees at most this many keys up to its own position.
    pub window: Option<usize>,
    /// Factor of the scores, usually 1/√E.
    pub scale: f32,
    /// Scores are `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
}

impl Options {
    /// The keys that query `i` of `queries` sees, of `keys`.
    pub(crate) fn visible(&self, i: usize, queries: usize, keys: usize) -> Range<usize> {
        // Position of the query among the keys, plus one; a query before all keys sees none.
        let end = (keys + i + 1).saturating_sub(queries);
        let high = if self.causal { end.min(keys) } else { keys };
        let low = self.window.map_or(0, |w| end.saturating_sub(w)).min(high);
        low..high
    }
}

/// Checks what forward and backward have in common.
fn check(name: &str, q: &Mat<'_>, k: &Mat<'_>, v: &Mat<'_>, spans: &[Span], shape: Shape) {
    let Shape { heads, kv_heads, width } = shape;
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "{name}: {heads} heads share {kv_heads} key-value heads"
    );
    assert!((1..=256).contains(&width), "{name}: head width {width} is not in 1..=256");
    assert!(
        q.cols == heads * width && k.cols == kv_heads * width && v.cols == k.cols && k.rows == v.rows,
        "{name}: q {}×{}, k {}×{}, v {}×{} for {shape:?}",
        q.rows,
        q.cols,
        k.rows,
        k.cols,
        v.rows,
        v.cols
    );
    assert!(q.dtype() == k.dtype() && k.dtype() == v.dtype(), "{name}: operands of different element types");
    for s in spans {
        assert!(
            s.queries.start <= s.queries.end
                && s.queries.end <= q.rows
                && s.keys.start <= s.keys.end
                && s.keys.end <= k.rows,
            "{name}: {s:?} in {} queries and {} keys",
            q.rows,
            k.rows
        );
    }
}

/// A matrix that tasks write different parts of.
#[derive(Clone, Copy)]
struct Target {
    data: TargetData,
    stride: usize,
    rows: usize,
    cols: usize,
}

#[derive(Clone, Copy)]
enum TargetData {
    F32(Shareable<f32>),
    Bf16(Shareable<bf16>),
}

impl Target {
    fn new(m: &mut MatMut<'_>) -> Target {
        let data = match &mut m.data {
            ElementsMut::F32(d) => TargetData::F32(Shareable(d.as_mut_ptr())),
            ElementsMut::Bf16(d) => TargetData::Bf16(Shareable(d.as_mut_ptr())),
        };
        Target { data, stride: m.stride, rows: m.rows, cols: m.cols }
    }

    /// The same rows, only some columns.
    fn columns(self, from: usize, cols: usize) -> Target {
        assert!(from + cols <= self.cols, "attention: columns {from}+{cols} of {}", self.cols);
        let data = match self.data {
            TargetData::F32(p) => TargetData::F32(Shareable(p.get().wrapping_add(from))),
            TargetData::Bf16(p) => TargetData::Bf16(Shareable(p.get().wrapping_add(from))),
        };
        Target { data, cols, ..self }
    }

    /// Writes `values · factor` from column `col` of a row on.
    ///
    /// # Safety
    /// No other task writes these elements.
    unsafe fn write(&self, row: usize, col: usize, values: &[f32], factor: f32) {
        assert!(
            row < self.rows && col + values.len() <= self.cols,
            "attention: row {row}, column {col} of a result"
        );
        let at = row * self.stride + col;
        match self.data {
            TargetData::F32(p) => {
                // SAFETY: in bounds by the assertion; not shared by this function's contract.
                scale_into(values, factor, unsafe {
                    std::slice::from_raw_parts_mut(p.get().add(at), values.len())
                });
            }
            TargetData::Bf16(p) => {
                // SAFETY: as above.
                scale_into(values, factor, unsafe {
                    std::slice::from_raw_parts_mut(p.get().add(at), values.len())
                });
            }
        }
    }

    /// Sets everything to zero; called before any task runs.
    fn clear(&self) {
        let zeros = [0f32; 64];
        for r in 0..self.rows {
            for c in (0..self.cols).step_by(64) {
                // SAFETY: no task runs yet.
                unsafe { self.write(r, c, &zeros[..64.min(self.cols - c)], 0.0) };
            }
        }
    }
}

vectorised! {
    fn scale_into[E: Element](values: &[f32], factor: f32, out: &mut [E]) {
        for (o, v) in out.iter_mut().zip(values) { *o = E::from_f32(v * factor); }
    }
}

/// `rows` rows from `first` on and the columns of one head.
fn head_of<'a>(m: &Mat<'a>, first: usize, rows: usize, head: usize, width: usize) -> Mat<'a> {
    let at = first * m.stride + head * width;
    let data = match m.data {
        Elements::F32(d) => Elements::F32(d.get(at..).unwrap_or(&[])),
        Elements::Bf16(d) => Elements::Bf16(d.get(at..).unwrap_or(&[])),
    };
    Mat::new(data, rows, width, m.stride)
}

#[cfg(test)]
mod tests;
