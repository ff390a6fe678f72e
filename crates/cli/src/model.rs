//! A model directory with its tokenizer, opened for use.

use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_chat::{Message, Renderer, Role, Template};
use pupil_infer::{Form, Generator, Sampler};
use pupil_model::{Gpt, Network};
use pupil_tensor::DType;
use pupil_tokenizer::Tokenizer;
use serde_json::Value;

use crate::exit::Usage;
use crate::{newest, process};

/// Tokens that a model sees where nobody says how many: memory for all that some were made for would be gigabytes.
const CONTEXT: usize = 4096;

/// Which model.
#[derive(clap::Args, Clone)]
pub(crate) struct Choice {
    /// A model directory, one of adapters, or the directory of a run. Without it: the newest model here that can talk, else the shipped one.
    #[arg(short, long)]
    pub(crate) model: Option<PathBuf>,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    pub(crate) dtype: String,
}

/// The temperature where neither a person nor the model's files say one.
const TEMPERATURE: f32 = 0.7;

/// How tokens are chosen.
#[derive(clap::Args, Clone)]
pub(crate) struct Sampling {
    /// Scores are divided by it; 0 takes the best token. By default what the model's generation_config.json says, else 0.7.
    #[arg(long, visible_alias = "temperature", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Only the best so many; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the best that together have this probability.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Only those with at least this share of the best one's probability.
    #[arg(long, default_value_t = 0.05, allow_negative_numbers = true)]
    min_p: f32,
    /// Scores of the last 64 tokens lose by this factor; 1: they do not.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tokens of a reply at most.
    #[arg(long, visible_alias = "max-new", default_value_t = 200)]
    pub(crate) max_tokens: usize,
    /// Tokens that the model sees at most; by default as many as it was made for, but 4096 of models made for more.
    #[arg(long)]
    ctx: Option<usize>,
    /// Ends a reply before this text; may be given several times.
    #[arg(long)]
    pub(crate) stop: Vec<String>,
}

impl Sampling {
    /// The sampler, if its settings have a meaning; `suggested` is the model's own temperature.
    pub(crate) fn sampler(&self, suggested: Option<f32>) -> anyhow::Result<Sampler> {
        let Sampling { temp, top_k, top_p, min_p, repeat_penalty, seed, .. } = *self;
        let temperature = temp.or(suggested).unwrap_or(TEMPERATURE);
        let sampler = Sampler { temperature, top_k, top_p, min_p, repeat_penalty, seed };
        sampler.check().map_err(Usage)?;
        if self.max_tokens == 0 {
            anyhow::bail!(Usage("--max-tokens 0: at least one".into()));
        }
        if self.stop.iter().any(String::is_empty) {
            anyhow::bail!(Usage("--stop: an empty text would end every reply before it begins".into()));
        }
        Ok(sampler)
    }

    /// An empty sequence of the length that was asked for.
    pub(crate) fn generator<'a>(&self, m: &'a Opened) -> anyhow::Result<Generator<'a>> {
        let most = m.gpt.config.context;
        match self.ctx {
            Some(n) if n < 2 || n > most => {
                anyhow::bail!(Usage(format!("--ctx {n}: 2 to {most}, which the model was made for")))
            }
            n => Ok(Generator::with_context(&m.gpt, m.dtype, n.unwrap_or(most.min(CONTEXT)))),
        }
    }
}

/// A model with its tokenizer.
pub(crate) struct Opened {
    pub(crate) gpt: Gpt,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) dtype: DType,
    /// Ids that end a text or a turn.
    pub(crate) ends: Vec<u32>,
    /// The temperature that its files suggest.
    pub(crate) temperature: Option<f32>,
    /// The chat template of another program's model.
    template: Option<Told>,
    dir: PathBuf,
}

/// What `tokenizer_config.json` and its neighbours tell.
struct Told {
    source: String,
    bos: String,
    eos: String,
}

impl Opened {
    /// How conversations become ids.
    pub(crate) fn form(&self) -> anyhow::Result<Form<'_>> {
        if let Some(Told { source, bos, eos }) = &self.template {
            return Ok(Form::Template(Box::new(Template::new(source, bos, eos)?)));
        }
        Renderer::new(&self.tokenizer).map(Form::Own).map_err(|e| {
            let dir = self.dir.display();
            anyhow::anyhow!(Usage(format!(
                "{dir} was not made for conversations: it has no chat template, and {e}; `pupil generate -m {dir} \"TEXT\"` goes on with a text"
            )))
        })
    }
}

impl Choice {
    /// The model that was named.
    pub(crate) fn of(model: &Path, dtype: &str) -> Choice {
        Choice { model: Some(model.to_owned()), dtype: dtype.to_owned() }
    }

    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        let (dir, network) = self.network()?;
        self.opened(&dir, network)
    }

    /// The model, whatever its architecture, and its directory.
    pub(crate) fn network(&self) -> anyhow::Result<(PathBuf, Network)> {
        let dir = match &self.model {
            Some(path) => newest::directory(path),
            None => newest::model().ok_or_else(|| {
                Usage("there is no model yet: `pupil speedrun` makes one in about five minutes; -m names one that lies elsewhere".into())
            })?,
        };
        if !pupil_checkpoint::directory::holds_model(&dir) {
            let what = match () {
                () if dir.is_file() => "is a file; -m wants the directory that a model lies in",
                () if !dir.exists() => {
                    "does not exist; `pupil speedrun` makes a model, and -m names where one lies"
                }
                () => "holds no model (no config.json); `pupil speedrun` makes one",
            };
            anyhow::bail!(Usage(format!("{} {what}", dir.display())));
        }
        let network = pupil_checkpoint::load(&dir)?;
        Ok((dir, network))
    }

    /// A GPT with its tokenizer.
    pub(crate) fn opened(&self, dir: &Path, network: Network) -> anyhow::Result<Opened> {
        let gpt = match network {
            Network::Gpt(gpt) => *gpt,
            Network::Bert(_) => anyhow::bail!(Usage(format!(
                "{} is a BERT, which reads and does not write: `pupil fill-mask`, `classify` and `embed` use it",
                dir.display()
            ))),
            _ => anyhow::bail!(Usage(format!("{} is no GPT: `pupil chat` talks with it", dir.display()))),
        };
        // Adapters that PEFT wrote lie there without a tokenizer: it is that of their model.
        let home = match gpt.adapted() {
            Some(adapted) if !dir.join("tokenizer.json").exists() => Path::new(&adapted.base),
            _ => dir,
        };
        let tokenizer = read_tokenizer(&home.join("tokenizer.json"))?;
        let told = told(home, &tokenizer)?;
        anyhow::ensure!(
            tokenizer.len() <= gpt.config.vocab,
            "the tokenizer has {} ids, the model {}",
            tokenizer.len(),
            gpt.config.vocab
        );
        let Advice { mut ends, temperature, template } = told;
        ends.retain(|&id| (id as usize) < gpt.config.vocab);
        Ok(Opened {
            gpt,
            tokenizer,
            dtype: process::dtype(&self.dtype)?,
            ends,
            temperature,
            template,
            dir: dir.to_owned(),
        })
    }
}

/// What a model's directory says beside its weights.
struct Advice {
    /// Ids that end a text or a turn.
    ends: Vec<u32>,
    temperature: Option<f32>,
    /// None if it is pupil's own form.
    template: Option<Told>,
}

fn told(dir: &Path, tokenizer: &Tokenizer) -> anyhow::Result<Advice> {
    let json = |name: &str| -> anyhow::Result<Value> {
        let path = dir.join(name);
        if !path.exists() {
            return Ok(Value::Null);
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    };
    let (settings, generation, config) =
        (json("tokenizer_config.json")?, json("generation_config.json")?, json("config.json")?);
    let mut ends = end_ids(tokenizer);
    for ids in [&generation["eos_token_id"], &config["eos_token_id"]] {
        let listed = ids.as_array().map_or(std::slice::from_ref(ids), Vec::as_slice);
        ends.extend(listed.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
    }
    let name = |key: &str| -> String {
        let v = &settings[key];
        v.as_str().or(v["content"].as_str()).unwrap_or("").to_owned()
    };
    let (bos, eos) = (name("bos_token"), name("eos_token"));
    ends.extend(tokenizer.special(&eos));
    let beside = dir.join("chat_template.jinja");
    let source = match &settings["chat_template"] {
        _ if beside.exists() => {
            Some(std::fs::read_to_string(&beside).with_context(|| beside.display().to_string())?)
        }
        Value::String(s) => Some(s.clone()),
        // Several by name.
        Value::Array(list) => {
            let default = list.iter().find(|t| t["name"] == "default").or(list.first());
            default.and_then(|t| t["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    };
    let template = source.filter(|s| s != pupil_chat::JINJA).map(|source| Told { source, bos, eos });
    if let Some(t) = &template {
        ends.extend(turn_end(t, tokenizer));
    }
    ends.sort_unstable();
    ends.dedup();
    let temperature = generation["temperature"].as_f64().map(|t| t as f32);
    Ok(Advice { ends, temperature, template })
}

/// The special token that a template puts behind the assistant's words: what the model says when it has done.
fn turn_end(t: &Told, tokenizer: &Tokenizer) -> Option<u32> {
    let template = Template::new(&t.source, &t.bos, &t.eos).ok()?;
    let chat = [Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
    let r = template.encode(tokenizer, &chat, false).ok()?;
    let mut learned = r.ids.iter().zip(&r.learned).filter(|(_, learned)| **learned).map(|(id, _)| *id);
    learned.next_back().filter(|&id| tokenizer.is_special(id))
}

pub(crate) fn read_tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    let unread = |source| pupil_checkpoint::Error::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unread)?;
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
