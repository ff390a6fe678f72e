//! The inner loops: a tile of at most MR × NR results in registers, over packed operands of 32-bit words.
//!
//! A word is one f32, or a pair of bf16 along the depth. The left operand's panel holds MR words for each step of depth, the
//! right one's NR. A tile is added to an f32 scratch of NR columns in order of depth, so the result never depends on who computed it.

use crate::kernels::level::Level;

/// Rows of the largest tile at any level.
pub(crate) const MAX_ROWS: usize = 12;
/// Columns of the widest tile at any level.
pub(crate) const MAX_COLS: usize = 32;

/// Computes `c (+)= a · b` for one tile: `steps` of depth, the left operand at `a`, the panel `b`, scratch `c` of rows of NR floats.
///
/// The left operand lies in one of two ways. Across: word `k` of row `i` at word `i + k · stride`, as packed. Along: at word `i · stride + k`, as
/// rows of a matrix lie. It need not be aligned.
pub(crate) type TileFn =
    unsafe fn(steps: usize, a: *const u8, stride: usize, b: *const u32, c: *mut f32, accumulate: bool);

/// The tiles of one level and kind of word.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    /// Columns of every tile.
    pub(crate) cols: usize,
    /// Row counts with a loop of their own, largest first.
    pub(crate) rows: &'static [usize],
    /// For each row count, with the left operand across.
    across: &'static [TileFn],
    /// For each row count, with the left operand along.
    along: &'static [TileFn],
    /// Whether a word is a pair of bf16.
    pub(crate) pairs: bool,
}

/// Which way a left operand lies: see [`TileFn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Across,
    Along,
}

impl Tiles {
    /// The smallest tile that holds `rows` rows, or the largest there is.
    pub(crate) fn for_rows(&self, rows: usize, lie: Lie) -> (usize, TileFn) {
        let i = self.rows.iter().rposition(|&r| r >= rows).unwrap_or(0);
        let functions = if lie == Lie::Across { self.across } else { self.along };
        (self.rows[i], functions[i])
    }

    /// Cuts `rows` rows into tiles: first row, rows, rows of the tile, which only the last may not fill.
    pub(crate) fn cut(self, rows: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut first = 0;
        std::iter::from_fn(move || {
            let (at, left) = (first, rows - first);
            let most = self.rows[0];
            // 16 rows: two tiles of 8 keep the multipliers busy, one of 12 and one of 4 do not.
            let n = if left == 2 * self.rows[1] { self.rows[1] } else { left.min(most) };
            first += n;
            (n > 0).then(|| (at, n, self.for_rows(n, Lie::Across).0))
        })
    }
}

/// The tiles for a level; `bf16` asks for pairs, which only levels with bf16 products have.
pub(crate) fn tiles(level: Level, bf16: bool) -> Tiles {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 if bf16 => x86::BF16,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Avx512 => x86::F32_512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::F32_256,
        #[cfg(target_arch = "aarch64")]
        Level::Neon => neon::F32,
        _ => PORTABLE,
    }
}

const PORTABLE: Tiles = Tiles {
    cols: 16,
    rows: &[4, 1],
    across: &[portable::<4, false>, portable::<1, false>],
    along: &[portable::<4, true>, portable::<1, true>],
    pairs: false,
};

/// Words from row to row and from step to step of a left operand.
#[inline(always)]
const fn strides(along: bool, stride: usize) -> (usize, usize) {
    if along { (stride, 1) } else { (1, stride) }
}

/// # Safety
/// `a` holds the words of ROWS rows and `steps` steps (see [`TileFn`]), `b` `steps · 16` words, `c` `ROWS · 16` floats.
unsafe fn portable<const ROWS: usize, const ALONG: bool>(
    steps: usize,
    a: *const u8,
    stride: usize,
    b: *const u32,
    c: *mut f32,
    accumulate: bool,
) {
    // SAFETY: the lengths are this function's contract; words of an f32 panel are f32 bits.
    let (b, c) = unsafe {
        (
            std::slice::from_raw_parts(b.cast::<f32>(), steps * 16),
            std::slice::from_raw_parts_mut(c, ROWS * 16),
        )
    };
    let (row, step) = strides(ALONG, stride);
    let mut sums = [[0f32; 16]; ROWS];
    for (k, b) in b.chunks_exact(16).enumerate() {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: word k of row i is one of the left operand's.
            let a = unsafe { a.add((i * row + k * step) * 4).cast::<f32>().read_unaligned() };
            for (s, &b) in sum.iter_mut().zip(b) {
                *s += a * b;
            }
        }
    }
    for (c, sum) in c.chunks_exact_mut(16).zip(&sums) {
        for (c, s) in c.iter_mut().zip(sum) {
            *c = if accumulate { *c + s } else { *s };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Tiles, strides};

    // 12 × 32 at 512 bits: 24 accumulators, 2 for the right operand, one broadcast, of 32 registers; 24 products hide the
    // latency (4 to 6 cycles at one or two a cycle) and need 14 loads, which two load ports do in 7.
    pub(crate) const BF16: Tiles = Tiles {
        cols: 32,
        rows: &[12, 8, 4, 2, 1],
        across: &[bf16::<12, false>, bf16::<8, false>, bf16::<4, false>, bf16::<2, false>, bf16::<1, false>],
        along: &[bf16::<12, true>, bf16::<8, true>, bf16::<4, true>, bf16::<2, true>, bf16::<1, true>],
        pairs: true,
    };
    pub(crate) const F32_512: Tiles = Tiles {
        cols: 32,
        rows: &[12, 8, 4, 2, 1],
        across: &[
            f32_512::<12, false>,
            f32_512::<8, false>,
            f32_512::<4, false>,
            f32_512::<2, false>,
            f32_512::<1, false>,
        ],
        along: &[
            f32_512::<12, true>,
            f32_512::<8, true>,
            f32_512::<4, true>,
            f32_512::<2, true>,
            f32_512::<1, true>,
        ],
        pairs: false,
    };
    // 6 × 16 at 256 bits: 12 accumulators, 2 + 1 others, of 16 registers.
    pub(crate) const F32_256: Tiles = Tiles {
        cols: 16,
        rows: &[6, 4, 2, 1],
        across: &[f32_256::<6, false>, f32_256::<4, false>, f32_256::<2, false>, f32_256::<1, false>],
        along: &[f32_256::<6, true>, f32_256::<4, true>, f32_256::<2, true>, f32_256::<1, true>],
        pairs: false,
    };

    /// # Safety
    /// The processor has AVX-512 BF16; `a` holds the words of ROWS rows and `steps` steps (see [`TileFn`](super::TileFn)), `b` `steps · 32` words,
    /// `c` `ROWS · 32` floats.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn bf16<const ROWS: usize, const ALONG: bool>(
        steps: usize,
        a: *const u8,
        stride: usize,
        b: *const u32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let (row, step) = strides(ALONG, stride);
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        let (mut a, mut b) = (a, b);
        for _ in 0..steps {
            // SAFETY: step by step `a` and `b` stay within this function's contract.
            unsafe {
                let b0: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.cast()));
                let b1: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.add(16).cast()));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let word = a.add(i * row * 4).cast::<i32>().read_unaligned();
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(word));
                    sum[0] = _mm512_dpbf16_ps(sum[0], x, b0);
                    sum[1] = _mm512_dpbf16_ps(sum[1], x, b1);
                }
                a = a.add(step * 4);
                b = b.add(32);
            }
        }
        // SAFETY: `c` holds ROWS rows of 32 floats.
        unsafe { store_512(&sums, c, accumulate) };
    }

    /// # Safety
    /// As `bf16`, with f32 words; the processor has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn f32_512<const ROWS: usize, const ALONG: bool>(
        steps: usize,
        a: *const u8,
        stride: usize,
        b: *const u32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let (row, step) = strides(ALONG, stride);
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        let (mut a, mut b) = (a, b.cast::<f32>());
        for _ in 0..steps {
            // SAFETY: step by step `a` and `b` stay within this function's contract.
            unsafe {
                let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(a.add(i * row * 4).cast::<f32>().read_unaligned());
                    sum[0] = _mm512_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm512_fmadd_ps(x, b1, sum[1]);
                }
                a = a.add(step * 4);
                b = b.add(32);
            }
        }
        // SAFETY: `c` holds ROWS rows of 32 floats.
        unsafe { store_512(&sums, c, accumulate) };
    }

    /// # Safety
    /// `c` holds ROWS rows of 32 floats.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store_512<const ROWS: usize>(sums: &[[__m512; 2]; ROWS], c: *mut f32, accumulate: bool) {
        for (i, sum) in sums.iter().enumerate() {
            for (j, &s) in sum.iter().enumerate() {
                // SAFETY: row i < ROWS, columns 16j to 16j + 16 of 32.
                unsafe {
                    let p = c.add(i * 32 + j * 16);
                    _mm512_storeu_ps(p, if accumulate { _mm512_add_ps(_mm512_loadu_ps(p), s) } else { s });
                }
            }
        }
    }

    /// # Safety
    /// As `bf16`, with f32 words and panels of 16 columns; the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn f32_256<const ROWS: usize, const ALONG: bool>(
        steps: usize,
        a: *const u8,
        stride: usize,
        b: *const u32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let (row, step) = strides(ALONG, stride);
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let (mut a, mut b) = (a, b.cast::<f32>());
        for _ in 0..steps {
            // SAFETY: step by step `a` and `b` stay within this function's contract.
            unsafe {
                let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(a.add(i * row * 4).cast::<f32>().read_unaligned());
                    sum[0] = _mm256_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm256_fmadd_ps(x, b1, sum[1]);
                }
                a = a.add(step * 4);
                b = b.add(16);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            for (j, &s) in sum.iter().enumerate() {
                // SAFETY: row i < ROWS, columns 8j to 8j + 8 of 16.
                unsafe {
                    let p = c.add(i * 16 + j * 8);
                    _mm256_storeu_ps(p, if accumulate { _mm256_add_ps(_mm256_loadu_ps(p), s) } else { s });
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{Tiles, strides};

    // 6 × 16 at 128 bits: 24 accumulators, 4 for the right operand, of 32 registers.
    pub(crate) const F32: Tiles = Tiles {
        cols: 16,
        rows: &[6, 4, 2, 1],
        across: &[tile::<6, false>, tile::<4, false>, tile::<2, false>, tile::<1, false>],
        along: &[tile::<6, true>, tile::<4, true>, tile::<2, true>, tile::<1, true>],
        pairs: false,
    };

    /// # Safety
    /// `a` holds the words of ROWS rows and `steps` steps (see [`TileFn`](super::TileFn)), `b` `steps · 16` words, `c` `ROWS · 16` floats.
    unsafe fn tile<const ROWS: usize, const ALONG: bool>(
        steps: usize,
        a: *const u8,
        stride: usize,
        b: *const u32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let (row, step) = strides(ALONG, stride);
        let (mut a, mut b) = (a, b.cast::<f32>());
        // SAFETY: every aarch64 processor has NEON; step by step the pointers stay within the lengths of the contract.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); 4]; ROWS];
            for _ in 0..steps {
                let b4 = [vld1q_f32(b), vld1q_f32(b.add(4)), vld1q_f32(b.add(8)), vld1q_f32(b.add(12))];
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = vdupq_n_f32(a.add(i * row * 4).cast::<f32>().read_unaligned());
                    for (s, &b) in sum.iter_mut().zip(&b4) {
                        *s = vfmaq_f32(*s, x, b);
                    }
                }
                a = a.add(step * 4);
                b = b.add(16);
            }
            for (i, sum) in sums.iter().enumerate() {
                for (j, &s) in sum.iter().enumerate() {
                    let p = c.add(i * 16 + j * 4);
                    vst1q_f32(p, if accumulate { vaddq_f32(vld1q_f32(p), s) } else { s });
                }
            }
        }
    }
}
