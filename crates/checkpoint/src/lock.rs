//! One directory, one writer: a lock that the operating system takes back when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;

/// The file that is locked. It stays when the lock is gone; only the lock means something.
const NAME: &str = ".lock";

/// Holds a directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, which exists. Readers are not kept from anything.
    ///
    /// # Errors
    /// If another process holds it (named by its number, its machine and its start), the file cannot be made, or the file system has no
    /// locks, as some of networks: two runs that write to one directory would lose what either has learned.
    pub fn take(dir: &Path) -> Result<Lock, Error> {
        Lock::take_by(dir, File::try_lock)
    }

    fn take_by(dir: &Path, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Lock, Error> {
        let path = dir.join(NAME);
        let storage = |source| Error::Storage { path: path.clone(), source };
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(storage)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(Error::NoLock { dir: dir.to_owned(), source }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&file).take(300).read_to_string(&mut holder);
                return Err(Error::Locked { dir: dir.to_owned(), holder: holder.trim().to_owned() });
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(storage)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let line = format!("process {} on {} since {} UTC\n", std::process::id(), host(), utc(now));
        file.write_all(line.as_bytes()).map_err(storage)?;
        Ok(Lock { _file: file })
    }
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    "this machine".to_owned()
}

/// Seconds since 1970 as `2026-11-28 14:31:33` (Hinnant's `civil_from_days`).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let e = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(
            e.contains(&std::process::id().to_string()) && e.contains(&host()) && e.contains("since 2"),
            "{e}"
        );
        drop(held);
        assert!(Lock::take(dir.path()).is_ok());
    }

    #[test]
    fn c13_a_file_system_without_locks_is_an_error_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let none = |_: &File| Err(TryLockError::Error(std::io::ErrorKind::Unsupported.into()));
        let e = Lock::take_by(dir.path(), none).unwrap_err().to_string();
        assert!(e.contains("unsupported") && e.contains("a disk of this machine"), "{e}");
        assert!(e.contains(dir.path().to_str().unwrap()), "{e}");
    }

    #[test]
    fn seconds_have_a_date() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_876_293, "2026-11-28 14:31:33"),
            (4_107_542_399, "2100-02-28 23:59:59"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
