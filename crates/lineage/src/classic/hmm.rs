//! The hidden Markov model: tags follow tags, each tag utters an observation; both are counted, the likeliest path is found by Viterbi.
//!
//! `p(tags, observations) = Π p(tag | tag before) · p(observation | tag)`, with something added to every count. Rabiner 1989.

use super::tagging::Sentence;

/// Added to counts of transitions, and to those of utterances.
const SMOOTH: [f64; 2] = [0.1, 0.01];

/// What was counted, as logarithms.
#[derive(Clone, Debug)]
pub(super) struct Hmm {
    tags: usize,
    /// `[tags]`, of the first tag.
    first: Vec<f64>,
    /// `[tags, tags]`, from each row to each column.
    transitions: Vec<f64>,
    /// `[observations, tags]`.
    utterances: Vec<f64>,
}

impl Hmm {
    /// Counts.
    pub(super) fn fit(sentences: &[&Sentence], observations: usize, tags: usize) -> Hmm {
        let mut first = vec![SMOOTH[0]; tags];
        let mut transitions = vec![SMOOTH[0]; tags * tags];
        let mut utterances = vec![SMOOTH[1]; observations * tags];
        for s in sentences {
            for (i, (&o, &t)) in s.observed.iter().zip(&s.tags).enumerate() {
                utterances[o as usize * tags + t] += 1.0;
                match i {
                    0 => first[t] += 1.0,
                    _ => transitions[s.tags[i - 1] * tags + t] += 1.0,
                }
            }
        }
        let mut totals = vec![0.0; tags];
        utterances.chunks(tags).for_each(|row| totals.iter_mut().zip(row).for_each(|(t, u)| *t += u));
        utterances
            .chunks_mut(tags)
            .for_each(|row| row.iter_mut().zip(&totals).for_each(|(u, t)| *u = (*u / t).ln()));
        for row in std::iter::once(&mut first[..]).chain(transitions.chunks_mut(tags)) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|c| *c = (*c / total).ln());
        }
        Hmm { tags, first, transitions, utterances }
    }

    /// The likeliest tags.
    pub(super) fn predict(&self, observed: &[u32]) -> Vec<usize> {
        let scores = |i: usize| {
            let row = &self.utterances[observed[i] as usize * self.tags..][..self.tags];
            let first = if i == 0 { Some(&self.first) } else { None };
            row.iter().enumerate().map(|(t, u)| u + first.map_or(0.0, |f| f[t])).collect()
        };
        let rows: Vec<Vec<f64>> = (0..observed.len()).map(scores).collect();
        viterbi(&rows, &self.transitions, self.tags)
    }
}

/// The path with the greatest sum of its scores: `rows[i][tag]`, and `transitions[from · tags + to]` between.
pub(super) fn viterbi(rows: &[Vec<f64>], transitions: &[f64], tags: usize) -> Vec<usize> {
    let Some(first) = rows.first() else { return Vec::new() };
    let mut best = first.clone();
    let mut from: Vec<Vec<usize>> = Vec::with_capacity(rows.len());
    for row in &rows[1..] {
        let mut next = vec![f64::NEG_INFINITY; tags];
        let mut back = vec![0; tags];
        for (a, score) in best.iter().enumerate() {
            for (b, t) in transitions[a * tags..(a + 1) * tags].iter().enumerate() {
                if score + t > next[b] {
                    next[b] = score + t;
                    back[b] = a;
                }
            }
        }
        next.iter_mut().zip(row).for_each(|(n, r)| *n += r);
        best = next;
        from.push(back);
    }
    let mut path = vec![super::largest(&best)];
    for back in from.iter().rev() {
        path.push(back[path[path.len() - 1]]);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viterbi_finds_what_trying_all_paths_finds() {
        let tags = 3;
        let number = |i: usize| (i as f64 * 12.9898).sin() * 3.0;
        let transitions: Vec<f64> = (0..tags * tags).map(number).collect();
        for length in 1..6 {
            let rows: Vec<Vec<f64>> =
                (0..length).map(|i| (0..tags).map(|t| number(50 + i * 7 + t * 3)).collect()).collect();
            let score = |path: &[usize]| {
                let own: f64 = path.iter().enumerate().map(|(i, t)| rows[i][*t]).sum();
                own + path.windows(2).map(|w| transitions[w[0] * tags + w[1]]).sum::<f64>()
            };
            let paths = (0..tags.pow(length as u32)).map(|mut n| {
                let digit = |_| {
                    let d = n % tags;
                    n /= tags;
                    d
                };
                (0..length).map(digit).collect::<Vec<usize>>()
            });
            let best = paths.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
            assert_eq!(viterbi(&rows, &transitions, tags), best);
        }
        assert_eq!(viterbi(&[], &transitions, tags), [] as [usize; 0]);
    }

    #[test]
    fn counts_are_shares() {
        let s = Sentence { observed: vec![0, 1, 0], tags: vec![0, 1, 0], ..Sentence::default() };
        let h = Hmm::fit(&[&s], 2, 2);
        // From tag 0 once to 1 (0.1 added to each): 1.1 / 1.2.
        assert!((h.transitions[1].exp() - 1.1 / 1.2).abs() < 1e-12);
        // Tag 0 uttered observation 0 twice: 2.01 / 2.02.
        assert!((h.utterances[0].exp() - 2.01 / 2.02).abs() < 1e-12);
        assert_eq!(h.predict(&[0, 1]), [0, 1]);
    }
}
