//! Public corpora by name: where they are published, under which licence, and how their files become records.

use std::path::{Path, PathBuf};

use crate::cornell::Cornell;
use crate::parse;
use crate::pieces::{Piece, Reading};
use crate::record::Record;
use crate::source::{self, Error};
use crate::stream::stream;

/// A corpus that pupil knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Where the original is published.
    pub home: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// The files that are read.
    pub files: &'static str,
    /// What its records are; others in its files are passed over.
    pub kind: Kind,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Texts.
    Documents,
    /// Conversations.
    Chats,
    /// Two replies to a conversation.
    Preferences,
}

impl Kind {
    fn of(record: &Record) -> Kind {
        match record {
            Record::Document(_) => Kind::Documents,
            Record::Chat(_) => Kind::Chats,
            Record::Preference(_) => Kind::Preferences,
        }
    }
}

/// All of them.
pub const CORPORA: [Corpus; 9] = [
    Corpus {
        name: "cornell",
        about: "Cornell Movie-Dialogs Corpus: 220,579 exchanges from 617 films",
        home: "https://www.cs.cornell.edu/~cristian/Cornell_Movie-Dialogs_Corpus.html",
        licence: "research; cite Danescu-Niculescu-Mizil and Lee 2011",
        files: "the zip, or the folder with movie_lines.txt and movie_conversations.txt",
        kind: Kind::Chats,
    },
    Corpus {
        name: "dailydialog",
        about: "DailyDialog: 13,118 everyday conversations in English",
        home: "http://yanran.li/dailydialog",
        licence: "CC BY-NC-SA 4.0: not for commercial use",
        files: "dialogues_text.txt, or the zip with it",
        kind: Kind::Chats,
    },
    Corpus {
        name: "alpaca",
        about: "Stanford Alpaca: 52,002 instructions with answers written by a model",
        home: "https://github.com/tatsu-lab/stanford_alpaca",
        licence: "CC BY-NC 4.0: not for commercial use",
        files: "alpaca_data.json",
        kind: Kind::Chats,
    },
    Corpus {
        name: "sharegpt",
        about: "ShareGPT: conversations that people had with ChatGPT and shared",
        home: "https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered",
        licence: "unclear; see the page",
        files: "the JSON files",
        kind: Kind::Chats,
    },
    Corpus {
        name: "openassistant",
        about: "OpenAssistant Conversations: trees of messages written and ranked by people",
        home: "https://huggingface.co/datasets/OpenAssistant/oasst1",
        licence: "Apache-2.0",
        files: "the .trees.jsonl.gz file; of each tree the best-ranked thread is taken",
        kind: Kind::Chats,
    },
    Corpus {
        name: "gsm8k",
        about: "GSM8K: 8,792 word problems of grade-school mathematics",
        home: "https://github.com/openai/grade-school-math",
        licence: "MIT",
        files: "train.jsonl; keep test.jsonl for evaluation",
        kind: Kind::Chats,
    },
    Corpus {
        name: "hh-rlhf",
        about: "HH-RLHF: preferences between two replies, for alignment",
        home: "https://github.com/anthropics/hh-rlhf",
        licence: "MIT",
        files: "train.jsonl.gz of each folder",
        kind: Kind::Preferences,
    },
    Corpus {
        name: "tinystories",
        about: "TinyStories: two million short stories in the words of a small child",
        home: "https://huggingface.co/datasets/roneneldan/TinyStories",
        licence: "CDLA-Sharing-1.0",
        files: "TinyStoriesV2-GPT4-train.txt",
        kind: Kind::Documents,
    },
    Corpus {
        name: "chinese-poetry",
        about: "chinese-poetry: poems from the Tang, the Song and other times",
        home: "https://github.com/chinese-poetry/chinese-poetry",
        licence: "MIT",
        files: "a clone of the repository, or its folders of JSON",
        kind: Kind::Documents,
    },
];

/// A corpus by its name.
pub fn find(name: &str) -> Option<&'static Corpus> {
    CORPORA.iter().find(|c| c.name == name)
}

/// Records of a corpus, and what could not be read.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The records, as they are.
    pub records: Vec<Record>,
    /// What was passed over, with its place.
    pub broken: Vec<String>,
}

impl Corpus {
    /// Reads the corpus from a file, a folder or an archive.
    ///
    /// # Errors
    /// If nothing of it can be read.
    pub fn read(&self, path: &Path) -> Result<Imported, Error> {
        if self.name != "cornell" {
            return read(path, self);
        }
        let corpus = Cornell::read(path)?;
        let records = corpus.chats().map(Record::Chat).collect();
        Ok(Imported { records, broken: corpus.broken })
    }
}

fn read(path: &Path, corpus: &Corpus) -> Result<Imported, Error> {
    let (files, _) = source::files(&[PathBuf::from(path)])?;
    let mut imported = Imported::default();
    let work = |piece: Piece| (piece.file, parse::records(piece));
    let read = stream(&files, &Reading::default(), 2, &|_| {}, work, |(file, all), name_of| {
        for (line, record) in all {
            match record {
                Ok(r) if Kind::of(&r) == corpus.kind => imported.records.push(r),
                Ok(r) => {
                    let why = format!(
                        "is one of {:?}, expected {:?} ({})",
                        Kind::of(&r),
                        corpus.kind,
                        corpus.files
                    );
                    imported.broken.push(format!("{}:{line}: {why}", name_of(file)));
                }
                Err(why) => imported.broken.push(format!("{}:{line}: {why}", name_of(file))),
            }
        }
        Ok(())
    })?;
    let problems = read.abouts.into_iter().filter_map(|a| a.problem.map(|p| format!("{}: {p}", a.name)));
    imported.broken.extend(problems);
    if imported.records.is_empty() {
        let first = imported.broken.first().map_or("no files", String::as_str);
        return Err(Error::Nothing(format!("{} ({first})", path.display())));
    }
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Chat;

    #[test]
    fn daily_dialog_and_generic_corpora_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dialogues_text.txt");
        std::fs::write(&path, "How are you ? __eou__ Fine , thanks . __eou__\n").unwrap();
        let i = find("dailydialog").unwrap().read(&path).unwrap();
        assert_eq!(i.records, [Record::Chat(Chat::alternating(["How are you?", "Fine, thanks."]))]);
        let path = dir.path().join("poems.json");
        std::fs::write(
            &path,
            r#"[{"title": "静夜思", "author": "李白", "paragraphs": ["床前明月光。", "疑是地上霜。"]}]"#,
        )
        .unwrap();
        let i = find("chinese-poetry").unwrap().read(&path).unwrap();
        assert_eq!(i.records, [Record::Document("静夜思\n李白\n床前明月光。\n疑是地上霜。".into())]);
        assert!(find("nothing").is_none());
    }
}
