//! `abandoned`: many of the queued clients have closed or reset, in two censuses `hold_for` apart and in all between them. One
//! census may have met clients that were about to be accepted.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::time::Time;

#[derive(Debug, Clone, Default)]
pub(super) struct Abandoned {
    /// The first census that found it so.
    since: Option<Time>,
}

impl Abandoned {
    /// Takes in a census.
    pub(super) fn census_taken(&mut self, observed: &Observed, at: Time) {
        let is_so = observed
            .view
            .and_then(|view| Some((view.queued, view.left?)))
            .is_some_and(|(queued, left)| observed.settings.is_abandoned(queued, left));
        self.since = if is_so { self.since.or(Some(at)) } else { None };
    }

    /// The queue is empty, or the observation begins again: a census says nothing of connections that come later.
    pub(super) fn forget(&mut self) {
        self.since = None;
    }
}

impl Rule for Abandoned {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        long_enough(self.since, observed.census_at(at), observed.settings.hold_for)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        self.since.is_some() || observed.depth().is_some_and(|depth| depth.queued > 0) && observed.census.is_none()
    }
}
