//! `pupil generate`: goes on with a text. `pupil debug logits`: the raw scores, for checks against other programs.

use std::io::Write;

use pupil_infer::{Error, Generator};
use pupil_model::{Batch, Model};
use pupil_tensor::Graph;
use pupil_tokenizer::Decoder;

use crate::model::{Choice, Sampling, end_ids};

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
    /// Scores of every next token after each of the given ids, as JSON.
    Logits {
        #[command(flatten)]
        model: Choice,
        /// Comma-separated ids.
        #[arg(long, value_delimiter = ',')]
        ids: Vec<u32>,
    },
}

pub(crate) fn debug(d: &Debug) -> anyhow::Result<()> {
    let (model, ids) = match d {
        Debug::Ids { model } => {
            let tokenizer = crate::tokenizer::read(model)?;
            let texts: Vec<String> = serde_json::from_reader(std::io::stdin().lock())?;
            let ids: Vec<Vec<u32>> = texts.iter().map(|t| tokenizer.encode(t)).collect();
            println!("{}", serde_json::to_string(&ids)?);
            return Ok(());
        }
        Debug::Logits { model, ids } => (model, ids),
    };
    let m = model.open()?;
    anyhow::ensure!(!ids.is_empty(), "--ids is empty");
    let whole = 0..ids.len();
    let batch = Batch::reading(ids, std::slice::from_ref(&whole));
    let mut graph = Graph::inference(m.gpt.parameters(), m.dtype);
    let hidden = m.gpt.forward(&mut graph, &batch, None);
    let logits = m.gpt.logits(&mut graph, &hidden);
    let rows: Vec<Vec<f32>> = logits.to_vec().chunks(logits.cols()).map(<[f32]>::to_vec).collect();
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}
