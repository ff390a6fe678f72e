//! Replies: choosing the next token, and generating with a cache of keys and values.
//!
//! The forward pass is the model's own, the one it was trained with. This room knows ids, not text.
#![forbid(unsafe_code)]

mod beam;
mod generate;
mod sample;

pub use beam::{Beam, Reply};
pub use generate::{Error, Generator};
pub use sample::Sampler;
