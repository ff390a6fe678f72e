//! Greedy replies to many prompts at once. Each step is one row of tokens: from sequences that go on their next token, from those that begin
//! their whole prompt. Where a reply ends, the next prompt takes its place.

use std::ops::Range;

use pupil_model::{Batch, Gpt, KvCache, Model};
use pupil_tensor::{DType, Graph};

/// Sequences side by side.
const TOGETHER: usize = 32;

/// Writes replies.
pub struct Writer<'a> {
    /// The model.
    pub gpt: &'a Gpt,
    /// Element type of matrix operands.
    pub dtype: DType,
    /// Ids that end a reply.
    pub ends: Vec<u32>,
    /// Tokens of a reply at most.
    pub most: usize,
}

/// A sequence that is being written.
struct Slot {
    prompt: usize,
    /// Ids that the cache does not hold yet.
    new: Vec<u32>,
    length: usize,
    reply: Vec<u32>,
}

impl Writer<'_> {
    /// The reply to each prompt, without what ends it; `None` of an empty prompt, or one that leaves no room in the context. `done` is told
    /// how many are finished.
    ///
    /// # Errors
    /// If a score is not a number.
    pub fn replies(
        &self,
        prompts: &[Vec<u32>],
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Option<Vec<u32>>>, String> {
        let context = self.gpt.config.context;
        let mut replies = vec![None; prompts.len()];
        let fit = |&i: &usize| !prompts[i].is_empty() && prompts[i].len() < context;
        let mut waiting: Vec<usize> = (0..prompts.len()).filter(fit).collect();
        // Longest first: what is read with them fills the row evenly, and the last to finish are short.
        waiting.sort_by_key(|&i| prompts[i].len());
        let longest = waiting.last().map_or(0, |&i| prompts[i].len());
        let capacity = (longest + self.most).min(context);
        let mut slots: Vec<Slot> = Vec::new();
        while slots.len() < TOGETHER
            && let Some(i) = waiting.pop()
        {
            slots.push(Slot::new(i, &prompts[i]));
        }
        if slots.is_empty() {
            return Ok(replies);
        }
        let mut cache = self.gpt.cache(slots.len(), capacity, self.dtype);
        let mut finished = 0;
        while !slots.is_empty() {
            let next = self.step(&mut slots, &mut cache)?;
            let mut stay = Vec::with_capacity(slots.len());
            for (s, id) in next.into_iter().enumerate() {
                let slot = &mut slots[s];
                let full = slot.reply.len() + 1 >= self.most || slot.length + 1 >= capacity;
                let ends = self.ends.contains(&id);
                if !ends {
                    slot.reply.push(id);
                    slot.new = vec![id];
                }
                if !ends && !full {
                    stay.push(s);
                    continue;
                }
                replies[slot.prompt] = Some(std::mem::take(&mut slot.reply));
                finished += 1;
                done(finished);
                if let Some(i) = waiting.pop() {
                    *slot = Slot::new(i, &prompts[i]);
                    cache.truncate(s, 0);
                    stay.push(s);
                }
            }
            if stay.len() < slots.len() {
                cache = cache.select(&stay);
                slots = slots
                    .into_iter()
                    .enumerate()
                    .filter(|(s, _)| stay.contains(s))
                    .map(|(_, slot)| slot)
                    .collect();
            }
        }
        Ok(replies)
    }

    /// Reads what is new of every sequence, and gives the best next token of each.
    fn step(&self, slots: &mut [Slot], cache: &mut KvCache) -> Result<Vec<u32>, String> {
        let mut ids: Vec<u32> = Vec::new();
        let mut spans: Vec<Range<usize>> = Vec::new();
        let offsets: Vec<usize> = slots.iter().map(|s| s.length).collect();
        for slot in slots.iter_mut() {
            let from = ids.len();
            ids.append(&mut slot.new);
            slot.length += ids.len() - from;
            spans.push(from..ids.len());
        }
        let batch = Batch::continuing(&ids, &spans, &offsets);
        let mut graph = Graph::inference(self.gpt.parameters(), self.dtype);
        let hidden = self.gpt.forward(&mut graph, &batch, Some(&mut *cache));
        cache.advance(&batch.spans);
        let last: Vec<usize> = spans.iter().map(|s| s.end - 1).collect();
        let scores = self.gpt.logits(&mut graph, &hidden.select_rows(&last)).to_vec();
        scores.chunks_exact(self.gpt.config.vocab).map(best).collect()
    }
}

impl Slot {
    fn new(prompt: usize, ids: &[u32]) -> Slot {
        Slot { prompt, new: ids.to_vec(), length: 0, reply: Vec::new() }
    }
}

/// The id with the best score, of equals the smallest.
fn best(scores: &[f32]) -> Result<u32, String> {
    let mut best = 0;
    for (i, s) in scores.iter().enumerate() {
        if s.is_nan() {
            return Err(format!("the score of id {i} is NaN: the model is broken"));
        }
        if *s > scores[best] {
            best = i;
        }
    }
    Ok(best as u32)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pupil_infer::{Generator, Sampler};
    use pupil_model::families;
    use pupil_model::gpt::Config;

    /// A small model whose words are not all the same.
    pub(crate) fn model(context: usize) -> Gpt {
        let c = families::preset("gpt2").unwrap();
        let small = Config {
            vocab: 40,
            context,
            layers: 2,
            width: 32,
            heads: 4,
            kv_heads: 4,
            head_width: 8,
            hidden: 64,
            ..c
        };
        let mut gpt = Gpt::new(small, 3);
        let ids: Vec<_> = gpt.parameters().iter().map(|(id, _)| id).collect();
        for id in ids {
            gpt.parameters_mut().data_mut(id).iter_mut().for_each(|x| *x *= 4.0);
        }
        gpt
    }

    #[test]
    fn many_at_once_say_what_each_says_alone() {
        let gpt = model(24);
        let prompts: Vec<Vec<u32>> =
            (0..90u32).map(|i| (0..i % 27).map(|j| (i * 7 + j * 3) % 40).collect()).collect();
        let writer = Writer { gpt: &gpt, dtype: DType::F32, ends: vec![5, 6], most: 9 };
        let mut last = 0;
        let replies = writer.replies(&prompts, &mut |n| last = n).unwrap();
        let mut said = 0;
        for (prompt, reply) in prompts.iter().zip(&replies) {
            if prompt.is_empty() || prompt.len() >= 24 {
                assert_eq!(*reply, None);
                continue;
            }
            let mut g = Generator::new(&gpt, DType::F32);
            g.set(prompt).unwrap();
            let mut alone = Vec::new();
            while alone.len() < 9 && prompt.len() + alone.len() < 24 {
                let Ok(id) = g.next(&Sampler::greedy()) else { break };
                if id == 5 || id == 6 {
                    break;
                }
                alone.push(id);
            }
            assert_eq!(reply.as_ref(), Some(&alone), "{} tokens", prompt.len());
            said += 1;
        }
        assert_eq!(last, said);
        assert!(
            replies.iter().flatten().any(|r| r.len() == 9) && replies.iter().flatten().any(|r| r.len() < 5)
        );
        assert_eq!(writer.replies(&[], &mut |_| {}).unwrap(), Vec::<Option<Vec<u32>>>::new());
    }

    #[test]
    fn scores_that_are_no_numbers_are_an_error() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), Ok(1));
        assert!(best(&[1.0, f32::NAN]).unwrap_err().contains("id 1"));
    }
}
