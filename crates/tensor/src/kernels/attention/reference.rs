//! Attention by its definition, in f64: what the fast form is held against.

use super::{Options, Shape, Span};
use crate::kernels::matrix::Mat;

/// The result `[Tq, H·E]` and the log-sum-exp `[Tq, H]`.
pub fn reference(
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    spans: &[Span],
    shape: Shape,
    options: Options,
) -> (Vec<f64>, Vec<f64>) {
    let mut out = vec![0.0; q.rows * q.cols];
    let mut lse = vec![f64::NEG_INFINITY; q.rows * shape.heads];
    for_each_row(q, k, spans, shape, options, |row, head, keys, scores, _| {
        let (p, l) = softmax(scores);
        lse[row * shape.heads + head] = l;
        for (p, key) in p.iter().zip(keys) {
            for e in 0..shape.width {
                out[row * q.cols + head * shape.width + e] += p * f64::from(v.get(key, kv(shape, head) + e));
            }
        }
    });
    (out, lse)
}

/// The gradients of `q`, `k` and `v`.
pub fn reference_backward(
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    dout: Mat<'_>,
    spans: &[Span],
    shape: Shape,
    options: Options,
) -> [Vec<f64>; 3] {
    let e = shape.width;
    let mut dq = vec![0.0; q.rows * q.cols];
    let (mut dk, mut dv) = (vec![0.0; k.rows * k.cols], vec![0.0; k.rows * k.cols]);
    for_each_row(q, k, spans, shape, options, |row, head, keys, scores, slopes| {
        let (p, _) = softmax(scores);
        let (qc, kc) = (head * e, kv(shape, head));
        let d = |c: usize| f64::from(dout.get(row, qc + c));
        let dp: Vec<f64> =
            keys.clone().map(|j| (0..e).map(|c| d(c) * f64::from(v.get(j, kc + c))).sum()).collect();
        let delta: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
        for (i, j) in keys.enumerate() {
            let ds = p[i] * (dp[i] - delta) * slopes[i] * f64::from(options.scale);
            for c in 0..e {
                dq[row * q.cols + qc + c] += ds * f64::from(k.get(j, kc + c));
                dk[j * k.cols + kc + c] += ds * f64::from(q.get(row, qc + c));
                dv[j * k.cols + kc + c] += p[i] * d(c);
            }
        }
    });
    [dq, dk, dv]
}

/// First column of the keys that a query head uses.
fn kv(shape: Shape, head: usize) -> usize {
    head / (shape.heads / shape.kv_heads) * shape.width
}

fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
    (scores.iter().map(|s| (s - top).exp() / total).collect(), top + total.ln())
}

/// Calls `f(row, head, keys, scores, slopes)` for each query and head; slopes are the soft cap's.
fn for_each_row(
    q: Mat<'_>,
    k: Mat<'_>,
    spans: &[Span],
    shape: Shape,
    options: Options,
    mut f: impl FnMut(usize, usize, std::ops::Range<usize>, &[f64], &[f64]),
) {
    for span in spans {
        let (n, m) = (span.queries.len(), span.keys.len());
        for i in 0..n {
            let end = (m + i + 1).saturating_sub(n);
            let high = if options.causal { end.min(m) } else { m };
            let low = options.window.map_or(0, |w| end.saturating_sub(w)).min(high);
            let (row, keys) = (span.queries.start + i, span.keys.start + low..span.keys.start + high);
            for head in 0..shape.heads {
                let raw = keys.clone().map(|j| -> f64 {
                    let dot: f64 = (0..shape.width)
                        .map(|c| {
                            f64::from(q.get(row, head * shape.width + c))
                                * f64::from(k.get(j, kv(shape, head) + c))
                        })
                        .sum();
                    dot * f64::from(options.scale)
                });
                let (scores, slopes): (Vec<f64>, Vec<f64>) = raw
                    .map(|s| match options.softcap.map(f64::from) {
                        Some(cap) => (cap * (s / cap).tanh(), 1.0 - (s / cap).tanh().powi(2)),
                        None => (s, 1.0),
                    })
                    .unzip();
                f(row, head, keys.clone(), &scores, &slopes);
            }
        }
    }
}
