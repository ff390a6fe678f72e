//! Who the model is: its name, its voice, and what it says of itself, from a file that a person can change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::book::Language;

/// The persona of the repository, which has every field.
const STANDARD: &str = include_str!("../../../../persona.toml");

/// Who a model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// Words by their name: `name`, `maker`, `colour`, …; those for Chinese end in `-zh`.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// What its answers begin and end with.
    #[serde(default)]
    pub voice: Voice,
    /// Questions and answers of one's own.
    #[serde(default)]
    pub own: Vec<Own>,
}

/// What answers begin and end with, some of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// Put before an answer, with a space.
    #[serde(default)]
    pub before: Vec<String>,
    /// Put behind an answer, with a space.
    #[serde(default)]
    pub after: Vec<String>,
    /// Answers of a hundred that have one of them.
    #[serde(default)]
    pub percent: usize,
}

/// A question of one's own: one wording a line, and one answer a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Ways to ask.
    pub ask: String,
    /// Ways to answer.
    pub say: String,
    /// `en` or `zh`.
    #[serde(default)]
    pub language: Language,
}

impl Persona {
    /// pupil itself.
    ///
    /// # Errors
    /// None, unless the file in the repository is broken.
    pub fn standard() -> Result<Persona, String> {
        toml::from_str(STANDARD).map_err(|e| format!("persona.toml: {e}"))
    }

    /// Reads a persona; words that it does not have are pupil's.
    ///
    /// # Errors
    /// If it is no TOML, or has a field or a word that is not known.
    pub fn parse(text: &str) -> Result<Persona, String> {
        let standard = Persona::standard()?;
        let mut persona: Persona = toml::from_str(text).map_err(|e| e.to_string())?;
        for (word, value) in &persona.words {
            if !standard.words.contains_key(word) {
                let known: Vec<&str> = standard.words.keys().map(String::as_str).collect();
                return Err(format!("words.{word} is not known; known are {}", known.join(", ")));
            }
            if value.trim().is_empty() || value.contains(['{', '}', '[', ']', '|', '\n']) {
                return Err(format!("words.{word}: one line without {{}}[]| is expected"));
            }
        }
        if persona.voice.percent > 100 {
            return Err(format!("voice.percent {}: 0 to 100", persona.voice.percent));
        }
        // A name of one's own is also the Chinese name, unless that is given.
        if let Some(name) = persona.words.get("name").cloned() {
            persona.words.entry("name-zh".into()).or_insert(name);
        }
        for (word, value) in standard.words {
            persona.words.entry(word).or_insert(value);
        }
        Ok(persona)
    }

    /// A word.
    pub fn get(&self, word: &str) -> Option<&str> {
        self.words.get(word).map(String::as_str)
    }

    /// The file that says it.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string_pretty(self).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persona_of_ones_own_changes_what_it_names_and_nothing_else() {
        let p =
            Persona::parse("[words]\nname = \"Luna\"\n[voice]\nafter = [\"Miau.\"]\npercent = 50\n").unwrap();
        assert_eq!((p.get("name"), p.get("name-zh")), (Some("Luna"), Some("Luna")));
        assert_eq!(p.get("home"), Persona::standard().unwrap().get("home"));
        assert_eq!(Persona::parse(&p.to_toml().unwrap()).unwrap(), p);
        for (text, says) in [
            ("[words]\nnmae = \"x\"", "nmae"),
            ("[words]\nname = \"{x}\"", "words.name"),
            ("[words]\n[voice]\npercent = 101", "101"),
            ("words = 3", "words"),
        ] {
            let error = Persona::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
