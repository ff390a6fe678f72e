//! LoRA: beside the frozen matrices of a GPT lie adapters of low rank, and only they learn (Hu et al. 2021).
//!
//! A matrix with an adapter gives `y = x·wᵀ + (alpha / r)·(x·aᵀ)·bᵀ`, `a [r, in]` random and `b [out, r]` zero, so a model that was just
//! adapted says what it said before. Queries, keys and values lie in one matrix here and in three in most families of models, so each has an adapter of
//! its own; [`Gpt::merge`] adds `(alpha / r)·b·a` to the matrices and leaves a GPT like any other.

use std::ops::Range;

use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{Graph, ParameterId, Parameters, Role, Tensor};
use serde::{Deserialize, Serialize};

use crate::gpt::{Config, Gpt, Linear, Positions};

/// Initial values of adapters come from streams from here on; those of a GPT's parameters are their numbers, far below.
const FIRST_STREAM: u64 = 1 << 24;

/// Which adapters a GPT has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Columns of `a` and `b`, r.
    pub rank: usize,
    /// What an adapter gives is multiplied by alpha / r.
    pub alpha: f32,
    /// Share of an adapter's input that is dropped in training.
    pub dropout: f32,
    /// The matrices that have one, in the order of [`Target::ALL`].
    pub targets: Vec<Target>,
}

/// A matrix of a block, as people name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention's output.
    O,
    /// The gate of the position-wise network.
    Gate,
    /// Its first projection.
    Up,
    /// Its second projection.
    Down,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// Its name: `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
    pub fn name(self) -> &'static str {
        ["q", "k", "v", "o", "gate", "up", "down"][self as usize]
    }

    /// The target of that name.
    pub fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// An adapter of a matrix.
pub(crate) struct Adapter {
    target: Target,
    /// Which of the matrix's results it changes.
    columns: Range<usize>,
    a: ParameterId,
    b: ParameterId,
}

/// The adapters of a GPT, and what they were made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// Which they are.
    pub lora: Lora,
    /// The directory of the model that they change.
    pub base: String,
    /// The hash of its weights; empty if it is not known.
    pub base_hash: String,
    /// Parameters of the model without them.
    own: usize,
}

impl Config {
    /// The matrices that this form of model has; where queries, keys and values are one matrix in its files too (GPT-2), they have one adapter.
    pub fn lora_targets(&self) -> Vec<Target> {
        Target::ALL.into_iter().filter(|&t| t != Target::Gate || self.mlp.is_gated()).collect()
    }

    fn attention_is_one(&self) -> bool {
        self.positions == Positions::Learned
    }
}

impl Lora {
    /// Says what contradicts itself or the model.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        if self.rank == 0 || self.rank > config.width.max(config.hidden) {
            return Err(format!(
                "LoRA: rank {} is not in 1 to {}",
                self.rank,
                config.width.max(config.hidden)
            ));
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(format!("LoRA: alpha {} is not above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("LoRA: dropout {} is not in [0, 1)", self.dropout));
        }
        if self.targets.is_empty() {
            return Err("LoRA: no matrix is named".into());
        }
        if !self.targets.is_sorted_by(|a, b| a < b) {
            return Err("LoRA: a matrix is named twice, or they are out of order".into());
        }
        if let Some(t) = self.targets.iter().find(|t| !config.lora_targets().contains(t)) {
            return Err(format!("LoRA: this model has no matrix `{}`", t.name()));
        }
        let attention = self.targets.iter().filter(|&&t| t <= Target::V).count();
        if config.attention_is_one() && ![0, 3].contains(&attention) {
            return Err("LoRA: queries, keys and values are one matrix of this model: name q, k and v, or none of them".into());
        }
        Ok(())
    }

    /// Numbers in all adapters of a model.
    pub fn parameter_count(&self, config: &Config) -> u64 {
        let pieces = Place::ALL.into_iter().flat_map(|p| p.pieces(config, &self.targets));
        let each: usize = pieces.map(|(_, columns, cols)| self.rank * (columns.len() + cols)).sum();
        (config.layers * each) as u64
    }
}

/// A matrix of a block as it lies in memory.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Qkv,
    Proj,
    Up,
    Down,
}

impl Place {
    pub(crate) const ALL: [Place; 4] = [Place::Qkv, Place::Proj, Place::Up, Place::Down];

    pub(crate) fn name(self) -> &'static str {
        ["qkv", "proj", "up", "down"][self as usize]
    }

    /// Its parts that have adapters: which, the columns of the result, and the columns of what is read.
    fn pieces(self, c: &Config, targets: &[Target]) -> Vec<(Target, Range<usize>, usize)> {
        let (q, kv) = (c.heads * c.head_width, c.kv_heads * c.head_width);
        let (width, hidden) = (c.width, c.hidden);
        let all = match self {
            Place::Qkv if c.attention_is_one() => vec![(Target::Q, 0..q + 2 * kv, width)],
            Place::Qkv => vec![
                (Target::Q, 0..q, width),
                (Target::K, q..q + kv, width),
                (Target::V, q + kv..q + 2 * kv, width),
            ],
            Place::Proj => vec![(Target::O, 0..width, q)],
            Place::Up if c.mlp.is_gated() => {
                vec![(Target::Gate, 0..hidden, width), (Target::Up, hidden..2 * hidden, width)]
            }
            Place::Up => vec![(Target::Up, 0..hidden, width)],
            Place::Down => vec![(Target::Down, 0..width, hidden)],
        };
        all.into_iter().filter(|(t, ..)| targets.contains(t)).collect()
    }
}

impl Gpt {
    /// Freezes the model and lays adapters beside its matrices. `base` and `base_hash` say what files will name as the model that they change.
    ///
    /// # Errors
    /// If the settings do not fit the model, or it has adapters.
    pub fn adapt(&mut self, lora: Lora, base: String, base_hash: String, seed: u64) -> Result<(), String> {
        lora.check(&self.config)?;
        if self.adapted.is_some() {
            return Err("LoRA: the model has adapters already".into());
        }
        let (config, own) = (self.config.clone(), self.parameters.len());
        self.parameters.freeze(true);
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            for place in Place::ALL {
                for (target, columns, cols) in place.pieces(&config, &lora.targets) {
                    let name =
                        |part| format!("blocks.{layer}.{}.{}.lora_{part}", place.name(), target.name());
                    let a = self.parameters.add(name("a"), [lora.rank, cols], Role::Matrix);
                    let b = self.parameters.add(name("b"), [columns.len(), lora.rank], Role::Matrix);
                    // As PyTorch's linear layers and PEFT: uniform in ±1/√in.
                    let key = Key { seed, stream: FIRST_STREAM + a.index() as u64, step: 0 };
                    let data = self.parameters.data_mut(a);
                    random::uniform(key, data);
                    let size = 1.0 / (cols as f32).sqrt();
                    data.iter_mut().for_each(|x| *x = (2.0 * *x - 1.0) * size);
                    block.linear_mut(place).adapters.push(Adapter { target, columns, a, b });
                }
            }
        }
        self.adapted = Some(Adapted { lora, base, base_hash, own });
        Ok(())
    }

    /// The parameters of the adapters: the matrix beside which each lies, which part of it, and `a` and `b`.
    pub fn adapters(&self) -> impl Iterator<Item = (&str, Target, [ParameterId; 2])> {
        let linears = self.blocks.iter().flat_map(|b| [&b.qkv, &b.proj, &b.up, &b.down]);
        linears.flat_map(|linear| {
            let name = self.parameters.get(linear.weight).name.as_str();
            linear.adapters.iter().map(move |a| (name, a.target, [a.a, a.b]))
        })
    }

    /// The adapters, if the model has any.
    pub fn adapted(&self) -> Option<&Adapted> {
        self.adapted.as_ref()
    }

    /// Adds what the adapters say to the matrices and removes them.
    pub fn merge(&mut self) {
        let Some(Adapted { lora, own, .. }) = self.adapted.take() else { return };
        let scale = lora.alpha / lora.rank as f32;
        for block in &mut self.blocks {
            for place in Place::ALL {
                let linear = block.linear_mut(place);
                for adapter in std::mem::take(&mut linear.adapters) {
                    add_product(&mut self.parameters, linear.weight, &adapter, scale);
                }
            }
        }
        self.parameters.truncate(own);
        self.parameters.freeze(false);
    }

    /// Adds what the adapters of a matrix say of `x` to what the matrix said.
    pub(crate) fn adapt_result(&self, g: &mut Graph<'_>, y: Tensor, x: &Tensor, linear: &Linear) -> Tensor {
        let Some(Adapted { lora, .. }) = &self.adapted else { return y };
        let scale = lora.alpha / lora.rank as f32;
        linear.adapters.iter().fold(y, |y, adapter| {
            let x = g.dropout(x.clone(), lora.dropout);
            g.low_rank(y, &x, [adapter.a, adapter.b], adapter.columns.clone(), scale)
        })
    }
}

/// `w[columns] += scale · b · a`, sums in f64.
fn add_product(parameters: &mut Parameters, weight: ParameterId, adapter: &Adapter, scale: f32) {
    let [rank, cols] = parameters.get(adapter.a).shape;
    let (a, b) = (parameters.get(adapter.a).data().to_vec(), parameters.get(adapter.b).data().to_vec());
    let rows = &mut parameters.data_mut(weight)[adapter.columns.start * cols..adapter.columns.end * cols];
    let mut sums = vec![0f64; cols];
    for (row, b) in rows.chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
        sums.fill(0.0);
        for (b, a) in b.iter().zip(a.chunks_exact(cols)) {
            sums.iter_mut().zip(a).for_each(|(s, a)| *s += f64::from(*b) * f64::from(*a));
        }
        row.iter_mut().zip(&sums).for_each(|(w, s)| *w += (f64::from(scale) * s) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Model, families};
    use pupil_tensor::{DType, Tape};

    fn gpt() -> Gpt {
        Gpt::new(families::llama(50, 16, 2, 24, [4, 2], 32), 3)
    }

    fn lora(targets: &[Target]) -> Lora {
        Lora { rank: 4, alpha: 8.0, dropout: 0.0, targets: targets.to_vec() }
    }

    fn batch() -> Batch {
        let ids: Vec<u32> = (0..14).map(|i| i * 11 % 50).collect();
        Batch::new(&ids, &ids, &[1.0; 14], &[0..9, 9..14])
    }

    fn logits(gpt: &Gpt) -> Vec<f32> {
        let mut g = Graph::inference(gpt.parameters(), DType::F32);
        let hidden = gpt.forward(&mut g, &batch(), None);
        gpt.logits(&mut g, &hidden).to_vec()
    }

    /// Gives every adapter numbers, as if it had learned.
    fn learn(gpt: &mut Gpt) {
        let ids: Vec<_> = gpt.parameters().iter().filter(|(_, p)| !p.is_frozen()).map(|(id, _)| id).collect();
        for id in ids {
            let key = Key { seed: 5, stream: id.index() as u64, step: 0 };
            random::normal(key, 0.0, 0.1, gpt.parameters_mut().data_mut(id));
        }
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_a_merged_one_says_the_same() {
        for targets in
            [&Target::ALL[..], &[Target::Q, Target::V], &[Target::Down], &[Target::K, Target::Gate]]
        {
            let mut gpt = gpt();
            let (before, own) = (logits(&gpt), gpt.parameters().len());
            gpt.adapt(lora(targets), "base".into(), String::new(), 1).unwrap();
            assert_eq!(before, logits(&gpt));
            let count: usize =
                gpt.parameters().iter().filter(|(_, p)| !p.is_frozen()).map(|(_, p)| p.data().len()).sum();
            assert_eq!(count as u64, lora(targets).parameter_count(&gpt.config));
            learn(&mut gpt);
            let after = logits(&gpt);
            let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far(&before, &after) > 1e-3, "{targets:?}");
            gpt.merge();
            assert!(gpt.parameters().len() == own && gpt.parameters().iter().all(|(_, p)| !p.is_frozen()));
            assert!(far(&logits(&gpt), &after) < 1e-5, "{targets:?}");
        }
    }

    #[test]
    fn only_adapters_have_gradients_and_they_are_those_of_the_loss() {
        let mut gpt = gpt();
        gpt.adapt(lora(&Target::ALL), "base".into(), String::new(), 1).unwrap();
        learn(&mut gpt);
        let loss =
            |gpt: &Gpt| gpt.loss(&mut Graph::inference(gpt.parameters(), DType::F32), &batch(), 1.0).sum;
        let mut tape = Tape::new(gpt.parameters());
        let mut g = Graph::training(gpt.parameters(), DType::F32, &mut tape, None);
        gpt.loss(&mut g, &batch(), 1.0);
        tape.backward(gpt.parameters());
        let all: Vec<_> =
            gpt.parameters().iter().map(|(id, p)| (id, p.name.clone(), p.is_frozen())).collect();
        for (id, name, frozen) in all {
            let gradient = tape.gradients().get(id).to_vec();
            assert_eq!(gradient.is_empty(), frozen, "{name}");
            if frozen {
                continue;
            }
            // Along the gradient the loss rises by its norm, up to a curvature of some units times h.
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let h = 0.005;
            let mut at = |h: f64| {
                let data = gpt.parameters_mut().data_mut(id);
                data.iter_mut().zip(&gradient).for_each(|(x, g)| *x += (h * f64::from(*g) / norm) as f32);
                loss(&gpt)
            };
            let (up, down) = (at(h), at(-2.0 * h));
            at(h);
            let slope = (up - down) / (2.0 * h);
            assert!((slope / norm - 1.0).abs() < 1e-2, "{name}: {slope} instead of {norm}");
        }
    }

    #[test]
    fn settings_that_do_not_fit_are_named() {
        let config = gpt().config;
        let bad = |lora: Lora, words: &str| {
            let e = lora.check(&config).unwrap_err();
            assert!(e.contains(words), "{e}");
        };
        bad(Lora { rank: 0, ..lora(&[Target::Q]) }, "rank 0");
        bad(Lora { alpha: f32::NAN, ..lora(&[Target::Q]) }, "alpha");
        bad(Lora { dropout: 1.0, ..lora(&[Target::Q]) }, "dropout");
        bad(lora(&[]), "no matrix");
        bad(lora(&[Target::V, Target::Q]), "order");
        let gpt2 = families::preset("gpt2").unwrap();
        assert!(lora(&[Target::Q]).check(&gpt2).unwrap_err().contains("one matrix"));
        assert!(lora(&[Target::Gate]).check(&gpt2).unwrap_err().contains("`gate`"));
        assert!(lora(&gpt2.lora_targets()).check(&gpt2).is_ok());
    }
}
