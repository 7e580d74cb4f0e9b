//! One observation after the other: the queues in the scope, who accepts on them, the kernel's counters.

use std::time::{Duration, Instant};

use accept_queue_core::Error;
use accept_queue_core::linux::counters::{self, Kernel};
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{CensusScope, Observer, Sample};
use accept_queue_core::outside::snapshot::Scope;
use accept_queue_core::rules::detector::{Settings, Time};

use super::accepting::{Pollsets, Stand};
use super::has_ended;
use crate::pace::Pace;

/// Reads again and again.
pub(crate) struct Sampler {
    scope: Scope,
    pace: Pace,
    observer: Observer,
    pollsets: Pollsets,
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
    /// Who accepts on the sockets of each reading of the sample.
    pub(crate) stands: Vec<Vec<Stand>>,
    /// The counters of one namespace, that of this process.
    pub(crate) kernel: Option<(Namespace, Kernel)>,
}

impl Sampler {
    /// The first reading is now.
    pub(crate) fn new(scope: Scope, interval: Duration) -> Sampler {
        let settings = Settings { interval, ..Settings::default() };
        let observer = Observer::new(scope.clone(), settings);
        Sampler { scope, pace: Pace::new(interval), observer, pollsets: Pollsets::default() }
    }

    /// Reads once.
    pub(crate) fn observe(&mut self) -> Result<Observation, Error> {
        let (at, elapsed, begun) = (self.pace.now(), self.pace.elapsed(), Instant::now());
        // Whoever looks at a screen wants to see who stands in a queue now. Of an empty one that is known without a look, and a
        // look walks the table of connections.
        let sample = self.observer.sample(at, CensusScope::Occupied)?;
        let stands = self.pollsets.look(at, &sample.readings);
        let kernel = Namespace::own().and_then(|own| Ok((own, counters::read()?))).ok();
        Ok(Observation { at, elapsed, took: begun.elapsed(), sample, stands, kernel })
    }

    /// Reads at every interval, for as long as somebody wants it and there is something to read.
    pub(crate) fn run(mut self, mut wanted: impl FnMut(Result<Observation, Error>) -> bool) {
        loop {
            std::thread::sleep(self.pace.remaining());
            let observed = self.observe();
            let is_last = observed.as_ref().is_err_and(|&error| has_ended(error, &self.scope));
            if !wanted(observed) || is_last {
                return;
            }
            self.pace.advance();
        }
    }
}
