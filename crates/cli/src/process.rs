//! What the operating system knows of this process: its command, its age and its peak memory; and the element type that its processor suits.

use std::sync::{Mutex, PoisonError};

use pupil_tensor::DType;
use pupil_tensor::kernels::level::{Level, level};

use crate::exit::Usage;

/// Seconds since the process was started (not since `main`): from the clock ticks in /proc; 0 where there is no /proc.
pub(crate) fn seconds_since_start() -> f64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let age = || -> Option<f64> {
        let uptime: f64 = read("/proc/uptime")?.split_whitespace().next()?.parse().ok()?;
        // Field 22 of stat is the start in ticks of 1/100 s; fields count from the closing bracket of the name, which is field 2.
        let stat = read("/proc/self/stat")?;
        let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(uptime - ticks / 100.0)
    };
    age().unwrap_or(0.0)
}

/// The words of the command that is being done, where it is not the one that was typed: a stage of a speedrun.
static STAGE: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// From here on the command is this one.
pub(crate) fn is_now(words: &[String]) {
    *STAGE.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.to_vec());
}

/// The command that is being done, as a shell takes it; without `--resume`, which makes nothing by itself.
pub(crate) fn command() -> String {
    let typed = || std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<String> =
        STAGE.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(typed);
    let words = words.iter().filter(|w| *w != "--resume").map(|w| quoted(w));
    std::iter::once("pupil".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Most resident memory so far, in megabytes (10⁶ bytes).
pub(crate) fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib: u64 = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib * 1024 / 1_000_000
}

/// The element type of matrix operands that a person asked for; `auto` is bf16 where the processor multiplies it.
pub(crate) fn dtype(name: &str) -> anyhow::Result<DType> {
    Ok(match name {
        "f32" => DType::F32,
        "bf16" => DType::Bf16,
        "auto" if level() == Level::Avx512Bf16 => DType::Bf16,
        "auto" => DType::F32,
        other => anyhow::bail!(Usage(format!("--dtype {other}: expected f32, bf16 or auto"))),
    })
}
