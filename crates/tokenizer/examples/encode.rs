//! Encodes pairs of texts from standard input (`[["text", null], ["text", "other"], …]`) with the tokenizer.json that is named and writes
//! their ids, segments, places and the text that comes back: for `tools/check_wordpiece.py` and `tools/check_sentencepiece.py`. With
//! `marked`, special tokens in a text count.
#![allow(clippy::print_stdout, reason = "a program for a pipe")]

use std::io::Read;

use pupil_tokenizer::{Specials, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: encode TOKENIZER.JSON [marked] < pairs")?;
    let marked = arguments.next().is_some();
    let tokenizer = Tokenizer::from_json(&std::fs::read_to_string(path)?)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(&text)?;
    let one = |(first, second): &(String, Option<String>)| {
        let mut e = tokenizer.encode_pair(first, second.as_deref());
        if marked {
            let tokens = tokenizer.encode_with_places(first, Specials::Tokens);
            assert_eq!(tokenizer.encode_marked(first), tokens.iter().map(|t| t.0).collect::<Vec<_>>());
            e.types = vec![0; tokens.len()];
            (e.ids, e.offsets) = tokens.into_iter().unzip();
        } else {
            let plain: Vec<u32> = tokenizer.encode(first);
            assert!(e.ids.windows(plain.len().max(1)).any(|w| w == plain) || plain.is_empty());
        }
        let places: Vec<[usize; 2]> = e.offsets.iter().map(|r| [r.start, r.end]).collect();
        serde_json::json!([e.ids, e.types, places, tokenizer.decode(&e.ids)])
    };
    println!("{}", serde_json::Value::from_iter(pairs.iter().map(one)));
    Ok(())
}
