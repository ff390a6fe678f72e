//! Documents and conversations → sequences to learn from.

use pupil_chat::{END_OF_TEXT, Message, Renderer, Role, ToolCall};
use pupil_data::record::Call;
use pupil_data::{Chat, Items, Turn};
use pupil_tokenizer::{Encoder, Tokenizer};

/// The tokenizer lacks a special token.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

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

/// Bytes of text that each id stands for; special tokens stand for none.
pub fn id_bytes(tokenizer: &Tokenizer) -> Vec<u32> {
    let bytes =
        |id: u32| if tokenizer.is_special(id) { 0 } else { tokenizer.bytes(id).map_or(0, <[u8]>::len) };
    (0..tokenizer.len() as u32).map(|id| bytes(id) as u32).collect()
}
