//! pupil: raises a small ChatGPT on the machine in front of you.
//!
//! This room turns arguments into one call each; everything that is printed is printed here.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one room that prints")]

// First, because its `eprintln!` is that of all others.
#[macro_use]
mod ranks;

mod bench;
mod bert;
mod chat;
mod classic;
mod commands;
mod data;
mod display;
mod exit;
mod generate;
mod learn;
mod lineage;
mod merge;
mod model;
mod newest;
mod plan;
mod process;
mod progress;
mod quantize;
mod recipe;
mod reply;
mod signals;
mod speedrun;
mod talk;
mod tokenizer;

use std::process::ExitCode;

use clap::Parser;
use pupil_tensor::kernels::{allocations, level, pool};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

#[derive(Parser)]
#[command(
    name = "pupil",
    version,
    about,
    long_about = "Raises a small ChatGPT on the machine in front of you: text and chats \
    → tokenizer → pretrained GPT → fine-tuning → a conversation. `pupil` alone talks with the newest model; `pupil speedrun` makes one \
    from nothing in about five minutes."
)]
struct Cli {
    /// Threads; by default as many as the processors and the control group's quota give.
    #[arg(short, long, global = true, env = "PUPIL_THREADS")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The whole road in about five minutes: data, tokenizer, pretraining, fine-tuning, a conversation.
    Speedrun(speedrun::Arguments),
    /// From whatever lies on disk to clean documents and conversations.
    #[command(subcommand)]
    Data(data::Data),
    /// Trains a tokenizer and shows what it does.
    #[command(subcommand)]
    Tokenizer(tokenizer::Command),
    /// What a known model costs: parameters, memory, arithmetic, time here and elsewhere.
    Plan(plan::Arguments),
    /// Trains a model from text.
    Pretrain(learn::Pretrain),
    /// Teaches a model to hold a conversation, or a BERT to judge texts.
    Finetune(learn::Finetune),
    /// Adds adapters (`pupil finetune --lora`) to the model that they change.
    Merge(merge::Arguments),
    /// A chatbot by a recipe: the article's seq2seq LSTM as printed, and done right.
    Recipe(recipe::Arguments),
    /// The history walked: nine generations of language models on the same words, and a page about it.
    Lineage(lineage::Arguments),
    /// Goes on with a text.
    Generate(generate::Arguments),
    /// Talks with a model.
    Chat(chat::Arguments),
    /// Writes a model with weights of 8 or 4 bits, and says what that costs.
    Quantize(quantize::Arguments),
    /// Names hidden words: `pupil fill-mask -m BERT "The capital of [MASK] is Paris."`
    FillMask(bert::FillMask),
    /// Says which label a text has, or which tag each of its words.
    Classify(bert::Classify),
    /// Makes a vector of each text.
    Embed(bert::Embed),
    /// Measures how fast this machine trains.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Raw numbers, for checks against other programs.
    #[command(subcommand, hide = true)]
    Debug(generate::Debug),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let several = match &cli.command {
        Some(Command::Pretrain(_) | Command::Finetune(_)) => true,
        Some(Command::Bench(b)) => b.is_between_ranks(),
        _ => false,
    };
    let member = match if several { ranks::join(cli.threads) } else { Ok(ranks::Member::default()) } {
        Ok(member) => member,
        Err(e) => return failed(&e),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        // All ranks stopped together, and saved.
        Err(e) if e.is::<exit::Stopped>() && !ranks::speaks() => ExitCode::from(exit::code(&e)),
        Err(e) => {
            let code = failed(&e);
            if !e.is::<exit::Stopped>() {
                member.failed(exit::code(&e));
            }
            code
        }
    }
}

fn failed(e: &anyhow::Error) -> ExitCode {
    std::eprintln!("{}{e:#}", ranks::prefix());
    ExitCode::from(exit::code(e))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    level::check_environment().map_err(exit::Usage)?;
    match cli.threads {
        Some(0) => anyhow::bail!(exit::Usage("--threads 0: at least one".into())),
        Some(n) => {
            pool::set_threads(n);
        }
        None => {}
    }
    let Some(command) = cli.command else { return chat::alone() };
    match command {
        Command::Speedrun(a) => speedrun::run(&a),
        Command::Data(d) => data::run(&d),
        Command::Tokenizer(t) => tokenizer::run(&t),
        Command::Plan(a) => plan::run(&a),
        Command::Pretrain(a) => learn::pretrain(&a).map(drop),
        Command::Finetune(a) => learn::finetune(&a).map(drop),
        Command::Merge(a) => merge::run(&a),
        Command::Recipe(a) => recipe::run(&a),
        Command::Lineage(a) => lineage::run(&a),
        Command::Generate(a) => generate::run(&a),
        Command::Chat(a) => chat::run(&a),
        Command::Quantize(a) => quantize::run(&a),
        Command::FillMask(a) => bert::fill_mask(&a),
        Command::Classify(a) => bert::classify(&a),
        Command::Embed(a) => bert::embed(&a),
        Command::Bench(b) => bench::run(b),
        Command::Debug(d) => generate::debug(&d),
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|c| {
        c.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
