//! The summary of a run of `watch` or `record`. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{Reading, Sample};
use accept_queue_core::{Depth, Endpoint};

use super::event::Event;
use crate::condition::{many, seconds};

#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) samples: u64,
    failed: u64,
    /// Of the samples: nothing of the scope could be read.
    blind: u64,
    raised: u64,
    listeners: BTreeSet<(Namespace, Endpoint)>,
    worst: Option<WorstQueue>,
}

/// The fullest queue of all samples.
#[derive(Debug)]
struct WorstQueue {
    depth: Depth,
    endpoint: Endpoint,
}

impl WorstQueue {
    fn fill(&self) -> f64 {
        f64::from(self.depth.queued) / (f64::from(self.depth.limit) + 1.0)
    }
}

impl Summary {
    pub(crate) fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        self.blind += u64::from(sample.is_blind());
        for reading in &sample.readings {
            if reading.is_new {
                self.listeners.insert((reading.namespace, reading.endpoint.clone()));
            }
            self.compare(reading);
        }
    }

    /// In any sample something of the scope could be read, or there was nothing in it.
    pub(crate) fn has_read(&self) -> bool {
        self.blind < self.samples || self.samples == 0
    }

    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    pub(crate) fn add_events(&mut self, events: &[Event]) {
        self.raised += events.iter().filter(|event| matches!(event, Event::Raised { .. })).count() as u64;
    }

    fn compare(&mut self, Reading { depth_reading, endpoint, .. }: &Reading) {
        let depth = depth_reading.depth;
        if depth.queued > 0 {
            let now = WorstQueue { depth, endpoint: endpoint.clone() };
            if self.worst.as_ref().is_none_or(|worst| worst.fill() < now.fill()) {
                self.worst = Some(now);
            }
        }
    }

    /// In one line.
    pub(crate) fn sentence(&self, lasted: Duration) -> String {
        let parts = [
            Some(format!("{} in {}", many(self.samples, "sample"), seconds(lasted))),
            (self.failed > 0).then(|| format!("{} failed", self.failed)),
            (self.blind > 0).then(|| format!("{} in which nothing could be read", self.blind)),
            Some(many(self.listeners.len() as u64, "listener")),
            Some(format!("{} raised", many(self.raised, "condition"))),
            Some(match &self.worst {
                Some(WorstQueue { depth, endpoint }) => match depth.known_limit() {
                    Some(limit) => format!("the worst queue {} (backlog {limit}) at {endpoint}", depth.queued),
                    None => format!("the worst queue {} at {endpoint}", depth.queued),
                },
                None => "no connection waited".to_owned(),
            }),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ") + "."
    }
}
