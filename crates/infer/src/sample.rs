//! Choosing the next token from its scores.

use pupil_tensor::kernels::random::Key;

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
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { temperature: 0.7, top_k: 0, top_p: 0.95, min_p: 0.05, seed: 1 }
    }
}

impl Sampler {
    /// Always the best.
    pub fn greedy() -> Sampler {
        Sampler { temperature: 0.0, ..Sampler::default() }
    }

    /// The id chosen at a position.
    ///
    /// # Errors
    /// If a score is NaN, or all are −∞.
    pub fn choose(&self, scores: &[f32], position: u64) -> Result<u32, String> {
        if let Some(i) = scores.iter().position(|s| s.is_nan()) {
            return Err(format!("the score of id {i} is NaN: the model is broken"));
        }
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let score = |i: u32| scores[i as usize];
        // Best first, of equals the smaller id.
        order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        let best = *order.first().ok_or("there is no token to choose from")?;
        if score(best) == f32::NEG_INFINITY {
            return Err("every token is excluded".to_owned());
        }
        if self.temperature <= 0.0 {
            return Ok(best);
        }
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        // Relative to the best, in f64: no overflow at any temperature.
        let weight = |i: u32| (f64::from(score(i) - score(best)) / f64::from(self.temperature)).exp();
        let weights: Vec<f64> = order.iter().map(|&i| weight(i)).collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0;
        let mut mass = 0.0;
        for &w in &weights {
            if kept > 0 && (mass >= f64::from(self.top_p) * total || w < f64::from(self.min_p) || w == 0.0) {
                break;
            }
            mass += w;
            kept += 1;
        }
        let mut left = f64::from(Key { seed: self.seed, stream: 2 << 32, step: position }.unit(0)) * mass;
        for (&id, &w) in order.iter().zip(&weights[..kept]) {
            left -= w;
            if left < 0.0 {
                return Ok(id);
            }
        }
        Ok(order[kept - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_greedy_or_defined() {
        let scores = [1.0, 3.0, 3.0, -1.0];
        for s in [
            Sampler::greedy(),
            Sampler { temperature: 1e-8, top_p: 0.4, ..Sampler::default() },
            Sampler { top_k: 1, temperature: 1e6, ..Sampler::default() },
            Sampler { top_p: 0.0, ..Sampler::default() },
        ] {
            assert_eq!(s.choose(&scores, 3), Ok(1), "{s:?}");
        }
        assert!(Sampler::default().choose(&[0.0, f32::NAN], 0).unwrap_err().contains("id 1"));
        assert!(Sampler::default().choose(&[f32::NEG_INFINITY; 3], 0).is_err());
        assert!(Sampler::default().choose(&[], 0).is_err());
        let one = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        let wild = Sampler { temperature: 1e6, top_p: 1.0, min_p: 0.0, ..Sampler::default() };
        assert!((0..200).all(|p| wild.choose(&one, p) == Ok(1)));
    }

    #[test]
    fn frequencies_are_the_probabilities() {
        // 20,000 draws: a share of ½ is off by more than 2 % with probability below 1e-7.
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let s = Sampler { temperature: 1.0, top_p: 1.0, min_p: 0.0, ..Sampler::default() };
        let mut counts = [0f64; 3];
        for p in 0..20_000 {
            counts[s.choose(&scores, p).unwrap() as usize] += 1.0 / 20_000.0;
        }
        assert!((counts[0] - 0.5).abs() < 0.02 && (counts[1] - 0.3).abs() < 0.02, "{counts:?}");
        let nucleus = Sampler { top_p: 0.6, ..s };
        assert!((0..500).all(|p| nucleus.choose(&scores, p).unwrap() < 2));
    }
}
