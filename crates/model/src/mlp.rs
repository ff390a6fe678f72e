//! A neural probabilistic language model: the vectors of the last few words, one hidden layer, a softmax. Bengio et al. 2003.
//!
//! `h = tanh(b + Σ_k W_k · vector of the word k places back)`; a place before the beginning is the zero vector.

use pupil_tensor::kernels::random::Key;
use pupil_tensor::{Activation, CrossEntropy, Graph, Loss, ParameterId, Parameters, Role, Tensor};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::{Model, initial};

/// The settings of a window model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// Most tokens that a sequence has in training.
    pub context: usize,
    /// Tokens that it sees.
    pub window: usize,
    /// Width of the word vectors, D.
    pub width: usize,
    /// Width of the hidden layer, H.
    pub hidden: usize,
}

/// A window model with its parameters.
pub struct Mlp {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    /// `[H, D]` for each place of the window, the nearest first.
    places: Vec<ParameterId>,
    bias: ParameterId,
    head: ParameterId,
    head_bias: ParameterId,
}

impl Mlp {
    /// A model whose parameters are all zero, to be loaded or initialised.
    pub fn zeros(config: Config) -> Mlp {
        let (c, mut p) = (&config, Parameters::new());
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let place = |k: usize| p.add(format!("window.{k}.weight"), [c.hidden, c.width], Role::Matrix);
        let places = (0..c.window).map(place).collect();
        let bias = p.add("window.bias", [1, c.hidden], Role::Vector);
        let head = p.add("head.weight", [c.vocab, c.hidden], Role::Embedding);
        let head_bias = p.add("head.bias", [1, c.vocab], Role::Vector);
        Mlp { parameters: p, tokens, places, bias, head, head_bias, config }
    }

    /// A fresh model.
    pub fn new(config: Config, seed: u64) -> Mlp {
        let mut m = Mlp::zeros(config);
        let (p, c) = (&mut m.parameters, &m.config);
        let key = |id: ParameterId| Key { seed, stream: id.index() as u64, step: 0 };
        initial::uniform(key(m.tokens), 0.5, p.data_mut(m.tokens));
        for &id in &m.places {
            initial::glorot(key(id), [c.hidden, c.window * c.width], p.data_mut(id));
        }
        initial::glorot(key(m.head), [c.vocab, c.hidden], p.data_mut(m.head));
        m
    }

    /// The hidden layer after each token, `[T, H]`.
    pub fn forward(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let x = g.embedding(self.tokens, &batch.ids, 1.0);
        let mut h = g.linear_f32(&x, self.places[0], Some(self.bias));
        for (k, &place) in self.places.iter().enumerate().skip(1) {
            let earlier = g.shift(&x, &batch.spans, k);
            h = g.linear_residual(&earlier, place, None, &h);
        }
        g.activation(&h, Activation::Tanh)
    }
}

impl Model for Mlp {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let hidden = self.forward(g, batch);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.head_bias) };
        g.cross_entropy(&hidden, self.head, &batch.targets, &batch.weights, options)
    }

    fn next_scores(&self, g: &mut Graph<'_>, batch: &Batch) -> Option<Tensor> {
        let hidden = self.forward(g, batch);
        Some(g.linear_f32(&batch.ends(&hidden), self.head, Some(self.head_bias)))
    }
}

impl Config {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// If something is zero.
    pub fn check(&self) -> Result<(), String> {
        if [self.vocab, self.context, self.window, self.width, self.hidden].contains(&0) {
            return Err(format!("settings of a window model: {self:?}: sizes are positive"));
        }
        Ok(())
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let head = self.vocab * (self.hidden + 1);
        (self.vocab * self.width + self.hidden * (self.window * self.width + 1) + head) as u64
    }
}
