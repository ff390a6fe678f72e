//! `pupil bench encode`: megabytes of text per second into ids, on one thread and on all.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use pupil_tensor::kernels::pool;

use crate::model::read_tokenizer;

/// `pupil bench encode`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A text file; documents are separated by blank lines.
    file: PathBuf,
    /// A tokenizer.json.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Times that it is encoded; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Writes the ids of all documents here, four bytes each, for comparison.
    #[arg(long)]
    ids: Option<PathBuf>,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&a.file).with_context(|| format!("reading {}", a.file.display()))?;
    let documents: Vec<&str> = text.split("\n\n").filter(|d| !d.is_empty()).collect();
    let tokenizer = read_tokenizer(&a.tokenizer)?;
    let rate = |threads: usize| {
        let times = (0..a.rounds.max(1)).map(|_| {
            let begun = Instant::now();
            std::hint::black_box(tokenizer.encode_all(&documents, threads));
            begun.elapsed().as_secs_f64()
        });
        text.len() as f64 / 1e6 / super::median(times.collect())
    };
    let (one, all) = (rate(1), rate(pool::threads()));
    let encoded = tokenizer.encode_all(&documents, pool::threads());
    let ids: usize = encoded.iter().map(Vec::len).sum();
    if let Some(path) = &a.ids {
        let file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for id in encoded.iter().flatten() {
            out.write_all(&id.to_le_bytes())?;
        }
        out.flush()?;
    }
    let result = serde_json::json!({
        "mb": text.len() as f64 / 1e6, "documents": documents.len(), "ids": ids,
        "one_thread_mb_s": one, "all_threads_mb_s": all, "threads": pool::threads(),
    });
    println!("{result}");
    Ok(())
}
