//! The sum of two values of one shape, f32; both get the result's gradient.

use crate::kernels::arithmetic;
use crate::kernels::matrix::{DType, bf16};
use crate::ops::norm::typed;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

pub(crate) struct Saved {
    terms: [(Option<Node>, DType); 2],
    out: Node,
}

impl Graph<'_> {
    /// `a + b`, f32.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        assert_eq!(a.shape(), b.shape(), "add: {a:?} and {b:?}");
        let mut y = a.converted(DType::F32).into_unique();
        typed!(b, bs => arithmetic::add_assign(y.f32s_mut(), bs));
        let terms = [(a.node, a.dtype()), (b.node, b.dtype())];
        self.record(y, |_| "add".into(), |out| Record::Add(Saved { terms, out }))
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dy) = undo.take(self.out) else { return };
        for (node, dtype) in self.terms {
            if let Some(node) = node {
                undo.give(node, dy.converted(dtype));
            }
        }
    }
}
