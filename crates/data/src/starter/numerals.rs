//! Numbers in English words and in Chinese numerals.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const CHINESE: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

/// A number up to 199 in English: `one hundred and five`.
///
/// # Panics
/// From 200 on.
pub fn english(n: usize) -> String {
    match n {
        0..20 => ONES[n].to_owned(),
        20..100 if n.is_multiple_of(10) => TENS[n / 10].to_owned(),
        20..100 => format!("{}-{}", TENS[n / 10], ONES[n % 10]),
        100 => "one hundred".to_owned(),
        101..200 => format!("one hundred and {}", english(n - 100)),
        _ => panic!("numerals: {n} is more than 199"),
    }
}

/// A number up to 199 in Chinese: `一百零五`.
///
/// # Panics
/// From 200 on.
pub fn chinese(n: usize) -> String {
    let one = |n: usize| if n == 0 { "" } else { CHINESE[n] };
    match n {
        0..10 => CHINESE[n].to_owned(),
        10..20 => format!("十{}", one(n % 10)),
        20..100 => format!("{}十{}", CHINESE[n / 10], one(n % 10)),
        100 => "一百".to_owned(),
        101..110 => format!("一百零{}", CHINESE[n - 100]),
        // Within a hundred it is 一十, not 十.
        110..120 => format!("一百一十{}", one(n % 10)),
        120..200 => format!("一百{}", chinese(n - 100)),
        _ => panic!("numerals: {n} is more than 199"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_words() {
        for (n, in_english, in_chinese) in [
            (0, "zero", "零"),
            (14, "fourteen", "十四"),
            (20, "twenty", "二十"),
            (35, "thirty-five", "三十五"),
            (100, "one hundred", "一百"),
            (105, "one hundred and five", "一百零五"),
            (110, "one hundred and ten", "一百一十"),
            (115, "one hundred and fifteen", "一百一十五"),
            (199, "one hundred and ninety-nine", "一百九十九"),
        ] {
            assert_eq!((english(n).as_str(), chinese(n).as_str()), (in_english, in_chinese));
        }
        for name in [english, chinese] {
            let all: std::collections::HashSet<String> = (0..200).map(name).collect();
            assert_eq!(all.len(), 200);
        }
    }
}
