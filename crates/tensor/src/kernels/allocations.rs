//! The process's allocator: the system's, with large blocks on huge pages and a counter.
//!
//! A training step walks through hundreds of megabytes; on pages of 4 KB most of its first second is page faults and every pass
//! misses the translation buffer. Blocks from 1 MB on are mapped by themselves, on borders of 2 MB, and the kernel is asked
//! for huge pages. The counter makes "a step allocates nothing" something that is measured and not believed. A program may say what it tells
//! when there is no memory left, and then fails instead of aborting.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The allocator; a program installs it with `#[global_allocator]`.
pub struct Counting;

/// Size of a huge page.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Blocks of this size or more are mapped by themselves.
#[cfg(target_os = "linux")]
const LARGE: usize = 1 << 20;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Allocations and reallocations so far; stays 0 where [`Counting`] is not installed.
pub fn count() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// What is told when no memory is left.
static EXHAUSTED: OnceLock<fn(usize)> = OnceLock::new();

/// When no memory is left, `tell` gets the bytes that were asked for, and the process ends with 1. It must take no memory itself. This also
/// holds for requests that might fail otherwise, as those of `Vec::try_reserve`. Without it, or where [`Counting`] is not installed, Rust aborts.
pub fn when_exhausted(tell: fn(usize)) {
    let _ = EXHAUSTED.set(tell);
}

/// A block that was asked for. Where there is none, and somebody wants to be told, this does not return.
fn had(block: *mut u8, size: usize) -> *mut u8 {
    match EXHAUSTED.get() {
        Some(tell) if block.is_null() => {
            tell(size);
            // At once: what else is run at the end of a process might ask for memory.
            #[cfg(unix)]
            // SAFETY: ends the process.
            unsafe {
                libc::_exit(1)
            }
            #[cfg(not(unix))]
            std::process::exit(1)
        }
        _ => block,
    }
}

#[cfg(target_os = "linux")]
fn is_large(layout: &Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= HUGE
}

#[cfg(not(target_os = "linux"))]
fn is_large(_: &Layout) -> bool {
    false
}

/// Bytes that are mapped for a large block: a whole number of small pages, not of huge ones, so that nothing is wasted.
#[cfg(target_os = "linux")]
fn mapped(size: usize) -> Option<usize> {
    size.checked_next_multiple_of(4096)
}

/// Maps zeroed memory on a border of 2 MB; null if there is none.
#[cfg(target_os = "linux")]
fn map(size: usize) -> *mut u8 {
    let Some((length, room)) = mapped(size).and_then(|n| Some((n, n.checked_add(HUGE)?))) else {
        return std::ptr::null_mut();
    };
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping touches nothing that exists; what is unmapped lies inside it, before and after the part that
    // is kept.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), room, protection, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(HUGE);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        let block = start.add(before);
        let after = room - before - length;
        if after > 0 {
            libc::munmap(block.add(length).cast(), after);
        }
        // A wish only: where there are no huge pages the memory is as good.
        libc::madvise(block.cast(), length, libc::MADV_HUGEPAGE);
        block
    }
}

#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> *mut u8 {
    std::ptr::null_mut()
}

// SAFETY: small blocks are passed on unchanged to the system's allocator; large ones are mappings of their own, aligned to 2 MB, zeroed,
// and unmapped by the same rule (`is_large` of the same layout).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        if is_large(&layout) {
            return had(map(layout.size()), layout.size());
        }
        // SAFETY: the caller keeps `alloc`'s contract.
        had(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        #[cfg(target_os = "linux")]
        if is_large(&layout) {
            // SAFETY: the block was mapped by `map` with this size.
            unsafe { libc::munmap(ptr.cast(), mapped(layout.size()).unwrap_or(0)) };
            return;
        }
        // SAFETY: the caller keeps `dealloc`'s contract; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        if is_large(&layout) {
            return had(map(layout.size()), layout.size());
        }
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        had(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps `realloc`'s contract, so the new layout is valid.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_large(&layout) && !is_large(&new) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller keeps `realloc`'s contract; `ptr` came from the system's allocator.
            return had(unsafe { System.realloc(ptr, layout, size) }, size);
        }
        // SAFETY: both blocks are live and do not overlap; the old one goes by its own layout.
        unsafe {
            let block = self.alloc(new);
            if !block.is_null() {
                std::ptr::copy_nonoverlapping(ptr, block, layout.size().min(size));
                self.dealloc(ptr, layout);
            }
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_are_aligned_zeroed_and_grow() {
        let heap = Counting;
        for size in [1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: allocated, used and freed by one layout each.
            unsafe {
                let p = heap.alloc_zeroed(layout);
                assert!(!p.is_null() && p.align_offset(64) == 0);
                assert!((0..size).step_by(997).all(|i| *p.add(i) == 0));
                *p = 7;
                *p.add(size - 1) = 9;
                let q = heap.realloc(p, layout, size + (1 << 20));
                assert_eq!((*q.add(size - 1), q.align_offset(64)), (9, 0));
                let grown = Layout::from_size_align(size + (1 << 20), 64).unwrap();
                let r = heap.realloc(q, grown, 1);
                assert!(*r == 7 || (size == 1 && *r == 9));
                heap.dealloc(r, Layout::from_size_align(1, 64).unwrap());
            }
        }
    }
}
