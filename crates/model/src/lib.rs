//! Architectures, one file each: configuration → parameters → block → forward pass.
//!
//! A model is written once. With a tape its forward records what backward needs, with a cache it appends keys and values, with
//! neither it just computes. This room does no input or output and has no optimiser.
//!
//! Letters: `T` rows (tokens of a batch), `D` model width, `H` heads, `K` key-value heads, `E` head width, `F` hidden width,
//! `V` vocabulary, `S` spans, `L` layers.
#![forbid(unsafe_code)]

pub mod aim;
pub mod batch;
pub mod bert;
mod cache;
pub mod conv;
pub mod cost;
pub mod families;
pub mod gpt;
mod initial;
pub mod lora;
pub mod mlp;
pub mod network;
pub mod ngram;
pub mod replies;
pub mod rnn;
pub mod rnnsearch;
pub mod seq2seq;
pub mod transformer;

pub use aim::Aim;
pub use batch::{Batch, Source, Span};
pub use bert::Bert;
pub use cache::KvCache;
pub use conv::Conv;
pub use gpt::Gpt;
pub use lora::{Lora, Target};
pub use mlp::Mlp;
pub use network::{Network, Settings};
pub use ngram::NGram;
pub use pupil_tensor as tensor;
pub use replies::{Alignment, EncoderDecoder, Form, Writer};
pub use rnn::Rnn;
pub use rnnsearch::RnnSearch;
pub use seq2seq::Seq2Seq;
pub use transformer::Transformer;

use pupil_tensor::{Graph, Loss, Parameters, Tensor};

/// What training and evaluation need of an architecture.
pub trait Model {
    /// Its parameters by name.
    fn parameters(&self) -> &Parameters;

    /// Its parameters, to change.
    fn parameters_mut(&mut self) -> &mut Parameters;

    /// The weighted sum of the losses of a batch's targets, or what its aim makes of them ([`Aim`], GPTs only). With a tape, the gradient of `scale` times that sum is recorded.
    fn loss(&self, graph: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss;

    /// Scores of the token after each sequence's last one, `[S, V]`, f32; `None` of architectures that do not go on with a text.
    fn next_scores(&self, _graph: &mut Graph<'_>, _batch: &Batch) -> Option<Tensor> {
        None
    }
}
