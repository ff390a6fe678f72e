//! How a directory of sentence-transformers makes one vector of a text: `modules.json` and what it names. Also vectors as a file.

use std::path::{Component, Path};

use pupil_model::bert::{Embedding, Pooling};
use serde_json::Value;

use crate::tensors::{self, Stored};
use crate::{Error, read};

fn json(path: &Path) -> Result<Value, Error> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::content(path, format!("is no JSON: {e}")))
}

/// What `modules.json` says; `None` if there is no such file.
///
/// # Errors
/// If it names a module that pupil does not have, a pooling that it does not know, or a file outside the directory.
pub fn read_modules(dir: &Path) -> Result<Option<Embedding>, Error> {
    let path = dir.join("modules.json");
    if !path.is_file() {
        return Ok(None);
    }
    let modules = json(&path)?;
    let list = modules.as_array().ok_or_else(|| Error::content(&path, "is no list of modules"))?;
    let mut about = Embedding::default();
    let limits = dir.join("sentence_bert_config.json");
    if limits.is_file() {
        about.most = json(&limits)?["max_seq_length"].as_u64().and_then(|n| usize::try_from(n).ok());
    }
    for module in list {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Normalize" => about.normalised = true,
            "Pooling" => {
                let part = Path::new(module["path"].as_str().unwrap_or_default());
                if part.components().any(|c| !matches!(c, Component::Normal(_))) {
                    let what = format!("{} lies outside the directory", part.display());
                    return Err(Error::content(&path, what));
                }
                about.pooling = pooling(&dir.join(part).join("config.json"))?;
            }
            _ => return Err(Error::content(&path, format!("module {kind:?} is none that pupil has"))),
        }
    }
    Ok(Some(about))
}

fn pooling(path: &Path) -> Result<Pooling, Error> {
    let v = json(path)?;
    let modes = [("mean", Pooling::Mean), ("cls", Pooling::First), ("max", Pooling::Max)];
    let old = ["mean_tokens", "cls_token", "max_tokens"];
    let asked = |i: usize| v["pooling_mode"] == modes[i].0 || v[format!("pooling_mode_{}", old[i])] == true;
    let others = ["mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
    let strange = others.iter().any(|o| v[format!("pooling_mode_{o}")] == true);
    match (0..3).filter(|&i| asked(i)).collect::<Vec<_>>()[..] {
        [one] if !strange => Ok(modes[one].1),
        _ => Err(Error::content(path, "asks for no pooling, several, or one other than mean, cls and max")),
    }
}

/// A safetensors file with the vectors, all of `width` numbers, as `embeddings [count, width]`.
///
/// # Errors
/// If there are none.
pub fn vectors_file(vectors: &[Vec<f32>], width: usize) -> Result<Vec<u8>, Error> {
    let data: Vec<f32> = vectors.concat();
    if data.len() != vectors.len() * width || data.is_empty() {
        return Err(Error::Settings(format!("{} vectors of {width} numbers", vectors.len())));
    }
    let stored = Stored { shape: vec![vectors.len(), width], data };
    tensors::to_bytes(&[("embeddings".into(), stored)]).map_err(Error::Settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(dir: &Path, name: &str, value: &Value) {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), value.to_string()).unwrap();
    }

    fn modules(kinds: &[(&str, &str)]) -> Value {
        let module = |(kind, path): &(&str, &str)| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
        kinds.iter().map(module).collect()
    }

    #[test]
    fn modules_say_how_and_what_pupil_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        assert_eq!(read_modules(d).unwrap(), None);
        let all = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")];
        write(d, "modules.json", &modules(&all));
        write(d, "sentence_bert_config.json", &json!({"max_seq_length": 256}));
        write(
            d,
            "1_Pooling/config.json",
            &json!({"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}),
        );
        let about = Embedding { pooling: Pooling::First, normalised: true, most: Some(256) };
        assert_eq!(read_modules(d).unwrap(), Some(about));
        write(d, "1_Pooling/config.json", &json!({"pooling_mode": "max"}));
        assert_eq!(read_modules(d).unwrap().unwrap().pooling, Pooling::Max);
        for bad in [
            json!({}),
            json!({"pooling_mode": "lasttoken"}),
            json!({"pooling_mode": "mean", "pooling_mode_max_tokens": true}),
        ] {
            write(d, "1_Pooling/config.json", &bad);
            assert!(read_modules(d).unwrap_err().to_string().contains("pooling"), "{bad}");
        }
        for (bad, words) in [
            (modules(&[("Dense", "2_Dense")]), "Dense"),
            (modules(&[("Pooling", "../x")]), "outside"),
            (modules(&[("Pooling", "/etc")]), "outside"),
            (json!({}), "no list"),
        ] {
            write(d, "modules.json", &bad);
            assert!(read_modules(d).unwrap_err().to_string().contains(words));
        }
    }

    #[test]
    fn vectors_come_back() {
        let bytes = vectors_file(&[vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]], 2).unwrap();
        let back = tensors::from_bytes(Path::new("x"), &bytes).unwrap();
        assert_eq!((&back["embeddings"].shape[..], back["embeddings"].data[3]), (&[3, 2][..], 4.0));
        assert!(vectors_file(&[], 2).is_err());
    }
}
