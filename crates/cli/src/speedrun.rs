//! `pupil speedrun`: the whole road in about five minutes, as commands that a person could type, with a line on what each does.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use pupil_data::starter;
use pupil_tensor::kernels::{level, pool};

use crate::exit::Usage;
use crate::learn;
use crate::model::Choice;
use crate::process;
use crate::talk::Talk;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files or folders of your own text and chats, learned beside the starter text.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Directory of all that is made; one that was interrupted is taken up again.
    #[arg(long, visible_alias = "keep", default_value = "speedrun")]
    out: PathBuf,
    /// Minutes that training may take.
    #[arg(long, default_value_t = 5.5)]
    minutes: f64,
    /// Of initial values and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each training instead of minutes, and conversations of the starter text: the same bits every time, for tests.
    #[arg(long, hide = true, num_args = 2, value_names = ["STEPS", "CHATS"])]
    exactly: Vec<u64>,
}

/// Minutes below which there is no time for ten steps of pretraining.
const LEAST: f64 = 0.5;
const MOST: f64 = 1e6;
/// Share of the minutes that pretraining takes; the rest is fine-tuning's. Of held-out skills a run of half the time on one core answers 76.9 % with
/// 0.4 and 80.4 % with 0.2; less was not compared.
const PRETRAINING: f64 = 0.15;
/// Conversations of the starter text for each minute: about as many as are read once.
const CHATS_A_MINUTE: f64 = 20_000.0;
/// Conversations of the starter text beside a person's own, so many that theirs count.
const BESIDE_OWN: u64 = 24_000;

/// Width of the model. Of six blocks of 128, five of 192, eight of 192 and four of 256 the first answered most held-out skills after the same time
/// (75, 71, 57 and 66 % in half the time on one core); longer runs have time for more parameters.
fn width(minutes: f64) -> &'static str {
    match minutes {
        m if m < 12.0 => "128",
        m if m < 45.0 => "192",
        _ => "256",
    }
}

/// A command that reads what others made and makes one thing.
struct Stage {
    name: &'static str,
    /// What it is for, in a line.
    why: &'static str,
    words: Vec<String>,
    /// What lies there when it is done.
    makes: PathBuf,
}

/// What a speedrun is made of, in its directory.
const SETTINGS: &str = "speedrun.json";

impl Arguments {
    /// Refuses what cannot become a speedrun, and a directory that holds one of other settings: its stages would be taken for those of this one.
    fn check(&self) -> anyhow::Result<()> {
        let out = self.out.as_path();
        if !self.data.is_empty() {
            pupil_data::source::files(&self.data)?;
        }
        if !(LEAST..=MOST).contains(&self.minutes) {
            anyhow::bail!(Usage(format!("--minutes {}: {LEAST} to {MOST}, for two trainings", self.minutes)));
        }
        let (path, data) = (out.join(SETTINGS), self.data.iter().map(|p| p.display().to_string()));
        let data: Vec<String> = data.collect();
        let now = serde_json::json!({"data": data, "minutes": self.minutes, "seed": self.seed, "exactly": self.exactly});
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if let Some(made) = self.stages().into_iter().map(|s| s.makes).find(|m| m.exists()) {
                    anyhow::bail!(Usage(format!(
                        "{} is there, but no {} that says what it was made of: choose another --out, or remove it",
                        made.display(),
                        path.display()
                    )));
                }
                std::fs::create_dir_all(out)
                    .map_err(|source| pupil_checkpoint::Error::Storage { path: out.to_owned(), source })?;
                return Ok(pupil_checkpoint::atomic::replace_file(&path, format!("{now}\n").as_bytes())?);
            }
            Err(source) => return Err(pupil_checkpoint::Error::Read { path, source }.into()),
            Ok(text) => text,
        };
        let was: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        if was != now {
            anyhow::bail!(Usage(format!(
                "{} holds a speedrun of other settings ({}): choose another --out, or remove it",
                out.display(),
                text.trim()
            )));
        }
        Ok(())
    }

    fn stages(&self) -> Vec<Stage> {
        let at = |name: &str| self.out.join(name).display().to_string();
        let own = || self.data.iter().map(|p| p.display().to_string());
        let chats = || std::iter::once(at("data/chats.jsonl")).chain(own());
        let all = || std::iter::once(at("data/stories.txt")).chain(chats());
        let seed = self.seed;
        let bound = |share: f64| match self.exactly[..] {
            [steps, _] => format!("--steps {steps}"),
            _ => format!("--minutes {:.2}", self.minutes * share),
        };
        let (pretraining, finetuning) = (bound(PRETRAINING), bound(1.0 - PRETRAINING));
        let size = match self.exactly[..] {
            [_, chats] => chats,
            _ if self.data.is_empty() => (self.minutes * CHATS_A_MINUTE).clamp(1e4, 4e5) as u64,
            _ => BESIDE_OWN,
        };
        // What a person names may have blanks in it.
        let stage = |name, why, makes: &str, flags: String, paths: &[(&str, &str)], rest: Vec<String>| {
            let named = paths.iter().flat_map(|(flag, name)| [(*flag).to_owned(), at(name)]);
            let words = flags.split_whitespace().map(str::to_owned).chain(named).chain(rest).collect();
            Stage { name, why, words, makes: self.out.join(makes) }
        };
        let data = |paths: &mut dyn Iterator<Item = String>| {
            std::iter::once("--data".to_owned()).chain(paths).collect::<Vec<_>>()
        };
        vec![
            stage(
                "Data",
                "stories to read, conversations to learn answering from, and questions that are kept for the test",
                "data/persona.toml",
                format!("data starter --size {size} --seed {seed}"),
                &[("--out", "data")],
                Vec::new(),
            ),
            stage(
                "Tokenizer",
                "frequent pieces of words become tokens, numbers that a network can read",
                "tokenizer.json",
                "tokenizer train --vocab 3072".to_owned(),
                &[("--out", "tokenizer.json")],
                all().collect(),
            ),
            stage(
                "Pretraining",
                "a GPT learns to predict the next token of everything: first words, then grammar, then facts",
                "base/model/config.json",
                format!(
                    "pretrain --layers 6 --width {} --context 256 --batch-tokens 4096 --lr 6e-3 --muon 3.5e-3 \
                     --no-preflight --resume --seed {seed} {pretraining}",
                    width(self.minutes)
                ),
                &[("--tokenizer", "tokenizer.json"), ("--out", "base")],
                data(&mut all()),
            ),
            stage(
                "Fine-tuning",
                "the same network learns to answer: of conversations only the assistant's words are learned",
                "chat/model/config.json",
                format!(
                    "finetune --lr 5e-3 --muon 3e-3 --allow-truncation --show 1 --resume --seed {seed} {finetuning}"
                ),
                &[("-m", "base"), ("--out", "chat")],
                data(&mut chats()),
            ),
            stage(
                "Evaluation",
                "the questions that were kept: what it can do, and what it cannot",
                "eval.json",
                if self.exactly.is_empty() { "eval" } else { "eval --limit 20" }.to_owned(),
                &[("-m", "chat"), ("--out", "eval.json")],
                Vec::new(),
            ),
        ]
    }
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    eprintln!(
        "pupil raises a small language model on this machine: {} threads, {}, {}. Each stage is a command that you could type yourself.",
        pool::threads(),
        level::level(),
        learn::describe_dtype(process::dtype("auto")?)
    );
    a.check()?;
    let stages = a.stages();
    let all = stages.len() + 1;
    for (i, stage) in stages.iter().enumerate() {
        title(i + 1, all, stage.name, stage.why);
        process::is_now(&stage.words);
        eprintln!("  $ {}", process::command());
        if stage.makes.exists() {
            eprintln!("  was done before: {}", stage.makes.display());
            continue;
        }
        let words = std::iter::once("pupil".to_owned()).chain(stage.words.iter().cloned());
        crate::run(crate::parse(words.map(Into::into).collect())?)?;
    }
    title(all, all, "Conversation", "the model talks");
    let chat = a.out.join("chat");
    eprintln!("  $ pupil chat -m {}", process::quoted(&a.out.display().to_string()));
    talk(&chat)
}

fn title(number: usize, of: usize, name: &str, why: &str) {
    eprintln!("\n{number} of {of}. {name}: {why}.");
}

fn talk(chat: &Path) -> anyhow::Result<()> {
    let opened = Choice::of(chat, "auto").open()?;
    let sampler = pupil_infer::Sampler { temperature: 0.3, ..pupil_infer::Sampler::default() };
    let mut talk = Talk::new(&opened, sampler, 120)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return talk.terminal();
    }
    talk.show(&starter::HELD_OUT)
}
