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
}

impl Charset {
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
    let found = |charset, mark| Some(Detected { charset, mark });
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
        return found(Charset::Other(encoding_rs::UTF_16LE), 0);
    }
    if pairs >= 4 && even * 10 > pairs * 2 && odd * 50 < pairs {
        return found(Charset::Other(encoding_rs::UTF_16BE), 0);
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
    let guess = detector.guess(None, Utf8Detection::Deny);
    // A few bytes, each alone among ASCII, are the quotes and accents of a Western text, whatever else they could be.
    let foreign = |b: &&u8| **b >= 0x80;
    let (all, runs) =
        (head.iter().filter(foreign).count(), head.split(|b| *b < 0x80).filter(|r| !r.is_empty()).count());
    let western = all * 200 < head.len() && all * 2 < runs * 3;
    found(Charset::Other(if western { encoding_rs::WINDOWS_1252 } else { guess }), 0)
}

/// Decodes a stream, piece by piece, to UTF-8.
pub struct ToUtf8 {
    charset: Charset,
    decoder: Option<Decoder>,
    held: Vec<u8>,
}

impl ToUtf8 {
    /// A decoder of bytes after the byte-order mark.
    pub fn new(charset: Charset) -> ToUtf8 {
        let decoder = match charset {
            Charset::Other(e) => Some(e.new_decoder_without_bom_handling()),
            _ => None,
        };
        ToUtf8 { charset, decoder, held: Vec::new() }
    }

    /// Appends the text of some more bytes. UTF-8 is passed on as it is, errors included.
    pub fn push(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        match (self.charset, &mut self.decoder) {
            (Charset::Utf32 { big }, _) => {
                self.held.extend_from_slice(bytes);
                let whole = self.held.len() / 4 * 4;
                for b in self.held[..whole].chunks_exact(4) {
                    let b = [b[0], b[1], b[2], b[3]];
                    let code = if big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) };
                    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                self.held.drain(..whole);
                if last && !self.held.is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
            (_, Some(decoder)) => {
                let mut rest = bytes;
                let mut text = String::new();
                loop {
                    text.reserve(rest.len() + rest.len() / 2 + 64);
                    let (result, read, _) = decoder.decode_to_string(rest, &mut text, last);
                    rest = &rest[read..];
                    if result == CoderResult::InputEmpty {
                        break;
                    }
                }
                out.extend_from_slice(text.as_bytes());
            }
            (_, None) => out.extend_from_slice(bytes),
        }
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
