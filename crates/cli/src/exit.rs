//! Exit codes: 0 done, 1 failed, 2 usage, 3 bad input data, 4 storage, 130 and 143 stopped by a signal after saving.

use std::fmt;

/// Wrong usage that the argument parser cannot see.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Stopped by a signal, with everything saved.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) code: u8,
    pub(crate) how_to_go_on: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped and saved; {}", self.how_to_go_on)
    }
}

impl std::error::Error for Stopped {}

/// The exit code of an error.
pub(crate) fn code(e: &anyhow::Error) -> u8 {
    for cause in e.chain() {
        if let Some(s) = cause.downcast_ref::<Stopped>() {
            return s.code;
        }
        if cause.is::<Usage>() {
            return 2;
        }
        if cause.is::<pupil_data::Error>() || cause.is::<pupil_tokenizer::Error>() {
            return 3;
        }
        if matches!(cause.downcast_ref(), Some(pupil_train::run::Error::Data(_))) {
            return 3;
        }
        let file = match cause.downcast_ref::<pupil_train::run::Error>() {
            Some(pupil_train::run::Error::File(f)) => Some(f),
            _ => cause.downcast_ref::<pupil_checkpoint::Error>(),
        };
        match file {
            Some(pupil_checkpoint::Error::Storage { .. }) => return 4,
            Some(pupil_checkpoint::Error::Locked { .. }) => return 1,
            Some(_) => return 3,
            None => {}
        }
    }
    1
}
