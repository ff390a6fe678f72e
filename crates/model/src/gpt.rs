//! GPT: a stack of causal self-attention and position-wise networks that predicts the next token.
//!
//! Differs from the first paper in what the settings say: where norms stand and of which kind, how positions enter, the
//! network's activation, biases, grouped queries, windows, soft caps. GPT-1/2/3, Llama, Mistral, Qwen, SmolLM and
//! Gemma are settings of it ([`crate::families`]).
//!
//! References: Radford et al. 2018 and 2019; Vaswani et al. 2017; Touvron et al. 2023 (RMSNorm, rotary positions, SwiGLU); Ainslie et
//! al. 2023 (grouped queries); Gemma Team 2024 (soft caps, sandwich norms).

use std::rc::Rc;

use pupil_tensor::kernels::attention::{Options, Shape};
use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::kernels::rope::{Pairing, RopeScaling, RopeTable};
use pupil_tensor::{
    Activation, CrossEntropy, DType, Graph, Indices, Loss, Norm, ParameterId, Parameters, Role, Tensor,
};
use serde::{Deserialize, Serialize};

use crate::aim::Aim;
use crate::batch::Batch;
use crate::cache::KvCache;
use crate::lora::{Adapted, Adapter, Place};
use crate::{Model, batch::Span};

/// The settings of a GPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Token ids, V.
    pub vocab: usize,
    /// Most tokens that it was made to see at once.
    pub context: usize,
    /// Blocks, L.
    pub layers: usize,
    /// Width of the residual stream, D.
    pub width: usize,
    /// Query heads, H.
    pub heads: usize,
    /// Key-value heads, K; divides H.
    pub kv_heads: usize,
    /// Width of a head, E; usually D / H.
    pub head_width: usize,
    /// Width inside the position-wise network, F.
    pub hidden: usize,
    /// Kind of normalisation.
    pub norm: NormKind,
    /// Added to the variance before its root.
    pub norm_eps: f32,
    /// Where the norms stand.
    pub norm_place: NormPlace,
    /// How positions enter.
    pub positions: Positions,
    /// The position-wise network.
    pub mlp: Mlp,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// Biases of the other projections.
    pub bias: bool,
    /// The output layer is the token table.
    pub tied: bool,
    /// Queries and keys of each head are normalised (Qwen 3, Gemma 3).
    pub qk_norm: bool,
    /// A token sees at most this many tokens, itself included, in the layers that have a window.
    pub window: Option<usize>,
    /// One layer in this many sees everything although there is a window; 0: none.
    pub full_every: usize,
    /// Scores are `cap · tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// Logits are `cap · tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// Factor of the scores; `None`: 1/√E.
    pub attention_scale: Option<f32>,
    /// Token vectors are multiplied by √D (Gemma).
    pub scaled_embedding: bool,
    /// Share of activations dropped in training.
    pub dropout: f32,
}

/// Kind of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormKind {
    /// LayerNorm with a gain.
    Layer,
    /// LayerNorm with gain and bias.
    LayerBias,
    /// RMSNorm.
    Rms,
    /// RMSNorm that multiplies by 1 + gain (Gemma).
    RmsPlusOne,
}

/// Where the norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormPlace {
    /// Before each branch and at the end: `x + f(norm(x))`.
    Pre,
    /// After each addition: `norm(x + f(x))` (GPT-1).
    Post,
    /// Around each branch and at the end: `x + norm(f(norm(x)))` (Gemma 2 and 3).
    Sandwich,
}

/// How positions enter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Positions {
    /// A learned vector is added for each position.
    Learned,
    /// Queries and keys are rotated.
    Rotary {
        /// Base of the wavelengths.
        theta: f64,
        /// Base in the layers that have a window, where it differs (Gemma 3).
        local_theta: Option<f64>,
        /// Columns of each head that are rotated, at most E.
        width: usize,
        /// Which columns form a pair.
        pairing: Pairing,
        /// How a longer context is reached.
        scaling: RopeScaling,
    },
}

/// The position-wise network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mlp {
    /// `down(gelu(up x))`, exact.
    Gelu,
    /// The same with the tanh form of GELU (GPT-2).
    GeluTanh,
    /// `down(relu(up x))`.
    Relu,
    /// `down(relu(up x)²)`.
    Relu2,
    /// `down(silu(gate x) ∘ up x)`.
    SwiGlu,
    /// `down(gelu_tanh(gate x) ∘ up x)` (Gemma).
    GeGlu,
}

impl Mlp {
    fn activation(self) -> Activation {
        match self {
            Mlp::Gelu => Activation::Gelu,
            Mlp::GeluTanh => Activation::GeluTanh,
            Mlp::Relu => Activation::Relu,
            Mlp::Relu2 => Activation::Relu2,
            Mlp::SwiGlu => Activation::SwiGlu,
            Mlp::GeGlu => Activation::GeGlu,
        }
    }

    /// Whether the first projection gives a gate beside the values.
    pub fn is_gated(self) -> bool {
        matches!(self, Mlp::SwiGlu | Mlp::GeGlu)
    }
}

/// A gain, perhaps with a bias.
struct NormWeights {
    gain: ParameterId,
    bias: Option<ParameterId>,
}

/// A linear map, perhaps with a bias and adapters.
pub(crate) struct Linear {
    pub(crate) weight: ParameterId,
    bias: Option<ParameterId>,
    pub(crate) adapters: Vec<Adapter>,
}

/// The parameters of one block.
pub(crate) struct Block {
    attention_norm: NormWeights,
    /// `[(H + 2K)·E, D]`: queries, keys, values.
    pub(crate) qkv: Linear,
    query_norm: Option<ParameterId>,
    key_norm: Option<ParameterId>,
    /// `[D, H·E]`.
    pub(crate) proj: Linear,
    attention_post_norm: Option<NormWeights>,
    mlp_norm: NormWeights,
    /// `[F, D]`, or gate then values `[2F, D]`.
    pub(crate) up: Linear,
    /// `[D, F]`.
    pub(crate) down: Linear,
    mlp_post_norm: Option<NormWeights>,
    /// Most tokens a token sees in this layer.
    window: Option<usize>,
}

impl Block {
    /// One of its four matrices.
    pub(crate) fn linear_mut(&mut self, place: Place) -> &mut Linear {
        match place {
            Place::Qkv => &mut self.qkv,
            Place::Proj => &mut self.proj,
            Place::Up => &mut self.up,
            Place::Down => &mut self.down,
        }
    }
}

/// A GPT with its parameters.
pub struct Gpt {
    /// Its settings.
    pub config: Config,
    pub(crate) parameters: Parameters,
    tokens: ParameterId,
    positions: Option<ParameterId>,
    pub(crate) blocks: Vec<Block>,
    norm: Option<NormWeights>,
    head: ParameterId,
    rope: Option<[Rc<RopeTable>; 2]>,
    /// What lies beside its matrices, if anything does.
    pub(crate) adapted: Option<Adapted>,
}

impl Gpt {
    /// A GPT whose parameters are all zero, to be loaded or initialised.
    ///
    /// # Panics
    /// If the settings contradict each other: see [`Config::check`].
    pub fn zeros(config: Config) -> Gpt {
        if let Err(e) = config.check() {
            panic!("{e}");
        }
        let c = &config;
        let mut p = Parameters::new();
        let norm = |p: &mut Parameters, name: String| NormWeights {
            gain: p.add(format!("{name}.weight"), [1, c.width], Role::Vector),
            bias: (c.norm == NormKind::LayerBias)
                .then(|| p.add(format!("{name}.bias"), [1, c.width], Role::Vector)),
        };
        let linear = |p: &mut Parameters, name: String, out: usize, cols: usize, bias: bool| Linear {
            weight: p.add(format!("{name}.weight"), [out, cols], Role::Matrix),
            bias: bias.then(|| p.add(format!("{name}.bias"), [1, out], Role::Vector)),
            adapters: Vec::new(),
        };
        let tokens = p.add("tok.weight", [c.vocab, c.width], Role::Embedding);
        let positions = (c.positions == Positions::Learned)
            .then(|| p.add("pos.weight", [c.context, c.width], Role::Embedding));
        let (q, kv) = (c.heads * c.head_width, c.kv_heads * c.head_width);
        let sandwich = c.norm_place == NormPlace::Sandwich;
        let blocks = (0..c.layers).map(|i| {
            let at = |part: &str| format!("blocks.{i}.{part}");
            let head_norm = |p: &mut Parameters, part: &str| {
                c.qk_norm.then(|| p.add(format!("{}.weight", at(part)), [1, c.head_width], Role::Vector))
            };
            Block {
                attention_norm: norm(&mut p, at("n1")),
                qkv: linear(&mut p, at("qkv"), q + 2 * kv, c.width, c.qkv_bias),
                query_norm: head_norm(&mut p, "q_norm"),
                key_norm: head_norm(&mut p, "k_norm"),
                proj: linear(&mut p, at("proj"), c.width, q, c.bias),
                attention_post_norm: sandwich.then(|| norm(&mut p, at("n1_post"))),
                mlp_norm: norm(&mut p, at("n2")),
                up: linear(&mut p, at("up"), c.hidden * (1 + usize::from(c.mlp.is_gated())), c.width, c.bias),
                down: linear(&mut p, at("down"), c.width, c.hidden, c.bias),
                mlp_post_norm: sandwich.then(|| norm(&mut p, at("n2_post"))),
                window: c.window.filter(|_| c.full_every == 0 || (i + 1) % c.full_every != 0),
            }
        });
        let blocks = blocks.collect();
        let final_norm = (c.norm_place != NormPlace::Post).then(|| norm(&mut p, "norm".into()));
        let head = if c.tied { tokens } else { p.add("head.weight", [c.vocab, c.width], Role::Embedding) };
        let rope = match c.positions {
            Positions::Learned => None,
            Positions::Rotary { theta, local_theta, width, scaling, .. } => Some([
                Rc::new(RopeTable::new(c.context, width, theta, scaling)),
                Rc::new(match local_theta {
                    Some(local) => RopeTable::new(c.context, width, local, RopeScaling::None),
                    None => RopeTable::new(c.context, width, theta, scaling),
                }),
            ]),
        };
        Gpt { parameters: p, tokens, positions, blocks, norm: final_norm, head, rope, adapted: None, config }
    }

    /// A fresh GPT: weights normal with deviation 0.02, those that end a residual branch 0.02/√(2L), gains 1, biases 0.
    pub fn new(config: Config, seed: u64) -> Gpt {
        let deep = 0.02 / (2.0 * config.layers as f32).sqrt();
        let gain = if config.norm == NormKind::RmsPlusOne { 0.0 } else { 1.0 };
        let mut gpt = Gpt::zeros(config);
        let ids: Vec<ParameterId> = gpt.parameters.iter().map(|(id, _)| id).collect();
        for id in ids {
            let p = gpt.parameters.get(id);
            let (role, is_gain) = (p.role, p.name.ends_with(".weight"));
            let ends_branch = p.name.ends_with("proj.weight") || p.name.ends_with("down.weight");
            let data = gpt.parameters.data_mut(id);
            match role {
                Role::Vector => data.fill(if is_gain { gain } else { 0.0 }),
                Role::Matrix | Role::Embedding => {
                    let key = Key { seed, stream: id.index() as u64, step: 0 };
                    random::normal(key, 0.0, if ends_branch { deep } else { 0.02 }, data);
                }
            }
        }
        gpt
    }

    /// The hidden states of a batch after the last norm, `[T, D]`.
    ///
    /// With a cache, span `i` of the batch continues sequence `i` of the cache; its keys and values are appended, and the caller
    /// advances the cache.
    pub fn forward(&self, g: &mut Graph<'_>, batch: &Batch, mut cache: Option<&mut KvCache>) -> Tensor {
        let placed = cache.as_ref().map(|cache| cache.spans(&batch.spans));
        let mut x = self.embed(g, batch);
        for (i, block) in self.blocks.iter().enumerate() {
            let past = cache.as_deref_mut().zip(placed.as_deref()).map(|(c, s)| Past {
                cache: c,
                layer: i,
                spans: s,
            });
            x = self.block(g, block, x, batch, past);
        }
        match &self.norm {
            Some(norm) => self.normalise(g, &x, norm, g.dtype),
            None => x,
        }
    }

    /// Scores of every next token for the given rows of hidden states, `[rows, V]`, f32.
    pub fn logits(&self, g: &mut Graph<'_>, hidden: &Tensor) -> Tensor {
        let logits = g.logits(hidden, self.head);
        match self.config.logit_softcap {
            Some(cap) => logits.softcapped(cap),
            None => logits,
        }
    }

    /// The log-probability of each learned target, in order.
    pub fn log_probabilities(&self, g: &mut Graph<'_>, batch: &Batch) -> Vec<f32> {
        let hidden = self.forward(g, batch, None);
        let learned = batch.learned();
        let targets: Vec<u32> = learned.iter().map(|&t| batch.targets[t]).collect();
        let hidden = hidden.select_rows(&learned);
        g.log_probabilities(&hidden, self.head, &Indices::new(&targets), self.config.logit_softcap).to_vec()
    }

    /// The loss of judged replies: their log-probabilities first, then, with a tape, a cross-entropy that pulls each of them along the loss's
    /// derivative.
    fn aimed_loss(&self, g: &mut Graph<'_>, batch: &Batch, aim: &Aim, scale: f32) -> Loss {
        let softcap = self.config.logit_softcap;
        let hidden = self.forward(g, batch, None);
        let learned = batch.learned();
        let targets: Vec<u32> = learned.iter().map(|&t| batch.targets[t]).collect();
        let targets = Indices::new(&targets);
        let hidden = g.rows(&hidden, &learned);
        let logs = g.log_probabilities(&hidden, self.head, &targets, softcap);
        let place = |t: usize| learned.partition_point(|&l| l < t);
        let replies: Vec<_> =
            batch.spans.iter().map(|s| place(s.queries.start)..place(s.queries.end)).collect();
        let (loss, mut weights) = aim.judge(logs.f32s(), &replies);
        if g.is_training() {
            weights.iter_mut().for_each(|w| *w = -*w);
            let weights = Tensor::from_f32(&weights, learned.len(), 1, DType::F32);
            let options = CrossEntropy { scale, softcap, smoothing: 0.0, bias: None };
            g.cross_entropy(&hidden, self.head, &targets, &weights, options);
        }
        loss
    }

    /// An empty cache for this model.
    pub fn cache(&self, sequences: usize, capacity: usize, dtype: DType) -> KvCache {
        let c = &self.config;
        KvCache::new(c.layers, c.kv_heads * c.head_width, sequences, capacity, dtype)
    }

    /// Token vectors, with position vectors where positions are learned: `[T, D]`.
    fn embed(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let c = &self.config;
        let scale = if c.scaled_embedding { (c.width as f32).sqrt() } else { 1.0 };
        let x = g.embedding(self.tokens, &batch.ids, scale);
        let x = match self.positions {
            Some(table) => g.add_embedding(x, table, &batch.positions),
            None => x,
        };
        g.dropout(x, c.dropout)
    }

    fn block(
        &self,
        g: &mut Graph<'_>,
        b: &Block,
        x: Tensor,
        batch: &Batch,
        past: Option<Past<'_>>,
    ) -> Tensor {
        let dtype = g.dtype;
        match self.config.norm_place {
            NormPlace::Pre => {
                let h = self.normalise(g, &x, &b.attention_norm, dtype);
                let a = self.attention(g, b, &h, batch, past);
                let x = self.join(g, &a, &b.proj, x);
                let h = self.normalise(g, &x, &b.mlp_norm, dtype);
                let u = self.up(g, b, &h);
                self.join(g, &u, &b.down, x)
            }
            NormPlace::Post => {
                let a = self.attention(g, b, &x, batch, past);
                let x = self.join(g, &a, &b.proj, x);
                let x = self.normalise(g, &x, &b.attention_norm, DType::F32);
                let u = self.up(g, b, &x);
                let x = self.join(g, &u, &b.down, x);
                self.normalise(g, &x, &b.mlp_norm, DType::F32)
            }
            NormPlace::Sandwich => {
                let h = self.normalise(g, &x, &b.attention_norm, dtype);
                let a = self.attention(g, b, &h, batch, past);
                let x = self.join_normalised(g, &a, &b.proj, b.attention_post_norm.as_ref(), x);
                let h = self.normalise(g, &x, &b.mlp_norm, dtype);
                let u = self.up(g, b, &h);
                self.join_normalised(g, &u, &b.down, b.mlp_post_norm.as_ref(), x)
            }
        }
    }

    /// Self-attention of normalised states up to the output projection: `[T, H·E]`.
    fn attention(
        &self,
        g: &mut Graph<'_>,
        b: &Block,
        h: &Tensor,
        batch: &Batch,
        past: Option<Past<'_>>,
    ) -> Tensor {
        let c = &self.config;
        let (heads, kv) = (c.heads, c.kv_heads);
        let mut qkv = self.linear(g, h, &b.qkv);
        if let (Some(query), Some(key)) = (b.query_norm, b.key_norm) {
            qkv = g.head_norm(qkv, self.kind(), [query, key], [heads, kv], c.head_width);
        }
        if let (Some(tables), Positions::Rotary { pairing, .. }) = (&self.rope, c.positions) {
            let table = &tables[usize::from(b.window.is_some())];
            qkv = g.rope(qkv, table, &batch.positions, heads + kv, c.head_width, pairing);
        }
        let shape = Shape { heads, kv_heads: kv, width: c.head_width };
        let options = Options {
            causal: true,
            window: b.window,
            scale: c.attention_scale.unwrap_or(1.0 / (c.head_width as f32).sqrt()),
            softcap: c.attention_softcap,
        };
        match past {
            None => g.attention(&qkv, &batch.spans, shape, options),
            Some(Past { cache, layer, spans }) => {
                let (q, k) = (heads * c.head_width, kv * c.head_width);
                cache.append(layer, &qkv, q..q + k, q + k..q + 2 * k, spans);
                let [keys, values] = cache.layer(layer);
                g.cached_attention(&qkv, keys.view(), values.view(), spans, shape, options)
            }
        }
    }

    /// The first half of the position-wise network: `[T, F]`.
    fn up(&self, g: &mut Graph<'_>, b: &Block, h: &Tensor) -> Tensor {
        let u = self.linear(g, h, &b.up);
        g.activation(&u, self.config.mlp.activation())
    }

    /// Ends a residual branch: `x + w·a + b`.
    fn join(&self, g: &mut Graph<'_>, a: &Tensor, w: &Linear, x: Tensor) -> Tensor {
        if self.config.dropout > 0.0 && g.is_training() {
            let y = self.linear(g, a, w);
            let y = g.dropout(y, self.config.dropout);
            return g.add(&x, &y);
        }
        let y = g.linear_residual(a, w.weight, w.bias, &x);
        self.adapt_result(g, y, a, w)
    }

    fn linear(&self, g: &mut Graph<'_>, x: &Tensor, w: &Linear) -> Tensor {
        let y = g.linear(x, w.weight, w.bias);
        self.adapt_result(g, y, x, w)
    }

    /// Ends a residual branch that is normalised itself: `x + norm(w·a + b)`.
    fn join_normalised(
        &self,
        g: &mut Graph<'_>,
        a: &Tensor,
        w: &Linear,
        norm: Option<&NormWeights>,
        x: Tensor,
    ) -> Tensor {
        let Some(norm) = norm else { return self.join(g, a, w, x) };
        let y = self.linear(g, a, w);
        let y = self.normalise(g, &y, norm, DType::F32);
        g.add(&x, &y)
    }

    fn kind(&self) -> Norm {
        let eps = self.config.norm_eps;
        match self.config.norm {
            NormKind::Layer | NormKind::LayerBias => Norm::Layer { eps },
            NormKind::Rms => Norm::Rms { eps, offset: 0.0 },
            NormKind::RmsPlusOne => Norm::Rms { eps, offset: 1.0 },
        }
    }

    fn normalise(&self, g: &mut Graph<'_>, x: &Tensor, w: &NormWeights, out: DType) -> Tensor {
        g.norm(x, self.kind(), w.gain, w.bias, out)
    }
}

/// Where a layer finds its past.
struct Past<'a> {
    cache: &'a mut KvCache,
    layer: usize,
    spans: &'a [Span],
}

impl Model for Gpt {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        if let Some(aim) = &batch.aim {
            return self.aimed_loss(g, batch, aim, scale);
        }
        let hidden = self.forward(g, batch, None);
        let softcap = self.config.logit_softcap;
        g.cross_entropy(
            &hidden,
            self.head,
            &batch.targets,
            &batch.weights,
            CrossEntropy { scale, softcap, smoothing: 0.0, bias: None },
        )
    }

    fn next_scores(&self, g: &mut Graph<'_>, batch: &Batch) -> Option<Tensor> {
        let hidden = self.forward(g, batch, None);
        Some(self.logits(g, &batch.ends(&hidden)))
    }
}

impl Config {
    /// Says what contradicts itself, with both numbers.
    pub fn check(&self) -> Result<(), String> {
        let c = self;
        let positive = [
            ("vocab", c.vocab),
            ("context", c.context),
            ("width", c.width),
            ("heads", c.heads),
            ("kv_heads", c.kv_heads),
            ("head_width", c.head_width),
            ("hidden", c.hidden),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, n)| *n == 0) {
            return Err(format!("model settings: {name} is 0, it must be at least 1"));
        }
        if !c.heads.is_multiple_of(c.kv_heads) {
            return Err(format!(
                "model settings: {} heads are not a multiple of {} key-value heads",
                c.heads, c.kv_heads
            ));
        }
        if c.head_width > 256 {
            return Err(format!("model settings: head width {} is more than 256", c.head_width));
        }
        if let Positions::Rotary { width, .. } = c.positions
            && (width > c.head_width || !width.is_multiple_of(2))
        {
            return Err(format!(
                "model settings: rotary width {width} of heads of {} (even, at most the head)",
                c.head_width
            ));
        }
        if !(0.0..1.0).contains(&c.dropout) {
            return Err(format!("model settings: dropout {} is not in [0, 1)", c.dropout));
        }
        Ok(())
    }
}
