//! Rows of tokens: sequences side by side, never padded, in an order that seed and epoch decide.
//!
//! A row depends on its [`Position`] alone, so resuming needs nothing else. What is learned from lies in memory ([`Items`]) or in
//! files ([`crate::loader`]); training knows of both only that they are [`Examples`].

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::masked::Masking;
use crate::random::Random;
use crate::source::Error;

/// What can be learned from.
pub trait Examples {
    /// Rows of at most `budget` tokens, in an order that `seed` decides, from the first one on.
    ///
    /// # Panics
    /// If the budget is smaller than the longest sequence.
    fn rows(&self, budget: usize, seed: u64) -> Box<dyn Rows + '_>;

    /// Predictions in all sequences together.
    fn tokens(&self) -> u64;
}

/// Rows without end, epoch after epoch.
pub trait Rows {
    /// Where the next row stands.
    fn position(&self) -> Position;

    /// Goes on from a position as if all rows before it had been read.
    ///
    /// # Errors
    /// If there is no such position.
    fn seek(&mut self, to: Position) -> Result<(), Error>;

    /// Fills in the next row.
    ///
    /// # Errors
    /// If it cannot be read.
    fn next(&mut self, row: &mut Row) -> Result<(), Error>;
}

/// Rows that are filled at a time where there are conversations; documents fill one after the other.
const OPEN: usize = 32;

/// Where a row stands among those of a seed and a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Times that everything was read before.
    pub epoch: u64,
    /// The window within the epoch; always 0 of what lies in memory.
    pub window: u64,
    /// The row within the window.
    pub row: u64,
}

/// Sequences to learn from: ids, and which of them are to be predicted.
#[derive(Clone, Debug, Default)]
pub struct Items {
    ids: Vec<u32>,
    learned: Vec<bool>,
    /// Where each sequence lies.
    ranges: Vec<Range<usize>>,
    /// What the sequences answer, for models with an encoder, and where it lies; empty for others.
    sources: Vec<u32>,
    source_ranges: Vec<Range<usize>>,
    /// What is to be said at each place, where that is not the id that follows; as many as ids, or none.
    targets: Vec<u32>,
    /// Where the second part of each sequence begins, for those that are read; as many as sequences, or none.
    seconds: Vec<usize>,
    /// How words are hidden anew in each epoch, if any are.
    pub masking: Option<Masking>,
    /// Conversations that were cut to the context.
    pub truncated: usize,
    /// Conversations in which nothing is learned.
    pub dropped: usize,
    /// Whether there are conversations: they have their own lengths, where documents are cut to the context.
    has_chats: bool,
}

impl Items {
    /// Adds a document, its end token included, in pieces of at most `context` predictions.
    pub fn push_document(&mut self, ids: &[u32], context: usize) {
        let mut begin = 0;
        while begin + 1 < ids.len() {
            let end = (begin + context + 1).min(ids.len());
            self.push(&ids[begin..end], |_| true);
            begin = end - 1;
        }
    }

    /// Adds a conversation, cut to `context` predictions; one in which nothing is learned is dropped and counted.
    pub fn push_chat(&mut self, ids: &[u32], learned: &[bool], context: usize) {
        let n = ids.len().min(context + 1);
        self.truncated += usize::from(n < ids.len());
        if !learned[1.min(n)..n].contains(&true) {
            self.dropped += 1;
            return;
        }
        self.has_chats = true;
        self.push(&ids[..n], |i| learned[i]);
    }

    /// Adds a pair: what is read, and what is to be written after its first id.
    pub fn push_pair(&mut self, source: &[u32], ids: &[u32]) {
        let begin = self.sources.len();
        self.sources.extend_from_slice(source);
        self.source_ranges.push(begin..self.sources.len());
        self.push(ids, |_| true);
    }

    /// Adds a sequence that is read as a whole: of the places that are learned, what is to be said there, and where its second part begins
    /// (its length, if it has none).
    ///
    /// # Panics
    /// If the lengths differ, or sequences of the other kinds were added.
    pub fn push_read(&mut self, ids: &[u32], targets: &[u32], learned: &[bool], second: usize) {
        assert!(targets.len() == ids.len() && learned.len() == ids.len(), "rows: a target for each id");
        assert_eq!(self.targets.len(), self.ids.len(), "rows: sequences that are read lie among others");
        self.targets.extend_from_slice(targets);
        self.seconds.push(second);
        self.push(ids, |i| learned[i]);
    }

    /// Whether its sequences are read as a whole instead of being gone on with.
    fn are_read(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Tokens of a sequence in a row: the last id of one that is gone on with is only predicted.
    fn length(&self, item: usize) -> usize {
        self.ranges[item].len() - usize::from(!self.are_read())
    }

    /// Tokens that a row spends on a sequence: its own and what is read before.
    fn cost(&self, item: usize) -> usize {
        self.length(item) + self.source_ranges.get(item).map_or(0, Range::len)
    }

    /// Adds sequences of others, in an order that `seed` decides and again from the first if there are too few, until they have `tokens`
    /// predictions: text among conversations.
    pub fn mix(&mut self, other: &Items, tokens: usize, seed: u64) {
        let mut order: Vec<usize> = (0..other.len()).collect();
        let mut random = Random::new(seed, u64::MAX);
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        let (mut added, is_empty) = (0, other.tokens() == 0);
        for &item in order.iter().cycle() {
            if is_empty || added >= tokens {
                return;
            }
            let range = other.ranges[item].clone();
            self.push(&other.ids[range.clone()], |k| other.learned[range.start + k]);
            added += other.length(item);
        }
    }

    fn push(&mut self, ids: &[u32], learned: impl Fn(usize) -> bool) {
        let begin = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.learned.extend((0..ids.len()).map(learned));
        self.ranges.push(begin..self.ids.len());
    }

    /// The sequences, ids as they follow each other.
    pub fn sequences(&self) -> impl Iterator<Item = &[u32]> {
        self.ranges.iter().map(|r| &self.ids[r.clone()])
    }

    /// Every `divisor`-th sequence.
    pub fn every(&self, divisor: usize) -> Items {
        let mut some = Items { masking: self.masking.clone(), has_chats: self.has_chats, ..Items::default() };
        for (i, range) in self.ranges.iter().enumerate().step_by(divisor.max(1)) {
            if let Some(source) = self.source_ranges.get(i) {
                let begin = some.sources.len();
                some.sources.extend_from_slice(&self.sources[source.clone()]);
                some.source_ranges.push(begin..some.sources.len());
            }
            if let Some(&second) = self.seconds.get(i) {
                some.targets.extend_from_slice(&self.targets[range.clone()]);
                some.seconds.push(second);
            }
            some.push(&self.ids[range.clone()], |k| self.learned[range.start + k]);
        }
        some
    }

    /// Calls `f` with every id and target in order, for fingerprints.
    pub fn each_id(&self, f: impl FnMut(u32)) {
        self.sources.iter().chain(&self.ids).chain(&self.targets).copied().for_each(f);
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Tokens that are read before, in all pairs together.
    pub fn source_tokens(&self) -> usize {
        self.sources.len()
    }

    /// Tokens of all sequences together as rows hold them: predictions, learned or not.
    pub fn tokens(&self) -> usize {
        (0..self.len()).map(|i| self.length(i)).sum()
    }
}

/// One row: what [`Items`] become beside each other.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What is read.
    pub ids: Vec<u32>,
    /// What follows.
    pub targets: Vec<u32>,
    /// 1 where it is learned, else 0.
    pub weights: Vec<f32>,
    /// The sequences.
    pub spans: Vec<Range<usize>>,
    /// Which part of its sequence each token is in, 0 or 1; empty if nothing has parts.
    pub kinds: Vec<u32>,
    /// What an encoder reads before, and its sequences.
    pub source_ids: Vec<u32>,
    /// As many as `spans`, or none.
    pub source_spans: Vec<Range<usize>>,
    /// Of rows of pairs of replies: what a reference model gives each span's reply, and how they are learned from.
    pub preferences: Option<Preferences>,
}

/// How pairs of replies are learned from, of which the first is the better one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    /// How far the model may leave the reference: the smaller, the further.
    pub beta: f32,
    /// Share of the pairs that are taken to be judged wrongly.
    pub smoothing: f32,
    /// Whether a reply's mean log-probability counts instead of the sum.
    pub normalised: bool,
    /// Of each span: the reference's log-probability of its reply.
    #[serde(skip)]
    pub reference: Vec<f32>,
}

impl Row {
    /// Empties it, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.targets.clear();
        self.weights.clear();
        self.spans.clear();
        self.kinds.clear();
        self.source_ids.clear();
        self.source_spans.clear();
        self.preferences = None;
    }

    /// Adds a sequence of which everything is learned.
    pub(crate) fn push(&mut self, ids: &[u32]) {
        let begin = self.ids.len();
        self.ids.extend_from_slice(&ids[..ids.len() - 1]);
        self.targets.extend_from_slice(&ids[1..]);
        self.weights.resize(self.ids.len(), 1.0);
        self.spans.push(begin..self.ids.len());
    }
}

impl Examples for Items {
    fn rows(&self, budget: usize, seed: u64) -> Box<dyn Rows + '_> {
        Box::new(Packer::new(self, budget, seed))
    }

    fn tokens(&self) -> u64 {
        Items::tokens(self) as u64
    }
}

impl Rows for Packer<'_> {
    fn position(&self) -> Position {
        Position { epoch: self.epoch, window: 0, row: self.next }
    }

    fn seek(&mut self, to: Position) -> Result<(), Error> {
        self.restart();
        while self.epoch < to.epoch {
            self.turn_over();
        }
        self.next = to.row;
        if to.window != 0 || to.row >= self.rows.len() as u64 {
            let what = format!(
                "row {} of {} in epoch {} (not the data of before)",
                to.row,
                self.rows.len(),
                to.epoch
            );
            return Err(Error::Nothing(what));
        }
        Ok(())
    }

    fn next(&mut self, row: &mut Row) -> Result<(), Error> {
        self.take(row);
        Ok(())
    }
}

/// Deals sequences out into rows of at most `budget` tokens; each epoch has another order.
pub struct Packer<'a> {
    items: &'a Items,
    budget: usize,
    seed: u64,
    epoch: u64,
    /// Row at which the present epoch begins, and the next one within it.
    first: u64,
    next: u64,
    order: Vec<u32>,
    /// Where each row of the epoch begins in the order.
    rows: Vec<usize>,
}

impl<'a> Packer<'a> {
    /// A packer; `budget` is at least the longest sequence.
    ///
    /// # Panics
    /// If there is no sequence, or the longest exceeds the budget.
    pub fn new(items: &'a Items, budget: usize, seed: u64) -> Packer<'a> {
        assert!(!items.is_empty(), "rows: there is no sequence to learn from");
        let longest = (0..items.len()).map(|i| items.cost(i)).max().unwrap_or(0);
        assert!(longest <= budget, "rows: a sequence of {longest} tokens does not fit into {budget}");
        let mut p =
            Packer { items, budget, seed, epoch: 0, first: 0, next: 0, order: Vec::new(), rows: Vec::new() };
        p.deal();
        p
    }

    /// Rows of the first epoch.
    pub fn rows_per_epoch(&self) -> usize {
        self.rows.len()
    }

    fn deal(&mut self) {
        let n = self.items.len();
        self.order.clear();
        self.order.extend(0..n as u32);
        let mut random = Random::new(self.seed, self.epoch);
        for i in (1..n).rev() {
            self.order.swap(i, random.below(i + 1));
        }
        self.rows.clear();
        // Each sequence goes into the fullest open row that has room for it; among so many open ones nearly every row ends nearly full.
        let most = if self.items.has_chats { OPEN } else { 1 };
        let mut open: Vec<(usize, Vec<u32>)> = Vec::new();
        let (mut dealt, mut rows) = (Vec::with_capacity(n), Vec::new());
        let mut close = |row: Vec<u32>| {
            rows.push(dealt.len());
            dealt.extend(row);
        };
        for &item in &self.order {
            let tokens = self.items.cost(item as usize);
            let fits = open.iter().enumerate().filter(|(_, r)| r.0 + tokens <= self.budget);
            match fits.max_by_key(|(i, r)| (r.0, usize::MAX - i)).map(|(i, _)| i) {
                Some(i) => {
                    open[i].0 += tokens;
                    open[i].1.push(item);
                }
                None => {
                    if open.len() == most {
                        let fullest = (0..most).max_by_key(|&i| (open[i].0, usize::MAX - i)).unwrap_or(0);
                        close(open.remove(fullest).1);
                    }
                    open.push((tokens, vec![item]));
                }
            }
        }
        open.into_iter().for_each(|r| close(r.1));
        (self.order, self.rows) = (dealt, rows);
    }

    fn restart(&mut self) {
        (self.epoch, self.first, self.next) = (0, 0, 0);
        self.deal();
    }

    fn turn_over(&mut self) {
        self.first += self.rows.len() as u64;
        self.epoch += 1;
        self.next = 0;
        self.deal();
    }

    /// Fills in the row of that number, counted through all epochs; the next one is that behind it.
    pub fn fill(&mut self, number: u64, row: &mut Row) {
        if number < self.first {
            self.restart();
        }
        while number >= self.first + self.rows.len() as u64 {
            self.turn_over();
        }
        self.next = number - self.first;
        self.take(row);
    }

    /// Fills in the next row.
    fn take(&mut self, row: &mut Row) {
        let k = self.next as usize;
        let end = self.rows.get(k + 1).copied().unwrap_or(self.order.len());
        row.clear();
        for &item in &self.order[self.rows[k]..end] {
            let r = self.items.ranges[item as usize].clone();
            let begin = row.ids.len();
            let (read, said) = match self.items.are_read() {
                true => (r.clone(), r.clone()),
                false => (r.start..r.end - 1, r.start + 1..r.end),
            };
            row.ids.extend_from_slice(&self.items.ids[read]);
            let targets = if self.items.are_read() { &self.items.targets } else { &self.items.ids };
            row.targets.extend_from_slice(&targets[said.clone()]);
            row.weights.extend(self.items.learned[said].iter().map(|&l| f32::from(u8::from(l))));
            row.spans.push(begin..row.ids.len());
            if let Some(&second) = self.items.seconds.get(item as usize) {
                row.kinds.extend((0..r.len()).map(|i| u32::from(i >= second)));
            }
            if let Some(masking) = &self.items.masking {
                let (ids, weights) = (&mut row.ids[begin..], &mut row.weights[begin..]);
                masking.hide(ids, weights, self.seed, self.epoch, u64::from(item));
            }
            if let Some(source) = self.items.source_ranges.get(item as usize) {
                let begin = row.source_ids.len();
                row.source_ids.extend_from_slice(&self.items.sources[source.clone()]);
                row.source_spans.push(begin..row.source_ids.len());
            }
        }
        self.next += 1;
        if self.next == self.rows.len() as u64 {
            self.turn_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that say where they are: 1000·sequence + position.
    fn sample() -> Items {
        let mut items = Items::default();
        for s in 0..40u32 {
            let n = 2 + (s * 7) % 23;
            let ids: Vec<u32> = (0..n).map(|i| 1000 * s + i).collect();
            if s % 2 == 0 {
                items.push_document(&ids, 16);
            } else {
                let learned: Vec<bool> = (0..n).map(|i| i % 3 == 1).collect();
                items.push_chat(&ids, &learned, 16);
            }
        }
        items
    }

    #[test]
    fn every_prediction_comes_once_an_epoch_and_is_the_next_token() {
        let items = sample();
        let mut p = Packer::new(&items, 40, 3);
        let (mut row, mut seen) = (Row::default(), Vec::new());
        for k in 0..p.rows_per_epoch() as u64 {
            p.fill(k, &mut row);
            assert!(row.ids.len() <= 40 && !row.ids.is_empty());
            assert_eq!(row.spans.last().unwrap().end, row.ids.len());
            for span in &row.spans {
                for i in span.clone() {
                    assert_eq!(row.targets[i], row.ids[i] + 1);
                    assert!(i == span.start || row.ids[i] == row.ids[i - 1] + 1);
                    let odd = row.ids[i] / 1000 % 2 == 1;
                    assert_eq!(row.weights[i] == 1.0, !odd || row.targets[i] % 1000 % 3 == 1);
                    seen.push(row.ids[i]);
                }
            }
        }
        seen.sort_unstable();
        let before = seen.len();
        seen.dedup();
        assert_eq!((seen.len(), before), (items.tokens(), items.tokens()));
    }

    #[test]
    fn a_row_depends_on_its_number_alone() {
        let items = sample();
        let (mut a, mut b) = (Packer::new(&items, 40, 3), Packer::new(&items, 40, 3));
        let (mut x, mut y) = (Row::default(), Row::default());
        (0..50).for_each(|k| a.fill(k, &mut x));
        b.fill(49, &mut y);
        assert_eq!(x.ids, y.ids);
        a.fill(2, &mut x);
        b.fill(2, &mut y);
        assert_eq!(x.ids, y.ids);
        Packer::new(&items, 40, 4).fill(2, &mut y);
        assert_ne!(x.ids, y.ids);

        let mut straight = items.rows(40, 3);
        let mut marks = Vec::new();
        for k in 0..50 {
            marks.push(straight.position());
            straight.next(&mut x).unwrap();
            a.fill(k, &mut y);
            assert_eq!(x.ids, y.ids);
        }
        assert!(marks[49].epoch > 1);
        for k in [0, 7, 30, 49] {
            let mut again = items.rows(40, 3);
            again.seek(marks[k]).unwrap();
            again.next(&mut x).unwrap();
            a.fill(k as u64, &mut y);
            assert_eq!(x.ids, y.ids);
        }
        assert!(straight.seek(Position { row: 999, ..Position::default() }).is_err());
    }

    #[test]
    fn rows_are_nearly_full() {
        // Lengths as conversations have them: many short ones, few as long as the context.
        let mut items = Items::default();
        let mut random = Random::new(5, 0);
        for _ in 0..6000 {
            let n = 10 + random.below(60) * (1 + random.below(6));
            items.push_chat(&vec![7; n], &vec![true; n], 512);
        }
        for budget in [512, 1024, 4096] {
            let p = Packer::new(&items, budget, 3);
            let room = p.rows_per_epoch() * budget;
            let waste = 1.0 - items.tokens() as f64 / room as f64;
            assert!(waste < 0.03, "{budget}: {waste:.4} of {} rows", p.rows_per_epoch());
        }
    }

    #[test]
    fn text_is_mixed_in_by_tokens() {
        let (mut chats, mut text) = (Items::default(), Items::default());
        (0..30).for_each(|_| chats.push_chat(&[1, 2, 3, 4], &[false, false, true, true], 8));
        (0..5).for_each(|i| text.push_document(&[10 + i, 20, 30], 8));
        let before = chats.tokens();
        chats.mix(&text, 21, 1);
        assert_eq!(chats.tokens(), before + 22);
        let all: Vec<&[u32]> = chats.sequences().skip(30).collect();
        assert!(all.len() == 11 && all[0] == all[5] && all[..5].iter().all(|s| s[0] >= 10));
        chats.mix(&Items::default(), 100, 1);
        assert_eq!(chats.tokens(), before + 22);
    }

    #[test]
    fn cut_and_useless_chats_are_counted() {
        let mut items = Items::default();
        items.push_chat(&[1, 2, 3, 4], &[false, false, false, true], 2);
        items.push_chat(&[1, 2, 3, 4], &[true, true, false, true], 2);
        items.push_chat(&[], &[], 2);
        assert_eq!((items.len(), items.truncated, items.dropped), (1, 2, 2));
    }
}
