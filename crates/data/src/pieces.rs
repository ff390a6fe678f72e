//! One stream of bytes → pieces that can be worked on side by side: blocks of text, of JSON lines, of values, of rows.
//!
//! Memory is bounded whatever the size of the input: a piece holds a few megabytes, a record at most [`RECORD`].

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use memchr::memmem;

use crate::encoding::{Charset, Detected, ToUtf8, detect};
use crate::source::shown;
use crate::tables;

/// Longest record that is read: a line of JSON, a value, an HTML page.
pub const RECORD: usize = 64 << 20;
/// Bytes read at a time, and of which the encoding is told.
pub(crate) const BLOCK: usize = 1 << 20;
/// A block of text without a border between documents is cut at a blank line beyond this.
pub(crate) const UNCUT: usize = 4 << 20;
/// What separates documents in a text file.
pub(crate) const BORDER: &str = "<|endoftext|>";

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text or Markdown.
    Text,
    /// HTML or XML, of which the text is read.
    Html,
    /// A JSON list of records, or records one after the other.
    Json,
    /// A record on each line.
    JsonLines,
    /// Rows with separators.
    Csv(u8),
    /// Columns, each in a place of its own.
    Parquet,
}

impl Format {
    /// By the ending of a name; anything unknown is taken for text.
    pub fn of(name: &str) -> Format {
        let lower = name.to_lowercase();
        match lower.rsplit('/').next().unwrap_or_default().rsplit_once('.').map_or("", |e| e.1) {
            "html" | "htm" | "xhtml" | "xml" => Format::Html,
            "json" => Format::Json,
            "jsonl" | "ndjson" => Format::JsonLines,
            "csv" => Format::Csv(b','),
            "tsv" => Format::Csv(b'\t'),
            "parquet" => Format::Parquet,
            _ => Format::Text,
        }
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Html => "HTML",
            Format::Json => "JSON",
            Format::JsonLines => "JSON lines",
            Format::Csv(b'\t') => "TSV",
            Format::Csv(_) => "CSV",
            Format::Parquet => "Parquet",
        }
    }
}

/// Something to work on, and the line (from 1) on which it begins.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Index of the file among those reported.
    pub file: usize,
    /// The first line.
    pub line: u64,
    /// What it is.
    pub body: Body,
}

/// The contents of a piece, as UTF-8 that may have errors.
#[derive(Clone, Debug)]
pub enum Body {
    /// Text; whole documents, or whole paragraphs of a long one.
    Text(Vec<u8>),
    /// A page.
    Html(Vec<u8>),
    /// Whole lines of JSON.
    Lines(Vec<u8>),
    /// JSON values with their lines.
    Values(Vec<(u64, Vec<u8>)>),
    /// Rows of Parquet with their numbers.
    Objects(Vec<(u64, serde_json::Value)>),
    /// Rows with their lines, and the names of the columns.
    Rows(Arc<Vec<String>>, Vec<(u64, Vec<String>)>),
    /// A record that cannot be read.
    Bad(String),
}

/// What a file turned out to be.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name; of an entry of an archive both names.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Its encoding; none of a binary file.
    pub charset: Option<&'static str>,
    /// A line of it, if the encoding is a guess.
    pub sample: Option<String>,
    /// Bytes that were no characters of the encoding.
    pub replaced: u64,
    /// What kept it, or a part of it, from being read.
    pub problem: Option<String>,
    /// Whether reading began and did not come to the end.
    pub damaged: bool,
}

/// How bytes are read as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The encoding; without it, it is found out for each file.
    pub encoding: Option<Charset>,
    /// Whether files are read on in which more than one character in a thousand is none.
    pub lossy: bool,
}

impl Piece {
    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        match &self.body {
            Body::Text(b) | Body::Html(b) | Body::Lines(b) => b.len(),
            Body::Values(all) => all.iter().map(|v| v.1.len()).sum(),
            Body::Objects(all) => all.len() << 10,
            Body::Rows(_, rows) => rows.iter().flat_map(|r| &r.1).map(String::len).sum(),
            Body::Bad(_) => 0,
        }
    }
}

impl About {
    /// A file of which only the name is known.
    pub fn unread(name: &str) -> About {
        About {
            name: shown(name),
            format: Format::of(name),
            charset: None,
            sample: None,
            replaced: 0,
            problem: None,
            damaged: false,
        }
    }
}

/// Text of a stream, in UTF-8, a block at a time.
pub(crate) struct Blocks<'a> {
    bytes: &'a mut dyn BufRead,
    head: Vec<u8>,
    to: ToUtf8,
    ended: bool,
    lossy: bool,
}

/// Characters that may be none in any file, as where its end cuts one.
const WRONG: u64 = 3;

impl Blocks<'_> {
    /// Appends the next block; says whether more may come.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut block = std::mem::take(&mut self.head);
        if block.is_empty() {
            self.bytes.take(BLOCK as u64).read_to_end(&mut block)?;
        }
        self.ended = block.is_empty();
        self.to.push(&block, self.ended, out);
        let ToUtf8 { chars, replaced, first, .. } = self.to;
        if !self.lossy && replaced > WRONG && replaced * 1000 > chars {
            let what = format!(
                "{replaced} of its first {chars} characters are none in this encoding, the first at byte {}: not read on; \
                 --encoding NAME reads it in another, --lossy as it is",
                first.unwrap_or(0)
            );
            return Err(io::Error::other(what));
        }
        Ok(!self.ended)
    }
}

/// Reads a stream and hands out its pieces.
///
/// # Errors
/// Of reading the first block. What comes later stops the file, and [`About`] tells why.
pub fn read(
    name: &str,
    file: usize,
    bytes: &mut dyn BufRead,
    reading: &Reading,
    emit: &mut dyn FnMut(Piece) -> io::Result<()>,
) -> io::Result<About> {
    let mut head = Vec::new();
    bytes.take(BLOCK as u64).read_to_end(&mut head)?;
    let format = Format::of(name);
    let mut about = About::unread(name);
    if head.is_empty() {
        about.problem = Some("is empty; expected text".to_owned());
        return Ok(about);
    }
    if format == Format::Parquet || head.starts_with(PARQUET) {
        about.format = Format::Parquet;
        about.problem = Some(not_parquet(head.starts_with(PARQUET)));
        return Ok(about);
    }
    let found = detect(&head, head.len() < BLOCK);
    let mark = found.map_or(0, |d| d.mark);
    let wanted = reading.encoding.map(|charset| Detected { charset, mark, guessed: false });
    let Some(Detected { charset, mark, guessed }) = wanted.or(found) else {
        about.problem = Some("is binary, not text; expected UTF-8 or another encoding of text".to_owned());
        return Ok(about);
    };
    about.charset = Some(charset.name());
    head.drain(..mark);
    about.sample = guessed.then(|| sample(&head, charset));
    let mut blocks = Blocks { bytes, head, to: ToUtf8::new(charset), ended: false, lossy: reading.lossy };
    let outcome = match format {
        Format::Text => texts(&mut blocks, file, emit),
        Format::JsonLines => lines(&mut blocks, file, emit),
        Format::Json => values(&mut blocks, file, emit),
        Format::Html => whole(&mut blocks, file, emit),
        Format::Csv(separator) => tables::rows(&mut blocks, separator, file, emit),
        Format::Parquet => Ok(()),
    };
    about.replaced = blocks.to.replaced;
    if let Err(e) = outcome {
        about.problem = Some(e.to_string());
        about.damaged = true;
    }
    Ok(about)
}

/// The beginning of the first line with a character that is not ASCII, by which a person sees whether a guess was right.
fn sample(head: &[u8], charset: Charset) -> String {
    let at = head.iter().position(|b| *b >= 0x80).unwrap_or(0);
    let begin = memchr::memrchr(b'\n', &head[..at]).map_or(0, |i| i + 1);
    // UTF-16 has its line end's second byte behind it.
    let begin = if charset.name().starts_with("UTF-16") { begin.next_multiple_of(2) } else { begin };
    let (mut to, mut text) = (ToUtf8::new(charset), Vec::new());
    to.push(&head[begin.min(head.len())..head.len().min(begin + 400)], true, &mut text);
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(40).collect()
}

/// How a Parquet file begins.
pub(crate) const PARQUET: &[u8] = b"PAR1";

/// What keeps a Parquet file, or one that is named so, from being read as a stream.
fn not_parquet(begins: bool) -> String {
    if begins {
        return "is a Parquet file within another file; unpack it first".to_owned();
    }
    "is named as a Parquet file, but does not begin with PAR1".to_owned()
}

pub(crate) type Emit<'a> = &'a mut dyn FnMut(Piece) -> io::Result<()>;

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn texts(blocks: &mut Blocks<'_>, file: usize, emit: Emit<'_>) -> io::Result<()> {
    let (mut held, mut line) = (Vec::new(), 1);
    let border = memmem::FinderRev::new(BORDER);
    while blocks.next(&mut held)? {
        let cut = border.rfind(&held).map(|i| i + BORDER.len()).or_else(|| {
            let long = held.len() >= UNCUT;
            let blank = || memmem::rfind(&held, b"\n\n").map(|i| i + 2);
            let ended = || memchr::memrchr(b'\n', &held).map(|i| i + 1);
            // A character is at most 4 bytes, and a border may be cut in two.
            let anywhere = || (held.len() - BORDER.len()..held.len()).rev().find(|i| held[*i] & 0xc0 != 0x80);
            long.then(|| blank().or_else(ended).or_else(anywhere)).flatten()
        });
        let Some(cut) = cut.filter(|c| *c > 0) else { continue };
        let rest = held.split_off(cut);
        let piece = std::mem::replace(&mut held, rest);
        let n = newlines(&piece);
        emit(Piece { file, line, body: Body::Text(piece) })?;
        line += n;
    }
    if held.is_empty() { Ok(()) } else { emit(Piece { file, line, body: Body::Text(held) }) }
}

fn lines(blocks: &mut Blocks<'_>, file: usize, emit: Emit<'_>) -> io::Result<()> {
    let (mut held, mut line, mut skipping) = (Vec::new(), 1, false);
    loop {
        let more = blocks.next(&mut held)?;
        if skipping {
            let end = memchr::memchr(b'\n', &held);
            held.drain(..end.map_or(held.len(), |e| e + 1));
            skipping = end.is_none();
            line += u64::from(end.is_some());
        }
        let cut = if more { memchr::memrchr(b'\n', &held).map_or(0, |i| i + 1) } else { held.len() };
        if cut > 0 {
            let rest = held.split_off(cut);
            let piece = std::mem::replace(&mut held, rest);
            let n = newlines(&piece);
            emit(Piece { file, line, body: Body::Lines(piece) })?;
            line += n;
        }
        if held.len() > RECORD {
            emit(Piece { file, line, body: Body::Bad(too_long()) })?;
            held.clear();
            skipping = true;
        }
        if !more {
            return Ok(());
        }
    }
}

pub(crate) fn too_long() -> String {
    format!("is longer than {} MB", RECORD >> 20)
}

fn whole(blocks: &mut Blocks<'_>, file: usize, emit: Emit<'_>) -> io::Result<()> {
    let mut all = Vec::new();
    while blocks.next(&mut all)? {
        if all.len() > RECORD {
            return emit(Piece { file, line: 1, body: Body::Bad(too_long()) });
        }
    }
    emit(Piece { file, line: 1, body: Body::Html(all) })
}

fn values(blocks: &mut Blocks<'_>, file: usize, emit: Emit<'_>) -> io::Result<()> {
    let (mut scan, mut block) = (Scan { line: 1, ..Scan::default() }, Vec::new());
    loop {
        block.clear();
        let more = blocks.next(&mut block)?;
        scan.push(&block);
        if !more {
            scan.finish();
        }
        for line in scan.too_long.drain(..) {
            emit(Piece { file, line, body: Body::Bad(too_long()) })?;
        }
        if let Some((line, _)) = scan.done.first() {
            let line = *line;
            emit(Piece { file, line, body: Body::Values(std::mem::take(&mut scan.done)) })?;
        }
        if !more {
            return Ok(());
        }
    }
}

/// Finds the values of a JSON text without reading them: the elements of a list, or values one after the other. It only knows
/// strings and brackets, so a broken value costs itself, not those after it.
#[derive(Default)]
struct Scan {
    line: u64,
    begin: u64,
    depth: usize,
    string: bool,
    escape: bool,
    /// Whether the text is a list; unknown before its first character.
    list: Option<bool>,
    value: Vec<u8>,
    over: bool,
    done: Vec<(u64, Vec<u8>)>,
    too_long: Vec<u64>,
}

impl Scan {
    fn push(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.line += u64::from(b == b'\n');
            if self.string {
                self.keep(b);
                self.string = self.escape || b != b'"';
                self.escape = !self.escape && b == b'\\';
                if !self.string && self.depth == 0 {
                    self.finish();
                }
                continue;
            }
            match b {
                b' ' | b'\t' | b'\r' | b'\n' | b',' if self.depth == 0 => self.finish(),
                b'[' if self.list.is_none() => self.list = Some(true),
                b']' if self.depth == 0 => {
                    self.finish();
                    self.list = None;
                }
                b'{' | b'[' => {
                    self.list.get_or_insert(false);
                    self.keep(b);
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.keep(b);
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.finish();
                    }
                }
                _ => {
                    self.list.get_or_insert(false);
                    self.keep(b);
                    self.string = b == b'"';
                }
            }
        }
    }

    fn keep(&mut self, b: u8) {
        if self.value.is_empty() {
            self.begin = self.line;
        }
        if self.value.len() < RECORD {
            self.value.push(b);
        } else {
            self.over = true;
        }
    }

    fn finish(&mut self) {
        let value = std::mem::take(&mut self.value);
        if std::mem::take(&mut self.over) {
            self.too_long.push(self.begin);
        } else if !value.is_empty() {
            self.done.push((self.begin, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(name: &str, bytes: &[u8]) -> Vec<Piece> {
        let mut all = Vec::new();
        read(name, 0, &mut &*bytes, &Reading::default(), &mut |p| {
            all.push(p);
            Ok(())
        })
        .unwrap();
        all
    }

    fn found(json: &[u8], step: usize) -> Vec<(u64, String)> {
        let mut s = Scan { line: 1, ..Scan::default() };
        json.chunks(step).for_each(|c| s.push(c));
        s.finish();
        s.done.into_iter().map(|(l, v)| (l, String::from_utf8(v).unwrap())).collect()
    }

    #[test]
    fn values_are_found_in_lists_and_in_rows() {
        for step in [1, 2, 1000] {
            let list = b"[\n {\"a\": \"]}\\\"\"},\n [1, [2]], \"s,\", 7\n]\n";
            let want = [(2, "{\"a\": \"]}\\\"\"}"), (3, "[1, [2]]"), (3, "\"s,\""), (3, "7")];
            let want: Vec<(u64, String)> = want.iter().map(|(l, v)| (*l, (*v).to_owned())).collect();
            assert_eq!(found(list, step), want);
            let rows = b"{\"a\":1}{\"b\":2}\n[3]\n{\"cut\": [1,";
            let values: Vec<String> = found(rows, step).into_iter().map(|v| v.1).collect();
            assert_eq!(values, ["{\"a\":1}", "{\"b\":2}", "[3]", "{\"cut\": [1,"]);
        }
    }

    #[test]
    fn long_texts_are_cut_between_documents_and_nothing_is_lost() {
        let document = "a line of text\n".repeat(20_000);
        let text = format!("{document}{BORDER}\n").repeat(8);
        let all = pieces("x.txt", text.as_bytes());
        assert!(all.len() > 2);
        let mut joined = Vec::new();
        for p in &all {
            let Body::Text(t) = &p.body else { panic!("no text") };
            assert_eq!(p.line, newlines(&joined) + 1);
            joined.extend_from_slice(t);
        }
        assert_eq!(joined, text.as_bytes());
        let one = "语".repeat(3 << 20);
        let all = pieces("x.txt", one.as_bytes());
        assert!(all.len() > 1);
        for p in all {
            let Body::Text(t) = p.body else { panic!("no text") };
            assert!(std::str::from_utf8(&t).is_ok());
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let text =
            [b"{\"text\":\"a\"}\n".as_slice(), &vec![b'x'; RECORD + BLOCK], b"\n{\"text\":\"b\"}"].concat();
        let all = pieces("x.jsonl", &text);
        let bad: Vec<u64> = all.iter().filter(|p| matches!(p.body, Body::Bad(_))).map(|p| p.line).collect();
        assert_eq!(bad, [2]);
        let Body::Lines(last) = &all.last().unwrap().body else { panic!("no lines") };
        assert_eq!((last.as_slice(), all.last().unwrap().line), (b"{\"text\":\"b\"}".as_slice(), 3));
    }

    #[test]
    fn rows_have_names() {
        for (text, names) in [
            ("Question,Answer\n\"a\nb\",c\n", vec!["question", "answer"]),
            ("hello,hi\n", vec!["question", "answer"]),
            ("only one\n", vec!["text"]),
        ] {
            let all = pieces("x.csv", text.as_bytes());
            let Body::Rows(n, rows) = &all[0].body else { panic!("no rows") };
            assert_eq!(
                (n.to_vec(), rows.len()),
                (names.iter().map(|n| (*n).to_owned()).collect(), 1),
                "{text}"
            );
        }
    }
}
