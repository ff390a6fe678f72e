//! Who takes part: each generation of language models with its year, its paper, its idea, and settings of about the same size.

use pupil_model::gpt::{Config as Gpt, Mlp as Activation, NormKind, NormPlace, Positions};
use pupil_model::{Settings, conv, families, mlp, rnn};
use pupil_train::optim;

/// One generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// When it was published.
    pub year: u16,
    /// Its name.
    pub name: &'static str,
    /// Who published it.
    pub paper: &'static str,
    /// Its idea in a sentence, in English and Chinese.
    pub idea: [&'static str; 2],
    /// What learns.
    pub learner: Learner,
}

/// What learns.
#[derive(Clone, Debug)]
pub enum Learner {
    /// Counts of sequences up to so many tokens.
    Counts(usize),
    /// A network, and how it is trained.
    Network(Box<Settings>, optim::Settings),
}

/// The width of word vectors and states with which networks get furthest in a budget of arithmetic, in floating-point operations.
///
/// A network that is too large reads too little in its time, one that is too small learns no more from reading. The best number of parameters grows
/// like the root of the budget (Hoffmann et al., "Training Compute-Optimal Large Language Models", 2022), and parameters like the square of the
/// width; the constant was measured on dialogues.
pub fn width(operations: f64) -> usize {
    let fitting = 128.0 * (operations / MEASURED).powf(0.25);
    (fitting / 32.0).round().clamp(2.0, 16.0) as usize * 32
}

/// Operations of the budget in which a width of 128 was the best.
const MEASURED: f64 = 2.5e13;

/// Adam for networks of that width: the best rate falls as they get wider.
pub(crate) fn adam(width: usize) -> optim::Settings {
    optim::Settings {
        learning_rate: 4e-3 * (128.0 / width as f32).sqrt(),
        beta2: 0.98,
        weight_decay: 0.01,
        ..optim::Settings::default()
    }
}

/// All generations for a vocabulary, in order of their years, with word vectors and states of about `width`.
pub fn road(vocab: usize, context: usize, width: usize) -> Vec<Generation> {
    let adam = adam(width);
    // Beside Muon AdamW has the embeddings alone, which bear more.
    let muon =
        optim::Settings { learning_rate: 1.2e-2, muon: Some(8e-3), beta2: 0.95, weight_decay: 0.02, ..adam };
    let network = |settings: Settings| Learner::Network(Box::new(settings), adam);
    let recurrent = |cell: rnn::Kind| {
        network(Settings::Rnn(rnn::Config {
            vocab,
            context,
            width,
            hidden: 2 * width,
            layers: 1,
            cell,
            dropout: 0.0,
        }))
    };
    let gpt = Gpt {
        norm: NormKind::LayerBias,
        positions: Positions::Learned,
        mlp: Activation::GeluTanh,
        qkv_bias: true,
        bias: true,
        ..families::llama(vocab, context, 4, width, [4, 4], 4 * width)
    };
    vec![
        Generation {
            year: 1995,
            name: "n-gram",
            paper: "Kneser & Ney",
            idea: [
                "Counts what followed the last few words. No learning beyond counting; nothing is known of words that are alike.",
                "数一数最近几个词之后出现过什么。除了计数没有别的学习，也不知道哪些词彼此相似。",
            ],
            learner: Learner::Counts(4),
        },
        Generation {
            year: 1990,
            name: "Elman RNN",
            paper: "Elman; backpropagation 1986",
            idea: [
                "Reads word by word and keeps a state. In principle it remembers everything, in practice the gradient fades within a few words.",
                "逐词阅读并保持一个状态。理论上什么都记得住，实际上梯度几个词之内就消失了。",
            ],
            learner: recurrent(rnn::Kind::Elman),
        },
        Generation {
            year: 1997,
            name: "LSTM",
            paper: "Hochreiter & Schmidhuber",
            idea: [
                "Gates decide what the state keeps, forgets and shows, so that the gradient survives long distances.",
                "用门控决定状态保留、忘记和输出什么，使梯度能传得很远。",
            ],
            learner: recurrent(rnn::Kind::Lstm),
        },
        Generation {
            year: 2003,
            name: "Window MLP",
            paper: "Bengio et al.",
            idea: [
                "Each word is a vector, so what is learned of one word helps with those like it; sees only the last eight.",
                "每个词是一个向量，学到的东西能推广到相似的词；只看最近八个词元。",
            ],
            learner: network(Settings::Mlp(mlp::Config {
                vocab,
                context,
                window: 8,
                width: width / 2,
                hidden: 2 * width,
            })),
        },
        Generation {
            year: 2014,
            name: "GRU",
            paper: "Cho et al.",
            idea: [
                "The LSTM with fewer gates: cheaper for each word, about as good.",
                "门更少的 LSTM：每个词更便宜，效果相近。",
            ],
            learner: recurrent(rnn::Kind::Gru),
        },
        Generation {
            year: 2017,
            name: "Causal CNN",
            paper: "Dauphin et al.",
            idea: [
                "Gated convolutions: all places at once, a reach that doubles from layer to layer, no state to carry.",
                "门控卷积：所有位置同时计算，视野逐层翻倍，不需要传递状态。",
            ],
            learner: network(Settings::Conv(conv::Config {
                vocab,
                context,
                layers: 6,
                width,
                kernel: 2,
                cycle: 6,
            })),
        },
        Generation {
            year: 2018,
            name: "GPT-1",
            paper: "Radford et al.; Transformer 2017",
            idea: [
                "Attention alone: every word looks directly at every earlier one, all places at once. Norms after each branch.",
                "只用注意力：每个词直接看到之前的所有词，所有位置同时计算。归一化放在每个分支之后。",
            ],
            learner: network(Settings::Gpt(Gpt { norm_place: NormPlace::Post, ..gpt.clone() })),
        },
        Generation {
            year: 2019,
            name: "GPT-2",
            paper: "Radford et al.",
            idea: [
                "The same with norms before each branch, which lets deep stacks learn steadily; and much more of it.",
                "同样的结构，归一化移到每个分支之前，深层网络因此学得更稳；并且大得多。",
            ],
            learner: network(Settings::Gpt(gpt)),
        },
        Generation {
            year: 2023,
            name: "Llama",
            paper: "Touvron et al.; Muon 2024",
            idea: [
                "Rotated positions, RMS norms, gated layers, and today's optimiser: what pupil itself trains.",
                "旋转位置编码、RMS 归一化、门控层，加上今天的优化器：pupil 自己训练的就是它。",
            ],
            learner: Learner::Network(
                Box::new(Settings::Gpt(families::llama(
                    vocab,
                    context,
                    4,
                    width,
                    [4, 4],
                    (width * 8 / 3).next_multiple_of(32),
                ))),
                muon,
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_settings_hold_and_sizes_are_alike() {
        for width in [64, 96, 128, 256, 512] {
            let networks = road(2048, 128, width).into_iter().filter_map(|g| match g.learner {
                Learner::Network(settings, _) => Some((g.name, *settings)),
                Learner::Counts(_) => None,
            });
            let sizes: Vec<(&str, u64)> = networks
                .map(|(name, settings)| {
                    settings.check().unwrap();
                    (name, settings.parameter_count())
                })
                .collect();
            let (least, most) = (sizes.iter().map(|s| s.1).min(), sizes.iter().map(|s| s.1).max());
            assert!(most.unwrap() < 3 * least.unwrap(), "{sizes:?}");
        }
    }

    #[test]
    fn a_wider_network_for_a_larger_budget() {
        assert_eq!(width(MEASURED), 128);
        assert_eq!(width(16.0 * MEASURED), 256);
        assert_eq!([width(0.0), width(f64::INFINITY)], [64, 512]);
        assert!((8..20).map(|e| width(10f64.powi(e))).is_sorted());
    }
}
