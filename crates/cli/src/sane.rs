//! Numbers of which no run can be made are refused before anything is done, with what is legal.

use std::fmt::Display;

use pupil_train::dial;

use crate::exit::Usage;
use crate::learn::Common;
use crate::pretrain::Pretrain;
use crate::process;

/// That a number, if it is given, is in a range.
///
/// # Errors
/// Names the flag, the value and the range.
pub(crate) fn within<T: PartialOrd + Display>(
    name: &str,
    value: Option<T>,
    least: T,
    most: T,
) -> anyhow::Result<()> {
    match value {
        Some(v) if !(v >= least && v <= most) => {
            anyhow::bail!(Usage(format!("--{name} {v}: {least} to {most}")))
        }
        _ => Ok(()),
    }
}

/// What all commands that learn take.
pub(crate) fn common(a: &Common) -> anyhow::Result<()> {
    process::dtype(&a.dtype)?;
    within("steps", a.steps, 1, 1 << 48)?;
    within("minutes", a.minutes, 0.01, 1e6)?;
    // Beyond, the ids alone fill memories.
    within("batch-tokens", a.batch_tokens, 1, 1 << 28)?;
    within("rows", a.rows, 1, 1 << 16)?;
    // Beyond the upper rate nothing was ever learned; 0 learns nothing, and may be asked for.
    within("lr", a.lr, 0.0, 100.0)?;
    within("muon", a.muon, 0.0, 100.0)?;
    within("save-every", Some(a.save_every), 1, u64::MAX)
}

/// What pretraining takes beside it.
pub(crate) fn pretrain(a: &Pretrain) -> anyhow::Result<()> {
    common(&a.common)?;
    within("depth", a.depth, *dial::DEPTHS.start(), *dial::DEPTHS.end())?;
    within("until-loss", a.until_loss, 1e-6, 64.0)?;
    within("early-stopping", a.early_stopping, 1, u64::MAX)?;
    within("vocab", a.vocab, 256 + pupil_chat::SPECIALS.len(), 1 << 24)?;
    within("layers", a.layers, 1, 1024)?;
    within("width", a.width, 1, 1 << 16)?;
    within("heads", a.heads, 1, 1 << 12)?;
    within("context", a.context, 1, 1 << 20)?;
    within("weight-decay", a.weight_decay, 0.0, 10.0)
}
