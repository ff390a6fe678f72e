//! Any architecture: what a run trains and a file holds, whichever it is.

use pupil_tensor::{Graph, Loss, Parameters, Tensor};
use serde::{Deserialize, Serialize};

use crate::Model;
use crate::batch::Batch;
use crate::bert::{self, Bert};
use crate::conv::{self, Conv};
use crate::gpt::{self, Gpt};
use crate::mlp::{self, Mlp};
use crate::replies::EncoderDecoder;
use crate::rnn::{self, Rnn};
use crate::rnnsearch::{self, RnnSearch};
use crate::seq2seq::{self, Seq2Seq};
use crate::transformer::{self, Transformer};

/// The settings of an architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "lowercase")]
pub enum Settings {
    /// A GPT.
    Gpt(gpt::Config),
    /// A window of words and a hidden layer.
    Mlp(mlp::Config),
    /// A causal convolutional model.
    Conv(conv::Config),
    /// A recurrent language model.
    Rnn(rnn::Config),
    /// A recurrent encoder and decoder.
    Seq2Seq(seq2seq::Config),
    /// A BERT.
    Bert(bert::Config),
    /// A recurrent encoder and a decoder with attention.
    RnnSearch(rnnsearch::Config),
    /// The first Transformer, encoder and decoder.
    Transformer(transformer::Config),
}

/// A model of some architecture.
pub enum Network {
    /// A GPT.
    Gpt(Box<Gpt>),
    /// A window of words and a hidden layer.
    Mlp(Box<Mlp>),
    /// A causal convolutional model.
    Conv(Box<Conv>),
    /// A recurrent language model.
    Rnn(Box<Rnn>),
    /// A recurrent encoder and decoder.
    Seq2Seq(Box<Seq2Seq>),
    /// A BERT.
    Bert(Box<Bert>),
    /// A recurrent encoder and a decoder with attention.
    RnnSearch(Box<RnnSearch>),
    /// The first Transformer, encoder and decoder.
    Transformer(Box<Transformer>),
}

impl Network {
    /// A fresh model.
    ///
    /// # Panics
    /// If the settings contradict each other: see [`Settings::check`].
    pub fn new(settings: Settings, seed: u64) -> Network {
        match settings {
            Settings::Gpt(c) => Network::Gpt(Box::new(Gpt::new(c, seed))),
            Settings::Mlp(c) => Network::Mlp(Box::new(Mlp::new(c, seed))),
            Settings::Conv(c) => Network::Conv(Box::new(Conv::new(c, seed))),
            Settings::Rnn(c) => Network::Rnn(Box::new(Rnn::new(c, seed))),
            Settings::Seq2Seq(c) => Network::Seq2Seq(Box::new(Seq2Seq::new(c, seed))),
            Settings::Bert(c) => Network::Bert(Box::new(Bert::new(c, seed))),
            Settings::RnnSearch(c) => Network::RnnSearch(Box::new(RnnSearch::new(c, seed))),
            Settings::Transformer(c) => Network::Transformer(Box::new(Transformer::new(c, seed))),
        }
    }

    /// A model whose parameters are all zero, to be loaded.
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn zeros(settings: Settings) -> Network {
        match settings {
            Settings::Gpt(c) => Network::Gpt(Box::new(Gpt::zeros(c))),
            Settings::Mlp(c) => Network::Mlp(Box::new(Mlp::zeros(c))),
            Settings::Conv(c) => Network::Conv(Box::new(Conv::zeros(c))),
            Settings::Rnn(c) => Network::Rnn(Box::new(Rnn::zeros(c))),
            Settings::Seq2Seq(c) => Network::Seq2Seq(Box::new(Seq2Seq::zeros(c))),
            Settings::Bert(c) => Network::Bert(Box::new(Bert::zeros(c))),
            Settings::RnnSearch(c) => Network::RnnSearch(Box::new(RnnSearch::zeros(c))),
            Settings::Transformer(c) => Network::Transformer(Box::new(Transformer::zeros(c))),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> Settings {
        match self {
            Network::Gpt(m) => Settings::Gpt(m.config.clone()),
            Network::Mlp(m) => Settings::Mlp(m.config.clone()),
            Network::Conv(m) => Settings::Conv(m.config.clone()),
            Network::Rnn(m) => Settings::Rnn(m.config.clone()),
            Network::Seq2Seq(m) => Settings::Seq2Seq(m.config.clone()),
            Network::Bert(m) => Settings::Bert(m.config.clone()),
            Network::RnnSearch(m) => Settings::RnnSearch(m.config.clone()),
            Network::Transformer(m) => Settings::Transformer(m.config.clone()),
        }
    }

    /// Itself, if it is an encoder and a decoder.
    pub fn encoder_decoder(&self) -> Option<&dyn EncoderDecoder> {
        match self {
            Network::Seq2Seq(m) => Some(&**m),
            Network::RnnSearch(m) => Some(&**m),
            Network::Transformer(m) => Some(&**m),
            _ => None,
        }
    }

    fn model(&self) -> &dyn Model {
        match self {
            Network::Gpt(m) => &**m,
            Network::Mlp(m) => &**m,
            Network::Conv(m) => &**m,
            Network::Rnn(m) => &**m,
            Network::Seq2Seq(m) => &**m,
            Network::Bert(m) => &**m,
            Network::RnnSearch(m) => &**m,
            Network::Transformer(m) => &**m,
        }
    }

    fn model_mut(&mut self) -> &mut dyn Model {
        match self {
            Network::Gpt(m) => &mut **m,
            Network::Mlp(m) => &mut **m,
            Network::Conv(m) => &mut **m,
            Network::Rnn(m) => &mut **m,
            Network::Seq2Seq(m) => &mut **m,
            Network::Bert(m) => &mut **m,
            Network::RnnSearch(m) => &mut **m,
            Network::Transformer(m) => &mut **m,
        }
    }
}

impl From<Gpt> for Network {
    fn from(gpt: Gpt) -> Network {
        Network::Gpt(Box::new(gpt))
    }
}

impl From<Bert> for Network {
    fn from(bert: Bert) -> Network {
        Network::Bert(Box::new(bert))
    }
}

impl Model for Network {
    fn parameters(&self) -> &Parameters {
        self.model().parameters()
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        self.model_mut().parameters_mut()
    }

    fn loss(&self, graph: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        self.model().loss(graph, batch, scale)
    }

    fn next_scores(&self, graph: &mut Graph<'_>, batch: &Batch) -> Option<Tensor> {
        self.model().next_scores(graph, batch)
    }
}

impl Settings {
    /// Says what contradicts itself.
    ///
    /// # Errors
    /// Names the settings.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Settings::Gpt(c) => c.check(),
            Settings::Mlp(c) => c.check(),
            Settings::Conv(c) => c.check(),
            Settings::Rnn(c) => c.check(),
            Settings::Seq2Seq(c) => c.check(),
            Settings::Bert(c) => c.check(),
            Settings::RnnSearch(c) => c.check(),
            Settings::Transformer(c) => c.check(),
        }
    }

    /// Numbers in all parameters.
    pub fn parameter_count(&self) -> u64 {
        match self {
            Settings::Gpt(c) => c.parameter_count(),
            Settings::Mlp(c) => c.parameter_count(),
            Settings::Conv(c) => c.parameter_count(),
            Settings::Rnn(c) => c.parameter_count(),
            Settings::Seq2Seq(c) => c.parameter_count(),
            Settings::Bert(c) => c.parameter_count(),
            Settings::RnnSearch(c) => c.parameter_count(),
            Settings::Transformer(c) => c.parameter_count(),
        }
    }

    /// Token ids.
    pub fn vocab(&self) -> usize {
        match self {
            Settings::Gpt(c) => c.vocab,
            Settings::Mlp(c) => c.vocab,
            Settings::Conv(c) => c.vocab,
            Settings::Rnn(c) => c.vocab,
            Settings::Seq2Seq(c) => c.vocab,
            Settings::Bert(c) => c.vocab,
            Settings::RnnSearch(c) => c.vocab,
            Settings::Transformer(c) => c.vocab,
        }
    }

    /// Most tokens that a sequence has in training.
    pub fn context(&self) -> usize {
        match self {
            Settings::Gpt(c) => c.context,
            Settings::Mlp(c) => c.context,
            Settings::Conv(c) => c.context,
            Settings::Rnn(c) => c.context,
            Settings::Bert(c) => c.context,
            Settings::Seq2Seq(c) => c.form.length,
            Settings::RnnSearch(c) => c.form.length,
            Settings::Transformer(c) => c.form.length,
        }
    }

    /// Bytes of activations that a training step of `tokens` tokens holds at its peak; of recurrent networks gates, records, states and their
    /// gradients, and a chunk of logits.
    pub fn activation_bytes(&self, tokens: usize, operand: usize) -> usize {
        let recurrent = |width: usize, hidden: usize, layers: usize, kind: rnn::Kind, vocab: usize| {
            let gates = pupil_tensor::Cell::from(kind).gates();
            let layer = 4 * (width + (4 * gates + 4) * hidden);
            let logits =
                ((4 << 20) / vocab.max(1)).clamp(64, tokens.max(64)).min(tokens) * vocab * (4 + operand);
            tokens * layers * layer + logits
        };
        match self {
            Settings::Gpt(c) => c.activation_bytes(tokens, operand),
            Settings::Mlp(c) => tokens * 4 * (c.window * c.width + (c.window + 2) * c.hidden + 2 * c.vocab),
            Settings::Conv(c) => {
                tokens * (c.layers * c.width * (4 * (3 + 3 * c.kernel) + operand * c.kernel) + 8 * c.vocab)
            }
            Settings::Rnn(c) => recurrent(c.width, c.hidden, c.layers, c.cell, c.vocab),
            Settings::Seq2Seq(c) => recurrent(c.width, c.hidden, 1, c.cell, c.vocab),
            Settings::Bert(c) => c.activation_bytes(tokens, operand),
            Settings::RnnSearch(c) => {
                // What a token that is read offers, and its gradient; what the decoder asked and got.
                let gates = pupil_tensor::Cell::from(c.cell).gates() * c.hidden;
                let attention = 4 * (4 * (c.keys + gates + 2 * c.width) + c.form.length);
                recurrent(c.width, c.hidden, 2, c.cell, c.vocab) + tokens * attention
            }
            Settings::Transformer(c) => c.activation_bytes(tokens, operand),
        }
    }
}
