//! Whatever a tokenizer.json says: it is refused, or it encodes and decodes any text, by whichever way, alike. Raw bytes seldom get beyond
//! the first field, so files of every kind are given with some of their values changed.
#![no_main]

use std::sync::LazyLock;

use pupil_tokenizer::{AddedToken, Decoder, SentencePiece, Specials, Tokenizer, sentencepiece, wordpiece};
use serde_json::Value;

const TEXT: &str = "the cat sat on the mat, the hat; 你好世界 don't 123 aaaaaaaa ____ Émile \n\n";

fn sentence(settings: sentencepiece::Settings) -> Tokenizer {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    pieces.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
    pieces.extend("▁abcdehmnost_你".chars().map(String::from));
    let mut merges = Vec::new();
    for (a, b) in [("a", "a"), ("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "▁"), ("aa", "aa"), ("a", "t"), ("n", "▁the")] {
        let id = |p: &str| pieces.iter().position(|q| q == p).expect("a piece") as u32;
        merges.push((id(a), id(b)));
        pieces.push(format!("{a}{b}"));
    }
    let specials = (0..3).map(|i| AddedToken::special(pieces[i].clone(), i as u32));
    let word = |content: &str, id: usize| AddedToken { special: false, ..AddedToken::special(content, id as u32) };
    let more = [
        AddedToken { normalized: true, ..word("Émile", pieces.len()) },
        AddedToken { lstrip: true, rstrip: true, ..word("on", pieces.len() + 1) },
        AddedToken { single_word: true, ..word("cat", pieces.len() + 2) },
    ];
    let added = specials.chain(more).collect();
    SentencePiece::new(settings, pieces, merges, added, None).expect("it fits together").into()
}

/// Files of every kind, and the places of all their values.
static FILES: LazyLock<Vec<(Value, Vec<String>)>> = LazyLock::new(|| {
    let settings = wordpiece::Settings::default();
    let training = wordpiece::Training { settings, size: 90, alphabet: 60, threads: 1 };
    let d = sentencepiece::Settings::default();
    let metaspace = sentencepiece::Settings {
        metaspace: true,
        split: true,
        ignore_merges: true,
        byte_fallback: false,
        prefix: sentencepiece::Prefix::First,
        spelling: sentencepiece::Spelling::Metaspace,
        ..d.clone()
    };
    let tokenizers: [Tokenizer; 4] = [
        pupil_tokenizer::train([TEXT; 4], 290, &["<|endoftext|>"]),
        sentence(d),
        sentence(metaspace),
        training.run(&[TEXT; 4]).expect("it trains").into(),
    ];
    let file = |t: &Tokenizer| {
        let whole: Value = serde_json::from_str(&t.to_json()).expect("it is JSON");
        let mut places = Vec::new();
        walk(&whole, String::new(), &mut places);
        (whole, places)
    };
    tokenizers.iter().map(file).collect()
});

fn walk(value: &Value, place: String, places: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(o) => o.iter().for_each(|(name, v)| walk(v, format!("{place}/{}", escaped(name)), places)),
        Value::Array(a) => a.iter().enumerate().for_each(|(i, v)| walk(v, format!("{place}/{i}"), places)),
        _ => (),
    }
    // Of the many ids of a vocabulary a few will do.
    if !place.starts_with("/model/vocab/") || places.len() % 8 == 0 {
        places.push(place);
    }
}

fn check(file: &str, text: &str) {
    let Ok(t) = Tokenizer::from_json(file) else { return };
    let written = t.to_json();
    let back = Tokenizer::from_json(&written).expect("what was written is read");
    assert_eq!(back.to_json(), written);
    let ids = t.encode(text);
    assert_eq!(back.encode(text), ids);
    let places = t.encode_with_places(text, Specials::Text);
    assert_eq!(places.iter().map(|p| p.0).collect::<Vec<_>>(), ids);
    for (id, place) in &places {
        assert!((*id as usize) < t.len() && text.get(place.clone()).is_some());
    }
    t.encode_pair(text, Some(text));
    for ids in [ids.as_slice(), &t.encode_marked(text), &[0, 5, 300, 1, u32::MAX, 7]] {
        let mut decoder = Decoder::new(&t);
        let streamed: String = ids.iter().map(|id| decoder.push(*id)).collect();
        assert_eq!(streamed + &decoder.finish(), t.decode(ids));
    }
    let plain = t.added().iter().all(|a| a.special);
    let said = t.decode(&ids);
    match &t {
        Tokenizer::Bpe(b) if plain && !b.variant().normalise => assert_eq!(said, text),
        Tokenizer::SentencePiece(s) if plain && s.settings().byte_fallback && t.decode(&t.encode("a b")) == "a b" => {
            let first = matches!(s.settings().prefix, sentencepiece::Prefix::Every | sentencepiece::Prefix::Never);
            assert!(!first || said == text.replace('▁', " "), "{said:?} {text:?}");
        }
        _ => (),
    }
}

libfuzzer_sys::fuzz_target!(|data: (u8, Vec<(u16, &str)>, &str)| {
    let (kind, changes, text) = data;
    let short: String = text.chars().take(200).collect();
    if kind == 0 {
        return check(text, &short);
    }
    let (file, places) = &FILES[kind as usize % FILES.len()];
    let mut file = file.clone();
    for (place, value) in changes.into_iter().take(4) {
        let place = &places[place as usize % places.len()];
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if let Some(v) = file.pointer_mut(place) {
            *v = value;
        }
    }
    check(&file.to_string(), &short);
});
