//! Labelled starter text: short reviews that are kind or unkind, and sentences with a part of speech for each word.
//!
//! Made so that counting words gets far but not all the way: a fifth of the judgements are turned round by a word before them ("not at all
//! boring"), and many words of the sentences have more than one part of speech ("they watch the watch").

use crate::labelled::Labelled;
use crate::random::Random;
use crate::starter::stories::{ANIMALS, NAMES};
use crate::tagged::Tagged;

/// The labels of [`review`].
pub(super) const KIND: [&str; 2] = ["unkind", "kind"];

const GOOD: [&str; 24] = [
    "wonderful",
    "charming",
    "funny",
    "moving",
    "clever",
    "brilliant",
    "warm",
    "gripping",
    "beautiful",
    "fresh",
    "touching",
    "splendid",
    "lively",
    "delightful",
    "memorable",
    "witty",
    "tender",
    "exciting",
    "elegant",
    "honest",
    "bright",
    "superb",
    "thoughtful",
    "lovely",
];
const BAD: [&str; 24] = [
    "boring",
    "dull",
    "clumsy",
    "tedious",
    "silly",
    "lifeless",
    "noisy",
    "flat",
    "predictable",
    "messy",
    "shallow",
    "stale",
    "awkward",
    "pointless",
    "dreary",
    "cheap",
    "confusing",
    "cold",
    "forced",
    "sloppy",
    "weak",
    "ugly",
    "tiresome",
    "hollow",
];
const ASPECTS: [&str; 20] = [
    "the story",
    "the acting",
    "the music",
    "the ending",
    "the first half",
    "the dialogue",
    "the camera work",
    "the hero",
    "the villain",
    "the pacing",
    "the script",
    "every scene",
    "the humour",
    "the cast",
    "the setting",
    "the editing",
    "the romance",
    "the opening",
    "the direction",
    "the whole film",
];
const FILMS: [&str; 16] = [
    "comedy",
    "thriller",
    "drama",
    "western",
    "musical",
    "fairy tale",
    "war film",
    "love story",
    "mystery",
    "sequel",
    "documentary",
    "cartoon",
    "space film",
    "crime film",
    "ghost story",
    "family film",
];

/// A judgement that is kind or not, the latter half of the time by turning a word round.
fn judgement(r: &mut Random, kind: bool) -> String {
    let aspect = r.pick(&ASPECTS);
    let turned = r.chance(20);
    let word = r.pick(if kind != turned { &GOOD } else { &BAD });
    let other = r.pick(if kind != turned { &GOOD } else { &BAD });
    if turned {
        return match r.below(8) {
            0 => format!("{aspect} was not {word}"),
            1 => format!("{aspect} was never {word} for a moment"),
            2 => format!("{aspect} was anything but {word}"),
            3 => format!("i did not find {aspect} {word} at all"),
            4 => format!("nobody could call {aspect} {word} or {other}"),
            5 => format!("{aspect} was far from {word}"),
            6 => format!("there was nothing {word} about {aspect}"),
            _ => format!("{aspect} was neither {word} nor {other}"),
        };
    }
    match r.below(8) {
        0 => format!("{aspect} was {word}"),
        1 => format!("{aspect} was {word} and {other}"),
        2 => format!("i found {aspect} {word}"),
        3 => format!("{aspect} felt {word} from beginning to end"),
        4 => format!("what {word} work {aspect} was"),
        5 => format!("to me {aspect} was simply {word}"),
        6 => format!("{aspect} was so {word} that we talked about it all evening"),
        _ => format!("many will call {aspect} {word}, and they are right"),
    }
}

/// A review of two to five judgements, most of them of its kind.
pub(super) fn review(r: &mut Random) -> Labelled {
    let kind = r.chance(50);
    let (film, name) = (r.pick(&FILMS), r.pick(&NAMES));
    let mut parts = vec![match r.below(6) {
        0 => format!("we saw this {film} with {name} last night ."),
        1 => format!("{name} took me to a {film} on Friday ."),
        2 => format!("another {film} by {name} ."),
        3 => format!("a {film} about a {} and its owner .", r.pick(&ANIMALS)),
        4 => format!("i watched the {film} twice ."),
        _ => format!("this {film} lasts two hours ."),
    }];
    // One part in three is of the other kind, and never the majority.
    let sides: &[bool] = match r.below(4) {
        0 => &[kind],
        1 => &[kind, kind],
        2 => &[!kind, kind, kind],
        _ => &[kind, !kind, kind, kind, kind],
    };
    let from = r.below(sides.len());
    for i in 0..sides.len() {
        let side = sides[(from + i) % sides.len()];
        let link = if i > 0 && side != sides[(from + i - 1) % sides.len()] { "but " } else { "" };
        parts.push(format!("{link}{} .", judgement(r, side)));
    }
    Labelled { text: parts.join(" "), label: KIND[usize::from(kind)].to_owned() }
}

/// Words that are noun and verb.
const BOTH: [&str; 20] = [
    "watch", "play", "walk", "light", "plant", "ring", "wave", "drink", "cook", "fish", "point", "report",
    "train", "dance", "paint", "visit", "answer", "help", "plan", "move",
];
const NOUNS: [&str; 20] = [
    "garden", "teacher", "river", "letter", "window", "market", "doctor", "story", "bridge", "kitchen",
    "village", "picture", "baker", "forest", "song", "table", "farmer", "boat", "road", "castle",
];
const VERBS: [&str; 16] = [
    "found",
    "saw",
    "liked",
    "carried",
    "opened",
    "followed",
    "remembered",
    "painted",
    "left",
    "bought",
    "heard",
    "drew",
    "built",
    "cleaned",
    "brought",
    "hid",
];
const ADJECTIVES: [&str; 18] = [
    "old", "small", "green", "quiet", "light", "early", "fast", "open", "clean", "warm", "late", "hard",
    "young", "left", "fine", "back", "free", "round",
];
const ADVERBS: [&str; 12] =
    ["slowly", "often", "fast", "early", "late", "hard", "well", "back", "never", "again", "here", "quietly"];
const PREPOSITIONS: [&str; 10] =
    ["in", "on", "near", "behind", "with", "under", "by", "past", "round", "over"];

/// A sentence with its parts of speech, in the names of Universal Dependencies.
pub(super) fn tagged(r: &mut Random) -> Tagged {
    let mut s = Tagged::default();
    let add = |s: &mut Tagged, word: &str, tag: &str| {
        s.words.push(word.to_owned());
        s.tags.push(tag.to_owned());
    };
    let noun = |s: &mut Tagged, r: &mut Random| {
        let from: &[&str] = if r.chance(45) { &BOTH } else { &NOUNS };
        add(s, r.pick(from), "NOUN");
    };
    let phrase = |s: &mut Tagged, r: &mut Random| match r.below(10) {
        0 | 1 => {
            add(s, r.pick(&NAMES), "PROPN");
            if r.chance(30) {
                // Names that no list has: what becomes of words that were never seen.
                let (a, b) = (
                    r.pick(&["Bre", "Hal", "Mor", "Tul", "Wen", "Sor", "Kal", "Dun"]),
                    r.pick(&["ton", "by", "wick", "ford", "ler", "man", "field", "sen"]),
                );
                add(s, &format!("{a}{}{b}", r.pick(&["a", "e", "i", "o", "en", "ar"])), "PROPN");
            }
        }
        2 => add(s, r.pick(&["they", "we", "she", "he", "you"]), "PRON"),
        n => {
            add(s, r.pick(&["the", "a", "this", "that", "her", "every"]), "DET");
            if n % 2 == 0 {
                add(s, r.pick(&ADJECTIVES), "ADJ");
            }
            if r.chance(12) {
                add(s, &(2 + r.below(97)).to_string(), "NUM");
            }
            noun(s, r);
        }
    };
    if r.chance(15) {
        add(&mut s, r.pick(&ADVERBS), "ADV");
    }
    phrase(&mut s, r);
    if r.chance(20) {
        add(&mut s, r.pick(&["often", "never", "again", "slowly"]), "ADV");
    }
    match r.below(5) {
        0 => {
            add(&mut s, r.pick(&["can", "will", "must", "should"]), "AUX");
            add(&mut s, r.pick(&BOTH), "VERB");
        }
        1 => {
            add(&mut s, "wanted", "VERB");
            add(&mut s, "to", "PART");
            add(&mut s, r.pick(&BOTH), "VERB");
        }
        2 => add(&mut s, r.pick(&BOTH), "VERB"),
        _ => add(&mut s, r.pick(&VERBS), "VERB"),
    }
    if r.chance(75) {
        phrase(&mut s, r);
    }
    if r.chance(50) {
        add(&mut s, r.pick(&PREPOSITIONS), "ADP");
        phrase(&mut s, r);
    }
    if r.chance(25) {
        add(&mut s, r.pick(&ADVERBS), "ADV");
    }
    if r.chance(20) {
        add(&mut s, "that", "SCONJ");
        phrase(&mut s, r);
        add(&mut s, r.pick(&VERBS), "VERB");
        add(&mut s, r.pick(&["that", "this", "her", "it"]), "PRON");
    }
    add(&mut s, if r.chance(88) { "." } else { "!" }, "PUNCT");
    s
}
