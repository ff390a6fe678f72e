//! Error bars: Wilson's interval for a share, the bootstrap for a ratio or a mean, McNemar's exact test for pairs of right and wrong.
//!
//! References: Wilson 1927; Efron 1979; McNemar 1947 (exact form: a binomial test of the pairs that differ).

/// 97.5 % of the normal distribution lie below: intervals hold with 95 %.
const Z: f64 = 1.959_963_984_540_054;
/// Samples that a bootstrap draws.
const SAMPLES: usize = 2000;

/// An interval that holds the true value with 95 %.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The interval of a share of `right` among `n`; `None` of nothing.
pub fn wilson(right: usize, n: usize) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let (p, n) = (right as f64 / n as f64, n as f64);
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At 0 and 1 the formula gives the end itself but for rounding.
    let low = if right == 0 { 0.0 } else { middle - half };
    let high = if p == 1.0 { 1.0 } else { middle + half };
    Some(Interval { low, high })
}

/// The percentile interval of `Σ a / Σ b` over pairs drawn with replacement; `None` of fewer than two. With `b` all 1: of a mean.
pub fn bootstrap(pairs: &[(f64, f64)], seed: u64) -> Option<Interval> {
    let ratios = resampled(pairs.len(), seed, |drawn| {
        let (mut a, mut b) = (0.0, 0.0);
        drawn.for_each(|i| {
            a += pairs[i].0;
            b += pairs[i].1;
        });
        a / b
    })?;
    Some(Interval { low: quantile(&ratios, 0.025), high: quantile(&ratios, 0.975) })
}

/// The interval of the difference of two ratios over the same items, `Σ a / Σ b − Σ c / Σ d`, and the probability of one as far from 0 if
/// there were none (two-sided, from the same samples); `None` of fewer than two.
pub fn bootstrap_difference(items: &[[f64; 4]], seed: u64) -> Option<(Interval, f64)> {
    let all = resampled(items.len(), seed, |drawn| {
        let mut sums = [0.0; 4];
        drawn.for_each(|i| sums.iter_mut().zip(items[i]).for_each(|(s, x)| *s += x));
        sums[0] / sums[1] - sums[2] / sums[3]
    })?;
    let (below, above) =
        (all.iter().filter(|&&x| x <= 0.0).count(), all.iter().filter(|&&x| x >= 0.0).count());
    // One more of each, so that no finite number of samples claims certainty.
    let p = 2.0 * (below.min(above) + 1) as f64 / (SAMPLES + 1) as f64;
    Some((Interval { low: quantile(&all, 0.025), high: quantile(&all, 0.975) }, p.min(1.0)))
}

/// A statistic of [`SAMPLES`] samples of `0..n`, in ascending order.
fn resampled(n: usize, seed: u64, of: impl Fn(&mut dyn Iterator<Item = usize>) -> f64) -> Option<Vec<f64>> {
    if n < 2 {
        return None;
    }
    let sample = |s: usize| {
        let key = pupil_tensor::kernels::random::Key { seed, stream: 3 << 32, step: s as u64 };
        of(&mut (0..n).map(|i| ((f64::from(key.unit(i as u64)) * n as f64) as usize).min(n - 1)))
    };
    let mut all: Vec<f64> = (0..SAMPLES).map(sample).collect();
    all.sort_unstable_by(f64::total_cmp);
    Some(all)
}

/// The value below which a share of sorted values lies, between two of them in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (i, rest) = (at as usize, at.fract());
    let next = sorted[(i + 1).min(sorted.len() - 1)];
    sorted[i] + rest * (next - sorted[i])
}

/// The probability of a split at least as uneven of the pairs in which only one of two models is right, if both were equally good: `only_a`
/// and `only_b` are their numbers.
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let (n, k) = (only_a + only_b, only_a.min(only_b));
    if only_a == only_b {
        return 1.0;
    }
    // Σ C(n, i) / 2ⁿ for i ≤ k in logarithms, so that large numbers stay finite.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = term.exp();
    for i in 0..k {
        term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
        sum += term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() < within, "{a} is not {b}");
    }

    /// Figures of `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`, by tools/make_statistics_fixture.py.
    #[test]
    fn shares_have_wilsons_interval() {
        for (k, n, low, high) in SCIPY_WILSON {
            let i = wilson(k, n).unwrap();
            close(i.low, low, 1e-9);
            close(i.high, high, 1e-9);
        }
        assert_eq!(wilson(0, 0), None);
    }

    /// Figures of `scipy.stats.binomtest(min, n, 0.5).pvalue`, by tools/make_statistics_fixture.py.
    #[test]
    fn pairs_that_differ_are_tested_exactly() {
        for (a, b, p) in SCIPY_MCNEMAR {
            close(mcnemar(a, b), p, 1e-9);
            close(mcnemar(b, a), p, 1e-9);
        }
        assert_eq!(mcnemar(0, 0), 1.0);
        assert!(mcnemar(2000, 3000) > 0.0 && mcnemar(2000, 3000) < 1e-40);
    }

    // Made by tools/make_statistics_fixture.py with scipy 1.17.1.
    const SCIPY_WILSON: [(usize, usize, f64, f64); 10] = [
        (0, 1, 0.0, 0.7934506856227626),
        (1, 1, 0.20654931437723745, 1.0),
        (0, 20, 0.0, 0.16112515805281935),
        (20, 20, 0.8388748419471808, 1.0),
        (1, 3, 0.06149194472039626, 0.7923403991979523),
        (7, 10, 0.39677814746114526, 0.892208732593699),
        (50, 100, 0.4038315303659956, 0.5961684696340044),
        (97, 100, 0.9154806357094724, 0.9897454759759611),
        (412, 1000, 0.38188731127995784, 0.4427861982134999),
        (2, 100000, 5.484738516524055e-06, 7.292683754201227e-05),
    ];
    const SCIPY_MCNEMAR: [(usize, usize, f64); 7] = [
        (1, 0, 1.0),
        (5, 0, 0.0625),
        (3, 9, 0.14599609375),
        (12, 12, 1.0),
        (40, 61, 0.046044066929342785),
        (300, 420, 8.807756168615114e-06),
        (0, 60, 1.734723475976807e-18),
    ];

    /// The mean of 0, 1, …, 99 has the standard error √(833.25 / 100) = 2.887; the interval is 1.96 of them to each side, and 2000
    /// samples hit its ends within a tenth of that.
    #[test]
    fn a_mean_has_the_interval_of_the_normal_law() {
        let pairs: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 1.0)).collect();
        let i = bootstrap(&pairs, 1).unwrap();
        close(i.low, 49.5 - 1.96 * 2.887, 0.6);
        close(i.high, 49.5 + 1.96 * 2.887, 0.6);
        assert_eq!(bootstrap(&pairs, 1), bootstrap(&pairs, 1));
        assert_eq!(bootstrap(&pairs[..1], 1), None);
        // A ratio of sums, not a mean of ratios: 3 bits of 4 bytes and 1 bit of 1 byte are 4/5.
        let same = bootstrap(&[(4.0, 5.0); 9], 1).unwrap();
        close(same.low, 0.8, 1e-12);
    }

    #[test]
    fn a_difference_is_found_if_there_is_one() {
        let worse: Vec<[f64; 4]> =
            (0..60).map(|i| [2.0 + f64::from(i % 7) * 0.1, 1.0, 1.9 + f64::from(i % 7) * 0.1, 1.0]).collect();
        let (interval, p) = bootstrap_difference(&worse, 1).unwrap();
        assert!(p < 0.01 && interval.low > 0.0, "{p} {interval:?}");
        let even: Vec<[f64; 4]> =
            (0..60).map(|i| [1.0 + f64::from(i % 2), 1.0, 2.0 - f64::from(i % 2), 1.0]).collect();
        let (interval, p) = bootstrap_difference(&even, 1).unwrap();
        assert!(p > 0.2 && interval.low < 0.0 && interval.high > 0.0, "{p} {interval:?}");
    }
}
