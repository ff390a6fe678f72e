//! Which model `pupil` talks with when none is named: the newest of one's own, else the one that is shipped.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where a shipped model lies in the repository.
const SHIPPED: &str = "models/pupil";

/// The newest model that can talk among the runs and models in the current directory; else the shipped one.
pub(crate) fn model() -> Option<PathBuf> {
    own(Path::new(".")).or_else(shipped)
}

/// The newest model that can talk in a directory and the directories in it.
fn own(here: &Path) -> Option<PathBuf> {
    let inside = std::fs::read_dir(here).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    // One that was written by this command's own repository is shipped, not one's own.
    let places = inside.filter(|p| p.is_dir() && !p.ends_with("models")).chain([here.to_owned()]);
    let models = places.map(|p| directory(&p)).filter(|p| talks(p));
    models.filter_map(|p| Some((written(&p)?, p))).max().map(|(_, p)| p)
}

/// When a model was written.
fn written(dir: &Path) -> Option<SystemTime> {
    let files = ["config.json", "adapter_config.json"].map(|name| dir.join(name));
    files.iter().find_map(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok())
}

/// Whether a directory holds a model that answers: one that was fine-tuned, a recipe's, or another program's with a chat template.
fn talks(dir: &Path) -> bool {
    let json = |path: PathBuf| -> Option<serde_json::Value> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    };
    if pupil_checkpoint::adapter::is_adapter(dir) {
        return true;
    }
    let Some(config) = json(dir.join("config.json")) else { return false };
    let kind = config["pupil"]["architecture"].as_str().or(config["model_type"].as_str()).unwrap_or("");
    if kind == "bert" {
        return false;
    }
    // The run's directory is the model's parent, or that of the folder of its checkpoints.
    let run = dir.ancestors().skip(1).take(2).find_map(|p| json(p.join("run.json")));
    match run {
        Some(run) => run["stage"] != "pretrain",
        None => dir.join("chat_template.jinja").exists() || dir.join("tokenizer_config.json").exists(),
    }
}

/// The shipped model: in the current directory, beside the binary or above it (as it lies when cargo built it), or where it was built.
fn shipped() -> Option<PathBuf> {
    let binary = std::env::current_exe().ok();
    let above = binary.iter().flat_map(|b| b.ancestors().skip(1).take(4)).map(Path::to_owned);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = std::iter::once(PathBuf::from(".")).chain(above).chain([built]);
    let found = places.map(|p| p.join(SHIPPED)).find(|p| p.join("config.json").exists())?;
    // Without the turns that led there.
    Some(found.canonicalize().unwrap_or(found))
}

/// The model directory inside a run: its model, of a speedrun its last stage's, else its newest checkpoint; else the directory itself.
pub(crate) fn directory(path: &Path) -> PathBuf {
    let has_model = |p: &PathBuf| pupil_checkpoint::directory::holds_model(p);
    let stages = ["", "chat", "base"].map(|stage| path.join(stage));
    let models = stages.iter().map(|s| s.join("model"));
    let checkpoints = stages.iter().filter_map(|s| newest_checkpoint(&s.join("checkpoints")));
    let mut inside = std::iter::once(path.to_owned()).chain(models).chain(checkpoints);
    inside.find(has_model).unwrap_or_else(|| path.to_owned())
}

/// The checkpoint of the highest step.
fn newest_checkpoint(checkpoints: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(checkpoints).ok()?.filter_map(Result::ok).map(|e| e.path());
    let step = |p: &PathBuf| -> Option<u64> { p.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok() };
    entries.filter_map(|p| Some((step(&p)?, p))).max().map(|(_, p)| p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_can_talk_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let make = |place: &str, stage: Option<&str>, config: &str| {
            let model = dir.path().join(place);
            std::fs::create_dir_all(&model).unwrap();
            std::fs::write(model.join("config.json"), config).unwrap();
            if let Some(stage) = stage {
                let run = serde_json::json!({"stage": stage}).to_string();
                std::fs::write(model.parent().unwrap().join("run.json"), run).unwrap();
            }
            // Times of a file system may be coarse.
            std::thread::sleep(std::time::Duration::from_millis(20));
            model
        };
        assert_eq!(own(dir.path()), None);
        let old = make("a/chat/model", Some("finetune"), "{}");
        assert_eq!(own(dir.path()), Some(old));
        let new = make("b/model", Some("finetune"), "{}");
        make("c/model", Some("pretrain"), "{}");
        make("d/model", Some("finetune"), r#"{"model_type": "bert"}"#);
        make("e/model", Some("finetune"), "no JSON");
        make("models", None, "{}");
        assert_eq!(own(dir.path()), Some(new));
        let recipe = make("f/model", Some("recipe"), "{}");
        assert_eq!(own(dir.path()), Some(recipe));
    }

    #[test]
    fn a_run_is_its_model_or_its_newest_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let make = |place: &str| {
            let path = dir.path().join(place);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("config.json"), "{}").unwrap();
            path
        };
        assert_eq!(directory(dir.path()), dir.path());
        let base = make("base/model");
        assert_eq!(directory(dir.path()), base);
        make("chat/checkpoints/step-9");
        make("chat/checkpoints/other");
        assert_eq!(directory(&dir.path().join("chat")), dir.path().join("chat/checkpoints/step-9"));
        let newer = make("chat/checkpoints/step-100");
        assert_eq!(directory(&dir.path().join("chat")), newer);
        let done = make("chat/model");
        assert_eq!(directory(dir.path()), done);
    }
}
