//! `--tui`: a run on the whole screen.
//!
//! A thread of its own draws and listens to keys, so that a long step keeps nobody waiting; the run's thread only takes notes. The terminal is given
//! back in every case but SIGKILL: at the end, as soon as a signal asks to stop, and before a panic is told, whichever thread panics.

mod view;

use std::io::{IsTerminal, Stderr, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pupil_report::history::{History, Sample};
use pupil_report::number::clock;
use pupil_train::{Event, Plan};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute};
use signal_hook::consts::SIGINT;

use crate::learn::judged;
use crate::progress::{Look, told};
use crate::signals::Stop;
use view::View;

/// Whether the terminal is ours, to be given back.
static OURS: AtomicBool = AtomicBool::new(false);
/// Whether something is being drawn.
static DRAWING: AtomicBool = AtomicBool::new(false);
/// The panic hook is set once.
static HOOK: Once = Once::new();
/// Time between two pictures, if nothing happens.
const PAUSE: Duration = Duration::from_millis(250);

/// A run on the whole screen.
pub(crate) struct Dashboard {
    view: Arc<Mutex<View>>,
    dir: PathBuf,
    thread: Option<JoinHandle<()>>,
    begun: Instant,
}

impl Dashboard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If standard error is no terminal that can be drawn on.
    pub(crate) fn open(
        name: &'static str,
        dir: &Path,
        plan: &Plan,
        stop: Arc<Stop>,
    ) -> anyhow::Result<Dashboard> {
        let look = Look::of(stderr().is_terminal());
        if !look.terminal {
            bail!("--tui needs a terminal (TERM other than dumb)");
        }
        let view = View::new(name, dir, plan, look.colour);
        let view = Arc::new(Mutex::new(view));
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        terminal::enable_raw_mode().context("the terminal takes no single keys")?;
        OURS.store(true, Ordering::SeqCst);
        let screen = || {
            execute!(stderr(), EnterAlternateScreen, cursor::Hide)?;
            Terminal::new(CrosstermBackend::new(stderr()))
        };
        let screen = screen().inspect_err(|_| restore())?;
        let shared = Arc::clone(&view);
        let thread = std::thread::Builder::new()
            .name("dashboard".into())
            .spawn(move || show(screen, &shared, &stop))
            .inspect_err(|_| restore())?;
        Ok(Dashboard { view, dir: dir.to_owned(), thread: Some(thread), begun: Instant::now() })
    }

    /// Whether it is still shown.
    pub(crate) fn is_open(&self) -> bool {
        OURS.load(Ordering::SeqCst)
    }

    /// Takes note of what happened.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        let mut view = lock(&self.view);
        match *event {
            Event::Step { step, steps, loss, gradient_norm, tokens, seconds, here, rate, memory, .. } => {
                (view.step, view.steps, view.tokens) = (step, steps, tokens);
                view.left = seconds / here.max(1) as f64 * steps.saturating_sub(step) as f64;
                view.elapsed = self.begun.elapsed().as_secs_f64();
                view.note(step, tokens, seconds, [loss, f64::from(rate), gradient_norm], memory);
            }
            Event::Evaluated { step, ref result, .. } if result.loss.weight > 0.0 => {
                view.held.push(step as f64, result.loss.mean());
                view.bits = (result.bytes > 0).then(|| result.bits_per_byte());
                let text = match view.bits {
                    Some(bits) => {
                        format!("validation loss {:.3}, {bits:.3} bits per byte", result.loss.mean())
                    }
                    None => judged(result),
                };
                view.line(format!("step {step}: {text}"));
            }
            Event::Resumed { step } => {
                let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
                view.remember(&History::read(&read("metrics.jsonl"), &read("samples.jsonl"), ""), step);
                view.line(format!("going on after step {step}"));
            }
            _ => {
                if let Some(text) = told(event) {
                    view.line(text.trim().to_owned());
                }
            }
        }
    }

    /// Something to be told.
    pub(crate) fn line(&mut self, text: String) {
        lock(&self.view).line(text);
    }

    /// What the model wrote.
    pub(crate) fn sample(&mut self, s: &Sample) {
        lock(&self.view).sample(s);
    }

    /// Gives the terminal back; returns the lines that were told on it.
    pub(crate) fn close(mut self) -> Vec<String> {
        self.finish();
        let view = lock(&self.view);
        let mut lines: Vec<String> = view.lines().map(|l| format!("  {l}")).collect();
        if let Some((step, prompt, text)) = view.last_sample() {
            lines.push(format!("  step {step}: {prompt}{text}").replace('\n', "⏎"));
        }
        lines.push(format!("  {} steps, {}", view.step, clock(view.elapsed)));
        lines
    }

    fn finish(&mut self) {
        restore();
        if let Some(thread) = self.thread.take() {
            // The thread sees that the terminal is no longer ours.
            let _ = thread.join();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.finish();
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    // Whoever panicked has left notes that can be shown, nothing more.
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the terminal back, if it is ours; nothing is drawn any more afterwards.
fn restore() {
    if !OURS.swap(false, Ordering::SeqCst) {
        return;
    }
    // A picture that is half drawn would go on behind our back, unless it is this very thread that draws.
    let waits = std::thread::current().name() != Some("dashboard");
    let begun = Instant::now();
    while waits && DRAWING.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = execute!(stderr(), LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Draws until the terminal is given back; gives it back as soon as the run is asked to stop, so that a second signal finds it in order.
fn show(mut screen: Terminal<CrosstermBackend<Stderr>>, view: &Mutex<View>, stop: &Stop) {
    while OURS.load(Ordering::SeqCst) && stop.code().is_none() {
        DRAWING.store(true, Ordering::SeqCst);
        let drawn = match OURS.load(Ordering::SeqCst) {
            true => screen.draw(|frame| view::draw(frame, &mut lock(view))).map(drop),
            false => Ok(()),
        };
        DRAWING.store(false, Ordering::SeqCst);
        let pressed =
            drawn.and_then(|()| if event::poll(PAUSE)? { event::read().map(Some) } else { Ok(None) });
        match pressed {
            Ok(Some(Input::Key(key))) if key.kind != KeyEventKind::Release => act(key, view),
            Ok(_) => {}
            // A terminal that has gone away: the run goes on without it.
            Err(_) => break,
        }
    }
    restore();
}

/// What a key does.
fn act(key: KeyEvent, view: &Mutex<View>) {
    let is_asking = lock(view).is_asking;
    let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    match (key.code, is_asking) {
        _ if is_interrupt => stop(1),
        (KeyCode::Char('q') | KeyCode::Esc, false) => lock(view).is_asking = true,
        (KeyCode::Char('s' | 'y') | KeyCode::Enter, true) => stop(1),
        (KeyCode::Char('d'), true) => stop(2),
        (_, true) => lock(view).is_asking = false,
        _ => {}
    }
}

/// Asks to stop as Ctrl-C does: once to save and stop, twice to leave at once.
fn stop(times: usize) {
    restore();
    if times > 1 {
        eprintln!("  left at once; the last checkpoint stays, and --resume goes on from there");
    }
    for _ in 0..times {
        let _ = signal_hook::low_level::raise(SIGINT);
    }
}
