//! Ctrl-C, SIGTERM and a terminal that goes away: the first signal asks to save and stop, a second one leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Which signal asked to stop.
pub(crate) struct Stop {
    asked: Arc<AtomicUsize>,
}

impl Stop {
    /// Watches for signals from now on.
    pub(crate) fn watch() -> anyhow::Result<Stop> {
        let asked = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                // Under nohup the run outlives its terminal; that was asked for.
                continue;
            }
            // In this order: the first signal finds `again` unset, the second one, whichever it is, set.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            signal_hook::flag::register(signal, Arc::clone(&again))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&asked), signal as usize)?;
        }
        Ok(Stop { asked })
    }

    /// The exit code of the signal that came, if one did.
    pub(crate) fn code(&self) -> Option<u8> {
        match self.asked.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}

/// A file that grows beyond the allowed size gives an error, as a full disk does, instead of the process's end.
#[cfg(unix)]
pub(crate) fn let_large_files_fail() {
    // Whoever handles the signal gets the error from the write.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

#[cfg(not(unix))]
pub(crate) fn let_large_files_fail() {}

/// Whether the process was started with a signal ignored; known where there is /proc.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
