//! Encodes pairs of texts from standard input (`[["text", null], ["text", "other"], …]`) with the tokenizer.json that is named and writes
//! their ids, segments, places and the text that comes back: for `tools/check_wordpiece.py`.
#![allow(clippy::print_stdout, reason = "a program for a pipe")]

use std::io::Read;

use pupil_tokenizer::WordPiece;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: wordpiece TOKENIZER.JSON < pairs")?;
    let tokenizer = WordPiece::from_json(&std::fs::read_to_string(path)?)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(&text)?;
    let one = |(first, second): &(String, Option<String>)| {
        let e = tokenizer.encode_pair(first, second.as_deref());
        let places: Vec<[usize; 2]> = e.offsets.iter().map(|r| [r.start, r.end]).collect();
        serde_json::json!([e.ids, e.types, places, tokenizer.decode(&e.ids)])
    };
    println!("{}", serde_json::Value::from_iter(pairs.iter().map(one)));
    Ok(())
}
