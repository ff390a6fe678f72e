//! `pupil generate`: goes on with a text. `pupil debug logits`: the raw scores, for checks against other programs.

use std::io::{IsTerminal, Write};

use pupil_infer::{Error, Generator, Sampler, Speech};
use pupil_model::{Batch, Bert, Model, Network};
use pupil_tensor::kernels::pool;
use pupil_tensor::{DType, Graph, Tensor};

use crate::display::shown;
use crate::exit::Usage;
use crate::input;
use crate::model::{Choice, Opened, Sampling};
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    sampling: Sampling,
    /// The text to go on with; without it standard input, if that is no terminal.
    text: Option<String>,
    /// The same.
    #[arg(short, long, conflicts_with = "text")]
    prompt: Option<String>,
    /// Samples; each has the seed after the last one's.
    #[arg(short, long, default_value_t = 1)]
    n: u64,
    /// Prints control characters as they are, where standard output is no terminal.
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    // What is typed is checked before anything is read.
    a.sampling.sampler(None)?;
    let given = a.text.clone().or_else(|| a.prompt.clone());
    let Some(text) = given.map_or_else(input::all, |text| Ok(Some(text)))? else {
        anyhow::bail!(Usage("generate needs a text to go on with: pupil generate -m RUN \"TEXT\"".into()));
    };
    let m = a.model.open()?;
    let sampler = a.sampling.sampler(m.temperature)?;
    let ids = beginning(&m, &text)?;
    let mut generator = a.sampling.generator(&m)?;
    let escape = !a.raw || std::io::stdout().is_terminal();
    for i in 0..a.n {
        if a.n > 1 {
            eprintln!("sample {} of {}", i + 1, a.n);
        }
        let sampler = Sampler { seed: sampler.seed.wrapping_add(i), ..sampler };
        generator.set(&ids)?;
        go_on(&m, &mut generator, &sampler, &a.sampling, escape)?;
    }
    Ok(())
}

/// The ids of a text, with what the model's tokenizer puts before one; of no text the token between documents.
fn beginning(m: &Opened, text: &str) -> anyhow::Result<Vec<u32>> {
    let mut ids = m.tokenizer.encode_pair(text, None).ids;
    // Some tokenizers end a text, too: then there would be nothing to go on with.
    while ids.len() > 1 && ids.last().is_some_and(|id| m.ends.contains(id)) {
        ids.pop();
    }
    if ids.is_empty() {
        ids.extend(m.tokenizer.special(pupil_chat::END_OF_TEXT));
    }
    anyhow::ensure!(
        !ids.is_empty(),
        "the text is empty and the tokenizer has no {}",
        pupil_chat::END_OF_TEXT
    );
    Ok(ids)
}

fn go_on(
    m: &Opened,
    generator: &mut Generator<'_>,
    sampler: &Sampler,
    sampling: &Sampling,
    escape: bool,
) -> anyhow::Result<()> {
    let mut speech = Speech::new(&m.tokenizer, &sampling.stop);
    let mut out = std::io::stdout().lock();
    let mut put = |text: &str| -> std::io::Result<()> {
        let text = if escape { shown(text) } else { text.to_owned() };
        write!(out, "{text}")?;
        out.flush()
    };
    for i in 1..=sampling.max_tokens {
        let id = generator.choose(sampler)?;
        if m.ends.contains(&id) {
            break;
        }
        let (text, stopped) = speech.push(id);
        put(&text)?;
        if stopped {
            return Ok(put("\n")?);
        }
        match generator.push(id) {
            Ok(()) => {}
            Err(Error::ContextFull { context, .. }) => {
                put(&speech.finish())?;
                put("\n")?;
                eprintln!("[cut after {i} tokens: the context of {context} is full]");
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
    }
    put(&speech.finish())?;
    Ok(put("\n")?)
}

#[derive(clap::Subcommand)]
pub(crate) enum Debug {
    /// Ids of the texts in a JSON array on standard input, as JSON.
    Ids {
        /// A tokenizer.json, or a directory with one.
        #[arg(short, long, visible_alias = "tokenizer")]
        model: std::path::PathBuf,
    },
    /// Reads a model and writes it again, without its tokenizer.
    Rewrite {
        #[command(flatten)]
        model: Choice,
        /// The directory to write.
        #[arg(long)]
        out: std::path::PathBuf,
    },
    /// Scores of every next token after each of the given ids, as JSON; of a BERT all that it says of them.
    Logits {
        #[command(flatten)]
        model: Choice,
        /// Comma-separated ids.
        #[arg(long, value_delimiter = ',')]
        ids: Vec<u32>,
        /// Of a BERT: the part of the sequence that each id is in, 0 or 1.
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<u32>,
        /// Of an encoder and decoder: what is read; --ids are then what the decoder reads.
        #[arg(long, value_delimiter = ',')]
        source: Vec<u32>,
    },
    /// Panics: how a mistake in pupil ends is tested like anything else.
    Panic {
        /// On a thread of the pool instead of the main one.
        #[arg(long)]
        worker: bool,
    },
}

pub(crate) fn debug(d: &Debug) -> anyhow::Result<()> {
    let (model, ids, kinds, source) = match d {
        Debug::Ids { model } => {
            let tokenizer = crate::tokenizer::read(model)?;
            let texts: Vec<String> = serde_json::from_reader(std::io::stdin().lock())?;
            let ids: Vec<Vec<u32>> = texts.iter().map(|t| tokenizer.encode(t)).collect();
            println!("{}", serde_json::to_string(&ids)?);
            return Ok(());
        }
        Debug::Rewrite { model, out } => {
            return Ok(pupil_checkpoint::save(out, &model.network()?.1, &[], &[])?);
        }
        Debug::Panic { worker } => {
            let main = std::thread::current().id();
            pool::run(64, |_| {
                // Tasks go to whoever is free: the main thread lets the others come.
                if *worker && std::thread::current().id() == main {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                } else {
                    panic!("asked for");
                }
            });
            anyhow::bail!("no other thread took a task");
        }
        Debug::Logits { model, ids, kinds, source } => (model, ids, kinds, source),
    };
    anyhow::ensure!(!ids.is_empty(), "--ids is empty");
    let whole = 0..ids.len();
    let mut batch = Batch::reading(ids, std::slice::from_ref(&whole));
    let (dir, network) = model.network()?;
    if let Network::Bert(bert) = network {
        anyhow::ensure!(kinds.is_empty() || kinds.len() == ids.len(), "--kinds: one for each id, or none");
        batch.set_kinds(kinds);
        println!("{}", said(&bert, &batch, process::dtype(&model.dtype)?));
        return Ok(());
    }
    if let Some(m) = network.encoder_decoder() {
        let g = &mut Graph::inference(m.parameters(), process::dtype(&model.dtype)?);
        let mut writer = m.begin(g, source);
        let each: Vec<Vec<f32>> = ids.iter().map(|&id| writer.next(g, &[id]).to_vec()).collect();
        println!("{}", serde_json::to_string(&each)?);
        return Ok(());
    }
    let m = model.opened(&dir, network)?;
    let mut graph = Graph::inference(m.gpt.parameters(), m.dtype);
    let hidden = m.gpt.forward(&mut graph, &batch, None);
    let logits = m.gpt.logits(&mut graph, &hidden);
    println!("{}", serde_json::to_string(&rows(&logits))?);
    Ok(())
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_vec().chunks(x.cols()).map(<[f32]>::to_vec).collect()
}

/// All that a BERT says of one sequence: the tokens' states, and what its head makes of them.
fn said(bert: &Bert, batch: &Batch, dtype: DType) -> serde_json::Value {
    let g = &mut Graph::inference(bert.parameters(), dtype);
    let states = bert.forward(g, batch);
    let first = states.select_rows(&[0]);
    let pooled = bert.pooled(g, &first);
    let words = bert.word_scores(g, &states);
    let next = pooled.as_ref().and_then(|p| bert.next_sentence_scores(g, p));
    let labels = bert.label_scores(g, pooled.as_ref().unwrap_or(&states));
    let rows = |x: Option<Tensor>| x.as_ref().map(rows);
    serde_json::json!({
        "states": rows(Some(states)), "pooled": rows(pooled), "words": rows(words), "next_sentence": rows(next), "labels": rows(labels),
    })
}
