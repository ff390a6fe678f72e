//! SentencePiece-style BPE with byte fallback: characters are merged, a blank is `▁`, and a character that has no token is its bytes.
//!
//! The tokenizers of Llama 2, Mistral and Gemma. Kudo and Richardson 2018. Equals `BPE` of Hugging Face's tokenizers behind their
//! `Prepend` and `Replace` or `Metaspace`; checked by `tools/check_sentencepiece.py`.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::added::{Added, AddedToken, Part, Specials};
use crate::memory::Memory;
use crate::merge::{Merges, Pair};
use crate::normal::{Aligned, Places};
use crate::template::{Template, Token};

/// What stands for a blank in the vocabulary.
pub(crate) const BLANK: char = '▁';

/// When a blank is put before a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// Never (Gemma).
    Never,
    /// Before every text, also one that begins with a blank, and also after an added token (Llama 2).
    #[default]
    Every,
    /// Before every text that does not begin with one.
    Missing,
    /// Before the first text only, if it does not begin with one (newer Mistral).
    First,
}

/// How ids become text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// Byte tokens are bytes, and one blank at the beginning of all is left out (Llama 2, Mistral).
    #[default]
    Stripped,
    /// Byte tokens are bytes, and every blank stays (Gemma).
    Whole,
    /// All blanks of the first token are left out, unless none is ever put there; byte tokens stay as they are named.
    Metaspace,
}

/// What a SentencePiece-style tokenizer does beside merging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When a blank is put before a text.
    pub prefix: Prefix,
    /// Whether blanks come from a pre-tokenizer (`Metaspace`) and not from a normalizer: then added tokens are looked for in text with
    /// blanks as they are.
    pub metaspace: bool,
    /// Whether merges never cross the beginning of a word; only with `metaspace`.
    pub split: bool,
    /// Whether a character without a token becomes its bytes.
    pub byte_fallback: bool,
    /// What stands for a character without a token where that is not so.
    pub unknown: Option<String>,
    /// Whether several such characters become one token.
    pub fuse_unknown: bool,
    /// A text (with `split`: a word) that is a token is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// How ids become text.
    pub spelling: Spelling,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            prefix: Prefix::Every,
            metaspace: false,
            split: false,
            byte_fallback: true,
            unknown: Some("<unk>".to_owned()),
            fuse_unknown: true,
            ignore_merges: false,
            spelling: Spelling::Stripped,
        }
    }
}

/// A vocabulary of pieces of text with its merges and added tokens.
#[derive(Clone, Debug)]
pub struct SentencePiece {
    pub(crate) settings: Settings,
    /// The piece of each id of the vocabulary proper, with `▁` for a blank.
    pub(crate) pieces: Vec<String>,
    merges: Merges,
    pub(crate) added: Added,
    pub(crate) template: Option<Template>,
    /// What each id says, added tokens included.
    said: Vec<Vec<u8>>,
    letters: FxHashMap<char, u32>,
    /// The token of each byte, if there is byte fallback.
    bytes: Vec<u32>,
    unknown: Option<u32>,
    /// Number of characters of each piece.
    widths: Vec<u32>,
    /// Whole pieces, if merges can be ignored.
    whole: FxHashMap<String, u32>,
    /// Characters that a merge joins with a blank after them: elsewhere a text can be cut before its blanks without changing anything.
    joined: FxHashSet<char>,
}

impl PartialEq for SentencePiece {
    fn eq(&self, other: &SentencePiece) -> bool {
        (&self.settings, &self.pieces, &self.merges, &self.added, &self.template)
            == (&other.settings, &other.pieces, &other.merges, &other.added, &other.template)
    }
}

impl Eq for SentencePiece {}

impl SentencePiece {
    /// Puts a tokenizer together from its pieces by id, its merges in order of rank, its added tokens (of the vocabulary or with the ids
    /// after it), and what is put around texts.
    ///
    /// # Errors
    /// Says which piece is missing or there twice, which merge has no result or is there twice, or which id cannot be.
    pub fn new(
        settings: Settings,
        pieces: Vec<String>,
        merges: Vec<(u32, u32)>,
        added: Vec<AddedToken>,
        template: Option<Template>,
    ) -> Result<SentencePiece, String> {
        let blanks = match settings.prefix {
            Prefix::Never => true,
            Prefix::Every => !settings.metaspace,
            Prefix::Missing | Prefix::First => settings.metaspace,
        };
        if !blanks || (settings.split && !settings.metaspace) {
            return Err(format!(
                "no file says this of blanks: {:?}",
                (settings.prefix, settings.metaspace, settings.split)
            ));
        }
        let normalise = |text: &str| match settings.metaspace {
            true => text.to_owned(),
            false => spelled(text, settings.prefix == Prefix::Every).iter().map(|a| a.c).collect(),
        };
        let added = Added::new(added, pieces.len(), |id, name| pieces[id as usize] == name, normalise)?;
        if let Some(name) = template.iter().flat_map(Template::specials).find(|s| added.named(s).is_none()) {
            return Err(format!("{name:?} is put around texts and is no added token"));
        }
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        for (id, piece) in (0..).zip(&pieces) {
            if let Some(other) = ids.insert(piece, id) {
                return Err(format!("ids {other} and {id} are both {piece:?}"));
            }
        }
        let named = |name: &String| {
            let id = ids.get(name.as_str()).copied();
            id.ok_or_else(|| format!("the unknown token {name:?} is not in the vocabulary"))
        };
        let unknown = settings.unknown.as_ref().map(named).transpose()?;
        let mut bytes = Vec::new();
        if settings.byte_fallback {
            let id = |b: u8| {
                let name = format!("<0x{b:02X}>");
                ids.get(name.as_str()).copied().ok_or_else(|| format!("byte token {name} is missing"))
            };
            bytes = (0..=255).map(id).collect::<Result<_, _>>()?;
        } else if unknown.is_none() {
            return Err(
                "characters without a token are lost: neither byte_fallback nor an unknown token".to_owned()
            );
        }
        // Text gives neither special tokens nor, by their names, those of bytes and of what is unknown.
        let special = |id: u32| added.is_special(id) || unknown == Some(id);
        let mut apart: Vec<bool> = (0..pieces.len() as u32).map(special).collect();
        bytes.iter().for_each(|&id: &u32| apart[id as usize] = true);
        let result = |a: u32, b: u32| {
            let part = |id: u32| pieces.get(id as usize).ok_or_else(|| format!("id {id} does not exist"));
            let whole = part(a)?.clone() + part(b)?;
            let id = ids.get(whole.as_str()).copied();
            let id = id.ok_or_else(|| format!("its result {whole:?} is no token"))?;
            Ok((!apart[a as usize] && !apart[b as usize] && !apart[id as usize]).then_some(id))
        };
        let merges = Merges::new(merges, result)?;
        let ordinary = || (0..).zip(&pieces).filter(|(id, p)| !apart[*id as usize] && !p.is_empty());
        let letter = |(id, p): (u32, &String)| {
            let mut chars = p.chars();
            chars.next().filter(|_| chars.next().is_none()).map(|c| (c, id))
        };
        let letters: FxHashMap<char, u32> = ordinary().filter_map(letter).collect();
        let last = |(a, b): Pair| {
            let begins = pieces[b as usize].starts_with(BLANK);
            pieces[a as usize].chars().next_back().filter(|_| begins)
        };
        let joined = merges.applied().filter_map(last).collect();
        let whole = if settings.ignore_merges {
            ordinary().map(|(id, p)| (p.clone(), id)).collect()
        } else {
            FxHashMap::default()
        };
        let metaspace = settings.spelling == Spelling::Metaspace;
        let says = |id: u32| -> Vec<u8> {
            let ordinary = || pieces.get(id as usize).map_or("", String::as_str);
            let name = added.said(id).unwrap_or_else(ordinary);
            match byte(name) {
                Some(b) if !metaspace => vec![b],
                _ => name.replace(BLANK, " ").into_bytes(),
            }
        };
        let said = (0..added.len() as u32).map(says).collect();
        let widths = pieces.iter().map(|p| p.chars().count() as u32).collect();
        let made = SentencePiece {
            settings,
            merges,
            added,
            template,
            said,
            letters,
            bytes,
            unknown,
            widths,
            whole,
            joined,
            pieces,
        };
        Ok(made)
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.added.len()
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the text of an id; `None` if there is no such id.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.said.get(id as usize).map(Vec::as_slice)
    }

    /// Merges in order of rank.
    pub fn merges(&self) -> &[Pair] {
        self.merges.list()
    }

    /// How text is treated.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Appends what an id says, if it is the first that says anything or after others.
    pub(crate) fn say(&self, id: u32, first: bool, out: &mut Vec<u8>) {
        let said = self.bytes(id).unwrap_or_default();
        match self.settings.spelling {
            Spelling::Stripped if first => out.extend_from_slice(said.strip_prefix(b" ").unwrap_or(said)),
            Spelling::Metaspace if first && self.settings.prefix != Prefix::Never => {
                // Only blanks that stand for `▁` go, not those of an added token.
                let piece = || self.pieces.get(id as usize).map_or("", String::as_str);
                let name = self.added.said(id).unwrap_or_else(piece);
                out.extend_from_slice(name.replace(BLANK, "").as_bytes());
            }
            _ => out.extend_from_slice(said),
        }
    }

    /// Appends the ids of a text.
    pub(crate) fn encode_with(
        &self,
        text: &str,
        specials: Specials,
        memory: &mut Memory,
        ids: &mut Vec<u32>,
    ) {
        let seeks = self.added.seeks_normal(specials);
        if seeks {
            return ids.extend(self.tokens(text, specials).into_iter().map(|t| t.0));
        }
        let mut scratch = Vec::new();
        for part in self.added.plain(text, specials) {
            let range = match part {
                Part::Text(range) => range,
                Part::Token(id, _) => {
                    ids.push(id);
                    continue;
                }
            };
            let prefix = self.prefixed(&text[range.clone()], range.start == 0);
            if let Some(id) = self.whole(&text[range.clone()], prefix) {
                ids.push(id);
                continue;
            }
            for (i, word) in self.words(&text[range]).enumerate() {
                let prefix = prefix && i == 0;
                // A blank that is put there makes the word that a blank would make.
                let spaced;
                let name = if prefix {
                    spaced = format!(" {word}");
                    &spaced
                } else {
                    word
                };
                memory.word(name.as_bytes(), ids, |ids| {
                    scratch.clear();
                    self.word(&spelled(word, prefix), &mut scratch);
                    ids.extend(scratch.iter().map(|t: &Token| t.0));
                });
            }
        }
    }

    /// The ids of a text with the bytes that they stand for, whole characters each.
    pub(crate) fn tokens(&self, text: &str, specials: Specials) -> Vec<Token> {
        let mut out = Vec::new();
        for part in self.added.plain(text, specials) {
            match part {
                Part::Token(id, range) => out.push((id, range)),
                Part::Text(range) if self.settings.metaspace => {
                    // The normal form is the text itself.
                    let at = range.start;
                    for part in self.added.normal(&text[range], specials) {
                        match part {
                            Part::Token(id, r) => out.push((id, r.start + at..r.end + at)),
                            Part::Text(r) => self.text(text, r.start + at..r.end + at, &mut out),
                        }
                    }
                }
                Part::Text(range) if self.added.seeks_normal(specials) => {
                    let mut chars = spelled(&text[range.clone()], self.prefixed(&text[range.clone()], false));
                    chars
                        .iter_mut()
                        .for_each(|a| (a.begin, a.end) = (a.begin + range.start, a.end + range.start));
                    let normal: String = chars.iter().map(|a| a.c).collect();
                    let places = Places::new(&chars);
                    let starts: Vec<usize> = normal.char_indices().map(|(i, _)| i).collect();
                    let index = |byte: usize| starts.partition_point(|s| *s < byte);
                    for part in self.added.normal(&normal, specials) {
                        match part {
                            Part::Token(id, r) => out.push((id, places.range(r))),
                            Part::Text(r) => self.word(&chars[index(r.start)..index(r.end)], &mut out),
                        }
                    }
                }
                Part::Text(range) => self.text(text, range, &mut out),
            }
        }
        out
    }

    /// The tokens of a part of a text between added ones.
    fn text(&self, text: &str, range: std::ops::Range<usize>, out: &mut Vec<Token>) {
        let part = &text[range.clone()];
        let prefix = self.prefixed(part, range.start == 0);
        if let Some(id) = self.whole(part, prefix) {
            return out.push((id, range));
        }
        let mut at = range.start;
        for (i, word) in self.words(part).enumerate() {
            let mut chars = spelled(word, prefix && i == 0);
            chars.iter_mut().for_each(|a| (a.begin, a.end) = (a.begin + at, a.end + at));
            self.word(&chars, out);
            at += word.len();
        }
    }

    /// Whether a blank is put before a text.
    fn prefixed(&self, text: &str, first: bool) -> bool {
        let missing = !text.starts_with([' ', BLANK]);
        match self.settings.prefix {
            Prefix::Never => false,
            Prefix::Every => true,
            Prefix::Missing => missing,
            Prefix::First => missing && first,
        }
    }

    /// The token that is the whole text, where that counts.
    fn whole(&self, text: &str, prefix: bool) -> Option<u32> {
        if self.whole.is_empty() || self.settings.split {
            return None;
        }
        let name: String = spelled(text, prefix).iter().map(|a| a.c).collect();
        self.whole.get(&name).copied()
    }

    /// A text cut before blanks, everywhere or where no merge joins them with what is before.
    fn words<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        // Without a token for the blank its bytes may be merged with others.
        let never = !self.settings.split && !self.letters.contains_key(&BLANK);
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let mut before = None;
            let end = rest.char_indices().find_map(|(i, c)| {
                let c = if c == ' ' { BLANK } else { c };
                let last = before.replace(c)?;
                (c == BLANK && !never && (self.settings.split || !self.joined.contains(&last))).then_some(i)
            });
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            Some(word)
        })
    }

    /// The tokens of characters that nothing was found in: merges between those that have tokens.
    fn word(&self, chars: &[Aligned], out: &mut Vec<Token>) {
        if self.settings.split && !self.whole.is_empty() {
            let name: String = chars.iter().map(|a| a.c).collect();
            if let (Some(&id), Some(first), Some(last)) = (self.whole.get(&name), chars.first(), chars.last())
            {
                return out.push((id, first.begin..last.end));
            }
        }
        let mut ids = Vec::new();
        for run in chars.chunk_by(|a, b| self.letters.contains_key(&a.c) == self.letters.contains_key(&b.c)) {
            if !self.letters.contains_key(&run[0].c) {
                self.strange(run, out);
                continue;
            }
            ids.clear();
            ids.extend(run.iter().filter_map(|a| self.letters.get(&a.c)));
            self.merges.apply(&mut ids, 0);
            let mut at = 0;
            for &id in &ids {
                let end = at + self.widths[id as usize] as usize;
                out.push((id, run[at].begin..run[end - 1].end));
                at = end;
            }
        }
    }

    /// The tokens of characters that have none of their own.
    fn strange(&self, run: &[Aligned], out: &mut Vec<Token>) {
        if self.settings.byte_fallback {
            for a in run {
                let mut bytes = [0; 4];
                let bytes = a.c.encode_utf8(&mut bytes).bytes();
                out.extend(bytes.map(|b| (self.bytes[b as usize], a.begin..a.end)));
            }
        } else if let Some(unknown) = self.unknown {
            let each = if self.settings.fuse_unknown { run.len() } else { 1 };
            out.extend(run.chunks(each).map(|r| (unknown, r[0].begin..r[r.len() - 1].end)));
        }
    }
}

/// The characters of a text with blanks as the vocabulary has them, and one before it if there is a prefix, which has the place of the
/// first character.
fn spelled(text: &str, prefix: bool) -> Vec<Aligned> {
    let blank = |c: char| if c == ' ' { BLANK } else { c };
    let one = |(begin, c): (usize, char)| Aligned { c: blank(c), begin, end: begin + c.len_utf8() };
    let mut all = text.char_indices().map(one).peekable();
    let before = all.peek().filter(|_| prefix).map(|a| Aligned { c: BLANK, ..*a });
    before.into_iter().chain(all).collect()
}

/// The byte that a byte token stands for.
fn byte(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}
