//! Scaled dot-product attention over rows of ragged sequences: `softmax(scale · q kᵀ) v` within each span.
//!
//! Self-attention takes the fused projection `[T, (H + 2K)·E]`: query heads first, then keys, then values. Cross-attention takes the queries
//! `[Tq, H·E]` of one row of tokens and the fused keys and values `[Tk, 2K·E]` of another. Forward saves them, the result and the
//! log-sum-exp of each score row (4 bytes a token and head); backward recomputes the probabilities. Equals
//! `torch.nn.functional.scaled_dot_product_attention` on each span alone.

use std::rc::Rc;

use crate::kernels::attention::{self, Gradients, Options, Shape, Span};
use crate::kernels::matrix::{DType, Mat};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// What attention reads.
enum Operands {
    Fused(Tensor),
    Cross { q: Tensor, kv: Tensor },
}

pub(crate) struct Saved {
    operands: Operands,
    result: Tensor,
    lse: Tensor,
    spans: Rc<Vec<Span>>,
    shape: Shape,
    options: Options,
    out: Node,
}

impl Operands {
    /// Queries, keys and values.
    fn views(&self, shape: Shape) -> [Mat<'_>; 3] {
        let (queries, keys) = (shape.heads * shape.width, shape.kv_heads * shape.width);
        match self {
            Operands::Fused(qkv) => {
                let cols = queries + 2 * keys;
                assert_eq!(qkv.cols(), cols, "attention: {shape:?} needs {cols} columns, not {}", qkv.cols());
                [qkv.columns(0, queries), qkv.columns(queries, keys), qkv.columns(queries + keys, keys)]
            }
            Operands::Cross { q, kv } => {
                assert_eq!(kv.cols(), 2 * keys, "attention: {shape:?} needs {} columns", 2 * keys);
                [q.view(), kv.columns(0, keys), kv.columns(keys, keys)]
            }
        }
    }
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
        self.attend(Operands::Fused(qkv.clone()), spans, shape, options)
    }

    /// Attention of the queries `q [Tq, H·E]` of one row of tokens to keys and values `kv [Tk, 2K·E]` of another: `[Tq, H·E]`. With a tape no key
    /// may be in two spans.
    ///
    /// # Panics
    /// If the columns do not fit.
    pub fn cross_attention(
        &mut self,
        q: &Tensor,
        kv: &Tensor,
        spans: &Rc<Vec<Span>>,
        shape: Shape,
        options: Options,
    ) -> Tensor {
        self.attend(Operands::Cross { q: q.clone(), kv: kv.clone() }, spans, shape, options)
    }

    fn attend(
        &mut self,
        operands: Operands,
        spans: &Rc<Vec<Span>>,
        shape: Shape,
        options: Options,
    ) -> Tensor {
        let [q, k, v] = operands.views(shape);
        let mut result = Tensor::new(q.rows, shape.heads * shape.width, q.dtype());
        if !self.is_training() {
            attention::forward(q, k, v, spans, shape, options, result.view_mut(), None);
            return result;
        }
        let mut lse = Tensor::new(q.rows, shape.heads, DType::F32);
        attention::forward(q, k, v, spans, shape, options, result.view_mut(), Some(lse.f32s_mut()));
        let saved = result.clone();
        self.record(
            result,
            |_| "attention".into(),
            |out| {
                let spans = Rc::clone(spans);
                Record::Attention(Saved { operands, result: saved, lse, spans, shape, options, out })
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
        let q = qkv.columns(0, shape.heads * shape.width);
        attention::forward(q, keys, values, spans, shape, options, result.view_mut(), None);
        result
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dout) = undo.take(self.out) else { return };
        let Saved { operands, result, lse, spans, shape, options, .. } = self;
        let [q, k, v] = operands.views(shape);
        let backward = |gradients: Gradients<'_>| {
            let (result, dout) = (result.view(), dout.view());
            attention::backward(q, k, v, result, dout, lse.f32s(), &spans, shape, options, gradients);
        };
        let like = |x: &Tensor| Tensor::new(x.rows(), x.cols(), x.dtype());
        match &operands {
            Operands::Fused(qkv) => {
                let Some(node) = qkv.node else { return };
                let mut dqkv = like(qkv);
                backward(Gradients::Fused(dqkv.view_mut()));
                undo.give(node, dqkv);
            }
            Operands::Cross { q, kv } => {
                let (mut dq, mut dkv) = (like(q), like(kv));
                backward(Gradients::Cross { dq: dq.view_mut(), dkv: dkv.view_mut() });
                for (node, gradient) in [(q.node, dq), (kv.node, dkv)] {
                    if let Some(node) = node {
                        undo.give(node, gradient);
                    }
                }
            }
        }
    }
}
