//! Hugging Face's `tokenizer.json` for byte-level BPE (GPT-2's form): read strictly, written so that the `tokenizers` library gives the
//! same ids.
//!
//! In the file a byte is a printable character: 188 stand for themselves, the other 68 for U+0100 upwards. Merges are read as `"a b"` and
//! as `["a", "b"]`.

mod document;
mod wordpiece;

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use crate::{Split, Tokenizer, Variant};

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
}

fn field(path: impl Into<String>, what: impl Into<String>) -> Error {
    Error::Field { path: path.into(), what: what.into() }
}

/// The character that stands for each byte.
fn alphabet() -> Vec<char> {
    let mut others = 256..;
    (0..=255u8)
        .map(|b| match b {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(b),
            _ => others.next().and_then(char::from_u32).unwrap_or('\u{fffd}'),
        })
        .collect()
}

impl Tokenizer {
    /// The contents of a `tokenizer.json`.
    pub fn to_json(&self) -> String {
        let alphabet = alphabet();
        let name = |id: u32| -> String {
            self.bytes(id).unwrap_or_default().iter().map(|&b| alphabet[b as usize]).collect()
        };
        let ids = 0..self.len() as u32;
        let vocab: serde_json::Map<String, Value> =
            ids.filter(|&id| !self.is_special(id)).map(|id| (name(id), json!(id))).collect();
        let merges: Vec<Value> = self.merges().iter().map(|&(a, b)| json!([name(a), name(b)])).collect();
        let added: Vec<Value> = self
            .specials()
            .iter()
            .map(|(s, id)| {
                json!({"id": id, "content": s, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true})
            })
            .collect();
        let level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let words = match self.split() {
            Split::Gpt2 => level(true),
            other => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": other.pattern()}, "behavior": "Isolated", "invert": false},
                level(false)]}),
        };
        let normalizer = if self.variant().normalise { json!({"type": "NFC"}) } else { Value::Null };
        let whole = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": words, "post_processor": null, "decoder": level(true),
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": self.variant().ignore_merges,
                      "vocab": vocab, "merges": merges},
        });
        format!("{whole:#}\n")
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// Names the field that is missing, wrong, or not supported.
    pub fn from_json(text: &str) -> Result<Tokenizer, Error> {
        let root: Value = serde_json::from_str(text)?;
        let expect = |path: &str, allowed: &[Value]| -> Result<(), Error> {
            let value = root.pointer(path).unwrap_or(&Value::Null);
            if allowed.contains(value) {
                return Ok(());
            }
            let shown = value.to_string().chars().take(80).collect::<String>();
            Err(field(path, format!("is {shown}; pupil reads byte-level BPE in GPT-2's form")))
        };
        expect("/model/type", &[json!("BPE"), Value::Null])?;
        expect("/normalizer/type", &[Value::Null, json!("NFC")])?;
        for (path, plain) in [
            ("/model/dropout", Value::Null),
            ("/model/continuing_subword_prefix", json!("")),
            ("/model/end_of_word_suffix", json!("")),
            ("/model/byte_fallback", json!(false)),
        ] {
            expect(path, &[Value::Null, plain])?;
        }
        expect("/model/ignore_merges", &[Value::Null, json!(false), json!(true)])?;
        let variant = Variant {
            ignore_merges: root.pointer("/model/ignore_merges") == Some(&json!(true)),
            normalise: root.pointer("/normalizer/type").is_some(),
        };
        let split = if root.pointer("/pre_tokenizer/type") == Some(&json!("Sequence")) {
            let at = "/pre_tokenizer/pretokenizers";
            expect(&format!("{at}/0/type"), &[json!("Split")])?;
            expect(&format!("{at}/0/behavior"), &[json!("Isolated")])?;
            expect(&format!("{at}/0/invert"), &[json!(false), Value::Null])?;
            expect(&format!("{at}/1/type"), &[json!("ByteLevel")])?;
            expect(&format!("{at}/1/add_prefix_space"), &[json!(false)])?;
            expect(&format!("{at}/1/use_regex"), &[json!(false)])?;
            expect(&format!("{at}/2"), &[Value::Null])?;
            let path = format!("{at}/0/pattern/Regex");
            let pattern = root.pointer(&path).and_then(Value::as_str).unwrap_or_default();
            let known = Split::ALL.into_iter().find(|s| s.pattern() == pattern);
            let names = Split::ALL.map(Split::name).join(", ");
            known.ok_or_else(|| {
                field(path, format!("is {pattern:?}, none of the patterns that pupil knows: {names}"))
            })?
        } else {
            expect("/pre_tokenizer/type", &[json!("ByteLevel")])?;
            expect("/pre_tokenizer/add_prefix_space", &[json!(false)])?;
            expect("/pre_tokenizer/use_regex", &[json!(true), Value::Null])?;
            Split::Gpt2
        };
        expect("/decoder/type", &[json!("ByteLevel")])?;
        let back: FxHashMap<char, u8> = alphabet().into_iter().zip(0..=255u8).collect();
        let vocab = root
            .pointer("/model/vocab")
            .and_then(Value::as_object)
            .ok_or_else(|| field("/model/vocab", "is missing or no object"))?;
        let added = match root.get("added_tokens") {
            None | Some(Value::Null) => &[][..],
            Some(v) => v.as_array().ok_or_else(|| field("/added_tokens", "is no array"))?,
        };
        let most = vocab.len() + added.len();
        let id_of = |path: &str, v: &Value| -> Result<usize, Error> {
            let id = v.as_u64().ok_or_else(|| field(path, "is no id"))?;
            let fits = usize::try_from(id).ok().filter(|&id| id < most);
            fits.ok_or_else(|| field(path, format!("is {id}, but there are only {most} tokens")))
        };
        let mut tokens: Vec<Option<Vec<u8>>> = vec![None; most];
        for (name, id) in vocab {
            let path = format!("/model/vocab/{name}");
            let bytes: Option<Vec<u8>> = name.chars().map(|c| back.get(&c).copied()).collect();
            let id = id_of(&path, id)?;
            // A special token may stand in the vocabulary too, under its own name.
            let bytes = bytes.unwrap_or_else(|| name.clone().into_bytes());
            if tokens[id].replace(bytes).is_some() {
                return Err(field(path, format!("has id {id}, which another token has already")));
            }
        }
        let mut specials = Vec::new();
        for (i, token) in added.iter().enumerate() {
            let path = format!("/added_tokens/{i}");
            let content = token.get("content").and_then(Value::as_str);
            let content =
                content.ok_or_else(|| field(format!("{path}/content"), "is missing or no string"))?;
            let id = id_of(&format!("{path}/id"), token.get("id").unwrap_or(&Value::Null))?;
            tokens[id] = Some(content.as_bytes().to_vec());
            specials.push((content.to_owned(), id as u32));
        }
        while tokens.last().is_some_and(Option::is_none) {
            tokens.pop();
        }
        let tokens: Option<Vec<Vec<u8>>> = tokens.into_iter().collect();
        let tokens = tokens.ok_or_else(|| field("/model/vocab", "leaves gaps between its ids"))?;
        let merges = read_merges(&root, vocab)?;
        Tokenizer::new(tokens, merges, specials)
            .map(|t| t.with_split(split).with_variant(variant))
            .map_err(|e| field("/model", format!("does not fit together: {e}")))
    }
}

fn read_merges(root: &Value, vocab: &serde_json::Map<String, Value>) -> Result<Vec<(u32, u32)>, Error> {
    let list = root.pointer("/model/merges").and_then(Value::as_array);
    let list = list.ok_or_else(|| field("/model/merges", "is missing or no array"))?;
    let mut merges = Vec::with_capacity(list.len());
    for (i, m) in list.iter().enumerate() {
        let path = || format!("/model/merges/{i}");
        let halves = match m {
            Value::String(s) => s.split_once(' '),
            Value::Array(a) if a.len() == 2 => a[0].as_str().zip(a[1].as_str()),
            _ => None,
        };
        let (a, b) = halves.ok_or_else(|| field(path(), "is neither \"a b\" nor [\"a\", \"b\"]"))?;
        let id = |name: &str| -> Result<u32, Error> {
            let id = vocab.get(name).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| field(path(), format!("joins {name:?}, which is not in the vocabulary")))
        };
        merges.push((id(a)?, id(b)?));
    }
    Ok(merges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train;

    #[test]
    fn what_is_written_is_read_back() {
        let t = train(["the cat sat on the mat 你好你好"; 3], 300, &["<|endoftext|>", "<|im_start|>"]);
        let json = t.to_json();
        assert_eq!(Tokenizer::from_json(&json).unwrap(), t);
        // The older form of merges.
        let mut v: Value = serde_json::from_str(&json).unwrap();
        for m in v["model"]["merges"].as_array_mut().unwrap() {
            *m = json!(format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap()));
        }
        assert_eq!(Tokenizer::from_json(&v.to_string()).unwrap(), t);
    }

    #[test]
    fn every_way_to_split_is_written_and_read_back() {
        for split in Split::ALL {
            let variant = Variant { ignore_merges: split == Split::Llama3, normalise: split == Split::Qwen2 };
            let t = train(["ab ab"; 3], 260, &["<s>"]).with_split(split).with_variant(variant);
            assert_eq!(Tokenizer::from_json(&t.to_json()).unwrap(), t);
        }
        let other = train(["ab"], 256, &[]).with_split(Split::Llama3).to_json().replace("{1,3}", "{1,4}");
        assert!(Tokenizer::from_json(&other).unwrap_err().to_string().contains("llama3"));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let good: Value = serde_json::from_str(&train(["aa aa"], 300, &["<s>"]).to_json()).unwrap();
        let check = |path: &str, value: Value| {
            let named = if value == json!(0) { "/model/vocab" } else { path };
            let mut v = good.clone();
            *v.pointer_mut(path).unwrap() = value;
            let e = Tokenizer::from_json(&v.to_string()).unwrap_err().to_string();
            assert!(e.contains(named), "{path}: {e}");
        };
        check("/model/type", json!("WordPiece"));
        check("/pre_tokenizer/type", json!("Metaspace"));
        check("/normalizer", json!({"type": "Lowercase"}));
        check("/model/vocab/a", json!(900_000_000_000u64));
        check("/model/vocab/b", json!(0));
        check("/model/merges/0", json!(["a", "zz"]));
        check("/model/merges/0", json!(7));
        check("/added_tokens/0/id", json!(-1));
        check("/added_tokens/0/content", json!(null));
    }

    #[test]
    fn broken_files_are_errors_and_never_panics() {
        let good = train(["ab ab"], 300, &["<s>"]).to_json();
        for cut in (0..good.trim_end().len()).filter(|&i| good.is_char_boundary(i)).step_by(7) {
            assert!(Tokenizer::from_json(&good[..cut]).is_err());
        }
        for text in
            ["", "[]", "null", "{\"model\":{}}", "{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":{}}}"]
        {
            assert!(Tokenizer::from_json(text).is_err());
        }
    }
}
