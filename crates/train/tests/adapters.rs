//! Adapters learn in place of their model: the same bits with any number of threads, resumed or not, and the model stays as it is.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use pupil_checkpoint::{adapter, directory};
use pupil_data::Items;
use pupil_model::gpt::Config;
use pupil_model::{Gpt, Lora, Model, Network, Settings as Architecture, Target, families};
use pupil_tensor::kernels::pool::with_threads;
use pupil_train::optim::Settings;
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::{Ending, Event, Plan};

const VOCAB: usize = 120;

fn config() -> Config {
    families::llama(VOCAB, 32, 2, 48, [4, 2], 64)
}

fn items() -> Items {
    let mut items = Items::default();
    for s in 0..40u32 {
        let n = 5 + s * 11 % 30;
        let ids: Vec<u32> = (0..n).map(|i| (i * (s % 5 + 1) + s) % VOCAB as u32).collect();
        items.push_document(&ids, 32);
    }
    items
}

fn adapted(base: &Path) -> Gpt {
    let Network::Gpt(mut gpt) = directory::load(base).unwrap() else { panic!() };
    let (path, hash) = adapter::identify(base).unwrap();
    let lora = Lora { rank: 4, alpha: 8.0, dropout: 0.1, targets: Target::ALL.to_vec() };
    gpt.adapt(lora, path, hash, 3).unwrap();
    *gpt
}

/// Runs until `until` steps are done (0: to the end) and returns the first and the last loss.
fn learn(base: &Path, out: &Path, dtype: &str, resume: bool, until: u64) -> Vec<f64> {
    let (gpt, items) = (adapted(base), items());
    let plan = Plan {
        stage: "finetune".into(),
        model: Architecture::Gpt(config()),
        lora: gpt.adapted().map(|a| a.lora.clone()),
        optimiser: Settings { learning_rate: 2e-2, ..Settings::default() },
        schedule: Schedule::Trapezoid { warmup: 3, decay: 10, floor: 0.1 },
        steps: 24,
        rows: 2,
        row_tokens: 96,
        seed: 3,
        dtype: dtype.into(),
        evaluate_every: 8,
        save_every: 5,
        keep_best: false,
        data: "test".into(),
        limits: Default::default(),
        forecast: None,
    };
    let id_bytes = vec![1; VOCAB];
    let run = Run {
        plan,
        dir: out.to_owned(),
        id_bytes: &id_bytes,
        extra: vec![],
        end: vec![1],
        train: &items,
        validation: &items,
        care: Default::default(),
        about: Default::default(),
    };
    let mut losses = Vec::new();
    let mut observe = |e: Event<'_>| match e {
        Event::Step { step, loss, .. } => {
            losses.push(loss);
            step != until
        }
        _ => true,
    };
    let ending = run.start(gpt.into(), resume, &mut observe).unwrap();
    assert_eq!(matches!(ending, Ending::Done(..)), until == 0);
    losses
}

#[test]
fn adapters_give_the_same_bits_and_leave_their_model_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    directory::save(&base, &Gpt::new(config(), 1).into(), &[1], &[]).unwrap();
    let before = std::fs::read(base.join("model.safetensors")).unwrap();
    for dtype in ["f32", "bf16"] {
        let out = |name: &str| dir.path().join(format!("{name}-{dtype}"));
        let losses = with_threads(1, || learn(&base, &out("one"), dtype, false, 0));
        assert!(losses[23] < losses[0] - 0.1, "{losses:?}");
        with_threads(2, || learn(&base, &out("broken"), dtype, false, 7));
        with_threads(3, || learn(&base, &out("broken"), dtype, true, 0));
        let weights = |name: &str| std::fs::read(out(name).join("model/adapter_model.safetensors")).unwrap();
        assert!(weights("one") == weights("broken"), "{dtype}");
        // The checkpoint holds adapters and their moments alone.
        let newest = out("one").join("checkpoints/step-20");
        let size = |name: &str| std::fs::metadata(newest.join(name)).unwrap().len();
        assert!(size("adapter_model.safetensors") * 3 < before.len() as u64 * 2);
        assert!(size("optimiser.safetensors") < size("adapter_model.safetensors") * 2);
        assert!(!newest.join("model.safetensors").exists());
        let Network::Gpt(gpt) = directory::load(&out("one").join("model")).unwrap() else { panic!() };
        let Network::Gpt(whole) = directory::load(&base).unwrap() else { panic!() };
        for ((_, a), (_, b)) in whole.parameters().iter().zip(gpt.parameters().iter()) {
            assert!(a.name == b.name && a.data() == b.data() && b.is_frozen(), "{}", a.name);
        }
    }
    assert!(std::fs::read(base.join("model.safetensors")).unwrap() == before);
}
