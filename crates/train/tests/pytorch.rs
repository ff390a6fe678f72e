//! Two tiny GPTs agree with PyTorch: logits, loss, every gradient tensor, ten optimiser steps. The fixtures come from
//! `tools/fixture_gpt.py`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pupil_checkpoint::directory::plain_tensors;
use pupil_model::gpt::Config;
use pupil_model::{Batch, Gpt, Model, families};
use pupil_tensor::kernels::level::{self, Level};
use pupil_tensor::{DType, Graph, Tape};
use pupil_train::optim::Settings;
use pupil_train::step::Step;
use serde::Deserialize;

#[derive(Deserialize)]
struct About {
    config: Shape,
    spans: Vec<usize>,
    ids: Vec<u32>,
    targets: Vec<u32>,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

#[derive(Deserialize)]
struct Shape {
    vocab: usize,
    context: usize,
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    hidden: usize,
    llama: bool,
    tied: bool,
}

struct Fixture {
    dir: PathBuf,
    about: About,
}

impl Fixture {
    fn open(name: &str) -> Fixture {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gpt").join(name);
        let about = serde_json::from_slice(&std::fs::read(dir.join("about.json")).unwrap()).unwrap();
        Fixture { dir, about }
    }

    fn tensors(&self, name: &str) -> HashMap<String, Vec<f32>> {
        plain_tensors(&self.dir.join(name)).unwrap()
    }

    fn model(&self) -> Gpt {
        let c = &self.about.config;
        let config = if c.llama {
            let plain =
                families::llama(c.vocab, c.context, c.layers, c.width, [c.heads, c.kv_heads], c.hidden);
            Config { tied: c.tied, ..plain }
        } else {
            families::nano(c.vocab, c.context, c.layers, c.width, c.heads)
        };
        let mut gpt = Gpt::zeros(config);
        let mut weights = self.tensors("weights.safetensors");
        let ids: Vec<_> = gpt.parameters().iter().map(|(id, p)| (id, p.name.clone())).collect();
        for (id, name) in ids {
            gpt.parameters_mut().data_mut(id).copy_from_slice(&weights.remove(&name).unwrap());
        }
        assert!(weights.is_empty(), "{:?}", weights.keys());
        gpt
    }

    fn batch(&self) -> Batch {
        let a = &self.about;
        let mut at = 0;
        let spans: Vec<_> = a
            .spans
            .iter()
            .map(|n| {
                at += n;
                at - n..at
            })
            .collect();
        Batch::new(&a.ids, &a.targets, &vec![1.0; a.ids.len()], &spans)
    }
}

/// The largest difference, as a share of the largest expected number.
fn apart(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().fold(1e-12f64, |m, x| m.max(f64::from(x.abs())));
    got.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / size
}

fn check(name: &str, dtype: DType, bound: f64) {
    let f = Fixture::open(name);
    let (gpt, batch) = (f.model(), f.batch());
    let mut graph = Graph::inference(gpt.parameters(), dtype);
    let hidden = gpt.forward(&mut graph, &batch, None);
    let logits = gpt.logits(&mut graph, &hidden).to_vec();
    let far = apart(&logits, &f.tensors("logits.safetensors")["logits"]);
    assert!(far < bound, "{name} {dtype:?}: logits {far:e}");

    let mut tape = Tape::new(gpt.parameters());
    let mut graph = Graph::training(gpt.parameters(), dtype, &mut tape, None);
    let loss = gpt.loss(&mut graph, &batch, 1.0 / batch.tokens() as f32);
    assert!((loss.mean() / f.about.losses[0] - 1.0).abs() < bound, "{name} {dtype:?}: loss {}", loss.mean());
    tape.backward(gpt.parameters());
    let expected = f.tensors("gradients.safetensors");
    for (id, p) in gpt.parameters().iter() {
        let far = apart(tape.gradients().get(id), &expected[&p.name]);
        assert!(far < 4.0 * bound, "{name} {dtype:?}: gradient of {} {far:e}", p.name);
    }

    let mut gpt = f.model();
    let mut step = Step::new(&gpt, Settings::default(), dtype, 0);
    let batches = [batch];
    for (i, (loss, norm)) in f.about.losses.iter().zip(&f.about.norms).enumerate() {
        let o = step.run(&mut gpt, &batches, 1.0).unwrap();
        let far = (o.loss.mean() / loss - 1.0).abs().max((o.gradient_norm / norm - 1.0).abs() / 4.0);
        assert!(far < 2.0 * bound, "{name} {dtype:?}: step {i} {far:e}");
    }
    let expected = f.tensors("after.safetensors");
    for (_, p) in gpt.parameters().iter() {
        let far = apart(p.data(), &expected[&p.name]);
        assert!(far < 10.0 * bound, "{name} {dtype:?}: {} after ten steps {far:e}", p.name);
    }
}

/// One test, because the level in force is the process's.
#[test]
fn logits_losses_gradients_and_steps_are_pytorchs() {
    for l in Level::available() {
        level::force(l);
        for name in ["nano", "llama"] {
            // f32: some hundred roundings of 2⁻²⁴ each; bf16: operands are rounded to 2⁻⁸ at each of some twenty products.
            check(name, DType::F32, 2e-5);
            check(name, DType::Bf16, 3e-2);
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    assert!(apart(&[1.0, 2.0], &[1.0, 2.0]) < 1e-9);
    assert!(apart(&[1.0, 2.1], &[1.0, 2.0]) > 0.04);
}
