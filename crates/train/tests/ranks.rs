//! Promises about ranks: one, two and four give the same bits, and so do runs that go on with another number of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod architectures;

use std::path::Path;

use architectures::{architectures, bert, config, sequences};
use pupil_data::{Packer, Row};
use pupil_model::{Batch, Model, Network, Settings as Architecture};
use pupil_tensor::DType;
use pupil_tensor::kernels::pool::with_threads;
use pupil_train::collective::{Collective, Single, Threads};
use pupil_train::evaluate::fill;
use pupil_train::optim::Settings;
use pupil_train::plan::Limits;
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::step::{Outcome, Step};
use pupil_train::{Ending, Event, Plan};

/// Runs `f` on so many ranks, each with one thread for its kernels; what each gave.
fn on<R: Send>(size: usize, f: impl Fn(&dyn Collective) -> R + Sync) -> Vec<R> {
    if size == 1 {
        return vec![with_threads(1, || f(&Single))];
    }
    std::thread::scope(|scope| {
        let f = &f;
        let start = |rank: Threads| scope.spawn(move || with_threads(1, || f(&rank)));
        let ranks: Vec<_> = Threads::new(size).into_iter().map(start).collect();
        ranks.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

/// Outcomes of some steps and all parameters afterwards, by their bits.
fn learn(
    settings: &Architecture,
    dtype: DType,
    rows: usize,
    ranks: &dyn Collective,
) -> (Vec<Outcome>, Vec<u32>) {
    let items = sequences(settings);
    let mut model = Network::new(settings.clone(), 1);
    let rates = Settings { learning_rate: 1e-2, muon: Some(5e-3), ..Settings::default() };
    let mut step = Step::new(&model, rates, dtype, 7);
    let mut packer = Packer::new(&items, 120, 1);
    let mut row = Row::default();
    let mut batches: Vec<Batch> = (0..rows).map(|_| Batch::default()).collect();
    let outcomes = (0..4).map(|i| {
        for (k, batch) in batches.iter_mut().enumerate() {
            packer.fill((i * rows + k) as u64, &mut row);
            fill(batch, &row);
        }
        step.run_across(ranks, &mut model, &batches, 1.0).unwrap()
    });
    let outcomes = outcomes.collect();
    let bits = model.parameters().iter().flat_map(|(_, p)| p.data().iter().map(|x| x.to_bits())).collect();
    (outcomes, bits)
}

#[test]
fn every_architecture_learns_the_same_bits_on_one_two_and_four_ranks() {
    for settings in architectures(60) {
        for dtype in [DType::F32, DType::Bf16] {
            let alone = on(1, |r| learn(&settings, dtype, 4, r)).remove(0);
            assert!(alone.0.iter().all(|o| o.loss.weight > 0.0 && o.gradient_norm > 0.0), "{alone:?}");
            for size in [2, 4] {
                let ranks = on(size, |r| learn(&settings, dtype, 4, r));
                assert!(ranks.iter().all(|r| r == &alone), "{size} ranks, {dtype:?}, {settings:?}");
            }
        }
    }
}

#[test]
fn any_number_of_ranks_and_rows_gives_the_bits_of_one_process() {
    for settings in [Architecture::Gpt(config(60)), Architecture::Bert(bert(60))] {
        for (rows, sizes) in [(3, &[2, 3][..]), (6, &[2, 3]), (7, &[2, 4]), (5, &[3, 5])] {
            let alone = on(1, |r| learn(&settings, DType::F32, rows, r)).remove(0);
            for &size in sizes {
                let ranks = on(size, |r| learn(&settings, DType::F32, rows, r));
                assert!(ranks.iter().all(|r| r == &alone), "{rows} rows on {size} ranks");
            }
        }
    }
}

/// What one sitting of a run on so many ranks leaves behind.
fn sit(plan: &Plan, dir: &Path, size: usize, resume: bool, until: u64) {
    let items = sequences(&plan.model);
    let endings = on(size, |ranks| {
        let run = Run {
            plan: plan.clone(),
            dir: dir.to_owned(),
            id_bytes: &[1; 60],
            extra: vec![],
            end: vec![1],
            train: &items,
            validation: &items,
            care: Default::default(),
            about: Default::default(),
        };
        // A follower's weights are the leader's, whatever it began with.
        let network = Network::new(plan.model.clone(), plan.seed + ranks.rank() as u64);
        let last = size as u64 - 1;
        // The last rank asks to stop.
        let ending = run.start_across(ranks, network, resume, &mut |event| match event {
            Event::Step { step, .. } | Event::Followed { step } => {
                step != until || ranks.rank() as u64 != last
            }
            _ => true,
        });
        match ending.unwrap() {
            Ending::Done(model, result) => {
                let weights: Vec<u32> =
                    model.parameters().iter().flat_map(|(_, p)| p.data()).map(|x| x.to_bits()).collect();
                (None, result.loss.sum.to_bits(), weights)
            }
            Ending::Stopped { step } => (Some(step), 0, vec![]),
        }
    });
    assert!(endings.iter().all(|e| e == &endings[0]));
    assert_eq!(endings[0].0, (until < plan.steps).then_some(until));
}

#[test]
fn a_run_that_goes_on_with_other_numbers_of_ranks_ends_with_the_bytes_of_one_process() {
    let model = Architecture::Gpt(config(60));
    let plan = Plan {
        stage: "test".into(),
        model,
        optimiser: Settings { muon: Some(5e-3), ..Settings::default() },
        schedule: Schedule::Trapezoid { warmup: 3, decay: 6, floor: 0.02 },
        steps: 16,
        rows: 4,
        row_tokens: 80,
        seed: 3,
        dtype: "f32".into(),
        evaluate_every: 4,
        save_every: 5,
        keep_best: false,
        lora: None,
        data: "test".into(),
        limits: Limits::default(),
        forecast: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let [alone, four, mixed] = ["alone", "four", "mixed"].map(|name| dir.path().join(name));
    sit(&plan, &alone, 1, false, 99);
    sit(&plan, &four, 4, false, 99);
    for (size, until) in [(2, 3), (4, 7), (1, 9), (4, 99)] {
        sit(&plan, &mixed, size, until > 3, until);
    }
    let files = ["model/model.safetensors", "checkpoints/step-15/optimiser.safetensors"];
    for file in files {
        let read = |d: &Path| std::fs::read(d.join(file)).unwrap();
        assert!(read(&alone) == read(&four) && read(&alone) == read(&mixed), "{file}");
    }
    let losses = |d: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(d.join("metrics.jsonl")).unwrap();
        let number = |l: &str| {
            let v: serde_json::Value = serde_json::from_str(l).unwrap();
            format!("{} {} {}", v["step"], v["loss"], v["validation_loss"])
        };
        text.lines().map(number).collect()
    };
    assert_eq!(losses(&alone), losses(&mixed));
    assert_eq!(losses(&alone), losses(&four));
}
