//! One watched listener of this process: its sockets and its history. What the monitor keeps of each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::reading::survey;
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::{Error, Listeners};

/// A listener that is read again and again. Readers of its status may come at any time, from any thread.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    interval: Duration,
    listeners: Listeners,
    history: Mutex<History>,
}

impl Watch {
    /// Begins now, by the name that its owner gives it.
    pub fn new(id: u64, listeners: Listeners, settings: Settings, at: Time) -> Watch {
        let interval = settings.interval;
        Watch { id, interval, listeners, history: Mutex::new(History::new(settings, at)) }
    }

    /// Its owner's name for it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often it wants to be read.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Reads the first tier.
    pub fn read(&self, at: Time) -> Result<DepthReading, Error> {
        let reading = self.listeners.depth();
        let mut history = self.history();
        let depth = reading.inspect_err(|_| history.reading_failed())?;
        Ok(history.depth_read(at, depth))
    }

    /// What is known.
    pub fn status(&self, at: Time) -> Status {
        self.history().status(at)
    }

    /// A thread that panicked with the lock in hand has left figures, and nothing that could be broken by half.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at who stands in each of these queues. Where they are many, one dump for each family serves them all.
pub fn census(watches: &[&Watch], at: Time) -> Vec<Result<CensusTaken, Error>> {
    let begun = Instant::now();
    // Where this fails, each look fails for itself.
    let everybody = if watches.len() > survey::FEW { survey::survey().unwrap_or_default() } else { Vec::new() };
    let look_at = |watch: &&Watch| {
        let look = watch.listeners.census_among(&everybody).map_or_else(|| watch.listeners.census(), Ok)?;
        Ok(watch.history().census_taken(at, &look.taken_in(begun.elapsed())))
    };
    watches.iter().map(look_at).collect()
}
