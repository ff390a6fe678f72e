//! Talking with an encoder and decoder: each line is answered by itself, because such a model remembers no conversation.

use std::io::{IsTerminal, Write};
use std::path::Path;

use pupil_infer::Beam;
use pupil_model::{Alignment, EncoderDecoder};
use pupil_tensor::{DType, Graph};
use rustyline::error::ReadlineError;

use crate::display::shown;
use crate::input;
use crate::recipe::Words;

/// A model that answers line by line.
pub(crate) struct Replier<'a> {
    model: &'a dyn EncoderDecoder,
    words: Words,
    beam: Beam,
    dtype: DType,
    /// Whether the reply's attention is shown.
    attention: bool,
}

impl<'a> Replier<'a> {
    pub(crate) fn open(
        dir: &Path,
        model: &'a dyn EncoderDecoder,
        beam: Beam,
        dtype: DType,
        attention: bool,
    ) -> anyhow::Result<Replier<'a>> {
        let words = Words::open(dir)?;
        let beam = Beam { never: words.unknown().into_iter().collect(), ..beam };
        Ok(Replier { model, words, beam, dtype, attention })
    }

    /// The best reply, and how it came about, if that is asked for.
    fn reply(&self, line: &str) -> String {
        let said = self.words.read(line);
        let replies = self.beam.replies(self.model, &said, self.dtype);
        let ids = replies.first().map_or(&[][..], |r| &r.ids);
        let mut reply = self.words.write(ids);
        if reply.is_empty() {
            reply = "[says nothing]".into();
        }
        if self.attention {
            let source = self.model.form().source(&said);
            let mut g = Graph::inference(self.model.parameters(), self.dtype);
            match self.model.alignment(&mut g, &source, ids) {
                Some(a) => reply.push_str(&picture(&self.words.each(&source), &self.words.each(ids), &a)),
                None => reply.push_str("\n[this model has no attention]"),
            }
        }
        reply
    }

    /// Answers one prompt, a terminal, or a pipe.
    pub(crate) fn talk(&self, prompt: Option<&str>) -> anyhow::Result<()> {
        match prompt {
            Some(line) => println!("{}", shown(&self.reply(line))),
            None if std::io::stdin().is_terminal() => return self.terminal(),
            None => {
                for line in input::lines() {
                    let line = line?;
                    if !line.trim().is_empty() {
                        println!("{}", shown(&self.reply(&line)));
                        std::io::stdout().flush()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn terminal(&self) -> anyhow::Result<()> {
        println!("Say something; each line is answered by itself. /quit or Ctrl-D leaves.");
        let mut editor = rustyline::DefaultEditor::new()?;
        loop {
            match editor.readline("you> ") {
                Ok(line) => match line.trim() {
                    "" => {}
                    "/quit" | "/exit" => return Ok(()),
                    words => {
                        let _ = editor.add_history_entry(words);
                        println!("pupil> {}", shown(&self.reply(words)));
                    }
                },
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Characters of a word that are shown.
const SHOWN: usize = 12;

/// A row for each word of the reply, a column for each word that was read: the darker, the more it was looked at.
fn picture(read: &[String], reply: &[String], a: &Alignment) -> String {
    let short = |w: &str| w.chars().take(SHOWN).collect::<String>();
    let read: Vec<String> = read.iter().map(|w| short(w)).collect();
    let mut out = format!("\n{:SHOWN$}", "");
    for word in &read {
        out.push_str(&format!(" {word}"));
    }
    for (i, row) in a.weights.chunks_exact(a.read.max(1)).enumerate() {
        let word = reply.get(i).map_or("(end)".into(), |w| short(w));
        out.push_str(&format!("\n{word:>SHOWN$}"));
        for (weight, word) in row.iter().zip(&read) {
            let shade = [' ', '·', '░', '▒', '▓', '█'][((weight * 6.0) as usize).min(5)];
            out.push(' ');
            out.extend(std::iter::repeat_n(shade, word.chars().count().max(1)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_is_dark() {
        let words = |w: &[&str]| -> Vec<String> { w.iter().map(|w| (*w).to_owned()).collect() };
        let a = Alignment { read: 2, weights: vec![1.0, 0.0, 0.4, 0.6] };
        let picture = picture(&words(&["how", "extraordinarily"]), &words(&["so"]), &a);
        let lines: Vec<&str> = picture.lines().skip(1).collect();
        assert_eq!(lines[0], "             how extraordinar");
        assert_eq!(lines[1], "          so ███             ");
        assert_eq!(lines[2], "       (end) ░░░ ▒▒▒▒▒▒▒▒▒▒▒▒");
    }
}
