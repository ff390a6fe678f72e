//! Files read on one thread, their pieces worked on by many, the results in the order of the input: whatever the number of threads, the
//! same comes out, and never more than a few pieces are in memory.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex};
use std::thread::Builder;

use crate::pieces::{self, About, Format, Piece, Reading};
use crate::source::{self, Error, File};

/// What came of files.
pub(crate) struct Read {
    /// All files in them, in order.
    pub(crate) abouts: Vec<About>,
    /// Entries of archives that were passed over.
    pub(crate) passed: Vec<String>,
}

/// Bytes of pieces that are read, worked on or waiting for their turn at a time. A larger piece goes alone.
const ROOM: usize = 48 << 20;

/// How much of [`ROOM`] is taken.
struct Room {
    taken: Mutex<usize>,
    freed: Condvar,
    stop: AtomicBool,
}

impl Room {
    /// Waits for room; without it, for the end.
    fn take(&self, size: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        while *taken > 0 && *taken + size > ROOM && !self.stopped() {
            taken = self.freed.wait(taken).unwrap_or_else(|e| e.into_inner());
        }
        *taken += size;
    }

    fn give(&self, size: usize) {
        *self.taken.lock().unwrap_or_else(|e| e.into_inner()) -= size;
        self.freed.notify_all();
    }

    fn stop(&self) {
        // Under the lock, so that nobody begins to wait in between.
        let _taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        self.stop.store(true, Ordering::Relaxed);
        self.freed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Reads files on one thread, works on their pieces on `threads`, and hands the results to `each` in the order of the input.
pub(crate) fn stream<T: Send>(
    files: &[File],
    reading: &Reading,
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
    work: impl Fn(Piece) -> T + Sync,
    mut each: impl FnMut(T, &dyn Fn(usize) -> String) -> Result<(), Error>,
) -> Result<Read, Error> {
    let abouts: Mutex<Vec<About>> = Mutex::new(Vec::new());
    let passed: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let room = Room { taken: Mutex::new(0), freed: Condvar::new(), stop: AtomicBool::new(false) };
    let lock = |m: &Mutex<Receiver<(usize, Piece)>>| m.lock().unwrap_or_else(|e| e.into_inner()).recv();
    let open = || abouts.lock().unwrap_or_else(|e| e.into_inner());
    let name_of = |file: usize| open().get(file).map_or_else(String::new, |a| a.name.clone());
    let outcome = std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<(usize, Piece)>(2 * threads);
        let (give, take) = sync_channel::<(usize, usize, T)>(2 * threads);
        let receive = std::sync::Arc::new(Mutex::new(receive));
        for i in 0..threads.max(1) {
            let (receive, give, work) = (receive.clone(), give.clone(), &work);
            let started = Builder::new().spawn_scoped(scope, move || {
                while let Ok((number, piece)) = lock(&receive) {
                    let size = piece.size();
                    if give.send((number, size, work(piece))).is_err() {
                        return;
                    }
                }
            });
            // Where fewer can be had, fewer do.
            match started {
                Err(e) if i == 0 => return Err(Error::Thread(e)),
                Err(_) => break,
                Ok(_) => {}
            }
        }
        drop((receive, give));
        let (open, room, passed) = (&open, &room, &passed);
        let reader = move || {
            let mut number = 0;
            for file in files {
                let mut emit = |piece: Piece| {
                    number += 1;
                    room.take(piece.size());
                    let wanted = !room.stopped() && send.send((number - 1, piece)).is_ok();
                    if wanted { Ok(()) } else { Err(io::Error::other("stopped")) }
                };
                let before = open().len();
                let mut begun = false;
                if begins_with(file, pieces::PARQUET) {
                    let mut about = About::unread(&file.path.to_string_lossy());
                    about.format = Format::Parquet;
                    open().push(about);
                    if let Err(e) = parquet(file, before, told, &mut emit) {
                        let about = &mut open()[before];
                        about.problem = Some(e.to_string());
                        about.damaged = cfg!(feature = "parquet");
                    }
                    if room.stopped() {
                        return;
                    }
                    continue;
                }
                let mut pass = |what: String| passed.lock().unwrap_or_else(|e| e.into_inner()).push(what);
                let outcome = source::open(file, told, &mut pass, &mut |name, bytes| {
                    let index = open().len();
                    open().push(About::unread(name));
                    begun = true;
                    let about = pieces::read(name, index, bytes, reading, &mut emit)?;
                    begun = false;
                    open()[index] = about;
                    Ok(())
                });
                if room.stopped() {
                    return;
                }
                if let Err(e) = outcome {
                    let mut all = open();
                    if !begun || all.len() == before {
                        all.push(About::unread(&file.path.to_string_lossy()));
                    }
                    if let Some(last) = all.last_mut() {
                        last.problem = Some(e.to_string());
                        last.damaged = true;
                    }
                }
            }
        };
        Builder::new().spawn_scoped(scope, reader).map_err(Error::Thread)?;
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, size, result) in take {
            early.insert(number, (size, result));
            while let Some((size, result)) = early.remove(&next) {
                next += 1;
                if let Err(e) = each(result, &name_of) {
                    room.stop();
                    return Err(e);
                }
                room.give(size);
            }
        }
        Ok(())
    });
    outcome?;
    let abouts = abouts.into_inner().unwrap_or_else(|e| e.into_inner());
    Ok(Read { abouts, passed: passed.into_inner().unwrap_or_else(|e| e.into_inner()) })
}

fn begins_with(file: &File, magic: &[u8]) -> bool {
    let mut head = Vec::new();
    let read =
        std::fs::File::open(&file.path).and_then(|f| f.take(magic.len() as u64).read_to_end(&mut head));
    read.is_ok() && head == magic
}

#[cfg(feature = "parquet")]
use crate::parquet::read as parquet;

#[cfg(not(feature = "parquet"))]
fn parquet(
    _: &File,
    _: usize,
    _: &(dyn Fn(u64) + Sync),
    _: &mut dyn FnMut(Piece) -> io::Result<()>,
) -> io::Result<()> {
    let what = "is a Parquet file, and this pupil was built without a reader for them: build it with `cargo build --release --features parquet`";
    Err(io::Error::other(what))
}
