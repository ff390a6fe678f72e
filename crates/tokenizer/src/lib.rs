//! Text ↔ ids: byte-level BPE and its training, WordPiece, words, and Hugging Face's `tokenizer.json`.
//!
//! This room knows nothing of documents, chats or models. Text never becomes a special token here: special ids are asked for by
//! name, by whoever knows the structure.
#![forbid(unsafe_code)]

mod added;
mod bpe;
mod json;
mod normal;
mod split;
mod template;
mod train;
pub mod word_level;
pub mod wordpiece;

pub use added::{AddedToken, Specials};
pub use bpe::{Decoder, Encoder, Tokenizer, Variant};
pub use json::Error;
pub use normal::BertNormalizer;
pub use split::Split;
pub use template::{Encoding, Template};
pub use train::{Training, train};
pub use word_level::WordLevel;
pub use wordpiece::WordPiece;
