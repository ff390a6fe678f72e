//! `pupil data prepare`: files → clean documents and conversations on disk, split, without duplicates, and a report of what was kept,
//! what was dropped and why.
//!
//! One thread reads, all others parse and clean, one writes in the order of the input: the result does not depend on how
//! many there are. Memory is bounded but for 16 bytes a record (exact duplicates) and about 600 (near ones).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::clean::{self, Reason};
use crate::near;
use crate::parse;
use crate::pieces::{Piece, Reading};
use crate::record::{Record, Turn};
use crate::source::{self, Error, File, MANIFEST};
use crate::stream::stream;

/// What is done with the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How bytes become text.
    pub reading: Reading,
    /// Cleaning.
    pub clean: clean::Settings,
    /// Whether exact duplicates are dropped.
    pub exact: bool,
    /// The likeness from which on a text counts as a near duplicate and is dropped, 0.5 to 1; none: near ones are kept.
    pub near: Option<f64>,
    /// Thousandths of the records that are held out.
    pub validation: u64,
    /// Whether the first bad record is an error.
    pub strict: bool,
    /// Which part of how many is prepared, `(i, n)` with `0 ≤ i < n`; see [`merge`].
    pub part: (usize, usize),
    /// Threads that parse and clean.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            reading: Reading::default(),
            clean: clean::Settings::default(),
            exact: true,
            near: Some(0.8),
            validation: 20,
            strict: false,
            part: (0, 1),
            threads: 1,
        }
    }
}

/// Examples of each reason that a report keeps.
const EXAMPLES: usize = 100;
/// Characters of an example.
const EXCERPT: usize = 160;

/// How often something happened, with the first places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// Bytes of the records that were dropped.
    pub bytes: u64,
    /// Where (`file:line`), and an excerpt or what is wrong.
    pub examples: Vec<(String, String)>,
}

/// Records that were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Records.
    pub records: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Of the records, held out.
    pub validation: u64,
}

/// A file that was read, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Its format.
    pub format: String,
    /// Its encoding.
    pub encoding: Option<String>,
    /// Records in it, the broken ones included.
    pub records: u64,
    /// Records kept.
    pub kept: u64,
    /// A line of it, if its encoding is a guess.
    #[serde(default)]
    pub sample: Option<String>,
    /// Bytes that were no characters of the encoding and were replaced.
    #[serde(default)]
    pub replaced: u64,
    /// What kept it, or a part of it, from being read.
    pub problem: Option<String>,
    /// Whether reading began and did not come to the end.
    #[serde(default)]
    pub damaged: bool,
}

/// What was kept, what was dropped, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files in order.
    pub files: Vec<FileReport>,
    /// Files and entries of folders that were passed over.
    pub passed: Vec<String>,
    /// Stored bytes that were read.
    pub stored: u64,
    /// Bytes of text in all records that could be read.
    pub bytes: u64,
    /// Records, the broken ones included.
    pub records: u64,
    /// By kind: documents, chats, preferences.
    pub kept: BTreeMap<String, Kept>,
    /// By reason.
    pub reasons: BTreeMap<String, Tally>,
    /// Kept records by the power of two of their characters.
    pub lengths: Vec<u64>,
    /// Letters by script.
    pub scripts: BTreeMap<String, u64>,
    /// Whether near duplicates were looked for: not in a part.
    pub near: bool,
    /// Which part of how many this is, from 0, where several machines share the work.
    #[serde(default)]
    pub part: Option<(usize, usize)>,
}

impl Report {
    /// Records that could not be read.
    pub fn broken(&self) -> u64 {
        self.reasons.get(Reason::Broken.text()).map_or(0, |t| t.count)
    }

    /// The files that were not read to their end.
    pub fn damaged(&self) -> impl Iterator<Item = &FileReport> {
        self.files.iter().filter(|f| f.damaged)
    }

    fn count(&mut self, reason: Reason, count: u64, bytes: u64, place: impl FnOnce() -> (String, String)) {
        let tally = self.reasons.entry(reason.text().to_owned()).or_default();
        tally.count += count;
        tally.bytes += bytes;
        if tally.examples.len() < EXAMPLES {
            let (at, excerpt) = place();
            if !excerpt.is_empty() {
                tally.examples.push((at, excerpt));
            }
        }
    }
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(EXCERPT).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A record as a worker hands it on.
struct Item {
    line: u64,
    /// 0: document, 1: chat, 2: preference.
    kind: usize,
    json: Vec<u8>,
    hash: u128,
    held_out: bool,
    sketch: Option<near::Sketch>,
    bytes: u64,
    chars: u64,
    scripts: Vec<(&'static str, u64)>,
    excerpt: String,
}

/// Something that was changed or dropped.
struct Note {
    reason: Reason,
    count: u64,
    line: u64,
    bytes: u64,
    excerpt: String,
}

/// What became of a piece.
struct Worked {
    file: usize,
    records: u64,
    bytes: u64,
    items: Vec<Item>,
    notes: Vec<Note>,
}

/// Names of the kinds, and of their files.
const KINDS: [&str; 3] = ["documents", "chats", "preferences"];

/// The first bytes of a record's hash decide on which side of the split it lies: for ever, whatever is added.
fn identity(plain: &str) -> (u128, u64) {
    let hash = blake3::hash(plain.as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|i| hash.as_bytes()[i]);
    let hash = u128::from_le_bytes(bytes);
    (hash, hash as u64 % 1000)
}

/// Whether a text belongs to the validation share (`thousandths` of all): by its hash, so it stays where it is when others come.
pub fn is_validation(text: &str, thousandths: u64) -> bool {
    identity(text).1 < thousandths
}

fn work(piece: Piece, settings: &Settings) -> Worked {
    let file = piece.file;
    let mut w = Worked { file, records: 0, bytes: 0, items: Vec::new(), notes: Vec::new() };
    for (line, record) in parse::records(piece) {
        w.records += 1;
        match record {
            Err(why) => {
                let note = Note { reason: Reason::Broken, count: 1, line, bytes: 0, excerpt: excerpt(&why) };
                w.notes.push(note);
            }
            Ok(record) => clean_record(record, line, settings, &mut w),
        }
    }
    w
}

fn clean_record(mut record: Record, line: u64, settings: &Settings, w: &mut Worked) {
    let before: usize = record.texts_mut().iter().map(|t| t.len()).sum();
    w.bytes += before as u64;
    let page = matches!(record, Record::Document(_));
    for text in record.texts_mut() {
        clean::text(&settings.clean, text, page, &mut |reason, count, at, what| {
            let (line, excerpt) = (line + at as u64, excerpt(what));
            w.notes.push(Note { reason, count: count as u64, line, bytes: what.len() as u64, excerpt });
        });
    }
    if !matches!(record, Record::Document(_)) {
        record.texts_mut().into_iter().for_each(|t| *t = t.trim().to_owned());
    }
    let mut drop = |reason, what: &str| {
        w.notes.push(Note { reason, count: 1, line, bytes: before as u64, excerpt: excerpt(what) });
    };
    let plain = record.plain();
    let kind = match &record {
        Record::Document(text) => {
            if let Some(reason) = clean::unwanted(&settings.clean, text) {
                return drop(reason, text);
            }
            0
        }
        Record::Chat(chat) => {
            if !chat.messages.iter().any(Turn::teaches) {
                return drop(Reason::Empty, &plain);
            }
            1
        }
        Record::Preference(_) => 2,
    };
    let (hash, thousandth) = identity(&plain);
    let scripts = clean::scripts(&plain).into_iter().map(|(s, n)| (s.full_name(), n as u64)).collect();
    let mut json = record.to_json().to_string().into_bytes();
    json.push(b'\n');
    let item = Item {
        line,
        kind,
        hash,
        held_out: thousandth < settings.validation,
        sketch: settings.near.and_then(|_| near::sketch(&plain)),
        bytes: plain.len() as u64,
        chars: if plain.is_ascii() { plain.len() } else { plain.chars().count() } as u64,
        scripts,
        excerpt: excerpt(&plain),
        json,
    };
    w.items.push(item);
}

/// Where files are written until they are whole.
const UNFINISHED: &str = ".unfinished";
/// Files of ids that are made of what is prepared.
pub const IDS: [&str; 4] =
    ["train.tokens", "train-chats.tokens", "validation.tokens", "validation-chats.tokens"];

/// The records of a part.
const PART: &str = "part.jsonl";

/// Writes kept records and counts.
struct Writer {
    out: PathBuf,
    files: BTreeMap<(bool, usize), BufWriter<fs::File>>,
    seen: FxHashSet<u128>,
    index: Option<near::Index>,
    exact: bool,
    part: bool,
    report: Report,
    per_file: Vec<[u64; 2]>,
}

impl Writer {
    fn new(out: &Path, settings: &Settings) -> Result<Writer, Error> {
        let io = |source| Error::Io { path: out.to_owned(), source };
        if out.exists() {
            let mut entries = fs::read_dir(out).map_err(io)?;
            if entries.next().is_some() && !out.join(MANIFEST).exists() && !out.join(UNFINISHED).exists() {
                let what =
                    "is not empty and was not written by `pupil data`: choose another directory".to_owned();
                return Err(Error::Content { path: out.to_owned(), what });
            }
        }
        fs::create_dir_all(out.join(UNFINISHED)).map_err(io)?;
        let part = Some(settings.part).filter(|p| p.1 > 1);
        let near = settings.near.filter(|_| part.is_none());
        Ok(Writer {
            out: out.to_owned(),
            files: BTreeMap::new(),
            seen: FxHashSet::default(),
            index: near.map(near::Index::new),
            exact: settings.exact,
            part: part.is_some(),
            report: Report { near: near.is_some(), lengths: vec![0; 32], part, ..Report::default() },
            per_file: Vec::new(),
        })
    }

    /// The file that a record goes to. A part keeps all in their order, which decides what duplicates what.
    fn name(&self, (held_out, kind): (bool, usize)) -> String {
        if self.part { PART.to_owned() } else { Writer::of_split(held_out, kind) }
    }

    fn of_split(held_out: bool, kind: usize) -> String {
        format!("{}-{}.jsonl", if held_out { "validation" } else { "train" }, KINDS[kind])
    }

    fn add(&mut self, item: Item, place: impl Fn(u64) -> String) -> Result<bool, Error> {
        let r = &mut self.report;
        let drop = |r: &mut Report, why: Reason| {
            r.count(why, 1, item.bytes, || (place(item.line), item.excerpt.clone()));
        };
        if self.exact && !self.seen.insert(item.hash) {
            drop(r, Reason::Duplicate);
            return Ok(false);
        }
        if let (Some(index), Some(sketch)) = (&mut self.index, item.sketch)
            && index.add(sketch)
        {
            drop(r, Reason::NearDuplicate);
            return Ok(false);
        }
        let kept = r.kept.entry(KINDS[item.kind].to_owned()).or_default();
        kept.records += 1;
        kept.bytes += item.bytes;
        kept.validation += u64::from(item.held_out);
        r.lengths[(u64::BITS - item.chars.leading_zeros()).min(31) as usize] += 1;
        for (script, n) in item.scripts {
            match r.scripts.get_mut(script) {
                Some(all) => *all += n,
                None => {
                    r.scripts.insert(script.to_owned(), n);
                }
            }
        }
        let key = if self.part { (false, 0) } else { (item.held_out, item.kind) };
        let path = self.out.join(UNFINISHED).join(self.name(key));
        let io = |source| Error::Io { path: path.clone(), source };
        let file = match self.files.entry(key) {
            std::collections::btree_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::btree_map::Entry::Vacant(e) => {
                e.insert(BufWriter::with_capacity(1 << 20, fs::File::create(&path).map_err(io)?))
            }
        };
        file.write_all(&item.json).map_err(io)?;
        Ok(true)
    }

    /// Puts the whole files in place of what was there.
    fn finish(mut self) -> Result<Report, Error> {
        let folder = self.out.join(UNFINISHED);
        let io = |source| Error::Io { path: self.out.clone(), source };
        for file in self.files.values_mut() {
            file.flush().map_err(io)?;
            file.get_ref().sync_all().map_err(io)?;
        }
        let split =
            [false, true].into_iter().flat_map(|h| (0..KINDS.len()).map(move |k| Writer::of_split(h, k)));
        let written: Vec<String> = self.files.keys().map(|k| self.name(*k)).collect();
        // Ids of an earlier preparation are those of other records.
        for path in IDS.map(|name| self.out.join(name)).into_iter().filter(|p| p.exists()) {
            fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
        }
        for name in split.chain([PART.to_owned()]) {
            if written.contains(&name) {
                fs::rename(folder.join(&name), self.out.join(&name)).map_err(io)?;
            } else if self.out.join(&name).exists() {
                fs::remove_file(self.out.join(&name)).map_err(io)?;
            }
        }
        let json = serde_json::to_string_pretty(&self.report).map_err(|e| io(e.into()))?;
        fs::write(folder.join(MANIFEST), json).map_err(io)?;
        fs::rename(folder.join(MANIFEST), self.out.join(MANIFEST)).map_err(io)?;
        fs::remove_dir_all(&folder).map_err(io)?;
        Ok(self.report)
    }
}

/// Prepares files and folders into the directory `out`: `train-*.jsonl`, `validation-*.jsonl` and `report.json`. `told` is called with
/// the stored bytes read so far and in all.
///
/// # Errors
/// If a path that was named cannot be read, `out` cannot be written or holds something else, or nothing is left; with
/// [`Settings::strict`] also for the first bad record.
pub fn prepare(
    paths: &[PathBuf],
    out: &Path,
    settings: &Settings,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<Report, Error> {
    let (mut files, passed) = source::files(paths)?;
    // What an earlier run wrote into a folder within the input is no input.
    if let Ok(out) = out.canonicalize() {
        files.retain(|f| f.named || !f.path.canonicalize().is_ok_and(|p| p.starts_with(&out)));
    }
    let files = part(files, settings.part);
    let all: u64 = files.iter().map(|f| f.size).sum();
    let done = AtomicU64::new(0);
    let mut writer = Writer::new(out, settings)?;
    let tell = |n: u64| told(done.fetch_add(n, Ordering::Relaxed) + n, all);
    let work = |piece: Piece| work(piece, settings);
    let read = stream(&files, &settings.reading, settings.threads, &tell, work, |w, name_of| {
        if writer.per_file.len() <= w.file {
            writer.per_file.resize(w.file + 1, [0; 2]);
        }
        writer.report.records += w.records;
        writer.report.bytes += w.bytes;
        writer.per_file[w.file][0] += w.records;
        let place = |line: u64| format!("{}:{line}", name_of(w.file));
        for n in w.notes {
            if settings.strict && n.reason == Reason::Broken {
                let what = format!("line {}: {} (--strict stops at the first)", n.line, n.excerpt);
                return Err(Error::Content { path: name_of(w.file).into(), what });
            }
            writer.report.count(n.reason, n.count, n.bytes, || (place(n.line), n.excerpt.clone()));
        }
        for item in w.items {
            let kept = writer.add(item, place)?;
            writer.per_file[w.file][1] += u64::from(kept);
        }
        Ok(())
    })?;
    let per_file = &writer.per_file;
    writer.report.files = read
        .abouts
        .into_iter()
        .enumerate()
        .map(|(i, a)| {
            let [records, kept] = per_file.get(i).copied().unwrap_or_default();
            let encoding = a.charset.map(str::to_owned);
            FileReport {
                name: a.name,
                format: a.format.name().into(),
                encoding,
                records,
                kept,
                sample: a.sample,
                replaced: a.replaced,
                problem: a.problem,
                damaged: a.damaged,
            }
        })
        .collect();
    let report = &mut writer.report;
    report.passed = passed.into_iter().map(|p| source::shown(&p)).chain(read.passed).collect();
    report.stored = all;
    if settings.strict
        && let Some(f) = report.files.iter().find(|f| f.problem.is_some())
    {
        let what = f.problem.clone().unwrap_or_default();
        return Err(Error::Content { path: PathBuf::from(&f.name), what });
    }
    if settings.part.1 == 1 && report.kept.is_empty() {
        let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(nothing(&names.join(", "), report));
    }
    writer.finish()
}

/// Nothing was kept: with the reasons.
fn nothing(names: &str, report: &Report) -> Error {
    let why: Vec<String> = report.reasons.iter().map(|(r, t)| format!("{} {r}", t.count)).collect();
    let problems = report.files.iter().filter_map(|f| f.problem.as_ref().map(|p| format!("{} {p}", f.name)));
    let all: Vec<String> = why.into_iter().chain(problems).take(6).collect();
    Error::Nothing(if all.is_empty() { names.to_owned() } else { format!("{names} ({})", all.join("; ")) })
}

/// The files of part `i` of `n`: neighbours, about as many bytes in each part.
fn part(files: Vec<File>, (i, n): (usize, usize)) -> Vec<File> {
    let all: u128 = files.iter().map(|f| u128::from(f.size)).sum();
    let mut before = 0u128;
    let mut mine = Vec::new();
    for f in files {
        // A file belongs to the part in which its middle lies.
        let middle = 2 * before + u128::from(f.size);
        before += u128::from(f.size);
        let at = if all == 0 { 0 } else { (middle * n as u128 / (2 * all)).min(n as u128 - 1) };
        if at == i as u128 {
            mine.push(f);
        }
    }
    mine
}

/// Joins directories that were prepared with `part` 0, 1, 2, … of n, in this order, to what one machine writes.
///
/// # Errors
/// If a directory was not written by [`prepare`], or cannot be read, if a part is missing or out of order, or `out` cannot be written.
pub fn merge(parts: &[PathBuf], out: &Path, settings: &Settings) -> Result<Report, Error> {
    let mut writer = Writer::new(out, settings)?;
    let mut parted = false;
    for (i, dir) in parts.iter().enumerate() {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let told: Report = serde_json::from_str(&text).map_err(|e| Error::Content {
            path: path.clone(),
            what: format!("is no report of `data prepare`: {e}"),
        })?;
        parted |= told.part.is_some();
        if parted && told.part != Some((i, parts.len())) {
            let is =
                told.part.map_or("no part".to_owned(), |(part, of)| format!("part {} of {of}", part + 1));
            let (named, all) = (i + 1, parts.len());
            let what =
                format!("is {is}, but named as {named} of {all}: all parts are needed, in their order");
            return Err(Error::Content { path, what });
        }
        let r = &mut writer.report;
        r.records += told.records;
        r.bytes += told.bytes;
        r.stored += told.stored;
        r.files.extend(told.files);
        r.passed.extend(told.passed);
        for (reason, tally) in told.reasons {
            let all = r.reasons.entry(reason).or_default();
            all.count += tally.count;
            all.bytes += tally.bytes;
            let room = EXAMPLES.saturating_sub(all.examples.len());
            all.examples.extend(tally.examples.into_iter().take(room));
        }
        add_part(&mut writer, &dir.join(PART), settings)?;
    }
    writer.finish()
}

/// Adds the records of one file of a part: already clean, so they are only compared and counted.
fn add_part(writer: &mut Writer, path: &Path, settings: &Settings) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let io = |source| Error::Io { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(io)?.len();
    let files = [File { path: path.to_owned(), size, named: true }];
    let as_they_are = Settings {
        clean: clean::Settings {
            normalise: false,
            boilerplate: false,
            min_chars: 0,
            max_chars: 0,
            max_repetition: 1.0,
            min_letters: 0.0,
            scripts: Vec::new(),
        },
        ..settings.clone()
    };
    let work = |piece: Piece| {
        let mut w = Worked { file: 0, records: 0, bytes: 0, items: Vec::new(), notes: Vec::new() };
        for (line, record) in parse::whole_records(piece) {
            if let Ok(r) = record {
                clean_record(r, line, &as_they_are, &mut w);
            }
        }
        w
    };
    stream(&files, &Reading::default(), settings.threads, &|_| {}, work, |w, _| {
        for item in w.items {
            writer.add(item, |line| format!("{}:{line}", path.display()))?;
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    fn run(input: &Path, out: &Path, settings: &Settings) -> Report {
        prepare(&[input.to_owned()], out, settings, &|_, _| {}).unwrap()
    }

    fn contents(dir: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        let lines = entries.filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
        lines
            .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&p).unwrap()))
            .collect()
    }

    /// Files of texts, chats and duplicates of all kinds.
    fn sample(dir: &Path) {
        let word = |n: usize| ["apple", "river", "stone", "cloud", "paper", "green", "seven"][n % 7];
        let mixed = |n: usize| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let story = |n: usize| -> String {
            (0..60).map(|i| format!("{}{} ", word(mixed(61 * n + i)), mixed(61 * n + i + 7) % 50)).collect()
        };
        for f in 0..9 {
            let mut text = String::new();
            for n in 0..12 {
                text += &format!("{}\n<|endoftext|>\n", story(f * 7 + n));
                text += &format!("{}and one more word.\n<|endoftext|>\n", story(f * 5 + n));
            }
            write(dir, &[(&format!("{f}.txt"), &text)]);
        }
        let chats: String = (0..40)
            .map(|n| {
                format!(
                    "{{\"question\": \"what is {}?\", \"answer\": \" it is {} \"}}\n",
                    n % 30,
                    story(1000 + n % 25)
                )
            })
            .collect();
        write(dir, &[("chats.jsonl", &(chats + "{broken\n"))]);
    }

    #[test]
    fn the_result_does_not_depend_on_threads_nor_on_parts() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        sample(&input);
        let one = Settings { validation: 200, ..Settings::default() };
        let report = run(&input, &dir.path().join("one"), &one);
        let want = contents(&dir.path().join("one"));
        assert_eq!(want.len(), 4, "{:?}", want.keys());
        let kept: u64 = report.kept.values().map(|k| k.records).sum();
        let dropped: u64 = report.reasons.values().map(|t| t.count).sum();
        assert_eq!(kept + dropped, report.records, "{:?}", report.reasons);
        assert!(report.reasons[Reason::NearDuplicate.text()].count > 9);
        assert_eq!(kept, want.values().map(|t| t.lines().count() as u64).sum::<u64>());

        let three = Settings { threads: 3, ..one.clone() };
        assert_eq!(run(&input, &dir.path().join("three"), &three), report);
        assert_eq!(contents(&dir.path().join("three")), want);

        let parts: Vec<PathBuf> = (0..3).map(|i| dir.path().join(format!("part{i}"))).collect();
        for (i, p) in parts.iter().enumerate() {
            run(&input, p, &Settings { part: (i, 3), ..one.clone() });
        }
        let merged = merge(&parts, &dir.path().join("merged"), &one).unwrap();
        assert_eq!(contents(&dir.path().join("merged")), want);
        assert_eq!((merged.kept, merged.lengths), (report.kept, report.lengths));
    }

    #[test]
    fn a_directory_within_the_input_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        let first = run(dir.path(), &dir.path().join("clean"), &Settings::default());
        assert_eq!(run(dir.path(), &dir.path().join("clean"), &Settings::default()), first);
    }

    #[test]
    fn prepared_data_prepares_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        sample(&dir.path().join("in"));
        let settings = Settings { validation: 200, ..Settings::default() };
        run(&dir.path().join("in"), &dir.path().join("a"), &settings);
        let report = run(&dir.path().join("a"), &dir.path().join("b"), &settings);
        assert_eq!(contents(&dir.path().join("a")), contents(&dir.path().join("b")), "{:?}", report.reasons);
    }

    #[test]
    fn what_is_bad_is_told_with_its_place_and_strict_stops() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        write(&input, &[("a.jsonl", "{\"text\":\"good enough text\"}\n{broken\n"), ("empty.txt", "")]);
        fs::write(input.join("c.txt.gz"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
        let report = run(&input, &dir.path().join("out"), &Settings::default());
        assert_eq!(report.broken(), 1);
        assert!(report.reasons[Reason::Broken.text()].examples[0].0.ends_with("a.jsonl:2"));
        let problems: Vec<&str> = report
            .files
            .iter()
            .filter(|f| f.problem.is_some())
            .map(|f| f.name.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(problems, ["c.txt.gz", "empty.txt"]);
        let strict = Settings { strict: true, ..Settings::default() };
        let e = prepare(&[input], &dir.path().join("strict"), &strict, &|_, _| {}).unwrap_err().to_string();
        assert!(e.contains("a.jsonl") && e.contains("line 2"), "{e}");
    }

    #[test]
    fn other_peoples_directories_and_empty_results_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (input, out) = (dir.path().join("in"), dir.path().join("out"));
        write(&input, &[("a.txt", "2 1 3 1 2 1 1 2 1 1")]);
        write(&out, &[("precious.txt", "mine")]);
        let e = prepare(std::slice::from_ref(&input), &out, &Settings::default(), &|_, _| {})
            .unwrap_err()
            .to_string();
        assert!(e.contains("not empty"), "{e}");
        let e = prepare(&[input], &dir.path().join("new"), &Settings::default(), &|_, _| {})
            .unwrap_err()
            .to_string();
        assert!(e.contains("hardly any letters"), "{e}");
    }

    #[test]
    fn the_validation_share_is_about_what_was_asked_for() {
        let n = (0..20_000).filter(|i| is_validation(&format!("document {i}"), 50)).count();
        assert!((800..1200).contains(&n), "{n}");
    }
}
