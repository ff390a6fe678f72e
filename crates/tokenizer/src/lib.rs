//! Text ↔ ids: byte-level BPE, SentencePiece-style BPE, WordPiece and whole words; their training, and Hugging Face's `tokenizer.json`.
//!
//! [`Tokenizer`] is one of any kind. This room knows nothing of documents, chats or models. Text never becomes a special token here:
//! special ids are asked for by name, by whoever knows the structure.
#![forbid(unsafe_code)]

mod added;
mod bpe;
mod json;
mod memory;
mod merge;
mod normal;
pub mod sentencepiece;
mod split;
mod template;
mod tokenizer;
mod train;
pub mod word_level;
pub mod wordpiece;

pub use added::{AddedToken, Specials};
pub use bpe::{Bpe, Variant};
pub use json::Error;
pub use normal::BertNormalizer;
pub use sentencepiece::SentencePiece;
pub use split::{NUMERALS, Split};
pub use template::{Encoding, Template, Token};
pub use tokenizer::{Decoder, Encoder, Tokenizer, UnknownId};
pub use train::{Training, train};
pub use word_level::WordLevel;
pub use wordpiece::WordPiece;
