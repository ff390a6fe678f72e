//! The linear map: `y = x · wᵀ + b (+ r)`, with `x [T, in]`, `w [out, in]`, `b [1, out]`, residual `r [T, out]`.
//!
//! Forward saves `x` (shared). Backward: `dx = dy · w`, `dw += dyᵀ · x`, `db += Σ_t dy`, `dr += dy`.
//! Without a residual the result has the pass's element type; with one it is the f32 residual stream. Equals
//! `torch.nn.functional.linear`.

use crate::kernels::arithmetic;
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, MatMut};
use crate::parameters::{ParameterId, Parameters};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// Rows up to which an 8-bit matrix is multiplied as it is: more are worth packing it for.
const FEW: usize = 64;

pub(crate) struct Saved {
    x: Tensor,
    weight: ParameterId,
    bias: Option<ParameterId>,
    residual: Option<Node>,
    dtype: DType,
    out: Node,
}

impl Graph<'_> {
    /// `x · wᵀ + b`, in the pass's element type.
    ///
    /// # Panics
    /// If the shapes do not fit; the message names both.
    pub fn linear(&mut self, x: &Tensor, weight: ParameterId, bias: Option<ParameterId>) -> Tensor {
        let dtype = self.dtype;
        self.linear_into(x, weight, bias, None, dtype)
    }

    /// `x · wᵀ + b + residual`, f32: the end of a residual branch.
    ///
    /// # Panics
    /// If the shapes do not fit; the message names both.
    pub fn linear_residual(
        &mut self,
        x: &Tensor,
        weight: ParameterId,
        bias: Option<ParameterId>,
        residual: &Tensor,
    ) -> Tensor {
        self.linear_into(x, weight, bias, Some(residual), DType::F32)
    }

    /// `x · wᵀ` in f32 whatever the pass's element type: logits.
    pub fn logits(&mut self, x: &Tensor, weight: ParameterId) -> Tensor {
        self.linear_into(x, weight, None, None, DType::F32)
    }

    /// `x · wᵀ + b` in f32 whatever the pass's element type: gates, and logits with a bias.
    pub fn linear_f32(&mut self, x: &Tensor, weight: ParameterId, bias: Option<ParameterId>) -> Tensor {
        self.linear_into(x, weight, bias, None, DType::F32)
    }

    fn linear_into(
        &mut self,
        x: &Tensor,
        weight: ParameterId,
        bias: Option<ParameterId>,
        residual: Option<&Tensor>,
        out: DType,
    ) -> Tensor {
        let [rows, cols] = self.shape(weight);
        assert_eq!(
            x.cols(),
            cols,
            "linear `{}`: x is {}×{}, the weight {rows}×{cols}",
            self.parameters.get(weight).name,
            x.rows(),
            x.cols()
        );
        if let Some(r) = residual {
            assert_eq!(r.shape(), [x.rows(), rows], "linear: the residual's shape is not the result's");
        }
        let mut y = Tensor::new(x.rows(), rows, out);
        let epilogue = Epilogue {
            bias: bias.map(|b| self.parameters.get(b).data()),
            residual: residual.map(Tensor::view),
            ..Epilogue::default()
        };
        match self.parameters.get(weight).eight() {
            Some(eight) if self.keep && x.rows() <= FEW => eight.product(x.view(), y.view_mut(), &epilogue),
            _ => {
                let panels = self.parameters.forward_panels(weight, self.dtype, self.keep);
                matmul::matmul(x.view(), &panels, y.view_mut(), &epilogue);
            }
        }
        let dtype = self.dtype;
        let residual = residual.and_then(|r| r.node);
        let name = |p: &Parameters| format!("linear `{}`", p.get(weight).name);
        if x.node.is_none() && residual.is_none() && self.is_frozen(weight) {
            return self.unrecorded(y, name);
        }
        self.record(y, name, |out| Record::Linear(Saved { x: x.clone(), weight, bias, residual, dtype, out }))
    }
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        tell(self.weight);
        self.bias.into_iter().for_each(tell);
    }

    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dy) = undo.take(self.out) else { return };
        let Saved { x, weight, bias, residual, dtype, .. } = self;
        let parameters = undo.parameters();
        let [rows, cols] = parameters.get(weight).shape;
        let frozen = parameters.get(weight).is_frozen();
        if !frozen {
            let (dw, accumulate) = undo.gradients().contribute(weight);
            matmul::matmul_tn(dy.view(), x.view(), MatMut::f32(dw, rows, cols), accumulate, dtype);
        }
        if let Some(b) = bias.filter(|_| !frozen) {
            let db = undo.gradients().accumulator(b);
            match dy.dtype() {
                DType::F32 => arithmetic::column_sums(dy.f32s(), dy.cols(), db),
                DType::Bf16 => arithmetic::column_sums(dy.bf16s(), dy.cols(), db),
            }
        }
        if let Some(node) = x.node {
            let collected = undo.collected(node);
            let accumulate = collected.is_some();
            let mut dx = collected.unwrap_or_else(|| Tensor::new(x.rows(), x.cols(), x.dtype()));
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            matmul::matmul(dy.view(), &parameters.backward_panels(weight, dtype), dx.view_mut(), &epilogue);
            undo.put(node, dx);
        }
        if let Some(node) = residual {
            undo.give(node, dy);
        }
    }
}
