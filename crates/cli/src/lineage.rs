//! `pupil lineage`: every generation of language models on the same words in the same time, and a page about it.

use std::path::PathBuf;

use pupil_data::{Chat, Items, Side, Split};
use pupil_lineage::road::{road, width};
use pupil_lineage::{Language, Walk, page, replies, walk};
use pupil_tensor::kernels::{peak, pool};
use pupil_train::Event;

use crate::exit::{Stopped, Usage};
use crate::learn::{self, Common};
use crate::process;
use crate::progress::Progress;
use crate::signals::Stop;

/// `pupil lineage`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files, folders or archives of text and chats. Without it: the starter text.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Directory of the walk; one that was interrupted is taken up again.
    #[arg(long, default_value = "lineage")]
    out: PathBuf,
    /// Minutes that all may take together.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Ids of the tokenizer that is trained on the data.
    #[arg(long, default_value_t = 2048)]
    vocab: usize,
    /// What each is asked at the end; may be given more than once.
    #[arg(long)]
    prompt: Vec<String>,
    /// The learners before deep learning instead, on labelled texts (CSV, JSON lines, a folder for each label) and tagged sentences (CoNLL,
    /// CoNLL-U, word/TAG): naive Bayes to boosting, HMM and CRF, beside two small networks. Without a path, or for the task that the paths do not
    /// hold: labelled starter text.
    #[arg(long, num_args = 0.., value_name = "PATH", conflicts_with_all = ["data", "prompt"])]
    classic: Option<Vec<PathBuf>>,
    /// With --classic: only the learners that take seconds, no networks.
    #[arg(long, requires = "classic")]
    no_networks: bool,
    /// With --classic: writes the features and the splits there, for other programs.
    #[arg(long, requires = "classic", value_name = "DIR")]
    features: Option<PathBuf>,
    /// Of initial values and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The numbers as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Most tokens of a sequence.
const CONTEXT: usize = 128;
/// Share of the processor's peak that networks of a few hundred thousand parameters get.
const UTILISATION: f64 = 0.35;
/// Conversations that replies are measured on.
const CHATS: usize = 1500;
/// Tokens that are measured on: enough for a third digit.
const MEASURED: usize = 30_000;

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    if let Some(paths) = &a.classic {
        let features = a.features.as_deref();
        return crate::classic::run(paths, &a.out, features, a.seed, !a.no_networks, a.json);
    }
    if a.minutes.is_nan() || a.minutes <= 0.0 {
        anyhow::bail!(Usage(format!("--minutes {}: more than none", a.minutes)));
    }
    let common = Common { data: a.data.clone(), out: a.out.clone(), seed: a.seed, ..Common::default() };
    let corpus = learn::corpus(&common)?;
    let storage = |source| pupil_checkpoint::Error::Storage { path: a.out.clone(), source };
    std::fs::create_dir_all(&a.out).map_err(storage)?;
    let tokenizer = pupil_tokenizer::train(corpus.texts(), a.vocab, &pupil_chat::SPECIALS);
    let [train, held_out] = learn::items(&corpus, &tokenizer, CONTEXT, false)?;
    let split = Split::new(learn::VALIDATION, corpus.chats.iter());
    let on = |side| corpus.chats.iter().filter(|c| split.chat(c) == side).collect::<Vec<_>>();
    let mut pairs = [Items::default(), Items::default()];
    replies::add_pairs(&mut pairs[0], &tokenizer, on(Side::Learned).into_iter());
    let asked = on(Side::HeldOut);
    let asked: Vec<Chat> = asked.iter().step_by(1 + asked.len() / CHATS).map(|c| (*c).clone()).collect();
    replies::add_pairs(&mut pairs[1], &tokenizer, asked.iter());
    drop(corpus);
    if held_out.is_empty() {
        anyhow::bail!(Usage("there is too little data: nothing is held out to measure on".into()));
    }
    let validation = held_out.every(held_out.tokens() / MEASURED);
    let dtype = process::dtype("auto")?;
    let speed = peak::measure(dtype, pool::threads()) * 1e9 * UTILISATION;
    let none = pairs.iter().any(Items::is_empty);
    let repliers = |width| if none { Vec::new() } else { replies::generations(&tokenizer, width) };
    // Who takes part does not depend on the width.
    let seconds = walk::share(&road(tokenizer.len(), CONTEXT, 64), repliers(64).len(), a.minutes * 60.0);
    // A walk that is taken up again goes on with the width that it began with.
    let width = walk::kept(&a.out, "width", || Ok(width(seconds * speed)))?;
    let (road, repliers) = (road(tokenizer.len(), CONTEXT, width), repliers(width));
    let mut prompts = a.prompt.clone();
    if prompts.is_empty() {
        prompts = ["How are you?", "Where are you going?", "What do you think?"].map(String::from).to_vec();
    }
    let walk = Walk {
        dir: &a.out,
        tokenizer: &tokenizer,
        train: &train,
        validation: &validation,
        context: CONTEXT,
        seconds,
        dtype,
        seed: a.seed,
        prompts,
    };
    let stop = Stop::watch()?;
    let (mut now, mut progress) = (String::new(), Progress::new("learning"));
    let mut observe = |name: &str, event: &Event<'_>| {
        if now != name {
            eprintln!("{name}");
            (now, progress) = (name.to_owned(), Progress::new("learning"));
        }
        if !matches!(event, Event::Saved(_)) {
            progress.event(event);
        }
        stop.code().is_none()
    };
    let outcome = walk.run(&road, &mut observe).and_then(|mut outcome| {
        let walk = Walk { train: &pairs[0], validation: &pairs[1], prompts: walk.prompts.clone(), ..walk };
        outcome.replies = replies::run(&walk, &repliers, &road, asked.iter(), &mut observe)?;
        Ok(outcome)
    });
    let outcome = match outcome {
        Err(walk::Error::Stopped) => anyhow::bail!(Stopped {
            code: stop.code().unwrap_or(1),
            how_to_go_on: "the same command goes on".into(),
        }),
        other => other?,
    };
    let json = format!("{}\n", serde_json::to_string_pretty(&outcome)?);
    let [english, chinese, numbers] = walk::files(&a.out);
    for (path, text) in [
        (&english, page::html(&outcome, &road, Language::English)),
        (&chinese, page::html(&outcome, &road, Language::Chinese)),
        (&numbers, json.clone()),
    ] {
        pupil_checkpoint::atomic::replace_file(path, text.as_bytes())?;
    }
    if a.json {
        print!("{json}");
        return Ok(());
    }
    for s in &outcome.stations {
        let seconds = format!("{:.1} s", s.seconds);
        eprintln!("  {}  {:<12}{:>8.3} bits per byte {seconds:>9}", s.year, s.name, s.bits_per_byte);
    }
    for r in &outcome.replies {
        eprintln!("  {}  {:<12}{:>8.3} bits per byte of replies", r.year, r.name, r.bits_per_byte);
    }
    println!("{}\n{}", english.display(), chinese.display());
    Ok(())
}
