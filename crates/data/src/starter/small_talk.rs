//! English small talk: each topic has many ways to ask and several to answer, and conversations string topics together.

use super::stories::{ANIMALS, NAMES, a, capital, story};
use crate::random::Random;

/// Country, capital, and a word on either.
const COUNTRIES: [(&str, &str); 30] = [
    ("France", "Paris"),
    ("Germany", "Berlin"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Portugal", "Lisbon"),
    ("England", "London"),
    ("Ireland", "Dublin"),
    ("Norway", "Oslo"),
    ("Sweden", "Stockholm"),
    ("Finland", "Helsinki"),
    ("Denmark", "Copenhagen"),
    ("Poland", "Warsaw"),
    ("Austria", "Vienna"),
    ("Greece", "Athens"),
    ("Egypt", "Cairo"),
    ("Kenya", "Nairobi"),
    ("Japan", "Tokyo"),
    ("China", "Beijing"),
    ("India", "New Delhi"),
    ("Thailand", "Bangkok"),
    ("Russia", "Moscow"),
    ("Turkey", "Ankara"),
    ("Canada", "Ottawa"),
    ("Mexico", "Mexico City"),
    ("Peru", "Lima"),
    ("Chile", "Santiago"),
    ("Cuba", "Havana"),
    ("Hungary", "Budapest"),
    ("Iceland", "Reykjavik"),
    ("Belgium", "Brussels"),
];
const COLOURS: [(&str, &str); 22] = [
    ("the sky", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("a lemon", "yellow"),
    ("a tomato", "red"),
    ("coal", "black"),
    ("an orange", "orange"),
    ("the sun", "yellow"),
    ("blood", "red"),
    ("milk", "white"),
    ("a banana", "yellow"),
    ("a strawberry", "red"),
    ("a leaf", "green"),
    ("the sea", "blue"),
    ("an elephant", "grey"),
    ("a frog", "green"),
    ("chocolate", "brown"),
    ("a flamingo", "pink"),
    ("a carrot", "orange"),
    ("a polar bear", "white"),
    ("the night", "black"),
    ("a cucumber", "green"),
];
const SOUNDS: [(&str, &str); 14] = [
    ("dog", "woof"),
    ("cat", "meow"),
    ("cow", "moo"),
    ("duck", "quack"),
    ("sheep", "baa"),
    ("pig", "oink"),
    ("frog", "croak"),
    ("hen", "cluck"),
    ("owl", "hoot"),
    ("mouse", "squeak"),
    ("lion", "roar"),
    ("horse", "neigh"),
    ("bee", "buzz"),
    ("bird", "tweet"),
];
const OPPOSITES: [(&str, &str); 24] = [
    ("big", "small"),
    ("hot", "cold"),
    ("up", "down"),
    ("fast", "slow"),
    ("day", "night"),
    ("happy", "sad"),
    ("old", "young"),
    ("light", "dark"),
    ("open", "closed"),
    ("hard", "soft"),
    ("wet", "dry"),
    ("full", "empty"),
    ("near", "far"),
    ("early", "late"),
    ("good", "bad"),
    ("clean", "dirty"),
    ("strong", "weak"),
    ("long", "short"),
    ("loud", "quiet"),
    ("left", "right"),
    ("rich", "poor"),
    ("heavy", "light"),
    ("first", "last"),
    ("easy", "difficult"),
];
const FOODS: [&str; 24] = [
    "bread",
    "soup",
    "pizza",
    "rice",
    "noodles",
    "apples",
    "cheese",
    "cake",
    "pancakes",
    "salad",
    "fish",
    "ice cream",
    "bananas",
    "chocolate",
    "potatoes",
    "eggs",
    "honey",
    "grapes",
    "carrots",
    "cookies",
    "beans",
    "strawberries",
    "tea",
    "dumplings",
];
const HOBBIES: [&str; 20] = [
    "reading",
    "swimming",
    "drawing",
    "singing",
    "dancing",
    "cooking",
    "football",
    "walking in the forest",
    "painting",
    "playing the piano",
    "riding my bike",
    "gardening",
    "fishing",
    "chess",
    "taking photos",
    "climbing",
    "knitting",
    "writing stories",
    "watching films",
    "listening to music",
];
const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];
const MEANINGS: [(&str, &str); 18] = [
    ("a library", "a place where you can read and borrow books"),
    ("a doctor", "a person who helps people who are ill"),
    ("a baker", "a person who makes bread and cakes"),
    ("a river", "water that flows through the land to the sea"),
    ("a friend", "a person you like and can trust"),
    ("a garden", "a place where flowers and vegetables grow"),
    ("a teacher", "a person who helps others to learn"),
    ("a bridge", "something that lets you walk over water or a road"),
    ("a clock", "a thing that shows the time"),
    ("a winter", "the cold season, when it may snow"),
    ("a mountain", "a very high hill"),
    ("a market", "a place where people buy and sell things"),
    ("a computer", "a machine that works with numbers very fast"),
    ("a letter", "a message that is written on paper"),
    ("a token", "a small piece of text, a word or a part of one"),
    ("a farmer", "a person who grows food and keeps animals"),
    ("an island", "land with water all around it"),
    ("a dream", "a story that your head tells you while you sleep"),
];

/// Fills one of some forms in: `{}` is the word.
fn form(r: &mut Random, forms: &[&str], word: &str) -> String {
    r.pick(forms).replace("{}", word)
}

fn greeting(r: &mut Random) -> [String; 2] {
    let hello = [
        "Hi",
        "Hello",
        "Hey",
        "Good morning",
        "Good evening",
        "Hi there",
        "Hello there",
        "Good day",
        "hi",
        "hello",
        "hey",
    ];
    let mut q = r.pick(&hello).to_owned();
    q += r.pick(&["!", ".", "", ", pupil!", "!", " :)"]);
    if r.chance(35) {
        let name = r.pick(&NAMES);
        q += &form(r, &[" I am {}.", " My name is {}.", " I'm {}.", " This is {}."], name);
        let answer = form(
            r,
            &[
                "Hello {}! Nice to meet you.",
                "Hi {}! How are you today?",
                "Good to meet you, {}! What shall we talk about?",
                "Hello {}, how can I help you?",
            ],
            name,
        );
        return [q, answer];
    }
    let answers = [
        "Hello! How are you today?",
        "Hi! What would you like to talk about?",
        "Hello! Nice to see you.",
        "Hey! How can I help you?",
        "Hi there! How is your day going?",
        "Good to see you! How are you?",
    ];
    [q, r.pick(&answers).to_owned()]
}

fn how_are_you(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "How are you?",
        "How are you doing?",
        "How do you do?",
        "How are you today?",
        "how are you",
        "Are you well?",
        "How is it going?",
        "How do you feel?",
        "Is everything fine?",
        "Everything all right with you?",
        "How have you been?",
        "What's up?",
        "How is your day?",
        "Are you okay?",
    ]);
    let a = r.pick(&[
        "I am fine, thank you! And you?",
        "I am doing well, thanks. How about you?",
        "Very well, thank you for asking. How are you?",
        "I feel good today. How are you?",
        "Fine, thank you! I like talking with you.",
    ]);
    [q.to_owned(), a.to_owned()]
}

fn feeling(r: &mut Random) -> [String; 2] {
    if r.chance(50) {
        let good = r.pick(&[
            "happy",
            "good",
            "great",
            "fine",
            "well",
            "excited",
            "very well",
            "wonderful",
            "cheerful",
        ]);
        let q = form(
            r,
            &[
                "I am {}.",
                "I feel {}.",
                "I'm {}, thanks!",
                "I am feeling {} today.",
                "Today I feel {}.",
                "I am {} because it is sunny.",
                "I'm really {}.",
            ],
            good,
        );
        let a = r.pick(&[
            "That is good to hear!",
            "I am glad to hear that!",
            "Wonderful! What makes your day so good?",
            "That makes me happy too!",
            "Great! Enjoy your day.",
        ]);
        [q, a.to_owned()]
    } else {
        let bad = r.pick(&[
            "sad",
            "tired",
            "bored",
            "lonely",
            "angry",
            "ill",
            "worried",
            "not so well",
            "unhappy",
            "a little sad",
            "very tired",
            "afraid",
        ]);
        let q = form(
            r,
            &[
                "I am {}.",
                "I feel {}.",
                "I'm {} today.",
                "I am feeling {}.",
                "Today I am {}.",
                "I feel {} because of school.",
                "I have been {} all day.",
                "I'm so {}.",
            ],
            bad,
        );
        let a = r.pick(&[
            "I am sorry to hear that. Do you want to talk about it?",
            "Oh, I am sorry. What happened?",
            "I am sorry you feel that way. A walk or a good rest may help.",
            "That is not nice. I hope you feel better soon.",
            "I am sorry. Would you like to hear a story?",
        ]);
        [q, a.to_owned()]
    }
}

fn who_are_you(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Who are you?",
        "What are you?",
        "What is your name?",
        "What's your name?",
        "Tell me your name.",
        "Do you have a name?",
        "who are you",
        "May I ask your name?",
        "What should I call you?",
        "Who is this?",
        "Please introduce yourself.",
        "Can you tell me who you are?",
        "How are you called?",
        "Who do I speak with?",
        "What do they call you?",
        "And who are you?",
    ]);
    let a = r.pick(&[
        "I am pupil, a small language model.",
        "My name is pupil. I am a small model that learned to talk on this computer.",
        "I am called pupil. I am a little computer program that likes to talk.",
        "I am pupil, and I learned everything I know from simple texts.",
    ]);
    [q.to_owned(), a.to_owned()]
}

fn about_me(r: &mut Random) -> [String; 2] {
    let (q, a): (&[&str], &[&str]) = match r.below(8) {
        0 => (
            &[
                "Are you a human?",
                "Are you a person?",
                "Are you real?",
                "Are you a robot?",
                "Are you a machine?",
                "Are you alive?",
            ],
            &[
                "No, I am a small computer program. But I like to talk.",
                "I am not a person. I am pupil, a little language model.",
            ],
        ),
        1 => (
            &["How old are you?", "When were you born?", "What is your age?"],
            &["I am very young: I was trained just now.", "I am new. I was made a few minutes ago."],
        ),
        2 => (
            &["Where do you live?", "Where are you?", "Where are you from?", "Where is your home?"],
            &["I live in your computer.", "I am right here, on this computer."],
        ),
        3 => (
            &[
                "How do you work?",
                "How did you learn to talk?",
                "How can you speak?",
                "Who made you?",
                "How were you made?",
            ],
            &[
                "I read many simple texts and learned which word comes next.",
                "I look at the words so far and guess the next one, again and again.",
            ],
        ),
        4 => (
            &["What can you do?", "How can you help me?", "What are you good at?", "What do you know?"],
            &[
                "I can talk about simple things, tell a short story, and name a few capitals.",
                "I can chat a little, tell stories and do small sums.",
            ],
        ),
        5 => (
            &["Are you clever?", "Are you smart?", "Do you know everything?"],
            &[
                "I am only a small model, so I make mistakes.",
                "I know a few things, but not many. I am still small.",
            ],
        ),
        6 => (
            &[
                "Which numbers will win the lottery?",
                "What are the lottery numbers?",
                "Tell me tomorrow's lottery numbers.",
                "Can you predict the lottery?",
            ],
            &[
                "Nobody can know that. Lottery numbers are pure chance.",
                "I cannot predict the lottery, because every number is equally likely.",
            ],
        ),
        _ => (
            &[
                "Do you sleep?",
                "Do you eat?",
                "Do you dream?",
                "Do you have friends?",
                "Do you have a family?",
                "Can you see me?",
            ],
            &["No, I am a program, so I do not.", "I do not, because I am only a program. Do you?"],
        ),
    };
    [r.pick(q).to_owned(), r.pick(a).to_owned()]
}

fn capital_of(r: &mut Random) -> Vec<String> {
    let (country, city) = COUNTRIES[r.below(COUNTRIES.len())];
    let q = form(
        r,
        &[
            "What is the capital of {}?",
            "What's the capital of {}?",
            "Do you know the capital of {}?",
            "Which city is the capital of {}?",
            "Tell me the capital of {}.",
            "Can you name the capital of {}?",
            "capital of {}?",
            "What is the main city of {}?",
            "Please tell me the capital of {}.",
            "I forgot the capital of {}. What is it?",
        ],
        country,
    );
    let answer = |r: &mut Random, country: &str, city: &str| {
        let f = r.pick(&[
            "The capital of {} is [].",
            "It is [].",
            "[] is the capital of {}.",
            "That is [], the capital of {}.",
        ]);
        f.replace("{}", country).replace("[]", city)
    };
    let mut turns = vec![q, answer(r, country, city)];
    if r.chance(30) {
        let (other, town) = COUNTRIES[r.below(COUNTRIES.len())];
        turns.push(form(r, &["And of {}?", "And the capital of {}?", "What about {}?", "And {}?"], other));
        turns.push(answer(r, other, town));
    } else if r.chance(20) {
        turns.push(form(r, &["In which country is {}?", "Where is {}?", "And where is {}?"], city));
        turns.push(format!("{city} is in {country}."));
    }
    turns
}

fn country_of(r: &mut Random) -> [String; 2] {
    let (country, city) = COUNTRIES[r.below(COUNTRIES.len())];
    let q = form(
        r,
        &[
            "Where is {}?",
            "In which country is {}?",
            "Which country is {} in?",
            "Do you know where {} is?",
            "Where can I find {}?",
        ],
        city,
    );
    [
        q,
        form(
            r,
            &[
                &format!("{city} is in {{}}."),
                &format!("It is in {{}}. {city} is its capital."),
                &format!("{city} is the capital of {{}}."),
            ],
            country,
        ),
    ]
}

fn colour_of(r: &mut Random) -> [String; 2] {
    let (thing, colour) = COLOURS[r.below(COLOURS.len())];
    let q = form(
        r,
        &[
            "What colour is {}?",
            "What is the colour of {}?",
            "Which colour does {} have?",
            "Do you know what colour {} is?",
            "What color is {}?",
            "Tell me the colour of {}.",
            "How does {} look, which colour?",
        ],
        thing,
    );
    let subject = capital(thing);
    [
        q,
        r.pick(&["{} is [].", "I think {} is [].", "It is []."])
            .replace("[]", colour)
            .replacen("{} is", &format!("{subject} is"), 1)
            .replace("I think The", "I think the")
            .replace(&format!("I think {subject}"), &format!("I think {thing}")),
    ]
}

fn sum(r: &mut Random) -> [String; 2] {
    let (mut x, mut y) = (r.below(11), r.below(11));
    let plus = r.chance(65);
    if !plus && y > x {
        std::mem::swap(&mut x, &mut y);
    }
    let result = if plus { x + y } else { x - y };
    let words = r.chance(60);
    let show = |n: usize| if words { NUMBERS[n].to_owned() } else { n.to_string() };
    let forms: &[&str] = if plus {
        &[
            "What is {} plus []?",
            "How much is {} plus []?",
            "What is {} and []?",
            "{} plus [] is what?",
            "Can you add {} and []?",
            "{} + [] = ?",
            "How much is {} and [] together?",
            "Please add {} and [].",
        ]
    } else {
        &[
            "What is {} minus []?",
            "How much is {} minus []?",
            "{} minus [] is what?",
            "Can you take [] away from {}?",
            "{} - [] = ?",
        ]
    };
    let q = capital(&r.pick(forms).replace("{}", &show(x)).replace("[]", &show(y)));
    let sign = if plus { "plus" } else { "minus" };
    let full = capital(&format!("{} {sign} {} is {}.", show(x), show(y), show(result)));
    [q, if r.chance(70) { full } else { format!("That is {}.", show(result)) }]
}

fn opposite(r: &mut Random) -> [String; 2] {
    let (mut x, mut y) = OPPOSITES[r.below(OPPOSITES.len())];
    if r.chance(50) && x != "light" && y != "light" {
        std::mem::swap(&mut x, &mut y);
    }
    let q = form(
        r,
        &[
            "What is the opposite of {}?",
            "What's the opposite of {}?",
            "Tell me the opposite of {}.",
            "Which word is the opposite of {}?",
            "The opposite of {}?",
            "Do you know the opposite of {}?",
        ],
        x,
    );
    [q, r.pick(&["The opposite of {} is [].", "It is [].", "That is []."]).replace("{}", x).replace("[]", y)]
}

fn sound(r: &mut Random) -> [String; 2] {
    let (animal, noise) = SOUNDS[r.below(SOUNDS.len())];
    let q = form(
        r,
        &[
            "What does the {} say?",
            "What sound does a {} make?",
            "Which sound does the {} make?",
            "What does a {} say?",
            "How does a {} sound?",
            "What noise does a {} make?",
        ],
        animal,
    );
    [
        q,
        r.pick(&["A {} says []!", "The {} says [].", "It says []!"])
            .replace("{}", animal)
            .replace("[]", noise),
    ]
}

fn meaning(r: &mut Random) -> [String; 2] {
    let (thing, words) = MEANINGS[r.below(MEANINGS.len())];
    let q = form(
        r,
        &[
            "What is {}?",
            "Can you explain what {} is?",
            "What does it mean, {}?",
            "Do you know what {} is?",
            "Tell me what {} is.",
            "Explain {} to me.",
        ],
        thing,
    );
    [q, format!("{} is {words}.", capital(thing))]
}

fn likes(r: &mut Random) -> Vec<String> {
    match r.below(5) {
        0 => {
            let food = r.pick(&FOODS);
            let q = form(
                r,
                &[
                    "Do you like {}?",
                    "I like {}. And you?",
                    "I love {}!",
                    "Would you like some {}?",
                    "I am eating {}.",
                ],
                food,
            );
            let a = form(
                r,
                &[
                    "I cannot eat, but {} sounds good!",
                    "Many people like {}. Do you eat it often?",
                    "I am a program and do not eat, but I like to hear about {}.",
                ],
                food,
            );
            vec![q, a]
        }
        1 => {
            let hobby = r.pick(&HOBBIES);
            let q = form(
                r,
                &[
                    "I like {}.",
                    "My hobby is {}.",
                    "Do you like {}?",
                    "I enjoy {} very much.",
                    "In my free time I like {}.",
                    "My favourite thing is {}.",
                ],
                hobby,
            );
            let a = form(
                r,
                &[
                    "That sounds nice! How often do you do that?",
                    "{} is fun. What do you like about it?",
                    "How lovely! When did you start?",
                    "I like to hear about {}.",
                ],
                hobby,
            );
            vec![q, capital(&a)]
        }
        2 => {
            let animal = r.pick(&ANIMALS);
            let q = form(
                r,
                &[
                    "What is your favourite animal?",
                    "Which animal do you like best?",
                    "Do you like animals?",
                    "What animal do you like?",
                    "Which animal is your favourite?",
                    "What is the best animal?",
                ],
                "",
            );
            let a = form(
                r,
                &[
                    "I like the {} best. And you?",
                    "My favourite animal is the {}.",
                    "I like animals, above all the {}.",
                ],
                animal,
            );
            let mut turns = vec![q, a];
            if r.chance(50) {
                let other = r.pick(&ANIMALS);
                turns.push(form(
                    r,
                    &[
                        "I like the {} best.",
                        "My favourite is the {}.",
                        "I have a {}.",
                        "For me it is the {}.",
                    ],
                    other,
                ));
                turns.push(form(
                    r,
                    &["A {} is a lovely animal!", "Oh, a {}! Why do you like it?", "I like the {} too."],
                    other,
                ));
            }
            turns
        }
        3 => {
            let colour = r.pick(&["blue", "red", "green", "yellow", "orange", "purple", "white", "pink"]);
            let q = r.pick(&[
                "What is your favourite colour?",
                "Which colour do you like best?",
                "What colour do you like?",
                "Do you have a favourite colour?",
            ]);
            vec![
                q.to_owned(),
                form(
                    r,
                    &[
                        "I like {} best.",
                        "My favourite colour is {}. What is yours?",
                        "I think {} is beautiful.",
                    ],
                    colour,
                ),
            ]
        }
        _ => {
            let food = r.pick(&FOODS);
            let q = r.pick(&[
                "What is your favourite food?",
                "What do you like to eat?",
                "What should I eat today?",
                "What shall I cook?",
                "I am hungry.",
                "What is good to eat?",
            ]);
            vec![
                q.to_owned(),
                form(
                    r,
                    &[
                        "How about {}?",
                        "I do not eat, but I would try {}.",
                        "Maybe some {}?",
                        "Many people like {}.",
                    ],
                    food,
                ),
            ]
        }
    }
}

fn weather(r: &mut Random) -> [String; 2] {
    let w = r.pick(&["sunny", "rainy", "cold", "warm", "windy", "snowy", "hot", "cloudy"]);
    if r.chance(40) {
        let q = r.pick(&[
            "How is the weather?",
            "What is the weather like?",
            "Is it raining?",
            "Will it rain today?",
            "How is the weather today?",
            "Is it cold outside?",
        ]);
        return [
            q.to_owned(),
            r.pick(&[
                "I cannot look outside. How is it where you are?",
                "I do not know, because I have no window. Is it nice?",
            ])
            .to_owned(),
        ];
    }
    let q = form(
        r,
        &[
            "It is {} today.",
            "The weather is {}.",
            "Today it is very {}.",
            "It is so {} outside!",
            "What should I do when it is {}?",
        ],
        w,
    );
    let a = match w {
        "sunny" | "warm" => "Then you could go for a walk or sit in the garden.",
        "rainy" | "cloudy" => "Then stay inside with a good book, or take an umbrella.",
        "cold" | "snowy" => "Then wear a warm coat and drink some tea.",
        "hot" => "Then drink a lot of water and stay in the shade.",
        _ => "Then hold on to your hat!",
    };
    [q, a.to_owned()]
}

fn thanks(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Thank you!",
        "Thanks!",
        "Thank you very much.",
        "thanks",
        "Thanks a lot!",
        "That was helpful, thank you.",
        "Great, thanks.",
        "Thank you for your help.",
    ]);
    [
        q.to_owned(),
        r.pick(&[
            "You are welcome!",
            "My pleasure!",
            "You are very welcome.",
            "Gladly! Is there anything else?",
        ])
        .to_owned(),
    ]
}

fn goodbye(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Bye!",
        "Goodbye!",
        "See you later.",
        "I have to go now.",
        "Good night!",
        "bye",
        "See you tomorrow!",
        "Talk to you later.",
        "I must leave.",
        "That is all for today.",
    ]);
    let a = if q == "Good night!" {
        "Good night! Sleep well."
    } else {
        r.pick(&[
            "Goodbye! It was nice talking to you.",
            "See you soon!",
            "Bye! Have a nice day.",
            "Goodbye! Come back soon.",
        ])
    };
    [q.to_owned(), a.to_owned()]
}

fn tell_story(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Tell me a story.",
        "Can you tell me a story?",
        "I want to hear a story.",
        "Please tell me a short story.",
        "Do you know a story?",
        "Tell me something nice.",
        "A story, please!",
    ]);
    [q.to_owned(), story(r)]
}

fn joke(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Tell me a joke.",
        "Do you know a joke?",
        "Make me laugh.",
        "Can you tell a joke?",
        "Say something funny.",
    ]);
    let a = r.pick(&[
        "Why did the book go to the doctor? It had too many pages that hurt.",
        "What do you call a sleeping cow? A bull dozer.",
        "Why was the clock sent out of class? It tocked too much.",
        "What has four legs and cannot walk? A table.",
        "Why do birds fly south? Because walking takes too long.",
    ]);
    [q.to_owned(), a.to_owned()]
}

fn unknown(r: &mut Random) -> [String; 2] {
    let q = r.pick(&[
        "Who won the match yesterday?",
        "What is the price of gold?",
        "What will happen next year?",
        "How many stars are there?",
        "What did I eat yesterday?",
        "What is my phone number?",
        "Who is the richest person in town?",
        "How does a rocket engine work?",
        "What time is it?",
        "What day is today?",
        "Can you drive a car?",
        "Write a program for me.",
        "What is the news?",
        "Solve this equation.",
    ]);
    [
        q.to_owned(),
        r.pick(&[
            "I am sorry, I do not know that.",
            "That I do not know. I am only a small model.",
            "I do not know. Shall we talk about something else?",
        ])
        .to_owned(),
    ]
}

fn remember(r: &mut Random) -> Vec<String> {
    let name = r.pick(&NAMES);
    let animal = r.pick(&ANIMALS);
    match r.below(3) {
        0 => vec![
            form(r, &["My name is {}.", "I am {}.", "You can call me {}.", "I'm {}."], name),
            form(r, &["Nice to meet you, {}!", "Hello {}!", "Good to meet you, {}."], name),
            r.pick(&[
                "What is my name?",
                "Do you remember my name?",
                "Who am I?",
                "What did I say my name was?",
            ])
            .to_owned(),
            form(r, &["Your name is {}.", "You are {}.", "You told me that you are {}."], name),
        ],
        1 => vec![
            form(r, &["I have a {}.", "We have a {} at home.", "My pet is a {}."], animal),
            form(r, &["How nice! What is the name of your {}?", "A {}! What is its name?"], animal),
            form(r, &["It is called {}.", "Its name is {}.", "{}.", "We call it {}."], name),
            format!("{name} is a good name for {}!", a(animal)),
        ],
        _ => {
            let food = r.pick(&FOODS);
            vec![
                form(r, &["Today I ate {}.", "I had {} for lunch.", "I bought some {}."], food),
                form(r, &["Was it good?", "That sounds tasty!", "Do you like {}?"], food),
                r.pick(&[
                    "What did I just tell you?",
                    "What was I talking about?",
                    "Do you remember what I said?",
                ])
                .to_owned(),
                form(r, &["You were talking about {}.", "You told me about {}."], food),
            ]
        }
    }
}

pub(super) fn chat(r: &mut Random) -> Vec<String> {
    let mut turns: Vec<String> = Vec::new();
    if r.chance(35) {
        turns.extend(greeting(r));
    }
    let topics = 1 + r.below(3);
    for _ in 0..topics {
        match r.below(20) {
            0 => turns.extend(how_are_you(r)),
            1 => turns.extend(feeling(r)),
            2 | 3 => turns.extend(who_are_you(r)),
            4 => turns.extend(about_me(r)),
            5 | 6 => turns.extend(capital_of(r)),
            7 => turns.extend(country_of(r)),
            8 => turns.extend(colour_of(r)),
            9 | 10 => turns.extend(sum(r)),
            11 => turns.extend(opposite(r)),
            12 => turns.extend(sound(r)),
            13 => turns.extend(meaning(r)),
            14 | 15 => turns.extend(likes(r)),
            16 => turns.extend(weather(r)),
            17 => turns.extend(if r.chance(50) { tell_story(r) } else { joke(r) }),
            18 => turns.extend(if r.chance(50) { unknown(r) } else { feeling(r) }),
            _ => turns.extend(remember(r)),
        }
    }
    if r.chance(20) {
        turns.extend(thanks(r));
    }
    if r.chance(15) {
        turns.extend(goodbye(r));
    }
    turns.truncate(8);
    turns
}
