//! When to read next: on a fixed grid, so that the duration of a reading does not shift the next.

use std::time::{Duration, Instant};

use accept_queue_core::rules::detector::{Time, on_clock};

pub(crate) struct Pace {
    begun: Instant,
    interval: Duration,
    next: Duration,
}

impl Pace {
    /// The first reading is due now.
    pub(crate) fn new(interval: Duration) -> Pace {
        Pace { begun: Instant::now(), interval, next: interval }
    }

    /// On the clock of the readings.
    pub(crate) fn now(&self) -> Time {
        on_clock(self.elapsed())
    }

    /// Since the first reading.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Time until the next reading is due; zero where it is due.
    pub(crate) fn remaining(&self) -> Duration {
        self.next.saturating_sub(self.elapsed())
    }

    /// After a reading: to the next point of the grid. Points that have passed meanwhile are skipped.
    pub(crate) fn advance(&mut self) {
        self.next = following(self.next, self.interval, self.elapsed());
    }

    /// The same, and so late that a reading which takes so much processor time takes no more than [`SHARE`] of a processor.
    pub(crate) fn advance_at_ease(&mut self, processor: Duration) {
        let points = (processor * SHARE).as_nanos().div_ceil(self.interval.as_nanos());
        let rested = self.next + self.interval * (points as u32).saturating_sub(1);
        self.next = following(self.next, self.interval, self.elapsed().max(rested));
    }
}

/// One part in so many: 4 %.
const SHARE: u32 = 25;

/// The first point of the grid after this one that is not over.
fn following(point: Duration, interval: Duration, elapsed: Duration) -> Duration {
    let late = elapsed.saturating_sub(point).as_nanos() / interval.as_nanos();
    // 2^32 intervals of 10 ms are more than a year without a reading.
    point + interval * (late as u32).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_costs_much_is_followed_by_a_long_pause() {
        let ms = Duration::from_millis;
        for (sentence, cost, next) in [("free", 0, 200), ("4 ms", 4, 200), ("5 ms", 5, 300), ("44 ms", 44, 1200)] {
            let mut pace = Pace::new(ms(100));
            pace.advance_at_ease(ms(cost));
            assert_eq!(pace.next, ms(next), "{sentence}");
        }
    }

    #[test]
    fn a_late_reading_does_not_move_the_grid() {
        for (sentence, elapsed, next) in [
            ("in time", 201, 300),
            ("woken a little too early", 199, 300),
            ("late", 299, 300),
            ("later than one interval", 301, 400),
            ("asleep", 1999, 2000),
        ] {
            let ms = Duration::from_millis;
            assert_eq!(following(ms(200), ms(100), ms(elapsed)), ms(next), "{sentence}");
        }
    }
}
