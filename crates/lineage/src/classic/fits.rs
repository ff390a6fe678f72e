//! One fit of one learner: what it learns from, how right it is, how long it took, and what it tells of itself.

use std::time::Instant;

use pupil_data::Tagged;

use super::bag::{Bag, Corpus, Row};
use super::boost::Boosted;
use super::crf::{Chain, Crf};
use super::hmm::Hmm;
use super::maxent::MaxEnt;
use super::outcome::{Error, Inside, Learner};
use super::ready::{Bayes, Forest, Tree};
use super::rules::Rules;
use super::suite::Split;
use super::svm::{self, Svm};
use super::tagging::{Lexicon, Sentence};

use Learner::{Boosting, CrfSame, Forest as RandomForest, MaxEntTagger, Tree as DecisionTree};

/// Words that become features at most.
pub(super) const FEATURES: usize = 2000;
/// Penalty of weights: the C of MaxEnt and of the taggers.
pub(super) const C_MAXENT: f64 = 0.1;
/// See [`C_MAXENT`].
pub(super) const C_TAGGERS: f64 = 1.0;
/// See [`C_MAXENT`]; of the field that sees one thing a word, whose weights must therefore be large.
pub(super) const C_SAME: f64 = 10.0;
/// Rounds of boosting.
pub(super) const ROUNDS: usize = 200;
/// Words that are shown of each class.
const SHOWN: usize = 12;

/// What one fit gives.
pub(super) struct Fit {
    /// Share told right.
    pub(super) accuracy: f64,
    /// The same of words that were not learned from; NaN of texts.
    pub(super) unknown: f64,
    /// Seconds of learning.
    pub(super) seconds: f64,
}

/// The bag of words of one split.
pub(super) struct Features {
    pub(super) bag: Bag,
    pub(super) train: Vec<Row>,
    pub(super) labels: Vec<usize>,
    pub(super) test: Vec<Row>,
    pub(super) right: Vec<usize>,
    texts: Vec<usize>,
}

impl Features {
    pub(super) fn new(corpus: &Corpus, split: &Split, size: usize) -> Features {
        let train = &split.train[..size];
        let bag = Bag::learn(corpus, train, FEATURES);
        let rows = |part: &[usize]| part.iter().map(|t| bag.row(&corpus.texts[*t])).collect();
        let labels = |part: &[usize]| part.iter().map(|t| corpus.labels[*t]).collect();
        Features {
            train: rows(train),
            labels: labels(train),
            test: rows(&split.test),
            right: labels(&split.test),
            texts: split.test.clone(),
            bag,
        }
    }

    #[allow(clippy::type_complexity, reason = "a way to tell what is inside")]
    pub(super) fn fit(
        &self,
        learner: Learner,
        corpus: &Corpus,
        rules: Option<&Rules>,
        seed: u64,
        tell: &dyn Fn(&dyn Fn(&mut Inside)),
    ) -> Result<Fit, Error> {
        let (rows, labels, n) = (&self.train, &self.labels, self.bag.features.len());
        let classes = corpus.classes.len();
        let word = |f: usize| corpus.words[self.bag.features[f] as usize].clone();
        let class = |c: usize| corpus.classes[c].clone();
        // A few texts may all be of one class, or share no word: then the commonest is guessed.
        let one = labels.iter().all(|l| *l == labels[0]);
        if (one || n == 0) && learner != Learner::Rules {
            let right = self.right.iter().filter(|r| **r == labels[0]).count();
            return Ok(Fit {
                accuracy: right as f64 / self.right.len() as f64,
                unknown: f64::NAN,
                seconds: 0.0,
            });
        }
        let top = |weight: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<(String, f64)>> {
            (0..classes)
                .map(|c| {
                    let mut all: Vec<(usize, f64)> = (0..n).map(|f| (f, weight(f, c))).collect();
                    all.sort_by(|a, b| b.1.total_cmp(&a.1));
                    all.into_iter().take(SHOWN).map(|(f, w)| (word(f), w)).collect()
                })
                .collect()
        };
        let name = learner.name();
        let begun = Instant::now();
        let took = || begun.elapsed().as_secs_f64();
        let (said, seconds): (Vec<usize>, f64) = match learner {
            Learner::Bayes => {
                let m = Bayes::fit(rows, labels, n).map_err(|e| failed(name, &e))?;
                let seconds = took();
                tell(&|i| i.bayes = top(&|f, c| m.lean(f, c)));
                (m.predict(&self.test).map_err(|e| failed(name, &e))?, seconds)
            }
            Learner::MaxEnt => {
                let m = MaxEnt::fit(rows, labels, n, classes, C_MAXENT);
                let seconds = took();
                tell(&|i| {
                    i.maxent = top(&|f, c| m.weight(f, c));
                    let end = &m.minimum;
                    i.converged = (end.steps, end.value / rows.len() as f64, end.converged);
                });
                (self.test.iter().map(|r| m.predict(r)).collect(), seconds)
            }
            Learner::Svm => {
                let m = Svm::fit(rows, labels, n, classes, svm::usual_c(rows), seed);
                let seconds = took();
                tell(&|i| {
                    let all = m.machines();
                    i.svm = top(&|f, c| match all {
                        [one] => one.weights[f] * if c == 1 { 1.0 } else { -1.0 },
                        _ => all[c].weights[f],
                    });
                    i.margin = (all[0].margin(), all[0].objective, all[0].gap, all[0].support);
                });
                (self.test.iter().map(|r| m.predict(r)).collect(), seconds)
            }
            DecisionTree => {
                let m = Tree::fit(rows, labels, n).map_err(|e| failed(name, &e))?;
                let seconds = took();
                tell(&|i| i.tree = m.text(3, &word, &class));
                (m.predict(&self.test).map_err(|e| failed(name, &e))?, seconds)
            }
            RandomForest => {
                let m = Forest::fit(rows, labels, n, seed).map_err(|e| failed(name, &e))?;
                let seconds = took();
                let said = m.predict(&self.test).map_err(|e| failed(name, &e))?;
                tell(&|i| i.forest = (m.out_of_bag, 1.0 - self.accuracy(&said)));
                (said, seconds)
            }
            Boosting => {
                let m = Boosted::fit(rows, labels, n, classes, ROUNDS);
                let seconds = took();
                tell(&|i| {
                    let errors = |rows: &[Row], labels: &[usize]| m.errors(rows, labels);
                    i.boosting =
                        errors(rows, labels).into_iter().zip(errors(&self.test, &self.right)).collect();
                    let question = |s: &super::boost::Stump| (word(s.feature), class(s.classes[1]), s.vote);
                    i.questions = m.stumps.iter().take(SHOWN).map(question).collect();
                });
                (self.test.iter().map(|r| m.predict(r)).collect(), seconds)
            }
            _ => {
                let said = rules.map(|r| self.texts.iter().map(|t| r.predict(&corpus.texts[*t])).collect());
                (said.unwrap_or_default(), 0.0)
            }
        };
        Ok(Fit { accuracy: self.accuracy(&said), unknown: f64::NAN, seconds })
    }

    fn accuracy(&self, said: &[usize]) -> f64 {
        said.iter().zip(&self.right).filter(|(a, b)| a == b).count() as f64 / self.right.len().max(1) as f64
    }
}

/// The sentences of one split in numbers.
pub(super) struct Numbered {
    pub(super) train: Vec<Sentence>,
    pub(super) test: Vec<Sentence>,
    pub(super) sizes: [usize; 2],
}

impl Numbered {
    pub(super) fn new(all: &[Tagged], split: &Split, size: usize, tags: &[String]) -> Numbered {
        let train: Vec<&Tagged> = split.train[..size].iter().map(|i| &all[*i]).collect();
        let lexicon = Lexicon::learn(&train, tags);
        Numbered {
            train: train.iter().map(|s| lexicon.sentence(s)).collect(),
            test: split.test.iter().map(|i| lexicon.sentence(&all[*i])).collect(),
            sizes: lexicon.sizes(),
        }
    }

    pub(super) fn fit(&self, learner: Learner, tags: usize) -> (Fit, Vec<Vec<usize>>) {
        let [observations, features] = self.sizes;
        // The hidden Markov model knows which tags begin a sentence, so the field is told where one begins.
        let alone = |s: &Sentence| -> Vec<Row> {
            let first = |i: usize| (i == 0).then_some(observations as u32);
            s.observed.iter().enumerate().map(|(i, o)| [*o].into_iter().chain(first(i)).collect()).collect()
        };
        let begun = Instant::now();
        let took = || begun.elapsed().as_secs_f64();
        let (said, seconds): (Vec<Vec<usize>>, f64) = match learner {
            Learner::Hmm => {
                let train: Vec<&Sentence> = self.train.iter().collect();
                let m = Hmm::fit(&train, observations, tags);
                let seconds = took();
                (self.test.iter().map(|s| m.predict(&s.observed)).collect(), seconds)
            }
            CrfSame => {
                let rows: Vec<Vec<Row>> = self.train.iter().map(alone).collect();
                let chains: Vec<Chain<'_>> =
                    rows.iter().zip(&self.train).map(|(r, s)| (&r[..], &s.tags[..])).collect();
                let m = Crf::fit(&chains, observations + 1, tags, C_SAME);
                let seconds = took();
                (self.test.iter().map(|s| m.predict(&alone(s))).collect(), seconds)
            }
            MaxEntTagger => {
                let rows: Vec<Row> = self.train.iter().flat_map(|s| s.features.iter().cloned()).collect();
                let labels: Vec<usize> = self.train.iter().flat_map(|s| s.tags.iter().copied()).collect();
                let m = MaxEnt::fit(&rows, &labels, features, tags, C_TAGGERS);
                let seconds = took();
                (
                    self.test.iter().map(|s| s.features.iter().map(|r| m.predict(r)).collect()).collect(),
                    seconds,
                )
            }
            _ => {
                let chains: Vec<Chain<'_>> =
                    self.train.iter().map(|s| (&s.features[..], &s.tags[..])).collect();
                let m = Crf::fit(&chains, features, tags, C_TAGGERS);
                let seconds = took();
                (self.test.iter().map(|s| m.predict(&s.features)).collect(), seconds)
            }
        };
        let (mut right, mut all, mut new) = ([0usize; 2], 0usize, 0usize);
        for (s, tags) in self.test.iter().zip(&said) {
            for ((said, tag), known) in tags.iter().zip(&s.tags).zip(&s.known) {
                all += 1;
                new += usize::from(!known);
                right[usize::from(!known)] += usize::from(said == tag);
            }
        }
        let accuracy = (right[0] + right[1]) as f64 / all.max(1) as f64;
        let unknown = if new == 0 { f64::NAN } else { right[1] as f64 / new as f64 };
        (Fit { accuracy, unknown, seconds }, said)
    }
}

pub(super) fn failed(learner: &'static str, e: &dyn std::fmt::Display) -> Error {
    Error::Learner { learner, what: e.to_string() }
}
