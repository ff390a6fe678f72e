//! What the dashboard shows: the notes of a run, and how they are laid out on a screen of any size.

use std::collections::VecDeque;
use std::path::Path;

use pupil_report::history::{History, Sample};
use pupil_report::number::{clock, digits, short};
use pupil_report::terminal::{line, plain};
use pupil_train::Plan;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Clear, Dataset, GraphType, LineGauge, Paragraph, Wrap};

/// Points of a curve that are kept; beyond, neighbours are joined.
const POINTS: usize = 4096;
/// Lines and samples that are kept.
const LINES: usize = 200;

/// A curve that does not grow without end.
#[derive(Default)]
pub(super) struct Curve(Vec<(f64, f64)>);

impl Curve {
    pub(super) fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        if self.0.len() >= POINTS {
            self.0 = self.joined(POINTS / 2);
        }
        self.0.push((x, y));
    }

    /// At most so many points: means of neighbours.
    fn joined(&self, most: usize) -> Vec<(f64, f64)> {
        let (all, n) = (&self.0, self.0.len());
        if n <= most {
            return all.clone();
        }
        let part = |i: usize| {
            let part = &all[i * n / most..(i + 1) * n / most];
            let mean = |f: fn(&(f64, f64)) -> f64| part.iter().map(f).sum::<f64>() / part.len() as f64;
            (mean(|p| p.0), mean(|p| p.1))
        };
        (0..most).map(part).collect()
    }

    fn last(&self) -> Option<f64> {
        self.0.last().map(|p| p.1)
    }
}

/// The notes of a run.
#[derive(Default)]
pub(super) struct View {
    name: &'static str,
    dir: String,
    colour: bool,
    peak_rate: f64,
    pub(super) step: u64,
    pub(super) steps: u64,
    pub(super) tokens: u64,
    /// Seconds that are left.
    pub(super) left: f64,
    /// Seconds of this sitting.
    pub(super) elapsed: f64,
    pub(super) bits: Option<f64>,
    pub(super) held: Curve,
    train: Curve,
    rate: Curve,
    norm: Curve,
    speed: Curve,
    memory: Curve,
    before: Option<(u64, f64)>,
    samples: VecDeque<(u64, String, String)>,
    lines: VecDeque<String>,
    /// Whether it asks how to stop.
    pub(super) is_asking: bool,
}

impl View {
    pub(super) fn new(name: &'static str, dir: &Path, plan: &Plan, colour: bool) -> View {
        let peak_rate = f64::from(plan.optimiser.learning_rate);
        let dir = line(&dir.display().to_string());
        View { name, dir, colour, peak_rate, steps: plan.steps, ..View::default() }
    }

    /// A step: loss, share of the learning rate, norm of the gradients.
    pub(super) fn note(
        &mut self,
        step: u64,
        tokens: u64,
        seconds: f64,
        [loss, rate, norm]: [f64; 3],
        memory: Option<u64>,
    ) {
        let x = step as f64;
        self.train.push(x, loss);
        self.rate.push(x, rate * self.peak_rate);
        self.norm.push(x, norm);
        if let Some(bytes) = memory {
            self.memory.push(x, bytes as f64 / 1e6);
        }
        // A speed needs a little time to be one.
        match self.before {
            Some((t, s)) if seconds - s > 0.5 => {
                self.speed.push(x, tokens.saturating_sub(t) as f64 / (seconds - s));
                self.before = Some((tokens, seconds));
            }
            Some((_, s)) if seconds >= s => {}
            _ => self.before = Some((tokens, seconds)),
        }
    }

    /// What earlier sittings wrote down, up to a step.
    pub(super) fn remember(&mut self, history: &History, until: u64) {
        for s in history.steps.iter().filter(|s| s.step <= until) {
            self.note(s.step, s.tokens, s.seconds, [s.loss, s.rate, s.gradient_norm], s.memory);
        }
        for e in history.evaluations.iter().filter(|e| e.step <= until) {
            self.held.push(e.step as f64, e.loss);
            self.bits = e.bits_per_byte;
        }
        history.samples.iter().filter(|s| s.step <= until).for_each(|s| self.sample(s));
        self.before = None;
    }

    pub(super) fn sample(&mut self, s: &Sample) {
        self.samples.push_back((s.step, plain(&s.prompt), plain(&s.text)));
        if self.samples.len() > LINES {
            self.samples.pop_front();
        }
    }

    pub(super) fn line(&mut self, text: String) {
        self.lines.push_back(plain(&text));
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(12))
    }

    /// The newest sample: its step, what was given, what was written.
    pub(super) fn last_sample(&self) -> Option<&(u64, String, String)> {
        self.samples.back()
    }

    fn ink(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn soft(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    let [head, loss, middle, words, foot] = rows(area);
    header(frame, head, view);
    losses(frame, loss, view);
    let small = [
        ("learning rate", &view.rate, Color::Green),
        ("gradient norm", &view.norm, Color::Magenta),
        ("tokens/s", &view.speed, Color::Cyan),
        ("memory, MB", &view.memory, Color::Yellow),
    ];
    let shown = (usize::from(middle.width) / 20).clamp(1, 4);
    let places = Layout::horizontal(vec![Constraint::Fill(1); shown]).split(middle);
    for ((title, curve, colour), place) in small.into_iter().zip(places.iter()) {
        let now = curve.last().map_or(String::new(), digits);
        let title = Line::from(vec![
            Span::raw(format!(" {title} ")),
            Span::styled(format!("{now} "), view.ink(colour)),
        ]);
        chart(frame, *place, title, &[("", curve, view.ink(colour))]);
    }
    let [left, right] = match words.width {
        0..100 => [words, Rect::default()],
        _ => Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(words),
    };
    samples(frame, left, view);
    log(frame, right, view);
    let keys = "q stop";
    frame.render_widget(Paragraph::new(Span::styled(format!(" {keys}   {}", view.dir), view.soft())), foot);
    if view.is_asking {
        ask(frame, area, view);
    }
}

/// Header, losses, small curves, words, footer: what does not fit is left out, words last.
fn rows(area: Rect) -> [Rect; 5] {
    let middle = if area.height >= 24 { 7 } else { 0 };
    let loss = if area.height >= 12 { Constraint::Fill(3) } else { Constraint::Length(0) };
    let head = if area.height >= 4 { 2 } else { 1 };
    let foot = u16::from(area.height >= 4);
    Layout::vertical([
        Constraint::Length(head),
        loss,
        Constraint::Length(middle),
        Constraint::Fill(2),
        Constraint::Length(foot),
    ])
    .areas(area)
}

fn header(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let share = (view.step as f64 / view.steps.max(1) as f64).clamp(0.0, 1.0);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let loss = view.train.joined(64).last().map_or(String::new(), |p| format!("  loss {:.3}", p.1));
    let bits = view.bits.map_or(String::new(), |b| format!("  {b:.3} bits per byte"));
    let words = format!(
        "  step {}/{}{loss}{bits}  {} tokens  {} left",
        view.step,
        view.steps,
        short(view.tokens),
        clock(view.left)
    );
    let text = Line::from(vec![Span::styled(format!(" {}", view.name), bold), Span::raw(words)]);
    frame.render_widget(Paragraph::new(text), first);
    let gauge = LineGauge::default()
        .ratio(share)
        .label(format!(" {:>3.0} %", 100.0 * share))
        .filled_symbol("━")
        .unfilled_symbol("─")
        .filled_style(view.ink(Color::Blue))
        .unfilled_style(view.soft());
    if second.width > 8 {
        frame.render_widget(gauge, second);
    }
}

fn losses(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let key = |name: &'static str, colour| Span::styled(name, view.ink(colour));
    let title = Line::from(vec![
        Span::raw(" loss: "),
        key("text being learned", Color::Blue),
        Span::raw(", "),
        key("held-out text ", Color::Red),
    ]);
    chart(
        frame,
        area,
        title,
        &[("", &view.train, view.ink(Color::Blue)), ("", &view.held, view.ink(Color::Red))],
    );
}

/// Curves in a frame with their ranges.
fn chart(frame: &mut Frame<'_>, area: Rect, title: Line<'_>, curves: &[(&str, &Curve, Style)]) {
    let block = Block::bordered().title(title).border_style(Style::new().add_modifier(Modifier::DIM));
    let inside = block.inner(area);
    let most = usize::from(inside.width) * 2;
    let points: Vec<Vec<(f64, f64)>> = curves.iter().map(|c| c.1.joined(most.max(2))).collect();
    let all = || points.iter().flatten();
    if inside.height < 2 || inside.width < 8 || all().next().is_none() {
        frame.render_widget(block, area);
        return;
    }
    let bounds = |f: fn(&(f64, f64)) -> f64, room: f64| {
        let low = all().map(f).fold(f64::INFINITY, f64::min);
        let high = all().map(f).fold(f64::NEG_INFINITY, f64::max);
        let room = (high - low).max(low.abs() * 1e-3).max(1e-9) * room;
        [low - room, high + room]
    };
    let (x, y) = (bounds(|p| p.0, 1e-6), bounds(|p| p.1, 0.03));
    let sets = curves.iter().zip(&points).map(|(c, p)| {
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(c.2).data(p)
    });
    let soft = Style::new().add_modifier(Modifier::DIM);
    let chart = Chart::new(sets.collect())
        .block(block)
        .x_axis(Axis::default().bounds(x))
        .y_axis(Axis::default().bounds(y).labels([digits(y[0]), digits(y[1])]).style(soft));
    frame.render_widget(chart, area);
}

fn samples(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let block = Block::bordered().title(" what it writes ").border_style(view.soft());
    let text: Vec<Line<'_>> = view
        .samples
        .iter()
        .rev()
        .take(usize::from(area.height))
        .flat_map(|(step, prompt, text)| {
            let whole = format!("{prompt}\u{0}{text}").replace('\n', "⏎");
            let (prompt, text) = whole.split_once('\u{0}').unwrap_or_default();
            let spans = vec![
                Span::styled(format!("{step:>6} "), view.ink(Color::Yellow)),
                Span::styled(prompt.to_owned(), view.soft()),
                Span::raw(text.to_owned()),
            ];
            [Line::from(spans)]
        })
        .collect();
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

fn log(frame: &mut Frame<'_>, area: Rect, view: &View) {
    if area.width < 4 {
        return;
    }
    let block = Block::bordered().title(" what happens ").border_style(view.soft());
    let text: Vec<Line<'_>> =
        view.lines.iter().rev().take(usize::from(area.height)).map(|l| Line::from(l.as_str())).collect();
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), area);
}

fn ask(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let text =
        ["s  save and stop", "d  stop without saving: the last checkpoint stays", "any other key  go on"];
    let (width, height) = (56.min(area.width), 5.min(area.height));
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" Stop? ").border_style(view.ink(Color::Red));
    frame.render_widget(Paragraph::new(text.map(Line::from).to_vec()).block(block), place);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(view: &mut View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width.max(1)));
        cells.map(|row| row.iter().map(|c| c.symbol()).collect::<String>() + "\n").collect()
    }

    fn view() -> View {
        let mut view =
            View { name: "pretraining", dir: "run".into(), peak_rate: 0.01, steps: 9000, ..View::default() };
        for step in 1..=9000 {
            (view.step, view.tokens, view.left) = (step, step * 100, 65.0);
            view.note(step, step * 100, step as f64, [8.0 / step as f64 + 1.0, 0.5, 1.0], Some(300_000_000));
        }
        view.note(9001, 1, f64::NAN, [f64::NAN, 0.5, f64::INFINITY], None);
        view.held.push(9000.0, 1.5);
        view.bits = Some(1.25);
        view.sample(&Sample { step: 9000, prompt: "Once".into(), text: " upon\x1b[2J a\ntime".into() });
        view.line("saved run".into());
        view
    }

    #[test]
    fn a_screen_of_any_size_shows_what_fits() {
        let mut view = view();
        let whole = screen(&mut view, 140, 40);
        for part in [
            "pretraining",
            "step 9000/9000",
            "1.250 bits per byte",
            "1:05 left",
            "100 %",
            "gradient norm",
            "tokens/s",
            "300.0",
            "Once upon",
            "saved run",
            "q stop",
        ] {
            assert!(whole.contains(part), "no {part:?} in\n{whole}");
        }
        assert!(!whole.contains('\x1b'), "{whole}");
        let small = screen(&mut view, 40, 12);
        assert!(small.contains("step 9000") && small.contains("Once"), "{small}");
        view.is_asking = true;
        assert!(screen(&mut view, 80, 24).contains("save and stop"));
        for (width, height) in [(1, 1), (1, 50), (2, 3), (300, 1), (7, 7), (500, 100)] {
            screen(&mut view, width, height);
            screen(&mut View::default(), width, height);
        }
    }

    #[test]
    fn a_curve_keeps_its_shape_and_does_not_grow() {
        let mut c = Curve::default();
        (0..100_000).for_each(|i| c.push(f64::from(i), f64::from(i)));
        assert!(c.0.len() <= POINTS && c.last() == Some(99_999.0));
        assert!(c.0.windows(2).all(|w| w[0].0 < w[1].0 && (w[0].0 - w[0].1).abs() < 1e-6));
    }
}
