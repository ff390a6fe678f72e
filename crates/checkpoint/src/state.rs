//! Training checkpoints: `step-N/`, a model directory with the optimiser's state, verified by hashes.
//!
//! `manifest.json` lists every file with its BLAKE3 hash; a folder without a manifest that verifies is no checkpoint.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tensors::{self, Stored};
use crate::{Error, atomic, read};

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    blake3: String,
}

/// The bytes of `optimiser.safetensors`: moments by name.
///
/// # Errors
/// If they cannot be put into the format.
pub fn moments_file<'a>(
    moments: impl Iterator<Item = (String, &'a [f32])>,
) -> Result<(String, Vec<u8>), Error> {
    let list: Vec<(String, Stored)> =
        moments.map(|(n, d)| (n, Stored { shape: vec![d.len()], data: d.to_vec() })).collect();
    Ok(("optimiser.safetensors".into(), tensors::to_bytes(&list).map_err(Error::Settings)?))
}

/// The moments of a checkpoint by name.
///
/// # Errors
/// If the file is missing or broken.
pub fn moments(dir: &Path) -> Result<HashMap<String, Vec<f32>>, Error> {
    let path = dir.join("optimiser.safetensors");
    Ok(tensors::from_bytes(&path, &read(&path)?)?.into_iter().map(|(n, t)| (n, t.data)).collect())
}

/// Writes `checkpoints/step-N` from its files and the state, and removes all but the newest `keep`.
///
/// # Errors
/// If the disk refuses; the checkpoints before are then all still there.
pub fn save(
    checkpoints: &Path,
    step: u64,
    state: &Value,
    mut files: Vec<(String, Vec<u8>)>,
    keep: usize,
) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(checkpoints)
        .map_err(|source| Error::Storage { path: checkpoints.to_owned(), source })?;
    files.push(("state.json".into(), format!("{state:#}\n").into_bytes()));
    let entries = files.iter().map(|(name, bytes)| Entry {
        name: name.clone(),
        bytes: bytes.len() as u64,
        blake3: blake3::hash(bytes).to_hex().to_string(),
    });
    let manifest = Manifest { version: 1, files: entries.collect() };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Settings(e.to_string()))?;
    files.push(("manifest.json".into(), manifest));
    let path = checkpoints.join(format!("step-{step}"));
    atomic::write_folder(&path, &files)?;
    let old = steps(checkpoints);
    for (_, dir) in old.iter().rev().skip(keep.max(1)) {
        let _ = std::fs::remove_dir_all(dir);
    }
    Ok(path)
}

/// The folders `step-N`, by number.
fn steps(checkpoints: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(checkpoints).into_iter().flatten().filter_map(Result::ok);
    let number = |e: &std::fs::DirEntry| e.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
    let mut list: Vec<(u64, PathBuf)> = entries.filter_map(|e| Some((number(&e)?, e.path()))).collect();
    list.sort();
    list
}

/// The newest checkpoint whose files verify, with its state, and what was wrong with newer ones.
pub fn newest(checkpoints: &Path) -> (Option<(PathBuf, Value)>, Vec<Error>) {
    let mut damaged = Vec::new();
    for (_, dir) in steps(checkpoints).into_iter().rev() {
        match verify(&dir) {
            Ok(state) => return (Some((dir, state)), damaged),
            Err(e) => damaged.push(e),
        }
    }
    (None, damaged)
}

fn verify(dir: &Path) -> Result<Value, Error> {
    let path = dir.join("manifest.json");
    let manifest: Manifest = serde_json::from_slice(&read(&path)?)
        .map_err(|e| Error::content(&path, format!("is no manifest: {e}")))?;
    if manifest.version != 1 {
        return Err(Error::content(&path, format!("has version {}; this pupil reads 1", manifest.version)));
    }
    for f in &manifest.files {
        if f.name.contains(['/', '\\']) {
            return Err(Error::content(&path, format!("names a file outside the folder: {:?}", f.name)));
        }
        let file = dir.join(&f.name);
        let bytes = read(&file)?;
        if bytes.len() as u64 != f.bytes || blake3::hash(&bytes).to_hex().as_str() != f.blake3 {
            let what = format!(
                "is damaged: {} bytes, its checkpoint has {} with another hash",
                bytes.len(),
                f.bytes
            );
            return Err(Error::content(&file, what));
        }
    }
    let path = dir.join("state.json");
    serde_json::from_slice(&read(&path)?).map_err(|e| Error::content(&path, format!("is no JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn some(step: u64, dir: &Path, keep: usize) -> PathBuf {
        let moments = moments_file([("a.first".to_owned(), [1.0f32, 2.0].as_slice())].into_iter()).unwrap();
        save(dir, step, &json!({"step": step}), vec![moments], keep).unwrap()
    }

    #[test]
    fn the_newest_comes_back_and_old_ones_go_in_order_of_number() {
        let dir = tempfile::tempdir().unwrap();
        for step in [8, 9, 10, 11] {
            some(step, dir.path(), 2);
        }
        let (found, damaged) = newest(dir.path());
        let (path, state) = found.unwrap();
        assert_eq!((state["step"].as_u64(), damaged.len()), (Some(11), 0));
        assert_eq!(moments(&path).unwrap()["a.first"], [1.0, 2.0]);
        assert_eq!(steps(dir.path()).iter().map(|s| s.0).collect::<Vec<_>>(), [10, 11]);
    }

    #[test]
    fn damage_in_any_file_is_named_and_the_one_before_is_used() {
        for name in ["optimiser.safetensors", "state.json", "manifest.json"] {
            for truncate in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                some(1, dir.path(), 3);
                let file = some(2, dir.path(), 3).join(name);
                let mut bytes = std::fs::read(&file).unwrap();
                if truncate {
                    bytes.pop();
                    bytes.pop();
                } else {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 4;
                }
                std::fs::write(&file, bytes).unwrap();
                let (found, damaged) = newest(dir.path());
                assert_eq!(found.unwrap().1["step"], 1, "{name}");
                assert_eq!(damaged.len(), 1, "{name}");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("step-7")).unwrap();
        let (found, damaged) = newest(dir.path());
        assert!(found.is_none() && damaged.len() == 1);
    }
}
