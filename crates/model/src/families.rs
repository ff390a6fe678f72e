//! Known models as settings: the families that a GPT here can be, and the presets that benches and recipes use.
//!
//! Numbers are those of the published configurations; their parameter counts are tested against the published counts.

use pupil_tensor::kernels::rope::{Pairing, RopeScaling};

use crate::gpt::{Config, Mlp, NormKind, NormPlace, Positions};

/// GPT-2's form: pre-norm LayerNorm with biases, learned positions, tanh GELU, biases, tied output.
pub fn gpt2(vocab: usize, context: usize, layers: usize, width: usize, heads: usize) -> Config {
    Config {
        vocab,
        context,
        layers,
        width,
        heads,
        kv_heads: heads,
        head_width: width / heads,
        hidden: 4 * width,
        norm: NormKind::LayerBias,
        norm_eps: 1e-5,
        norm_place: NormPlace::Pre,
        positions: Positions::Learned,
        mlp: Mlp::GeluTanh,
        qkv_bias: true,
        bias: true,
        tied: true,
        qk_norm: false,
        window: None,
        full_every: 0,
        attention_softcap: None,
        logit_softcap: None,
        attention_scale: None,
        scaled_embedding: false,
        dropout: 0.0,
    }
}

/// nanoGPT's default form: GPT-2 without biases, exact GELU.
pub fn nano(vocab: usize, context: usize, layers: usize, width: usize, heads: usize) -> Config {
    let plain = gpt2(vocab, context, layers, width, heads);
    Config { norm: NormKind::Layer, mlp: Mlp::Gelu, qkv_bias: false, bias: false, ..plain }
}

/// Llama's form: RMSNorm, rotary positions by halves, SwiGLU, no biases, grouped queries, tied output.
pub fn llama(
    vocab: usize,
    context: usize,
    layers: usize,
    width: usize,
    [heads, kv_heads]: [usize; 2],
    hidden: usize,
) -> Config {
    Config {
        kv_heads,
        hidden,
        norm: NormKind::Rms,
        positions: rotary(10_000.0, width / heads),
        mlp: Mlp::SwiGlu,
        ..nano(vocab, context, layers, width, heads)
    }
}

fn rotary(theta: f64, width: usize) -> Positions {
    Positions::Rotary {
        theta,
        local_theta: None,
        width,
        pairing: Pairing::Halves,
        scaling: RopeScaling::None,
    }
}

/// Names that [`preset`] knows.
pub const PRESETS: [&str; 23] = [
    "char-tiny",
    "char-small",
    "base-30m",
    "llama-30m",
    "gpt1",
    "gpt2",
    "gpt2-medium",
    "gpt2-large",
    "gpt2-xl",
    "gpt3",
    "llama2-7b",
    "llama3-8b",
    "llama3.2-1b",
    "mistral-7b",
    "qwen2-0.5b",
    "qwen2-7b",
    "qwen3-0.6b",
    "qwen3-8b",
    "smollm2-135m",
    "smollm2-360m",
    "gemma-2b",
    "gemma2-2b",
    "gemma3-1b",
];

/// The settings of a known model; `None` if the name is not in [`PRESETS`].
pub fn preset(name: &str) -> Option<Config> {
    let theta = |c: Config, theta: f64| Config { positions: rotary(theta, c.head_width), ..c };
    Some(match name {
        "char-tiny" => nano(65, 64, 4, 128, 4),
        "char-small" => nano(65, 256, 6, 384, 6),
        "base-30m" => nano(8192, 512, 8, 512, 8),
        "llama-30m" => llama(8192, 512, 8, 512, [8, 4], 1376),
        "gpt1" => Config { norm_place: NormPlace::Post, ..gpt2(40_478, 512, 12, 768, 12) },
        "gpt2" => gpt2(50_257, 1024, 12, 768, 12),
        "gpt2-medium" => gpt2(50_257, 1024, 24, 1024, 16),
        "gpt2-large" => gpt2(50_257, 1024, 36, 1280, 20),
        "gpt2-xl" => gpt2(50_257, 1024, 48, 1600, 25),
        "gpt3" => gpt2(50_257, 2048, 96, 12_288, 96),
        "llama2-7b" => Config { tied: false, ..llama(32_000, 4096, 32, 4096, [32, 32], 11_008) },
        "llama3-8b" => theta(Config { tied: false, ..llama(128_256, 8192, 32, 4096, [32, 8], 14_336) }, 5e5),
        "llama3.2-1b" => {
            let scaling = RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position: 8192,
            };
            let positions = Positions::Rotary {
                theta: 5e5,
                local_theta: None,
                width: 64,
                pairing: Pairing::Halves,
                scaling,
            };
            Config { positions, ..llama(128_256, 131_072, 16, 2048, [32, 8], 8192) }
        }
        "mistral-7b" => {
            Config { tied: false, window: Some(4096), ..llama(32_000, 32_768, 32, 4096, [32, 8], 14_336) }
        }
        "qwen2-0.5b" => qwen2(151_936, 24, 896, [14, 2], 4864, true),
        "qwen2-7b" => qwen2(152_064, 28, 3584, [28, 4], 18_944, false),
        "qwen3-0.6b" => qwen3(28, 1024, [16, 8], 3072, true),
        "qwen3-8b" => qwen3(36, 4096, [32, 8], 12_288, false),
        "smollm2-135m" => theta(llama(49_152, 8192, 30, 576, [9, 3], 1536), 1e5),
        "smollm2-360m" => theta(llama(49_152, 8192, 32, 960, [15, 5], 2560), 1e5),
        "gemma-2b" => gemma(256_000, 18, 2048, [8, 1], 256, 16_384),
        "gemma2-2b" => Config {
            norm_place: NormPlace::Sandwich,
            window: Some(4096),
            full_every: 2,
            attention_softcap: Some(50.0),
            logit_softcap: Some(30.0),
            ..gemma(256_000, 26, 2304, [8, 4], 256, 9216)
        },
        "gemma3-1b" => Config {
            norm_place: NormPlace::Sandwich,
            context: 32_768,
            window: Some(512),
            full_every: 6,
            qk_norm: true,
            positions: Positions::Rotary {
                theta: 1e6,
                local_theta: Some(1e4),
                width: 256,
                pairing: Pairing::Halves,
                scaling: RopeScaling::None,
            },
            ..gemma(262_144, 26, 1152, [4, 1], 256, 6912)
        },
        _ => return None,
    })
}

fn qwen2(vocab: usize, layers: usize, width: usize, heads: [usize; 2], hidden: usize, tied: bool) -> Config {
    let plain = llama(vocab, 32_768, layers, width, heads, hidden);
    Config { positions: rotary(1e6, plain.head_width), norm_eps: 1e-6, qkv_bias: true, tied, ..plain }
}

fn qwen3(layers: usize, width: usize, heads: [usize; 2], hidden: usize, tied: bool) -> Config {
    let plain = llama(151_936, 40_960, layers, width, heads, hidden);
    Config { head_width: 128, positions: rotary(1e6, 128), norm_eps: 1e-6, qk_norm: true, tied, ..plain }
}

fn gemma(
    vocab: usize,
    layers: usize,
    width: usize,
    heads: [usize; 2],
    head_width: usize,
    hidden: usize,
) -> Config {
    Config {
        head_width,
        positions: rotary(10_000.0, head_width),
        norm: NormKind::RmsPlusOne,
        norm_eps: 1e-6,
        mlp: Mlp::GeGlu,
        scaled_embedding: true,
        ..llama(vocab, 8192, layers, width, heads, hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_the_published_ones() {
        for (name, count) in [
            ("gpt1", 116_534_784),
            ("gpt2", 124_439_808),
            ("gpt2-medium", 354_823_168),
            ("gpt2-large", 774_030_080),
            ("gpt2-xl", 1_557_611_200),
            ("gpt3", 174_604_259_328),
            ("llama2-7b", 6_738_415_616),
            ("llama3-8b", 8_030_261_248),
            ("llama3.2-1b", 1_235_814_400),
            ("mistral-7b", 7_241_732_096),
            ("qwen2-0.5b", 494_032_768),
            ("qwen2-7b", 7_615_616_512),
            ("qwen3-0.6b", 596_049_920),
            ("qwen3-8b", 8_190_735_360),
            ("smollm2-135m", 134_515_008),
            ("smollm2-360m", 361_821_120),
            ("gemma-2b", 2_506_172_416),
            ("gemma2-2b", 2_614_341_888),
            ("gemma3-1b", 999_885_952),
        ] {
            let c = preset(name).unwrap();
            assert_eq!(c.check(), Ok(()), "{name}");
            assert_eq!(c.parameter_count(), count, "{name}");
        }
    }

    #[test]
    fn every_preset_is_known_and_consistent() {
        for name in PRESETS {
            let c = preset(name).unwrap();
            assert_eq!(c.check(), Ok(()), "{name}");
        }
        assert_eq!(preset("gpt9"), None);
    }
}
