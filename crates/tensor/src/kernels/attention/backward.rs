//! Attention, backward.

use std::cell::RefCell;
use std::ops::Range;

use super::block::{Engine, KEYS, Sight};
use super::forward::{lanes, score};
use super::{Options, Shape, Span, Target, check, head_of};
use crate::kernels::level::{Level, level};
use crate::kernels::math;
use crate::kernels::matmul::pack::Lanes;
use crate::kernels::matmul::tile::MAX_COLS;
use crate::kernels::matmul::{Line, room};
use crate::kernels::matrix::{Element, Elements, Mat, MatMut};
use crate::kernels::pool;
use crate::kernels::vector::{self, LANES, vectorised};

/// Panels of queries that go together: the products over queries (dK, dV) are only as deep as these.
const PANELS: usize = 2;

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
    right: Vec<Line>,
    probabilities_along: Vec<Line>,
    dscores_along: Vec<Line>,
    dq: Vec<Line>,
    dk: Vec<Line>,
    dv: Vec<Line>,
    transposed: Vec<Line>,
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

/// What is known of each query of a panel.
struct Panel {
    count: usize,
    sight: Sight,
    /// Log-sum-exp of its scores.
    lse: [f32; MAX_COLS],
    /// `Σ dO ∘ O`.
    delta: [f32; MAX_COLS],
}

impl Task<'_> {
    fn run(&self, engine: &Engine, s: &mut Scratch) {
        let Shape { heads, kv_heads, width } = self.shape;
        let (queries, keys) = (self.span.queries.len(), self.span.keys.len());
        let (group, cols, steps) = (heads / kv_heads, engine.cols(), engine.steps(width));
        let k = head_of(&self.k, self.span.keys.start, keys, self.head, width);
        let v = head_of(&self.v, self.span.keys.start, keys, self.head, width);
        let key_rows = engine.blocks(&k, Lanes::Rows, &mut s.key_rows);
        let key_columns = engine.blocks(&k, Lanes::Columns, &mut s.key_columns);
        let value_rows = engine.blocks(&v, Lanes::Rows, &mut s.value_rows);
        let scores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.scores, engine.padded(KEYS) * cols));
        let dscores: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dscores, engine.padded(KEYS) * cols));
        // Words from key to key of the operands of dK and dV.
        let stride = engine.row_words(PANELS * cols);
        let probabilities_along = room(&mut s.probabilities_along, engine.padded(KEYS) * stride);
        let dscores_along = room(&mut s.dscores_along, engine.padded(KEYS) * stride);
        // dQ of a panel: columns of the head as rows. dK and dV: panels of the head's columns, all keys as rows.
        let dq_size = engine.padded(width) * cols;
        let dq: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dq, PANELS * dq_size));
        let (key_size, width_panels) = (engine.padded(keys) * cols, width.div_ceil(cols));
        let dk: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dk, width_panels * key_size));
        let dv: &mut [f32] = bytemuck::cast_slice_mut(room(&mut s.dv, width_panels * key_size));
        dk.fill(0.0);
        dv.fill(0.0);
        for begin in (0..queries).step_by(PANELS * cols) {
            let count = (PANELS * cols).min(queries - begin);
            let first = self.span.queries.start + begin;
            for head in self.head * group..(self.head + 1) * group {
                let q = head_of(&self.q, first, count, head, width);
                let dout = head_of(&self.dout, first, count, head, width);
                let out = head_of(&self.out, first, count, head, width);
                let panels: [Option<Panel>; PANELS] = std::array::from_fn(|p| {
                    (p * cols < count).then(|| {
                        self.panel(begin + p * cols, cols.min(count - p * cols), head, &out, &dout, p * cols)
                    })
                });
                let query_rows = engine.right(&q, Lanes::Rows, &mut s.query_rows);
                let dout_rows = engine.right(&dout, Lanes::Rows, &mut s.dout_rows);
                let query_columns = engine.right(&q, Lanes::Columns, &mut s.query_columns);
                let dout_columns = engine.right(&dout, Lanes::Columns, &mut s.dout_columns);
                let depth = engine.steps(count);
                dq.fill(0.0);
                let blocks = panels.iter().flatten().map(|p| p.sight.blocks()).filter(|b| !b.is_empty());
                let blocks = blocks.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
                for block in blocks {
                    let rows = KEYS.min(keys - block * KEYS);
                    let parts: [Range<usize>; PANELS] = std::array::from_fn(|p| {
                        let within = panels[p].as_ref().map_or(0..0, |p| p.sight.within(block));
                        if within.is_empty() { 0..0 } else { engine.whole_tiles(rows, within) }
                    });
                    let (k, k_columns, v) =
                        (key_rows.get(block), key_columns.get(block), value_rows.get(block));
                    for (p, (panel, part)) in panels.iter().zip(&parts).enumerate() {
                        let (Some(panel), false) = (panel, part.is_empty()) else { continue };
                        engine.rows(&k, part.clone(), &query_rows[p * steps * cols..], scores);
                        engine.rows(&v, part.clone(), &dout_rows[p * steps * cols..], dscores);
                        let (scores, dscores) = (
                            &mut scores[part.start * cols..part.end * cols],
                            &mut dscores[part.start * cols..part.end * cols],
                        );
                        score_gradient(
                            scores,
                            dscores,
                            cols,
                            block * KEYS + part.start,
                            panel,
                            &self.options,
                        );
                        let at = part.start * stride + p * engine.row_words(cols);
                        engine.rows_of_scores(scores, &mut probabilities_along[at..], stride);
                        engine.rows_of_scores(dscores, &mut dscores_along[at..], stride);
                        let right = engine.right_of_scores(dscores, &mut s.right);
                        let from = engine.steps(part.start);
                        let dq = &mut dq[p * dq_size..(p + 1) * dq_size];
                        engine.depth(&k_columns, from..from + engine.steps(part.len()), right, dq);
                    }
                    let all = parts.iter().filter(|p| !p.is_empty()).cloned();
                    let Some(all) = all.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)) else {
                        continue;
                    };
                    for (p, part) in parts.iter().enumerate() {
                        let part = if part.is_empty() { all.start..all.start } else { part.clone() };
                        for j in (all.start..part.start).chain(part.end..all.end) {
                            let at = j * stride + p * engine.row_words(cols);
                            probabilities_along[at..at + engine.row_words(cols)].fill(0);
                            dscores_along[at..at + engine.row_words(cols)].fill(0);
                        }
                    }
                    for (left, right, to) in [
                        (&*dscores_along, query_columns, &mut *dk),
                        (&*probabilities_along, dout_columns, &mut *dv),
                    ] {
                        let left = &left[all.start * stride..];
                        for e in 0..width_panels {
                            let to = &mut to[e * key_size + (block * KEYS + all.start) * cols..];
                            engine.along(all.len(), depth, left, stride, &right[e * depth * cols..], to);
                        }
                    }
                }
                for (p, panel) in panels.iter().enumerate() {
                    let Some(panel) = panel else { continue };
                    let dq = &dq[p * dq_size..][..width * cols];
                    let rows = engine.transposed(dq, width, &mut s.transposed);
                    for (i, row) in rows.chunks_exact(width).enumerate().take(panel.count) {
                        // SAFETY: this task alone has this span's queries and these heads.
                        unsafe { self.dq.write(first + p * cols + i, head * width, row, self.options.scale) };
                    }
                }
            }
        }
        for (target, values, factor) in [(&self.dk, &*dk, self.options.scale), (&self.dv, &*dv, 1.0)] {
            for j in 0..keys {
                for e in 0..width_panels {
                    let n = cols.min(width - e * cols);
                    let row = &values[e * key_size + j * cols..][..n];
                    // SAFETY: this task alone has this span's keys and this head.
                    unsafe {
                        target.write(self.span.keys.start + j, self.head * width + e * cols, row, factor)
                    };
                }
            }
        }
    }

    /// The panel of `count` queries from `begin` of the span on, which are rows from `row` on of the result and its gradient.
    fn panel(
        &self,
        begin: usize,
        count: usize,
        head: usize,
        out: &Mat<'_>,
        dout: &Mat<'_>,
        row: usize,
    ) -> Panel {
        let sight = Sight::new(&self.options, begin, count, self.span.queries.len(), self.span.keys.len());
        let (mut lse, mut delta) = ([0.0; MAX_COLS], [0.0; MAX_COLS]);
        for i in 0..count {
            lse[i] = self.lse[(self.span.queries.start + begin + i) * self.shape.heads + head];
            delta[i] = dot(out, dout, row + i);
        }
        Panel { count, sight, lse, delta }
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
    /// Turns the scores of keys from `key` on into probabilities, and the gradients of those into the gradients of the raw scores (before `scale`).
    fn score_gradient(
        scores: &mut [f32], dscores: &mut [f32], cols: usize, key: usize, panel: &Panel, options: &Options,
    ) {
        let whole = options.softcap.is_none() && panel.sight.whole(key..key + scores.len() / cols);
        for c in (0..cols).step_by(LANES) {
            let (lse, delta) = (lanes(&panel.lse, c), lanes(&panel.delta, c));
            let (low, high) = (lanes(&panel.sight.low, c), lanes(&panel.sight.high, c));
            for (j, (s, d)) in scores.chunks_exact_mut(cols).zip(dscores.chunks_exact_mut(cols)).enumerate() {
                let (s, d) = (&mut s[c..c + LANES], &mut d[c..c + LANES]);
                if whole {
                    for (((s, d), lse), delta) in s.iter_mut().zip(d).zip(lse).zip(delta) {
                        *s = math::exp_down::<FUSED>(math::fma::<FUSED>(*s, options.scale, -lse));
                        *d = *s * (*d - delta);
                    }
                } else {
                    let key = (key + j) as u32;
                    for (i, (s, d)) in s.iter_mut().zip(d).enumerate() {
                        let seen = key >= low[i] && key < high[i];
                        let capped = score::<FUSED>(*s, options);
                        let slope = options.softcap.map_or(1.0, |cap| 1.0 - (capped / cap) * (capped / cap));
                        let p = if seen { math::exp_down::<FUSED>(capped - lse[i]) } else { 0.0 };
                        *s = p;
                        *d = if seen { p * (*d - delta[i]) * slope } else { 0.0 };
                    }
                }
            }
        }
    }
}
