//! The binary as a person runs it: exit codes, messages, interruption and resuming.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output};

fn pupil(dir: &Path, arguments: &str) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_pupil"));
    c.current_dir(dir).args(arguments.split_whitespace()).stdin(std::process::Stdio::null());
    c
}

fn check(dir: &Path, arguments: &str, code: i32, words: &[&str]) -> Output {
    let out = pupil(dir, arguments).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(code), "{arguments}: {text}");
    for w in words {
        assert!(text.contains(w), "{arguments}: no {w:?} in {text}");
    }
    out
}

const TINY: &str =
    "--layers 1 --width 32 --heads 2 --context 32 --vocab 300 --batch-tokens 128 --save-every 1000";

#[test]
fn mistakes_are_named_and_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("empty.txt"), "").unwrap();
    std::fs::write(d.join("binary.txt"), [0, 1, 2]).unwrap();
    std::fs::write(d.join("good.txt"), "a few words to learn from. ".repeat(200)).unwrap();
    check(d, "pretrain --data empty.txt --out r --steps 2", 3, &["empty.txt", "is empty", "UTF-8"]);
    check(d, "pretrain --data binary.txt --out r --steps 2", 3, &["binary.txt", "NUL"]);
    check(d, "pretrain --data absent.txt --out r --steps 2", 3, &["absent.txt"]);
    check(d, "pretrain --data good.txt --out r --steps 0", 2, &["--steps 0"]);
    check(
        d,
        "pretrain --data good.txt --out r --steps 2 --width 33 --heads 2",
        2,
        &["--width 33", "--heads 2"],
    );
    check(d, "chat -m nowhere", 2, &["nowhere", "speedrun"]);
    check(d, "pretrain --steps", 2, &["--steps", "--help"]);
    check(d, "bench train --dtype f64", 1, &["f64"]);
    let out = pupil(d, "chat -m nowhere").env("PUPIL_SIMD", "sse9").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("sse9"));
    std::fs::write(d.join("file"), "x").unwrap();
    check(d, &format!("pretrain --data good.txt --out file/r --steps 2 {TINY}"), 4, &["file/r"]);
}

#[test]
fn a_run_is_interrupted_goes_on_and_gives_a_model_that_talks() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let line =
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello there"}]}"#;
    std::fs::write(d.join("chats.jsonl"), format!("{line}\n").repeat(30)).unwrap();
    std::fs::write(d.join("text.txt"), "one two three four five six seven. ".repeat(300)).unwrap();
    let command = format!("pretrain --data text.txt chats.jsonl --out run --steps 3000 {TINY}");
    let mut child = pupil(d, &command).stderr(std::process::Stdio::null()).spawn().unwrap();
    let metrics = d.join("run/metrics.jsonl");
    let begun = std::time::Instant::now();
    while std::fs::read_to_string(&metrics).unwrap_or_default().lines().count() < 5 {
        assert!(
            begun.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none(),
            "the run does not begin"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    check(d, &command, 1, &["holds a run already", "--resume"]);
    check(d, &format!("{command} --resume"), 0, &["going on after step", "bits per byte"]);
    check(
        d,
        "finetune -m run --data chats.jsonl --out chat --steps 120 --batch-tokens 128",
        0,
        &["fine-tuning took"],
    );
    let said = check(d, "chat -m chat --temp 0 -p hi", 0, &[]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "hello there");
    check(d, "generate -m run --temp 0 --max-new 8 -p three", 0, &[]);
}
