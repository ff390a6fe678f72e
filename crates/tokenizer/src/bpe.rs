//! Byte-level BPE: every byte is a token, merges make longer ones, so every text has ids and every id has bytes.
//!
//! Sennrich et al. 2016; Radford et al. 2019.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::Split;
use crate::added::{Added, AddedToken, Part, Specials};
use crate::memory::Memory;
use crate::merge::{Merges, Pair};
use crate::normal::{Places, nfc};
use crate::template::{Template, Token};

/// A vocabulary of byte strings with its merges and added tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpe {
    /// The bytes of each id of the vocabulary proper; of a special token the bytes of its name.
    tokens: Vec<Vec<u8>>,
    merges: Merges,
    /// The id of each byte.
    bytes: Vec<u32>,
    pub(crate) added: Added,
    pub(crate) template: Option<Template>,
    split: Split,
    variant: Variant,
    /// The id of each token's bytes, for [`Variant::ignore_merges`].
    whole: FxHashMap<Vec<u8>, u32>,
}

/// What families do beyond plain byte-level BPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// A word that is a token is that token, whatever the merges say (Llama 3).
    pub ignore_merges: bool,
    /// Text is brought into Unicode's normal form C first (Qwen), so decoding gives the normal form.
    pub normalise: bool,
}

impl Bpe {
    /// Puts a tokenizer together from the bytes of its tokens, its merges in order of rank, and its added tokens, which are among those
    /// or have the ids after them.
    ///
    /// # Errors
    /// Says which byte has no token, which merge has no result or is there twice, or which id cannot be.
    pub fn new(
        tokens: Vec<Vec<u8>>,
        merges: Vec<(u32, u32)>,
        added: Vec<AddedToken>,
        variant: Variant,
    ) -> Result<Bpe, String> {
        let normalise = |text: &str| if variant.normalise { text.nfc().collect() } else { text.to_owned() };
        let is = |id: u32, name: &str| tokens[id as usize] == name.as_bytes();
        let added = Added::new(added, tokens.len(), is, normalise)?;
        let mut ids: FxHashMap<&[u8], u32> = FxHashMap::default();
        for (id, t) in (0..).zip(&tokens).filter(|(id, _)| !added.is_special(*id)) {
            if let Some(other) = ids.insert(t.as_slice(), id) {
                return Err(format!("ids {other} and {id} have the bytes {:?}", String::from_utf8_lossy(t)));
            }
        }
        let bytes: Result<Vec<u32>, String> = (0..=255u8)
            .map(|b| ids.get([b].as_slice()).copied().ok_or_else(|| format!("byte {b} has no token")))
            .collect();
        let result = |a: u32, b: u32| {
            let part = |id: u32| tokens.get(id as usize).ok_or_else(|| format!("id {id} does not exist"));
            let whole = [part(a)?.as_slice(), part(b)?.as_slice()].concat();
            let id = ids.get(whole.as_slice()).copied();
            id.map(Some)
                .ok_or_else(|| format!("its result {:?} is no token", String::from_utf8_lossy(&whole)))
        };
        let merges = Merges::new(merges, result)?;
        let whole = if variant.ignore_merges {
            ids.iter().map(|(bytes, id)| (bytes.to_vec(), *id)).collect()
        } else {
            FxHashMap::default()
        };
        let (bytes, split) = (bytes?, Split::default());
        Ok(Bpe { tokens, merges, bytes, added, template: None, split, variant, whole })
    }

    /// The same tokenizer with another way to cut text into words.
    #[must_use]
    pub fn with_split(self, split: Split) -> Bpe {
        Bpe { split, ..self }
    }

    /// What it does beyond plain byte-level BPE.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// How text is cut into words.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.added.len()
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of an id; `None` if there is no such id.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        match self.added.get(id) {
            Some(t) => Some(t.content.as_bytes()),
            None => self.tokens.get(id as usize).map(Vec::as_slice),
        }
    }

    /// Ids of the vocabulary proper: added tokens may have more after them.
    pub(crate) fn vocabulary(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// Merges in order of rank.
    pub fn merges(&self) -> &[Pair] {
        self.merges.list()
    }

    /// Appends the ids of a text.
    pub(crate) fn encode_with(
        &self,
        text: &str,
        specials: Specials,
        memory: &mut Memory,
        ids: &mut Vec<u32>,
    ) {
        ids.reserve(text.len() / 4);
        for part in self.added.plain(text, specials) {
            match part {
                Part::Token(id, _) => ids.push(id),
                Part::Text(range) => {
                    let normal = self.normalised(&text[range]);
                    for part in self.added.normal(&normal, specials) {
                        match part {
                            Part::Token(id, _) => ids.push(id),
                            Part::Text(range) => self.words(&normal[range], memory, ids),
                        }
                    }
                }
            }
        }
    }

    /// The ids of a text with the bytes that they stand for, whole characters each.
    pub(crate) fn tokens(&self, text: &str, specials: Specials) -> Vec<Token> {
        let (mut out, mut ids, mut memory) = (Vec::new(), Vec::new(), Memory::default());
        for part in self.added.plain(text, specials) {
            let range = match part {
                Part::Text(range) => range,
                Part::Token(id, range) => {
                    out.push((id, range));
                    continue;
                }
            };
            let at = range.start;
            let normal = self.normalised(&text[range.clone()]);
            let places = match normal {
                Cow::Borrowed(_) => None,
                Cow::Owned(_) => Some(Places::new(&nfc(&text[range]))),
            };
            let place = |begin: usize, end: usize| {
                let (mut begin, mut end) = (begin, end);
                while !normal.is_char_boundary(begin) {
                    begin -= 1;
                }
                while !normal.is_char_boundary(end) {
                    end += 1;
                }
                let r = places.as_ref().map_or(begin..end, |p| p.range(begin..end));
                r.start + at..r.end + at
            };
            for part in self.added.normal(&normal, specials) {
                match part {
                    Part::Token(id, range) => out.push((id, place(range.start, range.end))),
                    Part::Text(range) => {
                        ids.clear();
                        self.words(&normal[range.clone()], &mut memory, &mut ids);
                        let mut begin = range.start;
                        for &id in &ids {
                            let end = begin + self.tokens[id as usize].len();
                            out.push((id, place(begin, end)));
                            begin = end;
                        }
                    }
                }
            }
        }
        out
    }

    fn normalised<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.variant.normalise && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            text.nfc().collect::<String>().into()
        } else {
            text.into()
        }
    }

    fn words(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) {
        for word in self.split.words(text).map(str::as_bytes) {
            memory.word(word, ids, |ids| self.word(word, ids));
        }
    }

    fn word(&self, word: &[u8], ids: &mut Vec<u32>) {
        if let Some(id) = self.whole.get(word) {
            ids.push(*id);
            return;
        }
        let begin = ids.len();
        ids.extend(word.iter().map(|&b| self.bytes[b as usize]));
        self.merges.apply(ids, begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Tokenizer, train};

    fn sample() -> Tokenizer {
        let text = "the cat sat on the mat, the hat; 你好世界 你好 don't 123 aaaaaaaa bbbb";
        train([text; 5], 330, &["<|endoftext|>", "<|im_end|>"])
    }

    #[test]
    fn every_text_comes_back() {
        let t = sample();
        for text in ["", "the cat", "unseen Wörter 🙂 \0\u{fffd}", "你好吗", "<|endoftext|>", "\r\n\t  x"]
        {
            assert_eq!(t.decode(&t.encode(text)), text);
            assert!(t.encode(text).iter().all(|&id| !t.is_special(id)));
        }
    }

    #[test]
    fn families_differ_in_whole_words_and_normal_forms() {
        // Merges that cannot reach their own token "abc": b and c join first.
        let bytes = (0..=255u8).map(|b| vec![b]);
        let tokens: Vec<Vec<u8>> = bytes.chain([b"bc".to_vec(), b"ab".to_vec(), b"abc".to_vec()]).collect();
        let pair = |a: u8, b: u8| (u32::from(a), u32::from(b));
        let merges = vec![pair(b'b', b'c'), pair(b'a', b'b'), (257, u32::from(b'c'))];
        let new =
            |variant| Tokenizer::from(Bpe::new(tokens.clone(), merges.clone(), vec![], variant).unwrap());
        assert_eq!(new(Variant::default()).encode("abc"), [u32::from(b'a'), 256]);
        let whole = new(Variant { ignore_merges: true, normalise: false });
        assert_eq!(whole.encode("abc abc"), [258, 32, 97, 256]);
        let normal = new(Variant { ignore_merges: false, normalise: true });
        assert_eq!(normal.decode(&normal.encode("e\u{301}")), "é");
    }

    #[test]
    fn many_texts_are_encoded_as_each_alone() {
        let t = sample();
        let texts: Vec<String> =
            (0..200).map(|i| format!("the cat {} sat 你好 on {i}", "mat".repeat(i % 9))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let alone: Vec<Vec<u32>> = texts.iter().map(|x| t.encode(x)).collect();
        assert_eq!(t.encode_all(&texts, 3), alone);
        assert!(t.encode_all(&[], 2).is_empty());
    }

    #[test]
    fn a_character_in_pieces_is_held_back() {
        let t = sample();
        let mut d = Decoder::new(&t);
        let bytes: Vec<u32> = "é🙂".bytes().map(u32::from).collect();
        let parts: Vec<String> = bytes.iter().map(|&id| d.push(id)).collect();
        assert_eq!(parts, ["", "é", "", "", "", "🙂"]);
        assert_eq!(d.push(bytes[0]) + &d.finish(), "\u{fffd}");
        assert_eq!(d.push(u32::MAX), "");
    }
}
