//! One observation after the other: the queues in the scope, who accepts on them, the kernel's counters.

use std::time::{Duration, Instant};

use accept_queue_core::Error;
use accept_queue_core::detector::{Settings, Time};
use accept_queue_core::kernel::{self, Kernel};
use accept_queue_core::observer::{Looks, Observer, Sample};
use accept_queue_core::outside::Scope;
use accept_queue_core::vm::namespace::Namespace;

use super::accepting::{Pollsets, Stand};

/// Reads again and again.
pub(crate) struct Sampler {
    begun: Instant,
    observer: Observer,
    pollsets: Pollsets,
    pub(crate) interval: Duration,
}

/// What was read at one time.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) at: Time,
    /// How long it took to read.
    pub(crate) took: Duration,
    pub(crate) sample: Sample,
    /// Who accepts on the sockets of each reading of the sample.
    pub(crate) stands: Vec<Vec<Stand>>,
    /// The counters of one namespace, that of this process.
    pub(crate) kernel: Option<(Namespace, Kernel)>,
}

impl Sampler {
    /// Nothing is read yet.
    pub(crate) fn new(scope: Scope, interval: Duration) -> Sampler {
        let settings = Settings { interval, ..Settings::default() };
        let observer = Observer::new(scope, settings);
        Sampler { begun: Instant::now(), observer, pollsets: Pollsets::default(), interval }
    }

    /// Reads once.
    pub(crate) fn observe(&mut self) -> Result<Observation, Error> {
        let at = self.begun.elapsed();
        // Whoever looks at a screen wants to see who stands in a queue now. Of an empty one that is known without a look, and a
        // look walks the table of connections.
        let sample = self.observer.sample(at, Looks::Occupied)?;
        let stands = self.pollsets.look(at, &sample.readings);
        let kernel = Namespace::own().and_then(|own| Ok((own, kernel::read()?))).ok();
        Ok(Observation { at, took: self.begun.elapsed().saturating_sub(at), sample, stands, kernel })
    }

    /// Reads at every interval, for as long as somebody wants it.
    pub(crate) fn run(mut self, mut wanted: impl FnMut(Result<Observation, Error>) -> bool) {
        let mut next = Instant::now() + self.interval;
        loop {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if !wanted(self.observe()) {
                return;
            }
            // Where a reading takes longer than the interval, the others are not made up for.
            next = (next + self.interval).max(Instant::now());
        }
    }
}
