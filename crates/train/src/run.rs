//! A run: the loop over steps, its directory, and how it goes on after an interruption.
//!
//! Beside the directory's own files (`folder.rs`) `checkpoints/step-N/` holds what is needed to go on (a model directory with the state of
//! everything that moves), `model/` the finished model. A checkpoint says where the next row stands, what losses were usual and
//! which evaluation was the best, so a resumed run gives the bits of one that was never interrupted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pupil_checkpoint::fs::{Fs, RealFs};
use pupil_checkpoint::state::{Found, Keep, Store};
use pupil_checkpoint::{Error as FileError, directory, state};
use pupil_data::{Examples, Position, Row};
use pupil_model::{Batch, Model, Network};
use serde_json::{Value, json};

use crate::card::{self, About};
use crate::collective::{self, Collective, Single};
use crate::evaluate::{Evaluation, evaluate_part, fill};
use crate::folder::Folder;
use crate::memory::resident_bytes;
use crate::pace::{Pace, Turn};
use crate::plan::{Limits, Plan};
use crate::standing::{Bits, Standing, State, read_state, restore};
use crate::step::{Diverged, Step};
use crate::team::{self, Order};

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
    /// What it does so that nothing is lost.
    pub care: Care,
    /// What its model cards say beside the plan.
    pub about: About,
}

/// What a run does so that nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Care {
    /// Which checkpoints stay.
    pub keep: Keep,
    /// How long it waits before a save that failed is tried once more; zero: it is not.
    pub retry: Duration,
    /// Refuses to go on from a checkpoint whose bits this process may not give again, instead of saying so.
    pub strict_bits: bool,
    /// Ends at the first batch that is not to be learned from, instead of passing it over.
    pub halt: bool,
}

impl Default for Care {
    fn default() -> Care {
        Care { keep: Keep::default(), retry: Duration::from_secs(60), strict_bits: false, halt: false }
    }
}

/// What happens in a run.
pub enum Event<'a> {
    /// It goes on from a checkpoint.
    Resumed {
        /// Steps done before.
        step: u64,
    },
    /// A checkpoint was damaged and passed over.
    Damaged {
        /// What is wrong with it.
        error: &'a FileError,
        /// Where it lies now, if it was set aside.
        aside: Option<&'a Path>,
    },
    /// The checkpoint was made by other kernels or with other vector instructions: the bits may differ from here on.
    OtherBits {
        /// What made it.
        there: String,
        /// What goes on.
        here: String,
    },
    /// A save failed and is tried once more.
    SaveFailed {
        /// Why.
        error: &'a FileError,
        /// After this time.
        again: Duration,
    },
    /// Nothing but a question: shall it go on? While it evaluates or waits.
    Working,
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
    /// A batch was not to be learned from, and the run was to end then.
    #[error(
        "{0}; the run was to end then (--on-spike halt), and its last checkpoint is whole; skipped.jsonl names the batch"
    )]
    Halted(Diverged),
    /// What was asked for does not fit the directory.
    #[error("{0}")]
    Usage(String),
    /// Ranks of a job do not fit together.
    #[error("{0}")]
    Other(String),
    /// The disk refused; nothing that was saved before is lost.
    #[error("{cause}. {}", match last {
        Some(step) => format!("The checkpoint of step {step} is whole: with the disk in order, the same command with --resume goes on from there"),
        None => "No checkpoint had been written; with the disk in order, start again".to_owned(),
    })]
    Unsaved {
        /// What could not be written.
        cause: FileError,
        /// Steps of the newest checkpoint.
        last: Option<u64>,
    },
}

/// What a save needs: everything that moves.
pub(crate) struct Moving<'a> {
    pub(crate) model: &'a Network,
    pub(crate) step: &'a Step,
    pub(crate) position: Position,
    pub(crate) standing: &'a Standing,
}

pub(crate) type Observe<'a> = &'a mut dyn FnMut(Event<'_>) -> bool;

impl Run<'_> {
    /// Runs to the end, or until `observe` returns false. With `resume`, goes on from the newest sound checkpoint.
    ///
    /// # Errors
    /// If a file cannot be read or written, the plan differs from that of the run in the directory, or the numbers diverge.
    pub fn start(&self, model: Network, resume: bool, observe: Observe<'_>) -> Result<Ending, Error> {
        self.start_on(&RealFs, model, resume, observe)
    }

    /// As [`Run::start`], writing through any disk.
    ///
    /// # Errors
    /// As there.
    pub fn start_on(
        &self,
        fs: &dyn Fs,
        model: Network,
        resume: bool,
        observe: Observe<'_>,
    ) -> Result<Ending, Error> {
        self.lead(fs, &Single, model, resume, observe)
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
        observe: Observe<'_>,
    ) -> Result<Ending, Error> {
        team::meet(ranks, self)?;
        if ranks.rank() > 0 {
            return self.follow(ranks, model, observe);
        }
        let ending = self.lead(&RealFs, ranks, model, resume, observe)?;
        let stopped = if let Ending::Stopped { step } = ending { Some(step) } else { None };
        team::order(ranks, Order::End(stopped))?;
        Ok(ending)
    }

    fn lead(
        &self,
        fs: &dyn Fs,
        ranks: &dyn Collective,
        mut model: Network,
        resume: bool,
        observe: Observe<'_>,
    ) -> Result<Ending, Error> {
        let plan = &self.plan;
        let checkpoints = Folder::checkpoints(&self.dir);
        let store = Store::new(fs, &checkpoints, self.care.keep);
        let mut step = Step::new(&model, plan.optimiser, plan.dtype(), plan.seed);
        let mut rows = self.train.rows(plan.row_tokens, plan.seed);
        let mut folder = Folder::open(fs, &self.dir, plan, self.extra.first(), resume)?;
        store.clean();
        let (mut standing, mut saved) = (Standing::default(), None);
        if resume && let Some((path, state)) = self.sound(&store, observe)? {
            let was: State = read_state(&path, &state)?;
            self.same_bits(&path, &was, observe)?;
            model = restore(&path, was.step, &mut step)?;
            rows.seek(was.position)?;
            standing = was.standing;
            saved = Some(was.step);
            observe(Event::Resumed { step: was.step });
        }
        store.require(self.checkpoint_bytes(&model, &step))?;
        team::begin(ranks, &model, &step, rows.position())?;
        folder.cut_back(step.optimiser().steps(), standing.evaluated, standing.guard.skipped)?;
        let mut batches: Vec<Batch> = (0..plan.rows).map(|_| Batch::default()).collect();
        let mut row = Row::default();
        let (begun, first) = (Instant::now(), step.optimiser().steps());
        let mut pace = Pace::open(&self.dir, plan, standing.seconds);
        // Batches that were passed over since the save of this step make another state of the same step.
        let (mut is_saved, mut go_on) = (saved.is_some(), true);
        loop {
            let done = step.optimiser().steps();
            let is_last = done >= pace.steps(done);
            let mut is_best = false;
            if go_on && done > standing.evaluated && (is_last || done.is_multiple_of(plan.evaluate_every)) {
                let since = Instant::now();
                match self.evaluate(ranks, &model, observe)? {
                    None => go_on = false,
                    Some(result) => {
                        pace.evaluated(since.elapsed().as_secs_f64());
                        let line = json!({"step": done, "validation_loss": result.loss.mean(), "validation_accuracy": result.loss.accuracy(),
                                          "bits_per_byte": result.bits_per_byte()});
                        folder.note(&line).map_err(|e| unsaved(e, saved))?;
                        // The best one is kept, so it is saved.
                        is_best = standing.evaluated(done, result);
                        is_saved &= !is_best;
                        go_on = observe(Event::Evaluated { step: done, result, model: &model });
                    }
                }
            }
            let is_evaluated = standing.evaluated == done;
            let enough = if is_evaluated && !is_last { self.enough(&standing) } else { None };
            if let Some(why) = &enough {
                observe(Event::Enough { step: done, why });
            }
            let is_done = is_evaluated && (is_last || enough.is_some());
            let is_due = done > 0 && saved != Some(done) && done.is_multiple_of(plan.save_every);
            if !is_done && !is_saved && (!go_on || is_best || !is_last && is_due) {
                standing.seconds = pace.seconds();
                let position = rows.position();
                let moving = Moving { model: &model, step: &step, position, standing: &standing };
                self.save(&store, &mut folder, &moving, saved, observe)?;
                saved = Some(done);
            }
            if is_done {
                break;
            }
            if !go_on {
                return Ok(Ending::Stopped { step: done });
            }
            pace.begin();
            let place = rows.position();
            for batch in &mut batches {
                rows.next(&mut row)?;
                fill(batch, &row);
                standing.tokens += (row.ids.len() + row.source_ids.len()) as u64;
            }
            is_saved = false;
            let factor = plan.schedule.factor(pace.planned_step(done), plan.steps);
            step.limit(standing.guard.limit());
            team::order(ranks, Order::step(factor, standing.guard.limit()))?;
            let outcome = match step.run_across(ranks, &mut model, &batches, factor) {
                Ok(outcome) => outcome,
                Err(why) => {
                    folder.skip(&why, place, &batches).map_err(|e| unsaved(e, saved))?;
                    let usable = standing.guard.refused();
                    go_on = observe(Event::Skipped { why: &why, skipped: standing.guard.skipped });
                    if self.care.halt {
                        return Err(Error::Halted(why));
                    }
                    if !usable {
                        return Err(Error::Diverged(why, standing.guard.in_a_row()));
                    }
                    continue;
                }
            };
            standing.guard.learned(outcome.loss.mean());
            let (steps, done) = (pace.steps(done), done + 1);
            let seconds = begun.elapsed().as_secs_f64();
            let memory = resident_bytes();
            let line = json!({"step": done, "tokens": standing.tokens, "loss": outcome.loss.mean(), "accuracy": outcome.loss.accuracy(), "rate": factor,
                              "gradient_norm": outcome.gradient_norm, "seconds": seconds, "memory": memory});
            folder.note(&line).map_err(|e| unsaved(e, saved))?;
            go_on = observe(Event::Step {
                step: done,
                steps,
                loss: outcome.loss.mean(),
                gradient_norm: outcome.gradient_norm,
                tokens: standing.tokens,
                seconds,
                here: done - first,
                rate: factor,
                memory,
                model: &model,
            });
            go_on = collective::all_agree(ranks, go_on);
            let evaluations = (pace.steps(done) - done).div_ceil(plan.evaluate_every);
            if let Some(turn) = pace.ended(done, evaluations).map_err(|e| unsaved(e.into(), saved))? {
                observe(Event::Paced(turn));
            }
        }
        standing.seconds = pace.seconds();
        let done = step.optimiser().steps();
        self.finish(&store, &mut folder, (model, done), &standing, saved, observe)
    }

    /// Writes the finished model: the last one, or with `keep_best` that of the best evaluation.
    pub(crate) fn finish(
        &self,
        store: &Store<'_>,
        folder: &mut Folder<'_>,
        (mut model, done): (Network, u64),
        standing: &Standing,
        saved: Option<u64>,
        observe: Observe<'_>,
    ) -> Result<Ending, Error> {
        let mut result = standing.result.unwrap_or_default();
        let mut at = done;
        if let Some(best) = standing.best.filter(|b| self.plan.keep_best && b.step < at) {
            let path = store.path(best.step);
            match store.verify(&path).and_then(|_| directory::load(&path)) {
                Ok(network) => {
                    (model, at) = (network, best.step);
                    result = self.evaluate(&Single, &model, &mut |_| true)?.unwrap_or_default();
                }
                Err(error) => {
                    observe(Event::Damaged { error: &error, aside: None });
                }
            }
        }
        let path = self.dir.join("model");
        let files = self.extra(&model, done, standing.tokens, Some((at, &result)));
        let write = |folder: &mut Folder<'_>| {
            folder.sync()?;
            directory::save_on(store.fs(), &path, &model, &self.end, &files)
        };
        self.twice(folder, write, saved, observe)?;
        observe(Event::Saved(&path));
        Ok(Ending::Done(Box::new(model), result))
    }

    /// The newest checkpoint that is whole; newer ones are set aside. If none is whole, nothing is touched.
    pub(crate) fn sound(
        &self,
        store: &Store<'_>,
        observe: Observe<'_>,
    ) -> Result<Option<(PathBuf, Value)>, Error> {
        let Found { newest, mut damaged } = store.newest()?;
        if newest.is_none() && !damaged.is_empty() {
            let newest = Box::new(damaged.swap_remove(0).1);
            return Err(FileError::NoneSound { dir: Folder::checkpoints(&self.dir), newest }.into());
        }
        for (path, error) in &damaged {
            let aside = store.set_aside(path)?;
            observe(Event::Damaged { error, aside: Some(&aside) });
        }
        Ok(newest)
    }

    /// Says, or refuses, that what goes on is not what made the checkpoint.
    pub(crate) fn same_bits(&self, path: &Path, state: &State, observe: Observe<'_>) -> Result<(), Error> {
        let here = Bits::here();
        if state.bits == here {
            return Ok(());
        }
        let (there, here) = (state.bits.to_string(), here.to_string());
        if self.care.strict_bits {
            let what = format!(
                "was made by {there}, this is {here}: the bits may differ; PUPIL_SIMD chooses instructions, without --strict-bits the run goes on"
            );
            return Err(FileError::Content { path: path.to_owned(), what }.into());
        }
        observe(Event::OtherBits { there, here });
        Ok(())
    }

    /// The held-out text's loss; a leader has the others take their part. `None` if `observe` said no.
    pub(crate) fn evaluate(
        &self,
        ranks: &dyn Collective,
        model: &Network,
        observe: Observe<'_>,
    ) -> Result<Option<Evaluation>, Error> {
        if ranks.rank() == 0 {
            team::order(ranks, Order::Evaluate)?;
        }
        let (plan, most) = (&self.plan, self.plan.limits.evaluate_tokens.unwrap_or(u64::MAX));
        let mut go_on = || observe(Event::Working);
        let (rows, bytes, dtype) = (self.validation, self.id_bytes, plan.dtype());
        Ok(evaluate_part(ranks, model, rows, bytes, plan.row_tokens, dtype, most, &mut go_on)?)
    }

    /// Why the last evaluation is the last one of all; none if it is not.
    fn enough(&self, standing: &Standing) -> Option<String> {
        let Limits { bits_per_byte, evaluations, .. } = self.plan.limits;
        let result = standing.result?;
        let reached = result.bits_per_byte();
        if let Some(wanted) = bits_per_byte.filter(|&w| result.bytes > 0 && reached <= w) {
            return Some(format!("{reached:.3} bits per byte reached, {wanted} wanted"));
        }
        let in_vain = standing.in_vain;
        evaluations
            .filter(|&most| in_vain >= most)
            .map(|_| format!("{in_vain} evaluations without a lower loss"))
    }

    /// Bytes that a checkpoint takes, about.
    pub(crate) fn checkpoint_bytes(&self, model: &Network, step: &Step) -> u64 {
        let moments = step.optimiser().state(model.parameters());
        let numbers: usize = moments.map(|(_, [a, b])| a.len() + b.len()).sum();
        let weights: usize = match self.plan.lora {
            // Adapters alone.
            Some(_) => numbers / 2,
            None => model.parameters().iter().map(|(_, p)| p.data().len()).sum(),
        };
        let extra: usize = self.extra.iter().map(|(_, bytes)| bytes.len()).sum();
        (4 * (numbers + weights) + extra) as u64
    }

    /// Files of a model's directory beside the weights, its card among them.
    fn extra(
        &self,
        model: &Network,
        step: u64,
        tokens: u64,
        evaluated: Option<(u64, &Evaluation)>,
    ) -> Vec<(String, Vec<u8>)> {
        let parameters = model.parameters().iter().map(|(_, p)| p.data().len() as u64).sum();
        let standing = card::Standing { step, tokens, parameters, evaluated };
        let text = card::card(&self.plan, &self.about, &standing);
        let own = [("README.md".to_owned(), text.into_bytes())];
        self.extra.iter().cloned().chain(own).collect()
    }

    pub(crate) fn save(
        &self,
        store: &Store<'_>,
        folder: &mut Folder<'_>,
        moving: &Moving<'_>,
        last: Option<u64>,
        observe: Observe<'_>,
    ) -> Result<(), Error> {
        let Moving { model, step, position, standing } = *moving;
        let optimiser = step.optimiser();
        let write = |folder: &mut Folder<'_>| {
            let mut files = directory::files(model, &self.end)?;
            let moments = optimiser.state(model.parameters()).flat_map(|(name, [first, second])| {
                [(format!("{name}.first"), first), (format!("{name}.second"), second)]
            });
            files.push(state::moments_file(moments.filter(|(_, d)| !d.is_empty()))?);
            let evaluated = standing.result.as_ref().map(|r| (standing.evaluated, r));
            files.extend(self.extra(model, optimiser.steps(), standing.tokens, evaluated));
            let about =
                State { step: optimiser.steps(), position, standing: standing.clone(), bits: Bits::here() };
            let mut about = serde_json::to_value(about).map_err(|e| FileError::Settings(e.to_string()))?;
            about["plan"] = json!(self.plan);
            folder.sync()?;
            store.save(optimiser.steps(), &about, files, standing.best.map(|b| b.step))
        };
        let path = self.twice(folder, write, last, observe)?;
        observe(Event::Saved(&path));
        Ok(())
    }

    /// Writes, and if the disk refuses, once more after a pause.
    fn twice<T>(
        &self,
        folder: &mut Folder<'_>,
        mut write: impl FnMut(&mut Folder<'_>) -> Result<T, FileError>,
        last: Option<u64>,
        observe: Observe<'_>,
    ) -> Result<T, Error> {
        let error = match write(folder) {
            Ok(done) => return Ok(done),
            Err(e) => e,
        };
        if !is_storage(&error) || self.care.retry.is_zero() {
            return Err(unsaved(error.into(), last));
        }
        // Whoever asked to stop already does not wait.
        let until = Instant::now() + self.care.retry;
        let mut go_on = observe(Event::SaveFailed { error: &error, again: self.care.retry });
        while go_on && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100).min(until - Instant::now()));
            go_on = observe(Event::Working);
        }
        write(folder).map_err(|e| unsaved(e.into(), last))
    }
}

fn is_storage(e: &FileError) -> bool {
    matches!(e, FileError::Storage { .. } | FileError::Full { .. })
}

/// A refusal of the disk, with the checkpoint from which the run goes on.
pub(crate) fn unsaved(e: Error, last: Option<u64>) -> Error {
    match e {
        Error::File(cause) if is_storage(&cause) => Error::Unsaved { cause, last },
        e => e,
    }
}
