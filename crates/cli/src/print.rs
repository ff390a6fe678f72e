//! The one writer: every line for a person or a pipe goes through here.
//!
//! `println!`, `print!`, `eprintln!` and `eprint!` of this room are the macros below. The standard library's panic when nobody reads any
//! more; these end the program as other tools end: quietly with 0 if the reader has gone (`pupil runs | head -1`), with 4 if a full disk
//! takes the results. What is told on standard error is for somebody who watches; if nobody does, nothing is lost. Of several ranks only the
//! first tells; what ends a rank is told by `main`, which names the rank.

use std::fmt::Arguments;
use std::io::{self, Write};

use crate::exit;

/// Results, to standard output.
pub(crate) fn out(text: Arguments<'_>, line: bool) {
    let mut out = io::stdout().lock();
    let end = if line { "\n" } else { "" };
    if let Err(e) =
        out.write_fmt(text).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush())
    {
        leave(&e);
    }
}

/// What happens, to standard error.
pub(crate) fn tell(text: Arguments<'_>, line: bool) {
    let mut err = io::stderr().lock();
    let _ = err.write_fmt(text);
    if line {
        let _ = err.write_all(b"\n");
    }
}

/// Leaves because standard output takes nothing more.
#[expect(
    clippy::exit,
    reason = "a result that cannot be written ends the program, wherever it was to be printed"
)]
pub(crate) fn leave(e: &io::Error) -> ! {
    if e.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    tell(format_args!("pupil: writing to standard output: {e}"), true);
    std::process::exit(i32::from(exit::STORAGE));
}

/// Flushes what was written to standard output directly.
pub(crate) fn finish() {
    if let Err(e) = io::stdout().lock().flush() {
        leave(&e);
    }
}

#[allow(unused_macros, reason = "as in the standard library")]
macro_rules! print {
    ($($t:tt)*) => { $crate::print::out(format_args!($($t)*), false) };
}

macro_rules! println {
    () => { $crate::print::out(format_args!(""), true) };
    ($($t:tt)*) => { $crate::print::out(format_args!($($t)*), true) };
}

macro_rules! eprint {
    ($($t:tt)*) => { if $crate::ranks::speaks() { $crate::print::tell(format_args!($($t)*), false) } };
}

macro_rules! eprintln {
    ($($t:tt)*) => { if $crate::ranks::speaks() { $crate::print::tell(format_args!($($t)*), true) } };
}
