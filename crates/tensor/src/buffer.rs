//! Pooled memory: a buffer that nobody holds any more is handed out again, so that a training step allocates nothing
//! after the first.
//!
//! The pool belongs to the thread, as tensors do. Sizes are rounded up to eight classes per power of two (at most an
//! eighth is wasted, nothing at powers of two). Where none of the own class waits, one of up to twice the size is as good, and
//! a new one takes the place of one of at least half the size: rows of any length live in the buffers of the longest, and a run of many
//! epochs does not grow. Debug builds fill a buffer with NaN when it is handed out: whoever reads what nobody wrote sees it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

/// A cache line, the unit and alignment of every buffer.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A block of memory on a cache-line border.
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    pub(crate) fn as_slice<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

/// What the pool of this thread holds and held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Bytes in use now.
    pub live_bytes: usize,
    /// Most bytes in use at any one time since the last [`reset_peak`].
    pub peak_bytes: usize,
    /// Bytes waiting to be handed out again.
    pub free_bytes: usize,
    /// Buffers taken from the system so far.
    pub allocations: usize,
}

#[derive(Default)]
struct Pool {
    /// By lines.
    free: BTreeMap<usize, Vec<Rc<Buffer>>>,
    statistics: PoolStatistics,
}

impl Pool {
    /// The smallest buffer that waits and has so many lines, up to twice as many.
    fn reuse(&mut self, lines: usize) -> Option<Rc<Buffer>> {
        let buffer = self.free.range_mut(lines..=2 * lines).find_map(|(_, waiting)| waiting.pop())?;
        self.statistics.free_bytes -= buffer.bytes();
        Some(buffer)
    }

    /// A new buffer, in the place of the largest one that waits and has at least half as many lines: what did with that one will do with the new.
    fn replace(&mut self, lines: usize) -> Rc<Buffer> {
        let smaller =
            self.free.range_mut(lines.div_ceil(2)..lines).rev().find_map(|(_, waiting)| waiting.pop());
        self.statistics.free_bytes -= smaller.map_or(0, |b| b.bytes());
        self.statistics.allocations += 1;
        Rc::new(Buffer { lines: vec![Line::zeroed(); lines] })
    }
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// The statistics of this thread's pool.
pub fn statistics() -> PoolStatistics {
    POOL.with_borrow(|p| p.statistics)
}

/// Begins a new measurement of the peak at what is in use now.
pub fn reset_peak() {
    POOL.with_borrow_mut(|p| p.statistics.peak_bytes = p.statistics.live_bytes);
}

/// Gives the memory that waits in this thread's pool back to the system.
pub fn trim() {
    POOL.with_borrow_mut(|p| {
        p.free.clear();
        p.statistics.free_bytes = 0;
    });
}

/// Lines of the size class that holds `bytes`.
fn class(bytes: usize) -> usize {
    let lines = bytes.div_ceil(size_of::<Line>()).max(1);
    let step = (lines.next_power_of_two() / 16).max(1);
    lines.next_multiple_of(step)
}

/// A buffer of at least `bytes` with unspecified contents, held by the caller alone.
pub(crate) fn take(bytes: usize) -> Rc<Buffer> {
    let lines = class(bytes);
    POOL.with_borrow_mut(|p| {
        let mut buffer = p.reuse(lines).unwrap_or_else(|| p.replace(lines));
        p.statistics.live_bytes += buffer.bytes();
        p.statistics.peak_bytes = p.statistics.peak_bytes.max(p.statistics.live_bytes);
        if cfg!(debug_assertions)
            && let Some(b) = Rc::get_mut(&mut buffer)
        {
            // All ones is NaN in f32 and in bf16, and no valid index.
            b.lines.fill(Line([0xff; 64]));
        }
        buffer
    })
}

/// Takes a share of a buffer back; the last share returns it to the pool.
pub(crate) fn give(buffer: Rc<Buffer>) {
    if Rc::strong_count(&buffer) > 1 {
        return;
    }
    // A thread that is ending has no pool any more: then the buffer simply goes.
    let _ = POOL.try_with(|p| {
        let mut p = p.borrow_mut();
        p.statistics.live_bytes -= buffer.bytes();
        p.statistics.free_bytes += buffer.bytes();
        p.free.entry(buffer.lines.len()).or_default().push(buffer);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth_and_nothing_at_powers_of_two() {
        for bytes in (1..100_000).step_by(37) {
            let c = class(bytes) * 64;
            assert!(c >= bytes && c <= (bytes + 64).max(bytes + bytes / 8 + 64), "{bytes} -> {c}");
        }
        assert_eq!(class(2048 * 512 * 4) * 64, 2048 * 512 * 4);
    }

    #[test]
    fn a_returned_buffer_is_handed_out_again_and_a_shared_one_is_not() {
        let before = statistics();
        let a = take(1000);
        let shared = Rc::clone(&a);
        give(a);
        assert_eq!(statistics().live_bytes - before.live_bytes, 1024);
        give(shared);
        let allocations = statistics().allocations;
        let b = take(990);
        assert_eq!(statistics().allocations, allocations);
        give(b);
        assert_eq!(statistics().live_bytes, before.live_bytes);
    }

    #[test]
    fn shorter_rows_live_in_the_buffers_of_longer_ones() {
        trim();
        let step = |row: usize| [4, 16, 1].map(|columns| take(64 * row * columns)).into_iter().for_each(give);
        step(1000);
        let before = statistics();
        (600..1000).for_each(step);
        let after = statistics();
        assert_eq!((after.allocations, after.free_bytes), (before.allocations, before.free_bytes));
        step(1100);
        assert!(statistics().allocations > after.allocations);
        assert!(statistics().free_bytes < after.free_bytes * 5 / 4);
    }
}
