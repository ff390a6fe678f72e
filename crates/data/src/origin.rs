//! What an artifact was made of: the hash of its source, so that a source which changed since is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::source::Error;

/// The file in a prepared directory that tells what its shards were made of.
pub const ORIGINS: &str = "origins.json";

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its size.
    pub bytes: u64,
    /// When it was changed last, in nanoseconds since 1970. A file of the same size and time is not read again.
    pub modified: u64,
    /// BLAKE3 of its contents.
    pub blake3: String,
}

impl Origin {
    /// A file as it is now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Origin, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let (bytes, modified) = stamp(path).map_err(io)?;
        let mut hash = blake3::Hasher::new();
        hash.update_reader(fs::File::open(path).map_err(io)?).map_err(io)?;
        Ok(Origin { bytes, modified, blake3: hash.finalize().to_hex().to_string() })
    }

    /// The hash of a file that is not this one any more.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn changed(&self, path: &Path) -> Result<Option<String>, Error> {
        let same = stamp(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        if same == (self.bytes, self.modified) {
            return Ok(None);
        }
        Ok(Some(Origin::of(path)?.blake3).filter(|now| *now != self.blake3))
    }
}

fn stamp(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((meta.len(), since.as_nanos() as u64))
}

/// Writes down what the files of a directory are, by their names; those that are not there are left out.
///
/// # Errors
/// If one cannot be read, or the list not written.
pub fn note(dir: &Path, names: &[&str]) -> Result<(), Error> {
    let mut all = BTreeMap::new();
    for name in names.iter().filter(|n| dir.join(n).exists()) {
        all.insert((*name).to_owned(), Origin::of(&dir.join(name))?);
    }
    let path = dir.join(ORIGINS);
    let io = |source: io::Error| Error::Io { path: path.clone(), source };
    let json = serde_json::to_string_pretty(&all).map_err(|e| io(e.into()))?;
    fs::write(&path, json).map_err(io)
}

/// A file that is not what an artifact was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// Its hash when the artifact was made, and now.
    pub hashes: [String; 2],
}

/// The files of a directory that changed since they were [noted](note). Files that are gone are not needed any more.
///
/// # Errors
/// If a file or the list cannot be read.
pub fn changed(dir: &Path) -> Result<Vec<Changed>, Error> {
    let path = dir.join(ORIGINS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let all: BTreeMap<String, Origin> = serde_json::from_str(&text)
        .map_err(|e| Error::Content { path: path.clone(), what: format!("is no list of origins: {e}") })?;
    let mut found = Vec::new();
    for (name, origin) in all {
        // Names are those that `note` wrote, never paths to elsewhere.
        if name.contains(['/', '\\']) || !dir.join(&name).exists() {
            continue;
        }
        if let Some(now) = origin.changed(&dir.join(&name))? {
            found.push(Changed { name, hashes: [origin.blake3, now] });
        }
    }
    Ok(found)
}
