//! The linear-chain conditional random field: `p(tags | words) ∝ exp(Σ weight[feature, tag] + Σ weight[tag before, tag])`. Lafferty et al. 2001.
//!
//! Minimises `Σ −ln p + |w|² / 2C` by L-BFGS; the normaliser and the expectations of the gradient come from the forward–backward recursion,
//! each step scaled to 1 so that nothing underflows. Own code: the crate there is (crfs) knows models only as files of CRFsuite, and
//! what is taught here is the recursion.

use super::bag::Row;
use super::hmm::viterbi;
use super::lbfgs;

/// Steps of L-BFGS at most, and the gradient's norm that ends it.
const STEPS: usize = 60;
const TOLERANCE: f64 = 1e-2;

/// A sentence as the field sees it: the features of each word, and the tags.
pub(super) type Chain<'a> = (&'a [Row], &'a [usize]);

/// What was learned.
#[derive(Clone, Debug)]
pub(super) struct Crf {
    tags: usize,
    /// `[features, tags]`, then `[tags, tags]`.
    weights: Vec<f64>,
}

impl Crf {
    /// Learns.
    pub(super) fn fit(chains: &[Chain<'_>], features: usize, tags: usize, c: f64) -> Crf {
        let mut w = vec![0.0; (features + tags) * tags];
        let mut room = Room::default();
        lbfgs::minimise(&mut w, STEPS, TOLERANCE, |w, g| objective(w, chains, tags, c, &mut room, g));
        Crf { tags, weights: w }
    }

    /// The likeliest tags.
    pub(super) fn predict(&self, rows: &[Row]) -> Vec<usize> {
        let states = self.weights.len() - self.tags * self.tags;
        let scores: Vec<Vec<f64>> = rows
            .iter()
            .map(|r| {
                let mut s = vec![0.0; self.tags];
                add_states(&self.weights, r, &mut s);
                s
            })
            .collect();
        viterbi(&scores, &self.weights[states..], self.tags)
    }
}

/// What one sentence needs, used again for the next.
#[derive(Default)]
struct Room {
    scores: Vec<f64>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    scale: Vec<f64>,
    mixed: Vec<f64>,
}

fn add_states(w: &[f64], row: &[u32], to: &mut [f64]) {
    let tags = to.len();
    for f in row {
        to.iter_mut().zip(&w[*f as usize * tags..][..tags]).for_each(|(s, w)| *s += w);
    }
}

fn objective(
    w: &[f64],
    chains: &[Chain<'_>],
    tags: usize,
    c: f64,
    room: &mut Room,
    gradient: &mut [f64],
) -> f64 {
    let states = w.len() - tags * tags;
    let mut sum = w.iter().map(|w| w * w).sum::<f64>() / (2.0 * c);
    gradient.iter_mut().zip(w).for_each(|(g, w)| *g = w / c);
    let exp: Vec<f64> = w[states..].iter().map(|w| w.exp()).collect();
    for &(rows, right) in chains {
        sum += sentence(w, &exp, rows, right, tags, room, gradient);
    }
    sum
}

/// Adds a sentence's part of the gradient; returns `−ln p` of its tags.
fn sentence(
    w: &[f64],
    exp: &[f64],
    rows: &[Row],
    right: &[usize],
    tags: usize,
    room: &mut Room,
    gradient: &mut [f64],
) -> f64 {
    let (n, states) = (rows.len(), w.len() - tags * tags);
    let Room { scores, forward, backward, scale, mixed } = room;
    for v in [&mut *scores, forward, backward] {
        v.clear();
        v.resize(n * tags, 0.0);
    }
    scale.clear();
    mixed.clear();
    mixed.resize(tags, 0.0);
    let mut loss = 0.0;
    // State scores, as exponentials of what they are below their greatest.
    for (i, row) in rows.iter().enumerate() {
        let s = &mut scores[i * tags..][..tags];
        add_states(w, row, s);
        loss -= s[right[i]];
        if i > 0 {
            loss -= w[states + right[i - 1] * tags + right[i]];
        }
        let most = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        s.iter_mut().for_each(|s| *s = (*s - most).exp());
        loss += most;
    }
    for i in 0..n {
        let (before, here) = forward.split_at_mut(i * tags);
        let here = &mut here[..tags];
        match i {
            0 => here.copy_from_slice(&scores[..tags]),
            _ => {
                for (a, f) in before[(i - 1) * tags..].iter().enumerate() {
                    here.iter_mut().zip(&exp[a * tags..][..tags]).for_each(|(h, e)| *h += f * e);
                }
                here.iter_mut().zip(&scores[i * tags..]).for_each(|(h, s)| *h *= s);
            }
        }
        let total: f64 = here.iter().sum();
        here.iter_mut().for_each(|h| *h /= total);
        scale.push(total);
        loss += total.ln();
    }
    backward[(n - 1) * tags..].fill(1.0);
    for i in (0..n).rev() {
        // What is expected of the tags here, less what they are.
        let (f, b) = (&forward[i * tags..][..tags], &backward[i * tags..][..tags]);
        mixed.iter_mut().zip(f.iter().zip(b)).for_each(|(m, (f, b))| *m = f * b);
        mixed[right[i]] -= 1.0;
        for feature in &rows[i] {
            let g = &mut gradient[*feature as usize * tags..][..tags];
            g.iter_mut().zip(&*mixed).for_each(|(g, m)| *g += m);
        }
        if i == 0 {
            break;
        }
        gradient[states + right[i - 1] * tags + right[i]] -= 1.0;
        let (earlier, later) = backward.split_at_mut(i * tags);
        let ahead = scores[i * tags..].iter().zip(&later[..tags]).map(|(s, b)| s * b / scale[i]);
        mixed.iter_mut().zip(ahead).for_each(|(m, a)| *m = a);
        for a in 0..tags {
            let f = forward[(i - 1) * tags + a];
            let e = &exp[a * tags..][..tags];
            let g = &mut gradient[states + a * tags..][..tags];
            let mut all = 0.0;
            for ((g, e), m) in g.iter_mut().zip(e).zip(&*mixed) {
                let p = e * m;
                *g += f * p;
                all += p;
            }
            earlier[(i - 1) * tags + a] = all;
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: usize = 3;
    const FEATURES: usize = 4;

    fn example() -> (Vec<f64>, Vec<Row>, Vec<usize>) {
        let w = (0..(FEATURES + TAGS) * TAGS).map(|i| (i as f64 * 1.7).sin() * 1.5).collect();
        (w, vec![vec![0, 2], vec![1], vec![], vec![2, 3]], vec![2, 0, 1, 1])
    }

    fn value(w: &[f64], rows: &[Row], right: &[usize]) -> (f64, Vec<f64>) {
        let mut g = vec![0.0; w.len()];
        let v = objective(w, &[(rows, right)], TAGS, 2.0, &mut Room::default(), &mut g);
        (v, g)
    }

    #[test]
    fn the_loss_is_that_of_trying_all_paths() {
        let (w, rows, right) = example();
        let states = FEATURES * TAGS;
        let score = |path: &[usize]| {
            let own = |(r, t): (&Row, &usize)| r.iter().map(|f| w[*f as usize * TAGS + t]).sum::<f64>();
            let own: f64 = rows.iter().zip(path).map(own).sum();
            own + path.windows(2).map(|p| w[states + p[0] * TAGS + p[1]]).sum::<f64>()
        };
        let all: f64 = (0..TAGS.pow(4)).map(|n| score(&[n / 27, n / 9 % 3, n / 3 % 3, n % 3]).exp()).sum();
        let penalty = w.iter().map(|w| w * w).sum::<f64>() / 4.0;
        let expect = all.ln() - score(&right) + penalty;
        assert!((value(&w, &rows, &right).0 - expect).abs() < 1e-9);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (mut w, rows, right) = example();
        let gradient = value(&w, &rows, &right).1;
        for i in 0..w.len() {
            let mut at = |d: f64| {
                w[i] += d;
                let v = value(&w, &rows, &right).0;
                w[i] -= d;
                v
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-7, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn a_tag_that_only_its_neighbour_tells_is_learned() {
        // Feature 2 is there for tags 1 and 2; which of them depends on the word before.
        let rows: Vec<Vec<Row>> = (0..40).map(|i| vec![vec![i % 2], vec![2], vec![2]]).collect();
        let tags: Vec<Vec<usize>> =
            (0..40).map(|i| if i % 2 == 0 { vec![0, 1, 2] } else { vec![1, 2, 1] }).collect();
        let chains: Vec<Chain<'_>> = rows.iter().zip(&tags).map(|(r, t)| (&r[..], &t[..])).collect();
        let m = Crf::fit(&chains, 3, TAGS, 10.0);
        assert!(chains.iter().all(|(r, t)| m.predict(r) == *t));
    }
}
