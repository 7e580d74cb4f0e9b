//! The clock of all watches. Only a scheduler may read the VM's own.

use std::sync::LazyLock;
use std::time::Instant;

use accept_queue_core::rules::detector::{Time, on_clock};

pub(crate) fn now() -> Time {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    on_clock(BEGUN.elapsed())
}
