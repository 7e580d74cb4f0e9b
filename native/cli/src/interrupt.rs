//! Ctrl-C and SIGTERM.

use std::time::Duration;
use std::{process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the program may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Calls `notify` on the first of them, and ends the program a second later if it still runs: it may be blocked in a write to a
/// full pipe.
pub(crate) fn on_interrupt(notify: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals: {error}"))?;
    let wait = move || {
        if signals.forever().next().is_some() {
            notify();
            thread::sleep(PATIENCE);
            process::exit(0);
        }
    };
    thread::Builder::new().spawn(wait).map(|_| ()).map_err(|error| format!("a thread for signals: {error}"))
}
