//! Counts of word sequences, smoothed: the statistical language model that came before networks.
//!
//! Interpolated Kneser–Ney smoothing with three discounts for each order (Kneser & Ney 1995; Chen & Goodman 1998): what is taken from seen
//! sequences goes to the shorter context, where a word counts by how many different words it follows, not by how often it occurs.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

type Map<V> = HashMap<u128, V, FxBuildHasher>;

/// Ids are below 2²⁴, so that a sequence of up to five fits into a key.
const BITS: u32 = 24;

/// Longest sequences that can be counted.
pub const MAX_ORDER: usize = 5;

/// A context: how much was seen after it, and after how many sequences once, twice, more often.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    total: u64,
    seen: [u32; 3],
}

/// The counts of one order.
#[derive(Clone, Debug, Default)]
struct Order {
    /// Of each sequence.
    counts: Map<u32>,
    /// Of each context.
    contexts: Map<Context>,
    /// What is taken from sequences seen once, twice, more often.
    discounts: [f64; 3],
}

/// An n-gram model.
#[derive(Clone, Debug)]
pub struct NGram {
    vocab: usize,
    /// Order 1 first.
    orders: Vec<Order>,
}

fn key(ids: &[u32]) -> u128 {
    // A one in front tells sequences of different lengths apart.
    ids.iter().fold(1, |k, &id| k << BITS | u128::from(id))
}

fn class(count: u32) -> usize {
    count.min(3) as usize - 1
}

impl NGram {
    /// Counts sequences of up to `order` ids.
    ///
    /// # Panics
    /// If the order is not 1 to [`MAX_ORDER`], or an id is not below `vocab` or 2²⁴.
    pub fn count<'a>(order: usize, vocab: usize, sequences: impl Iterator<Item = &'a [u32]>) -> NGram {
        assert!(
            (1..=MAX_ORDER).contains(&order) && vocab < 1 << BITS,
            "n-gram of order {order}, {vocab} ids"
        );
        let mut counts: Vec<Map<u32>> = vec![Map::default(); order];
        for ids in sequences {
            for end in 1..=ids.len() {
                // Whole sequences, and at the beginning shorter ones, which have no word before them.
                let n = order.min(end);
                assert!((ids[end - 1] as usize) < vocab, "n-gram: id {} of {vocab}", ids[end - 1]);
                *counts[n - 1].entry(key(&ids[end - n..end])).or_default() += 1;
            }
        }
        // A shorter sequence counts once for each different id before it.
        for n in (1..order).rev() {
            let mask = (1u128 << (BITS as usize * n)) - 1;
            let (lower, upper) = counts.split_at_mut(n);
            for &k in upper[0].keys() {
                *lower[n - 1].entry(1 << (BITS as usize * n) | k & mask).or_default() += 1;
            }
        }
        let orders = counts.into_iter().map(|counts| {
            let mut of = [0f64; 4];
            let mut contexts: Map<Context> = Map::default();
            for (&k, &c) in &counts {
                if c <= 4 {
                    of[c as usize - 1] += 1.0;
                }
                let context = contexts.entry(k >> BITS).or_default();
                context.total += u64::from(c);
                context.seen[class(c)] += 1;
            }
            let y = of[0] / (of[0] + 2.0 * of[1]).max(1.0);
            let estimate = |i: usize| {
                let d = (i + 1) as f64 - (i + 2) as f64 * y * of[i + 1] / of[i];
                // Too little was seen to estimate it.
                if d.is_finite() && d > 0.0 && d < (i + 1) as f64 { d } else { 0.5 }
            };
            Order { counts, contexts, discounts: [estimate(0), estimate(1), estimate(2)] }
        });
        NGram { vocab, orders: orders.collect() }
    }

    /// The probability of `id` after `context`, of which the last ids are used.
    pub fn probability(&self, context: &[u32], id: u32) -> f64 {
        let mut p = 1.0 / self.vocab as f64;
        for (n, order) in self.orders.iter().enumerate().take(context.len() + 1) {
            let before = key(&context[context.len() - n..]);
            let Some(c) = order.contexts.get(&before) else { break };
            let d = order.discounts;
            let taken: f64 = d.iter().zip(c.seen).map(|(d, n)| d * f64::from(n)).sum();
            let count = order.counts.get(&(before << BITS | u128::from(id))).copied().unwrap_or(0);
            let kept = if count == 0 { 0.0 } else { f64::from(count) - d[class(count)] };
            p = (kept + taken * p) / c.total as f64;
        }
        p
    }

    /// The logarithms of the probabilities of all ids after a context, V.
    pub fn scores(&self, context: &[u32]) -> Vec<f32> {
        (0..self.vocab as u32).map(|id| self.probability(context, id).ln() as f32).collect()
    }

    /// Sequences that were counted, of all orders.
    pub fn len(&self) -> usize {
        self.orders.iter().map(|o| o.counts.len()).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<Vec<u32>> {
        let mut state = 5u32;
        let mut draw = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        (0..40)
            .map(|_| {
                (0..5 + draw(20)).map(|i| if i % 3 == 2 { draw(4) } else { draw(12) * draw(2) }).collect()
            })
            .collect()
    }

    #[test]
    fn probabilities_of_all_ids_sum_to_one_after_any_context() {
        let text = text();
        for order in 1..=MAX_ORDER {
            let model = NGram::count(order, 13, text.iter().map(Vec::as_slice));
            let contexts = text.iter().map(|t| &t[..4]).chain([&[][..], &[12, 12], &[12, 1, 2, 3, 0]]);
            for context in contexts {
                let sum: f64 = (0..13).map(|id| model.probability(context, id)).sum();
                assert!((sum - 1.0).abs() < 1e-9, "order {order} after {context:?}: {sum}");
                assert!((0..13).all(|id| model.probability(context, id) > 0.0));
            }
        }
    }

    #[test]
    fn longer_contexts_predict_better_what_repeats() {
        let ids: Vec<u32> = (0..300).map(|i| [1, 2, 3, 1, 4, 3, 5][i % 7]).collect();
        let nats = |order: usize| -> f64 {
            let model = NGram::count(order, 8, [ids.as_slice()].into_iter());
            (10..200).map(|i| -model.probability(&ids[i - 5..i], ids[i]).ln()).sum()
        };
        assert!(
            nats(1) > nats(2) && nats(2) > nats(3) && nats(3) < 20.0,
            "{} {} {}",
            nats(1),
            nats(2),
            nats(3)
        );
    }

    #[test]
    fn a_word_counts_by_what_it_follows() {
        // 9 is frequent but only ever follows 8; 7 is rarer and follows many.
        let ids: Vec<u32> = [8, 9, 8, 9, 8, 9, 8, 9, 1, 7, 2, 7, 3, 7].to_vec();
        let model = NGram::count(2, 10, [ids.as_slice()].into_iter());
        assert!(model.probability(&[4], 7) > model.probability(&[4], 9));
    }
}
