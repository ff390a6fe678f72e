//! `pupil generate`: goes on with a text. `pupil debug logits`: the raw scores, for checks against other programs.

use std::io::Write;

use pupil_infer::{Error, Generator};
use pupil_model::{Batch, Bert, Model, Network};
use pupil_tensor::{DType, Graph, Tensor};
use pupil_tokenizer::Decoder;

use crate::model::{Choice, Sampling, end_ids};
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    sampling: Sampling,
    /// The text to go on with.
    #[arg(short, long)]
    prompt: String,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let m = a.model.open()?;
    let mut ids = m.tokenizer.encode(&a.prompt);
    if ids.is_empty() {
        ids.extend(m.tokenizer.special(pupil_chat::END_OF_TEXT));
    }
    anyhow::ensure!(
        !ids.is_empty(),
        "--prompt is empty and the tokenizer has no {}",
        pupil_chat::END_OF_TEXT
    );
    let mut generator = Generator::new(&m.gpt, m.dtype);
    generator.set(&ids)?;
    let (ends, mut decoder) = (end_ids(&m.tokenizer), Decoder::new(&m.tokenizer));
    let mut out = std::io::stdout().lock();
    for _ in 0..a.sampling.max_new {
        match generator.next(&a.sampling.sampler()) {
            Ok(id) if ends.contains(&id) => break,
            Ok(id) => {
                write!(out, "{}", decoder.push(id))?;
                out.flush()?;
            }
            Err(Error::ContextFull { .. }) => break,
            Err(e) => return Err(e.into()),
        }
    }
    writeln!(out, "{}", decoder.finish())?;
    Ok(())
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
