//! A sample -> its events. Pure.

use std::collections::HashSet;
use std::time::Duration;

use accept_queue_core::Endpoint;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{Gone, Reading, Sample};
use accept_queue_core::outside::snapshot::{Gap, Owner};
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence};
use accept_queue_core::vm::find::Candidate;

#[derive(Debug)]
pub(crate) enum Event<'a> {
    Added(&'a Reading),
    Sample(&'a Reading),
    Raised {
        reading: &'a Reading,
        condition: Condition,
        evidence: &'a ConditionEvidence,
    },
    Cleared {
        reading: &'a Reading,
        condition: Condition,
        lasted: Duration,
    },
    /// Cleared because the listener is gone: without figures.
    Ended {
        gone: &'a Gone,
        condition: Condition,
        lasted: Duration,
    },
    Removed(&'a Gone),
    /// Of a process; `None`: of everything.
    Unreadable {
        process: Option<&'a Candidate>,
        reason: String,
    },
}

/// Which listener, and its owners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenerRef<'a> {
    pub(crate) namespace: Namespace,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) owners: &'a [Owner],
}

impl<'a> From<&'a Reading> for ListenerRef<'a> {
    fn from(Reading { namespace, endpoint, owners, .. }: &'a Reading) -> ListenerRef<'a> {
        ListenerRef { namespace: *namespace, endpoint, owners }
    }
}

impl<'a> From<&'a Gone> for ListenerRef<'a> {
    fn from(Gone { namespace, endpoint, owners, .. }: &'a Gone) -> ListenerRef<'a> {
        ListenerRef { namespace: *namespace, endpoint, owners }
    }
}

/// Remembers what could not be read, so that it is one event until it changes.
pub(crate) struct EventBuilder {
    wants_samples: bool,
    unreadable: HashSet<(Option<i32>, String)>,
}

impl EventBuilder {
    pub(crate) fn new(wants_samples: bool) -> EventBuilder {
        EventBuilder { wants_samples, unreadable: HashSet::new() }
    }

    /// The events of a sample. Removed listeners come first: another may have the same address.
    pub(crate) fn events<'a>(&mut self, sample: &'a Sample) -> Vec<Event<'a>> {
        let mut events = Vec::new();
        for gone in &sample.gone {
            removed(gone, &mut events);
        }
        for reading in &sample.readings {
            if reading.is_new {
                events.push(Event::Added(reading));
            }
            if self.wants_samples {
                events.push(Event::Sample(reading));
            }
            let later = reading.census.iter().flat_map(|census| &census.changes);
            events.extend(reading.depth_reading.changes.iter().chain(later).map(|change| changed(reading, change)));
        }
        let gaps = sample.gaps.iter().map(|Gap { process, missing }| (Some(&**process), missing.to_string())).collect();
        events.extend(self.unreadable(gaps));
        events
    }

    /// The events of a failed sample.
    pub(crate) fn failure(&mut self, reason: String) -> Vec<Event<'static>> {
        self.unreadable(vec![(None, reason)])
    }

    /// One event each, and another only after it could be read in between.
    fn unreadable<'a>(&mut self, now: Vec<(Option<&'a Candidate>, String)>) -> Vec<Event<'a>> {
        let key =
            |(process, reason): &(Option<&Candidate>, String)| (process.map(|process| process.pid), reason.clone());
        let before = std::mem::replace(&mut self.unreadable, now.iter().map(key).collect());
        let fresh = now.into_iter().filter(|gap| !before.contains(&key(gap)));
        fresh.map(|(process, reason)| Event::Unreadable { process, reason }).collect()
    }
}

/// The conditions of a listener end with it.
pub(crate) fn removed<'a>(gone: &'a Gone, events: &mut Vec<Event<'a>>) {
    events.extend(gone.conditions.iter().map(|&(condition, lasted)| Event::Ended { gone, condition, lasted }));
    events.push(Event::Removed(gone));
}

fn changed<'a>(reading: &'a Reading, change: &'a Change) -> Event<'a> {
    match change {
        Change::Raised { condition, evidence } => Event::Raised { reading, condition: *condition, evidence },
        Change::Cleared { condition, evidence } => {
            Event::Cleared { reading, condition: *condition, lasted: evidence.held_for }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_one_event_until_it_can() {
        let mut builder = EventBuilder::new(false);
        let events = |builder: &mut EventBuilder, reason: &str| builder.failure(reason.to_owned()).len();
        assert_eq!(events(&mut builder, "asleep"), 1);
        assert_eq!(events(&mut builder, "asleep"), 0);
        assert_eq!(events(&mut builder, "gone"), 1, "another reason");
        assert_eq!(builder.events(&Sample::default()).len(), 0);
        assert_eq!(events(&mut builder, "gone"), 1, "it could be read meanwhile");
    }
}
