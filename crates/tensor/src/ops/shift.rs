//! Rows moved later in their sequence: row `i` of a span gets row `i − by`, the first `by` rows zeros. What a causal convolution sees
//! through each of its taps.

use crate::kernels::attention::Span;
use crate::kernels::matrix::{DType, bf16};
use crate::ops::norm::typed;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;
use std::rc::Rc;

pub(crate) struct Saved {
    source: Option<Node>,
    spans: Rc<Vec<Span>>,
    by: usize,
    out: Node,
}

impl Graph<'_> {
    /// The rows of each span `by` places later; rows outside of all spans are zero.
    pub fn shift(&mut self, x: &Tensor, spans: &Rc<Vec<Span>>, by: usize) -> Tensor {
        if by == 0 {
            return x.clone();
        }
        let (source, cols) = (x.node, x.cols());
        let mut y = Tensor::zeros(x.rows(), cols, x.dtype());
        for span in spans.iter().map(|s| s.queries.clone()).filter(|s| s.len() > by) {
            let (from, to) =
                (span.start * cols..(span.end - by) * cols, (span.start + by) * cols..span.end * cols);
            typed!(mut y, ys => copy(ys, to, x, from));
        }
        let spans = Rc::clone(spans);
        self.record(y, |_| format!("shift by {by}"), |out| Record::Shift(Saved { source, spans, by, out }))
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(source)) = (undo.take(self.out), self.source) else { return };
        let cols = dy.cols();
        let mut dx = Tensor::zeros(dy.rows(), cols, dy.dtype());
        for span in self.spans.iter().map(|s| s.queries.clone()).filter(|s| s.len() > self.by) {
            let (to, from) = (
                span.start * cols..(span.end - self.by) * cols,
                (span.start + self.by) * cols..span.end * cols,
            );
            typed!(mut dx, d => copy(d, to, &dy, from));
        }
        undo.give(source, dx);
    }
}

fn copy<E: crate::kernels::matrix::Element>(
    to: &mut [E],
    at: std::ops::Range<usize>,
    from: &Tensor,
    part: std::ops::Range<usize>,
) {
    to[at].copy_from_slice(&from.as_slice::<E>()[part]);
}
