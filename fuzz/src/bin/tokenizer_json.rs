//! Whatever a tokenizer.json says: it is refused, or it encodes and decodes any text to itself.
#![no_main]

use pupil_tokenizer::Tokenizer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(t) = Tokenizer::from_json(&text) {
        let sample: String = text.chars().take(200).collect();
        assert_eq!(t.decode(&t.encode(&sample)), sample);
        assert_eq!(Tokenizer::from_json(&t.to_json()).expect("what was written is read"), t);
    }
});
