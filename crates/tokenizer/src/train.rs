//! BPE training: the most frequent pair becomes a token, again and again.
//!
//! Exact: pair counts are kept up to date with every merge. Deterministic: of equally frequent pairs the one with the smaller ids wins, so
//! neither the order of the texts nor the number of threads matters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::thread::ScopedJoinHandle;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::added::AddedToken;
use crate::{Bpe, Split, Tokenizer, Variant};

/// Pairs of ids.
type Pair = (u32, u32);

/// What to train.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// How text is cut into words.
    pub split: Split,
    /// Ids, special tokens included; fewer if the texts give no more pairs that occur twice, 256 and the special tokens at least.
    pub size: usize,
    /// Special tokens, which get the last ids.
    pub specials: &'a [&'a str],
    /// Threads that cut texts into words.
    pub threads: usize,
}

/// Trains a tokenizer of at most `size` ids with words as [`Split::Digits`] cuts them; see [`Training`].
pub fn train<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, size: usize, specials: &[&str]) -> Tokenizer {
    let texts: Vec<T> = texts.into_iter().collect();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    Training { split: Split::Digits, size, specials, threads }.run(&texts)
}

impl Training<'_> {
    /// Trains.
    pub fn run(&self, texts: &[&str]) -> Tokenizer {
        let mut words = count(texts, self.threads.max(1), |text| self.split.words(text));
        // A word of one byte has no pair.
        words.retain(|w| w.0.len() > 1);
        let words: Vec<(&[u8], u64)> = words.into_iter().map(|(w, n)| (w.as_bytes(), n)).collect();
        let merged = self.size.saturating_sub(self.specials.len());
        let (tokens, merges) = Merger::new(&words).run(merged);
        let first = tokens.len() as u32;
        let added = self.specials.iter().zip(first..).map(|(s, id)| AddedToken::special(*s, id)).collect();
        let made = Bpe::new(tokens, merges, added, Variant::default());
        let made =
            made.expect("training makes every byte and every merge a token, and special tokens differ");
        made.with_split(self.split).into()
    }
}

/// The words of some texts with their numbers, in order of their bytes.
pub(crate) fn count<'a, W: Iterator<Item = &'a str>>(
    texts: &[&'a str],
    threads: usize,
    words: impl Fn(&'a str) -> W + Sync,
) -> Vec<(&'a str, u64)> {
    let bytes: usize = texts.iter().map(|t| t.len()).sum();
    let mut shares: Vec<Vec<&'a str>> = vec![Vec::new()];
    let mut filled = 0;
    for text in texts {
        if filled * threads >= bytes.max(1) && shares.len() < threads {
            shares.push(Vec::new());
            filled = 0;
        }
        filled += text.len();
        if let Some(s) = shares.last_mut() {
            s.push(text);
        }
    }
    let one = |texts: &[&'a str]| {
        let mut counts: FxHashMap<&'a str, u64> = FxHashMap::default();
        for word in texts.iter().flat_map(|text| words(text)) {
            *counts.entry(word).or_default() += 1;
        }
        counts
    };
    let one = &one;
    let mut parts: Vec<FxHashMap<&str, u64>> = std::thread::scope(|scope| {
        let start = |s| std::thread::Builder::new().spawn_scoped(scope, move || one(s));
        let running: Vec<_> = shares.iter().map(|s| (s, start(s))).collect();
        let ended = |(s, thread): (&Vec<&'a str>, io::Result<ScopedJoinHandle<'_, _>>)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Where the system gives no further thread, this one does it.
            Err(_) => one(s),
        };
        running.into_iter().map(ended).collect()
    });
    parts.sort_by_key(FxHashMap::len);
    let mut all = parts.pop().unwrap_or_default();
    for part in parts {
        for (word, n) in part {
            *all.entry(word).or_default() += n;
        }
    }
    let mut list: Vec<(&str, u64)> = all.into_iter().collect();
    list.sort_unstable();
    list
}

/// A pair's number, and the words that hold or held it.
#[derive(Default)]
struct Pairing {
    count: u64,
    places: Vec<u32>,
}

impl Pairing {
    /// Words come in order, so one that is there already is the last.
    fn add(&mut self, n: u64, word: u32) {
        self.count += n;
        if self.places.last() != Some(&word) {
            self.places.push(word);
        }
    }
}

/// The state between merges: all words in one array of ids, each in the place of its bytes.
pub(crate) struct Merger {
    symbols: Vec<u32>,
    /// First symbol, number of symbols, how often the word occurs.
    words: Vec<(usize, usize, u64)>,
    tokens: Vec<Vec<u8>>,
    pairs: FxHashMap<Pair, Pairing>,
    /// Counts as they were when offered. Only the newest token's pairs can grow, so a count here is never too small.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Merger {
    fn new(list: &[(&[u8], u64)]) -> Merger {
        let mut m = Merger {
            symbols: Vec::with_capacity(list.iter().map(|w| w.0.len()).sum()),
            words: Vec::with_capacity(list.len()),
            tokens: (0..=255u8).map(|b| vec![b]).collect(),
            pairs: FxHashMap::default(),
            queue: BinaryHeap::new(),
        };
        // All pairs of bytes fit a table, which is faster than the map.
        let mut table: Vec<Pairing> = Vec::new();
        table.resize_with(1 << 16, Pairing::default);
        for (i, (word, n)) in list.iter().enumerate() {
            m.words.push((m.symbols.len(), word.len(), *n));
            m.symbols.extend(word.iter().map(|&b| u32::from(b)));
            for p in word.windows(2) {
                table[usize::from(p[0]) << 8 | usize::from(p[1])].add(*n, i as u32);
            }
        }
        for (i, pairing) in table.into_iter().enumerate().filter(|(_, p)| p.count > 1) {
            let pair = ((i >> 8) as u32, (i & 255) as u32);
            m.queue.push((pairing.count, Reverse(pair)));
            m.pairs.insert(pair, pairing);
        }
        m
    }

    /// Words of symbols other than bytes: of each symbol its bytes, which a merge joins.
    pub(crate) fn of(tokens: Vec<Vec<u8>>, list: &[(Vec<u32>, u64)]) -> Merger {
        let mut m = Merger {
            symbols: Vec::with_capacity(list.iter().map(|w| w.0.len()).sum()),
            words: Vec::with_capacity(list.len()),
            tokens,
            pairs: FxHashMap::default(),
            queue: BinaryHeap::new(),
        };
        for (i, (word, n)) in list.iter().enumerate() {
            m.words.push((m.symbols.len(), word.len(), *n));
            m.symbols.extend_from_slice(word);
            for p in word.windows(2) {
                m.pairs.entry((p[0], p[1])).or_default().add(*n, i as u32);
            }
        }
        m.queue = m.pairs.iter().map(|(pair, p)| (p.count, Reverse(*pair))).filter(|p| p.0 > 1).collect();
        m
    }

    /// Merges until there are so many tokens, or no pair occurs twice.
    pub(crate) fn run(mut self, size: usize) -> (Vec<Vec<u8>>, Vec<Pair>) {
        let mut merges = Vec::new();
        let mut known: FxHashSet<Vec<u8>> = self.tokens.iter().cloned().collect();
        while self.tokens.len() < size {
            let Some((count, Reverse(pair))) = self.queue.pop() else { break };
            let now = self.pairs.get(&pair).map_or(0, |p| p.count);
            if now != count {
                if now > 1 {
                    self.queue.push((now, Reverse(pair)));
                }
                continue;
            }
            let whole = [self.tokens[pair.0 as usize].as_slice(), &self.tokens[pair.1 as usize]].concat();
            if !known.insert(whole.clone()) {
                // Another pair made the same bytes: one token for each byte string.
                self.pairs.remove(&pair);
                continue;
            }
            self.tokens.push(whole);
            merges.push(pair);
            self.merge(pair, self.tokens.len() as u32 - 1);
        }
        (self.tokens, merges)
    }

    fn merge(&mut self, pair: Pair, id: u32) {
        let places = self.pairs.remove(&pair).unwrap_or_default().places;
        // Pairs with the new token, by the other half: (other, id) and (id, other).
        let mut made: FxHashMap<Pair, Pairing> = FxHashMap::default();
        for place in places {
            let (begin, len, n) = self.words[place as usize];
            let word = &mut self.symbols[begin..begin + len];
            let (mut from, mut to) = (0, 0);
            let lose = |pairs: &mut FxHashMap<Pair, Pairing>, p: Pair| {
                if let Some(pairing) = pairs.get_mut(&p) {
                    pairing.count = pairing.count.saturating_sub(n);
                }
            };
            while from < word.len() {
                if from + 1 == word.len() || (word[from], word[from + 1]) != pair {
                    word[to] = word[from];
                    from += 1;
                    to += 1;
                    continue;
                }
                if to > 0 {
                    // The symbol before may be the new one, of a merge just made: that pair was made with what this merge takes.
                    let before = word[to - 1];
                    if before == id {
                        if let Some(p) = made.get_mut(&(id, pair.0)) {
                            p.count = p.count.saturating_sub(n);
                        }
                    } else {
                        lose(&mut self.pairs, (before, pair.0));
                    }
                    made.entry((before, id)).or_default().add(n, place);
                }
                if let Some(&after) = word.get(from + 2) {
                    lose(&mut self.pairs, (pair.1, after));
                    made.entry((id, after)).or_default().add(n, place);
                }
                word[to] = id;
                from += 2;
                to += 1;
            }
            self.words[place as usize].1 = to;
        }
        for (p, pairing) in made {
            if pairing.count > 1 {
                self.queue.push((pairing.count, Reverse(p)));
                self.pairs.insert(p, pairing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by counting everything anew for each merge.
    fn plain(split: Split, texts: &[&str], size: usize) -> Vec<Vec<u8>> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let mut list: Vec<Vec<u32>> =
            texts.iter().flat_map(|t| split.words(t)).map(|w| w.bytes().map(u32::from).collect()).collect();
        while tokens.len() < size {
            let mut counts: std::collections::BTreeMap<Pair, u64> = Default::default();
            for w in &list {
                for p in w.windows(2) {
                    let whole = [tokens[p[0] as usize].as_slice(), &tokens[p[1] as usize]].concat();
                    if !tokens.contains(&whole) {
                        *counts.entry((p[0], p[1])).or_default() += 1;
                    }
                }
            }
            let Some((&pair, &n)) = counts.iter().max_by_key(|(p, n)| (**n, Reverse(**p))) else {
                break;
            };
            if n < 2 {
                break;
            }
            let id = tokens.len() as u32;
            for w in &mut list {
                let mut i = 0;
                while i + 1 < w.len() {
                    if (w[i], w[i + 1]) == pair {
                        w[i] = id;
                        w.remove(i + 1);
                    }
                    i += 1;
                }
            }
            tokens.push([tokens[pair.0 as usize].as_slice(), &tokens[pair.1 as usize]].concat());
        }
        tokens
    }

    fn tokens(t: &Tokenizer, n: usize) -> Vec<Vec<u8>> {
        (0..n as u32).map(|id| t.bytes(id).unwrap().to_vec()).collect()
    }

    #[test]
    fn merges_are_those_of_counting_anew() {
        let texts = ["abab abab cabab", "aaaa aaa aa aaaaaaa", "the then there these", "xyxyxy xyx 你好你好"];
        let t = train(texts, 300, &["<s>"]);
        assert_eq!(tokens(&t, t.len() - 1), plain(Split::Gpt2, &texts, 299));
        assert_eq!(t.special("<s>"), Some(t.len() as u32 - 1));
    }

    #[test]
    fn merges_of_random_texts_are_those_of_counting_anew() {
        let mut state = 5u32;
        for round in 0..60usize {
            let text: String = (0..400)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"aaabbc d"[(state >> 24) as usize % (3 + round % 6)] as char
                })
                .collect();
            let parts: Vec<&str> =
                text.as_bytes().chunks(97).map(|c| std::str::from_utf8(c).unwrap()).collect();
            for threads in [1, 3] {
                let training = Training { split: Split::Qwen2, size: 330, specials: &[], threads };
                let t = training.run(&parts);
                assert_eq!(tokens(&t, t.len()), plain(Split::Qwen2, &parts, 330), "{text:?}");
            }
        }
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
