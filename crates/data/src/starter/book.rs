//! The lessons as they are written in `lessons/*.toml`: tables of facts, skills that ask about them, and sentences that tell them.
//!
//! A file has a `language` (English if it says none), any number of `[table.NAME]`, `[[skill]]` and `[[tell]]`. In a text of several lines
//! each line is a [`Template`]; a question that begins with `!` is so common that it is never held out. A cell `-` is empty: skills that
//! need it leave that row out.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::grammar::{Slot, Template, Values};
use super::persona::Persona;
use super::{held_out, made};
use crate::random::Random;

/// The files, in the order in which they are read: a skill may follow one of a file before it.
const FILES: [(&str, &str); 13] = [
    ("words.toml", include_str!("lessons/words.toml")),
    ("talk.toml", include_str!("lessons/talk.toml")),
    ("feelings.toml", include_str!("lessons/feelings.toml")),
    ("self.toml", include_str!("lessons/self.toml")),
    ("limits.toml", include_str!("lessons/limits.toml")),
    ("geography.toml", include_str!("lessons/geography.toml")),
    ("animals.toml", include_str!("lessons/animals.toml")),
    ("things.toml", include_str!("lessons/things.toml")),
    ("time.toml", include_str!("lessons/time.toml")),
    ("language.toml", include_str!("lessons/language.toml")),
    ("why.toml", include_str!("lessons/why.toml")),
    ("chinese.toml", include_str!("lessons/chinese.toml")),
    ("chinese_self.toml", include_str!("lessons/chinese_self.toml")),
];

/// Alternatives of an answer that are listed at most.
const MOST: usize = 200;

/// English or Chinese.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Chinese.
    #[serde(rename = "zh")]
    Chinese,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    language: Language,
    #[serde(default)]
    table: BTreeMap<String, TableText>,
    #[serde(default)]
    skill: Vec<SkillText>,
    #[serde(default)]
    tell: Vec<TellText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableText {
    columns: String,
    rows: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkillText {
    name: String,
    table: Option<String>,
    /// The column in which two rows must differ.
    differ: Option<String>,
    /// The skill whose exchange comes before.
    after: Option<String>,
    #[serde(default = "usual")]
    weight: usize,
    ask: String,
    say: String,
    /// The answer in a word.
    short: Option<String>,
}

fn usual() -> usize {
    10
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TellText {
    table: Option<String>,
    #[serde(default = "usual")]
    weight: usize,
    text: String,
}

/// Facts, one a row.
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// What can be practised: a question and its answer, or several that belong together.
pub(super) struct Skill {
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) weight: usize,
    source: Source,
}

enum Source {
    Written(Written),
    Made(fn(&mut Random) -> Exchange),
}

struct Written {
    table: Option<usize>,
    /// Rows that have all that is needed.
    rows: Vec<usize>,
    /// The column in which two rows must differ.
    differ: Option<usize>,
    turns: Vec<Turn>,
    short: Option<Template>,
}

#[derive(Clone)]
struct Turn {
    /// Questions, and whether one is never held out.
    ask: Vec<(Template, bool)>,
    say: Vec<Template>,
}

struct Tell {
    language: Language,
    table: Option<usize>,
    rows: Vec<usize>,
    weight: usize,
    lines: Vec<Template>,
}

/// One or more questions with their answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The person's words and the answers, alternately.
    pub(super) turns: Vec<String>,
    /// What may not be in both parts beside the words themselves: the operands of a sum.
    pub(super) keys: Vec<String>,
    /// For each question whether it is never held out.
    pub(super) common: Vec<bool>,
    /// Every answer to the last question that is right; empty if that cannot be said.
    pub(super) accepted: Vec<String>,
    /// The last answer in a word.
    pub(super) short: Option<String>,
    /// The turn before which the conversation may wander elsewhere; 0: nowhere.
    pub(super) pause: usize,
}

impl Exchange {
    /// A question with its right answers, of which the first is given.
    pub(super) fn of(question: impl Into<String>, answers: Vec<String>) -> Exchange {
        let turns = vec![question.into(), answers.first().cloned().unwrap_or_default()];
        Exchange { turns, common: vec![false], accepted: answers, ..Exchange::default() }
    }

    /// The person's words.
    pub(super) fn asked(&self) -> impl Iterator<Item = &String> {
        self.turns.iter().step_by(2)
    }
}

/// All lessons.
pub(super) struct Book {
    pub(super) tables: Vec<Table>,
    names: BTreeMap<String, usize>,
    pub(super) skills: Vec<Skill>,
    tells: Vec<Tell>,
    /// Keys of questions that are never held out.
    pub(super) common: HashSet<String>,
    persona: Persona,
}

impl Book {
    pub(super) fn new(persona: &Persona) -> Result<Book, String> {
        let mut book = Book {
            tables: Vec::new(),
            names: BTreeMap::new(),
            skills: Vec::new(),
            tells: Vec::new(),
            common: HashSet::new(),
            persona: persona.clone(),
        };
        let mut files = Vec::new();
        for (name, text) in FILES {
            let mut file: File = toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
            for (table, text) in std::mem::take(&mut file.table) {
                book.add_table(&table, &text).map_err(|e| format!("{name}, table {table}: {e}"))?;
            }
            files.push((name, file));
        }
        for (name, file) in files {
            for skill in file.skill {
                let place = format!("{name}, skill {}", skill.name);
                book.add_skill(skill, file.language).map_err(|e| format!("{place}: {e}"))?;
            }
            for tell in file.tell {
                let place = format!("{name}, {:?}", tell.text.chars().take(40).collect::<String>());
                book.add_tell(tell, file.language).map_err(|e| format!("{place}: {e}"))?;
            }
        }
        for own in &persona.own {
            let text = SkillText {
                name: "persona".into(),
                table: None,
                differ: None,
                after: None,
                weight: 20,
                ask: own.ask.clone(),
                say: own.say.clone(),
                short: None,
            };
            book.add_skill(text, own.language).map_err(|e| format!("the persona's {:?}: {e}", own.ask))?;
        }
        for (name, language, weight, make) in made::SKILLS {
            book.skills.push(Skill {
                name: (*name).to_owned(),
                language: *language,
                weight: *weight,
                source: Source::Made(*make),
            });
        }
        Ok(book)
    }

    /// A table by its name.
    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.names.get(name).map(|&i| &self.tables[i])
    }

    fn add_table(&mut self, name: &str, text: &TableText) -> Result<(), String> {
        let cells = |line: &str| line.split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let columns = cells(&text.columns);
        let rows: Vec<_> = text.rows.lines().filter(|l| !l.trim().is_empty()).map(cells).collect();
        if let Some(row) = rows.iter().find(|r| r.len() != columns.len()) {
            return Err(format!("{row:?} has {} cells, there are {} columns", row.len(), columns.len()));
        }
        if rows.is_empty() || self.names.insert(name.to_owned(), self.tables.len()).is_some() {
            return Err("empty, or there is another of that name".into());
        }
        self.tables.push(Table { columns, rows });
        Ok(())
    }

    fn lookup(&self, table: Option<&String>) -> Result<Option<usize>, String> {
        let find = |t: &String| self.names.get(t).copied().ok_or_else(|| format!("there is no table {t}"));
        table.map(find).transpose()
    }

    fn add_skill(&mut self, text: SkillText, language: Language) -> Result<(), String> {
        let mut turns = Vec::new();
        let mut table = self.lookup(text.table.as_ref())?;
        if let Some(after) = &text.after {
            let before = self.skills.iter().find_map(|s| match &s.source {
                Source::Written(w) if s.name == *after => Some(w),
                _ => None,
            });
            let before = before.ok_or_else(|| format!("there is no skill {after} before it"))?;
            turns.clone_from(&before.turns);
            table = table.or(before.table);
        }
        let ask = lines(&text.ask).map(|l| {
            let (common, l) = l.strip_prefix('!').map_or((false, l), |l| (true, l));
            Ok::<_, String>((Template::parse(l)?, common))
        });
        let ask: Vec<_> = ask.collect::<Result<_, _>>()?;
        let say: Vec<_> = lines(&text.say).map(Template::parse).collect::<Result<_, _>>()?;
        if ask.is_empty() || say.is_empty() {
            return Err("nothing is asked, or nothing is said".into());
        }
        turns.push(Turn { ask, say });
        let short = text.short.as_deref().map(|t| Template::parse(t.trim())).transpose()?;
        let all: Vec<&Template> = turns
            .iter()
            .flat_map(|t| t.ask.iter().map(|(t, _)| t).chain(&t.say))
            .chain(short.iter())
            .collect();
        let rows = self.rows(table, &all)?;
        let column = |d: &String| self.tables[table?].columns.iter().position(|c| c == d);
        let differ = text.differ.as_ref().map(|d| column(d).ok_or_else(|| format!("there is no column {d}")));
        let differ = differ.transpose()?;
        let mut known = Vec::new();
        let each = if rows.is_empty() { &[0][..] } else { &rows };
        for (template, _) in turns.iter().flat_map(|t| &t.ask).filter(|(_, common)| *common) {
            for &row in each {
                let mut scene = Scene::new(self, table, [row, row]);
                known.extend(template.all(&mut scene, MOST).unwrap_or_default().iter().map(|q| key(q)));
            }
        }
        self.common.extend(known);
        let source = Source::Written(Written { table, rows, differ, turns, short });
        self.skills.push(Skill { name: text.name, language, weight: text.weight, source });
        Ok(())
    }

    fn add_tell(&mut self, text: TellText, language: Language) -> Result<(), String> {
        let table = self.lookup(text.table.as_ref())?;
        let lines: Vec<_> = lines(&text.text).map(Template::parse).collect::<Result<_, _>>()?;
        let rows = self.rows(table, &lines.iter().collect::<Vec<_>>())?;
        if lines.is_empty() {
            return Err("nothing is told".into());
        }
        self.tells.push(Tell { language, table, rows, weight: text.weight, lines });
        Ok(())
    }

    /// Rows of a table that have all that some sentences need; sentences may need nothing that is not there.
    fn rows(&self, table: Option<usize>, sentences: &[&Template]) -> Result<Vec<usize>, String> {
        let (mut needed, mut unknown) = (Vec::new(), None);
        for s in sentences {
            s.slots(&mut |slot| {
                let column = table.and_then(|t| self.tables[t].columns.iter().position(|c| *c == slot.name));
                match column {
                    Some(c) if slot.which < 2 => needed.push(c),
                    _ if self.draws(slot) => {}
                    _ => unknown = Some(slot.name.clone()),
                }
            });
        }
        if let Some(name) = unknown {
            return Err(format!("{{{name}}} is neither a column nor a table"));
        }
        let Some(table) = table else { return Ok(Vec::new()) };
        let rows = &self.tables[table].rows;
        let whole = |&i: &usize| needed.iter().all(|&c| rows[i][c] != "-");
        let rows: Vec<usize> = (0..rows.len()).filter(whole).collect();
        if rows.len() < 2 {
            return Err("fewer than two rows have all that is needed".into());
        }
        Ok(rows)
    }

    /// Whether a slot's value can be drawn, or is the persona's.
    fn draws(&self, slot: &Slot) -> bool {
        if let Some(field) = slot.name.strip_prefix("me.") {
            return self.persona.get(field).is_some();
        }
        let (table, column) =
            slot.name.split_once('.').map_or((slot.name.as_str(), None), |(t, c)| (t, Some(c)));
        slot.name == "invented"
            || self.table(table).is_some_and(|t| column.is_none_or(|c| t.columns.iter().any(|x| x == c)))
    }

    /// An exchange of a skill; `name` is what the model is called, if not what its persona says.
    pub(super) fn exchange(&self, skill: &Skill, name: Option<&str>, r: &mut Random) -> Exchange {
        let written = match &skill.source {
            Source::Made(make) => return make(r),
            Source::Written(w) => w,
        };
        let mut rows = [0, 0];
        if !written.rows.is_empty() {
            let first = r.below(written.rows.len());
            let table = written.table.map(|t| &self.tables[t]);
            for _ in 0..50 {
                let second = (first + 1 + r.below(written.rows.len() - 1)) % written.rows.len();
                rows = [written.rows[first], written.rows[second]];
                let alike = |c: usize| table.is_some_and(|t| t.rows[rows[0]][c] == t.rows[rows[1]][c]);
                if !written.differ.is_some_and(alike) {
                    break;
                }
            }
        }
        let mut scene = Scene::new(self, written.table, rows);
        scene.name = name;
        let mut e = Exchange::default();
        for (i, turn) in written.turns.iter().enumerate() {
            let (mut q, mut a) = (String::new(), String::new());
            let (ask, common) = &turn.ask[r.below(turn.ask.len())];
            ask.fill(&mut scene, r, &mut q);
            e.common.push(*common);
            if i + 1 == written.turns.len() {
                let all: Option<Vec<_>> = turn.say.iter().map(|t| t.all(&mut scene, MOST)).collect();
                e.accepted = all.map_or(Vec::new(), |a| a.into_iter().flatten().collect());
                e.short = written.short.as_ref().map(|t| {
                    let mut short = String::new();
                    t.fill(&mut scene, r, &mut short);
                    short
                });
            }
            turn.say[r.below(turn.say.len())].fill(&mut scene, r, &mut a);
            e.turns.extend([q.trim(), a.trim()].map(str::to_owned));
        }
        for text in e.turns.iter_mut().chain(&mut e.accepted) {
            tighten(text);
        }
        e
    }

    /// A passage of text that tells facts.
    pub(super) fn passage(&self, language: Language, r: &mut Random) -> String {
        let of = |t: &&Tell| t.language == language;
        let mut at = r.below(self.tells.iter().filter(of).map(|t| t.weight).sum());
        let mut from = self.tells.iter().filter(of);
        let tell = from.find(|t| {
            let found = at < t.weight;
            at = at.saturating_sub(t.weight);
            found
        });
        let Some(tell) = tell else { return String::new() };
        let mut sentences: Vec<String> = Vec::new();
        let mut say = |template: &Template, row: usize, r: &mut Random| {
            let mut scene = Scene::new(self, tell.table, [row, row]);
            let mut s = String::new();
            template.fill(&mut scene, r, &mut s);
            sentences.push(s);
        };
        if tell.rows.is_empty() {
            say(&tell.lines[r.below(tell.lines.len())], 0, r);
        } else if tell.lines.len() > 1 && r.chance(50) {
            let row = tell.rows[r.below(tell.rows.len())];
            for line in &tell.lines {
                if r.chance(80) {
                    say(line, row, r);
                }
            }
        } else {
            let line = &tell.lines[r.below(tell.lines.len())];
            for _ in 0..2 + r.below(5) {
                say(line, tell.rows[r.below(tell.rows.len())], r);
            }
        }
        sentences.join(if language == Language::Chinese { "" } else { " " })
    }

    /// Whether a question's words belong to the held-out part.
    pub(super) fn holds_out(&self, words: &str) -> bool {
        let key = key(words);
        !self.common.contains(&key) && long_enough(&key) && held_out(&key)
    }
}

/// Takes away blanks between Chinese characters, which a sentence has around a name that may be in Latin letters.
fn tighten(text: &mut String) {
    let chinese =
        |c: Option<char>| c.is_some_and(|c| ('\u{3000}'..'\u{a000}').contains(&c) || c == '，' || c == '。');
    let blanks: Vec<usize> = text.match_indices(' ').map(|(i, _)| i).collect();
    for i in blanks.into_iter().rev() {
        if chinese(text[..i].chars().next_back()) && chinese(text[i + 1..].chars().next()) {
            text.remove(i);
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|l| !l.is_empty())
}

/// Letters and digits in lower case, words divided by one space: two questions that differ only in the rest are the same.
pub(super) fn key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || "+-*/×÷".contains(c) {
            key.extend(c.to_lowercase());
        } else if c != '\'' && !key.ends_with(' ') && !key.is_empty() {
            key.push(' ');
        }
    }
    key.truncate(key.trim_end().len());
    key
}

/// "Hi", "how are you", "你好吗": what is so short that leaving it out would leave a hole.
fn long_enough(key: &str) -> bool {
    let chinese = key.chars().filter(|c| !c.is_ascii()).count();
    if chinese > 0 { chinese >= 6 } else { key.split(' ').count() >= 4 }
}

/// Where the values of an exchange come from.
struct Scene<'a> {
    book: &'a Book,
    table: Option<usize>,
    rows: [usize; 2],
    /// What the model is called.
    name: Option<&'a str>,
    /// Table, which draw, row.
    drawn: Vec<(usize, usize, usize)>,
    invented: Vec<(usize, String)>,
}

impl<'a> Scene<'a> {
    fn new(book: &'a Book, table: Option<usize>, rows: [usize; 2]) -> Scene<'a> {
        Scene { book, table, rows, name: None, drawn: Vec::new(), invented: Vec::new() }
    }
}

impl Values for Scene<'_> {
    fn value(&mut self, slot: &Slot, r: Option<&mut Random>) -> Option<String> {
        if let Some(field) = slot.name.strip_prefix("me.") {
            let name = self.name.filter(|_| field == "name" || field == "name-zh");
            return name.or_else(|| self.book.persona.get(field)).map(str::to_owned);
        }
        if let Some(t) = self.table.map(|t| &self.book.tables[t])
            && let Some(c) = t.columns.iter().position(|c| *c == slot.name)
        {
            return Some(t.rows[self.rows[slot.which]][c].clone());
        }
        if slot.name == "invented" {
            if let Some((_, name)) = self.invented.iter().find(|(which, _)| *which == slot.which) {
                return Some(name.clone());
            }
            let name = made::invented(r?);
            self.invented.push((slot.which, name.clone()));
            return Some(name);
        }
        let (head, column) =
            slot.name.split_once('.').map_or((slot.name.as_str(), None), |(t, c)| (t, Some(c)));
        let index = *self.book.names.get(head)?;
        let table = &self.book.tables[index];
        let column = column.map_or(Some(0), |c| table.columns.iter().position(|x| x == c))?;
        let drawn = self.drawn.iter().find(|d| d.0 == index && d.1 == slot.which);
        if let Some(&(.., row)) = drawn {
            return Some(table.rows[row][column].clone());
        }
        let r = r?;
        // Another than was drawn before, and nothing empty; a table without that gives what it has.
        let mut row = r.below(table.rows.len());
        for _ in 0..20 {
            let taken = self.drawn.iter().any(|d| d.0 == index && d.2 == row);
            if !taken && table.rows[row][column] != "-" {
                break;
            }
            row = r.below(table.rows.len());
        }
        self.drawn.push((index, slot.which, row));
        Some(table.rows[row][column].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lesson_can_be_read_and_filled_in() {
        let book = Book::new(&Persona::standard().unwrap()).unwrap();
        let mut r = Random::new(1, 1);
        for skill in &book.skills {
            for _ in 0..50 {
                let e = book.exchange(skill, None, &mut r);
                assert!(
                    e.turns.len().is_multiple_of(2) && e.common.len() * 2 == e.turns.len(),
                    "{}",
                    skill.name
                );
                for t in &e.turns {
                    assert!(!t.is_empty() && !t.contains(['{', '}', '[', ']', '|']), "{}: {t}", skill.name);
                    assert!(!t.contains("  ") && *t == *t.trim(), "{}: {t:?}", skill.name);
                }
                let said = e.turns.last().unwrap();
                assert!(e.accepted.is_empty() || e.accepted.contains(said), "{}: {said:?}", skill.name);
            }
        }
        for language in [Language::English, Language::Chinese] {
            for _ in 0..500 {
                let text = book.passage(language, &mut r);
                assert!(!text.contains(['{', '}', '[', ']', '|']) && !text.contains("  "), "{text:?}");
            }
        }
    }

    #[test]
    fn blanks_stay_around_latin_letters_only() {
        let mut text = "我叫 小雪，你是 pupil，好 的。A b".to_owned();
        tighten(&mut text);
        assert_eq!(text, "我叫小雪，你是 pupil，好的。A b");
    }

    #[test]
    fn keys_forget_case_and_marks() {
        assert_eq!(key("What's  the capital, of France?!"), "whats the capital of france");
        assert_eq!(key("“大”的反义词是什么？"), "大 的反义词是什么");
    }
}
