//! Replies of an encoder and decoder: the best word each time, or beam search (Graves 2012; Wu et al. 2016 for the length penalty).

use pupil_model::EncoderDecoder;
use pupil_model::tensor::{DType, Graph};

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
    pub fn replies(&self, model: &dyn EncoderDecoder, source: &[u32], dtype: DType) -> Vec<Reply> {
        let form = model.form();
        let mut g = Graph::inference(model.parameters(), dtype);
        let mut writer = model.begin(&mut g, &form.source(source));
        // What is said to nobody: the decoder without anything that was read.
        let mut bare = (self.originality > 0.0).then(|| model.begin(&mut g, &[]));
        let said = if form.start_is_said { vec![form.start] } else { Vec::new() };
        let mut live = vec![(said, 0.0, 0.0)];
        let mut last = vec![form.start];
        let mut done: Vec<Reply> = Vec::new();
        for step in 0..self.max_new {
            let scores = writer.next(&mut g, &last);
            let vocab = scores.cols();
            let logits = log_softmax(scores.to_vec(), vocab);
            let mut ranks = logits.clone();
            if let Some(bare) = bare.as_mut().filter(|_| step < OPENING) {
                let anyway = log_softmax(bare.next(&mut g, &last).to_vec(), vocab);
                ranks.iter_mut().zip(anyway).for_each(|(r, a)| *r -= self.originality as f32 * a);
            }
            let mut next: Vec<(f64, f64, usize, u32)> = Vec::new();
            for (i, (row, rank)) in logits.chunks_exact(vocab).zip(ranks.chunks_exact_mut(vocab)).enumerate()
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
                if id == form.end {
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
            writer.keep(&origins);
            if let Some(bare) = bare.as_mut().filter(|_| step + 1 < OPENING) {
                bare.keep(&origins);
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
    use pupil_model::batch::Batch;
    use pupil_model::{Form, Model, Network, Settings, rnn, rnnsearch, seq2seq, transformer};

    /// One of each kind, with weights large enough that its words differ.
    fn models(seed: u64) -> Vec<Network> {
        let form = Form { length: 4, padded: false, start: 1, start_is_said: false, end: 0 };
        let (vocab, cell) = (7, rnn::Kind::Lstm);
        let plain = seq2seq::Config { vocab, form, width: 6, hidden: 6, cell };
        let (bidirectional, cell) = (true, rnn::Kind::Gru);
        let attention = rnnsearch::Config {
            vocab,
            form,
            width: 6,
            hidden: 6,
            keys: 5,
            cell,
            bidirectional,
            dropout: 0.0,
        };
        let transformer = transformer::Config {
            vocab,
            form,
            encoder_layers: 1,
            decoder_layers: 2,
            width: 6,
            heads: 2,
            hidden: 8,
            activation: transformer::Kind::Relu,
            dropout: 0.0,
            smoothing: 0.0,
        };
        let all =
            [Settings::Seq2Seq(plain), Settings::RnnSearch(attention), Settings::Transformer(transformer)];
        let models = all.map(|settings| {
            let mut m = Network::new(settings, seed);
            let ids: Vec<_> = m.parameters().iter().map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| m.parameters_mut().data_mut(id).iter_mut().for_each(|x| *x *= 3.0));
            m
        });
        models.into()
    }

    /// The best replies of a model.
    fn replies(beam: &Beam, m: &Network, source: &[u32]) -> Vec<Reply> {
        beam.replies(m.encoder_decoder().unwrap(), source, DType::F32)
    }

    /// The log-probability of a reply by reading it whole, as in training; without that of its end, if `open`.
    fn log_probability(m: &Network, source: &[u32], ids: &[u32], open: bool) -> f64 {
        let read: Vec<u32> = std::iter::once(1).chain(ids.iter().copied()).collect();
        let targets: Vec<u32> = ids.iter().copied().chain([0]).collect();
        let mut weights = vec![1.0; read.len()];
        weights[ids.len()] = if open { 0.0 } else { 1.0 };
        let (own, whole) = (0..read.len(), 0..source.len());
        let mut batch = Batch::new(&read, &targets, &weights, std::slice::from_ref(&own));
        batch.set_source(source, std::slice::from_ref(&whole));
        -m.loss(&mut Graph::inference(m.parameters(), DType::F32), &batch, 1.0).sum
    }

    #[test]
    fn a_beam_that_holds_everything_finds_the_best_of_all_replies() {
        for m in (0..4).flat_map(models) {
            let source = [3, 5, 2];
            let mut all: Vec<Vec<u32>> = vec![vec![]];
            let mut begun = all.clone();
            for _ in 0..2 {
                begun = begun.iter().flat_map(|b| (1..7).map(move |id| [&b[..], &[id]].concat())).collect();
                all.extend(begun.clone());
            }
            let scored = all.iter().map(|ids| (log_probability(&m, &source, ids, false), ids));
            let (score, ids) = scored.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let beam = Beam { width: 300, length_penalty: 0.0, max_new: 3, originality: 0.0, never: vec![] };
            let replies = replies(&beam, &m, &source);
            let ended = replies.iter().find(|r| r.ids.len() < 3).unwrap();
            assert_eq!(&ended.ids, ids, "{:?}", m.settings());
            assert!((ended.log_probability - score).abs() < 1e-4);
        }
    }

    #[test]
    fn a_beam_of_one_takes_the_best_word_each_time() {
        for m in (0..4).flat_map(models) {
            let beam = Beam { width: 1, length_penalty: 1.0, max_new: 5, originality: 0.0, never: vec![] };
            let reply = &replies(&beam, &m, &[2, 2])[0];
            assert!(reply.ids.len() <= 5 && !reply.ids.contains(&0));
            for n in 0..reply.ids.len() {
                let score = |id: u32| log_probability(&m, &[2, 2], &[&reply.ids[..n], &[id]].concat(), true);
                let best = (1..7).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
                assert_eq!(best, reply.ids[n], "{:?}, word {n}", m.settings());
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
        for kind in 0..3 {
            let said =
                |seed: u64, o: f64| replies(&beam(o, vec![]), &models(seed)[kind], &[3, 5, 2])[0].ids.clone();
            assert!((0..8).any(|seed| said(seed, 0.0) != said(seed, 0.9)));
            let m = &models(1)[kind];
            let plain = replies(&beam(0.0, vec![]), m, &[3, 5, 2]);
            let word = plain.iter().flat_map(|r| &r.ids).copied().next().unwrap();
            let without = replies(&beam(0.9, vec![word]), m, &[3, 5, 2]);
            assert!(!without.is_empty() && without.iter().all(|r| !r.ids.contains(&word)));
        }
    }
}
