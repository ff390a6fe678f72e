//! The walk: each generation learns from the same rows for the same time, is measured on the same held-out ones, and answers the same prompts.
//!
//! What is finished lies in a file of its own, so an interrupted walk goes on where it was.

use std::path::{Path, PathBuf};
use std::time::Instant;

use pupil_chat::{Message, Renderer, Role};
use pupil_checkpoint::atomic;
use pupil_data::Items;
use pupil_infer::Sampler;
use pupil_model::{Batch, Model, NGram, Network, Settings};
use pupil_tensor::{DType, Graph};
use pupil_tokenizer::Tokenizer;
use pupil_train::schedule::Schedule;
use pupil_train::{About, Care, Ending, Event, Plan, Run, examples, optim, plan, run};
use serde::{Deserialize, Serialize};

use crate::replies::Replying;
use crate::road::{Generation, Learner};

/// A walk: what all generations have in common.
pub struct Walk<'a> {
    /// Where everything lies.
    pub dir: &'a Path,
    /// The vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// What is learned from.
    pub train: &'a Items,
    /// What is measured on.
    pub validation: &'a Items,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Seconds that each network may learn.
    pub seconds: f64,
    /// Element type of matrix operands.
    pub dtype: DType,
    /// Of initial values and orders.
    pub seed: u64,
    /// What each is asked.
    pub prompts: Vec<String>,
}

/// What became of one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// When it was published.
    pub year: u16,
    /// Its name.
    pub name: String,
    /// Who published it.
    pub paper: String,
    /// Numbers that were learned or counted.
    pub parameters: u64,
    /// Seconds of learning.
    pub seconds: f64,
    /// Tokens read while learning.
    pub tokens: u64,
    /// Bits for each byte of held-out text.
    pub bits_per_byte: f64,
    /// Share of held-out tokens guessed right.
    pub accuracy: f64,
    /// Its answers to the prompts.
    pub answers: Vec<String>,
    /// Seconds of learning and loss at that time, in nats for a token.
    pub curve: Vec<(f64, f64)>,
}

/// A measurement with less data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Which generation.
    pub name: String,
    /// Tokens that there were to learn from.
    pub tokens: u64,
    /// Bits for each byte of held-out text.
    pub bits_per_byte: f64,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Generations in order of years.
    pub stations: Vec<Station>,
    /// Bits per byte against the size of the data.
    pub sizes: Vec<Point>,
    /// Tokens to learn from.
    pub tokens: u64,
    /// Seconds that each network had.
    pub budget: f64,
    /// What each was asked.
    pub prompts: Vec<String>,
    /// Ids of the vocabulary.
    pub vocab: usize,
    /// Encoders and decoders, measured on replies alone.
    #[serde(default)]
    pub replies: Vec<Replying>,
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] pupil_checkpoint::Error),
    /// It was asked to stop; what is done is kept.
    #[error("stopped")]
    Stopped,
    /// The tokenizer has no chat tokens, or a model no scores.
    #[error("{0}")]
    Other(String),
}

/// Whose curve against the size of the data is drawn: counts, the best recurrent network, the last Transformer.
const SIZED: [&str; 3] = ["n-gram", "LSTM", "Llama"];
/// Shares of the data that are tried, as divisors.
const DIVISORS: [usize; 3] = [64, 16, 4];
/// Share of the time that a network gets there.
const SIZED_TIME: f64 = 0.25;
/// Tokens of a row.
pub(crate) const ROW: usize = 2048;
/// Tokens of an answer at most.
const ANSWER: usize = 32;

/// Seconds for each network of a road and `more` others, when all together may take `seconds`.
pub fn share(road: &[Generation], more: usize, seconds: f64) -> f64 {
    let networks = |named: bool| {
        let names = road.iter().filter(|g| !named || SIZED.contains(&g.name));
        names.filter(|g| matches!(g.learner, Learner::Network(..))).count() as f64
    };
    // A tenth for measuring, evaluating and answering.
    0.9 * seconds / (networks(false) + more as f64 + networks(true) * DIVISORS.len() as f64 * SIZED_TIME)
}

/// Hears what happens to whom; false stops the walk.
pub type Observe<'a> = &'a mut dyn FnMut(&str, &Event<'_>) -> bool;

impl Walk<'_> {
    /// Walks the road; `observe` hears what happens to whom and stops the walk by returning false.
    ///
    /// # Errors
    /// If a file cannot be written, a run fails, or the walk was stopped.
    pub fn run(&self, road: &[Generation], observe: Observe<'_>) -> Result<Outcome, Error> {
        let mut outcome = Outcome {
            tokens: self.train.tokens() as u64,
            budget: self.seconds,
            prompts: self.prompts.clone(),
            vocab: self.tokenizer.len(),
            ..Outcome::default()
        };
        for g in road {
            outcome.stations.push(self.kept(&slug(g.name), || self.station(g, observe))?);
        }
        outcome.stations.sort_by_key(|s| s.year);
        for g in road.iter().filter(|g| SIZED.contains(&g.name)) {
            for divisor in DIVISORS {
                let name = format!("{}-1-{divisor}", slug(g.name));
                outcome.sizes.push(self.kept(&name, || self.point(g, divisor, &name, observe))?);
            }
            let whole = outcome.stations.iter().find(|s| s.name == g.name);
            outcome.sizes.extend(whole.map(|s| Point {
                name: s.name.clone(),
                tokens: outcome.tokens,
                bits_per_byte: s.bits_per_byte,
            }));
        }
        Ok(outcome)
    }

    pub(crate) fn kept<T: Serialize + for<'a> Deserialize<'a>>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        kept(self.dir, name, make)
    }

    fn station(&self, g: &Generation, observe: Observe<'_>) -> Result<Station, Error> {
        let mut station = Station {
            year: g.year,
            name: g.name.into(),
            paper: g.paper.into(),
            parameters: 0,
            seconds: 0.0,
            tokens: 0,
            bits_per_byte: f64::NAN,
            accuracy: f64::NAN,
            answers: Vec::new(),
            curve: Vec::new(),
        };
        match &g.learner {
            Learner::Counts(order) => {
                let begun = Instant::now();
                let model = self.counted(*order, self.train);
                station.seconds = begun.elapsed().as_secs_f64();
                station.parameters = model.len() as u64;
                station.tokens = self.train.tokens() as u64;
                (station.bits_per_byte, station.accuracy) = self.measured(&model);
                station.answers = self.answers(|ids| Ok(model.scores(ids)))?;
            }
            Learner::Network(settings, optimiser) => {
                station.parameters = settings.parameter_count();
                let dir = self.dir.join("runs").join(slug(g.name));
                let learned =
                    self.learn(&dir, g.name, settings, *optimiser, self.train, self.seconds, observe)?;
                (station.bits_per_byte, station.accuracy) = (learned.bits_per_byte, learned.accuracy);
                (station.seconds, station.tokens, station.curve) =
                    (learned.seconds, learned.tokens, learned.curve);
                station.answers = self.answers(|ids| self.scores(&learned.network, ids))?;
            }
        }
        Ok(station)
    }

    fn point(
        &self,
        g: &Generation,
        divisor: usize,
        name: &str,
        observe: Observe<'_>,
    ) -> Result<Point, Error> {
        let some = self.train.every(divisor);
        let bits_per_byte = match &g.learner {
            Learner::Counts(order) => self.measured(&self.counted(*order, &some)).0,
            Learner::Network(settings, optimiser) => {
                let (dir, seconds) = (self.dir.join("runs").join(name), self.seconds * SIZED_TIME);
                self.learn(&dir, name, settings, *optimiser, &some, seconds, observe)?.bits_per_byte
            }
        };
        Ok(Point { name: g.name.into(), tokens: some.tokens() as u64, bits_per_byte })
    }

    fn counted(&self, order: usize, items: &Items) -> NGram {
        let sequences: Vec<&[u32]> = items.sequences().collect();
        NGram::count(order, self.tokenizer.len(), sequences.into_iter())
    }

    /// Bits per byte and accuracy of counts on the held-out rows.
    fn measured(&self, model: &NGram) -> (f64, f64) {
        let bytes = examples::id_bytes(self.tokenizer);
        let (mut nats, mut text, mut right, mut all) = (0.0, 0u64, 0u64, 0u64);
        for ids in self.validation.sequences() {
            for i in 1..ids.len() {
                nats -= model.probability(&ids[..i], ids[i]).ln();
                text += u64::from(bytes[ids[i] as usize]);
                // All scores are dear; a sample of places will do for the share of right guesses.
                if all.is_multiple_of(16) {
                    right += u64::from(best(&model.scores(&ids[..i])) == ids[i]);
                }
                all += 1;
            }
        }
        (nats / std::f64::consts::LN_2 / text as f64, right as f64 / all.div_ceil(16).max(1) as f64)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one run")]
    pub(crate) fn learn(
        &self,
        dir: &Path,
        name: &str,
        settings: &Settings,
        optimiser: optim::Settings,
        train: &Items,
        seconds: f64,
        observe: Observe<'_>,
    ) -> Result<Learned, Error> {
        let there = pupil_train::planned(dir)?;
        let resume = there.is_some();
        let plan = there.unwrap_or_else(|| {
            let each = plan::seconds_per_row(settings, optimiser, ROW, self.dtype);
            let steps = ((seconds / each) as u64).max(20);
            Plan {
                stage: "lineage".into(),
                model: settings.clone(),
                optimiser,
                schedule: Schedule::Trapezoid { warmup: (steps / 20).min(50), decay: steps / 2, floor: 0.02 },
                steps,
                rows: 1,
                row_tokens: ROW,
                seed: self.seed,
                dtype: self.dtype.name().to_owned(),
                evaluate_every: (steps / 6).max(1),
                save_every: (steps / 4).max(1),
                keep_best: true,
                lora: None,
                data: String::new(),
                limits: pupil_train::plan::Limits::default(),
                forecast: None,
            }
        });
        let id_bytes = examples::id_bytes(self.tokenizer);
        let steps = plan.steps;
        let run = Run {
            dir: dir.to_owned(),
            id_bytes: &id_bytes,
            extra: Vec::new(),
            end: Vec::new(),
            train,
            validation: self.validation,
            care: Care::default(),
            about: About::default(),
            plan,
        };
        let network = Network::new(run.plan.model.clone(), self.seed);
        let ending = run.start(network, resume, &mut |event| observe(name, &event))?;
        let (curve, spent, read) = history(&dir.join("metrics.jsonl"), steps);
        match ending {
            Ending::Done(network, result) => Ok(Learned {
                network: *network,
                bits_per_byte: result.bits_per_byte(),
                accuracy: result.loss.accuracy(),
                seconds: spent,
                tokens: read,
                curve,
            }),
            Ending::Stopped { .. } => Err(Error::Stopped),
        }
    }

    fn scores(&self, network: &Network, ids: &[u32]) -> Result<Vec<f32>, Error> {
        let ids = &ids[ids.len().saturating_sub(self.context)..];
        let whole = 0..ids.len();
        let batch = Batch::reading(ids, std::slice::from_ref(&whole));
        let mut g = Graph::inference(network.parameters(), self.dtype);
        let scores = network.next_scores(&mut g, &batch);
        scores
            .map(|s| s.to_vec())
            .ok_or_else(|| Error::Other("this architecture does not go on with a text".into()))
    }

    /// An answer to each prompt, drawn with the same random numbers for all.
    fn answers(&self, scores: impl Fn(&[u32]) -> Result<Vec<f32>, Error>) -> Result<Vec<String>, Error> {
        let renderer = Renderer::new(self.tokenizer).map_err(|e| Error::Other(e.to_string()))?;
        let sampler = Sampler { temperature: 0.5, seed: self.seed, ..Sampler::default() };
        let answer = |prompt: &String| {
            let mut ids = renderer.render(&[Message::new(Role::User, prompt.as_str())], true).ids;
            let begin = ids.len();
            while ids.len() < begin + ANSWER {
                let id = sampler.choose(&scores(&ids)?, ids.len() as u64).map_err(Error::Other)?;
                if self.tokenizer.is_special(id) {
                    break;
                }
                ids.push(id);
            }
            Ok(self.tokenizer.decode(&ids[begin..]).trim().to_owned())
        };
        self.prompts.iter().map(answer).collect()
    }
}

/// What lies in the file of that name in a walk's directory, or is made now and put there.
///
/// # Errors
/// If it cannot be made or written.
pub fn kept<T: Serialize + for<'a> Deserialize<'a>>(
    dir: &Path,
    name: &str,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let path = dir.join(format!("{name}.json"));
    if let Some(there) = std::fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()) {
        return Ok(there);
    }
    let made = make()?;
    let bytes = serde_json::to_vec_pretty(&made).map_err(|e| Error::Other(e.to_string()))?;
    atomic::replace_file(&path, &bytes)?;
    Ok(made)
}

/// A network that has learned.
pub(crate) struct Learned {
    pub(crate) network: Network,
    pub(crate) bits_per_byte: f64,
    accuracy: f64,
    pub(crate) seconds: f64,
    tokens: u64,
    curve: Vec<(f64, f64)>,
}

/// Loss against time, seconds and tokens of a run from its metrics; each sitting counts its seconds anew.
fn history(path: &Path, steps: u64) -> (Vec<(f64, f64)>, f64, u64) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (mut curve, mut smooth, mut before, mut last, mut tokens) = (Vec::new(), f64::NAN, 0.0, 0.0, 0);
    for line in text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()) {
        let (Some(loss), Some(seconds)) = (line["loss"].as_f64(), line["seconds"].as_f64()) else { continue };
        if seconds < last {
            before += last;
        }
        last = seconds;
        tokens = line["tokens"].as_u64().unwrap_or(tokens);
        smooth = if smooth.is_nan() { loss } else { 0.9 * smooth + 0.1 * loss };
        let step = line["step"].as_u64().unwrap_or(0);
        if step.is_multiple_of((steps / 60).max(1)) || step == steps {
            curve.push((before + seconds, smooth));
        }
    }
    (curve, before + last, tokens)
}

fn best(scores: &[f32]) -> u32 {
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |b| b.0 as u32)
}

pub(crate) fn slug(name: &str) -> String {
    name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// The files of a walk's directory that hold its pages and its numbers.
pub fn files(dir: &Path) -> [PathBuf; 3] {
    ["index.html", "index.zh.html", "lineage.json"].map(|name| dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_taken_up_where_it_was_and_every_generation_learns() {
        let chats: Vec<_> = pupil_data::starter::Curriculum::standard().unwrap().chats(1, 300).collect();
        let texts: Vec<String> = chats.iter().map(|c| c.plain()).collect();
        let tokenizer = pupil_tokenizer::train(&texts, 400, &pupil_chat::SPECIALS);
        let mut split = [Items::default(), Items::default()];
        for (i, items) in split.iter_mut().enumerate() {
            let part = chats.iter().skip(i).step_by(2);
            examples::add_chats(items, &tokenizer, part, 64, true).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let walk = Walk {
            dir: dir.path(),
            tokenizer: &tokenizer,
            train: &split[0],
            validation: &split[1],
            context: 64,
            seconds: 0.01,
            dtype: DType::F32,
            seed: 1,
            prompts: vec!["Hello".into()],
        };
        let vocab = tokenizer.len();
        let network = |year: u16, name, settings: Settings| Generation {
            year,
            name,
            paper: "",
            idea: [""; 2],
            learner: Learner::Network(
                Box::new(settings),
                optim::Settings { learning_rate: 1e-2, ..Default::default() },
            ),
        };
        let cell = pupil_model::rnn::Kind::Lstm;
        let lstm = pupil_model::rnn::Config {
            vocab,
            context: 64,
            width: 16,
            hidden: 16,
            layers: 1,
            cell,
            dropout: 0.0,
        };
        let gpt = pupil_model::families::llama(vocab, 64, 1, 16, [2, 2], 32);
        let road = [
            network(1997, "LSTM", Settings::Rnn(lstm)),
            Generation { year: 1995, name: "n-gram", paper: "", idea: [""; 2], learner: Learner::Counts(3) },
            network(2023, "Llama", Settings::Gpt(gpt)),
        ];
        let mut steps = 0;
        let stopped = walk.run(&road, &mut |_, e| {
            steps += usize::from(matches!(e, Event::Step { .. }));
            steps < 10
        });
        assert!(matches!(stopped, Err(Error::Stopped)));
        let outcome = walk.run(&road, &mut |_, _| true).unwrap();
        assert_eq!(outcome.stations.len(), road.len());
        // All have left the uniform guess of 400 ids behind.
        let uniform = 400f64.log2();
        assert!(outcome.stations.iter().all(|s| s.bits_per_byte < uniform && s.tokens > 0), "{outcome:#?}");
        assert_eq!(outcome.sizes.len(), 3 * 4);
        let again = walk.run(&road, &mut |_, _| panic!("nothing is learned twice")).unwrap();
        assert_eq!(again.stations.len(), outcome.stations.len());
    }
}
