//! Files in which somebody has written the answers: texts with a label each, and sentences with a tag for each word.
//!
//! Texts: rows of CSV, TSV or Parquet and JSON objects with a text and a label; folders, in archives or not, that are named after the label of the
//! texts in them; files with a text a line whose ending is the label (`reviews.pos`). Sentences: columns (CoNLL, CoNLL-U), `word/TAG`, and
//! the brackets of treebanks are told by their contents. See [`crate::tagged`] for those.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::pieces::{Body, Piece, Reading};
use crate::source::{self, Error};
use crate::stream::stream;
use crate::tagged::{self, Tagged};

/// A text and what somebody says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// Its class.
    pub label: String,
}

/// What some files hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Texts with labels, in order of files; none twice.
    pub texts: Vec<Labelled>,
    /// Sentences with tags.
    pub sentences: Vec<Tagged>,
    /// What was left out, and why; the first [`SHOWN`].
    pub skipped: Vec<String>,
    /// How much was left out.
    pub skipped_count: usize,
}

/// Things left out that are kept to be shown.
pub const SHOWN: usize = 20;
/// Bytes of all texts together that are read: more than anything here learns from.
const MOST: usize = 512 << 20;
/// Names of the columns or fields that may hold the text, the likeliest first.
const TEXTS: [&str; 12] = [
    "text", "review", "sentence", "content", "comment", "message", "body", "document", "title", "文本",
    "内容", "评论",
];
/// Names of those that may hold the label.
const LABELS: [&str; 11] = [
    "label",
    "sentiment",
    "class",
    "category",
    "target",
    "polarity",
    "rating",
    "stars",
    "score",
    "标签",
    "类别",
];

/// Reads files and folders.
///
/// # Errors
/// Names the file that cannot be read, or in which there is neither a labelled text nor a tagged sentence.
pub fn read(paths: &[PathBuf]) -> Result<Found, Error> {
    let (files, _) = source::files(paths)?;
    let (mut found, mut seen, mut bytes) = (Found::default(), HashSet::new(), 0);
    // The text file that is being put together.
    let mut text = (String::new(), Vec::new());
    let use_text = |(name, bytes): (String, Vec<u8>), found: &mut Found, seen: &mut HashSet<String>| {
        if !bytes.is_empty() {
            whole(&name, &String::from_utf8_lossy(&bytes), found, seen);
        }
    };
    let read = stream(
        &files,
        &Reading::default(),
        1,
        &|_| {},
        |piece| piece,
        |piece: Piece, name_of| {
            let name = name_of(piece.file);
            if name != text.0 {
                use_text(std::mem::take(&mut text), &mut found, &mut seen);
            }
            if let Body::Text(part) = piece.body {
                bytes += part.len();
                if bytes > MOST {
                    let what = format!("more than {} MB of text; give a part of it", MOST >> 20);
                    return Err(Error::Content { path: name.into(), what });
                }
                text.0 = name;
                text.1.extend(part);
            } else {
                records(&name, piece, &mut found, &mut seen);
            }
            Ok(())
        },
    )?;
    use_text(text, &mut found, &mut seen);
    for about in read.abouts {
        if let Some(problem) = about.problem {
            found.skip(&about.name, &problem);
        }
    }
    if found.size() == 0 {
        let names = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        let what = format!(
            "holds neither labelled texts (CSV or JSON with a text and a label, or a folder for each label) nor tagged sentences \
             (CoNLL, CoNLL-U, word/TAG). {}",
            found.skipped.first().map_or("", String::as_str)
        );
        return Err(Error::Content { path: names.into(), what: what.trim_end().to_owned() });
    }
    Ok(found)
}

impl Found {
    fn size(&self) -> usize {
        self.texts.len() + self.sentences.len()
    }

    fn skip(&mut self, place: &str, why: &str) {
        self.skipped_count += 1;
        if self.skipped.len() < SHOWN {
            self.skipped.push(format!("{place}: {why}"));
        }
    }
}

/// A text file: tagged, or of the class that its name or its folder says.
fn whole(name: &str, text: &str, found: &mut Found, seen: &mut HashSet<String>) {
    let parts: Vec<&str> = name.rsplit(['/', '\\']).collect();
    let (file, folder) = (parts.first().copied().unwrap_or(""), parts.get(1).copied().unwrap_or(""));
    if ["README", "LICENSE", "CITATION"].iter().any(|n| file.to_uppercase().starts_with(n)) {
        return;
    }
    if let Some(form) = tagged::form(text) {
        for (line, sentence) in tagged::sentences(form, text) {
            match sentence {
                Ok(s) => found.sentences.push(s),
                Err(why) => found.skip(&format!("{name}:{line}"), &why),
            }
        }
        return;
    }
    let ending = file.rsplit_once('.').map_or("", |e| e.1);
    if ["pos", "neg", "neutral"].contains(&ending) {
        text.lines().for_each(|l| push(l, ending, found, seen));
    } else if folder.is_empty() {
        found.skip(name, "lies in no folder whose name could be its label");
    } else {
        push(text, folder, found, seen);
    }
}

fn push(text: &str, label: &str, found: &mut Found, seen: &mut HashSet<String>) {
    let (text, label) = (text.trim(), label.trim());
    // A text that is there twice could lie on both sides of the split.
    if !text.is_empty() && !label.is_empty() && seen.insert(text.to_owned()) {
        found.texts.push(Labelled { text: text.to_owned(), label: label.to_owned() });
    }
}

fn records(name: &str, piece: Piece, found: &mut Found, seen: &mut HashSet<String>) {
    let mut object = |line: u64, json: Result<Value, serde_json::Error>| match json {
        Ok(Value::Object(o)) => match fields(&o) {
            Ok((text, label)) => push(&text, &label, found, seen),
            Err(why) => found.skip(&format!("{name}:{line}"), &why),
        },
        Ok(_) => found.skip(&format!("{name}:{line}"), "is no JSON object"),
        Err(e) => found.skip(&format!("{name}:{line}"), &format!("is no JSON: {e}")),
    };
    match piece.body {
        Body::Lines(bytes) => {
            for (line, l) in (piece.line..).zip(bytes.split(|b| *b == b'\n')) {
                if !l.trim_ascii().is_empty() {
                    object(line, serde_json::from_slice(l));
                }
            }
        }
        Body::Values(values) => values.iter().for_each(|(line, v)| object(*line, serde_json::from_slice(v))),
        Body::Objects(values) => values.into_iter().for_each(|(line, v)| object(line, Ok(v))),
        Body::Rows(names, rows) => {
            let column = |wanted: &[&str]| {
                wanted.iter().find_map(|w| names.iter().position(|n| n.trim().to_lowercase() == *w))
            };
            let named = column(&TEXTS).zip(column(&LABELS));
            let Some((text, label)) = named.or_else(|| two_columns(&rows)) else {
                let why = format!(
                    "its columns are {}; expected one of {} and one of {}",
                    names.join(", "),
                    TEXTS.join(", "),
                    LABELS.join(", ")
                );
                found.skip(name, &why);
                return;
            };
            for (line, cells) in rows {
                match (cells.get(text), cells.get(label)) {
                    (Some(t), Some(l)) if !t.trim().is_empty() && !l.trim().is_empty() => {
                        push(t, l, found, seen);
                    }
                    _ => found.skip(&format!("{name}:{line}"), "has no text or no label"),
                }
            }
        }
        Body::Bad(why) => found.skip(&format!("{name}:{}", piece.line), &why),
        Body::Text(_) | Body::Html(_) => {}
    }
}

/// Of two columns without names: text and label, if one of them holds few things again and again.
fn two_columns(rows: &[(u64, Vec<String>)]) -> Option<(usize, usize)> {
    if rows.len() < 4 || rows.iter().any(|r| r.1.len() != 2) {
        return None;
    }
    let kinds = |i: usize| rows.iter().map(|r| r.1[i].as_str()).collect::<HashSet<_>>().len();
    let few = |i: usize| kinds(i) <= 20 && kinds(i) * 2 <= rows.len();
    [(1, 0), (0, 1)].into_iter().find(|&(text, label)| few(label) && !few(text))
}

/// Text and label of an object.
fn fields(o: &Map<String, Value>) -> Result<(String, String), String> {
    let of = |wanted: &[&str]| wanted.iter().find_map(|w| o.get(*w));
    let names = || o.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let text = of(&TEXTS).and_then(Value::as_str);
    let text = text.ok_or_else(|| format!("has no text: its fields are {}", names()))?;
    let label = match of(&LABELS) {
        Some(Value::String(s)) => s.clone(),
        Some(v @ (Value::Number(_) | Value::Bool(_))) => v.to_string(),
        _ => return Err(format!("has no label: its fields are {}", names())),
    };
    Ok((text.to_owned(), label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(files: &[(&str, &str)]) -> Result<Found, Error> {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let top = dir.path().join(name.split('/').next().unwrap());
            if !paths.contains(&top) {
                paths.push(top);
            }
        }
        read(&paths)
    }

    fn pairs(found: &Found) -> Vec<(&str, &str)> {
        found.texts.iter().map(|t| (t.text.as_str(), t.label.as_str())).collect()
    }

    #[test]
    fn texts_come_with_their_labels_from_every_form() {
        let all = [("fine", "1"), ("awful", "0")];
        assert_eq!(pairs(&from(&[("a.csv", "id,Review,Sentiment\n1,fine,1\n2,awful,0\n")]).unwrap()), all);
        let lines = "{\"text\":\"fine\",\"label\":1}\n{\"text\":\"awful\",\"label\":\"0\"}\n";
        assert_eq!(pairs(&from(&[("a.jsonl", lines)]).unwrap()), all);
        let folders = [("r/neg/1.txt", "awful\n"), ("r/pos/1.txt", "fine"), ("r/README", "About.")];
        assert_eq!(pairs(&from(&folders).unwrap()), [("awful", "neg"), ("fine", "pos")]);
        let endings = [("x.neg", "bad film\nsad film\n"), ("x.pos", "good film\n\nbad film\n")];
        let bare = "ham\tsee you\nspam\twin a prize\nham\tlate again\nham\ton my way\n";
        let all = [("see you", "ham"), ("win a prize", "spam"), ("late again", "ham"), ("on my way", "ham")];
        assert_eq!(pairs(&from(&[("a.tsv", bare)]).unwrap()), all);
        let found = from(&endings).unwrap();
        // The second "bad film" is a text that is there already.
        assert_eq!(pairs(&found), [("bad film", "neg"), ("sad film", "neg"), ("good film", "pos")]);
    }

    #[test]
    fn what_cannot_be_used_is_counted_and_a_file_of_nothing_else_is_refused() {
        let found =
            from(&[("a.jsonl", "{\"text\":\"fine\",\"label\":1}\n{\"text\":\"x\"}\n{\"text\":")]).unwrap();
        assert_eq!((found.texts.len(), found.skipped_count), (1, 2), "{:?}", found.skipped);
        assert!(found.skipped[0].contains("a.jsonl:2: has no label"), "{:?}", found.skipped);
        let e = from(&[("b.csv", "id,name,age\n1,Anna,7\n")]).unwrap_err().to_string();
        assert!(e.contains("its columns are id, name, age; expected one of text"), "{e}");
        assert!(from(&[("c.csv", "")]).is_err());
    }
}
