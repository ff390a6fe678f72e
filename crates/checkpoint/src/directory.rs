//! A model as a Hugging Face directory: `config.json`, `model.safetensors`, and the files that the caller adds (tokenizer).

use std::collections::HashMap;
use std::path::Path;

use pupil_model::gpt::Config;
use pupil_model::tensor::kernels::eight::Eight;
use pupil_model::tensor::{ParameterId, Parameters, Role};
use pupil_model::{Bert, Gpt, Model, Network, Settings, Transformer};
use serde_json::{Value, json};

use crate::fs::{Fs, RealFs};
use crate::huggingface::{self, Family, Part};
use crate::quantised::{self, Bits, Kept};
use crate::tensors::{self, Stored};
use crate::weights::{self, Weights};
use crate::{Error, adapter, atomic, bert, foreign, marian, read};

/// Tokens of the longest context that is read.
const MOST_CONTEXT: usize = 1 << 20;

/// The model's files: `config.json` and `model.safetensors`. A GPT's are those of its family in transformers; architectures that have no
/// family there keep their own names. Of a GPT with adapters it is these alone, in PEFT's files.
///
/// # Errors
/// If a weight is not finite, or the settings fit no family.
pub fn files(network: &Network, end: &[u32]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    for (_, p) in network.parameters().iter() {
        if let Some(i) = p.data().iter().position(|x| !x.is_finite()) {
            return Err(Error::content(
                "model.safetensors",
                format!("`{}` holds {} at {i}; not saved", p.name, p.data()[i]),
            ));
        }
    }
    match network {
        Network::Gpt(gpt) if gpt.adapted().is_some() => adapter::files(gpt),
        Network::Gpt(gpt) => gpt_files(gpt, end),
        Network::Bert(bert) => bert_files(bert),
        Network::Transformer(transformer) => marian_files(transformer),
        other => own_files(other),
    }
}

fn own_files(network: &Network) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let stored =
        |p: &pupil_model::tensor::Parameter| Stored { shape: p.shape.to_vec(), data: p.data().to_vec() };
    let list: Vec<_> = network.parameters().iter().map(|(_, p)| (p.name.clone(), stored(p))).collect();
    let settings = own_settings(&network.settings())?;
    let config = json!({"model_type": format!("pupil-{}", settings["architecture"].as_str().unwrap_or("")), "pupil": settings});
    both(&config, &list)
}

/// The parameters as tensors of a family: under its names, in its parts.
fn renamed(parameters: &Parameters, parts: impl Fn(&str, [usize; 2]) -> Vec<Part>) -> Vec<(String, Stored)> {
    let mut list = Vec::new();
    for (_, p) in parameters.iter() {
        let is_vector = p.role == Role::Vector;
        let cols = if is_vector { 1 } else { p.shape[1] };
        let mut begin = 0;
        for part in parts(&p.name, p.shape) {
            let end = begin + part.rows * cols;
            let data = &p.data()[begin..end];
            let stored = match (is_vector, part.transposed) {
                (true, _) => Stored { shape: vec![part.rows], data: data.to_vec() },
                (false, false) => Stored { shape: vec![part.rows, cols], data: data.to_vec() },
                (false, true) => {
                    Stored { shape: vec![cols, part.rows], data: transpose(data, part.rows, cols) }
                }
            };
            list.push((part.name, stored));
            begin = end;
        }
    }
    list
}

fn gpt_files(gpt: &Gpt, end: &[u32]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let c = &gpt.config;
    let family = Family::of(c)?;
    let mut list = renamed(gpt.parameters(), |name, shape| huggingface::parts(family, c, name, shape));
    for (name, n) in huggingface::zeros(family, c) {
        list.push((name, Stored { shape: vec![n], data: vec![0.0; n] }));
    }
    both(&huggingface::config(c, end)?, &list)
}

fn bert_files(network: &Bert) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let c = &network.config;
    let list = renamed(network.parameters(), |name, shape| bert::parts(bert::prefix(c), name, shape));
    let mut config = bert::config(c);
    config["pupil"] = own_settings(&Settings::Bert(c.clone()))?;
    both(&config, &list)
}

fn marian_files(network: &Transformer) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut list = renamed(network.parameters(), marian::parts);
    marian::shape_bias(&mut list);
    let mut config = marian::config(&network.config);
    config["pupil"] = own_settings(&Settings::Transformer(network.config.clone()))?;
    both(&config, &list)
}

fn own_settings(settings: &Settings) -> Result<Value, Error> {
    serde_json::to_value(settings).map_err(|e| Error::Settings(e.to_string()))
}

/// The model's files with weights of few bits: see [`quantised`].
///
/// # Errors
/// As [`files`].
pub fn quantised_files(network: &Network, end: &[u32], bits: Bits) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut all = files(network, end)?;
    for (name, bytes) in &mut all {
        if name == "config.json" {
            let mut config: Value =
                serde_json::from_slice(bytes).map_err(|e| Error::Settings(e.to_string()))?;
            let tied = config["tie_word_embeddings"] == true;
            config["quantization_config"] = quantised::config(bits, tied);
            *bytes = format!("{config:#}\n").into_bytes();
        } else {
            let whole = tensors::from_bytes(Path::new(name), bytes)?;
            let mut list: Vec<(&String, &Stored)> = whole.iter().collect();
            list.sort_by_key(|t| t.0);
            let raw = list.iter().flat_map(|(n, t)| quantised::pack(n, t, bits)).collect();
            *bytes = tensors::raw_bytes(raw).map_err(Error::Settings)?;
        }
    }
    Ok(all)
}

fn both(config: &Value, list: &[(String, Stored)]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let weights = tensors::to_bytes(list).map_err(Error::Settings)?;
    Ok(vec![
        ("config.json".into(), format!("{config:#}\n").into_bytes()),
        ("model.safetensors".into(), weights),
    ])
}

/// Writes a model directory; it appears whole or not at all.
///
/// # Errors
/// As [`files`], and if the disk refuses.
pub fn save(dir: &Path, network: &Network, end: &[u32], extra: &[(String, Vec<u8>)]) -> Result<(), Error> {
    save_on(&RealFs, dir, network, end, extra)
}

/// [`save`] on any disk.
///
/// # Errors
/// As there.
pub fn save_on(
    fs: &dyn Fs,
    dir: &Path,
    network: &Network,
    end: &[u32],
    extra: &[(String, Vec<u8>)],
) -> Result<(), Error> {
    let mut all = files(network, end)?;
    all.extend_from_slice(extra);
    atomic::write_folder_on(fs, dir, &all)
}

/// Whether there is a model in a directory, whole or as adapters of another.
pub fn holds_model(dir: &Path) -> bool {
    dir.join("config.json").is_file() || adapter::is_adapter(dir)
}

/// Reads a model directory that pupil wrote, or a GPT, BERT or Marian that transformers wrote; in one file of weights or several, of 32, 16, 8 or 4 bits. Or
/// adapters, with the model that they change.
///
/// # Errors
/// Names the file that is missing or broken, the field, or the tensor that is missing, left over or misshapen (with both shapes).
pub fn load(dir: &Path) -> Result<Network, Error> {
    if adapter::is_adapter(dir) {
        return adapter::load(dir);
    }
    let path = dir.join("config.json");
    let bytes = read(&path)?;
    let config: Value =
        serde_json::from_slice(&bytes).map_err(|e| Error::content(&path, format!("is no JSON: {e}")))?;
    let [is_bert, is_marian] = ["bert", "marian"].map(|kind| config["model_type"] == kind);
    // Before the weights are read: what cannot be a model here need not be.
    let known = config.get("pupil").is_some() || is_bert || is_marian;
    let foreign =
        if known { None } else { Some(foreign::settings(&config).map_err(|e| Error::content(&path, e))?) };
    // A GPT's 8-bit matrices stay as they are until somebody needs them otherwise.
    let own = config.get("pupil").is_some_and(|own| own.get("architecture").is_none());
    let Weights { file, mut found, kept, size } = weights::read_all(dir, own)?;
    if is_bert {
        found = bert::normalise(found).map_err(|e| Error::content(&file, e))?;
    }
    if is_marian {
        marian::normalise(&mut found).map_err(|e| Error::content(&file, e))?;
    }
    if let Some(c) = &foreign {
        found = foreign::normalise(c, found).map_err(|e| Error::content(&file, e))?;
    }
    let settings = match config.get("pupil") {
        None if foreign.is_some() => foreign.map(Settings::Gpt).ok_or_else(String::new),
        None if is_marian => marian::settings(&config).map(Settings::Transformer),
        None => bert::settings(&config, &found).map(Settings::Bert),
        // A GPT's settings stand there without the name of the architecture.
        Some(own) => match own.get("architecture") {
            Some(_) => serde_json::from_value(own.clone()),
            None => serde_json::from_value::<Config>(own.clone()).map(Settings::Gpt),
        }
        .map_err(|e| format!("`pupil` settings: {e}")),
    };
    let c = settings.map_err(|e| Error::content(&path, e))?;
    c.check().map_err(|e| Error::content(&path, e))?;
    // Before any memory is taken by numbers of the settings: the file must be able to hold such a model.
    // Tables of positions are as long as the context.
    if c.context() > MOST_CONTEXT {
        let what = format!("a context of {} tokens: this version has at most {MOST_CONTEXT}", c.context());
        return Err(Error::content(&path, what));
    }
    // Half a byte each at least.
    let least = c.parameter_count() / 2;
    if size < least {
        let what = format!("has {size} bytes, but {} parameters need {least} at least", c.parameter_count());
        return Err(Error::content(file, what));
    }
    let mut network = Network::zeros(c);
    match &mut network {
        Network::Gpt(gpt) => fill(&file, gpt, &mut found, kept)?,
        Network::Bert(b) => {
            let parts = |name: &str, shape: [usize; 2]| bert::parts("", name, shape);
            fill_renamed(&file, b.parameters_mut(), &mut found, parts)?;
        }
        Network::Transformer(t) => fill_renamed(&file, t.parameters_mut(), &mut found, marian::parts)?,
        other => fill_own(&file, other, &mut found)?,
    }
    let mut rest: Vec<&String> = found.keys().collect();
    rest.sort();
    match rest.first() {
        None => Ok(network),
        Some(name) => {
            let what = format!("{} tensors belong to no parameter, the first: `{name}`", rest.len());
            Err(Error::content(file, what))
        }
    }
}

pub(crate) fn take(
    path: &Path,
    found: &mut HashMap<String, Stored>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, Error> {
    let missing = || Error::content(path, format!("tensor `{name}` is missing; its shape is {shape:?}"));
    let t = found.remove(name).ok_or_else(missing)?;
    if t.shape != shape {
        let what = format!("tensor `{name}` has shape {:?}, the settings need {shape:?}", t.shape);
        return Err(Error::content(path, what));
    }
    Ok(t.data)
}

/// Takes a parameter's 8-bit matrices as they are, if all of its parts are such.
fn keep(
    parameters: &mut Parameters,
    id: ParameterId,
    parts: &[Part],
    [rows, cols]: [usize; 2],
    kept: &mut HashMap<String, Kept>,
) {
    let fits = |p: &Part| kept.get(&p.name).is_some_and(|k| !p.transposed && k.shape == [p.rows, cols]);
    if rows < 2 || !parts.iter().all(fits) {
        return;
    }
    let (mut numbers, mut scales) = (Vec::new(), Vec::new());
    for k in parts.iter().filter_map(|p| kept.remove(&p.name)) {
        if numbers.is_empty() {
            (numbers, scales) = (k.numbers, k.scales);
        } else {
            numbers.extend_from_slice(&k.numbers);
            scales.extend_from_slice(&k.scales);
        }
    }
    parameters.set_eight(id, Eight::new(numbers, scales, cols));
}

fn fill_own(path: &Path, network: &mut Network, found: &mut HashMap<String, Stored>) -> Result<(), Error> {
    let ids: Vec<_> = network.parameters().iter().map(|(id, p)| (id, p.name.clone(), p.shape)).collect();
    for (id, name, shape) in ids {
        let data = take(path, found, &name, &shape)?;
        network.parameters_mut().data_mut(id).copy_from_slice(&data);
    }
    Ok(())
}

/// Fills parameters from tensors of a family.
fn fill_renamed(
    path: &Path,
    parameters: &mut Parameters,
    found: &mut HashMap<String, Stored>,
    parts: impl Fn(&str, [usize; 2]) -> Vec<Part>,
) -> Result<(), Error> {
    let ids: Vec<_> = parameters.iter().map(|(id, p)| (id, p.name.clone(), p.shape, p.role)).collect();
    let mut take = |name: &str, shape: &[usize]| take(path, found, name, shape);
    for (id, name, shape, role) in ids {
        if parameters.get(id).eight().is_some() {
            continue;
        }
        let is_vector = role == Role::Vector;
        let cols = if is_vector { 1 } else { shape[1] };
        let mut data = Vec::with_capacity(shape[0] * shape[1]);
        for part in parts(&name, shape) {
            data.extend(match (is_vector, part.transposed) {
                (true, _) => take(&part.name, &[part.rows])?,
                (false, false) => take(&part.name, &[part.rows, cols])?,
                (false, true) => transpose(&take(&part.name, &[cols, part.rows])?, cols, part.rows),
            });
        }
        parameters.set(id, data);
    }
    Ok(())
}

fn fill(
    path: &Path,
    gpt: &mut Gpt,
    found: &mut HashMap<String, Stored>,
    mut kept: HashMap<String, Kept>,
) -> Result<(), Error> {
    let c = gpt.config.clone();
    let family = Family::of(&c)?;
    let parts = |name: &str, shape: [usize; 2]| huggingface::parts(family, &c, name, shape);
    if !kept.is_empty() {
        let ids: Vec<_> =
            gpt.parameters().iter().map(|(id, p)| (id, parts(&p.name, p.shape), p.shape)).collect();
        for (id, parts, shape) in ids {
            keep(gpt.parameters_mut(), id, &parts, shape, &mut kept);
        }
        // The others are widened, or belong to nothing, which is found out below.
        found.extend(kept.into_iter().map(|(name, k)| (name, k.widened())));
    }
    fill_renamed(path, gpt.parameters_mut(), found, parts)?;
    for (name, n) in huggingface::zeros(family, &c) {
        if take(path, found, &name, &[n])?.iter().any(|&x| x != 0.0) {
            return Err(Error::content(
                path,
                format!("tensor `{name}` is not zero, but the settings have no such bias"),
            ));
        }
    }
    Ok(())
}

/// The tensors of a safetensors file by the names that stand there, widened to f32, without their shapes.
///
/// # Errors
/// If the file is missing or broken.
pub fn plain_tensors(path: &Path) -> Result<HashMap<String, Vec<f32>>, Error> {
    Ok(tensors::from_bytes(path, &read(path)?)?.into_iter().map(|(n, t)| (n, t.data)).collect())
}

fn transpose(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| data[r * cols + c])).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pupil_model::families::{self, PRESETS};
    use pupil_model::gpt::Positions;

    /// A known model shrunk to a few hundred numbers.
    pub(crate) fn tiny(name: &str) -> Config {
        let c = families::preset(name).unwrap();
        let group = c.heads / c.kv_heads;
        let (kv_heads, head_width) = (if group == 1 { 3 } else { 2 }, 4);
        let heads = kv_heads * group.min(2);
        let positions = match c.positions {
            Positions::Rotary { theta, local_theta, pairing, scaling, .. } => {
                Positions::Rotary { theta, local_theta, width: head_width, pairing, scaling }
            }
            Positions::Learned => Positions::Learned,
        };
        let width = if c.positions == Positions::Learned { heads * head_width } else { 10 };
        let window = c.window.map(|_| 3);
        Config {
            vocab: 19,
            context: 8,
            layers: 2,
            width,
            heads,
            kv_heads,
            head_width,
            hidden: 14,
            positions,
            window,
            ..c
        }
    }

    #[test]
    fn every_known_model_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        for name in PRESETS {
            let gpt = Network::from(Gpt::new(tiny(name), 5));
            let path = dir.path().join(name);
            save(&path, &gpt, &[1], &[("note.txt".into(), b"x".to_vec())]).unwrap();
            let back = load(&path).unwrap();
            assert_eq!(back.settings(), gpt.settings(), "{name}");
            for ((_, a), (_, b)) in gpt.parameters().iter().zip(back.parameters().iter()) {
                assert_eq!((&a.name, a.data()), (&b.name, b.data()), "{name}");
            }
            assert!(path.join("note.txt").exists());
        }
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().filter_map(Result::ok).map(|e| e.file_name()).collect();
        assert_eq!(left.len(), PRESETS.len(), "{left:?}");
    }

    #[test]
    fn few_bits_are_read_as_they_are_and_score_nearly_the_same() {
        use pupil_model::Batch;
        use pupil_model::tensor::{DType, Graph};
        let dir = tempfile::tempdir().unwrap();
        let ids = [3, 1, 4, 1, 5];
        let scores = |m: &dyn Model| {
            let whole = 0..ids.len();
            let batch = Batch::reading(&ids, std::slice::from_ref(&whole));
            let mut g = Graph::inference(m.parameters(), DType::F32);
            m.next_scores(&mut g, &batch).unwrap().to_vec()
        };
        let distance = |a: &[f32], b: &[f32]| {
            let of = |x: &dyn Fn(usize) -> f32| (0..a.len()).map(|i| x(i).powi(2)).sum::<f32>().sqrt();
            of(&|i| a[i] - b[i]) / of(&|i| a[i])
        };
        for name in ["llama3-8b", "gpt2", "gemma3-1b"] {
            let gpt = Gpt::new(tiny(name), 5);
            let before = scores(&gpt);
            // The steps of four bits are eighteen times as large (127 / 7), and so may the error be.
            for (bits, bound) in [(Bits::Eight, 0.04), (Bits::Four, 18.0 * 0.04)] {
                let path = dir.path().join(format!("{name}-{bits:?}"));
                let network = Network::from(Gpt::new(tiny(name), 5));
                atomic::write_folder(&path, &quantised_files(&network, &[1], bits).unwrap()).unwrap();
                let mut back = load(&path).unwrap();
                let after = scores(&back);
                assert!(distance(&before, &after) < bound, "{name} {bits:?} {}", distance(&before, &after));
                let id = back.parameters().find("blocks.0.up.weight").unwrap();
                let as_it_is = bits == Bits::Eight && name != "gpt2";
                assert_eq!(back.parameters().get(id).eight().is_some(), as_it_is, "{name}");
                // Widened the same weights give the same scores but for the order of sums, and they can be learned further.
                let ids: Vec<_> = back.parameters().iter().map(|(id, _)| id).collect();
                for &id in &ids {
                    let _ = back.parameters_mut().data_mut(id);
                }
                assert!(back.parameters().get(id).eight().is_none());
                assert!(distance(&after, &scores(&back)) < 1e-5, "{name}");
            }
        }
    }

    #[test]
    fn other_architectures_come_back_bit_for_bit() {
        use pupil_model::{Form, rnn, rnnsearch, seq2seq};
        let (vocab, cell) = (19, rnn::Kind::Gru);
        let reader = rnn::Config { vocab, context: 8, width: 5, hidden: 6, layers: 2, cell, dropout: 0.0 };
        let form = Form { length: 8, padded: true, start: 1, start_is_said: true, end: 0 };
        let pair = seq2seq::Config { vocab, form, width: 5, hidden: 6, cell: rnn::Kind::Lstm };
        let attention = rnnsearch::Config {
            vocab,
            form,
            width: 5,
            hidden: 6,
            keys: 4,
            cell,
            bidirectional: true,
            dropout: 0.0,
        };
        let dir = tempfile::tempdir().unwrap();
        for settings in [Settings::Rnn(reader), Settings::Seq2Seq(pair), Settings::RnnSearch(attention)] {
            let network = Network::new(settings, 5);
            let path = dir.path().join("m");
            let _ = std::fs::remove_dir_all(&path);
            save(&path, &network, &[], &[]).unwrap();
            let back = load(&path).unwrap();
            assert_eq!(back.settings(), network.settings());
            for ((_, a), (_, b)) in network.parameters().iter().zip(back.parameters().iter()) {
                assert_eq!((&a.name, a.data()), (&b.name, b.data()));
            }
        }
    }

    #[test]
    fn missing_misshapen_and_left_over_tensors_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let gpt = Network::from(Gpt::new(tiny("llama2-7b"), 5));
        let path = dir.path().join("m");
        save(&path, &gpt, &[1], &[]).unwrap();
        let file = path.join("model.safetensors");
        let good = tensors::from_bytes(&file, &read(&file).unwrap()).unwrap();
        let check = |change: &dyn Fn(&mut HashMap<String, Stored>), words: &[&str]| {
            let mut t = good.clone();
            change(&mut t);
            let list: Vec<(String, Stored)> = t.into_iter().collect();
            std::fs::write(&file, tensors::to_bytes(&list).unwrap()).unwrap();
            let e = load(&path).err().unwrap().to_string();
            assert!(words.iter().all(|w| e.contains(w)), "{e}");
        };
        let name = "model.layers.1.self_attn.k_proj.weight";
        check(&|t| drop(t.remove(name)), &[name, "missing", "[12, 10]"]);
        let reshape = |t: &mut HashMap<String, Stored>| t.get_mut(name).unwrap().shape = vec![10, 12];
        check(&reshape, &[name, "[10, 12]", "[12, 10]"]);
        let add = |t: &mut HashMap<String, Stored>| {
            drop(t.insert("extra".into(), Stored { shape: vec![1], data: vec![1.0] }))
        };
        check(&add, &["extra", "no parameter"]);
    }

    #[test]
    fn a_model_that_is_not_finite_is_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut gpt = Network::from(Gpt::new(tiny("gpt2"), 5));
        let id = gpt.parameters().find("blocks.1.up.weight").unwrap();
        gpt.parameters_mut().data_mut(id)[3] = f32::NAN;
        let e = save(&dir.path().join("m"), &gpt, &[1], &[]).unwrap_err().to_string();
        assert!(e.contains("blocks.1.up.weight") && !dir.path().join("m").exists(), "{e}");
    }
}
