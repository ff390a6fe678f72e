//! Rates of the matrix product at training shapes, as a share of the measured peak: `cargo run --release --example matmul [threads]`.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use pupil_tensor::kernels::matmul::{Epilogue, Panels, matmul, matmul_tn};
use pupil_tensor::kernels::matrix::{DType, Mat, MatMut, bf16};
use pupil_tensor::kernels::{peak, pool};

fn main() {
    let threads = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2);
    pool::set_threads(threads);
    for dtype in [DType::F32, DType::Bf16] {
        let top = peak::measure(dtype, threads);
        println!("{} peak {top:.0} GFLOP/s", dtype.name());
        for (k, n, t) in
            [(128, 128, 768), (128, 512, 768), (384, 1536, 4096), (512, 2048, 2048), (768, 3072, 2048)]
        {
            let rates = match dtype {
                DType::F32 => measure(
                    k,
                    n,
                    t,
                    dtype,
                    |v, r, c| Mat::f32(v, r, c),
                    |v, r, c| MatMut::f32(v, r, c),
                    0.5f32,
                ),
                DType::Bf16 => measure(
                    k,
                    n,
                    t,
                    dtype,
                    |v, r, c| Mat::bf16(v, r, c),
                    |v, r, c| MatMut::bf16(v, r, c),
                    bf16::from_f32(0.5),
                ),
            };
            let cells = rates.map(|r| format!("{r:6.1} ({:2.0} %)", 100.0 * r / top));
            println!("{k:4} -> {n:4}, {t:4} rows: {}", cells.join("  "));
        }
    }
}

fn measure<E: Copy>(
    k: usize,
    n: usize,
    t: usize,
    dtype: DType,
    mat: impl for<'a> Fn(&'a [E], usize, usize) -> Mat<'a>,
    mat_mut: impl for<'a> Fn(&'a mut [E], usize, usize) -> MatMut<'a>,
    one: E,
) -> [f64; 3] {
    let (x, dy) = (vec![one; t * k], vec![one; t * n]);
    let w = vec![0.5f32; n * k];
    let (mut y, mut dx, mut dw) = (vec![one; t * n], vec![one; t * k], vec![0f32; n * k]);
    let (mut forward, mut backward) = (Panels::new(), Panels::new());
    forward.pack(Mat::f32(&w, n, k), true, dtype);
    backward.pack(Mat::f32(&w, n, k), false, dtype);
    let rate = |f: &mut dyn FnMut()| {
        f();
        let mut times = Vec::new();
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < 0.4 {
            let s = Instant::now();
            f();
            times.push(s.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        2.0 * (k * n * t) as f64 / times[times.len() / 2] / 1e9
    };
    [
        rate(&mut || matmul(mat(&x, t, k), &forward, mat_mut(&mut y, t, n), &Epilogue::default())),
        rate(&mut || matmul(mat(&dy, t, n), &backward, mat_mut(&mut dx, t, k), &Epilogue::default())),
        rate(&mut || matmul_tn(mat(&dy, t, n), mat(&x, t, k), MatMut::f32(&mut dw, n, k), false, dtype)),
    ]
}
