//! Scaled dot-product attention over a row of ragged sequences: `softmax(scale · q kᵀ) v` within each span.
//!
//! Takes the fused projection `[T, (H + 2K)·E]`: query heads first, then keys, then values. Forward saves it, the result and the
//! log-sum-exp of each score row (4 bytes a token and head); backward recomputes the probabilities. Equals
//! `torch.nn.functional.scaled_dot_product_attention` on each span alone.

use std::rc::Rc;

use crate::kernels::attention::{self, Gradients, Options, Shape, Span};
use crate::kernels::matrix::{DType, Mat};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

pub(crate) struct Saved {
    qkv: Tensor,
    result: Tensor,
    lse: Tensor,
    spans: Rc<Vec<Span>>,
    shape: Shape,
    options: Options,
    out: Node,
}

/// The three column ranges of a fused projection.
fn split(qkv: &Tensor, shape: Shape) -> [Mat<'_>; 3] {
    let (q, kv) = (shape.heads * shape.width, shape.kv_heads * shape.width);
    [qkv.columns(0, q), qkv.columns(q, kv), qkv.columns(q + kv, kv)]
}

impl Graph<'_> {
    /// Self-attention of `qkv [T, (H + 2K)·E]` within the spans: `[T, H·E]`.
    ///
    /// # Panics
    /// If the columns are not `(H + 2K)·E`.
    pub fn attention(
        &mut self,
        qkv: &Tensor,
        spans: &Rc<Vec<Span>>,
        shape: Shape,
        options: Options,
    ) -> Tensor {
        let cols = (shape.heads + 2 * shape.kv_heads) * shape.width;
        assert_eq!(
            qkv.cols(),
            cols,
            "attention: {shape:?} needs {cols} columns, the projection has {}",
            qkv.cols()
        );
        let [q, k, v] = split(qkv, shape);
        let mut result = Tensor::new(qkv.rows(), shape.heads * shape.width, qkv.dtype());
        if !self.is_training() {
            attention::forward(q, k, v, spans, shape, options, result.view_mut(), None);
            return result;
        }
        let mut lse = Tensor::new(qkv.rows(), shape.heads, DType::F32);
        attention::forward(q, k, v, spans, shape, options, result.view_mut(), Some(lse.f32s_mut()));
        let saved = result.clone();
        self.record(
            result,
            |_| "attention".into(),
            |out| {
                let (qkv, spans) = (qkv.clone(), Rc::clone(spans));
                Record::Attention(Saved { qkv, result: saved, lse, spans, shape, options, out })
            },
        )
    }

    /// Attention of the queries in `qkv` to keys and values of a cache, `[T', K·E]` each; no gradient.
    pub fn cached_attention(
        &mut self,
        qkv: &Tensor,
        keys: Mat<'_>,
        values: Mat<'_>,
        spans: &[Span],
        shape: Shape,
        options: Options,
    ) -> Tensor {
        let mut result = Tensor::new(qkv.rows(), shape.heads * shape.width, qkv.dtype());
        let [q, ..] = split(qkv, shape);
        attention::forward(q, keys, values, spans, shape, options, result.view_mut(), None);
        result
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dout), Some(node)) = (undo.take(self.out), self.qkv.node) else { return };
        let Saved { qkv, result, lse, spans, shape, options, .. } = self;
        let [q, k, v] = split(&qkv, shape);
        let mut dqkv = Tensor::new(qkv.rows(), qkv.cols(), qkv.dtype());
        let gradients = Gradients::Fused(dqkv.view_mut());
        attention::backward(
            q,
            k,
            v,
            result.view(),
            dout.view(),
            lse.f32s(),
            &spans,
            shape,
            options,
            gradients,
        );
        undo.give(node, dqkv);
    }
}
