//! A run on several ranks: rank 0 leads, the others follow.
//!
//! The leader alone decides, writes and says what happens: it runs the loop of [`Run`] and gives a short order before everything that takes all
//! ranks. A follower has the same plan, reads the same rows from its own copy of the data, and knows nothing of files: weights, moments and
//! the place in the data come from the leader, so only the data need be where a follower runs.

use pupil_data::{Position, Row};
use pupil_model::{Batch, Model, Network};
use pupil_tensor::kernels::level::level;
use serde::{Deserialize, Serialize};

use crate::collective::{self, Collective};
use crate::evaluate::fill;
use crate::run::{Ending, Error, Event, Run};
use crate::step::Step;

/// What the leader has all do next. Numbers by their bits: a decimal form need not come back as the same number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A step at that share of the peak rate (bits of an f32), with that largest usual loss (bits of an f64).
    Step(u32, Option<u64>),
    /// An evaluation of the model as it is.
    Evaluate,
    /// The run is at its end, or was stopped after so many steps.
    End(Option<u64>),
}

impl Order {
    /// A step.
    pub(crate) fn step(factor: f32, limit: Option<f64>) -> Order {
        Order::Step(factor.to_bits(), limit.map(f64::to_bits))
    }
}

/// Gives an order, as the leader.
pub(crate) fn order(ranks: &dyn Collective, order: Order) -> Result<(), Error> {
    tell(ranks, &order)
}

fn tell<T: Serialize>(ranks: &dyn Collective, what: &T) -> Result<(), Error> {
    if ranks.size() > 1 {
        collective::broadcast(ranks, &mut serde_json::to_vec(what).map_err(odd)?);
    }
    Ok(())
}

fn told<T: for<'a> Deserialize<'a>>(ranks: &dyn Collective) -> Result<T, Error> {
    let mut bytes = Vec::new();
    collective::broadcast(ranks, &mut bytes);
    serde_json::from_slice(&bytes).map_err(odd)
}

fn odd(e: serde_json::Error) -> Error {
    Error::Other(format!("a message between ranks: {e}"))
}

/// Checks, on all ranks, that each has work, and that all compute alike.
pub(crate) fn meet(ranks: &dyn Collective, run: &Run<'_>) -> Result<(), Error> {
    if ranks.size() == 1 {
        return Ok(());
    }
    collective::check_share(run.plan.rows, ranks.size()).map_err(Error::Other)?;
    // Not the whole plan: the leader alone knows how many steps a run has that is bounded by time.
    let (plan, version) = (&run.plan, env!("CARGO_PKG_VERSION"));
    let mine = format!("pupil {version}, {} products at {}, data {}", plan.dtype, level().name(), plan.data);
    let all = collective::all_gather(ranks, mine.as_bytes());
    let Some(other) = all.iter().position(|s| s != &all[0]) else { return Ok(()) };
    let [first, second] = [&all[0], &all[other]].map(|s| String::from_utf8_lossy(s));
    Err(Error::Other(format!(
        "rank {other} differs from rank 0: {second}; there: {first}. All need the same program and data; PUPIL_SIMD and --dtype make unlike processors compute alike"
    )))
}

/// Brings the followers to where the leader stands.
pub(crate) fn begin(
    ranks: &dyn Collective,
    model: &Network,
    step: &Step,
    position: Position,
) -> Result<(), Error> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let optimiser = step.optimiser();
    tell(ranks, &(optimiser.steps(), position))?;
    let send = |numbers: &[f32]| collective::broadcast(ranks, &mut bytemuck::cast_slice(numbers).to_vec());
    model.parameters().iter().for_each(|(_, p)| send(p.data()));
    if optimiser.steps() > 0 {
        let moments = optimiser.state(model.parameters()).flat_map(|(_, m)| m);
        moments.filter(|m| !m.is_empty()).for_each(send);
    }
    Ok(())
}

impl Run<'_> {
    /// Does what the leader orders. Observes its own steps as [`Event::Followed`]; who answers no asks the leader to stop.
    pub(crate) fn follow(
        &self,
        ranks: &dyn Collective,
        mut model: Network,
        observe: &mut dyn FnMut(Event<'_>) -> bool,
    ) -> Result<Ending, Error> {
        let plan = &self.plan;
        let mut step = Step::new(&model, plan.optimiser, plan.dtype(), plan.seed);
        let (steps, position) = told::<(u64, Position)>(ranks)?;
        let receive = || {
            let mut bytes = Vec::new();
            collective::broadcast(ranks, &mut bytes);
            bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)
        };
        for i in 0..model.parameters().len() {
            let (id, numbers) = (model.parameters().id(i), receive());
            let here = model.parameters_mut().data_mut(id);
            if here.len() != numbers.len() {
                return Err(Error::Other(format!("rank 0 has another model than rank {}", ranks.rank())));
            }
            here.copy_from_slice(&numbers);
        }
        if steps > 0 {
            let moments = |_: &str, _: usize| Some(receive());
            step.optimiser_mut().restore(model.parameters(), steps, moments).map_err(Error::Other)?;
        }
        let mut rows = self.train.rows(plan.row_tokens, plan.seed);
        rows.seek(position)?;
        let mut row = Row::default();
        let mut batches: Vec<Batch> = (0..plan.rows).map(|_| Batch::default()).collect();
        let mut result = Default::default();
        loop {
            match told::<Order>(ranks)? {
                Order::Step(factor, limit) => {
                    for batch in &mut batches {
                        rows.next(&mut row)?;
                        fill(batch, &row);
                    }
                    step.limit(limit.map(f64::from_bits));
                    // A batch that is passed over is the leader's to note.
                    if step.run_across(ranks, &mut model, &batches, f32::from_bits(factor)).is_ok() {
                        let go_on = observe(Event::Followed { step: step.optimiser().steps() });
                        collective::all_agree(ranks, go_on);
                    }
                }
                Order::Evaluate => {
                    result = self.evaluate(ranks, &model, &mut |_| true)?.unwrap_or_default();
                }
                Order::End(None) => return Ok(Ending::Done(Box::new(model), result)),
                Order::End(Some(step)) => return Ok(Ending::Stopped { step }),
            }
        }
    }
}
