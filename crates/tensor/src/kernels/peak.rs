//! What this machine's arithmetic can do at most: loops of products that never leave the registers. Measured here, not taken from a
//! brochure, because clocks and neighbours differ.

use std::time::Instant;

use crate::kernels::level::{Level, level};
use crate::kernels::matrix::DType;
use crate::kernels::pool;

/// Steps of one measured run: about a millisecond.
const STEPS: usize = 100_000;
/// Runs; the best counts.
const RUNS: usize = 30;

/// GFLOP/s of products of this type on `threads` threads at the present level (f32 rate for bf16 where the level has no bf16
/// products).
pub fn measure(dtype: DType, threads: usize) -> f64 {
    let work = kernel(level(), dtype);
    let pool = pool::Pool::new(threads);
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let t = Instant::now();
        pool.run(threads, &|_| {
            std::hint::black_box((work.run)(STEPS));
        });
        best = best.min(t.elapsed().as_secs_f64());
    }
    (threads * STEPS * work.flop) as f64 / best / 1e9
}

struct Work {
    run: fn(usize) -> f32,
    flop: usize,
}

fn kernel(level: Level, dtype: DType) -> Work {
    let _ = dtype;
    #[cfg(target_arch = "x86_64")]
    match (level, dtype) {
        (Level::Avx512Bf16, DType::Bf16) => return Work { run: x86::bf16, flop: x86::CHAINS * 64 },
        (Level::Avx512Bf16 | Level::Avx512, _) => return Work { run: x86::f32_512, flop: x86::CHAINS * 32 },
        (Level::Avx2, _) => return Work { run: x86::f32_256, flop: x86::CHAINS * 16 },
        _ => {}
    }
    let _ = level;
    Work { run: plain, flop: 8 * 16 * 2 }
}

fn plain(steps: usize) -> f32 {
    let mut s = [[1.0f32; 16]; 8];
    let (a, b) = (std::hint::black_box(0.999_f32), std::hint::black_box(0.001_f32));
    for _ in 0..steps {
        for row in &mut s {
            for x in row.iter_mut() {
                *x = *x * a + b;
            }
        }
    }
    s.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Independent chains: more than latency (4 to 6 cycles) times rate (2 a cycle).
    pub(super) const CHAINS: usize = 14;

    macro_rules! chains {
        ($name:ident, $inner:ident, $feature:literal, $zero:expr, $one:expr, $step:expr, $sum:expr) => {
            pub(super) fn $name(steps: usize) -> f32 {
                // SAFETY: `kernel` gives this function out only at a level that has the instructions.
                unsafe { $inner(steps) }
            }

            #[target_feature(enable = $feature)]
            fn $inner(steps: usize) -> f32 {
                let mut sums = [$zero; CHAINS];
                let x = $one;
                for _ in 0..steps {
                    for s in &mut sums {
                        *s = $step(*s, x);
                    }
                }
                sums.iter().map(|&s| $sum(s)).sum()
            }
        };
    }

    chains!(
        f32_512,
        f32_512_inner,
        "avx512f",
        _mm512_setzero_ps(),
        _mm512_set1_ps(std::hint::black_box(1e-3)),
        |s, x| _mm512_fmadd_ps(x, x, s),
        |s| _mm512_reduce_add_ps(s)
    );
    chains!(
        f32_256,
        f32_256_inner,
        "avx2,fma",
        _mm256_setzero_ps(),
        _mm256_set1_ps(std::hint::black_box(1e-3)),
        |s, x| _mm256_fmadd_ps(x, x, s),
        |s| _mm256_cvtss_f32(s)
    );
    chains!(
        bf16,
        bf16_inner,
        "avx512f,avx512bf16",
        _mm512_setzero_ps(),
        _mm512_castps_bh(_mm512_set1_ps(std::hint::black_box(1e-3))),
        |s, x| _mm512_dpbf16_ps(s, x, x),
        |s| _mm512_reduce_add_ps(s)
    );

    #[target_feature(enable = "avx512f")]
    fn _mm512_castps_bh(x: __m512) -> __m512bh {
        // SAFETY: both are 64 bytes without invalid values.
        unsafe { std::mem::transmute(x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_a_positive_number_and_more_work_is_not_free() {
        let p = measure(DType::F32, 1);
        assert!(p.is_finite() && p > 0.01, "{p}");
    }
}
