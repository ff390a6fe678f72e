//! Questions from JSON lines, in the forms in which public tests are handed round, and what an answer is worth.
//!
//! | form | fields | how it is asked |
//! |---|---|---|
//! | ARC | `question.stem`, `question.choices` or `question`, `choices.text`, `choices.label`, `answerKey` | likelihood of each choice after `Question: …\nAnswer:` |
//! | query | `query`, `choices`, `gold` (ARC, PIQA as others rewrite them) | the same |
//! | PIQA | `goal`, `sol1`, `sol2`, `label` | the same |
//! | MMLU | `question`, `choices`, `answer` (number or letter), `subject`, `split` | likelihood of the letter after question and lettered choices; lines of the split `dev` are left out |
//! | HellaSwag | `ctx` or `ctx_a` and `ctx_b`, `endings`, `label`, `activity_label` | likelihood of each ending |
//! | WinoGrande | `context_options`, `continuation`, `gold` | likelihood of the continuation after each context |
//! | GSM8K | `question`, `answer` with `#### number` | a reply whose last number is right |
//! | words | `question` or `prompt`, `answer` | a reply that is the answer, case and marks aside |
//! | skills | `messages`, `accept`, `skill` (`pupil data starter`) | a reply that is one of the accepted, word for word |
//!
//! The prompts are those of EleutherAI's lm-evaluation-harness, without examples before them.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use pupil_data::Turn;
use pupil_data::source::{self, Error};
use pupil_data::starter::Question;
use serde_json::Value;

/// A file of questions.
#[derive(Clone, Debug)]
pub struct Task {
    /// The file's name without its endings.
    pub name: String,
    /// The questions.
    pub items: Vec<Item>,
    /// Lines that could not be used, with the reason.
    pub skipped: Vec<String>,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The likeliest of several texts, each after its context.
    Choice {
        /// Context and text of each choice.
        choices: Vec<(String, String)>,
        /// The right one.
        gold: usize,
    },
    /// A reply in words.
    Reply {
        /// What is asked.
        messages: Vec<Turn>,
        /// When it is right.
        right: Right,
    },
    /// A held-out question of the curriculum.
    Skill(Question),
}

/// When a reply is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// The last number in it is this.
    Number(String),
    /// It is this, case, blanks and marks at its ends aside.
    Words(String),
}

impl Task {
    /// Reads a file of JSON lines, or of one JSON array; also compressed.
    ///
    /// # Errors
    /// If it cannot be read, or no line of it is a question in a known form.
    pub fn read(path: &Path) -> Result<Task, Error> {
        let problem = |what: String| Error::Content { path: path.to_owned(), what };
        let mut text = String::new();
        let (files, _) = source::files(&[PathBuf::from(path)])?;
        for file in files {
            source::open(&file, &|_| {}, &mut |_| {}, &mut |_, bytes: &mut dyn BufRead| {
                bytes.read_to_string(&mut text).map(drop)
            })
            .map_err(|e| problem(e.to_string()))?;
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.split(".json").next().unwrap_or_default().to_owned();
        let task = Task::parse(&name, &text);
        match task.skipped.first() {
            Some(why) if task.items.is_empty() => Err(problem(format!("no question could be read; {why}"))),
            None if task.items.is_empty() => Err(problem("holds no question".into())),
            _ => Ok(task),
        }
    }

    /// Reads the text of such a file.
    pub fn parse(name: &str, text: &str) -> Task {
        let mut task = Task { name: name.to_owned(), items: Vec::new(), skipped: Vec::new() };
        let text = text.trim_start_matches('\u{feff}');
        let lines: Vec<(usize, Result<Value, String>)> = match serde_json::from_str::<Vec<Value>>(text) {
            Ok(all) if text.trim_start().starts_with('[') => all.into_iter().map(Ok).enumerate().collect(),
            _ => {
                let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
                lines.map(|(i, l)| (i, serde_json::from_str(l).map_err(|e| e.to_string()))).collect()
            }
        };
        for (i, line) in lines {
            match line.and_then(|v| item(&v)) {
                Ok(item) => task.items.extend(item),
                Err(why) => task.skipped.push(format!("line {}: {why}", i + 1)),
            }
        }
        task
    }
}

impl Right {
    /// Whether a reply is.
    pub fn is(&self, reply: &str) -> bool {
        match self {
            Right::Number(n) => last_number(reply).as_deref() == Some(n),
            Right::Words(words) => plain(reply) == plain(words),
        }
    }
}

/// The question of a line; `None` of one that is only there as an example.
fn item(v: &Value) -> Result<Option<Item>, String> {
    if v.get("accept").is_some() {
        let q: Question = serde_json::from_value(v.clone()).map_err(|e| e.to_string())?;
        return if q.messages.is_empty() {
            Err("messages is empty".into())
        } else {
            Ok(Some(Item::Skill(q)))
        };
    }
    if let Some(endings) = v.get("endings") {
        return choice(&hellaswag(v)?, texts(endings)?, number(v, "label")?).map(Some);
    }
    if let Some(contexts) = v.get("context_options") {
        let continuation = format!(" {}", text(v, "continuation")?.trim());
        let choices: Vec<_> = texts(contexts)?.into_iter().map(|c| (c, continuation.clone())).collect();
        return checked(choices, number(v, "gold")?).map(Some);
    }
    if let Ok(goal) = text(v, "goal") {
        let choices = vec![text(v, "sol1")?.to_owned(), text(v, "sol2")?.to_owned()];
        return choice(&asked(goal), choices, number(v, "label")?).map(Some);
    }
    if let Ok(query) = text(v, "query") {
        let context = if query.trim_start().starts_with("Question:") {
            format!("{}\nAnswer:", query.trim_end())
        } else {
            query.to_owned()
        };
        return choice(&context, texts(v.get("choices").unwrap_or(&Value::Null))?, number(v, "gold")?)
            .map(Some);
    }
    if v.get("answerKey").is_some() {
        return arc(v).map(Some);
    }
    if v.get("choices").is_some() {
        return mmlu(v);
    }
    let question = text(v, "question").or_else(|_| text(v, "prompt"));
    let question = question.map_err(|_| "no known form: see `pupil eval --help`".to_owned())?;
    let answer = text(v, "answer")?;
    let right = match answer.rsplit_once("####") {
        Some((_, n)) => {
            Right::Number(last_number(n).ok_or_else(|| format!("{n:?} behind #### is no number"))?)
        }
        None if plain(answer).is_empty() => return Err("answer is empty".into()),
        None => Right::Words(answer.to_owned()),
    };
    Ok(Some(Item::Reply { messages: vec![Turn::new("user", question)], right }))
}

fn text<'a>(v: &'a Value, field: &str) -> Result<&'a str, String> {
    v.get(field).and_then(Value::as_str).ok_or_else(|| format!("{field} is missing or no text"))
}

/// A number, or a text that is one.
fn number(v: &Value, field: &str) -> Result<usize, String> {
    let value = v.get(field).ok_or_else(|| format!("{field} is missing"))?;
    let number =
        value.as_u64().map(|n| n as usize).or_else(|| value.as_str().and_then(|s| s.trim().parse().ok()));
    number.ok_or_else(|| format!("{field} is no number: {value}"))
}

fn texts(v: &Value) -> Result<Vec<String>, String> {
    let all = v.as_array().ok_or("the choices are no list")?;
    let text = |c: &Value| c.as_str().map(str::to_owned).ok_or_else(|| format!("a choice is no text: {c}"));
    all.iter().map(text).collect()
}

fn asked(question: &str) -> String {
    format!("Question: {}\nAnswer:", question.trim())
}

/// Choices after one context, with a blank before each; an empty choice stays empty.
fn choice(context: &str, choices: Vec<String>, gold: usize) -> Result<Item, String> {
    let behind = |c: String| if c.trim().is_empty() { String::new() } else { format!(" {}", c.trim()) };
    checked(choices.into_iter().map(|c| (context.to_owned(), behind(c))).collect(), gold)
}

fn checked(choices: Vec<(String, String)>, gold: usize) -> Result<Item, String> {
    if gold >= choices.len() {
        return Err(format!("the right choice is number {gold} of {}", choices.len()));
    }
    Ok(Item::Choice { choices, gold })
}

fn arc(v: &Value) -> Result<Item, String> {
    let key = match &v["answerKey"] {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let inner = v.get("question").filter(|q| q.is_object());
    let question = match inner {
        Some(q) => text(q, "stem")?,
        None => text(v, "question")?,
    };
    let list = inner.unwrap_or(v).get("choices").ok_or("choices is missing")?;
    let (labels, choices): (Vec<String>, Vec<String>) = match list {
        Value::Array(all) => {
            let pairs = all.iter().map(|c| Ok((text(c, "label")?.to_owned(), text(c, "text")?.to_owned())));
            pairs.collect::<Result<Vec<_>, String>>()?.into_iter().unzip()
        }
        columns => (texts(&columns["label"])?, texts(&columns["text"])?),
    };
    let gold =
        labels.iter().position(|l| *l == key).ok_or_else(|| format!("no choice is labelled {key:?}"))?;
    choice(&asked(question), choices, gold)
}

fn mmlu(v: &Value) -> Result<Option<Item>, String> {
    if v.get("split").and_then(Value::as_str) == Some("dev") {
        return Ok(None);
    }
    let choices = texts(v.get("choices").unwrap_or(&Value::Null))?;
    let letter = |i: usize| char::from(b'A' + (i % 26) as u8);
    let gold = match v.get("answer").and_then(Value::as_str).map(str::trim) {
        Some(s) if s.len() == 1 && s.as_bytes()[0].is_ascii_uppercase() => {
            usize::from(s.as_bytes()[0] - b'A')
        }
        _ => number(v, "answer")?,
    };
    let mut prompt = text(v, "question")?.trim().to_owned();
    for (i, c) in choices.iter().enumerate() {
        prompt.push_str(&format!("\n{}. {c}", letter(i)));
    }
    prompt.push_str("\nAnswer:");
    let choices = (0..choices.len()).map(|i| (prompt.clone(), format!(" {}", letter(i)))).collect();
    checked(choices, gold).map(Some)
}

/// The context as the harness makes it: activity, first part, second part with a capital, without the marks of the pages that it is from.
fn hellaswag(v: &Value) -> Result<String, String> {
    let context = match (text(v, "ctx_a"), text(v, "ctx_b")) {
        (Ok(a), Ok(b)) => format!("{a} {}", capital(b)),
        _ => text(v, "ctx")?.to_owned(),
    };
    let context = match text(v, "activity_label") {
        Ok(label) => format!("{label}: {context}"),
        Err(_) => context,
    };
    let mut plain = String::new();
    let mut inside = false;
    for c in context.trim().replace(" [title]", ". ").chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    Ok(plain.replace("  ", " ").trim().to_owned())
}

fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or(String::new(), |f| f.to_uppercase().chain(c).collect())
}

/// The last number of a text, without commas between its digits or a point behind it.
fn last_number(text: &str) -> Option<String> {
    let mut last = None;
    let mut word = String::new();
    let mut end = |word: &mut String| {
        let number = word.trim_end_matches(['.', ',']).replace(',', "");
        if number.bytes().any(|b| b.is_ascii_digit()) && number.parse::<f64>().is_ok() {
            let whole = number.trim_start_matches('+');
            // 18.00 and 18 are the same.
            last = Some(if whole.contains('.') {
                whole.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                whole.to_owned()
            });
        }
        word.clear();
    };
    for c in text.chars() {
        match c {
            '0'..='9' | '.' | ',' => word.push(c),
            '-' | '+' => {
                end(&mut word);
                word.push(c);
            }
            _ => end(&mut word),
        }
    }
    end(&mut word);
    last
}

/// Lower case, one blank between words, no marks at the ends.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase().trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Item {
        let mut task = Task::parse("t", line);
        assert!(task.skipped.is_empty() && task.items.len() == 1, "{task:?}");
        task.items.remove(0)
    }

    fn choices(line: &str) -> (Vec<(String, String)>, usize) {
        match one(line) {
            Item::Choice { choices, gold } => (choices, gold),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_is_asked_as_the_harness_asks_it() {
        let arc = r#"{"id":"x","question":{"stem":"What is wet?","choices":[{"text":"fire","label":"A"},{"text":"rain","label":"B"}]},"answerKey":"B"}"#;
        let columns = r#"{"question":"What is wet?","choices":{"text":["fire","rain"],"label":["A","B"]},"answerKey":"B"}"#;
        let query = r#"{"query":"Question: What is wet?","choices":["fire","rain"],"gold":1}"#;
        let piqa = r#"{"goal":"What is wet?","sol1":"fire","sol2":"rain","label":1}"#;
        for line in [arc, columns, query, piqa] {
            let (all, gold) = choices(line);
            assert_eq!(gold, 1);
            assert_eq!(all[1], ("Question: What is wet?\nAnswer:".into(), " rain".into()), "{line}");
        }
        let (all, gold) = choices(r#"{"question":"2 + 2?","choices":["3","4"],"answer":1}"#);
        assert_eq!((all[1].0.as_str(), all[1].1.as_str(), gold), ("2 + 2?\nA. 3\nB. 4\nAnswer:", " B", 1));
        assert_eq!(choices(r#"{"question":"2 + 2?","choices":["3","4"],"answer":"B"}"#).1, 1);
        let hella = r#"{"activity_label":"Cooking","ctx_a":"A man [header] cooks [title] Soup.","ctx_b":"he","ctx":"x","endings":["eats it.","[step] swims."],"label":"0"}"#;
        let (all, gold) = choices(hella);
        assert_eq!(
            (all[0].0.as_str(), all[0].1.as_str(), gold),
            ("Cooking: A man cooks. Soup. He", " eats it.", 0)
        );
        let wino = r#"{"context_options":["so Ann","so Bea"],"continuation":"won.","gold":0}"#;
        assert_eq!(choices(wino).0[1], ("so Bea".to_owned(), " won.".to_owned()));
        assert!(
            Task::parse("t", r#"{"split":"dev","question":"q","choices":["a"],"answer":0}"#).items.is_empty()
        );
    }

    #[test]
    fn replies_are_right_by_their_number_or_their_words() {
        let Item::Reply { right, .. } = one(r#"{"question":"q","answer":"9 * 2 = 18\n#### 1,018"}"#) else {
            panic!()
        };
        for (reply, is) in [
            ("It is $1,018.", true),
            ("1018", true),
            ("1018.00", true),
            ("1018 or 3", false),
            ("", false),
            ("-1018", false),
        ] {
            assert_eq!(right.is(reply), is, "{reply}");
        }
        let Item::Reply { right, .. } = one(r#"{"prompt":"q","answer":"Paris"}"#) else { panic!() };
        assert!(right.is(" paris. ") && !right.is("Paris, France"));
    }

    #[test]
    fn lines_that_are_no_questions_are_named() {
        let lines = [
            "{",
            "3",
            r#"{"a":1}"#,
            r#"{"query":"q","choices":["a"],"gold":1}"#,
            r#"{"query":"q","choices":"a","gold":0}"#,
            r#"{"question":"q","answer":"x #### y"}"#,
            r#"{"question":"q","answer":" "}"#,
            r#"{"accept":[],"messages":[]}"#,
            r#"{"question":"q","choices":{"text":["a"],"label":["A"]},"answerKey":"C"}"#,
            r#"{"endings":["a"],"label":0}"#,
        ];
        let task = Task::parse("t", &lines.join("\n"));
        assert_eq!((task.items.len(), task.skipped.len()), (0, lines.len()), "{:?}", task.skipped);
        assert!(task.skipped[1].starts_with("line 2: "));
        // An empty choice stays, and is empty.
        let (all, _) = choices(r#"{"query":"q","choices":["","b"],"gold":1}"#);
        assert_eq!(all[0].1, "");
        assert_eq!(Task::parse("t", "").items.len(), 0);
        assert_eq!(Task::parse("t", r#"[{"query":"q","choices":["a"],"gold":0}]"#).items.len(), 1);
    }

    #[test]
    fn files_are_read_and_refused_with_their_name() {
        let missing = Task::read(Path::new("/nowhere/at-all.jsonl")).unwrap_err().to_string();
        assert!(missing.contains("at-all"), "{missing}");
    }
}
