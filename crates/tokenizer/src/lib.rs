//! Text ↔ ids: byte-level BPE, its training, and Hugging Face's `tokenizer.json`.
//!
//! This room knows nothing of documents, chats or models. Text never becomes a special token here: special ids are asked for by
//! name, by whoever knows the structure.
#![forbid(unsafe_code)]

mod bpe;
mod json;
mod split;
mod train;
pub mod word_level;

pub use bpe::{Decoder, Encoder, Tokenizer, Variant};
pub use json::Error;
pub use split::Split;
pub use train::{Training, train};
pub use word_level::WordLevel;
