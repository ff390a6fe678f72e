//! A model's words on a terminal: escaped, so that they cannot command it; coloured by probability, or a table of it.

use std::io::IsTerminal;

use pupil_tokenizer::Tokenizer;

/// Text as a terminal may have it: control characters, and those that turn the direction of writing, are shown as escapes.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Whether standard output takes colours: a terminal that is not dumb, and nobody said NO_COLOR.
pub(crate) fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
}

/// A token that was chosen, and what else might have been.
pub(crate) struct Looked {
    pub(crate) id: u32,
    pub(crate) probability: f32,
    pub(crate) likeliest: Vec<(u32, f32)>,
}

/// From sure to unlikely: probabilities at least this, and the colour (SGR).
const STEPS: [(f32, &str); 5] = [(0.9, "32"), (0.6, "36"), (0.3, "33"), (0.1, "35"), (0.0, "31")];

/// Text in the colour of its probability.
pub(crate) fn coloured(text: &str, probability: f32) -> String {
    let colour = STEPS.iter().find(|s| probability >= s.0).map_or("31", |s| s.1);
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// What the colours mean.
pub(crate) fn legend() -> String {
    let steps = STEPS.map(|(p, _)| coloured(&format!("≥ {:.0} %", 100.0 * p), p));
    format!("  {}", steps.join("  "))
}

/// A row for each token: its probability, and the likeliest ones with theirs.
pub(crate) fn table(tokenizer: &Tokenizer, tokens: &[&Looked]) -> String {
    let name =
        |id: u32| format!("{:?}", shown(&String::from_utf8_lossy(tokenizer.bytes(id).unwrap_or_default())));
    let names: Vec<String> = tokens.iter().map(|t| name(t.id)).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (t, n) in tokens.iter().zip(&names) {
        let blanks = width - n.chars().count();
        out.push_str(&format!("  {n}{:blanks$}  {:5.1} %   of", "", 100.0 * t.probability));
        for &(id, p) in &t.likeliest {
            out.push_str(&format!("  {} {:.1} %", name(id), 100.0 * p));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k05_a_reply_cannot_command_the_terminal() {
        assert_eq!(shown("a\x1b[31mb\u{202e}c\r\n你好\t👩‍👩‍👧"), "a\\x1b[31mb\\u202ec\\x0d\n你好\t👩‍👩‍👧");
        // The clipboard, a link, the bell, a backspace, C1 controls, direction isolates.
        let attacks = "\x1b]52;c;aGk=\x07\x1b]8;;http://x\x1b\\y\x08\x7f\u{9b}2J\u{2066}z\0";
        let safe = shown(attacks);
        assert!(!safe.chars().any(|c| c.is_control() || c == '\u{2066}'), "{safe:?}");
        assert!(safe.contains("\\x1b]52") && safe.contains("\\x07") && safe.contains("\\x9b2J"), "{safe}");
    }

    #[test]
    fn probabilities_have_rows_and_colours() {
        let t = pupil_tokenizer::train(["ab"; 3], 260, &[]);
        let id = |s: &str| t.encode(s)[0];
        let looked = |s: &str, p: f32| Looked { id: id(s), probability: p, likeliest: vec![(id("b"), 0.25)] };
        let table = table(&t, &[&looked("a", 0.5), &looked("\n", 1.0)]);
        assert_eq!(table, "  \"a\"    50.0 %   of  \"b\" 25.0 %\n  \"\\n\"  100.0 %   of  \"b\" 25.0 %\n");
        assert!(coloured("a", 0.95).contains("[32m") && coloured("a", 0.0).contains("[31m"));
    }
}
