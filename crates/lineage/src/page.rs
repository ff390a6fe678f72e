//! The page: one file that opens offline, reads on a phone and prints, in English or Chinese.

use std::fmt::Write;

use pupil_report::chart::{self, Axis, Line, range};
use pupil_report::page::{Page, escape};

use crate::replies;
use crate::road::Generation;
use crate::walk::{Outcome, Station};

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    pub(crate) fn say<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }
}

/// The page about a walk.
pub fn html(outcome: &Outcome, road: &[Generation], language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let title = say("From counting words to GPT", "从数词到 GPT");
    let mut s = String::new();
    let _ = write!(s, "<h1>{title}</h1><p class=lead>{}</p>", introduction(outcome, language));
    let bits = say("bits per byte of held-out text: lower is better", "留出文本每字节的比特数：越低越好");
    let stations = &outcome.stations;
    let (low, high) = range(stations.iter().map(|s| s.bits_per_byte));
    let y = Axis { from: low, to: high, log: false, label: bits };
    let point = |x: f64, s: &Station| (x, s.bits_per_byte, s.name.clone());
    let by_year: Vec<_> = stations.iter().map(|s| point(f64::from(s.year), s)).collect();
    let years =
        Axis { from: 1988.0, to: 2025.0, log: false, label: say("year of publication", "发表年份") };
    let _ = write!(
        s,
        "<h2>{}</h2>{}{}",
        say("Thirty years in one picture", "一张图看三十年"),
        chart::points(&years, &y, true, &by_year),
        order(stations, language)
    );
    let curves: Vec<_> = stations
        .iter()
        .enumerate()
        .filter(|(_, s)| s.curve.len() > 1)
        .map(|(i, s)| (i, s.name.clone(), s.curve.clone()))
        .collect();
    if !curves.is_empty() {
        let last = curves.iter().flat_map(|c| c.2.last()).map(|p| p.0).fold(1.0, f64::max);
        let losses = curves.iter().flat_map(|c| &c.2).filter(|p| p.0 > last / 20.0).map(|p| p.1);
        let (low, high) = range(losses);
        let x =
            Axis { from: 0.0, to: last, log: false, label: say("seconds of learning", "学习的秒数") };
        let y = Axis {
            from: low,
            to: high,
            log: false,
            label: say("loss on the text being learned, nats per token", "训练文本上的损失（每词元奈特）"),
        };
        let _ = write!(
            s,
            "<h2>{}</h2><p>{}</p>{}",
            say("How they learn", "它们怎样学习"),
            say(
                "The same machine, the same seconds. A network that does more for each token reads fewer of them; what counts is how low it gets in time.",
                "同样的机器，同样的时间。每个词元算得多的网络读得少；要看的是它能降到多低。"
            ),
            chart::lines(&x, &y, false, &curves)
        );
    }
    s += &sizes(outcome, language);
    let _ = write!(
        s,
        "<h2>{}</h2><div class=wide><table><tr><th>{}<th>{}<th>{}<th>{}<th>{}<th>{}<th>{}</tr>",
        say("The numbers", "数字"),
        say("year", "年份"),
        say("model", "模型"),
        say("paper", "论文"),
        say("numbers learned", "参数"),
        say("seconds", "秒"),
        say("tokens read", "读过的词元"),
        say("bits per byte", "比特/字节"),
    );
    for st in stations {
        let _ = write!(
            s,
            "<tr><td>{}<td><b>{}</b><td>{}<td class=n>{}<td class=n>{:.1}<td class=n>{}<td class=n>{:.3}</tr>",
            st.year,
            escape(&st.name),
            escape(&st.paper),
            millions(st.parameters),
            st.seconds,
            millions(st.tokens),
            st.bits_per_byte
        );
    }
    let _ = write!(s, "</table></div><h2>{}</h2>", say("The same question to each", "同一个问题"));
    for (i, prompt) in outcome.prompts.iter().enumerate() {
        let _ = write!(s, "<p class=prompt>{}</p><table class=answers>", escape(prompt));
        for st in stations {
            let answer = st.answers.get(i).map_or("", String::as_str);
            let _ = write!(s, "<tr><td><b>{}</b> {}<td>{}</tr>", escape(&st.name), st.year, escape(answer));
        }
        s += "</table>";
    }
    s += &replies::section(&outcome.replies, &outcome.prompts, language);
    let _ = write!(s, "<h2>{}</h2>", say("What each step was", "每一步是什么"));
    let mut steps: Vec<&Generation> = road.iter().collect();
    steps.sort_by_key(|g| g.year);
    for g in steps {
        let idea = g.idea[usize::from(language == Language::Chinese)];
        let _ = write!(s, "<h3>{} · {} <span>{}</span></h3><p>{idea}</p>", g.year, g.name, escape(g.paper));
    }
    let _ = write!(
        s,
        "<p class=foot>{}</p>",
        say(
            "Made by pupil lineage. Other data, another machine or another budget may give another order: run it on your own words.",
            "由 pupil lineage 生成。换数据、换机器或换预算，次序可能不同：请用你自己的文字运行它。"
        )
    );
    Page { language: say("en", "zh"), title, style: "", script: "" }.around(&s)
}

fn introduction(o: &Outcome, language: Language) -> String {
    let (tokens, seconds, vocab) = (millions(o.tokens), o.budget.round(), o.vocab);
    match language {
        Language::English => format!(
            "Nine generations of language models learned the same {tokens} tokens ({vocab} kinds of them), each network for {seconds} seconds on the same processor. Each guesses what comes next; \
             the better the guess, the fewer bits a held-out text takes."
        ),
        Language::Chinese => format!(
            "九代语言模型学习同样的 {tokens} 个词元（共 {vocab} 种），每个网络在同一处理器上学习 {seconds} 秒。它们都在猜下一个词元；猜得越准，留出的文本所需的比特越少。"
        ),
    }
}

/// Who is behind someone older, and by what.
fn order(stations: &[Station], language: Language) -> String {
    let mut s = String::new();
    for (i, st) in stations.iter().enumerate() {
        let older = stations[..i].iter().filter(|o| o.year < st.year && o.bits_per_byte < st.bits_per_byte);
        let Some(best) = older.min_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte)) else { continue };
        let (name, other) = (escape(&st.name), escape(&best.name));
        let behind = st.bits_per_byte - best.bits_per_byte;
        let (mine, theirs) = (millions(st.tokens), millions(best.tokens));
        let _ = match language {
            Language::English => write!(
                s,
                "<li><b>{name}</b> ({}) is {behind:.3} behind <b>{other}</b> ({}): it read {mine} tokens in its time, the older one {theirs}. {}",
                st.year,
                best.year,
                reason(st, best)[0]
            ),
            Language::Chinese => write!(
                s,
                "<li><b>{name}</b>（{}）比 <b>{other}</b>（{}）落后 {behind:.3}：它在限定时间内读了 {mine} 个词元，后者读了 {theirs} 个。{}",
                st.year,
                best.year,
                reason(st, best)[1]
            ),
        };
    }
    if s.is_empty() {
        return String::new();
    }
    let head = language.say(
        "Not every newer one is ahead here, and that has its reasons:",
        "在这里并不是每个新一代都领先，这是有原因的：",
    );
    format!("<p>{head}</p><ul>{s}</ul>")
}

/// Why a newer one may be behind, by what was measured.
fn reason(st: &Station, older: &Station) -> [&'static str; 2] {
    if st.name == "Window MLP" {
        return [
            "It sees eight tokens and no more, a recurrent network everything before; its paper compared it with n-grams, not with LSTMs.",
            "它只看八个词元，而循环网络看到之前的一切；它的论文是与 n-gram 比较，而不是与 LSTM。",
        ];
    }
    if older.curve.is_empty() {
        return [
            "Counting needs no time to learn; a network needs more than this budget, or more text, to overtake it.",
            "计数不需要学习时间；网络要超过它，需要比这更多的时间或文本。",
        ];
    }
    if st.tokens * 10 < older.tokens * 9 {
        return [
            "It does more for each token; with a longer budget the order may turn.",
            "它对每个词元计算得更多；预算更长时次序可能反转。",
        ];
    }
    [
        "With sentences this short and a budget this small, what it is better at, long distances and size, is hardly asked for.",
        "句子这样短、预算这样小，它所擅长的长距离与规模几乎用不上。",
    ]
}

fn sizes(o: &Outcome, language: Language) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for p in &o.sizes {
        let at = (p.tokens as f64, p.bits_per_byte);
        match lines.iter_mut().find(|l| l.1 == p.name) {
            Some(l) => l.2.push(at),
            None => {
                let i = o.stations.iter().position(|s| s.name == p.name).unwrap_or(0);
                lines.push((i, p.name.clone(), vec![at]));
            }
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let (low, high) = range(o.sizes.iter().map(|p| p.bits_per_byte));
    let (few, many) = o
        .sizes
        .iter()
        .fold((f64::INFINITY, 0f64), |(a, b), p| (a.min(p.tokens as f64), b.max(p.tokens as f64)));
    let x = Axis {
        from: few * 0.9,
        to: many * 1.1,
        log: true,
        label: language.say("tokens to learn from", "可学习的词元数"),
    };
    let y = Axis { from: low, to: high, log: false, label: language.say("bits per byte", "比特/字节") };
    let crossing = match crossing(&lines) {
        Some((a, b, at)) => match language {
            Language::English => format!("{b} overtakes {a} at about {} tokens.", millions(at as u64)),
            Language::Chinese => format!("大约在 {} 个词元处，{b} 超过 {a}。", millions(at as u64)),
        },
        None => language
            .say(
                "No crossing was seen here: one was ahead at every size that was tried.",
                "这里没有看到交叉：在试过的每个规模上领先者都相同。",
            )
            .to_owned(),
    };
    format!(
        "<h2>{}</h2><p>{} {crossing}</p>{}",
        language.say("More data, and who makes more of it", "数据更多时，谁得益更多"),
        language.say(
            "The claim is that deep learning overtakes the older methods as data grows. Points to the left of the last had a quarter of the time.",
            "通常的说法是：数据增多时，深度学习会超过旧方法。最右边以外的点只有四分之一的时间。"
        ),
        chart::lines(&x, &y, true, &lines)
    )
}

/// Where the last of the lines first gets below the first of them for good: both names and the size.
fn crossing(lines: &[Line]) -> Option<(&str, &str, f64)> {
    let (a, b) = (lines.first()?, lines.last()?);
    let gaps: Vec<(f64, f64)> = a.2.iter().zip(&b.2).map(|(p, q)| (p.0, q.1 - p.1)).collect();
    let pair = gaps.windows(2).rev().find(|w| w[0].1 > 0.0 && w[1].1 <= 0.0)?;
    let share = pair[0].1 / (pair[0].1 - pair[1].1);
    let at = pair[0].0.ln() + share * (pair[1].0.ln() - pair[0].0.ln());
    Some((&a.1, &b.1, at.exp()))
}

pub(crate) fn millions(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::road;
    use crate::walk::Point;

    fn outcome() -> Outcome {
        let station = |year: u16, name: &str, bits_per_byte: f64| Station {
            year,
            name: name.into(),
            paper: "A & B".into(),
            parameters: 2_000_000,
            seconds: 9.5,
            tokens: 1_000_000,
            bits_per_byte,
            accuracy: 0.3,
            answers: vec!["<b>hm</b>".into()],
            curve: vec![(1.0, 4.0), (9.0, 3.0)],
        };
        let sizes = [("n-gram", 1e4, 3.0), ("n-gram", 1e6, 2.4), ("Llama", 1e4, 3.4), ("Llama", 1e6, 2.2)];
        let point = |(name, tokens, bits_per_byte): (&str, f64, f64)| Point {
            name: name.into(),
            tokens: tokens as u64,
            bits_per_byte,
        };
        Outcome {
            stations: vec![
                station(1995, "n-gram", 2.4),
                station(2003, "Window MLP", 2.5),
                station(2023, "Llama", 2.2),
            ],
            sizes: sizes.map(point).to_vec(),
            tokens: 1_000_000,
            budget: 10.0,
            prompts: vec!["Who?".into()],
            vocab: 2048,
            replies: Vec::new(),
        }
    }

    #[test]
    fn the_page_tells_order_and_crossing_and_lets_no_markup_in() {
        let road = road(2048, 64, 128);
        let page = html(&outcome(), &road, Language::English);
        assert!(page.contains("Window MLP</b> (2003) is 0.100 behind <b>n-gram</b>"));
        assert!(page.contains("Llama overtakes n-gram at about 215 k tokens"), "{page}");
        assert!(page.contains("&lt;b&gt;hm") && !page.contains("<b>hm"));
        let chinese = html(&outcome(), &road, Language::Chinese);
        assert!(chinese.contains("落后 0.100") && chinese.contains("<html lang=zh>"));
        assert!(!chinese.contains("NaN") && !page.contains("NaN"));
    }
}
