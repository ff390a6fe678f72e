//! Recurrent language models: Elman's network (1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014).
//!
//! Word vectors → layers of cells, each reading the hidden states of the one below → output layer. What was read is a state of fixed size.

use pupil_tensor::kernels::random::Key;
use pupil_tensor::{
    Cell, CrossEntropy, Graph, Loss, ParameterId, Parameters, Recurrence, Role, State, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Span};
use crate::{Model, initial};

/// Kind of cell, by its name in settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Elman's network.
    Elman,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent units.
    Gru,
}

impl From<Kind> for Cell {
    fn from(kind: Kind) -> Cell {
        match kind {
            Kind::Elman => Cell::Elman,
            Kind::Lstm => Cell::Lstm,
            Kind::Gru => Cell::Gru,
        }
    }
}

/// The settings of a recurrent language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// Most tokens that a sequence has in training.
    pub context: usize,
    /// Width of the word vectors, D.
    pub width: usize,
    /// Width of the states, H.
    pub hidden: usize,
    /// Layers, L.
    pub layers: usize,
    /// Kind of cell.
    pub cell: Kind,
    /// Share of word vectors' and states' elements dropped in training.
    pub dropout: f32,
}

/// One layer of cells.
pub(crate) struct Layer {
    cell: Cell,
    /// `[G·H, D]`.
    input: ParameterId,
    /// `[1, G·H]`.
    bias: ParameterId,
    /// `[G·H, H]`.
    recurrent: ParameterId,
    /// `[1, G·H]`, of the GRU, whose reset gate comes after the product.
    recurrent_bias: Option<ParameterId>,
    /// Whether it reads sequences from their end.
    reversed: bool,
}

impl Layer {
    /// A layer whose parameters are zero.
    pub(crate) fn zeros(p: &mut Parameters, name: &str, kind: Kind, width: usize, hidden: usize) -> Layer {
        let cell = Cell::from(kind);
        let columns = cell.gates() * hidden;
        Layer {
            cell,
            input: p.add(format!("{name}.input.weight"), [columns, width], Role::Matrix),
            bias: p.add(format!("{name}.input.bias"), [1, columns], Role::Vector),
            recurrent: p.add(format!("{name}.recurrent.weight"), [columns, hidden], Role::Matrix),
            recurrent_bias: (cell == Cell::Gru)
                .then(|| p.add(format!("{name}.recurrent.bias"), [1, columns], Role::Vector)),
            reversed: false,
        }
    }

    /// The same, reading sequences from their end.
    pub(crate) fn reversed(self) -> Layer {
        Layer { reversed: true, ..self }
    }

    /// The usual initial values: Glorot's for the input, orthogonal ones for the recurrence, the LSTM's forget gate open.
    pub(crate) fn initialise(&self, p: &mut Parameters, seed: u64) {
        let key = |id: ParameterId| Key { seed, stream: id.index() as u64, step: 0 };
        let [input, recurrent] = [self.input, self.recurrent].map(|id| p.get(id).shape);
        initial::glorot(key(self.input), input, p.data_mut(self.input));
        initial::orthogonal(key(self.recurrent), recurrent, p.data_mut(self.recurrent));
        if self.cell == Cell::Lstm {
            let hidden = recurrent[1];
            p.data_mut(self.bias)[hidden..2 * hidden].fill(1.0);
        }
    }

    /// Hidden states of the sequences, `[T, H]`, and the states after them.
    pub(crate) fn forward(
        &self,
        g: &mut Graph<'_>,
        x: &Tensor,
        spans: &[Span],
        initial: Option<&State>,
    ) -> (Tensor, State) {
        let gates = g.linear_f32(x, self.input, Some(self.bias));
        let recurrence = Recurrence {
            cell: self.cell,
            weight: self.recurrent,
            bias: self.recurrent_bias,
            reversed: self.reversed,
        };
        g.recurrent(recurrence, &gates, spans, initial)
    }

    /// Numbers of a layer.
    pub(crate) fn count(kind: Kind, width: usize, hidden: usize) -> u64 {
        let columns = Cell::from(kind).gates() * hidden;
        let biases = if kind == Kind::Gru { 2 } else { 1 };
        (columns * (width + hidden + biases)) as u64
    }
}

/// A recurrent language model with its parameters.
pub struct Rnn {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    layers: Vec<Layer>,
    head: ParameterId,
    head_bias: ParameterId,
}

impl Rnn {
    /// A model whose parameters are all zero, to be loaded or initialised.
    pub fn zeros(config: Config) -> Rnn {
        let (c, mut p) = (&config, Parameters::new());
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let width = |i: usize| if i == 0 { c.width } else { c.hidden };
        let layers =
            (0..c.layers).map(|i| Layer::zeros(&mut p, &format!("layers.{i}"), c.cell, width(i), c.hidden));
        let layers = layers.collect();
        let head = p.add("head.weight", [c.vocab, c.hidden], Role::Embedding);
        let head_bias = p.add("head.bias", [1, c.vocab], Role::Vector);
        Rnn { parameters: p, tokens, layers, head, head_bias, config }
    }

    /// A fresh model.
    pub fn new(config: Config, seed: u64) -> Rnn {
        let mut m = Rnn::zeros(config);
        let p = &mut m.parameters;
        let key = |id: ParameterId| Key { seed, stream: id.index() as u64, step: 0 };
        initial::uniform(key(m.tokens), 0.05, p.data_mut(m.tokens));
        m.layers.iter().for_each(|l| l.initialise(p, seed));
        initial::glorot(key(m.head), p.get(m.head).shape, p.data_mut(m.head));
        m
    }

    /// Hidden states after each token, `[T, H]`; `states`, one for each layer, are what the sequences begin with and are moved on.
    pub fn forward(&self, g: &mut Graph<'_>, batch: &Batch, mut states: Option<&mut Vec<State>>) -> Tensor {
        let x = g.embedding(self.tokens, &batch.ids, 1.0);
        let mut x = g.dropout(x, self.config.dropout);
        for (i, layer) in self.layers.iter().enumerate() {
            let before = states.as_ref().map(|s| &s[i]);
            let (hidden, last) = layer.forward(g, &x, &batch.spans, before);
            if let Some(states) = states.as_deref_mut() {
                states[i] = last;
            }
            x = g.dropout(hidden, self.config.dropout);
        }
        x
    }

    /// Scores of every next token for the given rows of hidden states, `[rows, V]`, f32.
    pub fn logits(&self, g: &mut Graph<'_>, hidden: &Tensor) -> Tensor {
        g.linear_f32(hidden, self.head, Some(self.head_bias))
    }

    /// The states before anything was read.
    pub fn states(&self, sequences: usize) -> Vec<State> {
        self.layers.iter().map(|_| State::zeros(sequences, self.config.hidden)).collect()
    }
}

impl Model for Rnn {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let hidden = self.forward(g, batch, None);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.head_bias) };
        g.cross_entropy(&hidden, self.head, &batch.targets, &batch.weights, options)
    }

    fn next_scores(&self, g: &mut Graph<'_>, batch: &Batch) -> Option<Tensor> {
        let hidden = self.forward(g, batch, None);
        Some(self.logits(g, &batch.ends(&hidden)))
    }
}

impl Config {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// If something is zero or the dropout no share.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [self.vocab, self.context, self.width, self.hidden, self.layers];
        if sizes.contains(&0) || !(0.0..1.0).contains(&self.dropout) {
            return Err(format!(
                "settings of a recurrent network: {self:?}: sizes are positive, dropout is below 1"
            ));
        }
        Ok(())
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let width = |i: usize| if i == 0 { self.width } else { self.hidden };
        let layers: u64 = (0..self.layers).map(|i| Layer::count(self.cell, width(i), self.hidden)).sum();
        (self.vocab * (self.width + self.hidden + 1)) as u64 + layers
    }
}
