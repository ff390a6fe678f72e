//! What a run looks like while it goes on: one line that is rewritten on a terminal, a line now and then elsewhere.
//!
//! No line is wider than the terminal. Colours and rewriting need a terminal that is not `dumb`; `NO_COLOR` leaves out the colours.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use pupil_report::history::Sample;
use pupil_report::number;
pub(crate) use pupil_report::number::clock;
use pupil_report::terminal::{bar, fit, line, plain};
use pupil_train::Event;

use crate::learn::judged;

/// A progress display on standard error.
pub(crate) struct Progress {
    name: &'static str,
    look: Look,
    shown: Option<Instant>,
    /// What each step's number is.
    measure: &'static str,
    loss: f64,
}

/// What may be written to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Lines can be rewritten.
    pub(crate) terminal: bool,
    /// Colours are wanted.
    pub(crate) colour: bool,
    /// Columns that are there, if that is known.
    pub(crate) columns: Option<usize>,
}

impl Look {
    /// Of standard error or output, by what the environment and the terminal say.
    pub(crate) fn of(is_terminal: bool) -> Look {
        let width = || ratatui::crossterm::terminal::size().ok().map(|s| usize::from(s.0));
        Look::by(is_terminal, |name| std::env::var(name).ok(), width)
    }

    fn by(
        is_terminal: bool,
        var: impl Fn(&str) -> Option<String>,
        width: impl Fn() -> Option<usize>,
    ) -> Look {
        let terminal = is_terminal && var("TERM").is_none_or(|t| t != "dumb");
        let colour = terminal && var("NO_COLOR").is_none_or(|v| v.is_empty());
        let asked = var("COLUMNS").and_then(|c| c.parse().ok()).filter(|c| *c > 0);
        let there = || if is_terminal { width().filter(|w| *w > 0) } else { None };
        Look { terminal, colour, columns: asked.or_else(there) }
    }

    /// The columns that a line may take.
    fn room(self) -> usize {
        match (self.columns, self.terminal) {
            (Some(c), true) => c,
            _ => usize::MAX,
        }
    }

    /// Text that steps back, where there are colours.
    fn dim(self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Progress {
    pub(crate) fn new(name: &'static str) -> Progress {
        let look = Look::of(std::io::stderr().is_terminal());
        Progress { name, look, shown: None, measure: "loss", loss: f64::NAN }
    }

    /// A display of a run whose steps tell of rewards.
    pub(crate) fn rewarded(name: &'static str) -> Progress {
        Progress { measure: "reward", ..Progress::new(name) }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::Step { step, steps, loss, tokens, seconds, here, .. } => {
                self.loss = if self.loss.is_nan() { loss } else { 0.95 * self.loss + 0.05 * loss };
                let pause = Duration::from_secs_f64(if self.look.terminal { 0.2 } else { 20.0 });
                if step < steps && self.shown.is_some_and(|s| s.elapsed() < pause) {
                    return;
                }
                self.shown = Some(Instant::now());
                // Tokens of this sitting: those of a step are about the same in all.
                let speed = tokens as f64 / step.max(1) as f64 * here as f64 / seconds.max(1e-9);
                let left = seconds / here as f64 * steps.saturating_sub(step) as f64;
                let measured = (self.measure, self.loss);
                let text = status(self.name, step, steps, measured, speed, left, self.look.room());
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
            _ => {
                if let Some(text) = told(event) {
                    self.line(&text);
                }
            }
        }
    }

    /// What the model wrote.
    pub(crate) fn sample(&self, s: &Sample) {
        let prompt = self.look.dim(&line(&s.prompt));
        let text =
            fit(&line(&s.text), self.look.room().saturating_sub(12 + s.prompt.chars().count()).max(20));
        self.put(&format!("  step {}: {prompt}{text}", s.step), true);
    }

    fn show(&self, text: &str, last: bool) {
        let text = fit(&plain(text), self.look.room().saturating_sub(usize::from(!last)));
        self.put(&text, last);
    }

    fn put(&self, text: &str, last: bool) {
        let mut err = std::io::stderr().lock();
        let clear = if self.look.terminal { "\r\x1b[2K" } else { "" };
        let end = if self.look.terminal && !last { "" } else { "\n" };
        let _ = write!(err, "{clear}{text}{end}");
        let _ = err.flush();
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        // What tells of a fault is told whole, however narrow the terminal.
        self.put(&plain(text), true);
    }
}

/// What is said of an event that is neither a step nor an evaluation.
pub(crate) fn told(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Skipped { why, skipped } => {
            format!("  not learned from ({skipped} so far, see skipped.jsonl): {why}")
        }
        Event::Resumed { step } => format!("  going on after step {step}"),
        Event::Damaged { error, aside } => {
            let aside = aside.map_or(String::new(), |p| format!("; it lies in {} now", p.display()));
            format!("  a checkpoint was passed over: {error}{aside}")
        }
        Event::OtherBits { there, here } => {
            format!("  bits may differ: the checkpoint was made by {there}, this is {here}")
        }
        Event::SaveFailed { error, again } => {
            format!("  not saved: {error}; once more in {} s", again.as_secs())
        }
        Event::Saved(path) => format!("  saved {}", path.display()),
        Event::Paced(turn) => {
            let was = "the steps that are left no longer fit the time";
            format!("  after step {}: {was}; there will be {} in all", turn.at, turn.steps)
        }
        Event::Enough { step, why } => format!("  it ends after step {step}: {why}"),
        Event::Step { .. } | Event::Evaluated { .. } | Event::Followed { .. } | Event::Working => {
            return None;
        }
    })
}

/// The line of a step, with a bar where there is room for one.
fn status(
    name: &str,
    step: u64,
    steps: u64,
    (measure, value): (&str, f64),
    speed: f64,
    left: f64,
    room: usize,
) -> String {
    let share = step as f64 / steps.max(1) as f64;
    let rest = format!(
        "{:>3} %  step {step}/{steps}  {measure} {value:.3}  {} tokens/s  {} left",
        (100.0 * share) as u64,
        number(speed as u64),
        clock(left)
    );
    let used = 4 + name.len() + rest.len();
    // What is no terminal shows no bar.
    let bar_room = if room == usize::MAX { 0 } else { room.saturating_sub(used + 1).min(24) };
    match bar_room {
        0..6 => format!("  {name} {rest}"),
        columns => format!("  {name} {} {rest}", bar(share, columns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_may_be_written() {
        let look = |is_terminal, pairs: &[(&str, &str)]| {
            let var = |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned());
            Look::by(is_terminal, var, || Some(80))
        };
        let is = |terminal, colour, columns| Look { terminal, colour, columns };
        assert_eq!(look(true, &[("TERM", "xterm-256color")]), is(true, true, Some(80)));
        assert_eq!(look(true, &[]), is(true, true, Some(80)));
        assert_eq!(look(true, &[("TERM", "dumb")]), is(false, false, Some(80)));
        assert_eq!(look(true, &[("NO_COLOR", "1")]), is(true, false, Some(80)));
        assert_eq!(look(true, &[("NO_COLOR", "")]), is(true, true, Some(80)));
        for (columns, want) in [("0", 80), ("1", 1), ("10000", 10_000), ("x", 80), ("-3", 80)] {
            assert_eq!(look(true, &[("COLUMNS", columns)]).columns, Some(want));
        }
        assert_eq!(look(false, &[("COLUMNS", "40")]), is(false, false, Some(40)));
        assert_eq!(look(false, &[]), is(false, false, None));
    }

    #[test]
    fn a_line_fits_at_any_width_and_has_a_bar_where_there_is_room() {
        for room in [0, 1, 20, 60, 80, 100, 10_000, usize::MAX] {
            let text = status("pretraining", 370, 1000, ("loss", 3.2), 45_000.0, 65.0, room);
            assert_eq!(text.contains('━'), (100..usize::MAX).contains(&room), "{room}: {text}");
            assert!(fit(&text, room).chars().count() <= room);
        }
        assert!(status("x", 1, 0, ("loss", f64::NAN), f64::INFINITY, f64::NAN, 80).contains("step 1/0"));
    }
}
