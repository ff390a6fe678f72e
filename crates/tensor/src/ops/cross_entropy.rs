//! The output layer and its loss in one: `Σ_t weight_t · (−log softmax(x_t · wᵀ)[target_t])`, without ever holding all logits.
//!
//! Rows are taken in chunks: logits, loss, their gradient, and from it `dx` and `dw` at once, while the chunk is in cache. The loss is where
//! backward begins, so with a tape its gradient (times `scale`) is recorded right here: `dx` seeds the tape, `dw` is added to the
//! parameter's gradient. Rows of weight 0 contribute exactly nothing; where they are many, as a person's words in a conversation are, only the others are
//! computed. Equals `torch.nn.functional.cross_entropy`
//! with `reduction="sum"` on the rows that count.

use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, Elements, ElementsMut, Mat, MatMut};
use crate::kernels::{arithmetic, cross_entropy, softcap};
use crate::parameters::ParameterId;
use crate::tape::Graph;
use crate::tensor::{Indices, Tensor};

/// Logits held at a time: 16 MB in f32.
const CHUNK_LOGITS: usize = 4 << 20;

/// How the loss is computed.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// Factor of the gradient, usually 1 / the number of learned targets of the whole step.
    pub scale: f32,
    /// Logits are `cap · tanh(logit / cap)`.
    pub softcap: Option<f32>,
    /// Share of the target's probability that is spread over all ids.
    pub smoothing: f32,
    /// Added to the logits, `[1, V]`.
    pub bias: Option<ParameterId>,
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// `Σ weight · loss`, in nats.
    pub sum: f64,
    /// `Σ weight`.
    pub weight: f64,
    /// `Σ weight` of the rows whose target has the highest score.
    pub right: f64,
}

impl Loss {
    /// Nats for each learned target; NaN if there is none.
    pub fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    /// Share of the learned targets that have the highest score; NaN if there is none.
    pub fn accuracy(&self) -> f64 {
        self.right / self.weight
    }
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Loss) {
        self.sum += other.sum;
        self.weight += other.weight;
        self.right += other.right;
    }
}

impl Graph<'_> {
    /// `log softmax(x_t · wᵀ)[target_t]`, `[T, 1]`: what a model says of targets. No gradient goes through it.
    ///
    /// # Panics
    /// If the shapes do not fit or a target is not in the vocabulary.
    pub fn log_probabilities(
        &mut self,
        x: &Tensor,
        weight: ParameterId,
        targets: &Indices,
        softcap: Option<f32>,
    ) -> Tensor {
        let [vocab, width] = self.shape(weight);
        let t = x.rows();
        assert!(
            x.cols() == width && targets.len() == t,
            "log_probabilities: x is {:?}, {} targets",
            x.shape(),
            targets.len()
        );
        assert!(targets.iter().all(|&i| (i as usize) < vocab), "log_probabilities: a target beyond {vocab}");
        let rows = (CHUNK_LOGITS / vocab).clamp(64, t.max(64));
        let [mut losses, mut right, mut ones] = [(); 3].map(|()| Tensor::new(t, 1, DType::F32));
        ones.f32s_mut().fill(1.0);
        for begin in (0..t).step_by(rows) {
            let end = (begin + rows).min(t);
            let xs = Mat::new(elements(x, begin * width, end * width), end - begin, width, width);
            let mut logits = self.chunk(xs, weight, None);
            if let Some(cap) = softcap {
                softcap::forward(logits.f32s_mut(), cap);
            }
            cross_entropy::loss_and_gradient(
                logits.f32s_mut(),
                vocab,
                &targets[begin..end],
                &ones.f32s()[begin..end],
                0.0,
                0.0,
                &mut losses.f32s_mut()[begin..end],
                &mut right.f32s_mut()[begin..end],
            );
        }
        losses.f32s_mut().iter_mut().for_each(|l| *l = -*l);
        losses
    }

    /// The logits of some rows, f32.
    fn chunk(&self, xs: Mat<'_>, weight: ParameterId, bias: Option<ParameterId>) -> Tensor {
        let mut logits = Tensor::new(xs.rows, self.shape(weight)[0], DType::F32);
        let forward = self.parameters.forward_panels(weight, self.dtype, self.keep);
        let bias = bias.map(|b| self.parameters.get(b).data());
        matmul::matmul(xs, &forward, logits.view_mut(), &Epilogue { bias, ..Epilogue::default() });
        logits
    }

    /// The loss of `x [T, D]` with the output layer `weight [V, D]`.
    ///
    /// # Panics
    /// If the shapes do not fit or a target is not in the vocabulary.
    pub fn cross_entropy(
        &mut self,
        x: &Tensor,
        weight: ParameterId,
        targets: &Indices,
        weights: &Tensor,
        options: CrossEntropy,
    ) -> Loss {
        let [vocab, width] = self.shape(weight);
        let t = x.rows();
        assert_eq!(x.cols(), width, "cross_entropy: x is {:?}, the output layer {vocab}×{width}", x.shape());
        assert!(
            targets.len() == t && weights.rows() == t,
            "cross_entropy: {t} rows, {} targets, {} weights",
            targets.len(),
            weights.rows()
        );
        if let Some(bad) = targets.iter().find(|&&i| i as usize >= vocab) {
            panic!("cross_entropy: target {bad} in a vocabulary of {vocab}");
        }
        let learned: Vec<usize> = (0..t).filter(|&i| weights.f32s()[i] != 0.0).collect();
        if !learned.is_empty() && learned.len() * 8 <= t * 7 {
            let x = self.rows(x, &learned);
            let targets = Indices::new(&learned.iter().map(|&i| targets[i]).collect::<Vec<u32>>());
            return self.cross_entropy(&x, weight, &targets, &weights.select_rows(&learned), options);
        }
        let rows = (CHUNK_LOGITS / vocab).clamp(64, t.max(64));
        let [mut losses, mut right] = [(); 2].map(|()| Tensor::new(t, 1, DType::F32));
        let mut dx = self.is_training().then(|| Tensor::new(t, width, x.dtype()));
        for begin in (0..t).step_by(rows) {
            let n = rows.min(t - begin);
            let part = |m: &Tensor| -> (usize, usize) { (begin * m.cols(), (begin + n) * m.cols()) };
            let (from, to) = part(x);
            let xs = Mat::new(elements(x, from, to), n, width, width);
            let mut logits = self.chunk(xs, weight, options.bias);
            let capped = options.softcap.map(|cap| {
                softcap::forward(logits.f32s_mut(), cap);
                (cap, self.is_training().then(|| logits.clone()))
            });
            let mut logits = logits.into_unique();
            cross_entropy::loss_and_gradient(
                logits.f32s_mut(),
                vocab,
                &targets[begin..begin + n],
                &weights.f32s()[begin..begin + n],
                options.scale,
                options.smoothing,
                &mut losses.f32s_mut()[begin..begin + n],
                &mut right.f32s_mut()[begin..begin + n],
            );
            let (Some(dx), Some(tape)) = (dx.as_mut(), self.tape.as_mut()) else { continue };
            if let Some((cap, Some(capped))) = &capped {
                softcap::backward(capped.f32s(), *cap, logits.f32s_mut());
            }
            let frozen = self.parameters.get(weight).is_frozen();
            if let Some(bias) = options.bias.filter(|_| !frozen) {
                arithmetic::column_sums(logits.f32s(), vocab, tape.gradients().accumulator(bias));
            }
            let dlogits = logits.converted(self.dtype);
            if !frozen {
                let (dw, accumulate) = tape.gradients().contribute(weight);
                matmul::matmul_tn(dlogits.view(), xs, MatMut::f32(dw, vocab, width), accumulate, self.dtype);
            }
            let out = match dx.dtype() {
                DType::F32 => ElementsMut::F32(&mut dx.f32s_mut()[from..to]),
                DType::Bf16 => ElementsMut::Bf16(&mut dx.bf16s_mut()[from..to]),
            };
            let backward = self.parameters.backward_panels(weight, self.dtype);
            matmul::matmul(
                dlogits.view(),
                &backward,
                MatMut::new(out, n, width, width),
                &Epilogue::default(),
            );
        }
        if let (Some(dx), Some(tape), true) = (dx, self.tape.as_mut(), x.node.is_some()) {
            tape.seed(x, dx);
        }
        let rows = losses.f32s().iter().zip(right.f32s()).zip(weights.f32s());
        let mut loss = Loss::default();
        for ((&l, &r), &w) in rows.filter(|&(_, &w)| w != 0.0) {
            let weight = f64::from(w);
            loss += Loss { sum: f64::from(l) * weight, weight, right: f64::from(r) * weight };
        }
        loss
    }
}

fn elements(x: &Tensor, from: usize, to: usize) -> Elements<'_> {
    match x.dtype() {
        DType::F32 => Elements::F32(&x.f32s()[from..to]),
        DType::Bf16 => Elements::Bf16(&x.bf16s()[from..to]),
    }
}
