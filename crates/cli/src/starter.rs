//! `pupil data starter`: the starter curriculum as files, made for a persona.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_data::starter::{Curriculum, Persona};
use pupil_report::number;

use crate::room;

/// `pupil data starter`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Directory for chats.jsonl, stories.txt, skills.jsonl and persona.toml.
    #[arg(long)]
    out: PathBuf,
    /// Who the model is: a file like persona.toml, of which every word may be left out. Without it: pupil.
    #[arg(long)]
    persona: Option<PathBuf>,
    /// Conversations; stories are half as many.
    #[arg(long, default_value_t = 100_000)]
    size: usize,
    /// Tokens of the model's context: with more than 256 some conversations are longer.
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Held-out questions of each skill.
    #[arg(long, default_value_t = 12)]
    questions: usize,
    /// Another seed gives other conversations, with the same questions held out.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let persona = match &a.persona {
        None => Persona::standard().map_err(anyhow::Error::msg)?,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Persona::parse(&text).map_err(|what| broken(path, what))?
        }
    };
    let toml = persona.to_toml().map_err(anyhow::Error::msg)?;
    let named = a.persona.as_deref().unwrap_or(Path::new("persona.toml"));
    let curriculum = Curriculum::new(persona).map_err(|what| broken(named, what))?;
    // A token is about three and a half bytes of this text.
    let curriculum = curriculum.with_room(a.context.saturating_mul(7) / 2);
    // It is the last that appears under its name: where it waits, an earlier writing was interrupted, and is done again.
    let waiting = a.out.join("persona.part");
    if !waiting.exists() {
        room::vacant(&a.out)?;
    }
    std::fs::create_dir_all(&a.out).with_context(|| format!("making {}", a.out.display()))?;
    std::fs::write(&waiting, &toml).with_context(|| format!("writing {}", waiting.display()))?;
    let chats = curriculum.chats(a.seed, a.size).map(|c| Ok(serde_json::to_string(&c)?));
    write(&a.out.join("chats.jsonl"), chats)?;
    // As in TinyStories, the border between documents is a line of its own.
    let stories = curriculum.stories(a.seed, a.size / 2).map(|s| Ok(s + "\n<|endoftext|>"));
    write(&a.out.join("stories.txt"), stories)?;
    let tests = curriculum.tests(a.seed, a.questions);
    write(&a.out.join("skills.jsonl"), tests.iter().map(|q| Ok(serde_json::to_string(q)?)))?;
    write(&a.out.join("persona.toml"), std::iter::once(Ok(toml)))?;
    eprintln!(
        "  {} conversations, {} stories, {} held-out questions; own text, CC0",
        number(a.size as u64),
        number(a.size as u64 / 2),
        number(tests.len() as u64)
    );
    println!("{}", a.out.display());
    Ok(())
}

fn broken(path: &Path, what: String) -> anyhow::Error {
    pupil_data::Error::Content { path: path.to_owned(), what }.into()
}

/// Writes lines to a file that appears whole or not at all.
fn write(path: &Path, lines: impl Iterator<Item = anyhow::Result<String>>) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let writing = || format!("writing {}", path.display());
    let mut out = BufWriter::new(std::fs::File::create(&part).with_context(writing)?);
    for line in lines {
        writeln!(out, "{}", line?).with_context(writing)?;
    }
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .and_then(|f| f.sync_all())
        .with_context(writing)?;
    std::fs::rename(&part, path).with_context(writing)
}
