//! Hysteresis: a condition is raised once, and cleared once when it has been absent for long enough.

use std::time::Duration;

use super::condition::Condition;
use super::time::Time;

/// What is raised; almost always nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Raised(Vec<One>);

#[derive(Debug, Clone, Copy)]
struct One {
    condition: Condition,
    /// Since when it held when it was raised.
    since: Time,
    at: Time,
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

impl Raised {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, condition: Condition) -> bool {
        self.0.iter().any(|one| one.condition == condition)
    }

    /// Each, and when it was raised; in the order of [`Condition::ALL`].
    pub(super) fn iter(&self) -> impl Iterator<Item = (Condition, Time)> {
        self.0.iter().map(|one| (one.condition, one.at))
    }

    /// Takes in a judgement of a condition, known as of `as_of`.
    pub(super) fn follow(
        &mut self,
        condition: Condition,
        at: Time,
        as_of: Time,
        judgement: Judgement,
        clear: Duration,
    ) -> Option<Turn> {
        let place = self.0.partition_point(|one| one.condition < condition);
        let raised = self.0.get_mut(place).filter(|one| one.condition == condition);
        match (raised, judgement) {
            (None, Judgement::Holds(since)) => {
                self.0.insert(place, One { condition, since, at, absent_since: None });
                Some(Turn::Raised(at.saturating_sub(since)))
            }
            (None, _) => None,
            (Some(one), Judgement::Holds(_) | Judgement::MayHold) => {
                one.absent_since = None;
                None
            }
            (Some(one), Judgement::Absent) => {
                let absent = *one.absent_since.get_or_insert(as_of);
                if as_of.saturating_sub(absent) < clear {
                    return None;
                }
                let held_for = absent.saturating_sub(one.since);
                self.0.remove(place);
                Some(Turn::Cleared(held_for))
            }
        }
    }

    /// The observation begins again: a time of absence with a gap in it is not one.
    pub(super) fn restart(&mut self) {
        self.0.iter_mut().for_each(|one| one.absent_since = None);
    }
}
