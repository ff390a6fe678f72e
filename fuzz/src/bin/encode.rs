//! Any text, by every way to split it: the words joined are the text, and its ids decode to it.
#![no_main]

use std::sync::LazyLock;

use pupil_tokenizer::{Split, Tokenizer};

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| pupil_tokenizer::train(["the cat sat on the mat 你好你好 don't 123"; 4], 320, &["<|endoftext|>"]));

libfuzzer_sys::fuzz_target!(|text: &str| {
    for split in Split::ALL {
        assert_eq!(split.words(text).collect::<String>(), text);
        let t = TOKENIZER.clone().with_split(split);
        assert_eq!(t.decode(&t.encode(text)), text);
    }
});
