//! GPTs that transformers wrote: their `config.json` as settings, their tensors under the names that pupil's own files have.
//!
//! A setting that changes the arithmetic and that no [`Config`] expresses is refused by its name, never passed over.

use std::collections::HashMap;

use pupil_model::families;
use pupil_model::gpt::{Config, Mlp, NormKind, NormPlace, Positions};
use pupil_model::tensor::kernels::rope::{Pairing, RopeScaling};
use serde_json::Value;

use crate::huggingface::Family;
use crate::tensors::Stored;

/// Numbers of settings above this are damage: no model has them, and products of two of them still fit into 64 bits.
const LARGEST: u64 = 1 << 31;

/// Reads fields of a `config.json`; each error names its field.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn given(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn whole(&self, name: &str) -> Result<usize, String> {
        let v = self.given(name).ok_or(format!("`{name}` is missing"))?;
        let n = v.as_u64().filter(|n| (1..=LARGEST).contains(n));
        n.map(|n| n as usize).ok_or(format!("`{name}` is {v}; expected a whole number from 1 to {LARGEST}"))
    }

    fn whole_or(&self, name: &str, default: usize) -> Result<usize, String> {
        if self.given(name).is_some() { self.whole(name) } else { Ok(default) }
    }

    fn real_or(&self, name: &str, default: f64) -> Result<f64, String> {
        let Some(v) = self.given(name) else { return Ok(default) };
        let x = v.as_f64().filter(|x| x.is_finite() && x.abs() < f64::from(f32::MAX) && *x > 0.0);
        x.ok_or(format!("`{name}` is {v}; expected a positive number"))
    }

    fn is(&self, name: &str, default: bool) -> Result<bool, String> {
        let Some(v) = self.given(name) else { return Ok(default) };
        v.as_bool().ok_or(format!("`{name}` is {v}; expected true or false"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.given(name).and_then(Value::as_str)
    }

    /// Refuses settings whose value is not the one named.
    fn only(&self, list: &[(&str, Value)]) -> Result<(), String> {
        for (name, value) in list {
            if let Some(v) = self.given(name).filter(|v| *v != value) {
                return Err(format!("`{name}` is {v}: this version has only {value}"));
            }
        }
        Ok(())
    }
}

/// The settings of a model that has none of pupil's own.
///
/// # Errors
/// Names the field that is missing, has no meaning, or asks for what a GPT here cannot do.
pub(crate) fn settings(config: &Value) -> Result<Config, String> {
    let f = Fields(config);
    let kind = f.text("model_type").ok_or("`model_type` is missing")?;
    if let Some(q) = f.given("quantization_config") {
        let method = q["quant_method"].as_str().unwrap_or("?");
        if method != "compressed-tensors" {
            return Err(format!(
                "`quantization_config`: {method} weights are not read; load the model that they were made from"
            ));
        }
    }
    let c = match kind {
        "gpt2" | "openai-gpt" => gpt(&f, kind)?,
        "llama" | "mistral" | "qwen2" | "qwen3" => llama(&f, kind)?,
        "gemma" | "gemma2" | "gemma3_text" => gemma(&f, kind)?,
        other => {
            return Err(format!(
                "`model_type` is {other:?} and there are no `pupil` settings: this version reads gpt2, openai-gpt, llama, mistral, qwen2, qwen3, \
                 gemma, gemma2, gemma3_text, bert and marian"
            ));
        }
    };
    layer_types(&f, &c)?;
    c.check()?;
    Family::of(&c).map_err(|e| e.to_string())?;
    Ok(c)
}

fn gpt(f: &Fields<'_>, kind: &str) -> Result<Config, String> {
    f.only(&[
        ("scale_attn_weights", true.into()),
        ("scale_attn_by_inverse_layer_idx", false.into()),
        ("add_cross_attention", false.into()),
        ("tie_word_embeddings", true.into()),
    ])?;
    let context = f.whole(if f.given("n_positions").is_some() { "n_positions" } else { "n_ctx" })?;
    let (width, heads) = (f.whole("n_embd")?, f.whole("n_head")?);
    let plain = families::gpt2(f.whole("vocab_size")?, context, f.whole("n_layer")?, width, heads);
    let field = if kind == "gpt2" { "activation_function" } else { "afn" };
    let mlp = match f.text(field).unwrap_or(if kind == "gpt2" { "gelu_new" } else { "gelu" }) {
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Mlp::GeluTanh,
        // GPT-1's word for the tanh form.
        "gelu" if kind == "openai-gpt" => Mlp::GeluTanh,
        "gelu" => Mlp::Gelu,
        "relu" => Mlp::Relu,
        other => return Err(format!("`{field}` is {other:?}: this version has gelu, gelu_new and relu")),
    };
    let norm_place = if kind == "gpt2" { NormPlace::Pre } else { NormPlace::Post };
    let norm_eps = f.real_or("layer_norm_epsilon", 1e-5)? as f32;
    Ok(Config { mlp, norm_place, norm_eps, hidden: f.whole_or("n_inner", 4 * width)?, ..plain })
}

fn llama(f: &Fields<'_>, kind: &str) -> Result<Config, String> {
    f.only(&[
        ("mlp_bias", false.into()),
        ("hidden_act", "silu".into()),
        ("use_sliding_window", false.into()),
    ])?;
    if kind != "qwen2" {
        f.only(&[("attention_bias", false.into())])?;
    }
    let own = |width: usize, heads: usize| if kind == "qwen3" { 128 } else { width / heads.max(1) };
    let plain = grouped(f, own)?;
    let window = match kind {
        // Where it is not named at all, it is that of the first Mistral.
        "mistral" if f.0.get("sliding_window").is_none() => Some(4096),
        "mistral" if f.given("sliding_window").is_some() => Some(f.whole("sliding_window")?),
        _ => None,
    };
    Ok(Config {
        window: window.filter(|w| *w < plain.context),
        qkv_bias: kind == "qwen2",
        qk_norm: kind == "qwen3",
        tied: f.is("tie_word_embeddings", false)?,
        positions: rotary(f, plain.head_width, 10_000.0, None)?,
        ..plain
    })
}

fn gemma(f: &Fields<'_>, kind: &str) -> Result<Config, String> {
    f.only(&[("attention_bias", false.into()), ("use_bidirectional_attention", false.into())])?;
    // The first files say gelu and mean the tanh form, as their authors wrote later.
    match f.text("hidden_activation").or(f.text("hidden_act")).unwrap_or("gelu_pytorch_tanh") {
        "gelu_pytorch_tanh" => {}
        "gelu" if kind == "gemma" => {}
        other => {
            return Err(format!("`hidden_activation` is {other:?}: this version has only gelu_pytorch_tanh"));
        }
    }
    let plain = grouped(f, |_, _| 256)?;
    let c = Config {
        norm: NormKind::RmsPlusOne,
        mlp: Mlp::GeGlu,
        scaled_embedding: true,
        tied: f.is("tie_word_embeddings", true)?,
        ..plain
    };
    if kind == "gemma" {
        return Ok(Config { positions: rotary(f, c.head_width, 10_000.0, None)?, ..c });
    }
    let scale = f.real_or("query_pre_attn_scalar", 256.0)?;
    let cap = |name: &str| f.given(name).map(|_| f.real_or(name, 1.0).map(|x| x as f32)).transpose();
    let is_third = kind == "gemma3_text";
    let local = is_third.then_some(10_000.0);
    Ok(Config {
        norm_place: NormPlace::Sandwich,
        qk_norm: is_third,
        window: Some(f.whole_or("sliding_window", 4096)?),
        full_every: if is_third { full_every(f)? } else { 2 },
        attention_softcap: cap("attn_logit_softcapping")?,
        logit_softcap: cap("final_logit_softcapping")?,
        attention_scale: (scale != c.head_width as f64).then_some(1.0 / (scale as f32).sqrt()),
        positions: rotary(f, c.head_width, if is_third { 1e6 } else { 10_000.0 }, local)?,
        ..c
    })
}

/// What the models with rotary positions share. `own` gives the width of a head where the file does not.
fn grouped(f: &Fields<'_>, own: impl Fn(usize, usize) -> usize) -> Result<Config, String> {
    let (width, heads) = (f.whole("hidden_size")?, f.whole("num_attention_heads")?);
    let kv_heads = f.whole_or("num_key_value_heads", heads)?;
    let head_width = f.whole_or("head_dim", own(width, heads))?;
    let (vocab, context) = (f.whole("vocab_size")?, f.whole("max_position_embeddings")?);
    let plain = families::llama(
        vocab,
        context,
        f.whole("num_hidden_layers")?,
        width,
        [heads, kv_heads],
        f.whole("intermediate_size")?,
    );
    Ok(Config { head_width, norm_eps: f.real_or("rms_norm_eps", 1e-6)? as f32, ..plain })
}

/// Of Gemma 3: one layer in how many sees everything.
fn full_every(f: &Fields<'_>) -> Result<usize, String> {
    if f.given("sliding_window_pattern").is_some() {
        return f.whole("sliding_window_pattern");
    }
    let kinds = f.given("layer_types").and_then(Value::as_array);
    let first = kinds.and_then(|k| k.iter().position(|t| t == "full_attention"));
    Ok(match (kinds, first) {
        (_, Some(i)) => i + 1,
        (Some(_), None) => 0,
        (None, None) => 6,
    })
}

/// Rotary positions: the base, and how a longer context is reached, under their names of today or yesterday.
fn rotary(f: &Fields<'_>, width: usize, theta: f64, local: Option<f64>) -> Result<Positions, String> {
    f.only(&[("partial_rotary_factor", 1.0.into())])?;
    let nested = f.given("rope_parameters");
    let of = |layers: &str| nested.map(|n| n.get(layers).filter(|v| !v.is_null()).unwrap_or(n));
    let full = of("full_attention");
    let base = |rope: Option<&Value>, old: &str, default: f64| -> Result<f64, String> {
        match rope.filter(|r| r.get("rope_theta").is_some()) {
            Some(r) => Fields(r).real_or("rope_theta", default),
            None => f.real_or(old, default),
        }
    };
    let (theta, local) = (
        base(full, "rope_theta", theta)?,
        local.map(|l| base(of("sliding_attention"), "rope_local_base_freq", l)).transpose()?,
    );
    let scaling = match f.given("rope_scaling").or(full) {
        None => RopeScaling::None,
        Some(v) => {
            let r = Fields(v);
            r.only(&[("partial_rotary_factor", 1.0.into())])?;
            let factor = || {
                r.given("factor").ok_or("`rope_scaling`: `factor` is missing".to_owned())?;
                r.real_or("factor", 1.0)
            };
            match r.text("rope_type").or(r.text("type")).unwrap_or("default") {
                "default" => RopeScaling::None,
                "linear" => RopeScaling::Linear { factor: factor()? },
                "llama3" => RopeScaling::Llama3 {
                    factor: factor()?,
                    low_freq_factor: r.real_or("low_freq_factor", 1.0)?,
                    high_freq_factor: r.real_or("high_freq_factor", 4.0)?,
                    original_max_position: r.whole("original_max_position_embeddings")?,
                },
                other => {
                    return Err(format!(
                        "`rope_scaling` is {other:?}: this version has default, linear and llama3"
                    ));
                }
            }
        }
    };
    Ok(Positions::Rotary {
        theta,
        local_theta: local.filter(|l| *l != theta),
        width,
        pairing: Pairing::Halves,
        scaling,
    })
}

/// Refuses layers that are of other kinds than the settings make them.
fn layer_types(f: &Fields<'_>, c: &Config) -> Result<(), String> {
    let Some(kinds) = f.given("layer_types") else { return Ok(()) };
    let list = kinds.as_array().ok_or("`layer_types` is no list")?;
    if list.len() != c.layers {
        return Err(format!("`layer_types` names {} layers, there are {}", list.len(), c.layers));
    }
    for (i, kind) in list.iter().enumerate() {
        let full = c.window.is_none() || (c.full_every > 0 && (i + 1).is_multiple_of(c.full_every));
        // A window as wide as the context changes nothing.
        let wide =
            c.window.is_none() && kind == "sliding_attention" && f.whole("sliding_window")? >= c.context;
        if kind != if full { "full_attention" } else { "sliding_attention" } && !wide {
            return Err(format!(
                "`layer_types`: layer {i} is {kind}, which this version has not in that place"
            ));
        }
    }
    Ok(())
}

/// The tensors under the names of a whole model: files differ in prefixes and in what they store besides weights.
///
/// # Errors
/// If an output layer that is said to be the token table is another one.
pub(crate) fn normalise(
    c: &Config,
    found: HashMap<String, Stored>,
) -> Result<HashMap<String, Stored>, String> {
    let family = Family::of(c).map_err(|e| e.to_string())?;
    let prefix = match family {
        Family::Gpt1 => "",
        Family::Gpt2 => "transformer.",
        _ => "model.",
    };
    // Masks and frequencies that old versions stored.
    let buffer = |name: &str| {
        name.ends_with(".attn.masked_bias")
            || name.ends_with(".attn.bias")
            || name.ends_with("rotary_emb.inv_freq")
    };
    let mut tensors = HashMap::new();
    for (name, t) in found.into_iter().filter(|(n, _)| !buffer(n)) {
        // GPT-1's own prefix is none.
        let name =
            if family == Family::Gpt1 { name.trim_start_matches("transformer.").to_owned() } else { name };
        let whole = name.starts_with(prefix) || name == "lm_head.weight";
        tensors.insert(if whole { name } else { format!("{prefix}{name}") }, t);
    }
    if c.tied
        && let Some(head) = tensors.remove("lm_head.weight")
    {
        let table = match family {
            Family::Gpt1 => "tokens_embed.weight",
            Family::Gpt2 => "transformer.wte.weight",
            _ => "model.embed_tokens.weight",
        };
        match tensors.get(table) {
            // Some files have the shared table under the second name only.
            None => drop(tensors.insert(table.to_owned(), head)),
            Some(t) if *t == head => {}
            Some(_) => return Err("`tie_word_embeddings` says that the output layer is the token table, but `lm_head.weight` is another one".into()),
        }
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::families::{PRESETS, preset};
    use serde_json::json;

    #[test]
    fn every_known_models_own_config_gives_its_settings() {
        for name in PRESETS {
            let c = preset(name).unwrap();
            // Without biases GPT-2's form is told by zeros in the file, which a config does not say.
            if matches!(c.positions, Positions::Learned) && !c.bias {
                continue;
            }
            let mut config = crate::huggingface::config(&c, &[1]).unwrap();
            config.as_object_mut().unwrap().remove("pupil");
            if config["afn"] == "gelu_new" {
                config["afn"] = json!("gelu");
            }
            assert_eq!(settings(&config), Ok(c), "{name}");
        }
    }

    #[test]
    fn s09_what_changes_the_arithmetic_is_refused_by_name() {
        let good = {
            let mut v = crate::huggingface::config(&preset("llama3.2-1b").unwrap(), &[1]).unwrap();
            v.as_object_mut().unwrap().remove("pupil");
            v
        };
        let refused = |change: &dyn Fn(&mut Value), word: &str| {
            let mut v = good.clone();
            change(&mut v);
            let e = settings(&v).unwrap_err();
            assert!(e.contains(word), "{word}: {e}");
        };
        let set = |name: &'static str, value: Value| move |v: &mut Value| v[name] = value.clone();
        refused(&set("model_type", json!("falcon")), "falcon");
        refused(&set("model_type", Value::Null), "model_type");
        refused(&set("hidden_size", json!(2048.5)), "hidden_size");
        refused(&set("hidden_size", json!(1e308)), "hidden_size");
        refused(&set("num_hidden_layers", json!(0)), "num_hidden_layers");
        refused(&set("vocab_size", Value::Null), "vocab_size");
        refused(&set("rms_norm_eps", json!("small")), "rms_norm_eps");
        refused(&set("attention_bias", json!(true)), "attention_bias");
        refused(&set("mlp_bias", json!(true)), "mlp_bias");
        refused(&set("hidden_act", json!("relu")), "hidden_act");
        refused(&set("partial_rotary_factor", json!(0.5)), "partial_rotary_factor");
        refused(&set("tie_word_embeddings", json!("yes")), "tie_word_embeddings");
        refused(&set("num_key_value_heads", json!(7)), "heads");
        refused(&set("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})), "yarn");
        refused(&set("rope_scaling", json!({"type": "linear"})), "factor");
        refused(&set("layer_types", json!(["full_attention"])), "layer_types");
        refused(&set("quantization_config", json!({"quant_method": "gptq"})), "gptq");
    }

    #[test]
    fn names_of_other_files_become_the_usual_ones() {
        let t = |x: f32| Stored { shape: vec![1], data: vec![x] };
        let file = |list: &[(&str, f32)]| list.iter().map(|(n, x)| ((*n).to_owned(), t(*x))).collect();
        let names = |c: &Config, list: &[(&str, f32)]| -> Result<Vec<String>, String> {
            let mut names: Vec<String> = normalise(c, file(list))?.into_keys().collect();
            names.sort();
            Ok(names)
        };
        let gpt2 = preset("gpt2").unwrap();
        let old = [
            ("wte.weight", 1.0),
            ("h.0.attn.bias", 0.0),
            ("h.0.attn.c_attn.bias", 2.0),
            ("lm_head.weight", 1.0),
        ];
        assert_eq!(
            names(&gpt2, &old).unwrap(),
            ["transformer.h.0.attn.c_attn.bias", "transformer.wte.weight"]
        );
        let llama = preset("smollm2-135m").unwrap();
        let list =
            [("norm.weight", 1.0), ("layers.0.self_attn.rotary_emb.inv_freq", 1.0), ("lm_head.weight", 1.0)];
        assert_eq!(names(&llama, &list).unwrap(), ["model.embed_tokens.weight", "model.norm.weight"]);
        let other = [("model.embed_tokens.weight", 1.0), ("lm_head.weight", 2.0)];
        assert!(names(&llama, &other).unwrap_err().contains("tie_word_embeddings"));
        assert_eq!(names(&Config { tied: false, ..llama }, &other).unwrap().len(), 2);
    }
}
