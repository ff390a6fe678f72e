//! Talking with an encoder and decoder: each line is answered by itself, because such a model remembers no conversation.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use pupil_infer::Beam;
use pupil_model::Seq2Seq;
use pupil_tensor::DType;
use rustyline::error::ReadlineError;

use crate::recipe::Words;

/// A model that answers line by line.
pub(crate) struct Replier {
    model: Box<Seq2Seq>,
    words: Words,
    beam: Beam,
    dtype: DType,
}

impl Replier {
    pub(crate) fn open(dir: &Path, model: Box<Seq2Seq>, beam: Beam, dtype: DType) -> anyhow::Result<Replier> {
        let words = Words::open(dir)?;
        let beam = Beam { never: words.unknown().into_iter().collect(), ..beam };
        Ok(Replier { model, words, beam, dtype })
    }

    /// The best reply.
    fn reply(&self, line: &str) -> String {
        let replies = self.beam.replies(&self.model, &self.words.read(line), self.dtype);
        let best = replies.first().map_or(String::new(), |r| self.words.write(&r.ids));
        if best.is_empty() { "[says nothing]".into() } else { best }
    }

    /// Answers one prompt, a terminal, or a pipe.
    pub(crate) fn talk(&self, prompt: Option<&str>) -> anyhow::Result<()> {
        match prompt {
            Some(line) => println!("{}", self.reply(line)),
            None if std::io::stdin().is_terminal() => return self.terminal(),
            None => {
                for line in std::io::stdin().lock().lines() {
                    let line = line?;
                    if !line.trim().is_empty() {
                        println!("{}", self.reply(&line));
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
                        println!("pupil> {}", self.reply(words));
                    }
                },
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
