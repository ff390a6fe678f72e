//! Pre-tokenisation: text is cut into words, and merges never cross a border.
//!
//! Each model family has a regular expression for it; here they are scanners that look at each character once or twice, so no text takes
//! long. The expressions themselves stand at [`Split::pattern`], and the tests hold the scanners against them.

use std::sync::LazyLock;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// A way to cut text into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// GPT-2 (Radford et al. 2019): letters, numbers and others apart, each with the blank before it.
    #[default]
    Gpt2,
    /// GPT-4's cl100k: contractions in any case, at most three digits, lines ends apart.
    Cl100k,
    /// GPT-4o's o200k: also splits before capitals within a word.
    O200k,
    /// Llama 3: cl100k but for blanks at the end.
    Llama3,
    /// Qwen 2 and 3: single digits.
    Qwen2,
    /// For Chinese: at most four Chinese characters, without the punctuation before them; else as Qwen 2.
    Chinese,
    /// GPT-2 with each digit by itself, Chinese numerals too: else `六十四` may become `六` and `十四`, and `乘七` one token, from which nobody learns
    /// to reckon.
    Digits,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 7] = [
        Split::Gpt2,
        Split::Cl100k,
        Split::O200k,
        Split::Llama3,
        Split::Qwen2,
        Split::Chinese,
        Split::Digits,
    ];

    /// The name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::Gpt2 => "gpt2",
            Split::Cl100k => "cl100k",
            Split::O200k => "o200k",
            Split::Llama3 => "llama3",
            Split::Qwen2 => "qwen2",
            Split::Chinese => "chinese",
            Split::Digits => "digits",
        }
    }

    /// The regular expression that it does the work of, as in `tokenizer.json`.
    pub fn pattern(self) -> &'static str {
        match self {
            Split::Gpt2 => r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            // tiktoken's own spelling has possessive repeats and `$`, which mean other things to the engine of Hugging Face's tokenizers;
            // this one means the same to both.
            Split::Cl100k => {
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
            }
            Split::O200k => concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
                r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            Split::Llama3 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Split::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Split::Chinese => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\u3400-\u4dbf\u4e00-\u9fff]{1,4}|[^\r\n\p{L}\p{N}]?[^\P{L}\u3400-\u4dbf\u4e00-\u9fff]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Split::Digits => {
                r"'(?:s|t|re|ve|m|ll|d)|\p{N}|[零一二两三四五六七八九十百千万亿]| ?[^\P{L}零一二两三四五六七八九十百千万亿]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
            }
        }
    }

    /// The words of a text, in order; joined they are the text.
    pub fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let table = &**TABLE;
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= text.len() {
                return None;
            }
            let scan = Scan { text, bytes: text.as_bytes(), table };
            let end = match self {
                Split::Gpt2 => scan.gpt2(at, 0),
                Split::Cl100k => scan.modern(at, 3, true, false),
                Split::Llama3 => scan.modern(at, 3, false, false),
                Split::Qwen2 => scan.modern(at, 1, false, false),
                Split::Chinese => scan.modern(at, 1, false, true),
                Split::O200k => scan.o200k(at),
                Split::Digits => scan.gpt2(at, NUMBER | NUMERAL),
            };
            let word = &text[at..end];
            at = end;
            Some(word)
        })
    }
}

/// `\p{L}`.
const LETTER: u8 = 1;
/// `\p{N}`.
const NUMBER: u8 = 2;
/// `\s`.
const SPACE: u8 = 4;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
const UPPER: u8 = 8;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
const LOWER: u8 = 16;
/// A Chinese character of the Basic Multilingual Plane.
const HAN: u8 = 32;
/// Chinese numerals, in which Unicode sees letters.
pub const NUMERALS: &str = "零一二两三四五六七八九十百千万亿";
/// A Chinese numeral, which Unicode calls a letter.
const NUMERAL: u8 = 64;

fn classify(c: char) -> u8 {
    use GeneralCategory as G;
    if c.is_whitespace() {
        return SPACE;
    }
    let mut chinese = if matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}') { HAN } else { 0 };
    if NUMERALS.contains(c) {
        chinese |= NUMERAL;
    }
    match c.general_category() {
        G::UppercaseLetter | G::TitlecaseLetter => LETTER | UPPER,
        G::LowercaseLetter => LETTER | LOWER,
        G::ModifierLetter | G::OtherLetter => LETTER | UPPER | LOWER | chinese,
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark => UPPER | LOWER,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => NUMBER,
        _ => 0,
    }
}

/// Classes of the Basic Multilingual Plane.
static TABLE: LazyLock<Box<[u8; 1 << 16]>> = LazyLock::new(|| {
    let mut table = Box::new([0; 1 << 16]);
    for (code, class) in (0u32..).zip(table.iter_mut()) {
        *class = char::from_u32(code).map_or(0, classify);
    }
    table
});

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    table: &'a [u8; 1 << 16],
}

impl Scan<'_> {
    /// Class and length of the character at `at`; nothing at the end.
    #[inline(always)]
    fn class(&self, at: usize) -> Option<(u8, usize)> {
        let b = *self.bytes.get(at)?;
        if b < 0x80 {
            return Some((self.table[b as usize], 1));
        }
        let c = self.text[at..].chars().next()?;
        let class = if (c as u32) < 1 << 16 { self.table[c as usize & 0xffff] } else { classify(c) };
        Some((class, c.len_utf8()))
    }

    /// The end of the run of characters from `at` on whose class passes.
    #[inline(always)]
    fn run(&self, mut at: usize, passes: impl Fn(u8) -> bool) -> usize {
        while let Some((class, n)) = self.class(at) {
            if !passes(class) {
                break;
            }
            at += n;
        }
        at
    }

    fn is(&self, at: usize, class: u8) -> bool {
        self.class(at).is_some_and(|(c, _)| c & class != 0)
    }

    /// The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `at`.
    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        if self.bytes.get(at) != Some(&b'\'') {
            return None;
        }
        let letter = |i: usize| -> u8 {
            let b = self.bytes.get(at + i).copied().unwrap_or(0);
            if any_case { b.to_ascii_lowercase() } else { b }
        };
        match (letter(1), letter(2)) {
            (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
            (b'r', b'e') | (b'v', b'e') | (b'l', b'l') => Some(at + 3),
            // The long s is an s in any case.
            _ if any_case && self.text[at + 1..].starts_with('ſ') => Some(at + 3),
            _ => None,
        }
    }

    /// `\s+(?!\S)|\s+`: the last blank before a word belongs to the word, or stands alone.
    fn blanks(&self, at: usize, end: usize) -> usize {
        if end == self.bytes.len() {
            return end;
        }
        let last = self.text[at..end].chars().next_back().map_or(0, char::len_utf8);
        if end - last > at { end - last } else { end }
    }

    /// The words of GPT-2; a character of the classes `single` is one by itself, without a blank before it.
    #[inline]
    fn gpt2(&self, at: usize, single: u8) -> usize {
        if let Some(end) = self.contraction(at, false) {
            return end;
        }
        let Some((first, n)) = self.class(at) else { return at };
        if first & single != 0 {
            return at + n;
        }
        let kinds = LETTER | NUMBER | SPACE | single;
        let same = |class: u8| move |c: u8| c & kinds == class & kinds;
        if first & SPACE == 0 {
            return self.run(at + n, same(first));
        }
        if self.bytes[at] == b' '
            && let Some((next, n)) = self.class(at + 1)
            && next & (SPACE | single) == 0
        {
            return self.run(at + 1 + n, same(next));
        }
        self.blanks(at, self.run(at, |c| c & SPACE != 0))
    }

    /// The end of at most `most` digits.
    fn digits(&self, mut at: usize, most: usize) -> usize {
        for _ in 0..most {
            match self.class(at) {
                Some((c, n)) if c & NUMBER != 0 => at += n,
                _ => break,
            }
        }
        at
    }

    /// ` ?[^\s\p{L}\p{N}]+` with line ends (and, if `slash`, slashes) after it, if it begins at `at`.
    fn others(&self, at: usize, slash: bool) -> Option<usize> {
        let begin = at + usize::from(self.bytes[at] == b' ');
        let end = self.run(begin, |c| c & (SPACE | LETTER | NUMBER) == 0);
        let more = |b: &&u8| matches!(b, b'\r' | b'\n') || (slash && **b == b'/');
        (end > begin).then(|| end + self.bytes[end..].iter().take_while(more).count())
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`; with `to_the_end`, `\s+\z` before it.
    fn spaces(&self, at: usize, to_the_end: bool) -> usize {
        let end = self.run(at, |c| c & SPACE != 0);
        if to_the_end && end == self.bytes.len() {
            return end;
        }
        match self.bytes[at..end].iter().rposition(|b| matches!(b, b'\r' | b'\n')) {
            Some(last) => at + last + 1,
            None => self.blanks(at, end),
        }
    }

    fn modern(&self, at: usize, digits: usize, to_the_end: bool, chinese: bool) -> usize {
        if let Some(end) = self.contraction(at, true) {
            return end;
        }
        let Some((first, n)) = self.class(at) else { return at };
        let apart = if chinese { HAN } else { 0 };
        if first & apart != 0 {
            let mut end = at;
            for _ in 0..4 {
                match self.class(end) {
                    Some((c, n)) if c & HAN != 0 => end += n,
                    _ => break,
                }
            }
            return end;
        }
        let letter = |c: u8| c & LETTER != 0 && c & apart == 0;
        if letter(first) {
            return self.run(at + n, letter);
        }
        if first & NUMBER != 0 {
            return self.digits(at, digits);
        }
        if !matches!(self.bytes[at], b'\r' | b'\n')
            && let Some((next, m)) = self.class(at + n)
            && letter(next)
        {
            return self.run(at + n + m, letter);
        }
        self.others(at, false).unwrap_or_else(|| self.spaces(at, to_the_end))
    }

    fn o200k(&self, at: usize) -> usize {
        let Some((first, n)) = self.class(at) else { return at };
        let upper = |c: u8| c & UPPER != 0;
        let lower = |c: u8| c & LOWER != 0;
        let prefix = first & (LETTER | NUMBER) == 0 && !matches!(self.bytes[at], b'\r' | b'\n');
        let begins = [prefix.then_some(at + n), Some(at)];
        let ended = |end: usize| self.contraction(end, true).unwrap_or(end);
        for begin in begins.into_iter().flatten() {
            let middle = self.run(begin, upper);
            if self.is(middle, LOWER) {
                return ended(self.run(middle, lower));
            }
            // The capitals give back up to the last character that may also be small.
            let mut last = None;
            let mut i = begin;
            while i < middle {
                let (c, n) = self.class(i).unwrap_or((0, 1));
                i += n;
                last = if lower(c) { Some(i) } else { last };
            }
            if let Some(end) = last {
                return ended(end);
            }
        }
        for begin in begins.into_iter().flatten() {
            let middle = self.run(begin, upper);
            if middle > begin {
                return ended(self.run(middle, lower));
            }
        }
        if first & NUMBER != 0 {
            return self.digits(at, 3);
        }
        self.others(at, true).unwrap_or_else(|| self.spaces(at, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_regular_expressions() {
        let fixed = [
            "Hello, world! It's 2026; we'll see.",
            "  two  blanks   three\n\n\nlines \t\ttabs ",
            "你好，世界！今天 123 天气 好",
            "六十四乘七等于 一百 两个〇 12  3、x5 ½",
            "don't DON'T 'tis ''s x's I'LL we'Re 'ſ",
            "a\u{301}e\u{301} ½ Ⅷ ²３ — „quoted“ \u{a0}\u{3000}x \u{200b}y",
            "def f(x):\n    return x+1  # 1.5e-3\r\n",
            "👩‍👩‍👧‍👦 family 🏳️‍🌈 𠀀𠀁 𝔘𝔫𝔦",
            "camelCase HTTPServer ǅabc ʰÀé http://a/b//\n/ 1234567 x\n\n  \n y  ",
            "",
            " ",
            "\n",
            "a  \n  ",
        ];
        let alphabet: Vec<char> = " \n\r\tab'sSdlLvVeE10,./-你好三十é\u{301}½\u{a0}🙂Rʰǅſ".chars().collect();
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let made: Vec<String> = (0..4000)
            .map(|_| (0..random() % 24).map(|_| alphabet[random() % alphabet.len()]).collect())
            .collect();
        assert_eq!(Split::Digits.pattern().matches(NUMERALS).count(), 2);
        for split in Split::ALL {
            let regex = fancy_regex::Regex::new(split.pattern()).unwrap();
            for text in fixed.into_iter().chain(made.iter().map(String::as_str)) {
                let expected: Vec<&str> = regex.find_iter(text).map(|m| m.unwrap().as_str()).collect();
                assert_eq!(split.words(text).collect::<Vec<_>>(), expected, "{split:?} {text:?}");
            }
        }
    }

    #[test]
    fn tiktokens_spelling_of_cl100k_gives_the_same_words() {
        let original = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
        let regex = fancy_regex::Regex::new(original).unwrap();
        for text in ["It's 2026; 12345 a  b\n\n  c \n", "x  \n  ", "!!\r\n..  ", " \t\n", "a\n \n  \nb"] {
            let expected: Vec<&str> = regex.find_iter(text).map(|m| m.unwrap().as_str()).collect();
            assert_eq!(Split::Cl100k.words(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
