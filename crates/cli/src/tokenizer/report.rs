//! `pupil tokenizer report`: how many bytes of text a token holds, by script and language, of several tokenizers side by side.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use pupil_data::clean;
use pupil_report::{number, size};
use pupil_tensor::kernels::pool;
use pupil_tokenizer::{Specials, Tokenizer};
use serde_json::json;

use super::{read, texts};

#[derive(clap::Args)]
pub(crate) struct Report {
    /// tokenizer.json files, or directories with one, to hold against each other.
    #[arg(long, required = true, num_args = 1..)]
    tokenizer: Vec<PathBuf>,
    /// Files, folders or archives to measure on.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// A text to show cut into each tokenizer's tokens; by default the beginning of the data.
    #[arg(long)]
    text: Option<String>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Letters of a text that is shown in its tokens.
const SHOWN: usize = 400;

/// Languages with a row of their own.
const LANGUAGES: usize = 20;

/// Letters of a text that tell its language.
const TELLING: usize = 2000;

/// A part of the texts, and how the tokenizers do on it.
struct Row {
    name: String,
    bytes: usize,
    /// Ids of each tokenizer.
    ids: Vec<usize>,
}

impl Row {
    fn per_token(&self) -> impl Iterator<Item = f64> {
        self.ids.iter().map(|ids| self.bytes as f64 / (*ids).max(1) as f64)
    }
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let named = |path: &PathBuf| Ok((name(path), read(path)?));
        let tokenizers: Vec<(String, Tokenizer)> =
            self.tokenizer.iter().map(named).collect::<anyhow::Result<_>>()?;
        let texts = texts(&self.paths)?;
        let all: Vec<&str> = texts.iter().map(String::as_str).collect();
        // Every text is encoded once by each.
        let ids: Vec<Vec<usize>> = tokenizers
            .iter()
            .map(|(_, t)| t.encode_all(&all, pool::threads()).iter().map(Vec::len).collect())
            .collect();
        let rows = |key: &dyn Fn(&str) -> String| {
            let mut rows: BTreeMap<String, Row> = BTreeMap::new();
            for (i, text) in all.iter().enumerate() {
                let name = key(text);
                let none = Row { name: name.clone(), bytes: 0, ids: vec![0; ids.len()] };
                let row = rows.entry(name).or_insert(none);
                row.bytes += text.len();
                row.ids.iter_mut().zip(&ids).for_each(|(sum, ids)| *sum += ids[i]);
            }
            let mut rows: Vec<Row> = rows.into_values().collect();
            rows.sort_by_key(|r| std::cmp::Reverse(r.bytes));
            rows
        };
        let (scripts, languages, whole) = (rows(&script), rows(&language), rows(&|_| "all".to_owned()));
        if self.json {
            let table = |rows: &[Row]| -> Vec<_> {
                let row = |r: &Row| json!({"name": r.name, "bytes": r.bytes, "tokens": r.ids, "bytes_per_token": r.per_token().collect::<Vec<_>>()});
                rows.iter().map(row).collect()
            };
            let of =
                |(name, t): &(String, Tokenizer)| json!({"name": name, "kind": t.kind(), "ids": t.len()});
            let tokenizers: Vec<_> = tokenizers.iter().map(of).collect();
            let whole = json!({"tokenizers": tokenizers, "all": table(&whole), "scripts": table(&scripts), "languages": table(&languages)});
            println!("{whole}");
            return Ok(());
        }
        for (name, t) in &tokenizers {
            println!("{name}: {}, {} ids", t.kind(), number(t.len() as u64));
        }
        for (what, rows) in [("script", &scripts), ("language", &languages)] {
            println!("\nbytes per token, by the {what} that a text is mostly in; * is the best");
            print!("{what:<22}{:>10}", "text");
            tokenizers.iter().for_each(|(name, _)| print!("  {name:>16}"));
            println!();
            rows.iter().take(LANGUAGES).chain(&whole).for_each(show);
            if rows.len() > LANGUAGES {
                println!("and {} more", rows.len() - LANGUAGES);
            }
        }
        let shown: String = match &self.text {
            Some(t) => t.clone(),
            None => texts.first().map_or(String::new(), |t| t.chars().take(SHOWN).collect()),
        };
        for (name, t) in &tokenizers {
            println!("\n{name}, {} tokens", number(t.encode(&shown).len() as u64));
            println!("{}", segmented(t, &shown));
        }
        Ok(())
    }
}

/// A tokenizer's name in a table: its file's, or the directory's if all files have the same.
fn name(path: &std::path::Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(|p| p.file_name()).map(|f| f.to_string_lossy());
    let name = if stem == "tokenizer" { folder.unwrap_or(stem) } else { stem };
    name.chars().take(16).collect()
}

fn show(row: &Row) {
    print!("{:<22}{:>10}", row.name, size(row.bytes as u64));
    let best = row.per_token().fold(0.0, f64::max);
    for p in row.per_token() {
        // A star is worth nothing where there is nobody to beat.
        let star = if row.ids.len() > 1 && p == best { "*" } else { " " };
        print!("  {:>16}", format!("{p:.2}{star}"));
    }
    println!();
}

fn script(text: &str) -> String {
    let counts = clean::scripts(text);
    counts.iter().max_by_key(|c| c.1).map_or("none", |c| c.0.full_name()).to_owned()
}

/// The language of a text's beginning, where that can be told.
fn language(text: &str) -> String {
    let beginning: String = text.chars().take(TELLING).collect();
    match whatlang::detect(&beginning) {
        Some(found) if found.is_reliable() => found.lang().eng_name().to_owned(),
        _ => format!("{}, not told", script(text)),
    }
}

/// A text with its tokens in changing colours, or with a bar after each where there are no colours.
fn segmented(tokenizer: &Tokenizer, text: &str) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    coloured(tokenizer, text, colour)
}

/// What no token stands for (blanks that a tokenizer drops) is shown plain. A character of several tokens is shown with its first.
fn coloured(tokenizer: &Tokenizer, text: &str, colour: bool) -> String {
    let mut out = String::new();
    let mut done = 0;
    for (i, (_, place)) in tokenizer.encode_with_places(text, Specials::Text).into_iter().enumerate() {
        let begin = place.start.max(done);
        out.push_str(&text[done..begin]);
        let piece = &text[begin..place.end.max(begin)];
        done = place.end.max(begin);
        if colour {
            // A line's end in colour would colour the rest of the line.
            let on = format!("\x1b[30;{}m", [102, 103, 105, 106, 101, 104][i % 6]);
            out.push_str(&format!("{on}{}\x1b[0m", piece.replace('\n', &format!("\x1b[0m\n{on}"))));
        } else {
            out.push_str(piece);
            out.push('|');
        }
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart_and_the_text_is_whole() {
        let t = pupil_tokenizer::train(["low lower lowest"; 4], 262, &[]);
        let plain = coloured(&t, "low é", false);
        assert_eq!(plain.replace('|', ""), "low é");
        // The letter with an accent is two bytes, which are two tokens, shown once.
        assert!(plain.ends_with("é||"), "{plain}");
        let colours = coloured(&t, "low\nlow", true);
        assert!(colours.contains("\x1b[0m\n\x1b[30;"), "{colours:?}");
        assert_eq!(
            (
                language(
                    "The dog and the cat were sleeping in the old house by the river, and nobody knew why."
                ),
                script("你好")
            ),
            ("English".to_owned(), "Han".to_owned())
        );
    }

    #[test]
    fn tables_name_files_and_directories() {
        let names =
            ["a/gpt2/tokenizer.json", "mine.json", "runs/small"].map(|p| name(std::path::Path::new(p)));
        assert_eq!(names, ["gpt2", "mine", "small"]);
    }
}
