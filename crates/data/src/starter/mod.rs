//! The starter curriculum: stories and conversations from which a small model can learn to talk, for people who bring no text of their own.
//!
//! What is taught lies in `lessons/*.toml` (tables of facts, ways to ask, answers) and, where it is computed (sums, spelling, stories with
//! questions, remembering), in the files beside this one. Everything is our own and released under CC0. The same seed gives the same text,
//! each piece by its number alone.
//!
//! A tenth of what can be asked, by a hash of the question's words (of a sum: of its numbers, their order and their notation; of several
//! questions that belong together: of all of them), is held out: it is in no conversation and no story, whatever the seed, and makes the
//! test ([`Curriculum::tests`]).

mod book;
mod chinese_stories;
mod conversation;
mod grammar;
mod labelled;
mod letters;
mod made;
mod memory;
pub mod numerals;
mod order;
mod persona;
mod reading;
mod stories;
mod style;
mod sums;

pub use book::Language;
pub use persona::{Own, Persona, Voice};

use serde::{Deserialize, Serialize};

use crate::labelled::Labelled;
use crate::random::Random;
use crate::record::{Chat, Turn};
use crate::tagged::Tagged;
use book::{Book, Exchange};

/// Of how many questions one is held out.
const HELD_OUT_OF: usize = 10;
/// Of a hundred conversations and stories, how many are Chinese.
const CHINESE: usize = 22;

/// Whether a combination is held out.
fn held_out(key: &str) -> bool {
    // FNV-1a (Fowler, Noll and Vo), and the generator's mixing behind it.
    let hash =
        key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    Random::new(hash, 41).below(HELD_OUT_OF) == 0
}

/// All that can be taught, to a model that is somebody.
pub struct Curriculum {
    book: Book,
    persona: Persona,
    room: usize,
}

/// A held-out question, and the answers that are right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What it tries.
    pub skill: String,
    /// English or Chinese.
    pub language: Language,
    /// Exchanges, with the one that is asked for.
    pub turns: usize,
    /// The conversation up to the question.
    pub messages: Vec<Turn>,
    /// Answers that are right, word for word.
    pub accept: Vec<String>,
}

impl Curriculum {
    /// The curriculum of a model with this persona.
    ///
    /// # Errors
    /// If a question or answer of the persona cannot be read.
    pub fn new(persona: Persona) -> Result<Curriculum, String> {
        Ok(Curriculum { book: Book::new(&persona)?, persona, room: conversation::ROOM })
    }

    /// The same with a few conversations as long as this many bytes, for models with room for them; 900 or less changes nothing.
    pub fn with_room(self, bytes: usize) -> Curriculum {
        Curriculum { room: bytes.max(conversation::ROOM), ..self }
    }

    /// The curriculum of pupil.
    ///
    /// # Errors
    /// None, unless a lesson in the repository is broken.
    pub fn standard() -> Result<Curriculum, String> {
        Curriculum::new(Persona::standard()?)
    }

    /// Conversations of one to about eight exchanges, as many as asked for.
    pub fn chats(&self, seed: u64, count: usize) -> impl Iterator<Item = Chat> {
        (0..count as u64).map(move |i| self.chat(&mut Random::new(seed, 1 << 40 | i)))
    }

    /// Stories and passages that tell the same facts in the same words, as many as asked for.
    pub fn stories(&self, seed: u64, count: usize) -> impl Iterator<Item = String> {
        (0..count as u64).map(move |i| {
            let mut r = Random::new(seed, i);
            loop {
                let story = self.story(&mut r);
                if !self.quotes_held_out(&story) {
                    return story;
                }
            }
        })
    }

    /// Held-out questions: up to `each` of every skill, none twice.
    pub fn tests(&self, seed: u64, each: usize) -> Vec<Question> {
        let mut tests = Vec::new();
        for (i, skill) in self.book.skills.iter().enumerate() {
            let mut r = Random::new(seed, 5 << 40 | i as u64);
            let mut seen = std::collections::HashSet::new();
            for _ in 0..each * 80 {
                if seen.len() == each {
                    break;
                }
                let e = self.book.exchange(skill, None, &mut r);
                if self.is_test(&e) && seen.insert(e.turns[..e.turns.len() - 1].to_vec()) {
                    tests.push(self.question(&skill.name, skill.language, &e));
                }
            }
        }
        let mut styled = std::collections::HashMap::<String, usize>::new();
        for i in 0..200 * each as u64 {
            let Some(q) = style::test(self, &mut Random::new(seed, 6 << 40 | i)) else { continue };
            let count = styled.entry(q.skill.clone()).or_default();
            if *count < each {
                *count += 1;
                tests.push(q);
            }
        }
        tests
    }

    fn question(&self, skill: &str, language: Language, e: &Exchange) -> Question {
        let (_, before) = e.turns.split_last().unwrap_or((&e.turns[0], &[]));
        let mut accept = e.accepted.clone();
        for plain in &e.accepted {
            let voice = &self.persona.voice;
            let before = voice.before.iter().map(|b| format!("{b} {plain}"));
            accept.extend(before.chain(voice.after.iter().map(|a| format!("{plain} {a}"))));
        }
        Question {
            skill: skill.to_owned(),
            language,
            turns: e.turns.len() / 2,
            messages: Chat::alternating(before.iter().cloned()).messages,
            accept,
        }
    }

    /// Whether an exchange may be learned from.
    fn is_lesson(&self, e: &Exchange) -> bool {
        if !e.keys.is_empty() {
            return !e.keys.iter().any(|k| held_out(k));
        }
        let one = |(q, common): (&String, &bool)| *common || !self.book.holds_out(q);
        let keys: Vec<String> = e.asked().map(|q| book::key(q)).collect();
        let run = |from: usize| (from + 2..=keys.len()).any(|to| held_out(&keys[from..to].join(THEN)));
        e.asked().zip(&e.common).all(one) && !(0..keys.len()).any(run)
    }

    /// Whether an exchange belongs to the test.
    fn is_test(&self, e: &Exchange) -> bool {
        let new = match (e.keys.last(), &e.turns[..]) {
            (Some(key), _) => held_out(key),
            (None, [q, _]) => !e.common[0] && self.book.holds_out(q),
            (None, _) => held_out(&together(e)),
        };
        new && !e.accepted.is_empty()
    }

    fn story(&self, r: &mut Random) -> String {
        let passages = |r: &mut Random, language: Language, divider: &str| {
            let all: Vec<String> = (0..2 + r.below(4)).map(|_| self.book.passage(language, r)).collect();
            all.join(divider)
        };
        if r.chance(CHINESE) {
            return match r.below(10) {
                0..4 => chinese_stories::story(r),
                4..9 => passages(r, Language::Chinese, "\n"),
                _ => sums_told(r, true),
            };
        }
        match r.below(20) {
            0..8 => stories::story(r),
            8..10 => reading::prose(r),
            10..17 => passages(r, Language::English, "\n"),
            17 | 18 => sums_told(r, false),
            _ => (0..3).map(|_| letters::told(r)).collect::<Vec<_>>().join(" "),
        }
    }

    /// Whether a text quotes a question that is held out.
    fn quotes_held_out(&self, text: &str) -> bool {
        text.split(['"', '“', '”']).filter(|s| s.ends_with(['?', '？'])).any(|s| self.book.holds_out(s))
    }
}

/// Some sums, none of them held out.
fn sums_told(r: &mut Random, chinese: bool) -> String {
    let mut all = Vec::new();
    while all.len() < 4 {
        all.extend(
            sums::told(r, chinese).into_iter().filter(|(_, key)| !held_out(key)).map(|(text, _)| text),
        );
    }
    all.join(if chinese { "" } else { " " })
}

/// Between the keys of questions that belong together.
const THEN: &str = " then ";

/// What several questions that belong together are known by.
fn together(e: &Exchange) -> String {
    e.asked().map(|q| book::key(q)).collect::<Vec<_>>().join(THEN)
}

/// Short film reviews that are kind or unkind, as many as asked for.
pub fn reviews(seed: u64, count: usize) -> impl Iterator<Item = Labelled> {
    (0..count as u64).map(move |i| labelled::review(&mut Random::new(seed, 2 << 40 | i)))
}

/// Sentences with a part of speech for each word, as many as asked for.
pub fn tagged(seed: u64, count: usize) -> impl Iterator<Item = Tagged> {
    (0..count as u64).map(move |i| labelled::tagged(&mut Random::new(seed, 3 << 40 | i)))
}

/// Small talk that no rule here can make: what a model is tried on.
pub const HELD_OUT: [&str; 7] = [
    "Hey there, who am I talking to?",
    "I feel a bit sad this evening.",
    "Could you say what the capital of Japan is, please?",
    "What do you get when you add two and three?",
    "Got any favourite animal?",
    "Tell me something about the colour of the sky.",
    "你好呀，你是谁呢？",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn where_there_is_room_some_conversations_are_long() {
        let longest = |c: &Curriculum| {
            let length = |c: Chat| c.messages.iter().map(|t| t.content.len()).sum::<usize>();
            c.chats(3, 1000).map(length).max().unwrap()
        };
        let plain = Curriculum::standard().unwrap();
        let usual = longest(&plain);
        let long = longest(&plain.with_room(2000));
        assert!(usual < 1200 && long > 1300 && long <= 2000, "{usual}, {long}");
    }

    #[test]
    fn the_text_is_the_same_every_time_and_varied() {
        let c = Curriculum::standard().unwrap();
        let a: Vec<String> = c.stories(1, 600).collect();
        assert_eq!(a, c.stories(1, 600).collect::<Vec<_>>());
        let distinct: HashSet<&String> = a.iter().collect();
        assert!(distinct.len() > 590, "{}", distinct.len());
        assert_ne!(a, c.stories(2, 600).collect::<Vec<_>>());
        let chats: Vec<Chat> = c.chats(1, 600).collect();
        assert_eq!(chats, c.chats(1, 600).collect::<Vec<_>>());
        assert_eq!(chats[400..], c.chats(1, 600).skip(400).collect::<Vec<_>>());
    }

    /// The keys of the sums that a text says in digits: `3 + 4 = 7`, `3加4等于7`.
    fn sums_said(text: &str) -> Vec<String> {
        let is_chinese = text.contains("等于");
        let signs = [("加", " + "), ("减", " - "), ("乘", " * "), ("等于", " = "), ("。", " ")];
        let plain = signs.iter().fold(text.to_owned(), |s, (from, to)| s.replace(from, to));
        let words: Vec<&str> = plain.split_whitespace().collect();
        let notation = if is_chinese { "chinese digits" } else { "digits" };
        let number = |w: &str| w.parse::<u32>().is_ok();
        let sums = words.windows(4).filter(|w| number(w[0]) && number(w[2]) && w[3] == "=");
        sums.map(|w| format!("{} {} {} in {notation}", w[0], w[1], w[2])).collect()
    }

    #[test]
    fn chats_alternate_and_never_hold_what_is_held_out() {
        let c = Curriculum::standard().unwrap();
        let tests = c.tests(1, 20);
        let asked = |messages: &[Turn]| {
            let said = messages.iter().filter(|m| m.role == "user").map(|m| book::key(&m.content));
            said.collect::<Vec<_>>().join(" then ")
        };
        // Those with a system prompt may ask what is known.
        let plain = tests.iter().filter(|t| t.messages[0].role == "user");
        // A story that the model tells is no question, but part of what is held out.
        let told = |q: &Question| ["story, then a question", "听了故事回答"].contains(&q.skill.as_str());
        let questions: HashMap<String, &Question> =
            plain.filter(|t| !told(t)).map(|t| (asked(&t.messages), t)).collect();
        assert!(questions.len() > 1500, "{}", questions.len());
        let mut sums = 0;
        for (i, chat) in c.chats(1, 20_000).enumerate() {
            let talk =
                if chat.messages[0].role == "system" { &chat.messages[1..] } else { &chat.messages[..] };
            assert!(talk.len() >= 2 && talk.len().is_multiple_of(2));
            for (at, m) in talk.iter().enumerate() {
                assert_eq!(m.role == "user", at.is_multiple_of(2));
                assert!(!m.content.is_empty() && !m.content.contains(['{', '}']), "{}", m.content);
                assert!(!HELD_OUT.contains(&m.content.as_str()), "{}", m.content);
            }
            for m in talk.iter().filter(|m| m.role == "assistant") {
                for sum in sums_said(&m.content) {
                    assert!(!held_out(&sum), "chat {i} says {sum}: {}", m.content);
                    sums += 1;
                }
            }
            for (from, length) in (0..talk.len()).step_by(2).flat_map(|f| [(f, 1), (f, 3), (f, 5)]) {
                let Some(part) = talk.get(from..from + length) else { continue };
                let found = questions.get(&asked(part));
                assert!(found.is_none(), "chat {i} has {found:?}");
            }
        }
        assert!(sums > 3000, "{sums}");
    }

    #[test]
    fn every_skill_that_can_be_tested_is() {
        let c = Curriculum::standard().unwrap();
        let tests = c.tests(1, 10);
        let mut count: HashMap<&str, usize> = HashMap::new();
        tests.iter().for_each(|t| *count.entry(&t.skill).or_default() += 1);
        assert!(count.len() > 150, "{}", count.len());
        assert!(tests.iter().filter(|t| t.turns > 1).count() > 300);
        for t in &tests {
            assert!(t.messages.last().unwrap().role == "user" && !t.accept.is_empty(), "{t:?}");
        }
        assert_eq!(tests, c.tests(1, 10));
    }

    #[test]
    fn a_persona_has_its_name_its_voice_and_its_own_answers() {
        let text = "[words]\nname = \"Luna\"\n[voice]\nafter = [\"Miau.\"]\npercent = 50\n[[own]]\n\
                    ask = \"Who is your best friend?\\nDo you have a friend called Rex?\"\nsay = \"Rex, a dog.\"\n";
        let c = Curriculum::new(Persona::parse(text).unwrap()).unwrap();
        let all: String = c.chats(1, 3000).map(|c| c.plain()).collect();
        assert!(all.contains("Luna") && all.contains("Rex, a dog.") && all.contains(" Miau."));
        assert!(!all.to_lowercase().contains("i am pupil,"), "the standard name is still there");
        let broken = "[[own]]\nask = \"a [b\"\nsay = \"c\"\n";
        assert!(Curriculum::new(Persona::parse(broken).unwrap()).is_err());
    }

    #[test]
    fn labelled_text_is_even_varied_and_ambiguous() {
        let all: Vec<Labelled> = reviews(1, 2000).collect();
        assert_eq!(all, reviews(1, 2000).collect::<Vec<_>>());
        let kind = all.iter().filter(|t| t.label == "kind").count();
        // Half of 2000, give or take five standard deviations of a fair coin.
        assert!(kind.abs_diff(1000) < 112, "{kind}");
        let distinct: HashSet<&str> = all.iter().map(|t| t.text.as_str()).collect();
        assert!(distinct.len() > 1900, "{}", distinct.len());
        let mut tags: HashMap<String, HashSet<String>> = HashMap::new();
        for s in tagged(1, 2000) {
            assert_eq!(s.words.len(), s.tags.len());
            s.words.into_iter().zip(s.tags).for_each(|(w, t)| tags.entry(w).or_default().extend([t]));
        }
        assert!(
            tags["watch"].len() == 2 && tags["that"].len() == 3,
            "{:?} {:?}",
            tags["watch"],
            tags["that"]
        );
    }
}
