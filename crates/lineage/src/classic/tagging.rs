//! What the taggers see of a word: one observation for the hidden Markov model, many features for the others.
//!
//! The observation is the word itself if it was seen twice, else its kind: its ending and its shape. The features are that, the word, its
//! beginnings and endings, its shape and its neighbours, as in Ratnaparkhi (1996).

use std::collections::HashMap;

use pupil_data::Tagged;

use super::bag::Row;

/// A sentence in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sentence {
    /// What a hidden Markov model sees of each word.
    pub observed: Vec<u32>,
    /// Features of each word, ascending.
    pub features: Vec<Row>,
    /// The tags.
    pub tags: Vec<usize>,
    /// Whether a word was seen in learning.
    pub known: Vec<bool>,
}

/// Numbers for observations and features.
pub(super) struct Lexicon {
    counts: HashMap<String, u32>,
    observations: HashMap<String, u32>,
    features: HashMap<String, u32>,
    /// Number of each tag.
    tags: HashMap<String, usize>,
}

impl Lexicon {
    /// Takes in the sentences that are learned from; `tags` are all that there are.
    pub(super) fn learn(sentences: &[&Tagged], tags: &[String]) -> Lexicon {
        let tags = tags.iter().enumerate().map(|(i, t)| (t.clone(), i)).collect();
        let mut l =
            Lexicon { counts: HashMap::new(), observations: HashMap::new(), features: HashMap::new(), tags };
        for w in sentences.iter().flat_map(|s| &s.words) {
            *l.counts.entry(w.clone()).or_default() += 1;
        }
        // Of a kind of word that was never seen.
        l.observations.insert(String::new(), 0);
        let mut seen: HashMap<String, u32> = HashMap::new();
        for s in sentences {
            for i in 0..s.words.len() {
                let next = l.observations.len() as u32;
                let o = l.observation(&s.words[i]);
                l.observations.entry(o).or_insert(next);
                features(s, i, &mut |f| *seen.entry(f).or_default() += 1);
            }
        }
        // What was seen once tells nothing that could come again, and is two thirds of all.
        let mut names: Vec<String> = seen.into_iter().filter(|f| f.1 >= 2).map(|f| f.0).collect();
        names.sort_unstable();
        l.features = names.into_iter().zip(0..).collect();
        l
    }

    /// How many observations and features there are.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.observations.len(), self.features.len()]
    }

    fn observation(&self, word: &str) -> String {
        match self.counts.get(word) {
            Some(n) if *n >= 2 => word.to_owned(),
            _ => format!("~{} {}", ending(word, 2).to_lowercase(), shape(word)),
        }
    }

    /// A sentence in numbers.
    pub(super) fn sentence(&self, s: &Tagged) -> Sentence {
        let mut to = Sentence::default();
        for i in 0..s.words.len() {
            let o = self.observation(&s.words[i]);
            to.observed.push(self.observations.get(&o).copied().unwrap_or(0));
            let mut row = Row::new();
            features(s, i, &mut |f| row.extend(self.features.get(&f)));
            row.sort_unstable();
            row.dedup();
            to.features.push(row);
            to.tags.push(self.tags.get(&s.tags[i]).copied().unwrap_or(0));
            to.known.push(self.counts.contains_key(&s.words[i]));
        }
        to
    }
}

/// Calls `add` with each feature of word `i`.
fn features(s: &Tagged, i: usize, add: &mut dyn FnMut(String)) {
    let word = &s.words[i];
    let at = |j: Option<usize>| {
        j.and_then(|j| s.words.get(j)).map_or_else(|| "|".to_owned(), |w| w.to_lowercase())
    };
    let lower = word.to_lowercase();
    add("bias".into());
    add(format!("w={lower}"));
    add(format!("shape={}", shape(word)));
    for n in 1..=3 {
        add(format!("end={}", ending(&lower, n)));
    }
    add(format!("begin={}", lower.chars().take(2).collect::<String>()));
    add(format!("-1={}", at(i.checked_sub(1))));
    add(format!("+1={}", at(Some(i + 1))));
    add(format!("-1end={}", ending(&at(i.checked_sub(1)), 2)));
    add(format!("+1end={}", ending(&at(Some(i + 1)), 2)));
    if i == 0 {
        add("first".into());
    }
}

fn ending(word: &str, n: usize) -> &str {
    word.char_indices().rev().nth(n - 1).map_or(word, |(at, _)| &word[at..])
}

/// Capital, capitals, digits, hyphen: `Xx`, `XX`, `9`, `x-`.
fn shape(word: &str) -> String {
    let has = |f: &dyn Fn(char) -> bool| word.chars().any(f);
    let first = word.chars().next().is_some_and(char::is_uppercase);
    let letters = match (first, has(&|c| c.is_lowercase())) {
        (true, true) => "Xx",
        (true, false) => "XX",
        (false, true) => "x",
        (false, false) => "",
    };
    let digit = if has(&|c| c.is_numeric()) { "9" } else { "" };
    let hyphen = if has(&|c| c == '-') { "-" } else { "" };
    format!("{letters}{digit}{hyphen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_are_seen_by_their_kind_and_features_that_came_twice_are_kept() {
        let s = |words: &[&str], tags: &[&str]| Tagged {
            words: words.iter().map(|w| (*w).to_owned()).collect(),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        };
        let all = [s(&["the", "cat", "ran"], &["D", "N", "V"]), s(&["the", "man", "ran"], &["D", "N", "V"])];
        let l = Lexicon::learn(&[&all[0], &all[1]], &["D", "N", "V"].map(String::from));
        let [a, b] = [l.sentence(&all[0]), l.sentence(&all[1])];
        assert_eq!((a.observed[0], a.observed[2]), (b.observed[0], b.observed[2]));
        assert_ne!(a.observed[1], b.observed[1]);
        assert_eq!(a.tags, [0, 1, 2]);
        let new = l.sentence(&s(&["the", "Zulu-9", "bat"], &["D", "N", "N"]));
        // A kind that never was is observation 0; "bat" ends as "cat" does.
        assert_eq!(
            (new.observed[1], new.observed[2], new.known),
            (0, a.observed[1], vec![true, false, false])
        );
        assert!(new.features[2].len() < a.features[2].len() && !new.features[2].is_empty());
        assert_eq!([ending("ab", 3), ending("äöü", 2), &shape("U.S.-9")], ["ab", "öü", "XX9-"]);
    }
}
