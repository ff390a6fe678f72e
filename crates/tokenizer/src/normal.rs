//! Normal forms of text, character by character, each with the bytes of the original that it stands for.

use std::ops::Range;

use unicode_normalization::char::{canonical_combining_class, compose, decompose_canonical};
use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory as _};

/// A character of normalised text, and where in the original it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aligned {
    pub(crate) c: char,
    /// First byte of the original character.
    pub(crate) begin: usize,
    /// The byte after it.
    pub(crate) end: usize,
}

/// Where in the original each byte of a normalised text comes from.
pub(crate) struct Places {
    /// Of each byte its character's place, and the end.
    bytes: Vec<(usize, usize)>,
}

impl Places {
    pub(crate) fn new(chars: &[Aligned]) -> Places {
        let of = |a: &Aligned| std::iter::repeat_n((a.begin, a.end), a.c.len_utf8());
        Places { bytes: chars.iter().flat_map(of).collect() }
    }

    /// The place of some bytes, not none.
    pub(crate) fn range(&self, bytes: Range<usize>) -> Range<usize> {
        let end = |i: usize| self.bytes.get(i).map_or(0, |b| b.1);
        self.bytes.get(bytes.start).map_or(0, |b| b.0)..end(bytes.end.saturating_sub(1))
    }
}

/// Unicode's normal form C. Each character takes the places of the original in turn, as many as went into it, and has the first of them;
/// what was made of one character beside others has its place. So it is in Hugging Face's tokenizers.
pub(crate) fn nfc(text: &str) -> Vec<Aligned> {
    // Of each character its class, and whether more or fewer places are taken than one.
    let mut all: Vec<(u8, char, isize)> = Vec::with_capacity(text.len());
    for c in text.chars() {
        let mut change = 0;
        decompose_canonical(c, |c| {
            all.push((canonical_combining_class(c), c, std::mem::replace(&mut change, 1)))
        });
    }
    all.split_mut(|a| a.0 == 0).for_each(|marks| marks.sort_by_key(|a| a.0));
    let mut joined: Vec<(char, isize)> = Vec::with_capacity(all.len());
    // The last character that takes accents, and the class of what stands after it.
    let (mut base, mut last): (Option<usize>, Option<u8>) = (None, None);
    for (class, c, change) in all {
        if let Some(b) = base
            && last.is_none_or(|l| l < class)
            && let Some(c) = compose(joined[b].0, c)
        {
            joined[b] = (c, joined[b].1 + change - 1);
            continue;
        }
        (base, last) = if class == 0 { (Some(joined.len()), None) } else { (base, Some(class)) };
        joined.push((c, change));
    }
    let mut places = text.char_indices().map(|(begin, c)| (begin, begin + c.len_utf8()));
    let mut place = (0, 0);
    let one = |(c, change): (char, isize)| {
        let mut begins = place;
        for taken in 0..1 - change.min(1) {
            place = places.next().unwrap_or(place);
            begins = if taken == 0 { place } else { begins };
        }
        Aligned { c, begin: begins.0, end: begins.1 }
    };
    joined.into_iter().map(one).collect()
}

/// What BERT does to text before it is cut into words.
///
/// Equals `BertNormalizer` of Hugging Face's tokenizers but for 693 marks and signs that came into Unicode after its tables were made
/// (version 8); checked by `tools/check_wordpiece.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BertNormalizer {
    /// Control characters go, every blank becomes a space.
    pub clean_text: bool,
    /// Every Chinese character is a word.
    pub handle_chinese_chars: bool,
    /// Accents go; without a choice they go if case does.
    pub strip_accents: Option<bool>,
    /// Capitals become small.
    pub lowercase: bool,
}

impl Default for BertNormalizer {
    fn default() -> BertNormalizer {
        BertNormalizer { clean_text: true, handle_chinese_chars: true, strip_accents: None, lowercase: true }
    }
}

impl BertNormalizer {
    /// Appends the characters of a text that begins at byte `at` of the original.
    pub(crate) fn append(&self, text: &str, at: usize, out: &mut Vec<Aligned>) {
        let strip = self.strip_accents.unwrap_or(self.lowercase);
        let mut order = Ordered { lowercase: self.lowercase, held: Vec::new(), out };
        for (i, c) in text.char_indices() {
            let (begin, end) = (at + i, at + i + c.len_utf8());
            let Some(c) = self.cleaned(c) else { continue };
            let apart = self.handle_chinese_chars && is_chinese(c);
            let space = Aligned { c: ' ', begin, end };
            if apart {
                order.push(space, strip);
            }
            if strip && !c.is_ascii() {
                decompose_canonical(c, |c| order.push(Aligned { c, begin, end }, strip));
            } else {
                order.push(Aligned { c, begin, end }, strip);
            }
            if apart {
                order.push(space, strip);
            }
        }
        order.flush();
    }

    fn cleaned(&self, c: char) -> Option<char> {
        match c {
            _ if !self.clean_text => Some(c),
            ' '..='~' => Some(c),
            '\t' | '\n' | '\r' => Some(' '),
            '\0' | '\u{fffd}' => None,
            _ if is_other(c) => None,
            _ if c.is_whitespace() => Some(' '),
            _ => Some(c),
        }
    }
}

/// Takes decomposed characters, gives them on in canonical order, without the accents and in small letters.
struct Ordered<'a> {
    lowercase: bool,
    /// Marks since the last character that is none.
    held: Vec<(u8, Aligned)>,
    out: &'a mut Vec<Aligned>,
}

impl Ordered<'_> {
    fn push(&mut self, a: Aligned, strip: bool) {
        if a.c.is_ascii() || !strip {
            self.flush();
            return self.give(a);
        }
        match canonical_combining_class(a.c) {
            0 => {
                self.flush();
                self.kept(a);
            }
            class => self.held.push((class, a)),
        }
    }

    fn flush(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|h| h.0);
        held.drain(..).for_each(|(_, a)| self.kept(a));
        self.held = held;
    }

    fn kept(&mut self, a: Aligned) {
        if a.c.general_category() != G::NonspacingMark {
            self.give(a);
        }
    }

    fn give(&mut self, a: Aligned) {
        if !self.lowercase {
            return self.out.push(a);
        }
        if a.c.is_ascii() {
            return self.out.push(Aligned { c: a.c.to_ascii_lowercase(), ..a });
        }
        self.out.extend(a.c.to_lowercase().map(|c| Aligned { c, ..a }));
    }
}

/// Control and format characters, and those for private use.
fn is_other(c: char) -> bool {
    matches!(c.general_category(), G::Control | G::Format | G::PrivateUse)
}

/// What BERT takes for punctuation, each of which is a word.
pub(crate) fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    matches!(
        c.general_category(),
        G::ConnectorPunctuation
            | G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation
    )
}

/// The Unicode blocks that BERT takes for Chinese, with the gap (U+2B820 to U+2B91F) that Hugging Face's tokenizers leave.
fn is_chinese(c: char) -> bool {
    matches!(
        c,
        '\u{4e00}'..='\u{9fff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{f900}'..='\u{faff}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    #[test]
    fn the_normal_form_is_unicodes() {
        let alphabet: Vec<char> =
            "aeê\u{301}\u{302}\u{323}\u{307}\u{327}각ᄀ\u{1161}\u{11a8}가क\u{93c}\u{958}Å 你"
                .chars()
                .collect();
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            let text: String = (0..random() % 9).map(|_| alphabet[random() % alphabet.len()]).collect();
            let made = nfc(&text);
            assert_eq!(
                made.iter().map(|a| a.c).collect::<String>(),
                text.nfc().collect::<String>(),
                "{text:?}"
            );
            assert!(made.iter().all(|a| text.is_char_boundary(a.begin) && text.is_char_boundary(a.end)));
        }
        let places = Places::new(&nfc("xe\u{301}y"));
        assert_eq!([places.range(0..1), places.range(1..3), places.range(3..4)], [0..1, 1..2, 4..5]);
    }

    fn check(normalizer: BertNormalizer, text: &str, expected: &str) {
        let mut out = Vec::new();
        normalizer.append(text, 0, &mut out);
        assert_eq!(out.iter().map(|a| a.c).collect::<String>(), expected, "{text:?}");
        assert!(out.iter().all(|a| text.is_char_boundary(a.begin) && text.is_char_boundary(a.end)));
    }

    #[test]
    fn each_setting_does_its_part() {
        let all = BertNormalizer::default();
        check(all, "Héllo\tWÖRLD\0\u{200b}\u{fffd}!", "hello world!");
        check(all, "ab你c", "ab 你 c");
        check(all, "e\u{323}\u{301}x", "ex");
        check(all, "İ", "i");
        check(BertNormalizer { lowercase: false, ..all }, "Éa", "Éa");
        check(BertNormalizer { lowercase: false, strip_accents: Some(true), ..all }, "Éa", "Ea");
        check(BertNormalizer { strip_accents: Some(false), ..all }, "Éa", "éa");
        check(BertNormalizer { handle_chinese_chars: false, ..all }, "你好", "你好");
        check(BertNormalizer { clean_text: false, ..all }, "a\tb\u{200b}", "a\tb\u{200b}");
    }
}
