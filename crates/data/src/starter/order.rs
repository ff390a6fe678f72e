//! Counting, comparing and sorting of numbers and words.

use super::book::Exchange;
use super::grammar::capital;
use super::letters::WORDS;
use super::made::fill;
use super::numerals::{chinese as chinese_words, english as words};
use crate::random::Random;

/// Digits or words.
fn writer(r: &mut Random) -> fn(usize) -> String {
    if r.chance(60) { |n| n.to_string() } else { words }
}

fn joined(numbers: impl Iterator<Item = usize>, write: fn(usize) -> String) -> String {
    numbers.map(write).collect::<Vec<_>>().join(", ")
}

pub(super) fn count(r: &mut Random) -> Exchange {
    let w = writer(r);
    let (from, forms): (usize, &[&str]) = if r.chance(40) {
        (1, &["Count to {b}.", "Can you count to {b}?", "Please count up to {b}.", "Count to {b}, please."])
    } else {
        let forms =
            &["Count from {a} to {b}.", "Can you count from {a} to {b}?", "Please count from {a} up to {b}."];
        (1 + r.below(15), forms)
    };
    let to = from + 2 + r.below(8);
    let q = fill(r, forms, &[("a", &w(from)), ("b", &w(to))]);
    Exchange::of(q, vec![capital(&format!("{}.", joined(from..=to, w)))])
}

pub(super) fn backwards(r: &mut Random) -> Exchange {
    let w = writer(r);
    let to = r.below(8);
    let from = to + 3 + r.below(6);
    let forms = [
        "Count backwards from {a} to {b}.",
        "Count down from {a} to {b}.",
        "Can you count backwards from {a} to {b}?",
    ];
    let q = fill(r, &forms, &[("a", &w(from)), ("b", &w(to))]);
    Exchange::of(q, vec![capital(&format!("{}.", joined((to..=from).rev(), w)))])
}

pub(super) fn next(r: &mut Random) -> Exchange {
    let (w, n) = (writer(r), r.below(100));
    let forms = [
        "Which number comes after {n}?",
        "What comes after {n}?",
        "What is the next number after {n}?",
        "Which number follows {n}?",
        "Tell me the number after {n}.",
    ];
    let q = fill(r, &forms, &[("n", &w(n))]);
    let mut e = Exchange::of(q, vec![format!("After {} comes {}.", w(n), w(n + 1))]);
    e.short = Some(capital(&w(n + 1)));
    e
}

pub(super) fn before(r: &mut Random) -> Exchange {
    let (w, n) = (writer(r), 1 + r.below(100));
    let forms = [
        "Which number comes before {n}?",
        "What comes before {n}?",
        "What is the number before {n}?",
        "Tell me the number before {n}.",
    ];
    let q = fill(r, &forms, &[("n", &w(n))]);
    let mut e = Exchange::of(q, vec![format!("Before {} comes {}.", w(n), w(n - 1))]);
    e.short = Some(capital(&w(n - 1)));
    e
}

/// Two different numbers, both below 21 or both below 101.
fn pair(r: &mut Random) -> (usize, usize) {
    let most = if r.chance(60) { 21 } else { 101 };
    let a = r.below(most);
    (a, (a + 1 + r.below(most - 1)) % most)
}

fn compared(r: &mut Random, bigger: bool) -> Exchange {
    let (w, (a, b)) = (writer(r), pair(r));
    let forms: &[&str] = if bigger {
        &[
            "Which is bigger, {a} or {b}?",
            "Which number is larger, {a} or {b}?",
            "What is more, {a} or {b}?",
            "Which number is bigger: {a} or {b}?",
        ]
    } else {
        &[
            "Which is smaller, {a} or {b}?",
            "What is less, {a} or {b}?",
            "Which number is smaller: {a} or {b}?",
        ]
    };
    let q = fill(r, forms, &[("a", &w(a)), ("b", &w(b))]);
    let (more, less) = (a.max(b), a.min(b));
    let answer = if bigger {
        format!("{} is bigger than {}.", w(more), w(less))
    } else {
        format!("{} is smaller than {}.", w(less), w(more))
    };
    let mut e = Exchange::of(q, vec![capital(&answer)]);
    e.short = Some(capital(&w(if bigger { more } else { less })));
    e.keys = vec![format!("{a} or {b} {bigger} {}", w(1))];
    e
}

pub(super) fn bigger(r: &mut Random) -> Exchange {
    compared(r, true)
}

pub(super) fn smaller(r: &mut Random) -> Exchange {
    compared(r, false)
}

/// Different numbers below `most`.
fn several(r: &mut Random, count: usize, most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    while all.len() < count {
        let n = r.below(most);
        if !all.contains(&n) {
            all.push(n);
        }
    }
    all
}

pub(super) fn sort(r: &mut Random) -> Exchange {
    let w = writer(r);
    let (count, most) = (3 + r.below(2), if r.chance(70) { 21 } else { 100 });
    let mut all = several(r, count, most);
    let forms = [
        "Sort these numbers: {all}.",
        "Put these numbers in order: {all}.",
        "Can you sort {all}?",
        "Please sort the numbers {all}.",
        "Order these from small to large: {all}.",
    ];
    let q = fill(r, &forms, &[("all", &joined(all.iter().copied(), w))]);
    all.sort_unstable();
    Exchange::of(q, vec![capital(&format!("{}.", joined(all.into_iter(), w)))])
}

pub(super) fn largest(r: &mut Random) -> Exchange {
    let w = writer(r);
    let all = several(r, 3, 21);
    let (what, right) =
        if r.chance(50) { ("largest", all.iter().max()) } else { ("smallest", all.iter().min()) };
    let forms = [
        "Which is the {what}: {all}?",
        "What is the {what} of these numbers: {all}?",
        "Find the {what} number: {all}.",
        "Which of these numbers is the {what}: {all}?",
    ];
    let q = fill(r, &forms, &[("what", what), ("all", &joined(all.iter().copied(), w))]);
    let right = w(right.copied().unwrap_or_default());
    let mut e = Exchange::of(q, vec![format!("The {what} number is {right}.")]);
    e.short = Some(capital(&right));
    e
}

pub(super) fn parity(r: &mut Random) -> Exchange {
    let (w, n) = (writer(r), r.below(101));
    let forms = [
        "Is {n} even or odd?",
        "Is {n} an even or an odd number?",
        "Is the number {n} even or odd?",
        "{n}: even or odd?",
    ];
    let q = fill(r, &forms, &[("n", &w(n))]);
    let what = if n.is_multiple_of(2) { "even" } else { "odd" };
    let mut e = Exchange::of(capital(&q), vec![capital(&format!("{} is {what}.", w(n)))]);
    e.short = Some(capital(what));
    e
}

pub(super) fn series(r: &mut Random) -> Exchange {
    let w = writer(r);
    let step = [1, 2, 2, 3, 5, 10][r.below(6)];
    let from = if step == 10 { 10 * r.below(5) } else { r.below(20) };
    let all = joined((0..3).map(|i| from + i * step), w);
    let forms = [
        "{all}, what comes next?",
        "What comes next: {all}?",
        "Go on: {all}.",
        "Continue this series: {all}.",
    ];
    let q = fill(r, &forms, &[("all", &all)]);
    let mut e = Exchange::of(capital(&q), vec![format!("Next comes {}.", w(from + 3 * step))]);
    e.short = Some(capital(&w(from + 3 * step)));
    e
}

pub(super) fn words_of(r: &mut Random, count: usize) -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    while all.len() < count {
        let w = r.pick(&WORDS);
        // Words that begin with different letters: the order is that of the first letter.
        if all.iter().all(|x| x.as_bytes()[0] != w.as_bytes()[0]) {
            all.push(w);
        }
    }
    all
}

/// Words in the order of the alphabet.
pub(super) fn alphabetical(r: &mut Random) -> Exchange {
    let mut all = words_of(r, 3);
    let forms = [
        "Sort these words: {all}.",
        "Put these words in alphabetical order: {all}.",
        "Can you sort {all} by the alphabet?",
        "Please sort these words by the alphabet: {all}.",
    ];
    let q = fill(r, &forms, &[("all", &all.join(", "))]);
    all.sort_unstable();
    Exchange::of(q, vec![capital(&format!("{}.", all.join(", ")))])
}

pub(super) fn chinese_count(r: &mut Random) -> Exchange {
    let from = if r.chance(50) { 1 } else { 1 + r.below(12) };
    let to = from + 2 + r.below(7);
    let forms: &[&str] = if from == 1 {
        &["请数到{b}。", "你能数到{b}吗？", "从一数到{b}。"]
    } else {
        &["请从{a}数到{b}。", "你能从{a}数到{b}吗？", "从{a}数到{b}。"]
    };
    let q = fill(r, forms, &[("a", &chinese_words(from)), ("b", &chinese_words(to))]);
    let all: Vec<String> = (from..=to).map(chinese_words).collect();
    Exchange::of(q, vec![format!("{}。", all.join("，"))])
}

pub(super) fn chinese_bigger(r: &mut Random) -> Exchange {
    let (a, b) = pair(r);
    let w = chinese_words;
    let forms = ["{a}和{b}，哪个大？", "{a}大还是{b}大？", "哪个数更大，{a}还是{b}？"];
    let q = fill(r, &forms, &[("a", &w(a)), ("b", &w(b))]);
    let mut e = Exchange::of(q, vec![format!("{}比{}大。", w(a.max(b)), w(a.min(b)))]);
    e.short = Some(w(a.max(b)));
    e.keys = vec![format!("{a} or {b} in chinese")];
    e
}

pub(super) fn chinese_next(r: &mut Random) -> Exchange {
    let n = r.below(99);
    let forms = ["{n}的后面是几？", "{n}后面是什么数？", "{n}的下一个数是几？", "请问{n}后面是几？"];
    let q = fill(r, &forms, &[("n", &chinese_words(n))]);
    let mut e = Exchange::of(q, vec![format!("{}后面是{}。", chinese_words(n), chinese_words(n + 1))]);
    e.short = Some(chinese_words(n + 1));
    e
}
