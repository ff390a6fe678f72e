//! One sequence that grows: what is new is read once, the past lies in the cache.

use pupil_model::{Batch, Gpt, KvCache, Model};
use pupil_tensor::{DType, Graph};

use crate::sample::Sampler;

/// Tokens that are read at a time: bounds the memory of a long prompt.
const CHUNK: usize = 512;

/// Why nothing more can be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The context is full.
    #[error("{tokens} tokens do not fit into the model's context of {context}")]
    ContextFull {
        /// Tokens that would be there.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// The scores cannot be chosen from.
    #[error("{0}")]
    Scores(String),
}

/// A model in the middle of a sequence.
pub struct Generator<'a> {
    gpt: &'a Gpt,
    dtype: DType,
    cache: KvCache,
    /// What the cache holds.
    ids: Vec<u32>,
    /// Scores of the next token after `ids`.
    scores: Vec<f32>,
    /// Most tokens that the sequence may have.
    context: usize,
    /// Tokens that went through the model so far.
    computed: u64,
}

impl<'a> Generator<'a> {
    /// An empty sequence that may become as long as the model's context.
    pub fn new(gpt: &'a Gpt, dtype: DType) -> Generator<'a> {
        Generator::with_context(gpt, dtype, gpt.config.context)
    }

    /// An empty sequence that may have `context` tokens, at most as many as the model was made for.
    pub fn with_context(gpt: &'a Gpt, dtype: DType, context: usize) -> Generator<'a> {
        let context = context.min(gpt.config.context);
        let cache = gpt.cache(1, context, dtype);
        Generator { gpt, dtype, cache, ids: Vec::new(), scores: Vec::new(), context, computed: 0 }
    }

    /// Tokens that the sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens that went through the model since this was made: what the cache saves is not among them.
    pub fn computed(&self) -> u64 {
        self.computed
    }

    /// The sequence.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Makes the sequence be `ids`: what it has in common with the present one is kept, only the rest is read. At least the last id is
    /// read, so that the scores are those after it.
    ///
    /// # Errors
    /// If it does not fit into the context.
    ///
    /// # Panics
    /// If `ids` is empty.
    pub fn set(&mut self, ids: &[u32]) -> Result<(), Error> {
        assert!(!ids.is_empty(), "Generator::set: an empty sequence has no next token");
        let context = self.context;
        if ids.len() > context {
            return Err(Error::ContextFull { tokens: ids.len(), context });
        }
        let common = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count().min(ids.len() - 1);
        self.ids.truncate(common);
        self.cache.truncate(0, common);
        for part in ids[common..].chunks(CHUNK) {
            self.read(part);
        }
        Ok(())
    }

    /// Scores of every next token, V.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Tokens of the sequence.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Chooses the next token and reads it.
    ///
    /// # Errors
    /// If the context is full or the scores are not numbers.
    pub fn next(&mut self, sampler: &Sampler) -> Result<u32, Error> {
        let id = self.choose(sampler)?;
        self.push(id)?;
        Ok(id)
    }

    /// Chooses the next token without reading it.
    ///
    /// # Errors
    /// If the scores are not numbers.
    pub fn choose(&self, sampler: &Sampler) -> Result<u32, Error> {
        sampler.choose_after(&self.ids, &self.scores, self.ids.len() as u64).map_err(Error::Scores)
    }

    /// Reads one token more.
    ///
    /// # Errors
    /// If the context is full.
    pub fn push(&mut self, id: u32) -> Result<(), Error> {
        let context = self.context;
        if self.ids.len() == context {
            return Err(Error::ContextFull { tokens: context + 1, context });
        }
        self.read(&[id]);
        Ok(())
    }

    fn read(&mut self, part: &[u32]) {
        let span = 0..part.len();
        let batch = Batch::continuing(part, std::slice::from_ref(&span), &[self.ids.len()]);
        let mut graph = Graph::inference(self.gpt.parameters(), self.dtype);
        let hidden = self.gpt.forward(&mut graph, &batch, Some(&mut self.cache));
        self.cache.advance(&batch.spans);
        let last = hidden.select_rows(&[part.len() - 1]);
        self.scores = self.gpt.logits(&mut graph, &last).to_vec();
        self.ids.extend_from_slice(part);
        self.computed += part.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::families;

    fn models() -> Vec<Gpt> {
        ["gpt2", "llama3-8b", "gemma3-1b", "mistral-7b"]
            .iter()
            .map(|name| {
                let c = families::preset(name).unwrap();
                let positions = match c.positions {
                    pupil_model::gpt::Positions::Rotary { theta, local_theta, pairing, scaling, .. } => {
                        pupil_model::gpt::Positions::Rotary { theta, local_theta, width: 8, pairing, scaling }
                    }
                    other => other,
                };
                let c = pupil_model::gpt::Config {
                    vocab: 50,
                    context: 40,
                    layers: 3,
                    width: 32,
                    heads: 4,
                    kv_heads: if c.kv_heads == c.heads { 4 } else { 2 },
                    head_width: 8,
                    hidden: 48,
                    window: c.window.map(|_| 7),
                    positions,
                    ..c
                };
                let mut gpt = Gpt::new(c, 3);
                let ids: Vec<_> = gpt.parameters().iter().map(|(id, _)| id).collect();
                for id in ids {
                    gpt.parameters_mut().data_mut(id).iter_mut().for_each(|x| *x *= 4.0);
                }
                gpt
            })
            .collect()
    }

    fn close(a: &[f32], b: &[f32]) {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-4, "{worst}");
    }

    #[test]
    fn with_the_cache_scores_are_those_of_reading_everything_anew() {
        let ids: Vec<u32> = (0..33).map(|i| i * 7 % 50).collect();
        for gpt in models() {
            let mut grown = Generator::new(&gpt, DType::F32);
            grown.set(&ids[..1]).unwrap();
            for n in 2..=ids.len() {
                grown.set(&ids[..n]).unwrap();
                let whole = 0..n;
                let batch = Batch::reading(&ids[..n], std::slice::from_ref(&whole));
                let mut graph = Graph::inference(gpt.parameters(), DType::F32);
                let hidden = gpt.forward(&mut graph, &batch, None);
                let all = gpt.logits(&mut graph, &hidden).to_vec();
                close(grown.scores(), &all[(n - 1) * 50..]);
            }
            // Another ending after a common beginning, and the same at once.
            let mut other = ids[..20].to_vec();
            other.extend([3, 4, 5]);
            grown.set(&other).unwrap();
            let mut fresh = Generator::new(&gpt, DType::F32);
            fresh.set(&other).unwrap();
            close(grown.scores(), fresh.scores());
        }
    }

    #[test]
    fn generation_ends_where_the_context_does() {
        let gpt = &models()[0];
        let mut g = Generator::new(gpt, DType::F32);
        g.set(&[1; 38]).unwrap();
        assert!(g.next(&Sampler::greedy()).is_ok() && g.next(&Sampler::greedy()).is_ok());
        assert!(matches!(g.next(&Sampler::greedy()), Err(Error::ContextFull { context: 40, .. })));
        assert!(matches!(g.set(&[1; 41]), Err(Error::ContextFull { tokens: 41, .. })));
    }
}
