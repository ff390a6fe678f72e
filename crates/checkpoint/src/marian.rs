//! The first Transformer's settings and tensor names in transformers: `MarianMTModel`, the only one there with norms after each branch, sinusoidal
//! positions, and one scaled table of tokens for encoder, decoder and output.

use std::collections::HashMap;

use pupil_model::Form;
use pupil_model::transformer::{Config, Kind, MARKS, sinusoids};
use serde_json::{Value, json};

use crate::huggingface::Part;
use crate::tensors::Stored;

/// The table of tokens in the file.
const SHARED: &str = "model.shared.weight";
/// The output layer's bias in the file, the only vector there that is a matrix of one row.
const BIAS: &str = "final_logits_bias";

/// `config.json` for the settings.
pub(crate) fn config(c: &Config) -> Value {
    let activation = match c.activation {
        Kind::Relu => "relu",
        Kind::Gelu => "gelu",
        Kind::Silu => "silu",
    };
    // The id that fills up batches there; any but the end of a reply will do.
    let pad = u32::from(c.form.end == 0);
    json!({
        "architectures": ["MarianMTModel"], "model_type": "marian", "dtype": "float32", "is_encoder_decoder": true,
        "vocab_size": c.vocab, "decoder_vocab_size": c.vocab, "share_encoder_decoder_embeddings": true,
        "tie_word_embeddings": true, "scale_embedding": true, "static_position_embeddings": true,
        "d_model": c.width, "max_position_embeddings": c.positions(), "activation_function": activation,
        "encoder_layers": c.encoder_layers, "encoder_attention_heads": c.heads, "encoder_ffn_dim": c.hidden,
        "decoder_layers": c.decoder_layers, "decoder_attention_heads": c.heads, "decoder_ffn_dim": c.hidden,
        "dropout": c.dropout, "attention_dropout": 0.0, "activation_dropout": 0.0,
        "bos_token_id": null, "pad_token_id": pad, "decoder_start_token_id": c.form.start, "eos_token_id": c.form.end,
        "forced_eos_token_id": c.form.end, "use_cache": true,
    })
}

/// Settings from the `config.json` of a directory that transformers wrote.
///
/// # Errors
/// Names the field that is missing, or that says what pupil cannot express.
pub(crate) fn settings(v: &Value) -> Result<Config, String> {
    let size = |name: &str| {
        let n = v[name].as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| format!("`{name}` is {}, not a size", v[name]))
    };
    let id = |name: &str| {
        let n = v[name].as_u64().and_then(|n| u32::try_from(n).ok());
        n.ok_or_else(|| format!("`{name}` is {}, not an id", v[name]))
    };
    // What is always so in pupil: the value, and whether a file that says nothing means it.
    for (name, always, silent) in [
        ("scale_embedding", true, false),
        ("static_position_embeddings", true, true),
        ("share_encoder_decoder_embeddings", true, true),
        ("tie_word_embeddings", true, true),
        ("normalize_before", false, true),
        ("normalize_embedding", false, true),
        ("add_final_layer_norm", false, true),
    ] {
        if v[name].as_bool().unwrap_or(always == silent) != always {
            return Err(format!("`{name}` is {}; a Transformer in pupil has {always}", v[name]));
        }
    }
    let both = |stack: &str, other: &str| match (size(stack)?, size(other)?) {
        (a, b) if a == b => Ok(a),
        (a, b) => Err(format!("`{stack}` is {a} and `{other}` {b}; in pupil they are the same")),
    };
    if !v["decoder_vocab_size"].is_null() {
        both("vocab_size", "decoder_vocab_size")?;
    }
    let positions = size("max_position_embeddings")?;
    let activation = match v["activation_function"].as_str() {
        Some("relu") => Kind::Relu,
        Some("gelu") => Kind::Gelu,
        Some("silu" | "swish") => Kind::Silu,
        _ => {
            return Err(format!(
                "`activation_function` is {}, not relu, gelu or silu",
                v["activation_function"]
            ));
        }
    };
    let form = Form {
        length: positions.saturating_sub(MARKS),
        padded: false,
        start: id("decoder_start_token_id")?,
        start_is_said: false,
        end: id("eos_token_id")?,
    };
    Ok(Config {
        vocab: size("vocab_size")?,
        form,
        encoder_layers: size("encoder_layers")?,
        decoder_layers: size("decoder_layers")?,
        width: size("d_model")?,
        heads: both("encoder_attention_heads", "decoder_attention_heads")?,
        hidden: both("encoder_ffn_dim", "decoder_ffn_dim")?,
        activation,
        dropout: v["dropout"].as_f64().unwrap_or(0.1) as f32,
        // The paper's; the file does not say how it was trained.
        smoothing: 0.1,
    })
}

/// Brings the tensors of a file to one form: copies of the table of tokens and of the waves of positions are checked and dropped.
///
/// # Errors
/// If a copy is none.
pub(crate) fn normalise(tensors: &mut HashMap<String, Stored>) -> Result<(), String> {
    let shared = tensors.get(SHARED).cloned();
    for name in ["lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"] {
        if let Some(copy) = tensors.remove(name)
            && shared.as_ref().is_some_and(|s| *s != copy)
        {
            return Err(format!("tensor `{name}` is not `{SHARED}`; in pupil it always is"));
        }
    }
    for name in ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"] {
        let Some(Stored { shape, data }) = tensors.remove(name) else { continue };
        let waves = match shape[..] {
            [positions, width] if data.len() == positions * width => sinusoids(positions, width),
            _ => Vec::new(),
        };
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
        if waves.len() != data.len() || !waves.iter().zip(&data).all(near) {
            return Err(format!(
                "tensor `{name}` is not the sines and cosines of positions; in pupil it always is"
            ));
        }
    }
    if let Some(bias) = tensors.get_mut(BIAS)
        && let [1, n] = bias.shape[..]
    {
        bias.shape = vec![n];
    }
    Ok(())
}

/// The output layer's bias as the file has it.
pub(crate) fn shape_bias(list: &mut [(String, Stored)]) {
    for (_, bias) in list.iter_mut().filter(|(name, _)| name == BIAS) {
        bias.shape.insert(0, 1);
    }
}

/// Which tensors of the file a parameter consists of, in order.
pub(crate) fn parts(parameter: &str, shape: [usize; 2]) -> Vec<Part> {
    let (stem, kind) = parameter.rsplit_once('.').unwrap_or((parameter, ""));
    let rows = if kind == "bias" || stem.ends_with("norm") { shape[1] } else { shape[0] };
    let part = |name: String, rows: usize| Part { name, rows, transposed: false };
    match stem {
        "tok" => return vec![part(SHARED.into(), rows)],
        "head" => return vec![part(BIAS.into(), rows)],
        _ => {}
    }
    let mut words = stem.splitn(3, '.');
    let (stack, layer, what) = (words.next(), words.next(), words.next());
    let (stack, layer) = (stack.unwrap_or_default(), layer.unwrap_or_default());
    let several = |names: &[&str]| {
        let each =
            |name: &&str| part(format!("model.{stack}.layers.{layer}.{name}.{kind}"), rows / names.len());
        names.iter().map(each).collect()
    };
    match what.unwrap_or_default() {
        "self.qkv" => several(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        "self.out" => several(&["self_attn.out_proj"]),
        "self.norm" => several(&["self_attn_layer_norm"]),
        "cross.q" => several(&["encoder_attn.q_proj"]),
        "cross.kv" => several(&["encoder_attn.k_proj", "encoder_attn.v_proj"]),
        "cross.out" => several(&["encoder_attn.out_proj"]),
        "cross.norm" => several(&["encoder_attn_layer_norm"]),
        "feed.up" => several(&["fc1"]),
        "feed.down" => several(&["fc2"]),
        "feed.norm" => several(&["final_layer_norm"]),
        other => vec![part(format!("{stack}.{layer}.{other}.{kind}"), rows)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{load, save};
    use crate::{read, tensors};
    use pupil_model::{Network, Settings, Transformer};

    fn small() -> Config {
        let form = Form { length: 8, padded: false, start: 1, start_is_said: false, end: 2 };
        Config {
            vocab: 19,
            form,
            encoder_layers: 2,
            decoder_layers: 1,
            width: 12,
            heads: 3,
            hidden: 20,
            activation: Kind::Silu,
            dropout: 0.1,
            smoothing: 0.1,
        }
    }

    fn same(a: &Network, b: &Network) {
        use pupil_model::Model;
        assert_eq!(a.settings(), b.settings());
        for ((_, a), (_, b)) in a.parameters().iter().zip(b.parameters().iter()) {
            assert_eq!((&a.name, a.data()), (&b.name, b.data()));
        }
    }

    /// A directory as transformers would have written it, changed.
    fn there(
        dir: &std::path::Path,
        config: impl Fn(&mut Value),
        list: impl Fn(&mut HashMap<String, Stored>),
    ) -> Network {
        let network = Network::Transformer(Box::new(Transformer::new(small(), 5)));
        let _ = std::fs::remove_dir_all(dir);
        save(dir, &network, &[], &[]).unwrap();
        let path = dir.join("config.json");
        let mut v: Value = serde_json::from_slice(&read(&path).unwrap()).unwrap();
        v.as_object_mut().unwrap().remove("pupil");
        config(&mut v);
        std::fs::write(&path, v.to_string()).unwrap();
        let path = dir.join("model.safetensors");
        let mut tensors = tensors::from_bytes(&path, &read(&path).unwrap()).unwrap();
        list(&mut tensors);
        let all: Vec<(String, Stored)> = tensors.into_iter().collect();
        std::fs::write(&path, tensors::to_bytes(&all).unwrap()).unwrap();
        network
    }

    #[test]
    fn a_transformer_comes_back_with_and_without_our_settings_and_with_copies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let form = Form { padded: true, start_is_said: true, ..small().form };
        let own = Network::new(Settings::Transformer(Config { form, smoothing: 0.3, ..small() }), 5);
        save(&path, &own, &[], &[]).unwrap();
        same(&own, &load(&path).unwrap());
        same(&there(&path, |_| (), |_| ()), &load(&path).unwrap());
        let copies = |t: &mut HashMap<String, Stored>| {
            let table = t[SHARED].clone();
            t.insert("lm_head.weight".into(), table);
            let waves = Stored { shape: vec![10, 12], data: sinusoids(10, 12) };
            t.insert("model.encoder.embed_positions.weight".into(), waves);
        };
        same(&there(&path, |_| (), copies), &load(&path).unwrap());
    }

    #[test]
    fn what_cannot_be_expressed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        for (name, value) in [
            ("scale_embedding", json!(false)),
            ("scale_embedding", Value::Null),
            ("normalize_before", json!(true)),
            ("decoder_ffn_dim", json!(21)),
            ("decoder_vocab_size", json!(20)),
            ("activation_function", json!("tanh")),
            ("eos_token_id", json!(-1)),
            ("d_model", Value::Null),
        ] {
            there(&path, |v| v[name] = value.clone(), |_| ());
            let e = load(&path).err().unwrap().to_string();
            assert!(e.contains(name), "{e}");
        }
        for (name, value, words) in [
            ("vocab_size", json!(1u64 << 40), "at most"),
            ("max_position_embeddings", json!(1u64 << 40), "at most"),
            ("max_position_embeddings", json!(2), "length is 0"),
            ("encoder_attention_heads", json!(0), "positive"),
        ] {
            let equal = |v: &mut Value| {
                v[name] = value.clone();
                v["decoder_vocab_size"] = v["vocab_size"].clone();
                v["decoder_attention_heads"] = v["encoder_attention_heads"].clone();
            };
            there(&path, equal, |_| ());
            let e = load(&path).err().unwrap().to_string();
            assert!(e.contains(words), "{e}");
        }
        let untied = |t: &mut HashMap<String, Stored>| {
            let mut table = t[SHARED].clone();
            table.data[3] += 1.0;
            t.insert("lm_head.weight".into(), table);
        };
        there(&path, |_| (), untied);
        assert!(load(&path).err().unwrap().to_string().contains("lm_head.weight"));
        let learned = |t: &mut HashMap<String, Stored>| {
            let name = "model.decoder.embed_positions.weight";
            t.insert(name.into(), Stored { shape: vec![10, 12], data: vec![0.5; 120] });
        };
        there(&path, |_| (), learned);
        assert!(load(&path).err().unwrap().to_string().contains("embed_positions"));
    }
}
