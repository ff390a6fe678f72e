//! Which encoding bytes are in, and the bytes as UTF-8.
//!
//! A byte-order mark is trusted; then valid UTF-8; then the pattern of zero bytes that UTF-16 leaves; then what Firefox's detector
//! says (GB18030, Big5, Shift-JIS, EUC, KOI8, Windows code pages). Bytes that are no text at all are binary.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding};

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8; bytes that are none become replacement characters.
    Utf8,
    /// UTF-32, by its byte-order mark.
    Utf32 {
        /// Whether the most significant byte comes first.
        big: bool,
    },
    /// Anything else that the web knows.
    Other(&'static Encoding),
}

/// What was found out about bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The encoding.
    pub charset: Charset,
    /// Bytes of the byte-order mark.
    pub mark: usize,
    /// Whether it is a guess: neither a byte-order mark nor valid UTF-8 says so.
    pub guessed: bool,
}

impl Charset {
    /// By any of the names that it has on the web.
    pub fn named(name: &str) -> Option<Charset> {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        Some(match lower.as_str() {
            "utf-32" | "utf-32le" => Charset::Utf32 { big: false },
            "utf-32be" => Charset::Utf32 { big: true },
            _ => match Encoding::for_label(lower.as_bytes())? {
                e if e == encoding_rs::UTF_8 => Charset::Utf8,
                e => Charset::Other(e),
            },
        })
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Charset::Utf8 => "UTF-8",
            Charset::Utf32 { big: false } => "UTF-32LE",
            Charset::Utf32 { big: true } => "UTF-32BE",
            Charset::Other(e) if e == encoding_rs::GBK => "GB18030",
            Charset::Other(e) => e.name(),
        }
    }
}

/// The encoding of a file that begins with `head` (all of it if `whole`); `None` if it is binary.
pub fn detect(head: &[u8], whole: bool) -> Option<Detected> {
    let found = |charset, mark| Some(Detected { charset, mark, guessed: false });
    let guess = |charset| Some(Detected { charset, mark: 0, guessed: true });
    if head.starts_with(&[0xff, 0xfe, 0, 0]) {
        return found(Charset::Utf32 { big: false }, 4);
    }
    if head.starts_with(&[0, 0, 0xfe, 0xff]) {
        return found(Charset::Utf32 { big: true }, 4);
    }
    if let Some((encoding, mark)) = Encoding::for_bom(head) {
        let utf8 = encoding == encoding_rs::UTF_8;
        return found(if utf8 { Charset::Utf8 } else { Charset::Other(encoding) }, mark);
    }
    let start = &head[..head.len().min(1 << 16)];
    let zeros = |odd: usize| start.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let (even, odd, pairs) = (zeros(0), zeros(1), start.len() / 2);
    if pairs >= 4 && odd * 10 > pairs * 2 && even * 50 < pairs {
        return guess(Charset::Other(encoding_rs::UTF_16LE));
    }
    if pairs >= 4 && even * 10 > pairs * 2 && odd * 50 < pairs {
        return guess(Charset::Other(encoding_rs::UTF_16BE));
    }
    let strange = |b: &&u8| **b < 0x20 && !matches!(**b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if start.iter().filter(strange).count() * 20 > start.len() {
        return None;
    }
    let (mut at, mut wrong, mut right) = (0, 0usize, 0usize);
    loop {
        match std::str::from_utf8(&head[at..]) {
            Ok(s) => {
                right += s.bytes().filter(|b| *b >= 0xc0).count();
                break;
            }
            Err(e) => {
                right += head[at..at + e.valid_up_to()].iter().filter(|b| **b >= 0xc0).count();
                // A character that the end of `head` cuts is none that is wrong.
                let Some(n) = e.error_len() else {
                    wrong += usize::from(whole);
                    break;
                };
                wrong += 1;
                at += e.valid_up_to() + n;
            }
        }
    }
    if wrong == 0 || right > 4 * wrong {
        return found(Charset::Utf8, 0);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, whole);
    let likely = detector.guess(None, Utf8Detection::Deny);
    // A few bytes, each alone among ASCII, are the quotes and accents of a Western text, whatever else they could be.
    let foreign = |b: &&u8| **b >= 0x80;
    let (all, runs) =
        (head.iter().filter(foreign).count(), head.split(|b| *b < 0x80).filter(|r| !r.is_empty()).count());
    let western = all * 200 < head.len() && all * 2 < runs * 3;
    guess(Charset::Other(if western { encoding_rs::WINDOWS_1252 } else { likely }))
}

/// Decodes a stream, piece by piece, to UTF-8.
pub struct ToUtf8 {
    charset: Charset,
    decoder: Option<Decoder>,
    held: Vec<u8>,
    bytes: u64,
    /// Characters that came out.
    pub chars: u64,
    /// Bytes that are none, or groups of them, which became a replacement character or will.
    pub replaced: u64,
    /// Where in the file the first of them was, or for encodings other than UTF-8 the part of the file.
    pub first: Option<u64>,
}

impl ToUtf8 {
    /// A decoder of bytes after the byte-order mark.
    pub fn new(charset: Charset) -> ToUtf8 {
        let decoder = match charset {
            Charset::Other(e) => Some(e.new_decoder_without_bom_handling()),
            _ => None,
        };
        ToUtf8 { charset, decoder, held: Vec::new(), bytes: 0, chars: 0, replaced: 0, first: None }
    }

    /// Appends the text of some more bytes. UTF-8 is passed on as it is, errors included, but never cut within a character.
    pub fn push(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let begin = out.len();
        match self.charset {
            Charset::Utf32 { big } => self.utf32(bytes, big, last, out),
            Charset::Utf8 => self.utf8(bytes, last, out),
            Charset::Other(_) => self.other(bytes, last, out),
        }
        self.bytes += bytes.len() as u64;
        self.chars += out[begin..].iter().filter(|b| **b & 0xc0 != 0x80).count() as u64;
    }

    fn wrong(&mut self, count: u64, at: u64) {
        self.replaced += count;
        self.first.get_or_insert(at);
    }

    fn utf8(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let (begin, origin) = (out.len(), self.bytes - self.held.len() as u64);
        out.append(&mut self.held);
        out.extend_from_slice(bytes);
        let mut at = begin;
        while let Err(e) = std::str::from_utf8(&out[at..]) {
            let wrong = at + e.valid_up_to();
            match e.error_len() {
                Some(n) => {
                    self.wrong(1, origin + (wrong - begin) as u64);
                    at = wrong + n;
                }
                None if last => {
                    self.wrong(1, origin + (wrong - begin) as u64);
                    break;
                }
                None => {
                    self.held = out.split_off(wrong);
                    break;
                }
            }
        }
    }

    fn utf32(&mut self, bytes: &[u8], big: bool, last: bool, out: &mut Vec<u8>) {
        let origin = self.bytes - self.held.len() as u64;
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let (whole, rest) = held.split_at(held.len() / 4 * 4);
        for (i, b) in whole.chunks_exact(4).enumerate() {
            let b = [b[0], b[1], b[2], b[3]];
            let c = char::from_u32(if big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) });
            if c.is_none() {
                self.wrong(1, origin + 4 * i as u64);
            }
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if last && !rest.is_empty() {
            self.wrong(1, origin + whole.len() as u64);
            out.extend_from_slice("\u{fffd}".as_bytes());
        } else {
            self.held = rest.to_vec();
        }
    }

    fn other(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let Some(decoder) = &mut self.decoder else { return };
        let (mut rest, mut text, mut wrong) = (bytes, String::new(), false);
        loop {
            text.reserve(rest.len() + rest.len() / 2 + 64);
            let (result, read, errors) = decoder.decode_to_string(rest, &mut text, last);
            wrong |= errors;
            rest = &rest[read..];
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        if wrong {
            self.wrong(text.matches('\u{fffd}').count() as u64, self.bytes);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], step: usize) -> (String, &'static str) {
        let d = detect(bytes, true).unwrap();
        let mut to = ToUtf8::new(d.charset);
        let mut out = Vec::new();
        for piece in bytes[d.mark..].chunks(step) {
            to.push(piece, false, &mut out);
        }
        to.push(&[], true, &mut out);
        (String::from_utf8_lossy(&out).into_owned(), d.charset.name())
    }

    #[test]
    fn encodings_are_told_apart_and_decoded_in_pieces_of_any_size() {
        let zh =
            "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚汉分争，又并入于汉。";
        let tw =
            "話說天下大勢，分久必合，合久必分。周末七國分爭，並入於秦。及秦滅之後，楚、漢分爭，又並入於漢。";
        let ja = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。";
        let ru =
            "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.";
        let fr = "Le cœur a ses raisons que la raison ne connaît point; l’élève préfère être à l’école.";
        let with = |e: &'static Encoding, s: &str| e.encode(s).0.into_owned();
        let utf16 = |s: &str| s.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let utf32 = |s: &str| s.chars().flat_map(|c| (c as u32).to_be_bytes()).collect::<Vec<u8>>();
        for (bytes, text, name) in [
            (zh.as_bytes().to_vec(), zh, "UTF-8"),
            ([&[0xef, 0xbb, 0xbf], zh.as_bytes()].concat(), zh, "UTF-8"),
            (with(encoding_rs::GB18030, zh), zh, "GB18030"),
            (with(encoding_rs::BIG5, tw), tw, "Big5"),
            (with(encoding_rs::SHIFT_JIS, ja), ja, "Shift_JIS"),
            (with(encoding_rs::KOI8_R, ru), ru, "KOI8-U"),
            (with(encoding_rs::WINDOWS_1252, fr), fr, "windows-1252"),
            ([&[0xff, 0xfe][..], &utf16(zh)].concat(), zh, "UTF-16LE"),
            (utf16("plain words without a mark"), "plain words without a mark", "UTF-16LE"),
            ([&[0, 0, 0xfe, 0xff][..], &utf32(ja)].concat(), ja, "UTF-32BE"),
        ] {
            for step in [1, 3, 1000] {
                assert_eq!(decoded(&bytes, step), (text.to_owned(), name), "{name} in pieces of {step}");
            }
        }
    }

    #[test]
    fn a_few_quotes_among_ascii_are_western() {
        let mut bytes = "My fellow citizens, the state of the union is good. ".repeat(40).into_bytes();
        bytes.extend_from_slice(b"America\x92s people, \x93free\x94 and $5\xa2.");
        assert_eq!(detect(&bytes, true).unwrap().charset.name(), "windows-1252");
    }

    #[test]
    fn a_few_wrong_bytes_do_not_change_the_encoding_and_binary_is_refused() {
        let mut bytes = "héllo wörld, çava, naïve, ünïcödé ".repeat(9).into_bytes();
        bytes[40] = 0xff;
        assert_eq!(detect(&bytes, true).unwrap().charset, Charset::Utf8);
        assert_eq!(detect(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0", true), None);
        assert_eq!(detect(b"a\0b", true), None);
        assert_eq!(detect(b"", true).unwrap().charset, Charset::Utf8);
    }
}
