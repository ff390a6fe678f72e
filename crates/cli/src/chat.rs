//! `pupil chat`: which model is talked with, and how: in the terminal, from a pipe, or one message. `pupil` alone: with the newest one.

use std::io::IsTerminal;

use clap::Parser;
use pupil_infer::Beam;
use pupil_model::Network;

use crate::exit::Usage;
use crate::model::{Choice, Sampling};
use crate::reply::Replier;
use crate::talk::{Look, Talk};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    sampling: Sampling,
    /// Say this, print the reply, and leave.
    #[arg(short, long)]
    prompt: Option<String>,
    /// Sets the scene before the conversation.
    #[arg(long)]
    system: Option<String>,
    /// Prints each reply as a line of JSON: its text, why it ended, tokens and times.
    #[arg(long)]
    json: bool,
    /// Colours each token by its probability and lists the likeliest ones; a table where there are no colours.
    #[arg(long)]
    show_probs: bool,
    /// Prints control characters of a reply as they are, where standard output is no terminal.
    #[arg(long)]
    raw: bool,
    /// Replies that a model with encoder and decoder follows at a time; 1 takes the best word each time.
    #[arg(long, default_value_t = 1)]
    beam: usize,
    /// Exponent of its length penalty; 0 favours short replies.
    #[arg(long, default_value_t = 1.0)]
    length_penalty: f64,
    /// How much its words lose for being likely whatever was said, 0 to 1: against "I don't know" as the answer to everything.
    #[arg(long, default_value_t = 0.0)]
    originality: f64,
    /// Shows which words of what was said each word of such a model's reply looked at.
    #[arg(long)]
    attention: bool,
}

/// What is said where nobody is there to say something.
const SAMPLE: [&str; 4] = [
    "Hello! Who are you?",
    "What is the capital of France?",
    "And what is the capital of Japan?",
    "你好，你是谁？",
];

/// The arguments of `pupil chat` where none were given.
#[derive(Parser)]
struct Nothing {
    #[command(flatten)]
    arguments: Arguments,
}

/// `pupil` without a command: a conversation, or without a terminal a greeting and a sample of one.
pub(crate) fn alone() -> anyhow::Result<()> {
    let there = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let Nothing { arguments } = Nothing::parse_from(["pupil"]);
    open(&arguments, !there)
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    open(a, false)
}

fn open(a: &Arguments, sample: bool) -> anyhow::Result<()> {
    // What is typed is checked before anything is read.
    a.sampling.sampler(None)?;
    let (dir, network) = a.model.network()?;
    if a.model.model.is_none() {
        eprintln!("Talking with {}.", dir.display());
    }
    if network.encoder_decoder().is_some() {
        return answer_lines(a, &dir, &network, sample);
    }
    let m = a.model.opened(&dir, network)?;
    let sampler = a.sampling.sampler(m.temperature)?;
    let mut talk = Talk::with(&m, a.sampling.generator(&m)?, sampler, a.sampling.max_tokens)?;
    talk.look = Look { json: a.json, raw: a.raw, probabilities: a.show_probs };
    talk.conversation.stops.clone_from(&a.sampling.stop);
    talk.conversation.set_system(a.system.clone());
    match &a.prompt {
        Some(p) => talk.once(p),
        None if sample => talk.sample(&SAMPLE),
        None if std::io::stdin().is_terminal() => talk.terminal(),
        None => talk.pipe(),
    }
}

fn answer_lines(a: &Arguments, dir: &std::path::Path, network: &Network, sample: bool) -> anyhow::Result<()> {
    let Some(model) = network.encoder_decoder() else { return Ok(()) };
    let asked = [(a.json, "--json"), (a.show_probs, "--show-probs"), (a.system.is_some(), "--system")];
    if let Some((_, flag)) = asked.iter().find(|f| f.0) {
        anyhow::bail!(Usage(format!("{flag} is for GPTs; {} answers line by line", dir.display())));
    }
    if a.beam == 0 || a.beam > 1000 {
        anyhow::bail!(Usage(format!("--beam {}: 1 to 1000", a.beam)));
    }
    if !(0.0..=1.0).contains(&a.originality) {
        anyhow::bail!(Usage(format!("--originality {}: 0 to 1", a.originality)));
    }
    let beam = Beam {
        width: a.beam,
        length_penalty: a.length_penalty,
        max_new: a.sampling.max_tokens.min(model.form().length),
        originality: a.originality,
        never: Vec::new(),
    };
    let dtype = crate::process::dtype(&a.model.dtype)?;
    let replier = Replier::open(dir, model, beam, dtype, a.attention)?;
    let prompt = a.prompt.as_deref().or(sample.then_some(SAMPLE[0]));
    replier.talk(prompt)
}
