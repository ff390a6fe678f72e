//! Token shards → rows, without loading the shards: only what a row needs is read, at its place in the file.
//!
//! Documents are cut into pieces of at most a context; the pieces of an epoch come in an order that seed and epoch decide; a window of
//! [`WINDOW`] neighbours in that order is packed into rows best-fit, longest first (Johnson 1974), and the rows of a window come in an order of
//! their own. So a row depends on seed, epoch, window and its number in it, and nothing has to be replayed to go on from a
//! [`Position`]. In memory are 16 bytes for each document and 8 for each piece of a window.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pupil_tokenizer::Tokenizer;

use crate::random::{Permutation, Random};
use crate::rows::{Examples, Position, Row, Rows};
use crate::shards::Shard;
use crate::source::Error;

/// Pieces that are packed together. More waste less and need more memory: 128 kB.
pub const WINDOW: u64 = 16_384;

/// A file of ids, and how its documents begin.
struct Part {
    shard: Shard,
    /// An id before each document: where a document begins where another ended, its first word is learned too.
    before: Option<u32>,
    /// How many pieces, of this part and those before it, come before each document.
    firsts: Vec<u64>,
}

/// Shards to learn from.
pub struct Shards {
    parts: Vec<Part>,
    context: usize,
    pieces: u64,
    tokens: u64,
}

impl Shards {
    /// Opens shards and checks them whole, each with the id that stands before every document of it, if any. Documents are cut into
    /// pieces of at most `context` predictions.
    ///
    /// # Errors
    /// If one is damaged or was written with another tokenizer, or if there is nothing to predict in all of them.
    ///
    /// # Panics
    /// If the context is zero.
    pub fn open(
        files: &[(PathBuf, Option<u32>)],
        tokenizer: &Tokenizer,
        context: usize,
    ) -> Result<Shards, Error> {
        assert!(context > 0, "loader: a context of no tokens");
        let mut all = Shards { parts: Vec::new(), context, pieces: 0, tokens: 0 };
        for (path, before) in files {
            let shard = Shard::open(path)?;
            if !shard.is_of(tokenizer) {
                let what = "was written with another tokenizer: run `pupil data prepare` again".to_owned();
                return Err(Error::Content { path: path.clone(), what });
            }
            shard.verify()?;
            let mut begin = 0;
            let mut firsts = Vec::with_capacity(shard.len());
            for &end in shard.ends() {
                firsts.push(all.pieces);
                let predictions = predictions(end - begin, *before);
                all.tokens += predictions;
                all.pieces += predictions.div_ceil(context as u64);
                begin = end;
            }
            all.parts.push(Part { shard, before: *before, firsts });
        }
        if all.pieces == 0 {
            let path = files.first().map_or(Path::new("no shard"), |f| f.0.as_path()).to_owned();
            return Err(Error::Content { path, what: "has no text to learn from".to_owned() });
        }
        Ok(all)
    }

    /// Documents in all shards.
    pub fn documents(&self) -> usize {
        self.parts.iter().map(|p| p.shard.len()).sum()
    }

    /// What tells these shards from others.
    pub fn checksums(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.parts.iter().map(|p| p.shard.checksum())
    }

    /// Where a piece lies: its part, its document's first id, the first prediction in the document, and how many they are.
    fn piece(&self, number: u64) -> (usize, u64, u64, usize) {
        let part = self.parts.partition_point(|p| p.firsts.first().is_some_and(|f| *f <= number)) - 1;
        let p = &self.parts[part];
        let document = p.firsts.partition_point(|f| *f <= number) - 1;
        let ends = p.shard.ends();
        let begin = document.checked_sub(1).map_or(0, |d| ends[d]);
        let all = predictions(ends[document] - begin, p.before);
        let first = (number - p.firsts[document]) * self.context as u64;
        (part, begin, first, (all - first).min(self.context as u64) as usize)
    }
}

fn predictions(ids: u64, before: Option<u32>) -> u64 {
    (ids + u64::from(before.is_some())).saturating_sub(1)
}

impl Examples for Shards {
    fn rows(&self, budget: usize, seed: u64) -> Box<dyn Rows + '_> {
        Box::new(Loader::new(self, budget, seed))
    }

    fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// Reads rows of at most `budget` tokens from shards; each epoch has another order.
pub struct Loader<'a> {
    shards: &'a Shards,
    budget: usize,
    seed: u64,
    at: Position,
    /// Pieces of the window, row by row, and where each row ends.
    pieces: Vec<u64>,
    ends: Vec<usize>,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

impl<'a> Loader<'a> {
    /// A loader at the beginning.
    ///
    /// # Panics
    /// If the budget is smaller than the shards' context.
    pub fn new(shards: &'a Shards, budget: usize, seed: u64) -> Loader<'a> {
        assert!(
            shards.context <= budget,
            "loader: a row of {budget} tokens for a context of {}",
            shards.context
        );
        let (pieces, ends, bytes, ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut loader = Loader { shards, budget, seed, at: Position::default(), pieces, ends, bytes, ids };
        loader.pack();
        loader
    }

    fn windows(&self) -> u64 {
        self.shards.pieces.div_ceil(WINDOW)
    }

    /// Packs the present window into rows, in the order in which they will come.
    fn pack(&mut self) {
        let order = Permutation::new(self.shards.pieces, self.seed, self.at.epoch);
        let first = self.at.window * WINDOW;
        let numbers = (first..self.shards.pieces.min(first + WINDOW)).map(|i| order.at(i));
        let mut pieces: Vec<(usize, u64)> = numbers.map(|p| (self.shards.piece(p).3, p)).collect();
        // Longest first; equal ones stay as they came.
        pieces.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
        let mut rows: Vec<Vec<u64>> = Vec::new();
        let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (tokens, piece) in pieces {
            let best = room.range((tokens, 0)..).next().copied();
            let (left, row) = best.unwrap_or_else(|| {
                rows.push(Vec::new());
                (self.budget, rows.len() - 1)
            });
            room.remove(&(left, row));
            rows[row].push(piece);
            if left > tokens {
                room.insert((left - tokens, row));
            }
        }
        // Rows are made of long pieces first, so their order is drawn too.
        let mut random = Random::new(self.seed ^ self.at.epoch.rotate_left(32), !self.at.window);
        for i in (1..rows.len()).rev() {
            rows.swap(i, random.below(i + 1));
        }
        self.pieces.clear();
        self.ends.clear();
        for row in rows {
            self.pieces.extend(row);
            self.ends.push(self.pieces.len());
        }
    }
}

impl Rows for Loader<'_> {
    fn position(&self) -> Position {
        self.at
    }

    fn seek(&mut self, to: Position) -> Result<(), Error> {
        let what = |what: String| Error::Content { path: self.shards.parts[0].shard.path().to_owned(), what };
        if to.window >= self.windows() {
            return Err(what(format!(
                "has no window {} in its {}: not the data of before",
                to.window,
                self.windows()
            )));
        }
        self.at = to;
        self.pack();
        if to.row >= self.ends.len() as u64 {
            let what = format!(
                "has no row {} in window {}: not the data or the size of rows of before",
                to.row, to.window
            );
            return Err(Error::Content { path: self.shards.parts[0].shard.path().to_owned(), what });
        }
        Ok(())
    }

    fn next(&mut self, row: &mut Row) -> Result<(), Error> {
        row.clear();
        let at = self.at.row as usize;
        let begin = at.checked_sub(1).map_or(0, |r| self.ends[r]);
        for i in begin..self.ends[at] {
            let (part, document, first, tokens) = self.shards.piece(self.pieces[i]);
            let part = &self.shards.parts[part];
            self.ids.clear();
            // With an id before it, the ids of a document are one place behind what is predicted from them.
            let (from, count) = match part.before {
                Some(id) if first == 0 => {
                    self.ids.push(id);
                    (document, tokens)
                }
                Some(_) => (document + first - 1, tokens + 1),
                None => (document + first, tokens + 1),
            };
            part.shard.read(from, count, &mut self.bytes, &mut self.ids)?;
            row.push(&self.ids);
        }
        self.at.row += 1;
        if self.at.row == self.ends.len() as u64 {
            self.at = Position { row: 0, window: self.at.window + 1, ..self.at };
            if self.at.window == self.windows() {
                self.at = Position { epoch: self.at.epoch + 1, window: 0, row: 0 };
            }
            self.pack();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::Writer;

    fn tokenizer() -> Tokenizer {
        pupil_tokenizer::train(["x"], 257, &["<|endoftext|>"])
    }

    /// Lengths from 0 to about 90, and now and then a long one.
    fn length(d: u32) -> u32 {
        if d.is_multiple_of(50) { 700 + d } else { d.wrapping_mul(2_654_435_761) % 90 }
    }

    /// A shard in which an id tells its place in its document, modulo 251, and 256 ends it; 255 stands before.
    fn shards(dir: &Path, documents: u32, context: usize) -> Shards {
        let (path, other, t) = (dir.join("x.tokens"), dir.join("y.tokens"), tokenizer());
        let mut w = Writer::create(&path, &t).unwrap();
        for d in 0..documents {
            let ids: Vec<u32> = (0..length(d)).map(|i| i % 251).chain([256]).collect();
            w.add(&ids).unwrap();
        }
        w.finish().unwrap();
        let mut w = Writer::create(&other, &t).unwrap();
        w.add(&(0..200).collect::<Vec<u32>>()).unwrap();
        w.finish().unwrap();
        Shards::open(&[(path, Some(255)), (other, None)], &t, context).unwrap()
    }

    fn rows(loader: &mut dyn Rows, n: usize) -> Vec<Row> {
        let take = |_| {
            let mut row = Row::default();
            loader.next(&mut row).unwrap();
            row
        };
        (0..n).map(take).collect()
    }

    #[test]
    fn every_prediction_comes_once_an_epoch_and_is_the_next_token() {
        let dir = tempfile::tempdir().unwrap();
        let shards = shards(dir.path(), 3000, 64);
        let mut loader = shards.rows(128, 5);
        let (mut seen, mut places, mut row, mut count) = (0, [0u32; 257], Row::default(), 0);
        while loader.position().epoch == 0 {
            loader.next(&mut row).unwrap();
            assert!(
                row.ids.len() <= 128
                    && row.ids.len() == row.targets.len()
                    && row.weights.iter().all(|w| *w == 1.0)
            );
            assert_eq!(row.spans.last().unwrap().end, row.ids.len());
            for span in &row.spans {
                assert!((1..=64).contains(&span.len()));
                for i in span.clone() {
                    let (id, target) = (row.ids[i], row.targets[i]);
                    let begins = id == 255 && (target == 0 || target == 256);
                    assert!(begins || target == 256 || target == (id + 1) % 251, "{id} {target}");
                    assert!(i == span.start || row.targets[i - 1] == id);
                    places[target as usize] += 1;
                }
            }
            seen += row.ids.len() as u64;
            count += 1;
        }
        let told: u64 = (0..3000).map(|d| u64::from(length(d)) + 1).sum::<u64>() + 199;
        assert_eq!((seen, shards.tokens()), (told, told));
        assert_eq!(places[256], 3000, "each document ends once");
        let waste = 1.0 - seen as f64 / (count * 128) as f64;
        assert!(waste < 0.03, "{waste}");
    }

    #[test]
    fn a_loader_goes_on_from_a_position_as_if_it_had_never_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let shards = shards(dir.path(), 20_000, 32);
        let same = |a: &Row, b: &Row| (&a.ids, &a.targets, &a.spans) == (&b.ids, &b.targets, &b.spans);
        let mut straight = shards.rows(256, 9);
        let n = 2 * shards.tokens() as usize / 256;
        let mut marks = Vec::new();
        let all: Vec<Row> = (0..n)
            .map(|_| {
                marks.push(serde_json::to_string(&straight.position()).unwrap());
                rows(&mut *straight, 1).remove(0)
            })
            .collect();
        for k in [0, 1, 100, n / 3, n / 2, n / 2 + 5, n - 3] {
            let mut again = shards.rows(256, 9);
            again.seek(serde_json::from_str(&marks[k]).unwrap()).unwrap();
            assert!(rows(&mut *again, 3).iter().zip(&all[k..]).all(|(a, b)| same(a, b)), "row {k}");
        }
        assert!(!same(&rows(&mut *shards.rows(256, 8), 1)[0], &all[0]), "another seed, another order");
        assert!(
            all.iter().zip(&all[n / 2..]).filter(|(a, b)| same(a, b)).count() < 3,
            "another epoch, another order"
        );
        for wrong in
            [Position { window: 99, ..Position::default() }, Position { row: 1 << 40, ..Position::default() }]
        {
            assert!(straight.seek(wrong).unwrap_err().to_string().contains("not the data"));
        }
    }

    #[test]
    fn shards_of_other_tokenizers_and_without_text_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, t) = (dir.path().join("x.tokens"), tokenizer());
        let other = pupil_tokenizer::train(["yy"; 3], 258, &["<|endoftext|>"]);
        for (documents, tokenizer, words) in [
            (vec![vec![1, 2]], &other, "another tokenizer"),
            (vec![], &t, "no text"),
            (vec![vec![], vec![7]], &t, "no text"),
        ] {
            let mut w = Writer::create(&path, &t).unwrap();
            documents.iter().for_each(|d: &Vec<u32>| w.add(d).unwrap());
            w.finish().unwrap();
            let e = Shards::open(&[(path.clone(), None)], tokenizer, 8).err().unwrap().to_string();
            assert!(e.contains("x.tokens") && e.contains(words), "{e}");
        }
    }

    #[test]
    fn c14_a_shard_that_is_cut_while_it_is_read_is_an_error_and_one_that_is_replaced_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (path, t) = (dir.path().join("x.tokens"), tokenizer());
        let write = |path: &Path, ids: &[u32]| {
            let mut w = Writer::create(path, &t).unwrap();
            w.add(ids).unwrap();
            w.finish().unwrap();
        };
        write(&path, &[1, 2, 3]);
        let shards = Shards::open(&[(path.clone(), None)], &t, 8).unwrap();
        let mut row = Row::default();
        let other = dir.path().join("other.tokens");
        write(&other, &[4, 5, 6]);
        // Windows replaces no file that is open.
        if cfg!(unix) {
            std::fs::rename(&other, &path).unwrap();
            shards.rows(8, 1).next(&mut row).unwrap();
            assert_eq!((&row.ids[..], &row.targets[..]), (&[1, 2][..], &[2, 3][..]));
        }
        let shards = Shards::open(&[(path.clone(), None)], &t, 8).unwrap();
        let mut loader = shards.rows(8, 1);
        std::fs::write(&path, b"cut while it is read").unwrap();
        let e = loader.next(&mut row).unwrap_err().to_string();
        assert!(e.contains("x.tokens"), "{e}");
    }
}
