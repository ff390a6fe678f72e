//! Packing: a matrix's elements rearranged into panels of 32-bit words, in the order in which a tile reads them.
//!
//! A panel of `width` lanes holds, for each step of depth, `width` words side by side; lanes past the matrix and the second half
//! of an odd last pair are zero, so that whatever lies beyond the matrix never enters a product.

use crate::kernels::level::Level;
use crate::kernels::matrix::{Elements, Mat};

/// What a word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// An f32.
    Single,
    /// An f32 that was rounded to bf16: how bf16 products are done where the processor has none.
    Rounded,
    /// Two bf16, the lower half first in depth.
    Pair,
}

impl Word {
    /// Steps that a depth takes.
    pub(crate) fn steps(self, depth: usize) -> usize {
        if self == Word::Pair { depth.div_ceil(2) } else { depth }
    }
}

/// Which way the lanes of a panel lie in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// A lane is a row; depth runs along the columns.
    Rows,
    /// A lane is a column; depth runs along the rows.
    Columns,
}

impl Lanes {
    /// `[lanes, depth]` of a matrix.
    pub(crate) fn extent(self, m: &Mat<'_>) -> [usize; 2] {
        match self {
            Lanes::Rows => [m.rows, m.cols],
            Lanes::Columns => [m.cols, m.rows],
        }
    }
}

/// Fills `to` (steps × `width` words) with lanes `first .. first + count` of the matrix; `count ≤ width`.
pub(crate) fn pack(
    level: Level,
    m: &Mat<'_>,
    lanes: Lanes,
    word: Word,
    first: usize,
    count: usize,
    width: usize,
    to: &mut [u32],
) {
    let [all, depth] = lanes.extent(m);
    assert!(count <= width && first + count <= all, "pack: lanes {first}+{count} of {all} into {width}");
    assert_eq!(to.len(), word.steps(depth) * width, "pack: a panel of {width} lanes and depth {depth}");
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        match (lanes, word) {
            (Lanes::Rows, Word::Single | Word::Pair) => {
                // SAFETY: the level says that the processor has AVX-512 (and BF16 where pairs are made of f32: only the
                // level with bf16 products asks for pairs); lanes and panel size were checked above.
                unsafe { x86::transpose(m, word, first, count, width, depth, to) };
                return;
            }
            (Lanes::Columns, _) => {
                // SAFETY: as above.
                unsafe { x86::interleave(m, word, first, count, width, to) };
                return;
            }
            _ => {}
        }
    }
    let _ = level;
    match m.data {
        Elements::F32(d) => plain(d, m.stride, |x| x, lanes, word, first, count, width, depth, to),
        Elements::Bf16(d) => {
            let widen = |x: half::bf16| f32::from_bits(u32::from(x.to_bits()) << 16);
            plain(d, m.stride, widen, lanes, word, first, count, width, depth, to);
        }
    }
}

/// f32 bits rounded to the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}

#[inline(always)]
fn make(word: Word, low: f32, high: f32) -> u32 {
    match word {
        Word::Single => low.to_bits(),
        Word::Rounded => round(low) << 16,
        Word::Pair => round(low) | round(high) << 16,
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one packing in plain form")]
fn plain<T: Copy>(
    data: &[T],
    stride: usize,
    widen: impl Fn(T) -> f32,
    lanes: Lanes,
    word: Word,
    first: usize,
    count: usize,
    width: usize,
    depth: usize,
    to: &mut [u32],
) {
    let at = |lane: usize, d: usize| {
        if d >= depth {
            return 0.0;
        }
        widen(match lanes {
            Lanes::Rows => data[(first + lane) * stride + d],
            Lanes::Columns => data[d * stride + first + lane],
        })
    };
    let each = if word == Word::Pair { 2 } else { 1 };
    for (step, words) in to.chunks_exact_mut(width).enumerate() {
        let d = step * each;
        for (lane, w) in words.iter_mut().enumerate() {
            *w = if lane < count { make(word, at(lane, d), at(lane, d + 1)) } else { 0 };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Word;
    use crate::kernels::matrix::{Elements, Mat};

    /// # Safety
    /// The processor has AVX-512 (with BF16 if pairs are made of f32); the lanes are rows of the matrix; `to` is the whole panel.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(crate) unsafe fn transpose(
        m: &Mat<'_>,
        word: Word,
        first: usize,
        count: usize,
        width: usize,
        depth: usize,
        to: &mut [u32],
    ) {
        let steps = word.steps(depth);
        let each = depth.div_ceil(steps.max(1));
        for lane in (0..width).step_by(16) {
            let lanes = (width - lane).min(16);
            let mask = (1u32 << lanes) - 1;
            for step in (0..steps).step_by(16) {
                let mut rows = [_mm512_setzero_si512(); 16];
                let n = (depth - step * each).min(16 * each);
                for (i, r) in rows.iter_mut().enumerate().take(count.saturating_sub(lane).min(16)) {
                    let at = (first + lane + i) * m.stride + step * each;
                    // SAFETY: elements at .. at + n lie in row `first + lane + i` of the matrix.
                    *r = unsafe { load(m, word, at, n) };
                }
                let columns = transposed(rows);
                for (k, &c) in columns.iter().enumerate().take((steps - step).min(16)) {
                    // SAFETY: word (step + k) · width + lane begins `lanes` words that lie within the panel, and 16 words if so
                    // many are left: those past the lanes belong to the next steps, which are written later.
                    unsafe {
                        let p = to.as_mut_ptr().add((step + k) * width + lane);
                        put(p, c, mask as u16, (steps - step - k) * width >= lane + 16);
                    }
                }
            }
        }
    }

    /// Stores the words under the mask; all 16 if `whole`, because masked stores are several times slower on Zen 4.
    ///
    /// # Safety
    /// The words that are stored lie within the panel.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn put(p: *mut u32, words: __m512i, mask: u16, whole: bool) {
        // SAFETY: this function's contract.
        unsafe {
            if whole {
                _mm512_storeu_epi32(p.cast(), words);
            } else {
                _mm512_mask_storeu_epi32(p.cast(), mask, words);
            }
        }
    }

    /// Words made of the `n` elements from `at` on (16 words; zero beyond).
    ///
    /// # Safety
    /// The elements exist.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(m: &Mat<'_>, word: Word, at: usize, n: usize) -> __m512i {
        let mask = |n: usize| -> u32 { if n >= 32 { u32::MAX } else { (1 << n) - 1 } };
        // SAFETY: masked loads touch only the first `n` elements, which exist.
        unsafe {
            match (m.data, word) {
                (Elements::Bf16(d), Word::Pair) => {
                    _mm512_maskz_loadu_epi16(mask(n), d.as_ptr().add(at).cast())
                }
                (Elements::F32(d), Word::Pair) => {
                    let p = d.as_ptr().add(at);
                    let low = _mm512_maskz_loadu_ps(mask(n.min(16)) as u16, p);
                    let high = _mm512_maskz_loadu_ps(mask(n.saturating_sub(16)) as u16, p.wrapping_add(16));
                    pair_up(low, high)
                }
                (Elements::F32(d), _) => _mm512_maskz_loadu_epi32(mask(n) as u16, d.as_ptr().add(at).cast()),
                (Elements::Bf16(d), _) => {
                    let half = _mm256_maskz_loadu_epi16(mask(n) as u16, d.as_ptr().add(at).cast());
                    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half))
                }
            }
        }
    }

    /// The bf16 roundings of 32 f32, in order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn pair_up(low: __m512, high: __m512) -> __m512i {
        // SAFETY: both are 64 bytes without invalid values.
        unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
    }

    /// The bf16 roundings of 16 f32.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn narrow(x: __m512) -> __m256i {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
        let bits = _mm512_mask_mov_epi32(sum, nan, quiet);
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits))
    }

    /// A 16 × 16 transposition of words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(r: [__m512i; 16]) -> [__m512i; 16] {
        let mut a = [_mm512_setzero_si512(); 16];
        for i in 0..8 {
            a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        // b[4g + c]: in each 128-bit lane l, column 4l + c of rows 4g to 4g + 3.
        let mut b = a;
        for g in 0..4 {
            b[4 * g] = _mm512_unpacklo_epi64(a[4 * g], a[4 * g + 2]);
            b[4 * g + 1] = _mm512_unpackhi_epi64(a[4 * g], a[4 * g + 2]);
            b[4 * g + 2] = _mm512_unpacklo_epi64(a[4 * g + 1], a[4 * g + 3]);
            b[4 * g + 3] = _mm512_unpackhi_epi64(a[4 * g + 1], a[4 * g + 3]);
        }
        let mut out = a;
        for c in 0..4 {
            let even = _mm512_shuffle_i32x4::<0x88>(b[c], b[4 + c]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(b[c], b[4 + c]);
            let even2 = _mm512_shuffle_i32x4::<0x88>(b[8 + c], b[12 + c]);
            let odd2 = _mm512_shuffle_i32x4::<0xdd>(b[8 + c], b[12 + c]);
            out[c] = _mm512_shuffle_i32x4::<0x88>(even, even2);
            out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd2);
            out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even2);
            out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd2);
        }
        out
    }

    /// # Safety
    /// The processor has AVX-512; the lanes are columns of the matrix; `to` is the whole panel.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(crate) unsafe fn interleave(
        m: &Mat<'_>,
        word: Word,
        first: usize,
        count: usize,
        width: usize,
        to: &mut [u32],
    ) {
        let each = if word == Word::Pair { 2 } else { 1 };
        let steps = m.rows.div_ceil(each);
        for lane in (0..width).step_by(16) {
            let here = count.saturating_sub(lane).min(16);
            let mask = ((1u32 << here) - 1) as u16;
            let store = ((1u32 << (width - lane).min(16)) - 1) as u16;
            for (step, d) in (0..m.rows).step_by(each).enumerate() {
                let at = d * m.stride + first + lane;
                // SAFETY: masked loads touch the `here` columns from `first + lane` on of rows d and (if there is one) d + 1; the
                // store stays within the lanes of this step, or goes on into the next ones, which are written later.
                unsafe {
                    let words = if each == 2 {
                        let low = narrow_row(m, at, mask);
                        let high = if d + 1 < m.rows {
                            narrow_row(m, at + m.stride, mask)
                        } else {
                            _mm256_setzero_si256()
                        };
                        let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
                        _mm512_or_si512(_mm512_cvtepu16_epi32(low), high)
                    } else {
                        match m.data {
                            Elements::F32(p) if word == Word::Single => {
                                _mm512_maskz_loadu_epi32(mask, p.as_ptr().wrapping_add(at).cast())
                            }
                            _ => _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow_row(m, at, mask))),
                        }
                    };
                    put(
                        to.as_mut_ptr().add(step * width + lane),
                        words,
                        store,
                        (steps - step) * width >= lane + 16,
                    );
                }
            }
        }
    }

    /// Up to 16 elements of a row as bf16.
    ///
    /// # Safety
    /// The elements under the mask exist.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn narrow_row(m: &Mat<'_>, at: usize, mask: u16) -> __m256i {
        // SAFETY: masked loads touch only elements that exist.
        unsafe {
            match m.data {
                Elements::Bf16(d) => _mm256_maskz_loadu_epi16(mask, d.as_ptr().wrapping_add(at).cast()),
                Elements::F32(d) => narrow(_mm512_maskz_loadu_ps(mask, d.as_ptr().wrapping_add(at))),
            }
        }
    }
}
