//! Dropout: each element is 0 with probability `p`, else divided by `1 − p`. The mask comes from the counter-based generator, so backward
//! draws it again and nothing is saved. Srivastava et al. 2014.

use crate::kernels::dropout;
use crate::kernels::matrix::{DType, bf16};
use crate::kernels::random::Key;
use crate::ops::norm::typed;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// Streams of dropout begin here; those of initial values are parameter numbers, far below.
const FIRST_STREAM: u64 = 1 << 32;

pub(crate) struct Saved {
    source: Option<Node>,
    key: Key,
    p: f32,
    out: Node,
}

impl Graph<'_> {
    /// Drops with probability `p`, if this pass is recorded and has randomness; else `x` itself.
    pub fn dropout(&mut self, x: Tensor, p: f32) -> Tensor {
        let (Some(key), true) = (self.randomness, p > 0.0 && self.is_training()) else { return x };
        let key = Key { stream: FIRST_STREAM + u64::from(self.streams), ..key };
        self.streams += 1;
        let source = x.node;
        let mut y = x.into_unique();
        typed!(mut y, ys => dropout::apply(ys, p, key));
        self.record(y, |_| "dropout".into(), |out| Record::Dropout(Saved { source, key, p, out }))
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(source)) = (undo.take(self.out), self.source) else { return };
        let mut dx = dy.into_unique();
        typed!(mut dx, d => dropout::apply(d, self.p, self.key));
        undo.give(source, dx);
    }
}
