//! `pupil bench rows`: how fast rows come from the shards of a prepared directory, and what packing leaves empty.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use pupil_data::{Examples, Row, Shards};

use crate::model::read_tokenizer;
use crate::process::peak_rss_mb;

/// `pupil bench rows`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A directory that `pupil data prepare` wrote with --tokenizer or --vocab.
    dir: PathBuf,
    /// Tokens of a row.
    #[arg(long, default_value_t = 4096)]
    row_tokens: usize,
    /// Tokens of a sequence at most.
    #[arg(long, default_value_t = 512)]
    context: usize,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        (1..=a.row_tokens).contains(&a.context),
        crate::exit::Usage(format!("--context {}: 1 to --row-tokens {}", a.context, a.row_tokens))
    );
    let tokenizer = read_tokenizer(&a.dir.join("tokenizer.json"))?;
    let end = tokenizer.special(pupil_chat::END_OF_TEXT);
    let end =
        end.with_context(|| format!("the tokenizer has no special token {}", pupil_chat::END_OF_TEXT))?;
    let files = [("train.tokens", Some(end)), ("train-chats.tokens", None)].map(|(n, e)| (a.dir.join(n), e));
    let files: Vec<_> = files.into_iter().filter(|f| f.0.is_file()).collect();
    let begun = Instant::now();
    let shards = Shards::open(&files, &tokenizer, a.context)?;
    let opened = begun.elapsed().as_secs_f64();
    let mut rows = shards.rows(a.row_tokens, 1);
    let (begun, mut row, mut count, mut tokens) = (Instant::now(), Row::default(), 0usize, 0usize);
    while rows.position().epoch == 0 {
        rows.next(&mut row)?;
        (count, tokens) = (count + 1, tokens + row.ids.len());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let result = serde_json::json!({
        "documents": shards.documents(), "rows": count, "tokens": tokens,
        "empty_percent": 100.0 * (1.0 - tokens as f64 / (count * a.row_tokens) as f64),
        "tokens_s": tokens as f64 / seconds, "microseconds_per_row": seconds / count as f64 * 1e6,
        "open_and_verify_seconds": opened, "peak_memory_mb": peak_rss_mb(),
    });
    println!("{result}");
    Ok(())
}
