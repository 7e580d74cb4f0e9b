//! The last minute of a VM's queues, read by the program itself: what they were before and while it hung.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use accept_queue_core::linux::counters;
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading};
use accept_queue_core::outside::snapshot::Scope;
use accept_queue_core::rules::detector::{Condition, Settings};
use accept_queue_core::{Depth, Endpoint};

/// One reading of all queues.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: SystemTime,
    /// The deepest, where there are too many.
    pub(super) queues: Vec<Queue>,
    /// So many are not told.
    pub(super) omitted: usize,
    /// What was lost in all queues of the namespace.
    pub(super) listen_overflows: Option<u64>,
    pub(super) listen_drops: Option<u64>,
    /// What could not be read.
    pub(super) unreadable: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) endpoint: Endpoint,
    pub(super) depth: Depth,
    pub(super) conditions: Vec<Condition>,
}

/// The samples of the last minute, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Arc<Mutex<VecDeque<Sample>>>);

/// The detector takes two readings that are further apart for having a sleep between them.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
const MINUTE: usize = 120;
const MOST_QUEUES: usize = 100;

impl Samples {
    /// Reads with a thread of its own, for as long as the program runs.
    pub(super) fn follow(pid: i32) -> io::Result<Samples> {
        let samples = Samples::default();
        let taken = samples.clone();
        thread::Builder::new().name("sampler".into()).spawn(move || {
            let begun = Instant::now();
            let mut observer = Observer::new(Scope::Process(pid), Settings::default());
            loop {
                taken.add(sample(&mut observer, pid, begun.elapsed()));
                thread::sleep(INTERVAL);
            }
        })?;
        Ok(samples)
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == MINUTE {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub(super) fn all(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn sample(observer: &mut Observer, pid: i32, at: Duration) -> Sample {
    let mut unreadable = Vec::new();
    let mut queues = match observer.sample(at, CensusScope::Wanted) {
        Ok(sample) => {
            unreadable.extend(sample.gaps.iter().map(|gap| gap.missing.to_string()));
            sample.readings.into_iter().map(queue).collect()
        }
        Err(error) => {
            unreadable.push(error.to_string());
            Vec::new()
        }
    };
    let counters = counters::of(pid).inspect_err(|error| unreadable.push(error.to_string())).unwrap_or_default();
    let omitted = queues.len().saturating_sub(MOST_QUEUES);
    if omitted > 0 {
        queues.sort_by_key(|queue: &Queue| std::cmp::Reverse(queue.depth.queued));
        queues.truncate(MOST_QUEUES);
    }
    Sample {
        at: SystemTime::now(),
        queues,
        omitted,
        listen_overflows: counters.listen_overflows,
        listen_drops: counters.listen_drops,
        unreadable,
    }
}

fn queue(reading: Reading) -> Queue {
    Queue {
        endpoint: reading.endpoint,
        depth: reading.depth_reading.depth,
        conditions: reading.status.conditions.into_iter().map(|(condition, _)| condition).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_minute_is_kept_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address").to_string();
        let own = std::process::id() as i32;
        let mut observer = Observer::new(Scope::Process(own), Settings::default());
        let read = sample(&mut observer, own, Duration::ZERO);
        assert_eq!((read.omitted, &read.unreadable), (0, &vec![]));
        assert!(read.queues.iter().any(|queue| queue.endpoint.to_string() == address), "{read:?}");
        assert!(read.listen_drops.is_some());
        let samples = Samples::default();
        for second in 0..200 {
            samples.add(Sample { at: SystemTime::UNIX_EPOCH + Duration::from_secs(second), ..read.clone() });
        }
        let kept = samples.all();
        let first = kept.first().expect("one").at.duration_since(SystemTime::UNIX_EPOCH).expect("later");
        assert_eq!((kept.len(), first), (MINUTE, Duration::from_secs(80)));
    }
}
