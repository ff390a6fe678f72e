//! Any text, by every way to split it: the words joined are the text, and its ids decode to it.
#![no_main]

use std::sync::LazyLock;

use pupil_tokenizer::{Split, Tokenizer, Training};

static TOKENIZERS: LazyLock<Vec<(Split, Tokenizer)>> = LazyLock::new(|| {
    let train = |split| {
        let training = Training { split, size: 320, specials: &["<|endoftext|>"], threads: 1 };
        (split, training.run(&["the cat sat on the mat 你好你好 don't 123"; 4]))
    };
    Split::ALL.into_iter().map(train).collect()
});

libfuzzer_sys::fuzz_target!(|text: &str| {
    for (split, t) in TOKENIZERS.iter() {
        assert_eq!(split.words(text).collect::<String>(), text);
        assert_eq!(t.decode(&t.encode(text)), text);
    }
});
