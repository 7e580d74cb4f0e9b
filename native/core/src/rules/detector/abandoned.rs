//! `abandoned`: many of the queued clients have closed or reset.

use super::observed::Observed;
use super::rule::Rule;
use super::time::Time;
use crate::Counts;

#[derive(Debug, Clone, Default)]
pub(super) struct Abandoned;

impl Abandoned {
    /// The last census, where the queue has not been empty since: it says nothing of connections that came later.
    fn counts_of_these(observed: &Observed) -> Option<Counts> {
        let (taken, counts) = observed.census?;
        (taken >= observed.occupied_since?).then_some(counts)
    }
}

impl Rule for Abandoned {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        let counts = Abandoned::counts_of_these(observed)?;
        let left = counts.left()?;
        observed.settings.is_abandoned(counts.queued, left).then_some(at)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        observed.depth().is_some_and(|depth| depth.queued > 0) && observed.census.is_none()
    }
}
