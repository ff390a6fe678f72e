//! Skills whose questions are computed rather than listed, each group in a file of its own.

use super::book::{Exchange, Language};
use super::{letters, memory, order, reading, sums};
use crate::random::Random;

/// A name, the language, a weight beside the written skills, and what makes an exchange.
type Made = (&'static str, Language, usize, fn(&mut Random) -> Exchange);

use Language::{Chinese, English};

pub(super) const SKILLS: &[Made] = &[
    ("sum to 20", English, 96, sums::small_sum),
    ("difference to 20", English, 110, sums::small_difference),
    ("sum to 100", English, 96, sums::large_sum),
    ("difference to 100", English, 96, sums::large_difference),
    ("product", English, 100, sums::product),
    ("quotient", English, 100, sums::quotient),
    ("times table", English, 16, sums::table),
    ("number written", English, 30, sums::written),
    ("double and half", English, 64, sums::double_or_half),
    ("sum in a story", English, 64, sums::story),
    ("sum, then go on", English, 48, sums::go_on),
    ("sum, then another", English, 24, sums::another),
    ("加减到二十", Chinese, 150, sums::chinese),
    ("乘法", Chinese, 130, sums::chinese_product),
    ("数字怎么写", Chinese, 30, sums::chinese_written),
    ("加法，再加", Chinese, 30, sums::chinese_go_on),
    ("two-digit sum", English, 8, sums::any),
    ("count", English, 42, order::count),
    ("count backwards", English, 36, order::backwards),
    ("the next number", English, 28, order::next),
    ("the number before", English, 30, order::before),
    ("bigger number", English, 42, order::bigger),
    ("smaller number", English, 30, order::smaller),
    ("sort numbers", English, 84, order::sort),
    ("largest of three", English, 20, order::largest),
    ("even or odd", English, 16, order::parity),
    ("go on with a series", English, 60, order::series),
    ("sort words", English, 56, order::alphabetical),
    ("数数", Chinese, 24, order::chinese_count),
    ("哪个大", Chinese, 24, order::chinese_bigger),
    ("后面是几", Chinese, 24, order::chinese_next),
    ("spell", English, 30, letters::spell),
    ("spelled word", English, 40, letters::join),
    ("first letter", English, 24, letters::first),
    ("last letter", English, 30, letters::last),
    ("how many letters", English, 36, letters::count),
    ("backwards", English, 32, letters::backwards),
    ("the next letter", English, 20, letters::next),
    ("the letter before", English, 18, letters::before),
    ("spell, then another", English, 16, letters::spell_another),
    ("say it several times", English, 12, letters::repeat),
    ("repeat after me", English, 38, letters::echo),
    ("remember a name", English, 48, memory::name),
    ("remember what was told", English, 48, memory::fact),
    ("remember one of two", English, 28, memory::two),
    ("correct a name", English, 16, memory::corrected),
    ("what I bought", English, 25, memory::list),
    ("what I just said", English, 28, memory::just_said),
    ("记住", Chinese, 34, memory::chinese),
    ("read and answer", English, 52, reading::given),
    ("read and answer, then another", English, 28, reading::given_twice),
    ("who is it", English, 60, reading::compared),
    ("story, then a question", English, 40, reading::told),
    ("tell a story", English, 12, reading::story),
    ("讲故事", Chinese, 10, reading::chinese_story),
    ("读了回答", Chinese, 28, reading::chinese_given),
    ("听了故事回答", Chinese, 24, reading::chinese_told),
];

/// A name that nobody has: two or three syllables.
pub(super) fn invented(r: &mut Random) -> String {
    const STARTS: [&str; 40] = [
        "Bra", "Zor", "Mel", "Tav", "Kil", "Fen", "Dro", "Sul", "Quo", "Var", "Lim", "Gor", "Pel", "Nax",
        "Hul", "Jor", "Wen", "Cas", "Ori", "Ul", "Ben", "Mar", "Tor", "Sha", "Kri", "Lo", "Ya", "Xan", "El",
        "Ru", "Do", "Ni", "Ha", "Vi", "Pa", "Ste", "Gre", "Ar", "Em", "Is",
    ];
    const MIDDLES: [&str; 14] = ["", "", "", "a", "i", "o", "e", "va", "ri", "lo", "mi", "ta", "ne", "du"];
    const ENDS: [&str; 30] = [
        "via", "dor", "lin", "nia", "ko", "ra", "ton", "sel", "mir", "da", "vin", "bel", "land", "zu", "fi",
        "lia", "rus", "ke", "na", "ster", "wick", "gan", "do", "len", "rik", "sha", "ya", "lo", "tan", "me",
    ];
    format!("{}{}{}", r.pick(&STARTS), r.pick(&MIDDLES), r.pick(&ENDS))
}

/// One of some sentences with its slots filled in: `{x}` by the value named `x`.
pub(super) fn fill(r: &mut Random, forms: &[&str], values: &[(&str, &str)]) -> String {
    set(r.pick(forms), values)
}

/// A sentence with its slots filled in.
pub(super) fn set(form: &str, values: &[(&str, &str)]) -> String {
    let mut s = form.to_owned();
    for (name, value) in values {
        s = s.replace(&format!("{{{name}}}"), value);
    }
    s
}

/// Every one of some sentences, filled in.
pub(super) fn fill_all(forms: &[&str], values: &[(&str, &str)]) -> Vec<String> {
    forms.iter().map(|f| set(f, values)).collect()
}
