//! `pupil eval`: what a model can do, in numbers with error bars; `pupil eval compare`: whether one is better than another.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use pupil_data::documents;
use pupil_data::starter::{Curriculum, Persona};
use pupil_eval::score::BITS;
use pupil_eval::statistics::Interval;
use pupil_eval::{Comparison, Exam, Item, Score, Sheet, Task, compare};
use pupil_report::terminal::{Side, Table};

use crate::exit::Usage;
use crate::model::Choice;

/// `pupil eval`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    what: What,
    /// Writes every score with every item to a file, for `pupil eval compare`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Lists every skill.
    #[arg(long)]
    all: bool,
    /// The scores as JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Compares two models on the same questions: McNemar's exact test of right and wrong, the paired bootstrap of bits per byte.
    Compare {
        /// A model, or a file that `pupil eval --out` wrote.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        #[command(flatten)]
        what: What,
        /// Element type of matrix operands: bf16, f32, or auto.
        #[arg(long, default_value = "auto")]
        dtype: String,
        /// The comparisons as JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

/// What is asked. Without anything: the held-out skills of the starter curriculum.
#[derive(clap::Args, Clone)]
struct What {
    /// Texts whose bits per byte are measured: files and folders as `pupil data prepare` reads them.
    #[arg(long, num_args = 1..)]
    text: Vec<PathBuf>,
    /// Questions, one JSON object a line: skills (`pupil data starter`), ARC, MMLU, HellaSwag, PIQA, WinoGrande, GSM8K, or question and answer.
    #[arg(long, num_args = 1..)]
    tasks: Vec<PathBuf>,
    /// The skills of the starter curriculum, besides --text and --tasks.
    #[arg(long)]
    skills: bool,
    /// Whom the skills are asked: the persona that the model was made with.
    #[arg(long)]
    persona: Option<PathBuf>,
    /// Questions of each skill.
    #[arg(long, default_value_t = 8)]
    questions: usize,
    /// Questions of each task, and documents, at most; the first ones.
    #[arg(long)]
    limit: Option<usize>,
}

/// What is asked, read.
struct Asked {
    texts: Vec<(String, Vec<String>)>,
    tasks: Vec<Task>,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    if let Some(Command::Compare { first, second, what, dtype, json }) = &a.command {
        let mut asked = None;
        let mut sheet = |path: &Path| -> anyhow::Result<Sheet> {
            if path.is_file() {
                return read(path);
            }
            if asked.is_none() {
                asked = Some(what.read()?);
            }
            let model = Choice::of(path, dtype);
            asked.as_ref().map_or_else(|| anyhow::bail!("nothing is asked"), |asked| examined(&model, asked))
        };
        let (first, second) = (sheet(first)?, sheet(second)?);
        let all = compare(&first, &second);
        if all.is_empty() {
            anyhow::bail!(Usage(
                "the two have no question in common: both need the same --text, --tasks or --persona".into()
            ));
        }
        if *json {
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        println!("first: {}\nsecond: {}", first.model, second.model);
        print!("{}", compared(&all));
        return Ok(());
    }
    let sheet = examined(&a.model, &a.what.read()?)?;
    if let Some(path) = &a.out {
        let text = serde_json::to_string(&sheet)? + "\n";
        pupil_checkpoint::atomic::replace_file(path, text.as_bytes())?;
    }
    if a.json {
        // The items are for --out: a thousand lines of them are no answer to "how good is it".
        let short = |s: &Score| Score { items: Vec::new(), ..s.clone() };
        let sheet = Sheet { model: sheet.model.clone(), scores: sheet.scores.iter().map(short).collect() };
        println!("{}", serde_json::to_string_pretty(&sheet)?);
        return Ok(());
    }
    print!("{}", table(&sheet, a.all));
    Ok(())
}

impl What {
    fn read(&self) -> anyhow::Result<Asked> {
        if self.limit == Some(0) {
            anyhow::bail!(Usage("--limit 0: at least one".into()));
        }
        let most = self.limit.unwrap_or(usize::MAX);
        let mut texts = Vec::new();
        for path in &self.text {
            texts.push(documents_of(path, most)?);
        }
        let mut tasks = Vec::new();
        for path in &self.tasks {
            let mut task = Task::read(path)?;
            task.items.truncate(most);
            if let Some(first) = task.skipped.first() {
                eprintln!(
                    "  {}: {} lines were skipped, the first: {first}",
                    path.display(),
                    task.skipped.len()
                );
            }
            tasks.push(task);
        }
        if self.skills || (texts.is_empty() && tasks.is_empty()) {
            let persona = match &self.persona {
                None => Persona::standard().map_err(anyhow::Error::msg)?,
                Some(path) => {
                    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                    let broken = |what| pupil_data::Error::Content { path: path.clone(), what };
                    Persona::parse(&text).map_err(broken)?
                }
            };
            let curriculum = Curriculum::new(persona).map_err(anyhow::Error::msg)?;
            let mut items: Vec<Item> =
                curriculum.tests(1, self.questions.max(1)).into_iter().map(Item::Skill).collect();
            items.truncate(most);
            tasks.push(Task { name: "skills".into(), items, skipped: Vec::new() });
        }
        Ok(Asked { texts, tasks })
    }
}

/// The first documents of a file or folder, under its name.
pub(crate) fn documents_of(path: &Path, most: usize) -> anyhow::Result<(String, Vec<String>)> {
    let read = documents::read(&[path.to_owned()])?;
    let documents = read.texts().take(most).map(Into::into).collect();
    Ok((path.display().to_string(), documents))
}

/// Bits per byte of documents; shows how far it is.
pub(crate) fn bits(exam: &Exam<'_>, name: &str, documents: &[String]) -> Score {
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let meter = Meter::new(name);
    let score = exam.bits(name, &documents, &mut |n, all| meter.tell(n, all));
    meter.end(documents.len());
    score
}

/// Everything that is asked of one model.
fn examined(model: &Choice, asked: &Asked) -> anyhow::Result<Sheet> {
    let (dir, network) = model.network()?;
    let opened = model.opened(&dir, network)?;
    let exam = Exam { gpt: &opened.gpt, tokenizer: &opened.tokenizer, dtype: opened.dtype };
    let mut sheet = Sheet { model: dir.display().to_string(), scores: Vec::new() };
    for (name, documents) in &asked.texts {
        sheet.scores.push(bits(&exam, name, documents));
    }
    for task in &asked.tasks {
        let meter = Meter::new(&task.name);
        let scores = exam.task(task, &mut |n, all| meter.tell(n, all)).map_err(anyhow::Error::msg)?;
        meter.end(task.items.len());
        sheet.scores.extend(scores);
    }
    Ok(sheet)
}

fn read(path: &Path) -> anyhow::Result<Sheet> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let broken = |e: serde_json::Error| pupil_data::Error::Content {
        path: path.to_owned(),
        what: format!("is not what `pupil eval --out` writes: {e}"),
    };
    Ok(serde_json::from_str(&text).map_err(broken)?)
}

/// Skills that are listed if not all are.
const WEAKEST: usize = 12;

fn table(sheet: &Sheet, all: bool) -> String {
    let mut table = Table::new(&[
        ("task", Side::Left),
        ("measure", Side::Left),
        ("score", Side::Right),
        ("95 % interval", Side::Right),
        ("items", Side::Right),
    ]);
    let is_skill = |s: &Score| s.task.contains(": skill: ");
    let mut row = |s: &Score| {
        let value = s.value.map_or("–".into(), |v| shown(v, &s.measure));
        let interval = s.interval.map_or("–".into(), |i| between(i, &s.measure));
        table.row([s.task.clone(), s.measure.clone(), value, interval, s.count.to_string()]);
    };
    sheet.scores.iter().filter(|s| !is_skill(s)).for_each(&mut row);
    let mut skills: Vec<&Score> = sheet.scores.iter().filter(|s| is_skill(s)).collect();
    if !all {
        skills.sort_by(|a, b| a.value.unwrap_or(0.0).total_cmp(&b.value.unwrap_or(0.0)));
        skills.truncate(WEAKEST);
        skills.retain(|s| s.value.is_some_and(|v| v < 1.0));
    }
    skills.iter().for_each(|s| row(s));
    let mut text = table.text(None);
    let wrong = skills.iter().filter_map(|s| Some((s, s.items.iter().find(|i| i.amount < 0.5)?)));
    for (s, item) in wrong.take(if all { 0 } else { WEAKEST }) {
        let reply = item.reply.as_deref().unwrap_or("[no room for an answer]");
        text += &format!(
            "  {}: {}\n",
            s.task.rsplit(": ").next().unwrap_or_default(),
            pupil_report::terminal::line(reply)
        );
    }
    text
}

fn compared(all: &[Comparison]) -> String {
    let mut table = Table::new(&[
        ("task", Side::Left),
        ("measure", Side::Left),
        ("first", Side::Right),
        ("second", Side::Right),
        ("difference, 95 %", Side::Right),
        ("only first, second", Side::Right),
        ("p", Side::Right),
        ("better", Side::Left),
    ]);
    for c in all {
        // Of single skills only those that differ clearly.
        if c.task.contains(": skill: ") && c.better().is_none() {
            continue;
        }
        let only = c.only.map_or("–".into(), |[a, b]| format!("{a}, {b}"));
        let p = c.p.map_or("–".into(), |p| if p < 1e-4 { "< 0.0001".into() } else { format!("{p:.4}") });
        let better = match c.better() {
            Some(0) => "first",
            Some(_) => "second",
            None => "not told apart",
        };
        table.row([
            c.task.clone(),
            c.measure.clone(),
            shown(c.first, &c.measure),
            shown(c.second, &c.measure),
            c.interval.map_or("–".into(), |i| between(i, &c.measure)),
            only,
            p,
            better.to_owned(),
        ]);
    }
    table.text(None)
}

fn shown(value: f64, measure: &str) -> String {
    if measure == BITS { format!("{value:.3}") } else { format!("{:.1} %", 100.0 * value) }
}

fn between(i: Interval, measure: &str) -> String {
    if measure == BITS {
        format!("{:.3} to {:.3}", i.low, i.high)
    } else {
        format!("{:.1} to {:.1}", 100.0 * i.low, 100.0 * i.high)
    }
}

/// How far it is, on a terminal; how long it took, anywhere.
struct Meter {
    name: String,
    begun: Instant,
    shown: std::cell::Cell<Option<Instant>>,
    terminal: bool,
}

impl Meter {
    fn new(name: &str) -> Meter {
        let terminal = std::io::stderr().is_terminal();
        Meter { name: name.to_owned(), begun: Instant::now(), shown: std::cell::Cell::default(), terminal }
    }

    fn tell(&self, done: usize, all: usize) {
        let recently = self.shown.get().is_some_and(|s| s.elapsed() < Duration::from_millis(200));
        if self.terminal && !recently {
            self.shown.set(Some(Instant::now()));
            eprint!("\r\x1b[2K  {}: {done} of {all}", self.name);
        }
    }

    fn end(&self, all: usize) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        eprintln!("{clear}  {}: {all} in {:.1} s", self.name, self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_eval::Outcome;
    use pupil_eval::score::EXACT;

    #[test]
    fn the_table_shows_the_weakest_skills_with_what_was_said() {
        let item = |amount: f64| Outcome { id: "1".into(), amount, of: 1.0, reply: Some("Vienna.".into()) };
        let scores = vec![
            Score::new("skills", EXACT, vec![item(1.0), item(0.0)]),
            Score::new("skills: skill: sums", EXACT, vec![item(1.0)]),
            Score::new("skills: skill: capital", EXACT, vec![item(0.0)]),
            Score::new("some.txt", BITS, Vec::new()),
        ];
        let sheet = Sheet { model: "m".into(), scores };
        let text = table(&sheet, false);
        assert!(
            text.contains("50.0 %") && text.contains("capital: Vienna.") && !text.contains("sums"),
            "{text}"
        );
        assert!(text.contains("some.txt") && text.contains('–'), "{text}");
        assert!(table(&sheet, true).contains("sums"));
    }
}
