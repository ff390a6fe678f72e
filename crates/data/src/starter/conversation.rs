//! Conversations: exchanges strung together, with what makes them a person's: small letters, missing marks, slips of the finger.

use super::book::{self, Exchange, Language, Skill};
use super::style::{self, Style};
use super::{Curriculum, THEN, held_out};
use crate::random::Random;
use crate::record::{Chat, Turn};

/// Bytes that a conversation has at most unless more are asked for, so that it fits into a context of about 256 tokens.
pub(super) const ROOM: usize = 900;
/// Of a hundred conversations, how many are long ones where there is more room.
const LONG: usize = 8;

impl Curriculum {
    pub(super) fn chat(&self, r: &mut Random) -> Chat {
        let language = if r.chance(super::CHINESE) { Language::Chinese } else { Language::English };
        let style = if r.chance(14) { style::draw(r, language) } else { Style::default() };
        let is_long = self.room > ROOM && r.chance(LONG);
        let (count, room) = match is_long {
            true => (8 + r.below(9), self.room),
            false => ([1, 1, 1, 2, 2, 2, 3, 3, 4, 6][r.below(10)], ROOM),
        };
        let mut exchanges: Vec<Exchange> = Vec::new();
        let mut told = 0;
        let plain = !style.short;
        let [hello, thanks, bye] = match language {
            Language::English => ["greeting", "thanks", "goodbye"],
            Language::Chinese => ["你好", "谢谢", "再见"],
        };
        if plain && r.chance(20) {
            exchanges.extend(self.named(hello, &style, r));
        }
        if style.name.is_some() {
            let who = if language == Language::English { "who are you" } else { "你是谁" };
            follow(&mut exchanges, self.named(who, &style, r));
        }
        for _ in 0..count {
            // A few people change the language in the middle.
            let language = match language {
                Language::English if r.chance(4) => Language::Chinese,
                Language::Chinese if r.chance(4) => Language::English,
                same => same,
            };
            follow(&mut exchanges, self.lesson(language, &style, &mut told, r));
        }
        if plain && r.chance(14) {
            follow(&mut exchanges, self.named(thanks, &style, r));
        }
        if plain && r.chance(10) {
            follow(&mut exchanges, self.named(bye, &style, r));
        }
        let mut turns = woven(exchanges, r);
        cut(&mut turns, room);
        let mut messages = Vec::with_capacity(turns.len() + 1);
        messages.extend(style.prompt.as_ref().map(|p| Turn::new("system", p.as_str())));
        for (i, text) in turns.iter().enumerate() {
            if i % 2 == 0 {
                messages.push(Turn::new("user", self.typed(text, turns.get(i + 1), r)));
            } else {
                messages.push(Turn::new("assistant", style.say(&self.voiced(text, r))));
            }
        }
        Chat::new(messages)
    }

    /// An exchange of a skill that may be learned from.
    pub(super) fn practised(&self, skill: &Skill, style: &Style, r: &mut Random) -> Option<Exchange> {
        for _ in 0..20 {
            let e = self.book.exchange(skill, style.name.as_deref(), r);
            if self.is_lesson(&e) {
                return Some(e);
            }
        }
        None
    }

    fn named(&self, name: &str, style: &Style, r: &mut Random) -> Option<Exchange> {
        self.practised(self.book.skills.iter().find(|s| s.name == name)?, style, r)
    }

    /// An exchange of some skill; `told` remembers what the person has told of themselves, which must not be told twice.
    fn lesson(&self, language: Language, style: &Style, told: &mut u8, r: &mut Random) -> Option<Exchange> {
        for _ in 0..30 {
            let skill = self.draw(language, r)?;
            let about = about(&skill.name);
            if about & *told != 0 {
                continue;
            }
            let Some(mut e) = self.practised(skill, style, r) else { continue };
            if style.short {
                let (Some(short), 2) = (&e.short, e.turns.len()) else { continue };
                e.turns[1] = style::ended(short);
            } else if let (Some(short), 2, true) = (&e.short, e.turns.len(), r.chance(5)) {
                let asks: [&str; 3] = match skill.language {
                    Language::English => {
                        [" Answer in one word.", " In one word, please.", " Just one word, please."]
                    }
                    Language::Chinese => ["请用一个词回答。", "只用一个词回答。", "一个词就好。"],
                };
                e.turns[0].push_str(r.pick(&asks));
                e.turns[1] = style::ended(short);
            }
            *told |= about;
            return Some(e);
        }
        None
    }

    /// A skill, by its weight.
    pub(super) fn draw(&self, language: Language, r: &mut Random) -> Option<&Skill> {
        let of = |s: &&Skill| s.language == language;
        let mut at = r.below(self.book.skills.iter().filter(of).map(|s| s.weight).sum());
        self.book.skills.iter().filter(of).find(|s| {
            let found = at < s.weight;
            at = at.saturating_sub(s.weight);
            found
        })
    }

    /// An answer in the persona's voice.
    fn voiced(&self, text: &str, r: &mut Random) -> String {
        let voice = &self.persona.voice;
        let ways = voice.before.len() + voice.after.len();
        if ways == 0 || !r.chance(voice.percent) {
            return text.to_owned();
        }
        let way = r.below(ways);
        match voice.before.get(way) {
            Some(b) => format!("{b} {text}"),
            None => format!("{text} {}", voice.after[way - voice.before.len()]),
        }
    }

    /// A question as people type it. Words that the answer repeats stay whole.
    fn typed(&self, text: &str, answer: Option<&String>, r: &mut Random) -> String {
        let mut typed = text.to_owned();
        let words = text.split(' ').count();
        if words >= 4 && text.is_ascii() && r.chance(5) {
            let before = r.pick(&[
                "Quick question: ",
                "One question: ",
                "Okay. ",
                "Hm. ",
                "Please tell me: ",
                "Hey! ",
                "So: ",
            ]);
            typed.insert_str(0, before);
        }
        if r.chance(14) {
            let end = typed.trim_end_matches(['?', '.', '!', '？', '。', '！']).len();
            if end > 0 {
                typed.truncate(end);
            }
        }
        if r.chance(14) {
            typed = typed.to_lowercase();
        }
        if words >= 4
            && r.chance(4)
            && let Some(slip) = slip(&typed, answer.map_or("", String::as_str), r)
        {
            typed = slip;
        }
        if self.book.holds_out(&typed) && !self.book.holds_out(text) { text.to_owned() } else { typed }
    }
}

/// What a person tells of themselves in a skill: 1 their name, 2 what they like, have and do. Who has been told cannot be asked as if nothing
/// were known, nor be told something else.
fn about(skill: &str) -> u8 {
    match skill {
        "greeting with a name"
        | "greeting with an unusual name"
        | "my name is not known"
        | "my name, told then"
        | "remember a name"
        | "correct a name"
        | "我叫"
        | "我叫什么"
        | "不知道你的名字" => 1,
        "private"
        | "remember what was told"
        | "remember one of two"
        | "what I bought"
        | "what I just said"
        | "I like a food"
        | "I like a hobby"
        | "I like an animal"
        | "my job"
        | "my job, again"
        | "my pet"
        | "the name of my pet"
        | "the name of the pet, again"
        | "pet"
        | "holiday"
        | "school and work"
        | "birthday"
        | "我喜欢"
        | "我喜欢吃"
        | "喜欢动物" => 2,
        "记住" => 3,
        _ => 0,
    }
}

/// Adds an exchange, unless its question after the last one's is a pair that is held out, although neither question is.
fn follow(exchanges: &mut Vec<Exchange>, next: Option<Exchange>) {
    let Some(next) = next else { return };
    let before = exchanges.last().and_then(|e| e.asked().last());
    let pair = before.zip(next.asked().next()).map(|(a, b)| [book::key(a), book::key(b)].join(THEN));
    if !pair.is_some_and(|p| held_out(&p)) {
        exchanges.push(next);
    }
}

/// Exchanges one after the other; one that may wait is now and then interrupted by the next.
fn woven(exchanges: Vec<Exchange>, r: &mut Random) -> Vec<String> {
    let mut turns = Vec::new();
    let mut waiting: Vec<(Vec<String>, usize)> = Vec::new();
    for e in exchanges {
        let pause = if e.pause > 0 && r.chance(60) { e.pause } else { e.turns.len() };
        let mut first = e.turns;
        let rest = first.split_off(pause);
        turns.extend(first);
        waiting.iter_mut().for_each(|w| w.1 = w.1.saturating_sub(1));
        if let Some(at) = waiting.iter().position(|w| w.1 == 0) {
            turns.extend(waiting.remove(at).0);
        }
        if !rest.is_empty() {
            waiting.push((rest, 1 + r.below(3)));
        }
    }
    turns.extend(waiting.into_iter().flat_map(|w| w.0));
    turns
}

/// Leaves away what there is no room for.
fn cut(turns: &mut Vec<String>, room: usize) {
    let mut bytes = 0;
    let fits = turns.chunks(2).take_while(|pair| {
        bytes += pair.iter().map(String::len).sum::<usize>() + 20;
        bytes <= room
    });
    let keep = 2 * fits.count().max(1);
    turns.truncate(keep);
}

/// Two letters change places, one is left out, or one is written twice, in a word of four letters or more that the answer does not have.
fn slip(text: &str, answer: &str, r: &mut Random) -> Option<String> {
    let answer = answer.to_lowercase();
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let long = |w: &&mut String| {
        w.len() >= 4 && w.bytes().all(|b| b.is_ascii_lowercase()) && !answer.contains(w.as_str())
    };
    let mut fit: Vec<&mut String> = words.iter_mut().filter(long).collect();
    if fit.is_empty() {
        return None;
    }
    let at = r.below(fit.len());
    let mut letters: Vec<char> = fit[at].chars().collect();
    let i = 1 + r.below(letters.len() - 2);
    match r.below(3) {
        0 => letters.swap(i, i + 1),
        1 => drop(letters.remove(i)),
        _ => letters.insert(i, letters[i]),
    }
    *fit[at] = letters.into_iter().collect();
    drop(fit);
    Some(words.join(" "))
}
