//! When to read which watches. Pure: the caller passes the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::monitor::watch::Watch;
use crate::rules::detector::Time;

/// What is watched, by interval.
#[derive(Default)]
pub(super) struct Schedule {
    grids: BTreeMap<Duration, Grid>,
    search_due: Time,
    wants_samples: bool,
    generation: u64,
}

/// The watches of one interval, read together: each waking costs more than what is done in it.
struct Grid {
    due: Time,
    watches: Arc<[Arc<Watch>]>,
}

/// What is due now.
pub(super) struct Poll {
    pub(super) at: Time,
    watches: Vec<Arc<[Arc<Watch>]>>,
    /// It comes later than the next one was due, by this much.
    pub(super) late: Option<Duration>,
    /// It is time to see whether a listener is new or gone.
    pub(super) search: bool,
    /// Readings that change nothing are to be reported too, at the pace of each watch.
    pub(super) wants_samples: bool,
    /// How often the watches have been replaced.
    pub(super) generation: u64,
}

/// How often to see whether a listener is new or gone: a dump of the listening sockets.
const SEARCH: Duration = Duration::from_secs(1);
/// A shorter interval would take a processor of its own.
const SHORTEST: Duration = Duration::from_millis(1);

impl Schedule {
    /// Replaces what is watched. An interval that was there before keeps its grid.
    pub(super) fn replace(&mut self, now: Time, watches: Vec<Arc<Watch>>, wants_samples: bool) {
        let mut by_interval: BTreeMap<Duration, Vec<Arc<Watch>>> = BTreeMap::new();
        for watch in watches {
            by_interval.entry(watch.interval().max(SHORTEST)).or_default().push(watch);
        }
        self.grids = by_interval
            .into_iter()
            .map(|(interval, watches)| {
                let due = self.grids.get(&interval).map_or(now + interval, |grid| grid.due);
                (interval, Grid { due, watches: watches.into() })
            })
            .collect();
        self.wants_samples = wants_samples;
        self.generation += 1;
    }

    /// What is due; `None`: nothing is.
    pub(super) fn due(&mut self, at: Time) -> Option<Poll> {
        let (mut watches, mut late) = (Vec::new(), None);
        for (&interval, grid) in self.grids.iter_mut().filter(|(_, grid)| grid.due <= at) {
            watches.push(Arc::clone(&grid.watches));
            late = late.max(Some(at - grid.due).filter(|&late| late > interval));
            grid.due = next_on_grid(grid.due, interval, at);
        }
        // Together with readings where it can be.
        let search = self.search_due <= at + SEARCH / 20;
        if search {
            self.search_due = at + SEARCH;
        }
        let Schedule { wants_samples, generation, .. } = *self;
        (search || !watches.is_empty()).then_some(Poll { at, watches, late, search, wants_samples, generation })
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Time {
        self.grids.values().map(|grid| grid.due).fold(self.search_due, Time::min)
    }
}

impl Poll {
    /// The watches to be read.
    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.iter().flat_map(|watches| watches.iter()).map(|watch| &**watch)
    }
}

/// The next one keeps to the grid, and leaves out what has been missed.
fn next_on_grid(due: Time, interval: Duration, at: Time) -> Time {
    let past = (at - due).as_nanos() % interval.as_nanos();
    at + interval - Duration::from_nanos(past as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_poll_that_comes_late_is_followed_by_one_on_the_grid() {
        let next = |due, at| next_on_grid(MS * due, MS * 100, MS * at).as_millis();
        assert_eq!([next(500, 500), next(500, 540), next(500, 600), next(500, 1730)], [600, 600, 700, 1800]);
    }
}
