//! A causal convolutional language model: each layer mixes the last few places, gated, and adds what it found. Dauphin et al. 2017.
//!
//! `x + down(silu(gate) ∘ values)`, gate and values being convolutions over `kernel` places, each the `dilation`-th before the next; the
//! dilation doubles from layer to layer (van den Oord et al. 2016), so that the reach grows exponentially.

use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{
    Activation, CrossEntropy, DType, Graph, Loss, Norm, ParameterId, Parameters, Role, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::Model;
use crate::batch::Batch;

/// The settings of a convolutional model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// Most tokens that a sequence has in training.
    pub context: usize,
    /// Layers, L.
    pub layers: usize,
    /// Width, D.
    pub width: usize,
    /// Places that a layer mixes.
    pub kernel: usize,
    /// Layers after which the dilation is 1 again.
    pub cycle: usize,
}

struct Layer {
    norm: ParameterId,
    /// `[2D, D]` for each place: gate, then values.
    taps: Vec<ParameterId>,
    bias: ParameterId,
    /// `[D, D]`.
    down: ParameterId,
    dilation: usize,
}

/// A convolutional model with its parameters.
pub struct Conv {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    layers: Vec<Layer>,
    norm: ParameterId,
    head: ParameterId,
}

impl Conv {
    /// A model whose parameters are all zero, to be loaded or initialised.
    pub fn zeros(config: Config) -> Conv {
        let (c, mut p) = (&config, Parameters::new());
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let layers = (0..c.layers).map(|i| Layer {
            norm: p.add(format!("layers.{i}.norm.weight"), [1, c.width], Role::Vector),
            taps: (0..c.kernel)
                .map(|k| p.add(format!("layers.{i}.taps.{k}.weight"), [2 * c.width, c.width], Role::Matrix))
                .collect(),
            bias: p.add(format!("layers.{i}.taps.bias"), [1, 2 * c.width], Role::Vector),
            down: p.add(format!("layers.{i}.down.weight"), [c.width, c.width], Role::Matrix),
            dilation: 1 << (i % c.cycle.max(1)),
        });
        let layers = layers.collect();
        let norm = p.add("norm.weight", [1, c.width], Role::Vector);
        let head = p.add("head.weight", [c.vocab, c.width], Role::Embedding);
        Conv { parameters: p, tokens, layers, norm, head, config }
    }

    /// A fresh model: weights normal with deviation 0.02, those that end a layer 0.02/√L, gains 1.
    pub fn new(config: Config, seed: u64) -> Conv {
        let mut m = Conv::zeros(config);
        let deep = 0.02 / (m.config.layers as f32).sqrt();
        let ids: Vec<_> = m.parameters.iter().map(|(id, p)| (id, p.role, p.name.clone())).collect();
        for (id, role, name) in ids {
            let data = m.parameters.data_mut(id);
            let key = Key { seed, stream: id.index() as u64, step: 0 };
            match role {
                Role::Vector => data.fill(if name.ends_with("weight") { 1.0 } else { 0.0 }),
                _ => random::normal(key, 0.0, if name.ends_with("down.weight") { deep } else { 0.02 }, data),
            }
        }
        m
    }

    /// Hidden states after each token, `[T, D]`.
    pub fn forward(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let rms = Norm::Rms { eps: 1e-5, offset: 0.0 };
        let mut x = g.embedding(self.tokens, &batch.ids, 1.0);
        for layer in &self.layers {
            let h = g.norm(&x, rms, layer.norm, None, g.dtype);
            let mut mixed = g.linear_f32(&h, layer.taps[0], Some(layer.bias));
            for (k, &tap) in layer.taps.iter().enumerate().skip(1) {
                let earlier = g.shift(&h, &batch.spans, k * layer.dilation);
                mixed = g.linear_residual(&earlier, tap, None, &mixed);
            }
            let gated = g.activation(&mixed, Activation::SwiGlu);
            x = g.linear_residual(&gated, layer.down, None, &x);
        }
        g.norm(&x, rms, self.norm, None, DType::F32)
    }
}

impl Model for Conv {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let hidden = self.forward(g, batch);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: None };
        g.cross_entropy(&hidden, self.head, &batch.targets, &batch.weights, options)
    }

    fn next_scores(&self, g: &mut Graph<'_>, batch: &Batch) -> Option<Tensor> {
        let hidden = self.forward(g, batch);
        Some(g.logits(&batch.ends(&hidden), self.head))
    }
}

impl Config {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// If something is zero, or the dilation would pass every context.
    pub fn check(&self) -> Result<(), String> {
        if [self.vocab, self.context, self.layers, self.width, self.kernel].contains(&0) || self.cycle > 20 {
            return Err(format!(
                "settings of a convolutional model: {self:?}: sizes are positive, the cycle at most 20"
            ));
        }
        Ok(())
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let d = self.width;
        let layer = d + self.kernel * 2 * d * d + 2 * d + d * d;
        (2 * self.vocab * d + d + self.layers * layer) as u64
    }
}
