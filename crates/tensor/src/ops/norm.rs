//! Normalisation of rows: LayerNorm `(x − mean)/std · g + b` and RMSNorm `x/rms · (offset + g)`; and the same for each head of
//! queries and keys.
//!
//! Forward saves the input (shared) and 4 or 8 bytes a row. Equals `torch.nn.functional.layer_norm` and `rms_norm`.

use crate::kernels::matrix::{DType, Element, bf16};
use crate::kernels::{layernorm, rmsnorm};
use crate::parameters::{ParameterId, Parameters};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// Which normalisation, with the number added to the variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// LayerNorm (Ba et al. 2016).
    Layer {
        /// Added to the variance.
        eps: f32,
    },
    /// RMSNorm (Zhang & Sennrich 2019).
    Rms {
        /// Added to the mean square.
        eps: f32,
        /// Added to the gain: 1 in Gemma, else 0.
        offset: f32,
    },
}

pub(crate) struct Saved {
    x: Tensor,
    norm: Norm,
    gain: ParameterId,
    bias: Option<ParameterId>,
    mean: Option<Tensor>,
    rstd: Tensor,
    out: Node,
}

/// Calls `$body` with `$x` as the slice of the tensor's own element type.
macro_rules! typed {
    ($t:expr, $x:ident => $body:expr) => {
        match $t.dtype() {
            DType::F32 => {
                let $x = $t.as_slice::<f32>();
                $body
            }
            DType::Bf16 => {
                let $x = $t.as_slice::<bf16>();
                $body
            }
        }
    };
    (mut $t:expr, $x:ident => $body:expr) => {
        match $t.dtype() {
            DType::F32 => {
                let $x = $t.as_mut_slice::<f32>();
                $body
            }
            DType::Bf16 => {
                let $x = $t.as_mut_slice::<bf16>();
                $body
            }
        }
    };
}
pub(crate) use typed;

impl Graph<'_> {
    /// Normalises each row of `x [T, D]` with gain and bias `[1, D]`; the result has element type `out`.
    ///
    /// # Panics
    /// If the gain's width is not that of the rows.
    pub fn norm(
        &mut self,
        x: &Tensor,
        norm: Norm,
        gain: ParameterId,
        bias: Option<ParameterId>,
        out: DType,
    ) -> Tensor {
        let width = x.cols();
        assert_eq!(
            self.shape(gain),
            [1, width],
            "norm `{}`: x is {:?}",
            self.parameters.get(gain).name,
            x.shape()
        );
        let g = self.parameters.get(gain).data();
        let b = bias.map(|b| self.parameters.get(b).data());
        let mut y = Tensor::new(x.rows(), width, out);
        let mut rstd = Tensor::new(x.rows(), 1, DType::F32);
        let mut mean = matches!(norm, Norm::Layer { .. }).then(|| Tensor::new(x.rows(), 1, DType::F32));
        typed!(x, xs => typed!(mut y, ys => match (norm, &mut mean) {
            (Norm::Layer { eps }, Some(mean)) => {
                layernorm::forward(xs, Some(g), b, eps, width, ys, mean.f32s_mut(), rstd.f32s_mut());
            }
            (Norm::Rms { eps, offset }, _) => rmsnorm::forward(xs, Some(g), offset, eps, width, ys, rstd.f32s_mut()),
            (Norm::Layer { .. }, None) => unreachable!("LayerNorm has its means"),
        }));
        let name = |p: &Parameters| format!("norm `{}`", p.get(gain).name);
        if x.node.is_none() && self.is_frozen(gain) {
            return self.unrecorded(y, name);
        }
        self.record(y, name, |out| Record::Norm(Saved { x: x.clone(), norm, gain, bias, mean, rstd, out }))
    }

    /// Normalises each query head and each key head of a fused projection `[T, (H + 2K)·E]` with gains `[1, E]`, one for queries and
    /// one for keys; values pass.
    pub fn head_norm(
        &mut self,
        qkv: Tensor,
        norm: Norm,
        gains: [ParameterId; 2],
        heads: [usize; 2],
        width: usize,
    ) -> Tensor {
        let Norm::Rms { eps, offset } = norm else { unreachable!("heads are normalised by RMSNorm") };
        let (rows, stride) = (qkv.rows(), qkv.cols());
        let mut y = Tensor::new(rows, stride, qkv.dtype());
        let mut rstd = gains.map(|_| Tensor::new(0, 1, DType::F32));
        typed!(qkv, x => typed!(mut y, y => {
            y.copy_from_slice(bytemuck::cast_slice(x));
            for i in 0..2 {
                let layout = rmsnorm::Groups { stride, offset: [0, heads[0] * width][i], groups: heads[i], width };
                rstd[i] = Tensor::new(rows, heads[i], DType::F32);
                let g = self.parameters.get(gains[i]).data();
                rmsnorm::forward_groups(y, layout, Some(g), offset, eps, rstd[i].f32s_mut());
            }
        }));
        let source = qkv.node;
        let x = self.is_training().then(|| qkv.clone());
        self.record(
            y,
            |p| format!("norm `{}`", p.get(gains[0]).name),
            |out| {
                let x = x.expect("saved when training");
                Record::HeadNorm(SavedHeads { x, source, gains, heads, width, offset, rstd, out })
            },
        )
    }
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        tell(self.gain);
        self.bias.into_iter().for_each(tell);
    }

    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dy) = undo.take(self.out) else { return };
        let Saved { x, norm, gain, bias, mean, rstd, .. } = self;
        let width = x.cols();
        let g = undo.parameters().get(gain).data();
        let collected = x.node.and_then(|n| undo.collected(n));
        let accumulate = collected.is_some();
        let mut dx = collected.unwrap_or_else(|| Tensor::new(x.rows(), width, x.dtype()));
        let frozen = undo.parameters().get(gain).is_frozen();
        if let Some(b) = bias.filter(|_| !frozen) {
            let db = undo.gradients().accumulator(b);
            typed!(dy, dys => crate::kernels::arithmetic::column_sums(dys, width, db));
        }
        let dgain = (!frozen).then(|| undo.gradients().accumulator(gain));
        typed!(dy, dys => match x.dtype() {
            DType::F32 => backward(&x, norm, g, mean.as_ref(), &rstd, dys, dx.as_mut_slice::<f32>(), accumulate, dgain),
            DType::Bf16 => backward(&x, norm, g, mean.as_ref(), &rstd, dys, dx.as_mut_slice::<bf16>(), accumulate, dgain),
        });
        if let Some(node) = x.node {
            undo.put(node, dx);
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the two kinds of norm, side by side, for four pairs of element types"
)]
fn backward<X: Element, Y: Element>(
    x: &Tensor,
    norm: Norm,
    gain: &[f32],
    mean: Option<&Tensor>,
    rstd: &Tensor,
    dy: &[Y],
    dx: &mut [X],
    accumulate: bool,
    dgain: Option<&mut [f32]>,
) {
    let (xs, rstd, width) = (x.as_slice::<X>(), rstd.f32s(), x.cols());
    match (norm, mean) {
        (Norm::Layer { .. }, Some(mean)) => {
            layernorm::backward(xs, Some(gain), mean.f32s(), rstd, dy, width, dx, accumulate, dgain);
        }
        (Norm::Rms { offset, .. }, _) => {
            rmsnorm::backward(xs, Some(gain), offset, rstd, dy, width, dx, accumulate, dgain);
        }
        (Norm::Layer { .. }, None) => unreachable!("LayerNorm has its means"),
    }
}

pub(crate) struct SavedHeads {
    x: Tensor,
    source: Option<Node>,
    gains: [ParameterId; 2],
    heads: [usize; 2],
    width: usize,
    offset: f32,
    rstd: [Tensor; 2],
    out: Node,
}

impl SavedHeads {
    /// Tells the parameters whose gradients [`SavedHeads::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        self.gains.into_iter().for_each(tell);
    }

    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(source)) = (undo.take(self.out), self.source) else { return };
        let mut d = dy.into_unique();
        for i in 0..2 {
            let offset = [0, self.heads[0] * self.width][i];
            let layout =
                rmsnorm::Groups { stride: self.x.cols(), offset, groups: self.heads[i], width: self.width };
            let g = undo.parameters().get(self.gains[i]).data();
            let frozen = undo.parameters().get(self.gains[i]).is_frozen();
            let dgain = (!frozen).then(|| undo.gradients().accumulator(self.gains[i]));
            let rstd = self.rstd[i].f32s();
            match d.dtype() {
                DType::F32 => {
                    rmsnorm::backward_groups(
                        self.x.f32s(),
                        layout,
                        Some(g),
                        self.offset,
                        rstd,
                        d.f32s_mut(),
                        dgain,
                    );
                }
                DType::Bf16 => {
                    rmsnorm::backward_groups(
                        self.x.bf16s(),
                        layout,
                        Some(g),
                        self.offset,
                        rstd,
                        d.bf16s_mut(),
                        dgain,
                    );
                }
            }
        }
        undo.give(source, d);
    }
}
