//! Whatever lies on disk → documents and conversations → rows of tokens.
//!
//! This room reads files and makes rows; it knows no model and no template. Nothing is lost silently: what is skipped is counted
//! with its place.
#![forbid(unsafe_code)]

pub mod documents;
mod random;
pub mod rows;
pub mod starter;

pub use documents::{Chat, Corpus, Error, Turn, read};
pub use rows::{Items, Packer, Row};
