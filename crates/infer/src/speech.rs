//! Tokens as they come → text that can be shown at once: whole characters only, and nothing that may belong to a stop string.

use pupil_tokenizer::{Decoder, Tokenizer};

use crate::stop::Stops;

/// Text on its way from a model to a reader.
pub struct Speech<'a> {
    decoder: Decoder<'a>,
    stops: Stops,
}

impl<'a> Speech<'a> {
    /// Nothing said yet; the text will end before the first of the stop strings.
    pub fn new<T: AsRef<str>>(tokenizer: &'a Tokenizer, stops: impl IntoIterator<Item = T>) -> Speech<'a> {
        Speech { decoder: Decoder::new(tokenizer), stops: Stops::new(stops) }
    }

    /// The text that this id completes, and whether a stop string has ended all.
    pub fn push(&mut self, id: u32) -> (String, bool) {
        let text = self.decoder.push(id);
        self.stops.push(&text)
    }

    /// What was held back, when nothing more comes: bytes of an incomplete character become the replacement character.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        let (mut text, stopped) = self.stops.push(&rest);
        if !stopped {
            text.push_str(&self.stops.finish());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: [&str; 6] = ["👍🏽!", "中文，你好。", "e\u{301}a\u{308}\u{323}", "👩‍👩‍👧‍👦 family", "🇨🇳🇫🇷", "नमस्ते"];

    /// Tokenizers that cut text into single bytes, and into pieces of several sizes.
    fn tokenizers() -> [Tokenizer; 3] {
        let texts: Vec<String> = HARD.iter().map(|t| t.repeat(3)).collect();
        [0, 24, 80].map(|merges| pupil_tokenizer::train(&texts, 256 + merges, &[]))
    }

    #[test]
    fn k12_characters_stream_whole_at_every_split() {
        for t in tokenizers() {
            for text in HARD {
                let ids = t.encode(text);
                let mut s = Speech::new(&t, ["no such stop"]);
                let mut shown = String::new();
                for (i, &id) in ids.iter().enumerate() {
                    let (piece, stopped) = s.push(id);
                    assert!(!stopped && !piece.contains('\u{fffd}'), "{text}: {piece}");
                    shown.push_str(&piece);
                    // All whole characters are out: nothing waits for a token that is not needed.
                    let said = t.decode_bytes(&ids[..=i], pupil_tokenizer::Specials::Tokens).unwrap();
                    let whole = match std::str::from_utf8(&said) {
                        Ok(all) => all.len(),
                        Err(e) => e.valid_up_to(),
                    };
                    assert_eq!(shown.as_bytes(), &said[..whole]);
                }
                assert_eq!(shown + &s.finish(), text);
            }
        }
    }

    #[test]
    fn k12_a_cut_character_and_wrong_bytes_do_not_stall() {
        let t = pupil_tokenizer::train(["a"], 256, &[]);
        let id = |byte: u8| (0..256).find(|&id| t.bytes(id) == Some(&[byte])).unwrap();
        let mut s = Speech::new::<&str>(&t, []);
        // Three of four bytes, then the reply ends.
        let all: String = "👍".bytes().take(3).map(|b| s.push(id(b)).0).collect();
        assert_eq!((all.as_str(), s.finish().as_str()), ("", "\u{fffd}"));
        // A byte that begins nothing, then text; a character that is broken off, then text.
        let mut s = Speech::new::<&str>(&t, []);
        let all: String = [0xff, b'a', 0xe4, 0xbd, b'b'].iter().map(|&b| s.push(id(b)).0).collect();
        assert_eq!(all + &s.finish(), "\u{fffd}a\u{fffd}b");
        // A stop string that is part of what one token completes.
        let mut s = Speech::new(&t, ["好"]);
        let shown: Vec<(String, bool)> = "你好".bytes().map(|b| s.push(id(b))).collect();
        assert_eq!(shown[2], ("你".into(), false));
        assert_eq!(shown[5], (String::new(), true));
    }
}
