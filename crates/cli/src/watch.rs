//! Whoever watches a run: shows what happens, lets the model write now and then, and leaves a report.
//!
//! Beside what `train` writes, the run's directory gets `about.json` (the commands of its sittings, the machine, the data and the tokenizer in a
//! few words), `samples.jsonl`, with `--tensorboard` event files, and at its end, however that comes, `report.html` and `report.md`. None of these is
//! needed to go on; if one cannot be written, that is told once, and the run goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pupil_checkpoint::atomic;
use pupil_data::Examples;
use pupil_model::Network;
use pupil_report::history::Sample;
use pupil_report::tensorboard;
use pupil_tensor::kernels::{level, pool};
use pupil_tokenizer::{Specials, Tokenizer};
use pupil_train::{Event, Plan};
use serde_json::{Value, json};

use crate::dashboard::Dashboard;
use crate::process;
use crate::progress::Progress;
use crate::runs;
use crate::signals::Stop;
use crate::voice::Voice;

/// How a run is shown.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Showing {
    /// Shows the run on the whole screen: curves, samples, time left; q asks to stop.
    #[arg(long)]
    pub(crate) tui: bool,
    /// Writes event files for TensorBoard into the run's directory.
    #[arg(long)]
    pub(crate) tensorboard: bool,
    /// What the model goes on with (or, if it is fine-tuned, is asked) now and then; by default the beginnings of two held-out texts.
    #[arg(long, value_name = "TEXT")]
    pub(crate) sample: Vec<String>,
    /// Lets it write nothing on the way.
    #[arg(long, conflicts_with = "sample")]
    pub(crate) no_samples: bool,
}

/// What a run is watched with.
pub(crate) struct Watch {
    stop: Arc<Stop>,
    dir: PathBuf,
    about: Value,
    begun: bool,
    progress: Progress,
    dashboard: Option<Dashboard>,
    voice: Option<Voice>,
    board: Option<Board>,
}

impl Watch {
    /// Watches a run that will begin in `dir` or go on there. `files` are those of its model's directory, the tokenizer among them.
    pub(crate) fn new(
        showing: &Showing,
        dir: &Path,
        plan: &Plan,
        name: &'static str,
        files: &[(String, Vec<u8>)],
        [train, validation]: [&dyn Examples; 2],
        stop: Arc<Stop>,
    ) -> anyhow::Result<Watch> {
        let json = files.iter().find(|f| f.0 == "tokenizer.json").map(|f| String::from_utf8_lossy(&f.1));
        let is_gpt = matches!(plan.model, pupil_model::Settings::Gpt(_));
        // A tokenizer of another kind belongs to a model that does not write.
        let tokenizer = json.and_then(|j| Tokenizer::from_json(&j).ok());
        let examples = if validation.tokens() > 0 { validation } else { train };
        let voice = match tokenizer.clone() {
            Some(t) if is_gpt && !showing.no_samples => Some(Voice::new(t, plan, examples, &showing.sample)?),
            _ => None,
        };
        let about = json!({
            "data": {"tokens": train.tokens(), "held_out": validation.tokens()},
            "tokenizer": tokenizer.as_ref().map(|t| described(t, voice.as_ref())),
        });
        let dashboard = showing.tui.then(|| Dashboard::open(name, dir, plan, Arc::clone(&stop)));
        let dashboard = match dashboard.transpose() {
            Ok(dashboard) => dashboard,
            Err(e) => {
                eprintln!("  no dashboard: {e}");
                None
            }
        };
        let board = showing.tensorboard.then(Board::default);
        let progress = Progress::new(name);
        Ok(Watch { stop, dir: dir.to_owned(), about, begun: false, progress, dashboard, voice, board })
    }

    /// Takes note of what happened; says whether the run shall go on.
    pub(crate) fn event(&mut self, event: &Event<'_>) -> bool {
        if let Event::Resumed { step } = event {
            let outcome = cut_back(&self.dir, *step);
            self.told(outcome);
        }
        if !self.begun && matches!(event, Event::Step { .. }) {
            self.begun = true;
            let outcome = self.note_sitting(false);
            self.told(outcome);
        }
        let samples = match event {
            Event::Step { step, steps, model, .. } => {
                self.voice.iter_mut().for_each(|v| v.ends_at(*steps));
                self.write(*step, model, false)
            }
            Event::Evaluated { step, model, .. } => self.write(*step, model, true),
            _ => Vec::new(),
        };
        if let Some(board) = &mut self.board
            && let Err(e) = board.event(&self.dir, event, &samples)
        {
            self.board = None;
            self.told(Err(anyhow::Error::new(e).context("no more for TensorBoard")));
        }
        match &mut self.dashboard {
            Some(d) if d.is_open() => {
                d.event(event);
                samples.iter().for_each(|s| d.sample(s));
            }
            _ => {
                self.progress.event(event);
                samples.iter().for_each(|s| self.progress.sample(s));
            }
        }
        self.stop.code().is_none()
    }

    /// The run is over, however it ended: gives the terminal back and writes the report.
    pub(crate) fn end(mut self) {
        if let Some(d) = self.dashboard.take() {
            d.close().iter().for_each(|l| self.progress.line(l));
        }
        // A run that did not begin left the directory as it was: it may be another's.
        if !self.begun {
            return;
        }
        let outcome = self.note_sitting(true);
        self.told(outcome);
        match runs::write_report(&self.dir) {
            Ok(page) => eprintln!("  report: {}", page.display()),
            Err(e) => eprintln!("  no report: {e:#}"),
        }
    }

    /// Says what went wrong with a file that is not needed to go on.
    fn told(&mut self, outcome: anyhow::Result<()>) {
        let Err(e) = outcome else { return };
        let text = format!("{}: {e:#}", self.dir.display());
        match &mut self.dashboard {
            Some(d) if d.is_open() => d.line(text),
            _ => self.progress.line(&format!("  {text}")),
        }
    }

    /// Lets the model write, if it is time.
    fn write(&mut self, step: u64, model: &Network, is_evaluation: bool) -> Vec<Sample> {
        let (Some(voice), Network::Gpt(gpt)) = (&mut self.voice, model) else { return Vec::new() };
        let samples = voice.write(step, gpt, is_evaluation);
        if !samples.is_empty() {
            let outcome = append(&self.dir, &samples);
            self.told(outcome);
        }
        samples
    }

    /// Adds this sitting to `about.json`; at its end again, with what it took.
    fn note_sitting(&self, is_over: bool) -> anyhow::Result<()> {
        let path = self.dir.join("about.json");
        let old: Value = std::fs::read_to_string(&path)
            .ok()
            .and_then(|t| serde_json::from_str(&t).ok())
            .unwrap_or(Value::Null);
        let mut about = self.about.clone();
        let mut sittings = old["sittings"].as_array().cloned().unwrap_or_default();
        let command: Vec<String> =
            std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
        if is_over {
            sittings.pop();
        }
        sittings.push(json!({
            "command": command, "started": (now() - process::seconds_since_start()) as u64, "version": env!("CARGO_PKG_VERSION"), "threads": pool::threads(),
            "instructions": level::level().to_string(),
            "seconds": is_over.then(process::seconds_since_start), "peak_memory": is_over.then(|| process::peak_rss_mb() * 1_000_000),
        }));
        about["sittings"] = sittings.into();
        atomic::replace_file(&path, format!("{about:#}\n").as_bytes())?;
        Ok(())
    }
}

/// A tokenizer in a few words, and how it cuts the beginning of a text.
fn described(t: &Tokenizer, voice: Option<&Voice>) -> Value {
    const SHOWN: usize = 160;
    let text: String = voice.map_or(String::new(), Voice::example).chars().take(SHOWN).collect();
    let mut pieces: Vec<&str> = Vec::new();
    let mut done = 0;
    for token in t.encode_with_places(&text, Specials::Text) {
        let end = token.1.end.max(done);
        // A character of several tokens is shown with its first.
        if let Some(piece) = text.get(done..end).filter(|p| !p.is_empty()) {
            pieces.push(piece);
            done = end;
        }
    }
    json!({"kind": t.kind(), "ids": t.len(), "example": pieces})
}

fn samples_file(dir: &Path) -> PathBuf {
    dir.join("samples.jsonl")
}

fn append(dir: &Path, samples: &[Sample]) -> anyhow::Result<()> {
    let lines: Vec<String> = samples.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(samples_file(dir))?;
    Ok(file.write_all(format!("{}\n", lines.join("\n")).as_bytes())?)
}

/// Leaves out what was written after the step from which a run goes on.
fn cut_back(dir: &Path, step: u64) -> anyhow::Result<()> {
    let path = samples_file(dir);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let keep = |l: &&str| serde_json::from_str::<Sample>(l).is_ok_and(|s| s.step <= step);
    let kept: String = text.lines().filter(keep).flat_map(|l| [l, "\n"]).collect();
    if kept != text {
        atomic::replace_file(&path, kept.as_bytes())?;
    }
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Event files for TensorBoard, one for each sitting.
#[derive(Default)]
struct Board {
    file: Option<std::io::BufWriter<std::fs::File>>,
    flushed: f64,
    before: Option<(u64, f64)>,
}

impl Board {
    /// Seconds after which what was written is there for others to read.
    const FLUSH: f64 = 5.0;

    fn event(&mut self, dir: &Path, event: &Event<'_>, samples: &[Sample]) -> std::io::Result<()> {
        let time = now();
        let mut out = Vec::new();
        match event {
            Event::Step { step, loss, gradient_norm, tokens, seconds, rate, memory, .. } => {
                let mut values = vec![
                    ("train/loss", *loss),
                    ("train/gradient_norm", *gradient_norm),
                    ("train/rate", f64::from(*rate)),
                ];
                values.extend(memory.map(|m| ("system/memory_mb", m as f64 / 1e6)));
                if let Some((t, s)) = self.before.replace((*tokens, *seconds)).filter(|b| *seconds > b.1) {
                    values
                        .push(("system/tokens_per_second", tokens.saturating_sub(t) as f64 / (seconds - s)));
                }
                out.extend(tensorboard::scalars(time, *step, &values));
            }
            Event::Evaluated { step, result, .. } if result.loss.weight > 0.0 => {
                let mut values = vec![
                    ("validation/loss", result.loss.mean()),
                    ("validation/accuracy", result.loss.accuracy()),
                ];
                if result.bytes > 0 {
                    values.push(("validation/bits_per_byte", result.bits_per_byte()));
                }
                out.extend(tensorboard::scalars(time, *step, &values));
            }
            _ => {}
        }
        for (i, s) in samples.iter().enumerate() {
            let text = pupil_report::page::markdown_block(&format!("{}{}", s.prompt, s.text));
            out.extend(tensorboard::text(time, s.step, &format!("samples/{}", i + 1), &text));
        }
        if out.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(f) => f,
            None => {
                let folder = dir.join("tensorboard");
                std::fs::create_dir_all(&folder)?;
                let name = format!("events.out.tfevents.{:010}.pupil.{}", time as u64, std::process::id());
                let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join(name))?);
                file.write_all(&tensorboard::version(time))?;
                self.file.insert(file)
            }
        };
        file.write_all(&out)?;
        if time - self.flushed > Self::FLUSH {
            self.flushed = time;
            file.flush()?;
        }
        Ok(())
    }
}
