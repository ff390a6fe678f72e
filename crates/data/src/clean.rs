//! Cleaning a text: normal form, control characters, lines that are no text, texts that are not worth learning from.
//!
//! Every change is counted by its reason, and for whole lines and texts the first examples are kept, so that a report can show what
//! was dropped and why. The filters on repetition follow Rae et al. 2021 (Gopher), table A1, with milder limits.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_script::{Script, UnicodeScript};

/// What is cleaned and what is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Unicode's normal form C.
    pub normalise: bool,
    /// Lines of advertising, footers, lists of search words, and stamps pasted over text.
    pub boilerplate: bool,
    /// Shortest document, in characters; 0: any.
    pub min_chars: usize,
    /// Longest document, in characters; 0: any.
    pub max_chars: usize,
    /// Largest share of a document's characters in lines that came before in it, 0 to 1; 1: any.
    pub max_repetition: f64,
    /// Smallest share of letters and digits among the characters that are not blank, 0 to 1.
    pub min_letters: f64,
    /// Scripts (Unicode's short or long names, in lower case) that at least half of the letters must be of; empty: any.
    pub scripts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            normalise: true,
            boilerplate: true,
            min_chars: 8,
            max_chars: 0,
            max_repetition: 0.6,
            min_letters: 0.3,
            scripts: Vec::new(),
        }
    }
}

/// Why something was changed or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A record that could not be read.
    Broken,
    /// Nothing was left.
    Empty,
    /// Shorter than asked for.
    Short,
    /// Longer than asked for.
    Long,
    /// The same lines over and over.
    Repetition,
    /// Few letters.
    Letters,
    /// Another script.
    Script,
    /// The same as one before.
    Duplicate,
    /// Nearly the same as one before.
    NearDuplicate,
    /// A line of advertising.
    Advertising,
    /// A line of a page's footer or navigation.
    Footer,
    /// A line of search words.
    SearchWords,
    /// The name of the site, over and over.
    SiteName,
    /// Code whose line ends were lost.
    LostLines,
    /// A stamp pasted over letters.
    Stamp,
    /// Control characters and other invisible ones.
    Control,
    /// Bytes that are no text.
    Replaced,
    /// Texts brought into the normal form.
    Normalised,
}

impl Reason {
    /// What it means, for a report.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Broken => "records that could not be read",
            Reason::Empty => "empty after cleaning",
            Reason::Short => "too short",
            Reason::Long => "too long",
            Reason::Repetition => "the same lines over and over",
            Reason::Letters => "hardly any letters",
            Reason::Script => "another script",
            Reason::Duplicate => "exact duplicates",
            Reason::NearDuplicate => "near duplicates",
            Reason::Advertising => "lines of advertising",
            Reason::Footer => "lines of a page's footer or navigation",
            Reason::SearchWords => "lines of search words",
            Reason::SiteName => "lines with the site's name, repeated",
            Reason::LostLines => "lines of code whose line ends were lost",
            Reason::Stamp => "stamps pasted over letters, replaced by …",
            Reason::Control => "control and invisible characters",
            Reason::Replaced => "bytes that are no text (now U+FFFD)",
            Reason::Normalised => "texts brought into normal form C",
        }
    }

    /// Whether a whole record goes.
    pub fn drops_record(self) -> bool {
        self <= Reason::NearDuplicate
    }
}

/// Told of each change: the reason, how many, the line within the text (from 0), and an excerpt.
pub type Told<'a> = &'a mut dyn FnMut(Reason, usize, usize, &str);

/// Cleans a text in place; lines are only taken from one that may be a page, not from what somebody said in a conversation.
pub fn text(settings: &Settings, text: &mut String, page: bool, told: Told<'_>) {
    if text.contains('\r') {
        *text = text.replace("\r\n", "\n").replace('\r', "\n");
    }
    let invisible = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}' | '\u{fff9}'..='\u{fffb}')
            || (c as u32) & 0xfffe == 0xfffe
    };
    let suspicious = |b: &u8| (*b < 0x20 && *b != b'\n' && *b != b'\t') || *b == 0x7f;
    let found = if text.is_ascii() {
        text.as_bytes().iter().filter(|b| suspicious(b)).count()
    } else {
        text.chars().filter(|c| invisible(*c)).count()
    };
    if found > 0 {
        told(Reason::Control, found, 0, "");
        text.retain(|c| !invisible(c));
    }
    // After what is invisible is gone, because it may have kept marks apart that now have an order.
    if !text.is_ascii() {
        let replaced = text.matches('\u{fffd}').count();
        if let Some(at) = text.find('\u{fffd}') {
            let begin = text[..at].rfind('\n').map_or(0, |i| i + 1);
            let line = text[begin..].lines().next().unwrap_or_default();
            told(Reason::Replaced, replaced, text[..begin].matches('\n').count(), line);
        }
        if settings.normalise && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            let normal: String = text.nfc().collect();
            if normal != *text {
                told(Reason::Normalised, 1, 0, "");
                *text = normal;
            }
        }
    }
    if settings.boilerplate && page {
        boilerplate(text, told);
    }
    let trimmed = text.trim_matches(|c: char| c == '\n' || c.is_whitespace());
    if trimmed.len() != text.len() {
        // Blanks at the beginning of the first line may indent verse or code: only whole blank lines go.
        let begin = text.len() - text.trim_start().len();
        let begin = text[..begin].rfind('\n').map_or(0, |i| i + 1);
        *text = text[begin..].trim_end().to_owned();
    }
}

/// Why a document is not worth learning from; `None` if it is.
pub fn unwanted(settings: &Settings, text: &str) -> Option<Reason> {
    if text.trim().is_empty() {
        return Some(Reason::Empty);
    }
    if settings.min_chars > 0
        && text.len() < 4 * settings.min_chars
        && text.chars().count() < settings.min_chars
    {
        return Some(Reason::Short);
    }
    if settings.max_chars > 0 && text.len() > settings.max_chars && text.chars().count() > settings.max_chars
    {
        return Some(Reason::Long);
    }
    if settings.min_letters > 0.0 {
        let (letters, visible) = letters(text);
        if (letters as f64) < settings.min_letters * visible as f64 {
            return Some(Reason::Letters);
        }
    }
    if settings.max_repetition < 1.0 && repetition(text) > settings.max_repetition {
        return Some(Reason::Repetition);
    }
    if !settings.scripts.is_empty() {
        let counts = scripts(text);
        let all: usize = counts.iter().map(|c| c.1).sum();
        let named = |s: &Script| settings.scripts.iter().any(|name| is_called(*s, name));
        let wanted: usize = counts.iter().filter(|c| named(&c.0)).map(|c| c.1).sum();
        if 2 * wanted < all {
            return Some(Reason::Script);
        }
    }
    None
}

/// Letters and digits, and characters that are not blank.
fn letters(text: &str) -> (usize, usize) {
    if text.is_ascii() {
        let count = |f: fn(&u8) -> bool| text.as_bytes().iter().filter(|b| f(b)).count();
        return (count(u8::is_ascii_alphabetic), count(|b| *b > b' '));
    }
    let (mut letters, mut visible) = (0, 0);
    for c in text.chars() {
        letters += usize::from(c.is_alphabetic());
        visible += usize::from(!c.is_whitespace());
    }
    (letters, visible)
}

/// The share of a text's bytes that lie in lines which came before in it; 0 for a text of few lines.
fn repetition(text: &str) -> f64 {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    if lines.clone().nth(7).is_none() {
        return 0.0;
    }
    let mut seen = rustc_hash::FxHashSet::default();
    let (mut again, mut all) = (0, 0);
    lines.by_ref().for_each(|l| {
        all += l.len();
        again += if seen.insert(l) { 0 } else { l.len() };
    });
    again as f64 / all.max(1) as f64
}

/// How many letters of each script a text has; digits, punctuation and marks that all scripts share are not counted.
pub fn scripts(text: &str) -> Vec<(Script, usize)> {
    let latin = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let mut counts = vec![(Script::Latin, latin)];
    if !text.is_ascii() {
        for c in text.chars().filter(|c| !c.is_ascii()) {
            let script = if matches!(c, '\u{4e00}'..='\u{9fff}') { Script::Han } else { c.script() };
            if matches!(script, Script::Common | Script::Inherited | Script::Unknown) {
                continue;
            }
            match counts.iter_mut().find(|(s, _)| *s == script) {
                Some((_, n)) => *n += 1,
                None => counts.push((script, 1)),
            }
        }
    }
    counts.retain(|c| c.1 > 0);
    counts
}

/// Words of advertising: two of them in a short line, or one that nothing else says.
const ADVERTISING: [&str; 20] = [
    "淘宝",
    "京东",
    "红包",
    "优惠券",
    "公众号",
    "微信",
    "互助",
    "天猫",
    "拼多多",
    "加群",
    "扫码",
    "领取",
    "coupon",
    "promo code",
    "buy now",
    "subscribe",
    "click here",
    "sign up",
    "free shipping",
    "limited time",
];
/// Beginnings of lines that only pages' edges have.
const EDGES: [&str; 24] = [
    "copyright ©",
    "copyright (c)",
    "© ",
    "上一条",
    "下一条",
    "上一篇:",
    "上一篇：",
    "下一篇",
    "关于本站",
    "关于我们",
    "联系我们",
    "关注我们",
    "合作或咨询",
    "qq:",
    "qq：",
    "邮箱:",
    "邮箱：",
    "备案号",
    "privacy policy",
    "terms of service",
    "terms of use",
    "cookie policy",
    "skip to content",
    "share this",
];
/// What only pages' edges say, wherever in a line.
const WITHIN: [&str; 3] = ["all rights reserved", "icp备", "版权所有"];

/// Lines longer than this many characters are prose, whatever they say.
const SHORT_LINE: usize = 90;

fn boilerplate(text: &mut String, told: Told<'_>) {
    if text.contains("【【") {
        *text = stamps(text, told);
    }
    // The site's name: the first line, alone, and again at least twice.
    let first = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().to_owned();
    let again = text.lines().filter(|l| l.trim() == first).count();
    let last = text.lines().rev().map(str::trim).filter(|l| !l.is_empty()).take(3).any(|l| l == first);
    let site = (again >= 3 && last && first.chars().count() <= 20).then_some(first);
    let reason = |line: &str| -> Option<Reason> {
        let line = line.trim_end();
        if line.len() < 3 {
            return None;
        }
        if site.as_deref() == Some(line.trim()) {
            return Some(Reason::SiteName);
        }
        if lost_lines(line) {
            return Some(Reason::LostLines);
        }
        if line.len() > 4 * SHORT_LINE || line.chars().count() > SHORT_LINE {
            return None;
        }
        edge_of_page(line.trim())
    };
    let mut kept = String::new();
    let mut dropped = false;
    let mut begin = 0;
    for (n, line) in text.split_inclusive('\n').enumerate() {
        match reason(line) {
            Some(why) => {
                if !dropped {
                    kept.reserve(text.len());
                    kept.push_str(&text[..begin]);
                }
                dropped = true;
                told(why, 1, n, line.trim());
            }
            None if dropped => kept.push_str(line),
            None => {}
        }
        begin += line.len();
    }
    if dropped {
        *text = kept;
    }
}

/// Whether a short line is one of a page's edge rather than of its text.
fn edge_of_page(line: &str) -> Option<Reason> {
    // A cheap look first: nearly all lines have none of the marks.
    let lower = if line.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(line.to_lowercase())
    } else {
        Cow::Borrowed(line)
    };
    if EDGES.iter().any(|e| lower.starts_with(e)) || WITHIN.iter().any(|w| lower.contains(w)) {
        return Some(Reason::Footer);
    }
    if ADVERTISING.iter().filter(|w| lower.contains(*w)).count() >= 2 {
        return Some(Reason::Advertising);
    }
    let words: Vec<&str> = lower.split([',', '，', '|']).map(str::trim).collect();
    let letter = |w: &str| w.bytes().any(|b| b.is_ascii_lowercase());
    let word =
        |w: &&str| (2..=16).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_alphanumeric()) && letter(w);
    if words.len() >= 4 && lower == line && words.iter().all(word) && !line.contains(", ") {
        return Some(Reason::SearchWords);
    }
    None
}

/// Whether a line is code whose line ends became blanks: many wide gaps, and signs of code.
fn lost_lines(line: &str) -> bool {
    if line.len() < 120 || !line.contains("  ") {
        return false;
    }
    const BEGINNINGS: [&str; 10] =
        ["import ", "from ", "def ", "return ", "for ", "if ", "class ", "# ", "//", "var "];
    let parts: Vec<&str> = line.split("  ").map(str::trim).filter(|p| !p.is_empty()).collect();
    let code = |p: &&str| {
        BEGINNINGS.iter().any(|b| p.starts_with(b))
            || p.contains('=')
            || p.ends_with([')', ']', ';', '{', ':'])
    };
    parts.len() >= 8 && parts.iter().filter(|p| code(p)).count() * 5 >= parts.len() * 3
}

/// `【【微信】】` and the like: a word in double brackets that an editor's filter pasted over letters. What it hides is lost.
fn stamps(text: &str, told: Told<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("【【") {
        let inside = &rest[begin + "【【".len()..];
        let end = inside.find("】】").filter(|e| *e <= 60 && !inside[..*e].contains('\n'));
        let Some(end) = end else {
            out.push_str(&rest[..begin + "【【".len()]);
            rest = inside;
            continue;
        };
        let line = text[..text.len() - rest.len() + begin].matches('\n').count();
        out.push_str(&rest[..begin]);
        out.push('…');
        let after = &inside[end + "】】".len()..];
        let shown = |s: &str, last: bool| -> String {
            let n = s.chars().count();
            if last { s.chars().skip(n.saturating_sub(12)).collect() } else { s.chars().take(12).collect() }
        };
        let around =
            format!("{}【【{}】】{}", shown(&rest[..begin], true), &inside[..end], shown(after, false));
        told(Reason::Stamp, 1, line, &around.replace('\n', " "));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether a script has this name, long (`latin`) or short (`latn`).
fn is_called(script: Script, name: &str) -> bool {
    script.full_name().eq_ignore_ascii_case(name) || script.short_name().eq_ignore_ascii_case(name)
}

/// Whether Unicode has a script of this name, long or short, in any case. What belongs to several or to none is none.
pub fn is_script(name: &str) -> bool {
    let scripts = (0..=u32::from(char::MAX)).filter_map(char::from_u32).map(|c| c.script());
    let own = |s: &Script| !matches!(s, Script::Common | Script::Inherited | Script::Unknown);
    scripts.filter(own).any(|s| is_called(s, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(s: &str) -> (String, Vec<(Reason, usize, usize)>) {
        let (mut t, mut all) = (s.to_owned(), Vec::new());
        text(&Settings::default(), &mut t, true, &mut |r, n, line, _| all.push((r, n, line)));
        (t, all)
    }

    #[test]
    fn characters_are_normalised_and_invisible_ones_removed() {
        assert_eq!(
            cleaned("e\u{301}te\u{301}\r\nb\u{200b}c\0\u{7}"),
            ("été\nbc".into(), vec![(Reason::Control, 3, 0), (Reason::Normalised, 1, 0)])
        );
        // A control character between marks of two classes.
        let (once, _) = cleaned("ه\u{652}\0\u{64d}");
        assert_eq!(cleaned(&once), (once.clone(), vec![]));
        assert_eq!(cleaned("\n\n  indented verse\n  more\n\n").0, "  indented verse\n  more");
        assert_eq!(cleaned("👩‍👩‍👧 नमस्ते\ttab").0, "👩‍👩‍👧 नमस्ते\ttab");
    }

    #[test]
    fn edges_of_pages_go_and_prose_stays() {
        let page = "站名\n\n正文第一行,说了一些话。\n淘宝搜:【天降红包222】领超级红包\nchato,chatrge,chchat,chats\nUnsuper【【微信】】orks\n站名\nCopyright © 2023\n站名\n";
        let (text, told) = cleaned(page);
        assert_eq!(text, "正文第一行,说了一些话。\nUnsuper…orks");
        let mut reasons: Vec<Reason> = told.iter().map(|t| t.0).collect();
        reasons.sort();
        reasons.dedup();
        assert_eq!(
            reasons,
            [Reason::Advertising, Reason::Footer, Reason::SearchWords, Reason::SiteName, Reason::Stamp]
        );
        for prose in [
            "She clicked on the link and read about copyright law.",
            "我在京东买了一本书,很好看。",
            "red, green, blue, yellow",
            "Row, row, row your boat\nGently down the stream\nRow, row, row your boat",
            "let x = 1;  // wide gap",
            "355,909,190,063",
            "Albedo is a measure.  It has no unit.  Some import goods.  Others return home.  It is small.  It is large.  It is white.  It is black.",
        ] {
            assert_eq!(cleaned(prose), (prose.to_owned(), vec![]), "{prose}");
        }
    }

    #[test]
    fn texts_not_worth_learning_from_are_named() {
        let s = Settings::default();
        assert_eq!(unwanted(&s, " \n"), Some(Reason::Empty));
        assert_eq!(unwanted(&s, "hi"), Some(Reason::Short));
        assert_eq!(unwanted(&s, "2 1 3 2 1 2 1 1 1 1 2"), Some(Reason::Letters));
        assert_eq!(unwanted(&s, &"buy this\n".repeat(20)), Some(Reason::Repetition));
        assert_eq!(unwanted(&s, "An ordinary sentence about nothing."), None);
        assert_eq!(unwanted(&s, "床前明月光,疑是地上霜。"), None);
        let han = Settings { scripts: vec!["han".into()], ..s };
        assert_eq!(unwanted(&han, "An ordinary sentence about nothing."), Some(Reason::Script));
        assert_eq!(unwanted(&han, "床前明月光 (moon)"), None);
        assert_eq!(
            unwanted(&Settings { max_chars: 9, ..Settings::default() }, "0123 abcdefgh"),
            Some(Reason::Long)
        );
    }

    #[test]
    fn scripts_are_counted() {
        let counts = scripts("abc 床前 мир 123 ！");
        assert_eq!(counts, [(Script::Latin, 3), (Script::Han, 2), (Script::Cyrillic, 3)]);
    }
}
