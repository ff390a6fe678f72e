//! A tokenizer of any kind, as everybody outside this room uses it.

use crate::added::{Added, AddedToken, Specials};
use crate::memory::Memory;
use crate::template::{Encoding, Template, Token};
use crate::{Bpe, SentencePiece, WordLevel, WordPiece};

/// A tokenizer: text to ids and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Byte-level BPE: GPT-2, Llama 3, Qwen.
    Bpe(Bpe),
    /// BPE over characters with byte fallback: Llama 2, Mistral, Gemma.
    SentencePiece(SentencePiece),
    /// The longest pieces of words: BERT.
    WordPiece(WordPiece),
    /// Whole words: Keras.
    WordLevel(WordLevel),
}

/// An id that a tokenizer does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("id {id}: the vocabulary has {len} ids")]
pub struct UnknownId {
    /// The id.
    pub id: u32,
    /// Number of ids.
    pub len: usize,
}

/// No added tokens.
static NONE: std::sync::LazyLock<Added> = std::sync::LazyLock::new(Added::default);

impl Tokenizer {
    /// What it is, in two words.
    pub fn kind(&self) -> &'static str {
        match self {
            Tokenizer::Bpe(_) => "byte-level BPE",
            Tokenizer::SentencePiece(_) => "SentencePiece BPE",
            Tokenizer::WordPiece(_) => "WordPiece",
            Tokenizer::WordLevel(_) => "word level",
        }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Tokenizer::Bpe(t) => t.len(),
            Tokenizer::SentencePiece(t) => t.len(),
            Tokenizer::WordPiece(t) => t.len(),
            Tokenizer::WordLevel(t) => t.len(),
        }
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> &Added {
        match self {
            Tokenizer::Bpe(t) => &t.added,
            Tokenizer::SentencePiece(t) => &t.added,
            Tokenizer::WordPiece(t) => &t.added,
            Tokenizer::WordLevel(_) => &NONE,
        }
    }

    fn template(&self) -> Option<&Template> {
        match self {
            Tokenizer::Bpe(t) => t.template.as_ref(),
            Tokenizer::SentencePiece(t) => t.template.as_ref(),
            Tokenizer::WordPiece(t) => t.template.as_ref(),
            Tokenizer::WordLevel(_) => None,
        }
    }

    /// Special tokens, and words that were added whole.
    pub fn added(&self) -> &[AddedToken] {
        self.table().tokens()
    }

    /// Special tokens.
    pub fn specials(&self) -> impl Iterator<Item = &AddedToken> {
        self.added().iter().filter(|t| t.special)
    }

    /// The id of a special token.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.table().named(name).filter(|t| t.special).map(|t| t.id)
    }

    /// Whether an id is special.
    pub fn is_special(&self, id: u32) -> bool {
        self.table().is_special(id)
    }

    /// The bytes of an id's text, without the blanks that decoding puts between words; of a special token those of its name. `None` if
    /// there is no such id.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        match self {
            Tokenizer::Bpe(t) => t.bytes(id),
            Tokenizer::SentencePiece(t) => t.bytes(id),
            Tokenizer::WordPiece(t) => {
                let piece = t.piece(id)?;
                Some(piece.strip_prefix(&t.settings().prefix).unwrap_or(piece).as_bytes())
            }
            Tokenizer::WordLevel(t) => {
                let padding = (id == 0).then_some("");
                t.word(id).or(padding).map(str::as_bytes)
            }
        }
    }

    /// The ids of a text; never a special one, whatever the text says, but for what stands for unknown words.
    ///
    /// ```
    /// let tokenizer = pupil_tokenizer::train(["low lower lowest"; 4], 260, &["<|endoftext|>"]);
    /// let ids = tokenizer.encode("lowest <|endoftext|>");
    /// assert!(ids.iter().all(|&id| !tokenizer.is_special(id)));
    /// assert_eq!(tokenizer.decode(&ids), "lowest <|endoftext|>");
    /// ```
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        Encoder::new(self).encode(text, &mut ids);
        ids
    }

    /// The ids of a text in which special tokens count as what they are: for text that a program wrote.
    pub fn encode_marked(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        Encoder::new(self).append(text, Specials::Tokens, &mut ids);
        ids
    }

    /// The ids of a text with the bytes of it that each stands for, on borders of characters.
    pub fn encode_with_places(&self, text: &str, specials: Specials) -> Vec<Token> {
        match self {
            Tokenizer::Bpe(t) => t.tokens(text, specials),
            Tokenizer::SentencePiece(t) => t.tokens(text, specials),
            Tokenizer::WordPiece(t) => t.tokens(text, specials),
            Tokenizer::WordLevel(t) => t.tokens(text),
        }
    }

    /// A text, or two, with the special tokens around them that the model expects: BERT's `[CLS] a [SEP] b [SEP]`, Llama's `<s> a`.
    pub fn encode_pair(&self, first: &str, second: Option<&str>) -> Encoding {
        let first = self.encode_with_places(first, Specials::Text);
        let second = second.map(|s| self.encode_with_places(s, Specials::Text));
        Template::around(self.template(), &first, second.as_deref(), self.table())
    }

    /// The ids of many texts, on several threads.
    pub fn encode_all(&self, texts: &[&str], threads: usize) -> Vec<Vec<u32>> {
        let mut all = vec![Vec::new(); texts.len()];
        // Small batches, taken in turn, because texts differ in length.
        let batches = std::sync::Mutex::new(texts.chunks(BATCH).zip(all.chunks_mut(BATCH)));
        let work = || {
            let mut encoder = Encoder::new(self);
            loop {
                let next = batches.lock().unwrap_or_else(|e| e.into_inner()).next();
                let Some((texts, all)) = next else { return };
                texts.iter().zip(all).for_each(|(t, ids)| encoder.encode(t, ids));
            }
        };
        std::thread::scope(|scope| {
            // This thread is one of them; where the system gives fewer, fewer do.
            for _ in 1..threads.min(texts.len().div_ceil(BATCH)) {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        all
    }

    /// The text of some ids: special and unknown ones give nothing, bytes that are not UTF-8 the replacement character.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = Decoder::new(self);
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// The bytes of some ids, which need not be UTF-8; special tokens say their names or nothing.
    ///
    /// # Errors
    /// Names an id that the vocabulary does not have.
    pub fn decode_bytes(&self, ids: &[u32], specials: Specials) -> Result<Vec<u8>, UnknownId> {
        if let Some(&id) = ids.iter().find(|id| **id as usize >= self.len()) {
            return Err(UnknownId { id, len: self.len() });
        }
        let mut said = Vec::new();
        let mut first = true;
        for &id in ids.iter().filter(|id| specials == Specials::Tokens || !self.is_special(**id)) {
            self.say(id, first, &mut said);
            first = first && !self.says(id);
        }
        Ok(said)
    }

    /// Whether an id counts as a first word.
    fn says(&self, id: u32) -> bool {
        self.bytes(id).is_some_and(|b| !b.is_empty())
    }

    fn say(&self, id: u32, first: bool, out: &mut Vec<u8>) {
        match self {
            Tokenizer::Bpe(t) => out.extend_from_slice(t.bytes(id).unwrap_or_default()),
            Tokenizer::SentencePiece(t) => t.say(id, first, out),
            Tokenizer::WordPiece(t) => t.say(id, first, out),
            Tokenizer::WordLevel(t) => t.say(id, first, out),
        }
    }
}

impl From<Bpe> for Tokenizer {
    fn from(t: Bpe) -> Tokenizer {
        Tokenizer::Bpe(t)
    }
}

impl From<SentencePiece> for Tokenizer {
    fn from(t: SentencePiece) -> Tokenizer {
        Tokenizer::SentencePiece(t)
    }
}

impl From<WordPiece> for Tokenizer {
    fn from(t: WordPiece) -> Tokenizer {
        Tokenizer::WordPiece(t)
    }
}

impl From<WordLevel> for Tokenizer {
    fn from(t: WordLevel) -> Tokenizer {
        Tokenizer::WordLevel(t)
    }
}

/// Texts that a thread takes at a time.
const BATCH: usize = 32;

/// Encodes many texts with one tokenizer, remembering words.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    memory: Memory,
}

impl<'a> Encoder<'a> {
    /// An encoder that remembers nothing yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder { tokenizer, memory: Memory::default() }
    }

    /// Appends the ids of a text.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        self.append(text, Specials::Text, ids);
    }

    fn append(&mut self, text: &str, specials: Specials, ids: &mut Vec<u32>) {
        match self.tokenizer {
            Tokenizer::Bpe(t) => t.encode_with(text, specials, &mut self.memory, ids),
            Tokenizer::SentencePiece(t) => t.encode_with(text, specials, &mut self.memory, ids),
            Tokenizer::WordPiece(t) => t.encode_with(text, specials, &mut self.memory, ids),
            Tokenizer::WordLevel(t) => ids.extend(t.encode(text)),
        }
    }
}

/// Decodes ids as they come: an incomplete character is held back until its last byte is there.
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
    /// Whether nothing was said yet.
    first: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder that holds nothing.
    pub fn new(tokenizer: &'a Tokenizer) -> Decoder<'a> {
        Decoder { tokenizer, held: Vec::new(), first: true }
    }

    /// The text that this id completes; special and unknown ids give nothing.
    pub fn push(&mut self, id: u32) -> String {
        if !self.tokenizer.is_special(id) {
            self.tokenizer.say(id, self.first, &mut self.held);
            self.first = self.first && !self.tokenizer.says(id);
        }
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(s) => {
                    text.push_str(s);
                    self.held.clear();
                    return text;
                }
                Err(e) => {
                    let (good, bad) = (e.valid_up_to(), e.error_len());
                    text.push_str(&String::from_utf8_lossy(&self.held[..good]));
                    self.held.drain(..good);
                    let Some(bad) = bad else { return text };
                    text.push('\u{fffd}');
                    self.held.drain(..bad);
                }
            }
        }
    }

    /// What is still held, as replacement characters.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}
