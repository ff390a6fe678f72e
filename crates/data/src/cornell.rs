//! The Cornell Movie-Dialogs Corpus in its original form: `movie_lines.txt` and `movie_conversations.txt`, from a folder or the zip.
//!
//! Fields are separated by ` +++$+++ `, bytes are Windows-1252 (Danescu-Niculescu-Mizil and Lee 2011).

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::record::Chat;
use crate::source::{self, Error};

/// What stands between fields.
const SEPARATOR: &str = " +++$+++ ";

/// The corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cornell {
    /// What is said, by the id of the line.
    pub lines: FxHashMap<String, String>,
    /// Ids of the lines of each conversation, in order.
    pub conversations: Vec<Vec<String>>,
    /// Lines of the files that are not of their form: file, line, what is wrong.
    pub broken: Vec<String>,
    /// `movie_lines.txt` as it is.
    raw_lines: String,
}

/// The text of Windows-1252 bytes: every byte has a character.
fn decode(bytes: &[u8]) -> String {
    encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()
}

impl Cornell {
    /// Reads the corpus from a folder, a zip, or a folder of compressed files.
    ///
    /// # Errors
    /// If a file cannot be read or one of the two is not there.
    pub fn read(path: &Path) -> Result<Cornell, Error> {
        let (files, _) = source::files(&[path.to_owned()])?;
        let (mut lines, mut conversations) = (None, None);
        for file in &files {
            source::open(file, &|_| {}, &mut |_| {}, &mut |name, bytes| {
                let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
                let slot = match base {
                    "movie_lines.txt" => &mut lines,
                    "movie_conversations.txt" => &mut conversations,
                    _ => return Ok(()),
                };
                let mut all = Vec::new();
                bytes.read_to_end(&mut all)?;
                *slot = Some(decode(&all));
                Ok(())
            })
            .map_err(|source| Error::Io { path: file.path.clone(), source })?;
        }
        let missing = |name: &str| Error::Content {
            path: path.to_owned(),
            what: format!(
                "holds no {name}; expected the folder or the zip of the Cornell Movie-Dialogs Corpus"
            ),
        };
        let lines = lines.ok_or_else(|| missing("movie_lines.txt"))?;
        let conversations = conversations.ok_or_else(|| missing("movie_conversations.txt"))?;
        Ok(Cornell::parse(lines, &conversations))
    }

    /// Parses the contents of the two files.
    pub fn parse(lines: String, conversations: &str) -> Cornell {
        let mut corpus = Cornell::default();
        for (n, line) in lines.split('\n').enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let fields: Vec<&str> = line.splitn(5, SEPARATOR).collect();
            match fields[..] {
                [id, _, _, _, text] => {
                    corpus.lines.insert(id.trim().to_owned(), text.trim_end_matches('\r').to_owned());
                }
                // A line in which nothing is said may have lost the blank after its last separator.
                [id, _, _, last] if last.trim_end().ends_with("+++$+++") => {
                    corpus.lines.insert(id.trim().to_owned(), String::new());
                }
                _ => corpus.broken.push(format!("movie_lines.txt:{}: {} of 5 fields", n + 1, fields.len())),
            }
        }
        for (n, line) in conversations.split('\n').enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let list = line.rsplit(SEPARATOR).next().unwrap_or_default().trim();
            let inside = list.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
            let ids: Vec<String> = inside
                .unwrap_or_default()
                .split(',')
                .map(|i| i.trim().trim_matches(['\'', '"']).to_owned())
                .filter(|i| !i.is_empty())
                .collect();
            let unknown = ids.iter().find(|i| !corpus.lines.contains_key(*i));
            match unknown {
                Some(id) => {
                    corpus.broken.push(format!("movie_conversations.txt:{}: line {id} does not exist", n + 1))
                }
                None if ids.is_empty() => {
                    corpus.broken.push(format!("movie_conversations.txt:{}: no list of lines", n + 1));
                }
                None => corpus.conversations.push(ids),
            }
        }
        corpus.raw_lines = lines;
        corpus
    }

    /// The conversations, the first speaker as the person and the second as the assistant.
    pub fn chats(&self) -> impl Iterator<Item = Chat> + '_ {
        let text = |id: &String| self.lines.get(id).map_or("", |t| t.trim()).to_owned();
        self.conversations.iter().map(move |c| Chat::alternating(c.iter().map(text)))
    }

    /// Each line with the one that answers it.
    pub fn pairs(&self) -> impl Iterator<Item = [String; 2]> + '_ {
        let text = |id: &String| self.lines.get(id).map_or("", |t| t.trim()).to_owned();
        let pairs = self.conversations.iter().flat_map(|c| c.windows(2));
        pairs.map(move |p| [text(&p[0]), text(&p[1])]).filter(|p| p.iter().all(|t| !t.is_empty()))
    }

    /// The article's pairs, naive on purpose: the file split at line ends, its fields and all; lines 0 and 1, 2 and 3, … paired, so that most
    /// pairs are no question and answer; [`article_clean`]ed.
    pub fn article_pairs(&self) -> Vec<[String; 2]> {
        article_pairs(&self.raw_lines)
    }
}

/// The article's pairs of any text.
pub fn article_pairs(text: &str) -> Vec<[String; 2]> {
    let lines: Vec<&str> = text.split('\n').collect();
    lines.chunks_exact(2).map(|p| [article_clean(p[0]), article_clean(p[1])]).collect()
}

/// The article's cleaning: what is no ASCII letter, digit or blank is removed (apostrophes, accents, all Chinese), then runs of blanks
/// become one. Python's `re.sub(r"[^a-zA-Z0-9\s]", "", s)` and `re.sub(r"\s+", " ", s)`.
pub fn article_clean(line: &str) -> String {
    // Python's \s has the four separators U+001C to U+001F that Rust's white space lacks.
    let blank = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if blank(c) {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if c.is_ascii_alphanumeric() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Cornell {
        let lines = b"L2 +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++ Caf\xe9 \x96 or tea?\nL1 +++$+++ u1 +++$+++ m0 +++$+++ BO +++$+++ Don't know...\r\nL3 +++$+++ u0 +++$+++ m0 +++$+++ ANN +++$+++\nbroken\n";
        let conversations =
            "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L2', 'L1']\nu0 +++$+++ u1 +++$+++ m0 +++$+++ ['L9']\n";
        Cornell::parse(decode(lines), conversations)
    }

    #[test]
    fn lines_are_joined_by_their_ids_with_their_exact_text() {
        let c = sample();
        assert_eq!(c.chats().collect::<Vec<_>>(), [Chat::alternating(["Café – or tea?", "Don't know..."])]);
        assert_eq!(c.pairs().count(), 1);
        assert_eq!(c.lines["L3"], "");
        assert_eq!(
            c.broken,
            ["movie_lines.txt:4: 1 of 5 fields", "movie_conversations.txt:2: line L9 does not exist"]
        );
    }

    #[test]
    fn the_articles_pairs_are_adjacent_lines_of_the_file() {
        let pairs = sample().article_pairs();
        assert_eq!(pairs[0], ["L2 u0 m0 ANN Caf or tea".to_owned(), "L1 u1 m0 BO Dont know ".to_owned()]);
        assert_eq!(pairs.len(), 2);
        assert_eq!(article_clean("It's 5  o'clock\t你好\u{a0}!"), "Its 5 oclock ");
    }
}
