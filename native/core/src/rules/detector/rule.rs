//! What every condition answers.

use std::time::Duration;

use super::observed::Observed;
use super::time::Time;

/// One condition: when it holds, by what has been read and by what it remembers of it.
pub(super) trait Rule {
    /// Since when it holds; `None`: it does not.
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time>;

    /// Nothing that has been read since the observation began speaks against it; it may not have gone on for long enough to
    /// say that it holds. What was raised before stays raised.
    fn may_still_hold(&self, observed: &Observed) -> bool;

    /// After a reading: when it will hold if nothing changes until then; `None`: nothing that has been read leads there.
    fn due_at(&self, _observed: &Observed) -> Option<Time> {
        None
    }

    /// As of when it is known whether it holds: what a census has shown may have ended since.
    fn as_of(&self, _observed: &Observed, at: Time) -> Time {
        at
    }
}

/// The time since which something has been so, where it has been so for long enough.
pub(super) fn long_enough(since: Option<Time>, at: Time, duration: Duration) -> Option<Time> {
    since.filter(|&since| at.saturating_sub(since) >= duration)
}
