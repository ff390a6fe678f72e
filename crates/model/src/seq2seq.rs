//! Sequence to sequence: one recurrent network reads, its last state starts another that writes. Sutskever et al. 2014; the article's chatbot.
//!
//! Both read the same word vectors. Each has one layer of cells; the writer's hidden states go through a softmax over the vocabulary.

use pupil_tensor::kernels::random::Key;
use pupil_tensor::{CrossEntropy, Graph, Indices, Loss, ParameterId, Parameters, Role, State, Tensor};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Span};
use crate::replies::{EncoderDecoder, Form, MOST, Writer};
use crate::rnn::{Kind, Layer};
use crate::{Model, initial};

/// The settings of an encoder and decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// What it reads and writes.
    #[serde(flatten)]
    pub form: Form,
    /// Width of the word vectors, D.
    pub width: usize,
    /// Width of the states, H.
    pub hidden: usize,
    /// Kind of cell.
    pub cell: Kind,
}

/// An encoder and decoder with their parameters.
pub struct Seq2Seq {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    encoder: Layer,
    decoder: Layer,
    head: ParameterId,
    head_bias: ParameterId,
}

impl Seq2Seq {
    /// A model whose parameters are all zero, to be loaded or initialised.
    pub fn zeros(config: Config) -> Seq2Seq {
        let (c, mut p) = (&config, Parameters::new());
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let encoder = Layer::zeros(&mut p, "encoder", c.cell, c.width, c.hidden);
        let decoder = Layer::zeros(&mut p, "decoder", c.cell, c.width, c.hidden);
        let head = p.add("head.weight", [c.vocab, c.hidden], Role::Embedding);
        let head_bias = p.add("head.bias", [1, c.vocab], Role::Vector);
        Seq2Seq { parameters: p, tokens, encoder, decoder, head, head_bias, config }
    }

    /// A fresh model, with Keras' initial values.
    pub fn new(config: Config, seed: u64) -> Seq2Seq {
        let mut m = Seq2Seq::zeros(config);
        let p = &mut m.parameters;
        let key = |id: ParameterId| Key { seed, stream: id.index() as u64, step: 0 };
        initial::uniform(key(m.tokens), 0.05, p.data_mut(m.tokens));
        m.encoder.initialise(p, seed);
        m.decoder.initialise(p, seed);
        initial::glorot(key(m.head), p.get(m.head).shape, p.data_mut(m.head));
        m
    }

    /// What is known after reading some sequences.
    pub fn encode(&self, g: &mut Graph<'_>, ids: &Indices, spans: &[Span]) -> State {
        let x = g.embedding(self.tokens, ids, 1.0);
        self.encoder.forward(g, &x, spans, None).1
    }

    /// Hidden states of the writer after each token, `[T, H]`, and its state after the last ones.
    pub fn decode(&self, g: &mut Graph<'_>, ids: &Indices, spans: &[Span], state: &State) -> (Tensor, State) {
        let x = g.embedding(self.tokens, ids, 1.0);
        self.decoder.forward(g, &x, spans, Some(state))
    }

    /// Scores of every next token for the given rows of hidden states, `[rows, V]`, f32.
    pub fn logits(&self, g: &mut Graph<'_>, hidden: &Tensor) -> Tensor {
        g.linear_f32(hidden, self.head, Some(self.head_bias))
    }
}

impl Model for Seq2Seq {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let state = self.encode(g, &batch.source.ids, &batch.source.spans);
        let (hidden, _) = self.decode(g, &batch.ids, &batch.spans, &state);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.head_bias) };
        g.cross_entropy(&hidden, self.head, &batch.targets, &batch.weights, options)
    }
}

impl EncoderDecoder for Seq2Seq {
    fn form(&self) -> Form {
        self.config.form
    }

    fn begin<'m>(&'m self, g: &mut Graph<'_>, source: &[u32]) -> Box<dyn Writer + 'm> {
        let whole = Span { queries: 0..source.len(), keys: 0..source.len() };
        let state = if source.is_empty() {
            State::zeros(1, self.config.hidden)
        } else {
            self.encode(g, &Indices::new(source), &[whole])
        };
        Box::new(Going { model: self, state })
    }
}

/// Replies that are being written.
struct Going<'m> {
    model: &'m Seq2Seq,
    state: State,
}

impl Writer for Going<'_> {
    fn next(&mut self, g: &mut Graph<'_>, newest: &[u32]) -> Tensor {
        let spans: Vec<Span> =
            (0..newest.len()).map(|i| Span { queries: i..i + 1, keys: i..i + 1 }).collect();
        let (hidden, after) = self.model.decode(g, &Indices::new(newest), &spans, &self.state);
        self.state = after;
        self.model.logits(g, &hidden)
    }

    fn keep(&mut self, replies: &[usize]) {
        self.state = self.state.select(replies);
    }
}

impl Config {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// If something is zero, or an id is not in the vocabulary.
    pub fn check(&self) -> Result<(), String> {
        if [self.vocab, self.width, self.hidden].iter().any(|s| !(1..=MOST).contains(s)) {
            return Err(format!("settings of a seq2seq: {self:?}: sizes are positive and at most {MOST}"));
        }
        self.form.check(self.vocab)
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let layer = Layer::count(self.cell, self.width, self.hidden);
        (self.vocab * (self.width + self.hidden + 1)) as u64 + 2 * layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vocab: usize, width: usize) -> Config {
        let form = Form { length: 8, padded: false, start: 1, start_is_said: true, end: 0 };
        Config { vocab, form, width, hidden: width, cell: Kind::Lstm }
    }

    #[test]
    fn parameters_are_those_of_keras() {
        let c = config(20_000, 256);
        assert_eq!(c.parameter_count(), 11_310_624);
        let small = Seq2Seq::new(config(50, 8), 1);
        assert_eq!(small.parameters.count() as u64, small.config.parameter_count());
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let form = Form { start: 50, ..config(50, 8).form };
        assert!(Config { form, ..config(50, 8) }.check().unwrap_err().contains("50"));
        assert!(Config { hidden: 0, ..config(50, 8) }.check().is_err());
        assert_eq!(config(50, 8).check(), Ok(()));
    }
}
