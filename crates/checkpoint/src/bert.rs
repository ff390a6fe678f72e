//! BERT's settings and tensor names in transformers: `BertModel`, `BertForPreTraining`, `BertForMaskedLM`, `BertForSequenceClassification`,
//! `BertForTokenClassification`.
//!
//! Directories that others wrote are read too, old names of tensors included (`LayerNorm.gamma`). Which head a file has is seen from its
//! tensors: `architectures` is often that of another head, because transformers fills in what is missing and drops what is left over.

use std::collections::HashMap;

use pupil_model::bert::{Config, Head};
use serde_json::{Map, Value, json};

use crate::huggingface::Part;
use crate::tensors::Stored;

/// `config.json` for the settings.
pub(crate) fn config(c: &Config) -> Value {
    let class = match &c.head {
        Head::None { .. } => "BertModel",
        Head::Pretraining => "BertForPreTraining",
        Head::Masked => "BertForMaskedLM",
        Head::Sequence(_) => "BertForSequenceClassification",
        Head::Token(_) => "BertForTokenClassification",
    };
    let mut v = json!({
        "architectures": [class], "model_type": "bert", "dtype": "float32", "vocab_size": c.vocab, "hidden_size": c.width,
        "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "intermediate_size": c.hidden, "hidden_act": "gelu",
        "hidden_dropout_prob": c.dropout, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": c.context,
        "type_vocab_size": c.kinds, "initializer_range": 0.02, "layer_norm_eps": c.norm_eps, "pad_token_id": 0,
        "tie_word_embeddings": true, "position_embedding_type": "absolute",
    });
    if let Some(labels) = c.head.labels() {
        let names: Map<String, Value> =
            labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
        let ids: Map<String, Value> = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
        v["id2label"] = Value::Object(names);
        v["label2id"] = Value::Object(ids);
        if matches!(c.head, Head::Sequence(_)) {
            v["problem_type"] = json!("single_label_classification");
        }
    }
    v
}

/// Settings from the `config.json` of a directory that transformers wrote, and from the tensors that lie beside it.
///
/// # Errors
/// Names the field that is missing, or that says what pupil cannot express.
pub(crate) fn settings(v: &Value, tensors: &HashMap<String, Stored>) -> Result<Config, String> {
    let size = |name: &str| {
        let n = v[name].as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| format!("`{name}` is {}, not a size", v[name]))
    };
    let number = |name: &str, otherwise: f64| v[name].as_f64().unwrap_or(otherwise) as f32;
    for (name, only) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
        if let Some(other) = v[name].as_str().filter(|s| *s != only) {
            return Err(format!("`{name}` is {other:?}; a BERT in pupil has {only:?}"));
        }
    }
    let has = |name: &str| tensors.contains_key(name);
    let pooled = has("pooler.dense.weight");
    let labels = || {
        let count = tensors.get("classifier.weight").and_then(|t| t.shape.first()).copied().unwrap_or(0);
        let name = |i: usize| v["id2label"][i.to_string()].as_str().map(str::to_owned);
        (0..count.min(1 << 16)).map(|i| name(i).unwrap_or_else(|| format!("LABEL_{i}"))).collect()
    };
    let head = if has("cls.predictions.bias") || has("cls.predictions.decoder.bias") {
        if has("cls.seq_relationship.weight") { Head::Pretraining } else { Head::Masked }
    } else if has("classifier.weight") {
        if pooled { Head::Sequence(labels()) } else { Head::Token(labels()) }
    } else {
        Head::None { pooled }
    };
    Ok(Config {
        vocab: size("vocab_size")?,
        context: size("max_position_embeddings")?,
        kinds: if v["type_vocab_size"].is_null() { 2 } else { size("type_vocab_size")? },
        layers: size("num_hidden_layers")?,
        width: size("hidden_size")?,
        heads: size("num_attention_heads")?,
        hidden: size("intermediate_size")?,
        norm_eps: number("layer_norm_eps", 1e-12),
        dropout: number("hidden_dropout_prob", 0.1),
        head,
    })
}

/// Brings the names in a file to one form: no prefix, LayerNorm's gain and bias by their present names, and the decoder, which is the
/// token table, only once.
///
/// # Errors
/// If the decoder is another matrix than the token table.
pub(crate) fn normalise(tensors: HashMap<String, Stored>) -> Result<HashMap<String, Stored>, String> {
    let rename = |name: String| {
        let name = name.strip_prefix("bert.").map(str::to_owned).unwrap_or(name);
        match name.rsplit_once('.') {
            Some((stem, "gamma")) => format!("{stem}.weight"),
            Some((stem, "beta")) => format!("{stem}.bias"),
            _ => name,
        }
    };
    let mut all: HashMap<String, Stored> = tensors.into_iter().map(|(n, t)| (rename(n), t)).collect();
    if let Some(decoder) = all.remove("cls.predictions.decoder.weight")
        && all.get("embeddings.word_embeddings.weight") != Some(&decoder)
    {
        return Err(
            "tensor `cls.predictions.decoder.weight` is not the token table; in pupil it always is".into()
        );
    }
    if let Some(bias) = all.remove("cls.predictions.decoder.bias") {
        all.entry("cls.predictions.bias".into()).or_insert(bias);
    }
    Ok(all)
}

/// The prefix of the encoder's tensors in the file.
pub(crate) fn prefix(c: &Config) -> &'static str {
    if matches!(c.head, Head::None { .. }) { "" } else { "bert." }
}

/// Which tensors of the file a parameter consists of, in order.
pub(crate) fn parts(prefix: &str, parameter: &str, shape: [usize; 2]) -> Vec<Part> {
    let is_table = ["tok.weight", "pos.weight", "kind.weight"].contains(&parameter);
    let rows = if shape[0] == 1 && !is_table { shape[1] } else { shape[0] };
    let (stem, kind) = parameter.rsplit_once('.').unwrap_or((parameter, ""));
    let named = |name: &str, rows: usize| Part { name: format!("{name}.{kind}"), rows, transposed: false };
    let whole = |name: &str| vec![named(name, rows)];
    let own = |name: &str| whole(&format!("{prefix}{name}"));
    match stem {
        "tok" => return own("embeddings.word_embeddings"),
        "pos" => return own("embeddings.position_embeddings"),
        "kind" => return own("embeddings.token_type_embeddings"),
        "norm" => return own("embeddings.LayerNorm"),
        "pooler" => return own("pooler.dense"),
        "masked.transform" => return whole("cls.predictions.transform.dense"),
        "masked.norm" => return whole("cls.predictions.transform.LayerNorm"),
        "masked" => return whole("cls.predictions"),
        "next_sentence" => return whole("cls.seq_relationship"),
        _ => {}
    }
    let Some((layer, part)) = stem.strip_prefix("blocks.").and_then(|s| s.split_once('.')) else {
        return whole(stem);
    };
    let at = |name: &str| format!("{prefix}encoder.layer.{layer}.{name}");
    match part {
        "qkv" => ["query", "key", "value"]
            .map(|n| named(&at(&format!("attention.self.{n}")), rows / 3))
            .into_iter()
            .collect(),
        "proj" => whole(&at("attention.output.dense")),
        "n1" => whole(&at("attention.output.LayerNorm")),
        "up" => whole(&at("intermediate.dense")),
        "down" => whole(&at("output.dense")),
        _ => whole(&at("output.LayerNorm")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{load, save};
    use crate::{read, tensors};
    use pupil_model::{Bert, Model, Network};

    fn small(head: Head) -> Config {
        Config {
            vocab: 19,
            context: 8,
            kinds: 2,
            layers: 2,
            width: 12,
            heads: 3,
            hidden: 14,
            norm_eps: 1e-12,
            dropout: 0.1,
            head,
        }
    }

    fn heads() -> [Head; 6] {
        let labels = || ["kind", "unkind", "neither"].map(str::to_owned).to_vec();
        [
            Head::None { pooled: false },
            Head::None { pooled: true },
            Head::Pretraining,
            Head::Masked,
            Head::Sequence(labels()),
            Head::Token(labels()),
        ]
    }

    fn rewrite(dir: &std::path::Path, change: impl Fn(&mut Vec<(String, Stored)>), own: bool) {
        let file = dir.join("model.safetensors");
        let mut list: Vec<_> =
            tensors::from_bytes(&file, &read(&file).unwrap()).unwrap().into_iter().collect();
        change(&mut list);
        std::fs::write(&file, tensors::to_bytes(&list).unwrap()).unwrap();
        let path = dir.join("config.json");
        let mut config: Value = serde_json::from_slice(&read(&path).unwrap()).unwrap();
        if !own {
            config.as_object_mut().unwrap().remove("pupil");
        }
        std::fs::write(&path, config.to_string()).unwrap();
    }

    fn same(a: &Network, b: &Network) {
        assert_eq!(a.settings(), b.settings());
        for ((_, a), (_, b)) in a.parameters().iter().zip(b.parameters().iter()) {
            assert_eq!((&a.name, a.data()), (&b.name, b.data()));
        }
    }

    #[test]
    fn every_head_comes_back_with_and_without_our_settings() {
        let dir = tempfile::tempdir().unwrap();
        for (i, head) in heads().into_iter().enumerate() {
            let bert = Network::from(Bert::new(small(head), 5));
            let path = dir.path().join(i.to_string());
            save(&path, &bert, &[], &[]).unwrap();
            same(&bert, &load(&path).unwrap());
            rewrite(&path, |_| (), false);
            same(&bert, &load(&path).unwrap());
        }
    }

    #[test]
    fn old_names_and_tied_copies_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let bert = Network::from(Bert::new(small(Head::Pretraining), 5));
        let path = dir.path().join("m");
        save(&path, &bert, &[], &[]).unwrap();
        let old = |list: &mut Vec<(String, Stored)>| {
            let find = |name: &str| list.iter().find(|(n, _)| n == name).unwrap().1.clone();
            let decoder = find("bert.embeddings.word_embeddings.weight");
            let bias = find("cls.predictions.bias");
            for (name, _) in list.iter_mut().filter(|(n, _)| n.contains("LayerNorm")) {
                *name = name.replace(".weight", ".gamma").replace(".bias", ".beta");
            }
            list.push(("cls.predictions.decoder.weight".into(), decoder));
            list.push(("cls.predictions.decoder.bias".into(), bias));
            list.push(("bert.embeddings.position_ids".into(), Stored { shape: vec![1], data: vec![0.0] }));
        };
        rewrite(&path, old, false);
        same(&bert, &load(&path).unwrap());
        let untie = |list: &mut Vec<(String, Stored)>| {
            let decoder = list.iter_mut().find(|(n, _)| n == "cls.predictions.decoder.weight").unwrap();
            decoder.1.data[3] += 1.0;
        };
        rewrite(&path, untie, false);
        assert!(load(&path).err().unwrap().to_string().contains("decoder.weight"));
    }

    #[test]
    fn what_cannot_be_expressed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        save(&path, &Network::from(Bert::new(small(Head::Masked), 5)), &[], &[]).unwrap();
        rewrite(&path, |_| (), false);
        let file = path.join("config.json");
        let good: Value = serde_json::from_slice(&read(&file).unwrap()).unwrap();
        for (name, value, words) in [
            ("hidden_act", json!("relu"), "relu"),
            ("position_embedding_type", json!("relative_key"), "relative_key"),
            ("hidden_size", json!(-1), "hidden_size"),
            ("hidden_size", Value::Null, "hidden_size"),
            ("num_attention_heads", json!(0), "heads: 0"),
            ("vocab_size", json!(u64::MAX), "at most"),
            ("vocab_size", json!(1 << 20), "bytes"),
            ("vocab_size", json!(20), "word_embeddings"),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            std::fs::write(&file, bad.to_string()).unwrap();
            let e = load(&path).err().unwrap().to_string();
            assert!(e.contains(words), "{e}");
        }
    }
}
