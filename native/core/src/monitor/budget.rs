//! How much of a core censuses may take: one that took much is followed by a longer pause. Pure.
//!
//! A census walks the table of connections: with a million of them it takes a second. What a rule would know sooner by the next one
//! is not worth a core.

use std::time::Duration;

use crate::rules::detector::Time;

/// When the next census may be taken: by what the last one cost, and by how things stand now.
#[derive(Debug, Default)]
pub(super) struct Budget {
    ended_at: Time,
    cost: Duration,
}

/// One part in so many of a core while all is well ...
const WELL: u32 = 100;
/// ... and while something is wrong.
const WRONG: u32 = 20;

impl Budget {
    /// `is_well`: now. What went wrong since the last census does not wait for as long as a census that is taken in any case.
    pub(super) fn allows(&self, at: Time, is_well: bool) -> bool {
        self.allowed_at(is_well) <= at
    }

    /// From when on.
    pub(super) fn allowed_at(&self, is_well: bool) -> Time {
        self.ended_at.saturating_add(self.pause(is_well))
    }

    /// A census ended at this time, and took so much of a core. Returns the pause that follows it if things go on like this.
    pub(super) fn spent(&mut self, at: Time, cost: Duration, is_well: bool) -> Duration {
        *self = Budget { ended_at: at, cost };
        self.pause(is_well)
    }

    fn pause(&self, is_well: bool) -> Duration {
        self.cost.saturating_mul(if is_well { WELL } else { WRONG } - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a core that censuses take which are asked for at each millisecond of ten minutes, and how often one is taken.
    fn share(took: Duration, is_well: bool) -> (f64, u32) {
        let (end, mut budget, mut at, mut taken) = (Duration::from_secs(600), Budget::default(), Time::ZERO, 0);
        while at < end {
            if budget.allows(at, is_well) {
                at += took;
                taken += 1;
                budget.spent(at, took, is_well);
            } else {
                at += Duration::from_millis(1);
            }
        }
        (took.as_secs_f64() * f64::from(taken) / end.as_secs_f64(), taken)
    }

    #[test]
    fn what_goes_wrong_waits_for_less_than_what_is_well() {
        let ms = Duration::from_millis;
        let mut budget = Budget::default();
        assert!(budget.allows(Time::ZERO, true), "the first one");
        assert_eq!(budget.spent(ms(1000), ms(10), true), ms(990));
        let allows = |at, is_well| budget.allows(ms(at), is_well);
        assert_eq!([1100, 1189, 1190, 1989, 1990].map(|at| allows(at, true)), [false, false, false, false, true]);
        assert_eq!([1100, 1189, 1190, 1989, 1990].map(|at| allows(at, false)), [false, false, true, true, true]);
    }

    #[test]
    fn censuses_take_their_part_of_a_core_and_no_more_at_whatever_they_cost() {
        for ms in [1, 19, 200, 1100] {
            let took = Duration::from_millis(ms);
            for (is_well, most) in [(true, 0.01), (false, 0.05)] {
                let (share, taken) = share(took, is_well);
                // The first one comes unasked.
                assert!(share <= most + took.as_secs_f64() / 600.0, "{share} with {ms} ms");
                assert!(taken >= 5, "{taken} with {ms} ms");
            }
        }
    }
}
