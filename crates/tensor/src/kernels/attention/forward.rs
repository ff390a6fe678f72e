//! Attention, forward.

use std::cell::RefCell;

use super::block::{Engine, KEYS, Sight};
use super::{Options, Shape, Span, Target, check, head_of};
use crate::kernels::level::{Level, level};
use crate::kernels::math;
use crate::kernels::matmul::pack::Lanes;
use crate::kernels::matmul::tile::MAX_COLS;
use crate::kernels::matmul::{Line, room};
use crate::kernels::matrix::{Element, Elements, Mat, MatMut};
use crate::kernels::pool::{self, Shareable};
use crate::kernels::vector::{self, LANES, vectorised};

/// Up to this many queries a span's keys and values are read as they lie: packing them would cost more than the products.
const FEW: usize = 4;

#[derive(Default)]
struct Scratch {
    keys: Vec<Line>,
    values: Vec<Line>,
    queries: Vec<Line>,
    scores: Vec<Line>,
    probabilities: Vec<Line>,
    result: Vec<Line>,
    transposed: Vec<Line>,
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
        let (group, cols) = (heads / kv_heads, engine.cols());
        let k = head_of(&self.k, self.span.keys.start, keys, self.head, width);
        let v = head_of(&self.v, self.span.keys.start, keys, self.head, width);
        let key_blocks = engine.blocks(&k, Lanes::Rows, &mut s.keys);
        let value_blocks = engine.blocks(&v, Lanes::Columns, &mut s.values);
        let scores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.scores, engine.padded(KEYS) * cols));
        let result: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.result, engine.padded(width) * cols));
        for begin in (0..queries).step_by(cols) {
            let count = cols.min(queries - begin);
            let sight = Sight::new(&self.options, begin, count, queries, keys);
            let first = self.span.queries.start + begin;
            for head in self.head * group..(self.head + 1) * group {
                let q = head_of(&self.q, first, count, head, width);
                let q = engine.right(&q, Lanes::Rows, &mut s.queries);
                let mut softmax = Softmax::default();
                result.fill(0.0);
                for block in sight.blocks() {
                    let (k, v) = (key_blocks.get(block), value_blocks.get(block));
                    let part = engine.whole_tiles(KEYS.min(keys - block * KEYS), sight.within(block));
                    engine.rows(&k, part.clone(), q, scores);
                    let scores = &mut scores[part.start * cols..part.end * cols];
                    if softmax_block(
                        scores,
                        cols,
                        block * KEYS + part.start,
                        &sight,
                        &self.options,
                        &mut softmax,
                    ) {
                        decay(&mut result[..width * cols], &softmax.decay[..cols]);
                    }
                    let p = engine.right_of_scores(scores, &mut s.probabilities);
                    let from = engine.steps(part.start);
                    engine.depth(&v, from..from + engine.steps(part.len()), p, result);
                }
                let rows = engine.transposed(&result[..width * cols], width, &mut s.transposed);
                for (i, row) in rows.chunks_exact(width).enumerate().take(count) {
                    let (sum, top) = (softmax.sum[i], softmax.top[i]);
                    put_lse(first + i, head, top + sum.ln());
                    let factor = if sum > 0.0 { 1.0 / sum } else { 0.0 };
                    // SAFETY: this task alone has this span's queries and these heads.
                    unsafe { self.target.write(first + i, head * width, row, factor) };
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

/// Scales and caps one score as the options say.
#[inline(always)]
pub(super) fn score<const FUSED: bool>(s: f32, options: &Options) -> f32 {
    let s = s * options.scale;
    match options.softcap {
        Some(cap) => cap * math::tanh::<FUSED>(s / cap),
        None => s,
    }
}

/// What softmax knows of each query of a panel after some blocks of keys.
struct Softmax {
    /// Largest score.
    top: [f32; MAX_COLS],
    /// Sum of `exp(score − top)`.
    sum: [f32; MAX_COLS],
    /// What the last block's larger top makes of what was summed before it.
    decay: [f32; MAX_COLS],
}

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax { top: [f32::NEG_INFINITY; MAX_COLS], sum: [0.0; MAX_COLS], decay: [0.0; MAX_COLS] }
    }
}

vectorised! {
    /// Turns the scores of keys from `key` on into `exp(score − top)`, zero where nothing is seen. Gives whether what was summed before has to decay.
    fn softmax_block(
        scores: &mut [f32], cols: usize, key: usize, sight: &Sight, options: &Options, softmax: &mut Softmax,
    ) -> bool {
        let mut grown = false;
        let plain = options.softcap.is_none() && options.scale > 0.0;
        let factor = if plain { options.scale } else { 1.0 };
        let whole = sight.whole(key..key + scores.len() / cols);
        for c in (0..cols).step_by(LANES) {
            let low: &[u32; LANES] = lanes(&sight.low, c);
            let high: &[u32; LANES] = lanes(&sight.high, c);
            let mut most = [f32::NEG_INFINITY; LANES];
            if !(plain && whole) {
                for (j, row) in scores.chunks_exact_mut(cols).enumerate() {
                    let key = (key + j) as u32;
                    for ((x, low), high) in row[c..c + LANES].iter_mut().zip(low).zip(high) {
                        let s = if plain { *x } else { score::<FUSED>(*x, options) };
                        *x = if key >= *low && key < *high { s } else { f32::NEG_INFINITY };
                    }
                }
            }
            for row in scores.chunks_exact(cols) {
                for (m, &x) in most.iter_mut().zip(&row[c..c + LANES]) { *m = if x > *m { x } else { *m }; }
            }
            let mut base = [0f32; LANES];
            let (tops, decays) = (&mut softmax.top[c..c + LANES], &mut softmax.decay[c..c + LANES]);
            for (((top, decay), most), base) in tops.iter_mut().zip(decays).zip(&most).zip(&mut base) {
                let new = if most * factor > *top { most * factor } else { *top };
                // A query that has seen nothing yet: every exponent below becomes −∞, not NaN.
                *base = if new == f32::NEG_INFINITY { 0.0 } else { new };
                *decay = math::exp::<FUSED>(*top - *base);
                grown |= new > *top;
                *top = new;
            }
            let mut sums = [0f32; LANES];
            for row in scores.chunks_exact_mut(cols) {
                for ((x, sum), base) in row[c..c + LANES].iter_mut().zip(&mut sums).zip(&base) {
                    *x = math::exp_down::<FUSED>(math::fma::<FUSED>(*x, factor, -base));
                    *sum += *x;
                }
            }
            for ((total, sum), decay) in softmax.sum[c..].iter_mut().zip(&sums).zip(&softmax.decay[c..]) {
                *total = *total * decay + sum;
            }
        }
        grown
    }
}

vectorised! {
    fn decay(result: &mut [f32], by: &[f32]) {
        for row in result.chunks_exact_mut(by.len()) {
            for (x, by) in row.iter_mut().zip(by) { *x *= by; }
        }
    }
}

/// Sixteen numbers from `c` on.
#[inline(always)]
pub(super) fn lanes<T>(x: &[T; MAX_COLS], c: usize) -> &[T; LANES] {
    x[c..].first_chunk().unwrap_or_else(|| unreachable!("panels have a multiple of {LANES} columns"))
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
