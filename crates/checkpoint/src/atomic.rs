//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;

fn storage(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |source| Error::Storage { path: path.to_owned(), source }
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create(path).map_err(storage(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(storage(path))
}

/// Waits until a folder's entries are on the disk.
fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|f| f.sync_all()).map_err(storage(path))
}

/// Replaces a file: written beside, synchronised, renamed.
///
/// # Errors
/// If the file cannot be written; the old one is then intact.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let outcome =
        write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, path).map_err(storage(path)));
    if outcome.is_err() {
        let _ = fs::remove_file(&beside);
    }
    outcome
}

/// Makes a folder from files; it appears under its name when all of them are on the disk. A folder of that name is replaced.
///
/// # Errors
/// If a file cannot be written; nothing appears then, and an old folder is intact.
pub fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = |kind: &str| -> PathBuf { parent.join(format!(".{kind}-{name}-{}", std::process::id())) };
    let (new, old) = (beside("new"), beside("old"));
    let outcome = (|| {
        fs::create_dir_all(&new).map_err(storage(&new))?;
        for (name, bytes) in files {
            write_synced(&new.join(name), bytes)?;
        }
        sync_folder(&new)?;
        if path.exists() {
            fs::rename(path, &old).map_err(storage(path))?;
        }
        fs::rename(&new, path).map_err(storage(path))?;
        sync_folder(parent)
    })();
    let _ = fs::remove_dir_all(&new);
    let _ = fs::remove_dir_all(&old);
    outcome
}
