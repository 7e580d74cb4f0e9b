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
}

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
