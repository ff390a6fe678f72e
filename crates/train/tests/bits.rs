//! Promises about bits: any number of threads, any interruption, any company in the row.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod architectures;

use architectures::{architectures, bert, config, sequences};
use pupil_data::{Items, Packer, Position, Row};
use pupil_model::gpt::Config;
use pupil_model::{Batch, Bert, Gpt, Model, Network, Settings as Architecture};
use pupil_tensor::kernels::pool::with_threads;
use pupil_tensor::{DType, Graph};
use pupil_tokenizer::Tokenizer;
use pupil_train::evaluate::fill;
use pupil_train::examples::id_bytes;
use pupil_train::optim::Settings;
use pupil_train::plan::Limits;
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::step::Step;
use pupil_train::{About, Care, Ending, Event, Plan};

fn tokenizer() -> Tokenizer {
    pupil_tokenizer::train(["the cat sat on the mat and the dog ran"; 3], 290, &pupil_chat::SPECIALS)
}

fn items(vocab: usize) -> Items {
    let mut items = Items::default();
    for s in 0..60u32 {
        let n = 5 + s * 11 % 60;
        let ids: Vec<u32> = (0..n).map(|i| (i * (s % 5 + 1) + s) % vocab as u32).collect();
        items.push_document(&ids, 32);
    }
    items
}

/// Loss bits of fifty steps.
fn losses(threads: usize, dtype: DType, muon: bool) -> Vec<u64> {
    with_threads(threads, || {
        let items = items(290);
        let mut gpt = Gpt::new(config(290), 1);
        let settings = Settings { muon: muon.then_some(5e-3), ..Settings::default() };
        let mut step = Step::new(&gpt, settings, dtype, 7);
        let mut packer = Packer::new(&items, 128, 1);
        let (mut row, mut batch) = (Row::default(), [Batch::default(), Batch::default()]);
        (0..50)
            .map(|i| {
                for (k, b) in batch.iter_mut().enumerate() {
                    packer.fill(2 * i + k as u64, &mut row);
                    b.fill(&row.ids, &row.targets, &row.weights, &row.spans);
                }
                step.run(&mut gpt, &batch, 1.0).unwrap().loss.sum.to_bits()
            })
            .collect()
    })
}

#[test]
fn fifty_steps_give_the_same_bits_with_one_two_and_three_threads() {
    for (dtype, muon) in [(DType::F32, false), (DType::Bf16, true)] {
        let one = losses(1, dtype, muon);
        assert_ne!(one[0], one[49]);
        assert_eq!(one, losses(2, dtype, muon), "{dtype:?}, muon {muon}");
        assert_eq!(one, losses(3, dtype, muon), "{dtype:?}, muon {muon}");
    }
}

#[test]
fn c02_an_interrupted_run_gives_the_bits_of_one_that_was_not() {
    let (id_bytes, items) = (id_bytes(&tokenizer()), items(283));
    let plan = Plan {
        stage: "pretrain".into(),
        model: Architecture::Gpt(config(283)),
        optimiser: Settings { muon: Some(5e-3), ..Settings::default() },
        schedule: Schedule::Trapezoid { warmup: 3, decay: 10, floor: 0.0 },
        steps: 24,
        rows: 2,
        row_tokens: 128,
        seed: 3,
        dtype: "bf16".into(),
        evaluate_every: 8,
        save_every: 5,
        keep_best: false,
        lora: None,
        data: "test".into(),
        limits: Limits::default(),
        forecast: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| Run {
        plan: plan.clone(),
        dir: dir.path().join(name),
        id_bytes: &id_bytes,
        extra: vec![],
        end: vec![1],
        train: &items,
        validation: &items,
        care: Care::default(),
        about: About::default(),
    };
    let start = |name: &str, resume: bool, until: u64| {
        let gpt = Network::new(plan.model.clone(), plan.seed);
        run(name)
            .start(gpt, resume, &mut |e| !matches!(e, Event::Step { step, .. } if step == until))
            .unwrap()
    };
    assert!(matches!(start("straight", false, 0), Ending::Done(..)));
    assert!(matches!(start("broken", false, 7), Ending::Stopped { step: 7 }));
    assert!(matches!(start("broken", true, 16), Ending::Stopped { step: 16 }));
    // A checkpoint that was damaged is passed over; the one before leads to the same end.
    let newest = dir.path().join("broken/checkpoints/step-16/model.safetensors");
    std::fs::write(&newest, b"torn").unwrap();
    assert!(matches!(start("broken", true, 0), Ending::Done(..)));
    let read = |name: &str| std::fs::read(dir.path().join(name).join("model/model.safetensors")).unwrap();
    assert!(read("straight") == read("broken"));
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(dir.path().join(name).join("metrics.jsonl")).unwrap();
        text.lines().map(|l| l.split("\"seconds\"").next().unwrap().to_owned()).collect()
    };
    assert_eq!(lines("straight"), lines("broken"));
    let gpt = Network::new(plan.model.clone(), plan.seed);
    let again = run("straight").start(gpt, false, &mut |_| true);
    assert!(again.err().unwrap().to_string().contains("holds a run already"));
}

#[test]
fn a_run_ends_when_its_limits_say_so_and_resumes_with_the_pace_that_was_decided() {
    let (id_bytes, items) = (id_bytes(&tokenizer()), items(283));
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str, rate: f32, limits: Limits, until: u64| {
        let plan = Plan {
            stage: "pretrain".into(),
            model: Architecture::Gpt(config(283)),
            optimiser: Settings { learning_rate: rate, ..Settings::default() },
            schedule: Schedule::Trapezoid { warmup: 3, decay: 10, floor: 0.0 },
            steps: 24,
            rows: 1,
            row_tokens: 128,
            seed: 3,
            dtype: "f32".into(),
            evaluate_every: 8,
            save_every: 5,
            keep_best: false,
            lora: None,
            data: "test".into(),
            limits,
            forecast: None,
        };
        let gpt = Network::new(plan.model.clone(), plan.seed);
        let dir = dir.path().join(name);
        let (train, validation) = (&items, &items);
        let resume = dir.join("run.json").exists();
        let (care, about) = (Care::default(), About::default());
        let run = Run {
            plan,
            dir,
            id_bytes: &id_bytes,
            extra: vec![],
            end: vec![1],
            train,
            validation,
            care,
            about,
        };
        let mut steps = 0;
        let ending = run.start(gpt, resume, &mut |e| {
            if let Event::Step { step, .. } = e {
                steps = step;
            }
            steps != until
        });
        (ending.unwrap(), steps)
    };
    let reached = Limits { bits_per_byte: Some(1e3), ..Limits::default() };
    assert!(matches!(start("reached", 1e-3, reached, 0), (Ending::Done(_, r), 8) if r.bits_per_byte() < 1e3));
    let stale = Limits { evaluations: Some(1), evaluate_tokens: Some(256), ..Limits::default() };
    assert!(matches!(start("stale", 0.0, stale, 0), (Ending::Done(..), 16)));
    for (name, until) in [("straight", 0), ("broken", 9)] {
        assert!(matches!(start(name, 1e-3, Limits::default(), 1).0, Ending::Stopped { step: 1 }));
        let folder = dir.path().join(name);
        std::fs::write(folder.join("pace.jsonl"), "{\"at\":7,\"steps\":19}\n{\"at\":12,\"steps\":30}\n")
            .unwrap();
        let ending = start(name, 1e-3, Limits::default(), until);
        assert!(until == 0 && ending.1 == 30 || matches!(ending.0, Ending::Stopped { step: 9 }));
    }
    assert!(matches!(start("broken", 1e-3, Limits::default(), 0), (Ending::Done(..), 30)));
    let read = |name: &str| std::fs::read(dir.path().join(name).join("model/model.safetensors")).unwrap();
    assert!(read("straight") == read("broken"));
}

#[test]
fn c02_a_run_from_shards_goes_on_where_it_stopped() {
    let (t, dir) = (tokenizer(), tempfile::tempdir().unwrap());
    let shard = dir.path().join("train.tokens");
    let mut w = pupil_data::shards::Writer::create(&shard, &t).unwrap();
    for s in 0..60u32 {
        let n = 5 + s * 11 % 60;
        w.add(&(0..n).map(|i| (i * (s % 5 + 1) + s) % t.len() as u32).collect::<Vec<u32>>()).unwrap();
    }
    w.finish().unwrap();
    let shards = pupil_data::Shards::open(&[(shard, Some(0))], &t, 32).unwrap();
    let id_bytes = id_bytes(&t);
    let start = |name: &str, threads: usize, resume: bool, until: u64| {
        let plan = Plan {
            stage: "pretrain".into(),
            model: Architecture::Gpt(config(t.len())),
            optimiser: Settings::default(),
            schedule: Schedule::Trapezoid { warmup: 3, decay: 10, floor: 0.0 },
            steps: 22,
            rows: 2,
            row_tokens: 64,
            seed: 3,
            dtype: "f32".into(),
            evaluate_every: 8,
            save_every: 5,
            keep_best: false,
            lora: None,
            data: "test".into(),
            limits: Limits::default(),
            forecast: None,
        };
        let gpt = Network::new(plan.model.clone(), plan.seed);
        let (train, validation) = (&shards, &shards);
        let dir = dir.path().join(name);
        let (care, about) = (Care::default(), About::default());
        let run = Run {
            plan,
            dir,
            id_bytes: &id_bytes,
            extra: vec![],
            end: vec![1],
            train,
            validation,
            care,
            about,
        };
        let mut observe = |e: Event<'_>| !matches!(e, Event::Step { step, .. } if step == until);
        with_threads(threads, || run.start(gpt, resume, &mut observe)).unwrap()
    };
    assert!(matches!(start("straight", 1, false, 0), Ending::Done(..)));
    // More than an epoch is behind the second break.
    assert!(matches!(start("broken", 2, false, 7), Ending::Stopped { step: 7 }));
    assert!(matches!(start("broken", 1, true, 19), Ending::Stopped { step: 19 }));
    assert!(matches!(start("broken", 3, true, 0), Ending::Done(..)));
    let read = |name: &str| std::fs::read(dir.path().join(name).join("model/model.safetensors")).unwrap();
    assert!(read("straight") == read("broken"));
    let state = dir.path().join("broken/checkpoints/step-20/state.json");
    let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(state).unwrap()).unwrap();
    assert!(state["position"]["epoch"].as_u64().unwrap() > 0, "{state}");
}

#[test]
fn a_sequence_has_the_same_states_alone_and_in_company() {
    let gpt = Gpt::new(Config { dropout: 0.0, ..config(290) }, 5);
    let ids: Vec<u32> = (0..70).map(|i| i * 13 % 290).collect();
    for dtype in [DType::F32, DType::Bf16] {
        let states = |ids: &[u32], spans: &[std::ops::Range<usize>]| {
            let mut g = Graph::inference(gpt.parameters(), dtype);
            gpt.forward(&mut g, &Batch::reading(ids, spans), None).to_vec()
        };
        let all = states(&ids, &[0..9, 9..10, 10..42, 42..70]);
        for span in [0..9, 10..42, 42..70] {
            let own = 0..span.len();
            let alone = states(&ids[span.clone()], std::slice::from_ref(&own));
            assert!(alone == all[span.start * 48..span.end * 48], "{dtype:?} {span:?}");
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_names_the_first_tensor() {
    let items = items(290);
    let mut gpt = Gpt::new(config(290), 1);
    let mut step = Step::new(&gpt, Settings::default(), DType::F32, 7);
    let mut row = Row::default();
    Packer::new(&items, 128, 1).fill(0, &mut row);
    let batch = [Batch::new(&row.ids, &row.targets, &row.weights, &row.spans)];
    let id = gpt.parameters().find("blocks.1.qkv.weight").unwrap();
    gpt.parameters_mut().data_mut(id)[5] = f32::INFINITY;
    let e = step.run(&mut gpt, &batch, 1.0).unwrap_err().to_string();
    assert!(e.contains("blocks.1.qkv.weight") && e.contains("index 5"), "{e}");
    gpt.parameters_mut().data_mut(id)[5] = 3e38;
    let e = step.run(&mut gpt, &batch, 1.0).unwrap_err().to_string();
    assert!(e.contains("operation") && e.contains("blocks.1.qkv.weight"), "{e}");
}

#[test]
fn one_batch_is_learned_by_heart_and_an_untrained_loss_is_ln_v() {
    let items = items(290);
    let mut gpt = Gpt::new(Config { dropout: 0.0, ..config(290) }, 1);
    let mut step = Step::new(&gpt, Settings { learning_rate: 1e-2, ..Settings::default() }, DType::F32, 7);
    let mut row = Row::default();
    Packer::new(&items, 128, 1).fill(0, &mut row);
    let batch = [Batch::new(&row.ids, &row.targets, &row.weights, &row.spans)];
    let first = step.run(&mut gpt, &batch, 1.0).unwrap().loss.mean();
    assert!((first - 290f64.ln()).abs() < 0.1, "{first}");
    for _ in 0..150 {
        step.run(&mut gpt, &batch, 1.0).unwrap();
    }
    let last = step.run(&mut gpt, &batch, 1.0).unwrap().loss.mean();
    assert!(last < 0.1, "{last}");
}

#[test]
fn every_architecture_learns_and_gives_the_same_bits_with_any_threads() {
    for settings in architectures(60) {
        // Whether it learns shows with one thread; whether others do the same shows in fewer steps.
        let (all, some) = (40, 10);
        let learn = |threads: usize, dtype: DType, steps: u64| -> Vec<u64> {
            with_threads(threads, || {
                let items = sequences(&settings);
                let mut model = Network::new(settings.clone(), 1);
                let rates = Settings { learning_rate: 1e-2, ..Settings::default() };
                let mut step = Step::new(&model, rates, dtype, 7);
                let mut packer = Packer::new(&items, 160, 1);
                let (mut row, mut batch) = (Row::default(), [Batch::default()]);
                let mut losses = Vec::new();
                for i in 0..steps {
                    packer.fill(i, &mut row);
                    fill(&mut batch[0], &row);
                    losses.push(step.run(&mut model, &batch, 1.0).unwrap().loss.mean());
                }
                // Rows differ in what they ask, so not the last one alone.
                if steps == all {
                    let last = losses[30..].iter().sum::<f64>() / 10.0;
                    assert!(last < 0.9 * losses[0], "{settings:?}: {losses:?}");
                }
                losses.into_iter().map(f64::to_bits).collect()
            })
        };
        for dtype in [DType::F32, DType::Bf16] {
            let one = learn(1, dtype, all);
            assert_eq!(one[..some as usize], learn(2, dtype, some), "{settings:?}");
            assert_eq!(one[..some as usize], learn(3, dtype, some), "{settings:?}");
        }
    }
}

#[test]
fn c02_every_architecture_goes_on_after_an_interruption_with_the_same_bits() {
    for (i, model) in architectures(60).into_iter().enumerate() {
        let items = sequences(&model);
        let plan = Plan {
            stage: "test".into(),
            model,
            optimiser: Settings::default(),
            schedule: Schedule::Constant,
            steps: 12,
            rows: 1,
            row_tokens: 160,
            seed: 3,
            dtype: "f32".into(),
            evaluate_every: 4,
            save_every: 5,
            keep_best: true,
            lora: None,
            data: "test".into(),
            limits: Limits::default(),
            forecast: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let start = |name: &str, resume: bool, until: u64| {
            let run = Run {
                plan: plan.clone(),
                dir: dir.path().join(name),
                id_bytes: &[1; 60],
                extra: vec![],
                end: vec![1],
                train: &items,
                validation: &items,
                care: Care::default(),
                about: About::default(),
            };
            let network = Network::new(plan.model.clone(), plan.seed);
            run.start(network, resume, &mut |e| !matches!(e, Event::Step { step, .. } if step == until))
                .unwrap()
        };
        start("straight", false, 0);
        assert!(matches!(start("broken", false, 7), Ending::Stopped { step: 7 }));
        start("broken", true, 0);
        let read = |name: &str| std::fs::read(dir.path().join(name).join("model/model.safetensors")).unwrap();
        assert!(read("straight") == read("broken"), "architecture {i}");
    }
}

#[test]
fn a_word_does_not_see_what_comes_later_nor_other_sequences() {
    for settings in architectures(60) {
        let model = Network::new(settings.clone(), 5);
        if model.encoder_decoder().is_some() || matches!(settings, Architecture::Bert(_)) {
            continue;
        }
        let scores = |ids: &[u32], spans: &[std::ops::Range<usize>]| {
            let mut g = Graph::inference(model.parameters(), DType::F32);
            model.next_scores(&mut g, &Batch::reading(ids, spans)).unwrap().to_vec()
        };
        let whole = 0..3;
        let alone = scores(&[5, 6, 7], std::slice::from_ref(&whole));
        let beside = scores(&[1, 2, 5, 6, 7, 9], &[0..2, 2..5, 5..6]);
        for (a, b) in alone.iter().zip(&beside[60..120]) {
            assert!((a - b).abs() < 1e-5, "{settings:?}");
        }
    }
}

#[test]
fn one_batch_of_hidden_words_is_learned_by_heart_and_untrained_losses_are_logarithms() {
    use pupil_model::bert::Config;
    let config = Config { dropout: 0.0, ..bert(60) };
    let items = sequences(&Architecture::Bert(config.clone()));
    let mut model = Bert::new(config, 1);
    let mut step = Step::new(&model, Settings { learning_rate: 5e-3, ..Settings::default() }, DType::F32, 7);
    let (mut row, mut batch) = (Row::default(), [Batch::default()]);
    Packer::new(&items, 400, 1).fill(0, &mut row);
    fill(&mut batch[0], &row);
    let first = step.run(&mut model, &batch, 1.0).unwrap().loss;
    // Half of the weight lies on hidden words of 60 ids, half on whether the second part follows.
    let expected = 0.5 * 60f64.ln() + 0.5 * 2f64.ln();
    assert!((first.mean() - expected).abs() < 0.1, "{first:?}, not {expected}");
    for _ in 0..250 {
        step.run(&mut model, &batch, 1.0).unwrap();
    }
    let last = step.run(&mut model, &batch, 1.0).unwrap().loss;
    assert!(last.mean() < 0.1 && last.accuracy() > 0.99, "{last:?}");
}

/// Rows of one constant text, some of them replaced by noise.
struct Noisy(std::ops::Range<u64>);

struct NoisyRows<'a> {
    of: &'a Noisy,
    at: Position,
}

impl pupil_data::Examples for Noisy {
    fn rows(&self, _budget: usize, _seed: u64) -> Box<dyn pupil_data::Rows + '_> {
        Box::new(NoisyRows { of: self, at: Position::default() })
    }

    fn tokens(&self) -> u64 {
        16
    }
}

impl pupil_data::Rows for NoisyRows<'_> {
    fn position(&self) -> Position {
        self.at
    }

    fn seek(&mut self, to: Position) -> Result<(), pupil_data::Error> {
        self.at = to;
        Ok(())
    }

    fn next(&mut self, row: &mut pupil_data::Row) -> Result<(), pupil_data::Error> {
        let noisy = self.of.0.contains(&self.at.row);
        *row = pupil_data::Row::default();
        row.ids = (0..16).map(|i| if noisy { (i * 7 + 3) % 20 } else { i % 4 }).collect();
        row.targets = row.ids.iter().skip(1).copied().chain([0]).collect();
        row.weights = vec![1.0; 16];
        row.spans.push(0..16);
        self.at.row += 1;
        Ok(())
    }
}

#[test]
fn a_spike_is_passed_over_and_named_and_many_end_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, noise: std::ops::Range<u64>, steps: u64| {
        let examples = Noisy(noise);
        let nothing = pupil_data::Items::default();
        let plan = Plan {
            stage: "pretrain".into(),
            model: Architecture::Gpt(config(40)),
            optimiser: Settings { learning_rate: 1e-2, ..Settings::default() },
            schedule: Schedule::Trapezoid { warmup: 3, decay: 10, floor: 0.0 },
            steps,
            rows: 1,
            row_tokens: 16,
            seed: 3,
            dtype: "f32".into(),
            evaluate_every: 1000,
            save_every: 20,
            keep_best: false,
            lora: None,
            data: "test".into(),
            limits: Limits::default(),
            forecast: None,
        };
        let run = Run {
            plan,
            dir: dir.path().join(name),
            id_bytes: &[1; 40],
            extra: vec![],
            end: vec![],
            train: &examples,
            validation: &nothing,
            care: Care::default(),
            about: About::default(),
        };
        let mut skipped = 0;
        let gpt = Network::from(Gpt::new(config(40), 3));
        let ending = run.start(gpt, false, &mut |event| {
            skipped += u64::from(matches!(event, Event::Skipped { .. }));
            true
        });
        (ending.map(|_| ()), skipped)
    };
    let (ending, skipped) = run("two", 150..152, 170);
    assert!(ending.is_ok() && skipped == 2, "{ending:?}, {skipped} skipped");
    let note = std::fs::read_to_string(dir.path().join("two/skipped.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(note.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["step"], &line["position"]["row"], &line["ids"][0][1]),
        (&150.into(), &150.into(), &10.into())
    );
    assert!(line["why"].as_str().unwrap().contains("is usual"), "{line}");
    let (ending, skipped) = run("many", 150..170, 200);
    let e = ending.unwrap_err().to_string();
    assert!(e.contains("8 batches in a row") && skipped == 8, "{e}");
    assert!(dir.path().join("many/checkpoints/step-140").exists(), "the last checkpoint is kept");
}
