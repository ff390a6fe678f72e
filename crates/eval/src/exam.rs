//! A model sits an exam: texts, tasks and skills in, scores out.

use pupil_chat::{Message, Renderer, Role};
use pupil_data::Turn;
use pupil_data::starter::{Language, Question};
use pupil_model::Gpt;
use pupil_tensor::DType;
use pupil_tokenizer::Tokenizer;

use crate::answers::Writer;
use crate::likelihood::{Judge, likeliest};
use crate::score::{ACCURACY, BITS, EXACT, NORMALISED, Outcome, Score};
use crate::tasks::{Item, Right, Task};

/// Tokens of a reply to a question that is no skill.
const REPLY: usize = 256;

/// Who sits it.
pub struct Exam<'a> {
    /// The model.
    pub gpt: &'a Gpt,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Element type of matrix operands.
    pub dtype: DType,
}

/// Told how many of how many questions are done.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

impl Exam<'_> {
    /// Bits per byte of documents.
    pub fn bits(&self, name: &str, documents: &[&str], progress: Progress<'_>) -> Score {
        let all = self.judge().bits(documents, &mut |n| progress(n, documents.len()));
        let items = documents.iter().zip(all).map(|(d, (bits, bytes))| Outcome {
            id: id(d),
            amount: bits,
            of: bytes as f64,
            reply: None,
        });
        Score::new(name, BITS, items.collect())
    }

    /// The scores of a task: of choices both measures, of replies exact match, of skills exact match in all, by turns, by language and by
    /// skill.
    ///
    /// # Errors
    /// If replies are asked for of a model whose tokenizer was not made for chats, or a score is not a number.
    pub fn task(&self, task: &Task, progress: Progress<'_>) -> Result<Vec<Score>, String> {
        let (mut choices, mut replies, mut skills) = (Vec::new(), Vec::new(), Vec::new());
        for item in &task.items {
            match item {
                Item::Choice { choices: all, gold } => choices.push((&all[..], *gold)),
                Item::Reply { messages, right } => replies.push((messages, right)),
                Item::Skill(q) => skills.push(q),
            }
        }
        let mut scores = Vec::new();
        if !choices.is_empty() {
            scores.extend(self.choices(&task.name, &choices, &mut *progress));
        }
        if !replies.is_empty() {
            scores.push(self.replies(&task.name, &replies, &mut *progress)?);
        }
        if !skills.is_empty() {
            scores.extend(self.skills(&task.name, &skills, &mut *progress)?);
        }
        Ok(scores)
    }

    fn judge(&self) -> Judge<'_> {
        let begin = self.tokenizer.special(pupil_chat::END_OF_TEXT);
        Judge { gpt: self.gpt, tokenizer: self.tokenizer, dtype: self.dtype, begin }
    }

    fn choices(
        &self,
        name: &str,
        all: &[(&[(String, String)], usize)],
        progress: Progress<'_>,
    ) -> [Score; 2] {
        let pairs: Vec<(&str, &str)> = all
            .iter()
            .flat_map(|(c, _)| c.iter().map(|(context, text)| (context.as_str(), text.as_str())))
            .collect();
        let judged = self.judge().after(&pairs, &mut |n| progress(n * all.len() / pairs.len(), all.len()));
        let mut judged = &judged[..];
        let mut items = [Vec::new(), Vec::new()];
        for (choices, gold) in all {
            let (these, others) = judged.split_at(choices.len());
            judged = others;
            let said: String =
                choices.iter().flat_map(|(c, t)| [c.as_str(), "\n", t.as_str(), "\n"]).collect();
            for (items, best) in items.iter_mut().zip(likeliest(these)) {
                // Of choices that are the same, one is as right as the other.
                let right = best.is_some_and(|b| choices[b] == choices[*gold]);
                items.push(outcome(&said, right, best.map(|b| choices[b].1.trim().to_owned())));
            }
        }
        let [plain, by_length] = items;
        [Score::new(name, ACCURACY, plain), Score::new(name, NORMALISED, by_length)]
    }

    fn replies(
        &self,
        name: &str,
        all: &[(&Vec<Turn>, &Right)],
        progress: Progress<'_>,
    ) -> Result<Score, String> {
        let asked: Vec<&[Turn]> = all.iter().map(|(m, _)| &m[..]).collect();
        let replies = self.say(&asked, REPLY, progress)?;
        let items = all.iter().zip(replies).map(|((messages, right), reply)| {
            outcome(&said(messages), reply.as_deref().is_some_and(|r| right.is(r)), reply)
        });
        Ok(Score::new(name, EXACT, items.collect()))
    }

    fn skills(&self, name: &str, all: &[&Question], progress: Progress<'_>) -> Result<Vec<Score>, String> {
        let asked: Vec<&[Turn]> = all.iter().map(|q| &q.messages[..]).collect();
        let longest = all.iter().flat_map(|q| &q.accept).map(|a| self.tokenizer.encode(a).len()).max();
        let replies = self.say(&asked, longest.unwrap_or(0) + 8, progress)?;
        let is = |q: &Question, reply: &Option<String>| {
            reply.as_ref().is_some_and(|r| q.accept.iter().any(|a| a == r.trim()))
        };
        let items: Vec<Outcome> =
            all.iter().zip(replies).map(|(q, r)| outcome(&said(&q.messages), is(q, &r), r)).collect();
        let part = |label: &str, of: &dyn Fn(&Question) -> bool| {
            let chosen = all.iter().zip(&items).filter(|(q, _)| of(q)).map(|(_, o)| o.clone());
            Score::new(
                if label.is_empty() { name.to_owned() } else { format!("{name}: {label}") },
                EXACT,
                chosen.collect(),
            )
        };
        let mut scores = vec![
            part("", &|_| true),
            part("one exchange", &|q| q.turns == 1),
            part("several exchanges", &|q| q.turns > 1),
            part("English", &|q| q.language == Language::English),
            part("Chinese", &|q| q.language == Language::Chinese),
        ];
        let mut names: Vec<&str> = Vec::new();
        for q in all {
            if !names.contains(&q.skill.as_str()) {
                names.push(&q.skill);
            }
        }
        scores.extend(names.into_iter().map(|n| part(&format!("skill: {n}"), &|q| q.skill == n)));
        scores.retain(|s| s.count > 0);
        Ok(scores)
    }

    /// Greedy replies to conversations.
    fn say(
        &self,
        all: &[&[Turn]],
        most: usize,
        progress: Progress<'_>,
    ) -> Result<Vec<Option<String>>, String> {
        let renderer = Renderer::new(self.tokenizer)
            .map_err(|e| format!("{e}; only a model that was fine-tuned on chats can be asked"))?;
        let message = |t: &Turn| {
            let role = match t.role.as_str() {
                "system" => Role::System,
                "assistant" => Role::Assistant,
                _ => Role::User,
            };
            Message::new(role, t.content.as_str())
        };
        let prompt =
            |turns: &&[Turn]| renderer.render(&turns.iter().map(message).collect::<Vec<_>>(), true).ids;
        let prompts: Vec<Vec<u32>> = all.iter().map(prompt).collect();
        let ends =
            std::iter::once(renderer.end()).chain(self.tokenizer.special(pupil_chat::END_OF_TEXT)).collect();
        let writer = Writer { gpt: self.gpt, dtype: self.dtype, ends, most };
        let replies = writer.replies(&prompts, &mut |n| progress(n, all.len()))?;
        Ok(replies.into_iter().map(|r| r.map(|ids| self.tokenizer.decode(&ids))).collect())
    }
}

fn outcome(said: &str, right: bool, reply: Option<String>) -> Outcome {
    Outcome { id: id(said), amount: f64::from(u8::from(right)), of: 1.0, reply }
}

fn said(messages: &[Turn]) -> String {
    messages.iter().flat_map(|m| [m.role.as_str(), ": ", m.content.as_str(), "\n"]).collect()
}

/// What an item is known by: 64 bits of its words' hash (FNV-1a).
fn id(words: &str) -> String {
    let hash = words
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::tests::model;

    #[test]
    fn tasks_of_every_kind_are_scored() {
        let tokenizer =
            pupil_tokenizer::train(["system user assistant hello"; 4], 300, &pupil_chat::SPECIALS);
        let mut config = model(120).config;
        config.vocab = tokenizer.len();
        let gpt = Gpt::new(config, 1);
        let exam = Exam { gpt: &gpt, tokenizer: &tokenizer, dtype: DType::F32 };
        let lines = concat!(
            "{\"query\":\"q\",\"choices\":[\"same\",\"same\"],\"gold\":1}\n{\"query\":\"q\",\"choices\":[\"\",\"b\"],\"gold\":0}\n",
            "{\"question\":\"1 + 1?\",\"answer\":\"#### 2\"}\n",
            "{\"skill\":\"a\",\"language\":\"en\",\"turns\":1,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"accept\":[\"y\"]}\n",
            "{\"skill\":\"b\",\"language\":\"zh\",\"turns\":2,\"messages\":[{\"role\":\"user\",\"content\":\"z\"}],\"accept\":[\"y\"]}\n",
        );
        let task = Task::parse("t", lines);
        let scores = exam.task(&task, &mut |n, all| assert!(n <= all)).unwrap();
        let of = |task: &str, measure: &str| scores.iter().find(|s| s.task == task && s.measure == measure);
        // Of two choices that are the same either is right; an empty one is never chosen.
        assert_eq!(of("t", ACCURACY).map(|s| (s.count, s.value)), Some((2, Some(0.5))));
        assert_eq!(of("t", NORMALISED).map(|s| s.count), Some(2));
        assert_eq!(of("t: several exchanges", EXACT).map(|s| s.count), Some(1));
        assert_eq!(of("t: skill: b", EXACT).map(|s| s.count), Some(1));
        let none = exam.bits("nothing", &[], &mut |_, _| {});
        assert_eq!((none.count, none.value), (0, None));
        // Nobody has learned anything: each byte costs about as much as a choice among all ids.
        let some = exam.bits("some", &["hello there", "and again"], &mut |_, _| {});
        assert!(some.value.unwrap() > 2.0 && some.interval.is_some(), "{some:?}");
        let bare = pupil_tokenizer::train(["x"], 300, &[pupil_chat::END_OF_TEXT]);
        let exam = Exam { tokenizer: &bare, ..exam };
        assert!(exam.task(&task, &mut |_, _| {}).unwrap_err().contains("fine-tuned"));
    }
}
