//! `tokenizer.json` of SentencePiece-style BPE: the forms of Llama 2 and Mistral (`Prepend` and `Replace`, or `Metaspace`) and of Gemma.

use serde_json::{Map, Value, json};

use super::bpe::{plain_bpe, read_merges};
use super::document::{self, Document};
use super::{Error, field};
use crate::SentencePiece;
use crate::sentencepiece::{BLANK, Prefix, Settings, Spelling};

/// Blanks become `▁`.
fn to_blank() -> Value {
    json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK})
}

/// `▁` becomes a blank.
fn from_blank() -> Value {
    json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "})
}

fn prepend() -> Value {
    json!({"type": "Prepend", "prepend": BLANK})
}

/// The leading blank is left out.
fn strip() -> Value {
    json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})
}

/// What makes bytes of byte tokens, and all one text.
fn bytes() -> [Value; 2] {
    [json!({"type": "ByteFallback"}), json!({"type": "Fuse"})]
}

/// The decoder of bytes, the leading blank left out or not.
fn decoder(stripped: bool) -> Value {
    let all: Vec<Value> = [from_blank()].into_iter().chain(bytes()).chain(stripped.then(strip)).collect();
    json!({"type": "Sequence", "decoders": all})
}

/// What Gemma's file says after all blanks are gone, which does nothing.
fn idle() -> Value {
    json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})
}

fn scheme(prefix: Prefix) -> &'static str {
    match prefix {
        Prefix::Never => "never",
        Prefix::Every | Prefix::Missing => "always",
        Prefix::First => "first",
    }
}

impl SentencePiece {
    /// The contents of a `tokenizer.json`.
    pub fn to_json(&self) -> String {
        let s = self.settings();
        let metaspace = json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme(s.prefix), "split": s.split});
        let vocab: Map<String, Value> =
            self.pieces.iter().zip(0u32..).map(|(p, id)| (p.clone(), json!(id))).collect();
        let piece = |id: u32| &self.pieces[id as usize];
        let merges: Vec<Value> = self.merges().iter().map(|&(a, b)| json!([piece(a), piece(b)])).collect();
        document::write(
            self.added.tokens(),
            self.template.as_ref(),
            match (s.metaspace, s.prefix) {
                (true, _) => Value::Null,
                (false, Prefix::Never) => to_blank(),
                (false, _) => json!({"type": "Sequence", "normalizers": [prepend(), to_blank()]}),
            },
            if s.metaspace { metaspace.clone() } else { Value::Null },
            match s.spelling {
                Spelling::Stripped => decoder(true),
                Spelling::Whole => decoder(false),
                Spelling::Metaspace => {
                    json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme(s.prefix), "split": s.split})
                }
            },
            json!({"type": "BPE", "dropout": null, "unk_token": s.unknown, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": s.fuse_unknown, "byte_fallback": s.byte_fallback,
                   "ignore_merges": s.ignore_merges, "vocab": vocab, "merges": merges}),
        )
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// Names the field that is missing, wrong, or not supported.
    pub fn from_json(text: &str) -> Result<SentencePiece, Error> {
        SentencePiece::from_document(&Document::read(text)?)
    }

    pub(crate) fn from_document(d: &Document) -> Result<SentencePiece, Error> {
        plain_bpe(d)?;
        let mut settings = Settings {
            byte_fallback: d.flag("/model/byte_fallback", false)?,
            fuse_unknown: d.flag("/model/fuse_unk", false)?,
            ignore_merges: d.flag("/model/ignore_merges", false)?,
            unknown: match d.get("/model/unk_token") {
                Value::Null => None,
                _ => Some(d.text("/model/unk_token")?.to_owned()),
            },
            ..Settings::default()
        };
        if d.has("/normalizer") {
            let mut last = "/normalizer".to_owned();
            settings.prefix = Prefix::Never;
            if d.kind("/normalizer") == "Sequence" {
                d.fields("/normalizer", &["normalizers"])?;
                let place = |i: usize| format!("/normalizer/normalizers/{i}");
                if d.kind(&place(0)) == "Prepend" {
                    d.one_of(&place(0), &[prepend()])?;
                    settings.prefix = Prefix::Every;
                }
                let every = usize::from(settings.prefix == Prefix::Every);
                last = place(every);
                d.one_of(&place(every + 1), &[Value::Null])?;
            }
            d.one_of(&last, &[to_blank()])?;
            d.one_of("/pre_tokenizer", &[Value::Null, idle()])?;
        } else {
            d.one_of("/pre_tokenizer/type", &[json!("Metaspace")])?;
            settings.metaspace = true;
            settings.prefix = metaspace(d, "/pre_tokenizer")?;
            settings.split = d.flag("/pre_tokenizer/split", true)?;
        }
        settings.spelling = match d.kind("/decoder") {
            "Metaspace" => {
                let prefix = metaspace(d, "/decoder")?;
                if (prefix == Prefix::Never) != (settings.prefix == Prefix::Never) {
                    return Err(field("/decoder", "leaves out another blank than is put before texts"));
                }
                Spelling::Metaspace
            }
            _ => {
                d.one_of("/decoder/type", &[json!("Sequence"), json!("Metaspace")])?;
                d.fields("/decoder", &["decoders"])?;
                let place = |i: usize| format!("/decoder/decoders/{i}");
                let [fallback, fuse] = bytes();
                for (i, value) in [from_blank(), fallback, fuse].into_iter().enumerate() {
                    d.one_of(&place(i), &[value])?;
                }
                d.one_of(&place(3), &[Value::Null, strip()])?;
                d.one_of(&place(4), &[Value::Null])?;
                if d.has(&place(3)) { Spelling::Stripped } else { Spelling::Whole }
            }
        };
        let added = d.added()?;
        let pieces = d.vocabulary(&added)?;
        let merges = read_merges(d)?;
        let template = d.template(&added)?;
        SentencePiece::new(settings, pieces, merges, added, template)
            .map_err(|e| field("/model", format!("does not fit together: {e}")))
    }
}

/// When a `Metaspace` puts a blank before a text.
fn metaspace(d: &Document, path: &str) -> Result<Prefix, Error> {
    d.fields(path, &["replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"])?;
    d.one_of(&format!("{path}/replacement"), &[json!(BLANK)])?;
    let scheme = format!("{path}/prepend_scheme");
    d.one_of(&scheme, &[Value::Null, json!("always"), json!("first"), json!("never")])?;
    let prefix = match d.get(&scheme).as_str() {
        Some("never") => Prefix::Never,
        Some("first") => Prefix::First,
        _ => Prefix::Missing,
    };
    // The older way to say it.
    let older = format!("{path}/add_prefix_space");
    match d.flag(&older, prefix != Prefix::Never)? {
        false if prefix != Prefix::Never && d.has(&scheme) => {
            Err(field(older, "is false, but `prepend_scheme` puts a blank before texts"))
        }
        false => Ok(Prefix::Never),
        true => Ok(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddedToken, Template};

    fn sample(settings: Settings) -> SentencePiece {
        let mut pieces = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
        pieces.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
        pieces.extend(["▁", "a", "b", "ab", "▁ab"].map(str::to_owned));
        let id = |name: &str| pieces.iter().position(|p| p == name).unwrap() as u32;
        let merges = vec![(id("a"), id("b")), (id("▁"), id("ab"))];
        let added = (0..3).map(|i| AddedToken::special(pieces[i].clone(), i as u32)).collect();
        SentencePiece::new(settings, pieces, merges, added, Some(Template::bert("<s>", "</s>"))).unwrap()
    }

    fn all() -> Vec<Settings> {
        let d = Settings::default();
        let metaspace =
            |prefix, split, spelling| Settings { metaspace: true, prefix, split, spelling, ..d.clone() };
        vec![
            d.clone(),
            Settings { prefix: Prefix::Never, spelling: Spelling::Whole, ..d.clone() },
            metaspace(Prefix::First, false, Spelling::Stripped),
            metaspace(Prefix::Missing, true, Spelling::Metaspace),
            metaspace(Prefix::Never, false, Spelling::Metaspace),
            Settings { byte_fallback: false, fuse_unknown: false, ignore_merges: true, ..d.clone() },
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        for settings in all() {
            let t = sample(settings);
            assert_eq!(SentencePiece::from_json(&t.to_json()).unwrap(), t);
            assert_eq!(crate::Tokenizer::from_json(&t.to_json()).unwrap(), t.into());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good: Value = serde_json::from_str(&sample(Settings::default()).to_json()).unwrap();
        let check = |place: &str, name: &str, value: Value, path: &str, what: &str| {
            let mut v = good.clone();
            v.pointer_mut(place).unwrap()[name] = value;
            let e = SentencePiece::from_json(&v.to_string()).expect_err(path).to_string();
            assert!(e.contains(path) && e.contains(what), "{place}/{name}: {e}");
        };
        check("", "normalizer", json!({"type": "NFKC"}), "`/normalizer`", "NFKC");
        check("", "normalizer", Value::Null, "/pre_tokenizer/type", "null");
        check("", "decoder", json!({"type": "Fuse"}), "`/decoder/type`", "Fuse");
        check("/decoder/decoders/1", "new", json!(3), "`/decoder/decoders/1`", "3");
        check("/normalizer/normalizers/0", "prepend", json!("_"), "`/normalizer/normalizers/0`", "\"_\"");
        check("/model", "dropout", json!(0.5), "/model/dropout", "0.5");
        check("/model", "new", json!(1), "/model/new", "is 1");
        check("/model", "unk_token", json!("?"), "/model", "\"?\"");
        check("/model", "merges", json!(["a x"]), "/model/merges/0", "\"x\"");
        check("/model", "merges", json!(["b a"]), "/model", "merge 0: its result \"ba\"");
        check("/model", "merges", json!(["a b", ["a", "b"]]), "/model", "merge 1 is merge 0 again");
        check("/model/vocab", "<0x41>", json!(264), "/model/vocab", "gaps");
        let twice = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "add_prefix_space": false});
        let mut v = good.clone();
        (v["normalizer"], v["pre_tokenizer"]) = (Value::Null, twice);
        let e = SentencePiece::from_json(&v.to_string()).unwrap_err().to_string();
        assert!(e.contains("/pre_tokenizer/add_prefix_space"), "{e}");
    }
}
