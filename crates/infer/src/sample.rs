//! Choosing the next token from its scores: softmax at a temperature, cut to the likely ones, drawn by a counter-based random number.
//!
//! Top-k: Fan et al. 2018; top-p: Holtzman et al. 2020; min-p: Nguyen et al. 2024; repeat penalty: Keskar et al. 2019.

use pupil_tensor::kernels::random::Key;

/// Tokens back from the end that the repeat penalty knows of.
const REMEMBERED: usize = 64;

/// How tokens are chosen. The same seed and position give the same choice, whatever else is generated beside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Scores are divided by it; 0 takes the best.
    pub temperature: f32,
    /// Only the best so many; 0: all.
    pub top_k: usize,
    /// Only the best that together have this probability; 1: all.
    pub top_p: f32,
    /// Only those with at least this share of the best one's probability; 0: all.
    pub min_p: f32,
    /// Positive scores of the last 64 tokens are divided by it, negative ones multiplied; 1: none of it.
    pub repeat_penalty: f32,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { temperature: 0.7, top_k: 0, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, seed: 1 }
    }
}

impl Sampler {
    /// Always the best.
    pub fn greedy() -> Sampler {
        Sampler { temperature: 0.0, ..Sampler::default() }
    }

    /// Says which setting has no meaning.
    ///
    /// # Errors
    /// Names it, with its value and the range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, x: f32, range: &str, good: bool| {
            if good { Ok(()) } else { Err(format!("{name} {x}: {range}")) }
        };
        let t = self.temperature;
        within("temperature", t, "0 or more, and finite", t >= 0.0 && t.is_finite())?;
        within("top-p", self.top_p, "0 to 1", (0.0..=1.0).contains(&self.top_p))?;
        within("min-p", self.min_p, "0 to 1", (0.0..=1.0).contains(&self.min_p))?;
        let r = self.repeat_penalty;
        within("repeat penalty", r, "more than 0, and finite; 1 is none", r > 0.0 && r.is_finite())
    }

    /// The id chosen at a position.
    ///
    /// # Errors
    /// If a setting has no meaning, a score is NaN or +∞, or all are −∞.
    pub fn choose(&self, scores: &[f32], position: u64) -> Result<u32, String> {
        self.check()?;
        let best = best(scores)?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let kept = self.kept(scores, best);
        let mass: f64 = kept.iter().map(|k| k.1).sum();
        let mut left = f64::from(Key { seed: self.seed, stream: 2 << 32, step: position }.unit(0)) * mass;
        for &(id, weight) in &kept {
            left -= weight;
            if left < 0.0 {
                return Ok(id);
            }
        }
        // What rounding left over: the last one kept, whose weight is not 0.
        Ok(kept.last().map_or(best, |k| k.0))
    }

    /// The same after `past`, whose last tokens are penalised.
    ///
    /// # Errors
    /// As [`Sampler::choose`].
    pub fn choose_after(&self, past: &[u32], scores: &[f32], position: u64) -> Result<u32, String> {
        if self.repeat_penalty == 1.0 {
            return self.choose(scores, position);
        }
        let mut scores = scores.to_vec();
        let mut recent = past[past.len().saturating_sub(REMEMBERED)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for id in recent {
            if let Some(s) = scores.get_mut(id as usize) {
                *s = if *s > 0.0 { *s / self.repeat_penalty } else { *s * self.repeat_penalty };
            }
        }
        self.choose(&scores, position)
    }

    /// Ids that may be chosen, best first, with their weights relative to the best one's, which is 1.
    fn kept(&self, scores: &[f32], best: u32) -> Vec<(u32, f64)> {
        let score = |i: u32| scores[i as usize];
        // Relative to the best, in f64: no overflow at any temperature.
        let weight = |i: u32| (f64::from(score(i) - score(best)) / f64::from(self.temperature)).exp();
        let all = (0..scores.len() as u32).map(|i| (i, weight(i)));
        let mut kept: Vec<(u32, f64)> = all.filter(|&(_, w)| w > 0.0).collect();
        let total: f64 = kept.iter().map(|k| k.1).sum();
        // The best one stays whatever rounding makes of its share.
        kept.retain(|&(id, w)| id == best || w >= f64::from(self.min_p));
        // Best first, of equals the smaller id.
        let order = |a: &(u32, f64), b: &(u32, f64)| score(b.0).total_cmp(&score(a.0)).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < kept.len() {
            kept.select_nth_unstable_by(self.top_k, order);
            kept.truncate(self.top_k);
        }
        kept.sort_unstable_by(order);
        if self.top_p < 1.0 {
            let enough = f64::from(self.top_p) * total;
            let (mut mass, mut n) = (0.0, 0);
            while n < kept.len() && mass < enough {
                mass += kept[n].1;
                n += 1;
            }
            kept.truncate(n.max(1));
        }
        kept
    }
}

/// The id with the best score, of equals the smallest.
fn best(scores: &[f32]) -> Result<u32, String> {
    if let Some(i) = scores.iter().position(|s| s.is_nan() || *s == f32::INFINITY) {
        return Err(format!("the score of id {i} is {}: the model is broken", scores[i]));
    }
    let mut best = 0;
    for (i, s) in scores.iter().enumerate() {
        if *s > scores[best] {
            best = i;
        }
    }
    match scores.get(best) {
        None => Err("there is no token to choose from".to_owned()),
        Some(&f32::NEG_INFINITY) => Err("every token is excluded".to_owned()),
        Some(_) => Ok(best as u32),
    }
}

/// The `n` likeliest ids with their probabilities at temperature 1, best first: what the model itself thinks, before anything is cut.
pub fn likeliest(scores: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if n < order.len() {
        order.select_nth_unstable_by(n, by_score);
        order.truncate(n);
    }
    order.sort_unstable_by(by_score);
    order.into_iter().map(|id| (id, probability(scores, id))).collect()
}

/// The probability of an id at temperature 1.
pub fn probability(scores: &[f32], id: u32) -> f32 {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |s: f32| f64::from(s - most).exp();
    let total: f64 = scores.iter().map(|&s| weight(s)).sum();
    scores.get(id as usize).map_or(0.0, |&s| (weight(s) / total) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything may be chosen.
    fn open() -> Sampler {
        Sampler { temperature: 1.0, top_p: 1.0, min_p: 0.0, ..Sampler::default() }
    }

    /// The ids that 2,000 draws give.
    fn drawn(s: Sampler, scores: &[f32]) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..2000).map(|p| s.choose(scores, p).unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    #[test]
    fn n12_extremes_are_greedy_or_defined() {
        let scores = [1.0, 3.0, 3.0, -1.0];
        for s in [
            Sampler::greedy(),
            Sampler { temperature: 1e-8, top_p: 0.4, ..open() },
            Sampler { top_k: 1, temperature: 1e6, ..open() },
            Sampler { top_p: 0.0, ..open() },
        ] {
            assert_eq!(drawn(s, &scores), [1], "{s:?}");
        }
        // The two best are equal, and only they have the best one's probability.
        for s in [
            Sampler { min_p: 1.0, ..open() },
            Sampler { temperature: 1e-8, ..open() },
            Sampler { top_k: 2, ..open() },
        ] {
            assert_eq!(drawn(s, &scores), [1, 2], "{s:?}");
        }
        for s in [
            Sampler { temperature: 1e6, ..open() },
            Sampler { top_k: 4, temperature: 9.0, ..open() },
            Sampler { top_k: 1000, temperature: 9.0, ..open() },
            Sampler { top_k: 0, temperature: f32::MAX, ..open() },
        ] {
            assert_eq!(drawn(s, &scores), [0, 1, 2, 3], "{s:?}");
        }
        assert_eq!(drawn(open(), &[2.5; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(drawn(open(), &[f32::MIN, f32::MAX]), [1]);
    }

    #[test]
    fn n12_what_is_excluded_is_never_chosen() {
        let one = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for s in [open(), Sampler { temperature: 1e6, ..open() }, Sampler { top_k: 3, ..open() }] {
            assert_eq!(drawn(s, &one), [1]);
        }
        // A probability that rounds to 0 is 0.
        assert_eq!(drawn(Sampler { temperature: 0.001, ..open() }, &[0.0, -1.0]), [0]);
    }

    #[test]
    fn n12_what_has_no_meaning_is_an_error() {
        for (s, word) in [
            (Sampler { temperature: f32::NAN, ..open() }, "temperature NaN"),
            (Sampler { temperature: -1.0, ..open() }, "temperature -1"),
            (Sampler { top_p: 1.5, ..open() }, "top-p 1.5"),
            (Sampler { min_p: f32::NAN, ..open() }, "min-p NaN"),
            (Sampler { repeat_penalty: 0.0, ..open() }, "repeat penalty 0"),
        ] {
            assert!(s.choose(&[0.0, 1.0], 0).unwrap_err().contains(word), "{s:?}");
        }
        for s in [open(), Sampler::greedy()] {
            assert!(s.choose(&[0.0, f32::NAN], 0).unwrap_err().contains("id 1 is NaN"));
            assert!(s.choose(&[f32::INFINITY, 0.0], 0).unwrap_err().contains("id 0 is inf"));
            assert!(s.choose(&[f32::NEG_INFINITY; 3], 0).unwrap_err().contains("excluded"));
            assert!(s.choose(&[], 0).is_err());
        }
    }

    #[test]
    fn n12_frequencies_are_the_probabilities() {
        // 20,000 draws: a share of ½ is off by more than 2 % with probability below 1e-7.
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0f64; 3];
        for p in 0..20_000 {
            counts[open().choose(&scores, p).unwrap() as usize] += 1.0 / 20_000.0;
        }
        assert!((counts[0] - 0.5).abs() < 0.02 && (counts[1] - 0.3).abs() < 0.02, "{counts:?}");
        assert_eq!(drawn(Sampler { top_p: 0.6, ..open() }, &scores), [0, 1]);
        assert_eq!(drawn(Sampler { top_p: 0.9, min_p: 0.5, ..open() }, &scores), [0, 1]);
        let thought = likeliest(&scores, 2);
        assert!(thought[0].0 == 0 && (thought[0].1 - 0.5).abs() < 1e-6 && thought.len() == 2);
    }

    #[test]
    fn a_repeated_token_loses() {
        let s = Sampler { repeat_penalty: 2.0, ..Sampler::greedy() };
        assert_eq!(s.choose_after(&[], &[3.0, 2.0, -1.0], 0), Ok(0));
        assert_eq!(s.choose_after(&[0, 0], &[3.0, 2.0, -1.0], 0), Ok(1));
        assert_eq!(s.choose_after(&[0, 1], &[-3.0, -1.0, -1.5], 0), Ok(2));
        // What lies further back is forgotten, and ids that the model does not have do no harm.
        let long: Vec<u32> = std::iter::once(0).chain([9; REMEMBERED]).collect();
        assert_eq!(s.choose_after(&long, &[3.0, 2.0], 0), Ok(0));
    }
}
