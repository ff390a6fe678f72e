//! Attention, forward.

use std::cell::RefCell;

use super::block::Engine;
use super::{Options, Shape, Span, Target, check};
use crate::kernels::level::{Level, level};
use crate::kernels::math;
use crate::kernels::matmul::pack::Lanes;
use crate::kernels::matmul::{Line, room};
use crate::kernels::matrix::{Element, Elements, Mat, MatMut};
use crate::kernels::pool::{self, Shareable};
use crate::kernels::vector::{self, vectorised};

/// Queries of a block: a multiple of every tile's rows; its scores over 512 keys are 96 KB, a tenth of the second-level cache.
const BLOCK: usize = 48;

/// Up to this many queries a span's keys and values are read as they lie: packing them would cost more than the products.
const FEW: usize = 4;

#[derive(Default)]
struct Scratch {
    queries: Vec<Line>,
    keys: Vec<Line>,
    values: Vec<Line>,
    scores: Vec<Line>,
    probabilities: Vec<Line>,
    result: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes `out [Tq, H·E]` and, if wanted, the log-sum-exp of each score row, `lse [Tq, H]`. Rows in no span, and queries that see no key,
/// become zero (their log-sum-exp −∞).
///
/// # Panics
/// If the shapes do not fit; the message names them.
pub fn forward(
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    spans: &[Span],
    shape: Shape,
    options: Options,
    out: MatMut<'_>,
    lse: Option<&mut [f32]>,
) {
    forward_at(level(), q, k, v, spans, shape, options, out, lse);
}

pub(super) fn forward_at(
    level: Level,
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    spans: &[Span],
    shape: Shape,
    options: Options,
    mut out: MatMut<'_>,
    lse: Option<&mut [f32]>,
) {
    check("attention", &q, &k, &v, spans, shape);
    assert!(
        out.rows == q.rows && out.cols == q.cols && out.dtype() == q.dtype(),
        "attention: result {}×{} for q {}×{}",
        out.rows,
        out.cols,
        q.rows,
        q.cols
    );
    if let Some(l) = &lse {
        assert_eq!(l.len(), q.rows * shape.heads, "attention: a log-sum-exp for each query and head");
    }
    let engine = Engine::new(level, q.dtype());
    let target = Target::new(&mut out);
    if spans.iter().map(|s| s.queries.len()).sum::<usize>() != q.rows {
        target.clear();
    }
    let lse = lse.map(|l| Shareable(l.as_mut_ptr()));
    pool::run(spans.len() * shape.kv_heads, |task| {
        let (span, head) = (&spans[task / shape.kv_heads], task % shape.kv_heads);
        let put_lse = |query: usize, head: usize, value: f32| {
            if let Some(l) = lse {
                // SAFETY: the length was checked; this task alone has this span's queries and this group of heads.
                unsafe { *l.get().add(query * shape.heads + head) = value };
            }
        };
        let task = Task { q, k, v, span, shape, options, head, target };
        if span.queries.len() <= FEW {
            task.few(&put_lse);
        } else {
            SCRATCH.with_borrow_mut(|s| task.blocks(&engine, s, &put_lse));
        }
    });
}

/// `rows` rows from `first` on and the columns of one head.
pub(super) fn head_of<'a>(m: &Mat<'a>, first: usize, rows: usize, head: usize, width: usize) -> Mat<'a> {
    let at = first * m.stride + head * width;
    let data = match m.data {
        Elements::F32(d) => Elements::F32(d.get(at..).unwrap_or(&[])),
        Elements::Bf16(d) => Elements::Bf16(d.get(at..).unwrap_or(&[])),
    };
    Mat::new(data, rows, width, m.stride)
}

/// One span and one key-value head.
struct Task<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    span: &'a Span,
    shape: Shape,
    options: Options,
    head: usize,
    target: Target,
}

impl Task<'_> {
    fn blocks(&self, engine: &Engine, s: &mut Scratch, put_lse: &dyn Fn(usize, usize, f32)) {
        let Shape { heads, kv_heads, width } = self.shape;
        let (queries, keys) = (self.span.queries.len(), self.span.keys.len());
        let group = heads / kv_heads;
        let k = head_of(&self.k, self.span.keys.start, keys, self.head, width);
        let v = head_of(&self.v, self.span.keys.start, keys, self.head, width);
        let cols = engine.cols();
        let (key_steps, depth) = (engine.steps(width), engine.steps(keys));
        let key_words = engine.right(&k, Lanes::Rows, &mut s.keys);
        let value_words = engine.right(&v, Lanes::Columns, &mut s.values);
        let stride = engine.padded(BLOCK) * cols;
        let scores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.scores, keys.div_ceil(cols) * stride));
        let result: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.result, width.div_ceil(cols) * stride));
        for begin in (0..queries).step_by(BLOCK) {
            let rows = BLOCK.min(queries - begin);
            let seen = self.options.visible(begin, queries, keys).start
                ..self.options.visible(begin + rows - 1, queries, keys).end;
            let panels = seen.start / cols..seen.end.div_ceil(cols);
            for head in self.head * group..(self.head + 1) * group {
                let first = self.span.queries.start + begin;
                let q = head_of(&self.q, first, rows, head, width);
                let left = engine.left(&q, Lanes::Rows, &mut s.queries);
                let panel = |p: usize| p * key_steps * cols;
                engine.product(
                    rows,
                    key_steps,
                    left,
                    panels.clone(),
                    panel,
                    key_words,
                    scores,
                    stride,
                    false,
                );
                let mut sums = [0f32; BLOCK];
                for (r, sum) in sums.iter_mut().enumerate().take(rows) {
                    let visible = self.options.visible(begin + r, queries, keys);
                    let (total, top) = softmax_row(
                        scores,
                        r,
                        stride,
                        cols,
                        panels.start,
                        panels.end,
                        &visible,
                        &self.options,
                    );
                    *sum = total;
                    put_lse(first + r, head, top + total.ln());
                }
                let left = engine.left_of_scores(scores, rows, stride, panels.clone(), &mut s.probabilities);
                let steps = engine.steps(cols) * panels.len();
                // The last panel of keys may reach past the packed depth: the probabilities there are zero, but the words are not there.
                let steps_here = steps.min(depth - panels.start * engine.steps(cols));
                product_uneven(
                    engine,
                    rows,
                    steps,
                    steps_here,
                    left,
                    width.div_ceil(cols),
                    depth,
                    panels.start * engine.steps(cols),
                    value_words,
                    result,
                    stride,
                );
                for (r, sum) in sums.iter().enumerate().take(rows) {
                    let factor = if *sum > 0.0 { 1.0 / sum } else { 0.0 };
                    for p in 0..width.div_ceil(cols) {
                        let n = cols.min(width - p * cols);
                        let row = &result[p * stride + r * cols..][..n];
                        // SAFETY: this task alone has this span's queries and these heads.
                        unsafe { self.target.write(first + r, head * width + p * cols, row, factor) };
                    }
                }
            }
        }
    }

    /// A few queries: keys and values as they lie.
    fn few(&self, put_lse: &dyn Fn(usize, usize, f32)) {
        match (self.q.data, self.k.data, self.v.data) {
            (Elements::F32(q), Elements::F32(k), Elements::F32(v)) => self.few_of(q, k, v, put_lse),
            (Elements::Bf16(q), Elements::Bf16(k), Elements::Bf16(v)) => self.few_of(q, k, v, put_lse),
            _ => unreachable!("operands have one element type"),
        }
    }

    fn few_of<E: Element>(&self, q: &[E], k: &[E], v: &[E], put_lse: &dyn Fn(usize, usize, f32)) {
        let Shape { heads, kv_heads, width } = self.shape;
        let (queries, keys) = (self.span.queries.len(), self.span.keys.len());
        let group = heads / kv_heads;
        let mut out = [0f32; 256];
        SCRATCH.with_borrow_mut(|s| {
            let scores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.scores, keys.max(1)));
            for i in 0..queries {
                let row = self.span.queries.start + i;
                let visible = self.options.visible(i, queries, keys);
                for head in self.head * group..(self.head + 1) * group {
                    let q = &q[row * self.q.stride + head * width..][..width];
                    let at =
                        |m: &Mat<'_>| (self.span.keys.start + visible.start) * m.stride + self.head * width;
                    let scores = &mut scores[..visible.len()];
                    let (sum, top) = few_scores(q, k, at(&self.k), self.k.stride, &self.options, scores);
                    few_values(scores, v, at(&self.v), self.v.stride, &mut out[..width]);
                    put_lse(row, head, top + sum.ln());
                    let factor = if sum > 0.0 { 1.0 / sum } else { 0.0 };
                    // SAFETY: this task alone has this span's queries and these heads.
                    unsafe { self.target.write(row, head * width, &out[..width], factor) };
                }
            }
        });
    }
}

/// `result = probabilities · values` where the left operand is packed `steps` deep but only `here` of them meet packed values.
fn product_uneven(
    engine: &Engine,
    rows: usize,
    steps: usize,
    here: usize,
    left: &[u32],
    panels: usize,
    depth: usize,
    from: usize,
    words: &[u32],
    result: &mut [f32],
    stride: usize,
) {
    let cols = engine.cols();
    for p in 0..panels {
        let b = &words[(p * depth + from) * cols..];
        let mut at = 0;
        for (first, _, tile) in engine.row_tiles(rows) {
            let c = &mut result[p * stride + first * cols..];
            engine.tile(tile, here, &left[at..], b, c, false);
            at += steps * tile;
        }
    }
}

/// Scales, caps and masks one score as the options say.
#[inline(always)]
pub(super) fn score<const FUSED: bool>(s: f32, options: &Options) -> f32 {
    let s = s * options.scale;
    match options.softcap {
        Some(cap) => cap * math::tanh::<FUSED>(s / cap),
        None => s,
    }
}

vectorised! {
    /// Turns row `r` of a block of scores into `exp(score − top)`, zero where nothing is seen; gives the sum and the top.
    fn softmax_row(
        scores: &mut [f32], r: usize, stride: usize, cols: usize, from: usize, to: usize,
        visible: &std::ops::Range<usize>, options: &Options,
    ) -> (f32, f32) {
        let mut top = [f32::NEG_INFINITY; vector::LANES];
        for p in from..to {
            let row = &mut scores[p * stride + r * cols..][..cols];
            let begin = p * cols;
            if begin < visible.start || begin + cols > visible.end {
                for (c, x) in row.iter_mut().enumerate() {
                    let seen = begin + c >= visible.start && begin + c < visible.end;
                    *x = if seen { score::<FUSED>(*x, options) } else { f32::NEG_INFINITY };
                }
            } else {
                for x in row.iter_mut() { *x = score::<FUSED>(*x, options); }
            }
            for x in row.chunks_exact(vector::LANES) {
                for (t, &x) in top.iter_mut().zip(x) {
                    *t = if x > *t { x } else { *t };
                }
            }
        }
        let top = top.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
        // A row that sees nothing: every exponent below becomes −∞, not NaN.
        let base = if top == f32::NEG_INFINITY { 0.0 } else { top };
        let mut sums = [0f32; vector::LANES];
        for p in from..to {
            let row = &mut scores[p * stride + r * cols..][..cols];
            for x in row.chunks_exact_mut(vector::LANES) {
                for (s, x) in sums.iter_mut().zip(x) {
                    *x = math::exp::<FUSED>(*x - base);
                    *s += *x;
                }
            }
        }
        (vector::fold(sums), top)
    }
}

vectorised! {
    fn few_scores[E: Element](
        q: &[E], k: &[E], at: usize, stride: usize, options: &Options, scores: &mut [f32],
    ) -> (f32, f32) {
        let n = scores.len();
        for (j, s) in scores.iter_mut().enumerate() {
            let k = &k[at + j * stride..][..q.len()];
            *s = score::<FUSED>(vector::sum(q.len(), |i| q[i].to_f32() * k[i].to_f32()), options);
        }
        let top = vector::max(scores);
        for s in scores.iter_mut() { *s = math::exp::<FUSED>(*s - top); }
        (vector::sum(n, |i| scores[i]), top)
    }
}

vectorised! {
    fn few_values[E: Element](p: &[f32], v: &[E], at: usize, stride: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (j, &p) in p.iter().enumerate() {
            let v = &v[at + j * stride..][..out.len()];
            for (o, v) in out.iter_mut().zip(v) { *o += p * v.to_f32(); }
        }
    }
}
