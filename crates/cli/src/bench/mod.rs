//! `pupil bench`: how fast this machine trains, and how far that is from what its processor can do.

mod attention;
mod collective;
mod curve;
mod encode;
mod matmul;
mod rows;
mod seq2seq;
mod shakespeare;
mod train;

use clap::Subcommand;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Training steps of a preset on random ids: tokens/s, share of the processor's peak, memory.
    Train(train::Arguments),
    /// The three matrix products of a linear layer, packing included.
    Matmul(matmul::Arguments),
    /// Causal attention, forward and backward, counting causal work only.
    Attention(attention::Arguments),
    /// Megabytes of text per second into ids, on one thread and on all.
    Encode(encode::Arguments),
    /// Rows of tokens from a prepared directory: how fast, and how full.
    Rows(rows::Arguments),
    /// Training steps of the article's encoder and decoder on random ids.
    #[command(name = "seq2seq")]
    Seq2Seq(seq2seq::Arguments),
    /// Character-level Tiny Shakespeare until a validation loss is reached.
    Shakespeare(shakespeare::Arguments),
    /// What adding gradients up between the ranks of an MPI job takes: `mpirun -n 2 pupil bench collective`.
    Collective(collective::Arguments),
    /// Losses on weights and batches that another program prepared and learned from.
    Curve(curve::Arguments),
}

impl Bench {
    /// Whether it measures what passes between ranks.
    pub(crate) fn is_between_ranks(&self) -> bool {
        matches!(self, Bench::Collective(_))
    }
}

pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Train(a) => train::run(&a),
        Bench::Matmul(a) => matmul::run(&a),
        Bench::Attention(a) => attention::run(&a),
        Bench::Encode(a) => encode::run(&a),
        Bench::Rows(a) => rows::run(&a),
        Bench::Seq2Seq(a) => seq2seq::run(&a),
        Bench::Shakespeare(a) => shakespeare::run(&a),
        Bench::Collective(a) => collective::run(&a),
        Bench::Curve(a) => curve::run(&a),
    }
}

/// The middle of some measurements.
fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs.get(xs.len() / 2).copied().unwrap_or(f64::NAN)
}
