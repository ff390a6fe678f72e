//! Pictures: points with names, and lines, as SVG that takes its colours from the page's style ([`crate::page::STYLE`]).

use std::fmt::Write;

use crate::page::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 16.0;
const RIGHT: f64 = 132.0;

/// Colours that are told apart by day and by night.
const COLOURS: [&str; 10] = [
    "#8d8d8d", "#c98a1b", "#b23a48", "#7a9a2b", "#d0679d", "#2b9aa0", "#6a7fdb", "#3d5ad8", "#1f8a4c",
    "#a0522d",
];

/// The colour of the `i`-th of several.
pub fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

/// A line: the number of its colour, its name, its points.
pub type Line = (usize, String, Vec<(f64, f64)>);

/// An axis: its range, whether it is logarithmic, and what it shows.
pub struct Axis<'a> {
    /// Least value.
    pub from: f64,
    /// Greatest value.
    pub to: f64,
    /// Whether equal steps are equal factors.
    pub log: bool,
    /// What it shows.
    pub label: &'a str,
}

impl Axis<'_> {
    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub(crate) fn place(&self, v: f64) -> f64 {
        let f = |x: f64| if self.log { x.ln() } else { x };
        (f(v) - f(self.from)) / (f(self.to) - f(self.from))
    }

    /// Round values along the axis, at most about `most`, and the step between them (0 where steps are factors).
    pub(crate) fn ticks(&self, most: usize) -> (Vec<f64>, f64) {
        if self.log {
            let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let marks = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d)));
            let all: Vec<f64> = marks.filter(|v| (self.from..=self.to).contains(v)).collect();
            let each = all.len().div_ceil(most + 1).max(1);
            return (all.into_iter().step_by(each).collect(), 0.0);
        }
        let raw = (self.to - self.from) / most as f64;
        if !raw.is_normal() || raw < 0.0 {
            return (vec![self.from], 0.0);
        }
        let size = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * size).find(|s| *s >= raw).unwrap_or(raw);
        let first = (self.from / step).ceil();
        let marks = (0..=2 * most).map(|i| (first + i as f64) * step);
        (marks.take_while(|v| *v <= self.to + step * 1e-9).collect(), step)
    }
}

/// A value at an axis whose steps are this wide.
pub(crate) fn shown(v: f64, step: f64) -> String {
    let places = |scale: f64| match step {
        0.0 => 0,
        s => (-(s / scale).log10().floor()).clamp(0.0, 9.0) as usize,
    };
    match v.abs() {
        a if a >= 1e9 => format!("{:.*} G", places(1e9), v / 1e9),
        a if a >= 1e6 => format!("{:.*} M", places(1e6), v / 1e6),
        a if a >= 1e4 => format!("{:.*} k", places(1e3), v / 1e3),
        _ if step > 0.0 => format!("{v:.*}", places(1.0)),
        0.0 => "0".to_owned(),
        a => format!("{v:.*}", (-a.log10().floor()).clamp(0.0, 9.0) as usize),
    }
}

fn x_of(axis: &Axis<'_>, v: f64) -> f64 {
    LEFT + axis.place(v) * (WIDTH - LEFT - RIGHT)
}

fn y_of(axis: &Axis<'_>, v: f64) -> f64 {
    HEIGHT - BOTTOM - axis.place(v) * (HEIGHT - BOTTOM - TOP)
}

fn frame(x: &Axis<'_>, y: &Axis<'_>, years: bool) -> String {
    let mut s = format!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>");
    let (ticks, step) = y.ticks(6);
    for v in ticks {
        let at = y_of(y, v);
        let _ = write!(
            s,
            "<line class=grid x1={LEFT} x2={} y1={at:.1} y2={at:.1} /><text class=tick x={} y={:.1} text-anchor=end>{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            shown(v, step)
        );
    }
    let (ticks, step) = x.ticks(6);
    for v in ticks {
        let at = x_of(x, v);
        let _ = write!(
            s,
            "<text class=tick x={at:.1} y={} text-anchor=middle>{}</text>",
            HEIGHT - BOTTOM + 18.0,
            if years { format!("{v:.0}") } else { shown(v, step) }
        );
    }
    let _ = write!(
        s,
        "<text class=axis x={} y={} text-anchor=middle>{}</text><text class=axis x=14 y={} text-anchor=middle transform='rotate(-90 14 {})'>{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0,
        escape(x.label),
        HEIGHT / 2.0,
        HEIGHT / 2.0,
        escape(y.label)
    );
    s
}

/// Names to the right of their points, moved apart where they would cover each other.
fn names(s: &mut String, mut at: Vec<(f64, f64, String, &'static str)>) {
    at.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    for (x, y, name, colour) in at {
        let width = 7.2 * name.chars().count() as f64;
        let mut to = y + 4.0;
        while placed.iter().any(|&(px, py, pw)| (py - to).abs() < 14.0 && x < px + pw && px < x + width) {
            to += 2.0;
        }
        placed.push((x, to, width));
        let _ =
            write!(s, "<text class=name x={:.1} y={to:.1} fill='{colour}'>{}</text>", x + 9.0, escape(&name));
    }
}

/// Points with names.
pub fn points(x: &Axis<'_>, y: &Axis<'_>, years: bool, all: &[(f64, f64, String)]) -> String {
    let mut s = frame(x, y, years);
    let mut labels = Vec::new();
    for (i, (px, py, name)) in all.iter().enumerate() {
        let (cx, cy) = (x_of(x, *px), y_of(y, *py));
        let _ = write!(s, "<circle cx={cx:.1} cy={cy:.1} r=6 fill='{}' />", colour(i));
        labels.push((cx, cy, name.clone(), colour(i)));
    }
    names(&mut s, labels);
    s + "</svg>"
}

/// Lines with their names at their ends; each has the number of its colour.
pub fn lines(x: &Axis<'_>, y: &Axis<'_>, dots: bool, all: &[Line]) -> String {
    let mut s = frame(x, y, false);
    let mut labels = Vec::new();
    for (i, name, line) in all {
        let inside = line.iter().map(|&(px, py)| (x_of(x, px), y_of(y, py.clamp(y.from, y.to))));
        let path: Vec<String> = inside.clone().map(|(a, b)| format!("{a:.1},{b:.1}")).collect();
        let _ = write!(
            s,
            "<polyline points='{}' fill=none stroke='{}' stroke-width=2.2 />",
            path.join(" "),
            colour(*i)
        );
        if dots {
            for (a, b) in inside.clone() {
                let _ = write!(s, "<circle cx={a:.1} cy={b:.1} r=4 fill='{}' />", colour(*i));
            }
        }
        if let Some((a, b)) = inside.clone().next_back() {
            labels.push((a, b, name.clone(), colour(*i)));
        }
    }
    names(&mut s, labels);
    s + "</svg>"
}

/// A line with the spread of each of its points.
pub struct Curve {
    /// Number of its colour.
    pub colour: usize,
    /// What stands at its end.
    pub name: String,
    /// Place, height, and how far up and down the bar goes.
    pub points: Vec<(f64, f64, f64)>,
    /// Whether it is drawn strong.
    pub strong: bool,
}

/// Curves with bars, and places of the horizontal axis that are marked.
pub fn curves(x: &Axis<'_>, y: &Axis<'_>, all: &[Curve], marks: &[(f64, String)]) -> String {
    let mut s = frame(x, y, false);
    for (i, (at, label)) in marks.iter().enumerate() {
        let at = x_of(x, *at);
        let _ = write!(
            s,
            "<line class=mark x1={at:.1} x2={at:.1} y1={TOP} y2={} /><text class=tick x={:.1} y={:.1} text-anchor=end>{}</text>",
            HEIGHT - BOTTOM,
            at - 5.0,
            HEIGHT - BOTTOM - 8.0 - 14.0 * i as f64,
            escape(label)
        );
    }
    let mut labels = Vec::new();
    for c in all {
        let colour = colour(c.colour);
        let height = |v: f64| y_of(y, v.clamp(y.from, y.to));
        let path: Vec<String> =
            c.points.iter().map(|p| format!("{:.1},{:.1}", x_of(x, p.0), height(p.1))).collect();
        let width = if c.strong { 3.2 } else { 1.6 };
        // A curve without a name is points only.
        let width = if c.name.is_empty() { 0.0 } else { width };
        let _ = write!(
            s,
            "<polyline points='{}' fill=none stroke='{colour}' stroke-width={width} />",
            path.join(" ")
        );
        for &(px, py, by) in &c.points {
            let at = x_of(x, px);
            let _ = write!(
                s,
                "<line x1={at:.1} x2={at:.1} y1={:.1} y2={:.1} stroke='{colour}' stroke-opacity=.45 stroke-width=1.4 />\
                 <circle cx={at:.1} cy={:.1} r={} fill='{colour}' />",
                height(py - by),
                height(py + by),
                height(py),
                if c.strong { 4.0 } else { 3.0 }
            );
        }
        labels.extend(c.points.last().map(|p| (x_of(x, p.0), height(p.1), c.name.clone(), colour)));
    }
    names(&mut s, labels);
    s + "</svg>"
}

/// A little more than the range of some numbers.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.08).max(0.01);
    ((low - room).max(0.0), high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_at_any_scale() {
        let marks = |from: f64, to: f64, log: bool| {
            let (ticks, step) = Axis { from, to, log, label: "" }.ticks(6);
            ticks.into_iter().map(|v| shown(v, step)).collect::<Vec<_>>()
        };
        assert_eq!(marks(0.0, 0.004, false), ["0.000", "0.001", "0.002", "0.003", "0.004"]);
        assert_eq!(marks(0.0, 30_000.0, false), ["0", "5000", "10 k", "15 k", "20 k", "25 k", "30 k"]);
        assert_eq!(marks(1.2e6, 2.1e6, false), ["1.2 M", "1.4 M", "1.6 M", "1.8 M", "2.0 M"]);
        assert_eq!(marks(0.05, 3.0, true), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        for odd in [marks(1.0, 1.0, false), marks(0.0, f64::NAN, false), marks(2.0, 1.0, false)] {
            assert!(odd.len() <= 1, "{odd:?}");
        }
    }

    #[test]
    fn names_cannot_become_markup() {
        let axis = |label| Axis { from: 0.0, to: 1.0, log: false, label };
        let s = lines(&axis("<x>"), &axis("y"), true, &[(0, "<b>".into(), vec![(0.0, 0.5), (1.0, 1.0)])]);
        assert!(s.contains("&lt;b&gt;") && s.contains("&lt;x&gt;") && !s.contains("<b>"), "{s}");
    }
}
