//! Cases of reliability, by their numbers: runs on disks that fail, in directories that are not theirs, stopped and damaged; and numbers.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use pupil_checkpoint::Error as FileError;
use pupil_checkpoint::fs::fail::{FailFs, Failure};
use pupil_checkpoint::fs::{Fs, RealFs};
use pupil_checkpoint::state::{Keep, Store};
use pupil_data::{Items, Packer, Row};
use pupil_model::{Batch, Gpt, Model, Network, Settings as Architecture, families, mlp};
use pupil_tensor::{DType, Loss};
use pupil_train::evaluate::{evaluate, fill};
use pupil_train::optim::Settings;
use pupil_train::run::{Error, Run};
use pupil_train::schedule::Schedule;
use pupil_train::step::Step;
use pupil_train::{About, Care, Ending, Event, Plan};
use serde_json::Value;

const VOCAB: usize = 20;
const STEPS: u64 = 8;

fn items() -> Items {
    let mut items = Items::default();
    for s in 0..12u32 {
        let ids: Vec<u32> = (0..9 + s % 5).map(|i| (i * (s % 3 + 1) + s) % VOCAB as u32).collect();
        items.push_document(&ids, 16);
    }
    items
}

/// A run of milliseconds: 8 steps, a checkpoint after each second one, an evaluation after each fourth.
fn plan() -> Plan {
    Plan {
        stage: "pretrain".into(),
        model: Architecture::Mlp(mlp::Config { vocab: VOCAB, context: 16, window: 3, width: 8, hidden: 8 }),
        optimiser: Settings::default(),
        schedule: Schedule::Constant,
        steps: STEPS,
        rows: 1,
        row_tokens: 16,
        seed: 3,
        dtype: "f32".into(),
        evaluate_every: 4,
        save_every: 2,
        keep_best: false,
        data: "test".into(),
        limits: Default::default(),
        forecast: None,
        lora: None,
    }
}

fn at_once() -> Care {
    Care { retry: Duration::ZERO, ..Care::default() }
}

type Observe<'a> = &'a mut dyn FnMut(Event<'_>) -> bool;

fn start(
    fs: &dyn Fs,
    dir: &Path,
    plan: Plan,
    care: Care,
    resume: bool,
    observe: Observe<'_>,
) -> Result<Ending, Error> {
    let items = items();
    let network = Network::new(plan.model.clone(), plan.seed);
    let extra = vec![("tokenizer.json".to_owned(), b"{}".to_vec())];
    let (train, validation, id_bytes) = (&items, &items, &[1; VOCAB]);
    let about = About { command: "pupil pretrain".into(), data: vec!["`a.txt`".into()], base: None };
    let run =
        Run { plan, dir: dir.to_owned(), id_bytes, extra, end: vec![1], train, validation, care, about };
    run.start_on(fs, network, resume, observe)
}

fn whole(dir: &Path, resume: bool) -> Result<Ending, Error> {
    start(&RealFs, dir, plan(), at_once(), resume, &mut |_| true)
}

fn until(dir: &Path, resume: bool, until: u64) -> Result<Ending, Error> {
    let mut observe = |e: Event<'_>| !matches!(e, Event::Step { step, .. } if step == until);
    start(&RealFs, dir, plan(), at_once(), resume, &mut observe)
}

fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model/model.safetensors")).unwrap()
}

/// The metrics without what depends on the clock and the process.
fn metrics(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|l| l.split("\"seconds\"").next().unwrap().to_owned()).collect()
}

fn undisturbed() -> (Vec<u8>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(whole(&dir.path().join("r"), false), Ok(Ending::Done(..))));
    (weights(&dir.path().join("r")), metrics(&dir.path().join("r")))
}

#[test]
fn c03_c08_a_run_whose_disk_refuses_at_any_operation_stops_with_a_storage_error_and_loses_nothing() {
    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;
    let (model, lines) = undisturbed();
    for (errno, lasting, stride) in [(ENOSPC, true, 2), (EIO, false, 5)] {
        let mut refused = 0;
        for k in (1..).step_by(stride) {
            let dir = tempfile::tempdir().unwrap();
            let run = dir.path().join("r");
            let fs = FailFs::new(&RealFs, k, lasting, Failure::Errno(errno));
            match start(&fs, &run, plan(), at_once(), false, &mut |_| true) {
                // What may fail: the removal of old checkpoints.
                Ok(_) => {}
                Err(Error::Unsaved { cause, last }) => {
                    refused += 1;
                    let checkpoints = run.join("checkpoints");
                    let there = Store::new(&RealFs, &checkpoints, Keep::default());
                    let found =
                        there.newest().unwrap().newest.map(|(_, state)| state["step"].as_u64().unwrap());
                    assert!(found >= last, "operation {k}: {cause}; {found:?}, {last:?} reported");
                }
                Err(Error::File(
                    FileError::Storage { .. } | FileError::Read { .. } | FileError::Full { .. },
                )) => {}
                Err(e) => panic!("operation {k}: {e}"),
            }
            // With the disk in order the run goes on and ends as if nothing had happened.
            whole(&run, true).unwrap_or_else(|e| panic!("operation {k}: {e}"));
            assert!(weights(&run) == model && metrics(&run) == lines, "operation {k}");
            if !fs.was_reached() {
                break;
            }
        }
        assert!(refused > 20, "{refused}");
    }
}

#[test]
fn c03_the_message_of_a_full_disk_has_bytes_and_the_way_on() {
    let cause = FileError::Full { path: "r/checkpoints".into(), needs: 412_000_000, free: Some(37_000_000) };
    let text = Error::Unsaved { cause, last: Some(900) }.to_string();
    for words in ["412.0 MB", "37.0 MB are free", "step 900", "--resume"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn c04_a_save_that_failed_is_tried_once_more_and_then_the_run_ends() {
    let dir = tempfile::tempdir().unwrap();
    let care = Care { retry: Duration::from_millis(5), ..Care::default() };
    let failed = |name: &str, lasting: bool, k: u64| {
        let fs = FailFs::new(&RealFs, k, lasting, Failure::Errno(28));
        let mut failed = 0;
        let ending = start(&fs, &dir.path().join(name), plan(), care, false, &mut |e| {
            failed += u64::from(matches!(e, Event::SaveFailed { .. }));
            true
        });
        (ending, failed)
    };
    // The first operation of a save that fails: found by counting, for what comes before it is another error.
    let k = (1..200).find(|k| failed(&format!("find-{k}"), false, *k).1 == 1).unwrap();
    assert!(matches!(failed("once", false, k), (Ok(Ending::Done(..)), 1)));
    let (ending, times) = failed("lasting", true, k);
    assert!(matches!(ending, Err(Error::Unsaved { .. })) && times == 1);
}

#[test]
fn c05_damaged_checkpoints_are_set_aside_and_said_and_nothing_sound_is_no_fresh_start() {
    let (model, lines) = undisturbed();
    let dir = tempfile::tempdir().unwrap();
    until(dir.path(), false, 5).unwrap();
    std::fs::write(dir.path().join("checkpoints/step-5/optimiser.safetensors"), b"torn").unwrap();
    let mut said = Vec::new();
    start(&RealFs, dir.path(), plan(), at_once(), true, &mut |e| {
        match e {
            Event::Damaged { error, aside } => said.push((error.to_string(), aside.map(Path::to_owned))),
            Event::Resumed { step } => assert_eq!(step, 4),
            _ => {}
        }
        true
    })
    .unwrap();
    let [(error, Some(aside))] = &said[..] else { panic!("{said:?}") };
    assert!(error.contains("step-5/optimiser.safetensors") && aside.join("config.json").exists(), "{said:?}");
    assert!(weights(dir.path()) == model && metrics(dir.path()) == lines);
    let checkpoints = dir.path().join("checkpoints");
    for name in RealFs.list(&checkpoints).unwrap().iter().filter(|n| n.starts_with("step-")) {
        std::fs::write(checkpoints.join(name).join("state.json"), b"").unwrap();
    }
    let before = (RealFs.list(&checkpoints).unwrap(), metrics(dir.path()));
    let e = whole(dir.path(), true).err().unwrap();
    assert!(matches!(e, Error::File(FileError::NoneSound { .. })), "{e}");
    assert!(e.to_string().contains("state.json"), "{e}");
    assert_eq!(before, (RealFs.list(&checkpoints).unwrap(), metrics(dir.path())));
}

#[test]
fn c06_the_best_checkpoint_stays_and_is_the_finished_model_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    // Rates that grow: the first evaluation is the best.
    let plan = Plan {
        optimiser: Settings { learning_rate: 0.5, ..Settings::default() },
        schedule: Schedule::Trapezoid { warmup: 8, decay: 0, floor: 0.0 },
        evaluate_every: 2,
        save_every: 1,
        keep_best: true,
        ..plan()
    };
    let care = Care { keep: Keep { last: 1, every: None }, ..at_once() };
    let mut losses = Vec::new();
    start(&RealFs, dir.path(), plan, care, false, &mut |e| {
        if let Event::Evaluated { step, result, .. } = e {
            losses.push((result.loss.mean(), step));
        }
        true
    })
    .unwrap();
    let best = losses.iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;
    assert!(best < STEPS - 1, "{losses:?}");
    let checkpoints = dir.path().join("checkpoints");
    assert_eq!(RealFs.list(&checkpoints).unwrap(), [format!("step-{best}"), format!("step-{}", STEPS - 1)]);
    let there = std::fs::read(checkpoints.join(format!("step-{best}/model.safetensors"))).unwrap();
    assert!(there == weights(dir.path()));
}

#[test]
fn c07_a_torn_line_and_lines_of_steps_that_are_done_again_leave_each_step_once() {
    let (model, lines) = undisturbed();
    let dir = tempfile::tempdir().unwrap();
    until(dir.path(), false, 5).unwrap();
    let path = dir.path().join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let later = "{\"step\":6,\"loss\":1.0}\n{\"step\":7,\"validation_loss\":1.0}\n{\"step\":8,\"lo";
    std::fs::write(&path, text + later).unwrap();
    std::fs::write(dir.path().join("skipped.jsonl"), "{\"step\":6}\n{\"st").unwrap();
    whole(dir.path(), true).unwrap();
    assert!(weights(dir.path()) == model);
    assert_eq!(metrics(dir.path()), lines);
    assert_eq!(std::fs::read(dir.path().join("skipped.jsonl")).unwrap(), b"");
}

#[test]
fn c09_a_second_run_in_the_directory_is_refused_at_once_and_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut refused = None;
    start(&RealFs, dir.path(), plan(), at_once(), false, &mut |e| {
        if matches!(e, Event::Step { step: 3, .. }) {
            let begun = std::time::Instant::now();
            refused = whole(dir.path(), true).err();
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
        true
    })
    .unwrap();
    let e = refused.unwrap();
    assert!(matches!(e, Error::File(FileError::Locked { .. })), "{e}");
    assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
}

#[test]
fn c10_directories_that_are_not_this_runs_are_refused_and_odd_names_work() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter.txt"), "dear").unwrap();
    let e = whole(&other, false).err().unwrap();
    assert!(matches!(&e, Error::Usage(what) if what.contains("letter.txt")), "{e}");
    assert_eq!(RealFs.list(&other).unwrap(), [".lock", "letter.txt"]);
    std::fs::write(dir.path().join("tokenizer.json"), "another").unwrap();
    assert!(matches!(whole(dir.path(), false).err(), Some(Error::File(_) | Error::Usage(_))));
    // Resumed with another plan: each difference is listed.
    let run = dir.path().join("r");
    until(&run, false, 3).unwrap();
    let changed = Plan { seed: 4, save_every: 3, ..plan() };
    let e = start(&RealFs, &run, changed, at_once(), true, &mut |_| true).err().unwrap().to_string();
    assert!(e.contains("seed: 4 here, 3 there") && e.contains("save_every"), "{e}");
    assert!(matches!(whole(&run, false).err(), Some(Error::Usage(what)) if what.contains("--resume")));
    let mut names: Vec<PathBuf> =
        ["two words", "a\nline", "-m", "end/", "ä", "%20", "x.y"].map(PathBuf::from).into();
    names.push("a".repeat(200).into());
    #[cfg(unix)]
    {
        let raw: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![b'n', 0xff, 0xfe]);
        names.push(raw.into());
    }
    for name in names {
        let run = dir.path().join("names").join(&name);
        until(&run, false, 3).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        whole(&run, true).unwrap_or_else(|e| panic!("{name:?}: {e}"));
    }
}

#[test]
fn c11_a_run_that_is_stopped_in_its_first_step_in_an_evaluation_or_at_its_end_goes_on_with_the_same_bits() {
    let (model, lines) = undisturbed();
    // Stops at the n-th event of a kind.
    type Is = fn(&Event<'_>) -> bool;
    let stops: [(&str, Is); 4] = [
        ("first step", |e| matches!(e, Event::Step { step: 1, .. })),
        ("in an evaluation", |e| matches!(e, Event::Working)),
        ("after an evaluation", |e| matches!(e, Event::Evaluated { step: 4, .. })),
        ("last step", |e| matches!(e, Event::Step { step: STEPS, .. })),
    ];
    for (what, stop) in stops {
        let dir = tempfile::tempdir().unwrap();
        let ending = start(&RealFs, dir.path(), plan(), at_once(), false, &mut |e| !stop(&e));
        assert!(matches!(ending, Ok(Ending::Stopped { .. })), "{what}");
        assert!(!dir.path().join("model").exists(), "{what}");
        whole(dir.path(), true).unwrap();
        assert!(weights(dir.path()) == model, "{what}");
        assert_eq!(metrics(dir.path()), lines, "{what}");
    }
}

#[test]
fn c12_a_directory_that_goes_away_under_the_run_is_a_storage_error_and_one_that_moved_goes_on() {
    let (model, _) = undisturbed();
    for moved in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|n| dir.path().join(n));
        let ending = start(&RealFs, &here, plan(), at_once(), false, &mut |e| {
            if matches!(e, Event::Step { step: 5, .. }) {
                if moved {
                    std::fs::rename(&here, &there).unwrap()
                } else {
                    std::fs::remove_dir_all(&here).unwrap()
                }
            }
            true
        });
        assert!(matches!(ending, Err(Error::Unsaved { last: Some(4), .. })), "{:?}", ending.err());
        assert!(!here.exists());
        if moved {
            whole(&there, true).unwrap();
            assert!(weights(&there) == model);
        }
    }
}

#[test]
fn every_checkpoint_and_the_model_have_a_card_that_says_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    until(dir.path(), false, 5).unwrap();
    whole(dir.path(), true).unwrap();
    for (folder, words) in [("checkpoints/step-6", "6 of 8 steps"), ("model", "finished: 8 of 8 steps")] {
        let text = std::fs::read_to_string(dir.path().join(folder).join("README.md")).unwrap();
        for words in [
            words,
            "license: unknown",
            "pupil pretrain",
            "`a.txt`",
            "bits per byte",
            "Limits",
            "| seed | 3 |",
        ] {
            assert!(text.contains(words), "{folder}: no {words:?} in {text}");
        }
        assert!(pupil_checkpoint::load(&dir.path().join(folder)).is_ok());
    }
}

/// Changes `state.json` of a checkpoint, and its entry in the manifest.
fn change_state(checkpoint: &Path, change: impl FnOnce(&mut Value)) {
    let path = checkpoint.join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    let text = state.to_string();
    std::fs::write(&path, &text).unwrap();
    let path = checkpoint.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for f in manifest["files"].as_array_mut().unwrap() {
        if f["name"] == "state.json" {
            f["bytes"] = text.len().into();
            f["blake3"] = blake3::hash(text.as_bytes()).to_hex().as_str().into();
        }
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn v05_n11_other_kernels_or_instructions_are_said_or_with_strict_bits_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (field, value) in [("kernels", Value::from(999)), ("simd", Value::from("abacus"))] {
        let run = dir.path().join(field);
        until(&run, false, 5).unwrap();
        change_state(&run.join("checkpoints/step-5"), |s| s["bits"][field] = value);
        let strict = Care { strict_bits: true, ..at_once() };
        let e = start(&RealFs, &run, plan(), strict, true, &mut |_| true).err().unwrap();
        assert!(matches!(e, Error::File(FileError::Content { .. })), "{e}");
        assert!(e.to_string().contains("999") || e.to_string().contains("abacus"), "{e}");
        let mut said = 0;
        start(&RealFs, &run, plan(), at_once(), true, &mut |e| {
            said += u64::from(matches!(e, Event::OtherBits { .. }));
            true
        })
        .unwrap();
        assert_eq!(said, 1);
    }
    let run = dir.path().join("same");
    until(&run, false, 5).unwrap();
    start(&RealFs, &run, plan(), Care { strict_bits: true, ..at_once() }, true, &mut |_| true).unwrap();
}

#[test]
fn v01_v06_a_run_of_another_format_is_refused_and_none_is_assumed() {
    let dir = tempfile::tempdir().unwrap();
    until(dir.path(), false, 3).unwrap();
    let path = dir.path().join("run.json");
    let good: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with = |format: Option<Value>| {
        let mut v = good.clone();
        match format {
            Some(f) => v["format"] = f,
            None => drop(v.as_object_mut().unwrap().remove("format")),
        }
        std::fs::write(&path, v.to_string()).unwrap();
        whole(dir.path(), true).err().unwrap()
    };
    assert!(matches!(with(Some(2.into())), Error::File(FileError::Version { format: 2, reads: 1, .. })));
    for bad in [None, Some(0.into()), Some((-1).into()), Some("1".into()), Some(1.8e19.into())] {
        assert!(matches!(with(bad), Error::File(FileError::Content { .. })));
    }
    std::fs::write(&path, good.to_string()).unwrap();
    whole(dir.path(), true).unwrap();
}

#[test]
fn n02_weights_that_leave_the_finite_end_the_run_and_are_never_saved() {
    let dir = tempfile::tempdir().unwrap();
    let wild = Settings { learning_rate: 1e38, clip: 0.0, ..Settings::default() };
    let plan = Plan { optimiser: wild, save_every: 1, ..plan() };
    let e = start(&RealFs, dir.path(), plan, at_once(), false, &mut |_| true).err().unwrap();
    let text = e.to_string();
    let is_told = matches!(e, Error::Diverged(..)) || matches!(e, Error::File(FileError::Content { .. }));
    assert!(is_told && (text.contains("NaN") || text.contains("inf") || text.contains("finite")), "{text}");
    assert!(!dir.path().join("model").exists());
    let checkpoints = dir.path().join("checkpoints");
    for name in RealFs.list(&checkpoints).unwrap_or_default() {
        let network = pupil_checkpoint::load(&checkpoints.join(name)).unwrap();
        assert!(network.parameters().iter().all(|(_, p)| p.data().iter().all(|x| x.is_finite())));
    }
}

#[test]
fn n02_n03_the_policy_for_a_bad_batch_is_to_pass_it_over_or_to_end() {
    let dir = tempfile::tempdir().unwrap();
    // Every second document has nothing to learn: batches made of it alone are passed over and named.
    let mut items = Items::default();
    for s in 0..8u32 {
        let ids: Vec<u32> = (0..16).map(|i| (i * 3 + s) % VOCAB as u32).collect();
        items.push_read(&ids, &ids, &vec![s % 2 == 0; ids.len()], ids.len());
    }
    for halt in [false, true] {
        let care = Care { halt, ..at_once() };
        let plan = Plan { save_every: 1, ..plan() };
        let network = Network::new(plan.model.clone(), plan.seed);
        let dir = dir.path().join(format!("{halt}"));
        let (train, validation, about) = (&items, &items, About::default());
        let run = Run {
            plan,
            dir: dir.clone(),
            id_bytes: &[1; VOCAB],
            extra: vec![],
            end: vec![],
            train,
            validation,
            care,
            about,
        };
        let mut skipped = 0;
        let ending = run.start(network, false, &mut |e| {
            skipped += u64::from(matches!(e, Event::Skipped { .. }));
            true
        });
        let notes = std::fs::read_to_string(dir.join("skipped.jsonl")).unwrap();
        assert!(notes.contains("no token of the batch") && notes.contains("\"position\""), "{notes}");
        if halt {
            assert!(matches!(ending, Err(Error::Halted(_))) && skipped == 1);
        } else {
            assert!(matches!(ending, Ok(Ending::Done(..))) && skipped > 1, "{skipped}");
        }
    }
}

fn gpt() -> Gpt {
    Gpt::new(families::llama(VOCAB, 16, 2, 16, [2, 1], 24), 1)
}

fn batch(weights: &[f32], spans: &[std::ops::Range<usize>]) -> Batch {
    let ids: Vec<u32> = (0..weights.len() as u32).map(|i| i * 7 % VOCAB as u32).collect();
    let targets: Vec<u32> = ids.iter().map(|i| (i + 1) % VOCAB as u32).collect();
    Batch::new(&ids, &targets, weights, spans)
}

#[test]
fn n04_what_is_not_learned_counts_nothing_and_a_step_without_a_learned_token_changes_nothing() {
    let spans = |n: usize| std::slice::from_ref(&(0..n)).to_vec();
    let learned = batch(&[1.0, 1.0, 0.0, 1.0], &spans(4));
    let masked = || batch(&[0.0; 6], &spans(6));
    let run = |batches: &[Batch]| {
        let mut model = gpt();
        let mut step = Step::new(&model, Settings::default(), DType::F32, 7);
        let outcome = step.run(&mut model, batches, 1.0);
        let weights: Vec<u32> =
            model.parameters().iter().flat_map(|(_, p)| p.data().iter().map(|x| x.to_bits())).collect();
        (outcome, weights, step.optimiser().steps())
    };
    let (alone, weights, _) = run(std::slice::from_ref(&learned));
    let (beside, same, _) = run(&[learned, masked()]);
    assert_eq!((alone.unwrap(), weights), (beside.unwrap(), same));
    let (nothing, weights, steps) = run(&[masked()]);
    let fresh: Vec<u32> =
        gpt().parameters().iter().flat_map(|(_, p)| p.data().iter().map(|x| x.to_bits())).collect();
    assert!(nothing.unwrap_err().to_string().contains("no token") && weights == fresh && steps == 0);
}

#[test]
fn n05_the_same_sequences_in_one_two_or_eight_micro_batches_give_the_same_step() {
    let lengths = [3usize, 16, 1, 9, 12, 5, 2, 7];
    let begins: Vec<usize> = lengths
        .iter()
        .scan(0, |at, n| {
            let b = *at;
            *at += n;
            Some(b)
        })
        .collect();
    let all: usize = lengths.iter().sum();
    let ids: Vec<u32> = (0..all as u32).map(|i| (i * i + 3) % VOCAB as u32).collect();
    let targets: Vec<u32> = (0..all as u32).map(|i| i * 5 % VOCAB as u32).collect();
    let weights: Vec<f32> = (0..all).map(|i| f32::from(u8::from(i % 4 != 1))).collect();
    let run = |per: usize| {
        let batches: Vec<Batch> = lengths
            .chunks(per)
            .zip(begins.chunks(per))
            .map(|(n, b)| {
                let (from, to) = (b[0], b[b.len() - 1] + n[n.len() - 1]);
                let spans: Vec<_> = b.iter().zip(n).map(|(b, n)| b - from..b - from + n).collect();
                Batch::new(&ids[from..to], &targets[from..to], &weights[from..to], &spans)
            })
            .collect();
        let mut model = gpt();
        let mut step = Step::new(&model, Settings::default(), DType::F32, 7);
        let outcome = step.run(&mut model, &batches, 1.0).unwrap();
        (outcome.loss.mean(), outcome.gradient_norm)
    };
    let (loss, norm) = run(8);
    for per in [4, 2, 1] {
        let (l, n) = run(per);
        assert!(
            (l - loss).abs() < 1e-6 * loss && (n - norm).abs() < 1e-6 * norm,
            "{per}: {l} {loss}, {n} {norm}"
        );
    }
}

#[test]
fn n13_evaluations_of_nothing_of_one_token_and_in_other_rows_are_what_they_should_be() {
    let model = gpt();
    let bytes = [2u32; VOCAB];
    let mut one = Items::default();
    one.push_document(&[3, 4], 16);
    let nothing = evaluate(&model, &Items::default(), &bytes, 16, DType::F32).unwrap();
    assert!(nothing.loss.weight == 0.0 && nothing.bytes == 0);
    let single = evaluate(&model, &one, &bytes, 16, DType::F32).unwrap();
    assert_eq!((single.loss.weight, single.bytes), (1.0, 2));
    // A text longer than the context: its windows sum to the whole.
    let whole = evaluate(&model, &items(), &bytes, 16, DType::F32).unwrap();
    let wide = evaluate(&model, &items(), &bytes, 64, DType::F32).unwrap();
    assert_eq!((whole.loss.weight, whole.bytes), (wide.loss.weight, wide.bytes));
    assert!((whole.loss.sum - wide.loss.sum).abs() < 1e-3, "{whole:?} {wide:?}");
    assert_eq!(whole.bytes, 2 * whole.loss.weight as u64);
}

#[test]
fn n13_moments_of_other_parameters_are_refused_by_name_and_shape() {
    let (model, other) = (gpt(), Gpt::new(families::llama(VOCAB, 16, 2, 20, [2, 1], 24), 1));
    let mut step = Step::new(&model, Settings::default(), DType::F32, 7);
    let parameters = model.parameters();
    let find = |name: &str, _: usize| {
        let id = other.parameters().find(name)?;
        Some(other.parameters().get(id).data().to_vec())
    };
    let e = step.optimiser_mut().restore(parameters, 5, find).unwrap_err();
    assert!(e.contains("moment of `") && e.contains("numbers"), "{e}");
    let e = step.optimiser_mut().restore(parameters, 5, |_, _| None).unwrap_err();
    assert!(e.contains("is missing"), "{e}");
}

#[test]
fn n06_a_sequence_of_one_token_and_one_that_fills_the_context_learn_beside_each_other() {
    let mut items = Items::default();
    items.push_document(&[1, 2], 16);
    items.push_document(&(0..17).collect::<Vec<u32>>(), 16);
    let mut row = Row::default();
    let mut one = [Batch::default()];
    Packer::new(&items, 32, 1).fill(0, &mut row);
    fill(&mut one[0], &row);
    let mut model = gpt();
    let mut step = Step::new(&model, Settings::default(), DType::F32, 7);
    let outcome = step.run(&mut model, &one, 1.0).unwrap();
    assert!(outcome.loss.mean().is_finite() && outcome.loss.weight >= 16.0);
}

#[test]
fn n10_sums_and_counts_stay_exact_beyond_f32_and_32_bits() {
    let one = Loss { sum: 1.0, weight: 1.0, right: 1.0 };
    let mut all = Loss { sum: 1e8, weight: 1e8, right: 5e7 };
    (0..1000).for_each(|_| all += one);
    assert_eq!(all, Loss { sum: 1e8 + 1000.0, weight: 1e8 + 1000.0, right: 5e7 + 1000.0 });
    let schedule = Schedule::Trapezoid { warmup: 10, decay: 1 << 40, floor: 0.0 };
    let [flat, half] = [1 << 39, (1 << 41) - (1 << 39)].map(|step| schedule.factor(step, 1 << 41));
    assert!(flat == 1.0 && (half - 0.5).abs() < 1e-6, "{flat} {half}");
}
