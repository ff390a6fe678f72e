//! The sum of the gradients of a step's micro-batches, in the tree of [`crate::collective`].
//!
//! A rank adds up its own like a binary counter: with `n` micro-batches behind it, it holds one partial sum for each bit of `n`. The last one's
//! gradients complete the sum parameter by parameter while backward still runs; full buckets leave at once for the other ranks, on a thread
//! of their own. Buckets hold parameters from the last to the first, as backward completes them, and leave in that order on every rank, whatever
//! was complete first.

use std::sync::mpsc::channel;

use pupil_tensor::{Gradients, ParameterId, Parameters, Tape};

use crate::collective::{self, Collective};

/// Most numbers of a bucket to which one more parameter is added: 4 MiB. Large enough that the time of a message is that of its bytes, small enough
/// that the first leaves early.
const BUCKET: usize = 1 << 20;
/// Buckets that small models are cut into.
const FEWEST: usize = 8;

/// Partial sums, and the buckets that leave.
#[derive(Default)]
pub(crate) struct Summation {
    /// From the largest branch to the smallest; kept from step to step.
    partial: Vec<Gradients>,
    /// How many of them hold something.
    used: usize,
    /// Micro-batches in them.
    leaves: usize,
    /// Memory of the buckets.
    buckets: Vec<Vec<f32>>,
}

impl Summation {
    /// Puts away what the tape collected for one micro-batch, which is not the last. What the tape holds then is to be cleared.
    pub(crate) fn push(&mut self, tape: &mut Tape, parameters: &Parameters) {
        self.leaves += 1;
        let carries = self.leaves.trailing_zeros() as usize;
        for _ in 0..carries {
            self.used -= 1;
            let left = &mut self.partial[self.used];
            parameters.iter().for_each(|(id, _)| tape.gradients().prepend(left, id));
        }
        if self.used == self.partial.len() {
            self.partial.push(Gradients::new(parameters));
        }
        std::mem::swap(&mut self.partial[self.used], tape.gradients());
        self.used += 1;
    }

    /// Runs backward for the last micro-batch of this rank; then the tape's gradients are the sum over all micro-batches of all ranks.
    pub(crate) fn finish(&mut self, tape: &mut Tape, parameters: &Parameters, ranks: &dyn Collective) {
        if ranks.size() == 1 {
            tape.backward(parameters);
            parameters.iter().for_each(|(id, _)| self.complete(tape.gradients(), id));
        } else {
            self.reduce(tape, parameters, ranks);
        }
        (self.used, self.leaves) = (0, 0);
    }

    /// Adds the partial sums to one parameter's gradient, the smallest branch first.
    fn complete(&mut self, gradients: &mut Gradients, id: ParameterId) {
        self.partial[..self.used].iter_mut().rev().for_each(|left| gradients.prepend(left, id));
    }

    fn reduce(&mut self, tape: &mut Tape, parameters: &Parameters, ranks: &dyn Collective) {
        let plan = buckets(parameters);
        let mut missing: Vec<usize> = plan.iter().map(Vec::len).collect();
        let mut bucket_of = vec![0; parameters.len()];
        for (b, ids) in plan.iter().enumerate() {
            ids.iter().for_each(|id| bucket_of[id.index()] = b);
        }
        let mut memory = std::mem::take(&mut self.buckets);
        memory.resize_with(plan.len(), Vec::new);
        std::thread::scope(|scope| {
            let (leave, leaving) = channel::<Vec<f32>>();
            let (arrive, arriving) = channel();
            scope.spawn(move || {
                for mut bucket in leaving {
                    collective::all_reduce(ranks, &mut bucket);
                    if arrive.send(bucket).is_err() {
                        break;
                    }
                }
            });
            let mut next = 0;
            tape.backward_telling(parameters, &mut |gradients, id| {
                self.complete(gradients, id);
                missing[bucket_of[id.index()]] -= 1;
                while next < plan.len() && missing[next] == 0 {
                    let mut bucket = std::mem::take(&mut memory[next]);
                    bucket.clear();
                    plan[next].iter().for_each(|&id| bucket.extend_from_slice(gradients.get(id)));
                    // Refused only if the thread panicked, which the scope passes on.
                    let _ = leave.send(bucket);
                    next += 1;
                }
            });
            drop(leave);
            for ((ids, place), bucket) in plan.iter().zip(&mut memory).zip(&arriving) {
                let mut rest = &bucket[..];
                for &id in ids {
                    let sum = tape.gradients().get_mut(id);
                    let (here, behind) = rest.split_at(sum.len());
                    sum.copy_from_slice(here);
                    rest = behind;
                }
                *place = bucket;
            }
        });
        self.buckets = memory;
    }
}

/// The parameters of each bucket.
fn buckets(parameters: &Parameters) -> Vec<Vec<ParameterId>> {
    let full = (parameters.count() / FEWEST).min(BUCKET);
    let mut all: Vec<Vec<ParameterId>> = Vec::new();
    let mut filled = usize::MAX;
    for i in (0..parameters.len()).rev() {
        let id = parameters.id(i);
        if filled > full {
            all.push(Vec::new());
            filled = 0;
        }
        if let Some(bucket) = all.last_mut() {
            bucket.push(id);
        }
        filled += parameters.get(id).data().len();
    }
    all
}
