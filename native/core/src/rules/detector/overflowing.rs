//! `overflowing`: connections are dropped for want of room, or a queue is full throughout `hold_for`. Judged for each socket
//! that shares the address: a client that is sent to the full one is dropped, whatever room the others have.

use super::observed::Observed;
use super::rule::{Rule, long_enough};
use super::sockets::Rise;
use super::time::Time;

#[derive(Debug, Clone, Default)]
pub(super) struct Overflowing {
    drops: Drops,
}

/// What has been dropped lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drops {
    pub(super) for_want_of_room: u64,
    pub(super) otherwise: u64,
    /// The last reading at which some had been dropped for want of room.
    pub(super) at: Option<Time>,
}

impl Overflowing {
    /// A reading of the first tier. What was dropped in a time that was not observed was dropped all the same.
    pub(super) fn depth_read(&mut self, at: Time, rise: Rise) {
        let drops = &mut self.drops;
        drops.for_want_of_room = drops.for_want_of_room.saturating_add(rise.overflowed);
        drops.otherwise = drops.otherwise.saturating_add(rise.otherwise);
        if rise.overflowed > 0 {
            drops.at = Some(at);
        }
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

impl Rule for Overflowing {
    fn holds_since(&self, observed: &Observed, at: Time) -> Option<Time> {
        let full = long_enough(observed.sockets.full_since(), at, observed.settings.hold_for);
        full.or(self.drops.at.filter(|&then| then == at))
    }

    /// A queue that is full is not over with it.
    fn may_still_hold(&self, observed: &Observed) -> bool {
        observed.sockets.full_since().is_some()
    }

    fn due_at(&self, observed: &Observed) -> Option<Time> {
        Some(observed.sockets.full_since()? + observed.settings.hold_for)
    }
}
