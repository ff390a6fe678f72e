//! System prompts, and what they change: the model's name, how long its answers are, what they begin and end with.

use super::Curriculum;
use super::book::{Language, key};
use super::made::{fill, invented};
use super::stories::NAMES;
use super::{Question, held_out};
use crate::random::Random;
use crate::record::Turn;

/// What a system prompt asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    /// The prompt.
    pub(super) prompt: Option<String>,
    /// What the model is called.
    pub(super) name: Option<String>,
    /// Only a word is answered.
    pub(super) short: bool,
    capitals: bool,
    before: Option<String>,
    after: Option<String>,
}

impl Style {
    /// An answer in this style.
    pub(super) fn say(&self, answer: &str) -> String {
        let mut said = answer.to_owned();
        if let Some(before) = &self.before {
            said.insert_str(0, &format!("{before} "));
        }
        if let Some(after) = &self.after {
            said.push_str(&format!(" {after}"));
        }
        if self.capitals { said.to_uppercase() } else { said }
    }
}

/// A word or two as a whole answer.
pub(super) fn ended(short: &str) -> String {
    if short.ends_with(['.', '!', '?', '。']) {
        return short.to_owned();
    }
    format!("{short}{}", if short.is_ascii() { "." } else { "。" })
}

const WORDS: [&str; 14] = [
    "Well!",
    "Sure!",
    "Hmm!",
    "Okay!",
    "Meow!",
    "Dear friend!",
    "Gladly!",
    "Look!",
    "Wow!",
    "Yes, yes!",
    "Ahoy!",
    "Listen!",
    "Ha!",
    "Bravo!",
];

/// Some style.
pub(super) fn draw(r: &mut Random, language: Language) -> Style {
    let mut style = Style::default();
    if language == Language::Chinese {
        let prompt = match r.below(4) {
            0 | 1 => r.pick(&["你是一个友好的助手。", "你是一个有用的助手。", "请友好地回答。"]).to_owned(),
            2 => {
                style.short = true;
                r.pick(&["请只用一个词回答。", "回答要尽量短。", "每次只回答一个词。"]).to_owned()
            }
            _ => {
                let name = r.pick(&["小星", "小月", "小海", "点点", "豆豆", "阿木", "小白", "小雪"]);
                style.name = Some(name.to_owned());
                fill(r, &["你叫{n}。", "你的名字是{n}。", "你是{n}，一个友好的助手。"], &[("n", name)])
            }
        };
        style.prompt = Some(prompt);
        return style;
    }
    let prompt = match r.below(14) {
        0..3 => r
            .pick(&[
                "You are a helpful assistant.",
                "You are a friendly assistant.",
                "You are a helpful and friendly chatbot.",
                "Be helpful and kind.",
                "Answer the questions of the user.",
            ])
            .to_owned(),
        3..6 => {
            let name = if r.chance(50) { r.pick(&NAMES).to_owned() } else { invented(r) };
            let forms = [
                "Your name is {n}.",
                "You are {n}, a helpful assistant.",
                "You are called {n}.",
                "You are {n}.",
                "From now on your name is {n}.",
            ];
            let prompt = fill(r, &forms, &[("n", &name)]);
            style.name = Some(name);
            prompt
        }
        6..9 => {
            style.short = true;
            r.pick(&[
                "Answer in one word.",
                "Keep your answers as short as possible.",
                "Answer as briefly as you can.",
                "Only answer with one word.",
                "Be very brief.",
            ])
            .to_owned()
        }
        9 => {
            let word = r.pick(&WORDS);
            style.before = Some(word.to_owned());
            fill(
                r,
                &["Begin every answer with: {w}", "Start each answer with: {w}", "Always begin with: {w}"],
                &[("w", word)],
            )
        }
        10 => {
            let word = r.pick(&WORDS);
            style.after = Some(word.to_owned());
            fill(
                r,
                &["End every answer with: {w}", "Finish each answer with: {w}", "Always end with: {w}"],
                &[("w", word)],
            )
        }
        11 => {
            style.before = Some("Arr!".into());
            r.pick(&["Talk like a pirate.", "You are a pirate.", "Answer like a pirate."]).to_owned()
        }
        _ => {
            style.capitals = true;
            r.pick(&[
                "Answer in capital letters.",
                "Write only in capital letters.",
                "Use capital letters only.",
            ])
            .to_owned()
        }
    };
    style.prompt = Some(prompt);
    style
}

/// A held-out question under a system prompt, if the draw gives one.
pub(super) fn test(c: &Curriculum, r: &mut Random) -> Option<Question> {
    let language = if r.chance(super::CHINESE) { Language::Chinese } else { Language::English };
    let style = draw(r, language);
    let skill = if style.name.is_some() {
        let who = if language == Language::English { "who are you" } else { "你是谁" };
        c.book.skills.iter().find(|s| s.name == who)?
    } else {
        c.draw(language, r)?
    };
    let e = c.practised(skill, &style, r)?;
    if e.turns.len() > 2 || e.accepted.is_empty() || (style.short && e.short.is_none()) {
        return None;
    }
    // The question may be known; with this prompt it is new.
    let prompt = style.prompt.clone()?;
    if !held_out(&format!("{} under {}", key(&e.turns[0]), key(&prompt))) && style.name.is_none() {
        return None;
    }
    let accept = match (&e.short, style.short) {
        (Some(short), true) => vec![ended(short)],
        _ => e.accepted.iter().map(|a| style.say(a)).collect(),
    };
    let name = match () {
        () if style.name.is_some() => "system prompt: a name",
        () if style.short => "system prompt: short answers",
        () if style.before.is_some() || style.after.is_some() => "system prompt: words to add",
        () if style.capitals => "system prompt: capital letters",
        () => "system prompt",
    };
    Some(Question {
        skill: name.to_owned(),
        language,
        turns: 1,
        messages: vec![Turn::new("system", prompt), Turn::new("user", e.turns[0].as_str())],
        accept,
    })
}
