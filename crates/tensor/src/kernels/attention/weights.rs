//! The weights of attention themselves, which the fast form never holds: for pictures.

use super::{Options, Shape, Span, check};
use crate::kernels::matrix::Mat;

/// The probabilities of each query of a span over its keys, `[H, n, m]`; 0 where a key is not seen.
///
/// # Panics
/// If the shapes do not fit; the message names them.
pub fn weights(q: Mat<'_>, k: Mat<'_>, span: &Span, shape: Shape, options: Options) -> Vec<f32> {
    check("attention weights", &q, &k, &k, std::slice::from_ref(span), shape);
    let (n, m) = (span.queries.len(), span.keys.len());
    let mut all = vec![0.0; shape.heads * n * m];
    for (row, out) in all.chunks_exact_mut(m.max(1)).enumerate() {
        let (head, i) = (row / n, row % n);
        let (first, other) = (head * shape.width, head / (shape.heads / shape.kv_heads) * shape.width);
        let seen = options.visible(i, n, m);
        for (j, out) in out.iter_mut().enumerate().take(seen.end).skip(seen.start) {
            let dot =
                |e: usize| q.get(span.queries.start + i, first + e) * k.get(span.keys.start + j, other + e);
            let score = (0..shape.width).map(dot).sum::<f32>() * options.scale;
            *out = options.softcap.map_or(score, |cap| cap * (score / cap).tanh());
        }
        let out = &mut out[seen];
        let top = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        out.iter_mut().for_each(|x| *x = (*x - top).exp());
        let total: f32 = out.iter().sum();
        out.iter_mut().for_each(|x| *x /= total);
    }
    all
}
