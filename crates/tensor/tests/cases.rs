//! Cases of reliability, by their numbers: numbers at the ends of their range.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Mutex;

use half::bf16;
use pupil_tensor::kernels::cross_entropy::{loss_and_gradient, softmax};
use pupil_tensor::kernels::matrix::Element;
use pupil_tensor::kernels::pool::{self, with_threads};
use pupil_tensor::kernels::rmsnorm;

/// The loss of a row in f64.
fn reference(row: &[f32], target: usize) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(top)).exp()).sum();
    sum.ln() - (f64::from(row[target]) - f64::from(top))
}

#[test]
fn n08_losses_and_probabilities_at_the_ends_of_the_range_are_those_of_f64() {
    let rows: [&[f32]; 7] = [
        &[0.0],
        &[3.4e38],
        &[88.7, 88.7, 88.7, -88.7],
        &[-104.0, -103.0, -102.0],
        &[1e38, 1e38 - 1e31, -1e38],
        &[3.4e38, -3.4e38, 0.0],
        &[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 2.0],
    ];
    for row in rows {
        for target in 0..row.len() {
            let mut logits = row.to_vec();
            let (mut loss, mut right) = ([0.0], [0.0]);
            loss_and_gradient(
                &mut logits,
                row.len(),
                &[target as u32],
                &[1.0],
                1.0,
                0.0,
                &mut loss,
                &mut right,
            );
            let expected = reference(row, target) as f32;
            let is_near = (loss[0] - expected).abs() <= 1e-5 * expected.abs().max(1.0);
            assert!(loss[0] == expected || is_near, "{row:?}, {target}: {} for {expected}", loss[0]);
            // Probabilities less one at the target: they sum to nothing.
            let sum: f64 = logits.iter().map(|&g| f64::from(g)).sum();
            assert!(sum.abs() < 1e-5 && logits.iter().all(|g| g.is_finite()), "{row:?}: {logits:?}");
        }
        let mut p = row.to_vec();
        softmax(&mut p, row.len(), 1.0);
        assert!(
            (p.iter().sum::<f32>() - 1.0).abs() < 1e-5 && p.iter().all(|p| (0.0..=1.0).contains(p)),
            "{p:?}"
        );
    }
}

#[test]
fn n08_a_row_of_zeros_is_normalised_to_zeros() {
    let (mut y, mut rstd) = ([9f32; 8], [0f32; 1]);
    rmsnorm::forward(&[0f32; 8], None, 0.0, 1e-6, 8, &mut y, &mut rstd);
    assert!(y == [0.0; 8] && (rstd[0] - 1000.0).abs() < 0.1, "{y:?} {rstd:?}");
    rmsnorm::forward(&[-0.0f32, 1e-30, -1e-30, 0.0], None, 0.0, 1e-6, 4, &mut y[..4], &mut rstd);
    assert!(y[..4].iter().all(|x| x.abs() < 1e-26), "{y:?}");
}

#[test]
fn n08_bf16_rounds_to_the_nearest_even_number_and_overflows_to_infinity() {
    let halves = |x: f32| <bf16 as Element>::from_f32(x).to_bits();
    // One unit in the last place of a bf16 at 1 is 2⁻⁷.
    for (x, bits) in [
        (1.0, 0x3f80),
        (1.0 + f32::powi(2.0, -8), 0x3f80),
        (1.0 + 3.0 * f32::powi(2.0, -8), 0x3f82),
        (1.0 + f32::powi(2.0, -8) + f32::powi(2.0, -20), 0x3f81),
        (3.389_531_4e38, 0x7f7f),
        (3.4e38, 0x7f80),
        (f32::NEG_INFINITY, 0xff80),
        (-0.0, 0x8000),
    ] {
        assert_eq!(halves(x), bits, "{x:e}");
    }
    assert!(<bf16 as Element>::from_f32(f32::NAN).to_f32().is_nan());
}

#[test]
fn n09_no_thread_flushes_small_numbers_to_zero() {
    let products = Mutex::new(Vec::new());
    with_threads(3, || {
        pool::run(64, |_| {
            let tiny = std::hint::black_box(1e-40f32);
            products.lock().unwrap().push((tiny * 0.5).to_bits());
        });
    });
    let products = products.into_inner().unwrap();
    assert_eq!(products.len(), 64);
    assert!(products.iter().all(|&p| p == (1e-40f32 * 0.5).to_bits() && p != 0), "{products:?}");
}
