//! Tokens beside the vocabulary proper: the special ones, and words that somebody added whole.
//!
//! Special tokens in a text stay text unless the caller asks for them. Added words are found in every text, the leftmost first and of
//! those the longest, in one pass (Aho and Corasick 1975). Equals the added vocabulary of Hugging Face's tokenizers.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashMap;
use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory as _};

/// A token that is found in text before anything is cut or merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// Its text.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Whether it comes from structure only: text never gives it, and decoding leaves it out.
    pub special: bool,
    /// Whether it must stand between characters that are none of a word.
    pub single_word: bool,
    /// Whether it takes the blanks before it.
    pub lstrip: bool,
    /// Whether it takes the blanks after it.
    pub rstrip: bool,
    /// Whether it is looked for in normalised text.
    pub normalized: bool,
}

impl AddedToken {
    /// A special token.
    pub fn special(content: impl Into<String>, id: u32) -> AddedToken {
        AddedToken {
            content: content.into(),
            id,
            special: true,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
        }
    }
}

/// Which tokens a text may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Specials {
    /// A special token in a text is text.
    #[default]
    Text,
    /// It is the token.
    Tokens,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text to encode.
    Text(Range<usize>),
    /// An added token, with the blanks that it takes.
    Token(u32, Range<usize>),
}

/// All added tokens of a tokenizer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Added {
    tokens: Vec<AddedToken>,
    ids: FxHashMap<u32, usize>,
    names: FxHashMap<String, usize>,
    /// Finds those that are looked for in text as it is.
    plain: Option<Finder>,
    /// Finds those that are looked for in normalised text.
    normal: Option<Finder>,
    /// What decoding makes each say: of those for normalised text what normalisation makes of them.
    said: Vec<String>,
    /// Ids of the vocabulary proper and of the tokens after it.
    len: usize,
}

impl PartialEq for Added {
    fn eq(&self, other: &Added) -> bool {
        self.tokens == other.tokens
    }
}

impl Eq for Added {}

#[derive(Clone, Debug)]
struct Finder {
    machine: AhoCorasick,
    /// Of each pattern its token.
    tokens: Vec<usize>,
    /// Whether text can give any of them: if all are special there is nothing to look for.
    ordinary: bool,
}

impl Finder {
    fn new(patterns: Vec<(String, usize)>, tokens: &[AddedToken]) -> Result<Option<Finder>, String> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let machine = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.iter().map(|p| &p.0))
            .map_err(|e| format!("too many or too long: {e}"))?;
        let ordinary = patterns.iter().any(|p| !tokens[p.1].special);
        Ok(Some(Finder { machine, tokens: patterns.into_iter().map(|p| p.1).collect(), ordinary }))
    }
}

impl Added {
    /// Added tokens beside a vocabulary of so many ids, each of which `is` the bytes it is asked for or not. Those for normalised text
    /// are looked for as `normalise` makes them.
    ///
    /// # Errors
    /// Says which token is empty, there twice, or has an id that it cannot have.
    pub(crate) fn new(
        tokens: Vec<AddedToken>,
        vocabulary: usize,
        is: impl Fn(u32, &str) -> bool,
        normalise: impl Fn(&str) -> String,
    ) -> Result<Added, String> {
        let after = tokens.iter().filter(|t| t.id as usize >= vocabulary).count();
        let mut made = Added { len: vocabulary + after, ..Added::default() };
        let (mut plain, mut normal) = (Vec::new(), Vec::new());
        for (i, t) in tokens.iter().enumerate() {
            let wrong = |what: String| Err(format!("added token {i} {what}"));
            if t.content.is_empty() {
                return wrong("is empty".to_owned());
            }
            if made.names.insert(t.content.clone(), i).is_some() {
                return wrong(format!("{:?} is there twice", t.content));
            }
            if made.ids.insert(t.id, i).is_some() {
                return wrong(format!("has id {}, which another added token has already", t.id));
            }
            // Ids after the vocabulary are all different, so without gaps if none is too large.
            if t.id as usize >= made.len {
                return wrong(format!("has id {}, but there are only {} tokens", t.id, made.len));
            }
            if (t.id as usize) < vocabulary && !is(t.id, &t.content) {
                return wrong(format!("has id {}, which another token has in the vocabulary", t.id));
            }
            let said = if t.normalized { normalise(&t.content) } else { t.content.clone() };
            // What normalisation takes away whole can be nowhere.
            if !said.is_empty() {
                (if t.normalized { &mut normal } else { &mut plain }).push((said.clone(), i));
            }
            made.said.push(said);
        }
        let finder = |patterns| Finder::new(patterns, &tokens).map_err(|e| format!("added tokens are {e}"));
        (made.plain, made.normal) = (finder(plain)?, finder(normal)?);
        Ok(Added { tokens, ..made })
    }

    /// Ids of the vocabulary and the added tokens together.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn tokens(&self) -> &[AddedToken] {
        &self.tokens
    }

    pub(crate) fn get(&self, id: u32) -> Option<&AddedToken> {
        self.ids.get(&id).map(|&i| &self.tokens[i])
    }

    /// What decoding makes of a token.
    pub(crate) fn said(&self, id: u32) -> Option<&str> {
        self.ids.get(&id).map(|&i| self.said[i].as_str())
    }

    pub(crate) fn named(&self, name: &str) -> Option<&AddedToken> {
        self.names.get(name).map(|&i| &self.tokens[i])
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.get(id).is_some_and(|t| t.special)
    }

    /// Whether any token is looked for in normalised text.
    pub(crate) fn seeks_normal(&self, specials: Specials) -> bool {
        sought(self.normal.as_ref(), specials).is_some()
    }

    /// The parts of a text as it is.
    pub(crate) fn plain(&self, text: &str, specials: Specials) -> Vec<Part> {
        self.parts(text, sought(self.plain.as_ref(), specials), specials)
    }

    /// The parts of a text that is normalised.
    pub(crate) fn normal(&self, text: &str, specials: Specials) -> Vec<Part> {
        self.parts(text, sought(self.normal.as_ref(), specials), specials)
    }

    fn parts(&self, text: &str, finder: Option<&Finder>, specials: Specials) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut done = 0;
        let found =
            finder.into_iter().flat_map(|f| f.machine.find_iter(text).map(|m| (f.tokens[m.pattern()], m)));
        for (token, m) in found {
            let t = &self.tokens[token];
            let (mut begin, mut end) = (m.start(), m.end());
            // A token before may have taken this one with the blanks after it.
            if begin < done || (t.special && specials == Specials::Text) {
                continue;
            }
            let alone = || {
                !text[..begin].chars().next_back().is_some_and(is_word)
                    && !text[end..].chars().next().is_some_and(is_word)
            };
            if t.single_word && !alone() {
                continue;
            }
            if t.lstrip {
                begin = done + text[done..begin].trim_end().len();
            }
            if t.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if done < begin {
                parts.push(Part::Text(done..begin));
            }
            parts.push(Part::Token(t.id, begin..end));
            done = end;
        }
        if done < text.len() {
            parts.push(Part::Text(done..text.len()));
        }
        parts
    }
}

fn sought(finder: Option<&Finder>, specials: Specials) -> Option<&Finder> {
    finder.filter(|f| f.ordinary || specials == Specials::Tokens)
}

/// `\w` of the regular expressions: letters, marks, digits, connecting punctuation and joiners.
fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    c.is_alphabetic()
        || matches!(c, '\u{200c}' | '\u{200d}')
        || matches!(
            c.general_category(),
            G::NonspacingMark
                | G::SpacingMark
                | G::EnclosingMark
                | G::DecimalNumber
                | G::ConnectorPunctuation
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(tokens: Vec<AddedToken>) -> Added {
        Added::new(tokens, 0, |_, _| true, str::to_owned).unwrap()
    }

    fn word(content: &str, id: u32) -> AddedToken {
        AddedToken { special: false, ..AddedToken::special(content, id) }
    }

    /// Tokens as `<id>` with what they take, text as it is.
    fn check(a: &Added, text: &str, specials: Specials, expected: &str) {
        let shown: Vec<String> = a
            .plain(text, specials)
            .into_iter()
            .map(|p| match p {
                Part::Text(r) => text[r].to_owned(),
                Part::Token(id, r) => format!("{id}:{}", &text[r]),
            })
            .collect();
        assert_eq!(shown.join("|"), expected, "{text:?}");
    }

    #[test]
    fn the_leftmost_longest_is_found_and_specials_only_when_asked_for() {
        let a = added(vec![word("<a>", 0), word("<a><b>", 1), AddedToken::special("<s>", 2), word("s", 3)]);
        check(&a, "x<a><b>y<a>", Specials::Text, "x|1:<a><b>|y|0:<a>");
        check(&a, "<s>s", Specials::Text, "<s>|3:s");
        check(&a, "<s>s", Specials::Tokens, "2:<s>|3:s");
        check(&a, "", Specials::Tokens, "");
    }

    #[test]
    fn blanks_and_borders_of_words() {
        let strip = AddedToken { lstrip: true, rstrip: true, ..word("<m>", 0) };
        let alone = AddedToken { single_word: true, ..word("is", 1) };
        let a = added(vec![strip, alone, word(" ", 2)]);
        check(&a, "x  <m>  <m> y", Specials::Text, "x|2: |2: |0:<m>  |0:<m> |y");
        check(&a, "this is,is_é is", Specials::Text, "this|2: |1:is|,is_é|2: |1:is");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |tokens| {
            let vocabulary = ["v", "w"];
            Added::new(tokens, 2, |id, name| vocabulary[id as usize] == name, str::to_owned).unwrap_err()
        };
        assert!(refused(vec![word("v", 0), word("", 2)]).contains("1 is empty"));
        assert!(refused(vec![word("a", 2), word("a", 3)]).contains("twice"));
        assert!(refused(vec![word("a", 2), word("b", 2)]).contains("id 2"));
        assert!(refused(vec![word("a", 2), word("b", 4)]).contains("only 4 tokens"));
        assert!(refused(vec![word("a", u32::MAX)]).contains("only 3 tokens"));
        assert!(refused(vec![word("a", 1)]).contains("another token"));
    }
}
