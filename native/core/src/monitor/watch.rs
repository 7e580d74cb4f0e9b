//! One watched listener of this process: its sockets and its history. What the monitor keeps of each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::linux::counters;
use crate::linux::namespace;
use crate::linux::sockopt::SocketNamespace;
use crate::reading::queue::Queues;
use crate::reading::survey;
use crate::reading::waits::{self, Waits};
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Depth, Error, Listeners, Members};

/// A listener that is read again and again. Its status may be asked for at any time, from any thread.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    interval: Duration,
    /// `None`: that of this process, or not known.
    namespace: Option<SocketNamespace>,
    listeners: Mutex<Arc<Listeners>>,
    history: Mutex<History>,
    reported: Mutex<Reported>,
}

/// The failures that have been reported, and how often the watches had been replaced by then.
#[derive(Debug, Default)]
struct Reported {
    generation: u64,
    depth: Option<Error>,
    census: Option<Error>,
}

/// Which of the two tiers was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tier {
    Depth,
    Census,
}

impl Watch {
    /// Begins now, by the number that its owner gives it.
    pub fn new(id: u64, listeners: Listeners, settings: Settings, at: Time) -> Watch {
        let interval = settings.interval;
        let namespace = listeners.sockets().first().and_then(|socket| namespace::foreign(socket.fd()));
        let history = Mutex::new(History::new(settings, at));
        let listeners = Mutex::new(Arc::new(listeners));
        Watch { id, interval, namespace, listeners, history, reported: Mutex::default() }
    }

    /// Its owner's number for it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often it wants to be read.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Goes on with these sockets: one has come or gone, or all have been closed and opened again. What is known stays.
    pub fn replace_sockets(&self, listeners: Listeners) {
        *locked(&self.listeners) = Arc::new(listeners);
    }

    /// Reads the first tier: three system calls a socket. [`Error::Closed`] where all of its sockets have been closed.
    pub fn read(&self, at: Time) -> Result<DepthReading, Error> {
        let depths = self.depths()?;
        Ok(self.take_in(at, &depths, Overflowed::default()))
    }

    /// The same without taking it in.
    pub(super) fn depths(&self) -> Result<Members<Depth>, Error> {
        self.listeners().depths().inspect_err(|_| locked(&self.history).reading_failed())
    }

    /// What has been dropped since the reading before this one, and whether it is time for a census.
    pub(super) fn dropped(&self, depths: &Members<Depth>, at: Time) -> (Dropped, bool) {
        let history = locked(&self.history);
        (history.dropped(depths), history.wants_census(at))
    }

    /// Takes a reading in.
    pub(super) fn take_in(&self, at: Time, depths: &Members<Depth>, overflowed: Overflowed) -> DepthReading {
        locked(&self.history).depth_read(at, depths, overflowed)
    }

    /// The network namespace of its sockets; `None`: that of this process, or not known.
    pub(super) fn namespace(&self) -> Option<SocketNamespace> {
        self.namespace
    }

    /// `ListenOverflows` of the network namespace of its sockets, where that may be entered.
    pub(super) fn listen_overflows(&self) -> Option<u64> {
        match self.namespace {
            None => counters::listen_overflows().ok()?,
            Some(_) => counters::listen_overflows_beside(self.listeners().sockets().first()?.fd()).ok()?,
        }
    }

    /// A reading failed: whether that is to be reported. It is not where the one before failed alike.
    pub(super) fn has_failed(&self, tier: Tier, error: Error, generation: u64) -> bool {
        let mut reported = locked(&self.reported);
        // The monitor may be another one.
        let is_known = std::mem::replace(&mut reported.generation, generation) == generation;
        reported.of(tier).replace(error) != Some(error) || !is_known
    }

    /// A reading succeeded: whether the one before failed.
    pub(super) fn has_recovered(&self, tier: Tier) -> bool {
        locked(&self.reported).of(tier).take().is_some()
    }

    fn listeners(&self) -> Arc<Listeners> {
        Arc::clone(&locked(&self.listeners))
    }

    /// How long the connections waited that were accepted from it, as far as they were counted.
    pub fn waits(&self) -> Waits {
        waits::of(&self.listeners())
    }

    /// What is known, without a reading.
    pub fn status(&self, at: Time) -> Status {
        locked(&self.history).status(at)
    }
}

impl Reported {
    fn of(&mut self, tier: Tier) -> &mut Option<Error> {
        match tier {
            Tier::Depth => &mut self.depth,
            Tier::Census => &mut self.census,
        }
    }
}

/// A thread that panicked with the lock in hand has left figures, and nothing that could be broken by half.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a census of each. Where they are many, one dump for each family serves them all.
pub fn census(watches: &[&Watch], at: Time) -> Vec<Result<CensusTaken, Error>> {
    let begun = Instant::now();
    // Where this fails, each census fails on its own.
    let all = if watches.len() > survey::FEW { survey::survey().unwrap_or_default() } else { Vec::new() };
    let queues = Queues::from(all);
    let take = |watch: &&Watch| {
        let listeners = watch.listeners();
        let census = listeners.census_among(&queues).map_or_else(|| listeners.census(), Ok);
        let mut history = locked(&watch.history);
        let census = census.inspect_err(|_| history.census_failed(at))?;
        Ok(history.census_taken(at, &census.taken_in(begun.elapsed())))
    };
    watches.iter().map(take).collect()
}
