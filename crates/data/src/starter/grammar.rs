//! Sentences with choices and slots: `[What is|What's] the capital of {country}?`
//!
//! `[a|b|]` is one of its alternatives, which may have choices and slots of their own. `{country}` is the column of that name in the row
//! that the sentence is about, and `{country2}` the same of a second row; a name that is no column is a table, of which a row is drawn and
//! kept for as long as the exchange lasts (`{animal.sound}` is another column of it). `{a thing}` puts `a` or `an` before it, `{^thing}`
//! makes its first letter a capital, `{A thing}` does both.

use crate::random::Random;

/// How a slot's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Article,
    Capital,
    CapitalArticle,
}

/// A place for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Column or table, `table.column` for another column of what was drawn.
    pub(super) name: String,
    /// 0 for the first row or draw, 1 for the second and so on.
    pub(super) which: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Slot(Slot),
    Choice(Vec<Template>),
}

/// A sentence to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

/// Where values come from.
pub(super) trait Values {
    /// The value of a slot. Without random numbers nothing new may be drawn.
    fn value(&mut self, slot: &Slot, r: Option<&mut Random>) -> Option<String>;
}

impl Template {
    /// Reads one line.
    ///
    /// # Errors
    /// If a bracket is not closed.
    pub(super) fn parse(line: &str) -> Result<Template, String> {
        let mut rest = line;
        let t = parts(&mut rest, line)?;
        match rest.chars().next() {
            None => Ok(t),
            Some(c) => Err(format!("{c:?} without an opening bracket in {line:?}")),
        }
    }

    /// Fills it in, drawing choices.
    pub(super) fn fill(&self, values: &mut dyn Values, r: &mut Random, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(t) => out.push_str(t),
                Part::Slot(s) => {
                    out.push_str(&written(&values.value(s, Some(r)).unwrap_or_default(), s.form))
                }
                Part::Choice(c) => c[r.below(c.len())].fill(values, r, out),
            }
        }
    }

    /// Everything that it can say, `most` at most; `None` if that depends on something that would have to be drawn.
    pub(super) fn all(&self, values: &mut dyn Values, most: usize) -> Option<Vec<String>> {
        let mut all = vec![String::new()];
        for part in &self.0 {
            let ends = match part {
                Part::Text(t) => vec![t.clone()],
                Part::Slot(s) => vec![written(&values.value(s, None)?, s.form)],
                Part::Choice(c) => {
                    let each = c.iter().map(|t| t.all(values, most)).collect::<Option<Vec<_>>>()?;
                    each.into_iter().flatten().collect()
                }
            };
            all = all.iter().flat_map(|a| ends.iter().map(move |e| format!("{a}{e}"))).take(most).collect();
        }
        Some(all)
    }

    /// Calls `each` with every slot in it.
    pub(super) fn slots(&self, each: &mut dyn FnMut(&Slot)) {
        for part in &self.0 {
            match part {
                Part::Text(_) => {}
                Part::Slot(s) => each(s),
                Part::Choice(c) => c.iter().for_each(|t| t.slots(each)),
            }
        }
    }
}

/// Parts up to the end, or to a `|` or `]` that belongs to a choice around them.
fn parts(rest: &mut &str, line: &str) -> Result<Template, String> {
    let mut parts = Vec::new();
    loop {
        let end = rest.find(['[', '{', '|', ']']).unwrap_or(rest.len());
        if end > 0 {
            parts.push(Part::Text(rest[..end].to_owned()));
        }
        *rest = &rest[end..];
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').ok_or_else(|| format!("{{ is not closed in {line:?}"))?;
            parts.push(Part::Slot(slot(&inside[..end])));
            *rest = &inside[end + 1..];
        } else if let Some(inside) = rest.strip_prefix('[') {
            *rest = inside;
            let mut ways = Vec::new();
            loop {
                ways.push(self::parts(rest, line)?);
                if let Some(more) = rest.strip_prefix('|') {
                    *rest = more;
                } else {
                    *rest = rest.strip_prefix(']').ok_or_else(|| format!("[ is not closed in {line:?}"))?;
                    break;
                }
            }
            parts.push(Part::Choice(ways));
        } else {
            return Ok(Template(parts));
        }
    }
}

fn slot(text: &str) -> Slot {
    let (form, name) = match (text.strip_prefix("a "), text.strip_prefix("A "), text.strip_prefix('^')) {
        (Some(name), ..) => (Form::Article, name),
        (_, Some(name), _) => (Form::CapitalArticle, name),
        (.., Some(name)) => (Form::Capital, name),
        _ => (Form::Plain, text),
    };
    // The number stands behind the table's name: `animal2.sound`.
    let (head, tail) = name.split_once('.').map_or((name, None), |(h, t)| (h, Some(t)));
    let (head, which) = match head.chars().last().and_then(|c| c.to_digit(10)) {
        Some(n) if n > 0 => (&head[..head.len() - 1], n as usize - 1),
        _ => (head, 0),
    };
    let name = tail.map_or_else(|| head.to_owned(), |t| format!("{head}.{t}"));
    Slot { name, which, form }
}

fn written(value: &str, form: Form) -> String {
    match form {
        Form::Plain => value.to_owned(),
        Form::Article => article(value),
        Form::Capital => capital(value),
        Form::CapitalArticle => capital(&article(value)),
    }
}

/// With a capital first letter.
pub(super) fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or(String::new(), |f| f.to_uppercase().chain(c).collect())
}

/// With `a` or `an` before it.
pub(super) fn article(noun: &str) -> String {
    let sounds_otherwise =
        ["uni", "use", "eu", "one"].iter().any(|s| noun.starts_with(s)) || noun == "unicorn";
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O']) && !sounds_otherwise;
    let vowel = vowel || noun.starts_with("hour") || noun.starts_with("honest");
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Values for Fixed {
        fn value(&mut self, slot: &Slot, r: Option<&mut Random>) -> Option<String> {
            match (slot.name.as_str(), slot.which) {
                ("thing", 0) => Some("apple".into()),
                ("thing", 1) => Some("unicorn".into()),
                ("animal.sound", 1) => Some("moo".into()),
                _ => r.map(|_| "new".into()),
            }
        }
    }

    #[test]
    fn choices_and_slots_are_filled_in() {
        let all = |line| Template::parse(line).unwrap().all(&mut Fixed, 100);
        let some = |texts: &[&str]| Some(texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(all("[Hi|Hello[ there|]]!"), some(&["Hi!", "Hello there!", "Hello!"]));
        assert_eq!(all("{A thing} or {a thing2}: {^animal2.sound}"), some(&["An apple or a unicorn: Moo"]));
        assert_eq!(all("{other}"), None);
        let mut filled = String::new();
        Template::parse("[{other}]").unwrap().fill(&mut Fixed, &mut Random::new(1, 1), &mut filled);
        assert_eq!(filled, "new");
        for wrong in ["[a|b", "a]", "{x", "a|b"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
