//! Conversations looked at before anything is learned from them: mistakes that cost hours and are seen in a second.
//!
//! A model that never learns to end its turn talks for ever; one that was taught in another form than that in which it is asked is lost; an answer
//! whose end was cut off teaches to stop in the middle; a question of the test in the data makes its result worthless.

use std::collections::HashSet;

use pupil_chat::{Renderer, Template};
use pupil_data::Chat;
use pupil_tokenizer::{Specials, Tokenizer};

use crate::examples::messages;

/// Cases of each kind that are named.
const SHOWN: usize = 5;
/// Conversations whose form is compared with the template's.
const COMPARED: usize = 200;
/// Letters and digits that a question of a test has at least to be looked for inside of longer texts; shorter ones must be the whole turn.
const LONG: usize = 40;

/// What is wrong with conversations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tokenizer was not made for chats.
    #[error(transparent)]
    Tokenizer(#[from] pupil_chat::MissingToken),
    /// No conversation teaches how a turn ends.
    #[error(
        "the token that ends a turn is never learned: no conversation has an answer of the assistant; texts without turns are for `pupil pretrain`"
    )]
    NeverEnds,
    /// What is taught is not what is served.
    #[error(
        "conversation {conversation} is taught in another form than the model's chat template gives it, from character {at} on: taught {taught:?}, served {served:?}"
    )]
    Template {
        /// Which one, from 1.
        conversation: usize,
        /// The first character that differs.
        at: usize,
        /// What follows there.
        taught: String,
        /// What the template has.
        served: String,
    },
    /// The template refuses a conversation.
    #[error("conversation {0} is refused by the model's chat template: {1}")]
    Refused(usize, pupil_chat::TemplateError),
    /// Answers would be cut.
    #[error(
        "{count} conversations are longer than the context of {context} tokens, and answers would be cut:\n{list}\nshorten them, or let them be cut with --allow-truncation"
    )]
    Truncated {
        /// How many.
        count: usize,
        /// The context.
        context: usize,
        /// Some of them.
        list: String,
    },
    /// Questions of a test are in the data.
    #[error(
        "{count} questions of the evaluation are in what is learned from:\n{list}\ntake them out of one of the two"
    )]
    Contaminated {
        /// How many.
        count: usize,
        /// Some of them.
        list: String,
    },
}

/// Looks at conversations; `template` is the one with which the model is served.
///
/// # Errors
/// Says what is wrong with them. With `may_cut`, answers may be cut.
pub fn inspect(
    tokenizer: &Tokenizer,
    template: &Template,
    chats: &[Chat],
    context: usize,
    may_cut: bool,
) -> Result<(), Error> {
    let renderer = Renderer::new(tokenizer)?;
    let (mut ends, mut cut) = (false, Vec::new());
    for (i, chat) in chats.iter().enumerate() {
        let turns = messages(chat);
        let r = renderer.render_tools(&chat.tools, &turns, false);
        ends |= r.ids.iter().zip(&r.learned).any(|(&id, &l)| l && id == renderer.end());
        if r.ids.len() > context + 1 && r.learned[context + 1..].contains(&true) {
            cut.push((i, r.ids.len()));
        }
        if i < COMPARED {
            let bytes = tokenizer.decode_bytes(&r.ids, Specials::Tokens).unwrap_or_default();
            let taught = String::from_utf8_lossy(&bytes).into_owned();
            let served =
                template.render_tools(&chat.tools, &turns, false).map_err(|e| Error::Refused(i + 1, e))?;
            if taught != served {
                return Err(different(i + 1, &taught, &served));
            }
        }
    }
    if !ends {
        return Err(Error::NeverEnds);
    }
    if may_cut || cut.is_empty() {
        return Ok(());
    }
    let line = |&(i, tokens): &(usize, usize)| {
        let text = chats[i].plain();
        let beginning: String = text.chars().take(60).map(|c| if c == '\n' { ' ' } else { c }).collect();
        format!("  conversation {}, {tokens} tokens: {beginning}…", i + 1)
    };
    let list = cut.iter().take(SHOWN).map(line).collect::<Vec<_>>().join("\n");
    Err(Error::Truncated { count: cut.len(), context, list })
}

fn different(conversation: usize, taught: &str, served: &str) -> Error {
    let at = taught.chars().zip(served.chars()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| text.chars().skip(at).take(40).collect();
    Error::Template { conversation, at, taught: from(taught), served: from(served) }
}

/// Looks for the questions of a test in conversations: letter case, blanks and marks aside, as a whole turn of the person, or, if they are long, anywhere.
///
/// # Errors
/// Names those that are there.
pub fn contamination<'a>(chats: &[Chat], questions: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let turns = || chats.iter().flat_map(|c| &c.messages).filter(|t| t.role != "assistant");
    let mut whole: HashSet<String> = turns().map(|t| plain(&t.content)).collect();
    whole.remove("");
    let (mut found, mut texts, mut seen) = (Vec::new(), None, HashSet::new());
    for question in questions {
        let key = plain(question);
        if !seen.insert(key.clone()) {
            continue;
        }
        let is_long = key.chars().count() >= LONG;
        let inside = |texts: &mut Option<String>| {
            let all = texts.get_or_insert_with(|| chats.iter().map(|c| plain(&c.plain()) + "\n").collect());
            all.contains(&key)
        };
        if whole.contains(&key) || (is_long && inside(&mut texts)) {
            found.push(question);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let line = |q: &&str| format!("  {}", q.chars().take(100).collect::<String>().replace('\n', " "));
    let list = found.iter().take(SHOWN).map(line).collect::<Vec<_>>().join("\n");
    Err(Error::Contaminated { count: found.len(), list })
}

/// Letters and digits in lower case.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        pupil_tokenizer::train(
            ["user assistant system hello there how are you"; 4],
            300,
            &pupil_chat::SPECIALS,
        )
    }

    fn template(source: &str) -> Template {
        Template::new(source, "", pupil_chat::END_OF_TEXT).unwrap()
    }

    fn look(chats: &[Chat], source: &str, context: usize, may_cut: bool) -> Result<(), String> {
        inspect(&tokenizer(), &template(source), chats, context, may_cut).map_err(|e| e.to_string())
    }

    #[test]
    fn sound_conversations_pass() {
        let chats = [
            Chat::alternating(["hello", "hello there"]),
            Chat::alternating(["how", "are", "you", "你好 <|im_end|>"]),
        ];
        look(&chats, pupil_chat::JINJA, 200, false).unwrap();
    }

    #[test]
    fn each_mistake_is_named() {
        let jinja = pupil_chat::JINJA;
        let e = look(&[Chat::alternating(["hello"])], jinja, 200, false).unwrap_err();
        assert!(e.contains("never learned"), "{e}");
        assert!(look(&[], jinja, 200, false).is_err());
        let chats =
            [Chat::alternating(["hello", "hello there"]), Chat::alternating(["how", &"you ".repeat(60)])];
        let e = look(&chats, jinja, 40, false).unwrap_err();
        assert!(
            e.contains("1 conversations") && e.contains("conversation 2") && e.contains("--allow-truncation"),
            "{e}"
        );
        look(&chats, jinja, 40, true).unwrap();
        let other = jinja.replace("<|im_end|>", "[END]");
        let e = look(&chats, &other, 400, false).unwrap_err();
        assert!(e.contains("conversation 1") && e.contains("served \"[END]"), "{e}");
        let e = look(&chats, "{{ raise_exception('no') }}", 400, false).unwrap_err();
        assert!(e.contains("refused") && e.contains("no"), "{e}");
    }

    #[test]
    fn questions_of_a_test_are_found_in_other_writing() {
        let chats = [
            Chat::alternating(["What is 2 + 2?", "4"]),
            Chat::alternating([
                "Do sums",
                "Q: If a train leaves at noon and another at one, which is first? A: the first",
            ]),
        ];
        let e = contamination(&chats, ["what is 2+2", "What is 3 + 3?"].into_iter()).unwrap_err().to_string();
        assert!(e.contains("1 questions") && e.contains("what is 2+2"), "{e}");
        let long = "If a train leaves at noon, and another at one: which is first?";
        assert!(contamination(&chats, [long].into_iter()).is_err());
        assert!(contamination(&chats, ["the first", "4", "", "What is 2"].into_iter()).is_ok());
    }
}
