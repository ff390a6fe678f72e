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

/// Bytes of a source: the longest known ones have a fifth of it.
const MOST_SOURCE: usize = 128 << 10;

/// Signs of one expression or statement, texts not counted.
const MOST_SIGNS: usize = 8192;

/// Bytes of the stack that a template is compiled and run on; only what is used of it becomes memory.
const STACK: usize = 64 << 20;

/// Bytes of a text that a method may make.
const MOST_TEXT: usize = 16 << 20;

/// Blanks that JSON may be indented by.
const MOST_BLANKS: usize = 64;

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
        e.set_unknown_method_callback(|state, value, method, args| {
            grows_within_bounds(value, method, args)?;
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        });
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
        bounded(&source)?;
        deep(|| e.add_template_owned(NAME, source))?;
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
        let text = deep(|| {
            let messages = Value::from(Serde(messages));
            let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
            self.environment.get_template(NAME)?.render(context! {
                messages, add_generation_prompt => reply, bos_token => &self.bos, eos_token => &self.eos,
                tools, documents => Value::from(()),
            })
        })?;
        Ok(text)
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

/// Refuses sources that are far longer than any known one, or have an expression that nests or goes on without end: the compiler recurses
/// through both.
fn bounded(source: &str) -> Result<(), Error> {
    let refuse = |what: String| Err(Error::new(ErrorKind::SyntaxError, what));
    if source.len() > MOST_SOURCE {
        return refuse(format!("a source of {} bytes; at most {MOST_SOURCE}", source.len()));
    }
    let (mut line, mut signs, mut quote, mut escaped) = (1, 0usize, None, false);
    let mut before = ' ';
    // Signs outside of texts since the tag began; outside of tags there is no harm in counting, a tag begins anew.
    for c in source.chars() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if before == '{' && matches!(c, '{' | '%' | '#') => signs = 1,
            None if matches!(before, '}' | '%' | '#') && c == '}' => signs = 0,
            None if signs > 0 && matches!(c, '\'' | '"') => quote = Some(c),
            None if signs > 0 => signs += usize::from(!c.is_whitespace()),
            None => {}
        }
        line += usize::from(c == '\n');
        before = c;
        if signs > MOST_SIGNS {
            return refuse(format!("line {line}: an expression of more than {MOST_SIGNS} signs"));
        }
    }
    Ok(())
}

/// Runs on a thread of its own, with room for as deep a recursion as the bounds allow.
fn deep<T: Send>(f: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, f);
        let thread = thread.map_err(|e| wrong(format!("no thread to run it on: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(wrong("it broke its interpreter".to_owned())))
    })
}

/// Refuses methods of strings whose result would be far larger than what they were given: fuel is asked for only when it is there.
fn grows_within_bounds(value: &Value, method: &str, args: &[Value]) -> Result<(), Error> {
    let size = |v: &Value| v.as_str().map_or(0, str::len);
    let result = match method {
        "replace" => (size(value) + 1).saturating_mul(1 + args.get(1).map_or(0, size)),
        "join" => {
            let items = args.first().and_then(|a| a.try_iter().ok()).into_iter().flatten();
            items.fold(0usize, |n, item| {
                let nested = if item.as_str().is_none() && item.try_iter().is_ok() { MOST_TEXT } else { 32 };
                n.saturating_add(size(value) + size(&item) + nested)
            })
        }
        // The width of a field.
        "format"
            if value
                .as_str()
                .is_some_and(|s| s.split(|c: char| !c.is_ascii_digit()).any(|d| d.len() > 4)) =>
        {
            MOST_TEXT + 1
        }
        _ => 0,
    };
    if result > MOST_TEXT {
        let what = format!("{method} would make a text of more than {MOST_TEXT} bytes");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(())
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let wrong = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    match indent {
        Some(n) if n > MOST_BLANKS => {
            let what = format!("tojson: an indent of {n}, at most {MOST_BLANKS}");
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
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
    fn k09_templates_render_as_in_transformers() {
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
    fn k10_pupils_own_form_is_the_same_by_template_and_by_renderer() {
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
    fn k10_calls_are_the_same_by_template_and_by_renderer() {
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

    /// What a template makes of one message, and how long that takes; on a thread with the stack that a worker has.
    fn made(source: String) -> (Result<String, String>, std::time::Duration) {
        let work = move || {
            let begun = std::time::Instant::now();
            let chat = [Message::new(Role::User, "hi")];
            let text = Template::new(&source, "<s>", "</s>").and_then(|t| t.render(&chat, true));
            (text.map_err(|e| e.to_string()), begun.elapsed())
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
    }

    #[test]
    fn k06_k07_hostile_templates_end_soon_with_an_error() {
        let nested =
            |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000));
        let grow = |how: &str| {
            format!(
                "{{% set n = namespace(s='xxxxxxxxxx', l=[1]) %}}{{% for i in range(3000) %}}{how}{{% endfor %}}{{{{ n.s }}}}"
            )
        };
        let cases = [
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            "{% include self %}".to_owned(),
            nested("(", ")"),
            nested("[", "]"),
            nested("not ", ""),
            nested("-", ""),
            "{{ ".to_owned() + &"-".repeat(8000) + "'x' }}",
            "{{ 1".to_owned() + &"+1".repeat(100_000) + "}}",
            "{{ 'x'".to_owned() + &".y".repeat(3000) + " }}",
            "{% if 0 %}".to_owned() + &"{% elif 0 %}".repeat(9000) + "{{ nothing.at.all }}{% endif",
            "{% if true %}".repeat(100_000) + &"{% endif %}".repeat(100_000),
            grow("{% set n.s = n.s + n.s %}"),
            grow("{% set n.s = n.s ~ n.s %}"),
            grow("{% set n.s = n.s.replace('x', 'xx') %}"),
            grow("{% set n.s = n.s.join(['y', 'y', 'y']) + n.s %}"),
            "{{ 'x' * 10000000000 }}".to_owned(),
            "{{ ('x' * 100000).replace('x', 'y' * 1000000) }}".to_owned(),
            "{{ ('x' * 1000000).join(range(9999)) }}".to_owned(),
            "{{ '{:>1000000000}'.format('x') }}".to_owned(),
            "{{ messages | tojson(indent=1000000000) }}".to_owned(),
            "{{ 'a\\nb' | indent(10000000000) }}".to_owned(),
            "{% for i in range(1000000000) %}x{% endfor %}".to_owned(),
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}".to_owned(),
        ];
        for source in cases {
            let name: String = source.chars().take(60).collect();
            let (text, time) = made(source);
            let length = text.as_ref().map_or(0, String::len);
            assert!(text.is_err(), "{name}: {length} bytes");
            // Unoptimised, on a busy machine.
            assert!(time < std::time::Duration::from_secs(5), "{name}: {time:?}");
        }
    }

    #[test]
    fn k06_what_is_long_but_bounded_is_computed() {
        let long =
            |open: &str, times: usize, close: &str| made(open.to_owned() + &"not ".repeat(times) + close).0;
        assert_eq!(long("{{ ", 2000, "false }}"), Ok("False".into()));
        let sum = made("{{ 1".to_owned() + &"+1".repeat(3000) + " }}").0;
        assert_eq!(sum, Ok("3001".into()));
        let text = made(format!("{{{{ '{}' }}}}", "a'b\"{{%".replace('\'', "\\'").repeat(5000))).0;
        assert_eq!(text.map(|t| t.len()), Ok(7 * 5000));
    }

    #[test]
    fn k06_a_list_that_grows_through_thousands_of_turns_is_no_reason_to_overflow() {
        let source = "{% set n = namespace(l=[]) %}{% for i in range(3000) %}{% set n.l = n.l + [i] %}{% endfor %}{{ n.l | length }}";
        let (text, _) = made(source.to_owned());
        assert!(text.is_err() || text == Ok("3000".into()), "{text:?}");
    }

    #[test]
    fn k08_a_template_reaches_nothing() {
        for source in [
            "{{ ''.__class__.__mro__ }}",
            "{{ self.__init__.__globals__ }}",
            "{{ messages.__class__ }}",
            "{% include '/etc/passwd' %}",
            "{% import 'os' as os %}{{ os }}",
            "{% extends 'chat_template.jinja' %}",
            "{{ open('/etc/passwd') }}",
            "{{ env('HOME') }}",
            "{{ lipsum.__globals__ }}",
            "{{ cycler.__init__ }}",
            "{{ debug() }}{{ now() }}",
        ] {
            let (text, _) = made(source.to_owned());
            let harmless = text.as_ref().map_or(true, |t| t.trim().is_empty());
            assert!(harmless, "{source}: {text:?}");
        }
    }

    #[test]
    fn k09_refusals_name_what_and_where() {
        for (source, word) in [
            ("\n{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("\n{% for %}", "chat:2"),
            ("\n{{ messages | no_such_filter }}", "no_such_filter"),
            ("\n{{ no_such_function() }}", "no_such_function"),
        ] {
            let (text, _) = made(source.to_owned());
            assert!(text.unwrap_err().contains(word), "{source}");
        }
        let marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
        assert_eq!(made(marked.to_owned()).0, Ok("hi".into()));
    }

    #[test]
    fn k11_what_the_template_writes_stands_once() {
        let t = pupil_tokenizer::train(["user hi"; 3], 300, &["<s>", "</s>"]);
        let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        let template = Template::new(source, "<s>", "</s>").unwrap();
        let chat = [
            Message::new(Role::User, "hi"),
            Message::new(Role::Assistant, "hi"),
            Message::new(Role::User, "</s>"),
        ];
        let ids = template.encode(&t, &chat, true).unwrap().ids;
        let count = |name: &str| ids.iter().filter(|id| Some(**id) == t.special(name)).count();
        assert_eq!((count("<s>"), count("</s>")), (1, 3));
        let text: String =
            ids.iter().map(|&id| String::from_utf8_lossy(t.bytes(id).unwrap()).into_owned()).collect();
        // Trimmed blocks take the newline before `{% endfor %}`'s end only where Jinja does.
        assert_eq!(text.matches("assistant:").count(), 2, "{text}");
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
