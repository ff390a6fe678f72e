//! A model directory with its tokenizer, opened for use.

use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_infer::Sampler;
use pupil_model::{Gpt, Network};
use pupil_tensor::DType;
use pupil_tokenizer::Tokenizer;

use crate::process;

/// Which model.
#[derive(clap::Args, Clone)]
pub(crate) struct Choice {
    /// A model directory, or the directory of a run.
    #[arg(short, long, default_value = "speedrun")]
    pub(crate) model: PathBuf,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    pub(crate) dtype: String,
}

/// How tokens are chosen.
#[derive(clap::Args, Clone)]
pub(crate) struct Sampling {
    /// Scores are divided by it; 0 takes the best token.
    #[arg(long, default_value_t = 0.7)]
    temp: f32,
    /// Only the best so many; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the best that together have this probability.
    #[arg(long, default_value_t = 0.95)]
    top_p: f32,
    /// Only those with at least this share of the best one's probability.
    #[arg(long, default_value_t = 0.05)]
    min_p: f32,
    /// Of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tokens of a reply at most.
    #[arg(long, default_value_t = 200)]
    pub(crate) max_new: usize,
}

impl Sampling {
    pub(crate) fn sampler(&self) -> Sampler {
        let Sampling { temp: temperature, top_k, top_p, min_p, seed, .. } = *self;
        Sampler { temperature, top_k, top_p, min_p, seed }
    }
}

/// A model with its tokenizer.
pub(crate) struct Opened {
    pub(crate) gpt: Gpt,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) dtype: DType,
}

impl Choice {
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        let (dir, network) = self.network()?;
        self.opened(&dir, network)
    }

    /// The model, whatever its architecture, and its directory.
    pub(crate) fn network(&self) -> anyhow::Result<(PathBuf, Network)> {
        let dir = directory(&self.model);
        if !dir.join("config.json").exists() {
            anyhow::bail!(crate::exit::Usage(format!(
                "{} holds no model (no config.json); `pupil speedrun` makes one",
                self.model.display()
            )));
        }
        let network = pupil_checkpoint::load(&dir)?;
        Ok((dir, network))
    }

    /// A GPT with its tokenizer.
    pub(crate) fn opened(&self, dir: &Path, network: Network) -> anyhow::Result<Opened> {
        let gpt = match network {
            Network::Gpt(gpt) => *gpt,
            _ => anyhow::bail!(crate::exit::Usage(format!(
                "{} is no GPT: `pupil chat` talks with it",
                dir.display()
            ))),
        };
        let tokenizer = read_tokenizer(&dir.join("tokenizer.json"))?;
        anyhow::ensure!(
            tokenizer.len() <= gpt.config.vocab,
            "the tokenizer has {} ids, the model {}",
            tokenizer.len(),
            gpt.config.vocab
        );
        Ok(Opened { gpt, tokenizer, dtype: process::dtype(&self.dtype)? })
    }
}

/// The model directory inside a run, of a speedrun its last stage's; else the directory itself.
fn directory(path: &Path) -> PathBuf {
    let inside = ["model", "chat/model", "base/model"].map(|p| path.join(p));
    inside.into_iter().find(|p| p.join("config.json").exists()).unwrap_or_else(|| path.to_owned())
}

pub(crate) fn read_tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Tokenizer::from_json(&text).with_context(|| path.display().to_string())
}

/// The tokenizer's files in a model directory.
pub(crate) fn tokenizer_files(tokenizer: &Tokenizer) -> Vec<(String, Vec<u8>)> {
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": pupil_chat::END_OF_TEXT, "bos_token": null,
        "model_max_length": 1_000_000, "chat_template": pupil_chat::JINJA, "clean_up_tokenization_spaces": false,
    });
    let generation = serde_json::json!({"eos_token_id": end_ids(tokenizer), "do_sample": false});
    vec![
        ("tokenizer.json".into(), tokenizer.to_json().into_bytes()),
        ("tokenizer_config.json".into(), format!("{config:#}\n").into_bytes()),
        ("generation_config.json".into(), format!("{generation:#}\n").into_bytes()),
        ("chat_template.jinja".into(), pupil_chat::JINJA.as_bytes().to_vec()),
    ]
}

/// Ids that end a text or a turn.
pub(crate) fn end_ids(tokenizer: &Tokenizer) -> Vec<u32> {
    [pupil_chat::END, pupil_chat::END_OF_TEXT].iter().filter_map(|s| tokenizer.special(s)).collect()
}
