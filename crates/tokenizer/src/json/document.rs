//! A `tokenizer.json` while it is read: every question names the field, and what nobody asked for is an error.

use serde_json::{Map, Value, json};

use super::{Error, field};
use crate::added::AddedToken;
use crate::template::{Part, Template};

/// The fields that a file may have at its top.
const TOP: [&str; 9] = [
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
];

/// The contents of a file.
pub(crate) struct Document {
    root: Value,
}

/// A value, cut short.
pub(crate) fn shown(value: &Value) -> String {
    let all = value.to_string();
    let short: String = all.chars().take(80).collect();
    if short.len() < all.len() { short + "…" } else { short }
}

impl Document {
    /// Reads a file.
    pub(crate) fn read(text: &str) -> Result<Document, Error> {
        Document::new(serde_json::from_str(text)?)
    }

    /// A file that is read. Truncation and padding may stand in it, but pupil never cuts or pads a text unasked.
    pub(crate) fn new(root: Value) -> Result<Document, Error> {
        let made = Document { root };
        made.fields("", &TOP)?;
        made.one_of("/version", &[Value::Null, json!("1.0")])?;
        Ok(made)
    }

    /// A field's value; null if it is not there.
    pub(crate) fn get(&self, path: &str) -> &Value {
        self.root.pointer(path).unwrap_or(&Value::Null)
    }

    /// Whether a field is there and not null.
    pub(crate) fn has(&self, path: &str) -> bool {
        !self.get(path).is_null()
    }

    /// The `type` of an object, `""` if it has none or is not there.
    pub(crate) fn kind(&self, path: &str) -> &str {
        self.get(path).get("type").and_then(Value::as_str).unwrap_or("")
    }

    /// An object must have no fields but these and `type`.
    pub(crate) fn fields(&self, path: &str, known: &[&str]) -> Result<(), Error> {
        let object = self.get(path).as_object().ok_or_else(|| field(path, "is missing or no object"))?;
        match object.iter().find(|(name, _)| *name != "type" && !known.contains(&name.as_str())) {
            Some((name, value)) => Err(field(
                format!("{path}/{name}"),
                format!("is {}; pupil does not know this field", shown(value)),
            )),
            None => Ok(()),
        }
    }

    /// A field must have one of these values.
    pub(crate) fn one_of(&self, path: &str, allowed: &[Value]) -> Result<(), Error> {
        let value = self.get(path);
        if allowed.contains(value) {
            return Ok(());
        }
        let known: Vec<String> = allowed.iter().map(shown).collect();
        Err(field(path, format!("is {}; pupil knows {}", shown(value), known.join(", "))))
    }

    pub(crate) fn text(&self, path: &str) -> Result<&str, Error> {
        self.get(path).as_str().ok_or_else(|| field(path, "is missing or no string"))
    }

    /// True or false, or what it is when it is not there.
    pub(crate) fn flag(&self, path: &str, absent: bool) -> Result<bool, Error> {
        match self.get(path) {
            Value::Null => Ok(absent),
            Value::Bool(b) => Ok(*b),
            other => Err(field(path, format!("is {}, neither true nor false", shown(other)))),
        }
    }

    pub(crate) fn object(&self, path: &str) -> Result<&Map<String, Value>, Error> {
        self.get(path).as_object().ok_or_else(|| field(path, "is missing or no object"))
    }

    pub(crate) fn array(&self, path: &str) -> Result<&[Value], Error> {
        match self.get(path) {
            Value::Array(a) => Ok(a),
            Value::Null => Err(field(path, "is missing")),
            _ => Err(field(path, "is no array")),
        }
    }

    /// The tokens beside the vocabulary.
    pub(crate) fn added(&self) -> Result<Vec<AddedToken>, Error> {
        if !self.has("/added_tokens") {
            return Ok(Vec::new());
        }
        let one = |i: usize| {
            let path = format!("/added_tokens/{i}");
            self.fields(
                &path,
                &["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"],
            )?;
            let id = self.get(&format!("{path}/id"));
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let special = self.flag(&format!("{path}/special"), false)?;
            Ok(AddedToken {
                content: self.text(&format!("{path}/content"))?.to_owned(),
                id: id.ok_or_else(|| field(format!("{path}/id"), "is no id"))?,
                special,
                single_word: self.flag(&format!("{path}/single_word"), false)?,
                lstrip: self.flag(&format!("{path}/lstrip"), false)?,
                rstrip: self.flag(&format!("{path}/rstrip"), false)?,
                normalized: self.flag(&format!("{path}/normalized"), !special)?,
            })
        };
        (0..self.array("/added_tokens")?.len()).map(one).collect()
    }

    /// The names of the vocabulary by id. Special tokens may fill its gaps.
    pub(crate) fn vocabulary(&self, added: &[AddedToken]) -> Result<Vec<String>, Error> {
        const PATH: &str = "/model/vocab";
        let vocab = self.object(PATH)?;
        let most = vocab.len() + added.len();
        let mut names: Vec<Option<&str>> = vec![None; most];
        let mut len = 0;
        for (name, id) in vocab {
            let path = || format!("{PATH}/{name}");
            let id = id.as_u64().ok_or_else(|| field(path(), format!("is {}, no id", shown(id))))?;
            let place = usize::try_from(id).ok().filter(|id| *id < most);
            let place =
                place.ok_or_else(|| field(path(), format!("is {id}, but there are only {most} tokens")))?;
            if let Some(other) = names[place].replace(name) {
                return Err(field(path(), format!("has id {id}, which {other:?} has already")));
            }
            len = len.max(place + 1);
        }
        for t in added.iter().filter(|t| t.special && (t.id as usize) < len) {
            names[t.id as usize].get_or_insert(&t.content);
        }
        for (i, t) in added.iter().enumerate() {
            if let Some(id) = vocab.get(&t.content).filter(|id| **id != json!(t.id)) {
                let what = format!("is {}, but {:?} has id {} in the vocabulary", t.id, t.content, shown(id));
                return Err(field(format!("/added_tokens/{i}/id"), what));
            }
        }
        names.truncate(len);
        match names.iter().position(Option::is_none) {
            Some(id) => Err(field(PATH, format!("leaves gaps between its ids: {id} is no token"))),
            None => Ok(names.into_iter().flatten().map(str::to_owned).collect()),
        }
    }

    /// What is put around texts.
    pub(crate) fn template(&self, added: &[AddedToken]) -> Result<Option<Template>, Error> {
        self.processor("/post_processor", added)
    }

    fn processor(&self, path: &str, added: &[AddedToken]) -> Result<Option<Template>, Error> {
        if !self.has(path) {
            return Ok(None);
        }
        match self.kind(path) {
            // It only trims the places of tokens, which pupil does not.
            "ByteLevel" => Ok(None),
            "TemplateProcessing" => self.template_processing(path, added).map(Some),
            kind @ ("BertProcessing" | "RobertaProcessing") => {
                let name = |end: &str| {
                    let path = format!("{path}/{end}");
                    let name = self.text(&format!("{path}/0"))?;
                    known(added, name, self.get(&format!("{path}/1")), &path)?;
                    Ok::<&str, Error>(name)
                };
                let (begin, separator) = (name("cls")?, name("sep")?);
                Ok(Some(if kind == "BertProcessing" {
                    self.fields(path, &["sep", "cls"])?;
                    Template::bert(begin, separator)
                } else {
                    self.fields(path, &["sep", "cls", "trim_offsets", "add_prefix_space"])?;
                    Template::roberta(begin, separator)
                }))
            }
            "Sequence" => {
                self.fields(path, &["processors"])?;
                let list = format!("{path}/processors");
                let mut made = None;
                for i in 0..self.array(&list)?.len() {
                    let path = format!("{list}/{i}");
                    if let Some(t) = self.processor(&path, added)?
                        && made.replace(t).is_some()
                    {
                        return Err(field(path, "is a second template"));
                    }
                }
                Ok(made)
            }
            _ => Err(field(path, format!("is {}; pupil does not know this type", shown(self.get(path))))),
        }
    }

    fn template_processing(&self, path: &str, added: &[AddedToken]) -> Result<Template, Error> {
        self.fields(path, &["single", "pair", "special_tokens"])?;
        let parts = |name: &str| -> Result<Vec<Part>, Error> {
            let list = format!("{path}/{name}");
            let one = |i: usize| {
                let place = format!("{list}/{i}");
                let whole = self.get(&place);
                let wrong =
                    || field(&place, format!("is {}, neither a sequence nor a special token", shown(whole)));
                let (kind, part) = whole.as_object().and_then(|o| o.iter().next()).ok_or_else(wrong)?;
                let id = part.get("id").and_then(Value::as_str).ok_or_else(wrong)?;
                let segment = part.get("type_id").and_then(Value::as_u64).and_then(|t| u32::try_from(t).ok());
                let segment = segment.ok_or_else(wrong)?;
                match (kind.as_str(), id) {
                    ("Sequence", "A") => Ok(Part::First(segment)),
                    ("Sequence", "B") => Ok(Part::Second(segment)),
                    ("SpecialToken", name) => {
                        let key = name.replace('~', "~0").replace('/', "~1");
                        let at = format!("{path}/special_tokens/{key}/ids");
                        let ids = self.array(&at)?;
                        known(
                            added,
                            name,
                            ids.first().filter(|_| ids.len() == 1).unwrap_or(&Value::Null),
                            &at,
                        )?;
                        Ok(Part::Special(name.to_owned(), segment))
                    }
                    _ => Err(wrong()),
                }
            };
            (0..self.array(&list)?.len()).map(one).collect()
        };
        Ok(Template { single: parts("single")?, pair: parts("pair")? })
    }
}

/// A special token of a template must be an added token with this id.
fn known(added: &[AddedToken], name: &str, id: &Value, path: &str) -> Result<(), Error> {
    match added.iter().find(|t| t.content == name) {
        Some(t) if *id == json!(t.id) => Ok(()),
        Some(t) => Err(field(path, format!("gives {name:?} the id {}, it has {}", shown(id), t.id))),
        None => Err(field(path, format!("names {name:?}, which is no added token"))),
    }
}

/// A file's contents.
pub(crate) fn write(
    added: &[AddedToken],
    template: Option<&Template>,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
) -> String {
    let mut added: Vec<&AddedToken> = added.iter().collect();
    added.sort_by_key(|t| t.id);
    let tokens: Vec<Value> = added
        .iter()
        .map(|t| {
            json!({"id": t.id, "content": t.content, "single_word": t.single_word, "lstrip": t.lstrip,
                   "rstrip": t.rstrip, "normalized": t.normalized, "special": t.special})
        })
        .collect();
    let part = |p: &Part| match p {
        Part::Special(name, segment) => json!({"SpecialToken": {"id": name, "type_id": segment}}),
        Part::First(segment) => json!({"Sequence": {"id": "A", "type_id": segment}}),
        Part::Second(segment) => json!({"Sequence": {"id": "B", "type_id": segment}}),
    };
    let processor = template.map(|t| {
        let id = |name: &str| added.iter().find(|t| t.content == name).map(|t| t.id);
        let special =
            |name: &str| (name.to_owned(), json!({"id": name, "ids": [id(name)], "tokens": [name]}));
        json!({"type": "TemplateProcessing", "single": t.single.iter().map(part).collect::<Vec<_>>(),
               "pair": t.pair.iter().map(part).collect::<Vec<_>>(),
               "special_tokens": t.specials().map(special).collect::<Map<_, _>>()})
    });
    let whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": tokens, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": processor, "decoder": decoder, "model": model,
    });
    format!("{whole:#}\n")
}
