//! The worker pool: runs one closure for every task index, on all threads, at about a microsecond per region.
//!
//! Work is cut into tasks by the caller, in a number that never depends on the threads; which thread takes which task does not
//! matter to the result. It matters to the caches: each thread begins with its own contiguous share of the tasks, the same in every
//! region, so that the rows which it wrote in one operation are those it reads in the next, and helps the others when its share is
//! done. Two cores may have no cache in common, and then a line that changes hands costs as much as one from memory. Workers spin briefly for the next region, because a training step has hundreds of them close
//! together, then sleep. A region begun inside a region runs on the calling thread alone.
//!
//! Nobody waits for a thread that has not come: a worker enters a region while it is open, and the caller shuts it when no task is left, so
//! that one whose processor is busy elsewhere costs its share of the help and no more.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker watches for the next region before it sleeps: longer than the gaps inside a training step, shorter than what
/// a person or another process would notice.
const SPIN: Duration = Duration::from_micros(200);

type Job = *const (dyn Fn(usize) + Sync);

/// A region as the workers see it. The pointer is valid for a worker from its entry through the gate until it leaves.
#[derive(Clone, Copy)]
struct Region {
    job: Job,
    tasks: usize,
}

// SAFETY: the pointed-to closure is `Sync`, and `Pool::run` keeps it alive until the gate is shut and every worker inside has left.
unsafe impl Send for Region {}

struct Shared {
    /// Which region it is, whether it is open, and how many workers are inside; see [`Gate`].
    gate: AtomicU64,
    /// For each thread, how many tasks of its share were taken.
    taken: Vec<Own>,
    region: Mutex<Option<Region>>,
    sleepers: AtomicUsize,
    wake: Condvar,
    failed: AtomicBool,
    quit: AtomicBool,
}

/// What the gate's word says: the number of the region, a bit that it is open, the workers inside.
struct Gate(u64);

impl Gate {
    const OPEN: u64 = 1 << 31;

    fn generation(&self) -> u64 {
        self.0 >> 32
    }

    fn is_open(&self) -> bool {
        self.0 & Gate::OPEN != 0
    }

    fn inside(&self) -> u64 {
        self.0 & (Gate::OPEN - 1)
    }

    /// The next region, open, nobody inside.
    fn next(&self) -> u64 {
        self.generation().wrapping_add(1) << 32 | Gate::OPEN
    }
}

/// A counter that has its cache lines (and their neighbours, which are fetched in pairs) for itself.
#[repr(align(128))]
struct Own(AtomicUsize);

/// A set of threads that run regions together with the thread that asks.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    running: Mutex<()>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool of `threads` threads (at least one; the caller counts as one).
    pub fn new(threads: usize) -> Pool {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            taken: (0..threads).map(|_| Own(AtomicUsize::new(0))).collect(),
            region: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            wake: Condvar::new(),
            failed: AtomicBool::new(false),
            quit: AtomicBool::new(false),
        });
        let workers = (1..threads)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("pupil-{i}")).spawn(move || shared.work(i)).ok()
            })
            .collect::<Vec<_>>();
        Pool { shared, threads: workers.len() + 1, running: Mutex::new(()), workers }
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `f(0)`, …, `f(tasks - 1)`, each once, on any of the threads, and returns when all are done.
    ///
    /// # Panics
    /// If `f` panicked on any thread.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.threads == 1 || INSIDE.get() {
            (0..tasks).for_each(f);
            return;
        }
        let _one_region = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let s = &*self.shared;
        // SAFETY: only the lifetime is erased. `f` outlives this call, and this call returns (or unwinds) only after `Leave` has
        // shut the gate and seen nobody inside: no worker uses the pointer then, and none can come to use it.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(f) };
        s.taken.iter().for_each(|t| t.0.store(0, Ordering::Relaxed));
        *s.region.lock().unwrap_or_else(PoisonError::into_inner) = Some(Region { job, tasks });
        s.gate.store(s.gate().next(), Ordering::SeqCst);
        if s.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = s.region.lock().unwrap_or_else(PoisonError::into_inner);
            s.wake.notify_all();
        }
        struct Leave<'a>(&'a Shared);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                INSIDE.set(false);
                let mut spins = 0u32;
                self.0.gate.fetch_and(!Gate::OPEN, Ordering::AcqRel);
                while self.0.gate().inside() > 0 {
                    spins += 1;
                    if spins.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
                }
            }
        }
        {
            let _leave = Leave(s);
            INSIDE.set(true);
            s.take_tasks(0, f, tasks);
        }
        assert!(!s.failed.swap(false, Ordering::Relaxed), "a task of a parallel region panicked on a worker");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        // Shut, so that nobody goes in; another number, so that everybody looks.
        self.shared.gate.store(self.shared.gate().next() & !Gate::OPEN, Ordering::SeqCst);
        {
            let _guard = self.shared.region.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for w in self.workers.drain(..) {
            let _ = w.join();
        }
    }
}

impl Shared {
    fn gate(&self) -> Gate {
        Gate(self.gate.load(Ordering::SeqCst))
    }

    /// Enters the present region if it is still open.
    fn enter(&self) -> Result<(), Gate> {
        let mut word = self.gate.load(Ordering::Acquire);
        while Gate(word).is_open() {
            match self.gate.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(Gate(word))
    }

    /// Runs the tasks of thread `me`'s share, then what is left of the others'.
    fn take_tasks(&self, me: usize, f: &(dyn Fn(usize) + Sync), tasks: usize) {
        let threads = self.taken.len();
        for of in (me..threads).chain(0..me) {
            let (begin, end) = (of * tasks / threads, (of + 1) * tasks / threads);
            loop {
                let i = begin + self.taken[of].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                f(i);
            }
        }
    }

    fn work(&self, me: usize) {
        INSIDE.set(true);
        let mut seen = 0;
        while !self.quit.load(Ordering::SeqCst) {
            self.wait_past(seen);
            // The region that is open by now may be a later one than the one that woke this worker: as good.
            if let Err(shut) = self.enter() {
                seen = shut.generation();
                continue;
            }
            seen = self.gate().generation();
            let region = *self.region.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Region { job, tasks }) = region {
                // SAFETY: this worker is inside, so `run` has not returned and its closure is alive.
                let f = unsafe { &*job };
                let outcome =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.take_tasks(me, f, tasks)));
                if outcome.is_err() {
                    self.taken.iter().for_each(|t| t.0.store(tasks, Ordering::Relaxed));
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until the region is another than the one of that number.
    fn wait_past(&self, seen: u64) {
        let begun = Instant::now();
        loop {
            for _ in 0..256 {
                if Gate(self.gate.load(Ordering::Acquire)).generation() != seen {
                    return;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() > SPIN {
                break;
            }
        }
        let mut guard = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.gate().generation() == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

static GLOBAL: OnceLock<Pool> = OnceLock::new();

/// Sizes the process's pool. Only the first call, made before any kernel ran, has an effect; says whether it did.
pub fn set_threads(threads: usize) -> bool {
    let mut fresh = false;
    GLOBAL.get_or_init(|| {
        fresh = true;
        Pool::new(threads)
    });
    fresh
}

/// Threads of the process's pool.
pub fn threads() -> usize {
    OVERRIDE.with(|o| o.borrow().as_ref().map(|p| p.threads())).unwrap_or_else(|| global().threads())
}

fn global() -> &'static Pool {
    GLOBAL.get_or_init(|| Pool::new(available_threads()))
}

thread_local! {
    static OVERRIDE: std::cell::RefCell<Option<std::rc::Rc<Pool>>> = const { std::cell::RefCell::new(None) };
}

/// Runs `f` with a pool of its own of `threads` threads: how tests compare thread counts in one process.
pub fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<std::rc::Rc<Pool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.with(|o| *o.borrow_mut() = self.0.take());
        }
    }
    let before = OVERRIDE.with(|o| o.borrow_mut().replace(std::rc::Rc::new(Pool::new(threads))));
    let _restore = Restore(before);
    f()
}

/// Threads that this process may use: the processors it may run on, lowered by the control group's quota.
pub fn available_threads() -> usize {
    // The standard library reads affinity and the quota of control groups, versions 1 and 2.
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// [`Pool::run`] on the process's pool.
pub fn run(tasks: usize, f: impl Fn(usize) + Sync) {
    let own = OVERRIDE.with(|o| o.borrow().clone());
    match own {
        Some(p) => p.run(tasks, &f),
        None => global().run(tasks, &f),
    }
}

/// Cuts `data` into chunks of `chunk` elements (the last may be shorter) and calls `f(index, chunk)` for each, in parallel.
pub fn chunks<T: Send>(data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    assert!(chunk > 0, "chunks: a chunk has at least one element");
    let len = data.len();
    let base = Shareable(data.as_mut_ptr());
    run(len.div_ceil(chunk), |i| {
        let begin = i * chunk;
        let n = chunk.min(len - begin);
        // SAFETY: chunks of different indices do not overlap, each index runs once, and `data` is borrowed mutably
        // until `run` returns.
        let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(begin), n) };
        f(i, part);
    });
}

/// Cuts two slices into equally many chunks, of `a_chunk` and `b_chunk` elements, and calls `f(index, chunk of a, chunk of b)`, in parallel.
///
/// # Panics
/// If the numbers of chunks differ.
pub fn chunks2<T: Send>(
    a: &mut [T],
    a_chunk: usize,
    b: &mut [T],
    b_chunk: usize,
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let (n, len) = (a.len().div_ceil(a_chunk), b.len());
    assert_eq!(n, len.div_ceil(b_chunk), "chunks2: another number of chunks");
    let base = Shareable(b.as_mut_ptr());
    chunks(a, a_chunk, |i, part| {
        let begin = i * b_chunk;
        // SAFETY: as in `chunks`; `i` is below the number of chunks of `b` too.
        let other =
            unsafe { std::slice::from_raw_parts_mut(base.get().add(begin), b_chunk.min(len - begin)) };
        f(i, part, other);
    });
}

/// A pointer that tasks may share; whoever uses it argues that the tasks write to different elements.
#[derive(Clone, Copy)]
pub(crate) struct Shareable<T>(pub(crate) *mut T);

impl<T> Shareable<T> {
    #[inline(always)]
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: a pointer by itself is data; each use states why its accesses are disjoint.
unsafe impl<T: Send> Send for Shareable<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shareable<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_at_any_thread_count() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 3, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn many_short_regions_and_sleeping_in_between() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for round in 0..2000 {
            pool.run(5, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(sum.load(Ordering::Relaxed), 2000 * 10);
    }

    #[test]
    fn nobody_waits_for_a_worker_that_does_not_come() {
        let mut pool = Pool::new(3);
        let shared = Arc::clone(&pool.shared);
        let sum = AtomicUsize::new(0);
        let add = |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        };
        // Both workers are gone; the pool does not know.
        shared.quit.store(true, Ordering::SeqCst);
        pool.run(100, &add);
        pool.workers.drain(..).for_each(|w| w.join().unwrap());
        pool.run(100, &add);
        assert_eq!(sum.load(Ordering::Relaxed), 2 * 4950);
        assert!(shared.enter().is_err(), "a region is shut when its caller has returned");
        assert_eq!(shared.gate().inside(), 0);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for guilty in [0, 9] {
            let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.run(10, &|i| assert!(i != guilty, "guilty"));
            }));
            assert!(r.is_err());
        }
        let n = AtomicUsize::new(0);
        pool.run(10, &|_| {
            n.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(n.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn nested_regions_run() {
        let n = AtomicUsize::new(0);
        run(4, |_| {
            run(4, |_| {
                n.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(n.load(Ordering::Relaxed), 16);
    }

    #[test]
    fn chunks_are_disjoint_and_complete() {
        let mut v = vec![0usize; 1001];
        chunks(&mut v, 10, |i, c| c.iter_mut().for_each(|x| *x += i + 1));
        assert!(v.iter().enumerate().all(|(i, &x)| x == i / 10 + 1));
    }
}
