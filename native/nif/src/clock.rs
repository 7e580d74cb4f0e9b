//! The clock of all watches. Only a scheduler may read the VM's own.

use std::sync::LazyLock;
use std::time::Duration;

use accept_queue_core::linux::clock::monotonic;
use accept_queue_core::rules::detector::{Time, on_clock};

pub(crate) fn now() -> Time {
    static BEGUN: LazyLock<Duration> = LazyLock::new(monotonic);
    on_clock(monotonic().saturating_sub(*BEGUN))
}
