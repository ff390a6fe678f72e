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
    /// The settings cannot be expressed in any family of models.
    #[error("these settings cannot be written for other programs: {0}")]
    Settings(String),
}

impl Error {
    pub(crate) fn content(path: impl Into<PathBuf>, what: impl Into<String>) -> Error {
        Error::Content { path: path.into(), what: what.into() }
    }
}

pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
