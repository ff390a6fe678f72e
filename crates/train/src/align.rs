//! Pairs of replies, of which a person liked the first better: what DPO learns from.
//!
//! Both replies of a pair lie in one row, behind their own copies of the conversation; learned are the reply's tokens and the one that ends
//! it, not the assistant's words before. What the model said of them before it learned is computed once ([`Pairs::refer`]) and kept.

use std::path::Path;

use pupil_chat::{Message, Renderer, Role};
use pupil_checkpoint::atomic;
use pupil_data::record::Preference;
use pupil_data::{Chat, Error, Examples, Position, Preferences, Row, Rows};
use pupil_model::{Batch, Gpt, Model};
use pupil_tensor::kernels::random::Key;
use pupil_tensor::{DType, Graph};
use pupil_tokenizer::Tokenizer;

use crate::evaluate::fill;
use crate::examples::{Unfit, messages};

/// Stream of the random numbers that decide the order of pairs.
const ORDER: u64 = 3 << 32;

/// A conversation with a reply.
struct Reply {
    ids: Vec<u32>,
    /// Whether each id is one of the reply's.
    learned: Vec<bool>,
}

/// Pairs of replies.
#[derive(Default)]
pub struct Pairs {
    list: Vec<[Reply; 2]>,
    /// The reference's log-probabilities of both replies.
    reference: Vec<[f32; 2]>,
    settings: Preferences,
    /// Pairs that were left out because a reply did not fit into the context.
    pub left_out: usize,
}

impl Pairs {
    /// Renders pairs; those with a reply that `context` cannot hold whole are left out and counted.
    ///
    /// # Errors
    /// If the tokenizer was not made for chats.
    pub fn new<'a>(
        tokenizer: &Tokenizer,
        preferences: impl Iterator<Item = &'a Preference>,
        context: usize,
        settings: Preferences,
    ) -> Result<Pairs, Unfit> {
        let renderer = Renderer::new(tokenizer).map_err(|e| Unfit(e.to_string()))?;
        let mut pairs = Pairs { settings, ..Pairs::default() };
        for p in preferences {
            let mut turns = messages(&Chat::new(p.prompt.clone()));
            let before = renderer.render(&turns, true).ids.len();
            let both = [&p.chosen, &p.rejected].map(|words| {
                turns.push(Message::new(Role::Assistant, words.as_str()));
                let mut r = renderer.render(&turns, false);
                turns.pop();
                r.learned[..before].fill(false);
                Reply { ids: r.ids, learned: r.learned }
            });
            if both.iter().any(|r| r.ids.len() > context + 1) {
                pairs.left_out += 1;
            } else {
                pairs.list.push(both);
            }
        }
        pairs.reference = vec![[0.0; 2]; pairs.list.len()];
        Ok(pairs)
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Calls `f` with every id in order, for fingerprints.
    pub fn each_id(&self, f: impl FnMut(u32)) {
        self.list.iter().flatten().flat_map(|r| r.ids.iter().copied()).for_each(f);
    }

    fn tokens_of(&self, pair: usize) -> usize {
        self.list[pair].iter().map(|r| r.ids.len() - 1).sum()
    }

    /// Tokens of the longest pair: what a row must hold at least.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|i| self.tokens_of(i)).max().unwrap_or(0)
    }

    /// What a model says of both replies of each pair: the sums of their log-probabilities.
    pub fn log_probabilities(&self, gpt: &Gpt, dtype: DType, budget: usize) -> Vec<[f32; 2]> {
        let mut said = Vec::with_capacity(self.len());
        let (mut row, mut batch) = (Row::default(), Batch::default());
        let order: Vec<u32> = (0..self.len() as u32).collect();
        for part in cut(&order, budget, |i| self.tokens_of(i)) {
            self.put(&order[part], &mut row);
            row.preferences = None;
            fill(&mut batch, &row);
            let mut graph = Graph::inference(gpt.parameters(), dtype).passing();
            let mut logs = gpt.log_probabilities(&mut graph, &batch).into_iter();
            let mut sums = row.spans.iter().map(|s| {
                let n = row.weights[s.clone()].iter().filter(|&&w| w > 0.0).count();
                logs.by_ref().take(n).map(f64::from).sum::<f64>() as f32
            });
            while let (Some(chosen), Some(rejected)) = (sums.next(), sums.next()) {
                said.push([chosen, rejected]);
            }
        }
        said
    }

    /// Takes a model's present words as those of the reference, or those that lie in `file` already, so that a run that is resumed has the
    /// reference with which it began.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is another run's.
    pub fn refer(
        &mut self,
        gpt: &Gpt,
        dtype: DType,
        budget: usize,
        file: &Path,
    ) -> Result<(), crate::run::Error> {
        if file.exists() {
            let read = std::fs::read(file);
            let bytes =
                read.map_err(|source| pupil_checkpoint::Error::Read { path: file.to_owned(), source })?;
            let wrong = |what: String| crate::run::Error::Usage(format!("{}: {what}", file.display()));
            let found: Vec<[f64; 2]> =
                serde_json::from_slice(&bytes).map_err(|e| wrong(format!("is no list of pairs: {e}")))?;
            if found.len() != self.len() {
                return Err(wrong(format!("has {} pairs, the data {}", found.len(), self.len())));
            }
            self.reference = found.iter().map(|p| p.map(|x| x as f32)).collect();
            return Ok(());
        }
        self.reference = self.log_probabilities(gpt, dtype, budget);
        let exact: Vec<[f64; 2]> = self.reference.iter().map(|p| p.map(f64::from)).collect();
        let text = serde_json::to_vec(&exact).map_err(|e| crate::run::Error::Other(e.to_string()))?;
        Ok(atomic::replace_file(file, &text)?)
    }

    /// Of each pair, whether a model finds the better reply likelier (each token of it, if replies are normalised).
    pub fn wins(&self, gpt: &Gpt, dtype: DType, budget: usize) -> Vec<bool> {
        let said = self.log_probabilities(gpt, dtype, budget);
        let each = said.iter().zip(&self.list).map(|(said, pair)| {
            let length = |r: &Reply| r.learned.iter().filter(|&&l| l).count().max(1) as f32;
            let mean = |k: usize| if self.settings.normalised { said[k] / length(&pair[k]) } else { said[k] };
            mean(0) > mean(1)
        });
        each.collect()
    }

    /// Fills in a row of the given pairs.
    fn put(&self, pairs: &[u32], row: &mut Row) {
        *row = Row { preferences: Some(self.settings.clone()), ..Row::default() };
        for &pair in pairs {
            for reply in &self.list[pair as usize] {
                let begin = row.ids.len();
                let n = reply.ids.len();
                row.ids.extend_from_slice(&reply.ids[..n - 1]);
                row.targets.extend_from_slice(&reply.ids[1..]);
                row.weights.extend(reply.learned[1..].iter().map(|&l| f32::from(u8::from(l))));
                row.spans.push(begin..row.ids.len());
            }
            if let Some(p) = &mut row.preferences {
                p.reference.extend_from_slice(&self.reference[pair as usize]);
            }
        }
    }
}

/// An order of `0..n` that a key decides.
pub fn order(n: usize, key: Key) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        let other = u64::from(key.draw(i as u64)[0]) * (i as u64 + 1) >> 32;
        order.swap(i, other as usize);
    }
    order
}

/// Cuts an order into rows of at most `budget` tokens.
fn cut(order: &[u32], budget: usize, tokens: impl Fn(usize) -> usize) -> Vec<std::ops::Range<usize>> {
    let (mut rows, mut begin, mut filled) = (Vec::new(), 0, 0);
    for (i, &pair) in order.iter().enumerate() {
        let n = tokens(pair as usize);
        if filled + n > budget && i > begin {
            rows.push(begin..i);
            (begin, filled) = (i, 0);
        }
        filled += n;
    }
    if begin < order.len() {
        rows.push(begin..order.len());
    }
    rows
}

impl Examples for Pairs {
    fn rows(&self, budget: usize, seed: u64) -> Box<dyn Rows + '_> {
        assert!(!self.is_empty(), "pairs: there is none to learn from");
        assert!(self.longest() <= budget, "pairs: {} tokens do not fit into {budget}", self.longest());
        let mut rows =
            Dealt { pairs: self, budget, seed, at: Position::default(), order: vec![], rows: vec![] };
        rows.deal();
        Box::new(rows)
    }

    fn tokens(&self) -> u64 {
        (0..self.len()).map(|i| self.tokens_of(i) as u64).sum()
    }
}

/// Rows of pairs, in another order each epoch.
struct Dealt<'a> {
    pairs: &'a Pairs,
    budget: usize,
    seed: u64,
    at: Position,
    order: Vec<u32>,
    rows: Vec<std::ops::Range<usize>>,
}

impl Dealt<'_> {
    fn deal(&mut self) {
        let key = Key { seed: self.seed, stream: ORDER, step: self.at.epoch };
        self.order = order(self.pairs.len(), key);
        self.rows = cut(&self.order, self.budget, |i| self.pairs.tokens_of(i));
    }
}

impl Rows for Dealt<'_> {
    fn position(&self) -> Position {
        self.at
    }

    fn seek(&mut self, to: Position) -> Result<(), Error> {
        self.at = to;
        self.deal();
        if to.window != 0 || to.row >= self.rows.len() as u64 {
            return Err(Error::Nothing(format!(
                "row {} of {} (not the data of before)",
                to.row,
                self.rows.len()
            )));
        }
        Ok(())
    }

    fn next(&mut self, row: &mut Row) -> Result<(), Error> {
        let part = self.rows[self.at.row as usize].clone();
        self.pairs.put(&self.order[part], row);
        self.at.row += 1;
        if self.at.row == self.rows.len() as u64 {
            self.at = Position { epoch: self.at.epoch + 1, ..Position::default() };
            self.deal();
        }
        Ok(())
    }
}
