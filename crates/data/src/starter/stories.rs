//! English stories of six to twelve simple sentences.

use super::grammar::{article as a, capital};
use crate::random::Random;

pub(super) const NAMES: [&str; 40] = [
    "Anna", "Ben", "Clara", "David", "Ella", "Finn", "Grace", "Hugo", "Ida", "Jack", "Kate", "Leo", "Mia",
    "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor", "Wendy", "Yusuf", "Zoe", "Lily", "Tom", "Max",
    "Nora", "Oscar", "Lucy", "Peter", "Emma", "Felix", "Alice", "Omar", "Sara", "Theo", "Ruth", "Ivan",
    "Maya", "Karl",
];
pub(super) const ANIMALS: [&str; 24] = [
    "dog", "cat", "rabbit", "fox", "bear", "bird", "frog", "mouse", "horse", "duck", "goat", "sheep", "owl",
    "turtle", "squirrel", "hedgehog", "cow", "pig", "hen", "donkey", "lion", "monkey", "elephant", "penguin",
];
const PLACES: [&str; 20] = [
    "garden",
    "forest",
    "village",
    "park",
    "kitchen",
    "school",
    "beach",
    "market",
    "farm",
    "library",
    "meadow",
    "harbour",
    "old barn",
    "playground",
    "little town",
    "big house",
    "station",
    "river bank",
    "bakery",
    "hill behind the house",
];
const THINGS: [&str; 28] = [
    "ball",
    "kite",
    "red hat",
    "little boat",
    "book",
    "key",
    "basket",
    "lamp",
    "drum",
    "blue box",
    "bell",
    "wooden toy",
    "map",
    "letter",
    "cup",
    "blanket",
    "shiny stone",
    "golden leaf",
    "paper star",
    "bicycle",
    "cake",
    "picture",
    "scarf",
    "clock",
    "green bottle",
    "bag of apples",
    "toy train",
    "warm coat",
];
const TRAITS: [&str; 18] = [
    "kind", "brave", "curious", "quiet", "funny", "clever", "shy", "cheerful", "careful", "patient", "small",
    "friendly", "sleepy", "hungry", "busy", "gentle", "proud", "honest",
];
const WEATHER: [&str; 12] =
    ["sunny", "rainy", "windy", "cold", "warm", "snowy", "foggy", "bright", "grey", "hot", "stormy", "mild"];
const TIMES: [&str; 12] = [
    "One morning",
    "One day",
    "One evening",
    "On Monday",
    "On Sunday",
    "Last summer",
    "In spring",
    "In winter",
    "After lunch",
    "Before school",
    "On a quiet afternoon",
    "Early in the day",
];

/// The pronouns of a name.
struct Hero {
    he: &'static str,
    his: &'static str,
    him: &'static str,
}

fn hero(r: &mut Random, name: &str) -> Hero {
    const BOYS: &str = " Ben David Finn Hugo Jack Leo Noah Paul Sam Victor Yusuf Tom Max Oscar Peter Felix Omar Theo Ivan Karl ";
    let boy = if NAMES.contains(&name) { BOYS.contains(&format!(" {name} ")) } else { r.chance(50) };
    if boy { Hero { he: "he", his: "his", him: "him" } } else { Hero { he: "she", his: "her", him: "her" } }
}

/// A story that a chat has room for.
pub(super) fn short(r: &mut Random) -> String {
    loop {
        let story = story(r);
        if story.len() < 420 {
            return story;
        }
    }
}

pub(super) fn story(r: &mut Random) -> String {
    let name = r.pick(&NAMES);
    let h = hero(r, name);
    let friend = loop {
        let f = r.pick(&NAMES);
        if f != name {
            break f;
        }
    };
    let (animal, place, thing, other) = (r.pick(&ANIMALS), r.pick(&PLACES), r.pick(&THINGS), r.pick(&THINGS));
    let (kind, weather, time) = (r.pick(&TRAITS), r.pick(&WEATHER), r.pick(&TIMES));
    let Hero { he, his, him, .. } = h;
    let caps = capital(he);
    let mut s = Vec::new();
    s.push(match r.below(7) {
        0 => format!("Once upon a time there was {} child called {name}.", a(kind)),
        1 => format!("{name} lived near the {place} with {his} family."),
        2 => format!("There was once {} {animal} who had a friend called {name}.", a(kind)),
        3 => format!("{name} was {kind} and liked to walk to the {place}."),
        4 => format!("In a small house by the {place} lived {name} and {his} {animal}."),
        5 => format!("{name} had {} {animal}, and they were always together.", a(kind)),
        _ => format!("A long time ago {} boy or girl, nobody remembers which, met {} {animal}. We call the child {name}.", a(kind), a(weather)),
    });
    s.push(match r.below(5) {
        0 => format!("{time} it was {weather}, and {name} went to the {place}."),
        1 => format!("{time} {name} woke up and saw that it was {weather}."),
        2 => format!("{time} {name} and {friend} met at the {place}."),
        3 => format!("It was {} day, and {name} wanted to play outside.", a(weather)),
        _ => format!("{time} {name} looked for {his} {thing}, but it was not there."),
    });
    match r.below(8) {
        0 => {
            s.push(format!("{caps} had lost {his} {thing} and felt sad."));
            s.push(format!("\"Do not worry,\" said {friend}. \"We will look for it together.\""));
            s.push(format!("They looked under the table, behind the door and in the {place}."));
            s.push(format!("At last the {animal} found the {thing} under {}.", a(other)));
            s.push(format!("{name} was happy and thanked the {animal}."));
        }
        1 => {
            s.push(format!("There {he} saw {} {animal} that could not get home.", a(r.pick(&TRAITS))));
            s.push(format!("\"Can you help me?\" asked the {animal}."));
            s.push(format!("{name} said yes, because {he} was {kind}."));
            s.push(format!("{caps} carried the {animal} all the way back."));
            s.push(format!("The {animal} gave {him} {} to say thank you.", a(thing)));
        }
        2 => {
            s.push(format!("{friend} had {}, and {name} wanted to have one too.", a(thing)));
            s.push(format!("\"Let us share,\" said {friend}."));
            s.push(format!("So they played with the {thing} all day."));
            s.push(format!("In the evening {name} gave {friend} {}.", a(other)));
        }
        3 => {
            s.push(format!("{caps} wanted to bake a cake for {friend}."));
            s.push("First came the flour, then the eggs, then the sugar.".to_owned());
            s.push(format!("The {animal} watched and licked its nose."));
            s.push(format!("When the cake was ready, {friend} came with {}.", a(thing)));
            s.push("They ate two pieces each and laughed.".to_owned());
        }
        4 => {
            s.push(format!("The wind was strong and took {his} {thing} up into a tree."));
            s.push(format!("{name} tried to climb, but the tree was too tall."));
            s.push(format!("Then {} {animal} came and brought the {thing} down.", a(r.pick(&TRAITS))));
            s.push(format!("\"You are a good friend,\" said {name}."));
        }
        5 => {
            s.push(format!("{name} did not know how to make {}.", a(thing)));
            s.push(format!("{caps} asked {his} grandmother, and she showed {him} slowly."));
            s.push(format!("The first {thing} was not good, and the second was a little better."));
            s.push(format!("After many days {name} could do it alone, and {he} was proud."));
        }
        6 => {
            s.push(format!("It began to rain, and {name} and {friend} ran into the {}.", r.pick(&PLACES)));
            s.push(format!("There they found {} and {}.", a(thing), a(other)));
            s.push(format!("\"Whose is it?\" asked {friend}."));
            s.push(format!(
                "They waited until an old man came. \"Thank you for keeping my {thing},\" he said."
            ));
        }
        _ => {
            s.push(format!("{name} heard a sound behind the {place}."));
            s.push(format!("{caps} was afraid, but {he} went to look."));
            s.push(format!("It was only {} {animal} with {}!", a(r.pick(&TRAITS)), a(thing)));
            s.push(format!("{name} laughed, and the {animal} came closer."));
        }
    }
    s.push(match r.below(7) {
        0 => format!("From that day on {name} and {friend} were best friends."),
        1 => format!("That night {name} slept very well."),
        2 => format!("And {name} never forgot the {animal}."),
        3 => format!("\"Tomorrow we will play again,\" said {friend}, and they went home."),
        4 => format!("{name} learned that it is good to help others."),
        5 => format!("When the sun went down, {name} told {his} mother everything."),
        _ => "They were happy, and that is the end of the story.".to_owned(),
    });
    s.join(" ")
}
