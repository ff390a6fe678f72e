//! The tensors of a model directory: `model.safetensors`, or several files that `model.safetensors.index.json` lists.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::quantised::Kept;
use crate::tensors::{self, Stored};
use crate::{Error, read};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a model.
pub(crate) struct Weights {
    /// The file that errors name: the one with the tensors, or the index.
    pub(crate) file: PathBuf,
    /// By the names that stand there.
    pub(crate) found: HashMap<String, Stored>,
    /// 8-bit matrices, if they were to be kept as they are.
    pub(crate) kept: HashMap<String, Kept>,
    /// Bytes of the files with the tensors.
    pub(crate) size: u64,
}

/// Reads them. 8-bit matrices of a single file are kept as they are if `keep`.
///
/// # Errors
/// If there is no such file, or one of them is broken or contradicts the index.
pub(crate) fn read_all(dir: &Path, keep: bool) -> Result<Weights, Error> {
    let (file, index) = (dir.join(WHOLE), dir.join(INDEX));
    if file.exists() || !index.exists() {
        if !file.exists() {
            pickles(dir)?;
        }
        let bytes = read(&file)?;
        let mut kept = HashMap::new();
        let found = tensors::read(&file, &bytes, keep.then_some(&mut kept))?;
        return Ok(Weights { found, kept, size: bytes.len() as u64, file });
    }
    let (mut found, mut size) = (HashMap::new(), 0);
    for (name, listed) in listed(&index)? {
        let path = dir.join(&name);
        let bytes = read(&path)?;
        size += bytes.len() as u64;
        let mut tensors = tensors::from_bytes(&path, &bytes)?;
        for name in listed {
            let t = tensors.remove(&name).ok_or_else(|| {
                Error::content(&path, format!("has no tensor `{name}`, which the index places there"))
            })?;
            found.insert(name, t);
        }
        if let Some(name) = tensors.keys().min() {
            return Err(Error::content(
                &path,
                format!("has a tensor `{name}` that the index does not place there"),
            ));
        }
    }
    Ok(Weights { file: index, found, kept: HashMap::new(), size })
}

/// The files that an index names, with the tensors in each. Those of few bits stand in the index in their parts.
fn listed(index: &Path) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let wrong = |what: String| Error::content(index, what);
    let v: Value = serde_json::from_slice(&read(index)?).map_err(|e| wrong(format!("is no JSON: {e}")))?;
    let map = v["weight_map"].as_object().ok_or_else(|| wrong("has no `weight_map`".into()))?;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in map {
        let name = file.as_str().ok_or_else(|| wrong(format!("`weight_map`: `{tensor}` names no file")))?;
        let mut parts = Path::new(name).components();
        let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !is_plain || name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
            return Err(wrong(format!(
                "`weight_map`: `{tensor}` is said to lie in `{name}`, which is no plain name of a safetensors file"
            )));
        }
        if index.with_file_name(name).is_symlink() && !stays(index, name) {
            return Err(wrong(format!("`{name}` is a link out of the directory")));
        }
        let is_part = |end: &str, whole: &str| {
            tensor.strip_suffix(end).is_some_and(|n| map.contains_key(&format!("{n}{whole}")))
        };
        // Scales beside their whole numbers become one tensor with them.
        if is_part("_scale", "") || is_part("_scale", "_packed") || is_part("_shape", "_packed") {
            continue;
        }
        let tensor = tensor.strip_suffix("_packed").unwrap_or(tensor);
        if !tensor.ends_with("position_ids") {
            files.entry(name.to_owned()).or_default().push(tensor.to_owned());
        }
    }
    Ok(files)
}

/// Whether a link leads to a file that lies beside the index, or in the store of blobs that Hugging Face's cache keeps beside its snapshots.
fn stays(index: &Path, name: &str) -> bool {
    let root = index.parent().and_then(|d| d.canonicalize().ok());
    let to = index.with_file_name(name).canonicalize().ok();
    root.zip(to).is_some_and(|(root, to)| {
        let cache = root.ancestors().nth(2).map(|p| p.join("blobs"));
        to.starts_with(&root) || cache.is_some_and(|c| to.starts_with(c))
    })
}

/// Says what to do about a directory whose weights are pickle files.
fn pickles(dir: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let is_pickle =
        |p: &PathBuf| p.extension().is_some_and(|e| e == "bin" || e == "pt" || e == "pth" || e == "ckpt");
    match entries.filter(is_pickle).min() {
        None => Ok(()),
        Some(file) => Err(Error::content(
            file,
            "pupil does not read pickle files, which can run programs; convert it: `model.save_pretrained(DIRECTORY, safe_serialization=True)`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(dir: &Path, file: &str, names: &[&str]) {
        let t = |n: &&str| ((*n).to_owned(), Stored { shape: vec![2], data: vec![n.len() as f32, 1.0] });
        let list: Vec<(String, Stored)> = names.iter().map(t).collect();
        std::fs::write(dir.join(file), tensors::to_bytes(&list).unwrap()).unwrap();
    }

    fn index(dir: &Path, map: Value) {
        std::fs::write(dir.join(INDEX), json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    }

    #[test]
    fn shards_are_one_model_and_s07_a_wrong_index_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        write(d, "a.safetensors", &["x", "yy"]);
        write(d, "b.safetensors", &["zzz"]);
        index(d, json!({"x": "a.safetensors", "yy": "a.safetensors", "zzz": "b.safetensors"}));
        let w = read_all(d, false).unwrap();
        assert_eq!((w.found.len(), w.found["zzz"].data[0]), (3, 3.0));
        let refused = |map: Value, words: &[&str]| {
            index(d, map);
            let e = read_all(d, false).err().unwrap().to_string();
            assert!(words.iter().all(|w| e.contains(w)), "{e}");
        };
        refused(json!({"x": "absent.safetensors"}), &["absent.safetensors"]);
        refused(
            json!({"x": "a.safetensors", "yy": "a.safetensors", "zzz": "a.safetensors"}),
            &["zzz", "no tensor"],
        );
        refused(json!({"x": "a.safetensors"}), &["`yy`", "does not place"]);
        for outside in ["../b.safetensors", "/etc/passwd", "sub/b.safetensors", "..", "b.bin", ""] {
            refused(json!({"x": outside}), &["plain name"]);
        }
        refused(json!({"x": 3}), &["`x`"]);
        refused(json!([]), &["weight_map"]);
        std::fs::write(d.join(INDEX), "{").unwrap();
        assert!(read_all(d, false).err().unwrap().to_string().contains("no JSON"));
    }

    #[test]
    fn s08_pickles_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_all(dir.path(), false), Err(Error::Read { .. })));
        std::fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
        let e = read_all(dir.path(), false).err().unwrap().to_string();
        assert!(e.contains("pytorch_model.bin") && e.contains("pickle"), "{e}");
    }

    #[cfg(unix)]
    #[test]
    fn s07_a_link_out_of_the_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (d, other) = (dir.path().join("a/b/c"), dir.path().join("other"));
        std::fs::create_dir_all(&d).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        write(&other, "x.safetensors", &["x"]);
        std::os::unix::fs::symlink(other.join("x.safetensors"), d.join("x.safetensors")).unwrap();
        index(&d, json!({"x": "x.safetensors"}));
        assert!(read_all(&d, false).err().unwrap().to_string().contains("out of the directory"));
    }
}
