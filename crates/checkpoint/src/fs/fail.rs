//! A disk of which the k-th operation fails, once or from then on: a means of tests.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Fs, Output};

/// How operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With an error of this number (`ENOSPC` is 28, `EIO` 5, `EROFS` 30, `EDQUOT` 122, `EFBIG` 27 on Linux).
    Errno(i32),
    /// A write takes half of its bytes, which is no error; other operations do as they are told.
    Short,
}

/// A disk over another one.
pub struct FailFs<'a> {
    inner: &'a dyn Fs,
    at: u64,
    lasting: bool,
    how: Failure,
    done: AtomicU64,
}

impl<'a> FailFs<'a> {
    /// Lets operation `at` (from 1) fail, and with `lasting` all after it.
    pub fn new(inner: &'a dyn Fs, at: u64, lasting: bool, how: Failure) -> FailFs<'a> {
        FailFs { inner, at, lasting, how, done: AtomicU64::new(0) }
    }

    /// Whether the operation that fails was reached.
    pub fn was_reached(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.at
    }

    fn is_due(&self) -> bool {
        let now = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        now == self.at || self.lasting && now > self.at
    }

    fn pass(&self) -> io::Result<()> {
        match self.how {
            Failure::Errno(number) if self.is_due() => Err(io::Error::from_raw_os_error(number)),
            _ => Ok(()),
        }
    }
}

struct FailOutput<'a> {
    fs: &'a FailFs<'a>,
    inner: Box<dyn Output + 'a>,
}

impl Write for FailOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.fs.how == Failure::Short && self.fs.is_due() {
            return self.inner.write(&bytes[..bytes.len().div_ceil(2)]);
        }
        self.fs.pass()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Output for FailOutput<'_> {
    fn sync(&mut self) -> io::Result<()> {
        self.fs.pass()?;
        self.inner.sync()
    }
}

impl Fs for FailFs<'_> {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.create_dirs(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        self.pass()?;
        Ok(Box::new(FailOutput { fs: self, inner: self.inner.create(path)? }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        self.pass()?;
        Ok(Box::new(FailOutput { fs: self, inner: self.inner.append(path)? }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.pass()?;
        self.inner.read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.pass()?;
        self.inner.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.rename(from, to)
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.exchange(a, b)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.remove_file(path)
    }

    fn remove_dirs(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.remove_dirs(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.inner.sync_dir(path)
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        self.pass()?;
        self.inner.free(path)
    }
}
