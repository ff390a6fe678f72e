//! Merges in order of rank, and their application to the symbols of a word: what every kind of BPE shares.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

/// Two ids.
pub(crate) type Pair = (u32, u32);

/// Words of up to so many symbols are merged by looking at all pairs.
const SHORT: usize = 24;

/// Pairs of ids in order of rank, and what each makes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merges {
    list: Vec<Pair>,
    /// Rank and result of each pair that text may merge.
    ranks: FxHashMap<Pair, (u32, u32)>,
}

impl PartialEq for Merges {
    fn eq(&self, other: &Merges) -> bool {
        self.list == other.list
    }
}

impl Eq for Merges {}

impl Merges {
    /// Merges with their results; one without a result is kept in the list and never applied.
    ///
    /// # Errors
    /// Says which merge has no result where it needs one, or is there twice.
    pub(crate) fn new(
        list: Vec<Pair>,
        result: impl Fn(u32, u32) -> Result<Option<u32>, String>,
    ) -> Result<Merges, String> {
        let mut ranks = FxHashMap::default();
        ranks.reserve(list.len());
        for (rank, &(a, b)) in (0..).zip(&list) {
            let id = result(a, b).map_err(|e| format!("merge {rank}: {e}"))?;
            // What is never applied gets a result that is none, so that it is still known when it comes again.
            if let Some((first, _)) = ranks.insert((a, b), (rank, id.unwrap_or(u32::MAX))) {
                return Err(format!("merge {rank} is merge {first} again"));
            }
        }
        ranks.retain(|_, (_, id)| *id != u32::MAX);
        Ok(Merges { list, ranks })
    }

    pub(crate) fn list(&self) -> &[Pair] {
        &self.list
    }

    /// Pairs that are merged, in no order.
    pub(crate) fn applied(&self) -> impl Iterator<Item = Pair> {
        self.ranks.keys().copied()
    }

    /// Merges the symbols from `begin` on, the pair of the lowest rank first, of equal ones the leftmost.
    pub(crate) fn apply(&self, ids: &mut Vec<u32>, begin: usize) {
        if ids.len() - begin <= SHORT { self.short(ids, begin) } else { self.long(ids, begin) }
    }

    /// Repeats the best merge by looking at all pairs: best for words of a few symbols.
    fn short(&self, ids: &mut Vec<u32>, begin: usize) {
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
    fn long(&self, ids: &mut Vec<u32>, begin: usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters a, b, c are 0, 1, 2; every merge makes the next id.
    fn merges(list: &[Pair]) -> Merges {
        let list = list.to_vec();
        let made = list.clone();
        Merges::new(list, |a, b| Ok(made.iter().position(|p| *p == (a, b)).map(|i| i as u32 + 3))).unwrap()
    }

    #[test]
    fn long_and_short_words_are_merged_alike() {
        let m = merges(&[(0, 1), (1, 2), (3, 3), (0, 0), (6, 6), (2, 3), (1, 1), (5, 8)]);
        let mut state = 7u32;
        for n in 0..200 {
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) % 3
            };
            let word: Vec<u32> = [9, 9].into_iter().chain((0..n).map(|_| random())).collect();
            let (mut a, mut b) = (word.clone(), word);
            m.short(&mut a, 2);
            m.long(&mut b, 2);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn a_merge_that_is_there_twice_is_refused_by_its_number() {
        let result = |a, _| if a == 9 { Err("no such id".to_owned()) } else { Ok(None) };
        assert_eq!(
            Merges::new(vec![(0, 1), (1, 1), (0, 1)], result).unwrap_err(),
            "merge 2 is merge 0 again"
        );
        assert_eq!(Merges::new(vec![(0, 1), (9, 1)], result).unwrap_err(), "merge 1: no such id");
        let none = Merges::new(vec![(0, 1)], result).unwrap();
        let mut ids = vec![0, 1];
        none.apply(&mut ids, 0);
        assert_eq!((ids, none.list().len()), (vec![0, 1], 1));
    }
}
