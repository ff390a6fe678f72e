//! Curves of a run: what was measured at each step, as figures that say their values under the pointer.
//!
//! A figure stands in the page twice, wide and narrow, so that its words keep their size on a telephone; the page's style shows one. Thousands of
//! steps become a few hundred points: the mean of each part, and a band from its least to its greatest value.

use std::fmt::Write;

use serde_json::json;

use crate::chart::{Axis, shown};
use crate::number::digits;
use crate::page::{escape, json_in_script};

/// Points of a line at most.
const POINTS: usize = 300;

/// One line of a figure.
pub struct Series {
    /// What it is.
    pub name: String,
    /// Number of its colour.
    pub colour: usize,
    /// Place and height, in the order of places.
    pub points: Vec<(f64, f64)>,
    /// Whether each point is a measurement of its own, which gets a dot and is never averaged.
    pub dots: bool,
}

/// A picture with its caption.
pub struct Figure {
    /// What is shown.
    pub title: String,
    /// What lies below.
    pub x: String,
    /// Whether heights are logarithmic.
    pub log: bool,
    /// Whether heights begin at zero.
    pub zero: bool,
    /// Whether it takes half of a line where there is room.
    pub half: bool,
    /// The lines.
    pub series: Vec<Series>,
    /// Places that are marked, and by what.
    pub marks: Vec<(f64, String)>,
}

/// A part of a line: its middle, its mean, its least and greatest value.
type Part = (f64, f64, f64, f64);

impl Series {
    fn parts(&self) -> Vec<Part> {
        let points: Vec<(f64, f64)> =
            self.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
        if self.dots || points.len() <= POINTS {
            return points.iter().map(|&(x, y)| (x, y, y, y)).collect();
        }
        let part = |i: usize| {
            let part = &points[i * points.len() / POINTS..(i + 1) * points.len() / POINTS];
            let mean = |f: fn(&(f64, f64)) -> f64| part.iter().map(f).sum::<f64>() / part.len() as f64;
            let least = part.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
            let most = part.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
            // The last point is where the line ends.
            let x = if i + 1 == POINTS { points[points.len() - 1].0 } else { mean(|p| p.0) };
            (x, mean(|p| p.1), least, most)
        };
        (0..POINTS).map(part).collect()
    }
}

impl Figure {
    /// The figure as HTML; empty if there is nothing to show.
    pub fn html(&self) -> String {
        let parts: Vec<Vec<Part>> = self.series.iter().map(Series::parts).collect();
        let all = || parts.iter().flatten();
        if all().next().is_none() {
            return String::new();
        }
        let log = self.log && all().all(|p| p.2 > 0.0);
        let (left, right) =
            all().fold((f64::INFINITY, f64::NEG_INFINITY), |a, p| (a.0.min(p.0), a.1.max(p.0)));
        let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |a, p| (a.0.min(p.2), a.1.max(p.3)));
        let low = if self.zero { 0.0 } else { low };
        let room = if high > low { (high - low) * 0.05 } else { (high.abs() * 0.1).max(1e-9) };
        let (from, to) = match log {
            true => (low / 1.15, high * 1.15),
            false if self.zero => (0.0, high + room),
            false => (low - room, high + room),
        };
        let x = Axis {
            from: left,
            to: if right > left { right } else { left + 1.0 },
            log: false,
            label: &self.x,
        };
        let y = Axis { from, to, log, label: "" };
        let mut s = format!(
            "<figure class='chart{}'><figcaption><b>{}</b>",
            if self.half { " half" } else { "" },
            escape(&self.title)
        );
        for series in self.series.iter().filter(|_| self.series.len() > 1) {
            let _ = write!(
                s,
                " <span class=key style='--c:var(--c{})'>{}</span>",
                series.colour % COLOURS,
                escape(&series.name)
            );
        }
        s += " <output></output></figcaption>";
        let narrow = Frame { width: 360.0, height: 210.0, left: 46.0, class: "narrow", ticks: 4 };
        let wide = Frame { width: 720.0, height: 290.0, left: 52.0, class: "broad", ticks: 6 };
        for frame in [narrow, wide].iter().take(if self.half { 1 } else { 2 }) {
            s += &frame.svg(self, &x, &y, &parts);
        }
        let lines = self.series.iter().zip(&parts);
        let lines: Vec<_> = lines
            .filter(|(_, p)| !p.is_empty())
            .map(|(series, p)| {
                let (xs, ys): (Vec<f64>, Vec<String>) = p.iter().map(|p| (p.0.round(), digits(p.1))).unzip();
                json!({"n": series.name, "x": xs, "y": ys})
            })
            .collect();
        let data = json!({"from": x.from, "to": x.to, "x": self.x, "lines": lines}).to_string();
        let _ = write!(s, "<script type=application/json>{}</script></figure>", json_in_script(&data));
        s
    }
}

/// Colours of the style.
const COLOURS: usize = 8;
const TOP: f64 = 12.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 36.0;

/// The measures of a picture.
struct Frame {
    width: f64,
    height: f64,
    left: f64,
    class: &'static str,
    ticks: usize,
}

impl Frame {
    fn svg(&self, figure: &Figure, x: &Axis<'_>, y: &Axis<'_>, parts: &[Vec<Part>]) -> String {
        let Frame { width, height, left, .. } = *self;
        let (right, bottom) = (width - RIGHT, height - BOTTOM);
        let across = |v: f64| left + x.place(v) * (right - left);
        let up = |v: f64| bottom - y.place(v) * (bottom - TOP);
        let mut s = format!(
            "<svg class={} viewBox='0 0 {width} {height}' role=img aria-label='{}' data-left={left} data-right={right}>",
            self.class,
            escape(&figure.title)
        );
        let (mut ticks, mut step) = y.ticks(self.ticks);
        if ticks.len() < 2 {
            // Less than a factor of two is better marked by equal steps.
            (ticks, step) = Axis { log: false, ..*y }.ticks(self.ticks);
        }
        for v in ticks {
            let at = up(v);
            let _ = write!(
                s,
                "<line class=grid x1={left} x2={right} y1={at:.1} y2={at:.1} /><text class=tick x={} y={:.1} text-anchor=end>{}</text>",
                left - 6.0,
                at + 4.0,
                shown(v, step)
            );
        }
        let (ticks, step) = x.ticks(self.ticks + 1);
        for v in ticks {
            let at = across(v).min(right - 8.0);
            let _ = write!(
                s,
                "<text class=tick x={at:.1} y={} text-anchor=middle>{}</text>",
                bottom + 16.0,
                shown(v, step)
            );
        }
        let _ = write!(
            s,
            "<text class=tick x={right} y={} text-anchor=end>{}</text>",
            bottom + 30.0,
            escape(&figure.x)
        );
        for (at, why) in &figure.marks {
            let at = across(*at);
            let _ = write!(
                s,
                "<line class=skip x1={at:.1} x2={at:.1} y1={TOP} y2={bottom}><title>{}</title></line>",
                escape(why)
            );
        }
        for (series, parts) in figure.series.iter().zip(parts) {
            let c = series.colour % COLOURS;
            let point = |p: &Part, v: f64| format!("{:.1},{:.1}", across(p.0), up(v));
            if !series.dots && parts.iter().any(|p| p.2 < p.3) {
                let there = parts.iter().map(|p| point(p, p.3));
                let back = parts.iter().rev().map(|p| point(p, p.2));
                let path: Vec<String> = there.chain(back).collect();
                let _ =
                    write!(s, "<polygon points='{}' fill='var(--c{c})' fill-opacity=.16 />", path.join(" "));
            }
            let path: Vec<String> = parts.iter().map(|p| point(p, p.1)).collect();
            let _ = write!(s, "<polyline points='{}' fill=none stroke='var(--c{c})' />", path.join(" "));
            if series.dots || parts.len() == 1 {
                for p in parts {
                    let _ = write!(
                        s,
                        "<circle cx={:.1} cy={:.1} r=3.2 fill='var(--c{c})' />",
                        across(p.0),
                        up(p.1)
                    );
                }
            }
        }
        let _ = write!(s, "<line class=cursor y1={TOP} y2={bottom} visibility=hidden /></svg>");
        s
    }
}

/// Style of figures.
pub const STYLE: &str = "\
:root{--c0:#2f6bd8;--c1:#d1601a;--c2:#1f8a4c;--c3:#a23c9a;--c4:#8a7a12;--c5:#b23a48;--c6:#16889a;--c7:#6b6f76}\
@media(prefers-color-scheme:dark){:root{--c0:#7ba7ff;--c1:#ffa35c;--c2:#5cc389;--c3:#e08ad8;--c4:#d8c75a;--c5:#f08a98;--c6:#62cddd;--c7:#aab0b8}}\
@media print{:root{--c0:#2f6bd8;--c1:#d1601a;--c2:#1f8a4c;--c3:#a23c9a;--c4:#8a7a12;--c5:#b23a48;--c6:#16889a;--c7:#6b6f76}}\
.chart{margin:1rem 0 0}.chart polyline{stroke-width:2;stroke-linejoin:round}.chart svg{display:block;touch-action:pan-y}.chart .narrow{display:none}.chart.half .narrow{display:block}\
figcaption{display:flex;flex-wrap:wrap;gap:0 1rem;align-items:baseline;margin:0 0 .25rem;font-size:.95rem}.key{color:var(--soft);font-size:.88rem;overflow-wrap:anywhere}.key:before{content:'';display:inline-block;width:.75em;height:.75em;\
border-radius:50%;background:var(--c);margin-right:.35em}output{color:var(--soft);font-size:.85rem;font-variant-numeric:tabular-nums;margin-left:auto;min-height:1.3em}\
.cursor{stroke:var(--soft);stroke-width:1}.skip{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:2,3}.halves{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem}\
@media(max-width:36rem){.chart .narrow{display:block}.chart .broad{display:none}.halves{grid-template-columns:minmax(0,1fr)}}";

/// Says the values under the pointer.
pub const SCRIPT: &str = "\
for(const f of document.querySelectorAll('.chart')){const d=JSON.parse(f.querySelector('script').textContent),o=f.querySelector('output');\
for(const g of f.querySelectorAll('svg')){const c=g.querySelector('.cursor'),l=+g.dataset.left,r=+g.dataset.right;\
g.addEventListener('pointermove',e=>{const b=g.getBoundingClientRect(),w=g.viewBox.baseVal.width;\
let p=((e.clientX-b.left)/b.width*w-l)/(r-l);p=Math.min(1,Math.max(0,p));const v=d.from+p*(d.to-d.from);let at=null,t=[];\
for(const n of d.lines){let i=0;n.x.forEach((x,k)=>{if(Math.abs(x-v)<Math.abs(n.x[i]-v))i=k});\
if(at===null||Math.abs(n.x[i]-v)<Math.abs(at-v))at=n.x[i];t.push((d.lines.length>1?n.n+' ':'')+n.y[i])}\
const q=l+(at-d.from)/(d.to-d.from)*(r-l);c.setAttribute('x1',q);c.setAttribute('x2',q);c.setAttribute('visibility','visible');\
o.textContent=d.x+' '+at.toLocaleString('en')+': '+t.join(', ')});\
g.addEventListener('pointerleave',()=>{c.setAttribute('visibility','hidden');o.textContent=''})}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(points: Vec<(f64, f64)>, log: bool) -> Figure {
        let series = vec![Series { name: "</script>".into(), colour: 9, points, dots: false }];
        Figure {
            title: "<t>".into(),
            x: "step".into(),
            log,
            zero: false,
            half: false,
            series,
            marks: vec![(1.0, "<m>".into())],
        }
    }

    #[test]
    fn many_steps_become_few_points_with_their_spread() {
        let points: Vec<(f64, f64)> = (0..9_000).map(|i| (f64::from(i), f64::from(i % 3))).collect();
        let parts = Series { name: String::new(), colour: 0, points, dots: false }.parts();
        assert_eq!((parts.len(), parts[7].1, parts[7].2, parts[7].3), (POINTS, 1.0, 0.0, 2.0));
        assert_eq!(parts[POINTS - 1].0, 8999.0);
    }

    #[test]
    fn odd_numbers_and_names_give_a_sound_page() {
        for points in [vec![], vec![(1.0, f64::NAN)]] {
            assert_eq!(figure(points, false).html(), "");
        }
        for points in [vec![(5.0, 2.0)], vec![(1.0, 0.0), (2.0, 0.0)], vec![(1.0, -1.0), (2.0, 1e300)]] {
            for log in [false, true] {
                let s = figure(points.clone(), log).html();
                assert!(!s.contains("NaN") && !s.contains("inf"), "{s}");
                assert!(!s.contains("<t>") && !s.contains("<m>"));
                assert_eq!(s.matches("</script>").count(), 1);
            }
        }
    }
}
