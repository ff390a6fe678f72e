//! Models and runs ↔ files: safetensors, Hugging Face model directories, training checkpoints.
//!
//! What is written appears whole or not at all: beside its place, synchronised, then renamed. What is read is checked against the model that
//! its settings describe: a tensor that is missing, left over or of another shape is an error that names it.
#![forbid(unsafe_code)]

pub mod adapter;
pub mod atomic;
mod bert;
pub mod directory;
mod foreign;
pub mod fs;
pub mod huggingface;
pub mod lock;
mod marian;
pub mod quantised;
pub mod sentence;
pub mod state;
mod tensors;
mod weights;

pub use directory::{load, save};

use std::path::PathBuf;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be written: disk full, no permission, broken device.
    #[error("cannot write {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// There is no room for a file or folder.
    #[error("no room in {path}: {} are needed, {}", bytes(*needs), free.map_or("fewer are free".to_owned(), |f| bytes(f) + " are free"))]
    Full {
        /// Where it should lie.
        path: PathBuf,
        /// Bytes that it takes.
        needs: u64,
        /// Bytes that are free, if the system says so.
        free: Option<u64>,
    },
    /// A file was written by a newer pupil.
    #[error("{path} was written by pupil {by} (format {format}); this is {} (reads up to {reads})", env!("CARGO_PKG_VERSION"))]
    Version {
        /// The file.
        path: PathBuf,
        /// Which pupil wrote it.
        by: String,
        /// Its format.
        format: u64,
        /// The newest format that this version reads.
        reads: u64,
    },
    /// No checkpoint of a run is sound.
    #[error(
        "no checkpoint in {dir} is sound, so there is nothing to go on from; nothing was changed. The newest: {newest}"
    )]
    NoneSound {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// What is wrong with the newest.
        newest: Box<Error>,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file's contents are not what they should be.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another process writes to the directory.
    #[error("{dir} is in use by {holder}; wait for it, stop it, or choose another directory")]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The file system has no locks, or refuses one.
    #[error(
        "{dir} cannot be locked against a second writer: {source}; choose a directory on a disk of this machine"
    )]
    NoLock {
        /// The directory.
        dir: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The settings cannot be expressed in any family of models.
    #[error("these settings cannot be written for other programs: {0}")]
    Settings(String),
}

impl Error {
    pub(crate) fn content(path: impl Into<PathBuf>, what: impl Into<String>) -> Error {
        Error::Content { path: path.into(), what: what.into() }
    }
}

/// A number of bytes as people say it.
fn bytes(n: u64) -> String {
    match n {
        0..100_000 => format!("{n} bytes"),
        100_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
