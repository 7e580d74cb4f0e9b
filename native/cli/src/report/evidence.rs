//! An evidence file of the watchdog -> the entries that `record` would have written. Pure.

use crate::recording::Entry;

/// No evidence file is larger.
pub(super) const LARGEST: u64 = 64 << 20;

pub(super) fn entries(_text: &[u8]) -> Result<Vec<Entry>, String> {
    Err("not yet".to_owned())
}
