//! `pupil pretrain` and `pupil finetune`: from text to a run, from a run to a model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pupil_checkpoint::state::Keep;
use pupil_data::{Corpus, Examples, Items, Shards, Side, Split, documents, origin, starter};
use pupil_model::{Network, Settings as Architecture, families};
use pupil_tensor::DType;
use pupil_tokenizer::Tokenizer;
use pupil_train::evaluate::Evaluation;
use pupil_train::optim::Settings;
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::{About, Care, Ending, Plan, examples, plan};

use crate::exit::{Stopped, Usage};
use crate::merge::LoraArguments;
use crate::model::{Choice, end_ids, read_tokenizer, tokenizer_files};
use crate::process;
use crate::progress::{Progress, clock};
use crate::ranks;
use crate::sane;
use crate::signals::Stop;

/// Thousandths of the documents that are held out.
pub(crate) const VALIDATION: u64 = 20;
/// Stories and chats of the starter text.
pub(crate) const STORIES: usize = 9_000;
pub(crate) const CHATS: usize = 24_000;

/// What both commands take.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Common {
    /// Files, folders or archives of text and chats (`pupil data prepare --help` lists the forms). Without it: the starter text.
    #[arg(long, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Adds the starter text to --data.
    #[arg(long)]
    pub(crate) starter: bool,
    /// Directory of the run.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Minutes that it may take, setting up included; chooses the number of steps.
    #[arg(long, conflicts_with = "steps")]
    pub(crate) minutes: Option<f64>,
    /// Updates.
    #[arg(long)]
    pub(crate) steps: Option<u64>,
    /// Tokens of an update.
    #[arg(long, default_value_t = 4096)]
    pub(crate) batch_tokens: usize,
    /// Rows that they are in, which ranks of an MPI job share; by default as few as possible. Other rows are other bits.
    #[arg(long)]
    pub(crate) rows: Option<usize>,
    /// Peak learning rate of AdamW's parameters.
    #[arg(long)]
    pub(crate) lr: Option<f32>,
    /// Peak learning rate of Muon's matrices; 0: AdamW for all.
    #[arg(long)]
    pub(crate) muon: Option<f32>,
    /// Of initial values and orders.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Goes on with the run in --out.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Steps from one checkpoint to the next.
    #[arg(long, default_value_t = 250)]
    pub(crate) save_every: u64,
    #[command(flatten)]
    pub(crate) saving: Saving,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    pub(crate) dtype: String,
}

/// What is done so that nothing is lost.
#[derive(clap::Args, Clone)]
pub(crate) struct Saving {
    /// Checkpoints that are kept: the newest so many, and always that with the lowest validation loss.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) keep_last: usize,
    /// Keeps those too whose step is a multiple of this.
    #[arg(long, value_name = "STEPS")]
    pub(crate) keep_every: Option<u64>,
    /// Seconds after which a save that failed is tried once more; 0: it is not.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) save_retry: u64,
    /// Refuses to go on where the bits may differ from what made the checkpoint (other vector instructions, other kernels).
    #[arg(long)]
    pub(crate) strict_bits: bool,
    /// What follows a batch whose loss is far from usual or not finite: it is passed over (eight in a row end the run), or the run ends.
    #[arg(long, value_enum, default_value_t = OnSpike::Skip)]
    pub(crate) on_spike: OnSpike,
}

/// What follows a batch that is not learned from.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSpike {
    Skip,
    Halt,
}

impl Default for Saving {
    fn default() -> Saving {
        let Care { keep, retry, strict_bits, .. } = Care::default();
        let (keep_last, keep_every, save_retry) = (keep.last, keep.every, retry.as_secs());
        Saving { keep_last, keep_every, save_retry, strict_bits, on_spike: OnSpike::Skip }
    }
}

impl Saving {
    fn care(&self) -> anyhow::Result<Care> {
        if self.keep_last == 0 || self.keep_every == Some(0) {
            anyhow::bail!(Usage("--keep-last and --keep-every: at least 1".into()));
        }
        let keep = Keep { last: self.keep_last, every: self.keep_every };
        let retry = Duration::from_secs(self.save_retry);
        Ok(Care { keep, retry, strict_bits: self.strict_bits, halt: self.on_spike == OnSpike::Halt })
    }
}

/// What is pretrained.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Gpt,
    Bert,
}

/// `pupil pretrain`.
#[derive(clap::Args, Clone)]
pub(crate) struct Pretrain {
    #[command(flatten)]
    pub(crate) common: Common,
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
    #[arg(long, default_value_t = 4096)]
    pub(crate) vocab: usize,
    /// Blocks.
    #[arg(long, default_value_t = 6)]
    pub(crate) layers: usize,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 256)]
    pub(crate) width: usize,
    /// Heads.
    #[arg(long, default_value_t = 4)]
    pub(crate) heads: usize,
    /// Tokens that the model sees at once.
    #[arg(long, default_value_t = 512)]
    pub(crate) context: usize,
    /// Refuses prepared data that changed since its ids were made, instead of saying so.
    #[arg(long)]
    pub(crate) frozen: bool,
}

/// `pupil finetune`: of a GPT conversations, of a BERT texts with labels or sentences with tags.
#[derive(clap::Args, Clone)]
pub(crate) struct Finetune {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) lora: LoraArguments,
    /// A model directory, one of adapters, or the directory of a run.
    #[arg(short, long)]
    pub(crate) model: PathBuf,
}

/// Text, from files, from the starter text, or both.
pub(crate) fn corpus(common: &Common) -> anyhow::Result<Corpus> {
    let mut corpus = if common.data.is_empty() { Corpus::default() } else { documents::read(&common.data)? };
    if common.data.is_empty() || common.starter {
        let curriculum = starter::Curriculum::standard().map_err(anyhow::Error::msg)?;
        corpus.documents.extend(curriculum.stories(common.seed, STORIES));
        corpus.chats.extend(curriculum.chats(common.seed, CHATS));
    }
    eprintln!(
        "  {} documents, {} conversations from {} files{}",
        corpus.documents.len(),
        corpus.chats.len(),
        corpus.files,
        if common.data.is_empty() || common.starter { " and the starter text" } else { "" }
    );
    if corpus.skipped_count > 0 {
        eprintln!("  {} records were skipped, among them:", corpus.skipped_count);
        corpus.skipped.iter().take(3).for_each(|s| eprintln!("    {s}"));
    }
    Ok(corpus)
}

/// Sequences to learn from and to validate on.
pub(crate) fn items(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    context: usize,
    finetune: bool,
) -> anyhow::Result<[Items; 2]> {
    let split = Split::new(VALIDATION, corpus.chats.iter());
    let sides: Vec<Side> = corpus.chats.iter().map(|c| split.chat(c)).collect();
    let mut both = [Items::default(), Items::default()];
    for (items, wanted) in both.iter_mut().zip([Side::Learned, Side::HeldOut]) {
        let chats = corpus.chats.iter().zip(&sides).filter(|(_, s)| **s == wanted).map(|(c, _)| c);
        examples::add_chats(items, tokenizer, chats, context, !finetune)?;
        if !finetune {
            let texts = corpus.documents.iter().map(String::as_str);
            let texts = texts.filter(|d| split.document(d) == wanted);
            examples::add_documents(items, tokenizer, texts, context)?;
        }
    }
    let neither = sides.iter().filter(|s| **s == Side::Neither).count();
    if neither > 0 {
        eprintln!(
            "  {neither} conversations are left out, since they share a line with one that is held out"
        );
    }
    let [train, validation] = &both;
    if train.is_empty() {
        anyhow::bail!(Usage(
            "there is nothing to learn from: the data has no usable document or conversation".into()
        ));
    }
    if train.truncated > 0 {
        eprintln!("  {} conversations were cut to the context of {context} tokens", train.truncated);
    }
    eprintln!("  {} tokens to learn from, {} held out", train.tokens(), validation.tokens());
    Ok(both)
}

/// Settles the number of steps and the rest of a plan.
#[expect(clippy::too_many_arguments, reason = "the parts of one plan")]
pub(crate) fn settle(
    common: &Common,
    stage: &str,
    model: &Architecture,
    optimiser: Settings,
    train: &dyn Examples,
    default_steps: u64,
    begun: std::time::Instant,
    data: String,
) -> anyhow::Result<Plan> {
    let dtype = process::dtype(&common.dtype)?;
    let context = model.context();
    let (rows, row_tokens) = ranks::rows(common.batch_tokens, context, common.rows)?;
    let steps = match (common.steps, common.minutes) {
        (Some(0), _) => anyhow::bail!(Usage("--steps 0: a run has at least one step".into())),
        (Some(s), _) => s,
        (None, Some(minutes)) => {
            let each =
                plan::seconds_per_row(model, optimiser, row_tokens, dtype) * ranks::rows_here(rows) as f64;
            let left = minutes * 60.0 * 0.95 - begun.elapsed().as_secs_f64();
            anyhow::ensure!(
                left > 10.0 * each,
                Usage(format!("--minutes {minutes}: time for fewer than ten steps"))
            );
            (left / each) as u64
        }
        (None, None) => default_steps,
    };
    let plan = Plan {
        stage: stage.to_owned(),
        model: model.clone(),
        optimiser,
        schedule: Schedule::Trapezoid { warmup: (steps / 20).min(50), decay: steps / 2, floor: 0.02 },
        steps,
        rows,
        row_tokens,
        seed: common.seed,
        dtype: dtype.name().to_owned(),
        evaluate_every: (steps / 4).max(1),
        save_every: common.save_every.max(1),
        keep_best: false,
        lora: None,
        data,
        limits: pupil_train::plan::Limits::default(),
        forecast: None,
    };
    let epochs = (steps * (rows * row_tokens) as u64) as f64 / train.tokens() as f64;
    eprintln!(
        "  {} parameters, {steps} steps of {} tokens ({epochs:.1} times the data), about {} MB of memory ({} MB of them activations), {} on {} threads",
        model.parameter_count(),
        rows * row_tokens,
        plan.memory_bytes() / 1_000_000,
        model.activation_bytes(row_tokens, dtype.size()) / 1_000_000,
        dtype.name(),
        pupil_tensor::kernels::pool::threads()
    );
    Ok(plan)
}

/// The plan of the run that is in the directory, for `--resume`.
pub(crate) fn planned(resume: bool, out: &Path) -> anyhow::Result<Option<Plan>> {
    pupil_train::check_place(out, resume)?;
    Ok(if resume { pupil_train::planned(out)? } else { None })
}

fn optimiser(common: &Common, rate: f32, muon: f32, weight_decay: f32) -> Settings {
    let muon = common.muon.unwrap_or(muon);
    Settings {
        learning_rate: common.lr.unwrap_or(rate),
        muon: (muon > 0.0).then_some(muon),
        beta2: 0.95,
        weight_decay,
        ..Settings::default()
    }
}

/// Everything that pretraining learns from.
struct Ready {
    tokenizer: Tokenizer,
    train: Box<dyn Examples>,
    validation: Box<dyn Examples>,
    fingerprint: String,
}

/// Ids that `pupil data prepare` wrote, if --data is one directory that holds them and no other tokenizer is asked for. They stay on the
/// disk; rows are read as they are needed.
fn prepared(a: &Pretrain, context: usize) -> anyhow::Result<Option<Ready>> {
    let [dir] = &a.common.data[..] else { return Ok(None) };
    let json = dir.join("tokenizer.json");
    let shards = |part: &str, end: u32| {
        let files = [(format!("{part}.tokens"), Some(end)), (format!("{part}-chats.tokens"), None)];
        files.into_iter().map(|(f, e)| (dir.join(f), e)).filter(|f| f.0.is_file()).collect::<Vec<_>>()
    };
    if a.common.starter || !json.is_file() || shards("train", 0).is_empty() {
        return Ok(None);
    }
    let tokenizer = read_tokenizer(a.tokenizer.as_ref().unwrap_or(&json))?;
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
            let what = "has conversations, but no ids of them: run `pupil data prepare` again".to_owned();
            anyhow::bail!(pupil_data::Error::Content { path: dir.clone(), what });
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

pub(crate) fn pretrain(a: &Pretrain) -> anyhow::Result<PathBuf> {
    sane::pretrain(a)?;
    if a.architecture == Kind::Bert {
        return crate::bert::pretrain(a);
    }
    let begun = std::time::Instant::now();
    let common = &a.common;
    let there = ranks::shared(planned(common.resume, &common.out)?)?;
    let context = match there.as_ref().map(|p| &p.model) {
        Some(Architecture::Gpt(c)) => c.context,
        _ => a.context,
    };
    let kept = common.out.join("tokenizer.json");
    let Ready { tokenizer, train, validation, fingerprint: data } = match prepared(a, context)? {
        Some(ready) => ready,
        None => {
            let corpus = corpus(common)?;
            let tokenizer = match (&a.tokenizer, there.is_some() && kept.exists()) {
                (Some(path), _) => read_tokenizer(path)?,
                (None, true) => read_tokenizer(&kept)?,
                (None, false) => {
                    let t = pupil_tokenizer::train(corpus.texts(), a.vocab, &pupil_chat::SPECIALS);
                    eprintln!("  a tokenizer of {} ids in {:.1} s", t.len(), begun.elapsed().as_secs_f64());
                    t
                }
            };
            let [train, validation] = items(&corpus, &tokenizer, context, false)?;
            let fingerprint = fingerprint(&train, &tokenizer.to_json());
            Ready { tokenizer, train: Box::new(train), validation: Box::new(validation), fingerprint }
        }
    };
    let plan = match there {
        Some(p) => checked(p, data)?,
        None => {
            let heads = a.heads.max(1);
            if !a.width.is_multiple_of(heads) {
                anyhow::bail!(Usage(format!("--width {} is not a multiple of --heads {heads}", a.width)));
            }
            let hidden = (a.width * 8 / 3).next_multiple_of(32);
            let config =
                families::llama(tokenizer.len(), a.context, a.layers, a.width, [heads, heads], hidden);
            config.check().map_err(Usage)?;
            let settings = optimiser(common, 4e-3, 8e-3, 0.02);
            settle(common, "pretrain", &Architecture::Gpt(config), settings, &*train, 1000, begun, data)?
        }
    };
    let plan = ranks::agreed(plan)?;
    let gpt = Network::new(plan.model.clone(), plan.seed);
    go(common, plan, gpt, Vocabulary::of(&tokenizer), [&*train, &*validation], "pretraining")
}

pub(crate) fn finetune(a: &Finetune) -> anyhow::Result<PathBuf> {
    let begun = std::time::Instant::now();
    let common = &a.common;
    sane::common(common)?;
    pupil_train::check_place(&common.out, common.resume)?;
    let choice = Choice::of(&a.model, &common.dtype);
    let (dir, network) = choice.network()?;
    if let Network::Bert(bert) = &network {
        if a.lora.lora {
            anyhow::bail!(Usage("--lora: a BERT is fine-tuned as a whole".into()));
        }
        return crate::bert::finetune(a, &dir, bert);
    }
    let mut opened = choice.opened(&dir, network)?;
    let there = ranks::shared(planned(common.resume, &common.out)?)?;
    let lora = a.lora.prepare(&mut opened.gpt, &dir, there.as_ref().map(|p| &p.lora), common.seed)?;
    let corpus = corpus(common)?;
    let [train, validation] = items(&corpus, &opened.tokenizer, opened.gpt.config.context, true)?;
    drop(corpus);
    let data = fingerprint(&train, &opened.tokenizer.to_json());
    let plan = match there {
        Some(p) => checked(p, data)?,
        None => {
            let settings = if lora.is_some() {
                optimiser(common, 4e-3, 0.0, 0.0)
            } else {
                optimiser(common, 1e-3, 2e-3, 0.0)
            };
            let model = Architecture::Gpt(opened.gpt.config.clone());
            let plan = settle(common, "finetune", &model, settings, &train, 400, begun, data)?;
            Plan { lora, ..plan }
        }
    };
    go(
        common,
        plan,
        opened.gpt.into(),
        Vocabulary::of(&opened.tokenizer),
        [&train, &validation],
        "fine-tuning",
    )
}

/// BLAKE3 of what is learned from and how it is cut into tokens.
pub(crate) fn fingerprint(items: &Items, tokenizer: &str) -> String {
    let mut hash = blake3::Hasher::new();
    items.each_id(|id| {
        hash.update(&id.to_le_bytes());
    });
    hash.update(tokenizer.as_bytes());
    hash.finalize().to_hex().to_string()
}

pub(crate) fn checked(plan: Plan, data: String) -> anyhow::Result<Plan> {
    if plan.data != data {
        anyhow::bail!(Usage("--resume: the data or the tokenizer is not what the run began with".into()));
    }
    Ok(plan)
}

/// What a run needs of a vocabulary.
pub(crate) struct Vocabulary {
    /// Bytes of text that each id stands for.
    pub(crate) id_bytes: Vec<u32>,
    /// Ids that end a text or a turn.
    pub(crate) end: Vec<u32>,
    /// Files that go into the model's directory, the vocabulary itself first.
    pub(crate) extra: Vec<(String, Vec<u8>)>,
}

impl Vocabulary {
    fn of(tokenizer: &Tokenizer) -> Vocabulary {
        let id_bytes = examples::id_bytes(tokenizer);
        Vocabulary { id_bytes, end: end_ids(tokenizer), extra: tokenizer_files(tokenizer) }
    }
}

pub(crate) fn go(
    common: &Common,
    plan: Plan,
    gpt: Network,
    vocabulary: Vocabulary,
    [train, validation]: [&dyn Examples; 2],
    name: &'static str,
) -> anyhow::Result<PathBuf> {
    let care = common.saving.care()?;
    let stop = Stop::watch()?;
    let plan = ranks::agreed(plan)?;
    let here = ranks::here();
    let stopped = |step: u64| Stopped {
        // Another rank may be the one that had the signal.
        code: stop.code().unwrap_or(if here.size() > 1 { 143 } else { 1 }),
        how_to_go_on: format!("{step} steps are done; the same command with --resume goes on"),
    };
    let mut progress = Progress::new(name);
    let out: &Path = &common.out;
    let Vocabulary { id_bytes, end, extra } = vocabulary;
    let run = Run {
        dir: out.to_owned(),
        id_bytes: &id_bytes,
        end,
        train,
        validation,
        extra,
        plan,
        care,
        about: about(common),
    };
    if here.rank() > 0 {
        let ending = run.start_across(here, gpt, common.resume, &mut |_| stop.code().is_none())?;
        return match ending {
            Ending::Done(..) => Ok(out.join("model")),
            Ending::Stopped { step } => Err(stopped(step).into()),
        };
    }
    let begun = std::time::Instant::now();
    let ending = run.start_across(here, gpt, common.resume, &mut |event| {
        progress.event(&event);
        stop.code().is_none()
    })?;
    match ending {
        Ending::Done(_, result) => {
            let took = clock(begun.elapsed().as_secs_f64());
            if result.bytes > 0 {
                eprintln!(
                    "  {name} took {took}; {:.3} bits per byte on held-out text",
                    result.bits_per_byte()
                );
            } else {
                eprintln!("  {name} took {took}; {}", judged(&result));
            }
            match stop.code() {
                None => Ok(out.join("model")),
                // Too late to stop anything; whoever waits for the signal's code gets it.
                Some(code) => Err(Stopped { code, how_to_go_on: "all steps are done".to_owned() }.into()),
            }
        }
        Ending::Stopped { step } => Err(stopped(step).into()),
    }
}

/// What a model card says beside the plan.
fn about(common: &Common) -> About {
    let mut data: Vec<String> = common.data.iter().map(|p| format!("`{}`", p.display())).collect();
    if data.is_empty() || common.starter {
        data.push(
            "the starter text that pupil makes (stories and small talk of a few hundred words)".to_owned(),
        );
    }
    About { command: process::command(), data, base: None }
}

/// An evaluation that is not of a text's bytes.
pub(crate) fn judged(result: &Evaluation) -> String {
    let loss = &result.loss;
    if loss.weight == 0.0 {
        return "nothing was held out".to_owned();
    }
    format!("of what was held out loss {:.3}, {:.1} % right", loss.mean(), 100.0 * loss.accuracy())
}

/// Whether the machine multiplies bf16, for messages.
pub(crate) fn describe_dtype(dtype: DType) -> &'static str {
    if dtype == DType::Bf16 { "bf16 products" } else { "f32 products" }
}
