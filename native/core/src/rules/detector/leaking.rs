//! `leaking`: the application holds many connections that their peers have closed.

use super::observed::Observed;
use super::rule::Rule;
use super::time::Time;

#[derive(Debug, Clone, Default)]
pub(super) struct Leaking;

impl Rule for Leaking {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        let close_wait = observed.view?.close_wait?;
        observed.settings.is_leaking(close_wait).then_some(at)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        observed.view.is_none_or(|view| view.close_wait.is_none())
    }

    fn as_of(&self, observed: &Observed, at: Time) -> Time {
        observed.census_at(at)
    }
}
