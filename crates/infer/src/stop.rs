//! Stop strings: a reply ends before the first of them, whether it comes at once or a character at a time.

/// Watches a text that grows. What may be the beginning of a stop string is held back until it is known.
///
/// The string that is complete first ends the text; of several that are complete at the same byte, the longest.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    strings: Vec<Watched>,
    /// Text that was not given out yet.
    held: String,
}

/// A string with what Knuth, Morris and Pratt (1977) need to find it in one pass.
#[derive(Clone, Debug)]
struct Watched {
    text: Box<str>,
    /// For each length of a matched beginning, the length of its longest proper beginning that also ends it.
    fallback: Vec<u32>,
    /// Bytes of it that match the end of the text so far.
    matched: usize,
}

impl Stops {
    /// A watch for some strings; empty ones are none.
    pub fn new<T: AsRef<str>>(strings: impl IntoIterator<Item = T>) -> Stops {
        let strings =
            strings.into_iter().filter(|s| !s.as_ref().is_empty()).map(|s| Watched::new(s.as_ref()));
        Stops { strings: strings.collect(), held: String::new() }
    }

    /// Takes more text and gives what may be shown, and whether the text has ended.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        let before = self.held.len();
        self.held.push_str(text);
        for (i, byte) in text.bytes().enumerate() {
            let mut longest = 0;
            for s in &mut self.strings {
                if s.step(byte) {
                    longest = longest.max(s.text.len());
                }
            }
            if longest > 0 {
                self.held.truncate(before + i + 1 - longest);
                return (self.finish(), true);
            }
        }
        // A matched beginning starts where a character does.
        let keep = self.strings.iter().map(|s| s.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is still held, when nothing more comes. The watch begins anew.
    pub fn finish(&mut self) -> String {
        self.strings.iter_mut().for_each(|s| s.matched = 0);
        std::mem::take(&mut self.held)
    }
}

impl Watched {
    fn new(text: &str) -> Watched {
        let bytes = text.as_bytes();
        let mut fallback = vec![0u32; bytes.len() + 1];
        let mut k = 0;
        for i in 1..bytes.len() {
            while k > 0 && bytes[i] != bytes[k] {
                k = fallback[k] as usize;
            }
            k += usize::from(bytes[i] == bytes[k]);
            fallback[i + 1] = k as u32;
        }
        Watched { text: text.into(), fallback, matched: 0 }
    }

    /// Whether it is complete with this byte.
    fn step(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes[self.matched] != byte {
            self.matched = self.fallback[self.matched] as usize;
        }
        self.matched += usize::from(bytes[self.matched] == byte);
        let complete = self.matched == bytes.len();
        if complete {
            self.matched = self.fallback[self.matched] as usize;
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a text that comes in the given pieces, and whether it was stopped.
    fn shown<'a>(stops: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (String, bool) {
        let mut s = Stops::new(stops);
        let mut all = String::new();
        for p in pieces {
            let (text, stopped) = s.push(p);
            all.push_str(&text);
            if stopped {
                return (all, true);
            }
        }
        all.push_str(&s.finish());
        (all, false)
    }

    #[test]
    fn k13_the_first_complete_string_ends_the_text_however_it_comes() {
        let million = "x".repeat(1_000_000);
        let many: Vec<String> = (0..10_000).map(|i| format!("stop {i}.")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let cases: [(&[&str], &str, &str, bool); 13] = [
            (&[], "anything at all", "anything at all", false),
            (&[""], "anything at all", "anything at all", false),
            (&["\nUser:"], "Hello.\nUser: hi", "Hello.", true),
            (&["ab", "abc"], "xabcd", "x", true),
            (&["abc", "b"], "xabcd", "xa", true),
            (&["bc", "abc"], "xabcd", "x", true),
            (&["abcabd"], "abcabcabd!", "abc", true),
            (&["aab"], "aaaab", "aa", true),
            (&["abcd"], "abcabc", "abcabc", false),
            (&["好"], "你好吗", "你", true),
            (&["👩‍👩‍👧"], "a👩‍👩‍👦b👩‍👩‍👧c", "a👩‍👩‍👦b", true),
            (&[&million], "xxxx", "xxxx", false),
            (&many, "please stop 9999. Or not", "please ", true),
        ];
        for (stops, text, expected, stopped) in cases {
            let name = text;
            assert_eq!(shown(stops, [text]), (expected.to_owned(), stopped), "{name}");
            let each: Vec<String> = text.chars().map(String::from).collect();
            assert_eq!(
                shown(stops, each.iter().map(String::as_str)),
                (expected.to_owned(), stopped),
                "{name}"
            );
            for (at, _) in text.char_indices() {
                let (a, b) = text.split_at(at);
                assert_eq!(shown(stops, [a, b]), (expected.to_owned(), stopped), "{name} cut at {at}");
            }
        }
    }

    #[test]
    fn k13_what_cannot_become_a_stop_string_is_not_held() {
        let mut s = Stops::new(["\n\n", "stop"]);
        assert_eq!(s.push("a s"), ("a ".into(), false));
        assert_eq!(s.push("t"), (String::new(), false));
        assert_eq!(s.push("ay"), ("stay".into(), false));
        assert_eq!(s.push("\n"), (String::new(), false));
        assert_eq!(s.finish(), "\n");
    }
}
