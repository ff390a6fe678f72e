//! Tools in ChatML, in the words of Qwen 2.5 and 3's templates, on which models that call tools in this form were trained.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Message;
use crate::template::python_json;

/// A call of a tool; as JSON what transformers gives to templates: `{"type": "function", "function": {"name": …, "arguments": {…}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct ToolCall {
    /// What results refer to it by, for templates that ask for it.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// What it is given, in the order in which it is written.
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

impl From<Wire> for ToolCall {
    fn from(w: Wire) -> ToolCall {
        ToolCall { id: w.id, name: w.function.name, arguments: w.function.arguments }
    }
}

impl From<ToolCall> for Wire {
    fn from(c: ToolCall) -> Wire {
        let function = Function { name: c.name, arguments: c.arguments };
        Wire { id: c.id, kind: Kind::Function, function }
    }
}

/// Before a result.
pub(crate) const RESULT: &str = "<tool_response>\n";
/// Behind it.
pub(crate) const RESULT_END: &str = "\n</tool_response>";

/// What the system says of the tools.
pub(crate) fn preamble(tools: &[Value]) -> String {
    let mut text = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with \
                    function signatures within <tools></tools> XML tags:\n<tools>"
        .to_owned();
    for tool in tools {
        text.push('\n');
        text.push_str(&python_json(tool));
    }
    text.push_str(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within \
         <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
    );
    text
}

/// The calls of a message, as they stand behind its words.
pub(crate) fn calls(m: &Message) -> String {
    let mut text = String::new();
    for (i, call) in m.tool_calls.iter().enumerate() {
        if i > 0 || !m.content.is_empty() {
            text.push('\n');
        }
        let arguments = python_json(&call.arguments);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<tool_call>\n{{\"name\": \"{}\", \"arguments\": {arguments}}}\n</tool_call>",
            call.name
        );
    }
    text
}
