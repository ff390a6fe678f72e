//! The matrix product at the three shapes of a linear layer: `y = x·Wᵀ`, `dx = dy·W`, `dW = dyᵀ·x`.
//!
//! The right operand is packed once into [`Panels`] (weights: once for each step of the optimiser), the left one block by block as it is
//! used. Operands are f32, or bf16 with sums in f32; bf16 products at a level without bf16 instructions are those of the rounded
//! values in f32. Each element of the result is one sum in order of depth, cut at multiples of a fixed length: the same
//! bits for any number of threads, whatever else is computed beside it.

pub(crate) mod pack;
pub(crate) mod tile;

use std::cell::RefCell;

use self::pack::{Lanes, Word};
use self::tile::{Lie, MAX_COLS, MAX_ROWS, TileFn, Tiles, tiles};
use crate::kernels::eight::Eight;
use crate::kernels::level::{Level, level};
use crate::kernels::matrix::{DType, Element, Elements, ElementsMut, Mat, MatMut, bf16};
use crate::kernels::pool::{self, Shareable};

/// Steps of depth done at a time: a panel of the right operand, 32 columns wide, then fills the first-level cache (32 KB) once while
/// the left operand's tiles pass by.
const DEPTH: usize = 256;

/// Rows of the left operand packed at a time: a multiple of every tile's rows; with a depth of 2,048 words 384 KB, which stay in
/// the second-level cache (1 MB on Zen 4) while all panels pass by.
const BLOCK: usize = 48;

/// The same where they are columns of a matrix: whole cache lines of its rows are read once, four vectors wide. 32 rows of f32, whose panel would
/// fit into the second-level cache at a depth of 4,096, were a tenth slower.
const ACROSS: usize = 64;

/// Tasks that a product is cut into at least, where it is large enough: enough to share among a few threads, too few to cost.
const TASKS: usize = 16;

/// A right operand in the order in which the inner loop reads it.
pub struct Panels {
    words: Vec<Line>,
    depth: usize,
    cols: usize,
    dtype: DType,
    level: Level,
}

/// 16 words on a cache-line border.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u32; 16]);

/// Grows `words` to `n` words and gives them.
pub(crate) fn room(words: &mut Vec<Line>, n: usize) -> &mut [u32] {
    let lines = n.div_ceil(16);
    if words.len() < lines {
        words.resize(lines, Line([0; 16]));
    }
    &mut bytemuck::cast_slice_mut(words)[..n]
}

impl Default for Panels {
    fn default() -> Panels {
        Panels { words: Vec::new(), depth: 0, cols: 0, dtype: DType::F32, level: Level::Portable }
    }
}

/// The kind of word for an element type at a level.
pub(crate) fn word(level: Level, dtype: DType) -> Word {
    match dtype {
        DType::F32 => Word::Single,
        DType::Bf16 if tiles(level, true).pairs => Word::Pair,
        DType::Bf16 => Word::Rounded,
    }
}

impl Panels {
    /// Empty panels; [`Panels::pack`] fills them.
    pub fn new() -> Panels {
        Panels::default()
    }

    /// Packs `w` as the right operand: `w [N, K]` of `x·wᵀ` if `transposed`, else `w [K, N]` of `x·w`. Elements are rounded to `dtype`. Memory
    /// is reused.
    pub fn pack(&mut self, w: Mat<'_>, transposed: bool, dtype: DType) {
        self.pack_at(level(), w, transposed, dtype);
    }

    fn pack_at(&mut self, level: Level, w: Mat<'_>, transposed: bool, dtype: DType) {
        let lanes = if transposed { Lanes::Rows } else { Lanes::Columns };
        let [cols, depth] = lanes.extent(&w);
        let word = word(level, dtype);
        let width = tiles(level, word == Word::Pair).cols;
        let panel = word.steps(depth) * width;
        if panel > 0 {
            let words = room(&mut self.words, cols.div_ceil(width) * panel);
            pool::chunks(words, panel, |j, to| {
                let first = j * width;
                pack::pack(level, &w, lanes, word, first, width.min(cols - first), width, to);
            });
        }
        (self.depth, self.cols, self.dtype, self.level) = (depth, cols, dtype, level);
    }

    /// Packs an 8-bit matrix as the right operand of `x·wᵀ`, without a whole copy of it as f32.
    pub fn pack_eight(&mut self, w: &Eight, dtype: DType) {
        thread_local! {
            static WIDE: RefCell<Vec<f32>> = RefCell::default();
        }
        let level = level();
        let [cols, depth] = w.shape();
        let word = word(level, dtype);
        let width = tiles(level, word == Word::Pair).cols;
        let panel = word.steps(depth) * width;
        if panel > 0 {
            let words = room(&mut self.words, cols.div_ceil(width) * panel);
            pool::chunks(words, panel, |j, to| {
                let first = j * width;
                let n = width.min(cols - first);
                WIDE.with_borrow_mut(|wide| {
                    wide.resize(n * depth, 0.0);
                    w.widen(first, wide);
                    pack::pack(level, &Mat::f32(wide, n, depth), Lanes::Rows, word, 0, n, width, to);
                });
            });
        }
        (self.depth, self.cols, self.dtype, self.level) = (depth, cols, dtype, level);
    }

    /// Depth of the product, K.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the result, N.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element type of the products.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes that the packed form takes.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<Line>()
    }

    fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.words)
    }
}

/// What happens to a sum before it is written: `out = (accumulate ? out : 0) + scale · sum + bias + residual`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One number for each column.
    pub bias: Option<&'a [f32]>,
    /// A matrix of the result's shape.
    pub residual: Option<Mat<'a>>,
    /// Whether what the result held is added.
    pub accumulate: bool,
    /// A factor of the sum.
    pub scale: Option<f32>,
}

#[derive(Default)]
struct Scratch {
    left: Vec<Line>,
    sums: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// The right operand of `matmul_tn`, and a left operand that several tasks share; of the calling thread.
    static SHARED: RefCell<(Panels, Vec<Line>)> = RefCell::default();
}

/// `out [T, N] = x [T, K] · panels [K, N]`, with an epilogue. `x` is rounded to the panels' element type.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(x: Mat<'_>, w: &Panels, out: MatMut<'_>, epilogue: &Epilogue<'_>) {
    assert!(
        x.cols == w.depth && out.rows == x.rows && out.cols == w.cols,
        "matmul: x {}×{} times w {}×{} into {}×{}",
        x.rows,
        x.cols,
        w.depth,
        w.cols,
        out.rows,
        out.cols
    );
    if let Some(b) = epilogue.bias {
        assert_eq!(b.len(), w.cols, "matmul: a bias of {} numbers for {} columns", b.len(), w.cols);
    }
    if let Some(r) = epilogue.residual {
        assert_eq!([r.rows, r.cols], [x.rows, w.cols], "matmul: the residual's shape is not the result's");
    }
    SHARED.with(|s| {
        let mut own = s.try_borrow_mut().map(|mut s| std::mem::take(&mut s.1)).unwrap_or_default();
        product(x, Lanes::Rows, w, out, epilogue, &mut own);
        if let Ok(mut s) = s.try_borrow_mut() {
            s.1 = own;
        }
    });
}

/// `dw [N, K] (+)= dy [T, N]ᵀ · x [T, K]`: the gradient of a linear layer's weight. Operands are rounded to `dtype`.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_tn(dy: Mat<'_>, x: Mat<'_>, dw: MatMut<'_>, accumulate: bool, dtype: DType) {
    matmul_tn_at(level(), dy, x, dw, accumulate, dtype);
}

fn matmul_tn_at(level: Level, dy: Mat<'_>, x: Mat<'_>, dw: MatMut<'_>, accumulate: bool, dtype: DType) {
    assert!(
        dy.rows == x.rows && dw.rows == dy.cols && dw.cols == x.cols,
        "matmul_tn: dy {}×{} transposed times x {}×{} into {}×{}",
        dy.rows,
        dy.cols,
        x.rows,
        x.cols,
        dw.rows,
        dw.cols
    );
    SHARED.with(|s| {
        let (mut panels, mut own) =
            s.try_borrow_mut().map(|mut s| std::mem::take(&mut *s)).unwrap_or_default();
        panels.pack_at(level, x, false, dtype);
        let epilogue = Epilogue { accumulate, ..Epilogue::default() };
        product(dy, Lanes::Columns, &panels, dw, &epilogue, &mut own);
        if let Ok(mut s) = s.try_borrow_mut() {
            *s = (panels, own);
        }
    });
}

/// The product of the left operand's lanes and the panels.
fn product(
    x: Mat<'_>,
    lanes: Lanes,
    w: &Panels,
    mut out: MatMut<'_>,
    epilogue: &Epilogue<'_>,
    shared: &mut Vec<Line>,
) {
    let word = word(w.level, w.dtype);
    let tiles = tiles(w.level, word == Word::Pair);
    let steps = word.steps(w.depth);
    let (rows, panels) = (out.rows, w.cols.div_ceil(tiles.cols));
    if rows == 0 || panels == 0 {
        return;
    }
    let height = if lanes == Lanes::Rows { BLOCK } else { ACROSS };
    let blocks = rows.div_ceil(height);
    let groups = TASKS.div_ceil(blocks).min(panels);
    let per_group = panels.div_ceil(groups);
    let as_it_lies = AsItLies::of(&x, lanes, word, w.depth, &tiles);
    let block_rows = |block: usize| block * height..((block + 1) * height).min(rows);
    let pack_block = |block: usize, to: &mut [u32]| {
        let rows = block_rows(block);
        if lanes == Lanes::Columns {
            pack::pack(w.level, &x, lanes, word, rows.start, rows.len(), height, &mut to[..steps * height]);
            return;
        }
        for (at, n, tile) in tiles.cut(rows.len()) {
            let first = rows.start + at;
            if as_it_lies.as_ref().is_none_or(|a| a.tile(first, n).is_none()) {
                pack::pack(w.level, &x, lanes, word, first, n, tile, &mut to[at * steps..][..steps * tile]);
            }
        }
    };
    // Words of a packed block; the last one may be padded to its tiles.
    let size = steps * (height + if lanes == Lanes::Rows { MAX_ROWS } else { 0 });
    let prepacked = groups > 1;
    if prepacked && size > 0 {
        pool::chunks(room(shared, blocks * size), size, pack_block);
    }
    let shared: &[u32] = bytemuck::cast_slice(shared);
    let target = Target::new(&mut out);
    let right = w.words();
    pool::run(blocks * groups, |task| {
        let (block, group) = (task / groups, task % groups);
        SCRATCH.with_borrow_mut(|scratch| {
            let words = if prepacked {
                &shared[block * size..(block + 1) * size]
            } else {
                let left = room(&mut scratch.left, size);
                pack_block(block, left);
                &*left
            };
            let sums: &mut [f32] =
                bytemuck::cast_slice_mut(room(&mut scratch.sums, (height + MAX_ROWS) * MAX_COLS));
            let rows = block_rows(block);
            let left = Left { words, as_it_lies: as_it_lies.as_ref(), lanes, rows: rows.clone() };
            for j in group * per_group..((group + 1) * per_group).min(panels) {
                let panel = &right[j * steps * tiles.cols..(j + 1) * steps * tiles.cols];
                panel_sums(&tiles, steps, &left, panel, sums);
                let part = Part {
                    rows: rows.clone(),
                    cols: j * tiles.cols..((j + 1) * tiles.cols).min(w.cols),
                    stride: tiles.cols,
                };
                finish(w.level, sums, &part, &target, epilogue);
            }
        });
    });
}

/// A block of the left operand.
struct Left<'a> {
    /// Tile after tile if its rows are rows of the matrix, else step after step.
    words: &'a [u32],
    as_it_lies: Option<&'a AsItLies<'a>>,
    lanes: Lanes,
    rows: std::ops::Range<usize>,
}

/// A left operand that needs no packing: rows of whole words of the right kind.
struct AsItLies<'a> {
    bytes: &'a [u8],
    /// Words from row to row.
    stride: usize,
    steps: usize,
    tiles: Tiles,
}

impl<'a> AsItLies<'a> {
    fn of(x: &Mat<'a>, lanes: Lanes, word: Word, depth: usize, tiles: &Tiles) -> Option<AsItLies<'a>> {
        let (bytes, each): (&[u8], usize) = match (x.data, word) {
            (Elements::F32(d), Word::Single) => (bytemuck::cast_slice(d), 1),
            (Elements::Bf16(d), Word::Pair) => (bytemuck::cast_slice(d), 2),
            _ => return None,
        };
        let whole = depth.is_multiple_of(each) && x.stride.is_multiple_of(each);
        let stride = x.stride / each;
        // Rows a multiple of 4 KB apart share one set of the first-level cache and push each other out of it.
        let crowded = (stride * 4).is_multiple_of(4096);
        let fits = lanes == Lanes::Rows && whole && !crowded && depth > 0;
        fits.then_some(AsItLies { bytes, stride, steps: depth / each, tiles: *tiles })
    }

    /// The loop and the bytes from row `first` on, if there is a loop for just `rows` rows.
    fn tile(&self, first: usize, rows: usize) -> Option<(TileFn, &'a [u8])> {
        let (tile, f) = self.tiles.for_rows(rows, Lie::Along);
        if tile != rows {
            return None;
        }
        let begin = first * self.stride * 4;
        let end = begin + ((rows - 1) * self.stride + self.steps) * 4;
        Some((f, self.bytes.get(begin..end)?))
    }
}

/// Sums of one block and one panel, in rows of `tiles.cols`.
fn panel_sums(tiles: &Tiles, steps: usize, left: &Left<'_>, panel: &[u32], sums: &mut [f32]) {
    if steps == 0 {
        sums.fill(0.0);
    }
    for begin in (0..steps).step_by(DEPTH) {
        let n = DEPTH.min(steps - begin);
        for (at, count, tile) in tiles.cut(left.rows.len()) {
            let b = &panel[begin * tiles.cols..(begin + n) * tiles.cols];
            let c = &mut sums[at * tiles.cols..(at + tile) * tiles.cols];
            let lying = left.as_it_lies.and_then(|a| Some((a.tile(left.rows.start + at, count)?, a.stride)));
            if let Some(((f, bytes), stride)) = lying {
                // SAFETY: `AsItLies::tile` checked that `count` rows of all steps lie in the matrix, and `count` is the tile's rows; the
                // other slices have the lengths that the contract names.
                unsafe { f(n, bytes.as_ptr().add(begin * 4), stride, b.as_ptr(), c.as_mut_ptr(), begin > 0) };
                continue;
            }
            let (_, f) = tiles.for_rows(count, Lie::Across);
            let (from, stride) = match left.lanes {
                Lanes::Rows => (at * steps + begin * tile, tile),
                Lanes::Columns => (begin * ACROSS + at, ACROSS),
            };
            let a = &left.words[from..from + (n - 1) * stride + tile];
            // SAFETY: the three slices have just the lengths that the tile's contract names; the tiles were chosen for a level that
            // this processor has (`Panels` are packed at an available level).
            unsafe { f(n, a.as_ptr().cast(), stride, b.as_ptr(), c.as_mut_ptr(), begin > 0) };
        }
    }
}

/// Where results go: tasks write different rows and columns of it.
struct Target {
    data: TargetData,
    stride: usize,
}

enum TargetData {
    F32(Shareable<f32>),
    Bf16(Shareable<bf16>),
}

impl Target {
    fn new(out: &mut MatMut<'_>) -> Target {
        let data = match &mut out.data {
            ElementsMut::F32(d) => TargetData::F32(Shareable(d.as_mut_ptr())),
            ElementsMut::Bf16(d) => TargetData::Bf16(Shareable(d.as_mut_ptr())),
        };
        Target { data, stride: out.stride }
    }
}

/// The part of the result that a task finishes; its sums have rows of `stride` floats.
struct Part {
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    stride: usize,
}

fn finish(level: Level, sums: &[f32], part: &Part, target: &Target, epilogue: &Epilogue<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn wide(sums: &[f32], part: &Part, target: &Target, epilogue: &Epilogue<'_>) {
            finish_body(sums, part, target, epilogue);
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(sums: &[f32], part: &Part, target: &Target, epilogue: &Epilogue<'_>) {
            finish_body(sums, part, target, epilogue);
        }
        let plain = epilogue.bias.is_none()
            && epilogue.residual.is_none()
            && epilogue.scale.is_none()
            && !epilogue.accumulate
            && part.cols.len().is_multiple_of(16);
        if let (TargetData::Bf16(p), true, Level::Avx512Bf16) = (&target.data, plain, level) {
            // SAFETY: the level says that the processor has AVX-512 BF16; the part lies within the result (checked by `matmul`), and no
            // other task has these rows and columns.
            unsafe { narrow_rows(sums, part, p.get(), target.stride) };
            return;
        }
        if level >= Level::Avx512 {
            // SAFETY: the level says that the processor has AVX-512.
            unsafe { wide(sums, part, target, epilogue) };
            return;
        }
        if level == Level::Avx2 {
            // SAFETY: the level says that the processor has AVX2.
            unsafe { narrow(sums, part, target, epilogue) };
            return;
        }
    }
    let _ = level;
    finish_body(sums, part, target, epilogue);
}

/// Rounds the sums to bf16 and stores them: the most frequent end of a product, with the processor's own conversion.
///
/// # Safety
/// The processor has AVX-512 BF16; the part's columns, a multiple of 16, lie within rows of `stride` elements at `out`, and nobody else writes
/// them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn narrow_rows(sums: &[f32], part: &Part, out: *mut bf16, stride: usize) {
    use std::arch::x86_64::{__m256bh, __m256i, _mm256_storeu_si256, _mm512_cvtneps_pbh, _mm512_loadu_ps};
    let n = part.cols.len();
    for (i, r) in part.rows.clone().enumerate() {
        let row = &sums[i * part.stride..i * part.stride + n];
        for (c, x) in row.chunks_exact(16).enumerate() {
            // SAFETY: the columns lie within the row by this function's contract; both vector types are 32 bytes without invalid values.
            unsafe {
                let narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(x.as_ptr()));
                let to = out.add(r * stride + part.cols.start + 16 * c);
                _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(narrow));
            }
        }
    }
}

/// Columns that are finished at a time: a fixed number, so that they stay in registers.
const STRIP: usize = 16;

#[inline(always)]
fn finish_body(sums: &[f32], part: &Part, target: &Target, epilogue: &Epilogue<'_>) {
    let n = part.cols.len();
    for (i, r) in part.rows.clone().enumerate() {
        let sums = &sums[i * part.stride..i * part.stride + n];
        let mut c = 0;
        while c + STRIP <= n {
            finish_strip::<STRIP>(&sums[c..], r, part.cols.start + c, target, epilogue);
            c += STRIP;
        }
        while c < n {
            finish_strip::<1>(&sums[c..], r, part.cols.start + c, target, epilogue);
            c += 1;
        }
    }
}

/// Finishes N columns of a row.
#[inline(always)]
fn finish_strip<const N: usize>(
    sums: &[f32],
    row: usize,
    col: usize,
    target: &Target,
    epilogue: &Epilogue<'_>,
) {
    let mut x = [0f32; N];
    x.copy_from_slice(&sums[..N]);
    if let Some(s) = epilogue.scale {
        for x in &mut x {
            *x *= s;
        }
    }
    if let Some(b) = epilogue.bias {
        for (x, b) in x.iter_mut().zip(&b[col..col + N]) {
            *x += b;
        }
    }
    if let Some(m) = epilogue.residual {
        let at = row * m.stride + col;
        match m.data {
            Elements::F32(d) => add::<f32, N>(&mut x, &d[at..at + N]),
            Elements::Bf16(d) => add::<bf16, N>(&mut x, &d[at..at + N]),
        }
    }
    let at = row * target.stride + col;
    match target.data {
        TargetData::F32(p) => {
            // SAFETY: the part lies within the result (checked by `matmul`), and no other task has this row and these columns.
            let out = unsafe { std::slice::from_raw_parts_mut(p.get().add(at), N) };
            store::<f32, N>(&mut x, out, epilogue.accumulate);
        }
        TargetData::Bf16(p) => {
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(p.get().add(at), N) };
            store::<bf16, N>(&mut x, out, epilogue.accumulate);
        }
    }
}

#[inline(always)]
fn add<E: Element, const N: usize>(x: &mut [f32; N], d: &[E]) {
    for (x, d) in x.iter_mut().zip(d) {
        *x += Element::to_f32(*d);
    }
}

#[inline(always)]
fn store<E: Element, const N: usize>(x: &mut [f32; N], out: &mut [E], accumulate: bool) {
    if accumulate {
        add::<E, N>(x, out);
    }
    for (o, x) in out.iter_mut().zip(x) {
        *o = E::from_f32(*x);
    }
}

/// The product by its definition, in f64, of operands rounded to `dtype`: `x [T, K] · w`, `w` as for [`Panels::pack`].
pub fn reference(x: Mat<'_>, w: Mat<'_>, transposed: bool, dtype: DType) -> Vec<f64> {
    let n = if transposed { w.rows } else { w.cols };
    let rounded = |v: f32| f64::from(if dtype == DType::Bf16 { bf16::from_f32(v).to_f32() } else { v });
    let mut out = Vec::with_capacity(x.rows * n);
    for t in 0..x.rows {
        for j in 0..n {
            let weight = |k: usize| if transposed { w.get(j, k) } else { w.get(k, j) };
            out.push((0..x.cols).map(|k| rounded(x.get(t, k)) * rounded(weight(k))).sum());
        }
    }
    out
}

/// The largest error that a product of depth `k` may have: sums of k rounded f32 products of size at most `a · b` each,
/// `k · ε · Σ|a·b|` (Higham 2002, §3.1), and rounding of the result to `out`.
pub fn tolerance(depth: usize, sum_of_sizes: f64, result: f64, out: DType) -> f64 {
    let f32_error = (depth as f64 + 2.0) * DType::F32.epsilon() * sum_of_sizes;
    f32_error + (result.abs() + f32_error) * out.epsilon() + f64::from(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests;
