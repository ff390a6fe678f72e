//! `tokenizer.json` of BERT's form: `BertNormalizer`, `BertPreTokenizer`, `WordPiece`.

use serde_json::{Map, Value, json};

use super::document::{self, Document};
use super::{Error, field};
use crate::WordPiece;
use crate::normal::BertNormalizer;
use crate::wordpiece::{LONGEST_WORD, Settings};

impl WordPiece {
    /// The contents of a `tokenizer.json`.
    pub fn to_json(&self) -> String {
        let Settings { normalizer: n, unknown, prefix, longest_word, cleanup } = self.settings();
        let vocab: Map<String, Value> =
            self.pieces.iter().zip(0u32..).map(|(p, id)| (p.clone(), json!(id))).collect();
        document::write(
            self.added(),
            self.template.as_ref(),
            json!({"type": "BertNormalizer", "clean_text": n.clean_text, "handle_chinese_chars": n.handle_chinese_chars,
                   "strip_accents": n.strip_accents, "lowercase": n.lowercase}),
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}),
            json!({"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": prefix,
                   "max_input_chars_per_word": longest_word, "vocab": vocab}),
        )
    }

    /// Reads the contents of a `tokenizer.json`. Its truncation and padding are for who makes batches: pupil encodes whole texts.
    ///
    /// # Errors
    /// Names the field that is missing, wrong, or not supported.
    pub fn from_json(text: &str) -> Result<WordPiece, Error> {
        WordPiece::from_document(&Document::read(text)?)
    }

    pub(crate) fn from_document(d: &Document) -> Result<WordPiece, Error> {
        d.one_of("/model/type", &[json!("WordPiece"), Value::Null])?;
        d.fields("/model", &["unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"])?;
        d.one_of("/normalizer/type", &[json!("BertNormalizer")])?;
        d.fields("/normalizer", &["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"])?;
        d.one_of("/pre_tokenizer", &[json!({"type": "BertPreTokenizer"})])?;
        let mut cleanup = true;
        let prefix = match d.get("/model/continuing_subword_prefix") {
            Value::Null => "##",
            _ => d.text("/model/continuing_subword_prefix")?,
        };
        if d.has("/decoder") {
            d.one_of("/decoder/type", &[json!("WordPiece")])?;
            d.fields("/decoder", &["prefix", "cleanup"])?;
            d.one_of("/decoder/prefix", &[json!(prefix)])?;
            cleanup = d.flag("/decoder/cleanup", true)?;
        }
        let most = d.get("/model/max_input_chars_per_word");
        let longest_word = match most {
            Value::Null => 100,
            n => n.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= LONGEST_WORD).ok_or_else(
                || {
                    let what = format!("is {}, expected a number up to {LONGEST_WORD}", document::shown(n));
                    field("/model/max_input_chars_per_word", what)
                },
            )?,
        };
        let all = BertNormalizer::default();
        let settings = Settings {
            normalizer: BertNormalizer {
                clean_text: d.flag("/normalizer/clean_text", all.clean_text)?,
                handle_chinese_chars: d.flag("/normalizer/handle_chinese_chars", all.handle_chinese_chars)?,
                strip_accents: match d.get("/normalizer/strip_accents") {
                    Value::Null => None,
                    _ => Some(d.flag("/normalizer/strip_accents", false)?),
                },
                lowercase: d.flag("/normalizer/lowercase", all.lowercase)?,
            },
            unknown: match d.get("/model/unk_token") {
                Value::Null => "[UNK]",
                _ => d.text("/model/unk_token")?,
            }
            .to_owned(),
            prefix: prefix.to_owned(),
            longest_word,
            cleanup,
        };
        let added = d.added()?;
        let pieces = d.vocabulary(&added)?;
        let template = d.template(&added)?;
        WordPiece::new(settings, pieces, added, template)
            .map_err(|e| field("/model", format!("does not fit together: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddedToken, Template};

    fn sample() -> WordPiece {
        let pieces = ["[UNK]", "[CLS]", "[SEP]", "the", "##s"].map(str::to_owned).to_vec();
        let more = AddedToken { special: false, normalized: true, ..AddedToken::special("New", 5) };
        let added =
            (0..3).map(|id| AddedToken::special(pieces[id].clone(), id as u32)).chain([more]).collect();
        WordPiece::new(Settings::default(), pieces, added, Some(Template::bert("[CLS]", "[SEP]"))).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let t = sample();
        assert_eq!(WordPiece::from_json(&t.to_json()).unwrap(), t);
        let mut other: Value = serde_json::from_str(&t.to_json()).unwrap();
        other["post_processor"] = json!({"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]});
        other["truncation"] = json!({"max_length": 128});
        assert_eq!(WordPiece::from_json(&other.to_string()).unwrap(), t);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good: Value = serde_json::from_str(&sample().to_json()).unwrap();
        let check = |place: &str, name: &str, value: Value, path: &str, what: &str| {
            let mut v = good.clone();
            v.pointer_mut(place).unwrap()[name] = value;
            let e = WordPiece::from_json(&v.to_string()).expect_err(path).to_string();
            assert!(e.contains(path) && e.contains(what), "{place}/{name}: {e}");
        };
        check("", "new_field", json!(7), "`/new_field`", "is 7");
        check("", "version", json!("2.0"), "/version", "2.0");
        check("/normalizer", "type", json!("NFKC"), "/normalizer/type", "NFKC");
        check("/normalizer", "lowercase", json!("yes"), "/normalizer/lowercase", "yes");
        check("/model", "type", json!("Unigram"), "/model/type", "Unigram");
        check("/model", "dropout", json!(0.1), "/model/dropout", "0.1");
        check("/model", "unk_token", json!("?"), "/model", "\"?\"");
        check(
            "/model",
            "max_input_chars_per_word",
            json!(1u64 << 40),
            "/model/max_input_chars_per_word",
            "1099511627776",
        );
        check("/model/vocab", "the", json!(0), "/model/vocab/", "has id 0");
        check("/model/vocab", "the", json!(7), "/model/vocab", "gaps");
        check("/model/vocab", "the", json!(1u64 << 31), "/model/vocab/the", "2147483648");
        check("/added_tokens/0", "id", json!(3), "/added_tokens/0/id", "[UNK]");
        check("/added_tokens/0", "content", json!("the"), "/added_tokens/0/id", "the");
        check("/added_tokens/3", "id", json!(3), "/model", "another token");
        check(
            "/post_processor/special_tokens/[CLS]",
            "ids",
            json!([2]),
            "/post_processor/special_tokens/[CLS]/ids",
            "2",
        );
        check(
            "/post_processor",
            "single",
            json!([{"Sequence": {"id": "C", "type_id": 0}}]),
            "/post_processor/single/0",
            "C",
        );
        check("/decoder", "prefix", json!("@@"), "/decoder/prefix", "@@");
    }
}
