//! The article's other half: the learners before deep learning, on two tasks, beside two small networks.
//!
//! One neuron and a line; then whether a text is of one class or another (`bag`, `rules`, `ready`, `maxent`, `svm`, `boost`, `deep`), and
//! which part of speech each word has (`tagging`, `hmm`, `crf`); each with more and more data ([`suite`]), and a page about it ([`page`]).
//! Whatever a well-kept crate does well enough is taken from there; where not, the file says what was measured.

mod bag;
mod boost;
mod crf;
mod deep;
mod export;
mod fits;
mod growth;
mod hmm;
mod lbfgs;
mod maxent;
mod neuron;
pub mod outcome;
pub mod page;
mod ready;
mod rules;
pub mod suite;
mod svm;
mod tagging;

pub use export::{Written, write};
pub use outcome::Outcome;
pub use suite::Suite;

use pupil_tensor::kernels::random::Key;

/// The index of the greatest; of equals the first.
fn largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// Puts a list into the random order that a key gives (Fisher & Yates).
fn shuffle<T>(list: &mut [T], key: Key) {
    for i in (1..list.len()).rev() {
        let r = u64::from(key.draw(i as u64)[0]);
        list.swap(i, (r * (i as u64 + 1) >> 32) as usize);
    }
}
