//! The Transformer as it was first built: an encoder and a decoder of attention alone. Vaswani et al. 2017, "Attention is all you need".
//!
//! Encoder: blocks of self-attention and a position-wise network. Decoder: the same with attention to what the encoder read in between, its
//! self-attention causal. Each branch ends in `norm(x + dropout(f(x)))` (post-norm). Token vectors, shared by encoder, decoder and output layer, are
//! multiplied by √D; positions are sines and cosines. Training spreads a share of each target's probability over all tokens.
//!
//! Every projection has a bias, and so has the output layer; the sines of a position come first and then its cosines, where the paper takes
//! turns. Both are as in Marian (Junczys-Dowmunt et al. 2018), whose weights are the same as these ([`crate::Settings::Transformer`]).

use std::rc::Rc;

use pupil_tensor::kernels::attention::{Options, Shape, weights};
use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{
    Activation, CrossEntropy, DType, Graph, Indices, Loss, Norm, ParameterId, Parameters, Role, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Span};
use crate::cache::KvCache;
use crate::replies::{Alignment, EncoderDecoder, Form, MOST, Writer};
use crate::{Model, initial};

/// Added to the variance before its root.
const EPS: f32 = 1e-5;

/// Positions beyond the tokens of a sequence: its start and its end.
pub const MARKS: usize = 2;

/// The settings of a Transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// What it reads and writes.
    #[serde(flatten)]
    pub form: Form,
    /// Blocks of the encoder.
    pub encoder_layers: usize,
    /// Blocks of the decoder.
    pub decoder_layers: usize,
    /// Width of the residual stream, D.
    pub width: usize,
    /// Heads, H; divides D.
    pub heads: usize,
    /// Width inside the position-wise network, F.
    pub hidden: usize,
    /// Its activation.
    pub activation: Kind,
    /// Share of embeddings' and branches' elements dropped in training.
    pub dropout: f32,
    /// Share of a target's probability that training spreads over all tokens.
    pub smoothing: f32,
}

/// Activation of the position-wise network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The paper's.
    Relu,
    /// Exact GELU.
    Gelu,
    /// `x · σ(x)`, of Marian's published models.
    Silu,
}

/// A linear map with its bias.
struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

/// LayerNorm's gain and bias.
struct Gain {
    gain: ParameterId,
    bias: ParameterId,
}

/// Self-attention and what ends it.
struct SelfAttention {
    /// `[3D, D]`: queries, keys, values.
    qkv: Linear,
    out: Linear,
    norm: Gain,
}

/// Attention to what was read and what ends it.
struct CrossAttention {
    query: Linear,
    /// `[2D, D]`: keys, values.
    kv: Linear,
    out: Linear,
    norm: Gain,
}

/// The position-wise network and what ends it.
struct Feed {
    up: Linear,
    down: Linear,
    norm: Gain,
}

/// A block of the encoder; with attention to what was read, of the decoder.
struct Block {
    own: SelfAttention,
    cross: Option<CrossAttention>,
    feed: Feed,
}

/// A Transformer with its parameters.
pub struct Transformer {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    encoder: Vec<Block>,
    decoder: Vec<Block>,
    head_bias: ParameterId,
    /// Sines and cosines of every position, `[length + 2, D]`.
    positions: Vec<f32>,
}

impl Transformer {
    /// A model whose parameters are all zero, to be loaded or initialised.
    ///
    /// # Panics
    /// If the settings contradict each other: see [`Config::check`].
    pub fn zeros(config: Config) -> Transformer {
        if let Err(e) = config.check() {
            panic!("{e}");
        }
        let (c, mut p) = (&config, Parameters::new());
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let linear = |p: &mut Parameters, name: String, rows: usize, cols: usize| Linear {
            weight: p.add(format!("{name}.weight"), [rows, cols], Role::Matrix),
            bias: p.add(format!("{name}.bias"), [1, rows], Role::Vector),
        };
        let norm = |p: &mut Parameters, name: String| Gain {
            gain: p.add(format!("{name}.weight"), [1, c.width], Role::Vector),
            bias: p.add(format!("{name}.bias"), [1, c.width], Role::Vector),
        };
        let block = |p: &mut Parameters, stack: &str, i: usize| {
            let at = |part: &str| format!("{stack}.{i}.{part}");
            Block {
                own: SelfAttention {
                    qkv: linear(p, at("self.qkv"), 3 * c.width, c.width),
                    out: linear(p, at("self.out"), c.width, c.width),
                    norm: norm(p, at("self.norm")),
                },
                cross: (stack == "decoder").then(|| CrossAttention {
                    query: linear(p, at("cross.q"), c.width, c.width),
                    kv: linear(p, at("cross.kv"), 2 * c.width, c.width),
                    out: linear(p, at("cross.out"), c.width, c.width),
                    norm: norm(p, at("cross.norm")),
                }),
                feed: Feed {
                    up: linear(p, at("feed.up"), c.hidden, c.width),
                    down: linear(p, at("feed.down"), c.width, c.hidden),
                    norm: norm(p, at("feed.norm")),
                },
            }
        };
        let encoder = (0..c.encoder_layers).map(|i| block(&mut p, "encoder", i)).collect();
        let decoder = (0..c.decoder_layers).map(|i| block(&mut p, "decoder", i)).collect();
        let head_bias = p.add("head.bias", [1, c.vocab], Role::Vector);
        let positions = sinusoids(c.positions(), c.width);
        Transformer { parameters: p, tokens, encoder, decoder, head_bias, positions, config }
    }

    /// A fresh model: token vectors normal with deviation 1/√D, Glorot's values for each map (query, key and value are three), gains 1, biases 0.
    pub fn new(config: Config, seed: u64) -> Transformer {
        let mut m = Transformer::zeros(config);
        let width = m.config.width;
        let ids: Vec<ParameterId> = m.parameters.iter().map(|(id, _)| id).collect();
        for id in ids {
            let p = m.parameters.get(id);
            let (role, shape, is_gain) = (p.role, p.shape, p.name.ends_with(".weight"));
            let fused = p.name.ends_with("qkv.weight") || p.name.ends_with("kv.weight");
            let key = Key { seed, stream: id.index() as u64, step: 0 };
            let data = m.parameters.data_mut(id);
            match role {
                Role::Embedding => random::normal(key, 0.0, 1.0 / (width as f32).sqrt(), data),
                Role::Matrix if fused => initial::glorot(key, [width, width], data),
                Role::Matrix => initial::glorot(key, shape, data),
                Role::Vector => data.fill(if is_gain { 1.0 } else { 0.0 }),
            }
        }
        m
    }

    /// What the encoder makes of sequences, `[T, D]`.
    pub fn encode(&self, g: &mut Graph<'_>, ids: &Indices, spans: &Rc<Vec<Span>>) -> Tensor {
        let mut x = self.embed(g, ids, &positions_of(ids.len(), spans));
        for block in &self.encoder {
            let qkv = g.linear(&x, block.own.qkv.weight, Some(block.own.qkv.bias));
            let a = g.attention(&qkv, spans, self.shape(), self.options(false));
            x = self.join(g, &a, &block.own.out, &block.own.norm, x);
            x = self.feed(g, &block.feed, x);
        }
        x
    }

    /// Keys and values of what was read, for each block of the decoder, `[T', 2D]`.
    pub fn memory(&self, g: &mut Graph<'_>, read: &Tensor) -> Vec<Tensor> {
        let cross = self.decoder.iter().filter_map(|b| b.cross.as_ref());
        cross.map(|c| g.linear(read, c.kv.weight, Some(c.kv.bias))).collect()
    }

    /// The decoder's hidden states, `[T, D]`. Spans of `across` have the rows of words and of what was read. With a cache, span `i` of the batch
    /// continues sequence `i` of the cache, and the caller advances it.
    pub fn decode(
        &self,
        g: &mut Graph<'_>,
        batch: &Batch,
        across: &Rc<Vec<Span>>,
        memory: &[Tensor],
        cache: Option<&mut KvCache>,
    ) -> Tensor {
        self.decode_and_show(g, batch, across, memory, cache, &mut |_, _| {})
    }

    /// The same; `show` gets the queries and the keys (and values) of each block's look at what was read.
    fn decode_and_show(
        &self,
        g: &mut Graph<'_>,
        batch: &Batch,
        across: &Rc<Vec<Span>>,
        memory: &[Tensor],
        mut cache: Option<&mut KvCache>,
        show: &mut dyn FnMut(&Tensor, &Tensor),
    ) -> Tensor {
        let width = self.config.width;
        let placed = cache.as_ref().map(|cache| cache.spans(&batch.spans));
        let mut x = self.embed(g, &batch.ids, &batch.positions);
        for (i, block) in self.decoder.iter().enumerate() {
            let qkv = g.linear(&x, block.own.qkv.weight, Some(block.own.qkv.bias));
            let a = match (cache.as_deref_mut(), &placed) {
                (Some(cache), Some(placed)) => {
                    cache.append(i, &qkv, width..2 * width, 2 * width..3 * width, placed);
                    let [keys, values] = cache.layer(i);
                    let (keys, values) = (keys.view(), values.view());
                    g.cached_attention(&qkv, keys, values, placed, self.shape(), self.options(true))
                }
                _ => g.attention(&qkv, &batch.spans, self.shape(), self.options(true)),
            };
            x = self.join(g, &a, &block.own.out, &block.own.norm, x);
            if let Some(cross) = &block.cross {
                let q = g.linear(&x, cross.query.weight, Some(cross.query.bias));
                show(&q, &memory[i]);
                let a = g.cross_attention(&q, &memory[i], across, self.shape(), self.options(false));
                x = self.join(g, &a, &cross.out, &cross.norm, x);
            }
            x = self.feed(g, &block.feed, x);
        }
        x
    }

    /// Scores of every next token for the given rows of hidden states, `[rows, V]`, f32.
    pub fn logits(&self, g: &mut Graph<'_>, hidden: &Tensor) -> Tensor {
        g.linear_f32(hidden, self.tokens, Some(self.head_bias))
    }

    /// Token vectors times √D, plus their positions: `[T, D]`.
    fn embed(&self, g: &mut Graph<'_>, ids: &Indices, positions: &[u32]) -> Tensor {
        let width = self.config.width;
        let x = g.embedding(self.tokens, ids, (width as f32).sqrt());
        let mut places = Tensor::new(ids.len(), width, DType::F32);
        for (to, &at) in places.f32s_mut().chunks_exact_mut(width).zip(positions) {
            assert!(
                (at as usize) < self.config.positions(),
                "transformer: position {at} of {:?}",
                self.config
            );
            to.copy_from_slice(&self.positions[at as usize * width..][..width]);
        }
        let x = g.add(&x, &places);
        g.dropout(x, self.config.dropout)
    }

    /// Ends a branch: `norm(x + dropout(w·a + b))`.
    fn join(&self, g: &mut Graph<'_>, a: &Tensor, w: &Linear, norm: &Gain, x: Tensor) -> Tensor {
        let x = if self.config.dropout > 0.0 && g.is_training() {
            let y = g.linear(a, w.weight, Some(w.bias));
            let y = g.dropout(y, self.config.dropout);
            g.add(&x, &y)
        } else {
            g.linear_residual(a, w.weight, Some(w.bias), &x)
        };
        g.norm(&x, Norm::Layer { eps: EPS }, norm.gain, Some(norm.bias), DType::F32)
    }

    /// The position-wise network.
    fn feed(&self, g: &mut Graph<'_>, feed: &Feed, x: Tensor) -> Tensor {
        let u = g.linear(&x, feed.up.weight, Some(feed.up.bias));
        let kind = match self.config.activation {
            Kind::Relu => Activation::Relu,
            Kind::Gelu => Activation::Gelu,
            Kind::Silu => Activation::Silu,
        };
        let u = g.activation(&u, kind);
        self.join(g, &u, &feed.down, &feed.norm, x)
    }

    fn shape(&self) -> Shape {
        let Config { heads, width, .. } = self.config;
        Shape { heads, kv_heads: heads, width: width / heads }
    }

    fn options(&self, causal: bool) -> Options {
        let scale = 1.0 / (self.shape().width as f32).sqrt();
        Options { causal, window: None, scale, softcap: None }
    }
}

/// `sin(p / 10000^(2i/D))` for `i < ⌈D/2⌉`, then the cosines, of each position.
pub fn sinusoids(positions: usize, width: usize) -> Vec<f32> {
    let (mut all, sines) = (Vec::with_capacity(positions * width), width.div_ceil(2));
    for p in 0..positions {
        let angle = |i: usize| p as f64 / 10_000f64.powf(2.0 * i as f64 / width as f64);
        all.extend((0..sines).map(|i| angle(i).sin() as f32));
        all.extend((0..width - sines).map(|i| angle(i).cos() as f32));
    }
    all
}

/// The place of each token in its sequence.
fn positions_of(tokens: usize, spans: &[Span]) -> Vec<u32> {
    let mut positions = vec![0; tokens];
    for span in spans {
        (0..).zip(&mut positions[span.queries.clone()]).for_each(|(i, p)| *p = i);
    }
    positions
}

impl Model for Transformer {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let read = self.encode(g, &batch.source.ids, &batch.source.spans);
        let memory = self.memory(g, &read);
        let hidden = self.decode(g, batch, &batch.across(), &memory, None);
        // Smoothed only while it learns: an evaluation is of the model's own probabilities.
        let smoothing = if g.is_training() { self.config.smoothing } else { 0.0 };
        let options = CrossEntropy { scale, softcap: None, smoothing, bias: Some(self.head_bias) };
        g.cross_entropy(&hidden, self.tokens, &batch.targets, &batch.weights, options)
    }
}

impl EncoderDecoder for Transformer {
    fn form(&self) -> Form {
        self.config.form
    }

    fn begin<'m>(&'m self, g: &mut Graph<'_>, source: &[u32]) -> Box<dyn Writer + 'm> {
        let memory = self.read(g, source);
        let cache = KvCache::new(self.decoder.len(), self.config.width, 1, self.config.positions(), g.dtype);
        Box::new(Going { model: self, source: source.len(), memory, cache })
    }

    /// The mean of the heads of the last block.
    fn alignment(&self, g: &mut Graph<'_>, source: &[u32], reply: &[u32]) -> Option<Alignment> {
        let ids: Vec<u32> = std::iter::once(self.config.form.start).chain(reply.iter().copied()).collect();
        let all = self.looks(g, source, &ids);
        let last = all.last()?;
        let size = ids.len() * source.len();
        let mut mean = vec![0.0; size];
        for head in last.chunks_exact(size.max(1)) {
            mean.iter_mut().zip(head).for_each(|(m, w)| *m += w / self.config.heads as f32);
        }
        Some(Alignment { read: source.len(), weights: mean })
    }
}

impl Transformer {
    /// Keys and values of one sequence.
    fn read(&self, g: &mut Graph<'_>, source: &[u32]) -> Vec<Tensor> {
        let whole = Span { queries: 0..source.len(), keys: 0..source.len() };
        let read = self.encode(g, &Indices::new(source), &Rc::new(vec![whole]));
        self.memory(g, &read)
    }

    /// The weights with which each token of `ids` looks at each of `source`, in every block of the decoder, `[H, n, m]` each.
    pub fn looks(&self, g: &mut Graph<'_>, source: &[u32], ids: &[u32]) -> Vec<Vec<f32>> {
        let memory = self.read(g, source);
        let own = 0..ids.len();
        let batch = Batch::reading(ids, std::slice::from_ref(&own));
        let span = Span { queries: 0..ids.len(), keys: 0..source.len() };
        let across = Rc::new(vec![span.clone()]);
        let mut all = Vec::new();
        self.decode_and_show(g, &batch, &across, &memory, None, &mut |q, kv| {
            let keys = kv.columns(0, self.config.width);
            all.push(weights(q.view(), keys, &span, self.shape(), self.options(false)));
        });
        all
    }
}

/// Replies that are being written: what was read is projected once, what was written lies in the cache.
struct Going<'m> {
    model: &'m Transformer,
    source: usize,
    memory: Vec<Tensor>,
    cache: KvCache,
}

impl Writer for Going<'_> {
    fn next(&mut self, g: &mut Graph<'_>, newest: &[u32]) -> Tensor {
        let spans: Vec<_> = (0..newest.len()).map(|i| i..i + 1).collect();
        let offsets: Vec<usize> = (0..newest.len()).map(|i| self.cache.len(i)).collect();
        let batch = Batch::continuing(newest, &spans, &offsets);
        let across = spans.iter().map(|s| Span { queries: s.clone(), keys: 0..self.source }).collect();
        let hidden = self.model.decode(g, &batch, &Rc::new(across), &self.memory, Some(&mut self.cache));
        self.cache.advance(&batch.spans);
        self.model.logits(g, &hidden)
    }

    fn keep(&mut self, replies: &[usize]) {
        self.cache = self.cache.select(replies);
    }
}

impl Config {
    /// Says what contradicts itself.
    ///
    /// # Errors
    /// Names the settings.
    pub fn check(&self) -> Result<(), String> {
        let c = self;
        let sizes = [c.vocab, c.width, c.heads, c.hidden];
        let layers = [c.encoder_layers, c.decoder_layers];
        if sizes.iter().any(|s| !(1..=MOST).contains(s)) || layers.iter().any(|l| !(1..=1024).contains(l)) {
            return Err(format!(
                "settings of a Transformer: {c:?}: sizes are positive and at most {MOST}, layers at most 1024"
            ));
        }
        if !c.width.is_multiple_of(c.heads) || c.width / c.heads > 256 {
            return Err(format!(
                "settings of a Transformer: {} heads share a width of {} (evenly, each at most 256)",
                c.heads, c.width
            ));
        }
        if !(0.0..1.0).contains(&c.dropout) || !(0.0..1.0).contains(&c.smoothing) {
            let (dropout, smoothing) = (c.dropout, c.smoothing);
            return Err(format!(
                "settings of a Transformer: dropout {dropout} and smoothing {smoothing} are in [0, 1)"
            ));
        }
        c.form.check(c.vocab)
    }

    /// Positions that a sequence may have: its tokens, its start and its end.
    pub fn positions(&self) -> usize {
        self.form.length + MARKS
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let (d, f) = (self.width, self.hidden);
        let attention = 4 * (d * d + d) + 2 * d;
        let feed = d * f + f + f * d + d + 2 * d;
        let blocks = self.encoder_layers * (attention + feed) + self.decoder_layers * (2 * attention + feed);
        (self.vocab * (d + 1) + blocks) as u64
    }

    /// Bytes of activations that a training step of `tokens` tokens, read and written together, holds at its peak, `operand` being the bytes of an
    /// element of the matrix operands.
    pub fn activation_bytes(&self, tokens: usize, operand: usize) -> usize {
        let (d, f) = (self.width, self.hidden);
        // Each attention: three operands, result, sum and norm; the network: two operands, sum and norm. A token goes through one stack.
        let attention = operand * 4 * d + 4 * (2 * d + 2 + self.heads);
        let feed = operand * 2 * f + 4 * (2 * d + 2);
        let block =
            (self.encoder_layers * (attention + feed)).max(self.decoder_layers * (2 * attention + feed));
        let rows = ((4 << 20) / self.vocab).clamp(64, tokens.max(64)).min(tokens);
        let head = rows * self.vocab * (4 + operand);
        tokens * (block + 8 * d) + head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let form = Form { length: 8, padded: false, start: 1, start_is_said: false, end: 0 };
        Config {
            vocab: 11,
            form,
            encoder_layers: 2,
            decoder_layers: 3,
            width: 12,
            heads: 3,
            hidden: 20,
            activation: Kind::Relu,
            dropout: 0.0,
            smoothing: 0.1,
        }
    }

    #[test]
    fn parameters_are_counted_and_settings_that_make_no_sense_are_named() {
        let m = Transformer::new(config(), 1);
        assert_eq!(m.parameters.count() as u64, m.config.parameter_count());
        // The base model of the paper: 65 million with a vocabulary of 37,000 (Table 3), biases of projections and output not counted there.
        let base = Config {
            vocab: 37_000,
            encoder_layers: 6,
            decoder_layers: 6,
            width: 512,
            heads: 8,
            hidden: 2048,
            ..config()
        };
        assert!((base.parameter_count() as f64 / 1e6 - 63.1).abs() < 0.1, "{}", base.parameter_count());
        assert!(Config { heads: 5, ..config() }.check().unwrap_err().contains('5'));
        assert!(Config { smoothing: 1.0, ..config() }.check().is_err());
        assert!(Config { hidden: 0, ..config() }.check().is_err());
    }

    #[test]
    fn positions_are_the_papers_waves() {
        let all = sinusoids(5, 6);
        assert_eq!(all[..6], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let angle = 3.0 / 10_000f64.powf(2.0 / 6.0);
        assert!((f64::from(all[3 * 6 + 1]) - angle.sin()).abs() < 1e-6);
        assert!((f64::from(all[3 * 6 + 4]) - angle.cos()).abs() < 1e-6);
    }

    #[test]
    fn a_word_is_scored_the_same_alone_in_company_whole_and_word_by_word() {
        let m = Transformer::new(config(), 3);
        let mut g = Graph::inference(&m.parameters, DType::F32);
        // Two pairs side by side: 5 2 9 → 1 4 7 and 3 → 1 6.
        let mut batch = Batch::reading(&[1, 4, 7, 1, 6], &[0..3, 3..5]);
        batch.set_source(&[5, 2, 9, 3], &[0..3, 3..4]);
        let read = m.encode(&mut g, &batch.source.ids, &batch.source.spans);
        let memory = m.memory(&mut g, &read);
        let hidden = m.decode(&mut g, &batch, &batch.across(), &memory, None);
        let both = m.logits(&mut g, &hidden).to_vec();
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let mut writer = m.begin(&mut g, &[5, 2, 9]);
        assert!(near(&writer.next(&mut g, &[1]).to_vec(), &both[..11]));
        writer.keep(&[0, 0]);
        assert!(near(&writer.next(&mut g, &[8, 4]).to_vec()[11..], &both[11..22]));
        writer.keep(&[1]);
        assert!(near(&writer.next(&mut g, &[7]).to_vec(), &both[22..33]));
        let mut writer = m.begin(&mut g, &[3]);
        writer.next(&mut g, &[1]);
        assert!(near(&writer.next(&mut g, &[6]).to_vec(), &both[44..]));
    }

    #[test]
    fn weights_of_every_look_sum_to_one_and_nothing_said_is_looked_at_by_nobody() {
        let m = Transformer::new(config(), 3);
        let mut g = Graph::inference(&m.parameters, DType::F32);
        let looks = m.looks(&mut g, &[5, 2, 9], &[1, 4]);
        assert_eq!((looks.len(), looks[0].len()), (3, 3 * 2 * 3));
        assert!(
            looks.iter().flat_map(|l| l.chunks_exact(3)).all(|w| (w.iter().sum::<f32>() - 1.0).abs() < 1e-5)
        );
        let picture = m.alignment(&mut g, &[5, 2, 9], &[4, 4]).unwrap();
        assert_eq!((picture.read, picture.weights.len()), (3, 9));
        let to_nobody = m.begin(&mut g, &[]).next(&mut g, &[1]).to_vec();
        assert!(to_nobody.iter().all(|x| x.is_finite()));
    }
}
