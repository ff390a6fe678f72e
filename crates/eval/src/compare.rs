//! Whether one model is better than another, on the items that both were tried on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::score::{BITS, Outcome, Score, Sheet};
use crate::statistics::{self, Interval};

/// Two models on one measure of one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The measure.
    pub measure: String,
    /// Items that both have.
    pub count: usize,
    /// The first model's score on them.
    pub first: f64,
    /// The second model's.
    pub second: f64,
    /// The 95 % interval of first − second; none of fewer than two items.
    pub interval: Option<Interval>,
    /// Items that only the first model has right, and only the second, where items are right or wrong.
    pub only: Option<[usize; 2]>,
    /// The probability of a difference like this if there were none: McNemar's exact test of right and wrong, the paired bootstrap of bits.
    pub p: Option<f64>,
}

impl Comparison {
    /// Which model is better: 0 or 1, if that is unlikely to be chance (p < 0.05).
    pub fn better(&self) -> Option<usize> {
        let clear = self.p.is_some_and(|p| p < 0.05) && self.first != self.second;
        clear.then(|| usize::from((self.second > self.first) != (self.measure == BITS)))
    }
}

/// Compares what both sheets have.
pub fn compare(a: &Sheet, b: &Sheet) -> Vec<Comparison> {
    let pair = |x: &Score| {
        let y = b.scores.iter().find(|y| y.task == x.task && y.measure == x.measure)?;
        one(x, y)
    };
    a.scores.iter().filter_map(pair).collect()
}

fn one(x: &Score, y: &Score) -> Option<Comparison> {
    let others: BTreeMap<&str, &Outcome> = y.items.iter().map(|o| (o.id.as_str(), o)).collect();
    let pairs =
        x.items.iter().filter_map(|o| others.get(o.id.as_str()).map(|p| [o.amount, o.of, p.amount, p.of]));
    let pairs: Vec<[f64; 4]> = pairs.collect();
    let sum = |i: usize| pairs.iter().map(|p| p[i]).sum::<f64>();
    if sum(1) == 0.0 || sum(3) == 0.0 {
        return None;
    }
    let sampled = statistics::bootstrap_difference(&pairs, 1);
    let only = (x.measure != BITS).then(|| {
        let count = |i: usize| pairs.iter().filter(|p| p[i] > 0.5 && p[2 - i] <= 0.5).count();
        [count(0), count(2)]
    });
    Some(Comparison {
        task: x.task.clone(),
        measure: x.measure.clone(),
        count: pairs.len(),
        first: sum(0) / sum(1),
        second: sum(2) / sum(3),
        interval: sampled.map(|(i, _)| i),
        only,
        p: match only {
            Some([a, b]) => Some(statistics::mcnemar(a, b)),
            None => sampled.map(|(_, p)| p),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::EXACT;

    fn sheet(measure: &str, items: impl Iterator<Item = (usize, f64, f64)>) -> Sheet {
        let items = items.map(|(id, amount, of)| Outcome { id: id.to_string(), amount, of, reply: None });
        Sheet { model: "m".into(), scores: vec![Score::new("t", measure, items.collect())] }
    }

    #[test]
    fn a_model_is_not_better_than_itself_and_better_than_a_worse_one() {
        let a = sheet(EXACT, (0..100).map(|i| (i, f64::from(i % 10 != 0), 1.0)));
        let b = sheet(EXACT, (0..100).rev().map(|i| (i, f64::from(i % 3 != 0), 1.0)));
        let same = &compare(&a, &a)[0];
        assert_eq!((same.p, same.only, same.better()), (Some(1.0), Some([0, 0]), None));
        let c = &compare(&a, &b)[0];
        // Right: 90 and 66; both wrong are the four multiples of 30, so 30 and 6 are right with only one of them.
        assert_eq!((c.count, c.only, c.better()), (100, Some([30, 6]), Some(0)));
        assert_eq!(compare(&b, &a)[0].better(), Some(1));
        let few = sheet(EXACT, (50..60).map(|i| (i, 1.0, 1.0)));
        assert_eq!(compare(&few, &a)[0].count, 10);
        assert!(compare(&a, &sheet(EXACT, (200..210).map(|i| (i, 1.0, 1.0)))).is_empty());
    }

    #[test]
    fn fewer_bits_are_better() {
        let a = sheet(BITS, (0..50).map(|i| (i, 20.0 + i as f64, 10.0)));
        let b = sheet(BITS, (0..50).map(|i| (i, 23.0 + i as f64, 10.0)));
        assert_eq!((compare(&a, &b)[0].better(), compare(&b, &a)[0].better()), (Some(0), Some(1)));
        let one = sheet(BITS, [(1, 3.0, 4.0)].into_iter());
        assert_eq!((compare(&one, &one)[0].p, compare(&one, &one)[0].interval), (None, None));
    }
}
