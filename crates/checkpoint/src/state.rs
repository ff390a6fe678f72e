//! Training checkpoints: `step-N/`, a model directory with the optimiser's state, verified by hashes.
//!
//! A save writes `.new-step-N.PID/` beside its place, each file synchronised, `manifest.json` (every file with its size and BLAKE3 hash) last;
//! then the folder is synchronised and renamed, and the folder above synchronised. Only then older ones are removed. So at every moment
//! the newest folder whose manifest verifies is the last checkpoint or the one before; a folder that does not verify is no checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fs::Fs;
use crate::tensors::{self, Stored};
use crate::{Error, atomic, read};

/// The form of checkpoints that this version writes and reads.
pub const FORMAT: u64 = 1;
/// What is written beyond the files' own bytes: names, and the last block of each.
const SLACK: u64 = 1 << 16;

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u64,
    /// Which pupil wrote it.
    #[serde(default)]
    pupil: String,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    blake3: String,
}

/// Which checkpoints stay when a new one is there. That with the lowest validation loss always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many; at least one.
    pub last: usize,
    /// And those whose step is a multiple of this.
    pub every: Option<u64>,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { last: 2, every: None }
    }
}

/// The checkpoints of a run, on some disk.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    keep: Keep,
}

/// What a run can go on from.
#[derive(Debug)]
pub struct Found {
    /// The newest sound checkpoint and its state.
    pub newest: Option<(PathBuf, Value)>,
    /// Newer ones that are not sound, and why.
    pub damaged: Vec<(PathBuf, Error)>,
}

impl<'a> Store<'a> {
    /// The checkpoints in a folder, which need not exist.
    pub fn new(fs: &'a dyn Fs, dir: &'a Path, keep: Keep) -> Store<'a> {
        Store { fs, dir, keep }
    }

    /// The disk.
    pub fn fs(&self) -> &'a dyn Fs {
        self.fs
    }

    /// Where the checkpoint of a step lies.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step}"))
    }

    /// Removes what saves that died left. Only whoever holds the lock of the run may do so.
    pub fn clean(&self) {
        atomic::clean(self.fs, self.dir);
    }

    /// Fails if there is no room for so many bytes more.
    ///
    /// # Errors
    /// [`Error::Full`]. Where the system does not say how much is free, none.
    pub fn require(&self, needs: u64) -> Result<(), Error> {
        let there = self.dir.ancestors().find(|p| self.fs.exists(p)).unwrap_or(Path::new("."));
        match self.fs.free(there) {
            Ok(free) if free < needs => {
                Err(Error::Full { path: self.dir.to_owned(), needs, free: Some(free) })
            }
            _ => Ok(()),
        }
    }

    /// Writes `step-N` from its files and the state, then removes what [`Keep`] does not name. `best` is the step with the lowest validation
    /// loss, which stays.
    ///
    /// # Errors
    /// If the disk refuses; the checkpoints before are then all still there.
    pub fn save(
        &self,
        step: u64,
        state: &Value,
        mut files: Vec<(String, Vec<u8>)>,
        best: Option<u64>,
    ) -> Result<PathBuf, Error> {
        let mut state = state.clone();
        state["format"] = json!(FORMAT);
        files.push(("state.json".into(), format!("{state:#}\n").into_bytes()));
        let entries = files.iter().map(|(name, bytes)| Entry {
            name: name.clone(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        });
        let pupil = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { version: FORMAT, pupil, files: entries.collect() };
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Settings(e.to_string()))?;
        files.push(("manifest.json".into(), manifest));
        let needs = files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + SLACK;
        let path = self.path(step);
        let written = self.write(&path, &files, needs);
        written.map_err(|e| self.or_full(e, needs))?;
        self.prune(step, best);
        Ok(path)
    }

    fn write(&self, path: &Path, files: &[(String, Vec<u8>)], needs: u64) -> Result<(), Error> {
        if !self.fs.exists(self.dir) {
            // Only this folder: if the run's own is gone, somebody moved or removed it.
            if self.dir.parent().is_some_and(|p| !p.as_os_str().is_empty() && !self.fs.exists(p)) {
                return Err(atomic::storage(self.dir)(std::io::ErrorKind::NotFound.into()));
            }
            atomic::create_folder(self.fs, self.dir)?;
        }
        self.require(needs)?;
        if self.fs.exists(path) && self.verify(path).is_err() {
            self.set_aside(path)?;
        }
        atomic::write_folder_on(self.fs, path, files)
    }

    /// A full disk by its numbers.
    fn or_full(&self, e: Error, needs: u64) -> Error {
        match e {
            Error::Storage { ref source, .. } if is_full(source) => {
                Error::Full { path: self.dir.to_owned(), needs, free: self.fs.free(self.dir).ok() }
            }
            e => e,
        }
    }

    fn prune(&self, newest: u64, best: Option<u64>) {
        let steps = self.steps();
        let last: BTreeSet<u64> = steps.iter().rev().take(self.keep.last.max(1)).copied().collect();
        let stays = |n: u64| {
            n == newest
                || last.contains(&n)
                || best == Some(n)
                || self.keep.every.is_some_and(|k| n.is_multiple_of(k.max(1)))
        };
        let goes: Vec<u64> = steps.iter().copied().filter(|&n| !stays(n)).collect();
        // If only the new one stays, it is read back first.
        let alone = steps.len() - goes.len() == 1;
        if goes.is_empty() || alone && self.verify(&self.path(newest)).is_err() {
            return;
        }
        for n in goes {
            // Its name goes first: a folder that is half removed is no checkpoint.
            let away = self.dir.join(format!("{}gone-{n}", atomic::TEMPORARY));
            if self.fs.rename(&self.path(n), &away).is_ok() {
                let _ = self.fs.remove_dirs(&away);
            }
        }
    }

    /// The steps of which there is a folder, by number.
    fn steps(&self) -> Vec<u64> {
        let names = self.fs.list(self.dir).unwrap_or_default();
        let mut steps: Vec<u64> =
            names.iter().filter_map(|n| n.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        steps
    }

    /// The newest checkpoint whose files verify, with its state, and what was wrong with newer ones.
    ///
    /// # Errors
    /// If one was written by a newer pupil, or the disk does not give what is there.
    pub fn newest(&self) -> Result<Found, Error> {
        let mut damaged = Vec::new();
        for step in self.steps().into_iter().rev() {
            let path = self.path(step);
            match self.verify(&path) {
                Ok(state) => return Ok(Found { newest: Some((path, state)), damaged }),
                Err(e @ Error::Version { .. }) => return Err(e),
                Err(Error::Read { path, source }) if !tells_of_damage(&source) => {
                    return Err(Error::Read { path, source });
                }
                Err(e) => damaged.push((path, e)),
            }
        }
        Ok(Found { newest: None, damaged })
    }

    /// Gives a damaged checkpoint another name, under which nobody takes it for one.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = (1..).map(|n| self.dir.join(format!("damaged-{n}-{name}"))).find(|p| !self.fs.exists(p));
        let aside = aside.unwrap_or_default();
        self.fs.rename(path, &aside).map_err(atomic::storage(path))?;
        self.fs.sync_dir(self.dir).map_err(atomic::storage(path))?;
        Ok(aside)
    }

    /// The state of a checkpoint whose files are what its manifest says.
    ///
    /// # Errors
    /// Names the file that is missing, damaged or one too many, or the version that is not read.
    pub fn verify(&self, dir: &Path) -> Result<Value, Error> {
        let read =
            |path: &Path| self.fs.read(path).map_err(|source| Error::Read { path: path.to_owned(), source });
        let path = dir.join("manifest.json");
        let value: Value = serde_json::from_slice(&read(&path)?)
            .map_err(|e| Error::content(&path, format!("is no manifest: {e}")))?;
        check_format(&path, &value, "version", FORMAT)?;
        let manifest: Manifest = serde_json::from_value(value)
            .map_err(|e| Error::content(&path, format!("is no manifest: {e}")))?;
        for f in &manifest.files {
            if f.name.contains(['/', '\\']) || f.name == ".." {
                return Err(Error::content(&path, format!("names a file outside the folder: {:?}", f.name)));
            }
            let file = dir.join(&f.name);
            let bytes = read(&file)?;
            if bytes.len() as u64 != f.bytes || blake3::hash(&bytes).to_hex().as_str() != f.blake3 {
                let what = format!(
                    "is damaged: {} bytes, its checkpoint has {} with another hash",
                    bytes.len(),
                    f.bytes
                );
                return Err(Error::content(&file, what));
            }
        }
        let is_known = |name: &str| name == "manifest.json" || manifest.files.iter().any(|f| f.name == name);
        let names = self.fs.list(dir).map_err(|source| Error::Read { path: dir.to_owned(), source })?;
        // What begins with a dot is the desktop's or the file system's.
        if let Some(name) = names.iter().find(|n| !n.starts_with('.') && !is_known(n)) {
            return Err(Error::content(dir.join(name), "is not in the checkpoint's manifest"));
        }
        let path = dir.join("state.json");
        let state: Value = serde_json::from_slice(&read(&path)?)
            .map_err(|e| Error::content(&path, format!("is no JSON: {e}")))?;
        check_format(&path, &state, "format", FORMAT)?;
        Ok(state)
    }
}

/// Refuses what a newer pupil wrote, and what does not say its format.
///
/// # Errors
/// [`Error::Version`] with both numbers, or [`Error::Content`] if there is no number.
pub fn check_format(path: &Path, value: &Value, field: &str, reads: u64) -> Result<(), Error> {
    match value[field].as_u64() {
        Some(n) if (1..=reads).contains(&n) => Ok(()),
        Some(n) if n > reads => {
            let by = value["pupil"].as_str().unwrap_or("a newer version").to_owned();
            Err(Error::Version { path: path.to_owned(), by, format: n, reads })
        }
        _ => Err(Error::content(path, format!("`{field}` is {}, expected a number from 1", value[field]))),
    }
}

/// Whether a disk, a quota or the largest size of a file is used up.
pub fn is_full(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Whether a file that cannot be read is missing or no file, which another checkpoint need not be.
fn tells_of_damage(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(e.kind(), NotFound | NotADirectory | IsADirectory)
}

/// The bytes of `optimiser.safetensors`: moments by name.
///
/// # Errors
/// If they cannot be put into the format.
pub fn moments_file<'a>(
    moments: impl Iterator<Item = (String, &'a [f32])>,
) -> Result<(String, Vec<u8>), Error> {
    let list: Vec<(String, Stored)> =
        moments.map(|(n, d)| (n, Stored { shape: vec![d.len()], data: d.to_vec() })).collect();
    Ok(("optimiser.safetensors".into(), tensors::to_bytes(&list).map_err(Error::Settings)?))
}

/// The moments of a checkpoint by name.
///
/// # Errors
/// If the file is missing or broken.
pub fn moments(dir: &Path) -> Result<HashMap<String, Vec<f32>>, Error> {
    let path = dir.join("optimiser.safetensors");
    Ok(tensors::from_bytes(&path, &read(&path)?)?.into_iter().map(|(n, t)| (n, t.data)).collect())
}
