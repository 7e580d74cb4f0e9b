//! `behind`: the head of the queue has waited longer than `max_wait`, throughout `hold_for`.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::time::Time;

#[derive(Debug, Clone, Default)]
pub(super) struct Behind {
    /// The head has waited too long since; `None`: it has not.
    since: Option<Time>,
}

impl Behind {
    /// A census says how long the head has waited.
    pub(super) fn census_taken(&mut self, observed: &Observed, at: Time) {
        let max_wait = observed.settings.max_wait;
        let oldest_wait = observed.view.and_then(|view| view.oldest_wait);
        let waited = oldest_wait.map(|waited| waited.max(observed.head.waited(at).unwrap_or_default()));
        self.since = waited.filter(|&waited| waited > max_wait).map(|waited| {
            // A connection that has waited for so long now has waited too long since then, whether it was read or not.
            let since = (at.saturating_sub(waited) + max_wait).max(observed.since);
            self.since.map_or(since, |before| before.min(since))
        });
    }

    /// The queue is empty, or the observation begins again.
    pub(super) fn forget(&mut self) {
        self.since = None;
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
        Some(self.since? + observed.settings.hold_for)
    }

    fn as_of(&self, observed: &Observed, at: Time) -> Time {
        self.since.map_or(at, |_| observed.census_at(at))
    }
}
