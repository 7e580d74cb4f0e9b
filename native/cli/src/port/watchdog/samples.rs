//! The last minute of a VM's queues, read by the program itself: before and during a hang.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use accept_queue_core::linux::counters;
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading};
use accept_queue_core::outside::snapshot::Scope;
use accept_queue_core::rules::check::Severity;
use accept_queue_core::rules::detector::{Condition, Settings};
use accept_queue_core::{Depth, Endpoint};

/// One reading of all queues.
#[derive(Debug, Clone)]
pub(super) struct QueuesSample {
    pub(super) at: SystemTime,
    /// [`MOST_QUEUES`]: those with the gravest conditions, then the deepest, then by address.
    pub(super) queues: Vec<QueueSample>,
    /// Queues beyond those.
    pub(super) omitted: usize,
    /// Of the network namespace.
    pub(super) listen_overflows: Option<u64>,
    pub(super) listen_drops: Option<u64>,
    pub(super) unreadable: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct QueueSample {
    pub(super) endpoint: Endpoint,
    pub(super) depth: Depth,
    pub(super) conditions: Vec<Condition>,
}

/// The samples of the last minute, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Arc<Mutex<VecDeque<QueuesSample>>>);

/// The detector treats readings further apart than this as separated by a suspend.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
const MINUTE: usize = 120;
const MOST_QUEUES: usize = 100;

impl Samples {
    /// Reads on a thread of its own, for as long as the program runs.
    pub(super) fn follow(pid: i32) -> io::Result<Samples> {
        let samples = Samples::default();
        let shared = samples.clone();
        thread::Builder::new().name("sampler".into()).spawn(move || {
            let begun = Instant::now();
            let mut observer = Observer::new(Scope::Process(pid), Settings::default());
            loop {
                shared.add(sample(&mut observer, pid, begun.elapsed()));
                thread::sleep(INTERVAL);
            }
        })?;
        Ok(samples)
    }

    fn add(&self, sample: QueuesSample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == MINUTE {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub(super) fn all(&self) -> Vec<QueuesSample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn sample(observer: &mut Observer, pid: i32, at: Duration) -> QueuesSample {
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
        // The sort is stable: among those that are alike the order of the sample stays.
        queues.sort_by_cached_key(|queue: &QueueSample| Reverse(queue.rank()));
        queues.truncate(MOST_QUEUES);
    }
    QueuesSample {
        at: SystemTime::now(),
        queues,
        omitted,
        listen_overflows: counters.listen_overflows,
        listen_drops: counters.listen_drops,
        unreadable,
    }
}

impl QueueSample {
    fn rank(&self) -> (Severity, u32) {
        (Severity::of(self.conditions.iter().copied()), self.depth.queued)
    }
}

fn queue(reading: Reading) -> QueueSample {
    QueueSample {
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
            samples.add(QueuesSample { at: SystemTime::UNIX_EPOCH + Duration::from_secs(second), ..read.clone() });
        }
        let kept = samples.all();
        let first = kept.first().expect("one").at.duration_since(SystemTime::UNIX_EPOCH).expect("later");
        assert_eq!((kept.len(), first), (MINUTE, Duration::from_secs(80)));
    }
}
