//! Attention, backward.

use std::cell::RefCell;

use super::block::Engine;
use super::forward::{head_of, score};
use super::{Options, Shape, Span, Target, check};
use crate::kernels::level::{Level, level};
use crate::kernels::math;
use crate::kernels::matmul::pack::{self, Lanes};
use crate::kernels::matmul::{Line, room};
use crate::kernels::matrix::{Element, Elements, Mat, MatMut};
use crate::kernels::pool;
use crate::kernels::vector::{self, vectorised};

/// Queries of a block: twice forward's, because the products over queries (dK, dV) are only as deep as a block.
const BLOCK: usize = 96;

/// Where the gradients go.
pub enum Gradients<'a> {
    /// Self-attention: one matrix `[T, (H + 2K)·E]`, columns of queries, then keys, then values.
    Fused(MatMut<'a>),
    /// Queries of one row of tokens, keys and values of another.
    Cross {
        /// `[Tq, H·E]`.
        dq: MatMut<'a>,
        /// `[Tk, 2K·E]`: columns of keys, then values.
        dkv: MatMut<'a>,
    },
}

#[derive(Default)]
struct Scratch {
    key_rows: Vec<Line>,
    key_columns: Vec<Line>,
    value_rows: Vec<Line>,
    query_rows: Vec<Line>,
    query_columns: Vec<Line>,
    dout_rows: Vec<Line>,
    dout_columns: Vec<Line>,
    scores: Vec<Line>,
    dscores: Vec<Line>,
    left: Vec<Line>,
    dq: Vec<Line>,
    dk: Vec<Line>,
    dv: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes the gradients of `q`, `k` and `v` from that of the result, `dout`. Rows in no span become zero. No key may be in two spans.
///
/// # Panics
/// If the shapes do not fit; the message names them.
pub fn backward(
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    out: Mat<'_>,
    dout: Mat<'_>,
    lse: &[f32],
    spans: &[Span],
    shape: Shape,
    options: Options,
    gradients: Gradients<'_>,
) {
    backward_at(level(), q, k, v, out, dout, lse, spans, shape, options, gradients);
}

pub(super) fn backward_at(
    level: Level,
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    out: Mat<'_>,
    dout: Mat<'_>,
    lse: &[f32],
    spans: &[Span],
    shape: Shape,
    options: Options,
    gradients: Gradients<'_>,
) {
    check("attention backward", &q, &k, &v, spans, shape);
    for (name, m) in [("result", &out), ("its gradient", &dout)] {
        assert!(
            m.rows == q.rows && m.cols == q.cols && m.dtype() == q.dtype(),
            "attention backward: {name} {}×{} for q {}×{}",
            m.rows,
            m.cols,
            q.rows,
            q.cols
        );
    }
    assert_eq!(lse.len(), q.rows * shape.heads, "attention backward: a log-sum-exp for each query and head");
    let (queries, keys) = (shape.heads * shape.width, shape.kv_heads * shape.width);
    let [dq, dk, dv] = match gradients {
        Gradients::Fused(mut m) => {
            assert!(
                m.rows == q.rows && m.rows == k.rows && m.cols == queries + 2 * keys,
                "attention backward: fused gradient {}×{} for {shape:?}",
                m.rows,
                m.cols
            );
            let all = Target::new(&mut m);
            [all.columns(0, queries), all.columns(queries, keys), all.columns(queries + keys, keys)]
        }
        Gradients::Cross { mut dq, mut dkv } => {
            assert!(
                (dq.rows, dq.cols) == (q.rows, queries) && (dkv.rows, dkv.cols) == (k.rows, 2 * keys),
                "attention backward: gradients {}×{} and {}×{} for {shape:?}, {} queries, {} keys",
                dq.rows,
                dq.cols,
                dkv.rows,
                dkv.cols,
                q.rows,
                k.rows
            );
            let both = Target::new(&mut dkv);
            [Target::new(&mut dq), both.columns(0, keys), both.columns(keys, keys)]
        }
    };
    if spans.iter().map(|s| s.queries.len()).sum::<usize>() != q.rows {
        dq.clear();
    }
    if spans.iter().map(|s| s.keys.len()).sum::<usize>() != k.rows {
        dk.clear();
        dv.clear();
    }
    let engine = Engine::new(level, q.dtype());
    pool::run(spans.len() * shape.kv_heads, |task| {
        let (span, head) = (&spans[task / shape.kv_heads], task % shape.kv_heads);
        let task = Task { q, k, v, out, dout, lse, span, shape, options, head, dq, dk, dv };
        SCRATCH.with_borrow_mut(|s| task.run(&engine, s));
    });
}

/// One span and one key-value head.
struct Task<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    out: Mat<'a>,
    dout: Mat<'a>,
    lse: &'a [f32],
    span: &'a Span,
    shape: Shape,
    options: Options,
    head: usize,
    dq: Target,
    dk: Target,
    dv: Target,
}

impl Task<'_> {
    fn run(&self, engine: &Engine, s: &mut Scratch) {
        let Shape { heads, kv_heads, width } = self.shape;
        let (queries, keys) = (self.span.queries.len(), self.span.keys.len());
        let group = heads / kv_heads;
        let cols = engine.cols();
        let k = head_of(&self.k, self.span.keys.start, keys, self.head, width);
        let v = head_of(&self.v, self.span.keys.start, keys, self.head, width);
        let key_rows = engine.right(&k, Lanes::Rows, &mut s.key_rows);
        let key_columns = engine.right(&k, Lanes::Columns, &mut s.key_columns);
        let value_rows = engine.right(&v, Lanes::Rows, &mut s.value_rows);
        let (key_panels, panels_of_width) = (keys.div_ceil(cols), width.div_ceil(cols));
        let steps = engine.steps(width);
        // Scores: panels of the block's rows. Gradients of keys and values: panels of all keys, padded to whole panels and a tile.
        let stride = engine.padded(BLOCK) * cols;
        let key_stride = (key_panels * cols + engine.tiles.rows[0]) * cols;
        let scores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.scores, key_panels * stride));
        let dscores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dscores, key_panels * stride));
        let dq: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dq, panels_of_width * stride));
        let dk: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dk, panels_of_width * key_stride));
        let dv: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dv, panels_of_width * key_stride));
        dk.fill(0.0);
        dv.fill(0.0);
        for begin in (0..queries).step_by(BLOCK) {
            let rows = BLOCK.min(queries - begin);
            let seen = self.options.visible(begin, queries, keys).start
                ..self.options.visible(begin + rows - 1, queries, keys).end;
            let panels = seen.start / cols..seen.end.div_ceil(cols);
            let first = self.span.queries.start + begin;
            for head in self.head * group..(self.head + 1) * group {
                let q = head_of(&self.q, first, rows, head, width);
                let dout = head_of(&self.dout, first, rows, head, width);
                let out = head_of(&self.out, first, rows, head, width);
                let panel = |p: usize| p * steps * cols;
                let left = engine.left(&q, Lanes::Rows, &mut s.query_rows);
                engine.product(rows, steps, left, panels.clone(), panel, key_rows, scores, stride, false);
                let left = engine.left(&dout, Lanes::Rows, &mut s.dout_rows);
                engine.product(rows, steps, left, panels.clone(), panel, value_rows, dscores, stride, false);
                for r in 0..rows {
                    let visible = self.options.visible(begin + r, queries, keys);
                    let lse = self.lse[(first + r) * heads + head];
                    let delta = dot(&out, &dout, r);
                    let part = (panels.start, panels.end);
                    score_gradient(
                        scores,
                        dscores,
                        r,
                        stride,
                        cols,
                        part,
                        &visible,
                        &self.options,
                        lse,
                        delta,
                    );
                }
                // dQ = dS · K, over the keys that the block sees.
                let left = engine.left_of_scores(dscores, rows, stride, panels.clone(), &mut s.left);
                let (depth, from) = (engine.steps(keys), panels.start * engine.steps(cols));
                let all = engine.steps(cols) * panels.len();
                let here = all.min(depth - from.min(depth));
                for p in 0..panels_of_width {
                    let b = &key_columns[((p * depth + from) * cols).min(key_columns.len())..];
                    let mut at = 0;
                    for (i, _, tile) in engine.row_tiles(rows) {
                        engine.tile(tile, here, &left[at..], b, &mut dq[p * stride + i * cols..], false);
                        at += all * tile;
                    }
                }
                for r in 0..rows {
                    for p in 0..panels_of_width {
                        let n = cols.min(width - p * cols);
                        let row = &dq[p * stride + r * cols..][..n];
                        // SAFETY: this task alone has this span's queries and these heads.
                        unsafe { self.dq.write(first + r, head * width + p * cols, row, self.options.scale) };
                    }
                }
                // dK += dSᵀ · Q and dV += Pᵀ · dO, over the block's queries.
                let columns = engine.right(&q, Lanes::Columns, &mut s.query_columns);
                transposed_product(
                    engine,
                    dscores,
                    rows,
                    stride,
                    panels.clone(),
                    columns,
                    panels_of_width,
                    dk,
                    key_stride,
                    &mut s.left,
                );
                let columns = engine.right(&dout, Lanes::Columns, &mut s.dout_columns);
                transposed_product(
                    engine,
                    scores,
                    rows,
                    stride,
                    panels.clone(),
                    columns,
                    panels_of_width,
                    dv,
                    key_stride,
                    &mut s.left,
                );
            }
        }
        for (target, values, factor) in [(&self.dk, &*dk, self.options.scale), (&self.dv, &*dv, 1.0)] {
            for j in 0..keys {
                for p in 0..panels_of_width {
                    let n = cols.min(width - p * cols);
                    let row = &values[p * key_stride + j * cols..][..n];
                    // SAFETY: this task alone has this span's keys and this head.
                    unsafe {
                        target.write(self.span.keys.start + j, self.head * width + p * cols, row, factor)
                    };
                }
            }
        }
    }
}

/// `out += scoresᵀ · right`: the keys of each panel are rows of the result, the block's queries its depth.
fn transposed_product(
    engine: &Engine,
    scores: &[f32],
    rows: usize,
    stride: usize,
    panels: std::ops::Range<usize>,
    right: &[u32],
    panels_of_width: usize,
    out: &mut [f32],
    out_stride: usize,
    left: &mut Vec<Line>,
) {
    let cols = engine.cols();
    let depth = engine.steps(rows);
    let left = room(left, depth * engine.tiles.rows[0]);
    for p in panels {
        let m = Mat::new(Elements::F32(&scores[p * stride..][..rows * cols]), rows, cols, cols);
        for (first, n, tile) in engine.row_tiles(cols) {
            let left = &mut left[..depth * tile];
            pack::pack(engine.level, &m, Lanes::Columns, engine.word, first, n, tile, left);
            for e in 0..panels_of_width {
                let c = &mut out[e * out_stride + (p * cols + first) * cols..];
                engine.tile(tile, depth, left, &right[e * depth * cols..], c, true);
            }
        }
    }
}

fn dot(a: &Mat<'_>, b: &Mat<'_>, r: usize) -> f32 {
    match (a.data, b.data) {
        (Elements::F32(x), Elements::F32(y)) => {
            dot_rows(&x[r * a.stride..][..a.cols], &y[r * b.stride..][..b.cols])
        }
        (Elements::Bf16(x), Elements::Bf16(y)) => {
            dot_rows(&x[r * a.stride..][..a.cols], &y[r * b.stride..][..b.cols])
        }
        _ => unreachable!("operands have one element type"),
    }
}

vectorised! {
    fn dot_rows[E: Element](x: &[E], y: &[E]) -> f32 {
        vector::sum(x.len(), |i| x[i].to_f32() * y[i].to_f32())
    }
}

vectorised! {
    /// Turns row `r` of the scores into probabilities and that of their gradients into the gradients of the raw scores (before `scale`).
    fn score_gradient(
        scores: &mut [f32], dscores: &mut [f32], r: usize, stride: usize, cols: usize, panels: (usize, usize),
        visible: &std::ops::Range<usize>, options: &Options, lse: f32, delta: f32,
    ) {
        for p in panels.0..panels.1 {
            let at = p * stride + r * cols;
            let (s, d) = (&mut scores[at..at + cols], &mut dscores[at..at + cols]);
            let begin = p * cols;
            let whole = begin >= visible.start && begin + cols <= visible.end;
            match options.softcap {
                None if whole => {
                    for (s, d) in s.iter_mut().zip(d) {
                        *s = math::exp::<FUSED>(*s * options.scale - lse);
                        *d = *s * (*d - delta);
                    }
                }
                _ => {
                    for (c, (s, d)) in s.iter_mut().zip(d).enumerate() {
                        let seen = begin + c >= visible.start && begin + c < visible.end;
                        let capped = score::<FUSED>(*s, options);
                        let slope = options.softcap.map_or(1.0, |cap| 1.0 - (capped / cap) * (capped / cap));
                        let p = if seen { math::exp::<FUSED>(capped - lse) } else { 0.0 };
                        *s = p;
                        *d = if seen { p * (*d - delta) * slope } else { 0.0 };
                    }
                }
            }
        }
    }
}
