//! A piece of a file → its records, each with its line, broken ones with what is wrong.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::dialect;
use crate::pieces::{BORDER, Body, Piece};
use crate::record::{Chat, Record};

/// Longer documents are cut at blank lines.
const LONG: usize = 64 << 10;
/// Parts of a long document are at least so long.
const PART: usize = 16 << 10;

/// A record, or what is wrong with it, and the line on which it begins.
pub type Parsed = (u64, Result<Record, String>);

/// The records of a piece.
pub fn records(piece: Piece) -> Vec<Parsed> {
    let mut all = Vec::new();
    match piece.body {
        Body::Bad(why) => all.push((piece.line, Err(why))),
        Body::Text(bytes) => texts(&text_of(bytes), piece.line, &mut all),
        Body::Html(bytes) => match page(&bytes) {
            Ok(text) => texts(&text, piece.line, &mut all),
            Err(why) => all.push((piece.line, Err(why))),
        },
        Body::Lines(bytes) => {
            for (line, l) in (piece.line..).zip(bytes.split(|b| *b == b'\n')) {
                if !l.trim_ascii().is_empty() {
                    value(l, line, &mut all);
                }
            }
        }
        Body::Values(values) => values.iter().for_each(|(line, v)| value(v, *line, &mut all)),
        Body::Objects(rows) => rows.iter().for_each(|(n, v)| push(dialect::records(v), *n, &mut all)),
        Body::Rows(names, rows) => {
            for (line, cells) in rows {
                if cells.len() > names.len() {
                    let why = format!("has {} cells, the first row {}", cells.len(), names.len());
                    all.push((line, Err(why)));
                    continue;
                }
                let object: Map<String, Value> =
                    names.iter().cloned().zip(cells.into_iter().map(Value::String)).collect();
                push(dialect::records(&Value::Object(object)), line, &mut all);
            }
        }
    }
    all
}

/// The records of lines that pupil wrote: as they are, long ones whole.
pub(crate) fn whole_records(piece: Piece) -> Vec<Parsed> {
    let Body::Lines(bytes) = piece.body else { return Vec::new() };
    let lines = (piece.line..).zip(bytes.split(|b| *b == b'\n')).filter(|(_, l)| !l.is_empty());
    let read = |l: &[u8]| serde_json::from_slice::<Value>(l).map_err(|e| e.to_string());
    let records = lines.flat_map(|(n, l)| match read(l).and_then(|v| dialect::records(&v)) {
        Ok(records) => records.into_iter().map(|r| (n, Ok(r))).collect(),
        Err(e) => vec![(n, Err(e))],
    });
    records.collect()
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn value(json: &[u8], line: u64, all: &mut Vec<Parsed>) {
    // A byte-order mark in the middle: files that were joined.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    if json.len() > MANY && values(json) > MANY {
        let why = format!("has more than {MANY} values: no record of text");
        return all.push((line, Err(why)));
    }
    let parsed = serde_json::from_slice::<Whole>(json).or_else(|e| match std::str::from_utf8(json) {
        Ok(_) => Err(e),
        Err(_) => serde_json::from_str(&String::from_utf8_lossy(json)),
    });
    match parsed {
        Ok(v) => push(dialect::records(&v.0), line, all),
        Err(e) => all.push((line, Err(format!("is no JSON: {e}")))),
    }
}

/// Values in a record at most: each takes some hundred bytes of memory, however short it is.
const MANY: usize = 1_000_000;

/// How many values a JSON text has at most: what separates them outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut string, mut escape, mut n) = (false, false, 1);
    for &b in json {
        if string {
            string = escape || b != b'"';
            escape = !escape && b == b'\\';
        } else {
            string = b == b'"';
            n += usize::from(matches!(b, b',' | b':' | b'[' | b'{'));
        }
    }
    n
}

/// A JSON value whose objects have every key once: of two, readers take the first or the last, so neither can be trusted.
struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Whole, D::Error> {
        from.deserialize_any(Visit).map(Whole)
    }
}

struct Visit;

impl<'de> Visitor<'de> for Visit {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Whole(v)) = list.next_element()? {
            all.push(v);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Whole(value) = map.next_value()?;
            if all.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("the key {key:?} comes twice")));
            }
            all.insert(key, value);
        }
        Ok(all.into())
    }
}

/// Long documents are cut, and a text that is a transcript becomes a conversation.
fn push(records: Result<Vec<Record>, String>, line: u64, all: &mut Vec<Parsed>) {
    match records {
        Err(why) => all.push((line, Err(why))),
        Ok(records) => {
            for r in records {
                match r {
                    Record::Document(text) => texts(&text, line, all),
                    other => all.push((line, Ok(other))),
                }
            }
        }
    }
}

/// The documents of a text: between borders, long ones in parts.
fn texts(text: &str, first: u64, all: &mut Vec<Parsed>) {
    if let Some(chats) = dialect::utterances(text) {
        all.extend(chats.into_iter().map(|c| (first, Ok(Record::Chat(c)))));
        return;
    }
    if text.lines().next().is_some_and(|l| l.matches(" +++$+++ ").count() >= 3) {
        let why = "is a file of the Cornell Movie-Dialogs Corpus: `pupil data import cornell` reads it";
        all.push((first, Err(why.to_owned())));
        return;
    }
    let (mut line, mut add) = (first, |line: u64, text: String| {
        let record = match dialect::transcript(&text) {
            Some(messages) => Record::Chat(Chat::new(messages)),
            None => Record::Document(text),
        };
        all.push((line, Ok(record)));
    });
    let lines = |s: &str| memchr::memchr_iter(b'\n', s.as_bytes()).count() as u64;
    for document in text.split(BORDER) {
        let trimmed = document.trim();
        let begin = document.len() - document.trim_start().len();
        let at = line + lines(&document[..begin]);
        line += lines(document);
        if trimmed.is_empty() {
            continue;
        }
        if trimmed.len() <= LONG {
            add(at, trimmed.to_owned());
            continue;
        }
        let (mut part, mut from, mut here) = (String::new(), at, at);
        for paragraph in trimmed.replace("\r\n", "\n").split("\n\n") {
            if !part.is_empty() {
                part.push_str("\n\n");
            }
            part.push_str(paragraph);
            here += lines(paragraph) + 2;
            if part.len() >= PART {
                add(from, std::mem::take(&mut part));
                from = here;
            }
        }
        if !part.trim().is_empty() {
            add(from, part);
        }
    }
}

/// Columns of a page that is rendered as text: so many that no line is broken.
const WIDTH: usize = 1 << 20;

/// Tags that may be open at once. Pages have tens; the time that rendering takes grows with the square.
const DEEPEST: usize = 1000;

/// Tags that never need closing.
const UNCLOSED: [&[u8]; 22] = [
    b"p", b"li", b"dt", b"dd", b"tr", b"td", b"th", b"option", b"thead", b"tbody", b"tfoot", b"br", b"img",
    b"hr", b"input", b"meta", b"link", b"col", b"area", b"wbr", b"source", b"param",
];

/// The most tags that are open at once, counted without regard to which tag closes which.
fn depth(bytes: &[u8]) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for at in memchr::memchr_iter(b'<', bytes) {
        let tag = &bytes[at + 1..];
        let closes = tag.first() == Some(&b'/');
        let name = &tag[usize::from(closes).min(tag.len())..];
        let name = &name[..name.iter().take(16).take_while(|b| b.is_ascii_alphanumeric()).count()];
        let counted = !name.is_empty() && !UNCLOSED.contains(&name.to_ascii_lowercase().as_slice());
        open =
            if counted && !closes { open + 1 } else { open.saturating_sub(usize::from(counted && closes)) };
        most = most.max(open);
    }
    most
}

fn page(bytes: &[u8]) -> Result<String, String> {
    let deepest = depth(bytes);
    if deepest > DEEPEST {
        return Err(format!("is no page: {deepest} tags are open at once, more than {DEEPEST}"));
    }
    html2text::config::plain_no_decorate()
        .no_table_borders()
        .raw_mode(true)
        .string_from_read(bytes, WIDTH)
        .map_err(|e| format!("cannot be read as HTML ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: Body) -> Vec<Parsed> {
        records(Piece { file: 0, line: 1, body })
    }

    fn document(text: &str) -> Result<Record, String> {
        Ok(Record::Document(text.into()))
    }

    #[test]
    fn texts_are_split_into_documents_with_their_lines() {
        let all = parsed(Body::Text(b"one\n<|endoftext|>\n\n two\n<|endoftext|>".to_vec()));
        assert_eq!(all, [(1, document("one")), (4, document("two"))]);
        let all = parsed(Body::Text(b"User: hi\nBot: hello\n".to_vec()));
        assert!(matches!(all[0].1, Ok(Record::Chat(_))));
    }

    #[test]
    fn long_documents_are_cut_at_blank_lines_and_nothing_is_lost() {
        let text: Vec<String> = (0..3000).map(|i| format!("paragraph {i} with some words in it")).collect();
        let all = parsed(Body::Text(text.join("\n\n").into_bytes()));
        assert!(all.len() > 3);
        let mut joined = Vec::new();
        for (line, r) in &all {
            let Ok(Record::Document(d)) = r else { panic!("no document") };
            assert_eq!(*line, 2 * joined.len() as u64 + 1);
            joined.extend(d.split("\n\n").filter(|p| !p.is_empty()).map(str::to_owned));
        }
        assert_eq!(joined, text);
    }

    #[test]
    fn broken_lines_are_named_and_others_read() {
        let all = parsed(Body::Lines(
            b"{\"text\":\"a\"}\n\n{broken\n\xef\xbb\xbf{\"text\":\"b\"}\r\n{\"text\":3}\n{\"text\":\"\xff\"}"
                .to_vec(),
        ));
        let good: Vec<u64> = all.iter().filter(|p| p.1.is_ok()).map(|p| p.0).collect();
        let bad: Vec<u64> = all.iter().filter(|p| p.1.is_err()).map(|p| p.0).collect();
        assert_eq!((good, bad), (vec![1, 4, 6], vec![3, 5]));
        assert_eq!(all[4].1, document("\u{fffd}"));
    }

    #[test]
    fn pages_give_their_text_and_no_scripts() {
        let html = b"<html><head><title>T</title><style>p{}</style></head><body><h1>Head</h1><p>One <b>two</b> &amp; three.</p>\
            <script>var x = 'nothing';</script><ul><li>item</li></ul></body></html>";
        let all = parsed(Body::Html(html.to_vec()));
        let Ok(Record::Document(text)) = &all[0].1 else { panic!("no document") };
        assert!(
            text.contains("One two & three.") && text.contains("item") && !text.contains("nothing"),
            "{text}"
        );
        for bad in
            [b"<".repeat(1 << 20), b"<script>".to_vec(), b"&amp;".repeat(1 << 18), b"<ul><li>".repeat(900)]
        {
            assert!(parsed(Body::Html(bad)).len() <= 64);
        }
        let deep = parsed(Body::Html(b"<div>".repeat(300_000)));
        assert!(deep[0].1.as_ref().unwrap_err().contains("300000 tags"), "{deep:?}");
        assert_eq!(depth(b"<p>a<p>b<br><b>c</b><DIV><i>x</i></DIV> 1 < 2 </p>"), 2);
    }
}
