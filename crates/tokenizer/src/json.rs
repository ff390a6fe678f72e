//! Hugging Face's `tokenizer.json`: read strictly, so that what is not supported is an error with its place, and written so that the
//! `tokenizers` library gives the same ids. Keras' file of a word-level tokenizer is read here too.

mod bpe;
mod document;
mod sentencepiece;
mod wordpiece;

use serde_json::{Value, json};

use crate::{Bpe, SentencePiece, Tokenizer, WordLevel, WordPiece};
use document::Document;

/// What is wrong with a `tokenizer.json`, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON at all.
    #[error("tokenizer.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that is missing or that says something that is not supported.
    #[error("tokenizer.json: `{path}` {what}")]
    Field {
        /// Path of the field.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file of Keras.
    #[error("tokenizer of Keras: {0}")]
    Keras(String),
}

fn field(path: impl Into<String>, what: impl Into<String>) -> Error {
    Error::Field { path: path.into(), what: what.into() }
}

impl Tokenizer {
    /// The contents of a `tokenizer.json`; of word level those of Keras' file.
    pub fn to_json(&self) -> String {
        match self {
            Tokenizer::Bpe(t) => t.to_json(),
            Tokenizer::SentencePiece(t) => t.to_json(),
            Tokenizer::WordPiece(t) => t.to_json(),
            Tokenizer::WordLevel(t) => t.to_json(),
        }
    }

    /// Reads the contents of a `tokenizer.json`, or of Keras' file.
    ///
    /// # Errors
    /// Names the field that is missing, wrong, or not supported.
    pub fn from_json(text: &str) -> Result<Tokenizer, Error> {
        let root: Value = serde_json::from_str(text)?;
        if root.get("class_name") == Some(&json!("Tokenizer")) {
            return WordLevel::from_json(text).map(Tokenizer::from).map_err(Error::Keras);
        }
        let d = Document::new(root)?;
        // Older files do not say what their model is.
        let model = match d.kind("/model") {
            "" if d.has("/model/merges") => "BPE",
            "" if d.has("/model/max_input_chars_per_word") => "WordPiece",
            kind => kind,
        };
        let bytes = [d.kind("/decoder"), d.kind("/pre_tokenizer"), d.kind("/pre_tokenizer/pretokenizers/1")];
        match model {
            "WordPiece" => WordPiece::from_document(&d).map(Tokenizer::from),
            "BPE" if bytes.contains(&"ByteLevel") => Bpe::from_document(&d).map(Tokenizer::from),
            "BPE" => SentencePiece::from_document(&d).map(Tokenizer::from),
            _ => {
                let shown = document::shown(d.get("/model/type"));
                Err(field("/model/type", format!("is {shown}; pupil knows BPE and WordPiece")))
            }
        }
    }
}
