//! `overflowing`: drops rise with the queue near full, or it is full throughout `hold_for`.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::time::Time;
use crate::Depth;

#[derive(Debug, Clone, Default)]
pub(super) struct Overflowing {
    full_since: Option<Time>,
    drops: Drops,
}

/// What has been dropped lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drops {
    /// With the queue near full.
    pub(super) for_want_of_room: u32,
    /// With the queue far from full.
    pub(super) otherwise: u32,
    /// The last reading at which some had been dropped for want of room.
    pub(super) at: Option<Time>,
}

impl Overflowing {
    /// A reading of the first tier, and the one before it.
    pub(super) fn depth_read(&mut self, at: Time, before: Option<Depth>, now: Depth) {
        match before {
            Some(before) => self.drops.rise(at, before, now),
            None => (self.full_since, self.drops.at) = (None, None),
        }
        let is_full = now.queued > now.limit;
        self.full_since = if is_full { self.full_since.or(Some(at)) } else { None };
    }

    pub(super) fn drops(&self) -> Drops {
        self.drops
    }

    /// Those of an overflow that is over, or of none, are not those of the next.
    pub(super) fn forget_earlier_drops(&mut self, at: Time) {
        if self.drops.at.is_some_and(|then| then != at) {
            self.drops = Drops::default();
        }
    }
}

impl Drops {
    fn rise(&mut self, at: Time, before: Depth, now: Depth) {
        let (Some(earlier), Some(later)) = (before.drops, now.drops) else { return };
        // The kernel's figure wraps.
        let dropped = later.wrapping_sub(earlier);
        if dropped == 0 {
            return;
        }
        // A queue that filled between two readings has left half of itself at one of them, or it drains faster than needs
        // to be reported.
        if before.queued.max(now.queued) > now.limit / 2 {
            self.for_want_of_room = self.for_want_of_room.saturating_add(dropped);
            self.at = Some(at);
        } else {
            self.otherwise = self.otherwise.saturating_add(dropped);
        }
    }
}

impl Rule for Overflowing {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        let full = long_enough(self.full_since, at, observed.settings.hold_for);
        full.or(self.drops.at.filter(|&then| then == at))
    }

    fn may_still_hold(&self, observed: &Observed) -> bool {
        self.full_since.is_some_and(|since| observed.is_throughout(since))
    }
}
