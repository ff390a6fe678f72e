//! `pupil lineage --classic`: the learners before deep learning, and a page about them.

use std::path::{Path, PathBuf};

use pupil_data::labelled;
use pupil_lineage::Language;
use pupil_lineage::classic::outcome::{CLASSIFIERS, Error, TAGGERS, Task};
use pupil_lineage::classic::{self, Suite, page};

use crate::exit::{Stopped, Usage};
use crate::signals::Stop;

/// Texts and sentences of the starter text.
const STARTER: [usize; 2] = [6000, 3000];

pub(crate) fn run(
    paths: &[PathBuf],
    out: &Path,
    features: Option<&Path>,
    seed: u64,
    deep: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut found = if paths.is_empty() { labelled::Found::default() } else { labelled::read(paths)? };
    for what in &found.skipped {
        eprintln!("left out: {what}");
    }
    if found.skipped_count > found.skipped.len() {
        eprintln!("left out: {} more", found.skipped_count - found.skipped.len());
    }
    let starter = [found.texts.is_empty(), found.sentences.is_empty()];
    if starter[0] {
        eprintln!("texts: {} reviews of the starter text, made by rules", STARTER[0]);
        found.texts = pupil_data::starter::reviews(1, STARTER[0]).collect();
    }
    if starter[1] {
        eprintln!("sentences: {} of the starter text, made by rules", STARTER[1]);
        found.sentences = pupil_data::starter::tagged(1, STARTER[1]).collect();
    }
    let suite = Suite { texts: &found.texts, sentences: &found.sentences, seed, deep };
    let stop = Stop::watch()?;
    let outcome = suite.run(&mut |what| {
        eprintln!("{what}");
        stop.code().is_none()
    });
    let outcome = match outcome {
        Err(Error::Stopped) => anyhow::bail!(Stopped {
            code: stop.code().unwrap_or(1),
            how_to_go_on: "the same command begins anew".into(),
        }),
        Err(e @ Error::TooLittle(_)) => anyhow::bail!(Usage(e.to_string())),
        other => other?,
    };
    let storage = |path: &Path| {
        let path = path.to_owned();
        |source| pupil_checkpoint::Error::Storage { path, source }
    };
    std::fs::create_dir_all(out).map_err(storage(out))?;
    if let Some(dir) = features {
        std::fs::create_dir_all(dir).map_err(storage(dir))?;
        let most = |t: &Task| t.points.iter().map(|p| p.size).max().unwrap_or(0);
        let size = [most(&outcome.texts), most(&outcome.tags)];
        for (name, text) in classic::write(&found.texts, &found.sentences, size, seed) {
            pupil_checkpoint::atomic::replace_file(&dir.join(name), text.as_bytes())?;
        }
    }
    let json = format!("{}\n", serde_json::to_string_pretty(&outcome)?);
    let [english, chinese, numbers] =
        ["classic.html", "classic.zh.html", "classic.json"].map(|n| out.join(n));
    for (path, text) in [
        (&english, page::html(&outcome, starter, Language::English)),
        (&chinese, page::html(&outcome, starter, Language::Chinese)),
        (&numbers, json.clone()),
    ] {
        pupil_checkpoint::atomic::replace_file(path, text.as_bytes())?;
    }
    if let Some(code) = stop.code() {
        let how_to_go_on = format!("{} lacks the networks that were left", english.display());
        anyhow::bail!(Stopped { code, how_to_go_on });
    }
    if as_json {
        print!("{json}");
        return Ok(());
    }
    for (task, all) in [(&outcome.texts, &CLASSIFIERS[..]), (&outcome.tags, &TAGGERS)] {
        for p in all.iter().filter_map(|l| task.last(*l)) {
            let (name, mean, spread) = (p.learner.name(), 100.0 * p.mean(), 100.0 * p.deviation());
            eprintln!("  {name:<18}{mean:>6.1} % ± {spread:.1} from {:>6}, {:.2} s", p.size, p.seconds);
        }
    }
    println!("{}\n{}", english.display(), chinese.display());
    Ok(())
}
