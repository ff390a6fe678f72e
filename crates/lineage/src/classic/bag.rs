//! Texts → words → bags of words: which of the commonest words occur in a text, and nothing about their order.
//!
//! Presence instead of counts, as Pang, Lee & Vaithyanathan (2002) found best for reviews. All learners here get the same rows.

use std::collections::HashMap;

use pupil_data::Labelled;

/// The words of a text in a row of a bag: numbers of features, ascending, none twice.
pub(super) type Row = Vec<u32>;

/// Texts as numbers of words, with the numbers of their classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Corpus {
    /// Every word that occurs.
    pub(super) words: Vec<String>,
    /// The words of each text in their order.
    pub(super) texts: Vec<Vec<u32>>,
    /// The class of each text.
    pub(super) labels: Vec<usize>,
    /// Which of the texts that were given each is.
    pub(super) from: Vec<usize>,
    /// Names of the classes, in order of their bytes.
    pub(super) classes: Vec<String>,
}

impl Corpus {
    /// The texts whose class has at least `fewest` of them.
    pub(super) fn new(labelled: &[Labelled], fewest: usize) -> Corpus {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        labelled.iter().for_each(|t| *counts.entry(&t.label).or_default() += 1);
        let mut classes: Vec<String> =
            counts.iter().filter(|c| *c.1 >= fewest).map(|c| (*c.0).to_owned()).collect();
        classes.sort();
        let (mut corpus, mut numbers) = (Corpus { classes, ..Corpus::default() }, HashMap::new());
        for (given, t) in labelled.iter().enumerate() {
            let Ok(label) = corpus.classes.binary_search(&t.label) else { continue };
            let mut ids = Vec::new();
            for w in words(&t.text) {
                let next = corpus.words.len() as u32;
                ids.push(*numbers.entry(w).or_insert_with_key(|w| {
                    corpus.words.push(w.clone());
                    next
                }));
            }
            corpus.texts.push(ids);
            corpus.labels.push(label);
            corpus.from.push(given);
        }
        corpus
    }
}

/// Words in small letters: runs of letters, digits and apostrophes; of writing without blanks each character and each pair.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut all, mut now, mut before) = (Vec::new(), String::new(), None);
    let wide = |c: char| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}');
    for c in text.chars().chain([' ']) {
        if (c.is_alphanumeric() || c == '\'') && !wide(c) {
            now.extend(c.to_lowercase());
            before = None;
            continue;
        }
        let word = std::mem::take(&mut now);
        let word = word.trim_matches('\'');
        if !word.is_empty() {
            all.push(word.to_owned());
        }
        if wide(c) {
            all.push(c.to_string());
            all.extend(before.map(|b: char| format!("{b}{c}")));
        }
        before = wide(c).then_some(c);
    }
    all
}

/// The words that are looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bag {
    /// The word of each feature.
    pub(super) features: Vec<u32>,
    /// The feature of each word of the corpus, if it is one.
    of: Vec<Option<u32>>,
}

impl Bag {
    /// The `most` words that occur in most of some texts, and in at least two.
    pub(super) fn learn(corpus: &Corpus, texts: &[usize], most: usize) -> Bag {
        let mut in_texts = vec![0u32; corpus.words.len()];
        for &t in texts {
            distinct(&corpus.texts[t]).into_iter().for_each(|w| in_texts[w as usize] += 1);
        }
        let mut features: Vec<u32> =
            (0..corpus.words.len() as u32).filter(|w| in_texts[*w as usize] >= 2).collect();
        let order = |a: &u32, b: &u32| {
            let name = |w: u32| &corpus.words[w as usize];
            in_texts[*b as usize].cmp(&in_texts[*a as usize]).then_with(|| name(*a).cmp(name(*b)))
        };
        features.sort_by(order);
        features.truncate(most);
        let mut of = vec![None; corpus.words.len()];
        features.iter().enumerate().for_each(|(i, w)| of[*w as usize] = Some(i as u32));
        Bag { features, of }
    }

    /// The row of a text.
    pub(super) fn row(&self, text: &[u32]) -> Row {
        distinct(&text.iter().filter_map(|w| self.of[*w as usize]).collect::<Vec<_>>())
    }

    /// The feature of a word, plus one; 0 for all others: what networks read.
    pub(super) fn id(&self, word: u32) -> u32 {
        self.of[word as usize].map_or(0, |f| f + 1)
    }
}

fn distinct(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_the_commonest_become_features() {
        assert_eq!(words("It's GOOD, 'really'-good: 10/10"), ["it's", "good", "really", "good", "10", "10"]);
        assert_eq!(words("不好看 ok"), ["不", "好", "不好", "看", "好看", "ok"]);
        let text = |t: &str, l: &str| Labelled { text: t.into(), label: l.into() };
        let all =
            [text("b a a", "x"), text("a c", "y"), text("b c a", "x"), text("rare", "z"), text("c", "y")];
        let corpus = Corpus::new(&all, 2);
        assert_eq!(
            (corpus.classes.clone(), corpus.labels.clone()),
            (vec!["x".into(), "y".into()], vec![0, 1, 0, 1])
        );
        let bag = Bag::learn(&corpus, &[0, 1, 2], 9);
        let names: Vec<&str> = bag.features.iter().map(|w| corpus.words[*w as usize].as_str()).collect();
        // a is in three of them; b and c in two, in order of their names.
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(bag.row(&corpus.texts[0]), [0, 1]);
    }
}
