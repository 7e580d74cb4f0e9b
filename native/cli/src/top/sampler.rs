//! One observation after the other: the queues in the scope, their epoll sets, the kernel's counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accept_queue_core::Error;
use accept_queue_core::linux::counters::{self, Kernel};
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{CensusScope, Observer, Sample};
use accept_queue_core::outside::snapshot::Scope;
use accept_queue_core::rules::detector::{Settings, Time};
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::vm::threads::{self, State};

use super::epoll::{EpollReader, EpollState, Held};
use crate::pace::Pace;

/// Reads at each interval.
pub(crate) struct Sampler {
    scope: Scope,
    pace: Pace,
    observer: Observer,
    epoll: EpollReader,
}

/// What was read at one time.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) at: Time,
    /// Since the first.
    pub(crate) elapsed: Duration,
    /// How long it took to read.
    pub(crate) took: Duration,
    pub(crate) sample: Sample,
    /// Of the sockets of each reading of the sample.
    pub(crate) epoll: Vec<Vec<EpollState>>,
    /// The counters of one namespace, that of this process.
    pub(crate) kernel: Option<(Namespace, Kernel)>,
    /// Connections of the same namespace; `None`: not counted there.
    pub(crate) passive_opens: Option<u64>,
    /// The owners that a signal has stopped (state T).
    pub(crate) stopped: Vec<Arc<Candidate>>,
}

impl Sampler {
    /// The first reading is now.
    pub(crate) fn new(scope: Scope, interval: Duration) -> Sampler {
        let settings = Settings { interval, ..Settings::default() };
        let observer = Observer::new(scope.clone(), settings);
        Sampler { scope, pace: Pace::new(interval), observer, epoll: EpollReader::default() }
    }

    /// Reads once.
    pub(crate) fn observe(&mut self) -> Result<Observation, Error> {
        let (at, elapsed, begun) = (self.pace.now(), self.pace.elapsed(), Instant::now());
        // A census walks the table of connections; an empty queue needs none.
        let sample = self.observer.sample(at, CensusScope::Occupied)?;
        let readings = sample.readings.iter();
        let held = readings.map(|reading| Held { owners: &reading.owners, sockets: &reading.sockets });
        let epoll = self.epoll.read(at, &held.collect::<Vec<_>>());
        let kernel = Namespace::own().and_then(|own| Ok((own, counters::read()?))).ok();
        let passive_opens = counters::passive_opens().ok().flatten();
        let stopped = stopped(&sample);
        Ok(Observation { at, elapsed, took: begun.elapsed(), sample, epoll, kernel, passive_opens, stopped })
    }

    /// Reads at each interval, until `report` answers `false` or there is nothing more to read.
    pub(crate) fn run(mut self, mut report: impl FnMut(Result<Observation, Error>) -> bool) {
        loop {
            std::thread::sleep(self.pace.remaining());
            let observed = self.observe();
            let is_last = observed.as_ref().is_err_and(|&error| has_ended(error, &self.scope));
            if !report(observed) || is_last {
                return;
            }
            self.pace.advance();
        }
    }
}

fn stopped(sample: &Sample) -> Vec<Arc<Candidate>> {
    let owners = sample.readings.iter().flat_map(|reading| &reading.owners);
    let owners: BTreeMap<i32, _> = owners.map(|owner| (owner.process.pid, &owner.process)).collect();
    let is_stopped = |pid| threads::state(pid) == Ok(State::Stopped);
    owners.into_iter().filter(|&(pid, _)| is_stopped(pid)).map(|(_, process)| Arc::clone(process)).collect()
}

/// Whether the only process in the scope has ended: its number may become another's.
pub(super) fn has_ended(error: Error, scope: &Scope) -> bool {
    matches!((error, scope), (Error::NotFound, Scope::Process(_)))
}
