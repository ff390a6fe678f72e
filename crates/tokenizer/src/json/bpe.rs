//! `tokenizer.json` of byte-level BPE: the forms of GPT-2, Llama 3, Qwen 2, GPT-4, GPT-4o and pupil itself.
//!
//! In the file a byte is a printable character: 188 stand for themselves, the other 68 for U+0100 upwards. Merges are read as `"a b"` and
//! as `["a", "b"]`.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use super::document::{self, Document};
use super::{Error, field};
use crate::Split;
use crate::bpe::{Bpe, Variant};

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

impl Bpe {
    /// The contents of a `tokenizer.json`.
    pub fn to_json(&self) -> String {
        let alphabet = alphabet();
        let name = |id: u32| -> String {
            match self.added.get(id) {
                Some(t) => t.content.clone(),
                None => self.bytes(id).unwrap_or_default().iter().map(|&b| alphabet[b as usize]).collect(),
            }
        };
        let ids = (0..self.vocabulary()).filter(|id| !self.added.is_special(*id));
        let vocab: Map<String, Value> = ids.map(|id| (name(id), json!(id))).collect();
        let merges: Vec<Value> = self.merges().iter().map(|&(a, b)| json!([name(a), name(b)])).collect();
        let level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let words = match self.split() {
            Split::Gpt2 => level(true),
            other => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": other.pattern()}, "behavior": "Isolated", "invert": false},
                level(false)]}),
        };
        document::write(
            self.added.tokens(),
            self.template.as_ref(),
            if self.variant().normalise { json!({"type": "NFC"}) } else { Value::Null },
            words,
            level(true),
            json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                   "ignore_merges": self.variant().ignore_merges, "vocab": vocab, "merges": merges}),
        )
    }

    pub(crate) fn from_document(d: &Document) -> Result<Bpe, Error> {
        plain_bpe(d)?;
        d.one_of("/model/byte_fallback", &[Value::Null, json!(false)])?;
        d.one_of("/normalizer", &[Value::Null, json!({"type": "NFC"})])?;
        let variant = Variant {
            ignore_merges: d.flag("/model/ignore_merges", false)?,
            normalise: d.has("/normalizer"),
        };
        let split = if d.kind("/pre_tokenizer") == "Sequence" {
            d.fields("/pre_tokenizer", &["pretokenizers"])?;
            let at = "/pre_tokenizer/pretokenizers";
            let (words, bytes) = (format!("{at}/0"), format!("{at}/1"));
            d.one_of(&format!("{words}/type"), &[json!("Split")])?;
            d.fields(&words, &["pattern", "behavior", "invert"])?;
            d.one_of(&format!("{words}/behavior"), &[json!("Isolated")])?;
            d.one_of(&format!("{words}/invert"), &[json!(false), Value::Null])?;
            d.one_of(&format!("{bytes}/type"), &[json!("ByteLevel")])?;
            level(d, &bytes, &[json!(false)])?;
            d.one_of(&format!("{at}/2"), &[Value::Null])?;
            let path = format!("{words}/pattern/Regex");
            let pattern = d.text(&path)?;
            let known = Split::ALL.into_iter().find(|s| s.pattern() == pattern);
            let names = Split::ALL.map(Split::name).join(", ");
            known.ok_or_else(|| {
                let shown = document::shown(d.get(&path));
                field(path, format!("is {shown}, none of the patterns that pupil knows: {names}"))
            })?
        } else {
            d.one_of("/pre_tokenizer/type", &[json!("ByteLevel")])?;
            level(d, "/pre_tokenizer", &[json!(true), Value::Null])?;
            Split::Gpt2
        };
        d.one_of("/decoder/type", &[json!("ByteLevel")])?;
        d.fields("/decoder", &["add_prefix_space", "trim_offsets", "use_regex"])?;
        let added = d.added()?;
        let names = d.vocabulary(&added)?;
        let merges = read_merges(d)?;
        let back: FxHashMap<char, u8> = alphabet().into_iter().zip(0..=255u8).collect();
        let raw: FxHashMap<u32, &str> = added.iter().map(|t| (t.id, t.content.as_str())).collect();
        let bytes = |(id, name): (u32, &String)| match raw.get(&id) {
            Some(content) if *content == name => Ok(name.clone().into_bytes()),
            _ => {
                let bytes: Option<Vec<u8>> = name.chars().map(|c| back.get(&c).copied()).collect();
                bytes.ok_or_else(|| {
                    field(format!("/model/vocab/{name}"), "has a character that stands for no byte")
                })
            }
        };
        let tokens = (0..).zip(&names).map(bytes).collect::<Result<_, Error>>()?;
        let template = d.template(&added)?;
        let made = Bpe::new(tokens, merges, added, variant);
        let mut made =
            made.map_err(|e| field("/model", format!("does not fit together: {e}")))?.with_split(split);
        made.template = template;
        Ok(made)
    }
}

/// The fields of a `ByteLevel` before the model.
fn level(d: &Document, path: &str, regex: &[Value]) -> Result<(), Error> {
    d.fields(path, &["add_prefix_space", "trim_offsets", "use_regex"])?;
    d.one_of(&format!("{path}/add_prefix_space"), &[json!(false)])?;
    d.one_of(&format!("{path}/use_regex"), regex)
}

/// What every kind of BPE must say: neither dropout nor marks within words.
pub(super) fn plain_bpe(d: &Document) -> Result<(), Error> {
    d.one_of("/model/type", &[json!("BPE"), Value::Null])?;
    let known = [
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
    ];
    d.fields("/model", &[&known[..], &["ignore_merges", "vocab", "merges"]].concat())?;
    d.one_of("/model/dropout", &[Value::Null, json!(0.0)])?;
    d.one_of("/model/continuing_subword_prefix", &[Value::Null, json!("")])?;
    d.one_of("/model/end_of_word_suffix", &[Value::Null, json!("")])
}

/// The merges, by the ids of their halves.
pub(super) fn read_merges(d: &Document) -> Result<Vec<(u32, u32)>, Error> {
    let vocab = d.object("/model/vocab")?;
    let list = d.array("/model/merges")?;
    let mut merges = Vec::with_capacity(list.len());
    for (i, m) in list.iter().enumerate() {
        let path = || format!("/model/merges/{i}");
        let halves = match m {
            Value::String(s) => s.split_once(' '),
            Value::Array(a) if a.len() == 2 => a[0].as_str().zip(a[1].as_str()),
            _ => None,
        };
        let (a, b) = halves.ok_or_else(|| {
            field(path(), format!("is {}, neither \"a b\" nor [\"a\", \"b\"]", document::shown(m)))
        })?;
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
    use crate::{Tokenizer, Training, train};

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
            let t = Training { split, size: 260, specials: &["<s>"], threads: 1 }.run(&["ab ab"; 3]);
            let mut v: Value = serde_json::from_str(&t.to_json()).unwrap();
            v["model"]["ignore_merges"] = json!(split == Split::Llama3);
            v["normalizer"] = if split == Split::Qwen2 { json!({"type": "NFC"}) } else { Value::Null };
            let t = Tokenizer::from_json(&v.to_string()).unwrap();
            assert_eq!(Tokenizer::from_json(&t.to_json()).unwrap(), t);
            assert_eq!(serde_json::from_str::<Value>(&t.to_json()).unwrap(), v);
        }
        let training = Training { split: Split::Llama3, size: 256, specials: &[], threads: 1 };
        let other = training.run(&["ab"]).to_json().replace("{1,3}", "{1,4}");
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
        check("/model/type", json!("Unigram"));
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
