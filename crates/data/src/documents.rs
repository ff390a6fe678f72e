//! Files → all their documents and conversations in memory: what training reads when nobody ran `data prepare` before.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::parse;
use crate::pieces::Reading;
use crate::record::{Chat, Preference, Record};
use crate::source::{self, Error};
use crate::stream::stream;

/// What some files hold.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Documents.
    pub documents: Vec<String>,
    /// Conversations; of a preference the better reply.
    pub chats: Vec<Chat>,
    /// The preferences with both of their replies.
    pub preferences: Vec<Preference>,
    /// Files read.
    pub files: usize,
    /// Records that could not be used: file, line and reason, the first [`SHOWN`] of them.
    pub skipped: Vec<String>,
    /// How many records could not be used.
    pub skipped_count: usize,
}

impl Corpus {
    /// All texts, those of conversations with a line for each turn: what tokenizers learn from.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let chats = self.chats.iter().map(|c| Cow::Owned(c.plain()));
        self.documents.iter().map(|d| Cow::Borrowed(d.as_str())).chain(chats)
    }
}

/// Skipped records that are kept to be shown.
pub const SHOWN: usize = 20;

/// Reads files and folders.
///
/// # Errors
/// Names the file that cannot be read, or that was named and is empty or binary; or too many broken records: more than one in twenty.
pub fn read(paths: &[PathBuf]) -> Result<Corpus, Error> {
    let (files, _) = source::files(paths)?;
    let mut corpus = Corpus::default();
    let mut records = 0;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let work = |piece: crate::pieces::Piece| (piece.file, parse::records(piece));
    let read = stream(&files, &Reading::default(), threads, &|_| {}, work, |(file, all), name_of| {
        records += all.len();
        for (line, record) in all {
            match record {
                Ok(Record::Document(text)) => corpus.documents.push(text.replace("\r\n", "\n")),
                Ok(Record::Chat(chat)) => corpus.chats.push(chat),
                Ok(Record::Preference(p)) => {
                    let mut messages = p.prompt.clone();
                    messages.push(crate::record::Turn::new("assistant", p.chosen.as_str()));
                    corpus.chats.push(Chat::new(messages));
                    corpus.preferences.push(p);
                }
                Err(why) => {
                    corpus.skipped_count += 1;
                    if corpus.skipped.len() < SHOWN {
                        corpus.skipped.push(format!("{}:{line}: {why}", name_of(file)));
                    }
                }
            }
        }
        Ok(())
    })?;
    for about in read.abouts {
        let Some(problem) = about.problem else {
            corpus.files += 1;
            continue;
        };
        let named = files.iter().any(|f| f.named && source::shown(&f.path.to_string_lossy()) == about.name);
        if named {
            return Err(Error::Content { path: about.name.into(), what: problem });
        }
        corpus.skipped_count += 1;
        corpus.skipped.push(format!("{}: {problem}", about.name));
    }
    let names = || paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    if corpus.skipped_count * 20 > records {
        let first = corpus.skipped.first().map_or("not shown", String::as_str);
        let what = format!(
            "{} of {records} records cannot be used; the first: {first}. `pupil data prepare --lenient` leaves such records out and says which",
            corpus.skipped_count
        );
        return Err(Error::Content { path: names().into(), what });
    }
    if corpus.documents.is_empty() && corpus.chats.is_empty() {
        return Err(Error::Nothing(names()));
    }
    Ok(corpus)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    #[test]
    fn texts_and_chats_are_read_in_order_of_names() {
        let chats = br#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]}
{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}
{"question":"q","answer":"r"}

{"text":"doc"}
"#;
        let dir = folder(&[
            ("b.txt", b"\xef\xbb\xbfone\r\n<|endoftext|>\n two \n"),
            ("a.jsonl", chats),
            ("c.txt", b"caf\xe9 d\xe9j\xe0 vu"),
        ]);
        let c = read(&[dir.path().to_owned()]).unwrap();
        assert_eq!(c.documents, ["doc", "one", "two", "café déjà vu"]);
        assert_eq!((c.chats.len(), c.files, c.skipped_count), (3, 3, 0));
        assert_eq!(c.chats[1], Chat::alternating(["a", "b"]));
    }

    #[test]
    fn useless_files_are_named_with_what_was_expected() {
        let dir = folder(&[("empty.txt", b""), ("nul.txt", b"a\0b"), ("x.jsonl", b"{}\n[1]\n")]);
        let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(9)).repeat(40) + "{broken\n";
        fs::write(dir.path().join("mostly.jsonl"), long).unwrap();
        for (name, words) in [
            ("empty.txt", "is empty"),
            ("nul.txt", "binary"),
            ("x.jsonl", "no known dialect"),
            ("absent.txt", "No such file"),
        ] {
            let e = read(&[dir.path().join(name)]).unwrap_err().to_string();
            assert!(e.contains(name) && e.contains(words), "{e}");
        }
        let c = read(&[dir.path().join("mostly.jsonl")]).unwrap();
        assert_eq!((c.documents.len(), c.skipped_count), (40, 1));
        assert!(c.skipped[0].contains("mostly.jsonl:41"), "{:?}", c.skipped);
    }
}
