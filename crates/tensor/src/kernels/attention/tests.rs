use super::backward::backward_at;
use super::forward::forward_at;
use super::*;
use crate::kernels::level::Level;
use crate::kernels::matrix::{DType, Elements};
use crate::kernels::pool::with_threads;
use crate::kernels::random::{Key, normal};

/// A matrix whose rows have NaN columns on both sides.
struct Fenced {
    f32s: Vec<f32>,
    bf16s: Vec<bf16>,
    rows: usize,
    cols: usize,
}

const FENCE: usize = 2;

impl Fenced {
    fn new(stream: u64, rows: usize, cols: usize) -> Fenced {
        let mut values = vec![0.0; rows * cols];
        normal(Key { seed: 11, stream, step: 0 }, 0.0, 1.0, &mut values);
        let mut f32s = vec![f32::NAN; rows * (cols + 2 * FENCE)];
        for (r, row) in f32s.chunks_exact_mut(cols + 2 * FENCE).enumerate() {
            row[FENCE..FENCE + cols].copy_from_slice(&values[r * cols..(r + 1) * cols]);
        }
        let bf16s: Vec<bf16> = f32s.iter().map(|&x| bf16::from_f32(x)).collect();
        Fenced { f32s, bf16s, rows, cols }
    }

    fn poison(&mut self, row: usize) {
        let at = row * (self.cols + 2 * FENCE);
        self.f32s[at..at + self.cols + 2 * FENCE].fill(f32::NAN);
        self.bf16s[at..at + self.cols + 2 * FENCE].fill(bf16::NAN);
    }

    fn view(&self, dtype: DType) -> Mat<'_> {
        let data = match dtype {
            DType::F32 => Elements::F32(&self.f32s[FENCE..]),
            DType::Bf16 => Elements::Bf16(&self.bf16s[FENCE..]),
        };
        Mat::new(data, self.rows, self.cols, self.cols + 2 * FENCE)
    }

    fn view_mut(&mut self, dtype: DType) -> MatMut<'_> {
        let stride = self.cols + 2 * FENCE;
        let data = match dtype {
            DType::F32 => ElementsMut::F32(&mut self.f32s[FENCE..]),
            DType::Bf16 => ElementsMut::Bf16(&mut self.bf16s[FENCE..]),
        };
        MatMut::new(data, self.rows, self.cols, stride)
    }

    /// The first element further from `expected` than `bound · (|expected| + scale)`, or a fence that was crossed.
    fn compare(&self, dtype: DType, expected: &[f64], bound: f64) -> Result<(), String> {
        let stride = self.cols + 2 * FENCE;
        // Operands are of size 1, and so are the terms of every sum, even of one that should be 0.
        let size = expected.iter().fold(1f64, |m, x| m.max(x.abs()));
        for i in 0..self.rows * stride {
            let (r, c) = (i / stride, i % stride);
            let value = match dtype {
                DType::F32 => self.f32s[i],
                DType::Bf16 => self.bf16s[i].to_f32(),
            };
            if c < FENCE || c >= FENCE + self.cols {
                if !value.is_nan() {
                    return Err(format!("row {r}: the fence holds {value}"));
                }
                continue;
            }
            let want = expected[r * self.cols + c - FENCE];
            let error = (f64::from(value) - want).abs();
            if error.is_nan() || error > bound * (want.abs() + size) {
                return Err(format!(
                    "row {r}, column {}: {value}, expected {want}, largest {size}",
                    c - FENCE
                ));
            }
        }
        Ok(())
    }
}

struct Case {
    spans: Vec<Span>,
    rows: [usize; 2],
    shape: Shape,
    options: Options,
}

fn own(lengths: &[usize], gap: usize) -> (Vec<Span>, [usize; 2]) {
    let mut at = gap;
    let spans = lengths.iter().map(|&n| {
        let r = at..at + n;
        at += n + gap;
        Span { queries: r.clone(), keys: r }
    });
    let spans = spans.collect();
    (spans, [at, at])
}

fn plain(width: usize) -> Options {
    Options { causal: true, window: None, scale: 1.0 / (width as f32).sqrt(), softcap: None }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (heads, kv_heads, width) in
        [(1, 1, 8), (2, 1, 16), (4, 2, 20), (3, 3, 64), (4, 1, 80), (1, 1, 256), (2, 2, 33)]
    {
        let shape = Shape { heads, kv_heads, width };
        for lengths in [&[1usize, 7, 33][..], &[130], &[48, 0, 97], &[5, 4]] {
            let (spans, rows) = own(lengths, usize::from(lengths.len() == 3));
            cases.push(Case { spans, rows, shape, options: plain(width) });
        }
    }
    let shape = Shape { heads: 4, kv_heads: 2, width: 32 };
    for options in [
        Options { causal: false, ..plain(32) },
        Options { window: Some(1), ..plain(32) },
        Options { window: Some(40), ..plain(32) },
        Options { softcap: Some(2.0), ..plain(32) },
        Options { softcap: Some(1.5), window: Some(50), ..plain(32) },
    ] {
        let (spans, rows) = own(&[100, 3, 65], 0);
        cases.push(Case { spans, rows, shape, options });
    }
    // Queries that are not the keys: decoding, a prefix, more queries than keys, no key at all.
    let span = |q: Range<usize>, k: Range<usize>| Span { queries: q, keys: k };
    let spans = vec![span(0..1, 0..70), span(1..11, 70..171), span(11..31, 171..176), span(31..33, 176..176)];
    for causal in [true, false] {
        let options = Options { causal, ..plain(32) };
        cases.push(Case { spans: spans.clone(), rows: [33, 176], shape, options });
    }
    cases
}

/// bf16: operands are exact, probabilities and score gradients are rounded once (2⁻⁸ each, averaging over keys), the result once
/// more; f32: sums of up to 300 terms. Both relative to the largest element.
fn bound(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 300.0 * DType::F32.epsilon(),
        DType::Bf16 => 4.0 * DType::Bf16.epsilon(),
    }
}

#[test]
fn every_level_agrees_with_the_definition() {
    for (n, case) in cases().iter().enumerate() {
        let Case { spans, rows: [tq, tk], shape, options } = case;
        let (q_cols, k_cols) = (shape.heads * shape.width, shape.kv_heads * shape.width);
        let mut q = Fenced::new(1, *tq, q_cols);
        let (mut k, mut v) = (Fenced::new(2, *tk, k_cols), Fenced::new(3, *tk, k_cols));
        let mut dout = Fenced::new(4, *tq, q_cols);
        for r in (0..*tq).filter(|r| !spans.iter().any(|s| s.queries.contains(r))) {
            q.poison(r);
            dout.poison(r);
        }
        for r in (0..*tk).filter(|r| !spans.iter().any(|s| s.keys.contains(r))) {
            k.poison(r);
            v.poison(r);
        }
        for dtype in [DType::F32, DType::Bf16] {
            let (want, want_lse) =
                reference(q.view(dtype), k.view(dtype), v.view(dtype), spans, *shape, *options);
            let [want_q, want_k, want_v] = reference_backward(
                q.view(dtype),
                k.view(dtype),
                v.view(dtype),
                dout.view(dtype),
                spans,
                *shape,
                *options,
            );
            let rows = want_k.chunks_exact(k_cols).zip(want_v.chunks_exact(k_cols));
            let want_kv: Vec<f64> = rows.flat_map(|(k, v)| [k, v].concat()).collect();
            for level in Level::available() {
                let mut out = Fenced::new(5, *tq, q_cols);
                let mut lse = vec![f32::NEG_INFINITY; tq * shape.heads];
                let (qs, ks, vs) = (q.view(dtype), k.view(dtype), v.view(dtype));
                forward_at(level, qs, ks, vs, spans, *shape, *options, out.view_mut(dtype), Some(&mut lse));
                let name = format!("case {n}, {level}, {dtype:?}, {shape:?}, {options:?}");
                out.compare(dtype, &want, bound(dtype)).unwrap_or_else(|e| panic!("{name}: {e}"));
                for (got, want) in lse.iter().zip(&want_lse) {
                    let same = f64::from(*got) == *want
                        || (f64::from(*got) - want).abs() < 1e-4 * (1.0 + want.abs());
                    assert!(same, "{name}: log-sum-exp {got}, expected {want}");
                }
                let (mut dq, mut dkv) = (Fenced::new(6, *tq, q_cols), Fenced::new(7, *tk, 2 * k_cols));
                let targets = Gradients::Cross { dq: dq.view_mut(dtype), dkv: dkv.view_mut(dtype) };
                let (os, ds) = (out.view(dtype), dout.view(dtype));
                backward_at(level, qs, ks, vs, os, ds, &lse, spans, *shape, *options, targets);
                for (part, (got, want)) in ["dq", "dk and dv"].iter().zip([(&dq, &want_q), (&dkv, &want_kv)])
                {
                    got.compare(dtype, want, 2.0 * bound(dtype))
                        .unwrap_or_else(|e| panic!("{name}, {part}: {e}"));
                }
            }
        }
    }
}

#[test]
fn the_reference_backward_is_the_slope_of_the_reference_forward() {
    let (spans, rows) = own(&[5, 3], 0);
    let shape = Shape { heads: 4, kv_heads: 2, width: 6 };
    for options in [
        plain(6),
        Options { softcap: Some(1.2), window: Some(3), ..plain(6) },
        Options { causal: false, ..plain(6) },
    ] {
        let (q_cols, k_cols) = (24, 12);
        let inputs = [
            Fenced::new(1, rows[0], q_cols),
            Fenced::new(2, rows[1], k_cols),
            Fenced::new(3, rows[1], k_cols),
        ];
        let dout = Fenced::new(4, rows[0], q_cols);
        let view = |m: &[Fenced; 3]| -> f64 {
            let [q, k, v] = m;
            let (out, _) =
                reference(q.view(DType::F32), k.view(DType::F32), v.view(DType::F32), &spans, shape, options);
            let d = dout.view(DType::F32);
            out.iter().enumerate().map(|(i, o)| o * f64::from(d.get(i / q_cols, i % q_cols))).sum()
        };
        let [q, k, v] = &inputs;
        let f = DType::F32;
        let slopes =
            reference_backward(q.view(f), k.view(f), v.view(f), dout.view(f), &spans, shape, options);
        for (which, slope) in slopes.iter().enumerate() {
            for (i, &analytic) in slope.iter().enumerate() {
                let mut m = [1, 2, 3].map(|s| Fenced::new(s, rows[0], if s == 1 { q_cols } else { k_cols }));
                let cols = m[which].cols;
                let at = i / cols * (cols + 2 * FENCE) + FENCE + i % cols;
                let x = m[which].f32s[at];
                let h = 1.0 / 64.0;
                m[which].f32s[at] = x + h;
                let (up, x_up) = (view(&m), f64::from(m[which].f32s[at]));
                m[which].f32s[at] = x - h;
                let (down, x_down) = (view(&m), f64::from(m[which].f32s[at]));
                let numeric = (up - down) / (x_up - x_down);
                assert!(
                    (numeric - analytic).abs() < 2e-3 * (1.0 + analytic.abs()),
                    "{options:?} {which} {i}: {numeric} {analytic}"
                );
            }
        }
    }
}

#[test]
fn the_weights_of_pictures_are_those_of_the_result() {
    for case in cases() {
        let Case { spans, rows: [tq, tk], shape, options } = &case;
        let width = shape.width;
        let (q, k) = (Fenced::new(1, *tq, shape.heads * width), Fenced::new(2, *tk, shape.kv_heads * width));
        let v = Fenced::new(3, *tk, shape.kv_heads * width);
        let [q, k, v] = [&q, &k, &v].map(|m| m.view(DType::F32));
        let (want, _) = reference(q, k, v, spans, *shape, *options);
        for span in spans {
            let (n, m) = (span.queries.len(), span.keys.len());
            let all = weights(q, k, span, *shape, *options);
            assert_eq!(all.len(), shape.heads * n * m);
            for (row, p) in all.chunks_exact(m.max(1)).enumerate() {
                let (head, i) = (row / n, row % n);
                let group = head / (shape.heads / shape.kv_heads) * width;
                let sum: f64 =
                    (0..m).map(|j| f64::from(p[j]) * f64::from(v.get(span.keys.start + j, group))).sum();
                let want = want[(span.queries.start + i) * shape.heads * width + head * width];
                assert!(
                    (sum - want).abs() < 1e-4,
                    "{shape:?}, {options:?}, {span:?}: {sum}, expected {want}"
                );
            }
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_beside_any_other_span() {
    let shape = Shape { heads: 4, kv_heads: 2, width: 24 };
    let (q, k, v, dout) =
        (Fenced::new(1, 150, 96), Fenced::new(2, 150, 48), Fenced::new(3, 150, 48), Fenced::new(4, 150, 96));
    for level in Level::available() {
        for dtype in [DType::F32, DType::Bf16] {
            let run = |threads: usize, spans: &[Span]| {
                with_threads(threads, || {
                    let mut out = Fenced::new(5, 150, 96);
                    let mut lse = vec![0.0; 150 * 4];
                    let (qs, ks, vs) = (q.view(dtype), k.view(dtype), v.view(dtype));
                    forward_at(
                        level,
                        qs,
                        ks,
                        vs,
                        spans,
                        shape,
                        plain(24),
                        out.view_mut(dtype),
                        Some(&mut lse),
                    );
                    let mut d = MatMutOwner::new(150, 192, dtype);
                    let (os, ds) = (out.view(dtype), dout.view(dtype));
                    let g = Gradients::Fused(d.view_mut());
                    backward_at(level, qs, ks, vs, os, ds, &lse, spans, shape, plain(24), g);
                    (0..50)
                        .map(|r| {
                            [out.view(dtype).get(r, 3).to_bits(), d.get(r, 7), d.get(r, 100), d.get(r, 191)]
                        })
                        .collect::<Vec<_>>()
                })
            };
            let (all, _) = own(&[50, 60, 40], 0);
            let one = run(1, &all);
            assert_eq!(one, run(2, &all), "{level} {dtype:?}");
            assert_eq!(one, run(3, &all), "{level} {dtype:?}");
            assert_eq!(one, run(2, &all[..1]), "{level} {dtype:?}: alone");
        }
    }
}

struct MatMutOwner {
    f32s: Vec<f32>,
    bf16s: Vec<bf16>,
    rows: usize,
    cols: usize,
    dtype: DType,
}

impl MatMutOwner {
    fn new(rows: usize, cols: usize, dtype: DType) -> MatMutOwner {
        MatMutOwner { f32s: vec![0.0; rows * cols], bf16s: vec![bf16::ZERO; rows * cols], rows, cols, dtype }
    }

    fn view_mut(&mut self) -> MatMut<'_> {
        match self.dtype {
            DType::F32 => MatMut::f32(&mut self.f32s, self.rows, self.cols),
            DType::Bf16 => MatMut::bf16(&mut self.bf16s, self.rows, self.cols),
        }
    }

    fn get(&self, r: usize, c: usize) -> u32 {
        match self.dtype {
            DType::F32 => self.f32s[r * self.cols + c].to_bits(),
            DType::Bf16 => u32::from(self.bf16s[r * self.cols + c].to_bits()),
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    let mut m = Fenced::new(1, 3, 4);
    let want: Vec<f64> = (0..12).map(|i| f64::from(m.view(DType::F32).get(i / 4, i % 4))).collect();
    assert!(m.compare(DType::F32, &want, 1e-6).is_ok());
    m.f32s[FENCE + 1] += 0.01;
    assert!(m.compare(DType::F32, &want, 1e-6).is_err());
    let mut m = Fenced::new(1, 3, 4);
    m.f32s[0] = 1.0;
    assert!(m.compare(DType::F32, &want, 1e-6).is_err());
}
