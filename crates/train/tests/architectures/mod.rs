//! Small models of every architecture, and what they learn from.

use pupil_data::Items;
use pupil_model::gpt::Config;
use pupil_model::{Settings as Architecture, families};

/// A small GPT.
pub(crate) fn config(vocab: usize) -> Config {
    Config { dropout: 0.1, ..families::llama(vocab, 32, 2, 48, [4, 2], 64) }
}

/// Small models of every architecture that `train::step` learns.
pub(crate) fn architectures(vocab: usize) -> Vec<Architecture> {
    use pupil_model::{Form, conv, mlp, rnn, rnnsearch, seq2seq, transformer};
    let recurrent = |cell| {
        Architecture::Rnn(rnn::Config {
            vocab,
            context: 32,
            width: 12,
            hidden: 20,
            layers: 2,
            cell,
            dropout: 0.1,
        })
    };
    let form = Form { length: 40, padded: false, start: 1, start_is_said: true, end: 0 };
    let attentive = |cell| {
        Architecture::RnnSearch(rnnsearch::Config {
            vocab,
            form,
            width: 12,
            hidden: 20,
            keys: 16,
            cell,
            bidirectional: true,
            dropout: 0.1,
        })
    };
    vec![
        Architecture::Gpt(config(vocab)),
        Architecture::Mlp(mlp::Config { vocab, context: 32, window: 3, width: 12, hidden: 20 }),
        Architecture::Conv(conv::Config { vocab, context: 32, layers: 3, width: 16, kernel: 3, cycle: 2 }),
        recurrent(rnn::Kind::Elman),
        recurrent(rnn::Kind::Lstm),
        recurrent(rnn::Kind::Gru),
        Architecture::Seq2Seq(seq2seq::Config { vocab, form, width: 12, hidden: 20, cell: rnn::Kind::Lstm }),
        attentive(rnn::Kind::Lstm),
        attentive(rnn::Kind::Gru),
        Architecture::Transformer(transformer::Config {
            vocab,
            form,
            encoder_layers: 2,
            decoder_layers: 2,
            width: 24,
            heads: 3,
            hidden: 40,
            activation: transformer::Kind::Relu,
            dropout: 0.1,
            smoothing: 0.1,
        }),
        Architecture::Bert(bert(vocab)),
    ]
}

pub(crate) fn bert(vocab: usize) -> pupil_model::bert::Config {
    pupil_model::bert::Config {
        vocab,
        context: 40,
        kinds: 2,
        layers: 2,
        width: 24,
        heads: 2,
        hidden: 40,
        norm_eps: 1e-12,
        dropout: 0.1,
        head: pupil_model::bert::Head::Pretraining,
    }
}

/// What an architecture learns from: BERT sequences with hidden words, all others pairs.
pub(crate) fn sequences(settings: &Architecture) -> Items {
    use pupil_data::masked::{Masking, Pairing, Piece};
    let Architecture::Bert(c) = settings else { return pairs(settings.vocab() as u32) };
    let documents: Vec<Vec<Vec<u32>>> = (0..12)
        .map(|d| {
            (0..9).map(|s| (0..3 + (s + d) % 8).map(|i| 4 + (s * 5 + d + i) % 7 * 8).collect()).collect()
        })
        .collect();
    let pieces = (0..c.vocab).map(|id| if id < 4 { Piece::Special } else { Piece::Begins }).collect();
    let masking = Masking { share: 0.15, mask: 3, pieces, whole_words: false };
    Pairing { first: 1, end: 2, context: c.context, pairs: true, seed: 5 }.items(&documents, masking)
}

/// Pairs of sequences; models without an encoder do not look at what is read.
fn pairs(vocab: u32) -> Items {
    let mut items = Items::default();
    for s in 0..60u32 {
        let ids = |n: u32, step: u32| -> Vec<u32> { (0..n).map(|i| (i * step + s) % vocab).collect() };
        items.push_pair(&ids(3 + s % 9, 2), &ids(4 + s * 7 % 30, 1 + s % 3));
    }
    items
}
