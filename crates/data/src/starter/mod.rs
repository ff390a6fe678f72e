//! The starter text: simple stories and small talk in English and Chinese, for people who bring no text of their own.
//!
//! Made by rules from hand-written material; the same seed gives the same text. Released under CC0. Wordings vary so much that a model
//! must generalise: questions come in many forms, names and things are drawn anew each time.

mod chinese;
mod labelled;
mod small_talk;
mod stories;

use crate::labelled::Labelled;
use crate::random::Random;
use crate::record::Chat;
use crate::tagged::Tagged;

/// Stories, English and (one in six) Chinese, as many as asked for.
pub fn stories(seed: u64, count: usize) -> impl Iterator<Item = String> {
    (0..count as u64).map(move |i| {
        let mut r = Random::new(seed, i);
        if i % 6 == 5 { chinese::story(&mut r) } else { stories::story(&mut r) }
    })
}

/// Conversations of one to four exchanges, English and (one in six) Chinese, as many as asked for.
pub fn chats(seed: u64, count: usize) -> impl Iterator<Item = Chat> {
    (0..count as u64).map(move |i| {
        let mut r = Random::new(seed, 1 << 40 | i);
        Chat::alternating(if i % 6 == 5 { chinese::chat(&mut r) } else { small_talk::chat(&mut r) })
    })
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

    #[test]
    fn the_text_is_the_same_every_time_and_varied() {
        let a: Vec<String> = stories(1, 600).collect();
        assert_eq!(a, stories(1, 600).collect::<Vec<_>>());
        let distinct: std::collections::HashSet<&String> = a.iter().collect();
        assert!(distinct.len() > 595, "{}", distinct.len());
        assert_ne!(a, stories(2, 600).collect::<Vec<_>>());
    }

    #[test]
    fn chats_alternate_and_never_hold_what_is_held_out() {
        for chat in chats(1, 30_000) {
            assert!(chat.messages.len() >= 2 && chat.messages.len() % 2 == 0);
            for (i, m) in chat.messages.iter().enumerate() {
                assert_eq!(m.role == "user", i % 2 == 0);
                assert!(!m.content.is_empty() && !m.content.contains('{'), "{}", m.content);
                assert!(!HELD_OUT.contains(&m.content.as_str()), "{}", m.content);
            }
        }
    }

    #[test]
    fn labelled_text_is_even_varied_and_ambiguous() {
        let all: Vec<Labelled> = reviews(1, 2000).collect();
        assert_eq!(all, reviews(1, 2000).collect::<Vec<_>>());
        let kind = all.iter().filter(|t| t.label == "kind").count();
        // Half of 2000, give or take five standard deviations of a fair coin.
        assert!(kind.abs_diff(1000) < 112, "{kind}");
        let distinct: std::collections::HashSet<&str> = all.iter().map(|t| t.text.as_str()).collect();
        assert!(distinct.len() > 1900, "{}", distinct.len());
        let mut tags: std::collections::HashMap<String, std::collections::HashSet<String>> =
            Default::default();
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
