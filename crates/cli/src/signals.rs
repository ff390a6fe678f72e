//! Ctrl-C and SIGTERM: the first asks to save and stop, a second one leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Which signal asked to stop.
pub(crate) struct Stop {
    asked: Arc<AtomicUsize>,
}

impl Stop {
    /// Watches for signals from now on.
    pub(crate) fn watch() -> anyhow::Result<Stop> {
        let asked = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let again = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds `again` unset, the second one set.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            signal_hook::flag::register(signal, again)?;
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
