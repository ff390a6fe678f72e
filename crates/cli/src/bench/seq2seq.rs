//! `pupil bench seq2seq`: training steps of the article's encoder and decoder, and of its successors, on random ids, as one JSON object.

use std::time::Instant;

use pupil_model::{Batch, Form, Network, Settings, rnn, rnnsearch, seq2seq, transformer};
use pupil_tensor::kernels::{level, pool, random};
use pupil_train::optim;
use pupil_train::step::Step;

use super::median;
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which architecture.
    #[arg(long, value_enum, default_value_t = Architecture::Seq2seq)]
    architecture: Architecture,
    /// Word ids.
    #[arg(long, default_value_t = 10_000)]
    vocab: usize,
    /// Width of word vectors and states.
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// Tokens that are read, and as many that are written.
    #[arg(long, default_value_t = 20)]
    length: usize,
    /// Pairs of a step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Timed seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    dtype: String,
}

/// An encoder and a decoder.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Architecture {
    /// The article's LSTMs.
    Seq2seq,
    /// A bidirectional LSTM and a decoder with additive attention.
    Attention,
    /// A Transformer of three and three blocks.
    Transformer,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtype = process::dtype(&a.dtype)?;
    let form = Form { length: a.length, padded: true, start: 1, start_is_said: true, end: 0 };
    let (vocab, width, cell) = (a.vocab, a.width, rnn::Kind::Lstm);
    let settings = match a.architecture {
        Architecture::Seq2seq => {
            Settings::Seq2Seq(seq2seq::Config { vocab, form, width, hidden: width, cell })
        }
        Architecture::Attention => Settings::RnnSearch(rnnsearch::Config {
            vocab,
            form,
            width,
            hidden: width,
            keys: width,
            cell,
            bidirectional: true,
            dropout: 0.0,
        }),
        Architecture::Transformer => Settings::Transformer(transformer::Config {
            vocab,
            form,
            encoder_layers: 3,
            decoder_layers: 3,
            width,
            heads: width.div_ceil(64),
            hidden: 4 * width,
            activation: transformer::Kind::Relu,
            dropout: 0.0,
            smoothing: 0.0,
        }),
    };
    settings.check().map_err(crate::exit::Usage)?;
    let mut model = Network::new(settings, 1);
    let adam = optim::Settings { beta2: 0.999, weight_decay: 0.0, clip: 0.0, ..optim::Settings::default() };
    let mut step = Step::new(&model, adam, dtype, 1);
    let tokens = a.batch * a.length;
    let spans: Vec<_> = (0..a.batch).map(|i| i * a.length..(i + 1) * a.length).collect();
    let weights = vec![1.0; tokens];
    let mut ids = [(); 3].map(|()| vec![0u32; tokens]);
    let mut batch = [Batch::default()];
    let mut ms = Vec::new();
    let (mut i, mut loss) = (0, f64::NAN);
    let begun = Instant::now();
    while ms.len() < 3 || begun.elapsed().as_secs_f64() < a.seconds {
        for (stream, ids) in (0..).zip(&mut ids) {
            random::below(random::Key { seed: 7, stream, step: i }, a.vocab as u32, ids);
        }
        batch[0].fill(&ids[0], &ids[1], &weights, &spans);
        batch[0].set_source(&ids[2], &spans);
        let t = Instant::now();
        loss = step.run(&mut model, &batch, 1.0)?.loss.mean();
        // The first steps fill the pool of buffers.
        if i >= 5 {
            ms.push(1e3 * t.elapsed().as_secs_f64());
        }
        i += 1;
    }
    let step_ms = median(ms.clone());
    let report = serde_json::json!({
        "parameters": model.settings().parameter_count(),
        "step_ms": step_ms,
        "steps": ms.len(),
        "target_tok_s": 1e3 * tokens as f64 / step_ms,
        "loss": loss,
        "rss_mb": process::peak_rss_mb(),
        "threads": pool::threads(),
        "simd": level::level().name(),
        "dtype": dtype.name(),
    });
    println!("{report}");
    Ok(())
}
