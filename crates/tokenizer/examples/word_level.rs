//! Fits the word-level tokenizer on texts from standard input (`{"settings": {…}, "texts": […]}`) and writes Keras' JSON, or with `ids` the
//! ids of the texts: for `tools/check_word_level.py`.
#![allow(clippy::print_stdout, reason = "a program for a pipe")]

use std::io::Read;

use pupil_tokenizer::word_level::{Settings, WordLevel};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let input: Value = serde_json::from_str(&text)?;
    let set = |name: &str| input.pointer(&format!("/settings/{name}")).cloned().unwrap_or(Value::Null);
    let mut settings = Settings::default();
    if let Some(f) = set("filters").as_str() {
        settings.filters = f.to_owned();
    }
    settings.lower = set("lower").as_bool().unwrap_or(true);
    settings.num_words = set("num_words").as_u64().map(|n| n as usize);
    settings.unknown = set("oov_token").as_str().map(str::to_owned);
    let texts: Vec<&str> =
        input["texts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let made = WordLevel::fit(settings, &texts);
    if std::env::args().nth(1).as_deref() == Some("ids") {
        let ids: Vec<Vec<u32>> = texts.iter().map(|t| made.encode(t)).collect();
        println!("{}", serde_json::json!(ids));
    } else {
        println!("{}", made.to_json());
    }
    Ok(())
}
