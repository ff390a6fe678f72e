//! Replies of an encoder and decoder: the best word each time, or beam search (Graves 2012; Wu et al. 2016 for the length penalty).

use pupil_model::batch::Span;
use pupil_model::tensor::{DType, Graph, Indices, State};
use pupil_model::{Model, Seq2Seq};

/// How replies are searched for.
#[derive(Clone, Debug)]
pub struct Beam {
    /// Replies that are followed at a time; 1 takes the best word each time.
    pub width: usize,
    /// Exponent of the length penalty `((5 + n) / 6)^α`; 0: none, which favours short replies.
    pub length_penalty: f64,
    /// Tokens of a reply at most.
    pub max_new: usize,
    /// How much a word loses for being likely whatever was said, in the first words: against "I don't know" as the answer to
    /// everything (Li et al. 2016, MMI-antiLM). 0: not at all.
    pub originality: f64,
    /// Ids that a reply never has.
    pub never: Vec<u32>,
}

/// Words that originality weighs: later ones are left to grammar.
const OPENING: usize = 5;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its ids, without what starts and ends it.
    pub ids: Vec<u32>,
    /// Its log-probability in nats.
    pub log_probability: f64,
    /// That, less what originality takes, divided by the length penalty.
    pub score: f64,
}

impl Beam {
    /// The replies to what was said, best first, at most `width`.
    ///
    /// # Panics
    /// If an id is not in the model's vocabulary.
    pub fn replies(&self, model: &Seq2Seq, source: &[u32], dtype: DType) -> Vec<Reply> {
        let c = &model.config;
        let mut read = source[..source.len().min(c.length)].to_vec();
        if c.padded || read.is_empty() {
            read.resize(c.length, 0);
        }
        let mut g = Graph::inference(model.parameters(), dtype);
        let whole = Span { queries: 0..read.len(), keys: 0..read.len() };
        let mut state = model.encode(&mut g, &Indices::new(&read), &[whole]);
        let said = if c.start_is_said { vec![c.start] } else { Vec::new() };
        // What is said to nobody: the decoder from a state that knows nothing.
        let mut bare = State::zeros(1, c.hidden);
        let mut live = vec![(said, 0.0, 0.0)];
        let mut last = vec![c.start];
        let mut done: Vec<Reply> = Vec::new();
        for step in 0..self.max_new {
            let spans: Vec<Span> =
                (0..live.len()).map(|i| Span { queries: i..i + 1, keys: i..i + 1 }).collect();
            let (hidden, after) = model.decode(&mut g, &Indices::new(&last), &spans, &state);
            let logits = log_softmax(model.logits(&mut g, &hidden).to_vec(), c.vocab);
            let mut ranks = logits.clone();
            if self.originality > 0.0 && step < OPENING {
                let (hidden, after) = model.decode(&mut g, &Indices::new(&last), &spans, &bare);
                let anyway = log_softmax(model.logits(&mut g, &hidden).to_vec(), c.vocab);
                ranks.iter_mut().zip(anyway).for_each(|(r, a)| *r -= self.originality as f32 * a);
                bare = after;
            }
            let mut next: Vec<(f64, f64, usize, u32)> = Vec::new();
            for (i, (row, rank)) in
                logits.chunks_exact(c.vocab).zip(ranks.chunks_exact_mut(c.vocab)).enumerate()
            {
                // Originality chooses among words that are not absurd, else rare ones win.
                let least = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) - ABSURD;
                rank.iter_mut().zip(row).filter(|(_, p)| **p < least).for_each(|(r, p)| *r = p - 100.0);
                self.never.iter().for_each(|&id| rank[id as usize] = f32::NEG_INFINITY);
                next.extend(best(rank, self.width + 1).into_iter().map(|id| {
                    (live[i].2 + f64::from(rank[id]), live[i].1 + f64::from(row[id]), i, id as u32)
                }));
            }
            next.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.3).cmp(&(b.2, b.3))));
            let (mut kept, mut origins) = (Vec::new(), Vec::new());
            last.clear();
            for (rank, log_probability, i, id) in next {
                if kept.len() == self.width {
                    break;
                }
                let mut ids = live[i].0.clone();
                if id == c.end {
                    done.push(self.reply(ids, log_probability, rank));
                    // The best word each time is the end: there is nothing else to follow.
                    if self.width == 1 {
                        return done;
                    }
                    continue;
                }
                ids.push(id);
                if step + 1 == self.max_new {
                    done.push(self.reply(ids.clone(), log_probability, rank));
                }
                kept.push((ids, log_probability, rank));
                origins.push(i);
                last.push(id);
            }
            live = kept;
            // Enough are finished, and what is still going on can at best become as good.
            let finished = done.iter().map(|r| r.score).fold(f64::NEG_INFINITY, f64::max);
            let hope = live.first().map_or(f64::NEG_INFINITY, |l| l.2 / self.penalty(self.max_new));
            if live.is_empty() || done.len() >= self.width && finished >= hope {
                break;
            }
            state.hidden = after.hidden.select_rows(&origins);
            state.cell = after.cell.select_rows(&origins);
            if self.originality > 0.0 && step + 1 < OPENING {
                bare.hidden = bare.hidden.select_rows(&origins);
                bare.cell = bare.cell.select_rows(&origins);
            }
        }
        done.sort_by(|a, b| b.score.total_cmp(&a.score));
        done.truncate(self.width);
        done
    }

    fn reply(&self, ids: Vec<u32>, log_probability: f64, rank: f64) -> Reply {
        let score = rank / self.penalty(ids.len() + 1);
        Reply { ids, log_probability, score }
    }

    fn penalty(&self, tokens: usize) -> f64 {
        ((5.0 + tokens as f64) / 6.0).powf(self.length_penalty)
    }
}

/// A word that is this many nats behind the likeliest is not chosen for its originality.
const ABSURD: f32 = 4.0;

/// Logarithms of the probabilities of each row.
fn log_softmax(mut logits: Vec<f32>, width: usize) -> Vec<f32> {
    for row in logits.chunks_exact_mut(width) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
        let total = top + total.ln() as f32;
        row.iter_mut().for_each(|x| *x -= total);
    }
    logits
}

/// The places of the `n` largest numbers, largest first.
fn best(row: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    let n = n.min(row.len());
    if n < row.len() {
        order.select_nth_unstable_by(n, |&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        order.truncate(n);
    }
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::rnn::Kind;
    use pupil_model::seq2seq::Config;

    fn model(seed: u64) -> Seq2Seq {
        let (vocab, cell) = (7, Kind::Lstm);
        let config = Config {
            vocab,
            length: 4,
            padded: false,
            width: 6,
            hidden: 6,
            cell,
            start: 1,
            start_is_said: false,
            end: 0,
        };
        let mut m = Seq2Seq::new(config, seed);
        let ids: Vec<_> = m.parameters().iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| m.parameters_mut().data_mut(id).iter_mut().for_each(|x| *x *= 3.0));
        m
    }

    /// The log-probability of a reply by reading it whole.
    fn log_probability(m: &Seq2Seq, source: &[u32], ids: &[u32]) -> f64 {
        let mut g = Graph::inference(m.parameters(), DType::F32);
        let span = |n: usize| Span { queries: 0..n, keys: 0..n };
        let state = m.encode(&mut g, &Indices::new(source), &[span(source.len())]);
        let read: Vec<u32> = std::iter::once(1).chain(ids.iter().copied()).collect();
        let (hidden, _) = m.decode(&mut g, &Indices::new(&read), &[span(read.len())], &state);
        let logits = m.logits(&mut g, &hidden).to_vec();
        let targets = ids.iter().copied().chain([0]);
        let each = logits.chunks_exact(7).zip(targets).map(|(row, t)| {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            f64::from(row[t as usize]) - total.ln()
        });
        each.sum()
    }

    #[test]
    fn a_beam_that_holds_everything_finds_the_best_of_all_replies() {
        for seed in 0..4 {
            let m = model(seed);
            let source = [3, 5, 2];
            let mut all: Vec<Vec<u32>> = vec![vec![]];
            let mut begun = all.clone();
            for _ in 0..2 {
                begun = begun.iter().flat_map(|b| (1..7).map(move |id| [&b[..], &[id]].concat())).collect();
                all.extend(begun.clone());
            }
            let scored = all.iter().map(|ids| (log_probability(&m, &source, ids), ids));
            let (score, ids) = scored.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let beam = Beam { width: 60, length_penalty: 0.0, max_new: 3, originality: 0.0, never: vec![] };
            let replies = beam.replies(&m, &source, DType::F32);
            let ended = replies.iter().find(|r| r.ids.len() < 3).unwrap();
            assert_eq!(&ended.ids, ids, "seed {seed}");
            assert!((ended.log_probability - score).abs() < 1e-4);
        }
    }

    #[test]
    fn a_beam_of_one_takes_the_best_word_each_time() {
        for seed in 0..4 {
            let m = model(seed);
            let beam = Beam { width: 1, length_penalty: 1.0, max_new: 5, originality: 0.0, never: vec![] };
            let reply = &beam.replies(&m, &[2, 2], DType::F32)[0];
            assert!(reply.ids.len() <= 5 && !reply.ids.contains(&0));
            for n in 0..reply.ids.len() {
                let score = |id: u32| {
                    log_probability(&m, &[2, 2], &[&reply.ids[..n], &[id]].concat())
                        - log_probability_of_end(&m, &[&reply.ids[..n], &[id]].concat())
                };
                let best = (1..7).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
                assert_eq!(best, reply.ids[n], "seed {seed}, word {n}");
            }
        }
    }

    #[test]
    fn originality_turns_to_what_this_was_said_to_and_never_is_never() {
        let beam = |originality: f64, never: Vec<u32>| Beam {
            width: 3,
            length_penalty: 1.0,
            max_new: 4,
            originality,
            never,
        };
        let said =
            |seed: u64, o: f64| beam(o, vec![]).replies(&model(seed), &[3, 5, 2], DType::F32)[0].ids.clone();
        assert!((0..8).any(|seed| said(seed, 0.0) != said(seed, 0.9)));
        let m = model(1);
        let plain = beam(0.0, vec![]).replies(&m, &[3, 5, 2], DType::F32);
        let word = plain.iter().flat_map(|r| &r.ids).copied().next().unwrap();
        let without = beam(0.9, vec![word]).replies(&m, &[3, 5, 2], DType::F32);
        assert!(!without.is_empty() && without.iter().all(|r| !r.ids.contains(&word)));
    }

    /// What the end adds to the log-probability of a reply.
    fn log_probability_of_end(m: &Seq2Seq, ids: &[u32]) -> f64 {
        let mut g = Graph::inference(m.parameters(), DType::F32);
        let span = |n: usize| Span { queries: 0..n, keys: 0..n };
        let state = m.encode(&mut g, &Indices::new(&[2, 2]), &[span(2)]);
        let read: Vec<u32> = std::iter::once(1).chain(ids.iter().copied()).collect();
        let (hidden, _) = m.decode(&mut g, &Indices::new(&read), &[span(read.len())], &state);
        let logits = m.logits(&mut g, &hidden.select_rows(&[ids.len()])).to_vec();
        f64::from(logits[0]) - logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln()
    }
}
