//! The promise of this room: counted, never silently lost; one bad record never ends an import. A test for each case by which it is held
//! to that, named by the case's number.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pupil_data::clean::Reason;
use pupil_data::encoding::Charset;
use pupil_data::pieces::{RECORD, Reading};
use pupil_data::prepare::{self, FileReport, Report, Settings};
use pupil_data::shards::{Shard, Writer};
use pupil_data::{Shards, documents};

/// A folder with files in it, and one for what comes out.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(files: &[(&str, &[u8])]) -> Case {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        let case = Case { dir };
        files.iter().for_each(|(name, bytes)| fs::write(case.input().join(name), bytes).unwrap());
        case
    }

    fn input(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn prepared(&self, settings: &Settings) -> Result<Report, String> {
        let out = self.dir.path().join("out");
        prepare::prepare(&[self.input()], &out, settings, &|_, _| {}).map_err(|e| e.to_string())
    }

    /// All records that were kept.
    fn kept(&self) -> String {
        let out = self.dir.path().join("out");
        let names = ["train", "validation"]
            .into_iter()
            .flat_map(|s| ["documents", "chats", "preferences"].map(|k| format!("{s}-{k}.jsonl")));
        names.map(|n| fs::read_to_string(out.join(n)).unwrap_or_default()).collect()
    }
}

fn settings() -> Settings {
    let mut s = Settings { validation: 0, near: None, threads: 2, ..Settings::default() };
    s.clean.min_chars = 0;
    s.clean.min_letters = 0.0;
    s
}

fn file<'a>(report: &'a Report, name: &str) -> &'a FileReport {
    report.files.iter().find(|f| f.name.ends_with(name)).unwrap()
}

fn count(report: &Report, reason: Reason) -> u64 {
    report.reasons.get(reason.text()).map_or(0, |t| t.count)
}

/// Where and why records could not be read.
fn broken(report: &Report) -> Vec<(String, String)> {
    let examples = report.reasons.get(Reason::Broken.text()).map(|t| t.examples.clone()).unwrap_or_default();
    examples.into_iter().map(|(at, why)| (at.rsplit('/').next().unwrap().to_owned(), why)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn d01_encodings_are_told_apart_shown_and_never_forced() {
    let zh = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚汉分争。";
    let ja = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。";
    let ru = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.";
    let fr = "Le cœur a ses raisons que la raison ne connaît point; l’élève préfère être à l’école.";
    let encoded = |e: &'static encoding_rs::Encoding, s: &str| e.encode(s).0.into_owned();
    let utf16: Vec<u8> = "\u{feff}mots français".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let characters: Vec<char> = zh.chars().collect();
    let noise: Vec<u8> = characters
        .chunks(10)
        .flat_map(|c| [c.iter().collect::<String>().as_bytes(), b"\xff"].concat())
        .collect();
    let files: [(&str, &[u8]); 7] = [
        ("a.txt", &encoded(encoding_rs::GB18030, zh)),
        ("b.txt", &encoded(encoding_rs::SHIFT_JIS, ja)),
        ("c.txt", &encoded(encoding_rs::KOI8_R, ru)),
        ("d.txt", &encoded(encoding_rs::WINDOWS_1252, fr)),
        ("e.txt", &utf16),
        ("f.txt", fr.as_bytes()),
        ("noise.txt", &noise),
    ];
    let case = Case::new(&files);
    let report = case.prepared(&settings()).unwrap();
    let kept = case.kept();
    for text in [zh, ja, ru, fr, "mots français"] {
        assert!(kept.contains(text), "{text}");
    }
    let (guess, sure) = (file(&report, "a.txt"), file(&report, "e.txt"));
    assert!(guess.sample.as_ref().unwrap().starts_with("话说天下大势") && sure.sample.is_none());
    assert!(report.summary().contains("GB18030 (“话说天下大势") && report.html().contains("a guess: “话说"));
    // UTF-8 but for a byte in thirty: nothing of it is taken without being told to.
    let bad = file(&report, "noise.txt");
    assert!(bad.damaged && bad.records == 0, "{bad:?}");
    let why = bad.problem.as_ref().unwrap();
    assert!(why.contains("--lossy") && why.contains("first at byte 30"), "{why}");
    let lossy = Reading { lossy: true, encoding: None };
    let report = case.prepared(&Settings { reading: lossy, ..settings() }).unwrap();
    let read = file(&report, "noise.txt");
    assert!(read.kept == 1 && read.replaced > 3 && report.markdown().contains(" replaced"), "{read:?}");
    // Cyrillic letters, asked to be read as another alphabet.
    let told = Reading { encoding: Charset::named("windows-1251"), lossy: false };
    case.prepared(&Settings { reading: told, ..settings() }).unwrap();
    assert!(!case.kept().contains("счастливые"));
}

#[test]
fn d02_byte_order_marks_change_no_record() {
    let with = Case::new(&[
        ("a.jsonl", "\u{feff}{\"text\":\"one\"}\n\u{feff}{\"text\":\"two\"}\n".as_bytes()),
        ("b.csv", "\u{feff}question,answer\nq,a\n".as_bytes()),
        ("c.txt", "\u{feff}three\n<|endoftext|>\n\u{feff}four".as_bytes()),
        ("d.json", "\u{feff}[{\"text\":\"five\"}]".as_bytes()),
    ]);
    let without = Case::new(&[
        ("a.jsonl", b"{\"text\":\"one\"}\n{\"text\":\"two\"}\n"),
        ("b.csv", b"question,answer\nq,a\n"),
        ("c.txt", b"three\n<|endoftext|>\nfour"),
        ("d.json", b"[{\"text\":\"five\"}]"),
    ]);
    let (a, b) = (with.prepared(&settings()).unwrap(), without.prepared(&settings()).unwrap());
    assert_eq!(with.kept(), without.kept());
    assert_eq!((a.records, a.broken(), b.records), (6, 0, 6));
}

#[test]
fn d03_bytes_that_are_no_text_are_replaced_and_told_with_their_places() {
    let words = "plain wörds go on and on. ".repeat(200);
    for (wrong, name) in [
        (&b"\xff"[..], "a stray byte"),
        (b"\xc0\xaf", "an overlong form"),
        (b"\xed\xa0\x80", "a surrogate"),
        (b"\xf0\x9f\x98", "a character cut short"),
    ] {
        let text = [words.as_bytes(), b"\nhere ", wrong, b" it was\n", words.as_bytes()].concat();
        let case = Case::new(&[("x.txt", &text)]);
        let report = case.prepared(&settings()).unwrap();
        assert!((1..=3).contains(&count(&report, Reason::Replaced)), "{name}: {:?}", report.reasons);
        let (at, _) = &report.reasons[Reason::Replaced.text()].examples[0];
        assert!(at.ends_with("x.txt:2"), "{name}: {at}");
        assert!(case.kept().contains("here ") && file(&report, "x.txt").replaced > 0, "{name}");
    }
    let cut = [words.as_bytes(), "é".as_bytes().split_last().unwrap().1].concat();
    let case = Case::new(&[("end.txt", &cut), ("nul.txt", format!("a\0b\u{fffe}c {words}").as_bytes())]);
    let report = case.prepared(&settings()).unwrap();
    assert_eq!(file(&report, "end.txt").replaced, 1);
    assert!(
        count(&report, Reason::Control) >= 2 && case.kept().contains("\"abc plain"),
        "{:?}",
        report.reasons
    );
}

#[test]
fn d04_lines_of_json_that_are_none_cost_only_themselves() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let lines = [
        "{\"text\":\"good one\"}\r",
        "",
        "{\"text\":\"cut",
        "{\"text\":\"comma\",}",
        "{\"text\":NaN}",
        "{\"text\":\"a\"}{\"text\":\"b\"}",
        "[\"not\", 1, \"record\"]",
        "{\"text\":\"twice\",\"text\":\"other\"}",
        "{\"text\":\"\\ud83d alone\"}",
        "{\"text\":null}",
        "{\"text\":3}",
        "{\"text\":[]}",
        &deep,
        "{\"other\":\"key missing\"}",
    ];
    let good = (0..300).map(|i| format!("{{\"text\":\"record {i}\"}}\n")).collect::<String>();
    let text = format!("{}\n{good}{{\"text\":\"last, no line end\"}}", lines.join("\n"));
    let case = Case::new(&[("x.jsonl", text.as_bytes())]);
    let report = case.prepared(&settings()).unwrap();
    let bad: Vec<String> = broken(&report).into_iter().map(|b| b.0).collect();
    let want: Vec<String> = (3..=14).map(|n| format!("x.jsonl:{n}")).collect();
    assert_eq!(bad, want, "{:?}", broken(&report));
    assert!(broken(&report)[5].1.contains("\"text\" comes twice"));
    let kept = case.kept();
    assert!(kept.contains("good one") && kept.contains("last, no line end") && kept.contains("record 299"));
    assert_eq!(report.kept["documents"].records, 302);
    let e = case.prepared(&Settings { strict: true, ..settings() }).unwrap_err();
    assert!(e.contains("line 3"), "{e}");
}

#[test]
fn d05_a_record_beyond_the_limit_is_named_by_its_first_line_and_others_are_read() {
    let long = vec![b'x'; RECORD + (2 << 20)];
    let line = [b"{\"text\":\"a\"}\n\n{\"text\":\"", &long[..], b"\"}\n{\"text\":\"b\"}\n"].concat();
    let list = [b"[\n{\"text\":\"c\"},\n{\"text\":\"", &long[..], b"\"},\n{\"text\":\"d\"}]"].concat();
    let numbers = format!("{{\"text\":\"e\"}}\n[{}0]\n", "0,".repeat(1_000_001));
    let case = Case::new(&[("a.jsonl", &line), ("b.json", &list), ("c.jsonl", numbers.as_bytes())]);
    let report = case.prepared(&settings()).unwrap();
    let told = broken(&report);
    let places: Vec<&str> = told.iter().map(|b| b.0.as_str()).collect();
    assert_eq!(places, ["a.jsonl:3", "b.json:3", "c.jsonl:2"]);
    assert!(told[0].1.contains("64 MB") && told[2].1.contains("1000000 values"), "{told:?}");
    assert_eq!(report.kept["documents"].records, 5);
}

#[test]
fn d06_tables_lose_no_row_to_a_quote_a_separator_or_a_name() {
    let open = format!("question,answer\nq1,a1\nq2,\"never closed\n{}", "q,a\n".repeat(50));
    let wide: String = (0..100_000).map(|i| format!("c{i},")).collect();
    let wide = format!("text,{wide}\nwide one,{}\n", ",".repeat(99_999));
    let case = Case::new(&[
        ("quoted.csv", b"question,answer\n\"line one\nline two\",\"he said \"\"hi\"\"\"\n"),
        ("open.csv", open.as_bytes()),
        ("header.csv", b"question,\"answer\nq,a\nq,a\n"),
        ("semicolon.csv", b"question;answer\nsemi q;semi a\n"),
        ("tab.csv", b"question\tanswer\ntab q\ttab a\n"),
        ("ragged.csv", b"question,answer\nq3,a3,more\nq4\nq5,a5\n"),
        ("twice.csv", b"text,text\none,two\n"),
        ("none.csv", b"no header here,just an answer\n"),
        ("wide.csv", wide.as_bytes()),
    ]);
    let report = case.prepared(&settings()).unwrap();
    let (told, kept) = (broken(&report), case.kept());
    let at = |place: &str| told.iter().find(|b| b.0 == place).map(|b| b.1.as_str());
    assert!(at("open.csv:3").unwrap().contains("not closed") && kept.contains("a1"), "{told:?}");
    assert!(at("header.csv:1").unwrap().contains("not closed"), "{told:?}");
    assert!(
        at("ragged.csv:2").unwrap().contains("3 cells")
            && at("ragged.csv:3").is_some()
            && kept.contains("a5")
    );
    assert!(file(&report, "twice.csv").problem.as_ref().unwrap().contains("two columns \"text\""));
    for text in ["line one\\nline two", "he said \\\"hi\\\"", "semi a", "tab a", "just an answer", "wide one"]
    {
        assert!(kept.contains(text), "{text}: {kept}");
    }
}

#[test]
fn d07_bombs_and_cut_archives_are_errors_and_not_short_corpora() {
    let words = "many words, and other words ".repeat(2000);
    let whole = gzip(words.as_bytes());
    let mut wrong = whole.clone();
    let n = wrong.len();
    wrong[n - 6] ^= 1;
    let mut lying = zipped(&[("a.txt", words.as_bytes())]);
    // The size in the entry's header, and the one in the directory.
    let directory = lying.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    lying[directory + 24] ^= 0x55;
    let zstd = |s: &str| {
        ruzstd::encoding::compress_to_vec(s.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
    };
    // A frame without a single segment, whose window is 1 GB: exponent 20.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3][..], &zstd(&words)[6..]].concat();
    let bomb = gzip(&vec![b'a'; 200 << 20]);
    let nested = (0..5).fold(b"hello".to_vec(), |b, _| gzip(&b));
    let files: [(&str, &[u8]); 10] = [
        ("bomb.txt.gz", &bomb),
        ("crc.txt.gz", &wrong),
        ("cut.txt.gz", &whole[..n / 2]),
        ("cut.txt.zst", &zstd(&words)[..zstd(&words).len() / 2]),
        ("cut.zip", &zipped(&[("a.txt", words.as_bytes())])[..200]),
        ("junk.txt.gz", &[&gzip(b"before the junk")[..], b"junk"].concat()),
        ("lying.zip", &lying),
        ("members.txt.gz", &[gzip(b"first member "), gzip(b"second member")].concat()),
        ("nested.txt.gz", &nested),
        ("window.txt.zst", &window),
    ];
    let case = Case::new(&files);
    let report = case.prepared(&settings()).unwrap();
    for (name, _) in files.iter().filter(|f| !f.0.starts_with("members") && !f.0.starts_with("lying")) {
        let stem = name.split('.').next().unwrap();
        let of = |f: &&FileReport| f.name.rsplit('/').next().unwrap().starts_with(stem);
        assert!(report.files.iter().filter(of).any(|f| f.damaged), "{name}: {:?}", report.files);
    }
    assert!(
        report.damaged().any(|f| f.problem.as_ref().unwrap().contains("window is 1024 MB")),
        "{report:?}"
    );
    assert!(report.damaged().any(|f| f.problem.as_ref().unwrap().contains("times its size")));
    assert!(case.kept().contains("first member second member"));
    let strict = case.prepared(&Settings { strict: true, ..settings() }).unwrap_err();
    assert!(strict.contains("bomb.txt"), "{strict}");
    // Of a size that lies either all of the text comes, or an error.
    let lying = report.files.iter().find(|f| f.name.contains("lying.zip")).unwrap();
    assert!(lying.damaged || lying.kept > 0, "{lying:?}");
}

#[test]
fn d08_names_in_archives_lead_nowhere() {
    let long = "n".repeat(4096);
    let entries: [(&str, &[u8]); 7] = [
        ("../../evil.txt", b"dots"),
        ("/absolute.txt", b"absolute"),
        ("C:\\drive.txt", b"drive"),
        ("Same.txt", b"upper"),
        ("same.txt", b"lower"),
        ("esc\u{1b}[2J.txt", b"control"),
        (&long, b"long name"),
    ];
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, link: &str, bytes: &[u8]| {
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(kind);
        h.set_size(bytes.len() as u64);
        let raw = h.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        h.set_cksum();
        tar.append(&h, bytes).unwrap();
    };
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret words").unwrap();
    add("link", tar::EntryType::Symlink, "/etc", b"");
    add("link/passwd.txt", tar::EntryType::Regular, "", b"through the link");
    add("hard", tar::EntryType::Link, secret.path().to_str().unwrap(), b"");
    add("device", tar::EntryType::Char, "", b"");
    add("fifo", tar::EntryType::Fifo, "", b"");
    add("bad\u{7f}name.txt", tar::EntryType::Regular, "", b"odd name");
    let tar = tar.into_inner().unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.add_symlink("zlink", "/etc/hostname", zip::write::SimpleFileOptions::default()).unwrap();
    let case = Case::new(&[("a.zip", &zip.finish().unwrap().into_inner()), ("b.tar", &tar)]);
    let report = case.prepared(&settings()).unwrap();
    let kept = case.kept();
    for text in [
        "dots",
        "absolute",
        "drive",
        "upper",
        "lower",
        "control",
        "long name",
        "through the link",
        "odd name",
    ] {
        assert!(kept.contains(text), "{text}: {kept}");
    }
    assert!(!kept.contains("secret"));
    let passed = report.passed.join("\n");
    for name in ["zlink: a link", "link: a link", "hard: a link", "device: no file", "fifo: no file"] {
        assert!(passed.contains(name), "{name}: {passed}");
    }
    assert!(!report.summary().contains('\u{1b}') && !report.markdown().contains('\u{1b}'));
    // Nothing was written but what the command writes.
    let there = |dir: &Path| fs::read_dir(dir).unwrap().count();
    assert_eq!((there(case.dir.path()), there(&case.input())), (2, 2));
    assert!(!case.dir.path().join("evil.txt").exists() && !Path::new("/absolute.txt").exists());
}

#[cfg(unix)]
#[test]
fn d09_trees_with_loops_pipes_devices_and_many_files_are_walked_in_one_order() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let case = Case::new(&[("b.txt", b"second"), ("a.txt", b"first"), ("new\nline.txt", b"third")]);
    let input = case.input();
    symlink(&input, input.join("loop")).unwrap();
    symlink("nowhere", input.join("dangling")).unwrap();
    symlink("/dev/zero", input.join("zero.txt")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(input.join("pipe.txt")).status();
    assert!(fifo.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(input.join("socket")).unwrap();
    fs::write(input.join(std::ffi::OsStr::from_bytes(b"not\xffutf8.txt")), "fourth").unwrap();
    fs::File::create(input.join("sparse.txt")).unwrap().set_len(1 << 40).unwrap();
    let many = input.join("many");
    fs::create_dir(&many).unwrap();
    (0..3000).for_each(|i| fs::write(many.join(format!("{i:04}.txt")), format!("number {i}")).unwrap());
    let begun = Instant::now();
    let report = case.prepared(&settings()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let kept = case.kept();
    let order = ["first", "second", "number 0\"", "number 2999", "third", "fourth"];
    let at: Vec<usize> = order.iter().map(|w| kept.find(w).unwrap_or_else(|| panic!("{w}"))).collect();
    assert!(at.is_sorted(), "{at:?}");
    let passed = report.passed.join("\n");
    for name in
        ["loop: a link", "dangling: a link", "zero.txt: a link", "pipe.txt: neither", "socket: neither"]
    {
        assert!(passed.contains(name), "{name}: {passed}");
    }
    assert!(file(&report, "sparse.txt").problem.as_ref().unwrap().contains("binary"));
    assert!(!report.summary().contains("new\nline"));
    // A pipe that is named is no file either; a file that goes away is told, not waited for.
    let e = documents::read(&[input.join("pipe.txt")]).unwrap_err().to_string();
    assert!(e.contains("pipe.txt"), "{e}");
    let gone = pupil_data::source::File { path: input.join("gone.txt"), size: 5, named: false };
    let e = pupil_data::source::open(&gone, &|_| {}, &mut |_| {}, &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn d10_chats_of_all_shapes_are_read_by_the_rules_or_skipped_with_a_reason() {
    let turn = |role: &str, said: &str| format!("{{\"role\":\"{role}\",\"content\":\"{said}\"}}");
    let chat = |turns: &[String]| format!("{{\"messages\":[{}]}}\n", turns.join(","));
    let long: Vec<String> =
        (0..100_000).map(|i| turn(if i % 2 == 0 { "user" } else { "assistant" }, &format!("t{i}"))).collect();
    let text = [
        chat(&[turn("wizard", "hi"), turn("assistant", "a1")]),
        chat(&[turn("user", "u1"), turn("user", "u2"), turn("assistant", "a2")]),
        chat(&[turn("assistant", "greeting a3"), turn("user", "hello")]),
        chat(&[turn("user", "u4"), turn("assistant", "")]),
        chat(&[turn("user", "u5"), "{\"from\":\"gpt\",\"value\":\"a5\"}".into()]),
        chat(&[turn("user", "u6"), turn("system", "in the middle"), turn("assistant", "a6")]),
        chat(&[turn("user", "u7"), turn("user", "u8")]),
        chat(&["{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"part\"},{\"type\":\"image_url\"}]}".into(), turn("assistant", "a8")]),
        chat(&["{\"content\":null,\"role\":\"user\"}".into(), turn("assistant", "a9")]),
        chat(&["{\"role\":\"user\"}".into(), turn("assistant", "a10")]),
        "{\"messages\":[]}\n".into(),
        "{\"messages\":\"text\"}\n".into(),
        chat(&[turn("user", "u12"), turn("assistant", "\\u0007\\u0008")]),
        chat(&long),
    ]
    .concat();
    let case = Case::new(&[("x.jsonl", text.as_bytes())]);
    let report = case.prepared(&settings()).unwrap();
    let told: BTreeMap<String, String> = broken(&report).into_iter().collect();
    for (line, why) in [
        (1, "unknown role \"wizard\""),
        (4, "nothing to learn"),
        (7, "nothing to learn"),
        (10, "turn 0 says nothing"),
        (11, "nothing to learn"),
        (12, "OpenAI messages"),
    ] {
        let said = told.get(&format!("x.jsonl:{line}")).unwrap_or_else(|| panic!("line {line}: {told:?}"));
        assert!(said.contains(why), "line {line}: {said}");
    }
    // What cleaning left of a reply is nothing that can be learned.
    assert_eq!((told.len(), count(&report, Reason::Empty)), (6, 1));
    let kept = case.kept();
    for text in ["a2", "a3", "a5", "in the middle", "part", "a9", "t99999"] {
        assert!(kept.contains(text), "{text}");
    }
    assert_eq!(report.kept["chats"].records, 7);
}

#[test]
fn d11_duplicates_are_the_same_whatever_the_order_of_files_and_threads() {
    let same = Case::new(&[("a.txt", "the same words<|endoftext|>".repeat(500).as_bytes())]);
    let report = same.prepared(&settings()).unwrap();
    assert_eq!((report.kept["documents"].records, count(&report, Reason::Duplicate)), (1, 499));

    let all: String = (0..500).map(|i| format!("{{\"text\":\"{i}\"}}\n")).collect();
    let none = Case::new(&[("a.jsonl", all.as_bytes())]);
    assert_eq!(none.prepared(&settings()).unwrap().kept["documents"].records, 500);

    let word = |k: usize| ["stone", "river", "cloud", "paper", "green", "seven", "lamp"][k % 7];
    let text = |n: usize| {
        (0..80).map(|i| format!("{}{} ", word(n * 31 + i * i), (n * 17 + i) % 40)).collect::<String>()
    };
    let near: String = (0..300).map(|i| format!("{}end {i}<|endoftext|>\n", text(7))).collect();
    let other: String = (0..30).map(|i| format!("{}<|endoftext|>\n", text(100 + 13 * i))).collect();
    let with = |threads| Settings { near: Some(0.8), threads, ..settings() };
    let one = Case::new(&[("a.txt", near.as_bytes()), ("b.txt", other.as_bytes())]);
    let report = one.prepared(&with(1)).unwrap();
    assert_eq!(count(&report, Reason::NearDuplicate), 299);
    let kept = one.kept();
    assert_eq!(one.prepared(&with(3)).unwrap(), report);
    assert_eq!(one.kept(), kept);
    // The other order keeps as many.
    let turned = Case::new(&[("b.txt", near.as_bytes()), ("a.txt", other.as_bytes())]);
    assert_eq!(
        turned.prepared(&with(2)).unwrap().kept["documents"].records,
        report.kept["documents"].records
    );

    let empty = Case::new(&[("a.jsonl", b"{\"text\":\"\\u0001\\u0002\"}\n")]);
    let e = empty.prepared(&settings()).unwrap_err();
    assert!(e.contains("no text was found") && !empty.dir.path().join("out/report.json").exists(), "{e}");
}

#[test]
fn d12_shards_that_are_damaged_or_of_others_are_refused_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, t) =
        (dir.path().join("x.tokens"), pupil_tokenizer::train(["some words"; 3], 262, &["<|endoftext|>"]));
    let mut w = Writer::create(&path, &t).unwrap();
    w.add(&[1, 2, 3, 4, 5]).unwrap();
    w.add(&[6; 5000]).unwrap();
    w.finish().unwrap();
    let good = fs::read(&path).unwrap();
    // Every byte of the header, and every length: an error with the file's name, never a panic, never more ids than there are.
    for at in 0..128 {
        for value in [0, 1, 0x7f, 0xff, good[at] ^ 1] {
            let mut bytes = good.clone();
            bytes[at] = value;
            fs::write(&path, &bytes).unwrap();
            if let Err(e) = Shard::open(&path).and_then(|s| s.documents(0..s.len()).and_then(|_| s.verify()))
            {
                assert!(e.to_string().contains("x.tokens"), "{e}");
            }
        }
    }
    for length in (0..300).chain([good.len() - 9, good.len() - 1]) {
        fs::write(&path, &good[..length]).unwrap();
        assert!(Shard::open(&path).is_err(), "{length} bytes");
    }
    let mut bytes = good.clone();
    bytes[128 + 2 * 7..128 + 2 * 8].copy_from_slice(&[0xff, 0xff]);
    fs::write(&path, &bytes).unwrap();
    let e = Shard::open(&path).unwrap().documents(0..2).unwrap_err().to_string();
    assert!(e.contains("token 7 is 65535") && e.contains("x.tokens"), "{e}");
    // A document longer than a context is cut; a corpus shorter than one is read as it is.
    fs::write(&path, &good).unwrap();
    let shards = Shards::open(&[(path.clone(), Some(0))], &t, 1 << 20).unwrap();
    assert_eq!(pupil_data::Examples::tokens(&shards), 5005);
}

#[test]
fn d13_a_source_that_changed_is_noticed_and_the_split_never_shares_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.jsonl");
    fs::write(&path, "one").unwrap();
    pupil_data::origin::note(dir.path(), &["train.jsonl", "absent.jsonl"]).unwrap();
    assert_eq!(pupil_data::origin::changed(dir.path()).unwrap(), []);
    // Touched, but the same.
    fs::write(&path, "one").unwrap();
    assert_eq!(pupil_data::origin::changed(dir.path()).unwrap(), []);
    fs::write(&path, "two").unwrap();
    let found = pupil_data::origin::changed(dir.path()).unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "train.jsonl"));
    assert!(found[0].hashes[0] != found[0].hashes[1]);
    fs::remove_file(&path).unwrap();
    assert_eq!(pupil_data::origin::changed(dir.path()).unwrap(), []);
    fs::write(dir.path().join(pupil_data::origin::ORIGINS), "{").unwrap();
    assert!(pupil_data::origin::changed(dir.path()).is_err());

    let lines: String = (0..400).map(|i| format!("{{\"text\":\"words number {}\"}}\n", i % 200)).collect();
    let case = Case::new(&[("a.jsonl", lines.as_bytes())]);
    case.prepared(&Settings { exact: false, validation: 300, ..settings() }).unwrap();
    let side = |name: &str| -> std::collections::BTreeSet<String> {
        let text = fs::read_to_string(case.dir.path().join("out").join(name)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (train, validation) = (side("train-documents.jsonl"), side("validation-documents.jsonl"));
    assert!(train.is_disjoint(&validation) && validation.len() > 20, "duplicates lie on one side");
}

#[test]
fn d14_markup_that_is_none_takes_linear_time() {
    let begun = Instant::now();
    let open = "<i>".repeat(100_000);
    let entities = "&lt;&amp;&#x10ffff;".repeat(60_000);
    let case = Case::new(&[
        ("angles.html", "<".repeat(1 << 20).as_bytes()),
        ("open.html", open.as_bytes()),
        ("entities.html", entities.as_bytes()),
        ("script.html", format!("<p>before</p><script>{}", "x ".repeat(500_000)).as_bytes()),
        ("page.html", b"<p>a page with words</p>"),
    ]);
    let report = case.prepared(&settings()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(case.kept().contains("a page with words"));
    assert!(broken(&report).iter().any(|b| b.0 == "open.html:1" && b.1.contains("tags")), "{report:?}");
}

#[test]
fn d15_addresses_are_refused_because_nothing_opens_the_network() {
    let out = tempfile::tempdir().unwrap();
    for address in
        ["http://127.0.0.1/x.txt", "https://example.org/x.zip", "file:///etc/hostname", "hf://datasets/x"]
    {
        let begun = Instant::now();
        let e = documents::read(&[PathBuf::from(address)]).unwrap_err().to_string();
        assert!(e.contains(address) && e.contains("opens no network"), "{e}");
        let paths = [PathBuf::from(address)];
        let e = prepare::prepare(&paths, &out.path().join("out"), &settings(), &|_, _| {}).unwrap_err();
        assert!(e.to_string().contains("opens no network") && !out.path().join("out").exists(), "{e}");
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    // Links in records are text.
    let case = Case::new(&[("a.jsonl", b"{\"text\":\"see http://127.0.0.1:1/x and file:///etc/passwd\"}\n")]);
    case.prepared(&settings()).unwrap();
    assert!(case.kept().contains("file:///etc/passwd"));
}
