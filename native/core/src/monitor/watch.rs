//! One watched listener of this process: its sockets and its history. What the monitor keeps of each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::reading::queue::Queues;
use crate::reading::survey;
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::{Error, Listeners};

/// A listener that is read again and again. Its status may be asked for at any time, from any thread.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    interval: Duration,
    listeners: Listeners,
    history: Mutex<History>,
}

impl Watch {
    /// Begins now, by the number that its owner gives it.
    pub fn new(id: u64, listeners: Listeners, settings: Settings, at: Time) -> Watch {
        let interval = settings.interval;
        Watch { id, interval, listeners, history: Mutex::new(History::new(settings, at)) }
    }

    /// Its owner's number for it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often it wants to be read.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Reads the first tier: three system calls a socket. [`Error::Closed`] where all of its sockets have been closed.
    pub fn read(&self, at: Time) -> Result<DepthReading, Error> {
        let depths = self.listeners.depths();
        let mut history = self.history();
        let depths = depths.inspect_err(|_| history.reading_failed())?;
        Ok(history.depth_read(at, depths))
    }

    /// What is known, without a reading.
    pub fn status(&self, at: Time) -> Status {
        self.history().status(at)
    }

    /// A thread that panicked with the lock in hand has left figures, and nothing that could be broken by half.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a census of each. Where they are many, one dump for each family serves them all.
pub fn census(watches: &[&Watch], at: Time) -> Vec<Result<CensusTaken, Error>> {
    let begun = Instant::now();
    // Where this fails, each census fails on its own.
    let all = if watches.len() > survey::FEW { survey::survey().unwrap_or_default() } else { Vec::new() };
    let queues = Queues::from(all);
    let take = |watch: &&Watch| {
        let census = watch.listeners.census_among(&queues).map_or_else(|| watch.listeners.census(), Ok)?;
        Ok(watch.history().census_taken(at, &census.taken_in(begun.elapsed())))
    };
    watches.iter().map(take).collect()
}
