//! What a file holds, one piece at a time: a document, a conversation, or a preference between two replies.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One turn of a conversation: role `system`, `user`, `assistant` or `tool`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub role: String,
    /// What is said; of a tool, what it gave.
    pub content: String,
    /// Tools that the assistant calls behind its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call>,
    /// The call that a tool answers, where calls have names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool that answers, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Turn {
    /// A turn of words.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Turn {
        Turn { role: role.into(), content: content.into(), ..Turn::default() }
    }

    /// Whether it is the assistant's and has something to be learned: words or calls.
    pub fn teaches(&self) -> bool {
        self.role == "assistant" && !(self.content.trim().is_empty() && self.tool_calls.is_empty())
    }
}

/// A call of a tool, in JSON as OpenAI and transformers have it: `{"type": "function", "function": {"name": …, "arguments": {…}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Call {
    /// What results refer to it by.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// What it is given, in the order in which it was written.
    pub arguments: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, rename = "type")]
    kind: Kind,
    function: Function,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Function,
}

#[derive(Serialize, Deserialize)]
struct Function {
    name: String,
    arguments: Map<String, Value>,
}

impl From<Wire> for Call {
    fn from(w: Wire) -> Call {
        Call { id: w.id, name: w.function.name, arguments: w.function.arguments }
    }
}

impl From<Call> for Wire {
    fn from(c: Call) -> Wire {
        let function = Function { name: c.name, arguments: c.arguments };
        Wire { id: c.id, kind: Kind::Function, function }
    }
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The turns in order.
    pub messages: Vec<Turn>,
    /// The tools that the assistant may call, each `{"type": "function", "function": {"name": …, "description": …, "parameters": …}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
}

impl Chat {
    /// A conversation in which no tool is at hand.
    pub fn new(messages: Vec<Turn>) -> Chat {
        Chat { messages, tools: Vec::new() }
    }

    /// A conversation of alternating turns, the person's first.
    pub fn alternating<S: Into<String>>(turns: impl IntoIterator<Item = S>) -> Chat {
        let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
        Chat::new(turns.into_iter().enumerate().map(|(i, t)| Turn::new(role(i), t)).collect())
    }

    /// All of it as plain text, a line for each tool, turn and call: what tokenizers learn from and what decides on which side of the split
    /// a chat lies.
    pub fn plain(&self) -> String {
        let mut text = String::new();
        self.tools.iter().for_each(|t| line(&mut text, &t.to_string()));
        self.messages.iter().for_each(|t| said(&mut text, t));
        text
    }
}

fn line(text: &mut String, add: &str) {
    text.push_str(add);
    text.push('\n');
}

/// A turn as plain text.
fn said(text: &mut String, turn: &Turn) {
    if turn.tool_calls.is_empty() || !turn.content.is_empty() {
        line(text, &turn.content);
    }
    for call in &turn.tool_calls {
        line(text, &json!({"name": call.name, "arguments": call.arguments}).to_string());
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
                let mut text = String::new();
                p.prompt.iter().for_each(|t| said(&mut text, t));
                [&p.chosen, &p.rejected].into_iter().for_each(|t| line(&mut text, t));
                text.into()
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
            Record::Chat(chat) => json!(chat),
            Record::Preference(p) => json!({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}),
        }
    }
}
