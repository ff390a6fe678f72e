//! What is learned from replies that were judged, instead of from words to be repeated: preferences and rewards.
//!
//! With `ℓ` the log-probability of a reply's tokens and `ℓ°` that of a reference model:
//!
//! - [`Aim::Preferences`], DPO (Rafailov et al. 2023): `m = β·((ℓ₊ − ℓ°₊) − (ℓ₋ − ℓ°₋))`, loss `−(1 − ε)·ln σ(m) − ε·ln σ(−m)` for each pair
//!   (ε: smoothing, Mitchell 2023), `ℓ` summed over a reply's tokens or, normalised, their mean.
//! - [`Aim::Rewards`], GRPO (Shao et al. 2024): with ratio `r = exp(ℓ − ℓ′)` to the model that sampled and `d = ℓ° − ℓ`, for each token
//!   `−min(r·A, clip(r, 1 ± c)·A) + β·(eᵈ − d − 1)`, the mean over a reply's tokens, summed over replies.
//!
//! Both are functions of the log-probabilities alone: a pass computes these, the derivative for each of them becomes the weight of its
//! target in the cross-entropy, and backward goes on from there.

use std::ops::Range;

use pupil_tensor::Loss;

/// How the replies of a batch were judged; its learned targets are the replies' tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// Of each two spans that follow each other the first is the better reply.
    Preferences {
        /// How far the model may leave the reference: the smaller, the further.
        beta: f32,
        /// Share of the pairs that are taken to be judged wrongly.
        smoothing: f32,
        /// Whether a reply's mean log-probability counts instead of the sum.
        normalised: bool,
        /// The reference's log-probability of each span's reply, summed.
        reference: Vec<f32>,
    },
    /// Each span's reply was sampled and rewarded.
    Rewards {
        /// Largest distance of the ratio from 1 that is still learned from.
        clip: f32,
        /// Weight of the distance to the reference.
        beta: f32,
        /// Of each span: its reward, less the mean of its group, divided by their deviation.
        advantages: Vec<f32>,
        /// Of each span: its reward.
        rewards: Vec<f32>,
        /// Of each learned target in order: its log-probability when it was sampled; none before the first update with these replies.
        sampled: Vec<f32>,
        /// The same by the reference; none if its weight is 0.
        reference: Vec<f32>,
    },
}

impl Aim {
    /// What the mean is taken over: pairs, or replies.
    pub fn count(&self) -> f64 {
        match self {
            Aim::Preferences { reference, .. } => (reference.len() / 2) as f64,
            Aim::Rewards { advantages, .. } => advantages.len() as f64,
        }
    }

    /// The loss of replies, and its derivative by each log-probability. `replies` says which of `logs` are each span's.
    ///
    /// # Panics
    /// If there are not as many spans as were judged.
    pub fn judge(&self, logs: &[f32], replies: &[Range<usize>]) -> (Loss, Vec<f32>) {
        let mut slopes = vec![0.0; logs.len()];
        let mut loss = Loss { weight: self.count(), ..Loss::default() };
        match self {
            Aim::Preferences { beta, smoothing, normalised, reference } => {
                assert_eq!(replies.len(), reference.len(), "preferences: a reference for each span");
                for (pair, reference) in replies.chunks_exact(2).zip(reference.chunks_exact(2)) {
                    let length = |r: &Range<usize>| if *normalised { r.len().max(1) as f64 } else { 1.0 };
                    let said = |k: usize| mean_log(logs, &pair[k], length(&pair[k]));
                    let far = |k: usize| said(k) - f64::from(reference[k]) / length(&pair[k]);
                    let (beta, smoothing) = (f64::from(*beta), f64::from(*smoothing));
                    let margin = beta * (far(0) - far(1));
                    loss.sum += (1.0 - smoothing) * softplus(-margin) + smoothing * softplus(margin);
                    loss.right += f64::from(u8::from(said(0) > said(1)));
                    let slope = smoothing * sigmoid(margin) - (1.0 - smoothing) * sigmoid(-margin);
                    for (k, sign) in [1.0, -1.0].into_iter().enumerate() {
                        slopes[pair[k].clone()].fill((sign * slope * beta / length(&pair[k])) as f32);
                    }
                }
            }
            Aim::Rewards { clip, beta, advantages, rewards, sampled, reference } => {
                assert_eq!(replies.len(), advantages.len(), "rewards: an advantage for each span");
                let (clip, beta) = (f64::from(*clip), f64::from(*beta));
                for (i, reply) in replies.iter().enumerate() {
                    let advantage = f64::from(advantages[i]);
                    for t in reply.clone() {
                        let log = f64::from(logs[t]);
                        let ratio = sampled.get(t).map_or(1.0, |&s| (log - f64::from(s)).exp());
                        let clipped = ratio.clamp(1.0 - clip, 1.0 + clip);
                        let (free, bound) = (ratio * advantage, clipped * advantage);
                        let mut value = -free.min(bound);
                        let mut slope = if free <= bound { -free } else { 0.0 };
                        if let Some(&r) = reference.get(t) {
                            let d = f64::from(r) - log;
                            value += beta * (d.exp() - d - 1.0);
                            slope += beta * (1.0 - d.exp());
                        }
                        loss.sum += value / reply.len() as f64;
                        slopes[t] = (slope / reply.len() as f64) as f32;
                    }
                }
                loss.right = rewards.iter().map(|&r| f64::from(r)).sum();
            }
        }
        (loss, slopes)
    }
}

/// The sum of some log-probabilities, divided by `length`.
fn mean_log(logs: &[f32], reply: &Range<usize>, length: f64) -> f64 {
    logs[reply.clone()].iter().map(|&l| f64::from(l)).sum::<f64>() / length
}

/// `ln(1 + eˣ)`, without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    (-softplus(-x)).exp()
}

/// Advantages of rewards in groups of `group` replies to one question: less the group's mean, divided by its deviation (plus 1e-4, as a group that
/// agrees has none); a group in which all are alike has none.
///
/// # Panics
/// If the last group is not whole.
pub fn advantages(rewards: &[f32], group: usize) -> Vec<f32> {
    assert!(
        group > 1 && rewards.len().is_multiple_of(group),
        "advantages: {} rewards in groups of {group}",
        rewards.len()
    );
    let each = rewards.chunks_exact(group).flat_map(|rewards| {
        let n = group as f64;
        let mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
        let squares = rewards.iter().map(|&r| (f64::from(r) - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (n - 1.0)).sqrt();
        rewards.iter().map(move |&r| ((f64::from(r) - mean) / (deviation + 1e-4)) as f32)
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: [f32; 9] = [-1.0, -0.3, -2.0, -0.7, -0.1, -1.4, -0.9, -3.0, -0.2];
    const REPLIES: [Range<usize>; 4] = [0..3, 3..4, 4..7, 7..9];

    fn preferences(smoothing: f32, normalised: bool) -> Aim {
        Aim::Preferences { beta: 0.7, smoothing, normalised, reference: vec![-3.0, -0.9, -2.5, -2.0] }
    }

    fn rewards(sampled: bool, reference: bool) -> Aim {
        let moved = |by: f32| LOGS.iter().enumerate().map(|(i, l)| l + by * (i as f32 - 4.0)).collect();
        Aim::Rewards {
            clip: 0.2,
            beta: 0.3,
            advantages: vec![1.0, -0.5, 0.0, -1.5],
            rewards: vec![1.0, 0.0, 1.0, 0.0],
            sampled: if sampled { moved(0.1) } else { vec![] },
            reference: if reference { moved(-0.06) } else { vec![] },
        }
    }

    #[test]
    fn slopes_are_those_of_the_loss() {
        let aims = [
            preferences(0.0, false),
            preferences(0.1, true),
            rewards(true, true),
            rewards(true, false),
            rewards(false, true),
        ];
        for (a, aim) in aims.iter().enumerate() {
            let (_, slopes) = aim.judge(&LOGS, &REPLIES);
            for t in 0..LOGS.len() {
                let at = |h: f32| {
                    let mut logs = LOGS;
                    logs[t] += h;
                    aim.judge(&logs, &REPLIES).0.sum
                };
                let h = 1.0 / 512.0;
                let slope = (at(h) - at(-h)) / f64::from(2.0 * h);
                // The ratio to what was sampled is 1 whatever the log-probability is, as long as it is not given: its slope is that at 1.
                let expected = match aim {
                    Aim::Rewards { sampled, advantages, .. } if sampled.is_empty() => {
                        let i = REPLIES.iter().position(|r| r.contains(&t)).unwrap();
                        slope - f64::from(advantages[i]) / REPLIES[i].len() as f64
                    }
                    _ => slope,
                };
                assert!(
                    (expected - f64::from(slopes[t])).abs() < 3e-4,
                    "aim {a}, token {t}: {expected} and {}",
                    slopes[t]
                );
            }
        }
    }

    #[test]
    fn at_the_reference_a_pair_costs_ln_2_and_a_reward_nothing() {
        let same =
            Aim::Preferences { beta: 0.1, smoothing: 0.0, normalised: false, reference: vec![-3.3, -0.7] };
        let (loss, slopes) = same.judge(&LOGS, &REPLIES[..2]);
        assert!((loss.mean() - 2f64.ln()).abs() < 1e-6 && loss.right == 0.0);
        assert!(slopes[..3].iter().all(|s| (s + 0.05).abs() < 1e-6) && (slopes[3] - 0.05).abs() < 1e-6);
        let advantages = advantages(&[1.0, 0.0, 1.0, 1.0], 2);
        assert!((advantages[0] + advantages[1]).abs() < 1e-6 && advantages[0] > 0.7);
        assert_eq!(&advantages[2..], [0.0, 0.0]);
    }

    #[test]
    fn far_margins_do_not_overflow() {
        let aim = |r: f32| Aim::Preferences {
            beta: 1.0,
            smoothing: 0.0,
            normalised: false,
            reference: vec![r, 0.0],
        };
        let loss = |r: f32| aim(r).judge(&[0.0, 0.0], &[0..1, 1..2]).0.sum;
        assert!((loss(1e6) - 1e6).abs() < 1.0 && loss(-1e6) == 0.0);
    }
}
