//! What a model writes on the way: a few words from the same beginnings, so that one sees it learn.
//!
//! Writing changes nothing that is learned: it reads the weights, and its luck comes from a counter of its own. It takes at most a hundredth of the
//! run's time: where the steps are short, samples are left out.

use std::time::Instant;

use pupil_chat::{Message, Renderer, Role};
use pupil_data::{Examples, Row};
use pupil_infer::{Generator, Sampler};
use pupil_model::Gpt;
use pupil_report::history::Sample;
use pupil_tensor::DType;
use pupil_tokenizer::{Decoder, Tokenizer};
use pupil_train::Plan;

use crate::model::end_ids;

/// Tokens of a sample.
const TOKENS: usize = 48;
/// Tokens of a held-out text that are given.
const GIVEN: usize = 8;
/// Prompts that are taken from held-out texts.
const PROMPTS: usize = 2;
/// Share of the run's time that writing may take, but for the first and the last sample.
const SHARE: f64 = 0.01;

/// A way to let a model write.
pub(crate) struct Voice {
    tokenizer: Tokenizer,
    prompts: Vec<(String, Vec<u32>)>,
    example: String,
    dtype: DType,
    last_step: u64,
    begun: Instant,
    spent: f64,
    done: u64,
}

impl Voice {
    /// For a run; `examples` give the prompts if none is named.
    pub(crate) fn new(
        tokenizer: Tokenizer,
        plan: &Plan,
        examples: &dyn Examples,
        named: &[String],
    ) -> anyhow::Result<Voice> {
        let is_chat = plan.stage == "finetune";
        let (mut prompts, mut example) = (Vec::new(), String::new());
        let mut row = Row::default();
        examples.rows(plan.row_tokens, plan.seed).next(&mut row)?;
        for span in &row.spans {
            let ids = &row.ids[span.clone()];
            let learned = row.weights[span.clone()].iter().position(|w| *w > 0.0).unwrap_or(0);
            if example.is_empty() && ids.len() > GIVEN {
                example = tokenizer.decode(&said(&tokenizer, ids));
            }
            // What comes before the first learned token is the question; of a text, its first words are given.
            let given = if is_chat { learned + 1 } else { GIVEN };
            if ids.len() >= given + GIVEN.min(4) && prompts.len() < PROMPTS {
                let prompt = (shown(&tokenizer, &ids[..given], is_chat), ids[..given].to_vec());
                if !prompts.contains(&prompt) {
                    prompts.push(prompt);
                }
            }
        }
        if !named.is_empty() {
            let renderer = if is_chat { Some(Renderer::new(&tokenizer)?) } else { None };
            prompts = named
                .iter()
                .map(|text| match &renderer {
                    Some(r) => {
                        let ids = r.render(&[Message::new(Role::User, text.as_str())], true).ids;
                        (shown(&tokenizer, &ids, true), ids)
                    }
                    None => (text.clone(), tokenizer.encode(text)),
                })
                .filter(|p| !p.1.is_empty())
                .collect();
        }
        let (dtype, last_step) = (plan.dtype(), plan.steps);
        Ok(Voice {
            tokenizer,
            prompts,
            example,
            dtype,
            last_step,
            begun: Instant::now(),
            spent: 0.0,
            done: 0,
        })
    }

    /// The beginning of a held-out text.
    pub(crate) fn example(&self) -> String {
        self.example.clone()
    }

    /// How many steps there will be; that may change on the way.
    pub(crate) fn ends_at(&mut self, steps: u64) {
        self.last_step = steps;
    }

    /// What the model writes after a step, if it is time: after steps 1, 10, 30, 100, 300 … and at evaluations.
    pub(crate) fn write(&mut self, step: u64, gpt: &Gpt, is_evaluation: bool) -> Vec<Sample> {
        let due = is_evaluation || is_mark(step);
        let dear =
            self.spent > SHARE * self.begun.elapsed().as_secs_f64() && step > 1 && step < self.last_step;
        // An evaluation follows its step.
        if !due || dear || self.done == step {
            return Vec::new();
        }
        self.done = step;
        let since = Instant::now();
        let each = self.prompts.iter().filter_map(|(prompt, ids)| {
            Some(Sample { step, prompt: prompt.clone(), text: self.one(gpt, ids)? })
        });
        let samples = each.collect();
        self.spent += since.elapsed().as_secs_f64();
        samples
    }

    /// One continuation; none if the model cannot give any.
    fn one(&self, gpt: &Gpt, ids: &[u32]) -> Option<String> {
        let sampler = Sampler::default();
        let ends = end_ids(&self.tokenizer);
        let mut generator = Generator::new(gpt, self.dtype);
        generator.set(ids).ok()?;
        let mut decoder = Decoder::new(&self.tokenizer);
        let mut text = String::new();
        for _ in 0..TOKENS {
            match generator.next(&sampler) {
                Ok(id) if !ends.contains(&id) => text += &decoder.push(id),
                _ => break,
            }
        }
        Some(text + &decoder.finish())
    }
}

/// 1, 10, 30, 100, 300, …
fn is_mark(step: u64) -> bool {
    let mut s = step;
    while s > 9 && s.is_multiple_of(10) {
        s /= 10;
    }
    s == 1 || s == 3 && step > 9
}

/// Ids that are text.
fn said(t: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|id| !t.is_special(*id)).collect()
}

/// Ids as a person reads them: of a chat the turns on lines of their own.
fn shown(t: &Tokenizer, ids: &[u32], is_chat: bool) -> String {
    if !is_chat {
        return t.decode(&said(t, ids));
    }
    let turns = ids.split(|id| t.is_special(*id)).map(|part| t.decode(part));
    let turns: Vec<String> =
        turns.map(|p| p.trim().replacen('\n', ": ", 1)).filter(|p| !p.is_empty()).collect();
    format!("{}: ", turns.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_factors_of_three_apart() {
        let marks: Vec<u64> = (1..3500).filter(|s| is_mark(*s)).collect();
        assert_eq!(marks, [1, 10, 30, 100, 300, 1000, 3000]);
    }
}
