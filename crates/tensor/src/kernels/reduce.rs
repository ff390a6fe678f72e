//! Sums over rows that many threads share: rows are cut into blocks whose number depends on the rows alone, each block has a partial
//! sum, and the partial sums are added in order.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernels::pool;
use crate::kernels::vector::vectorised;

/// Blocks that rows are cut into at most.
const BLOCKS: usize = 32;
/// Rows of a block at least.
const ROWS: usize = 16;

thread_local! {
    static PARTIALS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Rows of each block.
pub(crate) fn block_rows(rows: usize) -> usize {
    rows.div_ceil(BLOCKS).max(ROWS)
}

/// Calls `f(rows, partial)` for each block of rows with a zeroed partial sum of `width` numbers, in parallel, and adds the partial sums to
/// `out` in order of the blocks.
pub(crate) fn rows(rows: usize, out: &mut [f32], f: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let width = out.len();
    if rows == 0 || width == 0 {
        return;
    }
    let each = block_rows(rows);
    let blocks = rows.div_ceil(each);
    let mut partials = PARTIALS.take();
    partials.clear();
    partials.resize(blocks * width, 0.0);
    pool::chunks(&mut partials, width, |i, partial| f(i * each..((i + 1) * each).min(rows), partial));
    for partial in partials.chunks_exact(width) {
        add(out, partial);
    }
    PARTIALS.set(partials);
}

vectorised! {
    fn add(out: &mut [f32], x: &[f32]) {
        for (o, x) in out.iter_mut().zip(x) { *o += x; }
    }
}
