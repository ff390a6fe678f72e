//! `pupil chat`: a conversation in the terminal, from a pipe, or one message.

use std::io::{BufRead, IsTerminal, Write};

use pupil_chat::{Message, Renderer, Role};
use pupil_infer::{Beam, Error, Generator, Sampler};
use pupil_tokenizer::Decoder;
use rustyline::error::ReadlineError;

use crate::exit::Usage;
use crate::model::{Choice, Opened, Sampling};
use crate::reply::Replier;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Choice,
    #[command(flatten)]
    sampling: Sampling,
    /// Say this, print the reply, and leave.
    #[arg(short, long)]
    prompt: Option<String>,
    /// Sets the scene before the conversation.
    #[arg(long)]
    system: Option<String>,
    /// Replies that a model with encoder and decoder follows at a time; 1 takes the best word each time.
    #[arg(long, default_value_t = 1)]
    beam: usize,
    /// Exponent of its length penalty; 0 favours short replies.
    #[arg(long, default_value_t = 1.0)]
    length_penalty: f64,
    /// How much its words lose for being likely whatever was said, 0 to 1: against "I don't know" as the answer to everything.
    #[arg(long, default_value_t = 0.0)]
    originality: f64,
    /// Shows which words of what was said each word of such a model's reply looked at.
    #[arg(long)]
    attention: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let (dir, network) = a.model.network()?;
    if let Some(model) = network.encoder_decoder() {
        if a.beam == 0 || a.beam > 1000 {
            anyhow::bail!(Usage(format!("--beam {}: 1 to 1000", a.beam)));
        }
        if !(0.0..=1.0).contains(&a.originality) {
            anyhow::bail!(Usage(format!("--originality {}: 0 to 1", a.originality)));
        }
        let beam = Beam {
            width: a.beam,
            length_penalty: a.length_penalty,
            max_new: a.sampling.max_new.min(model.form().length),
            originality: a.originality,
            never: Vec::new(),
        };
        let dtype = crate::process::dtype(&a.model.dtype)?;
        return Replier::open(&dir, model, beam, dtype, a.attention)?.talk(a.prompt.as_deref());
    }
    let m = a.model.opened(&dir, network)?;
    let mut talk = Talk::new(&m, a.sampling.sampler(), a.sampling.max_new)?;
    if let Some(s) = &a.system {
        talk.history.push(Message::new(Role::System, s.as_str()));
    }
    match &a.prompt {
        Some(p) => talk.say(p, &mut std::io::stdout().lock()),
        None if std::io::stdin().is_terminal() => talk.terminal(),
        None => talk.pipe(),
    }
}

/// A conversation with a model.
pub(crate) struct Talk<'a> {
    opened: &'a Opened,
    renderer: Renderer<'a>,
    generator: Generator<'a>,
    sampler: Sampler,
    max_new: usize,
    history: Vec<Message>,
}

impl<'a> Talk<'a> {
    pub(crate) fn new(opened: &'a Opened, sampler: Sampler, max_new: usize) -> anyhow::Result<Talk<'a>> {
        Ok(Talk {
            renderer: Renderer::new(&opened.tokenizer)?,
            generator: Generator::new(&opened.gpt, opened.dtype),
            opened,
            sampler,
            max_new,
            history: Vec::new(),
        })
    }

    /// Says something and writes the reply as it comes.
    pub(crate) fn say(&mut self, words: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        self.history.push(Message::new(Role::User, words.trim()));
        self.make_room(out)?;
        let mut decoder = Decoder::new(&self.opened.tokenizer);
        let mut reply = String::new();
        for _ in 0..self.max_new {
            let id = match self.generator.next(&self.sampler) {
                Ok(id) => id,
                Err(Error::ContextFull { .. }) => {
                    write!(out, " [the context is full]")?;
                    break;
                }
                Err(e) => return Err(e.into()),
            };
            if id == self.renderer.end() {
                break;
            }
            let piece = printable(&decoder.push(id));
            write!(out, "{piece}")?;
            out.flush()?;
            reply.push_str(&piece);
        }
        writeln!(out)?;
        self.history.push(Message::new(Role::Assistant, reply));
        Ok(())
    }

    /// Reads the conversation; drops its oldest exchanges, and says so, until a reply fits behind it.
    fn make_room(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let context = self.opened.gpt.config.context;
        let reserve = (context / 4).min(self.max_new);
        let mut dropped = 0;
        loop {
            let ids = self.renderer.render(&self.history, true).ids;
            if ids.len() + reserve <= context {
                if dropped > 0 {
                    writeln!(out, "[the context is full: the oldest {dropped} messages are forgotten]")?;
                }
                return Ok(self.generator.set(&ids)?);
            }
            let first = usize::from(self.history[0].role == Role::System);
            if self.history.len() <= first + 1 {
                self.history.pop();
                anyhow::bail!(
                    "this message is {} tokens long, the model's context holds {context}",
                    ids.len()
                );
            }
            let gone = 2.min(self.history.len() - first - 1);
            self.history.drain(first..first + gone);
            dropped += gone;
        }
    }

    pub(crate) fn terminal(&mut self) -> anyhow::Result<()> {
        println!("Say something; /new begins anew, /quit or Ctrl-D leaves.");
        let mut editor = rustyline::DefaultEditor::new()?;
        loop {
            match editor.readline("you> ") {
                Ok(line) => match line.trim() {
                    "" => {}
                    "/quit" | "/exit" => return Ok(()),
                    "/new" => self.history.clear(),
                    command if command.starts_with('/') => println!("There is /new and /quit."),
                    words => {
                        let _ = editor.add_history_entry(words);
                        print!("pupil> ");
                        if let Err(e) = self.say(words, &mut std::io::stdout().lock()) {
                            println!("{e}");
                        }
                    }
                },
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn pipe(&mut self) -> anyhow::Result<()> {
        let stdin = std::io::stdin();
        for line in stdin.lock().lines() {
            let line = line?;
            if !line.trim().is_empty() {
                self.say(&line, &mut std::io::stdout().lock())?;
            }
        }
        Ok(())
    }

    /// Asks each question in a conversation of its own and shows both sides.
    pub(crate) fn show(&mut self, questions: &[&str]) -> anyhow::Result<()> {
        for q in questions {
            self.history.clear();
            println!("you> {q}");
            print!("pupil> ");
            self.say(q, &mut std::io::stdout().lock())?;
        }
        Ok(())
    }
}

/// A model's words are text: control characters, which a terminal would obey, are shown as the replacement character.
fn printable(text: &str) -> String {
    let harmless = |c: char| {
        matches!(c, '\n' | '\t')
            || !(c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c))
    };
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_reply_cannot_command_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c\r\n你好"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}\n你好");
    }
}
