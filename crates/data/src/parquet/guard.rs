//! The numbers in a Parquet file, compared with its bytes before anything is allocated for them: lists of the footer, the schema's depth,
//! the sizes of pages. Parquet writes them in Thrift's compact protocol, of which this is a walker.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::pieces::RECORD;

/// Largest footer that is read.
const FOOTER: u64 = 64 << 20;
/// Longest header of a page.
const HEADER: usize = 64 << 10;
/// Structures within each other.
const DEEPEST: usize = 32;
/// Columns and groups of columns within each other, and in all.
const SCHEMA_DEPTH: usize = 32;
const SCHEMA: usize = 10_000;
/// How many bytes a page may unpack to: a page of one record, and what is around it.
const PAGE: i64 = (RECORD + (1 << 20)) as i64;

type Checked<T> = Result<T, String>;

/// Checks the magic at both ends and what the footer declares.
pub(super) fn footer(mut file: &File) -> Checked<()> {
    let size = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    if size < 12 {
        return Err(format!("{size} bytes, fewer than the shortest one has"));
    }
    let tail = bytes(file, size - 8, 8)?;
    if tail[4..] != *b"PAR1" {
        return Err("it does not end with PAR1: it is cut short, or encrypted".to_owned());
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length > FOOTER.min(size - 12) {
        return Err(format!("a footer of {length} bytes in a file of {size}"));
    }
    let footer = bytes(file, size - 8 - length, length as usize)?;
    let mut walker = Walker { bytes: &footer, at: 0 };
    walker.each_field(&mut |walker, field, kind| {
        if (field, kind) != (2, LIST) {
            return walker.skip(kind, 0);
        }
        let (count, kind) = walker.list()?;
        if count > SCHEMA || kind != STRUCT {
            return Err(format!("a schema of {count} columns"));
        }
        // Groups that are open, and how many of their members are to come.
        let mut open: Vec<i64> = vec![1];
        for _ in 0..count {
            let mut members = 0;
            walker.each_field(&mut |walker, field, kind| {
                if (field, kind) == (5, I32) {
                    members = walker.signed()?;
                    return Ok(());
                }
                walker.skip(kind, 0)
            })?;
            while open.last() == Some(&0) {
                open.pop();
            }
            match open.last_mut() {
                Some(left) => *left -= 1,
                None => return Err("a schema with columns outside of it".to_owned()),
            }
            if members < 0 || members > SCHEMA as i64 || open.len() > SCHEMA_DEPTH {
                return Err("a schema of too many columns within each other".to_owned());
            }
            if members > 0 {
                open.push(members);
            }
        }
        Ok(())
    })
}

/// Checks the pages that lie between two places of a file.
pub(super) fn pages(file: &File, begin: u64, length: u64) -> Checked<()> {
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let end = begin.checked_add(length).filter(|e| *e <= size);
    let end = end.ok_or_else(|| format!("{length} bytes from {begin} on in a file of {size}"))?;
    let mut at = begin;
    while at < end {
        let header = bytes(file, at, HEADER.min((end - at) as usize))?;
        let mut walker = Walker { bytes: &header, at: 0 };
        let (mut unpacked, mut packed) = (-1, -1);
        walker
            .each_field(&mut |walker, field, kind| match (field, kind) {
                (2, I32) => walker.signed().map(|n| unpacked = n),
                (3, I32) => walker.signed().map(|n| packed = n),
                _ => walker.skip(kind, 0),
            })
            .map_err(|e| format!("the header of the page at byte {at}: {e}"))?;
        let body = at + walker.at as u64;
        if packed < 0 || packed as u64 > end - body || !(0..=PAGE).contains(&unpacked) {
            return Err(format!("a page of {packed} bytes that unpacks to {unpacked}, at byte {at}"));
        }
        at = body + packed as u64;
    }
    Ok(())
}

fn bytes(mut file: &File, at: u64, length: usize) -> Checked<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
    Ok(bytes)
}

const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Walks over Thrift's compact protocol.
struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walker<'_> {
    fn byte(&mut self) -> Checked<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or("it is cut short")?;
        self.at += 1;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Checked<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    fn signed(&mut self) -> Checked<i64> {
        let n = self.unsigned()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn pass(&mut self, count: u64) -> Checked<()> {
        let left = self.bytes.len() - self.at;
        let count = usize::try_from(count).ok().filter(|n| *n <= left);
        self.at += count.ok_or("a text that goes beyond the end")?;
        Ok(())
    }

    /// The length and the kind of a list; its elements take a byte at least.
    fn list(&mut self) -> Checked<(usize, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
        let left = self.bytes.len() - self.at;
        let count = usize::try_from(count).ok().filter(|n| *n <= left);
        Ok((count.ok_or("a list that is longer than all there is")?, head & 15))
    }

    /// Calls `each` with the walker before every field of a structure, its number and its kind.
    fn each_field(&mut self, each: &mut dyn FnMut(&mut Self, i64, u8) -> Checked<()>) -> Checked<()> {
        let mut number = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.signed()?,
                delta => number.wrapping_add(i64::from(delta)),
            };
            each(self, number, head & 15)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Checked<()> {
        if depth > DEEPEST {
            return Err("structures too deep within each other".to_owned());
        }
        match kind {
            // Truth values are in the head of their field.
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => {
                let n = self.unsigned()?;
                self.pass(n)
            }
            9 | 10 => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    // In a list a truth value takes a byte.
                    self.skip(if kind < 3 { 3 } else { kind }, depth + 1)?;
                }
                Ok(())
            }
            11 => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..count {
                    for kind in [kinds >> 4, kinds & 15] {
                        self.skip(if kind < 3 { 3 } else { kind }, depth + 1)?;
                    }
                }
                Ok(())
            }
            12 => self.each_field(&mut |walker, _, kind| walker.skip(kind, depth + 1)),
            other => Err(format!("a value of the unknown kind {other}")),
        }
    }
}
