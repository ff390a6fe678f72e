//! Tables with separators (CSV, TSV) → rows with the names of their columns. A quote that is never closed is told where it opened, instead
//! of making one row of all that follows.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use crate::pieces::{BLOCK, Blocks, Body, Emit, Piece, RECORD, UNCUT, too_long};

/// Rows that are handed out at a time.
const ROWS: usize = 4096;

/// Names by which a first row is known to be one of names.
const KNOWN: [&str; 32] = [
    "text",
    "content",
    "body",
    "story",
    "article",
    "document",
    "question",
    "answer",
    "prompt",
    "completion",
    "response",
    "query",
    "instruction",
    "input",
    "output",
    "chosen",
    "rejected",
    "reply",
    "title",
    "system",
    "std_answer",
    "id",
    "source",
    "label",
    "review",
    "sentence",
    "comment",
    "sentiment",
    "class",
    "category",
    "target",
    "polarity",
];

/// Text of a table, and what has to be known of it.
struct Table<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
    text: Vec<u8>,
    at: usize,
    /// Bytes since the last row.
    since: Rc<Cell<usize>>,
    /// Whether the number of quotation marks so far is odd.
    odd: Rc<Cell<bool>>,
}

impl Table<'_, '_> {
    fn more(&mut self) -> io::Result<()> {
        self.text.clear();
        self.at = 0;
        while self.text.is_empty() && self.blocks.next(&mut self.text)? {}
        Ok(())
    }

    /// The separator: the one asked for, unless the first line has none and another one.
    fn separator(&self, asked: u8) -> u8 {
        let line = self.text.split(|b| *b == b'\n').next().unwrap_or_default();
        let others = [asked, b';', b'\t'];
        others.into_iter().find(|s| line.contains(s)).unwrap_or(asked)
    }
}

impl Read for Table<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() {
            self.more()?;
        }
        let n = to.len().min(self.text.len() - self.at);
        to[..n].copy_from_slice(&self.text[self.at..self.at + n]);
        self.at += n;
        self.since.set(self.since.get() + n);
        if self.since.get() > RECORD + BLOCK {
            return Err(io::Error::other(format!("{}: is a quote open that began here?", too_long())));
        }
        self.odd.set(self.odd.get() ^ (memchr::memchr_iter(b'"', &to[..n]).count() % 2 == 1));
        Ok(n)
    }
}

/// Hands out the rows of a table; without names of its own, columns get those of the likeliest dialect.
pub(crate) fn rows(blocks: &mut Blocks<'_>, separator: u8, file: usize, emit: Emit<'_>) -> io::Result<()> {
    let (since, odd) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let mut table = Table { blocks, text: Vec::new(), at: 0, since: since.clone(), odd: odd.clone() };
    table.more()?;
    let separator = table.separator(separator);
    // Tabs separate texts that nobody quoted.
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .quoting(separator != b'\t')
        .has_headers(false)
        .flexible(true)
        .from_reader(table);
    let mut names: Option<Arc<Vec<String>>> = None;
    let mut held: Vec<(u64, Vec<String>)> = Vec::new();
    let mut row = csv::ByteRecord::new();
    // The row before is held until it is known whether the file ends with it, its quote still open.
    let mut last: Option<(u64, u64, Vec<String>)> = None;
    let (mut all, mut size) = (0u64, 0);
    loop {
        let line = reader.position().line();
        since.set(0);
        let more = match reader.read_byte_record(&mut row) {
            Ok(more) => more,
            Err(e) if e.is_io_error() => {
                let csv::ErrorKind::Io(e) = e.into_kind() else { return Err(io::Error::other("not read")) };
                return Err(io::Error::other(format!("line {line}: {e}")));
            }
            Err(e) => {
                emit(Piece { file, line, body: Body::Bad(e.to_string()) })?;
                continue;
            }
        };
        let open = !more && odd.get() && separator != b'\t';
        let swallowed = |begin: u64, end: u64| {
            let lines = end.saturating_sub(begin);
            let why =
                format!("a quote that opens in this row is not closed before the end, {lines} lines on");
            Piece { file, line: begin, body: Body::Bad(why) }
        };
        match last.take() {
            Some((begin, end, _)) if open && end > begin + 1 => emit(swallowed(begin, end))?,
            Some((begin, _, cells)) => {
                size += cells.iter().map(String::len).sum::<usize>();
                held.push((begin, cells));
            }
            None if open && all < 2 => emit(swallowed(1, line))?,
            None => {}
        }
        all += u64::from(more);
        if more {
            let cells: Vec<String> = row.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            if names.is_none() {
                let lower: Vec<String> = cells.iter().map(|c| c.trim().to_lowercase()).collect();
                let known = lower.iter().any(|c| KNOWN.contains(&c.as_str()));
                let assumed = match cells.len() {
                    1 => vec!["text".to_owned()],
                    2 => vec!["question".to_owned(), "answer".to_owned()],
                    _ => lower.clone(),
                };
                if let Some(twice) = lower.iter().enumerate().find(|(i, n)| known && lower[..*i].contains(n))
                {
                    return Err(io::Error::other(format!("its first row names two columns {:?}", twice.1)));
                }
                names = Some(Arc::new(if known { lower } else { assumed }));
                if known {
                    continue;
                }
            }
            last = Some((line, reader.position().line(), cells));
        }
        if held.len() >= ROWS || size >= UNCUT || (!more && !held.is_empty()) {
            let names = names.clone().unwrap_or_default();
            let first = held[0].0;
            size = 0;
            emit(Piece { file, line: first, body: Body::Rows(names, std::mem::take(&mut held)) })?;
        }
        if !more {
            return Ok(());
        }
    }
}
