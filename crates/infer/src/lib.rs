//! Replies: choosing the next token, and generating with a cache of keys and values.
//!
//! The forward pass is the model's own, the one it was trained with. Generation knows ids, not text; [`Reader`] says what a BERT thinks of texts.
#![forbid(unsafe_code)]

mod beam;
mod generate;
pub mod reader;
mod sample;

pub use beam::{Beam, Reply};
pub use generate::{Error, Generator};
pub use reader::Reader;
pub use sample::Sampler;
