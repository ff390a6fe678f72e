//! Training of a WordPiece vocabulary: the letters, then what BPE merges of them, the most frequent pair first.
//!
//! So does the trainer of Hugging Face's tokenizers; BERT's own was never published. A letter within a word is another symbol than
//! one that begins a word. Equally frequent pairs are merged in order of their ids, so threads and the order of texts do not matter.

use rustc_hash::FxHashMap;

use super::{Settings, WordPiece, chunks, words};
use crate::added::AddedToken;
use crate::template::Template;
use crate::train::{Merger, count};

/// BERT's special tokens, in order of their ids.
pub const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What to train. The special tokens are [`SPECIALS`], which get the first ids.
#[derive(Clone, Debug)]
pub struct Training {
    /// How text is treated; its unknown token is `[UNK]`.
    pub settings: Settings,
    /// Ids, special tokens included; fewer if the texts give no more pairs that occur twice.
    pub size: usize,
    /// Different letters at most, the most frequent ones; words with others are unknown.
    pub alphabet: usize,
    /// Threads that cut texts into words.
    pub threads: usize,
}

/// The id of each letter, for where a word begins and for within.
type Letters = FxHashMap<(char, bool), u32>;

/// Stands before what begins a word; no byte of UTF-8.
const BEGINS: u8 = 0xff;

impl Training {
    /// Trains.
    ///
    /// # Errors
    /// If the settings do not fit: another unknown token, or words that may be too long.
    pub fn run(&self, texts: &[&str]) -> Result<WordPiece, String> {
        let words = self.words(texts);
        let room = self.size.saturating_sub(SPECIALS.len());
        let (ids, tokens) = self.letters(&words, room);
        let spelled = |(word, n): &(String, u64)| {
            let symbols: Option<Vec<u32>> =
                word.chars().enumerate().map(|(i, c)| ids.get(&(c, i == 0)).copied()).collect();
            symbols.filter(|s| s.len() > 1).map(|s| (s, *n))
        };
        let list: Vec<(Vec<u32>, u64)> = words.iter().filter_map(spelled).collect();
        let (tokens, _) = Merger::of(tokens, &list).run(room);
        let name = |t: &Vec<u8>| match t.strip_prefix(&[BEGINS]) {
            Some(rest) => String::from_utf8_lossy(rest).into_owned(),
            None => self.settings.prefix.clone() + &String::from_utf8_lossy(t),
        };
        let pieces = SPECIALS.map(str::to_owned).into_iter().chain(tokens.iter().map(name)).collect();
        let added = SPECIALS.iter().zip(0..).map(|(s, id)| AddedToken::special(*s, id)).collect();
        WordPiece::new(self.settings.clone(), pieces, added, Some(Template::bert(SPECIALS[2], SPECIALS[3])))
    }

    /// The words of the texts that are not too long, with their numbers, in order.
    fn words(&self, texts: &[&str]) -> Vec<(String, u64)> {
        let mut counts: FxHashMap<String, u64> = FxHashMap::default();
        let mut chars = Vec::new();
        for (chunk, n) in count(texts, self.threads.max(1), chunks) {
            chars.clear();
            self.settings.normalizer.append(chunk, 0, &mut chars);
            for word in words(&chars).filter(|w| w.len() <= self.settings.longest_word) {
                *counts.entry(word.iter().map(|a| a.c).collect()).or_default() += n;
            }
        }
        let mut list: Vec<(String, u64)> = counts.into_iter().collect();
        list.sort_unstable();
        list
    }

    /// The letters, and of each id its bytes; those that occur most if there are too many.
    fn letters(&self, words: &[(String, u64)], room: usize) -> (Letters, Vec<Vec<u8>>) {
        let mut counts: FxHashMap<char, (u64, bool)> = FxHashMap::default();
        for (word, n) in words {
            for (i, c) in word.chars().enumerate() {
                let (all, within) = counts.entry(c).or_default();
                *all += n;
                *within |= i > 0;
            }
        }
        let mut letters: Vec<(char, u64, bool)> = counts.into_iter().map(|(c, (n, w))| (c, n, w)).collect();
        letters.sort_unstable_by_key(|&(c, n, _)| (std::cmp::Reverse(n), c));
        letters.truncate(self.alphabet);
        let mut taken = 0;
        letters.retain(|l| {
            let fits = taken + 1 + usize::from(l.2) <= room;
            taken += if fits { 1 + usize::from(l.2) } else { 0 };
            fits
        });
        letters.sort_unstable();
        let within = letters.iter().filter(|l| l.2).map(|l| (l.0, false));
        let symbols: Vec<(char, bool)> = letters.iter().map(|l| (l.0, true)).chain(within).collect();
        let bytes = |&(c, begins): &(char, bool)| {
            let mark = begins.then_some(BEGINS);
            mark.into_iter().chain(c.to_string().into_bytes()).collect()
        };
        let tokens = symbols.iter().map(bytes).collect();
        (symbols.into_iter().zip(0..).collect(), tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(texts: &[&str], size: usize, alphabet: usize) -> WordPiece {
        Training { settings: Settings::default(), size, alphabet, threads: 2 }.run(texts).unwrap()
    }

    #[test]
    fn frequent_words_become_pieces() {
        let texts = ["The newest and the widest, the lowest!"; 4];
        let t = train(&texts, 200, 100);
        let pieces: Vec<&str> = t.encode("the newest").iter().map(|&id| t.piece(id).unwrap()).collect();
        assert_eq!(pieces, ["the", "newest"]);
        assert!(!t.encode("thewest linen").contains(&t.unknown()));
        assert!(t.encode("xyz").contains(&t.unknown()));
        assert_eq!(t.decode(&t.encode_pair(texts[0], None).ids), "the newest and the widest, the lowest!");
        assert_eq!(t.special("[MASK]"), Some(4));
        assert_eq!(WordPiece::from_json(&t.to_json()).unwrap(), t);
    }

    #[test]
    fn neither_threads_nor_order_matter() {
        let a = train(&["ab abc bc", "abc abd 你好"], 40, 100);
        let mut b = Training { settings: Settings::default(), size: 40, alphabet: 100, threads: 1 };
        assert_eq!(b.run(&["abc abd 你好", "ab abc bc"]).unwrap(), a);
        b.settings.unknown = "?".to_owned();
        assert!(b.run(&["x"]).unwrap_err().contains("\"?\""));
    }

    #[test]
    fn the_alphabet_is_cut_to_what_is_frequent_and_to_the_room() {
        let t = train(&["aaa aa b"], 200, 1);
        assert_eq!((t.special("[PAD]"), t.encode("aa b").last()), (Some(0), Some(&t.unknown())));
        assert_eq!(train(&["aaa aa b cd"], 8, 100).len(), 8);
        for size in 0..6 {
            assert_eq!(train(&["bcd"], size, 100).len().max(6), 6, "{size}");
        }
        assert_eq!(train(&[], 100, 100).len(), 5);
        assert_eq!(train(&[&"word ".repeat(10_000), &"x".repeat(1 << 20)], 100, 100).encode("word").len(), 1);
    }
}
