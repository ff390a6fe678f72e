//! Learning from rewards (GRPO): replies are sampled in groups, rewarded by a rule, and those that did better than their group become likelier.
//!
//! The loop is that of [`crate::run`] with other rows: each round's come from the model itself. A round depends on its number and
//! the model alone, and checkpoints lie between rounds, so a resumed run gives the bits of one that was never interrupted.
//! Who samples is not known here: the caller hands in a function.

use std::time::Instant;

use pupil_checkpoint::fs::RealFs;
use pupil_checkpoint::state::Store;
use pupil_data::Position;
use pupil_model::aim::{Aim, advantages};
use pupil_model::{Batch, Gpt, Model, Network};
use pupil_tensor::{DType, Graph};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::memory::resident_bytes;
use crate::run::{Ending, Error, Event, Moving, Observe, Run, unsaved};
use crate::standing::{Standing, State, read_state, restore};
use crate::step::Step;

/// How rewards are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Replies to each question.
    pub group: usize,
    /// Questions of a round.
    pub questions: usize,
    /// Updates with the replies of a round.
    pub updates: usize,
    /// Largest distance of the ratio of probabilities from 1 that is still learned from.
    pub clip: f32,
    /// Weight of the distance to the reference; 0: none.
    pub beta: f32,
}

/// The replies to one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The conversation up to the reply.
    pub prompt: Vec<u32>,
    /// The replies, their ends included, as many as the group has.
    pub replies: Vec<Vec<u32>>,
    /// What each earned.
    pub rewards: Vec<f32>,
}

/// Samples the replies of a round.
pub type Sample<'a> = dyn FnMut(&Gpt, u64) -> Result<Vec<Group>, String> + 'a;

impl Run<'_> {
    /// Learns for as many rounds as the plan has steps, or until `observe` returns false. `reference` is the model from which distance is
    /// kept, if it is.
    ///
    /// # Errors
    /// As [`Run::start`], and if nothing can be sampled.
    pub fn reinforce(
        &self,
        mut model: Network,
        reference: Option<&Gpt>,
        settings: Settings,
        resume: bool,
        sample: &mut Sample<'_>,
        observe: Observe<'_>,
    ) -> Result<Ending, Error> {
        let plan = &self.plan;
        let checkpoints = Folder::checkpoints(&self.dir);
        let store = Store::new(&RealFs, &checkpoints, self.care.keep);
        let mut step = Step::new(&model, plan.optimiser, plan.dtype(), plan.seed);
        let mut folder = Folder::open(&RealFs, &self.dir, plan, self.extra.first(), resume)?;
        store.clean();
        let (mut standing, mut saved, mut round) = (Standing::default(), None, 0);
        if resume && let Some((path, state)) = self.sound(&store, observe)? {
            let was: State = read_state(&path, &state)?;
            self.same_bits(&path, &was, observe)?;
            model = restore(&path, was.step, &mut step)?;
            (round, standing, saved) = (was.position.row, was.standing, Some(was.step));
            observe(Event::Resumed { step: round });
        }
        store.require(self.checkpoint_bytes(&model, &step))?;
        folder.cut_back(round, standing.evaluated, standing.guard.skipped)?;
        let (begun, first, before) = (Instant::now(), round, standing.seconds);
        while round < plan.steps {
            let Network::Gpt(gpt) = &model else {
                return Err(Error::Usage("only a GPT can be rewarded".into()));
            };
            let groups = sample(gpt, round).map_err(Error::Other)?;
            let factor = plan.schedule.factor(round, plan.steps);
            let mut batches = rows(&groups, settings, plan.row_tokens);
            remember(gpt, reference, settings, plan.dtype(), &mut batches);
            standing.tokens += batches.iter().map(|b| b.tokens() as u64).sum::<u64>();
            let (mut loss, mut norm) = (0.0, 0.0);
            let updates = if batches.is_empty() { 0 } else { settings.updates.max(1) };
            for update in 0..updates {
                let outcome =
                    step.run(&mut model, &batches, factor).map_err(|why| Error::Diverged(why, 1))?;
                if update == 0 {
                    (loss, norm) = (outcome.loss.mean(), outcome.gradient_norm);
                }
            }
            round += 1;
            standing.seconds = before + begun.elapsed().as_secs_f64();
            let told = Told { round, loss, norm, factor, seconds: begun.elapsed().as_secs_f64() };
            let (line, reward, memory) = told.line(&groups, standing.tokens);
            folder.note(&line).map_err(|e| unsaved(e, saved))?;
            let go_on = observe(Event::Step {
                step: round,
                steps: plan.steps,
                loss: reward,
                gradient_norm: norm,
                tokens: standing.tokens,
                seconds: told.seconds,
                here: round - first,
                rate: factor,
                memory,
                model: &model,
            });
            if !go_on || (round.is_multiple_of(plan.save_every) && round < plan.steps) {
                let position = Position { row: round, ..Position::default() };
                let moving = Moving { model: &model, step: &step, position, standing: &standing };
                self.save(&store, &mut folder, &moving, saved, observe)?;
                saved = Some(step.optimiser().steps());
            }
            if !go_on {
                return Ok(Ending::Stopped { step: round });
            }
        }
        self.finish(&store, &mut folder, (model, round), &standing, saved, observe)
    }
}

/// What a round was like.
struct Told {
    round: u64,
    loss: f64,
    norm: f64,
    factor: f32,
    seconds: f64,
}

impl Told {
    /// Its line in the metrics, the mean reward, and the resident memory.
    fn line(&self, groups: &[Group], tokens: u64) -> (Value, f64, Option<u64>) {
        let count = groups.iter().map(|g| g.rewards.len()).sum::<usize>().max(1) as f64;
        let reward = groups.iter().flat_map(|g| &g.rewards).map(|&r| f64::from(r)).sum::<f64>() / count;
        let length = groups.iter().flat_map(|g| &g.replies).map(Vec::len).sum::<usize>() as f64 / count;
        let memory = resident_bytes();
        let line = json!({"step": self.round, "tokens": tokens, "loss": self.loss, "reward": reward, "reply_tokens": length,
                          "rate": self.factor, "gradient_norm": self.norm, "seconds": self.seconds, "memory": memory});
        (line, reward, memory)
    }
}

/// The replies of a round as batches. Where nothing ties the model to a reference, a group whose replies are all worth the same teaches
/// nothing and is left out.
fn rows(groups: &[Group], settings: Settings, budget: usize) -> Vec<Batch> {
    #[derive(Default)]
    struct Building {
        ids: Vec<u32>,
        targets: Vec<u32>,
        weights: Vec<f32>,
        spans: Vec<std::ops::Range<usize>>,
        advantages: Vec<f32>,
        rewards: Vec<f32>,
    }
    let mut all = vec![Building::default()];
    for group in groups {
        let worth = advantages(&group.rewards, group.replies.len());
        if settings.beta == 0.0 && worth.iter().all(|&a| a == 0.0) {
            continue;
        }
        for ((reply, advantage), &reward) in group.replies.iter().zip(worth).zip(&group.rewards) {
            let tokens = group.prompt.len() + reply.len() - 1;
            if all.last().is_some_and(|b| !b.ids.is_empty() && b.ids.len() + tokens > budget) {
                all.push(Building::default());
            }
            let Some(b) = all.last_mut() else { continue };
            let begin = b.ids.len();
            let whole = || group.prompt.iter().chain(reply).copied();
            b.ids.extend(whole().take(tokens));
            b.targets.extend(whole().skip(1));
            b.weights.extend((1..=tokens).map(|t| f32::from(u8::from(t >= group.prompt.len()))));
            b.spans.push(begin..begin + tokens);
            b.advantages.push(advantage);
            b.rewards.push(reward);
        }
    }
    all.retain(|b| !b.ids.is_empty());
    let batch = |b: Building| {
        let mut batch = Batch::new(&b.ids, &b.targets, &b.weights, &b.spans);
        batch.aim = Some(Aim::Rewards {
            clip: settings.clip,
            beta: settings.beta,
            advantages: b.advantages,
            rewards: b.rewards,
            sampled: Vec::new(),
            reference: Vec::new(),
        });
        batch
    };
    all.into_iter().map(batch).collect()
}

/// Notes what the model that sampled and the reference say of the replies, as far as it is asked for.
fn remember(gpt: &Gpt, reference: Option<&Gpt>, settings: Settings, dtype: DType, batches: &mut [Batch]) {
    let said = |gpt: &Gpt, batch: &Batch| {
        let mut graph = Graph::inference(gpt.parameters(), dtype).passing();
        gpt.log_probabilities(&mut graph, batch)
    };
    for batch in batches {
        // With one update for each round the ratio is 1: the model that learns is the one that sampled.
        let logs = if settings.updates > 1 { said(gpt, batch) } else { Vec::new() };
        let far = reference.filter(|_| settings.beta > 0.0).map(|r| said(r, batch));
        if let Some(Aim::Rewards { sampled, reference, .. }) = &mut batch.aim {
            *sampled = logs;
            *reference = far.unwrap_or_default();
        }
    }
}
