//! The report of a run, as a page and as Markdown: what was asked for, how it went, what the model wrote on the way, what came of the forecast.

use std::fmt::Write;

use crate::curves::{self, Figure, Series};
use crate::history::{History, Sample};
use crate::number::{clock, digits, number, short, size};
use crate::page::{Page, cards, escape, markdown_block, markdown_cell};

/// Samples of a prompt that a report shows.
const SAMPLES: usize = 12;
/// Batches that were passed over of which a report tells.
const SKIPPED: usize = 20;

/// A setting.
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it comes from; empty where that is not known.
    pub origin: String,
}

/// Something that was forecast.
pub struct Forecast {
    /// What.
    pub what: String,
    /// What was expected.
    pub expected: f64,
    /// What came; nothing if that is not known yet.
    pub came: Option<f64>,
    /// How both are shown.
    pub unit: Unit,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Memory or disk.
    Bytes,
    /// Anything else.
    Plain,
}

impl Unit {
    fn show(self, v: f64) -> String {
        match self {
            Unit::Seconds if v < 10.0 => format!("{} s", digits(v)),
            Unit::Seconds => clock(v),
            Unit::Bytes => size(v as u64),
            Unit::Plain => digits(v),
        }
    }
}

/// A run, told.
pub struct Story {
    /// The directory's name.
    pub name: String,
    /// What was done: `pretraining`, `fine-tuning`.
    pub stage: String,
    /// The model in a few words.
    pub model: String,
    /// How it stands: `done`, `stopped`, `running`.
    pub state: String,
    /// Steps that were planned.
    pub planned_steps: u64,
    /// Numbers that are learned.
    pub parameters: u64,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// What it went through.
    pub history: History,
    /// What it was asked to do.
    pub settings: Vec<Setting>,
    /// About the data: what, and how much.
    pub data: Vec<(String, String)>,
    /// About the tokenizer.
    pub tokenizer: Vec<(String, String)>,
    /// A text cut into its tokens.
    pub pieces: Vec<String>,
    /// What was forecast.
    pub forecast: Vec<Forecast>,
    /// The command that repeats it.
    pub command: String,
    /// About the machine and the program.
    pub machine: String,
}

impl Story {
    fn lead(&self) -> String {
        let h = &self.history;
        let done = h.steps.last().map_or(0, |s| s.step);
        let took = h.steps.last().map_or(0.0, |s| s.seconds);
        let (stage, model) = (&self.stage, &self.model);
        match self.state.as_str() {
            "done" => format!("{stage} of {model}: {} steps in {}.", number(done), clock(took)),
            state => {
                let all = number(self.planned_steps);
                format!(
                    "{stage} of {model}: {state} after {} of {all} steps and {}.",
                    number(done),
                    clock(took)
                )
            }
        }
    }

    /// The numbers that count most, each with what it is.
    fn facts(&self) -> Vec<(String, String)> {
        let h = &self.history;
        let mut facts = Vec::new();
        let mut add = |value: String, what: &str| facts.push((value, what.to_owned()));
        match h.evaluations.last() {
            Some(e) if e.bits_per_byte.is_some_and(f64::is_finite) => {
                add(format!("{:.3}", e.bits_per_byte.unwrap_or(0.0)), "bits per byte of held-out text");
            }
            Some(e) if e.loss.is_finite() => add(format!("{:.3}", e.loss), "validation loss"),
            _ => {}
        }
        add(short(self.parameters), "numbers learned");
        if let Some(last) = h.steps.last() {
            add(short(last.tokens), "tokens read");
            add(clock(last.seconds), "of learning");
        }
        if let Some(speed) = h.speed() {
            add(number(speed as u64), "tokens a second");
        }
        if let Some(bytes) = h.peak_memory() {
            add(size(bytes), "of memory at most");
        }
        facts
    }

    fn loss(&self) -> Figure {
        let h = &self.history;
        let train = h.steps.iter().map(|s| (s.step as f64, s.loss)).collect();
        let held = h.evaluations.iter().map(|e| (e.step as f64, e.loss)).collect();
        Figure {
            title: "Loss, nats per token: lower is better".into(),
            x: "step".into(),
            log: false,
            zero: false,
            half: false,
            series: vec![
                Series { name: "text being learned".into(), colour: 0, points: train, dots: false },
                Series { name: "held-out text".into(), colour: 1, points: held, dots: true },
            ],
            marks: h.skipped.iter().map(|s| (s.step as f64, s.why.clone())).collect(),
        }
    }

    fn others(&self) -> Vec<Figure> {
        let h = &self.history;
        let figure = |title: &str, colour, [log, zero]: [bool; 2], points: Vec<(f64, f64)>| Figure {
            title: title.into(),
            x: "step".into(),
            log,
            zero,
            half: true,
            series: vec![Series { name: String::new(), colour, points, dots: false }],
            marks: Vec::new(),
        };
        let rate = h.steps.iter().map(|s| (s.step as f64, s.rate * self.peak_rate)).collect();
        let norm = h.steps.iter().map(|s| (s.step as f64, s.gradient_norm)).collect();
        let memory = h.steps.iter().filter_map(|s| Some((s.step as f64, s.memory? as f64 / 1e6)));
        vec![
            figure("Learning rate", 2, [false, true], rate),
            figure("Norm of the gradients", 3, [true, false], norm),
            figure("Tokens a second", 6, [false, true], h.speeds(100)),
            figure("Memory, MB", 4, [false, true], memory.collect()),
        ]
    }

    /// The prompts, each with what was written at a few steps, the first and the last among them.
    fn written(&self) -> Vec<(&str, Vec<&Sample>)> {
        let mut prompts: Vec<(&str, Vec<&Sample>)> = Vec::new();
        for s in &self.history.samples {
            match prompts.iter_mut().find(|p| p.0 == s.prompt) {
                Some(p) => p.1.push(s),
                None => prompts.push((&s.prompt, vec![s])),
            }
        }
        for (_, list) in &mut prompts {
            let (n, all) = (list.len(), std::mem::take(list));
            let keep = n.min(SAMPLES);
            *list = (0..keep).map(|i| all[if keep > 1 { i * (n - 1) / (keep - 1) } else { 0 }]).collect();
        }
        prompts
    }

    /// What came of the forecast, as cells.
    fn outcomes(&self) -> Vec<[String; 4]> {
        let row = |f: &Forecast| {
            let came = f.came.filter(|v| v.is_finite());
            let off = came.map_or("–".into(), |c| format!("{:+.0} %", 100.0 * (c / f.expected - 1.0)));
            [f.what.clone(), f.unit.show(f.expected), came.map_or("–".into(), |c| f.unit.show(c)), off]
        };
        self.forecast.iter().filter(|f| f.expected.is_finite() && f.expected > 0.0).map(row).collect()
    }

    /// The report as a page.
    pub fn html(&self) -> String {
        let mut s = format!(
            "<h1>{}</h1><p class=lead>{}</p>{}",
            escape(&self.name),
            escape(&self.lead()),
            cards(&self.facts())
        );
        s += &self.loss().html();
        s += "<div class=halves>";
        self.others().iter().for_each(|f| s += &f.html());
        s += "</div>";
        let written = self.written();
        if !written.is_empty() {
            s += "<h2>What it wrote, from the first step to the last</h2><p>Always the same beginnings, and the same luck. The grey words were given.</p>";
        }
        for (prompt, samples) in written {
            s += "<table class=samples><tr><th class=n>step<th>text</tr>";
            for w in samples {
                let (given, text) = (escape(prompt), escape(&w.text));
                let _ = write!(
                    s,
                    "<tr><td class=n>{}<td dir=auto><span>{given}</span>{text}</tr>",
                    number(w.step)
                );
            }
            s += "</table>";
        }
        let outcomes = self.outcomes();
        if !outcomes.is_empty() {
            s += "<h2>Forecast and outcome</h2><div class=wide><table><tr><th>what<th class=n>expected<th class=n>came<th class=n>off by</tr>";
            for [what, expected, came, off] in &outcomes {
                let _ = write!(
                    s,
                    "<tr><td>{}<td class=n>{expected}<td class=n>{came}<td class=n>{off}</tr>",
                    escape(what)
                );
            }
            s += "</table></div>";
        }
        let told = |s: &mut String, rows: &[(String, String)]| {
            *s += "<table class=about>";
            for (what, value) in rows {
                let _ = write!(s, "<tr><td>{}<td>{}</tr>", escape(what), escape(value));
            }
            *s += "</table>";
        };
        if !self.data.is_empty() || !self.tokenizer.is_empty() {
            s += "<h2>Data and tokenizer</h2>";
            let rows: Vec<_> = self.data.iter().chain(&self.tokenizer).cloned().collect();
            told(&mut s, &rows);
        }
        if !self.pieces.is_empty() {
            let each = self.pieces.iter().map(|p| format!("<i>{}</i>", escape(p)));
            let _ = write!(
                s,
                "<p class=pieces dir=auto>{}</p><p class=foot>Each box is one token: what the model reads and writes.</p>",
                each.collect::<String>()
            );
        }
        if !self.history.skipped.is_empty() {
            let n = self.history.skipped.len() as u64;
            let _ = write!(s, "<h2>Batches that were passed over: {}</h2><ul>", number(n));
            for skip in self.history.skipped.iter().take(SKIPPED) {
                let _ = write!(s, "<li>{}</li>", escape(&skip.why));
            }
            s += "</ul><p class=foot>skipped.jsonl says where they stand in the data.</p>";
        }
        if !self.settings.is_empty() {
            s += "<h2>Settings</h2><div class=wide><table class=settings><tr><th>setting<th>value<th>from</tr>";
            for x in &self.settings {
                let _ = write!(
                    s,
                    "<tr><td>{}<td>{}<td>{}</tr>",
                    escape(&x.name),
                    escape(&x.value),
                    escape(&x.origin)
                );
            }
            s += "</table></div>";
        }
        if !self.command.is_empty() {
            let _ = write!(
                s,
                "<h2>Once more</h2><p>The same command gives the same model:</p><pre>{}</pre>",
                escape(&self.command)
            );
        }
        let _ = write!(s, "<p class=foot>{}</p>", escape(&self.machine));
        let style = format!("{}{STYLE}", curves::STYLE);
        Page { language: "en", title: &self.name, style: &style, script: curves::SCRIPT }.around(&s)
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut s = format!(
            "# {}\n\n{}\n\n| | |\n|---|---:|\n",
            markdown_cell(&self.name),
            markdown_cell(&self.lead())
        );
        for (value, what) in self.facts() {
            let _ = writeln!(s, "| {what} | {value} |");
        }
        let h = &self.history;
        if !h.steps.is_empty() {
            s += "\n## Loss\n\n| step | tokens | loss | learning rate | gradient norm | seconds |\n|---:|---:|---:|---:|---:|---:|\n";
            let n = h.steps.len();
            let keep = n.min(12);
            for i in 0..keep {
                let x = &h.steps[if keep > 1 { i * (n - 1) / (keep - 1) } else { 0 }];
                let (rate, norm) = (digits(x.rate * self.peak_rate), digits(x.gradient_norm));
                let _ = writeln!(
                    s,
                    "| {} | {} | {:.3} | {rate} | {norm} | {:.1} |",
                    x.step,
                    number(x.tokens),
                    x.loss,
                    x.seconds
                );
            }
        }
        if !h.evaluations.is_empty() {
            s += "\n## Held-out text\n\n| step | loss | right | bits per byte |\n|---:|---:|---:|---:|\n";
            for e in &h.evaluations {
                let bits = e.bits_per_byte.map_or("–".into(), |b| format!("{b:.3}"));
                let _ = writeln!(s, "| {} | {:.3} | {:.1} % | {bits} |", e.step, e.loss, 100.0 * e.accuracy);
            }
        }
        let written = self.written();
        if !written.is_empty() {
            s += "\n## What it wrote\n";
        }
        for (prompt, samples) in written {
            for w in samples {
                let _ = write!(
                    s,
                    "\nStep {}:\n\n{}",
                    number(w.step),
                    markdown_block(&format!("{prompt}{}", w.text))
                );
            }
        }
        let outcomes = self.outcomes();
        if !outcomes.is_empty() {
            s += "\n## Forecast and outcome\n\n| what | expected | came | off by |\n|---|---:|---:|---:|\n";
            outcomes.iter().for_each(|[what, e, c, off]| s += &format!("| {what} | {e} | {c} | {off} |\n"));
        }
        if !self.data.is_empty() || !self.tokenizer.is_empty() {
            s += "\n## Data and tokenizer\n\n| | |\n|---|---|\n";
            for (what, value) in self.data.iter().chain(&self.tokenizer) {
                let _ = writeln!(s, "| {} | {} |", markdown_cell(what), markdown_cell(value));
            }
        }
        if !h.skipped.is_empty() {
            let _ = writeln!(s, "\n## Batches that were passed over: {}\n", h.skipped.len());
            h.skipped.iter().take(SKIPPED).for_each(|k| s += &format!("- {}\n", markdown_cell(&k.why)));
        }
        if !self.settings.is_empty() {
            s += "\n## Settings\n\n| setting | value | from |\n|---|---|---|\n";
            for x in &self.settings {
                let [name, value, origin] = [&x.name, &x.value, &x.origin].map(|v| markdown_cell(v));
                let _ = writeln!(s, "| {name} | {value} | {origin} |");
            }
        }
        if !self.command.is_empty() {
            let _ = write!(s, "\n## Once more\n\n{}", markdown_block(&self.command));
        }
        let _ = writeln!(s, "\n{}", markdown_cell(&self.machine));
        s
    }
}

const STYLE: &str = "\
.cards div{flex-basis:28%;min-width:8.5rem;box-sizing:border-box}td.n{white-space:nowrap}.samples{margin-top:1rem}.samples td:first-child{width:4.5rem;color:var(--soft)}.samples td:last-child{white-space:pre-wrap;overflow-wrap:anywhere}.samples span{color:var(--soft)}\
.about td:first-child{color:var(--soft);width:11rem}.about td:last-child{overflow-wrap:anywhere}.settings td{overflow-wrap:anywhere}.settings td:nth-child(1){font-family:ui-monospace,monospace;font-size:.85rem}\
.settings td:nth-child(3){color:var(--soft)}pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9rem}\
.pieces{line-height:2}.pieces i{font-style:normal;white-space:pre-wrap;padding:.12rem .05rem;border-radius:4px;background:color-mix(in srgb,var(--c0) 18%,transparent)}\
.pieces i:nth-child(3n+1){background:color-mix(in srgb,var(--c1) 20%,transparent)}.pieces i:nth-child(3n+2){background:color-mix(in srgb,var(--c2) 20%,transparent)}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Evaluation, Skipped, Step};

    pub(crate) fn story() -> Story {
        let step = |i: u64| Step {
            step: i,
            tokens: 100 * i,
            loss: 8.0 / i as f64,
            rate: 0.5,
            gradient_norm: 1.0,
            seconds: i as f64,
            memory: Some(50_000_000),
        };
        let evaluation = Evaluation { step: 9, loss: 1.0, accuracy: 0.25, bits_per_byte: Some(1.5) };
        let sample = |i| Sample { step: i, prompt: "Once <b>".into(), text: format!(" upon{i}\n```") };
        Story {
            name: "<run>".into(),
            stage: "Pretraining".into(),
            model: "a GPT".into(),
            state: "stopped".into(),
            planned_steps: 20,
            parameters: 1_000_000,
            peak_rate: 0.01,
            history: History {
                steps: (1..10).map(step).collect(),
                evaluations: vec![evaluation],
                samples: (1..40).map(sample).collect(),
                skipped: vec![Skipped { step: 3, why: "<i>".into() }],
            },
            settings: vec![Setting { name: "seed".into(), value: "1".into(), origin: "a|b".into() }],
            data: vec![("from".into(), "<a>".into())],
            tokenizer: vec![],
            pieces: vec!["<x>".into()],
            forecast: vec![
                Forecast { what: "time".into(), expected: 100.0, came: Some(110.0), unit: Unit::Seconds },
                Forecast { what: "disk".into(), expected: 2e6, came: None, unit: Unit::Bytes },
            ],
            command: "pupil pretrain </pre>".into(),
            machine: "pupil 0".into(),
        }
    }

    #[test]
    fn the_page_tells_all_and_lets_no_markup_in() {
        let page = story().html();
        for part in [
            "stopped after 9 of 20 steps",
            "1.500",
            "1:50",
            "+10 %",
            "upon39",
            "upon1\n",
            "50.0 MB",
            "&lt;run&gt;",
        ] {
            assert!(page.contains(part), "no {part:?}");
        }
        for bad in ["<run>", "Once <b>", "<a>", "<i>\"", "<x>", "NaN", "</pre></pre>"] {
            assert!(!page.contains(bad), "{bad:?}");
        }
        let shown = page.matches(" upon").count();
        assert_eq!(shown, SAMPLES);
    }

    #[test]
    fn markdown_tells_the_same() {
        let text = story().markdown();
        assert!(text.contains("# &lt;run&gt;") && text.contains("| seed | 1 | a\\|b |"), "{text}");
        assert!(text.contains("````text\nOnce <b> upon39"), "{text}");
    }

    #[test]
    fn a_run_that_did_nothing_yet_has_a_report() {
        let s = Story { history: History::default(), forecast: vec![], ..story() };
        assert!(!s.html().contains("NaN") && s.markdown().contains("stopped after 0 of 20 steps"));
    }
}
