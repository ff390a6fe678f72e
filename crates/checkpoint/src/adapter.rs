//! LoRA adapters ↔ PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A directory of adapters names the directory of the model that they change, and knows the hash of its weights: on another model they
//! would say nonsense. PEFT loads what is written here; what PEFT wrote for a model that pupil reads is read, if it is plain LoRA.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pupil_model::gpt::Config;
use pupil_model::lora::{Lora, Target};
use pupil_model::{Gpt, Model, Network};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::directory::{self, take};
use crate::huggingface::{self, Family};
use crate::tensors::{self, Stored};
use crate::{Error, read};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// The hash of the base's weights: a file of its own, because PEFT warns of settings that it does not know.
const BASE: &str = "base.json";

/// Whether a directory holds adapters.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG).is_file()
}

/// The path that files record of a base's directory, and the hash of its weights.
///
/// # Errors
/// If the directory or its weights cannot be read.
pub fn identify(base: &Path) -> Result<(String, String), Error> {
    let path = base.canonicalize().map_err(|source| Error::Read { path: base.to_owned(), source })?;
    let unread = |source| Error::Read { path: path.clone(), source };
    let entries = std::fs::read_dir(&path).map_err(unread)?;
    let is_weights = |p: &PathBuf| p.extension().is_some_and(|e| e == "safetensors");
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_weights).collect();
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in &files {
        hash.update(&read(file)?);
    }
    Ok((path.to_string_lossy().into_owned(), hash.finalize().to_hex().to_string()))
}

/// The module of the family that an adapter lies beside, without the layer: `self_attn.q_proj`, `attn.c_attn`.
fn module(name: &str) -> &str {
    let within = name.rsplit_once(".weight").map_or(name, |(stem, _)| stem);
    within.splitn(4, '.').nth(3).filter(|_| within.starts_with("model.")).unwrap_or_else(|| {
        let layers = within.find("h.").map_or(within, |i| &within[i + 2..]);
        layers.split_once('.').map_or(layers, |(_, m)| m)
    })
}

/// Each adapter's name in the file without its ending, its parameters, and their shapes.
fn places(gpt: &Gpt) -> Result<Vec<(String, [pupil_model::tensor::ParameterId; 2])>, Error> {
    let family = Family::of(&gpt.config)?;
    let mut list = Vec::new();
    for (matrix, target, ids) in gpt.adapters() {
        let id = gpt.parameters().find(matrix);
        let shape = id.map_or([0, 0], |id| gpt.parameters().get(id).shape);
        let parts = huggingface::parts(family, &gpt.config, matrix, shape);
        let at = match target {
            _ if parts.len() == 1 => 0,
            Target::K | Target::Up => 1,
            Target::V => 2,
            _ => 0,
        };
        list.push((parts[at].name.clone(), ids));
    }
    Ok(list)
}

/// The files of a GPT's adapters.
///
/// # Errors
/// If the GPT has none, or fits no family.
pub fn files(gpt: &Gpt) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let adapted = gpt.adapted().ok_or_else(|| Error::Settings("the model has no adapters".into()))?;
    let lora = &adapted.lora;
    let (mut modules, mut list) = (Vec::new(), Vec::new());
    for (name, ids) in places(gpt)? {
        let module = module(&name).to_owned();
        if !modules.contains(&module) {
            modules.push(module);
        }
        let stem = name.strip_suffix(".weight").unwrap_or(&name);
        for (id, part) in ids.into_iter().zip(["A", "B"]) {
            let p = gpt.parameters().get(id);
            let stored = Stored { shape: p.shape.to_vec(), data: p.data().to_vec() };
            list.push((format!("base_model.model.{stem}.lora_{part}.weight"), stored));
        }
    }
    let family = Family::of(&gpt.config)?;
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": adapted.base, "r": lora.rank,
        "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": modules, "bias": "none", "inference_mode": true,
        "fan_in_fan_out": matches!(family, Family::Gpt1 | Family::Gpt2), "init_lora_weights": true, "use_rslora": false, "use_dora": false,
        "modules_to_save": null, "layers_to_transform": null, "layers_pattern": null, "rank_pattern": {}, "alpha_pattern": {}, "revision": null,
    });
    let weights = tensors::to_bytes(&list).map_err(Error::Settings)?;
    let mut files = vec![(CONFIG.into(), format!("{config:#}\n").into_bytes()), (WEIGHTS.into(), weights)];
    if !adapted.base_hash.is_empty() {
        let base = json!({"weights_blake3": adapted.base_hash});
        files.push((BASE.into(), format!("{base:#}\n").into_bytes()));
    }
    Ok(files)
}

/// What is read of `adapter_config.json`.
#[derive(Deserialize)]
struct Wire {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f32,
    #[serde(default)]
    lora_dropout: f32,
    target_modules: Value,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    rank_pattern: HashMap<String, Value>,
    #[serde(default)]
    alpha_pattern: HashMap<String, Value>,
    #[serde(default)]
    layers_to_transform: Option<Value>,
}

impl Wire {
    /// What is more than plain LoRA.
    fn unknown(&self) -> Option<String> {
        let found = [
            (self.peft_type != "LORA", format!("peft_type {}", self.peft_type)),
            (self.use_rslora, "use_rslora".into()),
            (self.use_dora, "use_dora".into()),
            (self.bias.as_deref().is_some_and(|b| b != "none"), "bias".into()),
            (self.modules_to_save.as_ref().is_some_and(|m| !m.is_empty()), "modules_to_save".into()),
            (
                !self.rank_pattern.is_empty() || !self.alpha_pattern.is_empty(),
                "ranks of single matrices".into(),
            ),
            (self.layers_to_transform.is_some(), "layers_to_transform".into()),
        ];
        found.into_iter().find(|(is, _)| *is).map(|(_, name)| name)
    }

    fn targets(&self, config: &Config) -> Result<Vec<Target>, String> {
        let names: Vec<&str> = match &self.target_modules {
            Value::String(all) if all == "all-linear" => return Ok(config.lora_targets()),
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            other => return Err(format!("target_modules {other}: expected a list of names")),
        };
        let mut targets = Vec::new();
        for name in names {
            targets.extend_from_slice(match name.rsplit_once('.').map_or(name, |(_, n)| n) {
                "q_proj" => &[Target::Q],
                "k_proj" => &[Target::K],
                "v_proj" => &[Target::V],
                "o_proj" => &[Target::O],
                "gate_proj" => &[Target::Gate],
                "up_proj" | "c_fc" => &[Target::Up],
                "down_proj" => &[Target::Down],
                "c_attn" => &[Target::Q, Target::K, Target::V],
                "c_proj" if name.starts_with("attn.") => &[Target::O],
                "c_proj" if name.starts_with("mlp.") => &[Target::Down],
                "c_proj" => &[Target::O, Target::Down],
                _ => return Err(format!("target_modules: `{name}` is no matrix that has adapters here")),
            });
        }
        targets.sort();
        targets.dedup();
        Ok(targets)
    }
}

/// Reads adapters and the model that they change.
///
/// # Errors
/// Names the file and what is wrong: a base that is not there or has changed, settings that are more than LoRA, a tensor that is missing, left
/// over or misshapen.
pub fn load(dir: &Path) -> Result<Network, Error> {
    let path = dir.join(CONFIG);
    let wire: Wire = serde_json::from_slice(&read(&path)?)
        .map_err(|e| Error::content(&path, format!("is no adapter's settings: {e}")))?;
    if let Some(what) = wire.unknown() {
        return Err(Error::content(&path, format!("asks for {what}; this version reads plain LoRA")));
    }
    let base = wire.base_model_name_or_path.clone().unwrap_or_default();
    let place = find_base(dir, &base).ok_or_else(|| {
        let what = format!(
            "its base model is not at `{base}`; write the path of the model that it was trained on into base_model_name_or_path"
        );
        Error::content(&path, what)
    })?;
    if is_adapter(&place) {
        return Err(Error::content(&path, format!("its base {} is an adapter itself", place.display())));
    }
    let file = dir.join(WEIGHTS);
    let bytes = read(&file)?;
    let mut found = tensors::from_bytes(&file, &bytes)?;
    let base_hash = known_hash(&dir.join(BASE))?;
    if !base_hash.is_empty() && identify(&place)?.1 != base_hash {
        let what = format!("was made for other weights than {} has now", place.display());
        return Err(Error::content(&file, what));
    }
    let Network::Gpt(mut gpt) = directory::load(&place)? else {
        return Err(Error::content(&path, format!("its base {} is no GPT", place.display())));
    };
    let targets = wire.targets(&gpt.config).map_err(|e| Error::content(&path, e))?;
    let lora = Lora { rank: wire.r, alpha: wire.lora_alpha, dropout: wire.lora_dropout, targets };
    gpt.adapt(lora, base, base_hash, 0).map_err(|e| Error::content(&path, e))?;
    for (name, ids) in places(&gpt)? {
        let stem = name.strip_suffix(".weight").unwrap_or(&name);
        for (id, part) in ids.into_iter().zip(["A", "B"]) {
            let shape = gpt.parameters().get(id).shape;
            let name = format!("base_model.model.{stem}.lora_{part}.weight");
            let data = take(&file, &mut found, &name, &shape)?;
            gpt.parameters_mut().data_mut(id).copy_from_slice(&data);
        }
    }
    match found.keys().min() {
        None => Ok(Network::Gpt(gpt)),
        Some(name) => {
            let what = format!("{} tensors belong to no adapter, the first: `{name}`", found.len());
            Err(Error::content(file, what))
        }
    }
}

/// The hash of the base's weights, if it was noted.
fn known_hash(path: &Path) -> Result<String, Error> {
    if !path.exists() {
        return Ok(String::new());
    }
    let wrong = |what: &str| Error::content(path, what);
    let value: Value =
        serde_json::from_slice(&read(path)?).map_err(|e| wrong(&format!("is no JSON: {e}")))?;
    let hash = value["weights_blake3"].as_str().ok_or_else(|| wrong("has no weights_blake3"))?;
    Ok(hash.to_owned())
}

/// The base's directory: as it is recorded, or beside the adapters.
fn find_base(dir: &Path, base: &str) -> Option<PathBuf> {
    let places = [PathBuf::from(base), dir.join(base)];
    places.into_iter().find(|p| !base.is_empty() && p.join("config.json").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::families::{self, PRESETS};
    use pupil_model::tensor::kernels::random::{self, Key};

    fn adapted(name: &str, dir: &Path) -> Gpt {
        let mut gpt = Gpt::new(crate::directory::tests::tiny(name), 5);
        let base = dir.join("base");
        let _ = std::fs::remove_dir_all(&base);
        directory::save(&base, &Network::from(Gpt::new(gpt.config.clone(), 5)), &[1], &[]).unwrap();
        let (path, hash) = identify(&base).unwrap();
        let lora = Lora { rank: 3, alpha: 6.0, dropout: 0.1, targets: gpt.config.lora_targets() };
        gpt.adapt(lora, path, hash, 1).unwrap();
        let ids: Vec<_> = gpt.parameters().iter().filter(|(_, p)| !p.is_frozen()).map(|(id, _)| id).collect();
        for id in ids {
            let key = Key { seed: 5, stream: id.index() as u64, step: 0 };
            random::normal(key, 0.0, 0.1, gpt.parameters_mut().data_mut(id));
        }
        gpt
    }

    #[test]
    fn adapters_of_every_known_model_come_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        for name in PRESETS {
            let network = Network::from(adapted(name, dir.path()));
            let path = dir.path().join(name);
            directory::save(&path, &network, &[1], &[]).unwrap();
            assert!(directory::holds_model(&path) && !path.join("config.json").exists());
            let back = directory::load(&path).unwrap();
            for ((_, a), (_, b)) in network.parameters().iter().zip(back.parameters().iter()) {
                assert_eq!((&a.name, a.data(), a.is_frozen()), (&b.name, b.data(), b.is_frozen()), "{name}");
            }
            let (Network::Gpt(a), Network::Gpt(b)) = (&network, &back) else { panic!() };
            assert_eq!(a.adapted(), b.adapted(), "{name}");
        }
        assert!(families::preset("gpt2").is_some());
    }

    #[test]
    fn names_are_pefts() {
        let dir = tempfile::tempdir().unwrap();
        let names = |model: &str| {
            let files = files(&adapted(model, dir.path())).unwrap();
            let config: Value = serde_json::from_slice(&files[0].1).unwrap();
            let found = tensors::from_bytes(Path::new("x"), &files[1].1).unwrap();
            let mut names: Vec<String> = found.into_keys().filter(|n| n.contains(".1.")).collect();
            names.sort();
            (config["target_modules"].clone(), names)
        };
        let (modules, found) = names("llama2-7b");
        let expected = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ];
        assert_eq!(modules, json!(expected));
        assert!(
            found.contains(&"base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight".to_owned()),
            "{found:?}"
        );
        let (modules, found) = names("gpt2");
        assert_eq!(modules, json!(["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]));
        assert!(
            found.contains(&"base_model.model.transformer.h.1.mlp.c_fc.lora_A.weight".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let gpt = Network::from(adapted("llama2-7b", dir.path()));
        let path = dir.path().join("a");
        let refused = |change: &dyn Fn(), words: &[&str]| {
            let _ = std::fs::remove_dir_all(&path);
            directory::save(&path, &gpt, &[1], &[]).unwrap();
            change();
            let e = directory::load(&path).err().unwrap().to_string();
            assert!(words.iter().all(|w| e.contains(w)), "{e}");
        };
        let edit = |key: &str, value: Value| {
            let file = path.join(CONFIG);
            let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            config[key] = value;
            std::fs::write(&file, config.to_string()).unwrap();
        };
        refused(
            &|| edit("base_model_name_or_path", json!("nowhere")),
            &[CONFIG, "nowhere", "base_model_name_or_path"],
        );
        refused(&|| edit("use_rslora", json!(true)), &["use_rslora"]);
        refused(&|| edit("r", json!("x")), &[CONFIG]);
        refused(&|| edit("r", json!(4)), &["shape", "lora_A"]);
        refused(&|| edit("r", json!(4_000_000_000u64)), &["rank"]);
        refused(&|| edit("target_modules", json!(["q_proj"])), &["belong to no adapter"]);
        refused(&|| edit("target_modules", json!(["w1"])), &["w1"]);
        refused(&|| std::fs::write(path.join(BASE), b"{}").unwrap(), &[BASE, "weights_blake3"]);
        refused(&|| std::fs::write(path.join(WEIGHTS), b"torn").unwrap(), &[WEIGHTS, "safetensors"]);
        let other = Network::from(Gpt::new(crate::directory::tests::tiny("llama2-7b"), 6));
        refused(
            &|| directory::save(&dir.path().join("base"), &other, &[1], &[]).unwrap(),
            &["other weights"],
        );
    }
}
