//! Documents, conversations and labelled texts → sequences to learn from.

use pupil_chat::{END_OF_TEXT, Message, Renderer, Role, ToolCall};
use pupil_data::masked::{Masking, Pairing, Piece};
use pupil_data::record::Call;
use pupil_data::{Chat, Items, Turn};
use pupil_model::bert;
use pupil_tokenizer::{Encoder, Tokenizer, WordPiece};

/// The tokenizer lacks a special token.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub(crate) String);

/// Adds documents, each closed by the end-of-text token, in pieces of at most `context` predictions.
///
/// # Errors
/// If the tokenizer has no end-of-text token.
pub fn add_documents<'a>(
    items: &mut Items,
    tokenizer: &Tokenizer,
    documents: impl Iterator<Item = &'a str>,
    context: usize,
) -> Result<(), Unfit> {
    let missing = || Unfit(format!("the tokenizer has no special token {END_OF_TEXT}"));
    let end = tokenizer.special(END_OF_TEXT).ok_or_else(missing)?;
    let mut encoder = Encoder::new(tokenizer);
    let mut ids = Vec::new();
    for document in documents {
        ids.clear();
        // A document begins where another ended, so the first word is learned too.
        ids.push(end);
        encoder.encode(document, &mut ids);
        ids.push(end);
        items.push_document(&ids, context);
    }
    Ok(())
}

/// The turns of a conversation as messages; roles were checked when it was read.
pub fn messages(chat: &Chat) -> Vec<Message> {
    let role = |r: &str| match r {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => Role::User,
    };
    let call = |c: &Call| ToolCall { id: c.id.clone(), name: c.name.clone(), arguments: c.arguments.clone() };
    let message = |t: &Turn| Message {
        role: role(&t.role),
        content: t.content.clone(),
        tool_calls: t.tool_calls.iter().map(call).collect(),
        tool_call_id: t.tool_call_id.clone(),
        name: t.name.clone(),
    };
    chat.messages.iter().map(message).collect()
}

/// Adds conversations; only what the assistant says is learned, or, if `whole`, everything.
///
/// # Errors
/// If the tokenizer was not made for chats.
pub fn add_chats<'a>(
    items: &mut Items,
    tokenizer: &Tokenizer,
    chats: impl Iterator<Item = &'a Chat>,
    context: usize,
    whole: bool,
) -> Result<(), Unfit> {
    let renderer = Renderer::new(tokenizer).map_err(|e| Unfit(e.to_string()))?;
    for chat in chats {
        let mut r = renderer.render_tools(&chat.tools, &messages(chat), false);
        if whole {
            r.learned.fill(true);
        }
        items.push_chat(&r.ids, &r.learned, context);
    }
    Ok(())
}

/// What BERT is pretrained on, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cloze {
    /// Most tokens of a sequence.
    pub context: usize,
    /// Whether sequences have two parts, of which the second follows the first or does not.
    pub pairs: bool,
    /// Whether all pieces of a word are hidden together.
    pub whole_words: bool,
    /// Of the random numbers that make pairs.
    pub seed: u64,
}

/// Sequences with words to be hidden, from documents, each a list of sentences.
///
/// # Errors
/// If the tokenizer lacks a special token, or the context has no room.
pub fn cloze<'a>(
    tokenizer: &WordPiece,
    documents: impl Iterator<Item = Vec<&'a str>>,
    about: Cloze,
) -> Result<Items, Unfit> {
    let Cloze { context, pairs, whole_words, seed } = about;
    if context < 5 {
        return Err(Unfit(format!("a context of {context} tokens has no room for two parts")));
    }
    let [first, end, mask] = ["[CLS]", "[SEP]", "[MASK]"].map(|name| {
        tokenizer.special(name).ok_or_else(|| Unfit(format!("the tokenizer has no special token {name}")))
    });
    let piece = |id: u32| match tokenizer.piece(id) {
        _ if tokenizer.is_special(id) => Piece::Special,
        Some(p) if p.starts_with(&tokenizer.settings().prefix) => Piece::Continues,
        _ => Piece::Begins,
    };
    let pieces = (0..tokenizer.len() as u32).map(piece).collect();
    let documents: Vec<Vec<Vec<u32>>> =
        documents.map(|d| d.into_iter().map(|s| tokenizer.encode(s)).collect()).collect();
    let pairing = Pairing { first: first?, end: end?, context, pairs, seed };
    Ok(pairing.items(&documents, Masking { share: 0.15, mask: mask?, pieces, whole_words }))
}

/// The sentences of a text: lines, and what ends in a mark of the end.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut begin = 0;
        let mut chars = line.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            let ends = match c {
                '。' | '！' | '？' => true,
                '.' | '!' | '?' | '…' => next.is_none_or(char::is_whitespace),
                _ => next.is_none(),
            };
            if ends {
                let end = i + c.len_utf8();
                all.push(line[begin..end].trim());
                begin = end;
            }
        }
    }
    all.retain(|s| !s.is_empty());
    all
}

/// Texts of which the whole is said to be something: `[CLS] text [SEP]`; long ones lose their middle ([`bert::Config::fit`]) and are counted.
///
/// # Errors
/// If the tokenizer puts nothing before a text.
pub fn labelled<'a>(
    tokenizer: &WordPiece,
    config: &bert::Config,
    texts: impl Iterator<Item = (&'a str, usize)>,
) -> Result<Items, Unfit> {
    if tokenizer.leading() == 0 {
        return Err(Unfit("the tokenizer puts no [CLS] before a text".into()));
    }
    let mut items = Items::default();
    for (text, label) in texts {
        let mut ids = tokenizer.encode(text);
        items.truncated += usize::from(config.fit(&mut ids));
        let ids = tokenizer.around(&ids);
        let (mut targets, mut learned) = (vec![0; ids.len()], vec![false; ids.len()]);
        (targets[0], learned[0]) = (label as u32, true);
        items.push_read(&ids, &targets, &learned, ids.len());
    }
    Ok(items)
}

/// Sentences of which each word is said to be something: the first piece of each is learned. Long sentences become several.
pub fn tagged<'a, S: AsRef<str> + 'a>(
    tokenizer: &WordPiece,
    config: &bert::Config,
    sentences: impl Iterator<Item = (&'a [S], &'a [usize])>,
) -> Items {
    let before = tokenizer.leading();
    let mut items = Items::default();
    for (words, tags) in sentences {
        let pieces: Vec<Vec<u32>> = words.iter().map(|w| tokenizer.encode_word(w.as_ref())).collect();
        for run in config.runs(&pieces) {
            let mut said: Vec<Option<usize>> = Vec::new();
            let mut ids = Vec::new();
            for (pieces, &tag) in pieces[run.clone()].iter().zip(&tags[run]) {
                said.extend(std::iter::once(Some(tag)).chain(pieces.iter().skip(1).map(|_| None)));
                ids.extend_from_slice(pieces);
            }
            said.truncate(config.room());
            ids.truncate(config.room());
            let ids = tokenizer.around(&ids);
            let mut targets = vec![0; ids.len()];
            let mut learned = vec![false; ids.len()];
            for (i, tag) in said.iter().enumerate().filter_map(|(i, t)| t.map(|t| (i + before, t))) {
                (targets[i], learned[i]) = (tag as u32, true);
            }
            items.push_read(&ids, &targets, &learned, ids.len());
        }
    }
    items
}

/// Bytes of text that each id stands for; special tokens stand for none.
pub fn id_bytes(tokenizer: &Tokenizer) -> Vec<u32> {
    let bytes =
        |id: u32| if tokenizer.is_special(id) { 0 } else { tokenizer.bytes(id).map_or(0, <[u8]>::len) };
    (0..tokenizer.len() as u32).map(|id| bytes(id) as u32).collect()
}
