//! A sample -> what there is to tell of it. Pure.

use std::collections::HashSet;
use std::time::Duration;

use accept_queue_core::Endpoint;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{Gone, Reading, Sample};
use accept_queue_core::outside::snapshot::{Gap, Owner};
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence};
use accept_queue_core::vm::find::Candidate;

/// Something to tell.
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
    /// Cleared because the listener is gone: there is no figure.
    Ended {
        gone: &'a Gone,
        condition: Condition,
        lasted: Duration,
    },
    Removed(&'a Gone),
    /// A process, or everything.
    Unreadable {
        process: Option<&'a Candidate>,
        reason: String,
    },
}

/// Which listener, and whose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener<'a> {
    pub(crate) namespace: Namespace,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) owners: &'a [Owner],
}

impl<'a> From<&'a Reading> for Listener<'a> {
    fn from(Reading { namespace, endpoint, owners, .. }: &'a Reading) -> Listener<'a> {
        Listener { namespace: *namespace, endpoint, owners }
    }
}

impl<'a> From<&'a Gone> for Listener<'a> {
    fn from(Gone { namespace, endpoint, owners, .. }: &'a Gone) -> Listener<'a> {
        Listener { namespace: *namespace, endpoint, owners }
    }
}

/// What is told of a sample depends on what has been told.
pub(crate) struct Teller {
    wants_samples: bool,
    unreadable: HashSet<(Option<i32>, String)>,
}

impl Teller {
    pub(crate) fn new(wants_samples: bool) -> Teller {
        Teller { wants_samples, unreadable: HashSet::new() }
    }

    /// Everything of a sample. What has gone comes first: another may stand in its place.
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
            let looked = reading.census.iter().flat_map(|looked| &looked.changes);
            events.extend(reading.depth_reading.changes.iter().chain(looked).map(|change| changed(reading, change)));
        }
        let gaps = sample.gaps.iter().map(|Gap { process, missing }| (Some(&**process), missing.to_string())).collect();
        events.extend(self.unreadable(gaps));
        events
    }

    /// That there is no sample.
    pub(crate) fn failure(&mut self, reason: String) -> Vec<Event<'static>> {
        self.unreadable(vec![(None, reason)])
    }

    /// Each is told once, and again only when it could be read meanwhile.
    fn unreadable<'a>(&mut self, now: Vec<(Option<&'a Candidate>, String)>) -> Vec<Event<'a>> {
        let key =
            |(process, reason): &(Option<&Candidate>, String)| (process.map(|process| process.pid), reason.clone());
        let before = std::mem::replace(&mut self.unreadable, now.iter().map(key).collect());
        let fresh = now.into_iter().filter(|gap| !before.contains(&key(gap)));
        fresh.map(|(process, reason)| Event::Unreadable { process, reason }).collect()
    }
}

/// With a listener ends what stood.
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
    fn what_cannot_be_read_is_told_once_until_it_can() {
        let mut teller = Teller::new(false);
        let told = |teller: &mut Teller, reason: &str| teller.failure(reason.to_owned()).len();
        assert_eq!(told(&mut teller, "asleep"), 1);
        assert_eq!(told(&mut teller, "asleep"), 0);
        assert_eq!(told(&mut teller, "gone"), 1, "another reason");
        assert_eq!(teller.events(&Sample::default()).len(), 0);
        assert_eq!(told(&mut teller, "gone"), 1, "it could be read meanwhile");
    }
}
