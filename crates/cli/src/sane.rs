//! Numbers of which no run can be made are refused before anything is done, with what is legal.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::exit::Usage;
use crate::learn::{Common, Pretrain};

/// Peak learning rates: beyond the upper one nothing was ever learned; 0 learns nothing, and may be asked for.
const RATES: RangeInclusive<f32> = 0.0..=100.0;
/// Tokens of an update; beyond, their ids alone fill memories.
const BATCH: RangeInclusive<usize> = 1..=1 << 28;

fn within<T: PartialOrd + Display>(name: &str, value: T, legal: &RangeInclusive<T>) -> anyhow::Result<()> {
    if legal.contains(&value) {
        return Ok(());
    }
    anyhow::bail!(Usage(format!("--{name} {value}: {} to {}", legal.start(), legal.end())))
}

/// What both commands take.
pub(crate) fn common(a: &Common) -> anyhow::Result<()> {
    for (name, rate) in [("lr", a.lr), ("muon", a.muon)] {
        rate.map_or(Ok(()), |r| within(name, r, &RATES))?;
    }
    within("batch-tokens", a.batch_tokens, &BATCH)?;
    within("save-every", a.save_every, &(1..=u64::MAX))
}

/// What pretraining takes beside it.
pub(crate) fn pretrain(a: &Pretrain) -> anyhow::Result<()> {
    common(&a.common)?;
    within("layers", a.layers, &(1..=1024))?;
    within("width", a.width, &(1..=1 << 16))?;
    within("heads", a.heads, &(1..=1 << 12))?;
    within("context", a.context, &(1..=1 << 20))?;
    within("vocab", a.vocab, &(256 + pupil_chat::SPECIALS.len()..=1 << 24))
}
