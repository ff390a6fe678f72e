//! Parquet → the same JSON objects that other formats give: columns of text, of questions and answers, and nested lists of turns.
//!
//! A row group is read page by page, so memory holds a page and a batch of values for each column. The file's own numbers are compared
//! with its bytes before the `parquet` crate believes them ([`guard`]); where that crate gives up by a panic, the file is damaged.

mod guard;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::TreeBuilder;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

use crate::pieces::{Body, Piece, RECORD};
use crate::source::{File, MAX_FREE, MAX_RATIO};

/// Rows that are handed out at a time, unless they hold [`BYTES`] before.
const ROWS: usize = 1024;
/// Bytes of text that are handed out at a time, and that a column is read ahead.
const BYTES: usize = 4 << 20;
/// What a row counts for at least against what a file may unpack to.
const ROW: u64 = 64;

/// Hands out the rows of a file, numbered from 1. `told` is told how many stored bytes were read.
///
/// # Errors
/// Says what is damaged, or unpacks to too much. Errors of `emit` are passed on.
pub(crate) fn read(
    file: &File,
    index: usize,
    told: &(dyn Fn(u64) + Sync),
    emit: &mut dyn FnMut(Piece) -> io::Result<()>,
) -> io::Result<()> {
    let stored = fs::File::open(&file.path)?;
    guard::footer(&stored).map_err(damaged)?;
    let reader = caught(|| SerializedFileReader::new(stored.try_clone()?))?;
    let mut left = MAX_FREE.saturating_add(file.size.saturating_mul(MAX_RATIO));
    let mut number = 1;
    for i in 0..reader.num_row_groups() {
        let group = caught(|| reader.get_row_group(i))?;
        let wanted = pages(&stored, group.metadata())?;
        let batch = batch(group.metadata());
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let mut rows = caught(|| TreeBuilder::new().with_batch_size(batch).as_iter(schema, &*group))?;
        let (first, mut held, mut bytes) = (number, Vec::new(), 0);
        loop {
            let row = caught(|| rows.next().transpose())?;
            let ended = row.is_none();
            if let Some(row) = row {
                let mut size = 0;
                let value = object(row, &mut size);
                left = left.checked_sub(ROW.max(size as u64)).ok_or_else(bomb)?;
                if size > RECORD {
                    let why = format!("is longer than {} MB", RECORD >> 20);
                    emit(Piece { file: index, line: number, body: Body::Bad(why) })?;
                } else {
                    held.push((number, value));
                    bytes += size;
                }
                number += 1;
            }
            if held.len() >= ROWS || bytes >= BYTES || (ended && !held.is_empty()) {
                bytes = 0;
                let line = held[0].0;
                emit(Piece { file: index, line, body: Body::Objects(std::mem::take(&mut held)) })?;
            }
            if ended {
                break;
            }
        }
        let said = group.metadata().num_rows();
        if i64::try_from(number - first) != Ok(said) {
            return Err(damaged(format!("row group {i} has {} rows, {said} were said", number - first)));
        }
        told(wanted);
    }
    Ok(())
}

fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("is no sound Parquet file ({why})"))
}

fn bomb() -> io::Error {
    io::Error::other(format!("unpacks to more than {MAX_RATIO} times its size: not read on"))
}

/// Calls the `parquet` crate, which panics on some files that are no Parquet.
fn caught<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(damaged),
        Err(_) => Err(damaged("what it says of itself does not fit together")),
    }
}

/// Checks the pages of all columns; gives their bytes.
fn pages(stored: &fs::File, group: &RowGroupMetaData) -> io::Result<u64> {
    let mut all = 0;
    for column in group.columns() {
        let (begin, length) = caught(|| Ok(column.byte_range()))?;
        guard::pages(stored, begin, length)
            .map_err(|e| damaged(format!("column {}: {e}", column.column_path())))?;
        all += length;
    }
    Ok(all)
}

/// Values that a column is read ahead: so many that their bytes stay bounded.
fn batch(group: &RowGroupMetaData) -> usize {
    let rows = group.num_rows().max(1);
    let largest = group.columns().iter().map(|c| c.uncompressed_size() / rows).max().unwrap_or(1).max(1);
    (BYTES as i64 / largest).clamp(1, ROWS as i64) as usize
}

fn object(row: Row, size: &mut usize) -> Value {
    let columns = row.into_columns().into_iter();
    Value::Object(columns.map(|(name, field)| (name, value(field, size))).collect())
}

/// What a field says as JSON; its texts are counted. Times and other things that no text is made of are left out.
fn value(field: Field, size: &mut usize) -> Value {
    match field {
        Field::Bool(b) => Value::Bool(b),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(x) => number(f64::from(x)),
        Field::Double(x) => number(x),
        Field::Str(s) => {
            *size += s.len();
            Value::String(s)
        }
        // Text of writers that do not mark it as such.
        Field::Bytes(b) => match std::str::from_utf8(b.data()) {
            Ok(s) => {
                *size += s.len();
                Value::String(s.to_owned())
            }
            Err(_) => Value::Null,
        },
        Field::Group(row) => object(row, size),
        Field::ListInternal(list) => {
            *size += list.len();
            Value::Array(list.elements().iter().map(|f| value(f.clone(), size)).collect())
        }
        Field::MapInternal(map) => {
            let entry = |(k, v): &(Field, Field)| match k {
                Field::Str(k) => Some((k.clone(), value(v.clone(), size))),
                _ => None,
            };
            Value::Object(map.entries().iter().filter_map(entry).collect::<Map<String, Value>>())
        }
        _ => Value::Null,
    }
}

fn number(x: f64) -> Value {
    Number::from_f64(x).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::clean::Reason;
    use crate::record::{Chat, Turn};
    use crate::{documents, prepare};

    /// Texts of a column with their definition and repetition levels.
    type Column<'a> = (&'a [&'a str], &'a [i16], &'a [i16]);

    fn written(schema: &str, groups: &[&[Column<'_>]], compression: Compression) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
        for columns in groups {
            let mut group = writer.next_row_group().unwrap();
            let mut left = columns.iter();
            while let Some(mut column) = group.next_column().unwrap() {
                let (texts, definition, repetition) = left.next().unwrap();
                let texts: Vec<ByteArray> = texts.iter().map(|t| ByteArray::from(*t)).collect();
                let levels = |l: &[i16]| (!l.is_empty()).then(|| l.to_vec());
                let (d, r) = (levels(definition), levels(repetition));
                column.typed::<ByteArrayType>().write_batch(&texts, d.as_deref(), r.as_deref()).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }

    const TEXT: &str = "message m { required binary text (UTF8); }";

    /// `messages: [{role, content}]` as pyarrow writes it.
    const NESTED: &str =
        "message m { optional group messages (LIST) { repeated group list { optional group element {
        optional binary role (UTF8); optional binary content (UTF8); } } } optional binary source (UTF8); }";

    fn nested() -> Vec<u8> {
        let (d, r) = ([4, 4, 4, 4, 4], [0, 1, 0, 1, 1]);
        let roles: Column<'_> = (&["user", "assistant", "system", "user", "assistant"], &d, &r);
        let said: Column<'_> = (&["hi", "hello", "be kind", "6*7?", "42"], &d, &r);
        written(NESTED, &[&[roles, said, (&["x", "y"], &[1, 1], &[])]], Compression::SNAPPY)
    }

    fn in_file<T>(bytes: &[u8], f: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        fs::write(&path, bytes).unwrap();
        f(&path)
    }

    fn corpus(bytes: &[u8]) -> Result<documents::Corpus, String> {
        in_file(bytes, |path| documents::read(&[path.to_owned()]).map_err(|e| e.to_string()))
    }

    #[test]
    fn columns_and_nested_turns_are_the_same_as_in_json() {
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
            let groups: [&[Column<'_>]; 2] = [&[(&["one", "two"], &[], &[])], &[(&["three 你好"], &[], &[])]];
            assert_eq!(
                corpus(&written(TEXT, &groups, codec)).unwrap().documents,
                ["one", "two", "three 你好"]
            );
        }
        let pairs = "message m { required binary question (UTF8); optional binary answer (UTF8); }";
        let columns: [Column<'_>; 2] = [(&["a", "c"], &[], &[]), (&["b", "d"], &[1, 1], &[])];
        let made = corpus(&written(pairs, &[&columns], Compression::SNAPPY)).unwrap();
        assert_eq!(made.chats, [Chat::alternating(["a", "b"]), Chat::alternating(["c", "d"])]);

        let mut second = Chat::alternating(["6*7?", "42"]);
        second.messages.insert(0, Turn::new("system", "be kind"));
        assert_eq!(corpus(&nested()).unwrap().chats, [Chat::alternating(["hi", "hello"]), second]);

        // What the `datasets` library makes of a sequence of structs: a struct of lists.
        let turned = "message m { optional group conversations { optional group from (LIST) { repeated group list { optional binary element (UTF8); } }
            optional group value (LIST) { repeated group list { optional binary element (UTF8); } } } }";
        let columns: [Column<'_>; 2] =
            [(&["human", "gpt"], &[4, 4], &[0, 1]), (&["hi", "hello"], &[4, 4], &[0, 1])];
        let made = corpus(&written(turned, &[&columns], Compression::SNAPPY)).unwrap();
        assert_eq!(made.chats, [Chat::alternating(["hi", "hello"])]);
    }

    #[test]
    fn rows_that_are_no_records_are_told_by_their_number() {
        let columns: [Column<'_>; 2] = [(&["a", "c"], &[], &[]), (&["b"], &[1, 0], &[])];
        let pairs = "message m { required binary question (UTF8); optional binary answer (UTF8); }";
        in_file(&written(pairs, &[&columns], Compression::SNAPPY), |path| {
            let out = path.parent().unwrap().join("out");
            let report =
                prepare::prepare(&[path.to_owned()], &out, &prepare::Settings::default(), &|_, _| {})
                    .unwrap();
            assert_eq!((report.records, report.broken(), report.files[0].format.as_str()), (2, 1, "Parquet"));
            let (place, why) = &report.reasons[Reason::Broken.text()].examples[0];
            assert!(place.ends_with("x.parquet:2") && why.contains("answer"), "{place} {why}");
        });
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let good = nested();
        let refused = |bytes: &[u8], words: &str| {
            let e = corpus(bytes).unwrap_err();
            assert!(e.contains("x.parquet") && e.contains(words), "{words}: {e}");
        };
        refused(b"PAR2 and no more", "Parquet");
        refused(&good[..good.len() - 5], "Parquet");
        refused(&good[..20], "Parquet");
        refused(b"PAR1", "Parquet");
        let mut footer = good.clone();
        let at = good.len() - 8;
        footer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        refused(&footer, "4294967295 bytes");
        in_file(&good, |path| {
            let archived = path.with_extension("zip");
            let mut zip = zip::ZipWriter::new(fs::File::create(&archived).unwrap());
            zip.start_file("x.parquet", zip::write::SimpleFileOptions::default()).unwrap();
            io::Write::write_all(&mut zip, &good).unwrap();
            zip.finish().unwrap();
            let e = documents::read(&[archived]).unwrap_err().to_string();
            assert!(e.contains("unpack it first"), "{e}");
        });
    }

    #[test]
    fn every_byte_changed_gives_records_or_an_error_and_never_more_memory_than_there_are_bytes() {
        let good = nested();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        // Panics of the crate are caught; without its words this test would write a book.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut outcomes = [0; 2];
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff, good[at] ^ 1, good[at].wrapping_add(1), good[at] ^ 0x80] {
                let mut bytes = good.clone();
                bytes[at] = value;
                fs::write(&path, &bytes).unwrap();
                let file = File { path: path.clone(), size: bytes.len() as u64, named: true };
                let mut rows = 0;
                let outcome = read(&file, 0, &|_| {}, &mut |p| {
                    let Body::Objects(o) = p.body else { return Ok(()) };
                    rows += o.len();
                    Ok(())
                });
                outcomes[usize::from(outcome.is_ok())] += 1;
                assert!(rows < 1 << 20, "{rows} rows from byte {at}");
            }
        }
        std::panic::set_hook(hook);
        assert!(outcomes[0] > 1000 && outcomes[1] > 1000, "{outcomes:?}");
    }
}
