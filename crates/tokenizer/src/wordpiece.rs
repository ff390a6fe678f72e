//! WordPiece: a word is cut into the longest pieces that the vocabulary has, from the left; BERT's tokenizer.
//!
//! Pieces that continue a word begin with `##` in the vocabulary. A word that cannot be cut, or that is too long, is the unknown token.
//! Schuster and Nakajima 2012; Devlin et al. 2018. Equals `WordPiece` of Hugging Face's tokenizers behind `BertNormalizer` and
//! `BertPreTokenizer`; checked by `tools/check_wordpiece.py`.

mod train;

use rustc_hash::FxHashMap;

use crate::added::{Added, AddedToken, Part, Specials};
use crate::memory::Memory;
use crate::normal::{Aligned, BertNormalizer, is_punctuation};
use crate::template::{Encoding, Template, Token};

pub use train::{SPECIALS, Training};

/// Words of more characters than a file may allow: the work for a text is at most its length times this.
pub(crate) const LONGEST_WORD: usize = 1000;

/// What a WordPiece tokenizer is made of, beside its vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is done to text first.
    pub normalizer: BertNormalizer,
    /// What stands for a word that cannot be cut.
    pub unknown: String,
    /// How a piece that continues a word begins.
    pub prefix: String,
    /// Words of more characters are unknown; 1000 at most.
    pub longest_word: usize,
    /// Whether decoding leaves out the blanks before punctuation.
    pub cleanup: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            normalizer: BertNormalizer::default(),
            unknown: "[UNK]".to_owned(),
            prefix: "##".to_owned(),
            longest_word: 100,
            cleanup: true,
        }
    }
}

/// A vocabulary of pieces with its added tokens.
#[derive(Clone, Debug)]
pub struct WordPiece {
    pub(crate) settings: Settings,
    /// The piece of each id of the vocabulary proper.
    pub(crate) pieces: Vec<String>,
    pub(crate) added: Added,
    pub(crate) template: Option<Template>,
    unknown: u32,
    trie: Trie,
    /// Where pieces that continue a word begin in the trie; none if there are none.
    continued: Option<u32>,
}

impl PartialEq for WordPiece {
    fn eq(&self, other: &WordPiece) -> bool {
        (&self.settings, &self.pieces, &self.added, &self.template)
            == (&other.settings, &other.pieces, &other.added, &other.template)
    }
}

impl Eq for WordPiece {}

impl WordPiece {
    /// Puts a tokenizer together from its pieces by id, its added tokens (of the vocabulary or with the ids after it), and what is put
    /// around texts.
    ///
    /// # Errors
    /// Says which piece is there twice, which name has no id, or what is out of range.
    pub fn new(
        settings: Settings,
        pieces: Vec<String>,
        added: Vec<AddedToken>,
        template: Option<Template>,
    ) -> Result<WordPiece, String> {
        if settings.longest_word > LONGEST_WORD {
            return Err(format!("words of {} characters: {LONGEST_WORD} at most", settings.longest_word));
        }
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        for (id, piece) in (0..).zip(&pieces) {
            if let Some(other) = ids.insert(piece, id) {
                return Err(format!("ids {other} and {id} are both {piece:?}"));
            }
        }
        let unknown = *ids
            .get(settings.unknown.as_str())
            .ok_or_else(|| format!("the unknown token {:?} is not in the vocabulary", settings.unknown))?;
        let normalise = |text: &str| normalised(&settings.normalizer, text).0;
        let added = Added::new(added, pieces.len(), |id, name| pieces[id as usize] == name, normalise)?;
        if let Some(name) = template.iter().flat_map(Template::specials).find(|s| added.named(s).is_none()) {
            return Err(format!("{name:?} is put around texts and is no added token"));
        }
        let mut trie = Trie::default();
        // Text never gives a special token, not even as a word of the vocabulary.
        let ordinary = (0..).zip(&pieces).filter(|(id, _)| !added.is_special(*id));
        ordinary.for_each(|(id, piece)| trie.insert(piece, id));
        let continued = trie.find(&settings.prefix);
        Ok(WordPiece { settings, pieces, added, template, unknown, trie, continued })
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.added.len()
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The piece of an id as in the vocabulary, `##` included; `None` if there is no such id.
    pub fn piece(&self, id: u32) -> Option<&str> {
        let ordinary = || self.pieces.get(id as usize);
        self.added.get(id).map(|t| &t.content).or_else(ordinary).map(String::as_str)
    }

    /// How text is treated.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Special and added tokens.
    pub fn added(&self) -> &[AddedToken] {
        self.added.tokens()
    }

    /// The id of a special token, `"[MASK]"` for one.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.added.named(name).filter(|t| t.special).map(|t| t.id)
    }

    /// Whether an id is special.
    pub fn is_special(&self, id: u32) -> bool {
        self.added.is_special(id)
    }

    /// The id of words that cannot be cut.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The ids of a text, without special tokens around it; of special ones text gives only the unknown token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_with(text, Specials::Text, &mut Memory::default(), &mut ids);
        ids
    }

    /// A text, or two, with the special tokens of the model around them: BERT's `[CLS] a [SEP] b [SEP]`.
    pub fn encode_pair(&self, first: &str, second: Option<&str>) -> Encoding {
        let first = self.tokens(first, Specials::Text);
        let second = second.map(|s| self.tokens(s, Specials::Text));
        Template::around(self.template.as_ref(), &first, second.as_deref(), &self.added)
    }

    /// Appends the ids of a text.
    pub(crate) fn encode_with(
        &self,
        text: &str,
        specials: Specials,
        memory: &mut Memory,
        ids: &mut Vec<u32>,
    ) {
        if self.added.seeks_normal(specials) {
            return ids.extend(self.tokens(text, specials).into_iter().map(|t| t.0));
        }
        let (mut chars, mut made) = (Vec::new(), Vec::new());
        for part in self.added.plain(text, specials) {
            match part {
                Part::Token(id, _) => ids.push(id),
                Part::Text(range) => {
                    for chunk in chunks(&text[range]).map(str::trim_ascii_end) {
                        memory.word(chunk.as_bytes(), ids, |ids| {
                            made.clear();
                            self.chunk(chunk, 0, &mut chars, &mut made);
                            ids.extend(made.iter().map(|t: &Token| t.0));
                        });
                    }
                }
            }
        }
    }

    /// The ids of a text with the special tokens of the model around them: `[CLS] … [SEP]`.
    pub fn around(&self, ids: &[u32]) -> Vec<u32> {
        let tokens: Vec<Token> = ids.iter().map(|&id| (id, 0..0)).collect();
        Template::around(self.template.as_ref(), &tokens, None, &self.added).ids
    }

    /// How many special tokens the model has before a text: BERT one.
    pub fn leading(&self) -> usize {
        let parts = self.template.iter().flat_map(|t| &t.single);
        parts.take_while(|p| matches!(p, crate::template::Part::Special(..))).count()
    }

    /// The ids of one word of a text that was cut into words already, one at least: a word of nothing is unknown.
    pub fn encode_word(&self, word: &str) -> Vec<u32> {
        let ids = self.encode(word);
        if ids.is_empty() { vec![self.unknown] } else { ids }
    }

    /// Ids with the bytes of the text that they stand for.
    pub(crate) fn tokens(&self, text: &str, specials: Specials) -> Vec<Token> {
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        for part in self.added.plain(text, specials) {
            match part {
                Part::Token(id, range) => out.push((id, range)),
                Part::Text(range) if self.added.seeks_normal(specials) => {
                    self.normal_parts(&text[range.clone()], range.start, specials, &mut out);
                }
                Part::Text(range) => {
                    let mut at = range.start;
                    for chunk in chunks(&text[range]) {
                        self.chunk(chunk, at, &mut scratch, &mut out);
                        at += chunk.len();
                    }
                }
            }
        }
        out
    }

    /// The same where added tokens are to be found in normalised text.
    fn normal_parts(&self, text: &str, at: usize, specials: Specials, out: &mut Vec<Token>) {
        let (normal, chars) = normalised(&self.settings.normalizer, text);
        // Of each byte of the normalised text its character.
        let mut places = Vec::with_capacity(normal.len() + 1);
        (0..).zip(&chars).for_each(|(i, a)| places.extend(std::iter::repeat_n(i, a.c.len_utf8())));
        places.push(chars.len());
        for part in self.added.normal(&normal, specials) {
            match part {
                Part::Text(r) => {
                    let mut chars = chars[places[r.start]..places[r.end]].to_vec();
                    chars.iter_mut().for_each(|a| (a.begin, a.end) = (a.begin + at, a.end + at));
                    self.words(&chars, out);
                }
                Part::Token(id, r) => {
                    let (first, last) = (chars[places[r.start]], chars[places[r.end] - 1]);
                    out.push((id, first.begin + at..last.end + at));
                }
            }
        }
    }

    /// A piece of text that begins at byte `at` and that no word crosses the end of.
    fn chunk(&self, text: &str, at: usize, chars: &mut Vec<Aligned>, out: &mut Vec<Token>) {
        chars.clear();
        self.settings.normalizer.append(text, at, chars);
        self.words(chars, out);
    }

    /// Cuts normalised text into words and those into pieces.
    fn words(&self, chars: &[Aligned], out: &mut Vec<Token>) {
        words(chars).for_each(|word| self.word(word, out));
    }

    fn word(&self, word: &[Aligned], out: &mut Vec<Token>) {
        let (Some(first), Some(last)) = (word.first(), word.last()) else { return };
        let before = out.len();
        let mut begin = 0;
        while begin < word.len() && word.len() <= self.settings.longest_word {
            let root = if begin == 0 { Some(Trie::ROOT) } else { self.continued };
            let Some((id, n)) = root.and_then(|r| self.trie.longest(r, &word[begin..])) else { break };
            out.push((id, word[begin].begin..word[begin + n - 1].end));
            begin += n;
        }
        if begin < word.len() {
            out.truncate(before);
            out.push((self.unknown, first.begin..last.end));
        }
    }

    /// The text of some ids: words with blanks between them, special tokens left out. Case, accents and blanks that encoding took do not
    /// come back.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = Vec::new();
        let said = ids.iter().filter(|id| !self.is_special(**id));
        said.enumerate().for_each(|(i, &id)| self.say(id, i == 0, &mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Appends what an id says, if it is the first or after others.
    pub(crate) fn say(&self, id: u32, first: bool, out: &mut Vec<u8>) {
        let Some(piece) = self.added.said(id).or_else(|| self.piece(id)) else { return };
        let said = match piece.strip_prefix(&self.settings.prefix) {
            _ if first => piece.to_owned(),
            Some(rest) => rest.to_owned(),
            None => format!(" {piece}"),
        };
        out.extend_from_slice(if self.settings.cleanup { cleaned(&said) } else { said }.as_bytes());
    }
}

/// Pieces of text that are normalised and cut each alone: no character of a word depends on what stands beyond a blank.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '\n', '\t', '\r'])
}

/// The words between the blanks of normalised text, each punctuation mark a word.
fn words(chars: &[Aligned]) -> impl Iterator<Item = &[Aligned]> {
    let between = chars.split(|a| a.c.is_whitespace());
    between.flat_map(|s| s.chunk_by(|a, b| !is_punctuation(a.c) && !is_punctuation(b.c)))
}

/// A normalised text, and its characters with their places.
fn normalised(normalizer: &BertNormalizer, text: &str) -> (String, Vec<Aligned>) {
    let mut chars = Vec::new();
    normalizer.append(text, 0, &mut chars);
    (chars.iter().map(|a| a.c).collect(), chars)
}

/// What decoding does to each piece, as Hugging Face's tokenizers do.
fn cleaned(said: &str) -> String {
    const CHANGES: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    CHANGES.iter().fold(said.to_owned(), |s, (from, to)| s.replace(from, to))
}

/// All pieces, letter by letter.
#[derive(Clone, Debug, Default)]
struct Trie {
    /// Which node a letter leads to.
    steps: FxHashMap<(u32, char), u32>,
    /// The id of the piece that ends at a node.
    ends: FxHashMap<u32, u32>,
}

impl Trie {
    const ROOT: u32 = 0;

    fn insert(&mut self, piece: &str, id: u32) {
        let mut node = Trie::ROOT;
        for c in piece.chars() {
            let next = self.steps.len() as u32 + 1;
            node = *self.steps.entry((node, c)).or_insert(next);
        }
        self.ends.insert(node, id);
    }

    fn find(&self, piece: &str) -> Option<u32> {
        piece.chars().try_fold(Trie::ROOT, |node, c| self.steps.get(&(node, c)).copied())
    }

    /// The longest piece from a node on: its id and its number of letters, at least one.
    fn longest(&self, mut node: u32, word: &[Aligned]) -> Option<(u32, usize)> {
        let mut best = None;
        for (n, a) in (1..).zip(word) {
            let Some(&next) = self.steps.get(&(node, a.c)) else { break };
            node = next;
            best = self.ends.get(&node).map(|id| (*id, n)).or(best);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [&str; 21] = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "able", "the", "cat", ".",
        "你", "好", "##s", "want", "'", "s", "a", "##a", "!",
    ];

    pub(crate) fn sample(settings: Settings, more: Vec<AddedToken>) -> WordPiece {
        let pieces: Vec<String> = PIECES.map(str::to_owned).to_vec();
        let specials = (0..5).map(|id| AddedToken::special(PIECES[id as usize], id));
        WordPiece::new(
            settings,
            pieces,
            specials.chain(more).collect(),
            Some(Template::bert("[CLS]", "[SEP]")),
        )
        .unwrap()
    }

    fn check(t: &WordPiece, text: &str, expected: &str) {
        let pieces: Vec<&str> = t.encode(text).iter().map(|&id| t.piece(id).unwrap()).collect();
        assert_eq!(pieces.join(" "), expected, "{text:?}");
    }

    #[test]
    fn words_are_cut_into_the_longest_pieces() {
        let t = sample(Settings::default(), vec![]);
        check(&t, "Unaffable  the\tcats.", "un ##aff ##able the cat ##s .");
        check(&t, "你好the", "你 好 the");
        check(&t, "unknown the", "[UNK] the");
        check(&t, "thé cat's", "the cat ' s");
        check(&t, "[CLS] the", "[UNK] [UNK] [UNK] the");
        check(&t, "", "");
        check(&t, " \u{200b}\u{301} ", "");
        check(&t, &"a".repeat(100), &format!("a{}", " ##a".repeat(99)));
        check(&t, &"a".repeat(101), "[UNK]");
        assert_eq!(t.encode(&"a".repeat(1 << 20)), [1]);
        assert_eq!(t.encode(&"!".repeat(1 << 20)).len(), 1 << 20);
    }

    #[test]
    fn pairs_have_their_segments_and_places() {
        let t = sample(Settings::default(), vec![]);
        let e = t.encode_pair("The Cats", Some("àble."));
        assert_eq!(e.ids, [2, 9, 10, 14, 3, 8, 11, 3]);
        assert_eq!(e.types, [0, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(e.offsets, [0..0, 0..3, 4..7, 7..8, 0..0, 0..5, 5..6, 0..0]);
        assert_eq!(t.encode_pair("the", None).ids, [2, 9, 3]);
    }

    #[test]
    fn text_comes_back_as_words() {
        let t = sample(Settings::default(), vec![]);
        let said = t.encode_pair("Unaffable cats. the cat!", None);
        assert_eq!(t.decode(&said.ids), "unaffable cats. the cat!");
        assert_eq!(t.decode(&[14, 14, 99]), "##ss");
        assert_eq!(t.encode(&t.decode(&said.ids)), said.ids[1..said.ids.len() - 1]);
        let plain = sample(Settings { cleanup: false, ..Settings::default() }, vec![]);
        assert_eq!(plain.decode(&[9, 11]), "the .");
    }

    #[test]
    fn added_words_are_found_in_normalised_text() {
        let normal = AddedToken { special: false, normalized: true, ..AddedToken::special("Émile", 21) };
        let plain = AddedToken { normalized: false, content: "X".into(), id: 22, ..normal.clone() };
        let t = sample(Settings::default(), vec![normal, plain]);
        check(&t, "the EMILE catXx", "the Émile cat X [UNK]");
        assert_eq!(t.tokens("the ÉMILEs", Specials::Text), [(9, 0..3), (21, 4..10), (17, 10..11)]);
        assert_eq!(t.tokens("[MASK]the", Specials::Tokens), [(4, 0..6), (9, 6..9)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let new = |pieces: &[&str], added| {
            let pieces = pieces.iter().map(|p| (*p).to_owned()).collect();
            WordPiece::new(Settings::default(), pieces, added, Some(Template::bert("[CLS]", "[CLS]")))
                .unwrap_err()
        };
        assert!(new(&["a"], vec![]).contains("[UNK]"));
        assert!(new(&["a", "a"], vec![]).contains("both"));
        assert!(new(&["[UNK]"], vec![]).contains("[CLS]"));
        assert!(new(&["[UNK]"], vec![AddedToken::special("[CLS]", 2)]).contains("2 tokens"));
    }
}
