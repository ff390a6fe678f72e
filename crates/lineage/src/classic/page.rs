//! The page about the learners before deep learning: one file that opens offline, reads on a phone and prints, in English or Chinese.

use std::fmt::Write;

use pupil_report::chart::{self, Axis, Curve, range};
use pupil_report::page::{Page, escape};

use super::growth::growth;
use super::neuron::{GRID, INPUTS};
use super::outcome::{CLASSIFIERS, Learner, Outcome, TAGGERS, Task};
use crate::page::Language;

/// The page; `starter` says of the texts and of the sentences whether they are starter text.
pub fn html(outcome: &Outcome, starter: [bool; 2], language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let title = say("Before deep learning", "深度学习之前");
    let mut s = String::new();
    let _ = write!(s, "<h1>{title}</h1><p class=lead>{}</p>", introduction(outcome, starter, language));
    s += &neurons(outcome, language);
    s += &regression(outcome, language);
    s += &texts(outcome, starter[0], language);
    s += &insides(outcome, language);
    s += &tags(outcome, starter[1], language);
    s += &growth(outcome, language);
    let _ = write!(
        s,
        "<p class=foot>{}</p>",
        say(
            "Made by pupil lineage --classic. Other data may give another order: run it on your own. The numbers behind this page are in classic.json.",
            "由 pupil lineage --classic 生成。换数据次序可能不同：请用你自己的数据运行。本页背后的数字在 classic.json 中。"
        )
    );
    Page { language: say("en", "zh"), title, style: MORE, script: "" }.around(&s)
}

fn introduction(o: &Outcome, starter: [bool; 2], language: Language) -> String {
    let (texts, sentences, seconds) = (o.texts.count, o.tags.count, o.classical_seconds);
    let made = |own: bool| match (own, language) {
        (false, _) => "",
        (true, Language::English) => " (made by rules, as no others were given)",
        (true, Language::Chinese) => "（按规则生成，因为没有给出别的数据）",
    };
    match language {
        Language::English => format!(
            "For decades machines learned from features that people chose: counts of words, endings, neighbours. Here these learners do two tasks: which class each of {texts} texts{} \
             is of, and which part of speech each word of {sentences} sentences{} is. All of them together took {seconds:.0} seconds of this processor. \
             What they learned can be read; what a network learned cannot, and with enough data that is the price of being better.",
            made(starter[0]),
            made(starter[1])
        ),
        Language::Chinese => format!(
            "几十年里，机器从人挑选的特征中学习：词的计数、词尾、相邻的词。这里让这些学习方法做两件事：判断 {texts} 篇文本{}各属哪一类，以及 {sentences} 个句子{}中每个词的词性。\
             全部加起来在这台处理器上用了 {seconds:.0} 秒。它们学到的东西可以读懂；神经网络学到的读不懂，而数据足够多时，这正是更准确的代价。",
            made(starter[0]),
            made(starter[1])
        ),
    }
}

/// Side of a small picture, and its border.
const SIDE: f64 = 150.0;

/// Where a point of the square from −0.5 to 1.5 lies.
fn place(v: f64, up: bool) -> f64 {
    let f = (v + 0.5) / 2.0;
    SIDE * if up { 1.0 - f } else { f }
}

fn points(s: &mut String, answers: &dyn Fn(usize) -> bool) {
    for (i, x) in INPUTS.iter().enumerate() {
        let fill = if answers(i) { "#c98a1b" } else { "var(--card)" };
        let _ = write!(
            s,
            "<circle cx={:.1} cy={:.1} r=7 fill='{fill}' stroke='var(--ink)' stroke-width=1.6 />",
            place(x[0], false),
            place(x[1], true)
        );
    }
}

fn neurons(o: &Outcome, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let mut s = format!(
        "<h2>{}</h2><p>{}</p><div class=row>",
        say("One neuron, and why one is not enough", "一个神经元，以及为什么一个不够"),
        say(
            "McCulloch and Pitts (1943) thought of it, Rosenblatt's perceptron (1958) learned by itself: two inputs, two weights, a threshold; every wrong answer moves the weights. \
             It fires on one side of a straight line. For AND and OR there is such a line, for XOR there is none.",
            "McCulloch 与 Pitts（1943）提出了它，Rosenblatt 的感知机（1958）能自己学习：两个输入、两个权重、一个阈值；每答错一次就调整权重。它在一条直线的一侧激活。AND 和 OR 有这样的直线，XOR 没有。"
        )
    );
    for p in &o.perceptrons {
        let right = super::neuron::GATES.iter().find(|g| g.0 == p.gate).map_or([false; 4], |g| g.1);
        let _ = write!(s, "<figure><svg viewBox='0 0 {SIDE} {SIDE}' role=img>");
        let [a, b, c] = p.weights;
        if b.abs() > 1e-9 {
            let y = |x: f64| -(a * x + c) / b;
            let line = |x: f64| format!("{:.1},{:.1}", place(x, false), place(y(x), true));
            let _ = write!(
                s,
                "<polyline points='{} {}' stroke='#3d5ad8' stroke-width=2 {} />",
                line(-0.5),
                line(1.5),
                if p.learned() { "" } else { "stroke-dasharray=5,5" }
            );
        }
        points(&mut s, &|i| right[i]);
        let rounds = p.mistakes.len();
        let caption = match (p.learned(), language) {
            (true, Language::English) => format!("{}: learned in {rounds} rounds", p.gate),
            (true, Language::Chinese) => format!("{}：{rounds} 轮学会", p.gate),
            (false, Language::English) => {
                format!("{}: still wrong after {rounds} rounds, and for ever", p.gate)
            }
            (false, Language::Chinese) => format!("{}：{rounds} 轮后仍然出错，永远如此", p.gate),
        };
        let _ = write!(s, "</svg><figcaption>{caption}</figcaption></figure>");
    }
    let n = &o.two_layers;
    let _ = write!(s, "<figure><svg viewBox='0 0 {SIDE} {SIDE}' role=img>");
    let cell = SIDE / GRID as f64;
    for (i, p) in n.grid.iter().enumerate() {
        let (column, row) = (i % GRID, GRID - 1 - i / GRID);
        let _ = write!(
            s,
            "<rect x={:.2} y={:.2} width={:.2} height={:.2} fill='#3d5ad8' fill-opacity={:.2} />",
            column as f64 * cell,
            row as f64 * cell,
            cell + 0.05,
            cell + 0.05,
            0.75 * p
        );
    }
    points(&mut s, &|i| super::neuron::GATES[2].1[i]);
    let answers: Vec<String> = n.answers.iter().map(|p| format!("{:.0} %", 100.0 * p)).collect();
    let _ = write!(
        s,
        "</svg><figcaption>{}: {}</figcaption></figure></div>",
        say("XOR by two layers", "两层网络学会 XOR"),
        answers.join(", ")
    );
    s
}

fn regression(o: &Outcome, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let (points, slope, height) = &o.regression;
    let (low, high) = range(points.iter().map(|p| p.1));
    let x = Axis { from: 0.0, to: 9.0, log: false, label: say("hours of practice", "练习的小时数") };
    let y =
        Axis {
            from: low, to: high, log: false, label: say("pieces without a mistake", "无误弹完的曲子")
        };
    let exact: Vec<(f64, f64, f64)> = points.iter().map(|p| (p.0, p.1, 0.0)).collect();
    let at = |x: f64| (x, slope * x + height, 0.0);
    let curves = [
        Curve { colour: 1, name: String::new(), points: exact, strong: false },
        Curve {
            colour: 7,
            name: say("the line", "直线").into(),
            points: vec![at(0.5), at(8.5)],
            strong: true,
        },
    ];
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |m, p| (m.0 + p.0 / n, m.1 + p.1 / n));
    let (top, bottom) =
        points.iter().fold((0.0, 0.0), |t, p| (t.0 + (p.0 - mx) * (p.1 - my), t.1 + (p.0 - mx).powi(2)));
    format!(
        "<h2>{}</h2><p>{} <code>y = {slope:.4}·x {} {:.4}</code>. {} {:.2} / {:.2} = {:.4}.</p>{}",
        say("A straight line through points", "穿过点的一条直线"),
        say(
            "Linear regression is the oldest learner (Legendre 1805, Gauss 1809): the line whose squared errors are least.",
            "线性回归是最古老的学习方法（Legendre 1805，Gauss 1809）：误差平方和最小的直线。"
        ),
        if *height < 0.0 { "−" } else { "+" },
        height.abs(),
        say("By hand, from the closed form, the slope is", "用闭式解手算，斜率是"),
        top,
        bottom,
        top / bottom,
        chart::curves(&x, &y, &curves, &[])
    )
}

/// Year, paper and idea of a learner.
fn about(learner: Learner, language: Language) -> (&'static str, &'static str) {
    let all = match learner {
        Learner::Rules => (
            "–",
            "Counts kind and unkind words of two lists that a person wrote. Learns nothing.",
            "数一数人写的两张表里的褒义词和贬义词。什么也不学。",
        ),
        Learner::Bayes => (
            "1961",
            "A class is as likely as its words are in it, each word by itself.",
            "一个类别的可能性等于其中各个词的可能性之积，每个词各算各的。",
        ),
        Learner::MaxEnt => (
            "1996",
            "Logistic regression: a weight for each word, moved until the likelihood of what was seen is greatest.",
            "逻辑回归：每个词一个权重，调整到所见数据的似然最大。",
        ),
        Learner::Svm => (
            "1995",
            "The plane between the classes that keeps the widest margin.",
            "在两类之间保持最宽间隔的平面。",
        ),
        Learner::Tree => (
            "1984",
            "Asks one word after the other, as in a guessing game.",
            "像猜谜一样，一个词一个词地问。",
        ),
        Learner::Forest => (
            "2001",
            "Many trees, each on a random part of the texts and words; they vote.",
            "许多棵树，各看随机的一部分文本和词，然后投票。",
        ),
        Learner::Boosting => (
            "1997",
            "Questions of one word each; every next one looks at what the others got wrong.",
            "每次只问一个词；后一个问题专看前面答错的。",
        ),
        Learner::Convolution => (
            "2014",
            "A network: a window slides over the words in their order.",
            "神经网络：一个窗口按词序滑过文本。",
        ),
        Learner::Lstm => (
            "1997",
            "A network: reads word by word and decides what to remember.",
            "神经网络：逐词阅读，并决定记住什么。",
        ),
        Learner::Bert => (
            "2018",
            "A small Transformer that has read all the texts before, without their classes, guessing hidden words; then it is taught. One split only.",
            "小型 Transformer：事先读过全部文本（不看类别），猜被遮住的词；然后再学分类。只用一次划分。",
        ),
        Learner::Hmm => (
            "1966",
            "Counts which tag follows which, and which tag utters which word; Viterbi finds the best path.",
            "数一数哪个标签跟在哪个之后、哪个标签说出哪个词；用 Viterbi 找最佳路径。",
        ),
        Learner::CrfSame => (
            "2001",
            "Sees what the HMM sees, but weighs it so that the right path wins, instead of counting.",
            "看到的与 HMM 相同，但不是计数，而是调整权重让正确路径胜出。",
        ),
        Learner::MaxEntTagger => (
            "1996",
            "Endings, shapes and neighbours of each word; no tag knows of the one before.",
            "看每个词的词尾、形状和相邻的词；标签之间互不知道。",
        ),
        Learner::Crf => (
            "2001",
            "The same features, and the whole sentence's tags decided together.",
            "同样的特征，而且整句的标签一起决定。",
        ),
    };
    (all.0, language.say(all.1, all.2))
}

fn percent(v: f64) -> String {
    format!("{:.1}", 100.0 * v)
}

/// A table of learners.
fn table(task: &Task, learners: &[Learner], unknown: bool, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let mut s = format!(
        "<div class=wide><table><tr><th>{}<th>{}<th class=n>{}<th class=n>{}<th class=n>{}</tr>",
        say("learner", "方法"),
        say("idea", "想法"),
        say("right, %", "正确率 %"),
        if unknown {
            say("of new words, %", "新词正确率 %")
        } else {
            say("learned from", "学习样本")
        },
        say("seconds", "秒"),
    );
    for p in learners.iter().filter_map(|l| task.last(*l)) {
        let (year, idea) = about(p.learner, language);
        let _ = write!(
            s,
            "<tr><td class=who><b>{}</b> <span>{year}</span><td>{idea}<td class=n>{}&nbsp;±&nbsp;{}<td class=n>{}<td class=n>{:.2}</tr>",
            p.learner.name(),
            percent(p.mean()),
            percent(p.deviation()),
            if unknown { percent(super::outcome::mean(&p.unknown)) } else { p.size.to_string() },
            p.seconds
        );
    }
    s + "</table></div>"
}

fn texts(o: &Outcome, starter: bool, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let t = &o.texts;
    let classes: Vec<String> = t.classes.iter().take(12).map(|c| escape(c)).collect();
    let (classes, guess, held) = (classes.join(", "), percent(t.guess), t.held_out);
    let splits = t.points.iter().map(|p| p.accuracies.len()).max().unwrap_or(0);
    let how = match language {
        Language::English => format!(
            "Classes: {classes}. Guessing the commonest is right in {guess} %. Each learner sees which of the {} commonest words occur in a text, not where. Measured on {held} texts that it has not seen, \
             {splits} times with others held out; ± is the standard deviation between them.",
            o.settings.features
        ),
        Language::Chinese => format!(
            "类别：{classes}。总猜最常见的一类，正确率 {guess} %。每种方法只看最常见的 {} 个词在文本中是否出现，不看位置。在没见过的 {held} 篇文本上测量，换不同的留出部分共 {splits} 次；± 是它们之间的标准差。",
            o.settings.features
        ),
    };
    let rules = if starter {
        say(
            "These texts are made by rules, so that a fifth of the judgements are turned round by the words before them: order counts.",
            "这些文本按规则生成，其中五分之一的评价被前面的词反转：词序很重要。",
        )
    } else {
        ""
    };
    format!(
        "<h2>{}</h2><p>{how} {rules}</p>{}",
        say("Of which class is a text?", "一篇文本属于哪一类？"),
        table(t, &CLASSIFIERS, false, language)
    )
}

fn words(title: &str, o: &Outcome, lists: &[Vec<(String, f64)>]) -> String {
    let mut s = format!("<tr><td class=who><b>{title}</b><td>");
    for (class, list) in o.texts.classes.iter().zip(lists).take(6) {
        let all: Vec<String> = list.iter().map(|w| escape(&w.0)).collect();
        let _ = write!(s, "<p class=words><span>{}</span> {}</p>", escape(class), all.join(", "));
    }
    s + "</tr>"
}

fn insides(o: &Outcome, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let i = &o.inside;
    let mut s = format!(
        "<h2>{}</h2><p>{}</p><table>",
        say("What they learned can be read", "它们学到的东西可以读懂"),
        say("The words that speak most for each class:", "最能说明每一类的词：")
    );
    s += &words("naive Bayes", o, &i.bayes);
    s += &words("MaxEnt", o, &i.maxent);
    s += &words("linear SVM", o, &i.svm);
    let (steps, loss, converged) = i.converged;
    let (margin, objective, gap, support) = i.margin;
    let _ = match language {
        Language::English => write!(
            s,
            "</table><p>MaxEnt {} after {steps} steps, its loss {loss:.3} nats a text, penalty included. The SVM's margin is {margin:.2} wide; {support} texts hold it there; its objective \
             {objective:.3} is within {gap:.4} of the best possible.</p>",
            if converged { "converged" } else { "was stopped" }
        ),
        Language::Chinese => write!(
            s,
            "</table><p>MaxEnt 在 {steps} 步后{}，每篇文本的损失（含惩罚项）为 {loss:.3} 奈特。SVM 的间隔宽 {margin:.2}，由 {support} 篇文本撑住；目标值 {objective:.3} 与最优值相差不超过 {gap:.4}。</p>",
            if converged { "收敛" } else { "停止" }
        ),
    };
    if !i.tree.is_empty() {
        let _ = write!(
            s,
            "<h3>{}</h3><pre>{}</pre><p>{}</p>",
            say("The decision tree, its first questions", "决策树最初的几个问题"),
            escape(&i.tree),
            match language {
                Language::English => format!(
                    "The forest of {} such trees knows its own error without any held-out text: each tree is asked about the texts that it has not seen (“out of bag”). That says {} % wrong; the held-out texts say {} %.",
                    o.settings.trees,
                    percent(i.forest.0),
                    percent(i.forest.1)
                ),
                Language::Chinese => format!(
                    "由 {} 棵这样的树组成的森林不需要留出文本就知道自己的错误率：每棵树只被问它没见过的文本（“袋外”）。袋外错误率 {} %；留出文本上是 {} %。",
                    o.settings.trees,
                    percent(i.forest.0),
                    percent(i.forest.1)
                ),
            }
        );
    }
    if i.boosting.len() > 2 {
        let line = |colour, name: &str, f: &dyn Fn(&(f64, f64)) -> f64| Curve {
            colour,
            name: name.to_owned(),
            points: i
                .boosting
                .iter()
                .enumerate()
                .step_by((i.boosting.len() / 60).max(1))
                .map(|(k, e)| (k as f64 + 1.0, 100.0 * f(e), 0.0))
                .collect(),
            strong: true,
        };
        let both = [
            line(1, say("seen texts", "学过的文本"), &|e| e.0),
            line(7, say("held-out texts", "留出的文本"), &|e| e.1),
        ];
        let (low, high) = range(both.iter().flat_map(|c| &c.points).map(|p| p.1));
        let x = Axis {
            from: 1.0,
            to: i.boosting.len() as f64,
            log: false,
            label: say("rounds of boosting", "提升的轮数"),
        };
        let y = Axis { from: low, to: high, log: false, label: say("wrong, %", "错误率 %") };
        let asked: Vec<String> =
            i.questions.iter().take(8).map(|q| format!("{} → {}", escape(&q.0), escape(&q.1))).collect();
        let _ = write!(
            s,
            "<h3>{}</h3><p>{} {}</p>{}",
            say("Boosting, round by round", "提升：一轮又一轮"),
            say(
                "Each round adds one question, and with it the word that helps most where all before were wrong:",
                "每一轮加一个问题，也就是在前面都答错的地方最有帮助的那个词："
            ),
            asked.join("; "),
            chart::curves(&x, &y, &both, &[])
        );
    }
    s
}

fn tags(o: &Outcome, starter: bool, language: Language) -> String {
    let say = |english, chinese| language.say(english, chinese);
    let t = &o.tags;
    let (n, guess, held) = (t.classes.len(), percent(t.guess), t.held_out);
    let most = t.points.iter().map(|p| p.size).max().unwrap_or(0);
    let how = match language {
        Language::English => format!(
            "{n} tags; always the commonest is right in {guess} %. Learned from {most} sentences, measured on the words of {held} others, three times with others held out.{}",
            if starter {
                " Many words of these sentences have several parts of speech (“they watch the watch”)."
            } else {
                ""
            }
        ),
        Language::Chinese => format!(
            "{n} 种标签；总猜最常见的，正确率 {guess} %。从 {most} 个句子学习，在另外 {held} 个句子的词上测量，换不同的留出部分共三次。{}",
            if starter {
                "这些句子中许多词有不止一种词性（“they watch the watch”）。"
            } else {
                ""
            }
        ),
    };
    let mut s = format!(
        "<h2>{}</h2><p>{how}</p>{}",
        say("Which part of speech is each word?", "每个词是什么词性？"),
        table(t, &TAGGERS, true, language)
    );
    // Where both are always right there is nothing to tell.
    let pair = t.last(Learner::Hmm).zip(t.last(Learner::CrfSame));
    if let Some((h, c)) = pair.filter(|(h, c)| (h.mean() - c.mean()).abs() > 5e-4) {
        let by = 100.0 * (c.mean() - h.mean());
        let _ = match (by > 0.0, language) {
            (true, Language::English) => write!(
                s,
                "<p>With the same features the CRF is {by:.1} points ahead of the HMM: it need not explain the words, only tell the tags.</p>"
            ),
            (true, Language::Chinese) => write!(
                s,
                "<p>特征相同时，CRF 比 HMM 高 {by:.1} 个百分点：它不必解释词怎样产生，只需判断标签。</p>"
            ),
            (false, Language::English) => write!(
                s,
                "<p>With the same features the CRF is {:.1} points behind the HMM here: weights need more sentences than counts do (Ng &amp; Jordan 2002); see the curves below.</p>",
                -by
            ),
            (false, Language::Chinese) => write!(
                s,
                "<p>特征相同时，这里 CRF 比 HMM 低 {:.1} 个百分点：学权重比计数需要更多句子（Ng 与 Jordan 2002）；见下面的曲线。</p>",
                -by
            ),
        };
    }
    let super::outcome::Example { words, tags: right, said } = &o.example;
    if !words.is_empty() {
        let _ = write!(
            s,
            "<h3>{}</h3><div class=wide><table class=tags><tr><td>",
            say("One held-out sentence, and what each says", "一个留出的句子，各方法怎么说")
        );
        words.iter().for_each(|w| s += &format!("<th>{}", escape(w)));
        let _ = write!(s, "</tr><tr><td class=who>{}", say("right", "正确"));
        right.iter().for_each(|t| s += &format!("<td>{}", escape(t)));
        for (learner, tags) in said {
            let _ = write!(s, "</tr><tr><td class=who><b>{}</b>", learner.name());
            for (t, r) in tags.iter().zip(right) {
                let _ = write!(s, "<td{}>{}", if t == r { "" } else { " class=wrong" }, escape(t));
            }
        }
        s += "</tr></table></div>";
    }
    s
}

const MORE: &str = "\
.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;flex:1;min-width:8.5rem;max-width:11rem}figcaption{font-size:.85rem;color:var(--soft)}\
code{font-size:.95em}pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem;overflow-x:auto;font-size:.85rem;line-height:1.35}\
.who{white-space:nowrap}.who span{color:var(--soft);font-size:.85em}.words{margin:.1rem 0}.words span{color:var(--soft);margin-right:.3rem}\
.tags td,.tags th{padding:.25rem .45rem;color:inherit}.wrong{background:#b23a4833;border-radius:4px}.note{color:var(--soft);font-size:.9rem}\
p+svg,svg+svg{margin-top:.4rem}@media(max-width:560px){.name{font-size:17px}.tick,.axis{font-size:16px}}";
