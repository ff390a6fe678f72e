//! The one step: micro-batches → gradients → clip → update. The only place where learning happens, for every architecture.

use pupil_model::{Batch, Model};
use pupil_tensor::kernels::arithmetic::first_nonfinite;
use pupil_tensor::kernels::random::Key;
use pupil_tensor::{DType, Graph, Loss, Tape};

use crate::collective::{self, Collective, Single};
use crate::optim::{Optimiser, Settings};
use crate::summation::Summation;

/// What learning needs beside the model: the tape and the optimiser.
pub struct Step {
    tape: Tape,
    sum: Summation,
    optimiser: Optimiser,
    dtype: DType,
    seed: u64,
    limit: Option<f64>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Loss over all micro-batches, before the update.
    pub loss: Loss,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
}

/// A step whose numbers left the finite or the usual; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("step {step}: {what}; no parameter was changed")]
pub struct Diverged {
    /// The step, from 0.
    pub step: u64,
    /// Which tensor held the first NaN or infinity, or how far the loss is off.
    pub what: String,
}

impl Step {
    /// A fresh step for a model. `dtype` is that of the operands of matrix products.
    pub fn new(model: &impl Model, settings: Settings, dtype: DType, seed: u64) -> Step {
        let parameters = model.parameters();
        let optimiser = Optimiser::new(settings, parameters);
        Step { tape: Tape::new(parameters), sum: Summation::default(), optimiser, dtype, seed, limit: None }
    }

    /// The largest loss, in nats for each target, that batches may have to be learned from; `None`: any that is finite.
    pub fn limit(&mut self, largest: Option<f64>) {
        self.limit = largest;
    }

    /// The optimiser, for checkpoints.
    pub fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    /// The optimiser, to restore.
    pub fn optimiser_mut(&mut self) -> &mut Optimiser {
        &mut self.optimiser
    }

    /// Learns from the micro-batches together: the gradient is that of the mean loss over all their learned targets.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite, the loss beyond the limit, or nothing to be learned; then nothing was changed.
    pub fn run(
        &mut self,
        model: &mut impl Model,
        batches: &[Batch],
        factor: f32,
    ) -> Result<Outcome, Diverged> {
        self.run_across(&Single, model, batches, factor)
    }

    /// As [`Step::run`], on several ranks that have the same model and the same batches: each computes its share of them, and all come to the same
    /// outcome and the same parameters, bit for bit those of one process.
    ///
    /// # Errors
    /// As [`Step::run`], on all ranks alike.
    ///
    /// # Panics
    /// If there are more ranks than micro-batches ([`collective::check_share`]).
    pub fn run_across(
        &mut self,
        ranks: &dyn Collective,
        model: &mut impl Model,
        batches: &[Batch],
        factor: f32,
    ) -> Result<Outcome, Diverged> {
        let step = self.optimiser.steps();
        let learned: f64 = batches.iter().map(Batch::count).sum();
        if learned == 0.0 {
            return Err(Diverged { step, what: "no token of the batch is to be learned".to_owned() });
        }
        let scale = (1.0 / learned) as f32;
        let share = collective::share(ranks, batches.len());
        assert!(!share.is_empty(), "run_across: {} micro-batches on {} ranks", batches.len(), ranks.size());
        let mut losses = Vec::with_capacity(share.len());
        for micro in share.clone() {
            let key = self.key(step, micro);
            self.tape.gradients().clear();
            let mut graph = Graph::training(model.parameters(), self.dtype, &mut self.tape, Some(key));
            losses.push(model.loss(&mut graph, &batches[micro], scale));
            if micro + 1 < share.end {
                self.tape.backward(model.parameters());
                self.sum.push(&mut self.tape, model.parameters());
            } else {
                self.sum.finish(&mut self.tape, model.parameters(), ranks);
            }
        }
        let mut loss = Loss::default();
        collective::all_losses(ranks, &losses).into_iter().flatten().for_each(|l| loss += l);
        let gradient_norm = Optimiser::gradient_norm(model.parameters(), self.tape.gradients());
        if !loss.sum.is_finite() || !gradient_norm.is_finite() {
            return Err(Diverged { step, what: self.first_bad(ranks, model, batches, step) });
        }
        if let Some(limit) = self.limit.filter(|&l| loss.mean() > l) {
            let what = format!("the loss is {:.3}, where at most {limit:.3} is usual", loss.mean());
            return Err(Diverged { step, what });
        }
        let clip = self.optimiser.settings().clip;
        let scale = if clip > 0.0 { (f64::from(clip) / (gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        self.optimiser.update(
            model.parameters_mut(),
            self.tape.gradients(),
            factor,
            scale as f32,
            self.dtype,
        );
        Ok(Outcome { loss, gradient_norm })
    }

    fn key(&self, step: u64, micro: usize) -> Key {
        Key { seed: self.seed, stream: 0, step: step << 16 | micro as u64 }
    }

    /// Looks for the first tensor that is not finite: parameters, then the forward passes in their order, then gradients.
    fn first_bad(
        &mut self,
        ranks: &dyn Collective,
        model: &impl Model,
        batches: &[Batch],
        step: u64,
    ) -> String {
        for (_, p) in model.parameters().iter() {
            if let Some(i) = first_nonfinite(p.data()) {
                return format!("parameter `{}` holds {} at index {i}", p.name, p.data()[i]);
            }
        }
        let seen = collective::share(ranks, batches.len()).find_map(|micro| {
            let mut tape = Tape::new(model.parameters());
            let key = self.key(step, micro);
            let mut graph = Graph::training(model.parameters(), self.dtype, &mut tape, Some(key)).watching();
            model.loss(&mut graph, &batches[micro], 1.0);
            graph.first_nonfinite().map(|what| format!("micro-batch {micro}: {what}"))
        });
        let all = collective::all_gather(ranks, seen.unwrap_or_default().as_bytes());
        if let Some(first) = all.iter().find(|what| !what.is_empty()) {
            return String::from_utf8_lossy(first).into_owned();
        }
        for (id, p) in model.parameters().iter() {
            if let Some(i) = first_nonfinite(self.tape.gradients().get(id)) {
                return format!("the gradient of `{}` is not finite at index {i}", p.name);
            }
        }
        "the loss is not finite".to_owned()
    }
}
