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
fn what_is_there_is_neither_overwritten_nor_taken_for_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text = |i: usize| format!("Document {i} has a few words, and they are {} and {}. ", i * i, i + 7);
    let write = |name: &str, count: usize| {
        std::fs::create_dir_all(d.join(name).parent().unwrap()).unwrap();
        std::fs::write(d.join(name), (0..count).map(|i| text(i) + "\n<|endoftext|>\n").collect::<String>())
            .unwrap();
    };
    write("text.txt", 60);
    check(d, &format!("pretrain --data text.txt --out r --steps 2 {TINY}"), 0, &[]);
    // A directory with anything in it.
    write("mine/notes.txt", 1);
    for out in ["mine", "r", "r/model"] {
        check(d, &format!("quantize -m r --out {out}"), 2, &[out, "not empty"]);
    }
    check(d, "data starter --size 20 --out mine", 2, &["mine", "not empty"]);
    assert!(d.join("mine/notes.txt").exists() && d.join("r/checkpoints").exists());
    // One whose writing was interrupted is written again.
    check(d, "data starter --size 20 --out st", 0, &[]);
    std::fs::rename(d.join("st/persona.toml"), d.join("st/persona.part")).unwrap();
    check(d, "data starter --size 20 --out st", 0, &[]);
    check(d, "data starter --size 20 --out st", 2, &["st", "not empty"]);
    // The ids of an earlier preparation.
    check(d, "data prepare text.txt --out p --vocab 300", 0, &[]);
    assert!(d.join("p/train.tokens").exists());
    write("other.txt", 50);
    check(d, "data prepare other.txt --out p --tokenizer absent.json", 3, &["absent.json"]);
    assert!(d.join("p/train.tokens").exists());
    check(d, "data prepare other.txt --out p", 0, &[]);
    assert!(!d.join("p/train.tokens").exists());
    check(d, "data prepare text.txt --out q --scripts latin,klingon", 2, &["klingon", "latin, han"]);
    // A speedrun of other settings.
    check(d, "speedrun --exactly 1 60 --out sp", 0, &[]);
    check(d, "speedrun --exactly 1 60 --out sp", 0, &["was done before"]);
    check(d, "speedrun --exactly 1 60 --data text.txt --out sp", 2, &["of other settings", "\"seed\":1"]);
    check(d, "speedrun --data absent --out sp2", 3, &["absent"]);
    check(d, "speedrun --minutes 0.1 --out sp2", 2, &["--minutes 0.1", "0.5"]);
    assert!(!d.join("sp2").exists());
}

#[test]
fn mistakes_are_named_and_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("empty.txt"), "").unwrap();
    std::fs::write(d.join("binary.txt"), [0, 1, 2]).unwrap();
    std::fs::write(d.join("good.txt"), "a few words to learn from. ".repeat(200)).unwrap();
    check(d, "pretrain --data empty.txt --out r --steps 2", 3, &["empty.txt", "is empty", "expected text"]);
    check(d, "pretrain --data binary.txt --out r --steps 2", 3, &["binary.txt", "is binary"]);
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
    check(d, "bench train --dtype f64", 2, &["f64"]);
    let out = pupil(d, "chat -m nowhere").env("PUPIL_SIMD", "sse9").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("sse9"));
    check(
        d,
        &format!("pretrain --data good.txt --out r --steps 2 --rows 8 {TINY}"),
        2,
        &["leaves 16 tokens a row", "--batch-tokens 256 would do"],
    );
    // What mpirun tells a program that was built to be alone.
    if cfg!(not(feature = "mpi")) {
        let out =
            pupil(d, "pretrain --data good.txt --out r").env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("--features mpi"));
    }
    std::fs::write(d.join("file"), "x").unwrap();
    check(d, &format!("pretrain --data good.txt --out file/r --steps 2 {TINY}"), 4, &["file/r"]);
}

#[test]
fn one_dial_sets_the_rest_and_every_number_has_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text: Vec<String> = (0..900)
        .map(|i| format!("number {i} is {} and so on, and then {}.\n\n", i * 7 % 13, i * 31 % 97))
        .collect();
    std::fs::create_dir(d.join("in")).unwrap();
    for (i, part) in text.chunks(6).enumerate() {
        std::fs::write(d.join(format!("in/{i}.txt")), part.concat()).unwrap();
    }
    for (flags, words) in [
        ("--depth 0", "--depth 0: 1 to 32"),
        ("--depth 99", "--depth 99: 1 to 32"),
        ("--minutes 0", "--minutes 0: 0.01"),
        ("--minutes NaN", "--minutes NaN: 0.01"),
        ("--minutes -3", "--minutes -3: 0.01"),
        ("--steps 0", "--steps 0: 1 to"),
        ("--lr -1", "--lr -1: 0 to 100"),
        ("--lr NaN", "--lr NaN: 0 to 100"),
        ("--lr 1e10", "--lr 10000000000: 0 to 100"),
        ("--muon inf", "--muon inf: 0 to 100"),
        ("--weight-decay 1e9", "--weight-decay 1000000000: 0 to 10"),
        ("--batch-tokens 0", "--batch-tokens 0: 1 to"),
        ("--save-every 0", "--save-every 0: 1 to"),
        ("--until-loss 0", "--until-loss 0: "),
        ("--early-stopping 0", "--early-stopping 0: 1 to"),
        ("--vocab 9", "--vocab 9: 259 to"),
        ("--layers 0", "--layers 0: 1 to"),
        ("--width 0", "--width 0: 1 to"),
        ("--heads 0", "--heads 0: 1 to"),
        ("--context 0", "--context 0: 1 to"),
        ("--recipe nothing", "pretrain-20"),
        ("--minutes 0.01 --depth 9", "fewer than ten steps"),
        ("--minutes 1 --steps 5", "--steps"),
    ] {
        check(d, &format!("pretrain --data in --out r {flags}"), 2, &[words]);
        assert!(!d.join("r").exists(), "{flags}");
    }
    std::fs::write(d.join("wrong.toml"), "dept = 2\n").unwrap();
    check(d, "pretrain --data in --out r --recipe wrong.toml", 2, &["`dept`", "`depth`"]);
    std::fs::write(d.join("own.toml"), "depth = 2\nsteps = 40\nbatch_tokens = 1024\nvocab = 400\n").unwrap();
    let command = "pretrain --data in --out r --recipe own.toml --lr 0.01 --dtype f32";
    let words =
        ["depth           2             recipe own.toml", "width           128           depth 2", "flag"];
    check(d, &format!("{command} --explain"), 0, &words);
    assert!(!d.join("r").exists());
    let out = check(d, command, 0, &["forecast:", "preflight: one small batch", "outcome:"]);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(d.join("r").join(name)).unwrap()).unwrap()
    };
    let (run, outcome) = (read("run.json"), read("outcome.json"));
    let number = |v: &serde_json::Value| v.as_f64().unwrap();
    let memory = number(&outcome["memory_bytes"]) / number(&run["forecast"]["memory_bytes"]);
    assert!((0.9..1.1).contains(&memory), "{run} {outcome} {out:?}");
    assert!(number(&outcome["bits_per_byte"]) > 0.0);
    // The same settings from the run itself give the same model.
    check(d, "pretrain --data in --out again --recipe r/settings.toml", 0, &["outcome:"]);
    let model = |run: &str| std::fs::read(d.join(run).join("model/model.safetensors")).unwrap();
    assert!(model("r") == model("again"));
    check(
        d,
        "pretrain --data in --out reached --recipe own.toml --until-loss 60",
        0,
        &["it ends after step 2"],
    );
    check(d, "pretrain --data in --out timed --depth 1 --vocab 300 --minutes 0.05", 0, &["outcome: 0:0"]);
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
    check(d, &command, 2, &["holds a run already", "--resume"]);
    check(d, &format!("{command} --resume"), 0, &["going on after step", "pretraining took"]);
    check(
        d,
        "finetune -m run --data chats.jsonl --out chat --steps 120 --batch-tokens 128",
        0,
        &["fine-tuning took"],
    );
    let before = std::fs::read(d.join("run/model/model.safetensors")).unwrap();
    check(
        d,
        "finetune -m run --data chats.jsonl --out lora --steps 20 --batch-tokens 128 --lora --rank 4 --target q,v,down",
        0,
        &["LoRA of rank 4", "on q, v, down", "fine-tuning took"],
    );
    assert!(before == std::fs::read(d.join("run/model/model.safetensors")).unwrap());
    assert!(d.join("lora/model/adapter_model.safetensors").exists());
    check(d, "generate -m lora -p one --max-new 4", 0, &[]);
    let goes_on = "finetune -m lora --data chats.jsonl --out more --steps 5 --batch-tokens 128 --lora";
    check(d, &format!("{goes_on} --rank 8"), 2, &["rank 4", "--rank"]);
    check(d, goes_on, 0, &["LoRA of rank 4"]);
    check(
        d,
        "finetune -m run --data chats.jsonl --out y --steps 2 --eval chats.jsonl",
        3,
        &["1 questions", "hi"],
    );
    let long = line.replace("hello there", &"hello ".repeat(80));
    std::fs::write(d.join("long.jsonl"), format!("{line}\n{long}\n")).unwrap();
    check(
        d,
        "finetune -m run --data long.jsonl --out y --steps 2",
        3,
        &["conversation 2", "--allow-truncation", "⟦"],
    );
    let mixed =
        "finetune -m run --data long.jsonl --out y --steps 2 --allow-truncation --show 0 --mix text.txt=0.2";
    check(d, mixed, 0, &["are mixed in"]);
    std::fs::write(d.join("mute.jsonl"), line.replace("assistant", "system")).unwrap();
    check(d, "finetune -m run --data mute.jsonl --out z --steps 2", 3, &[]);
    check(d, "merge lora --out merged", 0, &["are one model in merged"]);
    check(d, "merge lora --out merged", 2, &["merged is there already"]);
    check(d, "merge merged --out other", 2, &["nothing to merge"]);
    check(d, "finetune -m run --data chats.jsonl --out x --lora --target w", 2, &["--target w", "gate"]);
    let letters = 'a'..='z';
    let pair = |c: char| format!("{{\"prompt\":\"{c}\",\"chosen\":\"hello\",\"rejected\":\"hi\"}}\n");
    std::fs::write(d.join("pairs.jsonl"), letters.clone().map(pair).collect::<String>()).unwrap();
    let liked = "align -m chat --data pairs.jsonl --out liked --steps 3 --batch-tokens 128";
    check(d, liked, 0, &["pairs to learn from", "the better reply is the likelier one", "95 % intervals"]);
    check(d, liked, 2, &["holds a run already"]);
    check(d, "align -m chat --data chats.jsonl --out x", 3, &["no pairs", "`chosen`"]);
    let asked = |c: char| format!("{{\"question\":\"{c}\",\"answer\":\"hello\"}}\n");
    std::fs::write(d.join("asked.jsonl"), letters.map(asked).collect::<String>()).unwrap();
    let rewarded =
        "align -m chat --reward exact --data asked.jsonl --out rewarded --group 2 --questions 2 --max-new 6";
    check(d, &format!("{rewarded} --steps 2"), 0, &["questions to learn from", "the answer is right"]);
    check(d, "align -m chat --reward number --data asked.jsonl --out x", 3, &["has no number"]);
    let said = check(d, "chat -m chat --temp 0 -p hi", 0, &[]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "hello there");
    check(d, "generate -m run --temp 0 --max-new 8 -p three", 0, &[]);
}

#[test]
fn a_folder_of_ten_kinds_is_prepared_and_learned_from() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let folder = d.join("in");
    std::fs::create_dir(&folder).unwrap();
    let story = |n: usize| -> String {
        let letter = |k: usize| char::from(b'a' + (k % 26) as u8);
        let word = |k: usize| format!("{}{}{}o ", letter(k), letter(k / 7), letter(k / 31));
        (0..40).map(|i| word(n * 7919 + i * i * 31 + i)).collect::<String>() + "end."
    };
    let gb = b"\xbb\xb0\xcb\xb5\xcc\xec\xcf\xc2\xb4\xf3\xca\xc6\xa3\xac\xb7\xd6\xbe\xc3\xb1\xd8\xba\xcf\xa3\xac\xba\xcf\xbe\xc3\xb1\xd8\xb7\xd6\xa1\xa3";
    let files: [(&str, Vec<u8>); 10] = [
        ("a.txt", format!("{}\n<|endoftext|>\n{}", story(1), story(2)).into()),
        ("b.md", format!("# Title\n\n{}", story(3)).into()),
        ("c.html", format!("<p>{}</p><script>bad()</script><p>Copyright © me</p>", story(4)).into()),
        (
            "d.jsonl",
            format!("{{\"text\":\"{}\"}}\n{{broken\n{{\"text\":\"{}\"}}\n", story(5), story(1)).into(),
        ),
        (
            "e.json",
            format!("[{{\"instruction\":\"say\",\"input\":\"\",\"output\":\"{}\"}}]", story(6)).into(),
        ),
        ("f.csv", b"\xef\xbb\xbfquestion,answer\n\"who, you?\",\"a \"\"bot\"\"\"\n".to_vec()),
        ("g.tsv", b"hello there\thello yourself\n".to_vec()),
        ("h-gb18030.txt", gb.repeat(4)),
        ("i.zip", b"PK\x03\x04 not whole".to_vec()),
        ("j.bin", vec![0, 159, 0, 3, 0, 0, 1, 2, 3]),
    ];
    for (name, bytes) in &files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let words =
        ["1: records that could not be read", "1: exact duplicates", "i.zip", "j.bin", "1 in GB18030"];
    check(d, "data prepare in --out clean --vocab 300 --validation 100 --lenient", 0, &words);
    let report = std::fs::read_to_string(d.join("clean/report.md")).unwrap();
    assert!(report.contains("d.jsonl:2") && report.contains("Copyright © me"), "{report}");
    let all: String = ["train-documents", "validation-documents", "train-chats", "validation-chats"]
        .map(|n| std::fs::read_to_string(d.join(format!("clean/{n}.jsonl"))).unwrap_or_default())
        .concat();
    assert!(all.contains("话说天下大势") && all.contains("a \\\"bot\\\"") && !all.contains("bad()"), "{all}");
    check(
        d,
        &format!("pretrain --data clean --out r --steps 2 {TINY}"),
        0,
        &["documents and conversations", "train*.tokens"],
    );
    // Data that changed after its ids were made is told, or refused.
    let source = d.join("clean/train-documents.jsonl");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{text}{{\"text\":\"more\"}}\n")).unwrap();
    let words = ["train-documents.jsonl", "BLAKE3 was"];
    check(d, &format!("pretrain --data clean --out changed --steps 2 {TINY}"), 0, &words);
    check(d, &format!("pretrain --data clean --out frozen --frozen --steps 2 {TINY}"), 3, &words);
    std::fs::write(&source, text).unwrap();
    // An archive that is cut is an error, though what could be read of the rest is there.
    check(d, "data prepare in --out cut", 3, &["i.zip", "no whole zip", "--lenient"]);
    assert!(d.join("cut/report.html").exists());
    check(d, "data prepare in --out guess --lenient --encoding nonsense", 2, &["--encoding nonsense"]);
    check(d, "data prepare in --out lossy --lenient --lossy --encoding utf-8", 0, &["characters"]);
    check(d, "data prepare https://example.org/x --out net", 3, &["opens no network"]);
    check(d, "data prepare in --out strict --strict", 3, &["d.jsonl", "line 2"]);
    check(d, "data prepare in --out x --shard 3/2", 2, &["--shard 3/2"]);
    check(d, "data prepare absent --out x", 3, &["absent"]);
    for part in 1..=2 {
        check(
            d,
            &format!("data prepare in --out p{part} --shard {part}/2 --validation 100 --lenient"),
            0,
            &[],
        );
    }
    check(d, "data merge p2 p1 --out wrong", 3, &["p2", "is part 2 of 2, but named as 1 of 2"]);
    check(d, "data merge p1 --out wrong", 3, &["is part 1 of 2, but named as 1 of 1"]);
    check(d, "data merge p1 p2 --out merged --validation 100", 0, &["exact duplicates"]);
    for name in ["train-documents.jsonl", "train-chats.jsonl"] {
        let read = |dir: &str| std::fs::read(d.join(dir).join(name)).unwrap();
        assert!(read("clean") == read("merged"), "{name}");
    }
    check(d, "data import cornell", 0, &["published at", "licence"]);
    check(d, "data import nothing", 2, &["cornell", "gsm8k"]);
}

#[test]
fn a_tokenizer_is_trained_shown_and_round_trips() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("text.txt"), "one two three 你好世界 four. ".repeat(200)).unwrap();
    check(d, "tokenizer train text.txt --vocab 300 --split qwen2 --out t.json", 0, &["tokens from"]);
    let ids = check(d, "tokenizer encode --tokenizer t.json text.txt", 0, &[]).stdout;
    let ids = String::from_utf8(ids).unwrap();
    let back = check(d, &format!("tokenizer decode --tokenizer t.json {ids}"), 0, &[]).stdout;
    assert_eq!(back, std::fs::read(d.join("text.txt")).unwrap());
    check(d, "tokenizer decode --tokenizer t.json 300", 2, &["id 300"]);
    check(d, "tokenizer train text.txt --vocab 9 --out t.json", 2, &["--vocab 9"]);
    check(d, "tokenizer train text.txt --split words --out t.json", 2, &["llama3"]);
    check(d, "tokenizer report --tokenizer t.json -- text.txt", 0, &["bytes per token", "Latin", "two"]);
    // Of every kind, side by side.
    let kinds = [("wordpiece", "WordPiece"), ("words", "word level")];
    for (kind, name) in kinds {
        check(
            d,
            &format!("tokenizer train text.txt --kind {kind} --vocab 100 --out {kind}.json"),
            0,
            &["tokens"],
        );
        let ids = check(d, &format!("tokenizer encode --tokenizer {kind}.json text.txt"), 0, &[]).stdout;
        let ids = String::from_utf8(ids).unwrap();
        let shown: Vec<&str> = ids.split_whitespace().take(3).collect();
        let said = format!("tokenizer decode --tokenizer {kind}.json {}", shown.join(" "));
        check(d, &said, 0, &["one two three"]);
        let words = ["bytes per token", name, "byte-level BPE", "language"];
        check(d, &format!("tokenizer report --tokenizer t.json {kind}.json -- text.txt"), 0, &words);
    }
    let around = check(d, "tokenizer encode --around --tokenizer wordpiece.json text.txt", 0, &[]).stdout;
    assert!(around.starts_with(b"2 ") && around.ends_with(b" 3\n"));
    check(d, "tokenizer decode --tokenizer wordpiece.json 2 3", 0, &["[CLS] [SEP]"]);
    assert_eq!(
        check(d, "tokenizer decode --skip-specials --tokenizer wordpiece.json 2 3", 0, &[]).stdout,
        b""
    );
    check(
        d,
        "tokenizer report --json --tokenizer t.json wordpiece.json -- text.txt",
        0,
        &["bytes_per_token", "scripts"],
    );
    check(d, "tokenizer train text.txt --kind letters --out t.json", 2, &["wordpiece"]);
    std::fs::write(d.join("bad.json"), "{\"model\": {\"type\": \"Unigram\"}}").unwrap();
    check(d, "tokenizer encode --tokenizer bad.json text.txt", 3, &["/model/type", "Unigram"]);
}

/// Killed while it writes (here by the limit on the size of a file), and where there is no room.
#[cfg(unix)]
#[test]
fn t09_a_killed_training_leaves_the_old_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("text.txt"), "one two three four. ".repeat(200)).unwrap();
    check(d, "tokenizer train text.txt --vocab 270 --out t.json", 0, &[]);
    let old = std::fs::read(d.join("t.json")).unwrap();
    let train =
        format!("ulimit -f 1; exec {} tokenizer train text.txt --out t.json", env!("CARGO_BIN_EXE_pupil"));
    let out = Command::new("sh").current_dir(d).arg("-c").arg(train).output().unwrap();
    assert!(!out.status.success());
    assert_eq!(std::fs::read(d.join("t.json")).unwrap(), old);
    check(d, "tokenizer train text.txt --out nowhere/t.json", 4, &["nowhere"]);
    std::fs::create_dir(d.join("folder")).unwrap();
    check(d, "tokenizer train text.txt --out folder", 4, &["folder"]);
}

#[test]
fn a_recipe_makes_a_chatbot_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let pairs = [("Hello there!", "Hi."), ("How are you?", "I am fine."), ("Who's that?", "It's a friend.")];
    let line = |(q, a)| serde_json::json!({"question": q, "answer": a}).to_string() + "\n";
    std::fs::write(d.join("pairs.jsonl"), pairs.map(line).concat().repeat(200)).unwrap();
    check(d, "recipe", 0, &["article-fixed", "as printed"]);
    check(d, "recipe nothing --data pairs.jsonl --out r", 2, &["nothing", "article"]);
    check(d, "recipe article --out r", 2, &["--data"]);
    let shown = check(d, "recipe article-fixed --show", 0, &["learning_rate"]).stdout;
    let own =
        String::from_utf8(shown).unwrap().replace("256", "32").replace("0.2", "0.0").replace("0.001", "0.01");
    std::fs::write(d.join("own.toml"), &own).unwrap();
    check(d, "recipe own.toml --data pairs.jsonl --out r --epochs 30", 0, &["chat -m r"]);
    for beam in [1, 4] {
        let mut ask = pupil(d, &format!("chat -m r --beam {beam}"));
        let out = ask.args(["-p", "how are you?"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "i am fine.", "{out:?}");
    }
    check(d, "chat -m r --beam 0", 2, &["--beam 0"]);
    check(d, "generate -m r -p x", 2, &["pupil chat"]);
    std::fs::write(d.join("own.toml"), own.replace("clip", "klip")).unwrap();
    check(d, "recipe own.toml --data pairs.jsonl --out s", 2, &["klip", "own.toml"]);
}

#[test]
fn plans_have_the_published_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for (name, parameters) in
        [("gpt1", "116,534,784"), ("gpt2-xl", "1,557,611,200"), ("gpt3", "174,604,259,328")]
    {
        check(dir.path(), &format!("plan --preset {name}"), 0, &[parameters, "FLOP a token"]);
    }
    // 300 billion tokens on A100s at 40 %: about 700,000 hours.
    let out = check(dir.path(), "plan --preset gpt3 --json", 0, &[]);
    let plan: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!((6.8e5..7.6e5).contains(&plan["device_hours"].as_f64().unwrap()), "{plan}");
    check(dir.path(), "plan --preset gpt9", 2, &["gpt9", "gpt3"]);
    check(dir.path(), "plan --preset bert-base", 0, &["110,106,428 parameters", "FLOP a token"]);
    check(dir.path(), "plan", 2, &["--preset"]);
    check(dir.path(), "plan --depth 33", 2, &["--depth 33: 1 to 32"]);
    check(dir.path(), "plan --minutes NaN", 2, &["--minutes NaN: 0.01"]);
    check(dir.path(), "plan --depth 1", 0, &["forecast", "bits per byte", "width           64"]);
    check(dir.path(), "plan --preset gpt1 --utilisation 2", 2, &["--utilisation"]);
}

#[test]
fn a_bert_reads_is_interrupted_learns_a_task_and_says_what_it_thinks() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let kind = ["a good film with a fine cast. i liked it.", "a fine story. it was a good film."];
    let unkind = ["a bad film with a dull cast. i hated it.", "a dull story. it was a bad film."];
    let all: Vec<String> = (0..60)
        .map(|i| format!("{} number {i}. the end was near.", [kind, unkind][i % 2][i / 2 % 2]))
        .collect();
    std::fs::write(d.join("text.txt"), all.join("\n<|endoftext|>\n")).unwrap();
    let rows: String =
        all.iter().enumerate().map(|(i, t)| format!("{t},{}\n", ["kind", "unkind"][i % 2])).collect();
    std::fs::write(d.join("reviews.csv"), format!("text,label\n{rows}")).unwrap();
    let pretrain = format!(
        "pretrain --architecture bert --data text.txt --out b --steps 12 {} --dtype f32",
        TINY.replace("1000", "5")
    );
    check(d, &pretrain, 0, &["a tokenizer of", "held out", "fill-mask"]);
    let read = |p: &str| std::fs::read(d.join(p)).unwrap();
    let first = read("b/model/model.safetensors");
    std::fs::remove_dir_all(d.join("b/model")).unwrap();
    check(d, &format!("{pretrain} --resume --threads 1"), 0, &["going on after step"]);
    check(d, &format!("{pretrain} --resume --whole-words"), 2, &["--resume"]);
    assert!(read("b/model/model.safetensors") == first, "threads or the interruption change the bits");
    let out =
        pupil(d, "fill-mask -m b --json --top 3").arg("a [MASK] film. a [MASK] story.").output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["masks"].as_array().map(|m| (m.len(), m[0].as_array().unwrap().len())), Some((2, 3)));
    check(d, "fill-mask -m b nothing", 2, &["[MASK]"]);
    check(d, "classify -m b nothing", 2, &["no labels", "finetune"]);
    check(d, "generate -m b -p x", 2, &["is a BERT", "fill-mask"]);
    check(d, "finetune -m b --out s --steps 1", 0, &["2 labels: kind, unkind; of the starter text"]);
    check(
        d,
        "finetune -m b --data reviews.csv --out t --steps 60 --lr 0.01 --batch-tokens 512",
        0,
        &["60 texts, 2 labels: kind, unkind", "right", "classify"],
    );
    let out = check(d, "classify -m t --labelled reviews.csv --json", 0, &["accuracy"]);
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(said["accuracy"].as_f64().unwrap() > 0.9, "{said}");
    check(d, "embed -m t --out v.safetensors good bad", 0, &["2 vectors of 32"]);
    check(d, "embed -m t --pooling median good", 2, &["median"]);
    let config = read("t/model/config.json");
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["id2label"]["1"], "unkind");
}

#[test]
fn a_curriculum_is_written_for_a_persona_and_a_model_is_examined_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("luna.toml"), "[words]\nname = \"Luna\"\n").unwrap();
    std::fs::write(d.join("broken.toml"), "[words]\nnmae = \"Luna\"\n").unwrap();
    check(d, "data starter --out x --persona broken.toml", 3, &["broken.toml", "nmae"]);
    check(d, "data starter --out c --persona luna.toml --size 400 --questions 1", 0, &["400 conversations"]);
    let text = |name: &str| std::fs::read_to_string(d.join("c").join(name)).unwrap();
    assert_eq!(text("chats.jsonl").lines().count(), 400);
    assert!(text("chats.jsonl").contains("Luna") && text("persona.toml").contains("Luna"));
    assert!(text("stories.txt").matches("<|endoftext|>").count() == 200);
    check(d, &format!("pretrain --data c/chats.jsonl --out b --steps 3 {TINY}"), 0, &["saved"]);
    let exam = "--tasks c/skills.jsonl --text c/stories.txt --limit 20";
    check(d, &format!("eval -m b {exam} --out a.json"), 0, &["bits per byte", "exact match", "skills"]);
    check(d, &format!("eval compare a.json b {exam}"), 0, &["not told apart"]);
    let out = check(d, &format!("eval -m b {exam} --json"), 0, &[]);
    let sheet: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(
        sheet["scores"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["measure"] == "bits per byte" && s["count"] == 20)
    );
    std::fs::write(d.join("no.jsonl"), "{\"a\":1}\n").unwrap();
    check(d, "eval -m b --tasks no.jsonl", 3, &["no.jsonl", "no known form"]);
    check(d, "eval -m nowhere", 2, &["nowhere"]);
    check(d, "eval compare a.json c/skills.jsonl", 3, &["skills.jsonl", "pupil eval --out"]);
}
