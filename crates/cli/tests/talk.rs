//! Talking, as a person or a script does it: one message, a pipe, JSON, no model named; exit codes and what goes to which stream.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pupil_chat::SPECIALS;
use pupil_model::{Gpt, Network, families};

/// A small model of random weights with a tokenizer for chats.
fn model(dir: &Path, specials: &[&str]) {
    let t = pupil_tokenizer::train(["system user assistant hello there, how are you"; 4], 300, specials);
    let network = Network::from(Gpt::new(families::llama(t.len(), 120, 1, 32, [2, 2], 48), 3));
    let extra = [
        ("tokenizer.json".to_owned(), t.to_json().into_bytes()),
        ("tokenizer_config.json".to_owned(), b"{}".to_vec()),
    ];
    pupil_checkpoint::save(dir, &network, &[1], &extra).unwrap();
}

fn pupil(dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_pupil"));
    c.current_dir(dir).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = c.spawn().unwrap();
    // A program that leaves before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(o: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (o.status.code().unwrap(), text(&o.stdout), text(&o.stderr))
}

#[test]
fn replies_go_to_standard_output_and_notes_to_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS);
    let talk = |arguments: &[&str], input: &str| {
        let all: Vec<&str> =
            ["chat", "-m", "m", "--max-tokens", "6"].iter().chain(arguments).copied().collect();
        said(&pupil(dir.path(), &all, input))
    };
    // The likeliest token of these weights is the last one again, which ends no reply; one that is drawn may.
    let (code, once, notes) = talk(&["-p", "hello", "--temp", "0"], "");
    assert_eq!(code, 0);
    assert!(!once.is_empty() && notes.contains("cut after 6 tokens"), "{once} {notes}");
    let drawn = |seed| talk(&["-p", "hello", "--seed", seed, "--temp", "5", "--min-p", "0"], "").1;
    assert_eq!(drawn("1"), drawn("1"), "the same seed gives the same reply");
    assert_ne!(drawn("1"), drawn("2"));
    // A line for each question; the conversation goes on, so the same question need not have the same answer.
    let (code, json, _) = talk(&["--json", "--temp", "0"], "hello\n\nhello\n");
    assert_eq!(code, 0);
    let replies: Vec<serde_json::Value> = json.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[0]["ended"], "length");
    assert_eq!(replies[0]["tokens"], 6);
    let number = |i: usize, key: &str| replies[i][key].as_u64().unwrap();
    // All but the last token of the first turn lay in the cache.
    assert_eq!(number(1, "cached_tokens"), number(0, "prompt_tokens") + 5);
    let (_, table, _) = talk(&["-p", "hello", "--show-probs", "--temp", "0"], "");
    let rows = table.lines().filter(|l| l.contains(" %   of")).count();
    assert!(rows == 6 && !table.contains('\x1b'), "{table}");
}

#[test]
fn k03_long_messages_and_full_contexts_are_said() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS);
    let long = "z".repeat(500);
    let (code, out, notes) = said(&pupil(dir.path(), &["chat", "-m", "m", "-p", &long], ""));
    assert!(code == 1 && out.is_empty(), "{code} {out}");
    assert!(notes.contains("tokens") && notes.contains("holds 120"), "{notes}");
    let lines = "hello there, how are you\n".repeat(12);
    let (code, _, notes) = said(&pupil(dir.path(), &["chat", "-m", "m", "--max-tokens", "20"], &lines));
    assert!(code == 0 && notes.contains("messages are forgotten"), "{code} {notes}");
}

#[test]
fn n12_settings_without_a_meaning_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS);
    for (arguments, words) in [
        (&["--temp", "NaN"][..], "temperature NaN"),
        (&["--temp", "-1"], "temperature -1"),
        (&["--top-p", "1.5"], "top-p 1.5"),
        (&["--min-p", "-0.1"], "min-p -0.1"),
        (&["--max-tokens", "0"], "--max-tokens 0"),
        (&["--ctx", "121"], "2 to 120"),
        (&["--ctx", "0"], "--ctx 0"),
        (&["--stop", ""], "--stop"),
    ] {
        for command in ["chat", "generate"] {
            let all: Vec<&str> = [command, "-m", "m", "-p", "hi"].iter().chain(arguments).copied().collect();
            let (code, _, notes) = said(&pupil(dir.path(), &all, ""));
            assert!(code == 2 && notes.contains(words), "{command} {arguments:?}: {code} {notes}");
        }
    }
}

#[test]
fn k14_a_model_that_was_not_made_for_chats_says_what_it_can_do() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS[..1]);
    let (code, _, notes) = said(&pupil(dir.path(), &["chat", "-m", "m", "-p", "hi"], ""));
    assert!(code == 2 && notes.contains("pupil generate -m m"), "{code} {notes}");
    let (code, out, _) =
        said(&pupil(dir.path(), &["generate", "-m", "m", "hello", "-n", "3", "--max-tokens", "4"], ""));
    assert!(code == 0 && out.lines().count() >= 3, "{out}");
    let (code, _, notes) = said(&pupil(dir.path(), &["generate", "-m", "m"], ""));
    assert!(code == 2 && notes.contains("TEXT"), "{notes}");
}

#[test]
fn without_a_command_the_newest_model_talks() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("mine"), &SPECIALS);
    let (code, out, notes) = said(&pupil(dir.path(), &[], ""));
    assert!(code == 0 && notes.contains("Talking with ./mine"), "{code} {notes}");
    assert!(out.starts_with("Hello!") && out.matches("pupil> ").count() == 4, "{out}");
    // Nothing hidden is left behind.
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["mine"]);
}

#[test]
fn a_line_that_is_not_utf_8_is_answered_and_said() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS);
    let script =
        format!("printf 'hi\\nbad \\377\\nhi\\n' | {} chat -m m --temp 0", env!("CARGO_BIN_EXE_pupil"));
    let out = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    let (code, _, notes) = said(&out);
    assert!(code == 0 && notes.contains("line 2 of standard input is not UTF-8"), "{code} {notes}");
    // `generate` reads all of it, if it is given no text; of nothing there is nothing to go on with.
    let generate = ["generate", "-m", "m", "--temp", "0", "--max-new", "3"];
    let (code, piped, notes) = said(&pupil(dir.path(), &generate, "hello there\n"));
    let (_, given, _) = said(&pupil(dir.path(), &[&generate[..], &["hello there"]].concat(), ""));
    assert!(code == 0 && !piped.is_empty() && piped == given, "{notes}");
    assert_eq!(said(&pupil(dir.path(), &generate, "\n")).0, 2);
}

#[test]
fn a_model_of_eight_or_four_bits_talks() {
    let dir = tempfile::tempdir().unwrap();
    model(&dir.path().join("m"), &SPECIALS);
    std::fs::write(dir.path().join("text"), "hello there, how are you ".repeat(40)).unwrap();
    let size = |m: &str| std::fs::metadata(dir.path().join(m).join("model.safetensors")).unwrap().len();
    for (bits, share) in [("8", 0.5), ("4", 0.4)] {
        let arguments = ["quantize", "-m", "m", "--out", bits, "--bits", bits, "--data", "text", "--json"];
        let (code, out, notes) = said(&pupil(dir.path(), &arguments, ""));
        assert_eq!(code, 0, "{notes}");
        let figures: serde_json::Value = serde_json::from_str(&out).unwrap();
        let figure = |name: &str| figures[name].as_f64().unwrap();
        // A random model guesses before and after.
        assert!(
            (figure("bits_per_byte_after") / figure("bits_per_byte_before") - 1.0).abs() < 0.02,
            "{figures}"
        );
        assert!((size(bits) as f64) < share * size("m") as f64);
        let (code, out, notes) = said(&pupil(dir.path(), &["chat", "-m", bits, "-p", "hello"], ""));
        assert!(code == 0 && !out.is_empty(), "{notes}");
    }
    let again = ["quantize", "-m", "m", "--out", "m"];
    assert_eq!(said(&pupil(dir.path(), &again, "")).0, 2);
    assert_eq!(said(&pupil(dir.path(), &["quantize", "-m", "m", "--out", "x", "--bits", "3"], "")).0, 2);
}
