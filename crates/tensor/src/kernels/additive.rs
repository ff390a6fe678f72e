//! One step in time of additive attention, forward and backward, over the sequences that are still going on:
//! scores `e_j = v · tanh(q + k_j)`, weights `w = softmax(e)`, and the weighted sum of the values. Bahdanau, Cho & Bengio 2015.
//!
//! A row of `source` holds a token that was read: its key (A numbers), what it adds to the gates (G), what it adds to the readout (R). Backward
//! computes the hyperbolic tangents again; only the weights are kept.

use std::ops::Range;

use crate::kernels::math::{exp, tanh};
use crate::kernels::pool::{self, Shareable};
use crate::kernels::vector::{self, vectorised};

/// Which rows of the source each sequence looks at.
#[derive(Clone, Debug)]
pub struct Ranges {
    list: Vec<Range<usize>>,
    end: usize,
    longest: usize,
    disjoint: bool,
}

impl Ranges {
    /// The ranges of the sequences in order of their places.
    pub fn new(list: Vec<Range<usize>>) -> Ranges {
        let mut sorted: Vec<_> = list.iter().filter(|r| !r.is_empty()).collect();
        sorted.sort_by_key(|r| r.start);
        let disjoint = sorted.windows(2).all(|w| w[0].end <= w[1].start);
        let end = list.iter().map(|r| r.end).max().unwrap_or(0);
        let longest = list.iter().map(Range::len).max().unwrap_or(0);
        Ranges { list, end, longest, disjoint }
    }

    /// Rows of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }
}

/// What is looked at.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// `[rows, A + G + R]`.
    pub data: &'a [f32],
    /// Width of the keys, A.
    pub keys: usize,
    /// Columns of the gates, G.
    pub gates: usize,
    /// Columns of the readout, R.
    pub readout: usize,
    /// The rows of each sequence.
    pub ranges: &'a Ranges,
    /// `v`, A numbers.
    pub score: &'a [f32],
}

impl Source<'_> {
    fn stride(&self) -> usize {
        self.keys + self.gates + self.readout
    }

    /// Numbers kept of a step of one sequence: its readout, then its weights.
    pub fn kept(&self) -> usize {
        self.readout + self.ranges.longest
    }

    fn check(&self, sequences: usize) {
        assert!(
            sequences <= self.ranges.list.len()
                && self.ranges.end * self.stride() <= self.data.len()
                && self.score.len() == self.keys,
            "additive attention: {sequences} sequences look at {:?} of {} numbers",
            self.ranges,
            self.data.len()
        );
    }
}

/// A step: sequence `k` has its query in row `k` of `queries` (rows of `stride` numbers). `gates [n, G]` becomes row `rows[k]` of `x` and what is
/// attended to; `kept [n, R + longest]` the readout and the weights. A sequence that looks at nothing gets zeros.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward(
    source: Source<'_>,
    queries: &[f32],
    stride: usize,
    x: &[f32],
    rows: &[u32],
    gates: &mut [f32],
    kept: &mut [f32],
) {
    let (n, width) = (rows.len(), source.gates);
    source.check(n);
    assert!(gates.len() == n * width && kept.len() == n * source.kept(), "additive attention: lengths");
    if kept.is_empty() {
        for (gates, &row) in gates.chunks_exact_mut(width).zip(rows) {
            gates.copy_from_slice(&x[row as usize * width..][..width]);
        }
        return;
    }
    pool::chunks2(gates, width, kept, source.kept(), |k, gates, kept| {
        gates.copy_from_slice(&x[rows[k] as usize * width..][..width]);
        let range = &source.ranges.list[k];
        let looked_at = &source.data[range.start * source.stride()..range.end * source.stride()];
        let query = &queries[k * stride..][..source.keys];
        attend(looked_at, source.stride(), query, source.score, gates, kept, source.readout);
    });
}

vectorised! {
    fn attend(
        source: &[f32], stride: usize, query: &[f32], score: &[f32], gates: &mut [f32], kept: &mut [f32], readout: usize,
    ) {
        let keys = query.len();
        let (read, weights) = kept.split_at_mut(readout);
        read.fill(0.0);
        weights.fill(0.0);
        let weights = &mut weights[..source.len() / stride];
        for (w, row) in weights.iter_mut().zip(source.chunks_exact(stride)) {
            let key = &row[..keys];
            *w = vector::sum(keys, |a| score[a] * tanh::<FUSED>(query[a] + key[a]));
        }
        let top = vector::max(weights);
        let mut total = 0.0;
        for w in weights.iter_mut() {
            *w = exp::<FUSED>(*w - top);
            total += *w;
        }
        for (w, row) in weights.iter_mut().zip(source.chunks_exact(stride)) {
            *w /= total;
            let (first, second) = row[keys..].split_at(gates.len());
            for (g, s) in gates.iter_mut().zip(first) {
                *g += *w * s;
            }
            for (r, s) in read.iter_mut().zip(second) {
                *r += *w * s;
            }
        }
    }
}

/// Gradients of a step, from those of the gates and the readout.
pub struct Backward<'a> {
    /// The queries of forward, in rows of `stride` numbers.
    pub queries: &'a [f32],
    /// Numbers between them.
    pub stride: usize,
    /// What forward kept.
    pub kept: &'a [f32],
    /// Gradients of the gates that came in, then of those that came from the state, `[n, 2G]`.
    pub gates: &'a [f32],
    /// Gradient of the readout, `[T, R]`, if anything asked for it.
    pub readout: Option<&'a [f32]>,
    /// Row of the readout's gradient of each sequence.
    pub rows: &'a [u32],
}

/// Writes the gradients of query and state's gates side by side, `queries [n, A + G]`; adds to those of the source's rows, `rows [.., A + G + R]`,
/// and of the score, `score [n.., A]`, one row for each sequence.
///
/// # Panics
/// If the lengths do not fit or sequences share rows of the source.
pub fn backward(
    source: Source<'_>,
    d: Backward<'_>,
    queries: &mut [f32],
    rows: &mut [f32],
    score: &mut [f32],
) {
    let (n, keys, stride) = (d.rows.len(), source.keys, source.stride());
    source.check(n);
    assert!(source.ranges.disjoint, "additive attention backward: sequences share what they look at");
    assert!(
        queries.len() == n * (keys + source.gates)
            && d.gates.len() == n * 2 * source.gates
            && d.kept.len() == n * source.kept()
            && rows.len() >= source.ranges.end * stride
            && score.len() >= n * keys,
        "additive attention backward: lengths"
    );
    let shared = Shareable(rows.as_mut_ptr());
    pool::chunks2(queries, keys + source.gates, &mut score[..n * keys], keys, |k, queries, score| {
        let range = &source.ranges.list[k];
        // SAFETY: the ranges lie in `rows` and do not overlap, by the assertions above; this task alone has range `k`.
        let to = unsafe {
            std::slice::from_raw_parts_mut(shared.get().add(range.start * stride), range.len() * stride)
        };
        let looked_at = &source.data[range.start * stride..range.end * stride];
        let (incoming, state) = d.gates[k * 2 * source.gates..][..2 * source.gates].split_at(source.gates);
        let readout =
            d.readout.map_or(&[][..], |r| &r[d.rows[k] as usize * source.readout..][..source.readout]);
        let weights = &d.kept[k * source.kept() + source.readout..][..range.len()];
        let (dquery, dstate) = queries.split_at_mut(keys);
        dstate.copy_from_slice(state);
        let query = &d.queries[k * d.stride..][..keys];
        attend_backward(
            looked_at,
            stride,
            query,
            source.score,
            weights,
            incoming,
            readout,
            dquery,
            to,
            score,
        );
    });
}

vectorised! {
    fn attend_backward(
        source: &[f32], stride: usize, query: &[f32], score: &[f32], weights: &[f32], gates: &[f32], readout: &[f32],
        dquery: &mut [f32], dsource: &mut [f32], dscore: &mut [f32],
    ) {
        let keys = query.len();
        dquery.fill(0.0);
        // How much each weight was wanted; their mean is taken off, because the weights sum to one.
        let mut mean = 0.0;
        for ((row, to), &w) in source.chunks_exact(stride).zip(dsource.chunks_exact_mut(stride)).zip(weights) {
            let (first, second) = row[keys..].split_at(gates.len());
            let wanted = vector::sum(gates.len(), |i| first[i] * gates[i]) + vector::sum(readout.len(), |i| second[i] * readout[i]);
            mean += w * wanted;
            let (dfirst, dsecond) = to[keys..].split_at_mut(gates.len());
            for (to, g) in dfirst.iter_mut().zip(gates) {
                *to += w * g;
            }
            for (to, r) in dsecond.iter_mut().zip(readout) {
                *to += w * r;
            }
        }
        for ((row, to), &w) in source.chunks_exact(stride).zip(dsource.chunks_exact_mut(stride)).zip(weights) {
            let (first, second) = row[keys..].split_at(gates.len());
            let wanted = vector::sum(gates.len(), |i| first[i] * gates[i]) + vector::sum(readout.len(), |i| second[i] * readout[i]);
            let e = w * (wanted - mean);
            let (key, dkey) = (&row[..keys], &mut to[..keys]);
            for a in 0..keys {
                let t = tanh::<FUSED>(query[a] + key[a]);
                let slope = e * score[a] * (1.0 - t * t);
                dscore[a] += e * t;
                dquery[a] += slope;
                dkey[a] += slope;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::pool::with_threads;
    use crate::kernels::random::{Key, normal};

    fn numbers(stream: u64, n: usize) -> Vec<f32> {
        let mut v = vec![0.0; n];
        normal(Key { seed: 3, stream, step: 0 }, 0.0, 1.0, &mut v);
        v
    }

    /// Three sequences of a batch of five tokens; they read 4 tokens, none, and 21.
    struct Case {
        source: Vec<f32>,
        score: Vec<f32>,
        queries: Vec<f32>,
        x: Vec<f32>,
        ranges: Ranges,
    }

    const A: usize = 21;
    const G: usize = 18;
    const R: usize = 5;
    const ROWS: [u32; 3] = [4, 0, 2];

    fn case() -> Case {
        Case {
            source: numbers(1, 27 * (A + G + R)),
            score: numbers(2, A),
            queries: numbers(3, 3 * (A + 2)),
            x: numbers(4, 5 * G),
            ranges: Ranges::new(vec![22..26, 0..0, 0..21]),
        }
    }

    impl Case {
        fn source(&self) -> Source<'_> {
            Source {
                data: &self.source,
                keys: A,
                gates: G,
                readout: R,
                ranges: &self.ranges,
                score: &self.score,
            }
        }

        fn forward(&self) -> [Vec<f32>; 2] {
            let (mut gates, mut kept) = (vec![f32::NAN; 3 * G], vec![f32::NAN; 3 * (R + 21)]);
            forward(self.source(), &self.queries, A + 2, &self.x, &ROWS, &mut gates, &mut kept);
            [gates, kept]
        }

        /// By the definition, in f64: gates, then the readout, of each sequence.
        fn reference(&self) -> Vec<f64> {
            let mut out = Vec::new();
            for (k, range) in self.ranges.list.iter().enumerate() {
                let at = |j: usize, c: usize| f64::from(self.source[j * (A + G + R) + c]);
                let q = |a: usize| f64::from(self.queries[k * (A + 2) + a]);
                let score = |j: usize| {
                    (0..A).map(|a| f64::from(self.score[a]) * (q(a) + at(j, a)).tanh()).sum::<f64>().exp()
                };
                let total: f64 = range.clone().map(score).sum();
                for c in 0..G + R {
                    let sum: f64 = range.clone().map(|j| score(j) / total * at(j, A + c)).sum();
                    out.push(sum + if c < G { f64::from(self.x[ROWS[k] as usize * G + c]) } else { 0.0 });
                }
            }
            out
        }

        fn sum(&self) -> f64 {
            let weights = numbers(9, 3 * (G + R));
            self.reference().iter().zip(&weights).map(|(o, w)| o * f64::from(*w)).sum()
        }
    }

    #[test]
    fn the_step_is_that_of_the_definition() {
        let case = case();
        let [gates, kept] = case.forward();
        for (k, want) in case.reference().chunks_exact(G + R).enumerate() {
            let got = gates[k * G..][..G].iter().chain(&kept[k * (R + 21)..][..R]);
            for (g, w) in got.zip(want) {
                assert!(
                    (f64::from(*g) - w).abs() < 2e-5 * (1.0 + w.abs()),
                    "sequence {k}: {g}, expected {w}"
                );
            }
            let weights = &kept[k * (R + 21) + R..][..21];
            let read = case.ranges.list[k].len();
            let total: f32 = weights.iter().sum();
            assert!((total - f32::from(read > 0)).abs() < 1e-5 && weights[read..].iter().all(|&w| w == 0.0));
        }
    }

    #[test]
    fn the_gradients_are_the_slopes_of_the_definition() {
        let mut case = case();
        let [_, kept] = case.forward();
        let weights = numbers(9, 3 * (G + R));
        let (mut gates, mut readout) = (vec![0.5; 3 * 2 * G], vec![0.0; 5 * R]);
        for (k, w) in weights.chunks_exact(G + R).enumerate() {
            gates[k * 2 * G..][..G].copy_from_slice(&w[..G]);
            readout[ROWS[k] as usize * R..][..R].copy_from_slice(&w[G..]);
        }
        let run = |threads: usize| {
            with_threads(threads, || {
                let mut q = vec![f32::NAN; 3 * (A + G)];
                let (mut rows, mut score) = (vec![0.0; 27 * (A + G + R)], vec![0.0; 3 * A]);
                let d = Backward {
                    queries: &case.queries,
                    stride: A + 2,
                    kept: &kept,
                    gates: &gates,
                    readout: Some(&readout),
                    rows: &ROWS,
                };
                backward(case.source(), d, &mut q, &mut rows, &mut score);
                [q, rows, score]
            })
        };
        let [q, rows, score] = run(1);
        assert!([2, 3].into_iter().all(|n| run(n) == [q.clone(), rows.clone(), score.clone()]));
        assert!(q.chunks_exact(A + G).all(|row| row[A..].iter().all(|&x| x == 0.5)));
        let slope = |case: &mut Case, part: fn(&mut Case) -> &mut Vec<f32>, i: usize| {
            let x = part(case)[i];
            part(case)[i] = x + 1.0 / 256.0;
            let up = case.sum();
            part(case)[i] = x - 1.0 / 256.0;
            let down = case.sum();
            part(case)[i] = x;
            (up - down) * 128.0
        };
        // Sums of up to 21 products of normal numbers, and h² times a third derivative.
        let same = |got: f32, want: f64| (f64::from(got) - want).abs() < 5e-4 * (3.0 + want.abs());
        for i in (0..rows.len()).step_by(3) {
            let want = slope(&mut case, |c| &mut c.source, i);
            assert!(same(rows[i], want), "source {i}: {}, expected {want}", rows[i]);
        }
        for i in 0..A {
            let want = slope(&mut case, |c| &mut c.score, i);
            let got = score[i] + score[A + i] + score[2 * A + i];
            assert!(same(got, want), "score {i}: {got}, expected {want}");
            for k in 0..3 {
                let want = slope(&mut case, |c| &mut c.queries, k * (A + 2) + i);
                assert!(same(q[k * (A + G) + i], want), "query {k} {i}: {}, {want}", q[k * (A + G) + i]);
            }
        }
    }

    #[test]
    fn gradients_of_shared_rows_are_refused() {
        let ranges = Ranges::new(vec![0..3, 2..4]);
        let (data, score) = (numbers(1, 4 * 3), [1.0]);
        let source = Source { data: &data, keys: 1, gates: 1, readout: 1, ranges: &ranges, score: &score };
        let d = Backward {
            queries: &[0.0; 2],
            stride: 1,
            kept: &[0.0; 8],
            gates: &[0.0; 4],
            readout: None,
            rows: &[0, 1],
        };
        let outcome =
            std::panic::catch_unwind(|| backward(source, d, &mut [0.0; 4], &mut [0.0; 12], &mut [0.0; 2]));
        let message = *outcome.unwrap_err().downcast::<&str>().unwrap();
        assert!(message.contains("share what they look at"), "{message}");
    }
}
