//! Reads the watched listeners of this process at their intervals, on a thread of its own, and reports what changed.
//!
//! A VM that is woken ten times a second pays for the waking itself, several times what a reading costs: its schedulers look for
//! more work before they sleep again. So it gets no message while there is nothing to report. This thread also goes on reading
//! while every scheduler of the VM is held up.
//!
//! Cost of a poll: one reading of the first tier of all watches that are due, and one census for all of them that want one.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::monitor::overflows::Namespaces;
use crate::monitor::schedule::{Poll, Schedule};
use crate::monitor::watch::{self, Tier, Watch};
use crate::reading::survey;
use crate::rules::detector::Time;
use crate::rules::history::{CensusTaken, DepthReading};
use crate::{Cookie, Error};

/// What the poller reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Of watches, each by the number that it was given.
    Notices(Vec<(u64, Notice)>),
    /// A poll came later than the next one was due, by this much.
    Late(Duration),
    /// Other sockets listen in this network namespace than a second ago, or did so a second ago. Reported twice, since a socket
    /// may listen before the VM lists it.
    ListenersChanged,
}

/// News of one watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A reading of the first tier changed something, or is the first after one that failed, or all are wanted.
    Depth(DepthReading),
    /// A census changed something, or all are wanted.
    Census(CensusTaken),
    /// It cannot be read. Reported once, until it can or fails in another way.
    Failed(Error),
    /// Its depth can be read, and no census can be taken. Reported likewise.
    CensusFailed(Error),
    /// One can again.
    CensusRecovered,
}

/// The thread. Dropping this ends it.
pub struct Poller {
    /// The thread has the other reference.
    shared: Arc<Shared>,
}

/// Takes the reports, on the poller's thread.
pub type Reporter = Box<dyn FnMut(Report) + Send>;

struct Shared {
    clock: fn() -> Time,
    control: Mutex<Control>,
    changed: Condvar,
    /// Held throughout a poll.
    reporter: Mutex<Reporter>,
}

#[derive(Default)]
struct Control {
    schedule: Schedule,
    has_ended: bool,
}

impl Poller {
    /// Starts the thread; nothing is watched yet. The clock never goes back.
    pub fn start(clock: fn() -> Time, reporter: Reporter) -> io::Result<Poller> {
        let shared = Arc::new(Shared {
            clock,
            control: Mutex::default(),
            changed: Condvar::new(),
            reporter: Mutex::new(reporter),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("accept_queue".into()).spawn(move || run(&of_thread))?;
        Ok(Poller { shared })
    }

    /// Replaces the reporter. Blocks until the current poll has been reported.
    pub fn report_to(&self, reporter: Reporter) {
        *locked(&self.shared.reporter) = reporter;
    }

    /// Watches these from now on, each at its own interval, and nothing else. `all`: report each reading, not only those that
    /// change something. Does not block.
    pub fn watch(&self, watches: Vec<Arc<Watch>>, all: bool) {
        let now = (self.shared.clock)();
        locked(&self.shared.control).schedule.replace(now, watches, all);
        self.shared.changed.notify_one();
    }

    /// Whether its thread still runs. Before this is dropped it ends only by a fault of ours.
    pub fn is_running(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

/// Does not wait for the thread.
impl Drop for Poller {
    fn drop(&mut self) {
        locked(&self.shared.control).has_ended = true;
        self.shared.changed.notify_one();
    }
}

fn run(shared: &Shared) {
    let mut namespaces = Namespaces::new();
    let mut listening = ListeningSockets::default();
    while let Some(poll) = shared.next_poll() {
        let report = &mut *locked(&shared.reporter);
        if let Some(late) = poll.late {
            report(Report::Late(late));
        }
        let notices = read(&poll, &mut namespaces);
        if !notices.is_empty() {
            report(Report::Notices(notices));
        }
        if poll.search && listening.has_changed(survey::listening().map(survey::cookies)) {
            report(Report::ListenersChanged);
        }
    }
}

fn read(poll: &Poll, namespaces: &mut Namespaces) -> Vec<(u64, Notice)> {
    let mut notices = Vec::new();
    let mut wanting = Vec::new();
    let watches: Vec<_> = poll.watches().collect();
    for (watch, reading) in watches.iter().copied().zip(namespaces.read(&watches, poll.at)) {
        if reading.as_ref().is_ok_and(|reading| reading.wants_census) {
            wanting.push(watch);
        }
        let notice = match reading {
            Ok(reading) => {
                if reading.resumed {
                    watch.has_recovered(Tier::Depth);
                }
                let is_news = !reading.changes.is_empty() || reading.resumed;
                (poll.wants_all || is_news).then_some(Notice::Depth(reading))
            }
            Err(error) => watch.has_failed(Tier::Depth, error, poll.generation).then_some(Notice::Failed(error)),
        };
        notices.extend(notice.map(|notice| (watch.id(), notice)));
    }
    for (watch, census) in wanting.iter().zip(watch::census(&wanting, poll.at)) {
        let notice = match census {
            Ok(census) => {
                if watch.has_recovered(Tier::Census) {
                    notices.push((watch.id(), Notice::CensusRecovered));
                }
                (poll.wants_all || !census.changes.is_empty()).then_some(Notice::Census(census))
            }
            // The next reading of the first tier says so.
            Err(Error::Closed) => None,
            Err(error) => watch.has_failed(Tier::Census, error, poll.generation).then_some(Notice::CensusFailed(error)),
        };
        notices.extend(notice.map(|notice| (watch.id(), notice)));
    }
    notices
}

impl Shared {
    /// Sleeps until something is due; `None`: the poller has been dropped.
    fn next_poll(&self) -> Option<Poll> {
        let mut control = locked(&self.control);
        loop {
            let now = (self.clock)();
            if control.has_ended {
                return None;
            }
            if let Some(poll) = control.schedule.due(now) {
                return Some(poll);
            }
            let patience = control.schedule.next_due().saturating_sub(now);
            control = self.changed.wait_timeout(control, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The sockets that listen, as of the last search.
#[derive(Debug, Default)]
struct ListeningSockets {
    cookies: Vec<Cookie>,
    has_just_changed: bool,
}

impl ListeningSockets {
    /// What could not be read has not changed.
    fn has_changed(&mut self, now: Result<Vec<Cookie>, Error>) -> bool {
        let Ok(now) = now else { return false };
        let changed = now != self.cookies;
        self.cookies = now;
        std::mem::replace(&mut self.has_just_changed, changed) || changed
    }
}

/// A thread that panicked with the lock in hand has left nothing that could be broken by half.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_changed_are_reported_twice_and_what_could_not_be_read_is_no_change() {
        let mut listening = ListeningSockets::default();
        let now = |cookies: &[u64]| Ok(cookies.iter().copied().map(Cookie).collect());
        let reported: Vec<_> =
            [now(&[1]), now(&[1]), now(&[1]), Err(Error::Truncated), now(&[1]), now(&[1, 2]), now(&[1, 2])]
                .into_iter()
                .map(|now| listening.has_changed(now))
                .collect();
        assert_eq!(reported, [true, true, false, false, false, true, true]);
    }
}
