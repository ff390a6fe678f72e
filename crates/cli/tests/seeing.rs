//! Seeing a run: what it shows and writes on its way, lists, comparisons, reports, on any terminal.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn pupil(dir: &Path, arguments: &str) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_pupil"));
    c.current_dir(dir).args(arguments.split_whitespace()).stdin(std::process::Stdio::null());
    c
}

fn words(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout)
}

fn check(dir: &Path, arguments: &str, code: i32) -> String {
    let out = pupil(dir, arguments).output().unwrap();
    assert_eq!(out.status.code(), Some(code), "{arguments}: {}", words(&out));
    words(&out)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const TINY: &str =
    "--data text.txt --layers 1 --width 32 --heads 2 --context 32 --vocab 300 --batch-tokens 128";

#[test]
fn a_run_is_seen_on_the_way_and_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text: String =
        (0..400).map(|i| format!("The {}th <b>line</b> | of a text.\n<|endoftext|>\n", i * i % 97)).collect();
    std::fs::write(d.join("text.txt"), text).unwrap();
    let said = check(d, &format!("pretrain --out a --steps 12 --tensorboard --sample The {TINY}"), 0);
    assert!(said.contains("step 1: The") && said.contains("report.html"), "{said}");
    // On a terminal that can nothing, and without one, no command to the terminal is written, however wide it claims to be.
    for (out, columns, term) in [("b", "1", "dumb"), ("c", "0", ""), ("d", "10000", "xterm-256color")] {
        let arguments = format!("pretrain --out {out} --steps 12 --no-samples --tui {TINY}");
        let out = pupil(d, &arguments)
            .env("COLUMNS", columns)
            .env("TERM", term)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let said = words(&out);
        assert!(out.status.success() && !said.contains('\x1b'), "{said:?}");
        assert!(said.contains("no dashboard") && said.contains("pretraining took"), "{said}");
    }
    // Who writes on the way learns the same.
    let weights = |run: &str| std::fs::read(d.join(run).join("model/model.safetensors")).unwrap();
    assert_eq!(weights("a"), weights("b"));
    assert!(!d.join("b/samples.jsonl").exists());
    let samples: Vec<Value> =
        read(&d.join("a/samples.jsonl")).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(samples.iter().any(|s| s["step"] == 1) && samples.iter().any(|s| s["step"] == 12), "{samples:?}");
    assert!(samples.iter().all(|s| s["prompt"] == "The"));
    let metrics = read(&d.join("a/metrics.jsonl"));
    assert!(metrics.lines().filter(|l| l.contains("\"loss\"")).count() == 12, "{metrics}");
    let page = read(&d.join("a/report.html"));
    for part in ["What it wrote", "text.txt", "command line, --steps", "pupil pretrain --out a", "</html>"] {
        assert!(page.contains(part), "no {part:?} in the page");
    }
    assert!(
        !page.contains("<b>line")
            && !page.contains("NaN")
            && !page.contains("http:")
            && !page.contains("https:")
    );
    assert!(read(&d.join("a/report.md")).contains("## What it wrote"));
    let events: Vec<_> = std::fs::read_dir(d.join("a/tensorboard")).unwrap().collect();
    assert!(events.len() == 1 && !d.join("b/tensorboard").exists());
    std::fs::remove_file(d.join("a/report.html")).unwrap();
    assert!(check(d, "report a", 0).contains("a/report.html") && d.join("a/report.html").exists());
    check(d, "report nowhere", 2);

    let list: Value = serde_json::from_str(&check(d, "runs --json", 0)).unwrap();
    let of = |run: &Value, key: &str| run[key].clone();
    assert_eq!(list.as_array().unwrap().len(), 4);
    for run in list.as_array().unwrap() {
        assert_eq!(
            (of(run, "state"), of(run, "step"), of(run, "steps")),
            ("done".into(), 12.into(), 12.into())
        );
        assert!(
            run["bits_per_byte"].as_f64().is_some_and(|b| b > 0.0) && run["memory_bytes"].as_u64() > Some(0)
        );
    }
    for columns in ["0", "1", "10000"] {
        let out = pupil(d, "runs .").env("COLUMNS", columns).output().unwrap();
        let table = words(&out);
        assert!(
            out.status.success() && table.lines().count() == 5 && table.contains("pretrain  "),
            "{table}"
        );
        assert!(!table.contains('\x1b'));
    }
    check(d, &format!("pretrain --out other --steps 8 --seed 2 --no-samples {TINY}"), 0);
    let table = check(d, "runs compare a other --out both.html", 0);
    assert!(table.contains("seed") && table.contains("both.html") && !table.contains("width"), "{table}");
    assert!(read(&d.join("both.html")).matches("<polyline").count() >= 6);
    let both: Value = serde_json::from_str(&check(d, "runs compare a other --json", 0)).unwrap();
    assert_eq!((&both[0]["differs"]["seed"], &both[1]["differs"]["seed"]), (&"1".into(), &"2".into()));
    check(d, "runs compare a nowhere", 2);
    check(d, "runs nowhere", 2);
    std::fs::write(d.join("other/run.json"), "{broken").unwrap();
    assert!(check(d, "runs", 0).contains("unreadable"));
}

#[test]
fn a_run_that_is_stopped_has_a_report_and_its_samples_go_on_where_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("text.txt"), "one two three four five six seven. ".repeat(300)).unwrap();
    let command = format!("pretrain --out run --steps 1500 --sample one {TINY}");
    let mut child = pupil(d, &command).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    let lines = || std::fs::read_to_string(d.join("run/metrics.jsonl")).unwrap_or_default().lines().count();
    while lines() < 12 {
        assert!(
            begun.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none(),
            "the run does not begin"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let state = || -> Value {
        serde_json::from_str::<Value>(&check(d, "runs --json run", 0)).unwrap()[0]["state"].clone()
    };
    assert_eq!(state(), "running");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(state(), "stopped");
    assert!(read(&d.join("run/report.html")).contains("stopped after"));
    // A sample of a step that is done anew stands there once.
    let file = d.join("run/samples.jsonl");
    let before = read(&file);
    std::fs::write(&file, format!("{before}{{\"step\":1500,\"prompt\":\"one\",\"text\":\"old\"}}\n"))
        .unwrap();
    check(d, &format!("{command} --resume"), 0);
    let after = read(&file);
    assert!(
        after.starts_with(&before) && !after.contains("\"old\"") && after.contains("\"step\":1500"),
        "{after}"
    );
    assert_eq!(read(&d.join("run/about.json")).matches("\"command\"").count(), 2);
}
