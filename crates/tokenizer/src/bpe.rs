//! Byte-level BPE: every byte is a token, merges make longer ones, so every text has ids and every id has bytes.
//!
//! Sennrich et al. 2016; Radford et al. 2019.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::Split;

/// A vocabulary with its merges and special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenizer {
    /// The bytes of each id; of a special token the bytes of its name.
    tokens: Vec<Vec<u8>>,
    /// Pairs of ids in order of rank.
    merges: Vec<(u32, u32)>,
    /// Rank and result of each merge.
    ranks: FxHashMap<(u32, u32), (u32, u32)>,
    /// The id of each byte.
    bytes: Vec<u32>,
    specials: Vec<(String, u32)>,
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

impl Tokenizer {
    /// Puts a tokenizer together from the bytes of its tokens, its merges in order of rank, and its special tokens.
    ///
    /// # Errors
    /// Says which byte has no token, which merge has no result, or which special id is out of range.
    pub fn new(
        tokens: Vec<Vec<u8>>,
        merges: Vec<(u32, u32)>,
        specials: Vec<(String, u32)>,
    ) -> Result<Tokenizer, String> {
        let special = |id: u32| specials.iter().any(|s| s.1 == id);
        let mut ids = FxHashMap::default();
        for (id, t) in tokens.iter().enumerate().filter(|(i, _)| !special(*i as u32)) {
            if ids.insert(t.as_slice(), id as u32).is_some() {
                return Err(format!("two ids have the bytes {:?}", String::from_utf8_lossy(t)));
            }
        }
        let bytes: Result<Vec<u32>, String> = (0..=255u8)
            .map(|b| ids.get([b].as_slice()).copied().ok_or_else(|| format!("byte {b} has no token")))
            .collect();
        let mut ranks = FxHashMap::default();
        for (rank, &(a, b)) in merges.iter().enumerate() {
            let part = |id: u32| {
                tokens.get(id as usize).ok_or_else(|| format!("merge {rank}: id {id} does not exist"))
            };
            let whole = [part(a)?.as_slice(), part(b)?.as_slice()].concat();
            let id = *ids.get(whole.as_slice()).ok_or_else(|| {
                format!("merge {rank}: its result {:?} is no token", String::from_utf8_lossy(&whole))
            })?;
            ranks.entry((a, b)).or_insert((rank as u32, id));
        }
        if let Some((name, id)) = specials.iter().find(|s| s.1 as usize >= tokens.len()) {
            return Err(format!("special token {name} has id {id}, the vocabulary {} ids", tokens.len()));
        }
        Ok(Tokenizer {
            bytes: bytes?,
            merges,
            ranks,
            specials,
            tokens,
            split: Split::default(),
            variant: Variant::default(),
            whole: FxHashMap::default(),
        })
    }

    /// The same tokenizer with another way to cut text into words.
    #[must_use]
    pub fn with_split(self, split: Split) -> Tokenizer {
        Tokenizer { split, ..self }
    }

    /// The same tokenizer as another family uses it.
    #[must_use]
    pub fn with_variant(self, variant: Variant) -> Tokenizer {
        let ordinary =
            (0u32..).zip(&self.tokens).filter(|(id, _)| variant.ignore_merges && !self.is_special(*id));
        let whole = ordinary.map(|(id, t)| (t.clone(), id)).collect();
        Tokenizer { variant, whole, ..self }
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
        self.tokens.len()
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The bytes of an id; `None` if there is no such id.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// Merges in order of rank.
    pub fn merges(&self) -> &[(u32, u32)] {
        &self.merges
    }

    /// Special tokens by name.
    pub fn specials(&self) -> &[(String, u32)] {
        &self.specials
    }

    /// The id of a special token.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.specials.iter().find(|s| s.0 == name).map(|s| s.1)
    }

    /// Whether an id is special.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.iter().any(|s| s.1 == id)
    }

    /// The ids of a text; never a special one, whatever the text says.
    ///
    /// ```
    /// let tokenizer = pupil_tokenizer::train(["low lower lowest"; 4], 260, &["<|endoftext|>"]);
    /// let ids = tokenizer.encode("lowest <|endoftext|>");
    /// assert!(ids.iter().all(|&id| !tokenizer.is_special(id)));
    /// assert_eq!(tokenizer.decode(&ids), "lowest <|endoftext|>");
    /// ```
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        Encoder::new(self).encode(text, &mut ids);
        ids
    }

    /// The ids of many texts, on several threads.
    pub fn encode_all(&self, texts: &[&str], threads: usize) -> Vec<Vec<u32>> {
        let mut all = vec![Vec::new(); texts.len()];
        // Small batches, taken in turn, because texts differ in length.
        let batches = std::sync::Mutex::new(texts.chunks(BATCH).zip(all.chunks_mut(BATCH)));
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, texts.len().div_ceil(BATCH).max(1)) {
                scope.spawn(|| {
                    let mut encoder = Encoder::new(self);
                    loop {
                        let next = batches.lock().unwrap_or_else(|e| e.into_inner()).next();
                        let Some((texts, all)) = next else { return };
                        texts.iter().zip(all).for_each(|(t, ids)| encoder.encode(t, ids));
                    }
                });
            }
        });
        all
    }

    /// The text of some ids: special ones give nothing, bytes that are not UTF-8 the replacement character.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = Decoder::new(self);
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    fn word(&self, word: &[u8], ids: &mut Vec<u32>) {
        if let Some(id) = self.whole.get(word) {
            ids.push(*id);
            return;
        }
        let begin = ids.len();
        ids.extend(word.iter().map(|&b| self.bytes[b as usize]));
        if word.len() <= SHORT { self.merge_short(ids, begin) } else { self.merge_long(ids, begin) }
    }

    /// Repeats the best merge by looking at all pairs: best for words of a few bytes.
    fn merge_short(&self, ids: &mut Vec<u32>, begin: usize) {
        loop {
            let pairs = ids[begin..].windows(2).enumerate();
            let found =
                pairs.filter_map(|(i, p)| self.ranks.get(&(p[0], p[1])).map(|&(rank, id)| (rank, i, id)));
            let Some((_, i, id)) = found.min() else { return };
            ids[begin + i] = id;
            ids.remove(begin + i + 1);
        }
    }

    /// The same with a queue of pairs and a linked list: n log n for words of any length.
    fn merge_long(&self, ids: &mut Vec<u32>, begin: usize) {
        const NONE: usize = usize::MAX;
        let mut symbols = ids.split_off(begin);
        let n = symbols.len();
        let mut previous: Vec<usize> = (0..n).map(|i| i.wrapping_sub(1)).collect();
        let mut next: Vec<usize> = (1..=n).map(|i| if i < n { i } else { NONE }).collect();
        let mut live = vec![true; n];
        let mut queue = BinaryHeap::new();
        let offer = |queue: &mut BinaryHeap<_>, symbols: &[u32], i: usize, j: usize| {
            if let Some(&(rank, id)) = self.ranks.get(&(symbols[i], symbols[j])) {
                queue.push(Reverse((rank, i, symbols[i], symbols[j], id)));
            }
        };
        (1..n).for_each(|j| offer(&mut queue, &symbols, j - 1, j));
        while let Some(Reverse((_, i, left, right, id))) = queue.pop() {
            let j = next[i];
            if !live[i] || j == NONE || symbols[i] != left || symbols[j] != right {
                continue;
            }
            symbols[i] = id;
            live[j] = false;
            next[i] = next[j];
            if next[i] != NONE {
                previous[next[i]] = i;
                offer(&mut queue, &symbols, i, next[i]);
            }
            if previous[i] != NONE {
                offer(&mut queue, &symbols, previous[i], i);
            }
        }
        ids.extend(symbols.iter().zip(&live).filter(|(_, live)| **live).map(|(s, _)| *s));
    }
}

/// Texts that a thread takes at a time.
const BATCH: usize = 32;

/// Words up to this length are merged by looking at all pairs.
const SHORT: usize = 24;

/// Words that an encoder remembers at most.
const REMEMBERED: usize = 1 << 17;

/// Encodes many texts with one tokenizer, remembering words.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// Of each word where its ids lie, and how many there are.
    known: FxHashMap<Key, (u32, u32)>,
    ids: Vec<u32>,
}

/// A word of up to 15 bytes with its length, as a number: no memory to follow, nothing to compare byte by byte.
type Key = u128;

fn key(word: &[u8]) -> Option<Key> {
    if word.len() > 15 {
        return None;
    }
    let mut bytes = [0; 16];
    bytes[..word.len()].copy_from_slice(word);
    bytes[15] = word.len() as u8;
    Some(u128::from_le_bytes(bytes))
}

impl<'a> Encoder<'a> {
    /// An encoder that remembers nothing yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder { tokenizer, known: FxHashMap::default(), ids: Vec::new() }
    }

    /// Appends the ids of a text.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        if self.tokenizer.variant.normalise && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            self.words(&text.nfc().collect::<String>(), ids);
        } else {
            self.words(text, ids);
        }
    }

    fn words(&mut self, text: &str, ids: &mut Vec<u32>) {
        ids.reserve(text.len() / 4);
        for word in self.tokenizer.split.words(text).map(str::as_bytes) {
            let key = key(word);
            if let Some((begin, n)) = key.and_then(|k| self.known.get(&k)) {
                ids.extend_from_slice(&self.ids[*begin as usize..(begin + n) as usize]);
                continue;
            }
            let begin = ids.len();
            self.tokenizer.word(word, ids);
            if let Some(key) = key
                && self.known.len() < REMEMBERED
            {
                let made = &ids[begin..];
                self.known.insert(key, (self.ids.len() as u32, made.len() as u32));
                self.ids.extend_from_slice(made);
            }
        }
    }
}

/// Decodes ids as they come: an incomplete character is held back until its last byte is there.
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
}

impl<'a> Decoder<'a> {
    /// A decoder that holds nothing.
    pub fn new(tokenizer: &'a Tokenizer) -> Decoder<'a> {
        Decoder { tokenizer, held: Vec::new() }
    }

    /// The text that this id completes; special and unknown ids give nothing.
    pub fn push(&mut self, id: u32) -> String {
        if !self.tokenizer.is_special(id) {
            self.held.extend_from_slice(self.tokenizer.bytes(id).unwrap_or_default());
        }
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(s) => {
                    text.push_str(s);
                    self.held.clear();
                    return text;
                }
                Err(e) => {
                    let (good, bad) = (e.valid_up_to(), e.error_len());
                    text.push_str(&String::from_utf8_lossy(&self.held[..good]));
                    self.held.drain(..good);
                    let Some(bad) = bad else { return text };
                    text.push('\u{fffd}');
                    self.held.drain(..bad);
                }
            }
        }
    }

    /// What is still held, as replacement characters.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train;

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
    fn long_and_short_words_are_merged_alike() {
        let t = sample();
        let mut state = 7u32;
        for n in 0..200 {
            let word: Vec<u8> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"abthe "[(state >> 24) as usize % 6]
                })
                .collect();
            let (mut a, mut b) = (vec![], vec![]);
            for ids in [&mut a, &mut b] {
                ids.extend(word.iter().map(|&c| t.bytes[c as usize]));
            }
            t.merge_short(&mut a, 0);
            t.merge_long(&mut b, 0);
            assert_eq!(a, b, "{:?}", String::from_utf8_lossy(&word));
        }
    }

    #[test]
    fn families_differ_in_whole_words_and_normal_forms() {
        // Merges that cannot reach their own token "abc": b and c join first.
        let bytes = (0..=255u8).map(|b| vec![b]);
        let tokens: Vec<Vec<u8>> = bytes.chain([b"bc".to_vec(), b"ab".to_vec(), b"abc".to_vec()]).collect();
        let pair = |a: u8, b: u8| (u32::from(a), u32::from(b));
        let t =
            Tokenizer::new(tokens, vec![pair(b'b', b'c'), pair(b'a', b'b'), (257, u32::from(b'c'))], vec![])
                .unwrap();
        assert_eq!(t.encode("abc"), [u32::from(b'a'), 256]);
        let whole = t.clone().with_variant(Variant { ignore_merges: true, normalise: false });
        assert_eq!(whole.encode("abc abc"), [258, 32, 97, 256]);
        let normal = t.with_variant(Variant { ignore_merges: false, normalise: true });
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
    fn a_megabyte_without_a_break_is_no_trouble() {
        let mut state = 1u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        };
        let random: String = (0..1 << 20).map(|_| letter()).collect();
        let pieces = ["a", "_", "一", " ", "\u{301}", "\n", "'"].map(|c| c.repeat((1 << 20) / c.len()));
        for text in pieces.iter().chain([&random]) {
            for split in [Split::Gpt2, Split::O200k] {
                let t = sample().with_split(split);
                let ids = t.encode(text);
                let bytes: Vec<u8> = ids.iter().flat_map(|&id| t.bytes(id).unwrap().to_vec()).collect();
                assert!(bytes == text.as_bytes(), "{split:?} {:?}", &text[..8]);
            }
        }
    }

    #[test]
    fn a_character_in_pieces_is_held_back() {
        let t = sample();
        let mut d = Decoder::new(&t);
        let bytes: Vec<u32> = "é🙂".bytes().map(|b| t.bytes[b as usize]).collect();
        let parts: Vec<String> = bytes.iter().map(|&id| d.push(id)).collect();
        assert_eq!(parts, ["", "é", "", "", "", "🙂"]);
        assert_eq!(d.push(bytes[0]) + &d.finish(), "\u{fffd}");
        assert_eq!(d.push(u32::MAX), "");
    }
}
