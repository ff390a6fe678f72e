//! Rules by hand, the oldest way: a list of kind words and one of unkind words; whichever are more.

/// Words that praise.
const KIND: [&str; 30] = [
    "good",
    "great",
    "best",
    "wonderful",
    "excellent",
    "perfect",
    "brilliant",
    "beautiful",
    "fun",
    "funny",
    "love",
    "loved",
    "enjoy",
    "enjoyed",
    "superb",
    "charming",
    "clever",
    "moving",
    "strong",
    "amazing",
    "fine",
    "memorable",
    "fantastic",
    "happy",
    "delightful",
    "fresh",
    "powerful",
    "touching",
    "impressive",
    "nice",
];
/// Words that blame.
const UNKIND: [&str; 30] = [
    "bad",
    "worst",
    "boring",
    "dull",
    "stupid",
    "awful",
    "terrible",
    "poor",
    "waste",
    "mess",
    "silly",
    "ridiculous",
    "weak",
    "lame",
    "hate",
    "hated",
    "predictable",
    "flat",
    "annoying",
    "horrible",
    "ugly",
    "fails",
    "failed",
    "unfortunately",
    "clumsy",
    "tedious",
    "pointless",
    "cheap",
    "bland",
    "wrong",
];
/// Names that labels of either kind go by.
const NAMES: [&[&str]; 2] = [
    &["neg", "negative", "unkind", "bad", "0", "-1", "false", "rotten", "差评", "负面"],
    &["pos", "positive", "kind", "good", "1", "true", "fresh", "好评", "正面"],
];

/// The rules, for two classes whose names say which is which.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// For each word of the corpus: 1, −1 or 0.
    values: Vec<i32>,
    /// Number of the unkind and of the kind class.
    classes: [usize; 2],
}

impl Rules {
    /// The rules; `None` if the classes are not kind and unkind.
    pub(super) fn new(words: &[String], classes: &[String]) -> Option<Rules> {
        let of = |names: &[&str]| classes.iter().position(|c| names.contains(&c.to_lowercase().as_str()));
        let both = [of(NAMES[0])?, of(NAMES[1])?];
        let value =
            |w: &String| i32::from(KIND.contains(&w.as_str())) - i32::from(UNKIND.contains(&w.as_str()));
        (classes.len() == 2).then(|| Rules { values: words.iter().map(value).collect(), classes: both })
    }

    /// The class of a text; where the lists say nothing, unkind.
    pub(super) fn predict(&self, text: &[u32]) -> usize {
        let sum: i32 = text.iter().map(|w| self.values[*w as usize]).sum();
        self.classes[usize::from(sum > 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_kind_words_make_a_kind_text() {
        let words = ["good", "bad", "film"].map(String::from);
        let classes = ["pos", "neg"].map(String::from);
        let r = Rules::new(&words, &classes).unwrap();
        assert_eq!([r.predict(&[0, 2]), r.predict(&[1, 0, 1]), r.predict(&[2])], [0, 1, 1]);
        assert!(Rules::new(&words, &["ham", "spam"].map(String::from)).is_none());
    }
}
