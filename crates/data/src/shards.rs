//! Token shards: documents as ids in a file, ready for training.
//!
//! A header of 128 bytes (magic, version, width of an id, tokenizer's hash, numbers of ids and documents, checksum), then the ids in two
//! or four bytes each, then where each document ends, all little-endian. Ids are read by position, not mapped: a file that
//! shrinks under a run gives an error with its name, where a mapping would kill the process.

use std::fs;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pupil_tokenizer::{Encoder, Tokenizer};

use crate::parse;
use crate::pieces::{Piece, Reading};
use crate::record::Record;
use crate::source::{Error, File};
use crate::stream::stream;

const MAGIC: &[u8; 8] = b"PUPILTOK";
const VERSION: u32 = 1;
const HEADER: u64 = 128;
/// Bytes that are checked at a time.
const BLOCK: usize = 1 << 20;

/// What identifies a tokenizer: a hash of its `tokenizer.json`.
pub fn identity(tokenizer: &Tokenizer) -> [u8; 32] {
    *blake3::hash(tokenizer.to_json().as_bytes()).as_bytes()
}

/// Bytes of an id: two if the vocabulary allows it.
fn width(vocabulary: usize) -> usize {
    if vocabulary <= 1 << 16 { 2 } else { 4 }
}

/// Writes a shard; without [`Writer::finish`] the file is none.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<fs::File>,
    width: usize,
    tokenizer: [u8; 32],
    vocabulary: usize,
    ids: u64,
    ends: Vec<u64>,
    hash: blake3::Hasher,
}

impl Writer {
    /// Begins a shard of a tokenizer's ids.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path, tokenizer: &Tokenizer) -> Result<Writer, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(path).map_err(io)?);
        file.write_all(&[0; HEADER as usize]).map_err(io)?;
        Ok(Writer {
            path: path.to_owned(),
            file,
            width: width(tokenizer.len()),
            tokenizer: identity(tokenizer),
            vocabulary: tokenizer.len(),
            ids: 0,
            ends: Vec::new(),
            hash: blake3::Hasher::new(),
        })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, ids: &[u32]) -> Result<(), Error> {
        let bytes: Vec<u8> = match self.width {
            2 => ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect(),
            _ => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        };
        self.put(&bytes)?;
        self.ids += ids.len() as u64;
        self.ends.push(self.ids);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Writes the documents' ends and the header.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        let ends: Vec<u8> = self.ends.iter().flat_map(|e| e.to_le_bytes()).collect();
        self.put(&ends)?;
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(self.width as u32).to_le_bytes());
        header.extend_from_slice(&(self.vocabulary as u64).to_le_bytes());
        header.extend_from_slice(&self.ids.to_le_bytes());
        header.extend_from_slice(&(self.ends.len() as u64).to_le_bytes());
        header.extend_from_slice(&self.tokenizer);
        header.extend_from_slice(self.hash.finalize().as_bytes());
        header.resize(HEADER as usize, 0);
        let path = self.path.clone();
        let io = |source| Error::Io { path: path.clone(), source };
        self.file.flush().map_err(io)?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(&header).map_err(io)?;
        file.sync_all().map_err(io)
    }
}

/// Writes the records of a file of JSON lines as a shard; `encode` appends the ids of one, or says that it is not wanted. Gives the number of
/// ids.
///
/// # Errors
/// If a file cannot be read or written.
pub fn tokenize<'a, E>(
    lines: &Path,
    out: &Path,
    tokenizer: &'a Tokenizer,
    threads: usize,
    encode: impl Fn() -> E + Sync,
) -> Result<u64, Error>
where
    E: FnMut(Record, &mut Vec<u32>) -> bool + 'a,
{
    let size = fs::metadata(lines).map_err(|source| Error::Io { path: lines.to_owned(), source })?.len();
    let files = [File { path: lines.to_owned(), size, named: true }];
    let mut writer = Writer::create(out, tokenizer)?;
    let work = |piece: Piece| -> Vec<Vec<u32>> {
        let mut encode = encode();
        let one = |record| {
            let mut ids = Vec::new();
            encode(record, &mut ids).then_some(ids)
        };
        parse::whole_records(piece).into_iter().filter_map(|(_, r)| r.ok()).filter_map(one).collect()
    };
    stream(&files, &Reading::default(), threads, &|_| {}, work, |documents, _| {
        documents.iter().try_for_each(|d| writer.add(d))
    })?;
    let ids = writer.ids;
    writer.finish()?;
    Ok(ids)
}

/// How documents become ids: their text, and `end` behind it.
pub fn documents(tokenizer: &Tokenizer, end: u32) -> impl FnMut(Record, &mut Vec<u32>) -> bool {
    let mut encoder = Encoder::new(tokenizer);
    move |record, ids| {
        let Record::Document(text) = record else { return false };
        encoder.encode(&text, ids);
        ids.push(end);
        true
    }
}

/// A shard that is open for reading.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: fs::File,
    width: usize,
    vocabulary: u64,
    tokenizer: [u8; 32],
    checksum: [u8; 32],
    ids: u64,
    ends: Vec<u64>,
}

impl Shard {
    /// Opens a shard and checks its header, its size and its documents' ends.
    ///
    /// # Errors
    /// Says what does not fit: the magic, the version, the size, an end before the one before it.
    pub fn open(path: &Path) -> Result<Shard, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let content = |what: String| Error::Content { path: path.to_owned(), what };
        let mut file = fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut header = [0u8; HEADER as usize];
        if size < HEADER {
            return Err(content(format!("is no token shard: {size} bytes, fewer than its header")));
        }
        file.read_exact(&mut header).map_err(io)?;
        if header[..8] != *MAGIC {
            return Err(content("is no token shard, or was not finished".to_owned()));
        }
        let u32_at = |i: usize| u32::from_le_bytes(std::array::from_fn(|k| header[i + k]));
        let u64_at = |i: usize| u64::from_le_bytes(std::array::from_fn(|k| header[i + k]));
        let (version, width) = (u32_at(8), u32_at(12) as usize);
        if version != VERSION {
            return Err(content(format!(
                "has version {version} of the shard format; this pupil reads {VERSION}"
            )));
        }
        if width != 2 && width != 4 {
            return Err(content(format!("has ids of {width} bytes, expected 2 or 4")));
        }
        let (vocabulary, ids, documents) = (u64_at(16), u64_at(24), u64_at(32));
        let body = ids.checked_mul(width as u64).and_then(|b| b.checked_add(documents.checked_mul(8)?));
        let expected = body.and_then(|b| b.checked_add(HEADER));
        if expected != Some(size) {
            return Err(content(format!(
                "is damaged: {size} bytes, but its header tells of {ids} ids and {documents} documents"
            )));
        }
        file.seek(SeekFrom::Start(HEADER + ids * width as u64)).map_err(io)?;
        let mut bytes = vec![0; documents as usize * 8];
        file.read_exact(&mut bytes).map_err(io)?;
        let ends: Vec<u64> =
            bytes.chunks_exact(8).map(|b| u64::from_le_bytes(std::array::from_fn(|k| b[k]))).collect();
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) != ids {
            return Err(content("is damaged: its documents' ends are not in order".to_owned()));
        }
        Ok(Shard {
            path: path.to_owned(),
            file,
            width,
            vocabulary,
            tokenizer: std::array::from_fn(|k| header[40 + k]),
            checksum: std::array::from_fn(|k| header[72 + k]),
            ids,
            ends,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Ids in all.
    pub fn ids(&self) -> u64 {
        self.ids
    }

    /// Whether it was written with this tokenizer.
    pub fn is_of(&self, tokenizer: &Tokenizer) -> bool {
        self.tokenizer == identity(tokenizer)
    }

    /// The ids of documents `range`, and where each ends among them.
    ///
    /// # Errors
    /// If the file cannot be read or holds an id that the vocabulary does not have.
    ///
    /// # Panics
    /// If the range goes beyond the documents.
    pub fn documents(&self, range: std::ops::Range<usize>) -> Result<(Vec<u32>, Vec<usize>), Error> {
        let first = range.start.checked_sub(1).map_or(0, |i| self.ends[i]);
        let ends: Vec<usize> = self.ends[range].iter().map(|e| (e - first) as usize).collect();
        let mut ids = Vec::new();
        self.read(first, ends.last().copied().unwrap_or(0), &mut Vec::new(), &mut ids)?;
        Ok((ids, ends))
    }

    /// Where each document ends among the ids.
    pub(crate) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// What tells this shard from others: the checksum of its contents.
    pub fn checksum(&self) -> &[u8; 32] {
        &self.checksum
    }

    /// Appends `count` ids from the `first` on; `bytes` is room for them as they are stored.
    pub(crate) fn read(
        &self,
        first: u64,
        count: usize,
        bytes: &mut Vec<u8>,
        ids: &mut Vec<u32>,
    ) -> Result<(), Error> {
        bytes.resize(count * self.width, 0);
        read_at(&self.file, bytes, HEADER + first * self.width as u64)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let begin = ids.len();
        match self.width {
            2 => ids.extend(bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])))),
            _ => ids.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        }
        if let Some(at) = ids[begin..].iter().position(|id| u64::from(*id) >= self.vocabulary) {
            let what = format!(
                "is damaged: token {} is {}, the vocabulary has {}",
                first + at as u64,
                ids[begin + at],
                self.vocabulary
            );
            return Err(Error::Content { path: self.path.clone(), what });
        }
        Ok(())
    }

    /// Reads the whole file and compares its checksum.
    ///
    /// # Errors
    /// If it differs.
    pub fn verify(&self) -> Result<(), Error> {
        let size = self.ids * self.width as u64 + 8 * self.ends.len() as u64;
        let (mut hash, mut block) = (blake3::Hasher::new(), Vec::new());
        for at in (0..size).step_by(BLOCK) {
            block.resize((size - at).min(BLOCK as u64) as usize, 0);
            read_at(&self.file, &mut block, HEADER + at)
                .map_err(|source| Error::Io { path: self.path.clone(), source })?;
            hash.update(&block);
        }
        if *hash.finalize().as_bytes() == self.checksum {
            return Ok(());
        }
        let what = "is damaged: its checksum is not that of its contents".to_owned();
        Err(Error::Content { path: self.path.clone(), what })
    }
}

/// Fills `to` with what stands at a place of a file.
fn read_at(file: &fs::File, to: &mut [u8], at: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, to, at);
    #[cfg(not(unix))]
    {
        let mut file = file;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        pupil_tokenizer::train(["some words, some more words"; 3], 270, &["<|endoftext|>"])
    }

    fn write(path: &Path, t: &Tokenizer, documents: &[Vec<u32>]) {
        let mut w = Writer::create(path, t).unwrap();
        documents.iter().for_each(|d| w.add(d).unwrap());
        w.finish().unwrap();
    }

    #[test]
    fn documents_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, t) = (dir.path().join("x.tokens"), tokenizer());
        let documents: Vec<Vec<u32>> = ["some words", "", "more"].iter().map(|d| t.encode(d)).collect();
        write(&path, &t, &documents);
        let s = Shard::open(&path).unwrap();
        s.verify().unwrap();
        assert!(s.is_of(&t) && !s.is_of(&pupil_tokenizer::train(["x"], 257, &[])));
        assert_eq!((s.len(), s.ids()), (3, documents.concat().len() as u64));
        let (ids, ends) = s.documents(0..3).unwrap();
        assert_eq!(ids, documents.concat());
        assert_eq!(ends, [documents[0].len(), documents[0].len(), ids.len()]);
        assert_eq!(s.documents(2..3).unwrap().0, documents[2]);
    }

    #[test]
    fn v7_numbers_are_little_endian_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, t) = (dir.path().join("x.tokens"), tokenizer());
        write(&path, &t, &[vec![258, 3]]);
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!((&bytes[8..12], &bytes[128..132]), (&[VERSION as u8, 0, 0, 0][..], &[2, 1, 3, 0][..]));
        bytes[8..12].reverse();
        fs::write(&path, &bytes).unwrap();
        assert!(Shard::open(&path).is_err());
    }

    #[test]
    fn lines_become_a_shard() {
        let dir = tempfile::tempdir().unwrap();
        let (lines, path, t) = (dir.path().join("x.jsonl"), dir.path().join("x.tokens"), tokenizer());
        fs::write(
            &lines,
            "{\"text\":\"some words\"}\n{\"question\":\"q\",\"answer\":\"a\"}\n{\"text\":\"more\"}\n",
        )
        .unwrap();
        let end = t.special("<|endoftext|>").unwrap();
        let n = tokenize(&lines, &path, &t, 2, || super::documents(&t, end)).unwrap();
        let s = Shard::open(&path).unwrap();
        let want = [t.encode("some words"), vec![end], t.encode("more"), vec![end]].concat();
        assert_eq!((s.documents(0..2).unwrap().0, n), (want.clone(), want.len() as u64));
    }

    #[test]
    fn damaged_files_are_refused_by_name_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (path, t) = (dir.path().join("x.tokens"), tokenizer());
        write(&path, &t, &[t.encode("some words")]);
        let good = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], words: &str| {
            fs::write(&path, bytes).unwrap();
            let outcome = Shard::open(&path).and_then(|s| {
                s.documents(0..s.len())?;
                s.verify()
            });
            let e = outcome.unwrap_err().to_string();
            assert!(e.contains("x.tokens") && e.contains(words), "{words}: {e}");
        };
        let with = |at: usize, b: u8| {
            let mut bytes = good.clone();
            bytes[at] = b;
            bytes
        };
        refused(&good[..50], "no token shard");
        refused(&good[..good.len() - 1], "is damaged");
        refused(&with(0, b'X'), "no token shard");
        refused(&with(8, 9), "version 9");
        refused(&with(12, 3), "3 bytes");
        refused(&with(31, 255), "is damaged");
        refused(&with(HEADER as usize + 1, 255), "token 0");
        refused(&with(HEADER as usize, good[HEADER as usize] ^ 1), "checksum");
        refused(&with(good.len() - 1, 1), "not in order");
        Writer::create(&path, &t).unwrap().add(&[1]).unwrap();
        assert!(Shard::open(&path).unwrap_err().to_string().contains("not finished"));
    }
}
