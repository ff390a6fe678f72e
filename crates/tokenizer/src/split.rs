//! GPT-2's pre-tokenisation: text is cut into words, and merges never cross a border.
//!
//! The pattern is `'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, here as a scanner that looks at each
//! character once. Radford et al. 2019.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

fn class(c: char) -> Class {
    if c.is_ascii() {
        return match c {
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            ' ' | '\t'..='\r' => Class::Space,
            _ => Class::Other,
        };
    }
    if c.is_whitespace() {
        return Class::Space;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Number,
        _ => Class::Other,
    }
}

const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// The words of a text, in order; joined they are the text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (word, after) = rest.split_at(first_word(rest));
        rest = after;
        Some(word)
    })
}

/// Length in bytes of the first word of a text that is not empty.
fn first_word(text: &str) -> usize {
    if text.starts_with('\'')
        && let Some(c) = CONTRACTIONS.iter().find(|c| text.starts_with(**c))
    {
        return c.len();
    }
    let run = |from: usize, kind: Class| {
        let tail = &text[from..];
        from + tail.find(|c| class(c) != kind).unwrap_or(tail.len())
    };
    let mut chars = text.chars();
    let first = chars.next().map_or(Class::Other, class);
    if first != Class::Space {
        return run(0, first);
    }
    if text.starts_with(' ')
        && let Some(kind) = chars.next().map(class)
        && kind != Class::Space
    {
        return run(1, kind);
    }
    let end = run(0, Class::Space);
    if end == text.len() {
        return end;
    }
    // The last blank before a word belongs to the word, or stands alone.
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    if end > last { end - last } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_regular_expression() {
        let pattern = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let regex = fancy_regex::Regex::new(pattern).unwrap();
        let fixed = [
            "Hello, world! It's 2026; we'll see.",
            "  two  blanks   three\n\n\nlines \t\ttabs ",
            "你好，世界！今天 123 天气 好",
            "don't DON'T 'tis ''s x's",
            "a\u{301}e\u{301} ½ Ⅷ ²３ — „quoted“ \u{a0}\u{3000}x \u{200b}y",
            "def f(x):\n    return x+1  # 1.5e-3\r\n",
            "👩‍👩‍👧‍👦 family 🏳️‍🌈",
            "",
            " ",
            "\n",
        ];
        let alphabet: Vec<char> = " \n\tab'sdlv10,.-你é\u{301}½\u{a0}🙂R".chars().collect();
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let made: Vec<String> = (0..3000)
            .map(|_| (0..random() % 24).map(|_| alphabet[random() % alphabet.len()]).collect())
            .collect();
        for text in fixed.into_iter().chain(made.iter().map(String::as_str)) {
            let expected: Vec<&str> = regex.find_iter(text).map(|m| m.unwrap().as_str()).collect();
            assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
