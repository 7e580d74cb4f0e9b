//! `stuck`: connections wait, and none was accepted for `stuck`.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::time::Time;

/// What it goes by is [`super::observed::Head`].
#[derive(Debug, Clone, Default)]
pub(super) struct Stuck;

impl Stuck {
    fn idle_since(observed: &Observed) -> Option<Time> {
        let depth = observed.depth().filter(|depth| depth.queued > 0)?;
        observed.head.idle_since(depth)
    }
}

impl Rule for Stuck {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        long_enough(Stuck::idle_since(observed), at, observed.settings.stuck)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        Stuck::idle_since(observed).is_some_and(|since| observed.is_throughout(since))
    }

    fn as_of(&self, observed: &Observed, at: Time) -> Time {
        if observed.head.is_by_census() { observed.census_at(at) } else { at }
    }
}
