//! BPE training: the most frequent pair becomes a token, again and again.
//!
//! Exact: pair counts are kept up to date with every merge. Deterministic: of equally frequent pairs the one with the smaller bytes wins, so the
//! order of the texts does not matter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Tokenizer, words};

/// Pairs of ids.
type Pair = (u32, u32);

/// Trains a tokenizer of at most `size` ids, special tokens included (fewer if the texts give no more pairs that occur twice; 256 and
/// the special tokens at least).
pub fn train<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, size: usize, specials: &[&str]) -> Tokenizer {
    let mut counts: FxHashMap<Vec<u8>, u64> = FxHashMap::default();
    for text in texts {
        for word in words(text.as_ref()) {
            match counts.get_mut(word.as_bytes()) {
                Some(n) => *n += 1,
                None => {
                    counts.insert(word.as_bytes().to_vec(), 1);
                }
            }
        }
    }
    let mut list: Vec<(Vec<u8>, u64)> = counts.into_iter().collect();
    list.sort_unstable();
    let merged = size.saturating_sub(specials.len());
    let (mut tokens, merges) = Training::new(&list).run(merged);
    let first = tokens.len() as u32;
    tokens.extend(specials.iter().map(|s| s.as_bytes().to_vec()));
    let specials = specials.iter().zip(first..).map(|(s, id)| ((*s).to_owned(), id)).collect();
    Tokenizer::new(tokens, merges, specials).expect("training makes every byte and every merge a token")
}

/// A candidate: its count, then the bytes of its halves, smaller first.
type Candidate = (u64, Reverse<(Vec<u8>, Vec<u8>)>, Pair);

struct Training {
    words: Vec<(Vec<u32>, u64)>,
    tokens: Vec<Vec<u8>>,
    counts: FxHashMap<Pair, u64>,
    /// Words that hold or held a pair.
    places: FxHashMap<Pair, FxHashSet<u32>>,
    queue: BinaryHeap<Candidate>,
}

impl Training {
    fn new(list: &[(Vec<u8>, u64)]) -> Training {
        let words: Vec<(Vec<u32>, u64)> =
            list.iter().map(|(w, n)| (w.iter().map(|&b| u32::from(b)).collect(), *n)).collect();
        let mut t = Training {
            tokens: (0..=255u8).map(|b| vec![b]).collect(),
            counts: FxHashMap::default(),
            places: FxHashMap::default(),
            queue: BinaryHeap::new(),
            words,
        };
        for (i, (word, n)) in t.words.iter().enumerate() {
            for p in word.windows(2) {
                *t.counts.entry((p[0], p[1])).or_default() += n;
                t.places.entry((p[0], p[1])).or_default().insert(i as u32);
            }
        }
        let pairs: Vec<Pair> = t.counts.keys().copied().collect();
        pairs.into_iter().for_each(|p| t.offer(p));
        t
    }

    fn offer(&mut self, pair: Pair) {
        let count = self.counts.get(&pair).copied().unwrap_or(0);
        if count > 1 {
            let bytes = |id: u32| self.tokens[id as usize].clone();
            self.queue.push((count, Reverse((bytes(pair.0), bytes(pair.1))), pair));
        }
    }

    fn run(mut self, size: usize) -> (Vec<Vec<u8>>, Vec<Pair>) {
        let mut merges = Vec::new();
        let mut known: FxHashSet<Vec<u8>> = self.tokens.iter().cloned().collect();
        while self.tokens.len() < size {
            let Some((count, _, pair)) = self.queue.pop() else { break };
            if self.counts.get(&pair) != Some(&count) {
                // The count has changed since; what it is now was offered then.
                continue;
            }
            let whole = [self.tokens[pair.0 as usize].as_slice(), &self.tokens[pair.1 as usize]].concat();
            if !known.insert(whole.clone()) {
                // Another pair made the same bytes: one token for each byte string.
                self.counts.remove(&pair);
                continue;
            }
            self.tokens.push(whole);
            merges.push(pair);
            self.merge(pair, self.tokens.len() as u32 - 1);
        }
        (self.tokens, merges)
    }

    fn merge(&mut self, pair: Pair, id: u32) {
        let places = self.places.remove(&pair).unwrap_or_default();
        let mut changed: FxHashSet<Pair> = FxHashSet::default();
        for place in places {
            let (word, n) = &mut self.words[place as usize];
            let old = std::mem::take(word);
            let mut i = 0;
            while i < old.len() {
                if i + 1 < old.len() && (old[i], old[i + 1]) == pair {
                    word.push(id);
                    i += 2;
                } else {
                    word.push(old[i]);
                    i += 1;
                }
            }
            if word.len() == old.len() {
                continue;
            }
            for p in old.windows(2) {
                let p = (p[0], p[1]);
                if let Some(c) = self.counts.get_mut(&p) {
                    *c -= *n;
                }
                changed.insert(p);
            }
            for p in word.windows(2) {
                let p = (p[0], p[1]);
                *self.counts.entry(p).or_default() += *n;
                self.places.entry(p).or_default().insert(place);
                changed.insert(p);
            }
        }
        self.counts.remove(&pair);
        changed.remove(&pair);
        for p in changed {
            if self.counts.get(&p) == Some(&0) {
                self.counts.remove(&p);
            } else {
                self.offer(p);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by counting everything anew for each merge.
    fn plain(texts: &[&str], size: usize) -> Vec<Vec<u8>> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let mut list: Vec<Vec<Vec<u8>>> =
            texts.iter().flat_map(|t| words(t)).map(|w| w.bytes().map(|b| vec![b]).collect()).collect();
        while tokens.len() < size {
            let mut counts: std::collections::BTreeMap<(Vec<u8>, Vec<u8>), u64> = Default::default();
            for w in &list {
                for p in w.windows(2) {
                    let whole = [p[0].as_slice(), &p[1]].concat();
                    if !tokens.contains(&whole) {
                        *counts.entry((p[0].clone(), p[1].clone())).or_default() += 1;
                    }
                }
            }
            let Some((pair, &n)) = counts.iter().max_by_key(|(p, n)| (**n, Reverse((*p).clone()))) else {
                break;
            };
            if n < 2 {
                break;
            }
            let whole = [pair.0.as_slice(), &pair.1].concat();
            for w in &mut list {
                let mut i = 0;
                while i + 1 < w.len() {
                    if (&w[i], &w[i + 1]) == (&pair.0, &pair.1) {
                        w[i] = whole.clone();
                        w.remove(i + 1);
                    }
                    i += 1;
                }
            }
            tokens.push(whole);
        }
        tokens
    }

    #[test]
    fn merges_are_those_of_counting_anew() {
        let texts = ["abab abab cabab", "aaaa aaa aa", "the then there these", "xyxyxy xyx 你好你好"];
        let t = train(texts, 300, &["<s>"]);
        let tokens: Vec<Vec<u8>> = (0..t.len() as u32 - 1).map(|id| t.bytes(id).unwrap().to_vec()).collect();
        assert_eq!(tokens, plain(&texts, 299));
        assert_eq!(t.special("<s>"), Some(t.len() as u32 - 1));
    }

    #[test]
    fn the_order_of_texts_does_not_matter() {
        let (a, b) =
            (["one two three two", "zwei drei eins zwei"], ["zwei drei eins zwei", "one two three two"]);
        assert_eq!(train(a, 290, &[]), train(b, 290, &[]));
    }

    #[test]
    fn poor_texts_give_small_vocabularies() {
        assert_eq!(train([""], 1000, &["<s>"]).len(), 257);
        assert_eq!(train(["ab"], 1000, &[]).len(), 256);
        assert_eq!(train(["aaaa"], 10, &[]).len(), 256);
    }
}
