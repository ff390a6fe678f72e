//! Cases of reliability, by their numbers: the binary killed, out of room, without a reader, signalled, and in odd surroundings.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stderr, reason = "a case that this machine cannot show is said")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PUPIL: &str = env!("CARGO_BIN_EXE_pupil");
/// A network of about twenty thousand numbers, whose steps take milliseconds.
const TINY: &str = "--layers 1 --width 32 --heads 2 --context 32 --vocab 280 --batch-tokens 64 --dtype f32";

fn pupil(dir: &Path, arguments: &str) -> Command {
    let mut c = Command::new(PUPIL);
    c.current_dir(dir).args(arguments.split_whitespace()).stdin(Stdio::null());
    c
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout)
}

fn check(dir: &Path, arguments: &str, code: i32, words: &[&str]) -> Output {
    let out = pupil(dir, arguments).output().unwrap();
    let text = said(&out);
    assert_eq!(out.status.code(), Some(code), "{arguments}: {text}");
    for w in words {
        assert!(text.contains(w), "{arguments}: no {w:?} in {text}");
    }
    out
}

/// A directory in memory if there is one, for these tests wait for the disk thousands of times; with some text in it.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir =
        if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() };
    let words = ["one", "two", "three", "four", "five", "six", "seven"];
    // Many documents, so that some are held out.
    let text = |d: usize| {
        (0..9 + d % 7).map(|i| format!("{} ", words[(i * i + d * i + d / 7) % 7])).collect::<String>()
    };
    let texts: Vec<String> = (0..200).map(|d| format!("{} {}", d, text(d))).collect();
    std::fs::write(dir.path().join("text.txt"), texts.join("\n<|endoftext|>\n")).unwrap();
    dir
}

fn pretrain(rest: &str) -> String {
    format!("pretrain --data text.txt {TINY} {rest}")
}

fn lines(run: &Path) -> usize {
    std::fs::read(run.join("metrics.jsonl")).map_or(0, |b| b.iter().filter(|&&b| b == b'\n').count())
}

/// Waits for something of a child that goes on.
fn wait(child: &mut Child, what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(
            begun.elapsed().as_secs() < 100 && child.try_wait().unwrap().is_none(),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
}

/// The metrics without what depends on the clock and the process.
fn metrics(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| l.split("\"seconds\"").next().unwrap().to_owned()).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model/model.safetensors")).unwrap()
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

#[test]
fn c01_fifty_kills_at_random_moments_and_other_threads_each_time_change_no_bit() {
    const KILLS: usize = 50;
    let dir = place();
    let command = pretrain("--steps 480 --save-every 4 --seed 5 --threads");
    for threads in 1..=3 {
        check(dir.path(), &format!("{command} {threads} --out straight{threads}"), 0, &[]);
    }
    let straight = dir.path().join("straight1");
    let (model, all) = (weights(&straight), metrics(&straight));
    for threads in 2..=3 {
        assert!(weights(&dir.path().join(format!("straight{threads}"))) == model, "{threads} threads");
    }
    let run = dir.path().join("killed");
    let mut random = Random(20_261_128);
    let mut saving = 0;
    for kill in 0..KILLS {
        let again = format!("{command} {} --out killed --resume", 1 + kill % 3);
        let mut child = pupil(dir.path(), &again).stderr(Stdio::null()).spawn().unwrap();
        // One in five dies while it begins, the others some steps on, somewhere in a step or a save.
        if random.below(5) > 0 {
            let there = lines(&run);
            let more = random.below(6) as usize;
            let begun = Instant::now();
            // A resumed run first cuts its metrics back, so any change counts.
            wait(&mut child, "progress", || {
                let now = lines(&run);
                now > there + more || now < there || begun.elapsed().as_millis() > 2000
            });
        }
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "kill {kill}: the run was over before it ({status})");
        let left = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().filter_map(Result::ok);
        saving += usize::from(left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with('.')));
    }
    eprintln!("{saving} of {KILLS} kills came while a checkpoint was being written");
    check(dir.path(), &format!("{command} 2 --out killed --resume"), 0, &["going on after step"]);
    assert!(weights(&run) == model);
    assert_eq!(metrics(&run), all);
    let rest = std::fs::read_dir(run.join("checkpoints")).unwrap().filter_map(Result::ok);
    assert!(rest.map(|e| e.file_name()).all(|n| n.to_string_lossy().starts_with("step-")));
}

/// The kernel itself ends the process at its k-th `fsync`, `rename`, …, as `strace` asks it to.
#[test]
fn c01_a_kill_at_the_system_calls_of_a_run_and_its_saves_loses_nothing() {
    let dir = place();
    let d = dir.path();
    let command = pretrain("--steps 4 --save-every 2 --keep-last 1 --threads 1");
    let traced = |rest: &[&str], out: &str| {
        let mut c = Command::new("strace");
        c.args(["-f", "-qq", "-o", "/dev/null"]).args(rest).arg(PUPIL);
        c.args(command.split_whitespace()).args(["--out", out, "--resume"]);
        c.current_dir(d).stdin(Stdio::null()).stderr(Stdio::null()).status()
    };
    if !traced(&["-e", "trace=none"], "straight").is_ok_and(|s| s.success()) {
        eprintln!("skipped: there is no strace here, or it may not trace");
        return;
    }
    let straight = d.join("straight");
    let (mut kills, mut with_checkpoint) = (0, 0);
    // What changes a disk at each call; opening and writing, which are many, at some.
    for (call, stride) in
        [("fsync", 1), ("rename", 1), ("mkdir", 1), ("unlinkat", 1), ("write", 4), ("openat", 7)]
    {
        for k in (1..).step_by(stride) {
            let _ = std::fs::remove_dir_all(d.join("r"));
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={k}"));
            if traced(&["-e", &trace, "-e", &inject], "r").unwrap().success() {
                break;
            }
            kills += 1;
            with_checkpoint += usize::from(d.join("r/checkpoints/step-2").exists());
            check(d, &format!("{command} --out r --resume"), 0, &[]);
            assert!(weights(&d.join("r")) == weights(&straight), "{call} {k}");
            assert_eq!(metrics(&d.join("r")), metrics(&straight), "{call} {k}");
            let left = std::fs::read_dir(d.join("r"))
                .unwrap()
                .chain(std::fs::read_dir(d.join("r/checkpoints")).unwrap());
            let left = left.filter_map(Result::ok).map(|e| e.file_name().to_string_lossy().into_owned());
            assert!(left.filter(|n| n.starts_with('.')).all(|n| n == ".lock"), "{call} {k}");
        }
    }
    assert!(
        kills > 40 && with_checkpoint > 10,
        "{kills} kills, {with_checkpoint} of them after a checkpoint"
    );
}

/// Runs a script as root of a namespace of its own, where it may mount; none where the system does not allow that.
fn unshared(dir: &Path, script: &str) -> Option<Output> {
    let allowed = Command::new("unshare").args(["-Urm", "true"]).output().is_ok_and(|o| o.status.success());
    if !allowed {
        eprintln!("skipped: this system does not let an ordinary user mount (unshare -Urm)");
        return None;
    }
    let mut c = Command::new("unshare");
    let c = c.args(["-Urm", "sh", "-c", script]).env("PUPIL", PUPIL).current_dir(dir);
    Some(c.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn c03_a_full_disk_stops_the_run_with_its_last_checkpoint_whole_and_it_goes_on_when_there_is_room() {
    let dir = place();
    let command = pretrain("--steps 40 --save-every 10 --keep-last 9 --save-retry 0 --no-preflight");
    check(dir.path(), &format!("{command} --out straight"), 0, &[]);
    std::fs::create_dir(dir.path().join("small")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=600k none small && $PUPIL {command} --out small/r 2> full.txt; echo $? > full.code; \
         ls -a small/r/checkpoints > left.txt; mount -o remount,size=9m small; $PUPIL {command} --out small/r --resume 2> on.txt; \
         echo $? > on.code; cp small/r/model/model.safetensors . ; \
         mount -o remount,ro small; $PUPIL {command} --out small/q 2> ro.txt; echo $? > ro.code; \
         $PUPIL {command} --out small/r --resume 2>> ro.txt; echo $? >> ro.code"
    );
    let Some(out) = unshared(dir.path(), &script) else { return };
    let read = |name: &str| {
        std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}; {out:?}"))
    };
    let text = read("full.txt");
    assert_eq!(read("full.code"), "4\n", "{text}");
    for words in
        ["no room", "are needed", "are free", "--resume goes on from there", "The checkpoint of step "]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let left = read("left.txt");
    assert!(left.contains("step-") && !left.contains(".new"), "{left}");
    assert_eq!(read("on.code"), "0\n", "{}", read("on.txt"));
    let model = std::fs::read(dir.path().join("model.safetensors")).unwrap();
    assert!(model == weights(&dir.path().join("straight")));
    // C8: a disk that cannot be written is known at the start.
    assert_eq!(read("ro.code"), "4\n4\n", "{}", read("ro.txt"));
    assert!(read("ro.txt").contains("small/q"));
}

#[test]
fn c03_no_room_for_a_name_and_a_limit_of_file_sizes_are_as_a_full_disk() {
    let dir = place();
    let command = pretrain("--steps 40 --save-every 10 --save-retry 0");
    let limited = format!("ulimit -f 60; exec {PUPIL} {command} --out r");
    let out = Command::new("sh").args(["-c", &limited]).current_dir(dir.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(4), "{}", said(&out));
    assert!(said(&out).contains("--resume") || said(&out).contains("start again"), "{}", said(&out));
    check(dir.path(), &format!("{command} --out r --resume"), 0, &[]);
    std::fs::create_dir(dir.path().join("small")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=9m,nr_inodes=14 none small && $PUPIL {command} --out small/r 2> full.txt; echo $? > full.code; true"
    );
    if unshared(dir.path(), &script).is_some() {
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("full.code"), "4\n", "{}", read("full.txt"));
    }
}

#[test]
fn c05_c09_c10_what_is_wrong_with_a_directory_has_its_own_exit_code() {
    let dir = place();
    let d = dir.path();
    let command = pretrain("--steps 3000 --save-every 2 --keep-last 2");
    let mut child = pupil(d, &format!("{command} --out r")).stderr(Stdio::null()).spawn().unwrap();
    wait(&mut child, "progress", || lines(&d.join("r")) > 6);
    let begun = Instant::now();
    let text = said(&check(
        d,
        &format!("{command} --out r --resume"),
        1,
        &["is in use by process", " on ", " since "],
    ));
    assert!(text.contains(&child.id().to_string()), "{text}");
    assert!(begun.elapsed().as_secs() < 5);
    // Whoever reads is not kept from it: a run that goes on can be asked for text.
    check(d, "generate -m r --max-new 3 --temp 0 one", 0, &[]);
    // The holder is killed: its lock is gone with it.
    child.kill().unwrap();
    child.wait().unwrap();
    check(d, &format!("{command} --out r"), 2, &["holds a run already", "--resume"]);
    std::fs::create_dir(d.join("mine")).unwrap();
    std::fs::write(d.join("mine/letter"), "dear").unwrap();
    check(d, &format!("{command} --out mine"), 2, &["mine", "not empty", "letter"]);
    for e in std::fs::read_dir(d.join("r/checkpoints")).unwrap().filter_map(Result::ok) {
        let _ = std::fs::write(e.path().join("model.safetensors"), "torn");
    }
    check(
        d,
        &format!("{command} --out r --resume"),
        4,
        &["no checkpoint in", "is sound", "model.safetensors"],
    );
    // A run of a newer pupil is not touched.
    let path = d.join("r/run.json");
    let newer = std::fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 7");
    std::fs::write(&path, newer).unwrap();
    check(d, &format!("{command} --out r --resume"), 3, &["format 7", "reads up to 1"]);
    check(d, &format!("{command} --out x --keep-last 0"), 2, &["--keep-last"]);
    std::fs::write(d.join("full"), "").unwrap();
    check(d, &format!("{command} --out full/r"), 4, &["full/r"]);
}

#[test]
fn c13_a_run_lies_behind_a_link_on_another_file_system_and_under_the_longest_name() {
    let dir = place();
    let d = dir.path();
    // The directory of `place` is in memory where there is such a thing, this one on a disk.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::os::unix::fs::symlink(disk.path(), d.join("link")).unwrap();
    std::fs::create_dir(disk.path().join("itself")).unwrap();
    std::os::unix::fs::symlink(disk.path().join("itself"), d.join("itself")).unwrap();
    let longest = "n".repeat(255);
    let run = |out: &str| {
        check(d, &pretrain(&format!("--steps 20 --save-every 5 --out {out}")), 0, &[]);
        weights(&d.join(out))
    };
    let whole = run("straight");
    for out in ["link/below", "itself", &longest] {
        assert!(run(out) == whole, "{out}");
    }
    assert!(d.join("itself").is_symlink());
    // What is written beside its place and renamed has a name that is no longer.
    check(d, &format!("quantize -m straight --bits 8 --out {}", "q".repeat(255)), 0, &[]);
    check(d, &format!("tokenizer train text.txt --vocab 270 --out {}", "t".repeat(255)), 0, &[]);
    // Where `A` and `a` are one name, nothing of a run may be lost.
    let mut names: Vec<String> = Vec::new();
    let mut folders = vec![d.join("straight")];
    while let Some(folder) = folders.pop() {
        for e in std::fs::read_dir(&folder).unwrap().filter_map(Result::ok) {
            names.push(e.path().to_string_lossy().to_lowercase());
            folders.extend(e.path().is_dir().then(|| e.path()));
        }
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(all > 10 && names.len() == all, "{names:?}");
    // Nothing temporary is left.
    let left = std::fs::read_dir(d).unwrap().chain(std::fs::read_dir(disk.path()).unwrap());
    assert!(left.filter_map(Result::ok).all(|e| !e.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn c11_p02_each_signal_saves_and_has_its_code_and_a_second_one_leaves_at_once() {
    let dir = place();
    let d = dir.path();
    let command = pretrain("--steps 100000 --save-every 100000");
    // Under nohup this process passes its ignorance of SIGHUP on, and a run rightly goes on.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let signals = [("INT", 130), ("TERM", 143), ("HUP", 129)];
    let heard = if ignored.is_some_and(|i| i & 1 != 0) { &signals[..2] } else { &signals[..] };
    for (i, &(name, code)) in heard.iter().enumerate() {
        let run = d.join(format!("r{i}"));
        let mut child = pupil(d, &format!("{command} --out r{i}")).stderr(Stdio::piped()).spawn().unwrap();
        wait(&mut child, "progress", || lines(&run) > 3);
        for harmless in ["WINCH", "TSTP", "CONT"] {
            signal(&child, harmless);
        }
        let more = lines(&run);
        wait(&mut child, "progress after SIGCONT", || lines(&run) > more);
        signal(&child, name);
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{name}: {}", said(&out));
        assert!(said(&out).contains("--resume goes on"), "{}", said(&out));
        let saved = std::fs::read_dir(run.join("checkpoints")).unwrap().filter_map(Result::ok).count();
        assert_eq!(saved, 1, "{name}");
    }
    // Under nohup the terminal's end is no reason to stop.
    let script = format!("trap '' HUP; exec {PUPIL} {command} --out kept");
    let mut child =
        Command::new("sh").args(["-c", &script]).current_dir(d).stderr(Stdio::null()).spawn().unwrap();
    let run = d.join("kept");
    wait(&mut child, "progress", || lines(&run) > 3);
    signal(&child, "HUP");
    let more = lines(&run);
    wait(&mut child, "progress after an ignored SIGHUP", || lines(&run) > more + 3);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    // A step of a minute: the first signal waits for its end, the second does not.
    let slow = "pretrain --data text.txt --out slow --layers 8 --width 512 --heads 8 --context 512 --vocab 280 --batch-tokens 16384 --steps 9";
    let mut child = pupil(d, slow).stderr(Stdio::null()).spawn().unwrap();
    wait(&mut child, "the first step", || d.join("slow/metrics.jsonl").exists());
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait for the end of the step");
    signal(&child, "INT");
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed().as_secs() < 5);
}

/// Commands that print, each in its own way.
const PRINTING: [&str; 7] = [
    "--help",
    "--version",
    "plan --preset gpt1 --json",
    "recipe article-fixed --show",
    "recipe",
    "data import cornell",
    "tokenizer report --tokenizer r/tokenizer.json -- text.txt",
];

#[test]
fn p01_a_reader_that_goes_is_no_failure_and_a_full_disk_is_one() {
    let dir = place();
    let d = dir.path();
    check(d, &pretrain("--steps 2 --out r"), 0, &[]);
    let generate = "generate -m r --temp 0 --max-new 5 one";
    for arguments in PRINTING.into_iter().chain([generate]) {
        let mut child = pupil(d, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        let text = said(&out);
        assert_eq!(out.status.code(), Some(0), "{arguments}: {text}");
        assert!(!text.contains("panicked") && !text.contains("internal error"), "{arguments}: {text}");
        let through = |redirection: &str| {
            let script = format!("exec {PUPIL} {arguments} {redirection}");
            let out = Command::new("sh")
                .args(["-c", &script])
                .current_dir(d)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            (out.status.code(), said(&out))
        };
        assert_eq!(through(">&-").0, Some(0), "{arguments}");
        assert_eq!(through("2>&-").0, Some(0), "{arguments}");
        assert_eq!(through("2>&1 | head -c 1 > first").0, Some(0), "{arguments}");
        if Path::new("/dev/full").exists() {
            let (code, text) = through("> /dev/full");
            assert_eq!(code, Some(4), "{arguments}: {text}");
            assert!(text.contains("standard output") || text.contains("space"), "{arguments}: {text}");
            assert_eq!(through("2> /dev/full").0, Some(0), "{arguments}");
        }
    }
    // A failure keeps its code though nobody hears of it.
    let script = format!("exec {PUPIL} chat -m nowhere 2> /dev/full");
    let out = Command::new("sh").args(["-c", &script]).current_dir(d).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn p03_a_panic_on_any_thread_is_a_failure_that_says_how_to_report_it() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in ["debug panic", "debug panic --worker --threads 3"] {
        let version = env!("CARGO_PKG_VERSION");
        let text = said(&check(
            dir.path(),
            arguments,
            1,
            &["internal error", version, "Please report", "asked for"],
        ));
        assert!(!text.contains("note: run with") && !text.contains("stack backtrace"), "{text}");
        let out = pupil(dir.path(), arguments).env("PUPIL_BACKTRACE", "1").output().unwrap();
        assert!(said(&out).len() > text.len() + 100, "{}", said(&out));
    }
}

#[test]
fn p04_without_a_terminal_nothing_waits_and_standard_output_is_for_programs() {
    let dir = place();
    let d = dir.path();
    let out = check(d, &pretrain("--steps 2 --out r"), 0, &[]);
    assert!(!said(&out).contains('\u{1b}'), "{}", said(&out));
    std::fs::write(d.join("lines.txt"), "one\ntwo\n\nthree").unwrap();
    for from in ["<&-", "</dev/null", "<lines.txt", "<<< one"] {
        let command = format!("exec {PUPIL} chat -m r --max-tokens 2 {from}");
        let out = Command::new("bash").args(["-c", &command]).current_dir(d).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{from}: {}", said(&out));
        assert!(!said(&out).contains('\u{1b}'), "{from}: {}", said(&out));
    }
    for command in
        ["eval -m r --text text.txt --json", "chat -m r -p one --max-tokens 2 --json", "runs --json"]
    {
        let out = check(d, command, 0, &[]);
        let lines = String::from_utf8(out.stdout).unwrap();
        let values = serde_json::Deserializer::from_str(&lines).into_iter::<serde_json::Value>();
        let values: Vec<_> = values.map(Result::unwrap).collect();
        assert!(!values.is_empty(), "{command}: {lines}");
    }
}

#[test]
fn p13_what_is_secret_in_the_environment_is_written_nowhere() {
    let dir = place();
    let d = dir.path();
    let secrets = ["HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"];
    let mut told = String::new();
    for command in [
        pretrain("--steps 2 --out r --tensorboard"),
        pretrain("--steps 2 --out r --explain"),
        "report r".to_owned(),
        "quantize -m r --out q".to_owned(),
        "chat -m r -p one --max-tokens 2 --json".to_owned(),
        "chat -m nowhere".to_owned(),
    ] {
        told += &said(&pupil(d, &command).envs(secrets.map(|n| (n, "hush-hush"))).output().unwrap());
    }
    assert!(told.len() > 500 && !told.contains("hush-hush"), "{told}");
    let (mut files, mut folders) = (0, vec![d.to_owned()]);
    while let Some(folder) = folders.pop() {
        for e in std::fs::read_dir(&folder).unwrap().filter_map(Result::ok) {
            if e.path().is_dir() {
                folders.push(e.path());
                continue;
            }
            let bytes = std::fs::read(e.path()).unwrap();
            assert!(!bytes.windows(9).any(|w| w == b"hush-hush"), "{}", e.path().display());
            files += 1;
        }
    }
    assert!(files > 15, "{files}");
}

#[test]
fn p05_terminals_of_any_kind_and_width_get_text_without_escapes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("COLUMNS", "0"),
        ("COLUMNS", "1"),
        ("COLUMNS", "10000"),
        ("TERM", "dumb"),
        ("TERM", ""),
        ("NO_COLOR", ""),
        ("LANG", "C"),
    ] {
        for arguments in ["--help", "plan --preset gpt1", "pretrain --help"] {
            let out = pupil(dir.path(), arguments).env_remove("TERM").env(name, value).output().unwrap();
            assert_eq!(out.status.code(), Some(0), "{name}={value} {arguments}: {}", said(&out));
            assert!(!said(&out).contains('\x1b'), "{name}={value} {arguments}");
        }
    }
}

#[test]
fn p06_p12_an_empty_environment_a_folder_that_is_gone_and_a_read_only_one_do_not_matter() {
    let dir = place();
    let d = dir.path();
    let run = |arguments: &str| {
        let out = pupil(d, arguments).env_clear().output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{arguments}: {}", said(&out));
    };
    run(&pretrain("--steps 2 --out r"));
    run("generate -m r --max-new 2 one");
    let odd =
        [("HOME", ""), ("HOME", "relative"), ("TMPDIR", "/nonexistent"), ("XDG_CONFIG_HOME", "\u{fffd}")];
    let before: Vec<_> =
        std::fs::read_dir(d).unwrap().filter_map(Result::ok).map(|e| e.file_name()).collect();
    for (name, value) in odd {
        let out = pupil(d, "generate -m r --max-new 2 one").env(name, value).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{name}={value}: {}", said(&out));
    }
    let after: Vec<_> = std::fs::read_dir(d).unwrap().filter_map(Result::ok).map(|e| e.file_name()).collect();
    assert_eq!(before, after, "something was written beside what was asked for");
    let script =
        format!("mkdir gone && cd gone && rmdir ../gone && {PUPIL} --version && {PUPIL} --help > /dev/null");
    let out = Command::new("sh").args(["-c", &script]).env_clear().current_dir(d).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

#[test]
fn p07_numbers_of_threads_are_automatic_bounded_or_refused() {
    let dir = place();
    let d = dir.path();
    check(d, &pretrain("--steps 1 --out a --threads 0"), 0, &[]);
    check(d, "plan --preset gpt1 --threads 1000000", 0, &["--threads 1000000: 1024 are the most"]);
    for wrong in ["-1", "abc", "1.5", "1e3"] {
        check(d, &format!("plan --preset gpt1 --threads={wrong}"), 2, &["--threads"]);
    }
    let out = pupil(d, "plan --preset gpt1").env("PUPIL_THREADS", "many").output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    // No thread more can be had: fewer do, or it is said. Nothing keeps root from having them.
    let script = format!("ulimit -u 1; exec {PUPIL} {} --threads 4", pretrain("--steps 1 --out b"));
    let out = Command::new("bash").args(["-c", &script]).current_dir(d).output().unwrap();
    let done = out.status.code() == Some(0);
    assert!(
        done || (out.status.code() == Some(1) && said(&out).contains("no thread can be had")),
        "{}",
        said(&out)
    );
}

#[test]
fn p08_too_little_memory_is_refused_before_the_run_or_fails_with_the_figures_and_never_aborts() {
    let dir = place();
    let d = dir.path();
    let large = "pretrain --data text.txt --layers 4 --width 512 --context 256 --vocab 300 --batch-tokens 16384 --steps 2 --threads 2 --out r";
    let mut seen = [false; 2];
    for megabytes in [40, 100, 300, 700, 1500] {
        let limited = format!("ulimit -v {}; exec {PUPIL} {large}", megabytes * 1000);
        let out =
            Command::new("sh").args(["-c", &limited]).current_dir(d).stdin(Stdio::null()).output().unwrap();
        let text = said(&out);
        assert_eq!(out.status.code(), Some(1), "{megabytes} MB: {text}");
        let refused = text.contains("Three ways out");
        let exhausted = text.contains("no memory is left") && text.contains("MB in all (ulimit -v)");
        let threads = text.contains("no thread can be had");
        assert!(refused || exhausted || threads, "{megabytes} MB: {text}");
        seen = [seen[0] || refused, seen[1] || exhausted];
    }
    assert!(seen[0] && seen[1], "refused before, failed in between: {seen:?}");
    // What needs little has enough of it.
    let limited = format!("ulimit -v 700000; exec {PUPIL} {}", pretrain("--steps 2 --threads 2 --out small"));
    let out = Command::new("sh").args(["-c", &limited]).current_dir(d).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

#[test]
fn p09_few_open_files_and_a_small_stack_are_enough() {
    let dir = place();
    let d = dir.path();
    std::fs::create_dir(d.join("many")).unwrap();
    for i in 0..300 {
        let text = format!("A document with the number {i}, and what {} and {} are.", i * i, i + 7);
        std::fs::write(d.join(format!("many/{i}.txt")), text).unwrap();
    }
    for command in [
        "data prepare many --out prepared --vocab 300".to_owned(),
        format!("pretrain --data many {} --steps 2 --out r", TINY.replace("280", "300")),
        format!("pretrain --data prepared {} --steps 2 --out p", TINY.replace("--vocab 280", "")),
        "generate -m r --max-new 2 one".to_owned(),
        "chat -m r --max-tokens 2 -p one".to_owned(),
    ] {
        // Sixteen files with those of input, output and errors; 64 KiB for the first thread.
        let limited = format!("ulimit -n 16 && ulimit -s 64 && exec {PUPIL} {command}");
        let out =
            Command::new("sh").args(["-c", &limited]).current_dir(d).stdin(Stdio::null()).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{command}: {}", said(&out));
    }
}

#[test]
fn p10_instructions_that_are_not_there_are_a_usage_error_with_the_list() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in ["sse9", "AVX2 ", "neon2"] {
        let out = pupil(dir.path(), "plan --preset gpt1").env("PUPIL_SIMD", wrong).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {}", said(&out));
        assert!(said(&out).contains("portable"), "{}", said(&out));
    }
}

#[test]
fn p11_wrong_arguments_are_refused_before_anything_is_done() {
    let dir = place();
    let d = dir.path();
    for (arguments, words) in [
        ("pretrain --data text.txt --out r --stepz 3", "--steps"),
        ("pretrain --data text.txt --out r --steps 3 --steps 4", "--steps"),
        ("pretrain --data text.txt --out r --steps 1e3", "1e3"),
        ("pretrain --data text.txt --out r --steps 1_000", "1_000"),
        ("pretrain --data text.txt --out r --steps -3", "-3"),
        ("pretrain --data text.txt --out r --steps=", "--steps"),
        ("pretrain --data text.txt --out r --steps 18446744073709551616", "18446744073709551616"),
        ("pretrian --data text.txt --out r", "pretrain"),
        ("pretrain --data text.txt --out r --steps 2 --keep-last -1", "-1"),
    ] {
        check(d, arguments, 2, &[words]);
    }
    use std::os::unix::ffi::OsStringExt;
    let odd = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
    let out = pupil(d, "pretrain --steps 3 --out r --seed").arg(&odd).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    let out = pupil(d, "plan --preset").arg("a".repeat(100_000)).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(!d.join("r").exists());
}

#[test]
fn n07_extreme_numbers_are_refused_with_what_is_legal_or_do_what_they_say() {
    let dir = place();
    let d = dir.path();
    for (name, values) in [
        ("lr", &["nan", "inf", "-1", "1e10"][..]),
        ("muon", &["nan", "-0.5"]),
        ("layers", &["0", "99999999999"]),
        ("width", &["0", "100000000"]),
        ("heads", &["0", "99999999"]),
        ("context", &["0", "99999999999999"]),
        ("vocab", &["0", "1", "255", "99999999999"]),
        ("batch-tokens", &["0", "99999999999999"]),
        ("save-every", &["0"]),
        ("steps", &["0"]),
        ("minutes", &["0", "nan", "-1"]),
    ] {
        for value in values {
            let flag = format!("--{name}={value}");
            let out = pupil(d, "pretrain --data text.txt --out r").arg(&flag).output().unwrap();
            assert_eq!(out.status.code(), Some(2), "{flag}: {}", said(&out));
            assert!(said(&out).contains(&format!("--{name}")), "{flag}: {}", said(&out));
        }
    }
    assert!(!d.join("r").exists());
    // What is small but legal.
    for (i, rest) in ["--lr 0 --muon 0", "--lr 1e-30", "--seed 18446744073709551615"].into_iter().enumerate()
    {
        check(d, &pretrain(&format!("--steps 2 --out ok{i} {rest}")), 0, &[]);
    }
    let least = "pretrain --data text.txt --out least --layers 1 --width 2 --heads 1 --context 1 --vocab 262 --batch-tokens 1 --steps 1";
    check(d, least, 0, &[]);
}

#[test]
fn c16_a_speedrun_that_is_killed_anywhere_goes_on_to_the_same_bytes() {
    const KILLS: u64 = 5;
    let dir = place();
    let command = "speedrun --exactly 6 300 --out";
    let begun = Instant::now();
    check(
        dir.path(),
        &format!("{command} straight"),
        0,
        &["Evaluation", "pupil eval --limit 20 -m straight/chat"],
    );
    let whole = begun.elapsed().as_micros() as u64;
    let mut random = Random(16);
    for kill in 0..KILLS {
        let mut child = pupil(dir.path(), &format!("{command} killed"));
        let mut child = child.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(whole * (1 + kill) / KILLS / 2 + random.below(whole / 4)));
        // It may have come to its end: then there is nothing left to kill, and nothing must change.
        let _ = child.kill();
        child.wait().unwrap();
    }
    check(dir.path(), &format!("{command} killed"), 0, &["pupil chat -m killed"]);
    let made = ["data/chats.jsonl", "data/stories.txt", "data/skills.jsonl", "data/persona.toml"];
    let made = made.into_iter().chain(["tokenizer.json", "base/model/model.safetensors"]);
    for file in made.chain(["chat/model/model.safetensors", "chat/model/tokenizer.json"]) {
        let read = |run: &str| std::fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("straight") == read("killed"), "{file}");
    }
}

#[test]
fn c16_v08_the_same_command_gives_the_same_files() {
    let dir = place();
    for run in ["a", "b"] {
        check(dir.path(), &pretrain(&format!("--steps 4 --save-every 2 --out {run}")), 0, &[]);
    }
    let mut files: Vec<PathBuf> = vec!["tokenizer.json".into()];
    for folder in ["model", "checkpoints/step-2"] {
        let names = std::fs::read_dir(dir.path().join("a").join(folder)).unwrap().filter_map(Result::ok);
        files.extend(names.map(|e| Path::new(folder).join(e.file_name())));
    }
    assert!(files.len() > 10, "{files:?}");
    let read = |run: &str, file: &Path| std::fs::read(dir.path().join(run).join(file)).unwrap();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // The cards name the command, the state the seconds, the manifest their hashes.
        if ["README.md", "state.json", "manifest.json"].contains(&name.as_str()) {
            continue;
        }
        assert!(read("a", &file) == read("b", &file), "{}", file.display());
    }
}
