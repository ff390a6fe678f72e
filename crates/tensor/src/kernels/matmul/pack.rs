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
            (Lanes::Rows, Word::Pair) => {
                // SAFETY: only the level with bf16 products asks for pairs, so the processor has AVX-512 BF16; lanes and panel size
                // were checked above.
                unsafe { x86::transpose_pairs(m, word, first, count, width, depth, to) };
                return;
            }
            (Lanes::Rows, Word::Single) => {
                // SAFETY: the level says that the processor has AVX-512; the rest as above.
                unsafe { x86::transpose(m, word, first, count, width, depth, to) };
                return;
            }
            (Lanes::Columns, Word::Pair) => {
                // SAFETY: as for the pairs above.
                unsafe { x86::interleave_pairs(m, first, count, width, to) };
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

/// Writes rows of `cols` numbers as words that lie along: row `i` from word `i · stride` of `to` on.
pub(crate) fn rows(word: Word, x: &[f32], cols: usize, to: &mut [u32], stride: usize) {
    let words = word.steps(cols);
    let rows = x.len() / cols.max(1);
    assert!(rows == 0 || to.len() >= (rows - 1) * stride + words, "pack: {rows} rows of {words} words");
    #[cfg(target_arch = "x86_64")]
    if word == Word::Pair && cols.is_multiple_of(32) {
        // SAFETY: only the level with bf16 products asks for pairs, so the processor has AVX-512 BF16; the room was checked above.
        unsafe { x86::narrow_rows(x, cols, to, stride) };
        return;
    }
    let each = cols.div_ceil(words.max(1));
    for (x, to) in x.chunks_exact(cols).zip(to.chunks_mut(stride)) {
        for (x, to) in x.chunks(each).zip(to) {
            *to = make(word, x[0], x.get(1).copied().unwrap_or(0.0));
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

    /// Defines a packing of rows: the same loop with the instructions that its words are loaded by.
    macro_rules! transposing {
        ($(#[$about:meta])* $name:ident, $features:literal, $load:ident) => {
    $(#[$about])*
    ///
    /// # Safety
    /// The processor has the features named; the lanes are rows of the matrix; `to` is the whole panel.
    #[target_feature(enable = $features)]
    pub(crate) unsafe fn $name(
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
                    *r = unsafe { $load(m, at, n) };
                }
                let columns = transposed(rows);
                for (k, &c) in columns.iter().enumerate().take((steps - step).min(16)) {
                    // A store of 16 words that runs over into the next step is whole as long as that step is written later: not after
                    // its first lanes have been.
                    let whole = (lanes == 16 || lane == 0) && (steps - step - k) * width >= lane + 16;
                    // SAFETY: word (step + k) · width + lane begins `lanes` words that lie within the panel, and 16 words if `whole`.
                    unsafe {
                        let p = to.as_mut_ptr().add((step + k) * width + lane);
                        put(p, c, mask as u16, whole);
                    }
                }
            }
        }
    }
        };
    }

    transposing!(
        /// Words of one f32 each.
        transpose, "avx512f,avx512bw,avx512dq,avx512vl", load);
    transposing!(
        /// Words of two bf16 each.
        transpose_pairs, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16", load_pairs);

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
    unsafe fn load(m: &Mat<'_>, at: usize, n: usize) -> __m512i {
        // SAFETY: masked loads touch only the first `n` elements, which exist.
        unsafe {
            match m.data {
                Elements::F32(d) => {
                    _mm512_maskz_loadu_epi32(first_lanes(n) as u16, d.as_ptr().add(at).cast())
                }
                Elements::Bf16(d) => {
                    let half = _mm256_maskz_loadu_epi16(first_lanes(n) as u16, d.as_ptr().add(at).cast());
                    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half))
                }
            }
        }
    }

    /// Pairs made of the `n` elements from `at` on (16 words; zero beyond).
    ///
    /// # Safety
    /// The elements exist.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn load_pairs(m: &Mat<'_>, at: usize, n: usize) -> __m512i {
        // SAFETY: masked loads touch only the first `n` elements, which exist.
        unsafe {
            match m.data {
                Elements::Bf16(d) => _mm512_maskz_loadu_epi16(first_lanes(n), d.as_ptr().add(at).cast()),
                Elements::F32(d) => {
                    let p = d.as_ptr().add(at);
                    let low = _mm512_maskz_loadu_ps(first_lanes(n.min(16)) as u16, p);
                    let high =
                        _mm512_maskz_loadu_ps(first_lanes(n.saturating_sub(16)) as u16, p.wrapping_add(16));
                    pair_up(low, high)
                }
            }
        }
    }

    /// A mask of the first `n` of 32 lanes.
    #[inline]
    fn first_lanes(n: usize) -> u32 {
        if n >= 32 { u32::MAX } else { (1 << n) - 1 }
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

    /// Rows of f32 as rows of bf16, `stride` words apart.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16; `cols` is a multiple of 32; `to` holds all rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(crate) unsafe fn narrow_rows(x: &[f32], cols: usize, to: &mut [u32], stride: usize) {
        for (i, x) in x.chunks_exact(cols).enumerate() {
            for (c, x) in x.chunks_exact(32).enumerate() {
                // SAFETY: 32 floats are read from a chunk of 32; 16 words are written within row i, by this function's contract.
                unsafe {
                    let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16)));
                    _mm512_storeu_si512(to.as_mut_ptr().add(i * stride + 16 * c).cast(), pair_up(low, high));
                }
            }
        }
    }

    /// Words of one f32 each, rounded to bf16 if asked for.
    ///
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
        for d in 0..m.rows {
            for lane in (0..width).step_by(16) {
                let mask = first_lanes(count.saturating_sub(lane).min(16)) as u16;
                let store = first_lanes((width - lane).min(16)) as u16;
                let at = d * m.stride + first + lane;
                // SAFETY: masked loads touch the lanes' columns of row d, prefetches nothing; the store stays within the lanes of this step, or goes on into
                // the next ones, which are written later.
                unsafe {
                    match m.data {
                        Elements::F32(p) => prefetch(p.as_ptr().wrapping_add(at + AHEAD * m.stride)),
                        Elements::Bf16(p) => prefetch(p.as_ptr().wrapping_add(at + AHEAD * m.stride)),
                    }
                    let words = match m.data {
                        Elements::F32(p) if word == Word::Single => {
                            _mm512_maskz_loadu_epi32(mask, p.as_ptr().wrapping_add(at).cast())
                        }
                        _ => _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow_row(m, at, mask))),
                    };
                    put(
                        to.as_mut_ptr().add(d * width + lane),
                        words,
                        store,
                        (m.rows - d) * width >= lane + 16,
                    );
                }
            }
        }
    }

    /// Words of two bf16 each: of one column in two rows that follow each other.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16; the lanes are columns of the matrix; `to` is the whole panel.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(crate) unsafe fn interleave_pairs(
        m: &Mat<'_>,
        first: usize,
        count: usize,
        width: usize,
        to: &mut [u32],
    ) {
        let steps = m.rows.div_ceil(2);
        // Elements 0, 16, 1, 17, …: the low halves of the words from the first row, the high ones from the second.
        let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let order =
            _mm512_or_si512(lanes, _mm512_slli_epi32::<16>(_mm512_add_epi32(lanes, _mm512_set1_epi32(16))));
        for step in 0..steps {
            // An odd last row has zeros beside it.
            let both = 2 * step + 1 < m.rows;
            for lane in (0..width).step_by(16) {
                let mask = first_lanes(count.saturating_sub(lane).min(16)) as u16;
                let store = first_lanes((width - lane).min(16)) as u16;
                let at = 2 * step * m.stride + first + lane;
                // SAFETY: masked loads touch the lanes' columns of this step's rows, prefetches nothing; the store stays within the lanes of
                // this step, or goes on into the next ones, which are written later.
                unsafe {
                    let second = if both { mask } else { 0 };
                    let rows = match m.data {
                        Elements::F32(p) => {
                            let p = p.as_ptr().wrapping_add(at);
                            prefetch(p.wrapping_add(AHEAD * m.stride));
                            prefetch(p.wrapping_add((AHEAD + 1) * m.stride));
                            pair_up(
                                _mm512_maskz_loadu_ps(mask, p),
                                _mm512_maskz_loadu_ps(second, p.wrapping_add(m.stride)),
                            )
                        }
                        Elements::Bf16(p) => {
                            let p = p.as_ptr().wrapping_add(at);
                            if lane.is_multiple_of(32) {
                                prefetch(p.wrapping_add(AHEAD * m.stride));
                                prefetch(p.wrapping_add((AHEAD + 1) * m.stride));
                            }
                            let low = _mm256_maskz_loadu_epi16(mask, p.cast());
                            let high = _mm256_maskz_loadu_epi16(second, p.wrapping_add(m.stride).cast());
                            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
                        }
                    };
                    let words = _mm512_permutexvar_epi16(order, rows);
                    let whole = (steps - step) * width >= lane + 16;
                    put(to.as_mut_ptr().add(step * width + lane), words, store, whole);
                }
            }
        }
    }

    /// Rows that are fetched ahead: they lie far apart, where the processor does not see that they follow each other.
    const AHEAD: usize = 16;

    /// Asks for a cache line; any address will do.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn prefetch<T>(p: *const T) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
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
