//! The ids, places and texts of Hugging Face's tokenizers, on small tokenizers of every form that its own trainers made
//! (`tools/fixture_tokenizers.py`). `tools/check_wordpiece.py` and `tools/check_sentencepiece.py` do the same on any text.

use pupil_tokenizer::{Specials, Tokenizer};
use serde_json::Value;

#[test]
fn t07_ids_and_places_are_those_of_the_reference() {
    let fixture: Value = serde_json::from_str(include_str!("../../../fixtures/tokenizers.json")).unwrap();
    let texts: Vec<&str> = fixture["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let numbers = |v: &Value| -> Vec<usize> {
        v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
    };
    let forms = fixture["forms"].as_object().unwrap();
    assert!(texts.len() > 50 && forms.len() == 7);
    for (name, form) in forms {
        let t = Tokenizer::from_json(&form["tokenizer"].to_string()).unwrap();
        for (text, expected) in texts.iter().zip(form["results"].as_array().unwrap()) {
            let (ids, places): (Vec<u32>, Vec<_>) =
                t.encode_with_places(text, Specials::Text).into_iter().unzip();
            let expected_ids: Vec<u32> = numbers(&expected[0]).iter().map(|id| *id as u32).collect();
            assert_eq!(ids, expected_ids, "{name} {text:?}");
            assert_eq!(t.encode(text), expected_ids, "{name} {text:?}");
            let places: Vec<usize> = places.iter().flat_map(|r| [r.start, r.end]).collect();
            assert_eq!(places, numbers(&expected[1]), "{name} {text:?}");
            assert_eq!(t.decode(&ids), expected[2].as_str().unwrap(), "{name} {text:?}");
        }
    }
}
