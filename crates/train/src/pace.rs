//! Pace: how a run that may take so many seconds ends in time although the machine becomes slower or faster.
//!
//! The schedule of learning rates depends on how far a run is, from 0 to 1, and not on the number of the step. Where the steps that are left no
//! longer fit the time that is left, their number is settled anew and the way that is left is divided by it: the rates still fall to their
//! end, faster or slower. A decision is on the disk (`pace.jsonl`) before anything depends on it, so a run that is resumed decides as it did
//! before and gives the same bits; without a limit, or as long as the plan holds, nothing is decided.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pupil_checkpoint::Error;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Share of the limit beyond which the expected end is too late, and before which it is too early.
const LATE: f64 = 1.04;
const EARLY: f64 = 0.92;
/// Weight of the newest step in the running mean of their seconds. With 0.05 a busy machine made a run of 900 steps decide ten times.
const NEW: f64 = 0.03;
/// Steps of a sitting that are seen before anything is decided, and from one decision to the next: at least so many, and at least this part of
/// the planned ones.
const PATIENCE: u64 = 8;
const PATIENCE_PART: u64 = 33;

/// From a step on, the run has another number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Steps that were done.
    pub at: u64,
    /// Steps in all.
    pub steps: u64,
}

/// The pace of a run.
pub struct Pace {
    planned: u64,
    limit: Option<f64>,
    path: PathBuf,
    turns: Vec<Turn>,
    begun: Instant,
    /// Seconds of the sittings before.
    before: f64,
    clock: Clock,
}

/// What things take.
struct Clock {
    /// Running mean, seconds.
    step: f64,
    evaluation: f64,
    /// Steps of this sitting.
    seen: u64,
    /// When the step that goes on began, seconds of this sitting.
    mark: f64,
}

impl Pace {
    /// The pace of the run in a directory, of which sittings of `before` seconds are over.
    pub fn open(dir: &Path, plan: &Plan, before: f64) -> Pace {
        let path = dir.join("pace.jsonl");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A line that was torn decided nothing.
        let turns = text.lines().map_while(|l| serde_json::from_str(l).ok()).collect();
        let forecast = plan.forecast.as_ref();
        let clock = Clock {
            step: forecast.map_or(0.0, |f| f.seconds_per_step),
            evaluation: forecast.map_or(0.0, |f| f.seconds_per_evaluation),
            seen: 0,
            mark: 0.0,
        };
        let begun = Instant::now();
        Pace { planned: plan.steps, limit: plan.limits.seconds, path, turns, begun, before, clock }
    }

    /// Steps in all, as it was settled last before `step`.
    pub fn steps(&self, step: u64) -> u64 {
        self.turns.iter().rev().find(|t| t.at <= step).map_or(self.planned, |t| t.steps)
    }

    /// The planned step that stands as far along as `step`: what the schedule is asked for.
    pub fn planned_step(&self, step: u64) -> u64 {
        let (mut from, mut steps, mut done) = (0, self.planned, 0.0);
        for t in self.turns.iter().filter(|t| t.at <= step) {
            done = along(from, steps, done, t.at);
            (from, steps) = (t.at, t.steps);
        }
        if from == 0 && steps == self.planned {
            return step;
        }
        (along(from, steps, done, step) * self.planned as f64).round() as u64
    }

    /// Seconds of all sittings.
    pub fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// A step begins.
    pub fn begin(&mut self) {
        self.clock.mark = self.begun.elapsed().as_secs_f64();
    }

    /// An evaluation took so many seconds.
    pub fn evaluated(&mut self, seconds: f64) {
        self.clock.evaluation = seconds;
    }

    /// Step `done` is over; settles anew how many there are if the end would come too late or too early. `evaluations` are still to come.
    ///
    /// # Errors
    /// If the decision cannot be written.
    pub fn ended(&mut self, done: u64, evaluations: u64) -> Result<Option<Turn>, Error> {
        let now = self.begun.elapsed().as_secs_f64();
        let took = now - self.clock.mark;
        let c = &mut self.clock;
        let weight = NEW.max(1.0 / (c.seen + 1) as f64);
        c.step = if c.seen == 0 { took } else { c.step + weight * (took - c.step) };
        c.seen += 1;
        let seen = c.seen;
        let Some(limit) = self.limit.filter(|_| seen >= self.patience()) else { return Ok(None) };
        let used = self.before + now + evaluations as f64 * self.clock.evaluation;
        self.decide(limit, used, done)
    }

    fn patience(&self) -> u64 {
        PATIENCE.max(self.planned / PATIENCE_PART)
    }

    fn decide(&mut self, limit: f64, used: f64, done: u64) -> Result<Option<Turn>, Error> {
        let steps = self.steps(done);
        let recent = self.turns.last().is_some_and(|t| done < t.at + self.patience());
        let end = used + steps.saturating_sub(done) as f64 * self.clock.step;
        if recent || done >= steps || (EARLY * limit..=LATE * limit).contains(&end) {
            return Ok(None);
        }
        let fit = ((limit - used) / self.clock.step.max(1e-9)).max(1.0) as u64;
        let turn = Turn { at: done, steps: done.saturating_add(fit) };
        if turn.steps == steps {
            return Ok(None);
        }
        let storage = |source| Error::Storage { path: self.path.clone(), source };
        let line = serde_json::to_string(&turn).map_err(|e| Error::Settings(e.to_string()))?;
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(&self.path).map_err(storage)?;
        writeln!(file, "{line}").and_then(|()| file.sync_all()).map_err(storage)?;
        self.turns.push(turn);
        Ok(Some(turn))
    }
}

/// How far a run is at `step`, if it was `done` at `from` and ends at `steps`.
fn along(from: u64, steps: u64, done: f64, step: u64) -> f64 {
    let part = step.saturating_sub(from) as f64 / steps.saturating_sub(from).max(1) as f64;
    done + (1.0 - done) * part.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(dir: &Path, planned: u64, limit: Option<f64>, step: f64) -> Pace {
        let clock = Clock { step, evaluation: 0.0, seen: 100, mark: 0.0 };
        let turns = Vec::new();
        let path = dir.join("pace.jsonl");
        Pace { planned, limit, path, turns, begun: Instant::now(), before: 0.0, clock }
    }

    /// Seconds that a run takes, and the planned steps it passes, if step `i` takes `seconds(i)`.
    fn walk(pace: &mut Pace, limit: f64, seconds: impl Fn(u64) -> f64) -> (f64, Vec<u64>) {
        let (mut used, mut done, mut passed) = (0.0, 0, vec![]);
        while done < pace.steps(done) {
            passed.push(pace.planned_step(done));
            used += seconds(done);
            pace.clock.step += NEW * (seconds(done) - pace.clock.step);
            done += 1;
            pace.decide(limit, used, done).unwrap();
        }
        (used, passed)
    }

    #[test]
    fn a_run_ends_in_time_on_a_machine_that_becomes_slower_or_faster() {
        for (name, factor) in [("slower", 3.0), ("faster", 0.4), ("as planned", 1.0), ("a little", 1.02)] {
            for at in [50, 700, 950] {
                let dir = tempfile::tempdir().unwrap();
                let mut p = pace(dir.path(), 1000, Some(100.0), 0.1);
                let (used, passed) = walk(&mut p, 100.0, |i| if i < at { 0.1 } else { 0.1 * factor });
                assert!((87.0..113.0).contains(&used), "{name} at {at}: {used}");
                assert!(passed.is_sorted() && passed[passed.len() - 1] >= 970, "{name} at {at}: {passed:?}");
                assert!(p.turns.is_empty() || !(0.9..1.1).contains(&factor), "{name} at {at}");
            }
        }
    }

    #[test]
    fn decisions_are_kept_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut p = pace(dir.path(), 1000, Some(100.0), 0.1);
        let (_, passed) = walk(&mut p, 100.0, |i| if i < 300 { 0.1 } else { 0.25 });
        let path = dir.path().join("pace.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"at\": 9")).unwrap();
        let mut again = pace(dir.path(), 1000, None, 0.1);
        again.turns = text.lines().map_while(|l| serde_json::from_str(l).ok()).collect();
        assert!(!p.turns.is_empty() && again.turns == p.turns);
        let same: Vec<u64> = (0..passed.len() as u64).map(|s| again.planned_step(s)).collect();
        assert_eq!(same, passed);
    }

    #[test]
    fn extremes_are_defined() {
        let dir = tempfile::tempdir().unwrap();
        for (limit, used, step) in [(1.0, 1e9, 1e9), (1e-9, 0.0, 1e-30), (1e300, 1.0, 0.0)] {
            let mut p = pace(dir.path(), 50, Some(limit), step);
            let turn = p.decide(limit, used, 10).unwrap();
            assert!(turn.is_none_or(|t| t.steps > 10), "{limit} {used} {step}: {turn:?}");
            assert!(p.planned_step(10) <= 50);
        }
        let p = pace(dir.path(), 0, None, 1.0);
        assert_eq!((p.steps(0), p.planned_step(0)), (0, 0));
    }
}
