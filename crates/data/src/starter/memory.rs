//! What was told earlier in the conversation, and is asked for later. Half of the names are such as nobody has: what is learned is to look
//! back, not to know.

use super::book::Exchange;
use super::made::{fill, fill_all, invented, set};
use super::stories::NAMES;
use crate::random::Random;

/// A name from the list, or one that nobody has.
pub(super) fn anybody(r: &mut Random) -> String {
    if r.chance(55) { r.pick(&NAMES).to_owned() } else { invented(r) }
}

/// Two exchanges, between which the conversation may go elsewhere.
fn later(r: &mut Random, tell: String, reply: String, ask: &[&str], answers: Vec<String>) -> Exchange {
    let ask = r.pick(ask).to_owned();
    let said = answers[r.below(answers.len())].clone();
    Exchange {
        turns: vec![tell, reply, ask, said],
        common: vec![false; 2],
        accepted: answers,
        pause: 2,
        ..Exchange::default()
    }
}

const TELL_NAME: [&str; 8] = [
    "My name is {x}.",
    "I am {x}.",
    "I'm {x}.",
    "You can call me {x}.",
    "Hi, I am {x}!",
    "Hello, my name is {x}.",
    "They call me {x}.",
    "Hey, {x} here!",
];
const MEET: [&str; 3] = [
    "Hello {x}! Nice to meet you.",
    "Hi {x}! How are you today?",
    "Nice to meet you, {x}! What shall we talk about?",
];
const ASK_NAME: [&str; 10] = [
    "What is my name?",
    "What's my name?",
    "Do you remember my name?",
    "Who am I?",
    "What did I say my name was?",
    "What was my name?",
    "Do you know my name?",
    "How am I called?",
    "Can you tell me my name?",
    "What is my name again?",
];
const NAME_IS: [&str; 2] = ["Your name is {x}.", "You are {x}."];

pub(super) fn name(r: &mut Random) -> Exchange {
    let name = anybody(r);
    let x = [("x", name.as_str())];
    let (tell, reply) = (fill(r, &TELL_NAME, &x), fill(r, &MEET, &x));
    later(r, tell, reply, &ASK_NAME, fill_all(&NAME_IS, &x))
}

/// The first name was wrong.
pub(super) fn corrected(r: &mut Random) -> Exchange {
    let (wrong, right) = (anybody(r), anybody(r));
    let x = [("x", right.as_str())];
    let tell = fill(r, &TELL_NAME, &[("x", &wrong)]);
    let reply = fill(r, &MEET, &[("x", &wrong)]);
    let forms =
        ["No, my name is {x}.", "Sorry, I am {x}.", "I was joking, my name is {x}.", "My real name is {x}."];
    let correct = fill(r, &forms, &x);
    let answers = fill_all(&NAME_IS, &x);
    let (ask, said) = (r.pick(&ASK_NAME).to_owned(), answers[r.below(2)].clone());
    Exchange {
        turns: vec![tell, reply, correct, set("Thank you! Then you are {x}.", &x), ask, said],
        common: vec![false; 3],
        accepted: answers,
        pause: 4,
        ..Exchange::default()
    }
}

/// Something that a person tells of themselves: ways to tell, a reply, ways to ask, the answer, and what it may be.
struct Fact {
    tell: &'static [&'static str],
    reply: &'static [&'static str],
    ask: &'static [&'static str],
    answer: &'static str,
    values: &'static [&'static str],
}

const COLOURS: [&str; 10] =
    ["red", "blue", "green", "yellow", "black", "white", "orange", "pink", "purple", "brown"];
const FOODS: [&str; 16] = [
    "pizza",
    "soup",
    "rice",
    "noodles",
    "cheese",
    "cake",
    "salad",
    "fish",
    "ice cream",
    "chocolate",
    "apples",
    "bananas",
    "pancakes",
    "dumplings",
    "bread",
    "cherries",
];
const ANIMALS: [&str; 16] = [
    "dog", "cat", "horse", "rabbit", "lion", "tiger", "elephant", "owl", "penguin", "fox", "bear", "dolphin",
    "frog", "wolf", "mouse", "giraffe",
];
const CITIES: [&str; 16] = [
    "Paris", "Berlin", "Rome", "Madrid", "Lisbon", "London", "Oslo", "Vienna", "Cairo", "Tokyo", "Beijing",
    "Lima", "Boston", "Sydney", "Shanghai", "Hamburg",
];
const JOBS: [&str; 14] = [
    "teacher",
    "doctor",
    "baker",
    "farmer",
    "cook",
    "nurse",
    "pilot",
    "painter",
    "writer",
    "gardener",
    "carpenter",
    "singer",
    "dentist",
    "student",
];
const HOBBIES: [&str; 12] = [
    "reading",
    "swimming",
    "drawing",
    "singing",
    "dancing",
    "cooking",
    "football",
    "chess",
    "cycling",
    "running",
    "gardening",
    "fishing",
];
const AGES: [&str; 16] =
    ["6", "7", "8", "9", "10", "11", "12", "14", "16", "19", "23", "28", "35", "42", "57", "68"];

const FACTS: [Fact; 9] = [
    Fact {
        tell: &[
            "My favourite colour is {x}.",
            "I like the colour {x} best.",
            "The colour that I like most is {x}.",
        ],
        reply: &["{X} is a beautiful colour!", "I like {x} too!"],
        ask: &[
            "What is my favourite colour?",
            "Which colour do I like best?",
            "Do you remember my favourite colour?",
            "What colour do I like?",
            "What was my favourite colour?",
        ],
        answer: "Your favourite colour is {x}.",
        values: &COLOURS,
    },
    Fact {
        tell: &["My favourite food is {x}.", "I like to eat {x} best.", "The food that I like most is {x}."],
        reply: &[
            "I cannot eat, but {x} must be good! What else do you like?",
            "That sounds tasty! Do you often have {x}?",
        ],
        ask: &[
            "What is my favourite food?",
            "What do I like to eat?",
            "Do you remember my favourite food?",
            "Which food do I like best?",
            "What was my favourite food?",
        ],
        answer: "Your favourite food is {x}.",
        values: &FOODS,
    },
    Fact {
        tell: &[
            "My favourite animal is the {x}.",
            "I like the {x} best of all animals.",
            "The animal that I like most is the {x}.",
        ],
        reply: &["The {x} is an interesting animal!", "I like that animal too!"],
        ask: &[
            "What is my favourite animal?",
            "Which animal do I like best?",
            "Do you remember my favourite animal?",
            "What animal do I like?",
            "What was my favourite animal?",
        ],
        answer: "Your favourite animal is the {x}.",
        values: &ANIMALS,
    },
    Fact {
        tell: &["I live in {x}.", "My home is in {x}.", "I am from {x}.", "I come from {x}."],
        reply: &["{x} must be a nice place!", "How nice! What do you like about {x}?"],
        ask: &[
            "Where do I live?",
            "Where am I from?",
            "Do you remember where I live?",
            "In which city do I live?",
            "Where is my home?",
        ],
        answer: "You live in {x}.",
        values: &CITIES,
    },
    Fact {
        tell: &["I am {x} years old.", "I'm {x} years old.", "My age is {x}."],
        reply: &["That is a good age!", "{x} is a good age!"],
        ask: &[
            "How old am I?",
            "What is my age?",
            "Do you remember how old I am?",
            "Do you know my age?",
            "How old did I say I am?",
        ],
        answer: "You are {x} years old.",
        values: &AGES,
    },
    Fact {
        tell: &["I earn my money as a {x}.", "For a living I am a {x}.", "I work as a {x} in a small town."],
        reply: &["How interesting! Do you like your work?", "That is a good profession!"],
        ask: &[
            "What is my job?",
            "What do I do for a living?",
            "Do you remember my job?",
            "What is my profession?",
            "What do I work as?",
        ],
        answer: "You are a {x}.",
        values: &JOBS,
    },
    Fact {
        tell: &["My hobby is {x}.", "In my free time I like {x}.", "I love {x}."],
        reply: &["That is a nice hobby! How often do you do it?", "How nice! Why do you like {x}?"],
        ask: &[
            "What is my hobby?",
            "What do I like to do?",
            "Do you remember my hobby?",
            "What do I do in my free time?",
            "What was my hobby?",
        ],
        answer: "Your hobby is {x}.",
        values: &HOBBIES,
    },
    Fact {
        tell: &[
            "My best friend is called {x}.",
            "The name of my best friend is {x}.",
            "My best friend is {x}.",
        ],
        reply: &["It is good to have a friend!", "{x} must be very nice!"],
        ask: &[
            "What is the name of my best friend?",
            "Who is my best friend?",
            "How is my best friend called?",
            "Do you remember my friend's name?",
        ],
        answer: "Your best friend is {x}.",
        values: &[],
    },
    Fact {
        tell: &["I have a dog called {x}.", "My dog is called {x}.", "The name of my dog is {x}."],
        reply: &["{x} is a lovely name for a dog!", "How nice! What does {x} like?"],
        ask: &[
            "What is the name of my dog?",
            "How is my dog called?",
            "Do you remember my dog's name?",
            "What is my dog called?",
        ],
        answer: "Your dog is called {x}.",
        values: &[],
    },
];

impl Fact {
    fn value(&self, r: &mut Random) -> String {
        if self.values.is_empty() { anybody(r) } else { r.pick(self.values).to_owned() }
    }

    fn told(&self, r: &mut Random, value: &str) -> [String; 2] {
        let capital = super::grammar::capital(value);
        let values = [("x", value), ("X", capital.as_str())];
        [fill(r, self.tell, &values), fill(r, self.reply, &values)]
    }

    fn answers(&self, value: &str) -> Vec<String> {
        vec![set(self.answer, &[("x", value)])]
    }
}

pub(super) fn fact(r: &mut Random) -> Exchange {
    let f = &FACTS[r.below(FACTS.len())];
    let value = f.value(r);
    let [tell, reply] = f.told(r, &value);
    later(r, tell, reply, f.ask, f.answers(&value))
}

/// Two things are told, and one of them is asked for.
pub(super) fn two(r: &mut Random) -> Exchange {
    let i = r.below(FACTS.len());
    let j = (i + 1 + r.below(FACTS.len() - 1)) % FACTS.len();
    let (first, second) = (&FACTS[i], &FACTS[j]);
    let (a, b) = (first.value(r), second.value(r));
    let mut turns: Vec<String> = first.told(r, &a).into_iter().chain(second.told(r, &b)).collect();
    let (f, value) = if r.chance(60) { (first, a) } else { (second, b) };
    let accepted = f.answers(&value);
    turns.extend([r.pick(f.ask).to_owned(), accepted[0].clone()]);
    Exchange { turns, common: vec![false; 3], accepted, pause: 4, ..Exchange::default() }
}

const BOUGHT: [&str; 16] = [
    "apples", "bread", "milk", "cheese", "eggs", "tea", "rice", "sugar", "bananas", "soap", "a book",
    "a pen", "flowers", "fish", "honey", "a hat",
];

pub(super) fn list(r: &mut Random) -> Exchange {
    let mut all: Vec<&str> = Vec::new();
    while all.len() < 3 {
        let x = r.pick(&BOUGHT);
        if !all.contains(&x) {
            all.push(x);
        }
    }
    let things = format!("{}, {} and {}", all[0], all[1], all[2]);
    let x = [("x", things.as_str())];
    let tell = fill(r, &["Today I bought {x}.", "I went to the market and bought {x}.", "I bought {x}."], &x);
    let reply = r.pick(&["That is a good purchase!", "What will you do with all that?"]).to_owned();
    let ask =
        ["What did I buy?", "What have I bought?", "Do you remember what I bought?", "What did I buy today?"];
    later(r, tell, reply, &ask, vec![set("You bought {x}.", &x)])
}

pub(super) fn just_said(r: &mut Random) -> Exchange {
    let f = &FACTS[r.below(FACTS.len())];
    let value = f.value(r);
    let [tell, reply] = f.told(r, &value);
    let ask =
        ["What did I just say?", "What did I say?", "What were my words?", "Can you repeat what I said?"];
    let mut e = later(r, tell.clone(), reply, &ask, vec![format!("You said: {tell}")]);
    e.pause = 0;
    e
}

pub(super) fn chinese(r: &mut Random) -> Exchange {
    const NAMES: [&str; 14] = [
        "小明", "小红", "小华", "小丽", "小刚", "小雨", "阿宝", "乐乐", "天天", "李明", "王芳", "张伟",
        "陈静", "赵雪",
    ];
    const COLOURS: [&str; 8] = ["红色", "蓝色", "绿色", "黄色", "黑色", "白色", "紫色", "粉色"];
    const ANIMALS: [&str; 10] = ["狗", "猫", "兔子", "马", "熊猫", "大象", "老虎", "猫头鹰", "企鹅", "猴子"];
    const FOODS: [&str; 10] = ["面条", "饺子", "米饭", "苹果", "西瓜", "鱼", "蛋糕", "香蕉", "面包", "汤"];
    const CITIES: [&str; 10] =
        ["北京", "上海", "广州", "杭州", "成都", "东京", "巴黎", "伦敦", "西安", "南京"];
    let (from, tell, reply, ask, answer): (&[&str], &[&str], &[&str], &[&str], &str) = match r.below(5) {
        0 => (
            &NAMES,
            &["我叫{x}。", "我是{x}。", "你好，我叫{x}。", "我的名字是{x}。"],
            &["你好，{x}！很高兴认识你。", "你好，{x}！你今天怎么样？"],
            &["我叫什么？", "我是谁？", "你记得我的名字吗？", "我叫什么名字？"],
            "你叫{x}。",
        ),
        1 => (
            &COLOURS,
            &["我最喜欢的颜色是{x}。", "我最喜欢{x}。"],
            &["{x}很好看！", "我也喜欢{x}。"],
            &["我最喜欢什么颜色？", "你记得我喜欢什么颜色吗？", "我喜欢的颜色是什么？"],
            "你最喜欢{x}。",
        ),
        2 => (
            &ANIMALS,
            &["我最喜欢的动物是{x}。", "动物里我最喜欢{x}。"],
            &["{x}很可爱！", "我也喜欢{x}。"],
            &["我最喜欢什么动物？", "你记得我喜欢什么动物吗？", "我喜欢的动物是什么？"],
            "你最喜欢{x}。",
        ),
        3 => (
            &FOODS,
            &["我最喜欢吃{x}。", "我喜欢的食物是{x}。"],
            &["{x}一定很好吃！可惜我不能吃东西。"],
            &["我喜欢吃什么？", "你记得我喜欢吃什么吗？", "我最喜欢吃什么？"],
            "你喜欢吃{x}。",
        ),
        _ => (
            &CITIES,
            &["我住在{x}。", "我的家在{x}。"],
            &["{x}一定很漂亮！", "你喜欢{x}吗？"],
            &["我住在哪里？", "你记得我住在哪里吗？", "我的家在哪里？"],
            "你住在{x}。",
        ),
    };
    let value = r.pick(from);
    let x = [("x", value)];
    let (tell, reply) = (fill(r, tell, &x), fill(r, reply, &x));
    later(r, tell, reply, ask, vec![set(answer, &x)])
}
