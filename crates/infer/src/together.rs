//! Many replies at once: several for each of several prompts, one new token for each in every pass.

use std::ops::Range;

use pupil_model::{Batch, Gpt, KvCache, Model};
use pupil_tensor::{DType, Graph};

use crate::generate::Error;
use crate::sample::Sampler;

/// Goes on with each prompt `group` times, until one of `end` is said (it belongs to the reply) or `max_new` tokens are there. Reply `i` of
/// prompt `p` is chosen with `sampler(p, i)`; it does not depend on its company. Prompt by prompt, their replies in order.
///
/// # Errors
/// If a prompt with its reply does not fit into the context, or scores are not numbers.
///
/// # Panics
/// If a prompt is empty.
pub fn replies(
    gpt: &Gpt,
    dtype: DType,
    prompts: &[Vec<u32>],
    group: usize,
    max_new: usize,
    end: &[u32],
    sampler: &dyn Fn(usize, usize) -> Sampler,
) -> Result<Vec<Vec<u32>>, Error> {
    let count = prompts.len() * group;
    let mut replies: Vec<Vec<u32>> = vec![Vec::new(); count];
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    if count == 0 || max_new == 0 {
        return Ok(replies);
    }
    let (tokens, context) = (longest + max_new, gpt.config.context);
    if tokens > context {
        return Err(Error::ContextFull { tokens, context });
    }
    let mut cache = gpt.cache(prompts.len(), tokens, dtype);
    let (ids, spans) = side_by_side(prompts);
    let scores = read(gpt, dtype, &mut cache, &ids, &spans);
    // Every reply has the scores and the past of its prompt.
    let of: Vec<usize> = (0..count).map(|r| r / group).collect();
    let mut cache = cache.select(&of);
    let mut scores: Vec<Vec<f32>> = of.iter().map(|&p| scores[p].clone()).collect();
    let mut living: Vec<usize> = (0..count).collect();
    loop {
        let mut next = Vec::with_capacity(living.len());
        for (&reply, scores) in living.iter().zip(&scores) {
            let said = &mut replies[reply];
            let is_over = said.last().is_some_and(|id| end.contains(id));
            if !is_over && said.len() < max_new {
                let sampler = sampler(reply / group, reply % group);
                said.push(sampler.choose(scores, said.len() as u64).map_err(Error::Scores)?);
            }
            next.extend(said.last().copied());
        }
        let goes_on =
            |r: usize| replies[r].len() < max_new && !replies[r].last().is_some_and(|id| end.contains(id));
        let places: Vec<usize> = (0..living.len()).filter(|&i| goes_on(living[i])).collect();
        if places.is_empty() {
            return Ok(replies);
        }
        // Replies that are over leave when they are half of the company: until then they are read along, and what comes of it is not used.
        if places.len() * 2 <= living.len() {
            cache = cache.select(&places);
            next = places.iter().map(|&i| next[i]).collect();
            living = places.iter().map(|&i| living[i]).collect();
        }
        let spans: Vec<Range<usize>> = (0..living.len()).map(|i| i..i + 1).collect();
        scores = read(gpt, dtype, &mut cache, &next, &spans);
    }
}

fn side_by_side(prompts: &[Vec<u32>]) -> (Vec<u32>, Vec<Range<usize>>) {
    let (mut ids, mut spans) = (Vec::new(), Vec::new());
    for p in prompts {
        assert!(!p.is_empty(), "replies: an empty prompt has no next token");
        spans.push(ids.len()..ids.len() + p.len());
        ids.extend_from_slice(p);
    }
    (ids, spans)
}

/// Reads new tokens of every sequence and returns the scores after the last of each.
fn read(gpt: &Gpt, dtype: DType, cache: &mut KvCache, ids: &[u32], spans: &[Range<usize>]) -> Vec<Vec<f32>> {
    let offsets: Vec<usize> = (0..spans.len()).map(|i| cache.len(i)).collect();
    let batch = Batch::continuing(ids, spans, &offsets);
    let mut graph = Graph::inference(gpt.parameters(), dtype);
    let hidden = gpt.forward(&mut graph, &batch, Some(cache));
    cache.advance(&batch.spans);
    let ends = batch.ends(&hidden);
    gpt.logits(&mut graph, &ends).to_vec().chunks_exact(gpt.config.vocab).map(<[f32]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generator;
    use pupil_model::families;

    #[test]
    fn replies_are_those_of_one_sequence_alone() {
        let mut gpt = Gpt::new(families::llama(40, 48, 2, 32, [4, 2], 48), 3);
        let ids: Vec<_> = gpt.parameters().iter().map(|(id, _)| id).collect();
        for id in ids {
            gpt.parameters_mut().data_mut(id).iter_mut().for_each(|x| *x *= 4.0);
        }
        let prompts = vec![vec![1, 2, 3], vec![4, 5, 6, 7, 8, 9], vec![10]];
        let sampler = |p: usize, i: usize| Sampler {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: (10 * p + i) as u64,
        };
        let (max_new, end) = (12, [0, 7, 11, 19]);
        let all = replies(&gpt, DType::F32, &prompts, 4, max_new, &end, &sampler).unwrap();
        assert_eq!(all.len(), 12);
        for (r, reply) in all.iter().enumerate() {
            let mut alone = Generator::new(&gpt, DType::F32);
            let mut expected = Vec::new();
            let mut whole = prompts[r / 4].clone();
            while expected.len() < max_new && !expected.last().is_some_and(|id| end.contains(id)) {
                alone.set(&whole).unwrap();
                let id = sampler(r / 4, r % 4).choose(alone.scores(), expected.len() as u64).unwrap();
                expected.push(id);
                whole.push(id);
            }
            assert_eq!(*reply, expected, "reply {r}");
        }
        assert!(all.iter().any(|r| r.len() < max_new) && all.iter().any(|r| r.len() > 3), "{all:?}");
        assert!(matches!(
            replies(&gpt, DType::F32, &prompts, 1, 43, &end, &sampler),
            Err(Error::ContextFull { tokens: 49, context: 48 })
        ));
        assert!(replies(&gpt, DType::F32, &[], 4, 5, &end, &sampler).unwrap().is_empty());
    }
}
