//! A conversation as it looks: in the terminal with its commands, from a pipe, as JSON.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use pupil_chat::{Message, Role};
use pupil_infer::{Conversation, Ended, Event, Generator, Outcome, Sampler, Trouble};
use rustyline::error::ReadlineError;
use serde_json::json;

use crate::commands::{self, Command, HELP};
use crate::display::{self, Looked, shown};
use crate::exit;
use crate::input;
use crate::model::Opened;

/// Likeliest tokens that are listed beside the chosen one.
const LISTED: usize = 3;

/// Rows of alternatives after a coloured reply: the tokens that the model was least sure of.
const UNSURE: usize = 8;

/// Tokens of room that are said before a reply.
const TIGHT: usize = 24;

/// How replies are printed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Look {
    /// As lines of JSON.
    pub(crate) json: bool,
    /// With their control characters, where standard output is no terminal.
    pub(crate) raw: bool,
    /// With the probability of each token.
    pub(crate) probabilities: bool,
}

/// A conversation with a model.
pub(crate) struct Talk<'a> {
    pub(crate) conversation: Conversation<'a>,
    pub(crate) look: Look,
    /// Raised by Ctrl-C while a reply is made.
    interrupted: Arc<AtomicBool>,
    /// Tokens and seconds of all replies.
    total: (usize, f64),
}

/// What is to be answered.
enum Ask<'a> {
    Words(&'a str),
    Again,
    Instead(&'a str),
}

impl<'a> Talk<'a> {
    pub(crate) fn new(opened: &'a Opened, sampler: Sampler, max_new: usize) -> anyhow::Result<Talk<'a>> {
        Talk::with(opened, Generator::new(&opened.gpt, opened.dtype), sampler, max_new)
    }

    /// A conversation on a sequence of a length of its own.
    pub(crate) fn with(
        opened: &'a Opened,
        generator: Generator<'a>,
        sampler: Sampler,
        max_new: usize,
    ) -> anyhow::Result<Talk<'a>> {
        let (form, ends) = (opened.form()?, opened.ends.clone());
        Ok(Talk {
            conversation: Conversation::new(&opened.tokenizer, form, generator, ends, sampler, max_new),
            look: Look::default(),
            interrupted: Arc::default(),
            total: (0, 0.0),
        })
    }

    /// Says one thing and prints the reply.
    pub(crate) fn once(&mut self, words: &str) -> anyhow::Result<()> {
        let o = self.ask(&Ask::Words(words), "")?;
        self.note_speed(&o);
        Ok(())
    }

    /// Answers each line of standard input; the conversation goes on from line to line.
    pub(crate) fn pipe(&mut self) -> anyhow::Result<()> {
        for line in input::lines() {
            let line = line?;
            if !line.trim().is_empty() {
                self.ask(&Ask::Words(&line), "")?;
            }
        }
        Ok(())
    }

    /// Asks each question in a conversation of its own and shows both sides.
    pub(crate) fn show(&mut self, questions: &[&str]) -> anyhow::Result<()> {
        for q in questions {
            self.conversation.reset();
            println!("you> {q}");
            self.ask(&Ask::Words(q), "pupil> ")?;
        }
        Ok(())
    }

    /// A greeting, and one conversation of a few turns.
    pub(crate) fn sample(&mut self, questions: &[&str]) -> anyhow::Result<()> {
        println!(
            "Hello! This is pupil. In a terminal you could talk with this model now; here is what a conversation is like.\n"
        );
        let mut last = None;
        for q in questions {
            println!("you> {q}");
            last = Some(self.ask(&Ask::Words(q), "pupil> ")?);
        }
        if let Some(o) = last {
            self.note_speed(&o);
        }
        Ok(())
    }

    /// Talks until the person leaves. Ctrl-C ends a reply; twice, or twice where nothing is being said, ends the program.
    pub(crate) fn terminal(&mut self) -> anyhow::Result<()> {
        use signal_hook::consts::SIGINT;
        // In this order: the first signal finds the flag unset, a second one set.
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&self.interrupted))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&self.interrupted))?;
        println!("Say something. /help tells what else there is; /quit or Ctrl-D leaves.");
        let mut editor = rustyline::DefaultEditor::new()?;
        let (mut initial, mut warned) = (String::new(), false);
        loop {
            let line = editor.readline_with_initial("you> ", (&std::mem::take(&mut initial), ""));
            match line {
                Ok(line) => {
                    warned = false;
                    if line.trim().is_empty() {
                        continue;
                    }
                    let _ = editor.add_history_entry(line.trim());
                    match self.obey(&line, &mut initial) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => break,
                        Err(e) if e.is::<std::io::Error>() && crate::is_broken_pipe(&e) => return Err(e),
                        Err(e) => println!("{}", shown(&exit::message(&e))),
                    }
                }
                Err(ReadlineError::Interrupted) if !warned => {
                    println!("(once more leaves)");
                    warned = true;
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
                Err(e) => return Err(e.into()),
            }
        }
        let (tokens, seconds) = self.total;
        if tokens > 0 && seconds > 0.0 {
            println!("{tokens} tokens in {seconds:.1} s: {:.0} tokens/s.", tokens as f64 / seconds);
        }
        Ok(())
    }

    /// Does what a line says. An error leaves the conversation as it was.
    fn obey(&mut self, line: &str, initial: &mut String) -> anyhow::Result<ControlFlow<()>> {
        let command = commands::parse(line).map_err(anyhow::Error::msg)?;
        let c = &mut self.conversation;
        match command {
            Command::Say(words) => self.answer(&Ask::Words(words))?,
            Command::Retry => {
                if c.sampler.temperature == 0.0 {
                    println!("[at temperature 0 the reply to the same words is the same: /set temp 0.7]");
                }
                self.answer(&Ask::Again)?;
            }
            Command::Edit(Some(words)) => self.answer(&Ask::Instead(words))?,
            Command::Edit(None) => {
                let last = c.last_question().ok_or(Trouble::Nothing)?;
                *initial = format!("/edit {}", last.replace('\n', " "));
            }
            Command::Help => println!("{HELP}"),
            Command::System(None) => println!("{}", shown(c.system().unwrap_or("[no scene is set]"))),
            Command::System(Some("none")) => c.set_system(None),
            Command::System(Some(words)) => c.set_system(Some(words.to_owned())),
            Command::Set(None) => println!("{}", settings(c)),
            Command::Set(Some(("stop", "none"))) => c.stops.clear(),
            Command::Set(Some(("stop", text))) => c.stops = vec![text.replace("\\n", "\n")],
            Command::Set(Some((name, value))) => {
                commands::set(&mut c.sampler, &mut c.max_new, name, value).map_err(anyhow::Error::msg)?;
            }
            Command::Show => {
                for m in c.messages() {
                    println!("{}> {}", m.role.name(), shown(&m.content));
                }
            }
            Command::ShowProbabilities => {
                self.look.probabilities = !self.look.probabilities;
                if self.look.probabilities && display::colours() {
                    println!("{}", display::legend());
                }
            }
            Command::Save(path) => save(Path::new(path), &c.messages())?,
            Command::Load(path) => {
                let messages = load(Path::new(path))?;
                println!("[{} messages]", messages.len());
                c.replace(messages);
            }
            Command::Reset => c.reset(),
            Command::Quit => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn answer(&mut self, ask: &Ask<'_>) -> anyhow::Result<()> {
        let o = self.ask(ask, "pupil> ")?;
        self.note_speed(&o);
        Ok(())
    }

    /// Makes a reply and prints it as it comes.
    fn ask(&mut self, ask: &Ask<'_>, opening: &str) -> anyhow::Result<Outcome> {
        let look = self.look;
        let escape = !look.raw || std::io::stdout().is_terminal();
        let colours = look.probabilities && !look.json && display::colours();
        self.conversation.alternatives = if look.probabilities { LISTED } else { 0 };
        self.interrupted.store(false, Ordering::Relaxed);
        let (mut opened, mut failed, mut tokens) = (false, Ok(()), Vec::<Looked>::new());
        let interrupted = Arc::clone(&self.interrupted);
        let mut on = |event: Event<'_>| {
            match event {
                Event::Forgotten(n) => {
                    eprintln!("[the context is full: the oldest {n} messages are forgotten]")
                }
                // A reply that needs more is cut, and that is said then; here only if hardly any has room.
                Event::Room(n) if n >= TIGHT => {}
                Event::Room(n) => eprintln!("[the context leaves room for {n} tokens]"),
                Event::Token { id, probability, likeliest } => {
                    tokens.push(Looked { id, probability, likeliest: likeliest.to_vec() });
                }
                Event::Text(text) if !look.json => {
                    let text = if escape { shown(text) } else { text.to_owned() };
                    let text = match tokens.last().filter(|_| colours) {
                        Some(t) => display::coloured(&text, t.probability),
                        None => text,
                    };
                    failed = put(if opened { "" } else { opening }, &text);
                    opened = true;
                }
                Event::Text(_) => {}
            }
            let stop = failed.is_err() || interrupted.load(Ordering::Relaxed);
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let c = &mut self.conversation;
        let o = match ask {
            Ask::Words(words) => c.say(words, &mut on),
            Ask::Again => c.retry(&mut on),
            Ask::Instead(words) => c.edit(words, &mut on),
        }?;
        failed?;
        if look.json {
            put("", &(self.object(ask, &o, &tokens).to_string() + "\n"))?;
        } else {
            put(if opened { "" } else { opening }, if opened { "\n" } else { "[says nothing]\n" })?;
            self.list(&tokens, colours)?;
            self.note_end(&o);
        }
        self.interrupted.store(false, Ordering::Relaxed);
        self.total = (self.total.0 + o.tokens, self.total.1 + o.all.as_secs_f64());
        Ok(o)
    }

    /// The alternatives: of every token where there are no colours, else of those that the model was least sure of.
    fn list(&self, tokens: &[Looked], colours: bool) -> anyhow::Result<()> {
        if tokens.is_empty() {
            return Ok(());
        }
        // Where the colours tell the rest: the tokens that the model was least sure of, in their order.
        let mut unsure: Vec<&Looked> = tokens.iter().filter(|t| !colours || t.probability < 0.9).collect();
        if colours && unsure.len() > UNSURE {
            let mut sorted: Vec<f32> = unsure.iter().map(|t| t.probability).collect();
            sorted.sort_by(f32::total_cmp);
            unsure.retain(|t| t.probability <= sorted[UNSURE - 1]);
            unsure.truncate(UNSURE);
        }
        Ok(put("", &display::table(self.conversation.tokenizer(), &unsure))?)
    }

    /// Says how a reply ended, if not by itself, and what was left out of it.
    fn note_end(&self, o: &Outcome) {
        match o.ended {
            Ended::Turn | Ended::Stop => {}
            Ended::Length => eprintln!("[cut after {} tokens: --max-tokens]", o.tokens),
            Ended::Context => eprintln!("[cut after {} tokens: the context is full]", o.tokens),
            Ended::Cancelled => eprintln!("[stopped]"),
        }
        if o.hidden > 0 {
            eprintln!("[{} special tokens that end nothing were left out]", o.hidden);
        }
    }

    /// Tokens per second and the time to the first token, for a person who watches.
    fn note_speed(&self, o: &Outcome) {
        if self.look.json || !std::io::stderr().is_terminal() {
            return;
        }
        let text = format!(
            "[{} tokens, {:.0} tokens/s, the first after {:.0} ms; {} of {} tokens before it were in the cache]",
            o.tokens,
            o.speed(),
            1e3 * o.first.as_secs_f64(),
            o.prompt as u64 - o.read,
            o.prompt
        );
        if display::colours() { eprintln!("\x1b[2m{text}\x1b[0m") } else { eprintln!("{text}") }
    }

    fn object(&self, ask: &Ask<'_>, o: &Outcome, tokens: &[Looked]) -> serde_json::Value {
        let name = |id: u32| {
            let bytes = self.conversation.tokenizer().bytes(id).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let prompt = match ask {
            Ask::Words(words) | Ask::Instead(words) => words.trim(),
            Ask::Again => self.conversation.last_question().unwrap_or(""),
        };
        let mut object = json!({
            "prompt": prompt, "reply": o.text, "ended": o.ended.name(), "tokens": o.tokens, "prompt_tokens": o.prompt,
            "cached_tokens": o.prompt as u64 - o.read, "forgotten_messages": o.forgotten, "hidden_tokens": o.hidden,
            "first_token_ms": rounded(1e3 * o.first.as_secs_f64()), "tokens_per_second": rounded(o.speed()),
        });
        if self.look.probabilities {
            let each = tokens.iter().map(|t| {
                let likeliest: Vec<_> = t
                    .likeliest
                    .iter()
                    .map(|&(id, p)| json!({"id": id, "text": name(id), "probability": p}))
                    .collect();
                json!({"id": t.id, "text": name(t.id), "probability": t.probability, "likeliest": likeliest})
            });
            object["probabilities"] = each.collect();
        }
        object
    }
}

/// To tenths.
fn rounded(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// Prints at once.
fn put(opening: &str, text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{opening}{text}")?;
    out.flush()
}

fn settings(c: &Conversation<'_>) -> String {
    let Sampler { temperature, top_k, top_p, min_p, repeat_penalty, seed } = c.sampler;
    format!(
        "  temp {temperature}  top-k {top_k}  top-p {top_p}  min-p {min_p}  repeat-penalty {repeat_penalty}  seed {seed}\n  \
         max-tokens {}  stop {:?}  context {} of {} tokens",
        c.max_new,
        c.stops,
        c.generator().len(),
        c.generator().context()
    )
}

/// A conversation as a line of a file of conversations.
#[derive(serde::Serialize, serde::Deserialize)]
struct Saved {
    messages: Vec<Message>,
}

fn save(path: &Path, messages: &[Message]) -> anyhow::Result<()> {
    let name = path.display();
    anyhow::ensure!(!messages.is_empty(), "{name}: nothing was said yet");
    anyhow::ensure!(!path.exists(), "{name} exists; choose another name");
    let line = serde_json::to_string(&Saved { messages: messages.to_vec() })? + "\n";
    pupil_checkpoint::atomic::replace_file(path, line.as_bytes())?;
    println!("[{} messages in {}]", messages.len(), shown(&name.to_string()));
    Ok(())
}

fn load(path: &Path) -> anyhow::Result<Vec<Message>> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(name)?;
    let line = text.lines().next().unwrap_or_default();
    let Saved { messages } = serde_json::from_str(line)
        .with_context(|| format!("{}: its first line is no conversation {{\"messages\": […]}}", name()))?;
    anyhow::ensure!(!messages.is_empty(), "{}: the conversation is empty", name());
    let later = messages.iter().skip(1).any(|m| m.role == Role::System);
    anyhow::ensure!(!later, "{}: a system message stands within the conversation", name());
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_chat::{END, Renderer, SPECIALS};
    use pupil_infer::Form;
    use pupil_model::{Gpt, families};
    use pupil_tensor::DType;

    #[test]
    fn k14_commands_that_fail_leave_the_conversation_as_it_was() {
        let t = pupil_tokenizer::train(["system user assistant hello there"; 4], 300, &SPECIALS);
        let gpt = Gpt::new(families::llama(t.len(), 100, 1, 32, [2, 2], 48), 3);
        let form = Form::Own(Renderer::new(&t).unwrap());
        let ends = t.special(END).into_iter().collect();
        let generator = Generator::new(&gpt, DType::F32);
        let conversation = Conversation::new(&t, form, generator, ends, Sampler::greedy(), 4);
        let mut talk =
            Talk { conversation, look: Look::default(), interrupted: Arc::default(), total: (0, 0.0) };
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut initial = String::new();
        assert!(talk.obey("/retry", &mut initial).is_err() && talk.obey("/edit", &mut initial).is_err());
        assert!(talk.obey(&format!("/save {}", at("empty")), &mut initial).is_err());
        for line in ["hello", "/system be kind", "/set temp 0.5"] {
            assert_eq!(talk.obey(line, &mut initial).unwrap(), ControlFlow::Continue(()));
        }
        let before = talk.conversation.messages();
        assert_eq!(before.len(), 3);
        let _ = talk.obey(&format!("/save {}", at("a.jsonl")), &mut initial).unwrap();
        std::fs::write(at("bad.jsonl"), "{\"messages\": 3}").unwrap();
        std::fs::write(
            at("late.jsonl"),
            r#"{"messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]}"#,
        )
        .unwrap();
        for line in [
            format!("/save {}", at("a.jsonl")),
            format!("/save {}", at("absent/b.jsonl")),
            format!("/load {}", at("absent")),
            format!("/load {}", dir.path().display()),
            format!("/load {}", at("bad.jsonl")),
            format!("/load {}", at("late.jsonl")),
            "/nonsense".into(),
            "/set temp NaN".into(),
            format!("/edit {}", "long ".repeat(200)),
        ] {
            assert!(talk.obey(&line, &mut initial).is_err(), "{line}");
            assert_eq!(talk.conversation.messages(), before, "{line}");
        }
        assert_eq!(talk.conversation.sampler.temperature, 0.5);
        let _ = talk.obey("/reset", &mut initial).unwrap();
        assert_eq!(talk.conversation.messages().len(), 1);
        let _ = talk.obey(&format!("/load {}", at("a.jsonl")), &mut initial).unwrap();
        assert_eq!(talk.conversation.messages(), before);
        assert_eq!(talk.obey("/quit", &mut initial).unwrap(), ControlFlow::Break(()));
    }
}
