//! What BERT is for: `pupil fill-mask`, `pupil classify`, `pupil embed`; and its parts of `pupil pretrain` and `pupil finetune`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_checkpoint::sentence;
use pupil_data::labelled::{self, Found};
use pupil_data::{Corpus, Items, Packer, documents, prepare, starter};
use pupil_infer::Reader;
use pupil_infer::reader::best;
use pupil_model::bert::{Config, Head, Pooling};
use pupil_model::{Bert, Network, Settings as Architecture};
use pupil_report::number;
use pupil_tensor::kernels::pool;
use pupil_tokenizer::{WordPiece, wordpiece};
use pupil_train::examples::{self, Cloze};
use pupil_train::{Plan, bert as school};
use serde_json::json;

use crate::exit::Usage;
use crate::input;
use crate::learn::{self, Common, Finetune, Vocabulary};
use crate::model::Choice;
use crate::pretrain::Pretrain;
use crate::process;
use crate::ranks;

/// Thousandths of labelled texts that are held out.
const VALIDATION: u64 = 100;
/// Times that labelled texts are seen, as in the paper, if no number of steps or minutes is named.
const EPOCHS: u64 = 4;

/// Reviews of the starter text.
const REVIEWS: usize = 2000;

/// Texts from arguments, files, or the lines of standard input.
#[derive(clap::Args)]
struct Texts {
    /// The texts; without any, those of --data, or the lines of standard input.
    text: Vec<String>,
    /// Files or folders of texts.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// A JSON object for each text.
    #[arg(long)]
    json: bool,
}

/// `pupil fill-mask`.
#[derive(clap::Args)]
pub(crate) struct FillMask {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    texts: Texts,
    /// Words that are shown for each hidden one.
    #[arg(long, default_value_t = 5)]
    top: usize,
}

/// `pupil classify`.
#[derive(clap::Args)]
pub(crate) struct Classify {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    texts: Texts,
    /// Files that have the answers already: says how many are met.
    #[arg(long, num_args = 1..)]
    labelled: Vec<PathBuf>,
}

/// `pupil embed`.
#[derive(clap::Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    texts: Texts,
    /// How the tokens' vectors become one: mean, first, max; by default as the model's modules.json says, else the mean.
    #[arg(long)]
    pooling: Option<String>,
    /// Scales the vectors to length 1, whatever modules.json says.
    #[arg(long)]
    normalise: bool,
    /// Writes the vectors as `embeddings` of a safetensors file instead.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Texts {
    fn all(&self) -> anyhow::Result<Vec<String>> {
        if !self.text.is_empty() {
            return Ok(self.text.clone());
        }
        if !self.data.is_empty() {
            return Ok(documents::read(&self.data)?.texts().map(|t| t.into_owned()).collect());
        }
        let lines = input::lines().collect::<Result<Vec<_>, _>>();
        Ok(lines.context("standard input")?.into_iter().filter(|l| !l.trim().is_empty()).collect())
    }
}

/// A BERT with its tokenizer, and where it lies.
fn open(choice: &Choice) -> anyhow::Result<(PathBuf, Reader)> {
    let (dir, network) = choice.network()?;
    let Network::Bert(bert) = network else {
        anyhow::bail!(Usage(format!("{} is no BERT; -m names one", dir.display())));
    };
    let tokenizer = tokenizer(&dir.join("tokenizer.json"))?;
    let reader = Reader::new(*bert, tokenizer, process::dtype(&choice.dtype)?);
    Ok((dir.clone(), reader.with_context(|| dir.display().to_string())?))
}

fn tokenizer(path: &Path) -> anyhow::Result<WordPiece> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    WordPiece::from_json(&text).with_context(|| path.display().to_string())
}

pub(crate) fn fill_mask(a: &FillMask) -> anyhow::Result<()> {
    let (_, reader) = open(&a.model)?;
    let texts = a.texts.all()?;
    let mut out = std::io::stdout().lock();
    for text in &texts {
        let (guesses, cut) = reader.fill(text, a.top).map_err(|e| Usage(format!("{text:?}: {e}")))?;
        if cut {
            eprintln!("  cut to the {} tokens that the model reads at once", reader.bert.config.context);
        }
        if a.texts.json {
            let guess = |g: &pupil_infer::reader::Guess| json!({"token": g.piece, "id": g.id, "probability": g.probability});
            let masks: Vec<Vec<_>> = guesses.iter().map(|m| m.iter().map(guess).collect()).collect();
            writeln!(out, "{}", json!({"text": text, "masks": masks}))?;
            continue;
        }
        if texts.len() > 1 {
            writeln!(out, "{text}")?;
        }
        for (i, guesses) in guesses.iter().enumerate() {
            if i > 0 {
                writeln!(out)?;
            }
            for g in guesses {
                writeln!(out, "{:>7.2} %  {}", 100.0 * g.probability, g.piece)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn classify(a: &Classify) -> anyhow::Result<()> {
    let (_, reader) = open(&a.model)?;
    let Some(labels) = reader.bert.config.head.labels().map(<[String]>::to_vec) else {
        anyhow::bail!(Usage(
            "this BERT has no labels: `pupil finetune -m MODEL --data LABELLED --out DIR` teaches it some"
                .into()
        ));
    };
    if !a.labelled.is_empty() {
        return examine(&reader, &labels, &labelled::read(&a.labelled)?, a.texts.json);
    }
    let texts = a.texts.all()?;
    let mut out = std::io::stdout().lock();
    if let Head::Token(_) = reader.bert.config.head {
        for text in &texts {
            let words: Vec<&str> = text.split_whitespace().collect();
            let tags = reader.tag(&[&words[..]])?.remove(0);
            let tags: Vec<&String> = tags.iter().map(|&t| &labels[t]).collect();
            if a.texts.json {
                writeln!(out, "{}", json!({"words": words, "tags": tags}))?;
            } else {
                let pairs: Vec<String> = words.iter().zip(tags).map(|(w, t)| format!("{w}/{t}")).collect();
                writeln!(out, "{}", pairs.join(" "))?;
            }
        }
        return Ok(());
    }
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (text, said) in texts.iter().zip(reader.classify(&all)?) {
        let label = best(&said);
        if a.texts.json {
            let each: serde_json::Map<String, serde_json::Value> =
                labels.iter().zip(&said).map(|(l, p)| (l.clone(), json!(p))).collect();
            writeln!(out, "{}", json!({"text": text, "label": labels[label], "probabilities": each}))?;
        } else {
            let line: String = text.chars().take(60).map(|c| if c == '\n' { ' ' } else { c }).collect();
            writeln!(out, "{:<12} {:>6.2} %  {line}", labels[label], 100.0 * said[label])?;
        }
    }
    Ok(())
}

/// Compares what a BERT says with what somebody wrote.
fn examine(reader: &Reader, labels: &[String], found: &Found, as_json: bool) -> anyhow::Result<()> {
    let (mut right, mut all) = (0, 0);
    if let Head::Token(_) = reader.bert.config.head {
        let words: Vec<&[String]> = found.sentences.iter().map(|s| &s.words[..]).collect();
        for (said, sentence) in reader.tag(&words)?.iter().zip(&found.sentences) {
            right += said.iter().zip(&sentence.tags).filter(|(s, t)| labels[**s] == **t).count();
            all += sentence.tags.len();
        }
    } else {
        let texts: Vec<&str> = found.texts.iter().map(|t| t.text.as_str()).collect();
        let said = reader.classify(&texts)?;
        right = said.iter().zip(&found.texts).filter(|(s, t)| labels[best(s)] == t.label).count();
        all = texts.len();
    }
    let what = if matches!(reader.bert.config.head, Head::Token(_)) { "words" } else { "texts" };
    anyhow::ensure!(all > 0, "there are no {what} with labels in what was named");
    let share = right as f64 / all as f64;
    if as_json {
        println!("{}", json!({"right": right, "of": all, "accuracy": share, "what": what}));
    } else {
        println!("{right} of {all} {what} right, {:.2} %", 100.0 * share);
    }
    Ok(())
}

pub(crate) fn embed(a: &Embed) -> anyhow::Result<()> {
    let (dir, reader) = open(&a.model)?;
    let mut about = sentence::read_modules(&dir)?.unwrap_or_default();
    about.normalised |= a.normalise;
    about.pooling = match a.pooling.as_deref() {
        None => about.pooling,
        Some("mean") => Pooling::Mean,
        Some("first") => Pooling::First,
        Some("max") => Pooling::Max,
        Some(other) => anyhow::bail!(Usage(format!("--pooling {other}: mean, first or max"))),
    };
    let texts = a.texts.all()?;
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = reader.embed(&all, about);
    if let Some(path) = &a.out {
        let bytes = sentence::vectors_file(&vectors, reader.bert.config.width)?;
        pupil_checkpoint::atomic::replace_file(path, &bytes)?;
        eprintln!(
            "  {} vectors of {} numbers in {}",
            vectors.len(),
            reader.bert.config.width,
            path.display()
        );
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    for (text, vector) in texts.iter().zip(vectors) {
        writeln!(out, "{}", json!({"text": text, "embedding": vector}))?;
    }
    Ok(())
}

/// The tokenizer's files in a model directory.
fn vocabulary(tokenizer: &WordPiece, context: usize) -> Vocabulary {
    let names = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
    let keys = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let mut config = json!({
        "tokenizer_class": "BertTokenizer", "do_lower_case": tokenizer.settings().normalizer.lowercase, "model_max_length": context,
    });
    keys.iter().zip(names).for_each(|(key, name)| config[key] = json!(name));
    let pieces = (0..tokenizer.len() as u32).map(|id| tokenizer.piece(id).unwrap_or_default());
    let list: String = pieces.flat_map(|p| [p, "\n"]).collect();
    let extra = vec![
        ("tokenizer.json".into(), tokenizer.to_json().into_bytes()),
        ("tokenizer_config.json".into(), format!("{config:#}\n").into_bytes()),
        ("vocab.txt".into(), list.into_bytes()),
    ];
    // Its losses are not those of a text's bytes.
    Vocabulary { id_bytes: vec![], end: vec![], extra }
}

/// Sequences with words to be hidden, to learn from and to validate on.
fn cloze(corpus: &Corpus, tokenizer: &WordPiece, about: Cloze) -> anyhow::Result<[Items; 2]> {
    let side = |held_out: bool| -> anyhow::Result<Items> {
        let wanted = |text: &str| prepare::is_validation(text, learn::VALIDATION) == held_out;
        let texts = corpus.documents.iter().filter(|d| wanted(d)).map(|d| examples::sentences(d));
        let chats = corpus.chats.iter().filter(|c| wanted(&c.plain()));
        let chats = chats.map(|c| c.messages.iter().flat_map(|t| examples::sentences(&t.content)).collect());
        Ok(examples::cloze(tokenizer, texts.chain(chats), about)?)
    };
    Ok([side(false)?, side(true)?])
}

pub(crate) fn pretrain(a: &Pretrain) -> anyhow::Result<PathBuf> {
    let begun = std::time::Instant::now();
    let common = &a.common;
    let there = ranks::shared(learn::planned(common.resume, &common.out)?)?;
    let corpus = learn::corpus(common)?;
    let kept = common.out.join("tokenizer.json");
    let tokenizer = match (&a.tokenizer, there.is_some() && kept.exists()) {
        (Some(path), _) => tokenizer(path)?,
        (None, true) => tokenizer(&kept)?,
        (None, false) => {
            let texts: Vec<_> = corpus.texts().collect();
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let settings = wordpiece::Settings::default();
            let vocab = a.vocab.unwrap_or(learn::BATCH);
            let training =
                wordpiece::Training { settings, size: vocab, alphabet: vocab / 2, threads: pool::threads() };
            let t = training.run(&texts).map_err(Usage)?;
            eprintln!("  a tokenizer of {} ids in {:.1} s", t.len(), begun.elapsed().as_secs_f64());
            t
        }
    };
    let size = school::Size {
        vocab: tokenizer.len(),
        context: a.context.unwrap_or(512),
        layers: a.layers.unwrap_or(6),
        width: a.width.unwrap_or(256),
        heads: a.heads.unwrap_or(4),
        dropout: 0.1,
    };
    let mut config = size.config(tokenizer.len());
    if a.no_pairs {
        config.head = Head::Masked;
    }
    let config = match there.as_ref().map(|p| &p.model) {
        Some(Architecture::Bert(c)) => c.clone(),
        Some(_) => anyhow::bail!(Usage("--resume: the run in --out is of no BERT".into())),
        None => config,
    };
    config.check().map_err(Usage)?;
    let about =
        Cloze { context: config.context, pairs: !a.no_pairs, whole_words: a.whole_words, seed: common.seed };
    let [train, validation] = cloze(&corpus, &tokenizer, about)?;
    drop(corpus);
    if train.is_empty() {
        anyhow::bail!(Usage("there is nothing to learn from: the data has no usable text".into()));
    }
    eprintln!(
        "  {} sequences of {} tokens to learn from, {} held out",
        number(train.len() as u64),
        number(train.tokens() as u64),
        number(validation.len() as u64)
    );
    if about.pairs {
        eprintln!(
            "  the loss is the mean of two: of hidden words, and of whether the second part follows the first"
        );
    }
    let data = learn::fingerprint(&train, &format!("{}{about:?}", tokenizer.to_json()));
    let plan = match there {
        Some(p) => learn::checked(p, data)?,
        None => {
            let settings = school::reading_settings(common.lr, common.muon);
            let model = Architecture::Bert(config.clone());
            rescheduled(learn::settle(common, "pretrain", &model, settings, &train, 1000, begun, data)?)
        }
    };
    let network = Network::new(plan.model.clone(), plan.seed);
    let vocabulary = vocabulary(&tokenizer, config.context);
    let (path, _) = learn::go(common, plan, network, vocabulary, [&train, &validation], "pretraining")?;
    eprintln!("  now: pupil fill-mask -m {} \"… [MASK] …\"", common.out.display());
    Ok(path)
}

/// A plan with the paper's schedule.
fn rescheduled(plan: Plan) -> Plan {
    Plan { schedule: school::schedule(plan.steps), ..plan }
}

pub(crate) fn finetune(a: &Finetune, dir: &Path, bert: &Bert) -> anyhow::Result<PathBuf> {
    let begun = std::time::Instant::now();
    let common: &Common = &a.common;
    let tokenizer = tokenizer(&dir.join("tokenizer.json"))?;
    let mut found = match common.data.is_empty() {
        true => Found::default(),
        false => labelled::read(&common.data)?,
    };
    if common.data.is_empty() || common.starter {
        found.texts.extend(starter::reviews(common.seed, REVIEWS));
    }
    let texts = !found.texts.is_empty();
    let labels: BTreeSet<&String> = match texts {
        true => found.texts.iter().map(|t| &t.label).collect(),
        false => found.sentences.iter().flat_map(|s| &s.tags).collect(),
    };
    let labels: Vec<String> = labels.into_iter().cloned().collect();
    let count = if texts { found.texts.len() } else { found.sentences.len() };
    let what = if texts { "texts" } else { "sentences" };
    let source = if common.data.is_empty() { "; of the starter text" } else { "" };
    if found.skipped_count > 0 {
        eprintln!("  {} records were skipped, among them:", found.skipped_count);
        found.skipped.iter().take(3).for_each(|s| eprintln!("    {s}"));
    }
    eprintln!("  {} {what}, {} labels: {}{source}", number(count as u64), labels.len(), shown(&labels));
    let head = if texts { Head::Sequence(labels.clone()) } else { Head::Token(labels.clone()) };
    let config = Config { head: head.clone(), ..bert.config.clone() };
    config.check().map_err(Usage)?;
    let [train, validation] = items(&found, &tokenizer, &config, &labels)?;
    if train.is_empty() {
        anyhow::bail!(Usage("there is nothing to learn from".into()));
    }
    if train.truncated > 0 {
        eprintln!("  {} texts lose their middle to fit {} tokens", train.truncated, config.context);
    }
    let data = learn::fingerprint(&train, &tokenizer.to_json());
    let plan = match ranks::shared(learn::planned(common.resume, &common.out)?)? {
        Some(p) => learn::checked(p, data)?,
        None => {
            let row = common.batch_tokens.unwrap_or(learn::BATCH).max(config.context);
            let rows = Packer::new(&train, row, common.seed).rows_per_epoch() as u64;
            let steps = (rows * EPOCHS).max(school::FEWEST);
            let settings = school::task_settings(config.width, common.lr);
            let model = Architecture::Bert(config.clone());
            rescheduled(learn::settle(common, "finetune", &model, settings, &train, steps, begun, data)?)
        }
    };
    let network = Network::from(bert.with_head(head, plan.seed));
    let vocabulary = vocabulary(&tokenizer, config.context);
    let (path, _) = learn::go(common, plan, network, vocabulary, [&train, &validation], "fine-tuning")?;
    eprintln!("  now: pupil classify -m {} \"…\"", common.out.display());
    Ok(path)
}

/// The first labels by name.
fn shown(labels: &[String]) -> String {
    let first = labels.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if labels.len() > 8 { first + ", …" } else { first }
}

/// Labelled sequences, to learn from and to validate on.
fn items(
    found: &Found,
    tokenizer: &WordPiece,
    config: &Config,
    labels: &[String],
) -> anyhow::Result<[Items; 2]> {
    let index = |label: &String| labels.binary_search(label).unwrap_or(0);
    let side = |held_out: bool| -> anyhow::Result<Items> {
        let wanted = |text: &str| prepare::is_validation(text, VALIDATION) == held_out;
        if !found.texts.is_empty() {
            let texts = found.texts.iter().filter(|t| wanted(&t.text));
            return Ok(examples::labelled(
                tokenizer,
                config,
                texts.map(|t| (t.text.as_str(), index(&t.label))),
            )?);
        }
        let sentences: Vec<_> = found.sentences.iter().filter(|s| wanted(&s.words.join(" "))).collect();
        let tags: Vec<Vec<usize>> = sentences.iter().map(|s| s.tags.iter().map(index).collect()).collect();
        let pairs = sentences.iter().zip(&tags).map(|(s, t)| (&s.words[..], &t[..]));
        Ok(examples::tagged(tokenizer, config, pairs))
    };
    Ok([side(false)?, side(true)?])
}
