//! Goes the rounds of the watched listeners of this process, on a thread of its own, and reports what there is to say.
//!
//! A VM that is woken ten times a second pays for the waking itself, most of it schedulers that look for more work before they
//! sleep again, several times what the reading costs. So nobody is woken while there is nothing to say. This thread also goes on
//! reading while every scheduler of the VM is held up.
//!
//! One round is one reading of the first tier of all watches of an interval, and one look for all of them that want one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::monitor::watch::{self, Watch};
use crate::reading::survey;
use crate::rules::detector::Time;
use crate::rules::history::{CensusTaken, DepthReading};
use crate::{Cookie, Error};

/// What somebody should know.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Of watches, each by the number that it was given.
    Notices(Vec<(u64, Notice)>),
    /// A round came later than the next one was due, by this much.
    Late(Duration),
    /// Other sockets listen in this network namespace than a second ago, or did so a second ago: one that was met while it was
    /// being made has to be met again.
    ListenersChanged,
}

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A reading of the first tier changed something, or works again, or all are wanted.
    Depth(DepthReading),
    /// The same of a look.
    Census(CensusTaken),
    /// It cannot be read. Notice once, until it can or fails in another way.
    Failed(Error),
}

/// Whoever drops this ends it.
pub struct Poller {
    /// The thread has the other reference.
    shared: Arc<Shared>,
}

/// Where reports go.
pub type Reporter = Box<dyn FnMut(Report) + Send>;

struct Shared {
    clock: fn() -> Time,
    schedule: Mutex<Schedule>,
    changed: Condvar,
    /// Held throughout a round.
    reporter: Mutex<Reporter>,
}

#[derive(Default)]
struct Schedule {
    grids: BTreeMap<Duration, Grid>,
    search_due: Time,
    /// Each reading is wanted, not only those that change something.
    all: bool,
    /// How often they have been given.
    generation: u64,
    ended: bool,
}

struct Grid {
    due: Time,
    watches: Arc<[Arc<Watch>]>,
}

/// What is due now.
struct Round {
    at: Time,
    watches: Vec<Arc<[Arc<Watch>]>>,
    late: Option<Duration>,
    search: bool,
    all: bool,
    generation: u64,
}

/// How often to see whether a listener is new or gone: a dump of those that listen.
const SEARCH: Duration = Duration::from_secs(1);
/// Whoever asks for less would have a processor for himself.
const SHORTEST: Duration = Duration::from_millis(1);

impl Poller {
    /// Nothing is watched yet. The clock never goes back.
    pub fn start(clock: fn() -> Time, reporter: Reporter) -> io::Result<Poller> {
        let shared = Arc::new(Shared {
            clock,
            schedule: Mutex::default(),
            changed: Condvar::new(),
            reporter: Mutex::new(reporter),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("accept_queue".into()).spawn(move || walk(&theirs))?;
        Ok(Poller { shared })
    }

    /// Reports go there from now on. Waits for the end of a round that has begun: what it changed has been reported before.
    pub fn report_to(&self, reporter: Reporter) {
        *held(&self.shared.reporter) = reporter;
    }

    /// Watches these from now on, each at its own interval, and nothing else. Waits for nobody.
    pub fn watch(&self, watches: Vec<Arc<Watch>>, all: bool) {
        let now = (self.shared.clock)();
        let mut by_interval: BTreeMap<Duration, Vec<Arc<Watch>>> = BTreeMap::new();
        for watch in watches {
            by_interval.entry(watch.interval().max(SHORTEST)).or_default().push(watch);
        }
        let mut schedule = held(&self.shared.schedule);
        schedule.grids = by_interval
            .into_iter()
            .map(|(interval, watches)| {
                let due = schedule.grids.get(&interval).map_or(now + interval, |grid| grid.due);
                (interval, Grid { due, watches: watches.into() })
            })
            .collect();
        schedule.all = all;
        schedule.generation += 1;
        self.shared.changed.notify_one();
    }

    /// Whether its thread still runs; it ends with nothing but a fault of ours.
    pub fn is_running(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

/// Does not wait for the thread, which ends by itself.
impl Drop for Poller {
    fn drop(&mut self) {
        held(&self.shared.schedule).ended = true;
        self.shared.changed.notify_one();
    }
}

fn walk(shared: &Shared) {
    let mut failing = HashMap::new();
    let (mut generation, mut listening) = (0, Listening::default());
    while let Some(round) = shared.next_round() {
        let report = &mut *held(&shared.reporter);
        if round.generation > generation {
            generation = round.generation;
            failing.clear();
        }
        if let Some(late) = round.late {
            report(Report::Late(late));
        }
        let told = go(&round, &mut failing);
        if !told.is_empty() {
            report(Report::Notices(told));
        }
        if round.search && listening.has_changed(survey::listening().map(survey::cookies)) {
            report(Report::ListenersChanged);
        }
    }
}

fn go(round: &Round, failing: &mut HashMap<u64, Error>) -> Vec<(u64, Notice)> {
    let mut told = Vec::new();
    let mut wanting = Vec::new();
    for watch in round.watches.iter().flat_map(|watches| watches.iter()) {
        let tick = watch.read(round.at);
        if tick.as_ref().is_ok_and(|tick| tick.wants_census) {
            wanting.push(&**watch);
        }
        match tick {
            Ok(tick) if !round.all && tick.changes.is_empty() && !tick.resumed => {}
            Ok(tick) => {
                failing.remove(&watch.id());
                told.push((watch.id(), Notice::Depth(tick)));
            }
            Err(error) => told.extend(failed(watch.id(), error, failing)),
        }
    }
    for (watch, look) in wanting.iter().zip(watch::census(&wanting, round.at)) {
        match look {
            Ok(look) if !round.all && look.changes.is_empty() => {}
            Ok(look) => told.push((watch.id(), Notice::Census(look))),
            // The next reading of the first tier says so.
            Err(Error::Closed) => {}
            Err(error) => told.extend(failed(watch.id(), error, failing)),
        }
    }
    told
}

fn failed(id: u64, error: Error, failing: &mut HashMap<u64, Error>) -> Option<(u64, Notice)> {
    (failing.insert(id, error) != Some(error)).then_some((id, Notice::Failed(error)))
}

impl Shared {
    /// Sleeps until something is due; `None`: it is over.
    fn next_round(&self) -> Option<Round> {
        let mut schedule = held(&self.schedule);
        loop {
            let now = (self.clock)();
            if schedule.ended {
                return None;
            }
            let round = schedule.due(now);
            if round.search || !round.watches.is_empty() {
                return Some(round);
            }
            let patience = schedule.next_due().saturating_sub(now);
            schedule = self.changed.wait_timeout(schedule, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Schedule {
    fn due(&mut self, at: Time) -> Round {
        let (mut watches, mut late) = (Vec::new(), None);
        for (&interval, grid) in self.grids.iter_mut().filter(|(_, grid)| grid.due <= at) {
            watches.push(Arc::clone(&grid.watches));
            late = late.max(Some(at - grid.due).filter(|&late| late > interval));
            grid.due = on_grid(grid.due, interval, at);
        }
        // With the others where it can be: each waking costs more than what is done in it.
        let search = self.search_due <= at + SEARCH / 20;
        if search {
            self.search_due = at + SEARCH;
        }
        Round { at, watches, late, search, all: self.all, generation: self.generation }
    }

    fn next_due(&self) -> Time {
        self.grids.values().map(|grid| grid.due).fold(self.search_due, Time::min)
    }
}

/// The next one keeps to the grid, and leaves out what has been missed.
fn on_grid(due: Time, interval: Duration, at: Time) -> Time {
    let past = (at - due).as_nanos() % interval.as_nanos();
    at + interval - Duration::from_nanos(past as u64)
}

/// Who listens, as of the last search.
#[derive(Debug, Default)]
struct Listening {
    cookies: Vec<Cookie>,
    has_just_changed: bool,
}

impl Listening {
    /// What could not be read has not changed.
    fn has_changed(&mut self, now: Result<Vec<Cookie>, Error>) -> bool {
        let Ok(now) = now else { return false };
        let changed = now != self.cookies;
        self.cookies = now;
        std::mem::replace(&mut self.has_just_changed, changed) || changed
    }
}

/// A thread that panicked with the lock in hand has left nothing that could be broken by half.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_round_that_comes_late_is_followed_by_one_on_the_grid() {
        let next = |due, at| on_grid(MS * due, MS * 100, MS * at).as_millis();
        assert_eq!([next(500, 500), next(500, 540), next(500, 600), next(500, 1730)], [600, 600, 700, 1800]);
    }

    #[test]
    fn listeners_that_changed_are_told_twice_and_what_could_not_be_read_is_no_change() {
        let mut listening = Listening::default();
        let now = |cookies: &[u64]| Ok(cookies.iter().copied().map(Cookie).collect());
        let told: Vec<_> =
            [now(&[1]), now(&[1]), now(&[1]), Err(Error::Truncated), now(&[1]), now(&[1, 2]), now(&[1, 2])]
                .into_iter()
                .map(|now| listening.has_changed(now))
                .collect();
        assert_eq!(told, [true, true, false, false, false, true, true]);
    }
}
