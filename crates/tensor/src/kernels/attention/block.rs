//! What a panel of queries does with a block of keys. Scores are held with keys as rows and queries as columns, so that everything that softmax does
//! is done to whole vectors of queries, and so that rounding is all that makes the probabilities an operand of the next product.

use std::ops::Range;

use super::{Options, head_of};
use crate::kernels::level::Level;
use crate::kernels::matmul::pack::{self, Lanes, Word};
use crate::kernels::matmul::tile::{Lie, MAX_COLS, Tiles, tiles};
use crate::kernels::matmul::{Line, room, word};
use crate::kernels::matrix::{DType, Elements, Mat};

/// Keys of a block: a multiple of every tile's rows. Its scores for a panel of 32 queries take 12 KB, a quarter to a third of the first-level cache.
pub(super) const KEYS: usize = 96;

/// The tiles and words that a level uses for an element type.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    level: Level,
    tiles: Tiles,
    word: Word,
}

impl Engine {
    pub(super) fn new(level: Level, dtype: DType) -> Engine {
        let word = word(level, dtype);
        Engine { level, tiles: tiles(level, word == Word::Pair), word }
    }

    /// Columns of a panel.
    pub(super) fn cols(&self) -> usize {
        self.tiles.cols
    }

    /// Steps that some rows or columns of depth take.
    pub(super) fn steps(&self, depth: usize) -> usize {
        self.word.steps(depth)
    }

    /// Rows that scratch for `rows` rows needs: the last tile may be larger than what it holds.
    pub(super) fn padded(&self, rows: usize) -> usize {
        rows + self.tiles.rows[0]
    }

    /// Words of a row of `n` elements.
    pub(super) fn row_words(&self, n: usize) -> usize {
        self.word.steps(n)
    }

    /// Packs all lanes of a matrix as a right operand: panels of `cols` lanes, each `steps(depth)` deep.
    pub(super) fn right<'a>(&self, m: &Mat<'_>, lanes: Lanes, to: &'a mut Vec<Line>) -> &'a [u32] {
        let [all, depth] = lanes.extent(m);
        let panel = self.steps(depth) * self.cols();
        let to = room(to, all.div_ceil(self.cols()) * panel);
        for (j, to) in to.chunks_exact_mut(panel.max(1)).enumerate() {
            let first = j * self.cols();
            let count = self.cols().min(all - first);
            pack::pack(self.level, m, lanes, self.word, first, count, self.cols(), to);
        }
        to
    }

    /// Scores or their gradients, some keys' rows of `cols` queries, as a right operand whose depth runs along the keys.
    pub(super) fn right_of_scores<'a>(&self, scores: &'a [f32], to: &'a mut Vec<Line>) -> &'a [u32] {
        if self.word == Word::Single {
            return bytemuck::cast_slice(scores);
        }
        let cols = self.cols();
        let m = Mat::new(Elements::F32(scores), scores.len() / cols, cols, cols);
        self.right(&m, Lanes::Columns, to)
    }

    /// The same as rows of a left operand whose depth runs along the queries: row by row from column `at` on, `stride` words from row to row.
    pub(super) fn rows_of_scores(&self, scores: &[f32], to: &mut [u32], stride: usize) {
        pack::rows(self.word, scores, self.cols(), to, stride);
    }

    /// A block's product with one panel, for the rows of `part` (whole tiles): `out [rows × cols] = left · right`.
    pub(super) fn rows(&self, block: &Packed<'_>, part: Range<usize>, right: &[u32], out: &mut [f32]) {
        let (steps, cols) = (block.steps, self.cols());
        for (first, n, tile) in self.tiles.cut(block.rows) {
            if first + n > part.start && first < part.end {
                let left = &block.words[first * steps..];
                self.tile(Lie::Across, tile, steps, left, tile, right, &mut out[first * cols..], false);
            }
        }
    }

    /// `out [rows × cols] += left · right` over the steps `part` of the block's depth; `right` begins at the first of them.
    pub(super) fn depth(&self, block: &Packed<'_>, part: Range<usize>, right: &[u32], out: &mut [f32]) {
        let cols = self.cols();
        for (first, _, tile) in self.tiles.cut(block.rows) {
            let left = &block.words[first * block.steps + part.start * tile..];
            self.tile(Lie::Across, tile, part.len(), left, tile, right, &mut out[first * cols..], true);
        }
    }

    /// `out [rows × cols] += left · right`, the left operand `rows` rows as they lie, `stride` words apart.
    pub(super) fn along(
        &self,
        rows: usize,
        steps: usize,
        left: &[u32],
        stride: usize,
        right: &[u32],
        out: &mut [f32],
    ) {
        let cols = self.cols();
        for (first, _, tile) in self.tiles.cut(rows) {
            let left = &left[first * stride..];
            self.tile(Lie::Along, tile, steps, left, stride, right, &mut out[first * cols..], true);
        }
    }

    /// Where the tiles of a block of `rows` rows begin and end that hold any of the rows of `part`.
    pub(super) fn whole_tiles(&self, rows: usize, part: Range<usize>) -> Range<usize> {
        let touched =
            self.tiles.cut(rows).filter(|(first, n, _)| first + n > part.start && *first < part.end);
        touched.map(|(first, n, _)| first..first + n).reduce(|a, b| a.start..b.end).unwrap_or(0..0)
    }

    #[inline(always)]
    fn tile(
        &self,
        lie: Lie,
        tile: usize,
        steps: usize,
        left: &[u32],
        stride: usize,
        right: &[u32],
        out: &mut [f32],
        add: bool,
    ) {
        let (rows, f) = self.tiles.for_rows(tile, lie);
        let reach = match lie {
            _ if steps == 0 => 0,
            Lie::Across => (steps - 1) * stride + rows,
            Lie::Along => (rows - 1) * stride + steps,
        };
        assert!(
            rows == tile
                && left.len() >= reach
                && right.len() >= steps * self.cols()
                && out.len() >= rows * self.cols(),
            "attention: a tile of {tile} rows and {steps} steps"
        );
        // SAFETY: the lengths were checked; the level is one that this processor has.
        unsafe { f(steps, left.as_ptr().cast(), stride, right.as_ptr(), out.as_mut_ptr(), add) };
    }

    /// Packs a head's keys or values block by block as left operands: with [`Lanes::Rows`] keys are rows and the head's columns depth, with
    /// [`Lanes::Columns`] the other way round.
    pub(super) fn blocks<'a>(&self, m: &Mat<'_>, lanes: Lanes, to: &'a mut Vec<Line>) -> Blocks<'a> {
        let full = match lanes {
            Lanes::Rows => self.padded(KEYS) * self.steps(m.cols),
            Lanes::Columns => self.padded(m.cols) * self.steps(KEYS),
        };
        let words = room(to, m.rows.div_ceil(KEYS) * full);
        for (b, to) in words.chunks_exact_mut(full.max(1)).enumerate() {
            let block = head_of(m, b * KEYS, KEYS.min(m.rows - b * KEYS), 0, m.cols);
            let [rows, depth] = lanes.extent(&block);
            let steps = self.steps(depth);
            for (first, n, tile) in self.tiles.cut(rows) {
                let to = &mut to[first * steps..][..tile * steps];
                pack::pack(self.level, &block, lanes, self.word, first, n, tile, to);
            }
        }
        Blocks { words, full, keys: m.rows, width: m.cols, lanes, word: self.word }
    }

    /// `m [n × cols]` transposed, row after row.
    pub(super) fn transposed<'a>(&self, m: &[f32], n: usize, to: &'a mut Vec<Line>) -> &'a [f32] {
        let cols = self.cols();
        let to = room(to, cols * n);
        let m = Mat::new(Elements::F32(m), n, cols, cols);
        pack::pack(self.level, &m, Lanes::Rows, Word::Single, 0, n, n, to);
        bytemuck::cast_slice(to)
    }
}

/// A head's keys or values, packed block by block.
pub(super) struct Blocks<'a> {
    words: &'a [u32],
    full: usize,
    keys: usize,
    width: usize,
    lanes: Lanes,
    word: Word,
}

/// One of them: a left operand of so many rows and steps.
pub(super) struct Packed<'a> {
    words: &'a [u32],
    rows: usize,
    steps: usize,
}

impl Blocks<'_> {
    pub(super) fn get(&self, block: usize) -> Packed<'_> {
        let keys = KEYS.min(self.keys - block * KEYS);
        let (rows, depth) = match self.lanes {
            Lanes::Rows => (keys, self.width),
            Lanes::Columns => (self.width, keys),
        };
        Packed { words: &self.words[block * self.full..][..self.full], rows, steps: self.word.steps(depth) }
    }
}

/// Which keys the queries of a panel see.
pub(super) struct Sight {
    /// For each query the first key that it sees, and the first after those.
    pub(super) low: [u32; MAX_COLS],
    pub(super) high: [u32; MAX_COLS],
    /// Keys that any of them sees.
    pub(super) any: Range<usize>,
    /// Keys that all of them see.
    all: Range<usize>,
}

impl Sight {
    /// Of queries `begin .. begin + count`; columns beyond have the sight of the last.
    pub(super) fn new(options: &Options, begin: usize, count: usize, queries: usize, keys: usize) -> Sight {
        let (mut low, mut high) = ([0; MAX_COLS], [0; MAX_COLS]);
        for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            let seen = options.visible(begin + i.min(count - 1), queries, keys);
            (*low, *high) = (seen.start as u32, seen.end as u32);
        }
        // Both borders only grow from query to query.
        let (first, last) =
            (options.visible(begin, queries, keys), options.visible(begin + count - 1, queries, keys));
        Sight { low, high, any: first.start..last.end, all: last.start..first.end }
    }

    /// Whether all queries see all of some keys.
    pub(super) fn whole(&self, keys: Range<usize>) -> bool {
        keys.start >= self.all.start && keys.end <= self.all.end
    }

    /// The blocks that hold a key that any query sees.
    pub(super) fn blocks(&self) -> Range<usize> {
        if self.any.is_empty() { 0..0 } else { self.any.start / KEYS..self.any.end.div_ceil(KEYS) }
    }

    /// The keys of a block that any query sees, counted from the block's first.
    pub(super) fn within(&self, block: usize) -> Range<usize> {
        let begin = block * KEYS;
        self.any.start.saturating_sub(begin)..self.any.end.saturating_sub(begin).min(KEYS)
    }
}
