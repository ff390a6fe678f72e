//! What a run looks like while it goes on: one line that is rewritten on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use pupil_train::Event;

use crate::learn::judged;

/// A progress display on standard error.
pub(crate) struct Progress {
    name: &'static str,
    terminal: bool,
    shown: Option<Instant>,
    /// What each step's number is.
    measure: &'static str,
    loss: f64,
}

impl Progress {
    pub(crate) fn new(name: &'static str) -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        Progress { name, terminal, shown: None, measure: "loss", loss: f64::NAN }
    }

    /// A display of a run whose steps tell of rewards.
    pub(crate) fn rewarded(name: &'static str) -> Progress {
        Progress { measure: "reward", ..Progress::new(name) }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::Step { step, steps, loss, tokens: _, seconds, here, .. } => {
                self.loss = if self.loss.is_nan() { loss } else { 0.95 * self.loss + 0.05 * loss };
                let pause = Duration::from_secs_f64(if self.terminal { 0.2 } else { 20.0 });
                if step < steps && self.shown.is_some_and(|s| s.elapsed() < pause) {
                    return;
                }
                self.shown = Some(Instant::now());
                let left = seconds / here as f64 * (steps - step) as f64;
                let text = format!(
                    "  {} {:>3} %  step {step}/{steps}  {} {:.3}  {} left",
                    self.name,
                    100 * step / steps,
                    self.measure,
                    self.loss,
                    clock(left)
                );
                self.show(&text, step == steps);
            }
            Event::Evaluated { step, ref result, .. } if result.bytes > 0 => {
                self.line(&format!(
                    "  {} step {step}: validation loss {:.3}, {:.1} % right, {:.3} bits per byte",
                    self.name,
                    result.loss.mean(),
                    100.0 * result.loss.accuracy(),
                    result.bits_per_byte()
                ));
            }
            Event::Evaluated { step, ref result, .. } if result.loss.weight > 0.0 => {
                self.line(&format!("  {} step {step}: {}", self.name, judged(result)));
            }
            Event::Evaluated { .. } => {}
            Event::Skipped { why, skipped } => {
                self.line(&format!("  not learned from ({skipped} so far, see skipped.jsonl): {why}"));
            }
            Event::Paced(turn) => {
                let was = "the steps that are left no longer fit the time";
                self.line(&format!("  after step {}: {was}; there will be {} in all", turn.at, turn.steps));
            }
            Event::Enough { step, why } => self.line(&format!("  it ends after step {step}: {why}")),
            Event::Resumed { step } => self.line(&format!("  going on after step {step}")),
            Event::Followed { .. } => {}
            Event::Damaged { error, aside } => {
                let aside = aside.map_or(String::new(), |p| format!("; it lies in {} now", p.display()));
                self.line(&format!("  a checkpoint was passed over: {error}{aside}"));
            }
            Event::OtherBits { ref there, ref here } => {
                self.line(&format!("  bits may differ: the checkpoint was made by {there}, this is {here}"));
            }
            Event::SaveFailed { error, again } => {
                self.line(&format!("  not saved: {error}; once more in {} s", again.as_secs()));
            }
            Event::Working => {}
            Event::Saved(path) => self.line(&format!("  saved {}", path.display())),
        }
    }

    fn show(&self, text: &str, last: bool) {
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal && !last {
            write!(err, "\r\x1b[2K{text}")
        } else if self.terminal {
            writeln!(err, "\r\x1b[2K{text}")
        } else {
            writeln!(err, "{text}")
        };
        let _ = err.flush();
    }

    fn line(&self, text: &str) {
        self.show(text, true);
    }
}

/// Seconds as `1:05` or `2:03:04`.
pub(crate) fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}
