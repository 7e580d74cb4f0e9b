//! The clock of the rules.

use std::time::Duration;

/// A point on the caller's clock: see [`on_clock`].
pub type Time = Duration;

/// The time at which so much has passed since the caller's clock began. A connection may have come before that, so the clock
/// of the rules has begun long before it.
pub fn on_clock(passed: Duration) -> Time {
    const BEFORE: Duration = Duration::from_secs(1 << 32);
    BEFORE + passed
}

/// Whether another stretch of this length, counted from when the clock began, has been entered since then. What is due in each of them is
/// due at the same time for all listeners, whenever each was watched first: a walk over a table costs the same for one as for all.
pub(crate) fn is_another(every: Duration, then: Time, at: Time) -> bool {
    let stretch = |time: Time| time.as_nanos() / every.as_nanos().max(1);
    stretch(then) != stretch(at)
}

/// A part of a time. Connections that come at regular times may come just before each reading, and look like a queue that never empties. A
/// reading that lies off their step sees that it does, and is a thousandth of a census. Of few periods are both multiples, these three eighths
/// and the whole.
pub(super) fn off_step(time: Duration) -> Duration {
    time * 3 / 8
}
