//! Products of packed operands into panels of f32: what a block of queries does with keys and values.

use crate::kernels::level::Level;
use crate::kernels::matmul::pack::{self, Lanes, Word};
use crate::kernels::matmul::tile::{Tiles, tiles};
use crate::kernels::matmul::{Line, room, word};
use crate::kernels::matrix::{DType, Elements, Mat};

/// The tiles and words that a level uses for an element type.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    pub(super) level: Level,
    pub(super) tiles: Tiles,
    pub(super) word: Word,
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

    /// Packs all lanes of a matrix as a left operand: tile after tile.
    pub(super) fn left<'a>(&self, m: &Mat<'_>, lanes: Lanes, to: &'a mut Vec<Line>) -> &'a [u32] {
        let [all, depth] = lanes.extent(m);
        let steps = self.steps(depth);
        let to = room(to, (all + self.tiles.rows[0]) * steps);
        let mut at = 0;
        for (first, n, tile) in self.row_tiles(all) {
            pack::pack(self.level, m, lanes, self.word, first, n, tile, &mut to[at..at + steps * tile]);
            at += steps * tile;
        }
        &to[..at]
    }

    /// Cuts rows into tiles: first row, rows, rows of the tile.
    pub(super) fn row_tiles(&self, rows: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let tiles = self.tiles;
        let most = tiles.rows[0];
        (0..rows).step_by(most).map(move |r| {
            let n = most.min(rows - r);
            (r, n, tiles.for_rows(n).0)
        })
    }

    /// Rows that scratch for `rows` rows needs: the last tile may be larger than what it holds.
    pub(super) fn padded(&self, rows: usize) -> usize {
        rows + self.tiles.rows[0]
    }

    /// One tile: `out (+)= left · right`, both `steps` deep, into rows of `cols` floats.
    #[inline(always)]
    pub(super) fn tile(
        &self,
        tile: usize,
        steps: usize,
        left: &[u32],
        right: &[u32],
        out: &mut [f32],
        add: bool,
    ) {
        let (rows, f) = self.tiles.for_rows(tile);
        assert!(
            rows == tile
                && left.len() >= steps * rows
                && right.len() >= steps * self.cols()
                && out.len() >= rows * self.cols(),
            "attention: a tile of {tile} rows and {steps} steps"
        );
        // SAFETY: the lengths were checked; the level is one that this processor has.
        unsafe { f(steps, left.as_ptr(), right.as_ptr(), out.as_mut_ptr(), add) };
    }

    /// The product of a left operand of `rows` rows and some panels, all of the same depth: panel `p` of the result begins at
    /// `p · stride` of `out` and has rows of `cols` floats.
    pub(super) fn product(
        &self,
        rows: usize,
        steps: usize,
        left: &[u32],
        panels: impl Iterator<Item = usize>,
        right: impl Fn(usize) -> usize,
        words: &[u32],
        out: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        for p in panels {
            let b = &words[right(p)..];
            let mut at = 0;
            for (first, _, tile) in self.row_tiles(rows) {
                let c = &mut out[p * stride + first * self.cols()..];
                self.tile(tile, steps, &left[at..], b, c, add);
                at += steps * tile;
            }
        }
    }

    /// Packs a block of scores, panels of `rows × cols` at `stride`, as a left operand whose depth runs along the keys.
    pub(super) fn left_of_scores<'a>(
        &self,
        scores: &[f32],
        rows: usize,
        stride: usize,
        panels: std::ops::Range<usize>,
        to: &'a mut Vec<Line>,
    ) -> &'a [u32] {
        let cols = self.cols();
        let each = self.steps(cols);
        let steps = each * panels.len();
        let to = room(to, self.padded(rows) * steps);
        let mut at = 0;
        for (first, n, tile) in self.row_tiles(rows) {
            for p in panels.clone() {
                let data = &scores[p * stride + first * cols..][..n * cols];
                let m = Mat::new(Elements::F32(data), n, cols, cols);
                pack::pack(self.level, &m, Lanes::Rows, self.word, 0, n, tile, &mut to[at..at + each * tile]);
                at += each * tile;
            }
        }
        &to[..at]
    }
}
