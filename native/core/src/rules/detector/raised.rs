//! Hysteresis: a condition is raised once, and cleared once when it has been absent for long enough.

use std::time::Duration;

use super::time::Time;

/// Whether a condition is raised, and since when it has been absent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Track {
    /// Since when it held when it was raised.
    since: Time,
    raised_at: Option<Time>,
    absent_since: Option<Time>,
}

/// What a reading says of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It holds, since then.
    Holds(Time),
    /// What was read does not suffice to say that it does not.
    MayHold,
    /// It does not.
    Absent,
}

/// What a judgement changes, and how long the condition has held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Raised(Duration),
    Cleared(Duration),
}

impl Track {
    pub(super) fn raised_at(&self) -> Option<Time> {
        self.raised_at
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised_at.is_some()
    }

    /// Takes in a judgement, known as of `as_of`.
    pub(super) fn follow(&mut self, at: Time, as_of: Time, judgement: Judgement, clear: Duration) -> Option<Turn> {
        match (self.is_raised(), judgement) {
            (false, Judgement::Holds(since)) => {
                *self = Track { since, raised_at: Some(at), absent_since: None };
                Some(Turn::Raised(at.saturating_sub(since)))
            }
            (false, _) => None,
            (true, Judgement::Holds(_) | Judgement::MayHold) => {
                self.absent_since = None;
                None
            }
            (true, Judgement::Absent) => {
                let absent = *self.absent_since.get_or_insert(as_of);
                if as_of.saturating_sub(absent) < clear {
                    return None;
                }
                let held_for = absent.saturating_sub(self.since);
                *self = Track::default();
                Some(Turn::Cleared(held_for))
            }
        }
    }

    /// The observation begins again: a time of absence with a gap in it is not one.
    pub(super) fn restart(&mut self) {
        self.absent_since = None;
    }
}
