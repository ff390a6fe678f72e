//! BERT's two schools: reading, in which it names hidden words of texts that nobody labelled, and a task, in which a new head learns from few
//! labelled texts or tagged sentences. Devlin et al. 2018.
//!
//! For whoever wants a model in memory; runs with directories and resume are [`crate::run`]'s. A number of steps gives the same bits on
//! every machine of a SIMD level; a number of seconds becomes a number of steps by a measurement.

use std::time::Instant;

use pupil_data::{Items, Packer, Row};
use pupil_model::bert::{Config, Head};
use pupil_model::{Batch, Bert};
use pupil_tensor::DType;
use pupil_tensor::kernels::level::{self, Level};
use pupil_tokenizer::WordPiece;
use pupil_tokenizer::wordpiece;

use crate::evaluate::fill;
use crate::examples::{self, Cloze, Unfit};
use crate::optim::Settings;
use crate::schedule::Schedule;
use crate::step::{Diverged, Step};

/// How long something is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many updates.
    Steps(u64),
    /// As many as fit into so many seconds; of a task never more than [`EPOCHS`] times the data or [`FEWEST`] steps.
    Seconds(f64),
}

/// Times that a task's data is seen at most, if it is not small.
pub const EPOCHS: u64 = 10;
/// Steps that are done on small data all the same: a handful of updates teaches nothing (Zhang et al. 2021).
pub const FEWEST: u64 = 150;

/// How something is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// How long.
    pub budget: Budget,
    /// Tokens of an update.
    pub row_tokens: usize,
    /// Peak learning rate; `None`: what suits the task and the width.
    pub rate: Option<f32>,
    /// Of initial values, orders, dropout and hidden words.
    pub seed: u64,
    /// Element type of matrix operands.
    pub dtype: DType,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort {
            budget: Budget::Steps(200),
            row_tokens: 4096,
            rate: None,
            seed: 1,
            dtype: if level::level() == Level::Avx512Bf16 { DType::Bf16 } else { DType::F32 },
        }
    }
}

/// The size of a BERT that is made from nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Token ids.
    pub vocab: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Layers.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Share of activations dropped.
    pub dropout: f32,
}

/// One that reads a few megabytes in a minute on two cores.
impl Default for Size {
    fn default() -> Size {
        Size { vocab: 8000, context: 128, layers: 4, width: 128, heads: 4, dropout: 0.1 }
    }
}

impl Size {
    /// The settings for a tokenizer of so many ids.
    pub fn config(&self, vocab: usize) -> Config {
        let Size { context, layers, width, heads, dropout, .. } = *self;
        Config {
            vocab,
            context,
            kinds: 2,
            layers,
            width,
            heads,
            hidden: 4 * width,
            norm_eps: 1e-12,
            dropout,
            head: Head::Pretraining,
        }
    }
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Texts or settings that do not fit.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The numbers.
    #[error(transparent)]
    Diverged(#[from] Diverged),
}

fn unfit(what: impl Into<String>) -> Error {
    Error::Unfit(Unfit(what.into()))
}

/// Makes a tokenizer of texts and lets a BERT of a size read them, each a document. With no steps it is fresh.
///
/// # Errors
/// If the texts hold nothing, the size makes no sense, or the numbers diverge.
pub fn pretrain(texts: &[&str], size: &Size, effort: &Effort) -> Result<(Bert, WordPiece), Error> {
    let settings = wordpiece::Settings::default();
    let threads = pupil_tensor::kernels::pool::threads();
    let tokenizer = wordpiece::Training { settings, size: size.vocab, alphabet: 1000, threads };
    let tokenizer = tokenizer.run(texts).map_err(unfit)?;
    let config = size.config(tokenizer.len());
    config.check().map_err(unfit)?;
    let mut bert = Bert::new(config, effort.seed);
    let about = Cloze { context: size.context, pairs: true, whole_words: false, seed: effort.seed };
    let items = examples::cloze(&tokenizer, texts.iter().map(|t| examples::sentences(t)), about)?;
    let settings = reading_settings(effort.rate, None);
    learn(&mut bert, &items, settings, effort, u64::MAX)?;
    Ok((bert, tokenizer))
}

/// Teaches a BERT which of some labels a text has.
///
/// # Errors
/// If there are no texts, a label is unknown, or the numbers diverge.
pub fn learn_texts(
    bert: &Bert,
    tokenizer: &WordPiece,
    texts: &[(&str, usize)],
    labels: &[String],
    effort: &Effort,
) -> Result<Bert, Error> {
    known(texts.iter().map(|t| t.1), labels)?;
    let items = examples::labelled(tokenizer, &bert.config, texts.iter().copied())?;
    task(bert, Head::Sequence(labels.to_vec()), &items, effort)
}

/// Teaches a BERT which of some tags each word of a sentence has.
///
/// # Errors
/// If there are no sentences, a tag is unknown, or the numbers diverge.
pub fn learn_tags<S: AsRef<str>>(
    bert: &Bert,
    tokenizer: &WordPiece,
    sentences: &[(&[S], &[usize])],
    tags: &[String],
    effort: &Effort,
) -> Result<Bert, Error> {
    known(sentences.iter().flat_map(|s| s.1.iter().copied()), tags)?;
    let items = examples::tagged(tokenizer, &bert.config, sentences.iter().copied());
    task(bert, Head::Token(tags.to_vec()), &items, effort)
}

fn known(mut said: impl Iterator<Item = usize>, labels: &[String]) -> Result<(), Error> {
    match said.find(|&label| label >= labels.len()) {
        Some(label) => Err(unfit(format!("label {label} of {}", labels.len()))),
        None => Ok(()),
    }
}

/// The optimiser's settings for reading; a `muon` of 0 is AdamW for all, which learns hidden words far more slowly.
pub fn reading_settings(rate: Option<f32>, muon: Option<f32>) -> Settings {
    Settings {
        learning_rate: rate.unwrap_or(2e-3),
        muon: Some(muon.unwrap_or(1e-2)).filter(|m| *m > 0.0),
        beta2: 0.98,
        weight_decay: 0.01,
        ..Settings::default()
    }
}

/// The optimiser's settings for a task: the paper's 5·10⁻⁵ at a width of 768, more for narrower models.
pub fn task_settings(width: usize, rate: Option<f32>) -> Settings {
    Settings {
        learning_rate: rate.unwrap_or(0.04 / width as f32),
        beta2: 0.999,
        weight_decay: 0.01,
        ..Settings::default()
    }
}

/// The paper's schedule: linear up over a tenth of the steps, linear down.
pub fn schedule(steps: u64) -> Schedule {
    let warmup = steps / 10;
    Schedule::Trapezoid { warmup, decay: steps - warmup, floor: 0.0 }
}

fn task(bert: &Bert, head: Head, items: &Items, effort: &Effort) -> Result<Bert, Error> {
    let config = Config { head: head.clone(), ..bert.config.clone() };
    config.check().map_err(unfit)?;
    let mut tuned = bert.with_head(head, effort.seed);
    let settings = task_settings(bert.config.width, effort.rate);
    let rows = if items.is_empty() { 0 } else { packer(items, effort).rows_per_epoch() as u64 };
    learn(&mut tuned, items, settings, effort, (rows * EPOCHS).max(FEWEST))?;
    Ok(tuned)
}

fn packer<'a>(items: &'a Items, effort: &Effort) -> Packer<'a> {
    Packer::new(items, effort.row_tokens, effort.seed)
}

/// The loop, without files.
fn learn(
    bert: &mut Bert,
    items: &Items,
    settings: Settings,
    effort: &Effort,
    most: u64,
) -> Result<(), Error> {
    if items.is_empty() {
        return Err(unfit("there is nothing to learn from"));
    }
    if effort.row_tokens < bert.config.context {
        let (row, context) = (effort.row_tokens, bert.config.context);
        return Err(unfit(format!("an update of {row} tokens does not hold a sequence of {context}")));
    }
    let mut packer = packer(items, effort);
    let (mut row, mut batch) = (Row::default(), [Batch::default()]);
    let mut learn = |bert: &mut Bert, step: &mut Step, k: u64, factor: f32| {
        packer.fill(k, &mut row);
        fill(&mut batch[0], &row);
        step.run(bert, &batch, factor)
    };
    let steps = match effort.budget {
        Budget::Steps(n) => n,
        Budget::Seconds(seconds) => {
            // A few steps that change nothing; the fastest of them is what a step takes.
            let mut step = Step::new(bert, settings, effort.dtype, effort.seed);
            let (begun, mut each) = (Instant::now(), f64::INFINITY);
            for k in 0..4 {
                let before = Instant::now();
                learn(bert, &mut step, k, 0.0)?;
                each = each.min(before.elapsed().as_secs_f64());
            }
            let left = seconds - begun.elapsed().as_secs_f64();
            ((left / each).max(1.0) as u64).min(most)
        }
    };
    let mut step = Step::new(bert, settings, effort.dtype, effort.seed);
    for k in 0..steps {
        learn(bert, &mut step, k, schedule(steps).factor(k, steps))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::Model;
    use pupil_tensor::Graph;

    const TEXTS: [&str; 6] = [
        "the film was good. i liked it very much. the end was fine.",
        "the film was bad. i hated it very much. the end was dull.",
        "a good story and a fine cast. i was glad.",
        "a bad story and a dull cast. i was sad.",
        "i liked the good cast. the story was fine.",
        "i hated the bad cast. the story was dull.",
    ];

    fn effort(steps: u64) -> Effort {
        Effort {
            budget: Budget::Steps(steps),
            row_tokens: 256,
            rate: Some(3e-3),
            dtype: DType::F32,
            ..Effort::default()
        }
    }

    fn small() -> Size {
        Size { vocab: 120, context: 24, layers: 2, width: 32, heads: 2, dropout: 0.1 }
    }

    fn bits(bert: &Bert) -> Vec<u32> {
        bert.parameters().iter().flat_map(|(_, p)| p.data().iter().map(|x| x.to_bits())).collect()
    }

    #[test]
    fn a_task_is_learned_after_reading_and_a_seed_gives_the_same_bits() {
        let (read, tokenizer) = pretrain(&TEXTS, &small(), &effort(20)).unwrap();
        let labels = ["kind", "unkind"].map(str::to_owned);
        let examples: Vec<(&str, usize)> =
            TEXTS.iter().zip([0, 1].into_iter().cycle()).map(|(t, l)| (*t, l)).collect();
        let learn = || learn_texts(&read, &tokenizer, &examples, &labels, &effort(40)).unwrap();
        let tuned = learn();
        assert_eq!(bits(&tuned), bits(&learn()));
        let items = examples::labelled(&tokenizer, &tuned.config, examples.iter().copied()).unwrap();
        let mut row = Row::default();
        Packer::new(&items, 400, 0).fill(0, &mut row);
        let mut batch = Batch::default();
        fill(&mut batch, &row);
        let loss = tuned.loss(&mut Graph::inference(tuned.parameters(), DType::F32), &batch, 1.0);
        assert_eq!((loss.weight, loss.right), (6.0, 6.0), "{loss:?}");
    }

    #[test]
    fn words_get_tags_and_a_budget_of_seconds_ends() {
        let (fresh, tokenizer) = pretrain(&TEXTS, &small(), &effort(0)).unwrap();
        let words: Vec<Vec<&str>> = TEXTS.iter().map(|t| t.split(' ').collect()).collect();
        let tags: Vec<Vec<usize>> =
            words.iter().map(|w| w.iter().map(|w| usize::from(w.ends_with('.'))).collect()).collect();
        let sentences: Vec<(&[&str], &[usize])> =
            words.iter().zip(&tags).map(|(w, t)| (&w[..], &t[..])).collect();
        let names = ["inside", "end"].map(str::to_owned);
        let effort = Effort { budget: Budget::Seconds(0.3), ..effort(0) };
        let tuned = learn_tags(&fresh, &tokenizer, &sentences, &names, &effort).unwrap();
        assert_eq!(tuned.config.head, Head::Token(names.to_vec()));
        let items = examples::tagged(&tokenizer, &tuned.config, sentences.iter().copied());
        let mut row = Row::default();
        Packer::new(&items, 1000, 0).fill(0, &mut row);
        let learned = row.weights.iter().sum::<f32>() as usize;
        assert_eq!(learned, words.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let e = |r: Result<(Bert, WordPiece), Error>| r.err().unwrap().to_string();
        assert!(e(pretrain(&[""], &small(), &effort(1))).contains("nothing to learn"));
        assert!(e(pretrain(&TEXTS, &Size { heads: 5, ..small() }, &effort(1))).contains("5 heads"));
        assert!(e(pretrain(&TEXTS, &Size { context: 300, ..small() }, &effort(1))).contains("300"));
        let (read, tokenizer) = pretrain(&TEXTS, &small(), &effort(0)).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let learn = |texts: &[(&str, usize)], labels: &[String]| {
            learn_texts(&read, &tokenizer, texts, labels, &effort(1)).err().unwrap().to_string()
        };
        assert!(learn(&[("x", 2)], &labels).contains("label 2 of 2"));
        assert!(learn(&[("x", 0)], &labels[..1]).contains("two labels"));
        assert!(learn(&[], &labels).contains("nothing to learn"));
    }

    #[test]
    fn texts_are_cut_into_sentences() {
        let of = examples::sentences;
        assert_eq!(of("One. Two? 3.5 is one!\n\nfour"), ["One.", "Two?", "3.5 is one!", "four"]);
        assert_eq!(of("你好。你是谁？我"), ["你好。", "你是谁？", "我"]);
        assert_eq!(of(" ... \n"), ["..."]);
    }
}
