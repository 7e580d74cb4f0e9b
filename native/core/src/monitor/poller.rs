//! Reads the watched listeners of this process, on a thread of its own, and reports what changed.
//!
//! While no connection waits at a listener the thread does not read it: the kernel wakes it when one comes. Then it is read at once,
//! and at its interval until its queue has been empty for a while. Once a second the thread sees whether listeners have come or gone,
//! and each five seconds whether a queue has overflowed and drained before it was looked at.
//!
//! A VM that is woken ten times a second pays for the waking itself, several times what a reading costs: its schedulers look for
//! more work before they sleep again. So it gets no message while there is nothing to report. This thread also goes on reading
//! while every scheduler of the VM is held up.
//!
//! Cost of a poll: one reading of the first tier of all watches that are due, and one census for all of them that want one.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Error;
use crate::linux::clock::{monotonic, processor_time};
use crate::linux::epoll::{Arrivals, Token};
use crate::monitor::budget::Budget;
use crate::monitor::kept::Kept;
use crate::monitor::listening::ListeningSockets;
use crate::monitor::overflows::Namespaces;
use crate::monitor::schedule::{Poll, Schedule, Search};
use crate::monitor::watch::{self, Tier, Watch};
use crate::rules::detector::{Outlook, Time};
use crate::rules::history::{CensusTaken, DepthReading};

/// What the poller reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Of watches, each by the number that it was given.
    Notices(Vec<(u64, Notice)>),
    /// Readings that changed nothing, where samples are wanted. The next ones follow when these have been taken
    /// ([`Poller::samples_taken`]); those in between are left out.
    Samples(Vec<(u64, Notice)>),
    /// A poll came later than the next one was due, by this much.
    Late(Duration),
    /// Other sockets listen in this network namespace than a second ago, or did so a second ago. Reported twice, since a socket
    /// may listen before the VM lists it.
    ListenersChanged,
}

/// News of one watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A reading of the first tier changed something, or is the first after one that failed, or is a sample.
    Depth(DepthReading),
    /// A census changed something, or is a sample.
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
    arrivals: Arrivals,
    /// Takes the next report in place of the reporter before. The lock is never held for longer than a move.
    next_reporter: Mutex<Option<Reporter>>,
    /// When the thread last began to look for what is due, in ms of the clock.
    last_round_ms: AtomicU64,
    samples: Samples,
}

/// How many samples are under way.
#[derive(Default)]
struct Samples {
    are_under_way: AtomicBool,
    /// How many found others under way.
    left_out: AtomicU64,
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
            arrivals: Arrivals::new(),
            next_reporter: Mutex::default(),
            last_round_ms: AtomicU64::new(ms(clock())),
            samples: Samples::default(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("accept_queue".into()).spawn(move || run(&of_thread, reporter))?;
        Ok(Poller { shared })
    }

    /// Replaces the reporter. Does not block: a poll that is under way is reported to the new one, which may find in it what
    /// the state of a watch has shown already.
    pub fn report_to(&self, reporter: Reporter) {
        *locked(&self.shared.next_reporter) = Some(reporter);
        self.samples_taken();
    }

    /// The last [`Report::Samples`] has been dealt with. How many were left out meanwhile.
    pub fn samples_taken(&self) -> u64 {
        self.shared.samples.are_under_way.store(false, Ordering::Release);
        self.shared.samples.left_out.swap(0, Ordering::Relaxed)
    }

    /// How long ago the thread last began a round: about a second at most, unless the thread is held up.
    pub fn silence(&self) -> Duration {
        let last_round = Duration::from_millis(self.shared.last_round_ms.load(Ordering::Relaxed));
        (self.shared.clock)().saturating_sub(last_round)
    }

    /// Watches these from now on, each at its own interval, and nothing else. `samples`: report also readings that change nothing, at
    /// the pace of each watch. Does not block.
    pub fn watch(&self, watches: Vec<Arc<Watch>>, samples: bool) {
        let now = (self.shared.clock)();
        locked(&self.shared.control).schedule.replace(now, watches, samples);
        self.shared.arrivals.wake();
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
        self.shared.arrivals.wake();
    }
}

fn run(shared: &Shared, mut reporter: Reporter) {
    let mut namespaces = Namespaces::new();
    let mut budget = Budget::default();
    let mut listening = ListeningSockets::default();
    let mut kept = Kept::default();
    while let Some(poll) = shared.next_poll() {
        let mut report = |report| {
            if let Some(next) = locked(&shared.next_reporter).take() {
                reporter = next;
            }
            reporter(report);
        };
        if let Some(late) = poll.late {
            report(Report::Late(late));
        }
        let round = Round::of(&poll, &mut namespaces, &mut budget, &mut kept);
        shared.settle(&poll, &round);
        let one_has_closed = round.one_has_closed;
        let (samples, notices): (Vec<_>, Vec<_>) =
            round.notices.into_iter().partition(|(_, notice)| notice.is_sample());
        if let Some(samples) = shared.samples.unless_under_way(samples) {
            report(Report::Samples(samples));
        }
        if !notices.is_empty() {
            report(Report::Notices(notices));
        }
        if poll.search.is_some() && listening.look(&mut kept, one_has_closed) {
            report(Report::ListenersChanged);
        }
    }
}

impl Notice {
    /// A reading that was to be reported although it changed nothing.
    fn is_sample(&self) -> bool {
        match self {
            Notice::Depth(reading) => !reading.is_news(),
            Notice::Census(census) => census.changes.is_empty(),
            Notice::Failed(_) | Notice::CensusFailed(_) | Notice::CensusRecovered => false,
        }
    }
}

impl Samples {
    fn unless_under_way(&self, samples: Vec<(u64, Notice)>) -> Option<Vec<(u64, Notice)>> {
        if samples.is_empty() {
            return None;
        }
        if self.are_under_way.swap(true, Ordering::Acquire) {
            self.left_out.fetch_add(samples.len() as u64, Ordering::Relaxed);
            return None;
        }
        Some(samples)
    }
}

/// What a round of readings brought.
#[derive(Default)]
struct Round<'a> {
    notices: Vec<(u64, Notice)>,
    outlooks: Vec<(&'a Watch, Outlook)>,
    /// Of those that are waited for, those that are to be read again.
    poll_again: Vec<&'a Watch>,
    /// A watched socket has been closed, as far as some of them were looked at.
    one_has_closed: bool,
}

impl<'a> Round<'a> {
    fn of(poll: &'a Poll, namespaces: &mut Namespaces, budget: &mut Budget, kept: &mut Kept) -> Round<'a> {
        let mut round = Round::default();
        let mut wanting = round.read_depths(poll, namespaces);
        if let Some(Search { some, waited, may_have_overflowed }) = &poll.search {
            // Where another process has it as well, the kernel does not say when it is closed here.
            round.poll_again.extend(some.iter().map(|watch| &**watch).filter(|watch| !watch.are_open()));
            round.one_has_closed = !round.poll_again.is_empty();
            if *may_have_overflowed {
                round.poll_again.extend(namespaces.that_may_have_overflowed(waited));
            }
            wanting.extend(waited.iter().map(|watch| &**watch).filter(|watch| watch.wants_census(poll.at)));
        }
        let is_well = round.outlooks.iter().all(|(_, outlook)| outlook.is_quiet);
        if wanting.is_empty() {
            return round;
        }
        if budget.allows(poll.at, is_well) {
            // A thread that others kept from the processor has cost nothing meanwhile.
            let (begun, before) = (monotonic(), processor_time());
            round.take_censuses(poll, kept, &wanting);
            let ended_at = poll.at + monotonic().saturating_sub(begun);
            let pause = budget.spent(ended_at, processor_time().saturating_sub(before), is_well);
            wanting.iter().for_each(|watch| watch.pauses_for(pause));
        } else {
            round.postpone(&wanting, budget.allowed_at(is_well));
        }
        round
    }

    /// Which of them want a census.
    fn read_depths(&mut self, poll: &'a Poll, namespaces: &mut Namespaces) -> Vec<&'a Watch> {
        let mut wanting = Vec::new();
        namespaces.read(poll.watches.iter().map(|watch| &**watch), poll.at, |watch, reading| {
            let notice = match reading {
                Ok(reading) => {
                    if reading.wants_census {
                        wanting.push(watch);
                    }
                    self.outlooks.push((watch, reading.outlook));
                    if reading.resumed {
                        watch.has_recovered(Tier::Depth);
                    }
                    let is_wanted = reading.is_news() || (poll.wants_samples && reading.is_sample);
                    is_wanted.then_some(Notice::Depth(reading))
                }
                Err(error) => {
                    self.outlooks.push((watch, Outlook::default()));
                    watch.has_failed(Tier::Depth, error, poll.generation).then_some(Notice::Failed(error))
                }
            };
            self.notices.extend(notice.map(|notice| (watch.id(), notice)));
        });
        wanting
    }

    /// No census may be taken of these yet. Where a connection waits or something is raised a condition may be due, so they are read
    /// again as soon as one may be, and not at the next turn.
    fn postpone(&mut self, wanting: &[&Watch], allowed_at: Time) {
        let wanting: HashSet<_> = wanting.iter().map(|watch| watch.id()).collect();
        for (watch, outlook) in &mut self.outlooks {
            if !outlook.is_quiet && wanting.contains(&watch.id()) {
                outlook.due_at = outlook.due_at.into_iter().chain([allowed_at]).min();
            }
        }
    }

    fn take_censuses(&mut self, poll: &'a Poll, kept: &mut Kept, wanting: &[&'a Watch]) {
        let censuses = watch::census(kept, wanting, poll.at, poll.wants_samples);
        for (&watch, census) in wanting.iter().zip(censuses) {
            let notice = match census {
                Ok(None) => None,
                Ok(Some(census)) => {
                    if watch.has_recovered(Tier::Census) {
                        self.notices.push((watch.id(), Notice::CensusRecovered));
                    }
                    self.outlooks.push((watch, census.outlook));
                    let is_wanted = !census.changes.is_empty() || (poll.wants_samples && census.is_sample);
                    is_wanted.then_some(Notice::Census(census))
                }
                // The next reading of the first tier says so.
                Err(Error::Closed) => None,
                Err(error) => {
                    watch.has_failed(Tier::Census, error, poll.generation).then_some(Notice::CensusFailed(error))
                }
            };
            self.notices.extend(notice.map(|notice| (watch.id(), notice)));
        }
    }
}

impl Shared {
    /// Decides how each that was read, or is waited for, goes on.
    fn settle(&self, poll: &Poll, round: &Round<'_>) {
        let mut quiet = Vec::new();
        {
            let schedule = &mut locked(&self.control).schedule;
            for &(watch, outlook) in &round.outlooks {
                quiet.extend(schedule.was_read(poll.at, watch.id(), outlook).map(|token| (watch, token)));
            }
            round.poll_again.iter().for_each(|watch| schedule.poll_again(poll.at, watch.id()));
        }
        for (watch, token) in quiet {
            match watch.wait_for_a_connection(&self.arrivals, token) {
                Ok(()) => {}
                Err(Error::Closed) => locked(&self.control).schedule.poll_all_again(poll.at),
                Err(_) => locked(&self.control).schedule.poll_again(poll.at, watch.id()),
            }
        }
    }

    /// Sleeps until something is due; `None`: the poller has been dropped.
    fn next_poll(&self) -> Option<Poll> {
        loop {
            let ticket = self.arrivals.ticket();
            let now = (self.clock)();
            self.last_round_ms.store(ms(now), Ordering::Relaxed);
            let patience = {
                let mut control = locked(&self.control);
                if control.has_ended {
                    return None;
                }
                if let Some(poll) = control.schedule.due(now) {
                    return Some(poll);
                }
                control.schedule.next_due().saturating_sub(now)
            };
            let arrived = self.arrivals.wait(ticket, patience);
            if !arrived.is_empty() {
                let now = (self.clock)();
                let schedule = &mut locked(&self.control).schedule;
                arrived.into_iter().for_each(|token: Token| schedule.arrived(now, token));
            }
        }
    }
}

fn ms(time: Time) -> u64 {
    time.as_millis() as u64
}

/// A thread that panicked with the lock in hand has left nothing that could be broken by half.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::Listener;
    use crate::rules::detector::Settings;

    #[test]
    fn a_census_that_may_not_be_taken_yet_is_taken_as_soon_as_it_may() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let listener = Listener::open(server.as_raw_fd()).expect("it listens");
        let begun = Time::from_secs(1000);
        let watch = Arc::new(Watch::new(1, listener.into(), Settings::default(), begun));
        let (mut budget, mut kept, mut namespaces) = (Budget::default(), Kept::default(), Namespaces::new());
        budget.spent(begun, Duration::from_millis(2), false);
        let mut due_at = |after_ms| {
            let at = begun + Duration::from_millis(after_ms);
            let watches = vec![Arc::clone(&watch)];
            let poll = Poll { at, watches, late: None, search: None, wants_samples: false, generation: 1 };
            Round::of(&poll, &mut namespaces, &mut budget, &mut kept).outlooks.last().map(|(_, outlook)| outlook.due_at)
        };
        assert_eq!(due_at(1), Some(None), "an empty queue waits for its turn");
        let _client = TcpStream::connect(server.local_addr().expect("an address")).expect("a client");
        let allowed_at = begun + Duration::from_millis(2 * 19);
        assert_eq!(due_at(2), Some(Some(allowed_at)));
        assert!(due_at(38).is_some_and(|due_at| due_at != Some(allowed_at)), "it was taken");
    }
}
