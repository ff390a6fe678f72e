//! Learning-rate schedules: a factor between 0 and 1 for each step.

use serde::{Deserialize, Serialize};

/// How the learning rate moves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "form")]
pub enum Schedule {
    /// The same throughout.
    Constant,
    /// Linear from 0 over `warmup` steps, then half a cosine down to `floor` at the last step (Loshchilov & Hutter 2017).
    Cosine {
        /// Steps of the rise.
        warmup: u64,
        /// Factor at the end.
        floor: f32,
    },
    /// Linear from 0 over `warmup` steps, flat, then linear down to `floor` over the last `decay` steps.
    Trapezoid {
        /// Steps of the rise.
        warmup: u64,
        /// Steps of the descent.
        decay: u64,
        /// Factor at the end.
        floor: f32,
    },
    /// Linear from 0 over `warmup` steps, then falling with the root of the steps: `min(step / warmup, √(warmup / step))` (Vaswani et al. 2017, whose
    /// `D^−½ · warmup^−½` is the highest rate).
    InverseRoot {
        /// Steps of the rise.
        warmup: u64,
    },
}

impl Schedule {
    /// The factor for step `step` (from 0) of `steps`.
    pub fn factor(self, step: u64, steps: u64) -> f32 {
        let rise = |warmup: u64| if step < warmup { (step + 1) as f32 / (warmup + 1) as f32 } else { 1.0 };
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine { warmup, floor } => {
                if step < warmup {
                    return rise(warmup);
                }
                let along = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * along.min(1.0)).cos());
                floor + (1.0 - floor) * cosine as f32
            }
            Schedule::Trapezoid { warmup, decay, floor } => {
                let left = steps.saturating_sub(step);
                let fall = if left <= decay { left as f32 / (decay + 1) as f32 } else { 1.0 };
                rise(warmup).min(floor + (1.0 - floor) * fall)
            }
            Schedule::InverseRoot { warmup } => {
                let (step, warmup) = ((step + 1) as f64, warmup.max(1) as f64);
                (step / warmup).min((warmup / step).sqrt()) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_nano_gpts() {
        let s = Schedule::Cosine { warmup: 100, floor: 0.1 };
        assert!((s.factor(0, 2000) - 1.0 / 101.0).abs() < 1e-6);
        assert_eq!(s.factor(100, 2000), 1.0);
        assert!((s.factor(1050, 2000) - 0.55).abs() < 1e-6);
        assert!((s.factor(2000, 2000) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn trapezoid_rises_stays_and_falls() {
        let s = Schedule::Trapezoid { warmup: 4, decay: 10, floor: 0.0 };
        assert_eq!(s.factor(0, 100), 0.2);
        assert_eq!(s.factor(50, 100), 1.0);
        assert!(s.factor(99, 100) > 0.0 && s.factor(99, 100) < 0.1);
    }

    #[test]
    fn inverse_root_is_the_papers() {
        let s = Schedule::InverseRoot { warmup: 4000 };
        let peak = 512f64.powf(-0.5) * 4000f64.powf(-0.5);
        for step in [1u64, 100, 4000, 4001, 100_000] {
            let paper = 512f64.powf(-0.5) * (step as f64).powf(-0.5).min(step as f64 * 4000f64.powf(-1.5));
            assert!((peak * f64::from(s.factor(step - 1, 0)) - paper).abs() < 1e-9, "{step}");
        }
    }

    #[test]
    fn degenerate_lengths_are_defined() {
        for s in [
            Schedule::Constant,
            Schedule::Cosine { warmup: 10, floor: 0.1 },
            Schedule::Trapezoid { warmup: 10, decay: 10, floor: 0.0 },
            Schedule::InverseRoot { warmup: 0 },
            Schedule::InverseRoot { warmup: 10 },
        ] {
            for steps in [0, 1, 5, 1 << 40] {
                for step in [0, 1, 4, steps] {
                    let f = s.factor(step, steps);
                    assert!((0.0..=1.0).contains(&f), "{s:?} {step}/{steps}: {f}");
                }
            }
        }
    }
}
