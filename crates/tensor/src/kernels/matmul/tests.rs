use super::*;
use crate::kernels::pool::with_threads;

/// Deterministic numbers in (-1, 1).
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// A matrix with NaN between its rows and around it.
struct Padded {
    f32s: Vec<f32>,
    bf16s: Vec<bf16>,
    rows: usize,
    cols: usize,
    stride: usize,
}

const GUARD: usize = 3;

impl Padded {
    fn new(seed: u64, rows: usize, cols: usize) -> Padded {
        let stride = cols + 5;
        let values = numbers(seed, rows * cols);
        let mut f32s = vec![f32::NAN; GUARD + rows * stride + GUARD];
        for r in 0..rows {
            f32s[GUARD + r * stride..][..cols].copy_from_slice(&values[r * cols..(r + 1) * cols]);
        }
        let bf16s = f32s.iter().map(|&x| bf16::from_f32(x)).collect();
        Padded { f32s, bf16s, rows, cols, stride }
    }

    fn view(&self, dtype: DType) -> Mat<'_> {
        let end = GUARD + if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.cols };
        let data = match dtype {
            DType::F32 => Elements::F32(&self.f32s[GUARD..end]),
            DType::Bf16 => Elements::Bf16(&self.bf16s[GUARD..end]),
        };
        Mat::new(data, self.rows, self.cols, self.stride)
    }

    fn view_mut(&mut self, dtype: DType) -> MatMut<'_> {
        let end = GUARD + if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.cols };
        let data = match dtype {
            DType::F32 => ElementsMut::F32(&mut self.f32s[GUARD..end]),
            DType::Bf16 => ElementsMut::Bf16(&mut self.bf16s[GUARD..end]),
        };
        MatMut::new(data, self.rows, self.cols, self.stride)
    }
}

/// The first place where a result is outside its bound, or where the padding was touched.
fn compare(got: &Padded, dtype: DType, expected: &[f64], bound: impl Fn(usize) -> f64) -> Result<(), String> {
    for i in 0..got.f32s.len() {
        let (r, c) = ((i.wrapping_sub(GUARD)) / got.stride, (i.wrapping_sub(GUARD)) % got.stride);
        let inside = i >= GUARD && r < got.rows && c < got.cols;
        let value = match dtype {
            DType::F32 => got.f32s[i],
            DType::Bf16 => got.bf16s[i].to_f32(),
        };
        if !inside {
            if !value.is_nan() {
                return Err(format!("padding at {i} was overwritten with {value}"));
            }
            continue;
        }
        let at = r * got.cols + c;
        let error = (f64::from(value) - expected[at]).abs();
        if error.is_nan() || error > bound(at) {
            return Err(format!("row {r}, column {c}: {value}, expected {} ± {:e}", expected[at], bound(at)));
        }
    }
    Ok(())
}

struct Case {
    t: usize,
    k: usize,
    n: usize,
    x: DType,
    w: DType,
    out: DType,
    inner: DType,
}

fn check_forward(level: Level, c: &Case, transposed: bool, fancy: bool) {
    let x = Padded::new(1, c.t, c.k);
    let w = if transposed { Padded::new(2, c.n, c.k) } else { Padded::new(2, c.k, c.n) };
    let mut out = Padded::new(3, c.t, c.n);
    let before = Padded::new(3, c.t, c.n);
    let residual = Padded::new(4, c.t, c.n);
    let bias = numbers(5, c.n);
    let epilogue = if fancy {
        let residual = Some(residual.view(c.x));
        Epilogue { bias: Some(&bias), residual, accumulate: true, scale: Some(0.75) }
    } else {
        Epilogue::default()
    };
    let mut panels = Panels::new();
    panels.pack_at(level, w.view(c.w), transposed, c.inner);
    matmul(x.view(c.x), &panels, out.view_mut(c.out), &epilogue);
    let mut expected = reference(x.view(c.x), w.view(c.w), transposed, c.inner);
    let mut extra = vec![0.0; expected.len()];
    if fancy {
        for (i, e) in expected.iter_mut().enumerate() {
            let (r, j) = (i / c.n, i % c.n);
            let terms = [bias[j], residual.view(c.x).get(r, j), before.view(c.out).get(r, j)].map(f64::from);
            *e = *e * 0.75 + terms.iter().sum::<f64>();
            extra[i] = terms.iter().map(|t| t.abs()).sum::<f64>() * 4.0 * DType::F32.epsilon();
        }
    }
    // Entries are below 1 in size, so Σ|a·b| ≤ k.
    let bound = |i: usize| tolerance(c.k, c.k as f64, expected[i], c.out) + extra[i] * 2.0;
    if let Err(e) = compare(&out, c.out, &expected, bound) {
        panic!(
            "{level}, {}×{}·{}, inner {:?}, out {:?}, transposed {transposed}: {e}",
            c.t, c.k, c.n, c.inner, c.out
        );
    }
}

fn check_gradient(level: Level, c: &Case) {
    let (dy, x) = (Padded::new(6, c.t, c.n), Padded::new(7, c.t, c.k));
    let plain = |p: &Padded, d: DType| -> Vec<f32> {
        let v = p.view(d);
        (0..v.cols).flat_map(|j| (0..v.rows).map(move |i| v.get(i, j))).collect()
    };
    let dyt = plain(&dy, c.x);
    let product = reference(Mat::f32(&dyt, c.n, c.t), x.view(c.w), false, c.inner);
    for accumulate in [false, true] {
        let mut dw = Padded::new(8, c.n, c.k);
        let before = Padded::new(8, c.n, c.k);
        matmul_tn_at(level, dy.view(c.x), x.view(c.w), dw.view_mut(DType::F32), accumulate, c.inner);
        let old = |i: usize| f64::from(before.view(DType::F32).get(i / c.k, i % c.k));
        let expected: Vec<f64> =
            product.iter().enumerate().map(|(i, p)| p + if accumulate { old(i) } else { 0.0 }).collect();
        let bound = |i: usize| tolerance(c.t + 1, c.t as f64 + 1.0, expected[i], DType::F32);
        if let Err(e) = compare(&dw, DType::F32, &expected, bound) {
            panic!("{level}, dw {}×{} over {}, inner {:?}: {e}", c.n, c.k, c.t, c.inner);
        }
    }
}

#[test]
fn every_level_agrees_with_the_definition_at_odd_sizes() {
    let types = [
        (DType::F32, DType::F32, DType::F32, DType::F32),
        (DType::Bf16, DType::F32, DType::Bf16, DType::Bf16),
        (DType::F32, DType::F32, DType::F32, DType::Bf16),
        (DType::Bf16, DType::Bf16, DType::F32, DType::F32),
    ];
    let sizes = [
        (1, 1, 1),
        (1, 64, 33),
        (2, 3, 31),
        (3, 17, 32),
        (5, 33, 16),
        (11, 2, 65),
        (12, 34, 15),
        (13, 35, 64),
        (47, 31, 1),
        (49, 97, 97),
        (97, 48, 130),
        (7, 600, 40),
        (50, 1031, 33),
    ];
    for level in Level::available() {
        for (t, k, n) in sizes {
            for (x, w, out, inner) in types {
                let case = Case { t, k, n, x, w, out, inner };
                check_forward(level, &case, true, false);
                check_forward(level, &case, false, true);
                check_gradient(level, &case);
            }
        }
    }
}

#[test]
fn empty_operands_give_empty_or_zero_results() {
    let mut panels = Panels::new();
    panels.pack(Mat::f32(&[], 3, 0), true, DType::F32);
    let mut out = [f32::NAN; 6];
    matmul(Mat::f32(&[], 2, 0), &panels, MatMut::f32(&mut out, 2, 3), &Epilogue::default());
    assert_eq!(out, [0.0; 6]);
    matmul(Mat::f32(&[], 0, 0), &panels, MatMut::f32(&mut [], 0, 3), &Epilogue::default());
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_beside_any_other_rows() {
    let (t, k, n) = (200, 700, 150);
    let (x, w) = (numbers(1, t * k), numbers(2, n * k));
    for level in Level::available() {
        for dtype in [DType::F32, DType::Bf16] {
            let run = |threads: usize, rows: usize| {
                with_threads(threads, || {
                    let mut panels = Panels::new();
                    panels.pack_at(level, Mat::f32(&w, n, k), true, dtype);
                    let mut y = vec![0.0; rows * n];
                    let x = Mat::f32(&x[..rows * k], rows, k);
                    matmul(x, &panels, MatMut::f32(&mut y, rows, n), &Epilogue::default());
                    let mut dw = vec![0.0; n * k];
                    matmul_tn_at(level, Mat::f32(&y, rows, n), x, MatMut::f32(&mut dw, n, k), false, dtype);
                    (y, dw)
                })
            };
            let one = run(1, t);
            assert!(one == run(2, t) && one == run(3, t), "{level} {dtype:?}");
            assert_eq!(one.0[..5 * n], run(2, 5).0, "{level} {dtype:?}: rows alone");
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    let mut p = Padded::new(1, 2, 3);
    let expected: Vec<f64> = (0..6).map(|i| f64::from(p.view(DType::F32).get(i / 3, i % 3))).collect();
    assert!(compare(&p, DType::F32, &expected, |_| 1e-7).is_ok());
    p.f32s[GUARD + 1] += 1e-3;
    assert!(compare(&p, DType::F32, &expected, |_| 1e-7).is_err());
    let mut p = Padded::new(1, 2, 3);
    p.f32s[0] = 0.0;
    assert!(compare(&p, DType::F32, &expected, |_| 1e-7).is_err());
}
