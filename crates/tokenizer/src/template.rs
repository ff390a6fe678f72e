//! Special tokens around one text or a pair: BERT's `[CLS] a [SEP] b [SEP]`, Llama's `<s> a`.

use std::ops::Range;

use crate::added::Added;

/// A text or a pair as a model takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The ids.
    pub ids: Vec<u32>,
    /// Which segment each id belongs to; BERT: 0 for the first text, 1 for the second.
    pub types: Vec<u32>,
    /// The bytes of its text that each id stands for; of special tokens none.
    pub offsets: Vec<Range<usize>>,
}

impl Encoding {
    pub(crate) fn push(&mut self, id: u32, kind: u32, offsets: Range<usize>) {
        self.ids.push(id);
        self.types.push(kind);
        self.offsets.push(offsets);
    }
}

/// An id and the bytes of the text that it stands for.
pub type Token = (u32, Range<usize>);

/// One part of a template, with its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Special(String, u32),
    First(u32),
    Second(u32),
}

/// What is put around texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(crate) single: Vec<Part>,
    pub(crate) pair: Vec<Part>,
}

impl Template {
    /// BERT's: `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, the second text and its end in segment 1.
    pub fn bert(begin: &str, separator: &str) -> Template {
        let special = |name: &str, kind| Part::Special(name.to_owned(), kind);
        let single = vec![special(begin, 0), Part::First(0), special(separator, 0)];
        let second = [Part::Second(1), special(separator, 1)];
        Template { pair: single.iter().cloned().chain(second).collect(), single }
    }

    /// RoBERTa's: `<s> a </s>` and `<s> a </s></s> b </s>`, all in segment 0.
    pub fn roberta(begin: &str, separator: &str) -> Template {
        let special = |name: &str| Part::Special(name.to_owned(), 0);
        let single = vec![special(begin), Part::First(0), special(separator)];
        let second = [special(separator), Part::Second(0), special(separator)];
        Template { pair: single.iter().cloned().chain(second).collect(), single }
    }

    /// Names of the special tokens in it.
    pub(crate) fn specials(&self) -> impl Iterator<Item = &str> {
        self.single.iter().chain(&self.pair).filter_map(|p| match p {
            Part::Special(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Joins what one text or two gave; without a template they stand alone, in segments 0 and 1.
    pub(crate) fn around(
        template: Option<&Template>,
        first: &[Token],
        second: Option<&[Token]>,
        added: &Added,
    ) -> Encoding {
        let bare;
        let template = match template {
            Some(t) => t,
            None => {
                bare = Template { single: vec![Part::First(0)], pair: vec![Part::First(0), Part::Second(1)] };
                &bare
            }
        };
        let mut made = Encoding::default();
        for part in if second.is_some() { &template.pair } else { &template.single } {
            let (tokens, kind) = match part {
                Part::Special(name, kind) => {
                    added.named(name).into_iter().for_each(|t| made.push(t.id, *kind, 0..0));
                    continue;
                }
                Part::First(kind) => (first, *kind),
                Part::Second(kind) => (second.unwrap_or_default(), *kind),
            };
            tokens.iter().for_each(|(id, offsets)| made.push(*id, kind, offsets.clone()));
        }
        made
    }
}
