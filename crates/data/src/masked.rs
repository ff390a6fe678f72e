//! What BERT learns from (Devlin et al. 2018): sequences of two parts, of which the second followed the first or did not, and words that are
//! hidden anew each time they come.
//!
//! Pairs are made once, from a seed. Which words are hidden depends on seed, epoch and sequence alone, so a resumed run hides the same ones.

use std::ops::Range;

use crate::random::Random;
use crate::rows::Items;

/// Stream of the random numbers that make pairs; those that order rows are small.
const PAIRS: u64 = 1 << 40;
/// Streams of those that hide words, one for each epoch and sequence.
const HIDING: u64 = 1 << 41;

/// What an id is to whoever hides words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A special token: never hidden, never put in a word's place.
    Special,
    /// A word, or the beginning of one.
    Begins,
    /// Goes on with the word before.
    Continues,
}

/// How words are hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct Masking {
    /// Share of the tokens that are to be named; 0.15 in the paper.
    pub share: f64,
    /// What stands for a hidden word.
    pub mask: u32,
    /// What each id is.
    pub pieces: Vec<Piece>,
    /// Whether all pieces of a word are hidden together.
    pub whole_words: bool,
}

impl Masking {
    fn piece(&self, id: u32) -> Piece {
        self.pieces.get(id as usize).copied().unwrap_or(Piece::Special)
    }

    /// Hides words of a sequence. The weight of each place that is to be named becomes 1; that of the first place, where the sequence as a whole is
    /// judged, is multiplied by their number, so that both tasks count alike, as the paper's sum of two means does.
    pub(crate) fn hide(&self, ids: &mut [u32], weights: &mut [f32], seed: u64, epoch: u64, item: u64) {
        let mut random = Random::new(seed, HIDING.wrapping_add(epoch << 32).wrapping_add(item));
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut places = 0;
        for (i, &id) in ids.iter().enumerate() {
            let piece = self.piece(id);
            places += usize::from(piece != Piece::Special);
            match (piece, groups.last_mut()) {
                (Piece::Special, _) => {}
                (Piece::Continues, Some(word)) if self.whole_words && word.end == i => word.end += 1,
                _ => groups.push(i..i + 1),
            }
        }
        let wanted = ((places as f64 * self.share).round() as usize).max(1);
        let mut hidden = 0;
        for k in 0..groups.len() {
            let other = k + random.below(groups.len() - k);
            groups.swap(k, other);
            let word = groups[k].clone();
            if hidden > 0 && hidden + word.len() > wanted {
                continue;
            }
            hidden += word.len();
            for i in word {
                weights[i] = 1.0;
                // Eight in ten are hidden, one is replaced by another and one stays, so that every word must be doubted.
                match random.below(10) {
                    0..8 => ids[i] = self.mask,
                    8 => ids[i] = self.any(&mut random).unwrap_or(ids[i]),
                    _ => {}
                }
            }
            if hidden >= wanted {
                break;
            }
        }
        if let Some(first) = weights.first_mut() {
            *first *= hidden as f32;
        }
    }

    /// Any id that is not special.
    fn any(&self, random: &mut Random) -> Option<u32> {
        let tries = (0..100).map(|_| random.below(self.pieces.len().max(1)) as u32);
        tries.into_iter().find(|&id| self.piece(id) != Piece::Special)
    }
}

/// How sequences are made of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// What a sequence begins with, `[CLS]`.
    pub first: u32,
    /// What ends each part, `[SEP]`.
    pub end: u32,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Whether a sequence has two parts; otherwise nothing is said of the whole (Liu et al. 2019).
    pub pairs: bool,
    /// Of the random numbers.
    pub seed: u64,
}

/// Sentences of a document.
struct Part {
    document: usize,
    sentences: Range<usize>,
}

impl Pairing {
    /// The sequences of documents, each a list of sentences, each some ids. Every sentence comes in, in pieces if it is long.
    ///
    /// Sentences are gathered until a sequence is full, one time in ten until it has some shorter length. A full one is cut in two at
    /// some sentence; one time in two its second part is put back for the next sequence, and sentences of another document take its place.
    ///
    /// # Panics
    /// If the context has no room for two parts of one id.
    pub fn items(&self, documents: &[Vec<Vec<u32>>], masking: Masking) -> Items {
        assert!(self.context >= 5, "a sequence of two parts has 5 tokens at least, not {}", self.context);
        let room = self.context - if self.pairs { 3 } else { 2 };
        // Two sentences always fit, so that of what follows nothing is cut off.
        let longest = if self.pairs { room / 2 } else { room };
        let pieces = |d: &Vec<Vec<u32>>| -> Vec<Vec<u32>> {
            d.iter().flat_map(|s| s.chunks(longest)).map(<[u32]>::to_vec).collect()
        };
        let documents: Vec<_> = documents.iter().map(pieces).filter(|d| !d.is_empty()).collect();
        let mut items = Items::default();
        items.masking = Some(masking);
        let mut random = Random::new(self.seed, PAIRS);
        for d in 0..documents.len() {
            let mut next = 0;
            while next < documents[d].len() {
                let full = match random.below(10) {
                    0 => 2 + random.below(room - 1),
                    _ => room,
                };
                let chunk = gather(&documents[d], d, next, full);
                next = chunk.sentences.end;
                if !self.pairs || documents.len() == 1 {
                    self.push(&mut items, &documents, &chunk, None);
                    continue;
                }
                let n = chunk.sentences.len();
                let cut = chunk.sentences.start + if n > 1 { 1 + random.below(n - 1) } else { 1 };
                let first = Part { document: d, sentences: chunk.sentences.start..cut };
                if n > 1 && random.below(2) == 0 {
                    let second = Part { document: d, sentences: cut..chunk.sentences.end };
                    self.push(&mut items, &documents, &first, Some((&second, 0)));
                    continue;
                }
                next = cut;
                let other = (d + 1 + random.below(documents.len() - 1)) % documents.len();
                let begin = random.below(documents[other].len());
                let used: usize = documents[d][first.sentences.clone()].iter().map(Vec::len).sum();
                let second = gather(&documents[other], other, begin, full.saturating_sub(used));
                self.push(&mut items, &documents, &first, Some((&second, 1)));
            }
        }
        items
    }

    /// Adds a sequence of one or two parts, the second with what is to be said of the whole: 0 if it follows the first, 1 if not.
    fn push(
        &self,
        items: &mut Items,
        documents: &[Vec<Vec<u32>>],
        first: &Part,
        second: Option<(&Part, u32)>,
    ) {
        let mut ids = vec![self.first];
        let mut add = |part: &Part| {
            let sentences = documents[part.document][part.sentences.clone()].iter().flatten();
            let room = self.context - 1 - ids.len();
            ids.extend(sentences.copied().take(room));
            ids.push(self.end);
            ids.len()
        };
        let begin = add(first);
        let label = second.map(|(part, label)| (add(part), label).1);
        let mut targets = ids.clone();
        let mut learned = vec![false; ids.len()];
        if let Some(label) = label {
            (targets[0], learned[0]) = (label, true);
        }
        items.push_read(&ids, &targets, &learned, begin);
    }
}

/// Sentences from `begin` on that have together at most `full` ids, but one at least.
fn gather(document: &[Vec<u32>], d: usize, begin: usize, full: usize) -> Part {
    let (mut end, mut ids) = (begin + 1, document[begin].len());
    while let Some(sentence) = document.get(end).filter(|s| ids + s.len() <= full) {
        ids += sentence.len();
        end += 1;
    }
    Part { document: d, sentences: begin..end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Packer, Row};

    const CLS: u32 = 1;
    const SEP: u32 = 2;
    const MASK: u32 = 3;

    /// Ids from 10 on; every third goes on with the word before.
    fn masking(whole_words: bool) -> Masking {
        let piece = |id: u32| match id {
            0..10 => Piece::Special,
            _ if id.is_multiple_of(3) => Piece::Continues,
            _ => Piece::Begins,
        };
        Masking { share: 0.15, mask: MASK, pieces: (0..5000).map(piece).collect(), whole_words }
    }

    /// Documents whose ids say where they are: 10 + 400·document + place.
    fn documents() -> Vec<Vec<Vec<u32>>> {
        let at = |d: u32, n: u32| {
            let mut place = 0;
            let lengths = (0..n).map(|s| 1 + (s * 7 + d) % 13 + 30 * u32::from(s == 4));
            lengths
                .map(|l| {
                    place += l;
                    (place - l..place).map(|p| 10 + 400 * d + p).collect()
                })
                .collect()
        };
        vec![at(0, 20), at(1, 1), at(2, 9), vec![], at(3, 30)]
    }

    fn pairing(pairs: bool) -> Pairing {
        Pairing { first: CLS, end: SEP, context: 32, pairs, seed: 4 }
    }

    #[test]
    fn parts_follow_each_other_or_come_from_elsewhere_and_no_sentence_is_lost() {
        let documents = documents();
        let items = pairing(true).items(&documents, masking(false));
        let mut packer = Packer::new(&items, 32, 0);
        let mut row = Row::default();
        let (mut said, mut seen) = ([0; 3], vec![]);
        for k in 0..packer.rows_per_epoch() as u64 {
            packer.fill(k, &mut row);
            for span in &row.spans {
                let ids = &row.targets[span.clone()];
                assert_eq!((row.ids[span.start], *ids.last().unwrap()), (CLS, SEP));
                let parts: Vec<&[u32]> = ids[1..ids.len() - 1].split(|&id| id == SEP).collect();
                let kinds: Vec<u32> = (0..ids.len()).map(|i| u32::from(i >= parts[0].len() + 2)).collect();
                assert_eq!(row.kinds[span.clone()], kinds);
                assert!(parts.iter().all(|p| !p.is_empty() && p.windows(2).all(|w| w[1] == w[0] + 1)));
                seen.extend_from_slice(parts[0]);
                match (&parts[..], row.weights[span.start] > 0.0) {
                    ([_], false) => said[2] += 1,
                    ([a, b], true) => {
                        let follows = b[0] == a[a.len() - 1] + 1;
                        assert_eq!(ids[0], u32::from(!follows));
                        assert_eq!((a[0] - 10) / 400 == (b[0] - 10) / 400, follows);
                        said[ids[0] as usize] += 1;
                        if follows {
                            seen.extend_from_slice(b);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(said[0] > 5 && said[1] > 5 && said[2] == 0, "{said:?}");
        seen.sort_unstable();
        let mut all: Vec<u32> = documents.into_iter().flatten().flatten().collect();
        all.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn without_pairs_sequences_have_one_part_of_which_nothing_is_said() {
        let items = pairing(false).items(&documents(), masking(false));
        let mut row = Row::default();
        Packer::new(&items, 200, 0).fill(0, &mut row);
        assert!(row.spans.len() > 4 && row.kinds.iter().all(|&k| k == 0));
        assert!(row.spans.iter().all(|s| row.weights[s.start] == 0.0 && s.len() <= 32));
    }

    #[test]
    fn fifteen_in_a_hundred_are_hidden_eight_of_ten_behind_the_mask() {
        for whole_words in [false, true] {
            let masking = masking(whole_words);
            let (mut hidden, mut masked, mut kept, mut first) = (0, 0, 0, 0.0);
            for item in 0..300 {
                let original: Vec<u32> = std::iter::once(CLS).chain(10..210).chain([SEP]).collect();
                let (mut ids, mut weights) = (original.clone(), vec![0.0; 202]);
                weights[0] = 1.0;
                masking.hide(&mut ids, &mut weights, 7, 1, item);
                assert_eq!((ids[0], ids[201], weights[201]), (CLS, SEP, 0.0));
                first += weights[0];
                for i in 1..201 {
                    let chosen = weights[i] == 1.0;
                    hidden += i32::from(chosen);
                    masked += i32::from(ids[i] == MASK);
                    kept += i32::from(chosen && ids[i] == original[i]);
                    assert!(chosen || ids[i] == original[i]);
                    if whole_words && original[i].is_multiple_of(3) && i > 1 {
                        assert_eq!(weights[i], weights[i - 1], "a word is hidden in part");
                    }
                }
            }
            assert!((hidden - 9000).abs() <= 300 && first == hidden as f32, "{hidden} {first}");
            let share = |n: i32| f64::from(n) / f64::from(hidden);
            assert!((share(masked) - 0.8).abs() < 0.02, "{}", share(masked));
            assert!((share(kept) - 0.1).abs() < 0.02, "{}", share(kept));
        }
    }

    #[test]
    fn other_words_are_hidden_in_another_epoch_and_the_same_in_the_same() {
        let items = pairing(true).items(&documents(), masking(false));
        let rows = |seed: u64, number: u64| {
            let mut row = Row::default();
            Packer::new(&items, 4000, seed).fill(number, &mut row);
            row
        };
        assert_eq!(rows(1, 5).ids, rows(1, 5).ids);
        let hidden = |row: &Row| {
            let mut at: Vec<u32> =
                (0..row.ids.len()).filter(|&i| row.ids[i] == MASK).map(|i| row.targets[i]).collect();
            at.sort_unstable();
            at
        };
        assert_ne!(hidden(&rows(1, 5)), hidden(&rows(1, 6)));
        assert_ne!(hidden(&rows(1, 5)), hidden(&rows(2, 5)));
    }
}
