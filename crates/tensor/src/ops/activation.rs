//! Activations, element by element: GELU, ReLU, ReLU², SiLU, tanh, and those of pairs over `[T, 2F]`: the gated SwiGLU and GeGLU (gate, then
//! values), and maxout.
//!
//! Forward saves the input (shared). GELU by erf equals `torch.nn.functional.gelu`; SwiGLU is `silu(gate) ∘ values`
//! (Shazeer 2020).

use crate::kernels::matrix::{DType, Element, bf16};
use crate::kernels::{gelu, glu, maxout, relu, silu, tanh};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`.
    Gelu,
    /// Its tanh form (GPT-2).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    Relu2,
    /// `x · σ(x)`.
    Silu,
    /// `tanh x`.
    Tanh,
    /// `silu(gate) ∘ values`.
    SwiGlu,
    /// `gelu_tanh(gate) ∘ values`.
    GeGlu,
    /// The larger of column `i` and column `F + i`.
    Maxout,
}

impl Activation {
    /// Whether the input is pairs, their halves side by side, twice as wide as the result.
    pub fn is_paired(self) -> bool {
        matches!(self, Activation::SwiGlu | Activation::GeGlu | Activation::Maxout)
    }
}

pub(crate) struct Saved {
    x: Tensor,
    kind: Activation,
    out: Node,
}

impl Graph<'_> {
    /// Applies the activation to every element.
    ///
    /// # Panics
    /// If the activation is of pairs and the columns are odd in number.
    pub fn activation(&mut self, x: &Tensor, kind: Activation) -> Tensor {
        let cols = if kind.is_paired() {
            assert!(x.cols().is_multiple_of(2), "{kind:?}: pairs in {} columns", x.cols());
            x.cols() / 2
        } else {
            x.cols()
        };
        let mut y = Tensor::new(x.rows(), cols, x.dtype());
        match x.dtype() {
            DType::F32 => forward(kind, x.f32s(), cols, y.f32s_mut()),
            DType::Bf16 => forward(kind, x.bf16s(), cols, y.bf16s_mut()),
        }
        self.record(y, |_| format!("{kind:?}"), |out| Record::Activation(Saved { x: x.clone(), kind, out }))
    }
}

fn forward<E: Element>(kind: Activation, x: &[E], width: usize, y: &mut [E]) {
    match kind {
        Activation::Gelu => gelu::forward(x, y),
        Activation::GeluTanh => gelu::forward_tanh(x, y),
        Activation::Relu => relu::forward(x, y),
        Activation::Relu2 => relu::forward_squared(x, y),
        Activation::Silu => silu::forward(x, y),
        Activation::Tanh => tanh::forward(x, y),
        Activation::SwiGlu => glu::swiglu(x, width, y),
        Activation::GeGlu => glu::geglu(x, width, y),
        Activation::Maxout => maxout::forward(x, width, y),
    }
}

fn backward<E: Element>(kind: Activation, x: &[E], width: usize, dy: &[E], dx: &mut [E]) {
    match kind {
        Activation::Gelu => gelu::backward(x, dy, dx),
        Activation::GeluTanh => gelu::backward_tanh(x, dy, dx),
        Activation::Relu => relu::backward(x, dy, dx),
        Activation::Relu2 => relu::backward_squared(x, dy, dx),
        Activation::Silu => silu::backward(x, dy, dx),
        Activation::Tanh => tanh::backward(x, dy, dx),
        Activation::SwiGlu => glu::swiglu_backward(x, width, dy, dx),
        Activation::GeGlu => glu::geglu_backward(x, width, dy, dx),
        Activation::Maxout => maxout::backward(x, width, dy, dx),
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(node)) = (undo.take(self.out), self.x.node) else { return };
        let mut dx = Tensor::new(self.x.rows(), self.x.cols(), self.x.dtype());
        match dx.dtype() {
            DType::F32 => backward(self.kind, self.x.f32s(), dy.cols(), dy.f32s(), dx.f32s_mut()),
            DType::Bf16 => backward::<bf16>(self.kind, self.x.bf16s(), dy.cols(), dy.bf16s(), dx.bf16s_mut()),
        }
        undo.give(node, dx);
    }
}
