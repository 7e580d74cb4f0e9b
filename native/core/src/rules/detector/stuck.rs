//! `stuck`: connections wait, and none was accepted for `stuck`. Judged for each socket that shares the address.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::sockets::Socket;
use super::time::Time;

/// What it goes by is [`super::observed::Head`], and the depth of each socket.
#[derive(Debug, Clone, Default)]
pub(super) struct Stuck;

impl Stuck {
    /// The socket from which nothing has been accepted for the longest, and since when.
    pub(super) fn idle(observed: &Observed) -> Option<(Time, &Socket)> {
        observed.depth()?;
        let occupied = observed.sockets.iter().filter(|socket| socket.depth.queued > 0);
        let idle = occupied.filter_map(|socket| Some((observed.idle_since(socket)?, socket)));
        idle.min_by_key(|(since, socket)| (*since, std::cmp::Reverse(socket.depth.queued)))
    }

    fn idle_since(observed: &Observed) -> Option<Time> {
        Stuck::idle(observed).map(|(since, _)| since)
    }
}

impl Rule for Stuck {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        long_enough(Stuck::idle_since(observed), at, observed.settings.stuck)
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        Stuck::idle_since(observed).is_some_and(|since| observed.is_throughout(since))
    }

    fn due_at(&self, observed: &Observed) -> Option<Time> {
        Some(Stuck::idle_since(observed)? + observed.settings.stuck)
    }

    fn as_of(&self, observed: &Observed, at: Time) -> Time {
        if observed.head.is_by_census() { observed.census_at(at) } else { at }
    }
}
