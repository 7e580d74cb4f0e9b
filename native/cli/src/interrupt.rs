//! Ctrl-C, SIGTERM, and SIGHUP, when the terminal goes.

use std::time::Duration;
use std::{fs, process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the program may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Calls `notify` on the first of them, and ends the program a second later if it still runs: it may be blocked in a write to a
/// full pipe.
pub(crate) fn on_interrupt(notify: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let caught = [SIGINT, SIGTERM].into_iter().chain((!is_ignored(SIGHUP)).then_some(SIGHUP));
    let mut signals = Signals::new(caught).map_err(|error| format!("signals: {error}"))?;
    let wait = move || {
        if signals.forever().next().is_some() {
            notify();
            thread::sleep(PATIENCE);
            process::exit(0);
        }
    };
    thread::Builder::new().spawn(wait).map(|_| ()).map_err(|error| format!("a thread for signals: {error}"))
}

/// Whoever started the program wants it to outlive the terminal, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
