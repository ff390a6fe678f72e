//! Minimising a smooth function by limited-memory BFGS: the last few steps stand in for the matrix of second derivatives.
//!
//! Liu & Nocedal 1989; two-loop recursion, steps by backtracking until the decrease is sufficient (Armijo) and the slope has flattened
//! (Wolfe), as in Nocedal & Wright, chapters 3 and 7. All sums in f64, in one order.

use std::collections::VecDeque;

/// Steps that are remembered.
const MEMORY: usize = 8;
/// Share of the promised decrease that a step must bring.
const ARMIJO: f64 = 1e-4;
/// Share of the slope that may be left.
const WOLFE: f64 = 0.9;
/// Places that are tried for one step.
const TRIES: usize = 25;

/// Where a minimum was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Minimum {
    /// The value there.
    pub value: f64,
    /// Steps taken.
    pub steps: usize,
    /// Whether the gradient has become small enough.
    pub converged: bool,
}

/// Moves `x` to a minimum of `f`, which returns its value and writes its gradient; ends when the norm of the gradient is at most `tolerance`
/// times the greater of 1 and the norm of `x`, or after `most` steps.
pub(super) fn minimise(
    x: &mut [f64],
    most: usize,
    tolerance: f64,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let n = x.len();
    let (mut gradient, mut next, mut there) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let mut value = f(x, &mut gradient);
    let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for steps in 0..most {
        if norm(&gradient) <= tolerance * norm(x).max(1.0) {
            return Minimum { value, steps, converged: true };
        }
        let mut direction = towards(&gradient, &past);
        let mut slope = dot(&gradient, &direction);
        if slope >= 0.0 {
            // Rounding has spoilt the memory.
            past.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let mut step = if past.is_empty() { 1.0 / norm(&gradient).max(1.0) } else { 1.0 };
        // `low` is a step that went down enough, `high` one that did not.
        let (mut low, mut high, mut reached) = (0.0, f64::INFINITY, None);
        for tried in 0.. {
            next.iter_mut().zip(x.iter().zip(&direction)).for_each(|(n, (x, d))| *n = x + step * d);
            let v = f(&next, &mut there);
            if v.is_finite() && v <= value + ARMIJO * step * slope {
                if dot(&there, &direction) >= WOLFE * slope || step == low || tried >= TRIES {
                    reached = Some(v);
                    break;
                }
                low = step;
            } else {
                high = step;
            }
            if tried >= TRIES {
                if low == 0.0 {
                    break;
                }
                step = low;
                continue;
            }
            step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * step };
        }
        let Some(v) = reached else { return Minimum { value, steps, converged: false } };
        let moved: Vec<f64> = next.iter().zip(x.iter()).map(|(n, x)| n - x).collect();
        let turned: Vec<f64> = there.iter().zip(&gradient).map(|(t, g)| t - g).collect();
        let curvature = dot(&moved, &turned);
        if curvature > 1e-12 * dot(&turned, &turned) {
            past.push_back((moved, turned, 1.0 / curvature));
            if past.len() > MEMORY {
                past.pop_front();
            }
        }
        x.copy_from_slice(&next);
        std::mem::swap(&mut gradient, &mut there);
        value = v;
    }
    Minimum { value, steps: most, converged: norm(&gradient) <= tolerance * norm(x).max(1.0) }
}

/// Minus the estimated inverse of the second derivatives, times the gradient.
fn towards(gradient: &[f64], past: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut d: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(past.len());
    for (s, y, rho) in past.iter().rev() {
        let a = rho * dot(s, &d);
        d.iter_mut().zip(y).for_each(|(d, y)| *d -= a * y);
        shares.push(a);
    }
    if let Some((_, y, rho)) = past.back() {
        let scale = 1.0 / (rho * dot(y, y));
        d.iter_mut().for_each(|d| *d *= scale);
    }
    for ((s, y, rho), a) in past.iter().zip(shares.into_iter().rev()) {
        let b = rho * dot(y, &d);
        d.iter_mut().zip(s).for_each(|(d, s)| *d += (a - b) * s);
    }
    d
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrocks_valley_is_walked_to_its_end() {
        let f = |x: &[f64], g: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g.copy_from_slice(&[-2.0 * a - 400.0 * x[0] * b, 200.0 * b]);
            a * a + 100.0 * b * b
        };
        let mut x = [-1.2, 1.0];
        let m = minimise(&mut x, 200, 1e-9, f);
        assert!(m.converged && m.steps < 100, "{m:?}");
        assert!((x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6, "{x:?}");
        let cut = minimise(&mut [-1.2, 1.0], 3, 1e-9, f);
        assert!(!cut.converged && cut.steps == 3 && cut.value > m.value);
    }
}
