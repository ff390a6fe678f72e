//! Exit codes: 0 done, 1 failed, 2 usage, 3 bad input data, 4 storage, 129, 130 and 143 stopped by a signal after saving.

use std::{fmt, io};

/// The disk refused.
pub(crate) const STORAGE: u8 = 4;

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

/// An error with its causes, each said once.
pub(crate) fn message(e: &anyhow::Error) -> String {
    let mut text = e.to_string();
    for cause in e.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The exit code of an error.
pub(crate) fn code(e: &anyhow::Error) -> u8 {
    use pupil_train::run::Error as Run;
    for cause in e.chain() {
        if let Some(s) = cause.downcast_ref::<Stopped>() {
            return s.code;
        }
        if cause.is::<Usage>() {
            return 2;
        }
        if cause.is::<pupil_train::inspect::Error>() {
            return 3;
        }
        match cause.downcast_ref::<Run>() {
            Some(Run::File(f)) => return of_file(f),
            Some(Run::Data(d)) => return of_data(d),
            Some(Run::Usage(_)) => return 2,
            Some(Run::Unsaved { .. }) => return 4,
            Some(_) => return 1,
            None => {}
        }
        if let Some(f) = cause.downcast_ref::<pupil_checkpoint::Error>() {
            return of_file(f);
        }
        if let Some(d) = cause.downcast_ref::<pupil_data::Error>() {
            return of_data(d);
        }
        if cause.is::<pupil_tokenizer::Error>() {
            return 3;
        }
        if cause.downcast_ref::<io::Error>().is_some_and(is_storage) {
            return 4;
        }
    }
    1
}

fn of_file(e: &pupil_checkpoint::Error) -> u8 {
    use pupil_checkpoint::Error::{Full, Locked, NoLock, NoneSound, Read, Storage};
    match e {
        Storage { .. } | Full { .. } | NoLock { .. } | NoneSound { .. } => 4,
        Read { source, .. } if is_storage(source) => 4,
        Locked { .. } => 1,
        _ => 3,
    }
}

fn of_data(e: &pupil_data::Error) -> u8 {
    match e {
        pupil_data::Error::Io { source, .. } if is_storage(source) => 4,
        pupil_data::Error::Thread(_) => 1,
        _ => 3,
    }
}

/// Whether the disk refuses, and not what stands on it: full, read-only, or broken.
fn is_storage(e: &io::Error) -> bool {
    const BROKEN: i32 = 5;
    pupil_checkpoint::state::is_full(e)
        || e.kind() == io::ErrorKind::ReadOnlyFilesystem
        || cfg!(unix) && e.raw_os_error() == Some(BROKEN)
}
