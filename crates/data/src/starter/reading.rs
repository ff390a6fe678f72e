//! Short texts and questions about them: the answer stands in the text.

use super::book::Exchange;
use super::grammar::{article, capital};
use super::made::{fill, set};
use super::memory::anybody;
use super::{chinese_stories, stories};
use crate::random::Random;

const PLACES: [&str; 14] = [
    "the park",
    "the garden",
    "the forest",
    "the library",
    "the market",
    "the beach",
    "the school",
    "the kitchen",
    "the station",
    "the farm",
    "the museum",
    "the river",
    "the bakery",
    "the playground",
];
const THINGS: [&str; 16] = [
    "ball", "kite", "hat", "boat", "book", "key", "basket", "lamp", "drum", "bell", "map", "letter", "cup",
    "scarf", "coin", "ring",
];
const COLOURS: [&str; 9] = ["red", "blue", "green", "yellow", "black", "white", "brown", "pink", "grey"];
const ANIMALS: [&str; 14] = [
    "dog", "cat", "rabbit", "fox", "bear", "bird", "frog", "mouse", "horse", "duck", "goat", "sheep", "owl",
    "hedgehog",
];
const MOODS: [&str; 8] = ["happy", "sad", "tired", "proud", "angry", "hungry", "surprised", "glad"];
const WEATHER: [&str; 7] = ["sunny", "rainy", "windy", "cold", "warm", "snowy", "foggy"];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A text with what can be asked about it.
struct Tale {
    text: String,
    /// Ways to ask, and the answer.
    questions: Vec<(&'static [&'static str], String)>,
    values: Vec<(&'static str, String)>,
}

impl Tale {
    fn new(r: &mut Random) -> Tale {
        let name = anybody(r);
        let friend = loop {
            let f = anybody(r);
            if f != name {
                break f;
            }
        };
        let values: Vec<(&str, String)> = vec![
            ("name", name),
            ("friend", friend),
            ("place", r.pick(&PLACES).into()),
            ("thing", r.pick(&THINGS).into()),
            ("colour", r.pick(&COLOURS).into()),
            ("animal", r.pick(&ANIMALS).into()),
            ("mood", r.pick(&MOODS).into()),
            ("weather", r.pick(&WEATHER).into()),
            ("day", r.pick(&DAYS).into()),
        ];
        let animal = article(&values[5].1);
        let v = |form: &str| {
            let pairs: Vec<(&str, &str)> = values.iter().map(|(n, v)| (*n, v.as_str())).collect();
            set(&form.replace("{a animal}", &animal), &pairs)
        };
        let who: (&[&str], _) = (
            &["Who is the {story} about?", "Who is in the {story}?", "What is the name of the child?"],
            v("The {story} is about {name}."),
        );
        let place: (&[&str], _) = (
            &["Where did {name} go?", "Which place did {name} go to?", "Where was {name}?"],
            v("{name} went to {place}."),
        );
        let found: (&[&str], _) = (
            &["What did {name} find?", "What did {name} find there?"],
            v("{name} found a {colour} {thing}."),
        );
        let colour: (&[&str], _) = (
            &["What colour was the {thing}?", "Which colour did the {thing} have?"],
            v("The {thing} was {colour}."),
        );
        let met: (&[&str], _) =
            (&["Which animal did {name} meet?", "What animal did {name} see?"], v("{name} met {a animal}."));
        let mood: (&[&str], _) = (
            &["How did {name} feel?", "How was {name} in the end?", "How did {name} feel in the end?"],
            v("{name} was {mood}."),
        );
        let weather: (&[&str], _) =
            (&["How was the weather?", "What was the weather like?"], v("It was {weather}."));
        let day: (&[&str], _) =
            (&["When was that?", "On which day was that?", "Which day was it?"], v("It was on {day}."));
        let gave: (&[&str], _) = (
            &["Who gave {name} the {thing}?", "From whom did {name} get the {thing}?"],
            v("{friend} gave {name} the {thing}."),
        );
        let got: (&[&str], _) = (
            &["What did {name} get?", "What did {friend} give to {name}?"],
            v("{name} got a {colour} {thing}."),
        );
        let lost: (&[&str], _) =
            (&["What did {name} lose?", "What was lost?"], v("{name} lost a {colour} {thing}."));
        let finder: (&[&str], _) =
            (&["Who found the {thing}?", "Who found it?"], v("{friend} found the {thing}."));
        let (text, questions) = match r.below(6) {
            0 => (
                "On {day} {name} went to {place}. It was {weather}. There {name} found a {colour} {thing} and was {mood}.",
                vec![place, found, colour, mood, weather, day, who],
            ),
            1 => (
                "{name} went to {place}. There {name} met {a animal}. It was {weather}, and {name} was {mood}.",
                vec![place, met, mood, weather, who],
            ),
            2 => (
                "{friend} gave {name} a {colour} {thing}. {name} was {mood} and took it to {place}.",
                vec![gave, got, colour, mood],
            ),
            3 => (
                "{name} lost a {colour} {thing}. {friend} looked for it at {place} and found it. {name} was {mood}.",
                vec![lost, finder, colour, mood],
            ),
            4 => (
                "It was {weather}. {name} and {friend} went to {place}. {name} met {a animal}, and {friend} laughed.",
                vec![place, met, weather],
            ),
            _ => (
                "Once upon a time there was a child called {name}. One {weather} day {name} went to {place} and met {a animal}. The {animal} had a {colour} {thing}. In the end {name} was {mood}.",
                vec![place, met, colour, mood, who],
            ),
        };
        let text = v(text);
        Tale { text, questions, values }
    }

    /// A question and its answer; `story` is what the text is called.
    fn question(&self, r: &mut Random, at: usize, story: &str) -> (String, String) {
        let (forms, answer) = &self.questions[at % self.questions.len()];
        let mut values: Vec<(&str, &str)> = self.values.iter().map(|(n, v)| (*n, v.as_str())).collect();
        values.push(("story", story));
        (fill(r, forms, &values), set(answer, &[("story", story)]))
    }
}

/// A text in the question.
pub(super) fn given(r: &mut Random) -> Exchange {
    let (tale, at) = (Tale::new(r), r.below(7));
    let (q, a) = tale.question(r, at, "text");
    let forms =
        ["{t} {q}", "Read this: {t} {q}", "{q} {t}", "Here is a text: {t} {q}", "Text: {t} Question: {q}"];
    Exchange::of(fill(r, &forms, &[("t", &tale.text), ("q", &q)]), vec![a])
}

/// Two questions about one text.
pub(super) fn given_twice(r: &mut Random) -> Exchange {
    let (tale, at) = (Tale::new(r), r.below(7));
    let (q, a) = tale.question(r, at, "text");
    let first = fill(r, &["{t} {q}", "Read this: {t} {q}"], &[("t", &tale.text), ("q", &q)]);
    let (q, last) = tale.question(r, at + 1, "text");
    Exchange {
        turns: vec![first, a, q, last.clone()],
        common: vec![false; 2],
        accepted: vec![last],
        ..Exchange::default()
    }
}

const ASK_STORY: [&str; 10] = [
    "Tell me a story.",
    "Can you tell me a story?",
    "I want to hear a story.",
    "Please tell me a short story.",
    "Do you know a story?",
    "A story, please!",
    "Tell me a little story.",
    "Would you tell me a story?",
    "I would like a story.",
    "Tell me another story.",
];

/// The model tells the text, and is asked about it.
pub(super) fn told(r: &mut Random) -> Exchange {
    let (tale, at) = (Tale::new(r), r.below(7));
    let mut turns = vec![r.pick(&ASK_STORY).to_owned(), tale.text.clone()];
    let mut last = String::new();
    for i in 0..1 + r.below(2) {
        let (q, a) = tale.question(r, at + i, "story");
        last.clone_from(&a);
        turns.extend([q, a]);
    }
    // The story is the model's own, so the questions alone do not say what is asked.
    let keys = vec![turns[1..turns.len() - 1].join(" ")];
    Exchange { common: vec![true; turns.len() / 2], keys, turns, accepted: vec![last], ..Exchange::default() }
}

/// A longer story.
pub(super) fn story(r: &mut Random) -> Exchange {
    let (q, a) = if r.chance(70) {
        (r.pick(&ASK_STORY).to_owned(), if r.chance(50) { Tale::new(r).text } else { stories::short(r) })
    } else {
        let animal = r.pick(&ANIMALS);
        let forms = [
            "Tell me a story about {a}.",
            "Can you tell me a story about {a}?",
            "Do you know a story about {a}?",
        ];
        let q = fill(r, &forms, &[("a", &article(animal))]);
        let name = anybody(r);
        let values = [
            ("n", name.as_str()),
            ("x", animal),
            ("p", r.pick(&PLACES)),
            ("t", r.pick(&THINGS)),
            ("m", r.pick(&MOODS)),
        ];
        let forms = [
            "Once upon a time there was a {x} that lived near {p}. One day it found a {t}. {n} came and asked for it, and the {x} gave it back. Both were {m}.",
            "There was once a little {x} that was always {m}. It met {n} at {p}, and they played with a {t} all day. From then on they were friends.",
            "{n} had a {x}. Every morning they went to {p}. One day the {x} hid a {t}, and {n} had to look for it. In the evening both were {m}.",
        ];
        (q, fill(r, &forms, &values).replace("a owl", "an owl"))
    };
    let mut e = Exchange::of(q, vec![a]);
    (e.common, e.accepted) = (vec![true], Vec::new());
    e
}

/// Two people compared: who is the other one?
pub(super) fn compared(r: &mut Random) -> Exchange {
    const PAIRS: [(&str, &str); 6] = [
        ("taller", "smaller"),
        ("older", "younger"),
        ("faster", "slower"),
        ("stronger", "weaker"),
        ("richer", "poorer"),
        ("louder", "quieter"),
    ];
    let (a, b) = (anybody(r), anybody(r));
    let (more, less) = PAIRS[r.below(PAIRS.len())];
    let (said, other) = if r.chance(50) { (more, less) } else { (less, more) };
    let (asked, who) = if r.chance(50) { (said, &a) } else { (other, &b) };
    let values = [("a", a.as_str()), ("b", b.as_str()), ("said", said), ("asked", asked)];
    let q = fill(
        r,
        &["{a} is {said} than {b}. Who is {asked}?", "{a} is {said} than {b}. Which of them is {asked}?"],
        &values,
    );
    let mut e = Exchange::of(q, vec![format!("{who} is {asked}.")]);
    e.short = Some(who.clone());
    e
}

pub(super) fn chinese_story(r: &mut Random) -> Exchange {
    let forms = [
        "给我讲个故事吧。",
        "讲一个故事。",
        "你会讲故事吗？",
        "我想听故事。",
        "请讲个小故事。",
        "再讲一个故事吧。",
    ];
    let mut e = Exchange::of(r.pick(&forms), vec![chinese_stories::story(r)]);
    (e.common, e.accepted) = (vec![true], Vec::new());
    e
}

/// A Chinese text with two things to ask about it.
fn chinese_tale(r: &mut Random) -> (String, [(String, String); 3]) {
    let (name, place, thing, animal) = chinese_stories::draw(r);
    let colour = r.pick(&["红色", "蓝色", "绿色", "黄色", "白色", "黑色"]);
    let text = match r.below(3) {
        0 => format!("{name}去了{place}。在那里，{name}找到了一个{colour}的{thing}，还看见了一只{animal}。"),
        1 => format!("有一天，{name}在{place}看见了一只{animal}。{animal}有一个{colour}的{thing}。"),
        _ => format!("{name}带着一只{animal}去{place}玩。他们找到了一个{colour}的{thing}，非常高兴。"),
    };
    let questions = [
        (r.pick(&["{n}去了哪里？", "{n}在哪里？"]).replace("{n}", name), format!("{name}在{place}。")),
        (
            r.pick(&["{n}看见了什么动物？", "那里有什么动物？"]).replace("{n}", name),
            format!("一只{animal}。"),
        ),
        (
            r.pick(&["{t}是什么颜色的？", "那个{t}是什么颜色？"]).replace("{t}", thing),
            format!("{thing}是{colour}的。"),
        ),
    ];
    (text, questions)
}

pub(super) fn chinese_given(r: &mut Random) -> Exchange {
    let (text, questions) = chinese_tale(r);
    let (q, a) = &questions[r.below(3)];
    Exchange::of(
        fill(r, &["{t}{q}", "请读：{t}{q}", "{t}请问，{q}"], &[("t", &text), ("q", q)]),
        vec![a.clone()],
    )
}

pub(super) fn chinese_told(r: &mut Random) -> Exchange {
    let (text, questions) = chinese_tale(r);
    let (q, a) = questions[r.below(3)].clone();
    let ask = r.pick(&["给我讲个故事吧。", "讲一个故事。", "我想听故事。"]).to_owned();
    let keys = vec![format!("{text} {q}")];
    Exchange {
        turns: vec![ask, text, q, a.clone()],
        common: vec![true; 2],
        keys,
        accepted: vec![a],
        ..Exchange::default()
    }
}

/// A text with a question and its answer in prose, for reading.
pub(super) fn prose(r: &mut Random) -> String {
    let (tale, at) = (Tale::new(r), r.below(7));
    let (q, a) = tale.question(r, at, "story");
    format!("{} \"{q}\" asked the teacher. \"{}\"", tale.text, capital(&a))
}
