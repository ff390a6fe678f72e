//! Learning from preferences and rewards: losses and gradients are PyTorch's (`tools/fixture_dpo.py`), runs give the same bits with any number of
//! threads, resumed or not, and what is preferred becomes likelier.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pupil_checkpoint::directory::plain_tensors;
use pupil_data::record::{Preference, Turn};
use pupil_data::{Examples, Items, Position, Preferences, Row};
use pupil_model::aim::advantages;
use pupil_model::gpt::Config;
use pupil_model::{Aim, Batch, Gpt, Model, Network, Settings as Architecture, families};
use pupil_tensor::kernels::pool::with_threads;
use pupil_tensor::kernels::random::Key;
use pupil_tensor::{DType, Graph, Tape};
use pupil_tokenizer::Tokenizer;
use pupil_train::align::Pairs;
use pupil_train::optim::Settings;
use pupil_train::reward::{self, Group};
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::{Ending, Event, Plan};
use serde::Deserialize;

#[derive(Deserialize)]
struct About {
    ids: Vec<Vec<u32>>,
    prompts: Vec<usize>,
    rewards: Vec<f32>,
    reference: Vec<Vec<f32>>,
    sampled: Vec<Vec<f32>>,
    cases: HashMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    beta: f32,
    #[serde(default)]
    smoothing: f32,
    #[serde(default)]
    normalised: bool,
    #[serde(default)]
    clip: f32,
    loss: f64,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn tiny() -> Gpt {
    let mut gpt = Gpt::zeros(Config { tied: false, ..families::llama(41, 16, 2, 32, [4, 2], 40) });
    let mut weights = plain_tensors(&fixtures().join("gpt/llama/weights.safetensors")).unwrap();
    let ids: Vec<_> = gpt.parameters().iter().map(|(id, p)| (id, p.name.clone())).collect();
    for (id, name) in ids {
        gpt.parameters_mut().data_mut(id).copy_from_slice(&weights.remove(&name).unwrap());
    }
    gpt
}

impl About {
    fn batch(&self, name: &str) -> Batch {
        let (mut ids, mut targets, mut weights, mut spans) = (vec![], vec![], vec![], vec![]);
        for (sequence, prompt) in self.ids.iter().zip(&self.prompts) {
            let begin = ids.len();
            ids.extend_from_slice(&sequence[..sequence.len() - 1]);
            targets.extend_from_slice(&sequence[1..]);
            weights.extend((1..sequence.len()).map(|t| f32::from(u8::from(t >= *prompt))));
            spans.push(begin..ids.len());
        }
        let mut batch = Batch::new(&ids, &targets, &weights, &spans);
        let Case { beta, smoothing, normalised, clip, .. } = self.cases[name];
        batch.aim = Some(if clip > 0.0 {
            Aim::Rewards {
                clip,
                beta,
                advantages: advantages(&self.rewards, 2),
                rewards: self.rewards.clone(),
                sampled: self.sampled.concat(),
                reference: self.reference.concat(),
            }
        } else {
            let reference = self.reference.iter().map(|r| r.iter().sum()).collect();
            Aim::Preferences { beta, smoothing, normalised, reference }
        });
        batch
    }
}

/// The largest difference, as a share of the largest expected number.
fn apart(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().fold(1e-12f64, |m, x| m.max(f64::from(x.abs())));
    got.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / size
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    let about: About =
        serde_json::from_slice(&std::fs::read(fixtures().join("align/about.json")).unwrap()).unwrap();
    let gpt = tiny();
    assert_eq!(about.cases.len(), 3);
    for (name, case) in &about.cases {
        let batch = about.batch(name);
        let mut tape = Tape::new(gpt.parameters());
        let mut graph = Graph::training(gpt.parameters(), DType::F32, &mut tape, None);
        let loss = gpt.loss(&mut graph, &batch, (1.0 / batch.count()) as f32);
        assert!((loss.mean() - case.loss).abs() < 1e-5, "{name}: {} instead of {}", loss.mean(), case.loss);
        tape.backward(gpt.parameters());
        let expected = plain_tensors(&fixtures().join(format!("align/{name}.safetensors"))).unwrap();
        for (id, p) in gpt.parameters().iter() {
            let far = apart(tape.gradients().get(id), &expected[&p.name]);
            // Some hundred roundings of 2⁻²⁴ each, as in the comparison of the plain loss.
            assert!(far < 1e-4, "{name}: gradient of {} {far:e}", p.name);
        }
    }
    // The comparison can fail: another beta is another gradient.
    let mut batch = about.batch("dpo");
    if let Some(Aim::Preferences { beta, .. }) = &mut batch.aim {
        *beta *= 1.1;
    }
    let loss = gpt.loss(&mut Graph::inference(gpt.parameters(), DType::F32), &batch, 1.0);
    assert!((loss.mean() - about.cases["dpo"].loss).abs() > 1e-3);
}

fn tokenizer() -> Tokenizer {
    pupil_tokenizer::train(
        ["say yes no please thanks assistant user one two three"; 3],
        300,
        &pupil_chat::SPECIALS,
    )
}

/// Polite replies are better than rude ones, whatever was asked.
fn preferences() -> Vec<Preference> {
    let words = ["one", "two", "three", "say", "yes", "no"];
    let each = (0..36).map(|i| {
        let said = format!("{} {}", words[i % 6], words[i / 6]);
        let (chosen, rejected) = (format!("{said} please"), format!("{said} no"));
        Preference { prompt: vec![Turn::new("user", said)], chosen, rejected }
    });
    each.collect()
}

fn plan(vocab: usize, rate: f32) -> Plan {
    Plan {
        stage: "align".into(),
        model: Architecture::Gpt(families::llama(vocab, 48, 2, 48, [4, 2], 64)),
        lora: None,
        optimiser: Settings { learning_rate: rate, ..Settings::default() },
        schedule: Schedule::Trapezoid { warmup: 2, decay: 5, floor: 0.1 },
        steps: 18,
        rows: 1,
        row_tokens: 256,
        seed: 3,
        dtype: "bf16".into(),
        evaluate_every: 6,
        save_every: 4,
        keep_best: false,
        data: "test".into(),
        limits: Default::default(),
        forecast: None,
    }
}

fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model/model.safetensors")).unwrap()
}

#[test]
fn preferred_replies_become_likelier_with_the_same_bits_every_time() {
    let (t, dir) = (tokenizer(), tempfile::tempdir().unwrap());
    let settings = Preferences { beta: 0.3, ..Preferences::default() };
    let pairs = || Pairs::new(&t, preferences().iter(), 48, settings.clone()).unwrap();
    let id_bytes = vec![1; t.len()];
    let learn = |name: &str, threads: usize, resume: bool, until: u64| {
        let plan = plan(t.len(), 3e-3);
        let network = Network::new(plan.model.clone(), plan.seed);
        let (out, mut pairs) = (dir.path().join(name), pairs());
        std::fs::create_dir_all(&out).unwrap();
        let Network::Gpt(gpt) = &network else { panic!() };
        pairs.refer(gpt, plan.dtype(), 256, &out.join("reference.json")).unwrap();
        let before = pairs.wins(gpt, plan.dtype(), 256).iter().filter(|w| **w).count();
        let (train, validation) = (&pairs, &pairs);
        let run = Run {
            plan,
            dir: out,
            id_bytes: &id_bytes,
            extra: vec![],
            end: vec![1],
            train,
            validation,
            care: Default::default(),
            about: Default::default(),
        };
        let mut observe = |e: Event<'_>| !matches!(e, Event::Step { step, .. } if step == until);
        let ending = with_threads(threads, || run.start(network, resume, &mut observe)).unwrap();
        if let Ending::Done(network, result) = ending {
            let Network::Gpt(gpt) = &*network else { panic!() };
            let after = pairs.wins(gpt, DType::Bf16, 256).iter().filter(|w| **w).count();
            assert!(before < 30 && after == 36 && result.loss.right == 36.0, "{before} {after} {result:?}");
            assert!(result.loss.mean() < 0.5 && result.bytes == 0, "{result:?}");
        }
    };
    learn("straight", 1, false, 0);
    learn("broken", 2, false, 7);
    learn("broken", 3, true, 0);
    assert!(weights(&dir.path().join("straight")) == weights(&dir.path().join("broken")));
}

#[test]
fn pairs_lie_whole_in_rows_and_come_once_an_epoch() {
    let t = tokenizer();
    let mut pairs = Pairs::new(&t, preferences().iter(), 48, Preferences::default()).unwrap();
    assert_eq!((pairs.len(), pairs.left_out), (36, 0));
    assert_eq!(Pairs::new(&t, preferences().iter(), 8, Preferences::default()).unwrap().left_out, 36);
    let gpt = Gpt::new(families::llama(t.len(), 48, 1, 32, [4, 2], 48), 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reference.json");
    pairs.refer(&gpt, DType::F32, 300, &file).unwrap();
    let mut rows = pairs.rows(300, 5);
    let (mut row, mut seen) = (Row::default(), 0);
    let end = pupil_chat::Renderer::new(&t).unwrap().end();
    let mut third = (Position::default(), Vec::new());
    while rows.position().epoch == 0 {
        let at = rows.position();
        rows.next(&mut row).unwrap();
        let reference = &row.preferences.as_ref().unwrap().reference;
        assert!(row.ids.len() <= 300 && row.spans.len() == reference.len() && row.spans.len() % 2 == 0);
        assert!(reference.iter().all(|r| *r < -1.0));
        for s in &row.spans {
            let learned: Vec<u32> =
                s.clone().filter(|&i| row.weights[i] > 0.0).map(|i| row.targets[i]).collect();
            let said =
                String::from_utf8(learned.iter().flat_map(|&i| t.bytes(i).unwrap()).copied().collect());
            let said = said.unwrap();
            assert!(said.ends_with("please<|im_end|>") || said.ends_with("no<|im_end|>"), "{said}");
            assert_eq!(learned.iter().filter(|&&i| i == end).count(), 1);
        }
        seen += row.spans.len() / 2;
        if at.row == 2 {
            third = (at, row.ids.clone());
        }
    }
    assert_eq!(seen, 36);
    rows.seek(third.0).unwrap();
    rows.next(&mut row).unwrap();
    assert_eq!(row.ids, third.1);
    assert!(rows.seek(Position { row: 900, ..Position::default() }).is_err());
    drop(rows);
    std::fs::write(&file, b"[[1.0, 2.0]]").unwrap();
    assert!(pairs.refer(&gpt, DType::F32, 300, &file).unwrap_err().to_string().contains("1 pairs"));
}

#[test]
fn rewarded_replies_become_likelier_with_the_same_bits_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = Items::default();
    // A reply is good as far as it says 5; replies are drawn from all ids evenly, whatever the model thinks.
    let mut draw = |_: &Gpt, round: u64| -> Result<Vec<Group>, String> {
        let groups = (0..4u64).map(|g| {
            let replies: Vec<Vec<u32>> = (0..6u64)
                .map(|i| {
                    let key = Key { seed: 1, stream: 10 * g + i, step: round };
                    (0..4).map(|t| key.draw(t)[0] % 12).collect()
                })
                .collect();
            let rewards = replies.iter().map(|r| r.iter().filter(|&&x| x == 5).count() as f32).collect();
            Group { prompt: vec![1, 2, g as u32], replies, rewards }
        });
        Ok(groups.collect())
    };
    for (updates, beta) in [(1, 0.0), (2, 0.05)] {
        let mut learn = |name: &str, threads: usize, resume: bool, until: u64| {
            let plan = plan(40, 1e-2);
            let network = Network::new(plan.model.clone(), plan.seed);
            let reference = Gpt::new(families::llama(40, 48, 2, 48, [4, 2], 64), plan.seed);
            let out = dir.path().join(format!("{name}{updates}"));
            let run = Run {
                plan,
                dir: out,
                id_bytes: &[],
                extra: vec![],
                end: vec![1],
                train: &nothing,
                validation: &nothing,
                care: Default::default(),
                about: Default::default(),
            };
            let settings = reward::Settings { group: 6, questions: 4, updates, clip: 0.2, beta };
            let mut observe = |e: Event<'_>| !matches!(e, Event::Step { step, .. } if step == until);
            let ending = with_threads(threads, || {
                run.reinforce(network, Some(&reference), settings, resume, &mut draw, &mut observe)
            });
            let Ending::Done(network, _) = ending.unwrap() else { return };
            let Network::Gpt(gpt) = &*network else { panic!() };
            let said = |gpt: &Gpt| {
                let whole = 0..3;
                let batch =
                    Batch::new(&[1, 2, 0], &[0, 0, 5], &[0.0, 0.0, 1.0], std::slice::from_ref(&whole));
                gpt.log_probabilities(&mut Graph::inference(gpt.parameters(), DType::F32), &batch)[0]
            };
            assert!(said(gpt) > said(&reference) + 0.5, "{} after {}", said(gpt), said(&reference));
        };
        learn("straight", 1, false, 0);
        learn("broken", 3, false, 7);
        learn("broken", 2, true, 0);
        let read = |name: &str| weights(&dir.path().join(format!("{name}{updates}")));
        assert!(read("straight") == read("broken"));
    }
}
