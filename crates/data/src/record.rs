//! What a file holds, one piece at a time: a document, a conversation, or a preference between two replies.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One turn of a conversation: role `system`, `user`, `assistant` or `tool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The turns in order.
    pub messages: Vec<Turn>,
}

impl Chat {
    /// A conversation of alternating turns, the person's first.
    pub fn alternating<S: Into<String>>(turns: impl IntoIterator<Item = S>) -> Chat {
        let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
        let turns = turns.into_iter().enumerate();
        Chat { messages: turns.map(|(i, t)| Turn { role: role(i).into(), content: t.into() }).collect() }
    }

    /// What is said, a line for each turn: what tokenizers learn from and what decides on which side of the split a chat lies.
    pub fn plain(&self) -> String {
        self.messages.iter().flat_map(|t| [t.content.as_str(), "\n"]).collect()
    }
}

/// Two replies to one conversation, of which a person liked the first better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// The conversation so far.
    pub prompt: Vec<Turn>,
    /// The better reply.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// A piece of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A text.
    Document(String),
    /// A conversation.
    Chat(Chat),
    /// A preference.
    Preference(Preference),
}

impl Record {
    /// The text in it, which identity, split and near duplicates are decided by.
    pub fn plain(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Record::Document(text) => text.into(),
            Record::Chat(chat) => chat.plain().into(),
            Record::Preference(p) => {
                let said = p.prompt.iter().map(|t| t.content.as_str());
                let all = said.chain([p.chosen.as_str(), p.rejected.as_str()]);
                all.flat_map(|t| [t, "\n"]).collect::<String>().into()
            }
        }
    }

    /// The texts in it, to be changed in place.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Record::Document(text) => vec![text],
            Record::Chat(chat) => chat.messages.iter_mut().map(|t| &mut t.content).collect(),
            Record::Preference(p) => {
                let said = p.prompt.iter_mut().map(|t| &mut t.content);
                said.chain([&mut p.chosen, &mut p.rejected]).collect()
            }
        }
    }

    /// The record as the JSON object that pupil writes and reads.
    pub fn to_json(&self) -> Value {
        match self {
            Record::Document(text) => json!({"text": text}),
            Record::Chat(chat) => json!({"messages": chat.messages}),
            Record::Preference(p) => json!({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}),
        }
    }
}
