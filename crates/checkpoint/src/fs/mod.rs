//! The seam to the disk: whatever pupil promises to keep is written through [`Fs`].
//!
//! [`RealFs`] is the operating system. The other two are means of tests: [`fail::FailFs`] lets the k-th operation fail, [`sim::SimFs`]
//! is a disk in memory that forgets what was not synchronised when it crashes. So "whole or not at all" is a loop over k, not a hope.

pub mod fail;
pub mod sim;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A file that is being written.
pub trait Output: Write {
    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// If it may not be there; the file is then written anew, never synchronised again.
    fn sync(&mut self) -> io::Result<()>;
}

/// What pupil asks of a disk. Errors are the system's own.
#[allow(clippy::missing_errors_doc, reason = "each fails as the system's call of that name does")]
pub trait Fs: Sync {
    /// Makes a folder and those above it; it may exist.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Makes or empties a file.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output + '_>>;
    /// Opens a file, made if it is missing, to write behind its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Output + '_>>;
    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether there is something of that name.
    fn exists(&self, path: &Path) -> bool;
    /// Gives a file or folder another name in the same folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Lets two folders of the same folder change names, in one step; `Unsupported` where the system cannot.
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_dirs(&self, path: &Path) -> io::Result<()>;
    /// Waits until a folder's names are on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that an ordinary user may still write where the path lies.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Fs for RealFs {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        Ok(Box::new(File::create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        Ok(Box::new(File::options().append(true).create(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(path)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[cfg(target_os = "linux")]
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).map_err(|e| match e {
            // File systems that have no such rename answer so.
            Errno::INVAL | Errno::NOSYS => io::ErrorKind::Unsupported.into(),
            e => e.into(),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn exchange(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dirs(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    #[cfg(unix)]
    fn free(&self, path: &Path) -> io::Result<u64> {
        let s = rustix::fs::statvfs(path)?;
        Ok(s.f_bavail.saturating_mul(s.f_frsize))
    }

    #[cfg(not(unix))]
    fn free(&self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
