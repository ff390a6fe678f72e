//! Arithmetic with digits, English words and Chinese numerals. A sum, its order and its notation are one combination: if `3 + 8` in
//! digits is held out, it is in every wording, while `8 + 3` and "three plus eight" may be learned.

use super::book::Exchange;
use super::grammar::capital;
use super::made::{fill, set};
use super::numerals::{chinese as chinese_words, english as words};
use super::stories::NAMES;
use crate::random::Random;

/// How numbers are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notation {
    Digits,
    Words,
}

impl Notation {
    fn draw(r: &mut Random) -> Notation {
        if r.chance(60) { Notation::Digits } else { Notation::Words }
    }

    fn write(self, n: usize) -> String {
        if self == Notation::Digits { n.to_string() } else { words(n) }
    }

    fn name(self) -> &'static str {
        if self == Notation::Digits { "digits" } else { "words" }
    }
}

/// An operation: its sign, its word, and ways to ask.
struct Operation {
    sign: &'static str,
    word: &'static str,
    asks: &'static [&'static str],
    signs: &'static [&'static str],
}

const PLUS: Operation = Operation {
    sign: "+",
    word: "plus",
    asks: &[
        "What is {a} plus {b}?",
        "What's {a} plus {b}?",
        "How much is {a} plus {b}?",
        "How much is {a} and {b}?",
        "Can you add {a} and {b}?",
        "Add {a} and {b}, please.",
        "What do you get if you add {b} to {a}?",
        "What is the sum of {a} and {b}?",
        "{a} plus {b}?",
        "Tell me what {a} plus {b} is.",
        "Please calculate {a} plus {b}.",
    ],
    signs: &[
        "{a} + {b}",
        "{a}+{b}",
        "What is {a} + {b}?",
        "{a} + {b} = ?",
        "How much is {a} + {b}?",
        "What is {a}+{b}?",
    ],
};
const MINUS: Operation = Operation {
    sign: "-",
    word: "minus",
    asks: &[
        "What is {a} minus {b}?",
        "What's {a} minus {b}?",
        "How much is {a} minus {b}?",
        "Can you take {b} away from {a}?",
        "Subtract {b} from {a}, please.",
        "What is {a} less {b}?",
        "What is left if you take {b} from {a}?",
        "{a} minus {b}?",
        "Tell me what {a} minus {b} is.",
        "Please calculate {a} minus {b}.",
    ],
    signs: &[
        "{a} - {b}",
        "{a}-{b}",
        "What is {a} - {b}?",
        "{a} - {b} = ?",
        "How much is {a} - {b}?",
        "What is {a}-{b}?",
    ],
};
const TIMES: Operation = Operation {
    sign: "*",
    word: "times",
    asks: &[
        "What is {a} times {b}?",
        "What's {a} times {b}?",
        "How much is {a} times {b}?",
        "Can you multiply {a} by {b}?",
        "Multiply {a} by {b}, please.",
        "What is the product of {a} and {b}?",
        "{a} times {b}?",
        "Tell me what {a} times {b} is.",
    ],
    signs: &[
        "{a} * {b}",
        "{a} x {b}",
        "What is {a} * {b}?",
        "{a} * {b} = ?",
        "{a}*{b}",
        "What is {a} × {b}?",
    ],
};
const DIVIDED: Operation = Operation {
    sign: "/",
    word: "divided by",
    asks: &[
        "What is {a} divided by {b}?",
        "How much is {a} divided by {b}?",
        "Can you divide {a} by {b}?",
        "Divide {a} by {b}, please.",
        "How often does {b} go into {a}?",
        "{a} divided by {b}?",
    ],
    signs: &["{a} / {b}", "What is {a} / {b}?", "{a} / {b} = ?", "{a}/{b}", "{a} : {b}"],
};

/// What is answered: `3 + 4 = 7.`, or `Three plus four is seven.`
fn answer(o: &Operation, n: Notation, [a, b, c]: [usize; 3]) -> String {
    match n {
        Notation::Digits => format!("{a} {} {b} = {c}.", o.sign),
        Notation::Words => capital(&format!("{} {} {} is {}.", words(a), o.word, words(b), words(c))),
    }
}

fn asked(r: &mut Random, o: &Operation, n: Notation, a: usize, b: usize) -> String {
    let forms = if n == Notation::Digits && r.chance(50) { o.signs } else { o.asks };
    capital(&fill(r, forms, &[("a", &n.write(a)), ("b", &n.write(b))]))
}

fn key(o: &Operation, n: Notation, a: usize, b: usize) -> String {
    format!("{a} {} {b} in {}", o.sign, n.name())
}

fn question(r: &mut Random, o: &Operation, [a, b, c]: [usize; 3]) -> Exchange {
    let n = Notation::draw(r);
    let mut e = Exchange::of(asked(r, o, n, a, b), vec![answer(o, n, [a, b, c])]);
    e.short = Some(capital(&n.write(c)));
    e.keys = vec![key(o, n, a, b)];
    e
}

pub(super) fn small_sum(r: &mut Random) -> Exchange {
    let c = r.below(21);
    let a = r.below(c + 1);
    question(r, &PLUS, [a, c - a, c])
}

pub(super) fn small_difference(r: &mut Random) -> Exchange {
    let a = r.below(21);
    let b = r.below(a + 1);
    question(r, &MINUS, [a, b, a - b])
}

/// Tens and tens, a two-digit number and tens or ones.
fn large(r: &mut Random) -> [usize; 3] {
    loop {
        let (a, b) = match r.below(3) {
            0 => (10 * (1 + r.below(9)), 10 * (1 + r.below(9))),
            1 => (11 + r.below(89), 10 * (1 + r.below(8))),
            _ => (20 + r.below(80), 1 + r.below(9)),
        };
        if a + b <= 100 {
            return [a, b, a + b];
        }
    }
}

pub(super) fn large_sum(r: &mut Random) -> Exchange {
    let sum = large(r);
    question(r, &PLUS, sum)
}

pub(super) fn large_difference(r: &mut Random) -> Exchange {
    let [a, b, c] = large(r);
    question(r, &MINUS, [c, b, a])
}

pub(super) fn product(r: &mut Random) -> Exchange {
    let (a, b) = (r.below(11), r.below(11));
    question(r, &TIMES, [a, b, a * b])
}

pub(super) fn quotient(r: &mut Random) -> Exchange {
    let (b, c) = (1 + r.below(10), r.below(11));
    question(r, &DIVIDED, [b * c, b, c])
}

/// A row of the multiplication table, without what it comes from: `7, 14, 21`.
pub(super) fn table(r: &mut Random) -> Exchange {
    let (n, of) = (Notation::draw(r), 2 + r.below(9));
    let all: Vec<String> = (1..=10).map(|i| n.write(i * of)).collect();
    let forms = [
        "What is the table of {n}?",
        "Tell me the table of {n}.",
        "Say the multiplication table of {n}.",
        "Can you say the table of {n}?",
        "What are the first ten multiples of {n}?",
    ];
    let q = fill(r, &forms, &[("n", &n.write(of))]);
    Exchange::of(q, vec![capital(&format!("{}.", all.join(", ")))])
}

/// A number in digits is asked for in words, or the other way round.
pub(super) fn written(r: &mut Random) -> Exchange {
    let x = r.below(101);
    let (digits, word) = (x.to_string(), words(x));
    let (forms, from, to, name): (&[&str], _, _, _) = if r.chance(50) {
        (
            &["How do you write {n} in words?", "Write {n} in words.", "What is {n} in words?"],
            digits,
            word,
            "words",
        )
    } else {
        (
            &["How do you write {n} in digits?", "Write {n} in digits.", "What is {n} in digits?"],
            word,
            digits,
            "digits",
        )
    };
    let mut e = Exchange::of(fill(r, forms, &[("n", &from)]), vec![capital(&format!("{from} is {to}."))]);
    e.short = Some(capital(&to));
    e.keys = vec![format!("{x} written in {name}")];
    e
}

/// Any two numbers with a sum below 200: practised, not promised.
pub(super) fn any(r: &mut Random) -> Exchange {
    let (a, b) = (10 + r.below(90), 10 + r.below(90));
    let mut e = question(r, &PLUS, [a, b, a + b]);
    e.accepted.clear();
    e
}

pub(super) fn double_or_half(r: &mut Random) -> Exchange {
    let (x, n) = (r.below(21), Notation::draw(r));
    let (what, from, to) = if r.chance(50) { ("double", x, 2 * x) } else { ("half", 2 * x, x) };
    let q = fill(
        r,
        &["What is {what} of {n}?", "How much is {what} of {n}?", "Tell me {what} of {n}.", "{what} of {n}?"],
        &[("what", if what == "half" { "half" } else { "the double" }), ("n", &n.write(from))],
    );
    let a = if what == "half" {
        format!("Half of {} is {}.", n.write(from), n.write(to))
    } else {
        format!("The double of {} is {}.", n.write(from), n.write(to))
    };
    let mut e = Exchange::of(capital(&q), vec![a]);
    e.keys = vec![format!("{what} {from} {}", n.name())];
    e
}

const COUNTED: [&str; 12] = [
    "apples", "books", "balls", "stamps", "cookies", "pencils", "flowers", "eggs", "cards", "shells",
    "stones", "stars",
];

pub(super) fn story(r: &mut Random) -> Exchange {
    let (name, what, n) = (r.pick(&NAMES), r.pick(&COUNTED), Notation::draw(r));
    let c = 2 + r.below(19);
    let a = 1 + r.below(c - 1);
    let b = c - a;
    let plus = r.chance(50);
    let (from, by, to) = if plus { (a, b, c) } else { (c, b, a) };
    let forms: &[&str] = if plus {
        &[
            "{name} has {a} {what} and gets {b} more. How many {what} does {name} have now?",
            "{name} has {a} {what}. A friend gives {name} {b} more. How many are there now?",
            "There are {a} {what} on the table. {name} puts {b} more there. How many are there?",
            "{name} found {a} {what} in the morning and {b} in the evening. How many in all?",
        ]
    } else {
        &[
            "{name} has {a} {what} and loses {b}. How many {what} does {name} have now?",
            "{name} has {a} {what} and gives {b} away. How many are left?",
            "There are {a} {what} on the table. {name} takes {b} away. How many are left?",
        ]
    };
    let (from_text, by_text, to_text) = (n.write(from), n.write(by), n.write(to));
    let q = fill(r, forms, &[("name", name), ("what", what), ("a", &from_text), ("b", &by_text)]);
    let what = if to == 1 { what.trim_end_matches('s') } else { what };
    let operation = if plus { &PLUS } else { &MINUS };
    let sum = answer(operation, n, [from, by, to]);
    let mut e = Exchange::of(capital(&q), vec![format!("{} {} {what}.", sum, capital(&to_text))]);
    e.short = Some(capital(&to_text));
    // The answer says the sum, too.
    let sum = key(operation, n, from, by);
    e.keys = vec![sum.clone(), format!("{sum} in a story")];
    e
}

/// A sum, and then more is added to its result or taken away.
pub(super) fn go_on(r: &mut Random) -> Exchange {
    let n = Notation::draw(r);
    let c = r.below(13);
    let a = r.below(c + 1);
    let d = 1 + r.below(8);
    let plus = d > c || r.chance(60);
    let (o, then) = if plus { (&PLUS, c + d) } else { (&MINUS, c - d) };
    let first = asked(r, &PLUS, n, a, c - a);
    let forms: &[&str] = if plus {
        &[
            "And plus {d}?",
            "And {d} more?",
            "Now add {d}.",
            "Plus {d}?",
            "And if you add {d}?",
            "Add {d} to that.",
        ]
    } else {
        &["And minus {d}?", "And {d} less?", "Now take away {d}.", "Minus {d}?", "And if you take {d} away?"]
    };
    let second = fill(r, forms, &[("d", &n.write(d))]);
    let last = answer(o, n, [c, d, then]);
    Exchange {
        turns: vec![first, answer(&PLUS, n, [a, c - a, c]), second, last.clone()],
        keys: vec![key(&PLUS, n, a, c - a), key(o, n, c, d), format!("{} after {a}", key(o, n, c, d))],
        common: vec![false; 2],
        accepted: vec![last],
        ..Exchange::default()
    }
}

/// A sum, and then another.
pub(super) fn another(r: &mut Random) -> Exchange {
    let n = Notation::draw(r);
    let mut draw = || {
        let c = r.below(21);
        [r.below(c + 1), c]
    };
    let ([a, c], [d, f]) = (draw(), draw());
    let first = asked(r, &PLUS, n, a, c - a);
    let forms =
        ["And {a} plus {b}?", "What about {a} plus {b}?", "And {a} and {b}?", "Now {a} plus {b}, please."];
    let second = fill(r, &forms, &[("a", &n.write(d)), ("b", &n.write(f - d))]);
    let last = answer(&PLUS, n, [d, f - d, f]);
    Exchange {
        turns: vec![first, answer(&PLUS, n, [a, c - a, c]), second, last.clone()],
        keys: vec![key(&PLUS, n, a, c - a), key(&PLUS, n, d, f - d)],
        common: vec![false; 2],
        accepted: vec![last],
        ..Exchange::default()
    }
}

fn chinese_question(r: &mut Random, plus: bool, [a, b, c]: [usize; 3]) -> Exchange {
    let (write, name) = chinese_writer(r);
    let forms: &[&str] = if plus {
        &[
            "{a}加{b}等于几？",
            "{a}加{b}是多少？",
            "{a}和{b}加起来是多少？",
            "请算一下{a}加{b}。",
            "{a}加上{b}得几？",
        ]
    } else {
        &[
            "{a}减{b}等于几？",
            "{a}减{b}是多少？",
            "{a}减去{b}还剩多少？",
            "请算一下{a}减{b}。",
            "从{a}里拿走{b}，还剩几？",
        ]
    };
    let (sign, word) = if plus { ("+", "加") } else { ("-", "减") };
    let q = fill(r, forms, &[("a", &write(a)), ("b", &write(b))]);
    let mut e = Exchange::of(q, vec![format!("{}{word}{}等于{}。", write(a), write(b), write(c))]);
    e.short = Some(write(c));
    e.keys = vec![format!("{a} {sign} {b} in {name}")];
    e
}

pub(super) fn chinese(r: &mut Random) -> Exchange {
    let c = r.below(21);
    let a = r.below(c + 1);
    if r.chance(60) {
        chinese_question(r, true, [a, c - a, c])
    } else {
        chinese_question(r, false, [c, a, c - a])
    }
}

/// How numbers are written in a Chinese question.
fn chinese_writer(r: &mut Random) -> (fn(usize) -> String, &'static str) {
    if r.chance(40) { (|n| n.to_string(), "chinese digits") } else { (chinese_words, "chinese") }
}

pub(super) fn chinese_product(r: &mut Random) -> Exchange {
    let (a, b) = (1 + r.below(10), 1 + r.below(10));
    let (w, name) = chinese_writer(r);
    let forms = ["{a}乘{b}等于几？", "{a}乘以{b}是多少？", "{a}乘{b}得多少？", "请算一下{a}乘{b}。"];
    let q = fill(r, &forms, &[("a", &w(a)), ("b", &w(b))]);
    let mut e = Exchange::of(q, vec![format!("{}乘{}等于{}。", w(a), w(b), w(a * b))]);
    e.short = Some(w(a * b));
    e.keys = vec![format!("{a} * {b} in {name}")];
    e
}

/// A number in digits is asked for in Chinese numerals, or the other way round.
pub(super) fn chinese_written(r: &mut Random) -> Exchange {
    let x = r.below(101);
    let (digits, word) = (x.to_string(), chinese_words(x));
    let (forms, from, to, name): (&[&str], _, _, _) = if r.chance(50) {
        (&["{n}用汉字怎么写？", "请用汉字写{n}。", "{n}的汉字是什么？"], digits, word, "chinese")
    } else {
        (&["{n}用数字怎么写？", "请用数字写{n}。", "{n}是哪个数字？"], word, digits, "digits from chinese")
    };
    let mut e = Exchange::of(fill(r, forms, &[("n", &from)]), vec![format!("{from}写作{to}。")]);
    e.short = Some(to);
    e.keys = vec![format!("{x} written in {name}")];
    e
}

pub(super) fn chinese_go_on(r: &mut Random) -> Exchange {
    let c = 1 + r.below(12);
    let a = r.below(c + 1);
    let d = 1 + r.below(8);
    let w = chinese_words;
    let first = fill(r, &["{a}加{b}等于几？", "{a}加{b}是多少？"], &[("a", &w(a)), ("b", &w(c - a))]);
    let second = fill(r, &["再加{d}呢？", "再加{d}等于几？", "再加上{d}是多少？"], &[("d", &w(d))]);
    let last = set("{c}加{d}等于{e}。", &[("c", &w(c)), ("d", &w(d)), ("e", &w(c + d))]);
    Exchange {
        turns: vec![first, format!("{}加{}等于{}。", w(a), w(c - a), w(c)), second, last.clone()],
        keys: vec![
            format!("{a} + {} in chinese", c - a),
            format!("{c} + {d} in chinese"),
            format!("{c} + {d} in chinese after {a}"),
        ],
        common: vec![false; 2],
        accepted: vec![last],
        ..Exchange::default()
    }
}

/// Sentences that tell what belongs together, each with its key: two numbers, their sum or product, and the way back.
pub(super) fn family(r: &mut Random, chinese: bool) -> Vec<(String, String)> {
    let (times, n, (write, name)) = (r.chance(50), Notation::draw(r), chinese_writer(r));
    let (a, b) = if times {
        (1 + r.below(10), 1 + r.below(10))
    } else {
        let c = r.below(21);
        let a = r.below(c + 1);
        (a, c - a)
    };
    let (there, back, c) = if times { (&TIMES, &DIVIDED, a * b) } else { (&PLUS, &MINUS, a + b) };
    let all = [(there, [a, b, c]), (there, [b, a, c]), (back, [c, a, b]), (back, [c, b, a])];
    let told = |(o, [a, b, c]): (&Operation, [usize; 3])| {
        if !chinese {
            return (answer(o, n, [a, b, c]), key(o, n, a, b));
        }
        let word = match o.sign {
            "+" => "加",
            "-" => "减",
            "*" => "乘",
            _ => "除以",
        };
        let text = format!("{}{word}{}等于{}。", write(a), write(b), write(c));
        (text, format!("{a} {} {b} in {name}", o.sign))
    };
    let mut sentences: Vec<_> = all.map(told).into();
    // Of two equal numbers there are two.
    sentences.dedup();
    sentences
}

/// Sentences that tell a sum, or a family of them, each with its key.
pub(super) fn told(r: &mut Random, chinese: bool) -> Vec<(String, String)> {
    if r.chance(40) {
        return family(r, chinese);
    }
    let e = match r.below(7) {
        _ if chinese && r.chance(40) => chinese_product(r),
        _ if chinese => self::chinese(r),
        0 => small_sum(r),
        1 => small_difference(r),
        2 => large_sum(r),
        3 => large_difference(r),
        4 => product(r),
        5 => quotient(r),
        _ => double_or_half(r),
    };
    vec![(e.accepted[0].clone(), e.keys[0].clone())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a sentence like `3 + 4 = 7.` or `3加4等于7。` is right; nothing if its numbers are no digits.
    fn is_right(said: &str) -> Option<bool> {
        let plain = [("加", " + "), ("减", " - "), ("乘", " * "), ("除以", " / "), ("等于", " = ")]
            .into_iter()
            .fold(said.to_owned(), |s, (from, to)| s.replace(from, to));
        let words: Vec<&str> = plain.trim_end_matches(['.', '。']).split(' ').collect();
        let [a, sign, b, "=", c] = words[..] else { return None };
        let [a, b, c] = [a.parse::<i64>().ok()?, b.parse().ok()?, c.parse().ok()?];
        let right = match sign {
            "+" => a + b == c,
            "-" => a - b == c,
            "*" => a * b == c,
            _ => b * c == a,
        };
        Some(right)
    }

    #[test]
    fn sums_are_right() {
        assert_eq!((is_right("3 + 4 = 8."), is_right("6除以3等于2。")), (Some(false), Some(true)));
        let makers = [
            small_sum,
            small_difference,
            large_sum,
            large_difference,
            product,
            quotient,
            any,
            chinese,
            chinese_product,
        ];
        let mut checked = 0;
        for seed in 0..4000 {
            let mut r = Random::new(seed, 1);
            let mut said = vec![makers[seed as usize % makers.len()](&mut r).turns[1].clone()];
            said.extend(family(&mut r, seed % 2 == 0).into_iter().map(|(text, _)| text));
            for text in said {
                assert_ne!(is_right(&text), Some(false), "{text}");
                checked += usize::from(is_right(&text).is_some());
            }
        }
        assert!(checked > 8000, "{checked}");
    }

    #[test]
    fn a_number_is_written_in_the_other_notation() {
        for seed in 0..400 {
            let mut r = Random::new(seed, 1);
            let (english, chinese) = (written(&mut r), chinese_written(&mut r));
            let (from, to) = english.accepted[0].trim_end_matches('.').split_once(" is ").unwrap();
            let x = from.parse().or_else(|_| to.parse()).unwrap();
            let both = [words(x), x.to_string()];
            assert!(both.contains(&from.to_lowercase()) && both.contains(&to.to_owned()) && from != to);
            let (from, to) = chinese.accepted[0].trim_end_matches('。').split_once("写作").unwrap();
            let x = from.parse().or_else(|_| to.parse()).unwrap();
            let both = [chinese_words(x), x.to_string()];
            assert!(both.contains(&from.to_owned()) && both.contains(&to.to_owned()) && from != to);
        }
    }
}
