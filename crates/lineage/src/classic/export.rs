//! The features and the split of the first fit as files, for other programs: rows as LIBSVM reads them, sentences as CRFsuite reads them.

use std::fmt::Write;

use pupil_data::{Labelled, Tagged};

use super::bag::{Corpus, Row};
use super::fits::{Features, Numbered};
use super::suite::splits;

/// Files to be written: names and contents.
pub type Written = Vec<(String, String)>;

/// What the learners learned from and were asked, for each split of the largest size: `texts-K-train.svm`, `texts-K-test.svm` (class, then
/// `feature:1`), `words-K.txt` (the word of each feature), and for the first split `tags-train.txt`, `tags-test.txt` (tag, then features,
/// tabs between, a blank line between sentences) and `tags-same-*.txt` with the one observation that the hidden Markov model sees.
pub fn write(texts: &[Labelled], sentences: &[Tagged], size: [usize; 2], seed: u64) -> Written {
    let corpus = Corpus::new(texts, super::suite::CLASS);
    let mut files = Written::new();
    for (k, split) in splits(corpus.texts.len(), seed).iter().enumerate() {
        let f = Features::new(&corpus, split, size[0].min(split.train.len()));
        files.push((format!("texts-{k}-train.svm"), rows(&f.train, &f.labels)));
        files.push((format!("texts-{k}-test.svm"), rows(&f.test, &f.right)));
        let words = f.bag.features.iter().map(|w| format!("{}\n", corpus.words[*w as usize]));
        files.push((format!("words-{k}.txt"), words.collect()));
    }
    let mut tags: Vec<String> = sentences.iter().flat_map(|s| s.tags.iter().cloned()).collect();
    tags.sort_unstable();
    tags.dedup();
    let split = &splits(sentences.len(), seed)[0];
    let n = Numbered::new(sentences, split, size[1].min(split.train.len()), &tags);
    for (name, part) in [("train", &n.train), ("test", &n.test)] {
        let (mut all, mut same) = (String::new(), String::new());
        for s in part {
            for ((row, observed), tag) in s.features.iter().zip(&s.observed).zip(&s.tags) {
                all += &tags[*tag];
                row.iter().for_each(|f| all += &format!("\t{f}"));
                all.push('\n');
                let _ = writeln!(same, "{}\t{observed}", tags[*tag]);
            }
            all.push('\n');
            same.push('\n');
        }
        files.push((format!("tags-{name}.txt"), all));
        files.push((format!("tags-same-{name}.txt"), same));
    }
    files
}

fn rows(rows: &[Row], labels: &[usize]) -> String {
    let mut s = String::new();
    for (row, label) in rows.iter().zip(labels) {
        let _ = write!(s, "{label}");
        row.iter().for_each(|f| s += &format!(" {}:1", f + 1));
        s.push('\n');
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_with_features_from_one() {
        assert_eq!(rows(&[vec![0, 4], vec![]], &[1, 0]), "1 1:1 5:1\n0\n");
        let texts: Vec<Labelled> = pupil_data::starter::reviews(1, 60).collect();
        let sentences: Vec<Tagged> = pupil_data::starter::tagged(1, 40).collect();
        let files = write(&texts, &sentences, [1000, 20], 1);
        let lines = |name: &str| files.iter().find(|f| f.0 == name).map(|f| f.1.lines().count());
        assert_eq!([lines("texts-0-train.svm"), lines("texts-0-test.svm")], [Some(48), Some(12)]);
        let blank = files
            .iter()
            .find(|f| f.0 == "tags-train.txt")
            .unwrap()
            .1
            .lines()
            .filter(|l| l.is_empty())
            .count();
        assert_eq!(blank, 20);
    }
}
