//! The golden run: 200 steps whose losses and last weights are known for each level of vector instructions.
//!
//! A change of bits fails here. Where it is meant, `level::REVISION` goes up and `fixtures/golden/run.json` is changed in the same commit, with
//! the hashes that this test prints.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use pupil_data::{Items, Packer, Row};
use pupil_model::gpt::Config;
use pupil_model::{Batch, Gpt, Model, families};
use pupil_tensor::DType;
use pupil_tensor::kernels::level;
use pupil_tensor::kernels::random::{Key, below};
use pupil_train::evaluate::fill;
use pupil_train::optim::Settings;
use pupil_train::schedule::Schedule;
use pupil_train::step::Step;
use serde_json::Value;

const STEPS: u64 = 200;

/// Losses of all steps, and the hash of the last weights.
fn golden() -> (Vec<f64>, String) {
    let mut items = Items::default();
    for s in 0..40u64 {
        let mut ids = vec![0; 9 + (s % 7) as usize * 5];
        below(Key { seed: 11, stream: s, step: 0 }, 23, &mut ids);
        // Every other id follows from the one before, so that there is something to learn.
        for i in (1..ids.len()).step_by(2) {
            ids[i] = (ids[i - 1] * 3 + 1) % 23;
        }
        items.push_document(&ids, 32);
    }
    let config = Config { dropout: 0.1, ..families::llama(23, 32, 2, 24, [3, 1], 40) };
    let mut model = Gpt::new(config, 5);
    let settings = Settings { muon: Some(5e-3), learning_rate: 3e-3, ..Settings::default() };
    let schedule = Schedule::Trapezoid { warmup: 10, decay: 60, floor: 0.1 };
    let mut step = Step::new(&model, settings, DType::F32, 7);
    let mut packer = Packer::new(&items, 64, 1);
    let (mut row, mut batch) = (Row::default(), [Batch::default(), Batch::default()]);
    let losses = (0..STEPS)
        .map(|i| {
            for (k, b) in batch.iter_mut().enumerate() {
                packer.fill(2 * i + k as u64, &mut row);
                fill(b, &row);
            }
            step.run(&mut model, &batch, schedule.factor(i, STEPS)).unwrap().loss.mean()
        })
        .collect();
    let mut hash = blake3::Hasher::new();
    for (_, p) in model.parameters().iter() {
        p.data().iter().for_each(|x| {
            hash.update(&x.to_le_bytes());
        });
    }
    (losses, hash.finalize().to_hex()[..32].to_owned())
}

#[test]
fn n14_two_hundred_steps_give_the_recorded_losses_and_weights() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/run.json");
    let known: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(known["revision"], level::REVISION, "the revision changed without the golden run");
    let (losses, hash) = golden();
    let name = level::level().name();
    let every: Vec<f64> = losses.iter().copied().step_by(20).collect();
    let recorded: Vec<f64> =
        known["losses"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(every.len(), recorded.len(), "{every:?}, weights {hash} at {name}");
    for (i, (l, r)) in every.iter().zip(&recorded).enumerate() {
        // Levels round otherwise; what they make of it after 200 steps is far below what is learned.
        assert!((l - r).abs() < 2e-2, "step {}: loss {l}, recorded {r}; all: {every:?}", 20 * i);
    }
    assert!(losses[199] < 0.8 * losses[0], "nothing was learned");
    // A level that was not at hand when the file was made has its losses checked only.
    if let Some(recorded) = known["weights"][name].as_str() {
        assert_eq!(
            hash, recorded,
            "other bits at {name}: raise `level::REVISION` and record this hash, or find out why"
        );
    }
}
