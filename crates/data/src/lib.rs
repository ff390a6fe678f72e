//! Whatever lies on disk → clean documents and conversations → rows of tokens.
//!
//! This room reads files and makes rows; it knows no model and no template. Nothing is lost silently: what is skipped is counted
//! with its place. The road through it: [`source`] finds files and opens containers, [`encoding`] and [`pieces`] make text of their bytes,
//! [`dialect`] and [`parse`] make records of the text, [`clean`] and [`near`] decide what stays, [`prepare`] writes it, [`report`] tells.
#![forbid(unsafe_code)]

pub mod clean;
pub mod cornell;
pub mod corpora;
pub mod dialect;
pub mod documents;
pub mod encoding;
pub mod labelled;
pub mod loader;
pub mod masked;
pub mod near;
pub mod origin;
#[cfg(feature = "parquet")]
mod parquet;
pub mod parse;
pub mod pieces;
pub mod prepare;
mod random;
pub mod record;
pub mod report;
pub mod rows;
pub mod shards;
pub mod source;
pub mod split;
pub mod starter;
mod stream;
mod tables;
pub mod tagged;

pub use documents::{Corpus, read};
pub use labelled::Labelled;
pub use loader::Shards;
pub use record::{Chat, Turn};
pub use rows::{Examples, Items, Packer, Position, Preferences, Row, Rows};
pub use source::Error;
pub use split::{Side, Split};
pub use tagged::Tagged;
