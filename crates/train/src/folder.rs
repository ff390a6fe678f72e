//! The directory of a run: who may write in it, and what its files say.
//!
//! `run.json` holds the plan and makes the directory a run's; it appears last. `metrics.jsonl` has a line for each step and evaluation, each written
//! in one piece; `skipped.jsonl` names what was passed over. On resume both are cut back to what the checkpoint knows, so that no step
//! stands there twice and none is missing.

use std::io::Write;
use std::path::{Path, PathBuf};

use pupil_checkpoint::fs::{Fs, Output};
use pupil_checkpoint::lock::Lock;
use pupil_checkpoint::{Error as FileError, atomic, state};
use pupil_data::Position;
use pupil_model::Batch;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::run::Error;
use crate::step::Diverged;

/// The form of `run.json` that this version writes and reads.
const FORMAT: u64 = 1;
/// What may lie in a directory before a run begins there: raw text that was prepared in it, the vocabulary of a run that was killed before it
/// began, what a reference model said of pairs. What begins with a dot is nobody's.
const PREPARED: [&str; 6] = [
    "data",
    "settings.toml",
    "tokenizer.json",
    "keras_tokenizer.json",
    "reference.json",
    "reference-held-out.json",
];

/// A run's directory, held by this process.
pub(crate) struct Folder<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    metrics: Option<Box<dyn Output + 'a>>,
    _lock: Lock,
}

/// The plan of the run in a directory; `None` if there is no run.
///
/// # Errors
/// If `run.json` cannot be read, is no plan, or was written by a newer pupil.
pub fn planned(dir: &Path) -> Result<Option<Plan>, Error> {
    let file = dir.join("run.json");
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::Read { path: file, source }.into()),
    };
    let bad =
        |e: serde_json::Error| FileError::Content { path: file.clone(), what: format!("is no plan: {e}") };
    let value: Value = serde_json::from_slice(&bytes).map_err(bad)?;
    state::check_format(&file, &value, "format", FORMAT)?;
    Ok(Some(serde_json::from_value(value).map_err(bad)?))
}

/// Whether a run may begin in a directory or, with `resume`, go on there: to be asked before the work of making its plan.
///
/// # Errors
/// [`Error::Usage`] if there is a run and it shall not go on, or if something else lies there.
pub fn check_place(dir: &Path, resume: bool) -> Result<(), Error> {
    if dir.join("run.json").exists() {
        if resume {
            return Ok(());
        }
        let dir = dir.display();
        let what = format!("{dir} holds a run already; --resume goes on with it, or choose another --out");
        return Err(Error::Usage(what));
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let foreign = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .find(|n| !n.starts_with('.') && !PREPARED.contains(&n.as_str()));
    match foreign {
        Some(name) => Err(Error::Usage(format!(
            "{} is not empty and holds no run (there is {name:?}); choose another --out",
            dir.display()
        ))),
        None => Ok(()),
    }
}

impl<'a> Folder<'a> {
    /// Makes the directory, or checks that it is this run's; and locks it. A new one gets `first` (the vocabulary), then the plan.
    pub(crate) fn open(
        fs: &'a dyn Fs,
        dir: &'a Path,
        plan: &Plan,
        first: Option<&(String, Vec<u8>)>,
        resume: bool,
    ) -> Result<Folder<'a>, Error> {
        if !fs.exists(dir) {
            atomic::create_folder(fs, dir)?;
        }
        let lock = Lock::take(dir)?;
        check_place(dir, resume)?;
        let folder = Folder { fs, dir, metrics: None, _lock: lock };
        let there = planned(dir)?;
        atomic::clean(fs, dir);
        let Some(there) = there else {
            if let Some((name, bytes)) = first {
                folder.vocabulary(name, bytes)?;
            }
            let mut value = json!({"format": FORMAT, "pupil": env!("CARGO_PKG_VERSION")});
            if let (Value::Object(all), Ok(Value::Object(plan))) = (&mut value, serde_json::to_value(plan)) {
                all.extend(plan);
            }
            atomic::replace_file_on(fs, &dir.join("run.json"), format!("{value:#}\n").as_bytes())?;
            return Ok(folder);
        };
        let differences = plan.differences(&there);
        if differences.is_empty() {
            return Ok(folder);
        }
        let list = differences.join("\n  ");
        Err(Error::Usage(format!("the run in {} was planned otherwise:\n  {list}", dir.display())))
    }

    /// The vocabulary lies there from the beginning, so that a resumed run has the same; another one is not overwritten.
    fn vocabulary(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        match self.fs.read(&path) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => Err(Error::Usage(format!(
                "{} is another than this run's, and the directory holds no run; choose another --out",
                path.display()
            ))),
            Err(_) => Ok(atomic::replace_file_on(self.fs, &path, bytes)?),
        }
    }

    /// Cuts the metrics back to the lines of the first `step` steps and of the evaluations up to `evaluated`, the passed over batches to
    /// the first `skipped`, and opens the metrics behind them.
    pub(crate) fn cut_back(&mut self, step: u64, evaluated: u64, skipped: u64) -> Result<(), Error> {
        let keep = |l: &&str| {
            let Ok(v) = serde_json::from_str::<Value>(l) else { return false };
            let last = if v.get("validation_loss").is_some() { evaluated } else { step };
            v["step"].as_u64().is_some_and(|s| s <= last)
        };
        let path = self.dir.join("metrics.jsonl");
        self.rewrite(&path, |text| text.lines().filter(keep).flat_map(|l| [l, "\n"]).collect())?;
        let path = self.dir.join("skipped.jsonl");
        if self.fs.exists(&path) {
            self.rewrite(&path, |t| t.lines().take(skipped as usize).flat_map(|l| [l, "\n"]).collect())?;
        }
        let path = self.dir.join("metrics.jsonl");
        self.metrics = Some(self.fs.append(&path).map_err(|source| FileError::Storage { path, source })?);
        Ok(())
    }

    fn rewrite(&self, path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
        let old = match self.fs.read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(FileError::Read { path: path.to_owned(), source }.into()),
        };
        let new = change(&String::from_utf8_lossy(&old));
        if new.as_bytes() != old || old.is_empty() {
            atomic::replace_file_on(self.fs, path, new.as_bytes())?;
        }
        Ok(())
    }

    /// Adds a line to the metrics.
    pub(crate) fn note(&mut self, line: &Value) -> Result<(), Error> {
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        let written = metrics.write_all(format!("{line}\n").as_bytes());
        Ok(written.map_err(|source| FileError::Storage { path: self.dir.join("metrics.jsonl"), source })?)
    }

    /// Waits until the lines are on the disk: a checkpoint's steps stand in the metrics, whatever happens.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        metrics.sync().map_err(|source| FileError::Storage { path: self.dir.join("metrics.jsonl"), source })
    }

    /// Notes what was passed over: where it stands, and how each sequence begins (`pupil tokenizer decode` shows the words).
    pub(crate) fn skip(&self, why: &Diverged, position: Position, batches: &[Batch]) -> Result<(), Error> {
        const BEGINNING: usize = 32;
        let beginnings = batches.iter().flat_map(|b| {
            let ids = &b.ids;
            b.spans.iter().map(move |s| ids[s.queries.clone()].iter().take(BEGINNING).collect::<Vec<_>>())
        });
        let ids: Vec<_> = beginnings.collect();
        let line = json!({"step": why.step, "why": why.what, "position": position, "ids": ids});
        let path = self.dir.join("skipped.jsonl");
        let written = self.fs.append(&path).and_then(|mut f| f.write_all(format!("{line}\n").as_bytes()));
        Ok(written.map_err(|source| FileError::Storage { path, source })?)
    }

    /// The folder of checkpoints.
    pub(crate) fn checkpoints(dir: &Path) -> PathBuf {
        dir.join("checkpoints")
    }
}
