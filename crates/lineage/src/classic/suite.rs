//! The suite: every learner on the same features and the same splits, with more and more data.
//!
//! Fits are independent of each other and run side by side; each uses one thread, so the numbers are the same whatever their number. What
//! one fit tells beside its accuracy (weights, a tree) is taken from the first split.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pupil_data::{Labelled, Tagged};
use pupil_infer::reader::{self, Reader};
use pupil_tensor::DType;
use pupil_tensor::kernels::pool;
use pupil_tensor::kernels::random::Key;
use pupil_train::bert::{self, Budget, Effort, Size};

use super::bag::{Bag, Corpus};
use super::fits::{C_MAXENT, C_SAME, C_TAGGERS, FEATURES, Features, Fit, Numbered, ROUNDS, failed};
use super::neuron::{self, Perceptron};
use super::outcome::{Error, Example, Inside, Learner, Outcome, Point, Settings, TAGGERS, Task, mean};
use super::rules::Rules;
use super::{deep, ready, shuffle};

use Learner::{
    Bert, Boosting, Convolution, CrfSame, Forest as RandomForest, Lstm, MaxEntTagger, Tree as DecisionTree,
};

/// Texts beyond which trees and forests are not tried: their tables are dense, and all is to take less than a minute.
pub const DENSE: usize = 2000;
/// Splits of which the largest size is the mean, and the smaller ones.
const SPLITS: [usize; 2] = [5, 3];
/// Splits of which the networks' points are the mean: they take a hundred times as long.
const NETWORK_SPLITS: usize = 2;
/// Steps of the BERT's reading and of each teaching, and tokens of a step.
const BERT_STEPS: [u64; 2] = [150, 100];
/// See [`BERT_STEPS`].
const BERT_TOKENS: usize = 2048;
/// Most texts and sentences that are held out.
const HELD_OUT: usize = 2000;
/// Fewest texts or sentences to learn from.
const FEWEST: usize = 25;
/// Halvings of the data at most.
const HALVINGS: usize = 6;
/// Texts that a class has at least.
pub(super) const CLASS: usize = 8;
/// Work of the taggers at most: words times (tags² + features), so that they take seconds.
const TAGGING: usize = 30_000_000;

/// What is to be learned.
pub struct Suite<'a> {
    /// Texts with labels.
    pub texts: &'a [Labelled],
    /// Sentences with tags.
    pub sentences: &'a [Tagged],
    /// Of splits and of learners that draw lots.
    pub seed: u64,
    /// Whether the networks take part.
    pub deep: bool,
}

/// Marks, weight and height of a line to be found: hours of practice and pieces played without a mistake.
const TABLE: [(f64, f64); 8] =
    [(1.0, 2.1), (2.0, 2.9), (3.0, 4.2), (4.0, 4.8), (5.0, 6.3), (6.0, 6.9), (7.0, 8.2), (8.0, 8.8)];

/// A split: what is learned from, in random order, and what is held out.
pub(super) struct Split {
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
}

/// The splits of `n` things: each holds out another fifth, [`HELD_OUT`] at most.
pub(super) fn splits(n: usize, seed: u64) -> Vec<Split> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, Key { seed, stream: 0x5711, step: 0 });
    let split = |k: usize| {
        let (from, to) = (n * k / SPLITS[0], n * (k + 1) / SPLITS[0]);
        let test = order[from..to].iter().copied().take(HELD_OUT).collect();
        let mut train: Vec<usize> = order[..from].iter().chain(&order[to..]).copied().collect();
        shuffle(&mut train, Key { seed, stream: 0x5712, step: k as u64 });
        Split { train, test }
    };
    (0..SPLITS[0]).map(split).collect()
}

/// Sizes to try, the largest first.
fn sizes(most: usize) -> Vec<usize> {
    let halves = (0..=HALVINGS).map(|h| most >> h);
    halves.enumerate().filter(|(i, n)| *i == 0 || *n >= FEWEST).map(|s| s.1).collect()
}

type Observe<'a> = &'a mut dyn FnMut(&str) -> bool;

impl Suite<'_> {
    /// Learns everything; `observe` hears what is being done and stops the suite by returning false.
    ///
    /// # Errors
    /// If there is too little to learn from, a learner fails, or the suite was stopped.
    pub fn run(&self, observe: Observe<'_>) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let regression = ready::line(&TABLE).map_err(|e| failed("linear regression", &e))?;
        let settings = Settings {
            seed: self.seed,
            features: FEATURES,
            alpha: ready::ALPHA,
            c_maxent: C_MAXENT,
            c_taggers: C_TAGGERS,
            c_same: C_SAME,
            depth: ready::DEPTH,
            leaf: ready::LEAF,
            trees: ready::TREES,
            rounds: ROUNDS,
        };
        let mut outcome = Outcome {
            settings,
            perceptrons: neuron::GATES.iter().map(|(g, a)| Perceptron::learn(g, *a)).collect(),
            two_layers: neuron::two_layers(neuron::GATES[2].1, self.seed)?,
            regression: (TABLE.to_vec(), regression.0, regression.1),
            texts: Task::default(),
            tags: Task::default(),
            inside: Inside::default(),
            example: Example::default(),
            classical_seconds: 0.0,
            deep_seconds: 0.0,
        };
        let corpus = Corpus::new(self.texts, CLASS);
        let splits = self.texts_task(&corpus, &mut outcome.texts)?;
        self.classify(&corpus, &splits, &mut outcome, observe)?;
        self.tag(&mut outcome, observe)?;
        outcome.classical_seconds = begun.elapsed().as_secs_f64();
        if self.deep {
            let begun = Instant::now();
            self.networks(&corpus, &splits, &mut outcome.texts, observe)?;
            self.bert(&corpus, &splits[0], &mut outcome.texts, observe)?;
            outcome.deep_seconds = begun.elapsed().as_secs_f64();
        }
        Ok(outcome)
    }

    fn texts_task(&self, corpus: &Corpus, task: &mut Task) -> Result<Vec<Split>, Error> {
        let n = corpus.texts.len();
        if n < FEWEST || corpus.classes.len() < 2 {
            return Err(Error::TooLittle(format!(
                "{n} texts of {} classes: at least {FEWEST} texts of two classes are needed, and {CLASS} of each class",
                corpus.classes.len()
            )));
        }
        let splits = splits(n, self.seed);
        let guess = |s: &Split| commonest(s.test.iter().map(|t| corpus.labels[*t]), corpus.classes.len());
        *task = Task {
            count: n,
            words: corpus.texts.iter().map(Vec::len).sum(),
            held_out: splits[0].test.len(),
            classes: corpus.classes.clone(),
            guess: mean(&splits.iter().map(guess).collect::<Vec<_>>()),
            points: Vec::new(),
        };
        Ok(splits)
    }

    fn classify(
        &self,
        corpus: &Corpus,
        splits: &[Split],
        outcome: &mut Outcome,
        observe: Observe<'_>,
    ) -> Result<(), Error> {
        let rules = Rules::new(&corpus.words, &corpus.classes);
        let largest = splits.iter().map(|s| s.train.len()).min().unwrap_or(0);
        // Of more texts than DENSE the halves are made so that one of them is DENSE.
        for size in sizes(largest) {
            if !observe(&format!("learning from {size} texts")) {
                return Err(Error::Stopped);
            }
            let some = if size == largest { splits } else { &splits[..SPLITS[1]] };
            let features: Vec<Features> = some.iter().map(|s| Features::new(corpus, s, size)).collect();
            // The slowest first, so that no thread ends long after the others.
            let dense = if size <= DENSE { vec![RandomForest, DecisionTree] } else { Vec::new() };
            let all = dense.into_iter().chain([Learner::MaxEnt, Learner::Svm, Boosting, Learner::Bayes]);
            let learners: Vec<Learner> = all.chain(rules.as_ref().map(|_| Learner::Rules)).collect();
            // What is shown of the inside of dense learners is that of the largest size that they try.
            let shown = |l: Learner| match l {
                RandomForest | DecisionTree => size <= DENSE && (size == largest || size * 2 > DENSE),
                _ => size == largest,
            };
            let jobs: Vec<(Learner, usize)> =
                learners.iter().flat_map(|l| (0..some.len()).map(|s| (*l, s))).collect();
            let inside = Mutex::new(&mut outcome.inside);
            let fits = side_by_side(&jobs, |&(learner, s)| {
                let tell = |say: &dyn Fn(&mut Inside)| {
                    if s == 0 && shown(learner) {
                        say(&mut inside.lock().unwrap_or_else(PoisonError::into_inner));
                    }
                };
                features[s].fit(learner, corpus, rules.as_ref(), self.seed + s as u64, &tell)
            })?;
            outcome.texts.points.extend(points(&jobs, fits, size));
        }
        Ok(())
    }

    fn networks(
        &self,
        corpus: &Corpus,
        splits: &[Split],
        task: &mut Task,
        observe: Observe<'_>,
    ) -> Result<(), Error> {
        let largest = splits.iter().map(|s| s.train.len()).min().unwrap_or(0);
        for (learner, kind) in [(Convolution, deep::Kind::Convolution), (Lstm, deep::Kind::Lstm)] {
            for size in sizes(largest).into_iter().step_by(2) {
                let mut fits = Vec::new();
                for (i, split) in splits[..NETWORK_SPLITS].iter().enumerate() {
                    if !observe(&format!("{}: learning from {size} texts, split {}", learner.name(), i + 1)) {
                        // What the others found is worth keeping.
                        return Ok(());
                    }
                    let train = &split.train[..size];
                    let bag = Bag::learn(corpus, train, 4 * FEATURES);
                    let read = |t: &usize| -> Vec<u32> {
                        let words = &corpus.texts[*t];
                        let last = &words[words.len().saturating_sub(deep::LONGEST)..];
                        let ids: Vec<u32> = last.iter().map(|w| bag.id(*w)).collect();
                        if ids.is_empty() { vec![0] } else { ids }
                    };
                    let [train, test] = [train, &split.test].map(|p| p.iter().map(read).collect::<Vec<_>>());
                    let labels: Vec<usize> = split.train[..size].iter().map(|t| corpus.labels[*t]).collect();
                    let begun = Instant::now();
                    let seed = self.seed + i as u64;
                    let mut reader =
                        deep::Reader::new(kind, bag.features.len() + 1, corpus.classes.len(), seed);
                    reader.learn(&train, &labels, deep::STEPS, seed)?;
                    let seconds = begun.elapsed().as_secs_f64();
                    let said = reader.predict(&test);
                    let right =
                        said.iter().zip(&split.test).filter(|(s, t)| **s == corpus.labels[**t]).count();
                    fits.push(Fit {
                        accuracy: right as f64 / test.len().max(1) as f64,
                        unknown: f64::NAN,
                        seconds,
                    });
                }
                let jobs: Vec<(Learner, usize)> = (0..fits.len()).map(|s| (learner, s)).collect();
                task.points.extend(points(&jobs, fits, size));
            }
        }
        Ok(())
    }

    /// A small BERT reads all the texts, hidden words being what it learns, and is then taught the classes with more and more of them.
    fn bert(
        &self,
        corpus: &Corpus,
        split: &Split,
        task: &mut Task,
        observe: Observe<'_>,
    ) -> Result<(), Error> {
        let wrong = |e: &dyn std::fmt::Display| Error::Bert(e.to_string());
        let text = |t: usize| self.texts[corpus.from[t]].text.as_str();
        let effort = |steps| Effort {
            budget: Budget::Steps(steps),
            row_tokens: BERT_TOKENS,
            seed: self.seed,
            dtype: DType::F32,
            ..Effort::default()
        };
        if !observe("BERT: reading all texts") {
            return Ok(());
        }
        let all: Vec<&str> = (0..corpus.texts.len()).map(text).collect();
        let (read, tokenizer) =
            bert::pretrain(&all, &Size::default(), &effort(BERT_STEPS[0])).map_err(|e| wrong(&e))?;
        for size in sizes(split.train.len()).into_iter().step_by(2) {
            if !observe(&format!("BERT: learning from {size} texts")) {
                return Ok(());
            }
            let begun = Instant::now();
            let examples: Vec<(&str, usize)> =
                split.train[..size].iter().map(|t| (text(*t), corpus.labels[*t])).collect();
            let tuned =
                bert::learn_texts(&read, &tokenizer, &examples, &corpus.classes, &effort(BERT_STEPS[1]))
                    .map_err(|e| wrong(&e))?;
            let seconds = begun.elapsed().as_secs_f64();
            let reader = Reader::new(tuned, tokenizer.clone(), DType::F32).map_err(|e| wrong(&e))?;
            let asked: Vec<&str> = split.test.iter().map(|t| text(*t)).collect();
            let said = reader.classify(&asked).map_err(|e| wrong(&e))?;
            let right =
                said.iter().zip(&split.test).filter(|(p, t)| reader::best(p) == corpus.labels[**t]).count();
            let fit = Fit { accuracy: right as f64 / asked.len().max(1) as f64, unknown: f64::NAN, seconds };
            task.points.extend(points(&[(Bert, 0)], vec![fit], size));
        }
        Ok(())
    }

    fn tag(&self, outcome: &mut Outcome, observe: Observe<'_>) -> Result<(), Error> {
        let all = self.sentences;
        if all.len() < FEWEST {
            return Err(Error::TooLittle(format!(
                "{} tagged sentences: at least {FEWEST} are needed",
                all.len()
            )));
        }
        let mut tags: Vec<String> = all.iter().flat_map(|s| s.tags.iter().cloned()).collect();
        tags.sort_unstable();
        tags.dedup();
        let splits = splits(all.len(), self.seed);
        let number = |t: &String| tags.binary_search(t).unwrap_or(0);
        let guess =
            |s: &Split| commonest(s.test.iter().flat_map(|i| all[*i].tags.iter().map(number)), tags.len());
        let words: usize = all.iter().map(|s| s.words.len()).sum();
        outcome.tags = Task {
            count: all.len(),
            words,
            held_out: splits[0].test.len(),
            guess: mean(&splits.iter().map(guess).collect::<Vec<_>>()),
            classes: tags.clone(),
            points: Vec::new(),
        };
        // As many words as the taggers can learn from in seconds.
        let each = (words / all.len()).max(1);
        let affordable = TAGGING / (tags.len() * (tags.len() + 24)) / each;
        let largest = splits.iter().map(|s| s.train.len()).min().unwrap_or(0).min(affordable.max(FEWEST));
        let example = Mutex::new((0, Vec::new()));
        for size in sizes(largest) {
            if !observe(&format!("learning from {size} tagged sentences")) {
                return Err(Error::Stopped);
            }
            let ready = side_by_side(&[0, 1, 2], |&s| Ok(Numbered::new(all, &splits[s], size, &tags)))?;
            let jobs: Vec<(Learner, usize)> = [Learner::Crf, CrfSame, MaxEntTagger, Learner::Hmm]
                .iter()
                .flat_map(|l| (0..SPLITS[1]).map(|s| (*l, s)))
                .collect();
            let fits = side_by_side(&jobs, |&(learner, s)| {
                let (fit, said) = ready[s].fit(learner, tags.len());
                if s == 0 && size == largest {
                    let mut e = example.lock().unwrap_or_else(PoisonError::into_inner);
                    e.1.push((learner, said));
                }
                Ok(fit)
            })?;
            outcome.tags.points.extend(points(&jobs, fits, size));
        }
        let mut said = example.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        said.sort_by_key(|s| TAGGERS.iter().position(|t| *t == s.0));
        outcome.example = shown_sentence(all, &splits[0], &tags, &said);
        Ok(())
    }
}

/// The held-out sentence of middle length on which the taggers differ most.
fn shown_sentence(
    all: &[Tagged],
    split: &Split,
    tags: &[String],
    said: &[(Learner, Vec<Vec<usize>>)],
) -> Example {
    let wrong = |i: usize| -> usize {
        let right = &all[split.test[i]].tags;
        said.iter().map(|s| s.1[i].iter().zip(right).filter(|(a, b)| tags[**a] != **b).count()).sum()
    };
    let middle = |i: &usize| (6..=11).contains(&all[split.test[*i]].words.len());
    let best =
        (0..split.test.len()).filter(middle).max_by_key(|i| (wrong(*i).min(5), usize::MAX - i)).unwrap_or(0);
    let named = |t: &Vec<usize>| t.iter().map(|t| tags[*t].clone()).collect();
    let s = &all[split.test[best]];
    let said = said.iter().map(|(l, t)| (*l, named(&t[best]))).collect();
    Example { words: s.words.clone(), tags: s.tags.clone(), said }
}

/// Runs jobs on all threads; results in their order.
fn side_by_side<J: Sync, T: Send>(
    jobs: &[J],
    f: impl Fn(&J) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let done: Vec<Mutex<Option<Result<T, Error>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    pool::run(jobs.len(), |i| *done[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(f(&jobs[i])));
    done.into_iter().filter_map(|d| d.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// Fits of the same learner as one point.
fn points(jobs: &[(Learner, usize)], fits: Vec<Fit>, size: usize) -> Vec<Point> {
    let mut all: Vec<Point> = Vec::new();
    for ((learner, _), fit) in jobs.iter().zip(fits) {
        if all.last().is_none_or(|p| p.learner != *learner) {
            all.push(Point {
                learner: *learner,
                size,
                accuracies: Vec::new(),
                unknown: Vec::new(),
                seconds: 0.0,
            });
        }
        if let Some(p) = all.last_mut() {
            let n = p.accuracies.len() as f64;
            p.seconds = (p.seconds * n + fit.seconds) / (n + 1.0);
            p.accuracies.push(fit.accuracy);
            p.unknown.extend(Some(fit.unknown).filter(|u| u.is_finite()));
        }
    }
    all
}

/// The share of the commonest of some numbers below `n`.
fn commonest(all: impl Iterator<Item = usize>, n: usize) -> f64 {
    let mut counts = vec![0usize; n.max(1)];
    all.for_each(|i| counts[i] += 1);
    counts.iter().max().copied().unwrap_or(0) as f64 / counts.iter().sum::<usize>().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_learns_the_starter_text_and_says_the_same_with_one_thread() {
        // One in seven says the opposite of what it means.
        let text = |i: usize| {
            let words = [["bad", "dull", "cold"], ["good", "fine", "warm"]];
            let word = words[usize::from(i.is_multiple_of(2) != i.is_multiple_of(7))][i / 2 % 3];
            let label = if i.is_multiple_of(2) { "kind" } else { "unkind" };
            Labelled { text: format!("a {word} story of {} and {i}", i % 5), label: label.into() }
        };
        let texts: Vec<Labelled> = (0..160).map(text).collect();
        let sentences: Vec<Tagged> = pupil_data::starter::tagged(1, 100).collect();
        let suite = Suite { texts: &texts, sentences: &sentences, seed: 1, deep: false };
        let run = |threads| pool::with_threads(threads, || suite.run(&mut |_| true).unwrap());
        let (a, b) = (run(2), run(1));
        for p in a.texts.points.iter().filter(|p| p.size == 128 && p.learner != Learner::Rules) {
            // The trees draw from words that tell nothing as well.
            let least = if p.learner == RandomForest { 0.6 } else { 0.75 };
            assert!(p.mean() > least, "{p:?}");
        }
        let tagged = |l| a.tags.last(l).unwrap().mean();
        assert!(tagged(Learner::Hmm) > 0.75 && tagged(Learner::Crf) > 0.8, "{:#?}", a.tags);
        assert!(!a.inside.tree.is_empty() && a.inside.forest.0 > 0.0 && a.inside.bayes.len() == 2);
        // All but the times.
        let accuracies = |o: &Outcome| -> Vec<Vec<f64>> {
            o.texts.points.iter().chain(&o.tags.points).map(|p| p.accuracies.clone()).collect()
        };
        assert_eq!(accuracies(&a), accuracies(&b));
        assert!(suite.run(&mut |_| false).is_err());
    }

    #[test]
    fn splits_hold_out_each_thing_once() {
        let all = splits(103, 7);
        let mut held: Vec<usize> = all.iter().flat_map(|s| s.test.clone()).collect();
        held.sort_unstable();
        assert_eq!(held, (0..103).collect::<Vec<_>>());
        assert!(
            all.iter()
                .all(|s| s.train.len() + s.test.len() == 103 && s.train.iter().all(|t| !s.test.contains(t)))
        );
        assert_eq!(sizes(1600), [1600, 800, 400, 200, 100, 50, 25]);
        assert_eq!(sizes(20), [20]);
    }
}
