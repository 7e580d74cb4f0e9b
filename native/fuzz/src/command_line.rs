//! `/proc/PID/cmdline`, which the process itself can write.

use accept_queue_core::vm::find::beam_of;

/// The most characters of a name.
const NAME: usize = 255;

pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(candidate) = beam_of(1, bytes) {
        assert!(candidate.is_beam && candidate.name.chars().count() <= NAME);
        let _ = candidate.is_node(&candidate.name);
    }
}
