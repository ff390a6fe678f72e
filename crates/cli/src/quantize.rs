//! `pupil quantize`: a model with weights of 8 or 4 bits, and what that costs in quality.

use std::path::{Path, PathBuf};

use pupil_checkpoint::quantised::Bits;
use pupil_eval::Exam;
use pupil_model::{Gpt, Model, Network};
use serde_json::json;

use crate::eval;
use crate::exit::Usage;
use crate::model::Choice;
use crate::room;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Choice,
    /// The directory to write.
    #[arg(short, long)]
    out: PathBuf,
    /// Bits of a weight: 8, a scale for each row; or 4, a scale for each 32 columns.
    #[arg(long, default_value_t = 8)]
    bits: u32,
    /// A file or folder of text to measure both models on: bits per byte before and after, as of `pupil eval --text`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Prints the figures as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let bits = match a.bits {
        8 => Bits::Eight,
        4 => Bits::Four,
        other => anyhow::bail!(Usage(format!("--bits {other}: 8 or 4"))),
    };
    room::vacant(&a.out)?;
    let (dir, network) = a.model.network()?;
    let opened = a.model.opened(&dir, network)?;
    let (tokenizer, ends, dtype) = (opened.tokenizer, opened.ends, opened.dtype);
    let text = a.data.as_deref().map(|path| eval::documents_of(path, usize::MAX)).transpose()?;
    let bits_per_byte = |gpt: &Gpt| {
        let (name, documents) = text.as_ref()?;
        eval::bits(&Exam { gpt, tokenizer: &tokenizer, dtype }, name, documents).value
    };
    let before = bits_per_byte(&opened.gpt);
    let parameters = opened.gpt.parameters().count();
    let network = Network::from(opened.gpt);
    let mut files = pupil_checkpoint::directory::quantised_files(&network, &ends, bits)?;
    let size: usize = files.iter().filter(|f| f.0.ends_with(".safetensors")).map(|f| f.1.len()).sum();
    files.extend(beside(&dir)?);
    pupil_checkpoint::atomic::write_folder(&a.out, &files)?;
    // What is measured is what was written.
    let Network::Gpt(small) = pupil_checkpoint::load(&a.out)? else { unreachable!("a GPT was written") };
    let after = bits_per_byte(&small);
    let error = relative_error(&network, &small);
    if a.json {
        let figures = json!({
            "parameters": parameters, "bytes": size, "bits_per_weight": 8.0 * size as f64 / parameters as f64, "relative_error": error,
            "bits_per_byte_before": before, "bits_per_byte_after": after,
        });
        println!("{figures}");
        return Ok(());
    }
    println!(
        "{}: {:.1} MB, {:.2} bits a weight; matrices are off by {:.2} % (root mean square)",
        a.out.display(),
        size as f64 / 1e6,
        8.0 * size as f64 / parameters as f64,
        100.0 * error
    );
    if let Some((before, after)) = before.zip(after) {
        println!(
            "bits per byte: {before:.4} before, {after:.4} after ({:+.2} %)",
            100.0 * (after / before - 1.0)
        );
    }
    Ok(())
}

/// The other files of a model directory: tokenizer, template, card.
fn beside(dir: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        // A checkpoint's directory has its state, too.
        let own = matches!(&*name, "config.json" | "state.json" | "manifest.json")
            || extension == "safetensors"
            || name.ends_with(".index.json");
        // Pickles and what else a directory may hold is no part of a model here.
        let kept = matches!(extension, "json" | "jinja" | "md" | "txt" | "toml") && !own;
        if kept && path.is_file() {
            files.push((name, std::fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// Root mean square of what the matrices lost over that of what they had.
fn relative_error(before: &Network, after: &Gpt) -> f64 {
    let pairs = before.parameters().iter().zip(after.parameters().iter());
    let (mut lost, mut had) = (0.0, 0.0);
    for ((_, a), (_, b)) in pairs.filter(|((_, a), _)| a.shape[0] > 1) {
        for (x, y) in a.data().iter().zip(b.data()) {
            lost += f64::from(x - y).powi(2);
            had += f64::from(*x).powi(2);
        }
    }
    (lost / had).sqrt()
}
