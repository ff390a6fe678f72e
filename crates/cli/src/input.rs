//! Standard input, whatever bytes it has.

use std::io::{self, BufRead, IsTerminal, Read};

/// The lines of standard input. What is not UTF-8 in one becomes the replacement character, and is said on standard error with the line's number.
pub(crate) fn lines() -> impl Iterator<Item = io::Result<String>> {
    (1..)
        .zip(io::stdin().lock().split(b'\n'))
        .map(|(number, line)| Ok(read(&format!("line {number} of standard input"), &line?)))
}

/// All of standard input without one line's end at its end; nothing if it is a terminal, or empty.
pub(crate) fn all() -> io::Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let text = read("standard input", bytes.strip_suffix(b"\n").unwrap_or(&bytes));
    Ok(Some(text).filter(|t| !t.is_empty()))
}

fn read(name: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
    if matches!(text, std::borrow::Cow::Owned(_)) {
        eprintln!("{name} is not UTF-8; what cannot be read in it is \u{fffd} now");
    }
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_line() {
        let all: [(&[u8], &str); 4] =
            [(b"a b", "a b"), (b"a\r", "a"), (b"bad \xff!", "bad \u{fffd}!"), (b"", "")];
        for (line, text) in all {
            assert_eq!(read("it", line), text);
        }
    }
}
