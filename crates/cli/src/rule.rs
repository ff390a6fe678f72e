//! Rules that say whether a reply is right.

use std::sync::LazyLock;

use fancy_regex::Regex;
use pupil_data::starter::numerals;
use pupil_tokenizer::NUMERALS;

/// A rule.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The reply is the answer; letter case and blanks at the ends do not count.
    Exact,
    /// The last number of the reply is the last one of the answer; numbers up to 199 may be words, English or Chinese.
    Number,
    /// The answer is a regular expression that the reply matches.
    Regex,
}

impl Rule {
    /// Says why an answer cannot be compared with.
    pub(crate) fn check(self, answer: &str) -> Result<(), String> {
        match self {
            Rule::Exact if answer.trim().is_empty() => Err("is empty".into()),
            Rule::Number if numbers(answer).is_empty() => Err("has no number".into()),
            Rule::Regex => Regex::new(answer).map(drop).map_err(|e| format!("is no regular expression: {e}")),
            _ => Ok(()),
        }
    }

    /// Whether a reply is right.
    pub(crate) fn holds(self, reply: &str, answer: &str) -> bool {
        match self {
            Rule::Exact => reply.trim().to_lowercase() == answer.trim().to_lowercase(),
            Rule::Number => {
                let [reply, answer] = [reply, answer].map(numbers);
                reply.last().is_some_and(|r| answer.last() == Some(r))
            }
            // One that goes back without end is one that does not match.
            Rule::Regex => Regex::new(answer).and_then(|r| r.is_match(reply)).unwrap_or(false),
        }
    }
}

/// Numbers as words, the longest first: of `twenty-one` not only `twenty` is read.
static WORDS: LazyLock<Vec<(Vec<char>, f64)>> = LazyLock::new(|| {
    let forms = |n: usize| {
        let english = numerals::english(n);
        [(english.replace(" and ", " "), n), (english, n), (numerals::chinese(n), n)]
    };
    let all = (0..200).flat_map(forms).chain([("两".to_owned(), 2)]);
    let mut all: Vec<(Vec<char>, f64)> = all.map(|(word, n)| (word.chars().collect(), n as f64)).collect();
    all.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    all
});

/// What makes a number before it one that is not known here.
const LARGER: [&str; 4] = [" hundred", " thousand", " million", " billion"];

/// What may follow a `一` that is a number: in 一起, 一下 and 一样 it is none.
const AFTER_ONE: &str = "加减乘除等和是比个大小的";

/// The numbers of a text in order: `-1,234.50` is −1234.5, `twenty-one` and `二十一` are 21.
pub(crate) fn numbers(text: &str) -> Vec<f64> {
    let mut found = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let small: Vec<char> = chars.iter().map(char::to_ascii_lowercase).collect();
    let mut i = 0;
    while i < chars.len() {
        let begin = i;
        if chars[i].is_ascii_digit() {
            let digit = |k: usize| chars.get(k).is_some_and(char::is_ascii_digit);
            while digit(i) || (chars.get(i).is_some_and(|c| matches!(c, '.' | ',')) && digit(i + 1)) {
                i += 1;
            }
            let digits: String = chars[begin..i].iter().filter(|c| **c != ',').collect();
            let is_negative =
                begin > 0 && chars[begin - 1] == '-' && (begin < 2 || chars[begin - 2].is_whitespace());
            found.extend(digits.parse::<f64>().map(|n| if is_negative { -n } else { n }));
        } else if chars[i].is_alphabetic() {
            let of_word = |c: &char| match NUMERALS.contains(chars[begin]) {
                true => NUMERALS.contains(*c),
                false => c.is_alphanumeric() && !NUMERALS.contains(*c),
            };
            // A word ends where no more of its kind follows.
            let ends = |word: &[char]| !small.get(begin + word.len()).is_some_and(of_word);
            let read = WORDS.iter().find(|(word, _)| small[begin..].starts_with(word) && ends(word));
            i += read.map_or_else(
                || chars[begin..].iter().take_while(|c| of_word(c)).count(),
                |(word, _)| word.len(),
            );
            let next: String = small[i..].iter().take(9).collect();
            let part_of_larger = LARGER.iter().any(|l| next.starts_with(l));
            let in_word = small[begin..i] == ['一']
                && next.chars().next().is_some_and(|c| c.is_alphabetic() && !AFTER_ONE.contains(c));
            found.extend(read.filter(|_| !part_of_larger && !in_word).map(|(_, n)| n));
        } else {
            i += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_words_and_digits() {
        assert_eq!(numbers("Seven plus 3 is ten."), [7.0, 3.0, 10.0]);
        assert_eq!(numbers("-1,234.50, 5-3 and x2 #### 18"), [-1234.5, 5.0, 3.0, 18.0]);
        assert_eq!(numbers("Twenty-one, One hundred and five; twenty - one"), [21.0, 105.0, 20.0, 1.0]);
        assert_eq!(numbers("十加二十一等于三十一。一百零五，3个三x"), [10.0, 21.0, 31.0, 105.0, 3.0, 3.0]);
        assert!(numbers("none of them, tone, seventh, 三千, two hundred").is_empty());
        assert_eq!(
            numbers("请算一下三加四。一加一等于二，我们一起玩。还剩两个。"),
            [3.0, 4.0, 1.0, 1.0, 2.0, 2.0]
        );
        assert_eq!(numbers("One hundred five, one hundred"), [105.0, 100.0]);
        assert_eq!(numbers("1.2.3"), [] as [f64; 0]);
    }

    #[test]
    fn replies_are_right_by_their_rule() {
        assert!(Rule::Exact.holds(" Paris.\n", "paris.") && !Rule::Exact.holds("Paris", "paris."));
        assert!(
            Rule::Number.holds("3 and 4 make seven.", "The sum is 7.") && !Rule::Number.holds("many", "7")
        );
        assert!(Rule::Regex.holds("It is 42.", r"\b42\b") && !Rule::Regex.holds("It is 421.", r"\b42\b"));
        assert!(
            Rule::Regex.check("(").is_err()
                && Rule::Number.check("many").is_err()
                && Rule::Exact.check(" ").is_err()
        );
        assert!(Rule::Regex.check("a+").is_ok() && Rule::Number.check("7").is_ok());
    }
}
