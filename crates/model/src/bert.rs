//! BERT: a stack of self-attention that looks both ways, and says which words were hidden. Devlin et al. 2018.
//!
//! An encoder of the Transformer (Vaswani et al. 2017), `norm(x + f(x))`, whose every token sees its whole sequence. It is pretrained on two
//! tasks at once: to name words that were hidden (a cloze), and to tell whether the second part of a sequence followed the first
//! where both were found. Then a new head learns what a sequence, or each of its tokens, is.
//!
//! A sequence is `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`. Sequences lie side by side in one row, so nothing is padded and nothing
//! masked out. The target at a sequence's first place is what is said of the whole, its label; targets elsewhere are said of tokens.
//! Only the rows whose target counts pass through a head.
//!
//! Not as in the paper: attention's probabilities are not dropped (the fused kernel never holds them); initial values are normal, not cut off.
//! The same settings and numbers give the logits of transformers' `BertFor…`: `tools/check_bert.py`.

use std::ops::Range;

use pupil_tensor::kernels::attention::{Options, Shape};
use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{
    Activation, CrossEntropy, DType, Graph, Indices, Loss, Norm, ParameterId, Parameters, Role, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::Model;
use crate::batch::Batch;

/// No size is larger, so that a parameter count cannot overflow.
const MOST: usize = 1 << 20;

/// The settings of a BERT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Kinds of parts that a sequence has: 2, the first and the second.
    pub kinds: usize,
    /// Layers, L.
    pub layers: usize,
    /// Width, D.
    pub width: usize,
    /// Heads, H; divide D.
    pub heads: usize,
    /// Width inside the position-wise network, F.
    pub hidden: usize,
    /// Added to the variance before its root.
    pub norm_eps: f32,
    /// Share of activations dropped in training.
    pub dropout: f32,
    /// What it says.
    pub head: Head,
}

/// What a BERT says of what it has read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Nothing: it gives vectors.
    None {
        /// Whether there is one for the whole sequence, beside those of the tokens.
        pooled: bool,
    },
    /// The hidden words, and whether the second part follows the first: 0 if it does, 1 if it does not.
    Pretraining,
    /// The hidden words.
    Masked,
    /// Which of these each sequence is.
    Sequence(Vec<String>),
    /// Which of these each token is.
    Token(Vec<String>),
}

impl Head {
    /// Whether the first token's state is made a vector of the whole sequence.
    fn is_pooled(&self) -> bool {
        matches!(self, Head::None { pooled: true } | Head::Pretraining | Head::Sequence(_))
    }

    /// What it tells apart, of heads that were fine-tuned.
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            Head::Sequence(labels) | Head::Token(labels) => Some(labels),
            _ => None,
        }
    }
}

/// A linear map with its bias.
struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

/// LayerNorm's gain and bias.
struct NormWeights {
    gain: ParameterId,
    bias: ParameterId,
}

/// The parameters of one layer.
struct Layer {
    /// `[3D, D]`: queries, keys, values.
    qkv: Linear,
    /// `[D, D]`.
    proj: Linear,
    attention_norm: NormWeights,
    /// `[F, D]`.
    up: Linear,
    /// `[D, F]`.
    down: Linear,
    norm: NormWeights,
}

/// Names hidden words: `decode(norm(gelu(w·x)))`, the decoder being the token table.
struct MaskedHead {
    transform: Linear,
    norm: NormWeights,
    /// `[1, V]`.
    bias: ParameterId,
}

/// A BERT with its parameters.
pub struct Bert {
    /// Its settings.
    pub config: Config,
    parameters: Parameters,
    tokens: ParameterId,
    positions: ParameterId,
    kinds: ParameterId,
    norm: NormWeights,
    layers: Vec<Layer>,
    pooler: Option<Linear>,
    masked: Option<MaskedHead>,
    /// `[2, D]`.
    next_sentence: Option<Linear>,
    /// `[labels, D]`.
    classifier: Option<Linear>,
}

impl Bert {
    /// A BERT whose parameters are all zero, to be loaded or initialised.
    ///
    /// # Panics
    /// If the settings contradict each other: see [`Config::check`].
    pub fn zeros(config: Config) -> Bert {
        if let Err(e) = config.check() {
            panic!("{e}");
        }
        let (c, mut p) = (&config, Parameters::new());
        let linear = |p: &mut Parameters, name: &str, rows: usize, cols: usize| Linear {
            weight: p.add(format!("{name}.weight"), [rows, cols], Role::Matrix),
            bias: p.add(format!("{name}.bias"), [1, rows], Role::Vector),
        };
        let norm = |p: &mut Parameters, name: &str| NormWeights {
            gain: p.add(format!("{name}.weight"), [1, c.width], Role::Vector),
            bias: p.add(format!("{name}.bias"), [1, c.width], Role::Vector),
        };
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let positions = p.add("pos.weight", [c.context, c.width], Role::Embedding);
        let kinds = p.add("kind.weight", [c.kinds, c.width], Role::Embedding);
        let embedding_norm = norm(&mut p, "norm");
        let layers = (0..c.layers).map(|i| {
            let at = |part: &str| format!("blocks.{i}.{part}");
            Layer {
                qkv: linear(&mut p, &at("qkv"), 3 * c.width, c.width),
                proj: linear(&mut p, &at("proj"), c.width, c.width),
                attention_norm: norm(&mut p, &at("n1")),
                up: linear(&mut p, &at("up"), c.hidden, c.width),
                down: linear(&mut p, &at("down"), c.width, c.hidden),
                norm: norm(&mut p, &at("n2")),
            }
        });
        let layers = layers.collect();
        let pooler = c.head.is_pooled().then(|| linear(&mut p, "pooler", c.width, c.width));
        let masked = matches!(c.head, Head::Pretraining | Head::Masked).then(|| MaskedHead {
            transform: linear(&mut p, "masked.transform", c.width, c.width),
            norm: norm(&mut p, "masked.norm"),
            bias: p.add("masked.bias", [1, c.vocab], Role::Vector),
        });
        let next_sentence =
            matches!(c.head, Head::Pretraining).then(|| linear(&mut p, "next_sentence", 2, c.width));
        let classifier = c.head.labels().map(|l| linear(&mut p, "classifier", l.len(), c.width));
        Bert {
            parameters: p,
            tokens,
            positions,
            kinds,
            norm: embedding_norm,
            layers,
            pooler,
            masked,
            next_sentence,
            classifier,
            config,
        }
    }

    /// A fresh BERT: weights normal with deviation 0.02, gains 1, biases 0.
    pub fn new(config: Config, seed: u64) -> Bert {
        let mut bert = Bert::zeros(config);
        let ids: Vec<ParameterId> = bert.parameters.iter().map(|(id, _)| id).collect();
        for id in ids {
            let p = bert.parameters.get(id);
            let (role, is_gain) = (p.role, p.name.ends_with(".weight"));
            let data = bert.parameters.data_mut(id);
            match role {
                Role::Vector => data.fill(if is_gain { 1.0 } else { 0.0 }),
                Role::Matrix | Role::Embedding => {
                    let key = Key { seed, stream: id.index() as u64, step: 0 };
                    random::normal(key, 0.0, 0.02, data);
                }
            }
        }
        bert
    }

    /// The same encoder under another head: what both have is kept, the rest is fresh. How fine-tuning begins.
    ///
    /// # Panics
    /// If the head makes no sense: see [`Config::check`].
    pub fn with_head(&self, head: Head, seed: u64) -> Bert {
        let mut bert = Bert::new(Config { head, ..self.config.clone() }, seed);
        let kept: Vec<_> = bert.parameters.iter().map(|(id, p)| (id, p.name.clone(), p.shape)).collect();
        for (id, name, shape) in kept {
            // A classifier's rows have meanings of their own, even where there are as many.
            let is_same = self.config.head == bert.config.head || !name.starts_with("classifier");
            let Some(own) = self.parameters.find(&name).filter(|_| is_same) else { continue };
            let own = self.parameters.get(own);
            assert_eq!(own.shape, shape, "`{name}` has another shape under another head");
            bert.parameters.data_mut(id).copy_from_slice(own.data());
        }
        bert
    }

    /// The tokens' states after the last layer, `[T, D]`, f32.
    ///
    /// # Panics
    /// If an id, a kind or a position is beyond its table.
    pub fn forward(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let mut x = g.embedding(self.tokens, &batch.ids, 1.0);
        x = g.add_embedding(x, self.positions, &batch.positions);
        x = match batch.kinds.len() {
            0 => g.add_embedding(x, self.kinds, &Indices::new(&vec![0; batch.tokens()])),
            _ => g.add_embedding(x, self.kinds, &batch.kinds),
        };
        x = self.normalise(g, &x, &self.norm);
        x = g.dropout(x, self.config.dropout);
        for layer in &self.layers {
            x = self.layer(g, layer, x, batch);
        }
        x
    }

    fn layer(&self, g: &mut Graph<'_>, l: &Layer, x: Tensor, batch: &Batch) -> Tensor {
        let c = &self.config;
        let width = c.width / c.heads;
        let shape = Shape { heads: c.heads, kv_heads: c.heads, width };
        let options =
            Options { causal: false, window: None, scale: 1.0 / (width as f32).sqrt(), softcap: None };
        let qkv = g.linear(&x, l.qkv.weight, Some(l.qkv.bias));
        let a = g.attention(&qkv, &batch.spans, shape, options);
        let x = self.join(g, &a, &l.proj, x, &l.attention_norm);
        let u = g.linear(&x, l.up.weight, Some(l.up.bias));
        let u = g.activation(&u, Activation::Gelu);
        self.join(g, &u, &l.down, x, &l.norm)
    }

    /// Ends a branch: `norm(x + dropout(w·a + b))`.
    fn join(&self, g: &mut Graph<'_>, a: &Tensor, w: &Linear, x: Tensor, norm: &NormWeights) -> Tensor {
        let x = if self.config.dropout > 0.0 && g.is_training() {
            let y = g.linear(a, w.weight, Some(w.bias));
            let y = g.dropout(y, self.config.dropout);
            g.add(&x, &y)
        } else {
            g.linear_residual(a, w.weight, Some(w.bias), &x)
        };
        self.normalise(g, &x, norm)
    }

    fn normalise(&self, g: &mut Graph<'_>, x: &Tensor, w: &NormWeights) -> Tensor {
        g.norm(x, Norm::Layer { eps: self.config.norm_eps }, w.gain, Some(w.bias), DType::F32)
    }

    /// Vectors of whole sequences from the states of their first tokens, `tanh(w·x + b)`, `[S, D]`; `None` without a pooler.
    pub fn pooled(&self, g: &mut Graph<'_>, firsts: &Tensor) -> Option<Tensor> {
        let w = self.pooler.as_ref()?;
        let x = g.linear_f32(firsts, w.weight, Some(w.bias));
        Some(g.activation(&x, Activation::Tanh))
    }

    /// The states from which the decoder names hidden words, `[rows, D]`.
    fn transformed(&self, g: &mut Graph<'_>, head: &MaskedHead, states: &Tensor) -> Tensor {
        let x = g.linear(states, head.transform.weight, Some(head.transform.bias));
        let x = g.activation(&x, Activation::Gelu);
        self.normalise(g, &x, &head.norm)
    }

    /// Scores of every id at the given rows of states, `[rows, V]`, f32; `None` if it names no words.
    pub fn word_scores(&self, g: &mut Graph<'_>, states: &Tensor) -> Option<Tensor> {
        let head = self.masked.as_ref()?;
        let x = self.transformed(g, head, states);
        Some(g.linear_f32(&x, self.tokens, Some(head.bias)))
    }

    /// Scores that the second part follows the first, and that it does not, from pooled vectors, `[S, 2]`; `None` if it was not taught.
    pub fn next_sentence_scores(&self, g: &mut Graph<'_>, pooled: &Tensor) -> Option<Tensor> {
        let w = self.next_sentence.as_ref()?;
        Some(g.linear_f32(pooled, w.weight, Some(w.bias)))
    }

    /// Scores of the labels, from pooled vectors of sequences or from the states of tokens, `[rows, labels]`; `None` without labels.
    pub fn label_scores(&self, g: &mut Graph<'_>, x: &Tensor) -> Option<Tensor> {
        let w = self.classifier.as_ref()?;
        Some(g.linear_f32(x, w.weight, Some(w.bias)))
    }

    /// The loss of a linear head on its rows.
    fn linear_loss(&self, g: &mut Graph<'_>, x: &Tensor, w: &Linear, said: &Said, scale: f32) -> Loss {
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(w.bias) };
        g.cross_entropy(x, w.weight, &said.targets, &said.weights, options)
    }
}

/// What is to be said, and where.
struct Said {
    rows: Vec<usize>,
    targets: Indices,
    weights: Tensor,
}

impl Said {
    /// The targets of a batch that count, of the sequences' first places or of the others.
    fn of(batch: &Batch, wanted: impl Fn(usize) -> bool) -> Said {
        let weights = batch.weights.f32s();
        let rows: Vec<usize> = (0..batch.tokens()).filter(|&i| weights[i] != 0.0 && wanted(i)).collect();
        let targets: Vec<u32> = rows.iter().map(|&i| batch.targets[i]).collect();
        let weights: Vec<f32> = rows.iter().map(|&i| weights[i]).collect();
        Said {
            targets: Indices::new(&targets),
            weights: Tensor::from_f32(&weights, rows.len(), 1, DType::F32),
            rows,
        }
    }
}

impl Model for Bert {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// Nothing is learned without a head.
    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let mut firsts = vec![false; batch.tokens()];
        batch.spans.iter().filter(|s| !s.queries.is_empty()).for_each(|s| firsts[s.queries.start] = true);
        let states = self.forward(g, batch);
        let mut loss = Loss::default();
        if let Some(head) = &self.masked {
            let said = Said::of(batch, |i| !firsts[i]);
            if !said.rows.is_empty() {
                let x = g.rows(&states, &said.rows);
                let x = self.transformed(g, head, &x);
                let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(head.bias) };
                loss += g.cross_entropy(&x, self.tokens, &said.targets, &said.weights, options);
            }
        }
        let of_sequence = self.next_sentence.as_ref().or(self.classifier.as_ref()).zip(self.pooler.as_ref());
        if let Some((head, _)) = of_sequence {
            let said = Said::of(batch, |i| firsts[i]);
            let x = g.rows(&states, &said.rows);
            if let Some(x) = self.pooled(g, &x).filter(|_| !said.rows.is_empty()) {
                let x = g.dropout(x, self.config.dropout);
                loss += self.linear_loss(g, &x, head, &said, scale);
            }
        } else if let Some(head) = &self.classifier {
            let said = Said::of(batch, |_| true);
            if !said.rows.is_empty() {
                let x = g.rows(&states, &said.rows);
                let x = g.dropout(x, self.config.dropout);
                loss += self.linear_loss(g, &x, head, &said, scale);
            }
        }
        loss
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, special tokens included.
    #[default]
    Mean,
    /// That of the first token, `[CLS]`.
    First,
    /// The largest of each component.
    Max,
}

/// How texts become vectors (Reimers & Gurevych 2019).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Embedding {
    /// How the tokens' vectors become one.
    pub pooling: Pooling,
    /// Whether it is scaled to length 1.
    pub normalised: bool,
    /// Most tokens of a text, special ones included; the rest is not read.
    pub most: Option<usize>,
}

impl Config {
    /// The paper's base model, pretraining heads included: 12 layers of 768, 12 heads, 30,522 ids.
    pub fn base() -> Config {
        Config {
            vocab: 30_522,
            context: 512,
            kinds: 2,
            layers: 12,
            width: 768,
            heads: 12,
            hidden: 3072,
            norm_eps: 1e-12,
            dropout: 0.1,
            head: Head::Pretraining,
        }
    }

    /// Says what contradicts itself, with both numbers.
    ///
    /// # Errors
    /// Names the settings.
    pub fn check(&self) -> Result<(), String> {
        let c = self;
        let sizes = [c.vocab, c.context, c.kinds, c.width, c.heads, c.hidden, c.layers.max(1)];
        if sizes.iter().any(|s| !(1..=MOST).contains(s)) {
            return Err(format!("settings of a BERT: {c:?}: sizes are at least 1 and at most {MOST}"));
        }
        if !c.width.is_multiple_of(c.heads) || c.width / c.heads > 256 {
            return Err(format!(
                "settings of a BERT: width {} is not {} heads of at most 256",
                c.width, c.heads
            ));
        }
        if !(0.0..1.0).contains(&c.dropout) {
            return Err(format!("settings of a BERT: dropout {} is not in [0, 1)", c.dropout));
        }
        if c.head.labels().is_some_and(|l| l.len() < 2) {
            return Err(format!(
                "settings of a BERT: {:?}: at least two labels are to be told apart",
                c.head
            ));
        }
        Ok(())
    }

    /// Most tokens of a text, beside `[CLS]` and `[SEP]`.
    pub fn room(&self) -> usize {
        self.context.saturating_sub(2)
    }

    /// Cuts a text's ids to its room and says whether that was needed. The first quarter and the end stay: what a text is about stands at
    /// its beginning, what is thought of it at its end (Sun et al. 2019).
    pub fn fit(&self, ids: &mut Vec<u32>) -> bool {
        let room = self.room();
        let too_many = ids.len().saturating_sub(room);
        if too_many > 0 {
            ids.drain(room / 4..room / 4 + too_many);
        }
        too_many > 0
    }

    /// Cuts a sentence of words, each some ids, into as few runs as have room.
    pub fn runs(&self, words: &[Vec<u32>]) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut filled = usize::MAX;
        for (i, word) in words.iter().enumerate() {
            filled = filled.saturating_add(word.len());
            match runs.last_mut() {
                Some(run) if filled <= self.room() => run.end += 1,
                _ => {
                    runs.push(i..i + 1);
                    filled = word.len();
                }
            }
        }
        runs
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        let n = |x: usize| x as u64;
        let linear = |rows: usize, cols: usize| n(rows) * n(cols) + n(rows);
        let (c, d) = (self, self.width);
        let norm = 2 * n(d);
        let layer = linear(3 * d, d) + linear(d, d) + linear(c.hidden, d) + linear(d, c.hidden) + 2 * norm;
        let tables = n(c.vocab + c.context + c.kinds) * n(d) + norm;
        let pooler = if c.head.is_pooled() { linear(d, d) } else { 0 };
        let head = match &c.head {
            Head::None { .. } => 0,
            Head::Pretraining => linear(d, d) + norm + n(c.vocab) + linear(2, d),
            Head::Masked => linear(d, d) + norm + n(c.vocab),
            Head::Sequence(labels) | Head::Token(labels) => linear(labels.len(), d),
        };
        tables + n(c.layers) * layer + pooler + head
    }

    /// Bytes of activations that a training step of `tokens` tokens holds at its peak, operands having `operand` bytes each.
    pub fn activation_bytes(&self, tokens: usize, operand: usize) -> usize {
        let (d, f) = (self.width, self.hidden);
        // Of each layer: both norms' inputs and results, projection, attention's result and sums, the network's two halves, and what
        // dropout gave.
        let dropped = if self.dropout > 0.0 { 2 * operand * d } else { 0 };
        let layer = 16 * d + operand * (4 * d + 2 * f) + 4 * self.heads + dropped;
        let words =
            if matches!(self.head, Head::Pretraining | Head::Masked) { tokens.div_ceil(6) } else { 0 };
        let logits =
            ((4 << 20) / self.vocab).clamp(64, words.max(64)).min(words) * self.vocab * (4 + operand);
        tokens * (self.layers * layer + 12 * d) + logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(head: Head) -> Config {
        Config {
            vocab: 60,
            context: 32,
            kinds: 2,
            layers: 2,
            width: 24,
            heads: 3,
            hidden: 40,
            norm_eps: 1e-12,
            dropout: 0.0,
            head,
        }
    }

    fn heads() -> [Head; 6] {
        let labels = || ["a", "b", "c"].map(str::to_owned).to_vec();
        [
            Head::None { pooled: false },
            Head::None { pooled: true },
            Head::Pretraining,
            Head::Masked,
            Head::Sequence(labels()),
            Head::Token(labels()),
        ]
    }

    #[test]
    fn parameters_are_counted_and_those_of_the_paper() {
        for head in heads() {
            let bert = Bert::zeros(small(head));
            assert_eq!(bert.parameters.count() as u64, bert.config.parameter_count());
        }
        // transformers' BertModel and BertForPreTraining of bert-base-uncased.
        let model = Config { head: Head::None { pooled: true }, ..Config::base() };
        assert_eq!((model.parameter_count(), Config::base().parameter_count()), (109_482_240, 110_106_428));
    }

    #[test]
    fn a_token_sees_both_ways_and_no_other_sequence() {
        let bert = Bert::new(small(Head::None { pooled: true }), 5);
        let states = |ids: &[u32], spans: &[std::ops::Range<usize>]| {
            let mut g = Graph::inference(&bert.parameters, DType::F32);
            bert.forward(&mut g, &Batch::reading(ids, spans)).to_vec()
        };
        let whole = 0..3;
        let alone = states(&[5, 6, 7], std::slice::from_ref(&whole));
        let beside = states(&[1, 2, 5, 6, 7, 9], &[0..2, 2..5, 5..6]);
        assert!(alone == beside[2 * 24..5 * 24]);
        let other = states(&[5, 6, 8], std::slice::from_ref(&whole));
        assert!(alone[..24] != other[..24], "the first token does not see the last");
    }

    #[test]
    fn kinds_of_parts_matter_and_are_zero_if_none_is_named() {
        let bert = Bert::new(small(Head::Pretraining), 5);
        let states = |kinds: &[u32]| {
            let whole = 0..4;
            let mut batch = Batch::reading(&[3, 4, 5, 6], std::slice::from_ref(&whole));
            batch.set_kinds(kinds);
            let mut g = Graph::inference(&bert.parameters, DType::F32);
            bert.forward(&mut g, &batch).to_vec()
        };
        assert_eq!(states(&[]), states(&[0, 0, 0, 0]));
        assert_ne!(states(&[0, 0, 1, 1]), states(&[0, 0, 0, 0]));
    }

    #[test]
    fn only_what_counts_is_lost_and_an_untrained_loss_is_the_logarithm_of_what_may_be_said() {
        let ids: Vec<u32> = (0..30).map(|i| i * 7 % 60).collect();
        let targets = vec![1; 30];
        let spans = [0..12, 12..30];
        let loss = |head: Head, weights: &[f32]| {
            let bert = Bert::new(small(head), 3);
            let mut g = Graph::inference(&bert.parameters, DType::F32);
            bert.loss(&mut g, &Batch::new(&ids, &targets, weights, &spans), 1.0)
        };
        let weights = |places: &[usize]| -> Vec<f32> {
            (0..30).map(|i| f32::from(u8::from(places.contains(&i)))).collect()
        };
        let near = |loss: Loss, weight: f64, n: f64| {
            assert_eq!(loss.weight, weight);
            assert!((loss.mean() - n.ln()).abs() < 0.1, "{loss:?}, not ln {n}");
        };
        near(loss(Head::Pretraining, &weights(&[3, 9, 20])), 3.0, 60.0);
        near(loss(Head::Masked, &weights(&[0, 3, 9, 20])), 3.0, 60.0);
        near(loss(Head::Pretraining, &weights(&[0, 12])), 2.0, 2.0);
        near(loss(heads()[4].clone(), &weights(&[0, 12, 13])), 2.0, 3.0);
        near(loss(heads()[5].clone(), &weights(&[0, 12, 13])), 3.0, 3.0);
        assert_eq!(loss(Head::Pretraining, &weights(&[])), Loss::default());
    }

    #[test]
    fn another_head_keeps_the_encoder() {
        let bert = Bert::new(small(Head::Pretraining), 3);
        let tuned = bert.with_head(heads()[4].clone(), 4);
        for (id, p) in tuned.parameters.iter() {
            let Some(own) = bert.parameters.find(&p.name) else {
                assert!(p.name.starts_with("classifier"), "{}", p.name);
                continue;
            };
            assert_eq!(bert.parameters.get(own).data(), tuned.parameters.get(id).data(), "{}", p.name);
        }
    }

    #[test]
    fn texts_are_cut_to_the_room_there_is() {
        let c = Config { context: 10, ..small(Head::Masked) };
        let cut = |n: u32| {
            let mut ids: Vec<u32> = (0..n).collect();
            (c.fit(&mut ids), ids)
        };
        assert_eq!(cut(1), (false, vec![0]));
        assert_eq!(cut(8), (false, (0..8).collect()));
        assert_eq!(cut(20), (true, vec![0, 1, 14, 15, 16, 17, 18, 19]));
        let words: Vec<Vec<u32>> = [3, 5, 1, 9, 2].map(|n| vec![7; n]).to_vec();
        assert_eq!(c.runs(&words), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(c.runs(&[]), []);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let check = |c: Config, words: &str| assert!(c.check().unwrap_err().contains(words));
        check(Config { heads: 5, ..small(Head::Masked) }, "width 24 is not 5 heads");
        check(Config { kinds: 0, ..small(Head::Masked) }, "kinds: 0");
        check(Config { hidden: usize::MAX, ..small(Head::Masked) }, "at most");
        check(small(Head::Token(vec!["one".into()])), "at least two labels");
    }
}
