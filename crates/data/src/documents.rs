//! Files → documents and conversations.
//!
//! Read are text files (.txt, .md: one document, or several between lines `<|endoftext|>`) and JSON lines (.jsonl: `text`, `messages`,
//! `conversations`, or `question` and `answer`), each also as .zst; folders are read in order of their names. A record that cannot be used is
//! counted with its file and line; more than one in twenty is an error.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One turn of a conversation: role `system`, `user` or `assistant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The turns in order.
    pub messages: Vec<Turn>,
}

impl Chat {
    /// A conversation of alternating turns, the person's first.
    pub fn alternating<S: Into<String>>(turns: impl IntoIterator<Item = S>) -> Chat {
        let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
        let turns = turns.into_iter().enumerate();
        Chat { messages: turns.map(|(i, t)| Turn { role: role(i).into(), content: t.into() }).collect() }
    }
}

/// What some files hold.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Documents.
    pub documents: Vec<String>,
    /// Conversations.
    pub chats: Vec<Chat>,
    /// Files read.
    pub files: usize,
    /// Records that could not be used: file, line and reason, the first [`SHOWN`] of them.
    pub skipped: Vec<String>,
    /// How many records could not be used.
    pub skipped_count: usize,
}

/// Skipped records that are kept to be shown.
pub const SHOWN: usize = 20;

/// Longer documents are cut at blank lines.
const LONG: usize = 64 << 10;
/// Parts of a long document are at least so long.
const PART: usize = 16 << 10;

/// Input that cannot be used, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that the system does not give.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file whose contents are of no use.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        what: String,
    },
    /// Nothing at all was found.
    #[error("no text was found in {0}: expected .txt, .md or .jsonl files (also .zst), or a folder of them")]
    Nothing(String),
}

/// Reads files and folders.
///
/// # Errors
/// Names the file that cannot be read, is empty or binary, or holds too many broken records.
pub fn read(paths: &[PathBuf]) -> Result<Corpus, Error> {
    let mut corpus = Corpus::default();
    for path in paths {
        let mut files = Vec::new();
        collect(path, true, &mut files)?;
        for file in files {
            corpus.read_file(&file)?;
        }
    }
    if corpus.documents.is_empty() && corpus.chats.is_empty() {
        let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::Nothing(names.join(", ")));
    }
    Ok(corpus)
}

/// The kinds of file that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Lines,
}

fn kind(path: &Path) -> Option<(Kind, bool)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (name, packed) = match name.strip_suffix(".zst") {
        Some(inner) => (inner.to_owned(), true),
        None => (name, false),
    };
    let kind = match name.rsplit_once('.')?.1 {
        "txt" | "md" | "text" => Kind::Text,
        "jsonl" => Kind::Lines,
        _ => return None,
    };
    Some((kind, packed))
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path).map_err(io)?.filter_map(Result::ok).map(|e| e.path()).collect();
        entries.sort();
        for e in entries {
            let is_link = fs::symlink_metadata(&e).is_ok_and(|m| m.is_symlink());
            if !is_link {
                collect(&e, false, files)?;
            }
        }
    } else if meta.is_file() && (named || kind(path).is_some()) {
        files.push(path.to_owned());
    } else if named {
        let what = "is neither a file nor a folder".to_owned();
        return Err(Error::Content { path: path.to_owned(), what });
    }
    Ok(())
}

impl Corpus {
    fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        let content = |what: &str| Error::Content { path: path.to_owned(), what: what.to_owned() };
        let (kind, packed) = kind(path).unwrap_or((Kind::Text, false));
        let mut bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        if packed {
            let mut plain = Vec::new();
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())
                .map_err(|e| content(&format!("is no Zstandard file ({e})")))?;
            decoder
                .read_to_end(&mut plain)
                .map_err(|e| content(&format!("is a damaged Zstandard file ({e})")))?;
            bytes = plain;
        }
        if bytes.is_empty() {
            return Err(content("is empty; expected UTF-8 text"));
        }
        if kind == Kind::Text && bytes.contains(&0) {
            return Err(content("is binary (it holds NUL bytes); expected UTF-8 text"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            content(&format!(
                "is not UTF-8 (byte {} is 0x{:02x}); convert it first",
                e.valid_up_to(),
                bytes[e.valid_up_to()]
            ))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.files += 1;
        match kind {
            Kind::Text => self.add_text(text),
            Kind::Lines => self.add_lines(path, text)?,
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n");
        for document in text.split("<|endoftext|>") {
            let document = document.trim();
            if document.len() <= LONG {
                self.documents.extend((!document.is_empty()).then(|| document.to_owned()));
                continue;
            }
            let mut part = String::new();
            for paragraph in document.split("\n\n") {
                if !part.is_empty() {
                    part.push_str("\n\n");
                }
                part.push_str(paragraph);
                if part.len() >= PART {
                    self.documents.push(std::mem::take(&mut part));
                }
            }
            self.documents.extend((!part.trim().is_empty()).then_some(part));
        }
    }

    fn add_lines(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let (mut records, mut bad) = (0usize, 0usize);
        for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            records += 1;
            let outcome =
                serde_json::from_str::<Value>(line).map_err(|e| e.to_string()).and_then(|v| record(&v));
            match outcome {
                Ok(Record::Document(d)) => self.add_text(&d),
                Ok(Record::Chat(c)) => self.chats.push(c),
                Err(why) => {
                    bad += 1;
                    self.skipped_count += 1;
                    if self.skipped.len() < SHOWN {
                        self.skipped.push(format!("{}:{}: {why}", path.display(), n + 1));
                    }
                }
            }
        }
        if bad * 20 > records {
            let first = self.skipped.iter().find(|s| s.starts_with(&path.display().to_string()));
            let what = format!(
                "{bad} of {records} records cannot be used; the first: {}",
                first.map_or("not shown", String::as_str)
            );
            return Err(Error::Content { path: path.to_owned(), what });
        }
        Ok(())
    }
}

enum Record {
    Document(String),
    Chat(Chat),
}

fn record(v: &Value) -> Result<Record, String> {
    let object = v.as_object().ok_or("is no JSON object")?;
    let list = |name: &str, role: &str, content: &str| -> Option<Result<Record, String>> {
        let turns = object.get(name)?.as_array()?;
        Some(chat(turns, role, content).map(Record::Chat))
    };
    if let Some(chat) = list("messages", "role", "content").or_else(|| list("conversations", "from", "value"))
    {
        return chat;
    }
    let string = |name: &str| object.get(name).and_then(Value::as_str).filter(|s| !s.trim().is_empty());
    if let Some(text) = string("text") {
        return Ok(Record::Document(text.to_owned()));
    }
    if let Some((q, a)) = string("question").zip(string("answer")) {
        return Ok(Record::Chat(Chat::alternating([q, a])));
    }
    let keys: Vec<&str> = object.keys().map(String::as_str).take(8).collect();
    Err(format!(
        "has the keys {keys:?}; expected `text`, `messages`, `conversations`, or `question` and `answer`"
    ))
}

fn chat(turns: &[Value], role: &str, content: &str) -> Result<Chat, String> {
    let mut messages = Vec::new();
    for (i, t) in turns.iter().enumerate() {
        let get = |key: &str| t.get(key).and_then(Value::as_str);
        let who = match get(role).ok_or_else(|| format!("turn {i} has no `{role}`"))? {
            "user" | "human" => "user",
            "assistant" | "gpt" | "bot" => "assistant",
            "system" => "system",
            other => return Err(format!("turn {i} has the role {other:?}")),
        };
        let said = get(content).ok_or_else(|| format!("turn {i} has no `{content}`"))?;
        messages.push(Turn { role: who.to_owned(), content: said.trim().to_owned() });
    }
    if !messages.iter().any(|m| m.role == "assistant" && !m.content.is_empty()) {
        return Err("no turn of the assistant, so nothing to learn".to_owned());
    }
    Ok(Chat { messages })
}

/// Whether a document belongs to the validation share (`thousandths` of all): by its hash, so it stays where it is when others come.
pub fn is_validation(document: &str, thousandths: u64) -> bool {
    let hash = blake3::hash(document.as_bytes());
    let head: [u8; 8] = std::array::from_fn(|i| hash.as_bytes()[i]);
    u64::from_le_bytes(head) % 1000 < thousandths
}

#[cfg(test)]
mod tests {
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
            ("skip.bin", b"\0\0"),
        ]);
        let c = read(&[dir.path().to_owned()]).unwrap();
        assert_eq!(c.documents, ["doc", "one", "two"]);
        assert_eq!((c.chats.len(), c.files, c.skipped_count), (3, 2, 0));
        assert_eq!(c.chats[1], Chat::alternating(["a", "b"]));
    }

    #[test]
    fn useless_files_are_named_with_what_was_expected() {
        let dir = folder(&[
            ("empty.txt", b""),
            ("nul.txt", b"a\0b"),
            ("latin.txt", b"caf\xe9"),
            ("x.jsonl", b"{}\n[1]\n"),
        ]);
        let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(9)).repeat(40) + "{broken\n";
        fs::write(dir.path().join("mostly.jsonl"), long).unwrap();
        for (name, words) in [
            ("empty.txt", "is empty"),
            ("nul.txt", "binary"),
            ("latin.txt", "byte 3 is 0xe9"),
            ("x.jsonl", "expected `text`"),
            ("absent.txt", "No such file"),
        ] {
            let e = read(&[dir.path().join(name)]).unwrap_err().to_string();
            assert!(e.contains(name) && e.contains(words), "{e}");
        }
        let c = read(&[dir.path().join("mostly.jsonl")]).unwrap();
        assert_eq!((c.documents.len(), c.skipped_count), (40, 1));
        assert!(c.skipped[0].contains("mostly.jsonl:41"), "{:?}", c.skipped);
    }

    #[test]
    fn long_documents_are_cut_at_blank_lines_and_nothing_is_lost() {
        let text: Vec<String> = (0..3000).map(|i| format!("paragraph {i} with some words in it")).collect();
        let mut c = Corpus::default();
        c.add_text(&text.join("\n\n"));
        assert!(c.documents.len() > 3);
        let joined: Vec<&str> =
            c.documents.iter().flat_map(|d| d.split("\n\n")).filter(|p| !p.is_empty()).collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn the_validation_share_is_about_what_was_asked_for() {
        let n = (0..20_000).filter(|i| is_validation(&format!("document {i}"), 50)).count();
        assert!((800..1200).contains(&n), "{n}");
    }
}
