//! Spikes: a batch whose loss leaves what is usual is not learned from.
//!
//! The loss of a batch is known before it changes anything, so the state to fall back to is the one that is there: the batch is passed over and
//! the next one taken. What is usual is the running mean and deviation of the losses of about the last fifty batches that were learned from.

use serde::{Deserialize, Serialize};

/// Weight of the newest loss.
const NEW: f64 = 0.04;
/// Batches learned from before anything is called unusual.
const WARM: u64 = 30;
/// Deviations above the mean that are still usual. Of losses that are spread normally one in a billion lies further off.
const DEVIATIONS: f64 = 6.0;
/// Nats above the mean that are always usual: late in a run deviations are smaller than the difference between two texts.
const ALWAYS: f64 = 1.0;
/// Batches passed over in a row after which it is the model that is ill.
const GIVE_UP: u32 = 8;

/// What losses are usual. It belongs to a checkpoint: which batches are passed over depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    #[serde(with = "bits")]
    mean: f64,
    #[serde(with = "bits")]
    variance: f64,
    seen: u64,
    refused: u32,
    /// Batches passed over so far.
    pub skipped: u64,
}

impl Guard {
    /// The largest usual loss, in nats for each target; none while too few were seen.
    pub fn limit(&self) -> Option<f64> {
        (self.seen >= WARM).then(|| self.mean + (DEVIATIONS * self.variance.sqrt()).max(ALWAYS))
    }

    /// A batch was learned from.
    pub fn learned(&mut self, loss: f64) {
        self.refused = 0;
        let weight = NEW.max(1.0 / (self.seen + 1) as f64);
        let off = loss - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
        self.seen += 1;
    }

    /// Batches passed over since the last one that was learned from.
    pub fn in_a_row(&self) -> u32 {
        self.refused
    }

    /// A batch was passed over; false if it is time to give up.
    pub fn refused(&mut self) -> bool {
        self.skipped += 1;
        self.refused += 1;
        self.refused < GIVE_UP
    }
}

/// Numbers by their bits: a decimal form need not come back as the same number.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(x: &f64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(x.to_bits())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        u64::deserialize(d).map(f64::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_far_above_is_unusual() {
        let mut guard = Guard::default();
        for i in 0..200u64 {
            assert_eq!(guard.limit().is_some(), i >= WARM);
            // Falling, with noise of a tenth of a nat.
            let loss = 9.0 * (-(i as f64) / 60.0).exp() + 0.1 * ((i * 7 % 11) as f64 / 5.0 - 1.0);
            assert!(guard.limit().is_none_or(|l| loss < l), "{i}: {loss} {guard:?}");
            guard.learned(loss);
        }
        let limit = guard.limit().unwrap();
        assert!((1.0..4.0).contains(&limit), "{limit}");
        let text = serde_json::to_string(&guard).unwrap();
        assert_eq!(serde_json::from_str::<Guard>(&text).unwrap(), guard);
    }

    #[test]
    fn it_gives_up_after_some_in_a_row_only() {
        let mut guard = Guard::default();
        for _ in 0..3 {
            assert!((1..GIVE_UP).all(|_| guard.refused()));
            guard.learned(1.0);
        }
        assert_eq!((1..=GIVE_UP).filter(|_| guard.refused()).count() as u32, GIVE_UP - 1);
        assert_eq!(guard.skipped, u64::from(4 * GIVE_UP - 3));
    }
}
