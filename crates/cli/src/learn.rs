//! What the commands that learn have in common, and `pupil finetune`: from text to a run, from a run to a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pupil_checkpoint::state::Keep;
use pupil_data::{Corpus, Examples, Items, Side, Split, documents, starter};
use pupil_model::{Network, Settings as Architecture};
use pupil_tensor::DType;
use pupil_tokenizer::Tokenizer;
use pupil_train::evaluate::Evaluation;
use pupil_train::optim::Settings;
use pupil_train::plan::Limits;
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::{About, Care, Ending, Plan, examples, plan};

use crate::exit::{Stopped, Usage};
use crate::merge::LoraArguments;
use crate::model::{Choice, end_ids, tokenizer_files};
use crate::planning;
use crate::preflight::Checks;
use crate::process;
use crate::progress::clock;
use crate::ranks;
use crate::sane;
use crate::signals::Stop;
use crate::watch::{Showing, Watch};

/// Tokens of an update where nobody says otherwise.
pub(crate) const BATCH: usize = 4096;
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
    /// Minutes that it may take, setting up included; chooses the number of steps (of pretrain without --depth also the depth).
    #[arg(long, conflicts_with = "steps", allow_negative_numbers = true)]
    pub(crate) minutes: Option<f64>,
    /// Updates.
    #[arg(long)]
    pub(crate) steps: Option<u64>,
    /// Tokens of an update; by default 4096, of pretrain what --depth or --minutes says.
    #[arg(long)]
    pub(crate) batch_tokens: Option<usize>,
    /// Rows that they are in, which ranks of an MPI job share; by default as few as possible. Other rows are other bits.
    #[arg(long)]
    pub(crate) rows: Option<usize>,
    /// Peak learning rate of AdamW's parameters.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) lr: Option<f32>,
    /// Peak learning rate of Muon's matrices; 0: AdamW for all.
    #[arg(long, allow_negative_numbers = true)]
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
    #[command(flatten)]
    pub(crate) showing: Showing,
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
    pub(crate) fn care(&self) -> anyhow::Result<Care> {
        if self.keep_last == 0 || self.keep_every == Some(0) {
            anyhow::bail!(Usage("--keep-last and --keep-every: at least 1".into()));
        }
        let keep = Keep { last: self.keep_last, every: self.keep_every };
        let retry = Duration::from_secs(self.save_retry);
        Ok(Care { keep, retry, strict_bits: self.strict_bits, halt: self.on_spike == OnSpike::Halt })
    }
}

/// `pupil finetune`: of a GPT conversations, of a BERT texts with labels or sentences with tags.
#[derive(clap::Args, Clone)]
pub(crate) struct Finetune {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) lora: LoraArguments,
    #[command(flatten)]
    pub(crate) checks: Checks,
    /// Text that is gone on with beside the conversations, so that what was learned of it stays: a file or folder and its share of all tokens,
    /// `TEXT=0.1`; `starter=0.1` takes the starter text.
    #[arg(long)]
    pub(crate) mix: Vec<Mix>,
    /// Begins without trying whether the model learns a small batch.
    #[arg(long)]
    pub(crate) no_preflight: bool,
    /// A model directory, one of adapters, or the directory of a run.
    #[arg(short, long)]
    pub(crate) model: PathBuf,
}

/// A text and its share of what is learned from.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    path: PathBuf,
    share: f64,
}

impl std::str::FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let (path, share) = text.rsplit_once('=').ok_or("expected TEXT=SHARE, as in book.txt=0.1")?;
        let share: f64 = share.parse().map_err(|_| format!("`{share}` is no share"))?;
        if !(share > 0.0 && share < 0.9) {
            return Err(format!("a share of {share}: expected more than 0 and less than 0.9"));
        }
        Ok(Mix { path: path.into(), share })
    }
}

/// Mixes texts into conversations.
fn mix(a: &Finetune, train: &mut Items, tokenizer: &Tokenizer, context: usize) -> anyhow::Result<()> {
    let together: f64 = a.mix.iter().map(|m| m.share).sum();
    if together >= 0.9 {
        anyhow::bail!(Usage(format!("--mix: shares of {together:.2} together leave too little of --data")));
    }
    let whole = train.tokens() as f64 / (1.0 - together);
    for Mix { path, share } in &a.mix {
        let documents: Vec<String> = if path.as_os_str() == "starter" {
            let curriculum = starter::Curriculum::standard().map_err(anyhow::Error::msg)?;
            curriculum.stories(a.common.seed, STORIES).collect()
        } else {
            documents::read(std::slice::from_ref(path))?.documents
        };
        let mut text = Items::default();
        examples::add_documents(&mut text, tokenizer, documents.iter().map(String::as_str), context)?;
        if text.is_empty() {
            anyhow::bail!(Usage(format!("--mix {}: there is no text in it", path.display())));
        }
        let tokens = (whole * share) as usize;
        train.mix(&text, tokens, a.common.seed);
        let times = tokens as f64 / text.tokens() as f64;
        eprintln!("  {tokens} tokens of {} are mixed in, {times:.1} times what is there", path.display());
    }
    Ok(())
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

/// Leaves out what of the starter text's conversations, which are the last, does not fit into a context: those that a person gave are named
/// instead, but nobody could mend these.
fn keep_whole(corpus: &mut Corpus, tokenizer: &Tokenizer, context: usize) -> anyhow::Result<()> {
    let renderer = pupil_chat::Renderer::new(tokenizer)?;
    let given = corpus.chats.len().saturating_sub(CHATS);
    let own = corpus.chats.split_off(given);
    let before = own.len();
    let fits = |c: &pupil_data::Chat| {
        renderer.render_tools(&c.tools, &examples::messages(c), false).ids.len() <= context
    };
    corpus.chats.extend(own.into_iter().filter(fits));
    let left_out = given + before - corpus.chats.len();
    if left_out > 0 {
        eprintln!(
            "  {left_out} conversations of the starter text are longer than the context of {context} tokens and left out"
        );
    }
    Ok(())
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
    sane::common(common)?;
    let dtype = process::dtype(&common.dtype)?;
    let (rows, row_tokens) = ranks::rows(common.batch_tokens.unwrap_or(BATCH), model.context(), common.rows)?;
    let steps = match (common.steps, common.minutes) {
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
    let read = steps * (rows * row_tokens) as u64;
    let limits = match common.minutes.filter(|_| common.steps.is_none()) {
        // The steps are settled anew as the run goes, since conversations, of which a part is learned, are faster than what was measured; and a sample
        // says how good the model is.
        Some(minutes) => Limits {
            seconds: Some((minutes * 60.0 - begun.elapsed().as_secs_f64() - 0.5).max(1.0)),
            evaluate_tokens: Some(planning::EVALUATED.max(read / 100)),
            ..Limits::default()
        },
        None => Limits::default(),
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
        evaluate_every: steps.div_ceil(4).max(1),
        save_every: common.save_every.max(1),
        keep_best: false,
        lora: None,
        data,
        limits,
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

pub(crate) fn optimiser(common: &Common, rate: f32, muon: f32, weight_decay: f32) -> Settings {
    let muon = common.muon.unwrap_or(muon);
    Settings {
        learning_rate: common.lr.unwrap_or(rate),
        muon: (muon > 0.0).then_some(muon),
        beta2: 0.95,
        weight_decay,
        ..Settings::default()
    }
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
    let mut corpus = corpus(common)?;
    let context = opened.gpt.config.context;
    if common.data.is_empty() || common.starter {
        keep_whole(&mut corpus, &opened.tokenizer, context)?;
    }
    a.checks.run(&opened.tokenizer, &dir, &corpus.chats, context)?;
    let [mut train, validation] = items(&corpus, &opened.tokenizer, context, true)?;
    mix(a, &mut train, &opened.tokenizer, context)?;
    drop(corpus);
    let data = fingerprint(&train, &opened.tokenizer.to_json());
    let is_new = there.is_none();
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
    let mut model: Network = opened.gpt.into();
    if is_new && !a.no_preflight {
        crate::preflight::try_out(&plan, &train, &mut model)?;
    }
    let vocabulary = Vocabulary::of(&opened.tokenizer);
    Ok(go(common, plan, model, vocabulary, [&train, &validation], "fine-tuning")?.0)
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
    pub(crate) fn of(tokenizer: &Tokenizer) -> Vocabulary {
        let id_bytes = examples::id_bytes(tokenizer);
        Vocabulary { id_bytes, end: end_ids(tokenizer), extra: tokenizer_files(tokenizer) }
    }
}

/// Runs to the end: the finished model and what it reaches on what was held out (of ranks that follow: nothing).
pub(crate) fn go(
    common: &Common,
    plan: Plan,
    gpt: Network,
    vocabulary: Vocabulary,
    parts: [&dyn Examples; 2],
    name: &'static str,
) -> anyhow::Result<(PathBuf, Evaluation)> {
    let stop = Arc::new(Stop::watch()?);
    let here = ranks::here();
    let stopped = |step: u64| Stopped {
        // Another rank may be the one that had the signal.
        code: stop.code().unwrap_or(if here.size() > 1 { 143 } else { 1 }),
        how_to_go_on: format!("{step} steps are done; the same command with --resume goes on"),
    };
    let out: &Path = &common.out;
    let Vocabulary { id_bytes, end, extra } = vocabulary;
    let run = Run {
        dir: out.to_owned(),
        id_bytes: &id_bytes,
        end,
        train: parts[0],
        validation: parts[1],
        extra,
        plan: ranks::agreed(plan)?,
        care: common.saving.care()?,
        about: about(common),
    };
    if here.rank() > 0 {
        let ending = run.start_across(here, gpt, common.resume, &mut |_| stop.code().is_none())?;
        return match ending {
            Ending::Done(_, result) => Ok((out.join("model"), result)),
            Ending::Stopped { step } => Err(stopped(step).into()),
        };
    }
    let begun = std::time::Instant::now();
    let mut watch = Watch::new(&common.showing, out, &run.plan, name, &run.extra, parts, Arc::clone(&stop))?;
    let ending = run.start_across(here, gpt, common.resume, &mut |event| watch.event(&event));
    watch.end();
    match ending? {
        Ending::Done(_, result) => {
            let took = clock(begun.elapsed().as_secs_f64());
            let said = match result.bytes {
                0 => judged(&result),
                _ => format!("{:.3} bits per byte on held-out text", result.bits_per_byte()),
            };
            eprintln!("  {name} took {took}; {said}");
            match stop.code() {
                None => Ok((out.join("model"), result)),
                // Too late to stop anything; whoever waits for the signal's code gets it.
                Some(code) => Err(Stopped { code, how_to_go_on: "all steps are done".to_owned() }.into()),
            }
        }
        Ending::Stopped { step } => Err(stopped(step).into()),
    }
}

/// What a model card says beside the plan.
pub(crate) fn about(common: &Common) -> About {
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
        return "nothing was held out to score it on (`pupil data prepare --validation 100` holds out a tenth)".to_owned();
    }
    format!("of what was held out loss {:.3}, {:.1} % right", loss.mean(), 100.0 * loss.accuracy())
}

/// Whether the machine multiplies bf16, for messages.
pub(crate) fn describe_dtype(dtype: DType) -> &'static str {
    if dtype == DType::Bf16 { "bf16 products" } else { "f32 products" }
}
