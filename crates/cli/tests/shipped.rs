//! The model in `models/pupil`: small enough for the repository, there for whoever has none, and as good as its card says.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pupil")
}

/// Standard output of the program in an empty directory, nobody at its keyboard.
fn said(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut c = Command::new(env!("CARGO_BIN_EXE_pupil"));
    let out = c.current_dir(&dir).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn it_is_small_enough_to_be_carried() {
    let files = std::fs::read_dir(model()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(files.sum::<u64>() < 25_000_000);
    let card = std::fs::read_to_string(model().join("README.md")).unwrap();
    assert!(card.starts_with("---\n"), "a card begins with what programs read");
}

#[test]
fn pupil_alone_talks_with_it() {
    let said = said(&[]);
    for words in ["Hello! This is pupil.", "Paris", "Tokyo", "pupil"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[test]
fn it_answers_questions_that_it_never_saw() {
    let path = model();
    let json = said(&["eval", "-m", path.to_str().unwrap(), "--questions", "2", "--json"]);
    let sheet: serde_json::Value = serde_json::from_str(&json).unwrap();
    let score = |task: &str| {
        let scores = sheet["scores"].as_array().unwrap();
        scores.iter().find(|s| s["task"] == task).unwrap()["value"].as_f64().unwrap()
    };
    let (one, several) = (score("skills: one exchange"), score("skills: several exchanges"));
    assert!(one >= 0.92 && several >= 0.94, "{one} of single questions, {several} of conversations");
}
