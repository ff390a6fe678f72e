//! pupil: raises a small ChatGPT on the machine in front of you.
//!
//! This room turns arguments into one call each; everything that is printed is printed here.
#![forbid(unsafe_code)]

// Before all others: its macros are those by which they print.
#[macro_use]
mod print;

mod align;
mod arguments;
mod bench;
mod bert;
mod chat;
mod classic;
mod commands;
mod dashboard;
mod data;
mod display;
mod eval;
mod exit;
mod generate;
mod input;
mod learn;
mod lineage;
mod merge;
mod model;
mod newest;
mod plan;
mod planning;
mod preflight;
mod pretrain;
mod process;
mod progress;
mod quantize;
mod ranks;
mod recipe;
mod reply;
mod room;
mod rule;
mod runs;
mod sane;
mod signals;
mod speedrun;
mod starter;
mod talk;
mod tokenizer;
mod voice;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use pupil_tensor::kernels::{allocations, level, pool};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// More threads than any machine that this is made for has processors.
const MOST_THREADS: usize = 1024;

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
    /// Threads; by default, and with 0, as many as the processors and the control group's quota give.
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
    Pretrain(Box<pretrain::Pretrain>),
    /// Teaches a model to hold a conversation, or a BERT to judge texts.
    Finetune(learn::Finetune),
    /// Learns from feedback: from pairs of replies of which one is better (DPO), or from rewards by a rule (GRPO).
    Align(align::Arguments),
    /// Adds adapters (`pupil finetune --lora`) to the model that they change.
    Merge(merge::Arguments),
    /// A chatbot by a recipe: the article's seq2seq LSTM as printed, and done right.
    Recipe(recipe::Arguments),
    /// The history walked: nine generations of language models on the same words, and a page about it.
    Lineage(lineage::Arguments),
    /// Says how good a model is: held-out skills, bits per byte, multiple choice; with error bars.
    Eval(eval::Arguments),
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
    /// Lists runs and how they stand; `pupil runs compare A B` overlays their curves.
    Runs(runs::Arguments),
    /// Writes the report of a run anew: report.html and report.md in its directory.
    Report(runs::Report),
    /// Measures how fast this machine trains.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Raw numbers, for checks against other programs.
    #[command(subcommand, hide = true)]
    Debug(generate::Debug),
}

/// Bytes of stack that the program has, whatever the system gives the first thread (`ulimit -s`).
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    match std::thread::Builder::new().name("main".into()).stack_size(STACK).spawn(program) {
        Ok(thread) => thread.join().unwrap_or(ExitCode::FAILURE),
        // Where no other thread can be had, this one does.
        Err(_) => program(),
    }
}

fn program() -> ExitCode {
    std::panic::set_hook(Box::new(report));
    allocations::when_exhausted(room::exhausted);
    signals::let_large_files_fail();
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(e) => return e.downcast_ref().map_or_else(|| failed(&e), wrong),
    };
    let several = match &cli.command {
        Some(Command::Pretrain(_) | Command::Finetune(_)) => true,
        Some(Command::Bench(b)) => b.is_between_ranks(),
        _ => false,
    };
    let member = match if several {
        ranks::join(cli.threads.filter(|&n| n > 0))
    } else {
        Ok(ranks::Member::default())
    } {
        Ok(member) => member,
        Err(e) => return failed(&e),
    };
    // A panic of any thread that somebody waits for ends here: it is a failure (1), not a number of its own.
    let Ok(outcome) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cli))) else {
        member.failed(1);
        return ExitCode::FAILURE;
    };
    print::finish();
    match outcome {
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

/// A command from the words that are typed, the program's name first.
fn parse(words: Vec<OsString>) -> anyhow::Result<Cli> {
    let (words, recipe) = arguments::expand(words, &Cli::command())?;
    let matches = Cli::command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Some(Command::Pretrain(a)), Some((_, given))) = (&mut cli.command, matches.subcommand()) {
        a.given = arguments::given(&Cli::command(), "pretrain", given, recipe.as_ref());
    }
    Ok(cli)
}

fn failed(e: &anyhow::Error) -> ExitCode {
    print::tell(format_args!("{}{}", ranks::prefix(), exit::message(e)), true);
    ExitCode::from(exit::code(e))
}

/// Wrong arguments, or help that was asked for.
fn wrong(e: &clap::Error) -> ExitCode {
    match e.print() {
        _ if e.use_stderr() => ExitCode::from(2),
        Ok(()) => {
            print::finish();
            ExitCode::SUCCESS
        }
        Err(e) => print::leave(&e),
    }
}

/// What is said of a panic: what a report of it needs.
fn report(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or(String::new(), |l| format!(" at {l}"));
    let what = panic.payload_as_str().unwrap_or("of unknown kind");
    print::tell(
        format_args!(
            "pupil: internal error{place}: {what}\n  This is a mistake in pupil {}, not in what you did. Please report it with the line above, the command, and what \
         `pupil --version` and `uname -srm` say.\n  Checkpoints that were reported as saved are whole; PUPIL_BACKTRACE=1 shows where it came from.",
            env!("CARGO_PKG_VERSION")
        ),
        true,
    );
    if std::env::var_os("PUPIL_BACKTRACE").is_some_and(|v| v == "1") {
        print::tell(format_args!("{}", std::backtrace::Backtrace::force_capture()), true);
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    level::check_environment().map_err(exit::Usage)?;
    match cli.threads {
        None | Some(0) => {}
        Some(n) => {
            if n > MOST_THREADS {
                eprintln!("  --threads {n}: {MOST_THREADS} are the most");
            }
            pool::set_threads(n.min(MOST_THREADS));
        }
    }
    let Some(command) = cli.command else { return chat::alone() };
    match command {
        Command::Speedrun(a) => speedrun::run(&a),
        Command::Data(d) => data::run(&d),
        Command::Tokenizer(t) => tokenizer::run(&t),
        Command::Plan(a) => plan::run(&a),
        Command::Pretrain(a) => pretrain::run(&a).map(drop),
        Command::Finetune(a) => learn::finetune(&a).map(drop),
        Command::Align(a) => align::run(&a),
        Command::Merge(a) => merge::run(&a),
        Command::Recipe(a) => recipe::run(&a),
        Command::Lineage(a) => lineage::run(&a),
        Command::Eval(a) => eval::run(&a),
        Command::Generate(a) => generate::run(&a),
        Command::Chat(a) => chat::run(&a),
        Command::Quantize(a) => quantize::run(&a),
        Command::FillMask(a) => bert::fill_mask(&a),
        Command::Classify(a) => bert::classify(&a),
        Command::Embed(a) => bert::embed(&a),
        Command::Runs(a) => runs::run(&a),
        Command::Report(a) => runs::report(&a),
        Command::Bench(b) => bench::run(b),
        Command::Debug(d) => generate::debug(&d),
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|c| {
        c.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
