//! What is held out, and what must not be learned from because of it.
//!
//! A text is held out by its own hash, so it stays where it is when others come. That is not enough for pairs cut from longer conversations, as movie
//! dialogues are: each line stands in two of them, as the answer of one and the question of the next, and a pair that is held out would be learned by heart
//! from its neighbours. So a conversation that shares such a line with one that is held out belongs to neither side.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::prepare::is_validation;
use crate::record::Chat;

/// Bytes of the shortest line that gives its conversation away; shorter ones (`What do you mean?`) are said everywhere.
const TELLING: usize = 20;
/// Conversations that a line may stand in and still give them away; what stands in more is a formula.
const FEW: u32 = 3;

/// On which side a text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is learned from.
    Learned,
    /// It is measured on.
    HeldOut,
    /// It shares a line with something that is measured on.
    Neither,
}

/// How texts and conversations are divided.
pub struct Split {
    thousandths: u64,
    lines: FxHashMap<u64, Line>,
}

#[derive(Default)]
struct Line {
    conversations: u32,
    held_out: bool,
}

impl Split {
    /// The division that holds out `thousandths` of all texts, for these conversations.
    pub fn new<'a>(thousandths: u64, chats: impl Iterator<Item = &'a Chat>) -> Split {
        let mut lines = FxHashMap::<u64, Line>::default();
        for chat in chats {
            let held_out = is_validation(&chat.plain(), thousandths);
            for key in telling(chat) {
                let line = lines.entry(key).or_default();
                line.conversations += 1;
                line.held_out |= held_out;
            }
        }
        lines.retain(|_, line| line.held_out && line.conversations <= FEW);
        Split { thousandths, lines }
    }

    /// The side of a document.
    pub fn document(&self, text: &str) -> Side {
        if is_validation(text, self.thousandths) { Side::HeldOut } else { Side::Learned }
    }

    /// The side of a conversation.
    pub fn chat(&self, chat: &Chat) -> Side {
        match self.document(&chat.plain()) {
            Side::Learned if telling(chat).any(|key| self.lines.contains_key(&key)) => Side::Neither,
            side => side,
        }
    }
}

/// Its lines that are long enough, as hashes, each once.
fn telling(chat: &Chat) -> impl Iterator<Item = u64> {
    let lines = chat.messages.iter().map(|m| m.content.trim()).filter(|c| c.len() >= TELLING);
    let mut keys: Vec<u64> = lines
        .map(|line| {
            let mut hasher = FxHasher::default();
            line.hash(&mut hasher);
            hasher.finish()
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Turn;

    fn pair(question: &str, answer: &str) -> Chat {
        Chat::new(vec![Turn::new("user", question), Turn::new("assistant", answer)])
    }

    #[test]
    fn no_line_of_a_pair_that_is_held_out_is_learned_from() {
        let line = |i: usize| format!("line {i} of a long conversation in a film");
        let chats: Vec<Chat> = (0..2000).map(|i| pair(&line(i), &line(i + 1))).collect();
        let split = Split::new(50, chats.iter());
        let of = |side| chats.iter().filter(move |c| split.chat(c) == side).collect::<Vec<_>>();
        let held_out = chats.iter().filter(|c| is_validation(&c.plain(), 50)).count();
        let learned = of(Side::Learned);
        assert!(held_out > 50 && learned.len() > 1600, "{held_out} {}", learned.len());
        for c in chats.iter().filter(|c| is_validation(&c.plain(), 50)) {
            let words = |c: &Chat| c.messages.iter().map(|m| m.content.clone()).collect::<Vec<_>>();
            assert!(learned.iter().all(|l| words(l).iter().all(|w| !words(c).contains(w))));
        }
    }

    #[test]
    fn what_is_said_everywhere_gives_nobody_away() {
        let greeting = "Good morning, how are you today?";
        let chats: Vec<Chat> =
            (0..500).map(|i| pair(greeting, &format!("Fine, that is answer {i}."))).collect();
        let split = Split::new(50, chats.iter().chain([&pair("Hm?", "No.")]));
        assert!(chats.iter().all(|c| split.chat(c) != Side::Neither));
        assert!(chats.iter().any(|c| split.chat(c) == Side::HeldOut));
        assert_eq!(split.document(greeting) == Side::HeldOut, is_validation(greeting, 50));
    }
}
