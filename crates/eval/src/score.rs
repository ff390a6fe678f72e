//! What was measured, item by item, so that two models can be compared on the same items.

use serde::{Deserialize, Serialize};

use crate::statistics::{self, Interval};

/// One item's part of a score: `amount` out of `of`. Right or wrong is 1 or 0 out of 1; of bits per byte the bits and the bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the item is known by, within its task.
    pub id: String,
    /// What was reached.
    pub amount: f64,
    /// What it is measured by.
    pub of: f64,
    /// What the model said, where it said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// A measure of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The task, or a part of it behind a colon.
    pub task: String,
    /// What is measured: [`EXACT`], [`ACCURACY`], [`NORMALISED`] or [`BITS`].
    pub measure: String,
    /// Items.
    pub count: usize,
    /// The score; not a number of nothing.
    pub value: Option<f64>,
    /// Its 95 % interval; none of what is too little for one.
    pub interval: Option<Interval>,
    /// The items.
    pub items: Vec<Outcome>,
}

/// Answers that are right word for word.
pub const EXACT: &str = "exact match";
/// The likeliest choice is right.
pub const ACCURACY: &str = "accuracy";
/// The choice that is likeliest for each of its characters is right.
pub const NORMALISED: &str = "accuracy, by length";
/// Bits for each byte of text; less is better.
pub const BITS: &str = "bits per byte";

/// Everything that was measured of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// The model's directory.
    pub model: String,
    /// The scores.
    pub scores: Vec<Score>,
}

impl Score {
    /// The score of some items.
    pub fn new(task: impl Into<String>, measure: &str, items: Vec<Outcome>) -> Score {
        let (amount, of) = items.iter().fold((0.0, 0.0), |(a, o), i| (a + i.amount, o + i.of));
        let interval = if measure == BITS {
            let pairs: Vec<(f64, f64)> = items.iter().map(|i| (i.amount, i.of)).collect();
            statistics::bootstrap(&pairs, 1)
        } else {
            statistics::wilson(items.iter().filter(|i| i.amount > 0.5).count(), items.len())
        };
        Score {
            task: task.into(),
            measure: measure.to_owned(),
            count: items.len(),
            value: (of > 0.0).then(|| amount / of),
            interval,
            items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: usize, amount: f64, of: f64) -> Outcome {
        Outcome { id: id.to_string(), amount, of, reply: None }
    }

    #[test]
    fn scores_of_nothing_and_of_little_are_defined() {
        let nothing = Score::new("x", EXACT, Vec::new());
        assert_eq!((nothing.count, nothing.value, nothing.interval), (0, None, None));
        let empty = Score::new("x", BITS, vec![outcome(1, 0.0, 0.0)]);
        assert_eq!((empty.value, empty.interval), (None, None));
        let one = Score::new("x", BITS, vec![outcome(1, 16.0, 8.0)]);
        assert_eq!((one.value, one.interval), (Some(2.0), None));
        let half = Score::new("x", EXACT, vec![outcome(1, 1.0, 1.0), outcome(2, 0.0, 1.0)]);
        assert_eq!((half.value, half.count), (Some(0.5), 2));
        let again: Score = serde_json::from_str(&serde_json::to_string(&half).unwrap()).unwrap();
        assert_eq!((again.value, again.items), (half.value, half.items));
    }
}
