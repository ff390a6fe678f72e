//! `pupil runs`: which runs there are and how they stand; `pupil runs compare`: several side by side; `pupil report`: a run's report, anew.

use std::fs::{File, TryLockError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_checkpoint::atomic;
use pupil_model::Settings as Architecture;
use pupil_report::compare::{self, Compared};
use pupil_report::history::History;
use pupil_report::number::{age, clock, digits, short};
use pupil_report::run::{Forecast, Setting, Story, Unit};
use pupil_report::terminal::{Side, Table, spark};
use pupil_report::{number, size};
use pupil_train::Plan;
use serde_json::{Value, json};

use crate::exit::Usage;
use crate::progress::Look;
use crate::watch::now;

/// Folders within folders that are looked through.
const DEPTH: usize = 4;
/// Columns of a curve in a table.
const CURVE: usize = 12;

/// `pupil runs`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    compare: Option<What>,
    /// Directories of runs, or with runs in them.
    #[arg(default_value = ".")]
    dirs: Vec<PathBuf>,
    /// A JSON array on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Overlays the curves of runs in a page, and says where their settings differ.
    Compare {
        /// Directories of runs.
        #[arg(required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
        /// The page.
        #[arg(long, default_value = "compare.html")]
        out: PathBuf,
        /// One JSON object on standard output, and no page.
        #[arg(long)]
        json: bool,
    },
}

/// `pupil report`.
#[derive(clap::Args)]
pub(crate) struct Report {
    /// Directory of a run.
    run: PathBuf,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    if let Some(What::Compare { runs, out, json }) = &a.compare {
        return compare(runs, out, *json);
    }
    let mut found = Vec::new();
    for dir in &a.dirs {
        anyhow::ensure!(dir.is_dir(), Usage(format!("{} is no directory", dir.display())));
        find(dir, DEPTH, &mut found);
    }
    let mut runs: Vec<Run> = found.iter().map(|dir| Run::open(dir)).collect();
    runs.sort_by(|a, b| a.changed.total_cmp(&b.changed));
    if a.json {
        println!("{}", serde_json::to_string_pretty(&runs.iter().map(Run::json).collect::<Vec<_>>())?);
        return Ok(());
    }
    if runs.is_empty() {
        eprintln!("  no run (a directory with a run.json) in {}", listed(&a.dirs));
        return Ok(());
    }
    print!("{}", table(&runs).text(columns()));
    Ok(())
}

/// The width of the terminal that the results go to, if they go to one.
fn columns() -> Option<usize> {
    let is_terminal = std::io::stdout().is_terminal();
    Look::of(is_terminal).columns.filter(|_| is_terminal)
}

pub(crate) fn report(a: &Report) -> anyhow::Result<()> {
    println!("{}", write_report(&a.run)?.display());
    Ok(())
}

/// Writes `report.html` and `report.md` into the directory of a run; returns the page.
pub(crate) fn write_report(dir: &Path) -> anyhow::Result<PathBuf> {
    let run = Run::open(dir);
    if let Some(what) = &run.broken {
        anyhow::bail!(Usage(format!("{}: {what}", dir.display())));
    }
    let story = run.story();
    let page = dir.join("report.html");
    atomic::replace_file(&page, story.html().as_bytes())?;
    atomic::replace_file(&dir.join("report.md"), story.markdown().as_bytes())?;
    Ok(page)
}

fn listed(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Directories with a `run.json`, not looking into runs nor hidden folders.
fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if dir.join("run.json").is_file() {
        found.push(dir.to_owned());
        return;
    }
    if depth == 0 {
        return;
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let hidden = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    // A link could lead in a circle.
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && !hidden(e));
    let mut folders: Vec<PathBuf> = folders.map(|e| e.path()).collect();
    folders.sort();
    folders.iter().for_each(|f| find(f, depth - 1, found));
}

/// A run's directory, read.
struct Run {
    dir: PathBuf,
    plan: Option<Plan>,
    /// `run.json` as it stands.
    planned: Value,
    about: Value,
    history: History,
    state: &'static str,
    /// Seconds since 1970 of the last step.
    changed: f64,
    /// Why it cannot be read.
    broken: Option<String>,
}

impl Run {
    fn open(dir: &Path) -> Run {
        let text = |name: &str| std::fs::read_to_string(dir.join(name));
        let value = |name: &str| -> anyhow::Result<Value> { Ok(serde_json::from_str(&text(name)?)?) };
        let planned = value("run.json");
        let plan = planned.as_ref().ok().map(|v| serde_json::from_value::<Plan>(v.clone()));
        let (plan, broken) = match (plan, &planned) {
            (Some(Ok(plan)), _) => (Some(plan), None),
            (Some(Err(e)), _) => (None, Some(format!("run.json is no plan: {e}"))),
            (None, Err(e)) => (None, Some(format!("run.json: {e}"))),
            (None, Ok(_)) => (None, None),
        };
        let lossy = |name: &str| {
            String::from_utf8_lossy(&std::fs::read(dir.join(name)).unwrap_or_default()).into_owned()
        };
        let history =
            History::read(&lossy("metrics.jsonl"), &lossy("samples.jsonl"), &lossy("skipped.jsonl"));
        let modified =
            ["metrics.jsonl", "run.json"].map(|n| dir.join(n).metadata().and_then(|m| m.modified()).ok());
        let changed = modified.into_iter().flatten().next();
        let changed = changed
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0.0, |d| d.as_secs_f64());
        let made = ["model/config.json", "model/adapter_config.json"];
        let state = match (is_held(dir), made.iter().any(|name| dir.join(name).exists())) {
            _ if broken.is_some() => "unreadable",
            (true, _) => "running",
            (_, true) => "done",
            _ => "stopped",
        };
        Run {
            dir: dir.to_owned(),
            plan,
            planned: planned.unwrap_or(Value::Null),
            about: value("about.json").unwrap_or(Value::Null),
            history,
            state,
            changed,
            broken,
        }
    }

    fn name(&self) -> String {
        let dir = self.dir.strip_prefix("./").unwrap_or(&self.dir);
        dir.display().to_string()
    }

    fn done(&self) -> u64 {
        self.history.steps.last().map_or(0, |s| s.step)
    }

    fn bits(&self) -> Option<f64> {
        self.history.evaluations.last().and_then(|e| e.bits_per_byte).filter(|b| b.is_finite())
    }

    fn json(&self) -> Value {
        let h = &self.history;
        let last = h.steps.last();
        json!({
            "dir": self.dir, "state": self.state, "stage": self.plan.as_ref().map(|p| &p.stage),
            "parameters": self.plan.as_ref().map(|p| p.model.parameter_count()), "step": self.done(),
            "steps": self.plan.as_ref().map(|p| p.steps), "loss": h.late_loss(),
            "validation_loss": h.evaluations.last().map(|e| e.loss), "bits_per_byte": self.bits(),
            "tokens": last.map(|s| s.tokens), "seconds": last.map(|s| s.seconds), "tokens_per_second": h.speed(),
            "memory_bytes": h.peak_memory(), "skipped": h.skipped.len(), "changed": self.changed, "problem": self.broken,
        })
    }

    fn story(&self) -> Story {
        let h = &self.history;
        let name = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let name = name.file_name().map_or("run".into(), |n| n.to_string_lossy().into_owned());
        let plan = self.plan.as_ref();
        let about = |a: &str, b: &str| self.about[a][b].as_u64().map(number);
        let mut data: Vec<(String, String)> = Vec::new();
        let mut tell = |what: &str, value: Option<String>| data.extend(value.map(|v| (what.to_owned(), v)));
        let words = self.command();
        tell("data", data_of(&words));
        tell("tokens to learn from", about("data", "tokens"));
        tell("tokens held out", about("data", "held_out"));
        let learned = self.about["data"]["tokens"].as_u64().filter(|t| *t > 0);
        let read = h.steps.last().map(|s| s.tokens as f64);
        tell("times that all of it was read", learned.zip(read).map(|(all, read)| digits(read / all as f64)));
        let fingerprint = plan.map(|p| p.data.chars().take(16).collect());
        tell("fingerprint of both", fingerprint);
        let mut tokenizer: Vec<(String, String)> = Vec::new();
        let kind = self.about["tokenizer"]["kind"].as_str();
        let ids = about("tokenizer", "ids");
        tokenizer.extend(kind.zip(ids).map(|(k, n)| ("tokenizer".to_owned(), format!("{k}, {n} ids"))));
        let per_token = h.bytes_per_token().map(|b| ("bytes of text a token".to_owned(), format!("{b:.2}")));
        tokenizer.extend(per_token);
        let pieces = self.about["tokenizer"]["example"].as_array().into_iter().flatten();
        Story {
            name,
            stage: match plan.map_or("", |p| p.stage.as_str()) {
                "pretrain" => "Pretraining".to_owned(),
                "finetune" => "Fine-tuning".to_owned(),
                other => other.to_owned(),
            },
            model: plan.map_or(String::new(), |p| described(&p.model)),
            state: self.state.to_owned(),
            planned_steps: plan.map_or(0, |p| p.steps),
            parameters: plan.map_or(0, |p| p.model.parameter_count()),
            peak_rate: plan.map_or(1.0, |p| f64::from(p.optimiser.learning_rate)),
            settings: settings(&self.planned, &words),
            data,
            tokenizer,
            pieces: pieces.filter_map(|p| Some(p.as_str()?.to_owned())).collect(),
            forecast: self.forecast(),
            command: if words.is_empty() { String::new() } else { format!("pupil {}", quoted(&words)) },
            machine: self.machine(),
            history: self.history.clone(),
        }
    }

    /// The words of the first sitting's command.
    fn command(&self) -> Vec<String> {
        let words = self.about["sittings"][0]["command"].as_array().into_iter().flatten();
        words.filter_map(|w| Some(w.as_str()?.to_owned())).filter(|w| w != "--resume").collect()
    }

    fn machine(&self) -> String {
        let sittings = self.about["sittings"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(s) = sittings.last() else { return String::new() };
        let text = |key: &str| s[key].as_str().unwrap_or("?").to_owned();
        let threads = s["threads"].as_u64().unwrap_or(0);
        let many = if sittings.len() > 1 { format!(", {} sittings", sittings.len()) } else { String::new() };
        format!("Made by pupil {} on {threads} threads, {}{many}.", text("version"), text("instructions"))
    }

    fn forecast(&self) -> Vec<Forecast> {
        let f = &self.planned["forecast"];
        let h = &self.history;
        let is_done = self.state == "done";
        // All sittings, setting up included.
        let sittings = self.about["sittings"].as_array().map_or(&[][..], Vec::as_slice);
        let seconds: Option<f64> = sittings.iter().map(|s| s["seconds"].as_f64()).sum();
        let seconds = seconds.filter(|s| is_done && *s > 0.0);
        let peak = sittings.iter().filter_map(|s| s["peak_memory"].as_u64()).max();
        let memory = peak.max(h.peak_memory()).map(|b| b as f64);
        let each = h.steps.last().filter(|s| s.step > 0).map(|s| s.seconds / s.step as f64);
        let bits = self.bits().filter(|_| is_done);
        let rows = [
            ("time from the command to the model", "seconds", seconds, Unit::Seconds),
            ("time of a step", "seconds_per_step", each, Unit::Seconds),
            ("memory at most", "memory_bytes", memory, Unit::Bytes),
            ("disk", "disk_bytes", Some(disk(&self.dir) as f64), Unit::Bytes),
            ("bits per byte of held-out text", "bits_per_byte", bits, Unit::Plain),
        ];
        let row = |(what, key, came, unit): (&str, &str, Option<f64>, Unit)| {
            Some(Forecast { what: what.to_owned(), expected: f[key].as_f64()?, came, unit })
        };
        rows.into_iter().filter_map(row).collect()
    }
}

/// Bytes of all files in a directory.
fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let size = |e: std::fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() => disk(&e.path()),
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    };
    entries.map(size).sum()
}

/// Whether a process holds the directory. Asking for a moment takes a lock that others may share, and leaves no trace.
fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(".lock")) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// An architecture in a few words.
fn described(model: &Architecture) -> String {
    let settings = serde_json::to_value(model).unwrap_or(Value::Null);
    let name = match settings["architecture"].as_str().unwrap_or("model") {
        "gpt" => "GPT",
        "bert" => "BERT",
        "rnn" => "recurrent network",
        other => other,
    };
    let count = |key: &str| settings[key].as_u64();
    let size = count("layers")
        .zip(count("width"))
        .map(|(l, w)| format!(" of {l} block{}, {w} wide", if l == 1 { "" } else { "s" }));
    format!("a {name}{}", size.unwrap_or_default())
}

/// The data of a command, as it was named.
fn data_of(words: &[String]) -> Option<String> {
    let at = words.iter().position(|w| w == "--data");
    let named =
        at.map(|at| words[at + 1..].iter().take_while(|w| !w.starts_with('-')).cloned().collect::<Vec<_>>());
    match named {
        Some(paths) => Some(paths.join(", ")),
        None if words.is_empty() => None,
        None => Some("the starter text".to_owned()),
    }
}

/// Words as a shell takes them.
fn quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let word = |w: &String| match !w.is_empty() && w.chars().all(plain) {
        true => w.clone(),
        false => format!("'{}'", w.replace('\'', "'\\''")),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Flags that set a value of the plan, by the value's name.
const FLAGS: [(&str, &[&str]); 15] = [
    ("steps", &["--steps", "--minutes", "--depth"]),
    ("rows", &["--batch-tokens", "--depth"]),
    ("row_tokens", &["--batch-tokens", "--depth"]),
    ("seed", &["--seed"]),
    ("dtype", &["--dtype"]),
    ("save_every", &["--save-every"]),
    ("optimiser.learning_rate", &["--lr", "--depth"]),
    ("optimiser.muon", &["--muon", "--depth"]),
    ("limits.seconds", &["--minutes"]),
    ("limits.bits_per_byte", &["--until-loss"]),
    ("model.layers", &["--layers", "--depth", "--minutes"]),
    ("model.width", &["--width", "--depth", "--minutes"]),
    ("model.heads", &["--heads", "--depth", "--minutes"]),
    ("model.context", &["--context"]),
    ("model.vocab", &["--vocab", "--tokenizer"]),
];

/// The plan's values with where they come from: the flag that was typed, or what pupil chose.
fn settings(planned: &Value, words: &[String]) -> Vec<Setting> {
    let mut flat = Vec::new();
    flatten("", planned, &mut flat);
    let typed = |flag: &&&str| words.iter().any(|w| w == **flag || w.starts_with(&format!("{flag}=")));
    let recipe = words.iter().position(|w| w == "--recipe").and_then(|at| words.get(at + 1));
    let recipe = recipe.map(String::as_str);
    let origin = |name: &str| {
        let flags = FLAGS.iter().find(|f| f.0 == name).map_or(&[][..], |f| f.1);
        match flags.iter().find(typed) {
            Some(flag) => format!("command line, {flag}"),
            None if words.is_empty() => String::new(),
            None if recipe.is_some() => format!("recipe {}, or pupil", recipe.unwrap_or_default()),
            None => "pupil".to_owned(),
        }
    };
    let left_out = |name: &str| name.starts_with("forecast") || ["data", "format", "pupil"].contains(&name);
    let flat = flat.into_iter().filter(|(name, _)| !left_out(name));
    flat.map(|(name, value)| Setting { origin: origin(&name), name, value }).collect()
}

/// Every value of an object within objects, named by its path.
fn flatten(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        let shown = match value {
            Value::String(s) => s.clone(),
            Value::Number(n) if n.is_f64() => digits(n.as_f64().unwrap_or(0.0)),
            Value::Null => return,
            other => other.to_string(),
        };
        out.push((path.to_owned(), shown));
        return;
    };
    for (key, v) in fields {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(&path, v, out);
    }
}

fn table(runs: &[Run]) -> Table {
    let (l, r) = (Side::Left, Side::Right);
    let mut t = Table::new(&[
        ("run", l),
        ("stage", l),
        ("size", r),
        ("steps", r),
        ("loss", r),
        ("", l),
        ("bits/byte", r),
        ("time", r),
        ("age", r),
        ("state", l),
    ]);
    let number = |v: Option<f64>| v.filter(|v| v.is_finite()).map_or("–".to_owned(), |v| format!("{v:.3}"));
    for run in runs {
        let h = &run.history;
        let losses: Vec<f64> = h.steps.iter().map(|s| s.loss).collect();
        let plan = run.plan.as_ref();
        t.row([
            run.name(),
            plan.map_or(String::new(), |p| p.stage.clone()),
            plan.map_or(String::new(), |p| short(p.model.parameter_count())),
            plan.map_or(String::new(), |p| format!("{}/{}", run.done(), p.steps)),
            number(h.late_loss()),
            spark(&losses, CURVE),
            number(run.bits()),
            clock(h.steps.last().map_or(0.0, |s| s.seconds)),
            age(now() - run.changed),
            run.broken.as_ref().map_or(run.state.to_owned(), |b| format!("{}: {b}", run.state)),
        ]);
    }
    t
}

fn compare(dirs: &[PathBuf], out: &Path, as_json: bool) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for dir in dirs {
        anyhow::ensure!(
            dir.join("run.json").is_file(),
            Usage(format!("{} holds no run (no run.json)", dir.display()))
        );
        let run = Run::open(dir);
        if let Some(what) = &run.broken {
            anyhow::bail!(Usage(format!("{}: {what}", dir.display())));
        }
        runs.push(run);
    }
    let differences = differences(&runs);
    if as_json {
        let names = differences.first().map_or(&[][..], |h| &h[1..]);
        let of = |(i, run): (usize, &Run)| {
            let mut v = run.json();
            let rows = differences.iter().skip(1).find(|d| d[0] == run.name());
            let each = names.iter().zip(rows.map_or(&[][..], |r| &r[1..]));
            v["differs"] = each.map(|(n, v)| (n.clone(), Value::from(v.clone()))).collect();
            v["evaluations"] = runs[i]
                .history
                .evaluations
                .iter()
                .map(|e| json!({"step": e.step, "loss": e.loss, "bits_per_byte": e.bits_per_byte}))
                .collect();
            v
        };
        println!("{}", serde_json::to_string_pretty(&runs.iter().enumerate().map(of).collect::<Vec<_>>())?);
        return Ok(());
    }
    let heads =
        ["run", "state", "size", "steps", "loss", "held-out", "bits/byte", "tokens/s", "memory", "time"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let number = |v: Option<f64>| v.filter(|v| v.is_finite()).map_or("–".to_owned(), |v| format!("{v:.3}"));
    for run in &runs {
        let (h, plan) = (&run.history, run.plan.as_ref());
        rows.push(vec![
            run.name(),
            run.state.to_owned(),
            plan.map_or(String::new(), |p| short(p.model.parameter_count())),
            plan.map_or(String::new(), |p| format!("{}/{}", run.done(), p.steps)),
            number(h.late_loss()),
            number(h.evaluations.last().map(|e| e.loss)),
            number(run.bits()),
            h.speed().map_or("–".into(), |v| short(v as u64)),
            h.peak_memory().map_or("–".into(), size),
            clock(h.steps.last().map_or(0.0, |s| s.seconds)),
        ]);
    }
    for table in [&rows, &differences] {
        let Some((heads, rows)) = table.split_first().filter(|(h, _)| h.len() > 1) else { continue };
        let sides: Vec<(&str, Side)> = heads
            .iter()
            .enumerate()
            .map(|(i, h)| (h.as_str(), if i == 0 { Side::Left } else { Side::Right }))
            .collect();
        let mut t = Table::new(&sides);
        rows.iter().for_each(|r| t.row(r.iter().cloned()));
        println!("{}", t.text(columns()));
    }
    let compared: Vec<Compared> =
        runs.iter().map(|r| Compared { name: r.name(), history: r.history.clone() }).collect();
    let page = compare::html(&compared, &rows, &differences);
    atomic::replace_file(out, page.as_bytes()).context("the page")?;
    println!("{}", out.display());
    Ok(())
}

/// The settings in which runs differ: a head with their names, then each run's values.
fn differences(runs: &[Run]) -> Vec<Vec<String>> {
    let all: Vec<Vec<(String, String)>> = runs
        .iter()
        .map(|r| settings(&r.planned, &[]).into_iter().map(|s| (s.name, s.value)).collect())
        .collect();
    let value = |list: &[(String, String)], name: &str| {
        list.iter().find(|v| v.0 == name).map_or("–".to_owned(), |v| v.1.clone())
    };
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.retain(|n| all.iter().any(|list| value(list, n) != value(&all[0], n)));
    let mut rows =
        vec![std::iter::once("run".to_owned()).chain(names.iter().map(|n| (*n).clone())).collect()];
    for (run, list) in runs.iter().zip(&all) {
        rows.push(std::iter::once(run.name()).chain(names.iter().map(|n| value(list, n))).collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_say_which_flag_they_come_from() {
        let plan = json!({"steps": 3, "seed": 1, "optimiser": {"learning_rate": 0.004, "muon": null}, "forecast": {"seconds": 2}});
        let words: Vec<String> = ["pretrain", "--steps=3", "--data", "a b"].map(String::from).to_vec();
        let all = settings(&plan, &words);
        let told: Vec<String> = all.iter().map(|s| format!("{} {} {}", s.name, s.value, s.origin)).collect();
        assert_eq!(
            told,
            ["steps 3 command line, --steps", "seed 1 pupil", "optimiser.learning_rate 0.004000 pupil"]
        );
        assert_eq!(quoted(&words), "pretrain --steps=3 --data 'a b'");
        assert_eq!(data_of(&words).as_deref(), Some("a b"));
        assert_eq!(data_of(&words[..2]).as_deref(), Some("the starter text"));
    }
}
