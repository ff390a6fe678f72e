//! Chat templates of other models: Jinja, as `tokenizer_config.json` keeps it, rendered as transformers does.
//!
//! A template is a program by somebody else, so it runs with bounded fuel and can reach nothing. What people said is put in after
//! rendering: the template sees marks in its place, so a message can neither become a special token nor change the structure.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use pupil_tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::Value as Json;

use crate::{Message, Rendered, Role};

/// Instructions that a template may take: a thousand times what the longest known one needs.
const FUEL: u64 = 5_000_000;

/// A template with the special tokens that it is given.
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// A template that is wrong or refuses a conversation.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is no Jinja, or its program fails.
    #[error("chat template: {0}")]
    Jinja(#[from] Error),
    /// It changes what is said beyond cutting blanks off its ends, so that it cannot be told from the structure.
    #[error("chat template: message {0} does not come out once as it went in")]
    Changed(usize),
    /// It writes a message with calls of tools differently when others follow.
    #[error("chat template: the calls of tools in message {0} cannot be told from what stands around them")]
    Calls(usize),
    /// A tool or its arguments have the text of a special token in them, which the template would make that token.
    #[error("chat template: a tool or a call of one holds the text of the special token {0}")]
    Special(String),
}

const NAME: &str = "chat";

impl Template {
    /// A template from its source. `bos` and `eos` are the texts of the tokens that begin and end a document.
    ///
    /// # Errors
    /// If the source is no Jinja.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, TemplateError> {
        let mut e = Environment::new();
        e.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        e.set_fuel(Some(FUEL));
        e.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        e.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        e.add_filter("tojson", tojson);
        // Marks of what the assistant generates: transformers' own, no Jinja. A block that does nothing keeps their blanks' trimming.
        let mut source = source.to_owned();
        for (begin, end) in [("{% ", " %}"), ("{%- ", " %}"), ("{% ", " -%}"), ("{%- ", " -%}")] {
            for mark in ["generation", "endgeneration"] {
                source = source
                    .replace(&format!("{begin}{mark}{end}"), &format!("{begin}set generated = mark{end}"));
            }
        }
        e.add_template_owned(NAME, source)?;
        Ok(Template { environment: e, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The conversation as text, and if `reply` the beginning of the assistant's next message: transformers'
    /// `apply_chat_template(messages, tokenize=False, add_generation_prompt=reply)`.
    ///
    /// # Errors
    /// If the template fails or refuses the conversation.
    pub fn render(&self, messages: &[Message], reply: bool) -> Result<String, TemplateError> {
        self.render_tools(&[], messages, reply)
    }

    /// The same with `tools=tools`, each `{"type": "function", "function": {…}}`.
    ///
    /// # Errors
    /// If the template fails or refuses the conversation.
    pub fn render_tools(
        &self,
        tools: &[Json],
        messages: &[Message],
        reply: bool,
    ) -> Result<String, TemplateError> {
        let messages = Value::from(Serde(messages));
        let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
        let template = self.environment.get_template(NAME)?;
        Ok(template.render(context! {
            messages, add_generation_prompt => reply, bos_token => &self.bos, eos_token => &self.eos,
            tools, documents => Value::from(()),
        })?)
    }

    /// The conversation as ids; learned are the assistant's words and calls, and the special token that ends each of its messages.
    ///
    /// # Errors
    /// If the template fails, or changes what is said.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        reply: bool,
    ) -> Result<Rendered, TemplateError> {
        self.encode_tools(tokenizer, &[], messages, reply)
    }

    /// The same with tools.
    ///
    /// # Errors
    /// If the template fails, changes what is said, or would make special tokens of what a tool or a call says.
    pub fn encode_tools(
        &self,
        tokenizer: &Tokenizer,
        tools: &[Json],
        messages: &[Message],
        reply: bool,
    ) -> Result<Rendered, TemplateError> {
        self.encode_spoken(tokenizer, tools, messages, &[], reply)
    }

    /// The same where of some messages the very ids of their words are known: see [`crate::Renderer::render_spoken`].
    ///
    /// # Errors
    /// As [`Template::encode_tools`].
    pub fn encode_spoken(
        &self,
        tokenizer: &Tokenizer,
        tools: &[Json],
        messages: &[Message],
        spoken: &[Option<Vec<u32>>],
        reply: bool,
    ) -> Result<Rendered, TemplateError> {
        // Templates write tools and calls as JSON or otherwise, so marks cannot stand for what is in them.
        let said =
            serde_json::to_string(&(tools, messages.iter().map(|m| &m.tool_calls).collect::<Vec<_>>()))
                .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
        if let Some(token) = tokenizer.specials().find(|t| said.contains(&t.content)) {
            return Err(TemplateError::Special(token.content.clone()));
        }
        let marks = |(i, m): (usize, &Message)| {
            // Templates ask whether there are words beside a call.
            let silent = m.content.is_empty() && !m.tool_calls.is_empty();
            Message { content: if silent { String::new() } else { mark(i) }, ..m.clone() }
        };
        let marked: Vec<Message> = messages.iter().enumerate().map(marks).collect();
        let text = self.render_tools(tools, &marked, reply)?;
        // A message with calls is learned from the end of its opening to the special token that ends it.
        let mut calls = Vec::new();
        for i in (0..messages.len()).filter(|i| !messages[*i].tool_calls.is_empty()) {
            let before = self.render_tools(tools, &marked[..i], true)?;
            let whole = self.render_tools(tools, &marked[..=i], false)?;
            if !whole.starts_with(&before) || !text.starts_with(&whole) {
                return Err(TemplateError::Calls(i));
            }
            let behind = &whole[before.len()..];
            let names = tokenizer.specials().map(|t| &t.content);
            let end = names.filter_map(|name| Some(behind.rfind(name.as_str())? + name.len())).max();
            calls.push(before.len()..before.len() + end.unwrap_or(behind.len()));
        }
        let mut out = Rendered::default();
        let (mut at, mut learns_end) = (0, false);
        for (i, m) in messages.iter().enumerate().filter(|(i, _)| !marked[*i].content.is_empty()) {
            let mark = mark(i);
            let found = text[at..].split_once(&mark).filter(|(_, after)| !after.contains(&mark));
            let before = found.ok_or(TemplateError::Changed(i))?.0.len();
            pieces(tokenizer, &text, at..at + before, &calls, learns_end, &mut out);
            match spoken.get(i).and_then(Option::as_deref) {
                Some(ids) => out.ids.extend_from_slice(ids),
                None => out.ids.extend(tokenizer.encode(m.content.trim())),
            }
            let learned = m.role == Role::Assistant;
            out.learned.resize(out.ids.len(), learned);
            learns_end = learned && m.tool_calls.is_empty();
            at += before + mark.len();
        }
        pieces(tokenizer, &text, at..text.len(), &calls, learns_end, &mut out);
        Ok(out)
    }
}

/// Encodes a part of what the template wrote, cut where calls begin and end; all of a call is learned.
fn pieces(
    tokenizer: &Tokenizer,
    text: &str,
    part: Range<usize>,
    calls: &[Range<usize>],
    mut learns_end: bool,
    out: &mut Rendered,
) {
    let mut at = part.start;
    while at < part.end {
        let call = calls.iter().find(|c| c.contains(&at));
        let next = call.map(|c| c.end).or_else(|| calls.iter().map(|c| c.start).find(|s| *s > at));
        let end = next.unwrap_or(part.end).min(part.end);
        let begin = out.learned.len();
        structure(tokenizer, &text[at..end], learns_end, out);
        if call.is_some() {
            out.learned[begin..].fill(true);
        }
        learns_end = false;
        at = end;
    }
}

/// A text that stands for message `i`: characters of the private use area, which no template changes or looks for.
fn mark(i: usize) -> String {
    format!("\u{f0000}{i}\u{f0001}")
}

/// Encodes what the template wrote: names of special tokens are those tokens. The first of them is learned if `learns_end`.
fn structure(tokenizer: &Tokenizer, mut text: &str, mut learns_end: bool, out: &mut Rendered) {
    while !text.is_empty() {
        let found =
            tokenizer.specials().filter_map(|t| text.find(&t.content).map(|at| (at, &t.content, t.id)));
        let next = found.min_by_key(|(at, name, _)| (*at, std::cmp::Reverse(name.len())));
        let Some((at, name, id)) = next else {
            out.ids.extend(tokenizer.encode(text));
            break;
        };
        // What stands between the words and the token that ends them has to be said too.
        out.ids.extend(tokenizer.encode(&text[..at]));
        out.learned.resize(out.ids.len(), learns_end);
        out.ids.push(id);
        out.learned.push(learns_end);
        learns_end = false;
        text = &text[at + name.len()..];
    }
    out.learned.resize(out.ids.len(), false);
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let wrong = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    match indent {
        Some(n) => {
            let blanks = vec![b' '; n];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&blanks);
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
                .map_err(wrong)?;
        }
        None => {
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Python)).map_err(wrong)?
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it.
pub(crate) fn python_json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    // Values of JSON can be written, and memory does not fail.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Python));
    String::from_utf8_lossy(&out).into_owned()
}

/// JSON with the blanks that Python puts after commas and colons.
struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{JINJA, Renderer, SPECIALS, ToolCall};

    #[derive(Deserialize)]
    struct Case {
        name: String,
        template: String,
        bos: String,
        eos: String,
        messages: Vec<Message>,
        #[serde(default)]
        tools: Vec<Json>,
        reply: bool,
        expected: Option<String>,
    }

    #[test]
    fn templates_render_as_in_transformers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/templates.json");
        let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() >= 24);
        for c in cases {
            let template = Template::new(&c.template, &c.bos, &c.eos).unwrap();
            let made = template.render_tools(&c.tools, &c.messages, c.reply);
            assert_eq!(made.ok(), c.expected, "{} {:?}", c.name, c.messages);
        }
    }

    #[test]
    fn pupils_own_form_is_the_same_by_template_and_by_renderer() {
        let t = pupil_tokenizer::train(["system user assistant hello there"; 3], 300, &SPECIALS);
        let template = Template::new(JINJA, "", "").unwrap();
        let chat = [
            Message::new(Role::System, "be kind"),
            Message::new(Role::User, "hi <|im_end|> {{ bos_token }}"),
            Message::new(Role::Assistant, "hello"),
        ];
        for reply in [false, true] {
            assert_eq!(
                template.encode(&t, &chat, reply).unwrap(),
                Renderer::new(&t).unwrap().render(&chat, reply)
            );
        }
    }

    #[test]
    fn calls_are_the_same_by_template_and_by_renderer() {
        let t = pupil_tokenizer::train(["system user assistant hello there, tool call"; 3], 300, &SPECIALS);
        let template = Template::new(JINJA, "", "").unwrap();
        let tools = [serde_json::json!({"type": "function", "function": {"name": "find", "parameters": {}}})];
        let call = |what: &str| ToolCall {
            id: None,
            name: "find".into(),
            arguments: serde_json::json!({"what": what, "n": [1, 2]}).as_object().unwrap().clone(),
        };
        let chat = |what: &str| {
            let calls = |content: &str, n: usize| Message {
                tool_calls: vec![call(what); n],
                ..Message::new(Role::Assistant, content)
            };
            vec![
                Message::new(Role::System, "be kind"),
                Message::new(Role::User, "hi"),
                calls("", 2),
                Message::new(Role::Tool, "here <|im_end|>"),
                Message::new(Role::Tool, "there"),
                calls("hello", 1),
                Message::new(Role::Tool, "nowhere"),
                Message::new(Role::Assistant, "there"),
            ]
        };
        for tools in [&tools[..], &[]] {
            for reply in [false, true] {
                assert_eq!(
                    template.encode_tools(&t, tools, &chat("a \"b\""), reply).unwrap(),
                    Renderer::new(&t).unwrap().render_tools(tools, &chat("a \"b\""), reply)
                );
            }
        }
        let e = template.encode_tools(&t, &tools, &chat("<|im_end|>"), false).unwrap_err();
        assert!(matches!(e, TemplateError::Special(_)), "{e}");
    }

    #[test]
    fn templates_that_are_wrong_or_never_end_are_refused() {
        assert!(Template::new("{% for %}", "", "").is_err());
        let hungry = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(Template::new(hungry, "", "").unwrap().render(&[], false).is_err());
        let t = pupil_tokenizer::train(["x"], 260, &SPECIALS);
        let chat = [Message::new(Role::User, "hi")];
        for changing in ["{{ messages[0].content }}{{ messages[0].content }}", "nothing"] {
            let e = Template::new(changing, "", "").unwrap().encode(&t, &chat, false).unwrap_err();
            assert!(e.to_string().contains("message 0"), "{e}");
        }
    }
}
