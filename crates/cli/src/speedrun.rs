//! `pupil speedrun`: the whole road in about five minutes, with a line on each stage, ending in a conversation.

use std::io::IsTerminal;
use std::path::PathBuf;

use pupil_data::starter;
use pupil_tensor::kernels::{level, pool};

use crate::learn::{self, Common, Finetune};
use crate::model::Choice;
use crate::preflight::Checks;
use crate::pretrain::{self, Pretrain};
use crate::process;
use crate::talk::Talk;
use crate::watch::Showing;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files or folders of your own text and chats; without it: the starter text.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Directory of the runs; one that was interrupted is taken up again.
    #[arg(long, default_value = "speedrun")]
    out: PathBuf,
    /// Minutes that training may take.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Of initial values and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtype = process::dtype("auto")?;
    eprintln!(
        "pupil raises a small language model on this machine: {} threads, {}, {}.",
        pool::threads(),
        level::level(),
        learn::describe_dtype(dtype)
    );
    let (base, chat) = (a.out.join("base"), a.out.join("chat"));
    let common = |out: &PathBuf, share: f64| Common {
        data: a.data.clone(),
        starter: true,
        out: out.clone(),
        minutes: Some(a.minutes * share),
        steps: None,
        rows: None,
        batch_tokens: Some(4096),
        lr: None,
        muon: None,
        seed: a.seed,
        resume: true,
        save_every: 100,
        saving: learn::Saving::default(),
        showing: Showing::default(),
        dtype: "auto".into(),
    };
    if !base.join("model/config.json").exists() {
        eprintln!(
            "1. Text → tokens → a model that predicts the next token (pretraining): it learns words, then grammar."
        );
        pretrain::run(&Pretrain {
            common: common(&base, 0.6),
            depth: Some(4),
            vocab: Some(3072),
            no_preflight: true,
            ..Pretrain::default()
        })?;
    }
    if !chat.join("model/config.json").exists() {
        eprintln!(
            "2. Conversations → the same model learns to answer (fine-tuning): only the assistant's words are learned."
        );
        learn::finetune(&Finetune {
            common: common(&chat, 0.4),
            lora: Default::default(),
            checks: Checks { allow_truncation: true, ..Checks::default() },
            mix: Vec::new(),
            model: base.clone(),
        })?;
    }
    eprintln!(
        "3. A conversation. The model lies in {}; `pupil chat -m {}` talks to it again.",
        chat.join("model").display(),
        a.out.display()
    );
    let opened = Choice::of(&chat, "auto").open()?;
    let sampler = pupil_infer::Sampler { temperature: 0.3, ..pupil_infer::Sampler::default() };
    let mut talk = Talk::new(&opened, sampler, 120)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return talk.terminal();
    }
    talk.show(&starter::HELD_OUT)
}
