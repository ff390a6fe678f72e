//! `pupil pretrain`: from text to a model that goes on with texts. One dial, the depth, or the minutes that there are; everything else follows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pupil_data::{Examples, Items, Shards, origin, source};
use pupil_model::{Network, Settings as Architecture};
use pupil_report::size;
use pupil_tokenizer::Tokenizer;
use pupil_train::evaluate::Evaluation;
use pupil_train::{Plan, dial, preflight};

use crate::arguments::Given;
use crate::learn::{self, Common, Vocabulary};
use crate::model::read_tokenizer;
use crate::planning::{self, Material};
use crate::progress::clock;
use crate::{process, ranks, room, sane};

/// Raw files of more bytes than this are prepared into the run's directory and read from there, instead of held in memory.
const BIG: u64 = 256 << 20;

/// What is pretrained.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Gpt,
    Bert,
}

/// `pupil pretrain`.
#[derive(clap::Args, Clone, Default)]
#[command(
    after_help = "Recipes for two cores: --recipe pretrain-2, pretrain-20, pretrain-120 (minutes). What is typed wins over a recipe, a recipe \
    over defaults; --explain shows each setting and where it comes from."
)]
pub(crate) struct Pretrain {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Blocks, 1 to 32. Width, heads, vocabulary, context, batch, rates and tokens follow, but for those that are given. With --minutes alone it is
    /// chosen for the lowest loss in that time.
    #[arg(long)]
    pub(crate) depth: Option<usize>,
    /// Ends when the validation text has as few bits per byte, or when steps or minutes are over.
    #[arg(long, value_name = "BITS", allow_negative_numbers = true)]
    pub(crate) until_loss: Option<f64>,
    /// Ends after so many evaluations in a row without a lower loss; the model is that of the best one.
    #[arg(long, value_name = "N")]
    pub(crate) early_stopping: Option<u64>,
    /// pretrain-2, pretrain-20, pretrain-120, or a TOML file whose keys are flags.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) recipe: Option<String>,
    /// Shows every setting and where it comes from, and ends.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Begins without trying whether a fresh copy learns a small batch, and whether memory and disk are enough.
    #[arg(long)]
    pub(crate) no_preflight: bool,
    /// gpt goes on with texts; bert names hidden words and judges texts (then `pupil fill-mask`, `classify`, `embed`).
    #[arg(long, value_enum, default_value_t = Kind::Gpt)]
    pub(crate) architecture: Kind,
    /// Of BERT: all pieces of a word are hidden together.
    #[arg(long)]
    pub(crate) whole_words: bool,
    /// Of BERT: sequences have one part, and whether a second follows is not learned.
    #[arg(long)]
    pub(crate) no_pairs: bool,
    /// A tokenizer.json; without it one is trained on the data.
    #[arg(long)]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Ids of the tokenizer that is trained.
    #[arg(long)]
    pub(crate) vocab: Option<usize>,
    /// Blocks, if width and heads do not follow from them.
    #[arg(long)]
    pub(crate) layers: Option<usize>,
    /// Width of the residual stream.
    #[arg(long)]
    pub(crate) width: Option<usize>,
    /// Heads.
    #[arg(long)]
    pub(crate) heads: Option<usize>,
    /// Tokens that the model sees at once.
    #[arg(long)]
    pub(crate) context: Option<usize>,
    /// Decay of matrices and the table, times the learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f32>,
    /// Refuses prepared data that changed since its ids were made, instead of saying so.
    #[arg(long)]
    pub(crate) frozen: bool,
    /// What was given, and where.
    #[arg(skip)]
    pub(crate) given: BTreeMap<String, Given>,
}

pub(crate) fn run(a: &Pretrain) -> anyhow::Result<PathBuf> {
    sane::pretrain(a)?;
    if a.architecture == Kind::Bert {
        return crate::bert::pretrain(a);
    }
    let begun = Instant::now();
    let common = &a.common;
    let there = ranks::shared(learn::planned(common.resume, &common.out)?)?;
    let context = match there.as_ref().map(|p| &p.model) {
        Some(Architecture::Gpt(c)) => c.context,
        _ => a.context.unwrap_or_else(|| dial::context(planning::likely_depth(a))),
    };
    let ready = ready(a, there.is_some(), context, begun)?;
    let vocabulary = Vocabulary::of(&ready.tokenizer);
    let fresh = there.is_none();
    let plan = match there {
        Some(p) => learn::checked(p, ready.fingerprint.clone())?,
        None => {
            let material = Material {
                train: &*ready.train,
                validation: &*ready.validation,
                id_bytes: &vocabulary.id_bytes,
                fingerprint: ready.fingerprint.clone(),
            };
            let planned = planning::plan(a, &material, context, begun)?;
            if a.explain {
                if ranks::speaks() {
                    print!("{}", planning::table(&planned.settings));
                }
                return Ok(common.out.clone());
            }
            eprintln!("{}", planning::describe(&planned, ready.train.tokens()));
            try_out(a, &planned.plan, &*ready.train)?;
            // A directory that holds a run is left as it is; the run itself will say so.
            if ranks::speaks() && !common.out.join("run.json").exists() {
                let storage = |source| pupil_checkpoint::Error::Storage { path: common.out.clone(), source };
                std::fs::create_dir_all(&common.out).map_err(storage)?;
                let recipe = planning::recipe(&planned.settings);
                pupil_checkpoint::atomic::replace_file(&common.out.join("settings.toml"), recipe.as_bytes())?;
            }
            planned.plan
        }
    };
    let plan = ranks::agreed(plan)?;
    let forecast = plan.forecast;
    if let Some(f) = forecast.filter(|_| !fresh && !a.no_preflight) {
        room::check(&f, &common.out)?;
    }
    let gpt = Network::new(plan.model.clone(), plan.seed);
    let examples = [&*ready.train, &*ready.validation];
    let (path, result) = learn::go(common, plan, gpt, vocabulary, examples, "pretraining")?;
    if let Some(f) = forecast.filter(|_| ranks::speaks()) {
        score(&f, &common.out, &result, fresh.then(|| begun.elapsed().as_secs_f64()))?;
    }
    Ok(path)
}

/// Whether memory and disk are enough, and whether a fresh copy of the model learns a small batch.
fn try_out(a: &Pretrain, plan: &Plan, train: &dyn Examples) -> anyhow::Result<()> {
    if a.no_preflight {
        return Ok(());
    }
    if let Some(forecast) = &plan.forecast {
        room::check(forecast, &a.common.out)?;
    }
    let begun = Instant::now();
    let seen = preflight::learns(plan, train)?;
    pupil_tensor::buffer::trim();
    crate::preflight::tell(&seen, begun);
    Ok(())
}

/// Says what became of a forecast, and keeps it in `outcome.json`. `seconds` are known of a run in one sitting.
fn score(
    forecast: &pupil_train::plan::Forecast,
    out: &Path,
    result: &Evaluation,
    seconds: Option<f64>,
) -> anyhow::Result<()> {
    let bits = (result.bytes > 0).then(|| result.bits_per_byte());
    let memory = process::peak_rss_mb() * 1_000_000;
    let against = |here: String, there: String| format!("{here} (forecast {there})");
    let mut parts = Vec::new();
    parts.extend(seconds.map(|s| against(clock(s), clock(forecast.seconds))));
    parts.push(format!("memory {}", against(size(memory), size(forecast.memory_bytes))));
    if let (Some(b), Some(f)) = (bits, forecast.bits_per_byte) {
        parts.push(format!("bits per byte {}", against(format!("{b:.3}"), format!("{f:.3}"))));
    }
    eprintln!("  outcome: {}", parts.join(", "));
    let json = serde_json::json!({"seconds": seconds, "memory_bytes": memory, "bits_per_byte": bits});
    Ok(pupil_checkpoint::atomic::replace_file(&out.join("outcome.json"), format!("{json:#}\n").as_bytes())?)
}

/// Everything that pretraining learns from.
struct Ready {
    tokenizer: Tokenizer,
    train: Box<dyn Examples>,
    validation: Box<dyn Examples>,
    fingerprint: String,
}

/// Ids that `pupil data prepare` wrote, if the directory holds them and no other tokenizer is asked for. They stay on the
/// disk; rows are read as they are needed.
fn prepared(
    a: &Pretrain,
    dir: &Path,
    context: usize,
    given: Option<&Tokenizer>,
) -> anyhow::Result<Option<Ready>> {
    let json = dir.join("tokenizer.json");
    let shards = |part: &str, end: u32| {
        let files = [(format!("{part}.tokens"), Some(end)), (format!("{part}-chats.tokens"), None)];
        files.into_iter().map(|(f, e)| (dir.join(f), e)).filter(|f| f.0.is_file()).collect::<Vec<_>>()
    };
    if a.common.starter || !json.is_file() || shards("train", 0).is_empty() {
        return Ok(None);
    }
    let tokenizer = given.map_or_else(|| read_tokenizer(&json), |t| Ok(t.clone()))?;
    let Some(end) = tokenizer.special(pupil_chat::END_OF_TEXT) else { return Ok(None) };
    for c in origin::changed(dir)? {
        let [was, is] = &c.hashes;
        let what = format!(
            "changed since its ids were made: BLAKE3 was {was}, is {is}; `pupil data prepare` makes them anew"
        );
        if a.frozen {
            anyhow::bail!(pupil_data::Error::Content { path: dir.join(c.name), what });
        }
        eprintln!("  {} {what}", dir.join(&c.name).display());
    }
    let mut hash = blake3::Hasher::new();
    let mut open = |part: &str| -> anyhow::Result<Option<Shards>> {
        let files = shards(part, end);
        if dir.join(format!("{part}-chats.jsonl")).is_file() && files.iter().all(|f| f.1.is_some()) {
            let what = "has conversations, but no ids of them: `pupil data prepare` makes them if it is given --vocab or --tokenizer".to_owned();
            anyhow::bail!(pupil_data::Error::Content { path: dir.to_owned(), what });
        }
        if files.is_empty() {
            return Ok(None);
        }
        let shards = Shards::open(&files, &tokenizer, context)?;
        shards.checksums().for_each(|c| {
            hash.update(c);
        });
        eprintln!(
            "  {} documents and conversations, {} tokens in {part}*.tokens of {}",
            shards.documents(),
            shards.tokens(),
            dir.display()
        );
        Ok(Some(shards))
    };
    let Some(train) = open("train")? else { return Ok(None) };
    let validation: Box<dyn Examples> = match open("validation")? {
        Some(s) => Box::new(s),
        None => Box::new(Items::default()),
    };
    hash.update(tokenizer.to_json().as_bytes());
    let fingerprint = hash.finalize().to_hex().to_string();
    Ok(Some(Ready { tokenizer, train: Box::new(train), validation, fingerprint }))
}

/// Everything that there is to learn from: a prepared directory, or files, which are prepared first if they are many.
fn ready(a: &Pretrain, resumes: bool, context: usize, begun: Instant) -> anyhow::Result<Ready> {
    let common = &a.common;
    let kept = common.out.join("tokenizer.json");
    let made = common.out.join("data");
    // Before anything is read that may take long.
    let given = a.tokenizer.as_deref().map(read_tokenizer).transpose()?;
    if let [dir] = &common.data[..]
        && let Some(ready) = prepared(a, dir, context, given.as_ref())?
    {
        return Ok(ready);
    }
    if !common.data.is_empty() && !common.starter && !a.explain && ranks::here().size() == 1 {
        let (files, _) = source::files(&common.data)?;
        let bytes = files.iter().map(|f| f.size).sum::<u64>();
        if bytes > BIG || made.join("tokenizer.json").is_file() {
            if !made.join("tokenizer.json").is_file() {
                eprintln!("  {} of raw files are prepared into {} first", size(bytes), made.display());
                let vocab = a.vocab.unwrap_or_else(|| dial::vocab(planning::likely_depth(a), bytes));
                // Under another name until it is whole.
                let making = common.out.join(".data-unfinished");
                crate::data::prepare_into(&common.data, &making, given.clone(), vocab)?;
                std::fs::rename(&making, &made)
                    .map_err(|source| pupil_checkpoint::Error::Storage { path: made.clone(), source })?;
            }
            if let Some(ready) = prepared(a, &made, context, given.as_ref())? {
                return Ok(ready);
            }
        }
    }
    let corpus = learn::corpus(common)?;
    let tokenizer = match (given, resumes && kept.exists()) {
        (Some(given), _) => given,
        (None, true) => read_tokenizer(&kept)?,
        (None, false) => {
            let bytes = corpus.texts().map(|t| t.len() as u64).sum();
            let vocab = a.vocab.unwrap_or_else(|| dial::vocab(planning::likely_depth(a), bytes));
            let t = pupil_tokenizer::train(corpus.texts(), vocab, &pupil_chat::SPECIALS);
            eprintln!("  a tokenizer of {} ids in {:.1} s", t.len(), begun.elapsed().as_secs_f64());
            t
        }
    };
    let [train, validation] = learn::items(&corpus, &tokenizer, context, false)?;
    let fingerprint = learn::fingerprint(&train, &tokenizer.to_json());
    Ok(Ready { tokenizer, train: Box::new(train), validation: Box::new(validation), fingerprint })
}
