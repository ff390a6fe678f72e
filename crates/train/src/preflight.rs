//! Preflight: before a run, seconds that show whether its numbers can work at all.
//!
//! A fresh model knows nothing, so its loss is ln V; a model that learns anything learns one small batch by heart. Where either fails, the data, the
//! settings or a kernel is broken, and hours would be lost. The run's own model stays as it is.

use pupil_data::{Examples, Row};
use pupil_model::{Batch, Model, Network};
use pupil_tensor::{Parameter, ParameterId};

use crate::evaluate::fill;
use crate::plan::Plan;
use crate::step::Step;

/// How far a fresh model's loss may be from ln V, in nats. Initial values of deviation 0.02 give 0.02 to 0.1 at widths up to 2048.
const MARGIN: f64 = 0.5;
/// Share of the first loss below which something was learned, and the steps that it may take. Sound runs need two to five.
const LEARNED: f64 = 0.8;
const STEPS: usize = 30;
/// Peak rates that are tried at least: a run may learn more slowly on purpose, with Muon and with AdamW alone.
const RATES: ([f32; 2], f32) = ([1e-2, 5e-3], 3e-3);
/// Parameters of a model that can be expected to learn anything in so few steps.
const ABLE: u64 = 10_000;
/// A loss, nats for each target, at which a batch is known by heart before it is tried.
const KNOWN: f64 = 0.1;
/// Tokens of the batch.
const TOKENS: usize = 128;

/// What a preflight saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The first loss, nats for each target.
    pub first: f64,
    /// The last one.
    pub last: f64,
    /// Steps from one to the other.
    pub steps: usize,
}

/// Why a run should not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is learned from cannot be read.
    #[error(transparent)]
    Data(#[from] pupil_data::Error),
    /// The first loss is not that of knowing nothing.
    #[error(
        "preflight: a fresh model's loss is {found:.3}, knowing nothing is {expected:.3} (ln of the vocabulary's size): the model or its initial values are broken; --no-preflight begins nevertheless"
    )]
    Initial {
        /// The loss.
        found: f64,
        /// ln V.
        expected: f64,
    },
    /// One batch could not be learned.
    #[error(
        "preflight: after {} steps on one small batch the loss is {:.3}, at the beginning it was {:.3}: too little is learned; try another --lr and --muon, or --no-preflight to begin nevertheless",
        .0.steps, .0.last, .0.first
    )]
    Stuck(Outcome),
    /// The numbers left the finite.
    #[error("preflight: {0}; try a lower --lr and --muon, or --no-preflight to begin nevertheless")]
    Diverged(#[from] crate::step::Diverged),
}

/// Tries a fresh model of the plan on a small batch of what is learned from.
///
/// # Errors
/// If the first loss is not ln V, or the batch is not learned in thirty steps; then the run should not begin.
pub fn learns(plan: &Plan, train: &dyn Examples) -> Result<Outcome, Error> {
    try_out(plan, train, &mut Network::new(plan.model.clone(), plan.seed), true)
}

/// Tries the model that a run will go on from; afterwards it is what it was.
///
/// # Errors
/// If the batch is not learned in thirty steps; then the run should not begin.
pub fn learns_on(plan: &Plan, train: &dyn Examples, model: &mut Network) -> Result<Outcome, Error> {
    let learned = |p: &Parameter| !p.is_frozen();
    let parameters = model.parameters().iter().filter(|(_, p)| learned(p));
    let before: Vec<(ParameterId, Vec<f32>)> = parameters.map(|(id, p)| (id, p.data().to_vec())).collect();
    let outcome = try_out(plan, train, model, false);
    for (id, data) in before {
        model.parameters_mut().set(id, data);
    }
    outcome
}

fn try_out(plan: &Plan, train: &dyn Examples, model: &mut Network, is_fresh: bool) -> Result<Outcome, Error> {
    let batch = [small(plan, train)?];
    let mut optimiser = plan.optimiser;
    let (both, alone) = RATES;
    optimiser.learning_rate =
        optimiser.learning_rate.max(if optimiser.muon.is_some() { both[0] } else { alone });
    optimiser.muon = optimiser.muon.map(|m| m.max(both[1]));
    let mut step = Step::new(model, optimiser, plan.dtype(), plan.seed);
    let first = step.run(model, &batch, 0.0)?.loss.mean();
    let expected = (plan.model.vocab() as f64).ln();
    if is_fresh && (first - expected).abs() > MARGIN {
        return Err(Error::Initial { found: first, expected });
    }
    let mut outcome = Outcome { first, last: first, steps: 0 };
    // What is known already needs no learning.
    if plan.model.parameter_count() < ABLE || first < KNOWN {
        return Ok(outcome);
    }
    while outcome.steps < STEPS {
        outcome.steps += 1;
        outcome.last = step.run(model, &batch, 1.0)?.loss.mean();
        if outcome.last < LEARNED * first {
            return Ok(outcome);
        }
    }
    Err(Error::Stuck(outcome))
}

/// The first sequences of the first row, cut to a small batch.
fn small(plan: &Plan, train: &dyn Examples) -> Result<Batch, pupil_data::Error> {
    let mut row = Row::default();
    train.rows(plan.row_tokens, plan.seed).next(&mut row)?;
    let mut left = TOKENS;
    row.spans.retain_mut(|s| {
        s.end = s.end.min(s.start + left);
        left -= s.len();
        s.start < s.end
    });
    let end = row.spans.last().map_or(0, |s| s.end);
    row.ids.truncate(end);
    row.targets.truncate(end);
    row.weights.truncate(end);
    let mut batch = Batch::default();
    fill(&mut batch, &row);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use pupil_data::Items;
    use pupil_model::Settings as Architecture;

    use super::*;
    use crate::dial;
    use crate::plan::Limits;

    fn plan(rate: f32, muon: Option<f32>) -> (Plan, Items) {
        let mut items = Items::default();
        for d in 0..20u32 {
            items.push_document(&(0..50).map(|i| (i * (d + 3) * 7 + d) % 260).collect::<Vec<u32>>(), 64);
        }
        let mut optimiser = dial::optimiser(0.0, 0.0);
        (optimiser.learning_rate, optimiser.muon) = (rate, muon);
        let plan = Plan {
            stage: "pretrain".into(),
            model: Architecture::Gpt(dial::model(1, 260, 64)),

            lora: None,
            optimiser,
            schedule: dial::schedule(10),
            steps: 10,
            rows: 1,
            row_tokens: 256,
            seed: 1,
            dtype: "f32".into(),
            evaluate_every: 5,
            save_every: 5,
            keep_best: false,
            data: String::new(),
            limits: Limits::default(),
            forecast: None,
        };
        (plan, items)
    }

    #[test]
    fn a_sound_plan_learns_a_batch_and_a_hopeless_one_is_refused() {
        for (rate, muon) in [(1.5e-2, Some(8e-3)), (1e-5, Some(1e-6)), (1e-3, None)] {
            let (plan, items) = plan(rate, muon);
            let seen = learns(&plan, &items).unwrap();
            assert!(seen.last < LEARNED * seen.first && seen.steps <= STEPS, "{rate}: {seen:?}");
        }
        for (rate, muon) in [(10.0, Some(10.0)), (10.0, None)] {
            let (plan, items) = plan(rate, muon);
            let e = learns(&plan, &items).unwrap_err();
            assert!(
                e.to_string().starts_with("preflight: ") && e.to_string().contains("--no-preflight"),
                "{e}"
            );
        }
    }

    #[test]
    fn a_model_that_goes_on_is_tried_and_stays_what_it_was() {
        let (sound, items) = plan(1e-3, Some(1e-3));
        let mut model = Network::new(sound.model.clone(), 7);
        let all =
            |m: &Network| m.parameters().iter().flat_map(|(_, p)| p.data().to_vec()).collect::<Vec<_>>();
        let before = all(&model);
        let seen = learns_on(&sound, &items, &mut model).unwrap();
        assert!(seen.last < LEARNED * seen.first && seen.steps > 0, "{seen:?}");
        assert_eq!(all(&model), before);
        let hopeless = plan(10.0, Some(10.0)).0;
        learns_on(&hopeless, &items, &mut model).unwrap_err();
        assert_eq!(all(&model), before);
    }

    #[test]
    fn a_batch_is_small_and_whole() {
        let (plan, items) = plan(1e-3, None);
        let batch = small(&plan, &items).unwrap();
        let all: usize = batch.spans.iter().map(|s| s.queries.len()).sum();
        assert_eq!((all, batch.ids.len()), (TOKENS, TOKENS));
    }
}
