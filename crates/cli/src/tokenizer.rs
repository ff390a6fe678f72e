//! `pupil tokenizer`: trains one, shows what it does to text, and holds it against others.

mod report;

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use pupil_chat::SPECIALS;
use pupil_data::documents;
use pupil_report::{number, size};
use pupil_tensor::kernels::pool;
use pupil_tokenizer::{
    BertNormalizer, Specials, Split, Tokenizer, Training, WordLevel, word_level, wordpiece,
};

use crate::exit::Usage;
use crate::model::read_tokenizer;

/// `pupil tokenizer`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Trains a tokenizer on text and writes its tokenizer.json.
    Train(Train),
    /// The ids of a text, separated by blanks.
    Encode(Encode),
    /// The text of ids.
    Decode(Decode),
    /// Bytes per token by script and language, beside other tokenizers, and a text cut into its tokens.
    Report(report::Report),
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
    /// What is trained: bpe (byte-level), wordpiece (as BERT's) or words (as Keras').
    #[arg(long, default_value = "bpe")]
    kind: String,
    /// How bpe cuts text into words: gpt2, cl100k, o200k, llama3, qwen2, chinese, or digits (as gpt2, but each digit by itself, Chinese numerals too).
    #[arg(long, default_value = "digits")]
    split: String,
    /// Wordpiece and words: capitals stay capitals, and wordpiece keeps accents.
    #[arg(long)]
    cased: bool,
}

#[derive(clap::Args)]
pub(crate) struct Encode {
    /// A tokenizer.json, or a directory with one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Special tokens in the text are special tokens; else they are text.
    #[arg(long)]
    specials: bool,
    /// With the special tokens around the text that the model expects, as in BERT's `[CLS] … [SEP]`.
    #[arg(long, conflicts_with = "specials")]
    around: bool,
    /// A file; without it standard input.
    file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Decode {
    /// A tokenizer.json, or a directory with one.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Leaves special tokens out.
    #[arg(long)]
    skip_specials: bool,
    /// Ids; without them those of standard input.
    ids: Vec<u32>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(a) => train(a),
        Command::Encode(a) => encode(a),
        Command::Decode(a) => decode(a),
        Command::Report(a) => a.run(),
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
    let kinds = ["bpe", "wordpiece", "words"];
    if !kinds.contains(&a.kind.as_str()) {
        anyhow::bail!(Usage(format!("--kind {}: one of {}", a.kind, kinds.join(", "))));
    }
    let least = if a.kind == "bpe" { 256 + SPECIALS.len() } else { wordpiece::SPECIALS.len() + 1 };
    if a.vocab < least || a.vocab > 1 << 20 {
        anyhow::bail!(Usage(format!("--vocab {}: {least} to {}", a.vocab, 1 << 20)));
    }
    let texts = texts(&a.paths)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bytes: usize = texts.iter().map(|t| t.len()).sum();
    let begun = Instant::now();
    let tokenizer = trained(a, split, &texts)?;
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

fn trained(a: &Train, split: Split, texts: &[&str]) -> anyhow::Result<Tokenizer> {
    let (size, threads) = (a.vocab, pool::threads());
    match a.kind.as_str() {
        "wordpiece" => {
            let normalizer = BertNormalizer { lowercase: !a.cased, ..BertNormalizer::default() };
            let settings = wordpiece::Settings { normalizer, ..wordpiece::Settings::default() };
            // Half the room at most for single letters: a text in Chinese has thousands.
            let training = wordpiece::Training { settings, size, alphabet: size / 2, threads };
            Ok(training.run(texts).map_err(anyhow::Error::msg)?.into())
        }
        "words" => {
            let settings = word_level::Settings {
                lower: !a.cased,
                num_words: Some(size),
                unknown: Some("<unk>".to_owned()),
                ..word_level::Settings::default()
            };
            Ok(WordLevel::fit(settings, texts).into())
        }
        _ => Ok(Training { split, size, specials: &SPECIALS, threads }.run(texts)),
    }
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
    let text = input(a.file.as_deref())?;
    let ids = match (a.specials, a.around) {
        (true, _) => tokenizer.encode_marked(&text),
        (_, true) => tokenizer.encode_pair(&text, None).ids,
        _ => tokenizer.encode(&text),
    };
    println!("{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
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
    let specials = if a.skip_specials { Specials::Text } else { Specials::Tokens };
    let said = tokenizer.decode_bytes(&ids, specials).map_err(|e| Usage(e.to_string()))?;
    std::io::stdout().lock().write_all(&said)?;
    Ok(())
}
