//! The dialects in which people keep texts and conversations as JSON, and one record of each → [`Record`]s.
//!
//! Known are OpenAI messages, ShareGPT, Alpaca, prompt and completion, question and answer, preference pairs, OpenAssistant trees,
//! ChatterBot's lists, and objects with a text. What is not recognised is shown with its keys and the nearest known dialect.

use serde_json::{Map, Value, json};

use crate::record::{Call, Chat, Preference, Record, Turn};

type Object = Map<String, Value>;

/// The name and the keys of each dialect, for messages.
pub const DIALECTS: [(&str, &[&str]); 12] = [
    ("text", &["text"]),
    ("OpenAI messages", &["messages"]),
    ("ShareGPT", &["conversations"]),
    ("Alpaca", &["instruction", "input", "output"]),
    ("prompt and completion", &["prompt", "completion"]),
    ("prompt and response", &["prompt", "response"]),
    ("prompt and answer", &["prompt", "answer"]),
    ("question and answer", &["question", "answer"]),
    ("question and standard answer", &["question", "std_answer"]),
    ("query and response", &["query", "response"]),
    ("preference pair", &["chosen", "rejected"]),
    ("OpenAssistant tree", &["message_tree_id", "prompt"]),
];

/// Keys of a text, in the order in which they are looked for.
const TEXTS: [&str; 6] = ["text", "content", "body", "story", "article", "document"];

/// The records in one JSON value.
///
/// # Errors
/// Says what is wrong with it, and for an object with unknown keys which dialect is nearest.
pub fn records(value: &Value) -> Result<Vec<Record>, String> {
    match value {
        Value::Object(o) => object(o),
        Value::String(text) => Ok(vec![Record::Document(text.clone())]),
        Value::Array(turns) if !turns.is_empty() && turns.iter().all(Value::is_string) => {
            Ok(vec![Record::Chat(Chat::alternating(turns.iter().filter_map(Value::as_str)))])
        }
        Value::Array(turns) if !turns.is_empty() && turns.iter().all(|t| speaker(t).is_some()) => {
            chat(turns, None, Vec::new()).map(|c| vec![Record::Chat(c)])
        }
        other => Err(format!("is {}, expected a JSON object", kind(other))),
    }
}

fn kind(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn object(o: &Object) -> Result<Vec<Record>, String> {
    let system = || string(o, "system").or_else(|| string(o, "system_prompt"));
    if let Some(tree) = o.get("prompt").filter(|p| p.get("replies").is_some()) {
        return thread(tree).map(|c| vec![Record::Chat(c)]);
    }
    if o.contains_key("chosen") && o.contains_key("rejected") {
        return preference(o).map(|p| vec![Record::Preference(p)]);
    }
    for key in ["messages", "conversations", "conversation", "dialogue", "dialog"] {
        let Some(turns) = o.get(key).and_then(listed) else { continue };
        let turns = &*turns;
        if o.get("label") == Some(&Value::Bool(false)) {
            return Err("is labelled as a bad answer".to_owned());
        }
        if turns.iter().any(Value::is_array) {
            return lists(turns);
        }
        return chat(turns, system(), tools(o)?).map(|c| vec![Record::Chat(c)]);
    }
    let answered = |question: String, answer: &str| {
        let mut turns: Vec<Turn> = system().map(|s| turn("system", s)).into_iter().collect();
        for pair in o.get("history").and_then(Value::as_array).into_iter().flatten() {
            let said = pair.as_array().map(|p| p.iter().filter_map(Value::as_str).collect::<Vec<_>>());
            if let Some([q, a]) = said.as_deref() {
                turns.extend([turn("user", *q), turn("assistant", *a)]);
            }
        }
        turns.extend([turn("user", question), turn("assistant", answer)]);
        Ok(Record::Chat(Chat::new(turns)))
    };
    if let Some(instruction) = string(o, "instruction") {
        let whole = |from: &Object| match string(from, "input") {
            Some(input) => format!("{instruction}\n\n{input}"),
            None => instruction.to_owned(),
        };
        if let Some(output) = string(o, "output").or_else(|| string(o, "response")) {
            return answered(whole(o), output).map(|r| vec![r]);
        }
        let instances = o.get("instances").and_then(Value::as_array).into_iter().flatten();
        let made: Result<Vec<Record>, String> = instances
            .filter_map(Value::as_object)
            .filter_map(|i| Some(answered(whole(i), string(i, "output")?)))
            .collect();
        return made.and_then(|m| if m.is_empty() { Err("has no output".into()) } else { Ok(m) });
    }
    for question in ["question", "prompt", "query", "input", "ask"] {
        for answer in ["answer", "completion", "response", "std_answer", "output", "reply"] {
            if let (Some(q), Some(a)) = (string(o, question), string(o, answer)) {
                return answered(q.to_owned(), a).map(|r| vec![r]);
            }
        }
    }
    if ["choices", "endings", "context_options", "options"].iter().any(|k| o.contains_key(*k)) {
        return Err("is a question with choices: for evaluation, not for training".to_owned());
    }
    if let Some(text) = TEXTS.iter().find_map(|k| string(o, k)) {
        return Ok(vec![Record::Document(text.to_owned())]);
    }
    let of_lines = |k: &&str| {
        o.get(*k).and_then(Value::as_array).filter(|l| !l.is_empty() && l.iter().all(Value::is_string))
    };
    if let Some(lines) = ["paragraphs", "content"].iter().find_map(of_lines) {
        let heading = ["title", "rhythmic", "author"].iter().filter_map(|k| string(o, k));
        let all: Vec<&str> = heading.chain(lines.iter().filter_map(Value::as_str)).collect();
        return Ok(vec![Record::Document(all.join("\n"))]);
    }
    // A file of one object with one list of records, or of conversations: {"samples": […]}, {"greetings": [["hi", "hello"], …]}.
    let mut inner =
        o.values().filter_map(Value::as_array).filter(|l| l.iter().any(|v| v.is_object() || v.is_array()));
    if let (Some(list), None) = (inner.next(), inner.next())
        && o.len() <= 3
    {
        return lists(list);
    }
    Err(unknown(o))
}

/// A list; also one that was turned into an object of lists, as the `datasets` library keeps sequences of objects.
fn listed(v: &Value) -> Option<std::borrow::Cow<'_, [Value]>> {
    let columns: Vec<(&String, &Vec<Value>)> = match v {
        Value::Array(list) => return Some(list.into()),
        Value::Object(o) => o.iter().map(|(k, v)| Some((k, v.as_array()?))).collect::<Option<_>>()?,
        _ => return None,
    };
    let rows = columns.first()?.1.len();
    let row = |i: usize| columns.iter().map(|(k, v)| ((*k).clone(), v[i].clone())).collect::<Object>();
    columns
        .iter()
        .all(|c| c.1.len() == rows)
        .then(|| (0..rows).map(|i| Value::Object(row(i))).collect::<Vec<_>>().into())
}

/// The records of all values of a list; those that are none are passed over unless none is left.
fn lists(list: &[Value]) -> Result<Vec<Record>, String> {
    let (mut all, mut first) = (Vec::new(), None);
    for v in list {
        match records(v) {
            Ok(r) => all.extend(r),
            Err(e) => first = first.or(Some(e)),
        }
    }
    if all.is_empty() { Err(first.unwrap_or_else(|| "is an empty list".into())) } else { Ok(all) }
}

fn unknown(o: &Object) -> String {
    let has = |d: &&(&str, &[&str])| d.1.len() > 1 && d.1.iter().all(|k| o.contains_key(*k));
    if let Some((name, keys)) = DIALECTS.iter().find(has) {
        return format!("has the keys {keys:?} of {name}, but no text in one of them");
    }
    let keys: Vec<&str> = o.keys().map(String::as_str).take(8).collect();
    let likeness = |wanted: &[&str]| -> usize {
        let near = |w: &str| keys.iter().map(|k| likeness(k, w)).max().unwrap_or(0);
        wanted.iter().map(|w| near(w)).sum::<usize>() / wanted.len()
    };
    let nearest = DIALECTS.iter().max_by_key(|d| likeness(d.1));
    let (name, wanted) = nearest.copied().unwrap_or(DIALECTS[0]);
    format!("has the keys {keys:?}, which no known dialect has; the nearest is {name} with {wanted:?}")
}

/// Pairs of letters that two words share, in per cent of the longer one's.
fn likeness(a: &str, b: &str) -> usize {
    let pairs = |s: &str| s.to_lowercase().into_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (a, b) = (pairs(a), pairs(b));
    let shared = a.iter().filter(|p| b.contains(p)).count();
    100 * shared / a.len().max(b.len()).max(1)
}

fn string<'a>(o: &'a Object, key: &str) -> Option<&'a str> {
    o.get(key).and_then(Value::as_str).filter(|s| !s.trim().is_empty())
}

fn turn(role: &str, content: impl Into<String>) -> Turn {
    Turn::new(role, content)
}

/// Who says a turn, as its dialect calls them.
fn speaker(t: &Value) -> Option<&str> {
    ["role", "from", "speaker"].iter().find_map(|k| t.get(k)).and_then(Value::as_str)
}

/// What a turn says: a string, or the text parts of a list.
fn said(t: &Value) -> Option<String> {
    match ["content", "value", "text", "message"].iter().find_map(|k| t.get(k)) {
        Some(Value::String(s)) => Some(s.trim().to_owned()),
        Some(Value::Array(parts)) => {
            Some(parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect())
        }
        Some(_) => Some(String::new()),
        None => ["tool_calls", "function_call"].iter().any(|k| t.get(k).is_some()).then(String::new),
    }
}

/// A value, or what the JSON in a string says: arguments and tools come in both forms.
fn unwrapped(v: &Value) -> Option<std::borrow::Cow<'_, Value>> {
    match v {
        Value::String(s) => serde_json::from_str(s).ok().map(std::borrow::Cow::Owned),
        other => Some(std::borrow::Cow::Borrowed(other)),
    }
}

/// One call of a tool: `{"function": {"name", "arguments"}}` or what is in it; arguments are an object or its JSON.
fn call(v: &Value) -> Option<Call> {
    let function = v.get("function").unwrap_or(v);
    let name = function.get("name")?.as_str()?.to_owned();
    let arguments = match function.get("arguments").or_else(|| function.get("parameters")) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::String(s)) if s.trim().is_empty() => Map::new(),
        Some(a) => unwrapped(a)?.as_object()?.clone(),
    };
    Some(Call { id: v.get("id").and_then(Value::as_str).map(str::to_owned), name, arguments })
}

/// The calls of a turn: OpenAI's `tool_calls`, its older `function_call`, or a turn of ShareGPT whose words are a call.
fn calls(t: &Value) -> Result<Vec<Call>, String> {
    let present = |k| t.get(k).filter(|c: &&Value| !c.is_null());
    let wrong = |c: &Value| {
        let text: String = c.to_string().chars().take(80).collect();
        format!("a call of a tool has no `name` with an object of `arguments`: {text}")
    };
    if let Some(list) = present("tool_calls") {
        let list = list.as_array().ok_or_else(|| wrong(list))?;
        return list.iter().map(|c| call(c).ok_or_else(|| wrong(c))).collect();
    }
    present("function_call").map_or(Ok(Vec::new()), |c| Ok(vec![call(c).ok_or_else(|| wrong(c))?]))
}

/// The tools of a conversation, each in OpenAI's form; a list, or the JSON of one.
fn tools(o: &Object) -> Result<Vec<Value>, String> {
    let Some(given) = ["tools", "functions"].iter().find_map(|k| o.get(*k)).filter(|v| !v.is_null()) else {
        return Ok(Vec::new());
    };
    if given.as_str().is_some_and(|s| s.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let list = unwrapped(given).and_then(|v| v.as_array().cloned());
    let list = list.ok_or("its `tools` are no list, and no JSON of one")?;
    let tool = |t: Value| match t.get("function") {
        Some(f) if f.get("name").is_some_and(Value::is_string) => Ok(t),
        None if t.get("name").is_some_and(Value::is_string) => Ok(json!({"type": "function", "function": t})),
        _ => Err("one of its `tools` has no name".to_owned()),
    };
    list.into_iter().map(tool).collect()
}

/// pupil's name of a role.
fn role(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "user" | "human" | "prompter" | "person" | "customer" => "user",
        "assistant" | "gpt" | "bot" | "model" | "chatgpt" | "bard" | "ai" | "function_call" => "assistant",
        "system" | "developer" => "system",
        "tool" | "function" | "observation" | "ipython" => "tool",
        _ => return None,
    })
}

fn turns(list: &[Value]) -> Result<Vec<Turn>, String> {
    let mut turns = Vec::new();
    for (i, t) in list.iter().enumerate() {
        let mut content = said(t).ok_or_else(|| format!("turn {i} says nothing: no `content` or `value`"))?;
        let who = match speaker(t) {
            Some(name) => role(name).ok_or_else(|| format!("turn {i} has the unknown role {name:?}"))?,
            // KdConv and others: no names, the speakers alternate.
            None if i.is_multiple_of(2) => "user",
            None => "assistant",
        };
        let mut tool_calls = calls(t).map_err(|e| format!("turn {i}: {e}"))?;
        if speaker(t) == Some("function_call") && tool_calls.is_empty() {
            // A call, or a list of them, as the words of a turn; words that are none stay words.
            let list = match serde_json::from_str(&content) {
                Ok(Value::Array(list)) => list,
                Ok(one) => vec![one],
                Err(_) => Vec::new(),
            };
            if let Some(all) = list.iter().map(call).collect::<Option<Vec<Call>>>().filter(|c| !c.is_empty())
            {
                (tool_calls, content) = (all, String::new());
            }
        }
        let own = |key: &str| t.get(key).and_then(Value::as_str).filter(|_| who == "tool").map(str::to_owned);
        let (tool_call_id, name) = (own("tool_call_id"), own("name"));
        turns.push(Turn { role: who.to_owned(), content, tool_calls, tool_call_id, name });
    }
    Ok(turns)
}

fn chat(list: &[Value], system: Option<&str>, tools: Vec<Value>) -> Result<Chat, String> {
    let mut messages = turns(list)?;
    if let Some(s) = system
        && messages.first().is_some_and(|m| m.role != "system")
    {
        messages.insert(0, turn("system", s));
    }
    if !messages.iter().any(Turn::teaches) {
        return Err("no turn of the assistant, so nothing to learn".to_owned());
    }
    Ok(Chat { messages, tools })
}

fn preference(o: &Object) -> Result<Preference, String> {
    let side = |key: &str| -> Result<(Vec<Turn>, String), String> {
        let value = &o[key];
        let mut turns = match value {
            Value::String(s) => transcript(s).unwrap_or_else(|| vec![turn("assistant", s.trim())]),
            Value::Array(list) => turns(list)?,
            Value::Object(_) => turns(std::slice::from_ref(value))?,
            other => return Err(format!("`{key}` is {}", kind(other))),
        };
        let last = turns.pop().filter(|t| !t.content.is_empty());
        Ok((turns, last.ok_or_else(|| format!("`{key}` is empty"))?.content))
    };
    let ((mut prompt, chosen), (_, rejected)) = (side("chosen")?, side("rejected")?);
    let before = ["conversations", "messages", "prompt"].iter().find_map(|k| o.get(*k));
    match before {
        Some(Value::Array(list)) => prompt = turns(list)?,
        Some(Value::String(s)) => prompt = transcript(s).unwrap_or_else(|| vec![turn("user", s.trim())]),
        _ => {
            if let Some(q) = string(o, "question").or_else(|| string(o, "instruction")) {
                prompt = vec![turn("user", q)];
            }
        }
    }
    if let Some(s) = string(o, "system") {
        prompt.insert(0, turn("system", s));
    }
    if prompt.is_empty() {
        return Err("a preference without a question".to_owned());
    }
    Ok(Preference { prompt, chosen, rejected })
}

/// OpenAssistant: the best-ranked reply at every step down the tree, up to the assistant's last one.
fn thread(root: &Value) -> Result<Chat, String> {
    let (mut at, mut messages) = (root, Vec::new());
    loop {
        let name = at.get("role").and_then(Value::as_str).unwrap_or_default();
        let who = role(name).ok_or_else(|| format!("a message has the unknown role {name:?}"))?;
        let text = at.get("text").and_then(Value::as_str).ok_or("a message has no `text`")?;
        messages.push(turn(who, text.trim()));
        let replies = at.get("replies").and_then(Value::as_array);
        let rank = |r: &Value| r.get("rank").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let living = |r: &&Value| r.get("deleted") != Some(&Value::Bool(true));
        match replies.into_iter().flatten().filter(living).min_by_key(|r| rank(r)) {
            Some(best) => at = best,
            None => break,
        }
    }
    while messages.last().is_some_and(|m| m.role != "assistant") {
        messages.pop();
    }
    if messages.is_empty() { Err("a tree without a reply".into()) } else { Ok(Chat::new(messages)) }
}

/// DailyDialog's form: a conversation on each line, `__eou__` after each turn. `None` if a text is no such thing.
pub fn utterances(text: &str) -> Option<Vec<Chat>> {
    let first = text.trim_start().lines().next()?;
    if !first.trim_end().ends_with("__eou__") {
        return None;
    }
    let chat = |line: &str| Chat::alternating(line.split("__eou__").map(spoken).filter(|t| !t.is_empty()));
    let chats = text.lines().filter(|l| l.contains("__eou__")).map(chat);
    Some(chats.filter(|c| c.messages.len() > 1).collect())
}

/// A turn without the blanks that its tokenizer put before punctuation.
fn spoken(turn: &str) -> String {
    let mut out = turn.trim().to_owned();
    for mark in [".", ",", "?", "!", ";", ":"] {
        out = out.replace(&format!(" {mark}"), mark);
    }
    out.replace(" ’ ", "’").replace("  ", " ")
}

/// Names at the beginning of a line that mark a turn of plain text.
const LABELS: [(&str, &str); 14] = [
    ("human", "user"),
    ("user", "user"),
    ("me", "user"),
    ("you", "user"),
    ("q", "user"),
    ("question", "user"),
    ("问", "user"),
    ("用户", "user"),
    ("assistant", "assistant"),
    ("bot", "assistant"),
    ("ai", "assistant"),
    ("a", "assistant"),
    ("answer", "assistant"),
    ("答", "assistant"),
];

/// The turns of plain text that is a conversation: `User: …` and `Assistant: …` (or `Human`, `Q` and `A`, 问 and 答) at the beginning of
/// lines; other lines go on with the turn before. `None` if the text is no such thing.
pub fn transcript(text: &str) -> Option<Vec<Turn>> {
    let label = |line: &str| -> Option<(&'static str, usize)> {
        let end = line.find([':', '：']).filter(|&e| e <= 16)?;
        let name = line[..end].trim().to_lowercase();
        let width = line[end..].chars().next().map_or(1, char::len_utf8);
        LABELS.iter().find(|l| l.0 == name).map(|l| (l.1, end + width))
    };
    let mut turns: Vec<Turn> = Vec::new();
    for line in text.trim().lines() {
        match label(line.trim_start()) {
            Some((who, skip)) => turns.push(turn(who, line.trim_start()[skip..].trim())),
            None => {
                let last = turns.last_mut()?;
                last.content.push('\n');
                last.content.push_str(line);
            }
        }
    }
    turns.iter_mut().for_each(|t| t.content = t.content.trim().to_owned());
    let both = ["user", "assistant"].iter().all(|who| turns.iter().any(|t| t.role == *who));
    both.then_some(turns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(v: Value) -> Record {
        let mut all = records(&v).unwrap();
        assert_eq!(all.len(), 1, "{v}");
        all.remove(0)
    }

    #[test]
    fn each_dialect_gives_the_same_conversation() {
        let want = Record::Chat(Chat::alternating(["hi", "hello"]));
        for v in [
            json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]},
                                {"role": "assistant", "content": "hello"}]}),
            json!({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}),
            json!({"conversations": [{"role": "user", "content": "hi"}, {"from": "gpt", "value": "hello"}]}),
            json!({"instruction": "hi", "input": "", "output": "hello"}),
            json!({"instruction": "hi", "instances": [{"input": "", "output": "hello"}]}),
            json!({"prompt": "hi", "completion": "hello"}),
            json!({"question": "hi", "answer": "hello"}),
            json!({"message_tree_id": "x", "prompt": {"role": "prompter", "text": "hi", "replies": [
                {"role": "assistant", "text": "go away", "rank": 1, "replies": []},
                {"role": "assistant", "text": "hello", "rank": 0, "replies": [
                    {"role": "prompter", "text": "unanswered", "replies": []}]}]}}),
            json!({"greetings": [["hi", "hello"]]}),
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]),
        ] {
            assert_eq!(one(v.clone()), want, "{v}");
        }
        let back = records(&want.to_json()).unwrap();
        assert_eq!(back, [want]);
    }

    #[test]
    fn preferences_in_three_forms() {
        let want = Record::Preference(Preference {
            prompt: vec![turn("user", "hi")],
            chosen: "hello".into(),
            rejected: "no".into(),
        });
        for v in [
            json!({"prompt": "hi", "chosen": "hello", "rejected": "no"}),
            json!({"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: no"}),
            json!({"conversations": [{"from": "human", "value": "hi"}], "chosen": {"from": "gpt", "value": "hello"},
                   "rejected": {"from": "gpt", "value": "no"}}),
            want.to_json(),
        ] {
            assert_eq!(one(v.clone()), want, "{v}");
        }
    }

    #[test]
    fn systems_histories_and_tools_are_kept() {
        let v = json!({"system": "be kind", "instruction": "c", "output": "d", "history": [["a", "b"]]});
        let Record::Chat(c) = one(v) else { panic!("no chat") };
        let said: Vec<&str> = c.messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(said, ["be kind", "a", "b", "c", "d"]);
        let v = json!({"conversations": [{"from": "human", "value": "6*7?"},
            {"from": "function_call", "value": "{\"f\":1}"}, {"from": "observation", "value": "42"},
            {"from": "gpt", "value": "42."}]});
        let Record::Chat(c) = one(v) else { panic!("no chat") };
        let roles: Vec<&str> = c.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    }

    #[test]
    fn calls_of_tools_are_the_same_in_each_dialect_and_come_back() {
        let tool = json!({"name": "times", "description": "a·b", "parameters": {"type": "object", "properties": {}}});
        let wrapped = json!({"type": "function", "function": tool});
        let arguments = json!({"b": 7, "a": 6});
        let openai = json!({"messages": [{"role": "user", "content": "6*7?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "x1", "type": "function",
                "function": {"name": "times", "arguments": arguments.to_string()}}]},
            {"role": "tool", "tool_call_id": "x1", "content": "42"}, {"role": "assistant", "content": "42."}],
            "tools": [wrapped]});
        let sharegpt = json!({"conversations": [{"from": "human", "value": "6*7?"},
            {"from": "function_call", "value": json!({"name": "times", "arguments": arguments}).to_string()},
            {"from": "observation", "value": "42"}, {"from": "gpt", "value": "42."}],
            "tools": json!([tool]).to_string()});
        let older = json!({"messages": [{"role": "user", "content": "6*7?"},
            {"role": "assistant", "content": null, "function_call": {"name": "times", "arguments": arguments.to_string()}},
            {"role": "function", "name": "times", "content": "42"}, {"role": "assistant", "content": "42."}],
            "functions": [tool]});
        for (v, id, name) in
            [(openai, Some("x1"), None), (sharegpt, None, None), (older, None, Some("times"))]
        {
            let record = one(v);
            let Record::Chat(c) = &record else { panic!("no chat") };
            let (call, result) = (&c.messages[1], &c.messages[2]);
            assert_eq!((call.role.as_str(), call.content.as_str()), ("assistant", ""));
            let keys: Vec<&str> = call.tool_calls[0].arguments.keys().map(String::as_str).collect();
            assert_eq!((call.tool_calls[0].name.as_str(), keys), ("times", vec!["b", "a"]), "order is kept");
            assert_eq!((result.role.as_str(), result.content.as_str()), ("tool", "42"));
            assert_eq!((call.tool_calls[0].id.as_deref(), result.tool_call_id.as_deref()), (id, id));
            assert_eq!((result.name.as_deref(), &c.tools), (name, &vec![wrapped.clone()]));
            assert!(record.plain().contains(r#"{"name":"times","arguments":{"b":7,"a":6}}"#));
            let text = record.to_json().to_string();
            assert_eq!(one(serde_json::from_str(&text).unwrap()), record);
        }
    }

    #[test]
    fn calls_that_are_none_are_refused_or_stay_words() {
        let with = |extra: Value| json!({"messages": [{"role": "user", "content": "hi"}, extra]});
        let e = records(&with(
            json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{cut"}}]}),
        ));
        assert!(e.clone().unwrap_err().contains("turn 1") && e.unwrap_err().contains("arguments"));
        let words = records(&with(json!({"from": "function_call", "value": "not JSON"}))).unwrap();
        assert_eq!(words, [Record::Chat(Chat::alternating(["hi", "not JSON"]))]);
        let mut v = with(json!({"role": "assistant", "content": "a"}));
        v["tools"] = json!("{cut");
        assert!(records(&v).unwrap_err().contains("tools"));
        v["tools"] = json!([{"description": "nameless"}]);
        assert!(records(&v).unwrap_err().contains("no name"));
        v["tools"] = json!("[]");
        assert!(records(&v).is_ok());
    }

    #[test]
    fn what_is_not_known_is_shown_with_the_nearest_dialect() {
        let e = records(&json!({"questions": "hi", "answers": 3})).unwrap_err();
        assert!(e.contains("questions") && e.contains("question and answer"), "{e}");
        let e = records(&json!({"messages": [{"role": "user", "content": "hi"}]})).unwrap_err();
        assert!(e.contains("nothing to learn"), "{e}");
        let e = records(&json!({"messages": [{"role": "wizard", "content": "hi"}]})).unwrap_err();
        assert!(e.contains("wizard"), "{e}");
        assert!(records(&json!(3)).unwrap_err().contains("a number"));
    }

    #[test]
    fn utterances_are_conversations() {
        let chats = utterances("How are you ? __eou__ Fine , thanks . __eou__\nalone __eou__\n").unwrap();
        assert_eq!(chats, [Chat::alternating(["How are you?", "Fine, thanks."])]);
        assert_eq!(utterances("prose"), None);
    }

    #[test]
    fn plain_turns_are_found_and_prose_is_left_alone() {
        let turns = transcript("User: hi\nAssistant: hello\nhow are you\nUser: fine").unwrap();
        assert_eq!(turns.len(), 3);
        assert_eq!(turns[1], turn("assistant", "hello\nhow are you"));
        assert_eq!(transcript("问：你好\n答：你好呀").unwrap()[1].content, "你好呀");
        assert_eq!(transcript("Note: this is prose.\nA: b"), None);
        assert_eq!(transcript("User: only one side"), None);
    }
}
