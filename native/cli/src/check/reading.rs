//! The listeners of the scope, read once or for some time, each with what is wrong with it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading};
use accept_queue_core::outside::snapshot::{self, Gap, Owned, Owner};
use accept_queue_core::rules::check::{Limits, Severity, Trouble, worst_first};
use accept_queue_core::rules::detector::on_clock;
use accept_queue_core::{Counts, Depth, Endpoint};

use crate::args::CheckOptions;

/// A listener and what is wrong with it.
pub(super) struct Judged {
    pub(super) namespace: Namespace,
    pub(super) endpoint: Endpoint,
    pub(super) owners: Vec<Owner>,
    /// As of the last reading.
    pub(super) counts: Counts,
    /// Each reading since the listener was there.
    pub(super) depths: Vec<Depth>,
    pub(super) troubles: Vec<Trouble>,
}

/// Everything that was read.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) judged: Vec<Judged>,
    pub(super) gaps: Vec<Gap>,
    pub(super) taken: Vec<Taken>,
}

/// One reading of all listeners.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Since the check began.
    pub(super) after: Duration,
    pub(super) took: Duration,
    pub(super) listeners: usize,
    pub(super) queued: u64,
}

pub(super) fn read(options: &CheckOptions, limits: &Limits) -> Result<Seen, String> {
    match options.samples {
        1 => at_once(options, limits),
        samples => over_time(options, limits, samples),
    }
}

fn at_once(options: &CheckOptions, limits: &Limits) -> Result<Seen, String> {
    let begun = Instant::now();
    let snapshot = snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    let judged = |Owned { namespace, owners, queue }: Owned| {
        let counts = queue.census.counts;
        let (depths, troubles) = (vec![counts.depth()], limits.at_once(&counts));
        Judged { namespace, endpoint: queue.endpoint, owners, counts, depths, troubles }
    };
    let judged: Vec<_> = snapshot.queues.into_iter().map(judged).collect();
    let depths = judged.iter().map(|judged| judged.counts.depth());
    let taken = vec![Taken::of(depths, Duration::ZERO, begun.elapsed())];
    Ok(Seen { judged, gaps: snapshot.gaps, taken })
}

fn over_time(options: &CheckOptions, limits: &Limits, samples: u32) -> Result<Seen, String> {
    let mut observer = Observer::new(options.scope.scope(), limits.settings(options.span()));
    let begun = Instant::now();
    let mut taken = Vec::new();
    let mut depths: HashMap<(Namespace, Endpoint), Vec<Depth>> = HashMap::new();
    let mut read = |sample: u32| {
        thread::sleep((options.interval * sample).saturating_sub(begun.elapsed()));
        let after = begun.elapsed();
        let sample =
            observer.sample(on_clock(after), CensusScope::All).map_err(|error| options.scope.refused(error))?;
        let depth = |reading: &Reading| reading.depth_reading.depth;
        taken.push(Taken::of(sample.readings.iter().map(depth), after, begun.elapsed().saturating_sub(after)));
        for reading in &sample.readings {
            let known = depths.entry((reading.namespace, reading.endpoint.clone())).or_default();
            if reading.is_new {
                known.clear();
            }
            known.push(depth(reading));
        }
        Ok::<_, String>(sample)
    };
    for sample in 0..samples - 1 {
        read(sample)?;
    }
    let last = read(samples - 1)?;
    if last.readings.is_empty() {
        // An observer waits for a server to come back; a check says that it has gone.
        snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    }
    let judged = |reading: Reading| {
        // It was closed before its census.
        let counts = reading.census?.counts;
        let place = (reading.namespace, reading.endpoint);
        let depths = depths.remove(&place).unwrap_or_default();
        let troubles = limits.over_time(&reading.status, &depths);
        let (namespace, endpoint) = place;
        Some(Judged { namespace, endpoint, owners: reading.owners, counts, depths, troubles })
    };
    Ok(Seen { judged: last.readings.into_iter().filter_map(judged).collect(), gaps: last.gaps, taken })
}

impl Taken {
    fn of(depths: impl Iterator<Item = Depth>, after: Duration, took: Duration) -> Taken {
        let none = Taken { after, took, listeners: 0, queued: 0 };
        depths.fold(none, |taken, depth| Taken {
            listeners: taken.listeners + 1,
            queued: taken.queued + u64::from(depth.queued),
            ..taken
        })
    }
}

impl Judged {
    pub(super) fn severity(&self) -> Severity {
        self.troubles.iter().map(|trouble| trouble.severity()).max().unwrap_or(Severity::Ok)
    }

    fn worst_first(&self, other: &Judged) -> Ordering {
        worst_first((self.severity(), &self.counts), (other.severity(), &other.counts))
    }

    /// The address, and where it means something else than here, its network namespace.
    pub(super) fn place(&self) -> String {
        let Judged { namespace, endpoint, .. } = self;
        if Namespace::own() == Ok(*namespace) {
            endpoint.to_string()
        } else {
            format!("{endpoint} netns:{}", namespace.0)
        }
    }
}

impl Seen {
    /// The worst first; those that are equally bad by their addresses.
    pub(super) fn worst(&self) -> Vec<&Judged> {
        let mut judged: Vec<_> = self.judged.iter().collect();
        judged.sort_by(|one, other| one.worst_first(other));
        judged
    }
}

#[cfg(test)]
pub(super) fn judged(endpoint: Endpoint, counts: Counts, troubles: Vec<Trouble>) -> Judged {
    let namespace = Namespace::own().expect("own namespace");
    Judged { namespace, endpoint, owners: Vec::new(), counts, depths: vec![counts.depth()], troubles }
}
