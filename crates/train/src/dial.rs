//! The dial: one number, the depth, from which everything else of a GPT's pretraining follows, and what a run is expected to reach.
//!
//! Each rule stands beside what it was measured by; `docs/scaling.md` tells of the study, `benches/results/2026-11-28-scaling.jsonl` has its raw
//! numbers and `tools/scaling.py` the fit and the picture. The mixed text of the study is English prose, reviews, dialogue, code, Russian and Chinese.

use pupil_model::families;
use pupil_model::gpt::Config;

use crate::optim::Settings;
use crate::schedule::Schedule;

/// The depths that the dial has: beyond the last a model leaves what was measured by far.
pub const DEPTHS: std::ops::RangeInclusive<usize> = 1..=32;

/// Width of a head. Usual since GPT-2; here also the width whose attention kernel is nearest to the processor's peak.
pub const HEAD: usize = 64;

/// Tokens of an update where rates were measured.
const BATCH: f64 = 2048.0;

/// Width of the residual stream: 64 a block, as in nanochat, so that width and depth grow together. GPT-2 has 64, GPT-3 128.
pub fn width(depth: usize) -> usize {
    HEAD * depth
}

/// Heads: as many as the width holds.
pub fn heads(depth: usize) -> usize {
    width(depth) / HEAD
}

/// Ids of the tokenizer for `bytes` of text. Measured at depth 3 on the same 1.7 MB: 2,048 ids 2.278 bits per byte, 4,096 2.162, 8,192 2.153 in a third more time. An id
/// needs to be seen some hundred times, so small texts get small vocabularies; larger models can pay for a larger output layer (not measured).
pub fn vocab(depth: usize, bytes: u64) -> usize {
    let by_depth = if depth <= 6 { 4096 } else { 8192 };
    match bytes {
        0..262_144 => 512,
        262_144..4_194_304 => 2048,
        _ => by_depth,
    }
}

/// Tokens that the model sees at once: so many that attention's scores stay under a quarter of the arithmetic (from depth 2 on).
pub fn context(depth: usize) -> usize {
    match depth {
        0..=4 => 256,
        5..=8 => 512,
        9..=16 => 1024,
        _ => 2048,
    }
}

/// The model of a depth.
pub fn model(depth: usize, vocab: usize, context: usize) -> Config {
    llama(depth, width(depth), heads(depth), vocab, context)
}

/// A model of any shape in the dial's form: Llama's, whose network has 8/3 of the width.
pub fn llama(layers: usize, width: usize, heads: usize, vocab: usize, context: usize) -> Config {
    families::llama(vocab, context, layers, width, [heads, heads], (width * 8 / 3).next_multiple_of(32))
}

/// Tokens of an update: a power of two that grows with the 0.4th power of the tokens to learn from (Bergsma et al. 2025).
pub fn batch_tokens(tokens: f64) -> usize {
    let wanted = BATCH * (tokens / 2e6).max(1e-9).powf(0.4);
    (wanted.log2().round().exp2() as usize).clamp(1024, 1 << 19)
}

/// The optimiser of a run that reads `tokens` out of `unique` ones (0: as many as it likes): Muon for the matrices, AdamW for the table and the gains.
///
/// Rates fall with the 0.2th power of the text. AdamW/Muon, bits per byte, at half a million tokens: depth 2 2e-3/4e-3 2.343, 4e-3/8e-3 2.306,
/// 8e-3/16e-3 2.295, 4e-3/2e-2 2.411; with Muon at 8e-3 and AdamW at 1e-2 2.203, 2e-2 2.175, 4e-2 2.180; depth 4 2e-3/4e-3 2.273, 4e-3/8e-3 2.237,
/// 15e-3/8e-3 2.163. At five million: depth 2 15e-3/8e-3 2.008, 6e-3/3.5e-3 2.008; four blocks of 128 at three 10e-3/6e-3 2.051, 6e-3/3.5e-3 2.065.
/// The power is between these; that it holds beyond is an extrapolation.
pub fn optimiser(tokens: f64, unique: f64) -> Settings {
    let text = if unique > 0.0 { tokens.min(unique) } else { tokens };
    let rate = |highest: f64| rounded(highest * (text / RATED).max(1.0).powf(-0.2), 1e4);
    Settings {
        learning_rate: rate(1.5e-2),
        muon: Some(rate(8e-3)),
        beta2: 0.95,
        weight_decay: if unique > 0.0 { weight_decay(tokens / unique) } else { weight_decay(1.0) },
        ..Settings::default()
    }
}

/// Tokens at which the highest rates were measured.
const RATED: f64 = 5e5;

/// Weight decay: of text that is read once hardly any, and more for each time that it is read again, or the model learns it by heart. Text of five
/// million tokens once, bits per byte at 0.02, 0.3 and 1: 2.008, 2.025, 2.068. A megabyte (0.38 million tokens): depth 2 at 0.02 reaches 2.012 after
/// six epochs and 2.047 after eight (29: 3.14); at 0.3 1.946 after 16; at 1 1.894 after 28; depth 3 at 0.6 1.878 after 14.
pub fn weight_decay(epochs: f64) -> f32 {
    rounded((0.02 + 0.035 * (epochs - 1.0)).clamp(0.02, 1.0), 1e2)
}

/// What a person can read and type: so many parts of one.
fn rounded(x: f64, parts: f64) -> f32 {
    ((x * parts).round() / parts) as f32
}

/// The schedule: a short rise, then flat, and down over the second half.
pub fn schedule(steps: u64) -> Schedule {
    Schedule::Trapezoid { warmup: (steps / 20).min(50), decay: steps / 2, floor: 0.02 }
}

/// Bits for each byte of held-out text after learning: `floor + parameters.0 / N^parameters.1 + tokens.0 / D^tokens.1`, N being all parameters and D
/// the tokens (Hoffmann et al. 2022).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// What no model gets rid of.
    pub floor: f64,
    /// Factor and power of the parameters.
    pub parameters: (f64, f64),
    /// Factor and power of the tokens.
    pub tokens: (f64, f64),
}

/// The law of the study's text: off by 0.020 bits per byte on its runs. They are too short to tell powers and floor, so both powers lie between those of
/// Hoffmann et al. (0.34 and 0.28): parameters and tokens should grow alike, 63 tokens for a parameter of so small models.
pub const LAW: Law = Law { floor: 1.2, parameters: (15.3, 0.32), tokens: (57.7, 0.32) };

/// Bits for each byte of the study's held-out text under counts of pairs of tokens ([`crate::difficulty`]): what other texts are compared with.
pub const PAIRS: f64 = 2.16;

impl Law {
    /// Bits per byte of the study's text.
    pub fn bits_per_byte(&self, parameters: u64, tokens: f64) -> f64 {
        let term = |(factor, power): (f64, f64), x: f64| factor / x.max(1.0).powf(power);
        self.floor + term(self.parameters, parameters as f64) + term(self.tokens, tokens)
    }

    /// Bits per byte after reading so many tokens out of `unique` ones, again and again if they are more; 0: as many as it likes. Repetitions are worth less
    /// than new text, and after some sixteen nothing (Muennighoff et al. 2023).
    pub fn expected(&self, parameters: u64, tokens: f64, unique: f64) -> f64 {
        let worth = if unique > 0.0 { fading(tokens, unique, FADE) } else { tokens };
        self.bits_per_byte(parameters, worth)
    }

    /// Tokens at which a model of so many parameters is the best use of the arithmetic: from there on, a larger one is.
    pub fn best_tokens(&self, parameters: u64) -> f64 {
        // The least of A/N^a + B/D^b where N·D is given: a·A/N^a = b·B/D^b.
        let ((a, alpha), (b, beta)) = (self.parameters, self.tokens);
        (beta * b / (alpha * a) * (parameters as f64).powf(alpha)).powf(1.0 / beta)
    }
}

/// Repetitions over which the worth of one more falls to 1/e of what it was.
const FADE: f64 = 15.4;

/// Parameters for each token of the text beyond which a model is not chosen: it would learn the text by heart (not measured).
const HEART: f64 = 10.0;

/// What `all` of something is worth of which `first` counts in full and more of it less and less.
fn fading(all: f64, first: f64, fade: f64) -> f64 {
    if all <= first {
        return all;
    }
    first + first * fade * (1.0 - (-(all / first - 1.0) / fade).exp())
}

/// Times that data is read by a run whose length nobody gave: up to four are nearly as good as new text (Muennighoff et al. 2023).
pub const EPOCHS: f64 = 4.0;

/// The smallest depth that is chosen: one block alone cannot look for what followed the same word before (Olsson et al. 2022).
const CHOSEN: usize = 2;

/// The depth with the lowest expected loss, if a token takes `seconds(depth)` and there are so many seconds and `unique` tokens; with it the
/// tokens that fit. Of depths that are expected to be as good the smallest is taken.
pub fn choose(
    vocab: impl Fn(usize) -> usize,
    unique: f64,
    budget: f64,
    seconds: impl Fn(usize) -> f64,
) -> (usize, f64) {
    let mut best = (CHOSEN, 0.0, f64::INFINITY);
    for depth in CHOSEN..=*DEPTHS.end() {
        let tokens = budget / seconds(depth);
        let parameters = model(depth, vocab(depth), context(depth)).parameter_count();
        let by_heart = unique > 0.0 && parameters as f64 > HEART * unique && depth > CHOSEN;
        let expected = LAW.expected(parameters, tokens, unique);
        if !by_heart && expected < 0.998 * best.2 {
            best = (depth, tokens, expected);
        }
    }
    (best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_depth_gives_a_legal_model_that_is_larger_than_the_one_before() {
        let mut before = 0;
        for depth in DEPTHS {
            let c = model(depth, vocab(depth, 1 << 30), context(depth));
            assert_eq!(c.check(), Ok(()), "{depth}");
            assert_eq!((c.width % c.heads, c.head_width, c.hidden % 32), (0, HEAD, 0), "{depth}");
            assert!(c.parameter_count() > before, "{depth}");
            before = c.parameter_count();
            let square = 12.0 * (c.layers * c.width * c.context) as f64;
            assert!(depth == 1 || square < 0.25 * c.training_flops_per_token(c.context), "{depth}");
        }
    }

    #[test]
    fn rules_are_monotone() {
        let batches: Vec<usize> = (0..40).map(|i| batch_tokens(10f64.powf(f64::from(i) / 3.0))).collect();
        assert!(batches.is_sorted() && batches.iter().all(|b| b.is_power_of_two()), "{batches:?}");
        let sizes: Vec<usize> = (0..40).map(|i| vocab(8, 1 << i)).collect();
        assert!(sizes.is_sorted());
        for depth in DEPTHS.skip(1) {
            assert!(
                context(depth) >= context(depth - 1) && vocab(depth, 1 << 30) >= vocab(depth - 1, 1 << 30)
            );
            let tokens = |d: usize| LAW.best_tokens(model(d, 4096, 512).parameter_count());
            assert!(tokens(depth) > tokens(depth - 1));
        }
    }

    #[test]
    fn rates_fall_with_the_text_and_decay_rises_with_its_repetitions() {
        let rates = |tokens| optimiser(tokens, 0.0).learning_rate;
        assert!(rates(1e5) == 1.5e-2 && rates(5e6) < 1e-2 && rates(1e9) > 1e-3);
        let (once, again) = (optimiser(1e7, 1e7), optimiser(1e8, 1e7));
        assert_eq!((once.learning_rate, once.muon), (again.learning_rate, again.muon));
        assert!(once.weight_decay == 0.02 && again.weight_decay > 0.3);
        assert_eq!((weight_decay(0.1), weight_decay(1e9)), (0.02, 1.0));
    }

    #[test]
    fn the_law_is_least_where_it_says() {
        for parameters in [500_000u64, 10_000_000, 1_000_000_000] {
            let tokens = LAW.best_tokens(parameters);
            let at = |factor: f64| LAW.bits_per_byte((parameters as f64 * factor) as u64, tokens / factor);
            assert!(at(1.0) < at(1.2) && at(1.0) < at(0.8), "{parameters}");
        }
        assert!(LAW.bits_per_byte(1_000_000, 1e6) > LAW.bits_per_byte(1_000_000, 2e6));
        assert!(LAW.bits_per_byte(0, 0.0).is_finite());
    }

    #[test]
    fn more_time_never_chooses_a_smaller_model() {
        // 1e11 operations a second.
        let seconds = |d: usize| model(d, 4096, context(d)).training_flops_per_token(256) / 1e11;
        let chosen: Vec<usize> =
            (0..14).map(|i| choose(|_| 4096, 1e12, 10.0 * 2f64.powi(i), seconds).0).collect();
        assert!(chosen.is_sorted() && chosen[0] <= 3 && chosen[13] > chosen[0], "{chosen:?}");
        // A megabyte of text is no use to a large one.
        let poor = choose(|_| 4096, 3e5, 1e5, seconds).0;
        assert!(poor <= choose(|_| 4096, 1e12, 1e5, seconds).0, "{poor}");
        let (depth, tokens) = choose(|_| 4096, 0.0, 1e-9, seconds);
        assert!(DEPTHS.contains(&depth) && tokens.is_finite());
    }

    #[test]
    fn repetitions_are_worth_less_and_less() {
        let many = |tokens: f64| LAW.expected(1_000_000, tokens, 1e6);
        assert_eq!(many(5e5), LAW.bits_per_byte(1_000_000, 5e5));
        assert!(many(4e6) < many(2e6) && many(4e6) > LAW.bits_per_byte(1_000_000, 4e6));
        assert!(many(1e12) > many(1e9) - 1e-3);
        assert_eq!(fading(3.0, 4.0, 5.0), 3.0);
    }
}
