//! `pupil tokenizer`: trains one, shows what it does to text, and holds it against others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use pupil_chat::SPECIALS;
use pupil_data::report::{number, size};
use pupil_data::{clean, documents};
use pupil_tensor::kernels::pool;
use pupil_tokenizer::{Split, Tokenizer, Training};

use crate::exit::Usage;
use crate::model::read_tokenizer;

/// `pupil tokenizer`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Trains a byte-level BPE on text and writes its tokenizer.json.
    Train(Train),
    /// The ids of a text, separated by blanks.
    Encode(Encode),
    /// The text of ids.
    Decode(Decode),
    /// Bytes per token by script, beside other tokenizers, and a text cut into its tokens.
    Report(Report),
}

#[derive(clap::Args)]
pub(crate) struct Train {
    /// Files, folders or archives of text and chats.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The tokenizer.json to write.
    #[arg(long)]
    out: PathBuf,
    /// Ids, special tokens included.
    #[arg(long, default_value_t = 8192)]
    vocab: usize,
    /// How text is cut into words: gpt2, cl100k, o200k, llama3, qwen2 or chinese.
    #[arg(long, default_value = "gpt2")]
    split: String,
}

#[derive(clap::Args)]
pub(crate) struct Encode {
    /// A tokenizer.json, or a directory with one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// A file; without it standard input.
    file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Decode {
    /// A tokenizer.json, or a directory with one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Ids; without them those of standard input.
    ids: Vec<u32>,
}

#[derive(clap::Args)]
pub(crate) struct Report {
    /// tokenizer.json files, or directories with one, to hold against each other.
    #[arg(long, required = true, num_args = 1..)]
    tokenizer: Vec<PathBuf>,
    /// Files, folders or archives to measure on.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// A text to show cut into the first tokenizer's tokens; by default the beginning of the data.
    #[arg(long)]
    text: Option<String>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(a) => train(a),
        Command::Encode(a) => encode(a),
        Command::Decode(a) => decode(a),
        Command::Report(a) => report(a),
    }
}

/// A tokenizer from its file, or from a directory that holds it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Tokenizer> {
    let candidates = [path.to_owned(), path.join("tokenizer.json"), path.join("model/tokenizer.json")];
    let file = candidates.iter().find(|p| p.is_file()).unwrap_or(&candidates[0]);
    read_tokenizer(file)
}

/// All texts of some files.
fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    Ok(documents::read(paths)?.texts().map(Cow::into_owned).collect())
}

fn train(a: &Train) -> anyhow::Result<()> {
    let Some(split) = Split::ALL.into_iter().find(|s| s.name() == a.split) else {
        let names = Split::ALL.map(Split::name).join(", ");
        anyhow::bail!(Usage(format!("--split {}: one of {names}", a.split)));
    };
    let least = 256 + SPECIALS.len();
    if a.vocab < least || a.vocab > 1 << 20 {
        anyhow::bail!(Usage(format!("--vocab {}: {least} to {}", a.vocab, 1 << 20)));
    }
    let texts = texts(&a.paths)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bytes: usize = texts.iter().map(|t| t.len()).sum();
    let begun = Instant::now();
    let training = Training { split, size: a.vocab, specials: &SPECIALS, threads: pool::threads() };
    let tokenizer = training.run(&texts);
    let seconds = begun.elapsed().as_secs_f64();
    pupil_checkpoint::atomic::replace_file(&a.out, tokenizer.to_json().as_bytes())?;
    eprintln!(
        "  {} tokens from {} of text in {seconds:.2} s, {}/s",
        number(tokenizer.len() as u64),
        size(bytes as u64),
        size((bytes as f64 / seconds) as u64)
    );
    if tokenizer.len() < a.vocab {
        eprintln!("  the text gives no more: {} were asked for", number(a.vocab as u64));
    }
    println!("{}", a.out.display());
    Ok(())
}

fn input(file: Option<&Path>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    match file {
        Some(f) => bytes = std::fs::read(f).with_context(|| format!("reading {}", f.display()))?,
        None => {
            std::io::stdin().lock().read_to_end(&mut bytes)?;
        }
    }
    let name = file.map_or("standard input".into(), |f| f.display().to_string());
    String::from_utf8(bytes).map_err(|e| {
        let what =
            format!("is not UTF-8 (byte {}); `pupil data prepare` converts it", e.utf8_error().valid_up_to());
        pupil_data::Error::Content { path: name.into(), what }.into()
    })
}

fn encode(a: &Encode) -> anyhow::Result<()> {
    let tokenizer = read(&a.tokenizer)?;
    let ids: Vec<String> = tokenizer.encode(&input(a.file.as_deref())?).iter().map(u32::to_string).collect();
    println!("{}", ids.join(" "));
    Ok(())
}

fn decode(a: &Decode) -> anyhow::Result<()> {
    let tokenizer = read(&a.tokenizer)?;
    let mut ids = a.ids.clone();
    if ids.is_empty() {
        for word in input(None)?.split_whitespace() {
            ids.push(word.parse().map_err(|_| Usage(format!("{word:?} is no id")))?);
        }
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= tokenizer.len()) {
        anyhow::bail!(Usage(format!("id {id}: the vocabulary has {}", tokenizer.len())));
    }
    let mut out = std::io::stdout().lock();
    for id in ids {
        out.write_all(tokenizer.bytes(id).unwrap_or_default())?;
    }
    Ok(())
}

/// Bytes of a text that is shown in its tokens.
const SHOWN: usize = 400;

fn report(a: &Report) -> anyhow::Result<()> {
    let tokenizers: Vec<Tokenizer> = a.tokenizer.iter().map(|p| read(p)).collect::<anyhow::Result<_>>()?;
    let texts = texts(&a.paths)?;
    // Of each script the texts that are mostly in it.
    let mut scripts: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for t in &texts {
        let counts = clean::scripts(t);
        let most = counts.iter().max_by_key(|c| c.1).map_or("none", |c| c.0.full_name());
        scripts.entry(most).or_default().push(t);
    }
    let mut lines: Vec<(String, usize, Vec<f64>)> = Vec::new();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (name, texts) in scripts.iter().map(|(n, t)| (*n, t)).chain([("all", &all)]) {
        let bytes: usize = texts.iter().map(|t| t.len()).sum();
        let per_token = |t: &Tokenizer| {
            let ids: usize = t.encode_all(texts, pool::threads()).iter().map(Vec::len).sum();
            bytes as f64 / ids.max(1) as f64
        };
        lines.push((name.to_owned(), bytes, tokenizers.iter().map(per_token).collect()));
    }
    lines.sort_by_key(|l| std::cmp::Reverse(l.1));
    println!("bytes per token, by the script that a text is mostly in");
    print!("{:<14}{:>10}", "script", "text");
    for (p, t) in a.tokenizer.iter().zip(&tokenizers) {
        let name = p.file_stem().unwrap_or_default().to_string_lossy().chars().take(12).collect::<String>();
        print!("  {:>20}", format!("{name} ({})", number(t.len() as u64)));
    }
    println!();
    for (name, bytes, per_token) in &lines {
        print!("{name:<14}{:>10}", size(*bytes as u64));
        per_token.iter().for_each(|p| print!("  {p:>20.2}"));
        println!();
    }
    let shown: String = match &a.text {
        Some(t) => t.clone(),
        None => texts.first().map_or(String::new(), |t| t.chars().take(SHOWN).collect()),
    };
    println!("\n{}", segmented(&tokenizers[0], &shown));
    Ok(())
}

/// A text with its tokens in changing colours, or between bars where there are no colours.
fn segmented(tokenizer: &Tokenizer, text: &str) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut out = String::new();
    let mut decoder = pupil_tokenizer::Decoder::new(tokenizer);
    for (i, id) in tokenizer.encode(text).into_iter().enumerate() {
        let piece = decoder.push(id);
        if colour {
            out.push_str(&format!("\x1b[{}m{piece}", [41, 42, 43, 44, 45, 46][i % 6] + 60 * (i as i32 & 1)));
        } else {
            out.push_str(&piece);
            out.push('|');
        }
    }
    if colour {
        out.push_str("\x1b[0m");
    }
    out
}
