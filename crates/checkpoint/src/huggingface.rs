//! Settings and tensor names of the families that Hugging Face's transformers know, so that PyTorch, vLLM and llama.cpp load what
//! pupil trained.
//!
//! pupil's own settings stand beside theirs in `config.json` under `pupil`, and are what pupil reads.

use pupil_model::gpt::{Config, Mlp, NormKind, NormPlace, Positions};
use pupil_model::tensor::kernels::rope::{Pairing, RopeScaling};
use serde_json::{Value, json};

use crate::Error;

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `OpenAIGPTLMHeadModel`.
    Gpt1,
    /// `GPT2LMHeadModel`.
    Gpt2,
    /// `LlamaForCausalLM`; also SmolLM.
    Llama,
    /// `MistralForCausalLM`: Llama with a window.
    Mistral,
    /// `Qwen2ForCausalLM`: Llama with biases of queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: Llama with normalised queries and keys.
    Qwen3,
    /// `GemmaForCausalLM`.
    Gemma,
    /// `Gemma2ForCausalLM`.
    Gemma2,
    /// `Gemma3ForCausalLM`.
    Gemma3,
}

impl Family {
    /// The family that expresses the settings exactly.
    ///
    /// # Errors
    /// Says what none of them can express.
    pub fn of(c: &Config) -> Result<Family, Error> {
        let no = |what: &str| Err(Error::Settings(what.to_owned()));
        if c.positions == Positions::Learned {
            let plain = c.kv_heads == c.heads && c.heads * c.head_width == c.width && !c.qk_norm;
            let norms = matches!(c.norm, NormKind::Layer | NormKind::LayerBias);
            let caps =
                c.attention_softcap.is_some() || c.logit_softcap.is_some() || c.attention_scale.is_some();
            if !plain
                || !norms
                || caps
                || c.window.is_some()
                || c.mlp.is_gated()
                || !c.tied
                || c.scaled_embedding
            {
                return no(
                    "learned positions come with GPT-2's form only (LayerNorm, equal heads, no gate, tied output)",
                );
            }
            return match c.norm_place {
                NormPlace::Pre => Ok(Family::Gpt2),
                NormPlace::Post => Ok(Family::Gpt1),
                NormPlace::Sandwich => no("learned positions with norms around each branch"),
            };
        }
        let Positions::Rotary { width, pairing, .. } = c.positions else { return no("positions") };
        if width != c.head_width || pairing != Pairing::Halves || c.bias {
            return no(
                "rotary positions come with whole heads, paired by halves, without biases of the projections",
            );
        }
        if c.norm == NormKind::RmsPlusOne {
            if c.mlp != Mlp::GeGlu || !c.scaled_embedding {
                return no("RMSNorm with gain 1 + g comes with Gemma's GeGLU and scaled embedding only");
            }
            return match (c.norm_place, c.qk_norm) {
                (NormPlace::Pre, false) => Ok(Family::Gemma),
                (NormPlace::Sandwich, false) => Ok(Family::Gemma2),
                (NormPlace::Sandwich, true) => Ok(Family::Gemma3),
                _ => no("Gemma's norms in another place"),
            };
        }
        let llama = c.norm == NormKind::Rms && c.norm_place == NormPlace::Pre && c.mlp == Mlp::SwiGlu;
        let caps = c.attention_softcap.is_some() || c.logit_softcap.is_some() || c.attention_scale.is_some();
        if !llama || caps || c.scaled_embedding || c.full_every != 0 {
            return no("rotary positions with RMSNorm come with Llama's SwiGLU, without caps");
        }
        match (c.qk_norm, c.qkv_bias, c.window) {
            (true, false, None) => Ok(Family::Qwen3),
            (false, true, None) => Ok(Family::Qwen2),
            (false, false, Some(_)) => Ok(Family::Mistral),
            (false, false, None) => Ok(Family::Llama),
            _ => no("normalised queries, biases and windows together"),
        }
    }

    /// Class name and `model_type`.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Family::Gpt1 => ("OpenAIGPTLMHeadModel", "openai-gpt"),
            Family::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Mistral => ("MistralForCausalLM", "mistral"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Family::Gemma => ("GemmaForCausalLM", "gemma"),
            Family::Gemma2 => ("Gemma2ForCausalLM", "gemma2"),
            Family::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
        }
    }

    fn is_gpt(self) -> bool {
        matches!(self, Family::Gpt1 | Family::Gpt2)
    }
}

/// `config.json` for the settings; `end` is the id that ends a text or a turn.
///
/// # Errors
/// If no family expresses them.
pub fn config(c: &Config, end: &[u32]) -> Result<Value, Error> {
    let family = Family::of(c)?;
    let (class, kind) = family.names();
    let mut v = json!({
        "architectures": [class], "model_type": kind, "torch_dtype": "float32", "dtype": "float32", "vocab_size": c.vocab,
        "tie_word_embeddings": c.tied, "use_cache": true, "bos_token_id": null, "pad_token_id": null, "eos_token_id": end,
        "pupil": c,
    });
    let mut set = |name: &str, value: Value| v[name] = value;
    if family.is_gpt() {
        let activation = match c.mlp {
            Mlp::Gelu => "gelu",
            Mlp::GeluTanh => "gelu_new",
            Mlp::Relu => "relu",
            _ => return Err(Error::Settings(format!("{:?} in GPT-2's form", c.mlp))),
        };
        set("n_positions", json!(c.context));
        set("n_embd", json!(c.width));
        set("n_layer", json!(c.layers));
        set("n_head", json!(c.heads));
        set("n_inner", json!(c.hidden));
        set("layer_norm_epsilon", json!(c.norm_eps));
        set(if family == Family::Gpt1 { "afn" } else { "activation_function" }, json!(activation));
        for name in ["resid_pdrop", "embd_pdrop", "attn_pdrop"] {
            set(name, json!(c.dropout));
        }
        return Ok(v);
    }
    let Positions::Rotary { theta, local_theta, scaling, .. } = c.positions else {
        unreachable!("checked by the family")
    };
    set("hidden_size", json!(c.width));
    set("intermediate_size", json!(c.hidden));
    set("num_hidden_layers", json!(c.layers));
    set("num_attention_heads", json!(c.heads));
    set("num_key_value_heads", json!(c.kv_heads));
    set("head_dim", json!(c.head_width));
    set("max_position_embeddings", json!(c.context));
    set("rms_norm_eps", json!(c.norm_eps));
    set("attention_bias", json!(false));
    set("attention_dropout", json!(0.0));
    set("mlp_bias", json!(false));
    let gelu = c.mlp == Mlp::GeGlu;
    set("hidden_act", json!(if gelu { "gelu_pytorch_tanh" } else { "silu" }));
    set("rope_theta", json!(theta));
    let rope = match scaling {
        RopeScaling::None => json!({"rope_type": "default", "rope_theta": theta}),
        RopeScaling::Linear { factor } => {
            json!({"rope_type": "linear", "factor": factor, "rope_theta": theta})
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor, "rope_theta": theta,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_position,
        }),
    };
    match family {
        Family::Gemma3 => {
            let local = json!({"rope_type": "default", "rope_theta": local_theta.unwrap_or(theta)});
            set("rope_parameters", json!({"full_attention": rope, "sliding_attention": local}));
            set("rope_local_base_freq", json!(local_theta.unwrap_or(theta)));
        }
        _ => set("rope_parameters", rope),
    }
    if let Some(window) = c.window {
        set("sliding_window", json!(window));
    }
    if matches!(family, Family::Gemma2 | Family::Gemma3) {
        let full =
            |i: usize| c.window.is_none() || (c.full_every > 0 && (i + 1).is_multiple_of(c.full_every));
        let kinds: Vec<&str> =
            (0..c.layers).map(|i| if full(i) { "full_attention" } else { "sliding_attention" }).collect();
        set("layer_types", json!(kinds));
        set("hidden_activation", json!("gelu_pytorch_tanh"));
        set("attn_logit_softcapping", json!(c.attention_softcap));
        set("final_logit_softcapping", json!(c.logit_softcap));
        let scale = c.attention_scale.map_or(c.head_width as f32, |s| 1.0 / (s * s));
        set("query_pre_attn_scalar", json!(scale));
    }
    if family == Family::Gemma {
        set("hidden_activation", json!("gelu_pytorch_tanh"));
    }
    if family == Family::Qwen3 || family == Family::Qwen2 {
        set("use_sliding_window", json!(false));
    }
    Ok(v)
}

/// A tensor of the file as a part of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name in the file.
    pub(crate) name: String,
    /// How many of the parameter's rows it holds (columns of a vector).
    pub(crate) rows: usize,
    /// Whether the file has it transposed.
    pub(crate) transposed: bool,
}

/// Which tensors of the file a parameter consists of, in order.
pub(crate) fn parts(family: Family, c: &Config, parameter: &str, shape: [usize; 2]) -> Vec<Part> {
    let rows = if shape[0] == 1 { shape[1] } else { shape[0] };
    let whole = |name: String| vec![Part { name, rows, transposed: false }];
    let (stem, kind) = parameter.rsplit_once('.').unwrap_or((parameter, ""));
    if family.is_gpt() {
        let prefix = if family == Family::Gpt2 { "transformer." } else { "" };
        let simple = match (stem, family) {
            ("tok", Family::Gpt2) => Some("wte"),
            ("tok", _) => Some("tokens_embed"),
            ("pos", Family::Gpt2) => Some("wpe"),
            ("pos", _) => Some("positions_embed"),
            ("norm", _) => Some("ln_f"),
            _ => None,
        };
        if let Some(s) = simple {
            return whole(format!("{prefix}{s}.{kind}"));
        }
        let Some((layer, part)) = stem.strip_prefix("blocks.").and_then(|s| s.split_once('.')) else {
            return whole(parameter.to_owned());
        };
        let part = match part {
            "n1" => "ln_1",
            "n2" => "ln_2",
            "qkv" => "attn.c_attn",
            "proj" => "attn.c_proj",
            "up" => "mlp.c_fc",
            "down" => "mlp.c_proj",
            other => other,
        };
        let transposed = part.contains("c_") && kind == "weight";
        return vec![Part { name: format!("{prefix}h.{layer}.{part}.{kind}"), rows, transposed }];
    }
    match stem {
        "tok" => return whole("model.embed_tokens.weight".into()),
        "norm" => return whole("model.norm.weight".into()),
        "head" => return whole("lm_head.weight".into()),
        _ => {}
    }
    let Some((layer, part)) = stem.strip_prefix("blocks.").and_then(|s| s.split_once('.')) else {
        return whole(parameter.to_owned());
    };
    let at = |name: &str| format!("model.layers.{layer}.{name}.{kind}");
    let sandwich = c.norm_place == NormPlace::Sandwich;
    let (q, kv) = (c.heads * c.head_width, c.kv_heads * c.head_width);
    let several = |list: &[(&str, usize)]| {
        list.iter().map(|&(n, rows)| Part { name: at(n), rows, transposed: false }).collect()
    };
    match part {
        "qkv" => several(&[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
        "up" => several(&[("mlp.gate_proj", c.hidden), ("mlp.up_proj", c.hidden)]),
        "proj" => whole(at("self_attn.o_proj")),
        "down" => whole(at("mlp.down_proj")),
        "q_norm" => whole(at("self_attn.q_norm")),
        "k_norm" => whole(at("self_attn.k_norm")),
        "n1" => whole(at("input_layernorm")),
        "n1_post" => whole(at("post_attention_layernorm")),
        "n2" if sandwich => whole(at("pre_feedforward_layernorm")),
        "n2" => whole(at("post_attention_layernorm")),
        "n2_post" => whole(at("post_feedforward_layernorm")),
        _ => whole(parameter.to_owned()),
    }
}

/// Tensors that the family has and the settings do not: biases of zero, by name and shape.
pub(crate) fn zeros(family: Family, c: &Config) -> Vec<(String, usize)> {
    if !family.is_gpt() {
        return Vec::new();
    }
    let prefix = if family == Family::Gpt2 { "transformer." } else { "" };
    let mut list = Vec::new();
    for i in 0..c.layers {
        if !c.qkv_bias {
            list.push((format!("{prefix}h.{i}.attn.c_attn.bias"), 3 * c.width));
        }
        if !c.bias {
            list.push((format!("{prefix}h.{i}.attn.c_proj.bias"), c.width));
            list.push((format!("{prefix}h.{i}.mlp.c_fc.bias"), c.hidden));
            list.push((format!("{prefix}h.{i}.mlp.c_proj.bias"), c.width));
        }
        if c.norm == NormKind::Layer {
            list.push((format!("{prefix}h.{i}.ln_1.bias"), c.width));
            list.push((format!("{prefix}h.{i}.ln_2.bias"), c.width));
        }
    }
    if c.norm == NormKind::Layer && family == Family::Gpt2 {
        list.push((format!("{prefix}ln_f.bias"), c.width));
    }
    list
}
