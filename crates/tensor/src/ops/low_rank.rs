//! A low-rank change of some columns of a linear map: `y[:, columns] += s · (x · aᵀ) · bᵀ`, with `a [r, in]`, `b [out, r]` (LoRA, Hu et al.
//! 2021; `s = alpha / r`).
//!
//! Forward saves `x` (shared) and `u = s · x · aᵀ` `[T, r]`. Backward: `db += dyᵀ · u`, `du = s · dy · b`, `da += duᵀ · x`, `dx += du · a`;
//! `dy` goes on to `y` as it is. The map itself may be frozen: nothing here reads its weight.

use std::ops::Range;

use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, ElementsMut, MatMut};
use crate::parameters::ParameterId;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

pub(crate) struct Saved {
    x: Tensor,
    u: Tensor,
    /// The value that was added to.
    base: Option<Node>,
    a: ParameterId,
    b: ParameterId,
    columns: Range<usize>,
    scale: f32,
    dtype: DType,
    out: Node,
}

impl Graph<'_> {
    /// Adds `scale · (x · aᵀ) · bᵀ` to the given columns of `y`.
    ///
    /// # Panics
    /// If the shapes do not fit; the message names them.
    pub fn low_rank(
        &mut self,
        y: Tensor,
        x: &Tensor,
        [a, b]: [ParameterId; 2],
        columns: Range<usize>,
        scale: f32,
    ) -> Tensor {
        let ([rank, cols], [rows, of]) = (self.shape(a), self.shape(b));
        assert!(
            x.rows() == y.rows()
                && x.cols() == cols
                && of == rank
                && rows == columns.len()
                && columns.end <= y.cols(),
            "low_rank `{}`: x is {:?}, a {rank}×{cols}, b {rows}×{of}, for columns {columns:?} of {:?}",
            self.parameters.get(a).name,
            x.shape(),
            y.shape()
        );
        let mut u = Tensor::new(x.rows(), rank, self.dtype);
        let scaled = Epilogue { scale: Some(scale), ..Epilogue::default() };
        matmul::matmul(
            x.view(),
            &self.parameters.forward_panels(a, self.dtype, self.keep),
            u.view_mut(),
            &scaled,
        );
        let base = y.node;
        let mut y = y.into_unique();
        let added = Epilogue { accumulate: true, ..Epilogue::default() };
        matmul::matmul(
            u.view(),
            &self.parameters.forward_panels(b, self.dtype, self.keep),
            columns_mut(&mut y, &columns),
            &added,
        );
        let dtype = self.dtype;
        self.record(
            y,
            |p| format!("low_rank `{}`", p.get(a).name),
            |out| {
                Record::LowRank(Box::new(Saved { x: x.clone(), u, base, a, b, columns, scale, dtype, out }))
            },
        )
    }
}

/// Some columns of a tensor as a matrix to write.
fn columns_mut<'a>(y: &'a mut Tensor, columns: &Range<usize>) -> MatMut<'a> {
    let (rows, stride) = (y.rows(), y.cols());
    let from = columns.start.min(rows * stride);
    let data = match y.dtype() {
        DType::F32 => ElementsMut::F32(&mut y.f32s_mut()[from..]),
        DType::Bf16 => ElementsMut::Bf16(&mut y.bf16s_mut()[from..]),
    };
    MatMut::new(data, rows, columns.len(), stride)
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        [self.a, self.b].into_iter().for_each(tell);
    }

    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dy) = undo.take(self.out) else { return };
        let Saved { x, u, base, a, b, columns, scale, dtype, .. } = self;
        let parameters = undo.parameters();
        let [rank, cols] = parameters.get(a).shape;
        let part = dy.columns(columns.start, columns.len());
        let (db, accumulate) = undo.gradients().contribute(b);
        matmul::matmul_tn(part, u.view(), MatMut::f32(db, columns.len(), rank), accumulate, dtype);
        let mut du = Tensor::new(x.rows(), rank, u.dtype());
        let scaled = Epilogue { scale: Some(scale), ..Epilogue::default() };
        matmul::matmul(part, &parameters.backward_panels(b, dtype), du.view_mut(), &scaled);
        let (da, accumulate) = undo.gradients().contribute(a);
        matmul::matmul_tn(du.view(), x.view(), MatMut::f32(da, rank, cols), accumulate, dtype);
        if let Some(node) = x.node {
            let collected = undo.collected(node);
            let accumulate = collected.is_some();
            let mut dx = collected.unwrap_or_else(|| Tensor::new(x.rows(), x.cols(), x.dtype()));
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul::matmul(du.view(), &parameters.backward_panels(a, dtype), dx.view_mut(), &epilogue);
            undo.put(node, dx);
        }
        if let Some(node) = base {
            undo.give(node, dy);
        }
    }
}
