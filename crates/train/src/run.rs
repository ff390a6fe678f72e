//! A run: the loop over steps, its directory, and how it goes on after an interruption.
//!
//! `run.json` holds the plan, `metrics.jsonl` a line for each step, `skipped.jsonl` what was passed over, `checkpoints/step-N/` what is needed to
//! go on, `model/` the finished model. The directory is locked while a run goes on in it. A checkpoint says where the next row stands, so a resumed run gives the bits of one that was never interrupted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pupil_checkpoint::lock::Lock;
use pupil_checkpoint::{Error as FileError, atomic, directory, state};
use pupil_data::{Examples, Position, Row};
use pupil_model::{Batch, Model, Network};
use serde_json::{Value, json};

use crate::collective::{self, Collective, Single};
use crate::evaluate::{Evaluation, evaluate_part, fill};
use crate::guard::Guard;
use crate::memory::resident_bytes;
use crate::pace::{Pace, Turn};
use crate::plan::{Limits, Plan};
use crate::step::{Diverged, Step};
use crate::team::{self, Order};

/// Checkpoints that are kept.
const KEEP: usize = 2;

/// What a run learns from.
pub struct Run<'a> {
    /// What it does.
    pub plan: Plan,
    /// Where it lives.
    pub dir: PathBuf,
    /// Bytes of text that each id stands for.
    pub id_bytes: &'a [u32],
    /// Files that go into the model's directory beside the weights.
    pub extra: Vec<(String, Vec<u8>)>,
    /// Ids that end a text or a turn, for `config.json`.
    pub end: Vec<u32>,
    /// What it learns from.
    pub train: &'a dyn Examples,
    /// What it is evaluated on.
    pub validation: &'a dyn Examples,
}

/// What happens in a run.
pub enum Event<'a> {
    /// It goes on from a checkpoint.
    Resumed {
        /// Steps done before.
        step: u64,
    },
    /// A checkpoint was damaged and passed over.
    Damaged(&'a FileError),
    /// A step was done.
    Step {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Nats for each learned target.
        loss: f64,
        /// Norm of the gradients.
        gradient_norm: f64,
        /// Tokens read so far.
        tokens: u64,
        /// Seconds of this sitting.
        seconds: f64,
        /// Steps of this sitting.
        here: u64,
        /// Share of the peak learning rate.
        rate: f32,
        /// Bytes of resident memory, where that is known.
        memory: Option<u64>,
        /// The model after the step.
        model: &'a Network,
    },
    /// A batch was not learned from: its loss was not finite, or far from what is usual.
    Skipped {
        /// Why.
        why: &'a Diverged,
        /// Batches passed over so far.
        skipped: u64,
    },
    /// The number of steps was settled anew, so that the run ends in time.
    Paced(Turn),
    /// The run ends before its last step: what it was to reach is reached, or it gains nothing more.
    Enough {
        /// Steps done.
        step: u64,
        /// Why.
        why: &'a str,
    },
    /// The validation text was evaluated.
    Evaluated {
        /// Steps done.
        step: u64,
        /// The outcome.
        result: Evaluation,
        /// The model that was evaluated.
        model: &'a Network,
    },
    /// On other ranks than the first, whose run is told by the first: a step was done.
    Followed {
        /// Steps done.
        step: u64,
    },
    /// A checkpoint is on the disk.
    Saved(&'a Path),
}

/// How a run ended.
pub enum Ending {
    /// All steps are done; the model is in `model/`.
    Done(Box<Network>, Evaluation),
    /// It was asked to stop, and saved.
    Stopped {
        /// Steps done.
        step: u64,
    },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is learned from.
    #[error(transparent)]
    Data(#[from] pupil_data::Error),
    /// The numbers.
    #[error(
        "{0}; {1} batches in a row were passed over, so it is the model that is ill: go on from the last checkpoint with a lower --lr, or look at skipped.jsonl"
    )]
    Diverged(Diverged, u32),
    /// The directory holds another run.
    #[error("{0}")]
    Other(String),
}

impl Run<'_> {
    /// Runs to the end, or until `observe` returns false. With `resume`, goes on from the newest sound checkpoint.
    ///
    /// # Errors
    /// If a file cannot be read or written, the plan differs from that of the run in the directory, or the numbers diverge.
    pub fn start(
        &self,
        model: Network,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>) -> bool,
    ) -> Result<Ending, Error> {
        self.start_across(&Single, model, resume, observe)
    }

    /// As [`Run::start`], on several ranks that share the rows of each step. Rank 0 alone reads and writes the directory and tells what happens; the
    /// bits are those of one process.
    ///
    /// # Errors
    /// As [`Run::start`]; or if there are more ranks than rows, or ranks that do not compute alike. An error of one rank is not known to the
    /// others: whoever runs this ends them.
    pub fn start_across(
        &self,
        ranks: &dyn Collective,
        model: Network,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>) -> bool,
    ) -> Result<Ending, Error> {
        team::meet(ranks, self)?;
        if ranks.rank() > 0 {
            return self.follow(ranks, model, observe);
        }
        let ending = self.lead(ranks, model, resume, observe)?;
        let stopped = if let Ending::Stopped { step } = ending { Some(step) } else { None };
        team::order(ranks, Order::End(stopped))?;
        Ok(ending)
    }

    fn lead(
        &self,
        ranks: &dyn Collective,
        mut model: Network,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>) -> bool,
    ) -> Result<Ending, Error> {
        let plan = &self.plan;
        let mut step = Step::new(&model, plan.optimiser, plan.dtype(), plan.seed);
        let (mut tokens, mut seconds_before) = (0, 0.0);
        let mut rows = self.train.rows(plan.row_tokens, plan.seed);
        let mut row = Row::default();
        let mut guard = Guard::default();
        let _lock = self.open(resume)?;
        if resume {
            let (found, damaged) = state::newest(&self.checkpoints());
            damaged.iter().for_each(|e| {
                observe(Event::Damaged(e));
            });
            if found.is_none() && !damaged.is_empty() {
                return Err(Error::Other(format!(
                    "no checkpoint in {} is sound",
                    self.checkpoints().display()
                )));
            }
            if let Some((path, state)) = found {
                tokens = state["tokens"].as_u64().unwrap_or(0);
                seconds_before = state["seconds"].as_f64().unwrap_or(0.0);
                guard = serde_json::from_value(state["guard"].clone()).unwrap_or_default();
                model = restore(&path, &state, &mut step)?;
                match serde_json::from_value::<Position>(state["position"].clone()) {
                    Ok(position) => rows.seek(position)?,
                    // A checkpoint of before positions were kept: the rows are dealt anew.
                    Err(_) => {
                        for _ in 0..step.optimiser().steps() * plan.rows as u64 {
                            rows.next(&mut row)?;
                        }
                    }
                }
                observe(Event::Resumed { step: step.optimiser().steps() });
            }
        }
        team::begin(ranks, &model, &step, rows.position())?;
        let mut metrics = self.metrics(step.optimiser().steps())?;
        let mut batches: Vec<Batch> = (0..plan.rows).map(|_| Batch::default()).collect();
        let (begun, first) = (Instant::now(), step.optimiser().steps());
        let mut pace = Pace::open(&self.dir, plan, seconds_before);
        let mut last = None;
        while step.optimiser().steps() < pace.steps(step.optimiser().steps()) {
            let now = step.optimiser().steps();
            pace.begin();
            let place = rows.position();
            for batch in &mut batches {
                rows.next(&mut row)?;
                fill(batch, &row);
                tokens += (row.ids.len() + row.source_ids.len()) as u64;
            }
            let factor = plan.schedule.factor(pace.planned_step(now), plan.steps);
            step.limit(guard.limit());
            team::order(ranks, Order::step(factor, guard.limit()))?;
            let outcome = match step.run_across(ranks, &mut model, &batches, factor) {
                Ok(outcome) => outcome,
                Err(why) => {
                    self.skip(&why, place, &batches)?;
                    let usable = guard.refused();
                    let go_on = observe(Event::Skipped { why: &why, skipped: guard.skipped });
                    if !usable {
                        return Err(Error::Diverged(why, guard.in_a_row()));
                    }
                    if go_on {
                        continue;
                    }
                    let path = self.save(&model, &step, tokens, rows.position(), &guard, pace.seconds())?;
                    observe(Event::Saved(&path));
                    return Ok(Ending::Stopped { step: now });
                }
            };
            guard.learned(outcome.loss.mean());
            let done = now + 1;
            let seconds = begun.elapsed().as_secs_f64();
            let memory = resident_bytes();
            let line = json!({"step": done, "tokens": tokens, "loss": outcome.loss.mean(), "accuracy": outcome.loss.accuracy(), "rate": factor,
                              "gradient_norm": outcome.gradient_norm, "seconds": seconds, "memory": memory});
            self.write_line(&mut metrics, &line)?;
            let go_on = observe(Event::Step {
                step: done,
                steps: pace.steps(now),
                loss: outcome.loss.mean(),
                gradient_norm: outcome.gradient_norm,
                tokens,
                seconds,
                here: done - first,
                rate: factor,
                memory,
                model: &model,
            });
            let go_on = collective::all_agree(ranks, go_on);
            let evaluations = (pace.steps(done) - done).div_ceil(plan.evaluate_every);
            if let Some(turn) = pace.ended(done, evaluations)? {
                observe(Event::Paced(turn));
            }
            if done.is_multiple_of(plan.evaluate_every) && done < pace.steps(done) {
                let since = Instant::now();
                let result = self.evaluate(ranks, &model)?;
                pace.evaluated(since.elapsed().as_secs_f64());
                self.note(&mut metrics, done, &result)?;
                if plan.keep_best && self.is_best(&result)? {
                    let path = self.dir.join("best");
                    directory::save(&path, &model, &self.end, &self.extra)?;
                }
                observe(Event::Evaluated { step: done, result, model: &model });
                if let Some(why) = self.enough(&result)? {
                    observe(Event::Enough { step: done, why: &why });
                    last = Some(result);
                    break;
                }
            }
            if !go_on || (done.is_multiple_of(plan.save_every) && done < pace.steps(done)) {
                let path = self.save(&model, &step, tokens, rows.position(), &guard, pace.seconds())?;
                observe(Event::Saved(&path));
            }
            if !go_on {
                return Ok(Ending::Stopped { step: done });
            }
        }
        let mut result = match last {
            Some(result) => result,
            None => {
                let (result, done) = (self.evaluate(ranks, &model)?, step.optimiser().steps());
                self.note(&mut metrics, done, &result)?;
                observe(Event::Evaluated { step: done, result, model: &model });
                result
            }
        };
        let best = self.dir.join("best");
        if plan.keep_best && !self.is_best(&result)? && best.exists() {
            model = directory::load(&best)?;
            result = self.evaluate(&Single, &model)?;
        }
        let path = self.dir.join("model");
        directory::save(&path, &model, &self.end, &self.extra)?;
        observe(Event::Saved(&path));
        Ok(Ending::Done(Box::new(model), result))
    }

    /// The held-out text's loss; a leader has the others take their part.
    pub(crate) fn evaluate(&self, ranks: &dyn Collective, model: &Network) -> Result<Evaluation, Error> {
        if ranks.rank() == 0 {
            team::order(ranks, Order::Evaluate)?;
        }
        let (plan, most) = (&self.plan, self.plan.limits.evaluate_tokens.unwrap_or(u64::MAX));
        let (row, dtype) = (plan.row_tokens, plan.dtype());
        Ok(evaluate_part(ranks, model, self.validation, self.id_bytes, row, dtype, most)?)
    }

    /// Why an evaluation, which stands in the metrics already, is the last; none if it is not.
    fn enough(&self, result: &Evaluation) -> Result<Option<String>, Error> {
        let Limits { bits_per_byte, evaluations, .. } = self.plan.limits;
        let reached = result.bits_per_byte();
        if let Some(wanted) = bits_per_byte.filter(|&w| result.bytes > 0 && reached <= w) {
            return Ok(Some(format!("{reached:.3} bits per byte reached, {wanted} wanted")));
        }
        let Some(most) = evaluations else { return Ok(None) };
        let losses = self.losses()?;
        let best = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |b| b.0);
        let since = losses.len().saturating_sub(best + 1) as u64;
        Ok((since >= most).then(|| format!("{since} evaluations without a lower loss")))
    }

    fn note(&self, metrics: &mut std::fs::File, step: u64, result: &Evaluation) -> Result<(), Error> {
        let line = json!({"step": step, "validation_loss": result.loss.mean(), "validation_accuracy": result.loss.accuracy(),
                          "bits_per_byte": result.bits_per_byte()});
        self.write_line(metrics, &line)
    }

    /// Whether no evaluation in the metrics has a lower loss; the present one stands there already.
    fn is_best(&self, result: &Evaluation) -> Result<bool, Error> {
        Ok(self.losses()?.into_iter().fold(f64::INFINITY, f64::min) >= result.loss.mean())
    }

    /// The validation losses in the metrics.
    fn losses(&self) -> Result<Vec<f64>, Error> {
        let path = self.dir.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path).map_err(|source| FileError::Read { path, source })?;
        let losses = text.lines().filter(|l| l.contains("validation_loss"));
        let number = |l| serde_json::from_str::<Value>(l).ok()?["validation_loss"].as_f64();
        Ok(losses.filter_map(number).collect())
    }

    fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Makes the directory, or checks that it is this run's; and locks it.
    fn open(&self, resume: bool) -> Result<Lock, Error> {
        let file = self.dir.join("run.json");
        let storage = |source| FileError::Storage { path: self.dir.clone(), source };
        std::fs::create_dir_all(&self.dir).map_err(storage)?;
        let lock = Lock::take(&self.dir)?;
        if !file.exists() {
            let plan = serde_json::to_string_pretty(&self.plan).map_err(|e| Error::Other(e.to_string()))?;
            atomic::replace_file(&file, plan.as_bytes())?;
            return Ok(lock);
        }
        if !resume {
            let what = format!(
                "{} holds a run already; --resume goes on with it, or choose another --out",
                self.dir.display()
            );
            return Err(Error::Other(what));
        }
        let bytes = std::fs::read(&file).map_err(|source| FileError::Read { path: file.clone(), source })?;
        let there: Plan = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Other(format!("{} is no plan: {e}", file.display())))?;
        let differences = self.plan.differences(&there);
        if differences.is_empty() {
            return Ok(lock);
        }
        let dir = self.dir.display();
        Err(Error::Other(format!("the run in {dir} was planned otherwise:\n  {}", differences.join("\n  "))))
    }

    /// Opens the metrics behind the lines of the first `step` steps.
    fn metrics(&self, step: u64) -> Result<std::fs::File, Error> {
        let path = self.dir.join("metrics.jsonl");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let keep: String = old
            .lines()
            .filter(|l| {
                serde_json::from_str::<Value>(l).is_ok_and(|v| v["step"].as_u64().is_some_and(|s| s <= step))
            })
            .flat_map(|l| [l, "\n"])
            .collect();
        atomic::replace_file(&path, keep.as_bytes())?;
        let open = std::fs::OpenOptions::new().append(true).open(&path);
        Ok(open.map_err(|source| FileError::Storage { path, source })?)
    }

    fn write_line(&self, metrics: &mut std::fs::File, line: &Value) -> Result<(), Error> {
        let path = || self.dir.join("metrics.jsonl");
        Ok(writeln!(metrics, "{line}").map_err(|source| FileError::Storage { path: path(), source })?)
    }

    /// Notes what was passed over: where it stands, and how each sequence begins (`pupil tokenizer decode` shows the words).
    fn skip(&self, why: &Diverged, position: Position, batches: &[Batch]) -> Result<(), Error> {
        const BEGINNING: usize = 32;
        let beginnings = batches.iter().flat_map(|b| {
            let ids = &b.ids;
            b.spans.iter().map(move |s| ids[s.queries.clone()].iter().take(BEGINNING).collect::<Vec<_>>())
        });
        let line = json!({"step": why.step, "why": why.what, "position": position, "ids": beginnings.collect::<Vec<_>>()});
        let path = self.dir.join("skipped.jsonl");
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut f| writeln!(f, "{line}"));
        Ok(written.map_err(|source| FileError::Storage { path, source })?)
    }

    fn save(
        &self,
        model: &Network,
        step: &Step,
        tokens: u64,
        position: Position,
        guard: &Guard,
        seconds: f64,
    ) -> Result<PathBuf, Error> {
        let optimiser = step.optimiser();
        let mut files = directory::files(model, &self.end)?;
        let moments = optimiser.state(model.parameters()).flat_map(|(name, [first, second])| {
            [(format!("{name}.first"), first), (format!("{name}.second"), second)]
        });
        files.push(state::moments_file(moments.filter(|(_, d)| !d.is_empty()))?);
        files.extend_from_slice(&self.extra);
        let about = json!({"step": optimiser.steps(), "tokens": tokens, "position": position, "guard": guard, "seconds": seconds, "plan": self.plan});
        Ok(state::save(&self.checkpoints(), optimiser.steps(), &about, files, KEEP)?)
    }
}

fn restore(path: &Path, state: &Value, step: &mut Step) -> Result<Network, Error> {
    let model = directory::load(path)?;
    let mut moments = state::moments(path)?;
    let steps = state["step"]
        .as_u64()
        .ok_or_else(|| Error::Other(format!("{}: no step in state.json", path.display())))?;
    let find = |name: &str, k: usize| moments.remove(&format!("{name}.{}", ["first", "second"][k]));
    step.optimiser_mut()
        .restore(model.parameters(), steps, find)
        .map_err(|e| Error::Other(format!("{}: {e}", path.display())))?;
    Ok(model)
}
