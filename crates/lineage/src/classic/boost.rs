//! Boosting: many questions of one word each, every next one asked where those before it were wrong. Freund & Schapire 1997.
//!
//! Stumps by the Gini index on weighted rows, weights by SAMME (Zhu et al. 2009), which for two classes is AdaBoost. Own code: smartcore
//! boosts regressions only, and linfa's trees want dense rows.

use super::bag::Row;

/// A question and its answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stump {
    /// The word that is asked for.
    pub feature: usize,
    /// The class if it is absent, and if it is there.
    pub classes: [usize; 2],
    /// What the answer counts.
    pub vote: f64,
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Boosted {
    /// The questions in the order in which they were found.
    pub stumps: Vec<Stump>,
    classes: usize,
}

impl Boosted {
    /// Learns `rounds` questions at most.
    pub(super) fn fit(
        rows: &[Row],
        labels: &[usize],
        features: usize,
        classes: usize,
        rounds: usize,
    ) -> Boosted {
        let mut weights = vec![1.0 / rows.len() as f64; rows.len()];
        let mut b = Boosted { stumps: Vec::new(), classes };
        for _ in 0..rounds {
            let Some(mut stump) = best(rows, labels, &weights, features, classes) else { break };
            let wrong: Vec<bool> = rows.iter().zip(labels).map(|(r, l)| stump.answer(r) != *l).collect();
            let total: f64 = weights.iter().sum();
            let error = weights.iter().zip(&wrong).filter(|w| *w.1).map(|w| w.0).sum::<f64>() / total;
            // Worse than guessing: nothing more can be learned so.
            if error >= 1.0 - 1.0 / classes as f64 {
                break;
            }
            stump.vote = ((1.0 - error) / error.max(1e-12)).ln() + (classes as f64 - 1.0).ln();
            for (w, _) in weights.iter_mut().zip(&wrong).filter(|w| *w.1) {
                *w *= stump.vote.exp();
            }
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= total);
            b.stumps.push(stump);
            if error == 0.0 {
                break;
            }
        }
        b
    }

    /// The class with most votes.
    pub(super) fn predict(&self, row: &[u32]) -> usize {
        let mut votes = vec![0.0; self.classes];
        self.stumps.iter().for_each(|s| votes[s.answer(row)] += s.vote);
        super::largest(&votes)
    }

    /// Share of wrong answers after each round.
    pub(super) fn errors(&self, rows: &[Row], labels: &[usize]) -> Vec<f64> {
        let mut votes = vec![vec![0.0; self.classes]; rows.len()];
        let after = |s: &Stump| {
            let mut wrong = 0;
            for ((v, r), l) in votes.iter_mut().zip(rows).zip(labels) {
                v[s.answer(r)] += s.vote;
                wrong += usize::from(super::largest(v) != *l);
            }
            wrong as f64 / rows.len().max(1) as f64
        };
        self.stumps.iter().map(after).collect()
    }
}

impl Stump {
    fn answer(&self, row: &[u32]) -> usize {
        self.classes[usize::from(row.binary_search(&(self.feature as u32)).is_ok())]
    }
}

/// The question that leaves the least impurity.
fn best(rows: &[Row], labels: &[usize], weights: &[f64], features: usize, classes: usize) -> Option<Stump> {
    let mut there = vec![0.0; features * classes];
    let mut all = vec![0.0; classes];
    for ((row, &label), w) in rows.iter().zip(labels).zip(weights) {
        all[label] += w;
        row.iter().for_each(|f| there[*f as usize * classes + label] += w);
    }
    // Weight times Gini impurity, and the class that prevails.
    let side = |of: &dyn Fn(usize) -> f64| {
        let (mut sum, mut squares, mut class) = (0.0, 0.0, 0);
        for c in 0..classes {
            let w = of(c);
            sum += w;
            squares += w * w;
            class = if w > of(class) { c } else { class };
        }
        (if sum > 0.0 { sum - squares / sum } else { 0.0 }, class, sum)
    };
    let mut found: Option<(f64, Stump)> = None;
    for f in 0..features {
        let present = &there[f * classes..(f + 1) * classes];
        let (a, without, weight) = side(&|c| (all[c] - present[c]).max(0.0));
        let (b, with, other) = side(&|c| present[c]);
        if weight > 1e-12 && other > 1e-12 && found.as_ref().is_none_or(|f| a + b < f.0 - 1e-12) {
            found = Some((a + b, Stump { feature: f, classes: [without, with], vote: 0.0 }));
        }
    }
    found.map(|f| f.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_is_as_by_hand_and_three_words_outvote_one() {
        // Class 1 where two of three words are there: no single word tells, together they do.
        let rows: Vec<Row> = (0..8u32).map(|i| (0..3).filter(|f| i >> f & 1 == 1).collect()).collect();
        let labels: Vec<usize> = (0..8u32).map(|i| usize::from(i.count_ones() >= 2)).collect();
        let b = Boosted::fit(&rows, &labels, 3, 2, 3);
        // Each word is wrong on 2 of 8: the first vote is ln(6 / 2).
        assert_eq!((b.stumps[0].feature, b.stumps[0].classes), (0, [0, 1]));
        assert!((b.stumps[0].vote - 3f64.ln()).abs() < 1e-12);
        assert_eq!(b.errors(&rows, &labels), [0.25, 0.25, 0.0]);
        assert!(rows.iter().zip(&labels).all(|(r, l)| b.predict(r) == *l));
    }
}
