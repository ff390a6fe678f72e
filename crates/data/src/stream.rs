//! Files read on one thread, their pieces worked on by many, the results in the order of the input: whatever the number of threads, the
//! same comes out, and never more than a few pieces are in memory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::pieces::{self, About, Format, Piece};
use crate::source::{self, Error, File};

/// Reads files on one thread, works on their pieces on `threads`, and hands the results to `each` in the order of the input.
pub(crate) fn stream<T: Send>(
    files: &[File],
    threads: usize,
    told: &(dyn Fn(u64) + Sync),
    work: impl Fn(Piece) -> T + Sync,
    mut each: impl FnMut(T, &dyn Fn(usize) -> String) -> Result<(), Error>,
) -> Result<Vec<About>, Error> {
    let abouts: Mutex<Vec<About>> = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let lock = |m: &Mutex<Receiver<(usize, Piece)>>| m.lock().unwrap_or_else(|e| e.into_inner()).recv();
    let open = || abouts.lock().unwrap_or_else(|e| e.into_inner());
    let name_of = |file: usize| open().get(file).map_or_else(String::new, |a| a.name.clone());
    let outcome = std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<(usize, Piece)>(2 * threads);
        let (give, take) = sync_channel::<(usize, T)>(2 * threads);
        let receive = std::sync::Arc::new(Mutex::new(receive));
        for _ in 0..threads.max(1) {
            let (receive, give, work) = (receive.clone(), give.clone(), &work);
            scope.spawn(move || {
                while let Ok((number, piece)) = lock(&receive) {
                    if give.send((number, work(piece))).is_err() {
                        return;
                    }
                }
            });
        }
        drop((receive, give));
        let (open, stop) = (&open, &stop);
        scope.spawn(move || {
            let mut number = 0;
            for file in files {
                let mut emit = |piece: Piece| {
                    number += 1;
                    let wanted = !stop.load(Ordering::Relaxed) && send.send((number - 1, piece)).is_ok();
                    if wanted { Ok(()) } else { Err(io::Error::other("stopped")) }
                };
                let before = open().len();
                let mut reading = false;
                if begins_with(file, pieces::PARQUET) {
                    let mut about = About::unread(&file.path.to_string_lossy());
                    about.format = Format::Parquet;
                    open().push(about);
                    if let Err(e) = parquet(file, before, told, &mut emit) {
                        open()[before].problem = Some(e.to_string());
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    continue;
                }
                let outcome = source::open(file, told, &mut |name, bytes| {
                    let index = open().len();
                    open().push(About::unread(name));
                    reading = true;
                    let about = pieces::read(name, index, bytes, &mut emit)?;
                    reading = false;
                    open()[index] = about;
                    Ok(())
                });
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(e) = outcome {
                    let mut all = open();
                    if !reading || all.len() == before {
                        all.push(About::unread(&file.path.to_string_lossy()));
                    }
                    if let Some(last) = all.last_mut() {
                        last.problem = Some(e.to_string());
                    }
                }
            }
        });
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, result) in take {
            early.insert(number, result);
            while let Some(result) = early.remove(&next) {
                next += 1;
                if let Err(e) = each(result, &name_of) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
        Ok(())
    });
    outcome?;
    Ok(abouts.into_inner().unwrap_or_else(|e| e.into_inner()))
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
