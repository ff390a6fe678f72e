//! Files and folders that appear whole or not at all.
//!
//! Written beside their place (a rename never leaves a file system), synchronised, renamed, and the folder above synchronised: what was
//! reported as written is there after the process is killed and after the power fails.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::fs::{Fs, RealFs};

/// How temporary files and folders begin; the rest is `NAME.PID`.
pub(crate) const TEMPORARY: &str = ".new-";

pub(crate) fn storage(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Storage { path: path.to_owned(), source }
}

/// The folder above, which for a plain name is the present one.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary name, no longer than the 255 bytes that file systems allow.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start = &name[..name.floor_char_boundary(200)];
    path.with_file_name(format!("{TEMPORARY}{start}.{}", std::process::id()))
}

/// Writes what will be `path`, for now at `new`; errors name what people know.
fn write_synced(fs: &dyn Fs, new: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = fs.create(new).map_err(storage(path))?;
    file.write_all(bytes).and_then(|()| file.sync()).map_err(storage(path))
}

/// Replaces a file: written beside, synchronised, renamed.
///
/// # Errors
/// If the file cannot be written; the old one is then intact.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_file_on(&RealFs, path, bytes)
}

/// [`replace_file`] on any disk.
///
/// # Errors
/// As there.
pub fn replace_file_on(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = beside(path);
    let outcome = write_synced(fs, &new, path, bytes)
        .and_then(|()| fs.rename(&new, path).map_err(storage(path)))
        .and_then(|()| fs.sync_dir(parent(path)).map_err(storage(path)));
    if outcome.is_err() {
        let _ = fs.remove_file(&new);
    }
    outcome
}

/// Makes a folder from files; it appears under its name when all of them are on the disk. A folder of that name is replaced in one step
/// where the system can.
///
/// # Errors
/// If a file cannot be written; nothing appears then, and an old folder is intact.
pub fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    write_folder_on(&RealFs, path, files)
}

/// [`write_folder`] on any disk.
///
/// # Errors
/// As there.
pub fn write_folder_on(fs: &dyn Fs, path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let new = beside(path);
    let outcome = (|| {
        if fs.exists(&new) {
            fs.remove_dirs(&new).map_err(storage(&new))?;
        }
        fs.create_dirs(&new).map_err(storage(&new))?;
        for (name, bytes) in files {
            write_synced(fs, &new.join(name), &path.join(name), bytes)?;
        }
        fs.sync_dir(&new).map_err(storage(&new))?;
        if fs.exists(path) {
            replace_folder(fs, &new, path).map_err(storage(path))?;
        } else {
            fs.rename(&new, path).map_err(storage(path))?;
        }
        fs.sync_dir(parent(path)).map_err(storage(path))
    })();
    // After an exchange the old folder lies there.
    if fs.exists(&new) {
        let _ = fs.remove_dirs(&new);
    }
    outcome
}

fn replace_folder(fs: &dyn Fs, new: &Path, path: &Path) -> io::Result<()> {
    match fs.exchange(new, path) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            let name = new.file_name().unwrap_or_default().to_string_lossy();
            let old = new.with_file_name(format!("{name}.old"));
            fs.rename(path, &old)?;
            fs.rename(new, path)?;
            let _ = fs.remove_dirs(&old);
            Ok(())
        }
        other => other,
    }
}

/// Makes a folder and those above it, whose name is then on the disk.
///
/// # Errors
/// If the disk refuses.
pub fn create_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    fs.create_dirs(path).and_then(|()| fs.sync_dir(parent(path))).map_err(storage(path))
}

/// Removes what saves that died left in a folder. Only whoever holds the lock of the run may do so.
pub fn clean(fs: &dyn Fs, folder: &Path) {
    let names = fs.list(folder).unwrap_or_default();
    for name in names.iter().filter(|n| n.starts_with(TEMPORARY)) {
        let path = folder.join(name);
        // Whether it is a file or a folder shows in what removes it; what cannot be removed does no harm.
        if fs.remove_file(&path).is_err() {
            let _ = fs.remove_dirs(&path);
        }
    }
}
