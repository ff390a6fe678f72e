//! Paths → files → streams of bytes: folders are walked in order of names, archives and compressed files are read as streams.
//!
//! Nothing is ever written to a name from an archive, and nothing is fetched: an address is refused. What unpacks to more than [`MAX_RATIO`] times its size (and [`MAX_FREE`]) is
//! taken for a bomb and stopped.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How many times its stored size a file may unpack to, beyond [`MAX_FREE`] bytes that are always allowed.
pub const MAX_RATIO: u64 = 200;
/// Bytes that any file may unpack to.
pub const MAX_FREE: u64 = 64 << 20;
/// Largest window of a Zstandard frame, which is held in memory: that of `zstd --long`.
pub const MAX_WINDOW: u64 = 128 << 20;

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
        source: io::Error,
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
    #[error(
        "no text was found in {0}: expected text, Markdown, HTML, JSON, JSON lines or CSV (also .gz, .zst, .zip, .tar), or a folder of them"
    )]
    Nothing(String),
    /// The system gives no thread to read with.
    #[error(
        "no thread can be had to read with: {0}; let this process have more of them (ulimit -u) or more memory (ulimit -v)"
    )]
    Thread(io::Error),
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes as it is stored.
    pub size: u64,
    /// Whether the person named it, instead of a folder that it lies in.
    pub named: bool,
}

/// All files under some paths, folders in order of their names' bytes; and what was passed over: links, devices, hidden files.
///
/// # Errors
/// If a path that was named does not exist or cannot be read.
pub fn files(paths: &[PathBuf]) -> Result<(Vec<File>, Vec<String>), Error> {
    let (mut all, mut passed) = (Vec::new(), Vec::new());
    for path in paths {
        let text = path.to_string_lossy();
        if text.contains("://") {
            let what =
                "is an address, and pupil opens no network: fetch the file first, then name it".to_owned();
            return Err(Error::Content { path: path.clone(), what });
        }
        if !path.exists() && text.contains(['*', '?']) {
            let found = matching(path)?;
            if found.is_empty() {
                return Err(Error::Content { path: path.clone(), what: "matches no file".into() });
            }
            for p in found {
                walk(&p, true, &mut all, &mut passed)?;
            }
        } else {
            walk(path, true, &mut all, &mut passed)?;
        }
    }
    Ok((all, passed))
}

/// The files whose last part matches a pattern of `*` and `?`: for people whose shell did not do it.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = pattern.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(io)?.filter_map(Result::ok).map(|e| e.path());
    let fits =
        |p: &PathBuf| like(name.as_bytes(), p.file_name().unwrap_or_default().to_string_lossy().as_bytes());
    let mut found: Vec<PathBuf> = entries.filter(fits).collect();
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern, going back only to the last star: linear times the pattern's length.
fn like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == b'?' || *c == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// The report as JSON: also the mark of a directory that `data prepare` wrote and may write again. Of such a directory the records are
/// read, not what tells of them.
pub const MANIFEST: &str = "report.json";

fn is_split(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (name.starts_with("train-") || name.starts_with("validation-")) && name.ends_with(".jsonl")
}

fn walk(path: &Path, named: bool, files: &mut Vec<File>, passed: &mut Vec<String>) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let meta = match fs::metadata(path) {
        Ok(m) => m,
        Err(e) if named => return Err(io(e)),
        Err(e) => {
            passed.push(format!("{}: {e}", path.display()));
            return Ok(());
        }
    };
    if meta.is_dir() {
        let entries = match fs::read_dir(path) {
            Ok(e) => e,
            Err(e) if named => return Err(io(e)),
            Err(e) => {
                passed.push(format!("{}: {e}", path.display()));
                return Ok(());
            }
        };
        let mut entries: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
        entries.sort();
        let prepared = entries.iter().any(|e| e.ends_with(MANIFEST)) && entries.iter().any(|e| is_split(e));
        for e in entries {
            if prepared && !is_split(&e) {
                continue;
            }
            let hidden = e.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            let link = fs::symlink_metadata(&e).is_ok_and(|m| m.is_symlink());
            if hidden || link {
                passed.push(format!("{}: {}", e.display(), if link { "a link" } else { "hidden" }));
            } else {
                walk(&e, false, files, passed)?;
            }
        }
    } else if meta.is_file() {
        files.push(File { path: path.to_owned(), size: meta.len(), named });
    } else if named {
        let what = "is neither a file nor a folder".to_owned();
        return Err(Error::Content { path: path.to_owned(), what });
    } else {
        passed.push(format!("{}: neither a file nor a folder", path.display()));
    }
    Ok(())
}

/// A name as it is shown: control characters, which could move the cursor of a terminal, are spelled out.
pub fn shown(name: &str) -> String {
    if !name.contains(char::is_control) {
        return name.to_owned();
    }
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Opens a file and calls `each` with the name and the bytes of every file in it: of itself, or of the entries of an archive.
/// `read` is told how many stored bytes were read, `passed` which entries are neither file nor folder.
///
/// # Errors
/// What reading gives, and archives that are damaged, too deep, or bombs. Errors of `each` are passed on.
pub fn open(
    file: &File,
    read: &(dyn Fn(u64) + Sync),
    passed: &mut dyn FnMut(String),
    each: &mut dyn FnMut(&str, &mut dyn BufRead) -> io::Result<()>,
) -> io::Result<()> {
    let name = file.path.to_string_lossy().into_owned();
    let limit = MAX_FREE.saturating_add(file.size.saturating_mul(MAX_RATIO));
    let mut stored = fs::File::open(&file.path)?;
    let mut head = [0u8; 4];
    let n = fill(&mut stored, &mut head)?;
    io::Seek::rewind(&mut stored)?;
    if head[..n] == *b"PK\x03\x04" {
        let mut archive = zip::ZipArchive::new(BufReader::new(stored)).map_err(damaged)?;
        let mut unpacked = 0;
        for i in 0..archive.len() {
            let entry = archive.by_index(i).map_err(damaged)?;
            let inner = format!("{name}/{}", String::from_utf8_lossy(entry.name_raw()));
            if !entry.is_file() {
                if !entry.is_dir() {
                    passed(format!("{}: a link", shown(&inner)));
                }
                continue;
            }
            let mut counted = Counted { inner: entry, total: unpacked, limit };
            stream(&inner, &mut BufReader::with_capacity(BUFFER, &mut counted), limit, 1, passed, each)?;
            unpacked = counted.total;
        }
        read(file.size);
        return Ok(());
    }
    let told = Told { inner: stored, read };
    stream(&name, &mut BufReader::with_capacity(BUFFER, told), limit, 0, passed, each)
}

const BUFFER: usize = 256 << 10;

/// Containers within containers that are opened.
const DEEPEST: usize = 3;

fn stream(
    name: &str,
    bytes: &mut dyn BufRead,
    limit: u64,
    depth: usize,
    passed: &mut dyn FnMut(String),
    each: &mut dyn FnMut(&str, &mut dyn BufRead) -> io::Result<()>,
) -> io::Result<()> {
    let head = bytes.fill_buf()?;
    let (gzip, zstd) = (head.starts_with(&[0x1f, 0x8b]), head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let tar = head.get(257..262) == Some(b"ustar");
    if (gzip || zstd || tar || head.starts_with(b"PK\x03\x04")) && depth >= DEEPEST {
        return Err(io::Error::other(format!("more than {DEEPEST} containers within each other")));
    }
    let inner = [".gz", ".zst", ".tgz"].iter().find_map(|e| name.strip_suffix(e)).unwrap_or(name);
    if gzip {
        let plain = Counted { inner: flate2::bufread::MultiGzDecoder::new(bytes), total: 0, limit };
        return stream(inner, &mut BufReader::with_capacity(BUFFER, plain), limit, depth + 1, passed, each);
    }
    if zstd {
        let plain = Counted { inner: Frames { bytes, frame: None }, total: 0, limit };
        return stream(inner, &mut BufReader::with_capacity(BUFFER, plain), limit, depth + 1, passed, each);
    }
    if tar {
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let inner = format!("{name}/{}", String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if !kind.is_file() {
                if !kind.is_dir() {
                    let what = if kind.is_symlink() || kind.is_hard_link() { "a link" } else { "no file" };
                    passed(format!("{}: {what}", shown(&inner)));
                }
                continue;
            }
            stream(
                &inner,
                &mut BufReader::with_capacity(BUFFER, &mut entry),
                limit,
                depth + 1,
                passed,
                each,
            )?;
        }
        return Ok(());
    }
    if head.starts_with(b"PK\x03\x04") {
        return Err(io::Error::other(format!("{name} is a zip within another container; unpack it first")));
    }
    each(name, bytes)
}

fn damaged(e: zip::result::ZipError) -> io::Error {
    io::Error::other(format!("is no whole zip ({e})"))
}

fn fill(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < to.len() {
        match from.read(&mut to[n..])? {
            0 => break,
            k => n += k,
        }
    }
    Ok(n)
}

/// Stops at the limit.
struct Counted<R> {
    inner: R,
    total: u64,
    limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.total += n as u64;
        if self.total > self.limit {
            let what = format!(
                "unpacks to more than {} MB, {MAX_RATIO} times its size: not read on",
                self.limit >> 20
            );
            return Err(io::Error::other(what));
        }
        Ok(n)
    }
}

/// Tells how much was read.
struct Told<'a> {
    inner: fs::File,
    read: &'a (dyn Fn(u64) + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        (self.read)(n as u64);
        Ok(n)
    }
}

/// All Zstandard frames of a stream, one after the other.
struct Frames<'a> {
    bytes: &'a mut dyn BufRead,
    frame: Option<Box<FrameDecoder>>,
}

impl Read for Frames<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let wrong =
            |e: &dyn std::fmt::Display| io::Error::other(format!("is a damaged Zstandard file ({e})"));
        loop {
            let Some(frame) = &mut self.frame else {
                if self.bytes.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                let mut frame = Box::new(FrameDecoder::new());
                let mut head = Heard { inner: &mut self.bytes, heard: Vec::new() };
                frame.reset(&mut head).map_err(|e| wrong(&e))?;
                if let Some(window) = window(&head.heard).filter(|w| *w > MAX_WINDOW) {
                    let (window, most) = (window >> 20, MAX_WINDOW >> 20);
                    return Err(wrong(&format!(
                        "its window is {window} MB, at most {most} are held in memory"
                    )));
                }
                self.frame = Some(frame);
                continue;
            };
            if frame.can_collect() > 0 {
                return frame.read(to);
            }
            if frame.is_finished() {
                let (said, is) = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
                if said.is_some() && is.is_some() && said != is {
                    return Err(wrong(&"its checksum is not that of its contents"));
                }
                self.frame = None;
                continue;
            }
            let some = BlockDecodingStrategy::UptoBytes(to.len().max(1));
            frame.decode_blocks(&mut self.bytes, some).map_err(|e| wrong(&e))?;
        }
    }
}

/// Keeps what was read.
struct Heard<R> {
    inner: R,
    heard: Vec<u8>,
}

impl<R: Read> Read for Heard<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.heard.extend_from_slice(&to[..n]);
        Ok(n)
    }
}

/// The window that the header of a Zstandard frame asks for (RFC 8878, section 3.1.1.1).
fn window(header: &[u8]) -> Option<u64> {
    let descriptor = *header.get(4)?;
    if descriptor & 0x20 == 0 {
        let b = u64::from(*header.get(5)?);
        let base = 1u64 << (10 + (b >> 3));
        return Some(base + base / 8 * (b & 7));
    }
    // A single segment: the window is all of the contents.
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let width = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let bytes = header.get(at..at + width)?;
    let size = bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    Some(if width == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn contents(path: &Path) -> io::Result<Vec<(String, String)>> {
        let size = fs::metadata(path)?.len();
        let mut all = Vec::new();
        open(
            &File { path: path.to_owned(), size, named: true },
            &|_| {},
            &mut |_| {},
            &mut |name, bytes| {
                let mut text = String::new();
                bytes.read_to_string(&mut text)?;
                all.push((name.rsplit('/').next().unwrap().to_owned(), text));
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    #[test]
    fn containers_give_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(dir.path().join(name), bytes).unwrap();
            dir.path().join(name)
        };
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(contents(&write("a.txt.gz", &two)).unwrap(), [("a.txt".into(), "one two".into())]);
        let packed = |s: &str| {
            ruzstd::encoding::compress_to_vec(s.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
        };
        let two = [packed("one "), packed("two")].concat();
        assert_eq!(contents(&write("b.txt.zst", &two)).unwrap(), [("b.txt".into(), "one two".into())]);

        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_cksum();
        tar.append_data(&mut header, "x/c.txt", &b"abc"[..]).unwrap();
        let tar = gzip(&tar.into_inner().unwrap());
        assert_eq!(contents(&write("c.tgz", &tar)).unwrap(), [("c.txt".into(), "abc".into())]);

        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for name in ["../../evil.txt", "d.txt"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        let zip = zip.finish().unwrap().into_inner();
        let found = contents(&write("d.zip", &zip)).unwrap();
        assert_eq!(found, [("evil.txt".into(), "../../evil.txt".into()), ("d.txt".into(), "d.txt".into())]);
        assert!(!dir.path().join("../../evil.txt").exists());
    }

    #[test]
    fn cut_archives_and_bombs_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gz");
        let whole = gzip(&b"some words, more words, other words".repeat(99));
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(contents(&path).is_err());
        fs::write(&path, gzip(&vec![b'a'; (MAX_FREE as usize) * 2])).unwrap();
        assert!(contents(&path).unwrap_err().to_string().contains("times its size"));
        let mut deep = b"hello".to_vec();
        for _ in 0..DEEPEST + 1 {
            deep = gzip(&deep);
        }
        fs::write(&path, deep).unwrap();
        assert!(contents(&path).unwrap_err().to_string().contains("containers"));
    }

    #[test]
    fn folders_are_walked_in_order_and_patterns_are_matched() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", ".hidden", "c.md"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let names = |p: &Path| -> Vec<String> {
            let (files, _) = files(&[p.to_owned()]).unwrap();
            files.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(dir.path()), ["a.txt", "b.txt", "c.md"]);
        assert_eq!(names(&dir.path().join("*.txt")), ["a.txt", "b.txt"]);
        assert!(like(b"a*b?c", b"aXXbbYc") && !like(b"a*b", b"ac"));
        assert!(files(&[dir.path().join("absent")]).unwrap_err().to_string().contains("absent"));
    }
}
