//! The time of a recording, which moves with its entries and never back. Pure.

use crate::recording::{Entry, Item, SampleEntry, is_hole};

/// The end of the year 9999: no date has more than four digits.
pub(super) const LATEST_MS: u64 = 253_402_300_799_999;

#[derive(Debug, Default)]
pub(super) struct Clock {
    /// At 0 ms of this run.
    epoch_ms: u64,
    /// Of the last entry.
    at_ms: u64,
    interval_ms: u64,
    /// When the first run began, and the last entry, in milliseconds since the epoch.
    span: Option<(u64, u64)>,
}

/// What passed until an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// The time of the entry before; `None` where there was none.
    pub(super) before: Option<u64>,
    /// Nothing was recorded in between.
    pub(super) is_hole: bool,
}

impl Clock {
    /// Moves to the time of this entry.
    pub(super) fn follow(&mut self, entry: &Entry) -> Passed {
        let before = self.span.map(|(_, now)| now);
        let is_hole = match entry {
            Entry::Begun { epoch_ms, interval_ms, .. } => {
                (self.epoch_ms, self.at_ms, self.interval_ms) = (*epoch_ms, 0, *interval_ms);
                let now = self.epoch_now();
                self.span.get_or_insert((now, now));
                before.is_some()
            }
            Entry::Sample(sample) => self.sample(sample),
            Entry::Ended { at_ms, .. } => {
                self.at_ms = *at_ms;
                false
            }
        };
        let epoch_now = self.epoch_now();
        // Where the clock was set back, time does not move until it is later again.
        if let Some((_, now)) = &mut self.span {
            *now = epoch_now.max(*now);
        }
        Passed { before, is_hole }
    }

    /// Whether the recorder did not run before it.
    fn sample(&mut self, SampleEntry { at_ms, quiet, items }: &SampleEntry) -> bool {
        let passed = at_ms.saturating_sub(self.at_ms);
        // The sample itself may set the clock.
        for item in items {
            if let Item::Clock { epoch_ms } = item {
                self.epoch_ms = *epoch_ms;
            }
        }
        self.at_ms = *at_ms;
        let moved = self.span.map_or(0, |(_, now)| self.epoch_now().saturating_sub(now));
        let has_slept = moved > passed && is_hole(self.interval_ms, moved);
        *quiet == 0 && (is_hole(self.interval_ms, passed) || has_slept)
    }

    /// The first and the last moment so far; `None` before a run has begun.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.span
    }

    fn epoch_now(&self) -> u64 {
        self.epoch_ms.saturating_add(self.at_ms).min(LATEST_MS)
    }
}
