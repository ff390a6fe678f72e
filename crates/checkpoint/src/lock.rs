//! One directory, one writer: a lock that the operating system takes back when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::Error;

/// The file that is locked. It stays when the lock is gone; only the lock means something.
const NAME: &str = ".lock";

/// Holds a directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, which exists.
    ///
    /// # Errors
    /// If another process holds it (named by its number), or the file cannot be made.
    pub fn take(dir: &Path) -> Result<Lock, Error> {
        let path = dir.join(NAME);
        let storage = |source| Error::Storage { path: path.clone(), source };
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(storage)?;
        match file.try_lock() {
            Ok(()) => {}
            // Some network file systems have no locks: better no lock than no run.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(storage(e)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(Error::Locked { dir: dir.to_owned(), holder: holder.trim().to_owned() });
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(storage)?;
        writeln!(file, "process {}", std::process::id()).map_err(storage)?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let e = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(e.contains(&std::process::id().to_string()), "{e}");
        drop(held);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
