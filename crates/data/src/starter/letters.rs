//! Words as letters: spelling, first and last letters, lengths, backwards; and saying again what was said.

use super::book::Exchange;
use super::grammar::capital;
use super::made::fill;
use super::numerals::english as number;
use super::order::words_of;
use crate::random::Random;

/// Words that children spell.
pub(super) const WORDS: [&str; 150] = [
    "apple", "banana", "garden", "water", "house", "flower", "river", "summer", "winter", "teacher",
    "kitchen", "window", "mountain", "morning", "evening", "friend", "school", "bread", "cheese", "orange",
    "yellow", "purple", "monkey", "rabbit", "tiger", "horse", "sheep", "pencil", "paper", "table", "chair",
    "music", "dance", "happy", "clever", "little", "number", "letter", "story", "ocean", "island", "forest",
    "cloud", "candle", "bridge", "market", "doctor", "farmer", "baker", "sister", "brother", "mother",
    "father", "family", "dream", "light", "night", "stone", "train", "plane", "ship", "boat", "road", "city",
    "village", "country", "world", "planet", "moon", "star", "sun", "tree", "leaf", "grass", "bird", "fish",
    "cat", "dog", "cow", "pig", "hen", "fox", "owl", "bee", "ant", "bear", "lion", "wolf", "frog", "duck",
    "mouse", "snake", "book", "word", "page", "hand", "foot", "head", "nose", "mouth", "heart", "door",
    "wall", "roof", "room", "bed", "lamp", "clock", "cup", "plate", "spoon", "knife", "fork", "soup", "rice",
    "milk", "sugar", "salt", "honey", "cake", "egg", "ball", "kite", "drum", "bell", "ring", "hat", "coat",
    "shoe", "scarf", "green", "black", "white", "brown", "pink", "blue", "red", "warm", "cold", "small",
    "quick", "slow", "brave", "quiet", "open", "jump", "swim", "write", "zebra", "king",
];

fn spelled(word: &str) -> String {
    word.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

const SPELL: [&str; 7] = [
    "Spell {w}.",
    "Spell the word {w}, please.",
    "How do you spell {w}?",
    "Can you spell {w}?",
    "How is {w} spelled?",
    "Please spell {w} for me.",
    "How do you write the word {w}, letter by letter?",
];

fn spelling(word: &str) -> String {
    capital(&format!("{word} is spelled {}.", spelled(word)))
}

pub(super) fn spell(r: &mut Random) -> Exchange {
    let w = r.pick(&WORDS);
    Exchange::of(fill(r, &SPELL, &[("w", w)]), vec![spelling(w)])
}

pub(super) fn spell_another(r: &mut Random) -> Exchange {
    let two = words_of(r, 2);
    let first = fill(r, &SPELL, &[("w", two[0])]);
    let second = fill(
        r,
        &["And {w}?", "What about {w}?", "And how do you spell {w}?", "Now spell {w}."],
        &[("w", two[1])],
    );
    let last = spelling(two[1]);
    Exchange {
        turns: vec![first, spelling(two[0]), second, last.clone()],
        common: vec![false; 2],
        accepted: vec![last],
        ..Exchange::default()
    }
}

pub(super) fn join(r: &mut Random) -> Exchange {
    let w = r.pick(&WORDS);
    let forms = [
        "Which word is {s}?",
        "What does {s} spell?",
        "Put these letters together: {s}.",
        "What word is this: {s}?",
    ];
    let q = fill(r, &forms, &[("s", &spelled(w))]);
    Exchange::of(q, vec![format!("That is the word {w}.")])
}

pub(super) fn first(r: &mut Random) -> Exchange {
    let w = r.pick(&WORDS);
    let letter = &w[..1];
    let forms = [
        "What is the first letter of {w}?",
        "Which letter does {w} begin with?",
        "With which letter does {w} start?",
        "Tell me the first letter of the word {w}.",
        "What letter does the word {w} start with?",
    ];
    let mut e =
        Exchange::of(fill(r, &forms, &[("w", w)]), vec![format!("The first letter of {w} is {letter}.")]);
    e.short = Some(capital(letter));
    e
}

pub(super) fn last(r: &mut Random) -> Exchange {
    let w = r.pick(&WORDS);
    let letter = &w[w.len() - 1..];
    let forms = [
        "What is the last letter of {w}?",
        "Which letter does {w} end with?",
        "With which letter does {w} end?",
        "Tell me the last letter of the word {w}.",
    ];
    let mut e =
        Exchange::of(fill(r, &forms, &[("w", w)]), vec![format!("The last letter of {w} is {letter}.")]);
    e.short = Some(capital(letter));
    e
}

pub(super) fn count(r: &mut Random) -> Exchange {
    let w = r.pick(&WORDS);
    let forms = [
        "How many letters does {w} have?",
        "How many letters are in the word {w}?",
        "How many letters are there in {w}?",
        "How long is the word {w}?",
        "Count the letters of {w}.",
    ];
    // The letters come first: the number is then only counted, not guessed.
    let answer = capital(&format!("{}: that is {} letters.", spelled(w), number(w.len())));
    let mut e = Exchange::of(fill(r, &forms, &[("w", w)]), vec![answer]);
    e.short = Some(capital(&number(w.len())));
    e
}

pub(super) fn backwards(r: &mut Random) -> Exchange {
    let w = loop {
        let w = r.pick(&WORDS);
        if w.len() < 6 {
            break w;
        }
    };
    let forms = [
        "Spell {w} backwards.",
        "What is {w} backwards?",
        "Can you spell {w} backwards?",
        "Reverse the word {w}.",
        "How do you write {w} backwards?",
        "Turn the word {w} around, please.",
    ];
    let back: String = w.chars().rev().collect();
    let answer = format!("{w} is {}, so backwards it is {}.", spelled(w), spelled(&back));
    Exchange::of(fill(r, &forms, &[("w", w)]), vec![capital(&answer)])
}

fn letter(at: usize) -> String {
    char::from(b'a' + at as u8).to_string()
}

pub(super) fn next(r: &mut Random) -> Exchange {
    let at = r.below(25);
    let forms = [
        "Which letter comes after {l}?",
        "What letter comes after {l}?",
        "What is the next letter after {l}?",
        "Which letter follows {l}?",
        "Tell me the letter after {l}.",
        "What comes after {l} in the alphabet?",
    ];
    let q = fill(r, &forms, &[("l", &letter(at))]);
    Exchange::of(q, vec![format!("After {} comes {}.", letter(at), letter(at + 1))])
}

pub(super) fn before(r: &mut Random) -> Exchange {
    let at = 1 + r.below(25);
    let forms = [
        "Which letter comes before {l}?",
        "What letter comes before {l}?",
        "Tell me the letter before {l}.",
        "What comes before {l} in the alphabet?",
    ];
    let q = fill(r, &forms, &[("l", &letter(at))]);
    Exchange::of(q, vec![format!("Before {} comes {}.", letter(at), letter(at - 1))])
}

pub(super) fn repeat(r: &mut Random) -> Exchange {
    let (w, n) = (r.pick(&WORDS), 2 + r.below(4));
    let forms = [
        "Say {w} {n} times.",
        "Can you say {w} {n} times?",
        "Write {w} {n} times, please.",
        "Repeat {w} {n} times.",
    ];
    let q = fill(r, &forms, &[("w", w), ("n", &number(n))]);
    Exchange::of(q, vec![capital(&format!("{}.", vec![w; n].join(", ")))])
}

/// Copies words in an order that was never seen.
pub(super) fn echo(r: &mut Random) -> Exchange {
    let count = 2 + r.below(4);
    let all = words_of(r, count).join(" ");
    let forms = [
        "Repeat after me: {s}",
        "Say after me: {s}",
        "Repeat these words: {s}",
        "Please repeat: {s}",
        "Say this: {s}",
    ];
    Exchange::of(fill(r, &forms, &[("s", &all)]), vec![capital(&format!("{all}."))])
}

/// A line of text that spells or counts, for reading.
pub(super) fn told(r: &mut Random) -> String {
    match r.below(5) {
        0 | 1 => spelling(r.pick(&WORDS)),
        2 => first(r).accepted.swap_remove(0),
        3 => last(r).accepted.swap_remove(0),
        _ => {
            let at = r.below(25);
            format!("After {} comes {}.", letter(at), letter(at + 1))
        }
    }
}
