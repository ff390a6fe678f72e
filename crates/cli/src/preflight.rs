//! What fine-tuning is about to learn, shown and checked before it costs anything.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_chat::{Rendered, Renderer, Template};
use pupil_data::{Chat, Examples};
use pupil_model::Network;
use pupil_tokenizer::Tokenizer;
use pupil_train::{Plan, examples, inspect, preflight};

/// What the checks of conversations take.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Checks {
    /// Questions that must not be in the data: those of the evaluation, in any form of --data.
    #[arg(long)]
    pub(crate) eval: Vec<PathBuf>,
    /// Goes on although answers will be cut to the context.
    #[arg(long)]
    pub(crate) allow_truncation: bool,
    /// Conversations that are shown token by token, with those that are learned marked.
    #[arg(long, default_value_t = 2)]
    pub(crate) show: usize,
}

impl Checks {
    /// Shows some conversations and checks all; `dir` is the model's directory.
    pub(crate) fn run(
        &self,
        tokenizer: &Tokenizer,
        dir: &Path,
        chats: &[Chat],
        context: usize,
    ) -> anyhow::Result<()> {
        let renderer = Renderer::new(tokenizer)?;
        let colour = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|c| c.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        if self.show > 0 && !chats.is_empty() {
            let marks = if colour { "in green" } else { "between ⟦ and ⟧" };
            eprintln!("  what is learned is {marks}; tokens are divided by |");
        }
        for chat in chats.iter().take(self.show) {
            let r = renderer.render_tools(&chat.tools, &examples::messages(chat), false);
            eprintln!("{}", shown(tokenizer, &r, colour));
        }
        let template = served(dir)?;
        inspect::inspect(tokenizer, &template, chats, context, self.allow_truncation)?;
        if !self.eval.is_empty() {
            let test = pupil_data::read(&self.eval)?;
            let asked = test.chats.iter().flat_map(|c| &c.messages).filter(|t| t.role == "user");
            let questions =
                asked.map(|t| t.content.as_str()).chain(test.documents.iter().map(String::as_str));
            inspect::contamination(chats, questions)?;
        }
        Ok(())
    }
}

/// Whether a model learns a small batch; it stays as it is.
pub(crate) fn try_out(plan: &Plan, train: &dyn Examples, model: &mut Network) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let seen = preflight::learns_on(plan, train, model)?;
    pupil_tensor::buffer::trim();
    tell(&seen, begun);
    Ok(())
}

/// Says what a preflight saw.
pub(crate) fn tell(seen: &preflight::Outcome, begun: std::time::Instant) {
    eprintln!(
        "  preflight: one small batch went from a loss of {:.2} to {:.2} in {} steps, {:.1} s",
        seen.first,
        seen.last,
        seen.steps,
        begun.elapsed().as_secs_f64()
    );
}

/// The template with which a model is served: its own, or that of pupil's chats.
fn served(dir: &Path) -> anyhow::Result<Template> {
    let path = dir.join("chat_template.jinja");
    let source = match std::fs::read_to_string(&path) {
        Ok(source) => source,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => pupil_chat::JINJA.to_owned(),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    Template::new(&source, "", pupil_chat::END_OF_TEXT).with_context(|| path.display().to_string())
}

/// A conversation token by token.
fn shown(tokenizer: &Tokenizer, r: &Rendered, colour: bool) -> String {
    let [begin, end] = if colour { ["\x1b[32m", "\x1b[0m"] } else { ["⟦", "⟧"] };
    let (mut text, mut inside) = (String::from("    "), false);
    for (i, (&id, &learned)) in r.ids.iter().zip(&r.learned).enumerate() {
        if learned != inside {
            text.push_str(if learned { begin } else { end });
            inside = learned;
        } else if i > 0 && !text.ends_with([' ', '\n']) {
            text.push('|');
        }
        for c in String::from_utf8_lossy(tokenizer.bytes(id).unwrap_or_default()).chars() {
            match c {
                '\n' => text.push_str("⏎\n    "),
                c if c.is_control() => text.push('\u{fffd}'),
                c => text.push(c),
            }
        }
    }
    if inside {
        text.push_str(end);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_tokens_are_marked() {
        let t = pupil_tokenizer::train(["user assistant hi hello"; 9], 300, &pupil_chat::SPECIALS);
        let r = Renderer::new(&t).unwrap();
        let chat = Chat::alternating(["hi\x1b[2J", "hello"]);
        let r = r.render(&examples::messages(&chat), false);
        let plain = shown(&t, &r, false);
        assert!(
            plain.contains("|<|im_end|>⟧⏎") && !plain.contains('\x1b') && plain.contains('\u{fffd}'),
            "{plain}"
        );
        let whole = plain.replace('|', "");
        assert!(whole.contains("⟦hello<im_end>⟧⏎") && whole.contains("<im_start>user⏎"), "{plain}");
        let coloured = shown(&t, &r, true).replace('|', "");
        assert!(coloured.contains("\x1b[32mhello<im_end>\x1b[0m"), "{coloured}");
    }
}
