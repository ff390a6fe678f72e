//! RNNsearch: an encoder and a decoder that, before each word, looks again at all that was read. Bahdanau, Cho & Bengio 2015, "Neural machine
//! translation by jointly learning to align and translate": the first attention.
//!
//! The encoder reads forwards and backwards; the annotation of a word is both states. The decoder's state asks every annotation
//! (`e_tj = v · tanh(W s_{t−1} + U h_j)`), a softmax makes weights of the answers, and the weighted sum of the annotations enters its gates and the
//! readout. So nothing has to pass through one vector, and the weights say which words a word comes from.
//!
//! The readout is the paper's: the larger of each pair of sums of state, word before and context. (A tanh instead was tried, and lost: its units
//! saturate in the first hundred steps, and for a thousand more the decoder knows no context.) The decoder begins with `tanh(W h)` of the backward
//! state at the first word; an LSTM's cell, which the paper does not have, with the same before its tanh.

use std::rc::Rc;

use pupil_tensor::kernels::random::Key;
use pupil_tensor::{
    Activation, Attended, Attentive, Cell, CrossEntropy, Graph, Indices, Loss, ParameterId, Parameters, Role,
    State, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Span};
use crate::replies::{Alignment, EncoderDecoder, Form, MOST, Writer};
use crate::rnn::{Kind, Layer};
use crate::{Model, initial};

/// The settings of an encoder and a decoder with attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// What it reads and writes.
    #[serde(flatten)]
    pub form: Form,
    /// Width of the word vectors, D, and of the readout after its maxout.
    pub width: usize,
    /// Width of the states, H.
    pub hidden: usize,
    /// Width of keys and queries, A.
    pub keys: usize,
    /// Kind of cell.
    pub cell: Kind,
    /// Whether the encoder reads backwards too.
    pub bidirectional: bool,
    /// Share of word vectors' and readout's elements dropped in training.
    pub dropout: f32,
}

/// A linear map with a bias.
struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

/// The parameters of the decoder.
struct Decoder {
    /// From the state at the encoder's end to the first one, `[H, H]`.
    start: Linear,
    /// `[G·H, D]`.
    input: Linear,
    /// `[A + G·H, H]`: the query, then the recurrent gates.
    recurrent: ParameterId,
    /// `[1, A + G·H]` of the GRU.
    recurrent_bias: Option<ParameterId>,
    /// `v [1, A]`.
    score: ParameterId,
    /// From the state, `[2D, H]`.
    readout: Linear,
    /// From the word before, `[2D, D]`.
    readout_word: ParameterId,
}

/// An encoder and a decoder with attention, with their parameters.
pub struct RnnSearch {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    /// Forwards, and perhaps backwards.
    encoder: Vec<Layer>,
    /// Of each direction's states: keys, what they add to the gates, what they add to the readout, `[A + G·H + 2D, H]`.
    annotate: Vec<ParameterId>,
    decoder: Decoder,
    head: Linear,
}

/// What is known after reading: the annotations as the decoder sees them, and its first state.
pub struct Memory {
    /// `[T', A + G·H + 2D]`.
    annotations: Tensor,
    state: State,
}

impl RnnSearch {
    /// A model whose parameters are all zero, to be loaded or initialised.
    pub fn zeros(config: Config) -> RnnSearch {
        let (c, mut p) = (&config, Parameters::new());
        let linear = |p: &mut Parameters, name: &str, rows: usize, cols: usize, role: Role| Linear {
            weight: p.add(format!("{name}.weight"), [rows, cols], role),
            bias: p.add(format!("{name}.bias"), [1, rows], Role::Vector),
        };
        let gates = Cell::from(c.cell).gates() * c.hidden;
        let both = c.keys + gates;
        let directions = if c.bidirectional { &["forward", "backward"][..] } else { &["forward"] };
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let encoder = directions.iter().enumerate().map(|(i, name)| {
            let layer = Layer::zeros(&mut p, &format!("encoder.{name}"), c.cell, c.width, c.hidden);
            if i == 1 { layer.reversed() } else { layer }
        });
        let encoder = encoder.collect();
        let annotate = directions.iter().map(|name| {
            p.add(format!("annotate.{name}.weight"), [both + 2 * c.width, c.hidden], Role::Matrix)
        });
        let annotate = annotate.collect();
        let decoder = Decoder {
            start: linear(&mut p, "decoder.start", c.hidden, c.hidden, Role::Matrix),
            input: linear(&mut p, "decoder.input", gates, c.width, Role::Matrix),
            recurrent: p.add("decoder.recurrent.weight", [both, c.hidden], Role::Matrix),
            recurrent_bias: (c.cell == Kind::Gru)
                .then(|| p.add("decoder.recurrent.bias", [1, both], Role::Vector)),
            score: p.add("decoder.score.weight", [1, c.keys], Role::Vector),
            readout: linear(&mut p, "decoder.readout", 2 * c.width, c.hidden, Role::Matrix),
            readout_word: p.add("decoder.readout_word.weight", [2 * c.width, c.width], Role::Matrix),
        };
        let head = linear(&mut p, "head", c.vocab, c.width, Role::Embedding);
        RnnSearch { parameters: p, tokens, encoder, annotate, decoder, head, config }
    }

    /// A fresh model: Glorot's values, orthogonal recurrences, LSTMs' forget gates open.
    pub fn new(config: Config, seed: u64) -> RnnSearch {
        let mut m = RnnSearch::zeros(config);
        let (c, p, d) = (&m.config, &mut m.parameters, &m.decoder);
        let key = |id: ParameterId, step: u64| Key { seed, stream: id.index() as u64, step };
        initial::uniform(key(m.tokens, 0), 0.05, p.data_mut(m.tokens));
        m.encoder.iter().for_each(|l| l.initialise(p, seed));
        let matrices =
            [d.start.weight, d.input.weight, d.score, d.readout.weight, d.readout_word, m.head.weight];
        for id in m.annotate.iter().copied().chain(matrices) {
            initial::glorot(key(id, 0), p.get(id).shape, p.data_mut(id));
        }
        let gates = Cell::from(c.cell).gates() * c.hidden;
        let (query, recurrent) = p.data_mut(d.recurrent).split_at_mut(c.keys * c.hidden);
        initial::glorot(key(d.recurrent, 0), [c.keys, c.hidden], query);
        initial::orthogonal(key(d.recurrent, 1), [gates, c.hidden], recurrent);
        if c.cell == Kind::Lstm {
            p.data_mut(d.input.bias)[c.hidden..2 * c.hidden].fill(1.0);
        }
        m
    }

    /// Reads some sequences.
    pub fn read(&self, g: &mut Graph<'_>, ids: &Indices, spans: &[Span]) -> Memory {
        let x = g.embedding(self.tokens, ids, 1.0);
        let x = g.dropout(x, self.config.dropout);
        let (hidden, mut end) = self.encoder[0].forward(g, &x, spans, None);
        let mut annotations = g.linear_f32(&hidden, self.annotate[0], None);
        if let [_, backward] = &self.encoder[..] {
            let (hidden, first) = backward.forward(g, &x, spans, None);
            annotations = g.linear_residual(&hidden, self.annotate[1], None, &annotations);
            end = first;
        }
        let start = &self.decoder.start;
        let cell = g.linear_f32(&end.hidden, start.weight, Some(start.bias));
        let hidden = g.activation(&cell, Activation::Tanh);
        Memory { annotations, state: State { hidden, cell } }
    }

    /// What attention did and the readouts `[T, D]` of the decoder's words. Span `i` has the rows of its words and of its annotations.
    pub fn write(
        &self,
        g: &mut Graph<'_>,
        ids: &Indices,
        spans: &Rc<Vec<Span>>,
        memory: &Memory,
    ) -> (Attended, Tensor) {
        let d = &self.decoder;
        let x = g.embedding(self.tokens, ids, 1.0);
        let x = g.dropout(x, self.config.dropout);
        let gates = g.linear_f32(&x, d.input.weight, Some(d.input.bias));
        let attentive = Attentive {
            cell: self.config.cell.into(),
            weight: d.recurrent,
            bias: d.recurrent_bias,
            score: d.score,
        };
        let attended = g.attentive(attentive, &gates, &memory.annotations, spans, Some(&memory.state));
        let r =
            g.linear_residual(&attended.hidden, d.readout.weight, Some(d.readout.bias), &attended.readout);
        let r = g.linear_residual(&x, d.readout_word, None, &r);
        let r = g.activation(&r, Activation::Maxout);
        (attended, g.dropout(r, self.config.dropout))
    }

    /// Scores of every next token for the given readouts, `[rows, V]`, f32.
    pub fn logits(&self, g: &mut Graph<'_>, readout: &Tensor) -> Tensor {
        g.linear_f32(readout, self.head.weight, Some(self.head.bias))
    }
}

impl Model for RnnSearch {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let memory = self.read(g, &batch.source.ids, &batch.source.spans);
        let (_, readout) = self.write(g, &batch.ids, &batch.across(), &memory);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.head.bias) };
        g.cross_entropy(&readout, self.head.weight, &batch.targets, &batch.weights, options)
    }
}

impl EncoderDecoder for RnnSearch {
    fn form(&self) -> Form {
        self.config.form
    }

    fn begin<'m>(&'m self, g: &mut Graph<'_>, source: &[u32]) -> Box<dyn Writer + 'm> {
        let whole = Span { queries: 0..source.len(), keys: 0..source.len() };
        Box::new(Going { model: self, memory: self.read(g, &Indices::new(source), &[whole]) })
    }

    fn alignment(&self, g: &mut Graph<'_>, source: &[u32], reply: &[u32]) -> Option<Alignment> {
        let whole = Span { queries: 0..source.len(), keys: 0..source.len() };
        let memory = self.read(g, &Indices::new(source), &[whole]);
        let ids: Vec<u32> = std::iter::once(self.config.form.start).chain(reply.iter().copied()).collect();
        let spans = Rc::new(vec![Span { queries: 0..ids.len(), keys: 0..source.len() }]);
        let (attended, _) = self.write(g, &Indices::new(&ids), &spans, &memory);
        Some(Alignment { read: source.len(), weights: attended.alignment.to_vec() })
    }
}

/// Replies that are being written.
struct Going<'m> {
    model: &'m RnnSearch,
    memory: Memory,
}

impl Writer for Going<'_> {
    fn next(&mut self, g: &mut Graph<'_>, newest: &[u32]) -> Tensor {
        let keys = 0..self.memory.annotations.rows();
        let spans = (0..newest.len()).map(|i| Span { queries: i..i + 1, keys: keys.clone() }).collect();
        let (attended, readout) = self.model.write(g, &Indices::new(newest), &Rc::new(spans), &self.memory);
        self.memory.state = attended.last;
        self.model.logits(g, &readout)
    }

    fn keep(&mut self, replies: &[usize]) {
        self.memory.state = self.memory.state.select(replies);
    }
}

impl Config {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// If something is zero, the dropout no share, or an id is not in the vocabulary.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [self.vocab, self.width, self.hidden, self.keys];
        if sizes.iter().any(|s| !(1..=MOST).contains(s)) || !(0.0..1.0).contains(&self.dropout) {
            return Err(format!(
                "settings of a decoder with attention: {self:?}: sizes are positive and at most {MOST}, dropout is below 1"
            ));
        }
        self.form.check(self.vocab)
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let (d, h, a) = (self.width, self.hidden, self.keys);
        let directions = if self.bidirectional { 2 } else { 1 };
        let gates = Cell::from(self.cell).gates() * h;
        let recurrent_bias = if self.cell == Kind::Gru { a + gates } else { 0 };
        let annotate = directions * (a + gates + 2 * d) * h;
        let decoder = h * (h + 1) + gates * (d + 1) + (a + gates) * h + recurrent_bias + a;
        let readout = 2 * d * (h + 1) + 2 * d * d;
        (self.vocab * (2 * d + 1) + annotate + decoder + readout) as u64
            + directions as u64 * Layer::count(self.cell, d, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_tensor::DType;

    fn config(cell: Kind, bidirectional: bool) -> Config {
        let form = Form { length: 8, padded: false, start: 1, start_is_said: false, end: 0 };
        Config { vocab: 11, form, width: 5, hidden: 4, keys: 3, cell, bidirectional, dropout: 0.0 }
    }

    #[test]
    fn parameters_are_counted_and_settings_that_make_no_sense_are_named() {
        for (cell, both) in [(Kind::Lstm, true), (Kind::Gru, true), (Kind::Gru, false), (Kind::Elman, true)] {
            let m = RnnSearch::new(config(cell, both), 1);
            assert_eq!(m.parameters.count() as u64, m.config.parameter_count());
        }
        let c = config(Kind::Gru, true);
        assert!(Config { keys: 0, ..c.clone() }.check().is_err());
        assert!(Config { form: Form { end: 11, ..c.form }, ..c }.check().unwrap_err().contains("11"));
    }

    /// By the paper's formulas, in plain loops: what follows a reply that begins `<start> 4 7`, to `5 2 9`.
    #[test]
    fn a_reply_is_that_of_the_papers_formulas() {
        let m = RnnSearch::new(config(Kind::Elman, true), 3);
        let (h, a, d) = (4, 3, 5);
        let p = |name: &str| {
            let p = m.parameters.get(m.parameters.find(name).unwrap());
            (p.data().to_vec(), p.shape[1])
        };
        let times = |name: &str, from: usize, rows: usize, x: &[f32]| -> Vec<f32> {
            let (w, cols) = p(name);
            (from..from + rows)
                .map(|r| w[r * cols..][..cols].iter().zip(x).map(|(w, x)| w * x).sum())
                .collect()
        };
        let add = |x: &[f32], y: &[f32]| -> Vec<f32> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
        let tanh = |x: Vec<f32>| -> Vec<f32> { x.into_iter().map(f32::tanh).collect() };
        let word = |id: usize| p("tok.weight").0[id * d..][..d].to_vec();
        let read = |name: &str, ids: &[usize]| {
            let mut state = vec![0.0; h];
            let states = ids.iter().map(|&id| {
                let x = times(&format!("encoder.{name}.input.weight"), 0, h, &word(id));
                state = tanh(add(&x, &times(&format!("encoder.{name}.recurrent.weight"), 0, h, &state)));
                state.clone()
            });
            states.collect::<Vec<_>>()
        };
        let forward = read("forward", &[5, 2, 9]);
        let mut backward = read("backward", &[9, 2, 5]);
        backward.reverse();
        let mut state = tanh(times("decoder.start.weight", 0, h, &backward[0]));
        let mut readouts = Vec::new();
        let mut weights = Vec::new();
        for id in [1, 4, 7] {
            let annotation = |j: usize, from: usize, n: usize| {
                add(
                    &times("annotate.forward.weight", from, n, &forward[j]),
                    &times("annotate.backward.weight", from, n, &backward[j]),
                )
            };
            let query = times("decoder.recurrent.weight", 0, a, &state);
            let score = |j: usize| -> f32 {
                let v = p("decoder.score.weight").0;
                tanh(add(&query, &annotation(j, 0, a))).iter().zip(v).map(|(t, v)| t * v).sum::<f32>().exp()
            };
            let total: f32 = (0..3).map(score).sum();
            let context = |from: usize, n: usize| {
                (0..3).fold(vec![0.0; n], |sum, j| {
                    let part: Vec<f32> =
                        annotation(j, from, n).iter().map(|x| x * score(j) / total).collect();
                    add(&sum, &part)
                })
            };
            weights.extend((0..3).map(|j| score(j) / total));
            let gates = add(&times("decoder.input.weight", 0, h, &word(id)), &context(a, h));
            let read = context(a + h, 2 * d);
            state = tanh(add(&gates, &times("decoder.recurrent.weight", a, h, &state)));
            let r = add(&times("decoder.readout.weight", 0, 2 * d, &state), &read);
            let r = add(&r, &times("decoder.readout_word.weight", 0, 2 * d, &word(id)));
            readouts.extend((0..d).map(|i| r[i].max(r[d + i])));
        }
        let mut g = Graph::inference(&m.parameters, DType::F32);
        let whole = Span { queries: 0..3, keys: 0..3 };
        let memory = m.read(&mut g, &Indices::new(&[5, 2, 9]), std::slice::from_ref(&whole));
        let (_, got) = m.write(&mut g, &Indices::new(&[1, 4, 7]), &Rc::new(vec![whole]), &memory);
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(&got.to_vec(), &readouts), "{:?} {readouts:?}", got.to_vec());
        let picture = m.alignment(&mut g, &[5, 2, 9], &[4, 7]).unwrap();
        assert!(picture.read == 3 && near(&picture.weights, &weights));
        // Word by word, and with a second reply beside it.
        let mut writer = m.begin(&mut g, &[5, 2, 9]);
        writer.next(&mut g, &[1]);
        writer.keep(&[0, 0]);
        writer.next(&mut g, &[3, 4]);
        writer.keep(&[1]);
        let last = writer.next(&mut g, &[7]).to_vec();
        let whole = m.logits(&mut g, &got).to_vec();
        assert!(near(&last, &whole[22..]));
    }
}
