//! A model that was trained once and is kept: its text must come back word for word, at every level of vector instructions.
//!
//! `fixtures/golden/model` was made by the command that its card names. Levels round differently, so of each recorded token the best score must
//! lie far above the second: the prompts were chosen so, and the test checks it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use pupil_model::{Batch, Model, Network};
use pupil_tensor::kernels::level::Level;
use pupil_tensor::{DType, Graph};
use pupil_tokenizer::Tokenizer;
use serde_json::Value;

/// By how many nats the best token must lead: far more than roundings come to. The prompts were chosen to lead by three times that.
const MARGIN: f32 = 0.1;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden")
}

fn texts() -> Vec<(String, String)> {
    let known: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture().join("texts.json")).unwrap()).unwrap();
    let list = known["texts"].as_array().unwrap().iter();
    let word = |v: &Value| v.as_str().unwrap().to_owned();
    list.map(|t| (word(&t["prompt"]), word(&t["text"]))).collect()
}

fn generate(level: &str, threads: &str, prompt: &str) -> String {
    let mut c = Command::new(env!("CARGO_BIN_EXE_pupil"));
    c.env("PUPIL_SIMD", level).args([
        "--threads",
        threads,
        "generate",
        "--dtype",
        "f32",
        "--temp",
        "0",
        "--max-new",
        "24",
    ]);
    let out = c.arg("-m").arg(fixture().join("model")).arg(prompt).output().unwrap();
    assert!(out.status.success(), "{level}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn v02_the_golden_model_says_the_same_at_every_level_of_instructions() {
    let texts = texts();
    assert!(texts.len() >= 3);
    for level in Level::available() {
        for (prompt, text) in &texts {
            assert_eq!(
                generate(level.name(), "1", prompt).trim_end_matches('\n'),
                text,
                "{level}: {prompt:?}"
            );
        }
    }
    let (prompt, text) = &texts[0];
    assert_eq!(generate("portable", "3", prompt).trim_end_matches('\n'), text, "three threads");
}

#[test]
fn the_golden_texts_leave_no_doubt_at_any_token() {
    let dir = fixture().join("model");
    let Network::Gpt(gpt) = pupil_checkpoint::load(&dir).unwrap() else {
        panic!("the golden model is a GPT")
    };
    let tokenizer =
        Tokenizer::from_json(&std::fs::read_to_string(dir.join("tokenizer.json")).unwrap()).unwrap();
    for (prompt, text) in texts() {
        let begin = tokenizer.encode(&prompt).len();
        let ids = tokenizer.encode(&format!("{prompt}{text}"));
        let whole = 0..ids.len();
        let mut graph = Graph::inference(gpt.parameters(), DType::F32);
        let hidden = gpt.forward(&mut graph, &Batch::reading(&ids, std::slice::from_ref(&whole)), None);
        let scores = gpt.logits(&mut graph, &hidden);
        let (all, columns) = (scores.to_vec(), scores.cols());
        for i in begin..ids.len() {
            let row = &all[(i - 1) * columns..i * columns];
            let own = row[ids[i] as usize];
            let other = row.iter().enumerate().filter(|(id, _)| *id != ids[i] as usize).map(|(_, s)| *s);
            let margin = own - other.fold(f32::NEG_INFINITY, f32::max);
            assert!(margin > MARGIN, "{prompt:?}, token {i}: it leads by {margin}");
        }
    }
}

#[test]
fn the_golden_model_is_small_and_has_a_card_with_its_command() {
    let files = std::fs::read_dir(fixture().join("model")).unwrap().filter_map(Result::ok);
    let bytes: u64 = files.map(|f| f.metadata().unwrap().len()).sum();
    assert!(bytes < 1_000_000, "{bytes}");
    let card = std::fs::read_to_string(fixture().join("model/README.md")).unwrap();
    assert!(card.contains("pupil pretrain ") && card.contains("license: "), "{card}");
}
