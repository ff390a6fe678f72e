//! Elementary functions without branches, so that loops over them vectorise; errors are stated and tested against the standard
//! library in f64.
//!
//! Polynomials are least-squares fits at Chebyshev nodes over the ranges named.

/// `a·b + c`, in one rounding where the level has the instruction.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A polynomial by Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut p = coefficients[0];
    for c in &coefficients[1..] {
        p = fma::<FUSED>(p, x, *c);
    }
    p
}

/// `eˣ`; relative error below 3e-7; 0 below -87.3, infinity above 88, NaN of NaN.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Written so that NaN passes.
    let y = exp_down::<FUSED>(if 88.0 < x { 88.0 } else { x });
    if x > 88.0 { f32::INFINITY } else { y }
}

/// The same for `x` up to 88: what softmax needs, whose exponents are never positive.
#[inline(always)]
pub(crate) fn exp_down<const FUSED: bool>(x: f32) -> f32 {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2. Adding 1.5·2²³ rounds to the nearest integer and leaves it in the low bits, which saves the
    // conversion (Rust's saturates, and does not vectorise).
    const ROUND: f32 = 12_582_912.0;
    let bounded = if -87.3 > x { -87.3 } else { x };
    let shifted = fma::<FUSED>(bounded, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts: n times the first is exact.
    let r = fma::<FUSED>(n, -0.693_359_4, bounded);
    let r = fma::<FUSED>(n, 2.121_944_4e-4, r);
    let p = polynomial::<FUSED, 7>(
        r,
        [1.382_930_2e-3, 8.374_854e-3, 4.166_836_5e-2, 1.666_642e-1, 0.5, 1.0, 1.0],
    );
    let y = p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { y }
}

/// `1 / (1 + e⁻ˣ)`; absolute error below 2e-7.
#[inline(always)]
pub(crate) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    let e = exp::<FUSED>(-x.abs());
    let positive = 1.0 / (1.0 + e);
    if x < 0.0 { e * positive } else { positive }
}

/// `tanh x`; relative error below 4e-7.
#[inline(always)]
pub(crate) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let a = x.abs();
    let e = exp::<FUSED>(-2.0 * a);
    let large = (1.0 - e) / (1.0 + e);
    let u = a * a;
    let p = 2.249_051_7e-3;
    let p = fma::<FUSED>(p, u, -8.304_803e-3);
    let p = fma::<FUSED>(p, u, 2.175_680_5e-2);
    let p = fma::<FUSED>(p, u, -5.395_775_4e-2);
    let p = fma::<FUSED>(p, u, 1.333_329_7e-1);
    let p = fma::<FUSED>(p, u, -3.333_333_3e-1);
    let small = a + a * u * p;
    let y = if a < 0.625 { small } else { large };
    if x < 0.0 { -y } else { y }
}

/// The standard normal distribution's `Φ(x)` and `e^(−x²/2)`; absolute error of `Φ` below 1e-7.
#[inline(always)]
pub(crate) fn normal_cdf<const FUSED: bool>(x: f32) -> (f32, f32) {
    let e = exp::<FUSED>(-0.5 * x * x);
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let tail = 0.5 * erfc_over_gauss::<FUSED>(z) * e;
    let near = 0.5 - 0.5 * erf_near::<FUSED>(z);
    let upper = if z < 1.0 { near } else { tail };
    (if x < 0.0 { upper } else { 1.0 - upper }, e)
}

/// `erf z` for 0 ≤ z ≤ 1.
#[inline(always)]
fn erf_near<const FUSED: bool>(z: f32) -> f32 {
    let u = z * z;
    let p = 7.882_497e-5;
    let p = fma::<FUSED>(p, u, -8.018_855e-4);
    let p = fma::<FUSED>(p, u, 5.189_312e-3);
    let p = fma::<FUSED>(p, u, -2.685_432_9e-2);
    let p = fma::<FUSED>(p, u, 1.128_359_7e-1);
    let p = fma::<FUSED>(p, u, -3.761_262_7e-1);
    z * (p * u + std::f32::consts::FRAC_2_SQRT_PI)
}

/// `erfc z · e^(z²)` for 1 ≤ z ≤ 4.3; beyond, the Gauss factor leaves less than 1e-9.
#[inline(always)]
fn erfc_over_gauss<const FUSED: bool>(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 1.187_130_2e-1;
    let p = fma::<FUSED>(p, t, -4.689_489e-1);
    let p = fma::<FUSED>(p, t, 5.598_67e-1);
    let p = fma::<FUSED>(p, t, -1.007_678_8e-1);
    let p = fma::<FUSED>(p, t, 3.463_825_5e-1);
    let p = fma::<FUSED>(p, t, 2.601_112_4e-1);
    let p = fma::<FUSED>(p, t, 2.848_427_2e-1);
    p * t - 1.492_835_3e-4
}

/// `ln x` of a positive normal number; absolute error below 2e-7 + relative 1e-7.
#[inline(always)]
pub(crate) fn ln<const FUSED: bool>(x: f32) -> f32 {
    // x = m·2ᵏ with m in [√½, √2).
    let bits = x.to_bits() as i32;
    let k = (bits - 0x3f35_04f3) >> 23;
    let m = f32::from_bits((bits - (k << 23)) as u32);
    let z = m - 1.0;
    let p = -7.638_592_5e-2;
    let p = fma::<FUSED>(p, z, 1.291_417e-1);
    let p = fma::<FUSED>(p, z, -1.324_084_3e-1);
    let p = fma::<FUSED>(p, z, 1.418_007_9e-1);
    let p = fma::<FUSED>(p, z, -1.660_912_7e-1);
    let p = fma::<FUSED>(p, z, 2.000_207_2e-1);
    let p = fma::<FUSED>(p, z, -2.500_158_5e-1);
    let p = fma::<FUSED>(p, z, 3.333_332_4e-1);
    let p = fma::<FUSED>(p, z, -0.5);
    k as f32 * std::f32::consts::LN_2 + (z + z * z * p)
}

/// `[cos, sin]` of `turns` full turns, 0 ≤ turns < 1; absolute error below 3e-7.
#[inline(always)]
pub(crate) fn circle<const FUSED: bool>(turns: f32) -> [f32; 2] {
    // sin(π/2 · v) for v in [-1, 1]; the triangle wave folds the circle into that range.
    let quarter = |turns: f32| {
        let v = turns * 4.0;
        let v = if v > 1.0 { 2.0 - v } else { v };
        let v = if v < -1.0 { -4.0 + (2.0 - v) } else { v };
        let u = v * v;
        let p = -3.431_829_3e-6;
        let p = fma::<FUSED>(p, u, 1.602_547e-4);
        let p = fma::<FUSED>(p, u, -4.681_658e-3);
        let p = fma::<FUSED>(p, u, 7.969_261e-2);
        let p = fma::<FUSED>(p, u, -6.459_641e-1);
        v * (p * u + std::f32::consts::FRAC_PI_2)
    };
    // sin(2π·t) with t moved to [-½, ½): v = 4t in [-2, 2).
    let sine = |t: f32| quarter_fold(t, quarter);
    [sine(turns + 0.25), sine(turns)]
}

#[inline(always)]
fn quarter_fold(turns: f32, quarter: impl Fn(f32) -> f32) -> f32 {
    let t = if turns >= 1.0 { turns - 1.0 } else { turns };
    // [0, ¾] rises, falls and falls on; [¾, 1) is the same as [-¼, 0).
    let t = if t >= 0.75 { t - 1.0 } else { t };
    // On (¼, ¾] the sine is that of ½ − t.
    let t = if t > 0.25 { 0.5 - t } else { t };
    quarter(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest of `error(computed, exact)` over a dense sweep.
    fn worst(from: f64, to: f64, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, relative: bool) -> f64 {
        let n = 200_001;
        let mut worst = 0f64;
        for i in 0..n {
            let x = (from + (to - from) * i as f64 / (n - 1) as f64) as f32;
            let (got, want) = (f64::from(f(x)), exact(f64::from(x)));
            let e = (got - want).abs() / if relative { want.abs().max(1e-30) } else { 1.0 };
            assert!(e.is_finite(), "at {x}: {got}, expected {want}");
            worst = worst.max(e);
        }
        worst
    }

    /// erf by its series, and by its continued fraction far out.
    fn exact_erf(x: f64) -> f64 {
        let z = x.abs();
        let y = if z < 3.0 {
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let tail = (1..=60).rev().fold(z, |f, k| z + k as f64 / 2.0 / f);
            1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt())
        };
        y.copysign(x)
    }

    #[test]
    fn errors_are_within_what_is_stated() {
        assert!(worst(-87.0, 87.9, exp::<true>, f64::exp, true) < 3e-7);
        assert!(worst(-30.0, 30.0, sigmoid::<false>, |x| 1.0 / (1.0 + (-x).exp()), false) < 2e-7);
        assert!(worst(-20.0, 20.0, tanh::<true>, f64::tanh, true) < 4e-7);
        assert!(
            worst(
                -6.0,
                6.0,
                |x| 2.0 * normal_cdf::<true>(x * std::f32::consts::SQRT_2).0 - 1.0,
                exact_erf,
                false
            ) < 3e-7
        );
        let phi = |x: f64| 0.5 * (1.0 + exact_erf(x / 2f64.sqrt()));
        assert!(worst(-8.0, 8.0, |x| normal_cdf::<true>(x).0, phi, false) < 1e-7);
        assert!(worst(1e-6, 4.0, ln::<false>, f64::ln, false) < 1.2e-6);
        let turn = std::f64::consts::TAU;
        assert!(worst(0.0, 0.999_999, |t| circle::<true>(t)[0], |t| (turn * t).cos(), false) < 4e-7);
        assert!(worst(0.0, 0.999_999, |t| circle::<true>(t)[1], |t| (turn * t).sin(), false) < 4e-7);
    }

    #[test]
    fn the_ends_are_defined() {
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(-1e30), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<true>(0.0), 1.0);
        assert!(exp::<true>(f32::NAN).is_nan() && tanh::<true>(f32::NAN).is_nan());
        assert_eq!([tanh::<true>(50.0), tanh::<true>(-50.0), tanh::<true>(0.0)], [1.0, -1.0, 0.0]);
        assert_eq!([sigmoid::<true>(200.0), sigmoid::<true>(-200.0)], [1.0, 0.0]);
        assert_eq!([normal_cdf::<true>(40.0).0, normal_cdf::<true>(-40.0).0], [1.0, 0.0]);
    }
}
