//! `behind`: the head of the queue has waited longer than `max_wait`, throughout `hold_for`.
//!
//! A census tells since when, up to half of the time since the census before: the heads in between are not known. So while the head has not
//! waited for too long, the next census is due when it may have, unless the queue has been seen empty: that is looked for in between. Connections
//! that come at regular times may come just before each of the other readings.

use std::time::Duration;

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::time::{Time, off_step};

#[derive(Debug, Clone, Default)]
pub(super) struct Behind {
    /// The head has waited too long since; `None`: it has not.
    since: Option<Time>,
    /// Where it has not, but will have if it is still there: from then on.
    may_begin_at: Option<Time>,
    /// Before that its queue may be empty for a moment.
    glance_at: Option<Time>,
}

/// Between two censuses that wait for the head to have waited too long: a queue may be near that all the time.
const APART: Duration = Duration::from_millis(50);

impl Behind {
    /// A census says how long the head has waited.
    pub(super) fn census_taken(&mut self, observed: &Observed, at: Time) {
        let max_wait = observed.settings.max_wait;
        let oldest_wait = observed.view.and_then(|view| view.oldest_wait);
        let waited = oldest_wait.map(|waited| waited.max(observed.head.waited(at).unwrap_or_default()));
        let too_long_at = |waited| (at.saturating_sub(waited) + max_wait).max(at + APART);
        self.may_begin_at = waited.filter(|&waited| waited <= max_wait).map(too_long_at);
        self.glance_at = self.may_begin_at.map(|then| at + off_step(then.saturating_sub(at)));
        self.since = waited.filter(|&waited| waited > max_wait).map(|waited| {
            // A connection that has waited for so long now has waited too long since then, whether it was read or not.
            let since = (at.saturating_sub(waited) + max_wait).max(observed.since);
            self.since.map_or(since, |before| before.min(since))
        });
    }

    /// The queue is empty, or the observation begins again.
    pub(super) fn forget(&mut self) {
        *self = Behind::default();
    }

    /// When a reading may show that its queue is empty for a moment.
    pub(super) fn glance_at(&self) -> Option<Time> {
        self.glance_at
    }

    /// The head of the last census has waited too long by now, if it is still there.
    pub(super) fn may_have_begun(&self, at: Time) -> bool {
        self.may_begin_at.is_some_and(|then| then <= at)
    }
}

impl Rule for Behind {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        long_enough(self.since, at, observed.settings.hold_for)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        let is_occupied = observed.depth().is_some_and(|depth| depth.queued > 0);
        is_occupied && self.since.map_or(observed.census.is_none(), |since| observed.is_throughout(since))
    }

    fn due_at(&self, observed: &Observed) -> Option<Time> {
        self.since.map(|since| since + observed.settings.hold_for).or(self.may_begin_at)
    }

    fn as_of(&self, observed: &Observed, at: Time) -> Time {
        self.since.map_or(at, |_| observed.census_at(at))
    }
}
