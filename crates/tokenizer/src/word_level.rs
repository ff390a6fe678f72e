//! The word-level tokenizer of Keras (`keras.preprocessing.text.Tokenizer`): words between blanks, numbered by how often they occur.
//!
//! Index 1 is the most frequent word, of equally frequent ones the one seen first; 0 is padding. It is what the article's chatbot
//! uses: words that it has not seen are lost, and so is whatever the filters take. Reads and writes Keras' own JSON.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};

use crate::template::Token;

/// Characters that Keras takes for blanks unless told otherwise.
pub const FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// How a text becomes words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Characters that count as blanks.
    pub filters: String,
    /// Whether case is ignored.
    pub lower: bool,
    /// Only words with an index below this are used; none: all.
    pub num_words: Option<usize>,
    /// What stands for words that were not seen; without it they are left out. It has index 1.
    pub unknown: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { filters: FILTERS.to_owned(), lower: true, num_words: None, unknown: None }
    }
}

/// A word, how often it was seen, and in how many texts.
type Seen = (String, u64, u64);

/// A vocabulary of words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordLevel {
    settings: Settings,
    /// Words in order of their indices; the first has index 1.
    words: Vec<String>,
    index: FxHashMap<String, u32>,
    /// How often each word was seen, and in how many texts; in order of first appearance.
    counts: Vec<Seen>,
    documents: u64,
}

impl Settings {
    /// The words of a text.
    pub fn words(&self, text: &str) -> Vec<String> {
        let text = if self.lower { text.to_lowercase() } else { text.to_owned() };
        let blank = |c: char| c == ' ' || self.filters.contains(c);
        text.split(blank).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }
}

impl WordLevel {
    /// Learns the words of some texts.
    pub fn fit<T: AsRef<str>>(settings: Settings, texts: impl IntoIterator<Item = T>) -> WordLevel {
        let mut made = WordLevel { settings, ..WordLevel::default() };
        let mut place: FxHashMap<String, usize> = FxHashMap::default();
        for text in texts {
            made.documents += 1;
            let mut here = FxHashSet::default();
            for word in made.settings.words(text.as_ref()) {
                let at = *place.entry(word.clone()).or_insert_with(|| {
                    made.counts.push((word, 0, 0));
                    made.counts.len() - 1
                });
                made.counts[at].1 += 1;
                made.counts[at].2 += u64::from(here.insert(at));
            }
        }
        made.number();
        made
    }

    /// Gives the words their indices.
    fn number(&mut self) {
        let mut order: Vec<&Seen> = self.counts.iter().collect();
        order.sort_by_key(|c| std::cmp::Reverse(c.1));
        let unknown = self.settings.unknown.iter().cloned();
        self.words = unknown.chain(order.into_iter().map(|c| c.0.clone())).collect();
        self.index = self.words.iter().cloned().zip(1..).collect();
    }

    /// Indices in use, that of padding included: what an embedding needs.
    pub fn len(&self) -> usize {
        let all = self.words.len() + 1;
        self.settings.num_words.map_or(all, |n| n.min(all))
    }

    /// Whether no word is known.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The indices of a text. Words that are not known, or beyond `num_words`, are left out or become the unknown word.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let unknown = self.settings.unknown.as_ref().map(|_| 1);
        let known = |w: &String| self.index.get(w).copied().filter(|i| (*i as usize) < self.len());
        self.settings.words(text).iter().filter_map(|w| known(w).or(unknown)).collect()
    }

    /// The indices of a text with the bytes that they stand for.
    pub(crate) fn tokens(&self, text: &str) -> Vec<Token> {
        let Settings { lower, filters, unknown, .. } = &self.settings;
        let lowered = if *lower { text.to_lowercase() } else { text.to_owned() };
        // Of each byte of the text in small letters where its character begins and ends. A letter is as long, whatever stands beside it.
        let small = |c: char| if *lower { c.to_lowercase().map(char::len_utf8).sum() } else { c.len_utf8() };
        let place = |(i, c): (usize, char)| std::iter::repeat_n((i, i + c.len_utf8()), small(c));
        let places: Vec<(usize, usize)> = text.char_indices().flat_map(place).collect();
        let unknown = unknown.as_ref().map(|_| 1);
        let mut out = Vec::new();
        let mut at = 0;
        for word in lowered.split_inclusive(|c| c == ' ' || filters.contains(c)) {
            let bare = word.strip_suffix(|c| c == ' ' || filters.contains(c)).unwrap_or(word);
            let known = self.index.get(bare).copied().filter(|i| (*i as usize) < self.len());
            if let Some(id) = known.or(unknown).filter(|_| !bare.is_empty()) {
                out.push((id, places[at].0..places[at + bare.len() - 1].1));
            }
            at += word.len();
        }
        out
    }

    /// The word of an index; none of padding and of unknown indices.
    pub fn word(&self, id: u32) -> Option<&str> {
        let place = (id as usize).checked_sub(1)?;
        self.words.get(place).map(String::as_str)
    }

    /// Appends what an index says, if it is the first that says anything or after others.
    pub(crate) fn say(&self, id: u32, first: bool, out: &mut Vec<u8>) {
        if let Some(word) = self.word(id) {
            out.extend_from_slice(if first { b"" } else { b" " });
            out.extend_from_slice(word.as_bytes());
        }
    }

    /// The words of some indices, with blanks between them; padding and unknown indices give nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        ids.iter().filter_map(|&id| self.word(id)).collect::<Vec<_>>().join(" ")
    }

    /// The JSON that Keras' `tokenizer_from_json` reads.
    pub fn to_json(&self) -> String {
        let table = |f: &dyn Fn(&Seen) -> (String, Value)| {
            Value::Object(self.counts.iter().map(f).collect::<Map<String, Value>>()).to_string()
        };
        let numbered = (1..).zip(&self.words);
        let index_word: Map<String, Value> =
            numbered.clone().map(|(i, w): (u32, _)| (i.to_string(), json!(w))).collect();
        let word_index: Map<String, Value> = numbered.map(|(i, w): (u32, _)| (w.clone(), json!(i))).collect();
        let index = |w: &String| self.index.get(w).map_or(String::new(), u32::to_string);
        json!({"class_name": "Tokenizer", "config": {
            "num_words": self.settings.num_words, "filters": self.settings.filters, "lower": self.settings.lower, "split": " ",
            "char_level": false, "oov_token": self.settings.unknown, "document_count": self.documents,
            "word_counts": table(&|c| (c.0.clone(), json!(c.1))),
            "word_docs": table(&|c| (c.0.clone(), json!(c.2))),
            "index_docs": table(&|c| (index(&c.0), json!(c.2))),
            "index_word": Value::Object(index_word).to_string(),
            "word_index": Value::Object(word_index).to_string(),
        }})
        .to_string()
    }

    /// Reads Keras' JSON.
    ///
    /// # Errors
    /// Names the field that is missing, wrong or not supported.
    pub fn from_json(text: &str) -> Result<WordLevel, String> {
        let root: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let config = root.get("config").ok_or("`config` is missing: expected a Keras Tokenizer")?;
        let field = |name: &str| config.get(name).unwrap_or(&Value::Null);
        let string =
            |name: &str| field(name).as_str().ok_or_else(|| format!("`{name}` is missing or no string"));
        if field("char_level") == &json!(true) || string("split")? != " " {
            return Err("`char_level` and other splits than a blank are not supported".to_owned());
        }
        let table = |name: &str| -> Result<Map<String, Value>, String> {
            serde_json::from_str(string(name)?).map_err(|e| format!("`{name}`: {e}"))
        };
        let settings = Settings {
            filters: string("filters")?.to_owned(),
            lower: field("lower").as_bool().unwrap_or(true),
            num_words: field("num_words").as_u64().map(|n| n as usize),
            unknown: field("oov_token").as_str().map(str::to_owned),
        };
        let docs = table("word_docs")?;
        let number = |v: Option<&Value>| v.and_then(Value::as_u64).unwrap_or(0);
        let counts = table("word_counts")?;
        let counts = counts.iter().map(|(w, n)| (w.clone(), number(Some(n)), number(docs.get(w)))).collect();
        let documents = number(config.get("document_count"));
        let mut index: Vec<(u64, String)> =
            table("word_index")?.into_iter().map(|(w, i)| (i.as_u64().unwrap_or(0), w)).collect();
        index.sort();
        if let Some((at, (i, w))) = (1..).zip(&index).find(|(at, (i, _))| at != i) {
            return Err(format!(
                "`word_index`: {w:?} has index {i}, expected {at}: indices begin at 1 without gaps"
            ));
        }
        let words: Vec<String> = index.into_iter().map(|w| w.1).collect();
        let index = words.iter().cloned().zip(1..).collect();
        Ok(WordLevel { settings, words, index, counts, documents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = ["The cat sat.", "the DOG, the cat!", "a bird"];

    #[test]
    fn words_are_numbered_by_frequency_then_by_first_appearance() {
        let t = WordLevel::fit(Settings::default(), TEXTS);
        assert_eq!(t.encode("the cat sat dog a bird"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(t.encode("the unseen cat"), [1, 2]);
        assert_eq!(t.decode(&[1, 2, 0, 99]), "the cat");
        assert_eq!(t.len(), 7);
    }

    #[test]
    fn settings_are_those_of_keras() {
        let plain = Settings { filters: String::new(), ..Settings::default() };
        assert_eq!(plain.words("It's  here,\tnow"), ["it's", "here,\tnow"]);
        let unknown = Settings {
            unknown: Some("<unk>".into()),
            num_words: Some(3),
            lower: false,
            ..Settings::default()
        };
        let t = WordLevel::fit(unknown, TEXTS);
        assert_eq!(t.encode("cat The bird"), [2, 1, 1]);
        assert_eq!(t.len(), 3);
        assert!(WordLevel::fit(Settings::default(), [""; 0]).is_empty());
    }

    #[test]
    fn json_comes_back_and_what_is_wrong_is_named() {
        let t = WordLevel::fit(Settings { unknown: Some("?".into()), ..Settings::default() }, TEXTS);
        let back = WordLevel::from_json(&t.to_json()).unwrap();
        assert_eq!((back.words.clone(), back.settings.clone()), (t.words.clone(), t.settings.clone()));
        assert_eq!(back.to_json().len(), t.to_json().len());
        let gap = t.to_json().replace("\\\"cat\\\":3", "\\\"cat\\\":9");
        assert!(WordLevel::from_json(&gap).unwrap_err().contains("word_index"));
        assert!(WordLevel::from_json("{}").unwrap_err().contains("config"));
        assert!(WordLevel::from_json("nonsense").is_err());
    }
}
