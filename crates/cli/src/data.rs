//! `pupil data`: from whatever lies on disk to clean documents and conversations.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use pupil_chat::Renderer;
use pupil_data::clean;
use pupil_data::cornell::Cornell;
use pupil_data::corpora::{self, CORPORA};
use pupil_data::encoding::Charset;
use pupil_data::pieces::Reading;
use pupil_data::prepare::{self, Report, Settings};
use pupil_data::record::Record;
use pupil_data::{documents, origin, shards};
use pupil_report::{number, size};
use pupil_tensor::kernels::pool;
use pupil_tokenizer::{Split, Tokenizer, Training};
use pupil_train::examples;

use crate::exit::Usage;
use crate::model::read_tokenizer;
use crate::progress::clock;
use crate::starter;

/// `pupil data`.
#[derive(clap::Subcommand)]
pub(crate) enum Data {
    /// Cleans, deduplicates and splits files, folders and archives, and reports what was kept and why.
    Prepare(Prepare),
    /// Joins what `prepare --shard` wrote on several machines.
    Merge(Merge),
    /// Reads a public corpus in its original form.
    Import(Import),
    /// Writes the starter curriculum: stories, conversations, and the held-out questions that `pupil eval` asks.
    Starter(starter::Arguments),
}

#[derive(clap::Args)]
pub(crate) struct Filters {
    /// Directory for train-*.jsonl, validation-*.jsonl, report.html, report.md and report.json.
    #[arg(long)]
    out: PathBuf,
    /// Thousandths of the records that are held out, by the hash of their text.
    #[arg(long, default_value_t = 20)]
    validation: u64,
    /// Keeps exact duplicates.
    #[arg(long)]
    keep_duplicates: bool,
    /// Likeness from which on a text is a near duplicate, 0.5 to 1; 0 keeps them.
    #[arg(long, default_value_t = 0.8)]
    near: f64,
}

/// `pupil data prepare`.
#[derive(clap::Args)]
pub(crate) struct Prepare {
    /// Files, folders or patterns: text, Markdown, HTML, JSON, JSON lines, CSV and TSV, in any encoding, also in .gz, .zst, .zip and .tar.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    filters: Filters,
    /// Part I of N, from 1: for several machines; `merge` joins them.
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Also writes documents and conversations as ids of this tokenizer.json: train.tokens, train-chats.tokens and so on, which
    /// `pretrain --data OUT` reads as it needs them, whatever their size.
    #[arg(long, conflicts_with = "shard")]
    tokenizer: Option<PathBuf>,
    /// The same with a tokenizer of so many ids, trained on what was kept.
    #[arg(long, conflicts_with_all = ["tokenizer", "shard"])]
    vocab: Option<usize>,
    /// Stops at the first bad record.
    #[arg(long)]
    strict: bool,
    /// Goes on although more than one record in twenty is bad, or a file could not be read to its end.
    #[arg(long)]
    lenient: bool,
    /// The encoding of all files, as in `gb18030`; without it, it is found out for each.
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Reads files on in which more than one character in a thousand is none.
    #[arg(long)]
    lossy: bool,
    /// Leaves Unicode as it is, instead of its normal form C.
    #[arg(long)]
    no_normalise: bool,
    /// Keeps advertising, footers and search words.
    #[arg(long)]
    keep_boilerplate: bool,
    /// Shortest document in characters; 0: any.
    #[arg(long, default_value_t = clean::Settings::default().min_chars)]
    min_chars: usize,
    /// Longest document in characters; 0: any.
    #[arg(long, default_value_t = 0)]
    max_chars: usize,
    /// Largest share of a document in lines that came before in it; 1: any.
    #[arg(long, default_value_t = clean::Settings::default().max_repetition)]
    max_repetition: f64,
    /// Smallest share of letters among the characters of a document; 0: any.
    #[arg(long, default_value_t = clean::Settings::default().min_letters)]
    min_letters: f64,
    /// Scripts that documents must be in, as in `latin,han`; by default any.
    #[arg(long, value_delimiter = ',')]
    scripts: Vec<String>,
}

/// `pupil data merge`.
#[derive(clap::Args)]
pub(crate) struct Merge {
    /// Directories of the parts, in order.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    filters: Filters,
}

/// `pupil data import`.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// cornell, dailydialog, alpaca, sharegpt, openassistant, gsm8k, hh-rlhf, tinystories or chinese-poetry.
    name: String,
    /// The corpus as it was published: a file, a folder or an archive. Without it: where to find it.
    path: Option<PathBuf>,
    /// The file of JSON lines to write.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Cornell: pairs of a line and its answer instead of whole conversations.
    #[arg(long)]
    pairs: bool,
    /// Cornell: the article's pairs and cleaning, naive on purpose.
    #[arg(long, conflicts_with = "pairs")]
    article: bool,
}

pub(crate) fn run(data: &Data) -> anyhow::Result<()> {
    match data {
        Data::Prepare(a) => prepare(a),
        Data::Merge(a) => {
            let report = prepare::merge(&a.parts, &a.filters.out, &a.filters.settings()?)?;
            finish(&report, &a.filters.out)
        }
        Data::Import(a) => import(a),
        Data::Starter(a) => starter::run(a),
    }
}

impl Filters {
    fn settings(&self) -> anyhow::Result<Settings> {
        if self.validation > 999 {
            anyhow::bail!(Usage(format!("--validation {}: 0 to 999 thousandths", self.validation)));
        }
        if self.near != 0.0 && !(0.5..=1.0).contains(&self.near) {
            anyhow::bail!(Usage(format!("--near {}: 0.5 to 1, or 0 to keep near duplicates", self.near)));
        }
        Ok(Settings {
            exact: !self.keep_duplicates,
            near: (self.near > 0.0).then_some(self.near),
            validation: self.validation,
            threads: pool::threads(),
            ..Settings::default()
        })
    }
}

/// `I/N` from 1.
fn shard(text: &str) -> anyhow::Result<(usize, usize)> {
    let number = |s: &str| s.parse::<usize>().ok();
    let parts = text.split_once('/').and_then(|(i, n)| Some((number(i)?, number(n)?)));
    match parts {
        Some((i, n)) if 1 <= i && i <= n => Ok((i - 1, n)),
        _ => anyhow::bail!(Usage(format!("--shard {text}: expected I/N with 1 ≤ I ≤ N, as in 2/3"))),
    }
}

fn prepare(a: &Prepare) -> anyhow::Result<()> {
    for (name, share) in [("--max-repetition", a.max_repetition), ("--min-letters", a.min_letters)] {
        if !(0.0..=1.0).contains(&share) {
            anyhow::bail!(Usage(format!("{name} {share}: 0 to 1")));
        }
    }
    let named = |name: &String| {
        let unknown = || {
            Usage(format!(
                "--encoding {name}: not known; try utf-8, gb18030, big5, shift_jis or windows-1252"
            ))
        };
        Charset::named(name).ok_or_else(unknown)
    };
    if let Some(wrong) = a.scripts.iter().find(|name| !clean::is_script(name)) {
        anyhow::bail!(Usage(format!(
            "--scripts {wrong}: no script of Unicode; latin, han, cyrillic, arabic and others are"
        )));
    }
    let settings = Settings {
        reading: Reading { encoding: a.encoding.as_ref().map(named).transpose()?, lossy: a.lossy },
        strict: a.strict,
        part: a.shard.as_deref().map_or(Ok((0, 1)), shard)?,
        clean: clean::Settings {
            normalise: !a.no_normalise,
            boilerplate: !a.keep_boilerplate,
            min_chars: a.min_chars,
            max_chars: a.max_chars,
            max_repetition: a.max_repetition,
            min_letters: a.min_letters,
            scripts: a.scripts.iter().map(|s| s.to_lowercase()).collect(),
        },
        ..a.filters.settings()?
    };
    // What is wrong with it is said now and not after all has been read.
    let tokenizer = a.tokenizer.as_deref().map(read_tokenizer).transpose()?;
    let meter = Meter::new();
    let report = prepare::prepare(&a.paths, &a.filters.out, &settings, &|done, all| meter.tell(done, all));
    meter.end();
    let report = report?;
    finish(&report, &a.filters.out)?;
    tokens(&a.filters.out, tokenizer, a.vocab)?;
    if report.broken() * 20 > report.records && !a.lenient {
        let what = format!(
            "{} of {} records could not be read, more than one in twenty; what could is in {}. --lenient accepts this",
            report.broken(),
            report.records,
            a.filters.out.display()
        );
        anyhow::bail!(pupil_data::Error::Content { path: a.paths[0].clone(), what });
    }
    if let Some(first) = report.damaged().next().filter(|_| !a.lenient) {
        let what = format!(
            "{}; of {} files not all could be read. What could is in {}. --lenient accepts this",
            first.problem.as_deref().unwrap_or("is damaged"),
            report.damaged().count(),
            a.filters.out.display()
        );
        anyhow::bail!(pupil_data::Error::Content { path: first.name.clone().into(), what });
    }
    Ok(())
}

fn finish(report: &Report, out: &Path) -> anyhow::Result<()> {
    for (name, text) in [("report.html", report.html()), ("report.md", report.markdown())] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    eprint!("{}", report.summary());
    writeln!(std::io::stdout().lock(), "{}", out.join("report.html").display())?;
    Ok(())
}

/// Prepares files with the defaults and writes their ids, for a run that was given raw files.
pub(crate) fn prepare_into(
    paths: &[PathBuf],
    out: &Path,
    tokenizer: Option<Tokenizer>,
    vocab: usize,
) -> anyhow::Result<()> {
    let meter = Meter::new();
    let settings = Settings { threads: pool::threads(), ..Settings::default() };
    let report = prepare::prepare(paths, out, &settings, &|done, all| meter.tell(done, all));
    meter.end();
    eprint!("{}", report?.summary());
    tokens(out, tokenizer, Some(vocab))
}

/// Writes the kept documents as token shards, if asked to.
fn tokens(out: &Path, tokenizer: Option<Tokenizer>, vocab: Option<usize>) -> anyhow::Result<()> {
    let kept = out.join("tokenizer.json");
    let tokenizer = match (tokenizer, vocab) {
        (Some(given), _) => given,
        (None, Some(size)) => {
            let parts = ["train-documents.jsonl", "train-chats.jsonl"].map(|n| out.join(n));
            let parts: Vec<PathBuf> = parts.into_iter().filter(|p| p.exists()).collect();
            let corpus = documents::read(&parts)?;
            let texts: Vec<_> = corpus.texts().collect();
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let specials = &pupil_chat::SPECIALS;
            Training { split: Split::Digits, size, specials, threads: pool::threads() }.run(&texts)
        }
        (None, None) => return Ok(()),
    };
    let end = tokenizer.special(pupil_chat::END_OF_TEXT);
    let end =
        end.with_context(|| format!("the tokenizer has no special token {}", pupil_chat::END_OF_TEXT))?;
    pupil_checkpoint::atomic::replace_file(&kept, tokenizer.to_json().as_bytes())?;
    let threads = pool::threads();
    for part in ["train", "validation"] {
        for (kind, name) in
            [("documents", format!("{part}.tokens")), ("chats", format!("{part}-chats.tokens"))]
        {
            let (from, to) = (out.join(format!("{part}-{kind}.jsonl")), out.join(name));
            if !from.exists() {
                if to.exists() {
                    std::fs::remove_file(&to).with_context(|| format!("removing {}", to.display()))?;
                }
                continue;
            }
            let ids = if kind == "documents" {
                shards::tokenize(&from, &to, &tokenizer, threads, || shards::documents(&tokenizer, end))?
            } else {
                let renderer = Renderer::new(&tokenizer).with_context(|| from.display().to_string())?;
                shards::tokenize(&from, &to, &tokenizer, threads, || {
                    |record, ids: &mut Vec<u32>| {
                        let Record::Chat(chat) = record else { return false };
                        ids.extend(renderer.render_tools(&chat.tools, &examples::messages(&chat), false).ids);
                        true
                    }
                })?
            };
            eprintln!("  {} ids in {}", number(ids), to.display());
        }
    }
    let names = [
        "train-documents.jsonl",
        "train-chats.jsonl",
        "validation-documents.jsonl",
        "validation-chats.jsonl",
    ];
    Ok(origin::note(out, &names)?)
}

/// Bytes, rate and time left on one line that is rewritten.
struct Meter {
    begun: Instant,
    shown: Mutex<Option<Instant>>,
    terminal: bool,
}

impl Meter {
    fn new() -> Meter {
        Meter { begun: Instant::now(), shown: Mutex::new(None), terminal: std::io::stderr().is_terminal() }
    }

    fn tell(&self, done: u64, all: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(|e| e.into_inner());
        let pause = Duration::from_millis(if self.terminal { 200 } else { 20_000 });
        if shown.unwrap_or(self.begun).elapsed() < pause {
            return;
        }
        *shown = Some(Instant::now());
        let seconds = self.begun.elapsed().as_secs_f64();
        let left = seconds / done.max(1) as f64 * all.saturating_sub(done) as f64;
        let rate = size((done as f64 / seconds) as u64);
        let line = format!("  {} of {}, {rate}/s, {} left", size(done), size(all), clock(left));
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal { write!(err, "\r\x1b[2K{line}") } else { writeln!(err, "{line}") };
        let _ = err.flush();
    }

    fn end(&self) {
        let shown = self.shown.lock().unwrap_or_else(|e| e.into_inner()).is_some();
        if self.terminal && shown {
            eprint!("\r\x1b[2K");
        }
    }
}

fn import(a: &Import) -> anyhow::Result<()> {
    let Some(corpus) = corpora::find(&a.name) else {
        let names: Vec<&str> = CORPORA.iter().map(|c| c.name).collect();
        anyhow::bail!(Usage(format!("no corpus is called {:?}; known are {}", a.name, names.join(", "))));
    };
    let Some(path) = &a.path else {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", corpus.about)?;
        writeln!(out, "  published at  {}", corpus.home)?;
        writeln!(out, "  licence       {}", corpus.licence)?;
        writeln!(out, "  pupil reads   {}", corpus.files)?;
        writeln!(out, "then: pupil data import {} PATH --out {}.jsonl", corpus.name, corpus.name)?;
        return Ok(());
    };
    if (a.pairs || a.article) && a.name != "cornell" {
        anyhow::bail!(Usage("--pairs and --article are for cornell".into()));
    }
    let out = a.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.jsonl", a.name)));
    let (lines, broken): (Vec<String>, Vec<String>) = if a.pairs || a.article {
        let corpus = Cornell::read(path)?;
        let pairs = if a.article { corpus.article_pairs() } else { corpus.pairs().collect() };
        let line = |[q, r]: &[String; 2]| serde_json::json!({"question": q, "answer": r}).to_string();
        (pairs.iter().map(line).collect(), corpus.broken)
    } else {
        let imported = corpus.read(path)?;
        (imported.records.iter().map(|r| r.to_json().to_string()).collect(), imported.broken)
    };
    let file = std::fs::File::create(&out).with_context(|| format!("writing {}", out.display()))?;
    let mut writer = BufWriter::new(file);
    for line in &lines {
        writeln!(writer, "{line}")?;
    }
    writer.flush()?;
    eprintln!("  {} records, {} passed over; {}", number(lines.len() as u64), broken.len(), corpus.licence);
    broken.iter().take(5).for_each(|b| eprintln!("    {b}"));
    if a.article {
        eprintln!(
            "  as in the article: fields and names are in the lines, pairs cross scenes, apostrophes and accents are lost; --pairs does it right"
        );
    }
    writeln!(std::io::stdout().lock(), "{}", out.display())?;
    Ok(())
}
