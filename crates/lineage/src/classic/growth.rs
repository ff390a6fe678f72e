//! Accuracy against the size of the data: the pictures, and which network overtakes whom.

use std::fmt::Write;

use pupil_report::chart::{self, Axis, Curve, range};

use super::outcome::{CLASSIFIERS, Learner, Outcome, Point, TAGGERS, Task};
use super::suite::DENSE;
use crate::page::Language;

/// The accuracies of a learner, in order of sizes, in percent.
fn line(task: &Task, learner: Learner) -> Vec<(f64, f64, f64)> {
    let mut all: Vec<&Point> = task.points.iter().filter(|p| p.learner == learner).collect();
    all.sort_by_key(|p| p.size);
    all.into_iter().map(|p| (p.size as f64, 100.0 * p.mean(), 100.0 * p.deviation())).collect()
}

/// The part of the page.
pub(super) fn growth(o: &Outcome, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let mut s = format!(
        "<h2>{}</h2><p>{}</p>",
        say("More data, and who makes more of it", "数据更多时，谁得益更多"),
        say(
            "The claim is that the older methods level off while deep learning goes on. Each point is the mean of several splits, the bar its standard deviation.",
            "通常的说法是：旧方法会停下来，而深度学习继续进步。每个点是几次划分的平均，竖线是标准差。"
        )
    );
    s += &picture(&o.texts, &CLASSIFIERS, say("texts to learn from", "可学习的文本数"), language);
    let _ = write!(s, "<p>{}</p>", crossings(&o.texts, language));
    let bound = o.texts.points.iter().map(|p| p.size).max().unwrap_or(0);
    if o.texts.last(Learner::Forest).is_some_and(|p| p.size < bound) {
        let _ = match language {
            Language::English => write!(
                s,
                "<p class=note>Tree and forest stop at {DENSE} texts: their tables hold every word of every text, and all learners together are to take less than a minute.</p>"
            ),
            Language::Chinese => write!(
                s,
                "<p class=note>决策树和森林到 {DENSE} 篇为止：它们的表要存每篇文本的每个词，而全部方法合计要在一分钟之内。</p>"
            ),
        };
    }
    s + &picture(&o.tags, &TAGGERS, say("sentences to learn from", "可学习的句子数"), language)
}

fn picture(task: &Task, learners: &[Learner], label: &str, language: Language) -> String {
    let curves: Vec<Curve> = learners
        .iter()
        .enumerate()
        .map(|(i, l)| Curve { colour: i, name: l.name().into(), points: line(task, *l), strong: l.is_deep() })
        .filter(|c| !c.points.is_empty())
        .collect();
    let all = || curves.iter().flat_map(|c| &c.points);
    let (low, high) = range(all().map(|p| p.1));
    let (few, many) = all().fold((f64::INFINITY, 0f64), |(a, b), p| (a.min(p.0), b.max(p.0)));
    let x = Axis { from: few * 0.9, to: many * 1.1, log: true, label };
    let y =
        Axis { from: low, to: high.min(101.0), log: false, label: language.say("right, %", "正确率 %") };
    let mut marks = Vec::new();
    let olds: Vec<Vec<(f64, f64, f64)>> =
        learners.iter().filter(|l| !l.is_deep()).map(|l| line(task, *l)).collect();
    for l in learners.iter().filter(|l| l.is_deep()) {
        // Against the best of the older ones at each size.
        let best = |size: f64| {
            olds.iter().flatten().filter(|p| p.0 == size).map(|p| p.1).fold(f64::NEG_INFINITY, f64::max)
        };
        let envelope: Vec<(f64, f64, f64)> = line(task, *l).iter().map(|p| (p.0, best(p.0), 0.0)).collect();
        if let Crossing::At(size) = crossing(&envelope, &line(task, *l)) {
            let what = language.say("ahead of all older ones", "超过所有旧方法");
            marks.push((size, format!("{} {what}", l.name())));
        }
    }
    chart::curves(&x, &y, &curves, &marks)
}

/// How a network's line lies to an older one's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crossing {
    /// Ahead for good from about this size.
    At(f64),
    /// Ahead at every size.
    Always,
    /// Behind at the largest, by so many points.
    Behind(f64),
}

fn crossing(old: &[(f64, f64, f64)], new: &[(f64, f64, f64)]) -> Crossing {
    let gaps: Vec<(f64, f64)> =
        new.iter().filter_map(|n| old.iter().find(|o| o.0 == n.0).map(|o| (n.0, n.1 - o.1))).collect();
    match gaps.last() {
        None => Crossing::Behind(f64::NAN),
        Some(last) if last.1 <= 0.0 => Crossing::Behind(-last.1),
        Some(_) => match gaps.windows(2).rev().find(|w| w[0].1 <= 0.0) {
            None => Crossing::Always,
            Some(w) => {
                let share = -w[0].1 / (w[1].1 - w[0].1);
                Crossing::At((w[0].0.ln() + share * (w[1].0.ln() - w[0].0.ln())).exp())
            }
        },
    }
}

/// Which network overtakes whom, and where.
fn crossings(task: &Task, language: Language) -> String {
    let mut s = String::new();
    let largest = task.points.iter().map(|p| p.size).max().unwrap_or(0);
    for deep in CLASSIFIERS.iter().filter(|l| l.is_deep() && task.last(**l).is_some()) {
        let (mut past, mut behind) = (Vec::new(), Vec::new());
        // Those that stop at fewer texts cannot be compared with the largest size.
        let whole = |l: &Learner| task.last(*l).is_some_and(|p| p.size == largest);
        for old in CLASSIFIERS.iter().filter(|l| !l.is_deep() && whole(l)) {
            match (crossing(&line(task, *old), &line(task, *deep)), language) {
                (Crossing::At(size), Language::English) => {
                    past.push(format!("{} at about {:.0} texts", old.name(), size))
                }
                (Crossing::At(size), Language::Chinese) => {
                    past.push(format!("{}（约 {:.0} 篇）", old.name(), size))
                }
                (Crossing::Always, Language::English) => {
                    past.push(format!("{} from the beginning", old.name()))
                }
                (Crossing::Always, Language::Chinese) => past.push(format!("{}（一开始就领先）", old.name())),
                (Crossing::Behind(by), Language::English) if by.is_finite() => {
                    behind.push(format!("{} by {by:.1} points", old.name()))
                }
                (Crossing::Behind(by), Language::Chinese) if by.is_finite() => {
                    behind.push(format!("{}（{by:.1} 个百分点）", old.name()))
                }
                _ => {}
            }
        }
        let name = deep.name();
        let _ = match (past.is_empty(), behind.is_empty(), language) {
            (true, _, Language::English) => write!(
                s,
                "<b>{name}</b>: no crossing is seen up to {largest} texts; it is behind {}. ",
                behind.join(", ")
            ),
            (true, _, Language::Chinese) => {
                write!(s, "<b>{name}</b>：到 {largest} 篇为止没有看到交叉；它落后于 {}。", behind.join("、"))
            }
            (_, true, Language::English) => {
                write!(s, "<b>{name}</b> overtakes all of them: {}. ", past.join(", "))
            }
            (_, true, Language::Chinese) => {
                write!(s, "<b>{name}</b> 超过了全部旧方法：{}。", past.join("、"))
            }
            (_, _, Language::English) => write!(
                s,
                "<b>{name}</b> overtakes {}; with {largest} texts it is still behind {}. ",
                past.join(", "),
                behind.join(", ")
            ),
            (_, _, Language::Chinese) => write!(
                s,
                "<b>{name}</b> 超过了 {}；有 {largest} 篇时仍落后于 {}。",
                past.join("、"),
                behind.join("、")
            ),
        };
    }
    if task.last(Learner::Bert).is_some() {
        s += language.say(
            "This BERT has read nothing but these texts, for a minute; what made BERT better than all before it was reading a thousand times more first.",
            "这个 BERT 只读过这些文本、只读了一分钟；真正的 BERT 胜过前人，靠的是事先读过成千上万倍的文字。",
        );
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_found_between_sizes_and_absence_is_told() {
        let old = [(100.0, 70.0, 0.0), (400.0, 80.0, 0.0)];
        let Crossing::At(at) = crossing(&old, &[(100.0, 60.0, 0.0), (400.0, 90.0, 0.0)]) else {
            panic!("no crossing")
        };
        assert!((at - 200.0).abs() < 1e-6, "{at}");
        assert_eq!(crossing(&old, &[(100.0, 75.0, 0.0), (400.0, 81.0, 0.0)]), Crossing::Always);
        assert_eq!(crossing(&old, &[(100.0, 75.0, 0.0), (400.0, 78.0, 0.0)]), Crossing::Behind(2.0));
        let point =
            |learner, size, a| Point { learner, size, accuracies: vec![a], unknown: vec![], seconds: 0.0 };
        let task = |last| Task {
            points: vec![
                point(Learner::Bayes, 100, 0.7),
                point(Learner::Bayes, 400, 0.8),
                point(Learner::Lstm, 100, 0.6),
                point(Learner::Lstm, 400, last),
            ],
            ..Task::default()
        };
        assert!(
            crossings(&task(0.75), Language::English)
                .contains("no crossing is seen up to 400 texts; it is behind naive Bayes by 5.0 points")
        );
        assert!(
            crossings(&task(0.9), Language::English)
                .contains("overtakes all of them: naive Bayes at about 200 texts")
        );
        assert!(crossings(&task(0.9), Language::Chinese).contains("约 200 篇"));
    }
}
