//! Which drops were overflows: the drops of listeners against the `ListenOverflows` of their network namespace. Pure.
//!
//! A queue that fills and drains between two readings shows neither: it is nearly empty at both. The kernel counts each SYN that
//! met a full queue twice, in the drops of the listener and in the counter of the namespace. So the counter is read where
//! listeners have dropped something, after their depths, and their drops are overflows as far as it has risen over the same time.
//!
//! What this cannot tell: the counter is one for all listeners of the namespace. Drops for another cause count as overflows
//! where a listener that is not watched overflowed meanwhile.

/// The overflows of one network namespace, and how many of them the drops of its listeners have explained.
#[derive(Debug, Clone, Default)]
pub struct Overflows {
    /// `ListenOverflows`; `None`: it could not be read.
    counted: Option<u64>,
    explained: u64,
    /// `ListenOverflows` when it was last looked at.
    looked_at: Option<u64>,
}

/// What a listener has dropped since its last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Packets.
    pub count: u64,
    /// Its queue was more than half full at one of the two readings: its drops explain the overflows first.
    pub is_near_full: bool,
    /// What had been counted before its last reading; `None`: nothing yet, or that is not known.
    pub since: Option<u64>,
}

/// How many of a listener's drops may have been overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overflowed {
    /// No more than these; `None`: the depth has to say so.
    pub at_most: Option<u64>,
    /// What had been counted before this reading: the next one goes by it.
    pub since: Option<u64>,
}

impl Overflows {
    /// The listeners of the namespace have been read. `count` reads the counter, and is called where something was dropped, and
    /// where `is_due`.
    pub fn attribute(
        &mut self,
        dropped: &[Dropped],
        is_due: bool,
        count: impl FnOnce() -> Option<u64>,
    ) -> Vec<Overflowed> {
        // An overflow between the readings and the count is among the drops of the next reading: it begins before the count.
        let before = self.counted;
        if is_due || dropped.iter().any(|dropped| dropped.count > 0) {
            self.counted = count();
            if before.is_none() {
                // What was counted before anything was compared is not of these listeners.
                self.explained = self.counted.unwrap_or_default();
            }
        }
        let mut overflowed = vec![Overflowed { at_most: None, since: before }; dropped.len()];
        for is_near_full in [true, false] {
            let unexplained = self.unexplained();
            let (mut explained, mut most) = (0, 0);
            for (dropped, overflowed) in dropped.iter().zip(&mut overflowed) {
                if dropped.count > 0 && dropped.is_near_full == is_near_full {
                    let counted = self.counted.zip(dropped.since).map(|(now, since)| now.saturating_sub(since));
                    overflowed.at_most = unexplained.filter(|_| before.is_some()).map(|unexplained| {
                        // Where it is not known what has been counted over its time, none of the others' drops have explained more.
                        counted.unwrap_or(unexplained).min(unexplained)
                    });
                    let at_most = overflowed.at_most.unwrap_or(0);
                    (explained, most) = (explained + at_most.min(dropped.count), most.max(at_most));
                }
            }
            self.explained += explained.min(most);
        }
        overflowed
    }

    /// Whether some queue of the namespace has overflowed since this was last asked: also one that was empty at each reading. `None`:
    /// that cannot be known.
    pub fn have_risen(&mut self, count: impl FnOnce() -> Option<u64>) -> Option<bool> {
        let before = std::mem::replace(&mut self.looked_at, count());
        self.looked_at.map(|now| before.is_none_or(|before| now > before))
    }

    /// `ListenOverflows` when it was read last.
    pub fn counted(&self) -> Option<u64> {
        self.counted
    }

    fn unexplained(&self) -> Option<u64> {
        self.counted.map(|counted| counted.saturating_sub(self.explained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(count: u64, is_near_full: bool) -> Dropped {
        Dropped { count, is_near_full, since: None }
    }

    /// With 100 counted before: so many now, and what is at most an overflow of each.
    fn at_most(now: u64, all: &[Dropped]) -> Vec<Option<u64>> {
        let mut overflows = Overflows::default();
        overflows.attribute(&[], true, || Some(100));
        overflows.attribute(all, false, || Some(now)).into_iter().map(|overflowed| overflowed.at_most).collect()
    }

    #[test]
    fn drops_are_overflows_as_far_as_the_kernel_counted_them() {
        assert_eq!(at_most(103, &[dropped(5, false)]), [Some(3)]);
        assert_eq!(at_most(100, &[dropped(5, false)]), [Some(0)], "none was counted");
        assert_eq!(
            at_most(104, &[dropped(1, false), dropped(4, true)]),
            [Some(0), Some(4)],
            "the full ones explain them"
        );
        assert_eq!(at_most(104, &[dropped(0, false)]), [None]);
    }

    #[test]
    fn a_rise_of_the_counter_is_seen_once() {
        let mut overflows = Overflows::default();
        let mut seen = |counted| overflows.have_risen(|| counted);
        assert_eq!(seen(Some(7)), Some(true), "there was nothing to compare with");
        assert_eq!([seen(Some(7)), seen(Some(9)), seen(Some(9))].map(Option::unwrap), [false, true, false]);
        assert_eq!([seen(None), seen(Some(9))], [None, Some(true)]);
    }

    #[test]
    fn without_the_counter_the_depth_has_to_say() {
        let mut overflows = Overflows::default();
        let all = [dropped(5, false)];
        assert_eq!(overflows.attribute(&all, false, || None)[0].at_most, None);
        assert_eq!(overflows.attribute(&all, false, || Some(7))[0].at_most, None, "there is nothing to compare with");
        assert_eq!(overflows.attribute(&all, false, || Some(9))[0].at_most, Some(2));
    }

    #[test]
    fn an_overflow_after_the_reading_and_before_the_count_is_found_at_the_next_reading() {
        let mut overflows = Overflows::default();
        overflows.attribute(&[], true, || Some(100));
        let first = overflows.attribute(&[dropped(2, false)], false, || Some(103))[0];
        assert_eq!(first.at_most, Some(3));
        let again = Dropped { since: first.since, ..dropped(1, false) };
        assert_eq!(overflows.attribute(&[again], false, || Some(103))[0].at_most, Some(1));
    }

    /// A listener is read once when it is begun to be watched. The next count is that of a census of another listener.
    #[test]
    fn overflows_that_were_counted_before_the_second_reading_are_not_lost() {
        let mut overflows = Overflows::default();
        overflows.attribute(&[], true, || Some(100));
        overflows.attribute(&[], true, || Some(114));
        assert_eq!(overflows.attribute(&[dropped(14, false)], false, || Some(114))[0].at_most, Some(14));
    }

    #[test]
    fn an_overflow_that_was_found_later_is_not_taken_from_those_after_it() {
        let mut overflows = Overflows::default();
        overflows.attribute(&[], true, || Some(100));
        let mut last = Overflowed::default();
        // The third comes between the first reading and the count.
        for (count, counted) in [(2, 103), (2, 104), (1, 105)] {
            last = overflows
                .attribute(&[Dropped { since: last.since, ..dropped(count, true) }], false, || Some(counted))[0];
            assert!(last.at_most >= Some(count), "{last:?} of {count} at {counted}");
        }
    }

    #[test]
    fn one_that_is_read_seldom_is_compared_over_its_own_time() {
        let mut overflows = Overflows::default();
        let seldom = overflows.attribute(&[dropped(0, false)], true, || Some(100))[0];
        let mut often = seldom;
        for counted in [102, 104] {
            let dropped = Dropped { since: often.since, ..dropped(1, false) };
            often = overflows.attribute(&[dropped], false, || Some(counted))[0];
        }
        let at_last = Dropped { since: seldom.since.or(Some(100)), ..dropped(9, false) };
        assert_eq!(overflows.attribute(&[at_last], false, || Some(104))[0].at_most, Some(2));
    }
}
