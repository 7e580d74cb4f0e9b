//! The events of a sample -> entries with what has changed since the samples before. Pure.

use std::collections::HashMap;
use std::time::Duration;

use accept_queue_core::Endpoint;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::rules::detector::Condition;

use super::millis;
use crate::figures::{self, Figures};
use crate::follow::event::{Event, ListenerRef};
use crate::follow::{Batch, Outcome};
use crate::recording::{
    Entry, FIGURES, FigureValues, Item, OLDEST_WAIT_MS, QUEUED_ALIVE, QUEUED_BYTES, QUEUED_CLOSED, QUEUED_RESET,
    RecordedOwner, SILENCE_MS, SampleEntry, is_hole,
};

/// More owners than these are not named: a server that forks may have a thousand.
const MOST_OWNERS: usize = 8;
/// Bytes that are kept of a name that a process chose.
const LONGEST: usize = 1024;
/// A clock that is off by less than this was not set.
const CLOCK_SLACK_MS: u64 = 500;

/// What has been recorded in this run.
pub(super) struct DeltaEncoder {
    interval_ms: u64,
    /// When the run began, as recorded last.
    began_ms: Option<u64>,
    known: HashMap<(Namespace, Endpoint), Known>,
    next: u64,
    /// Samples since the last one that was written.
    quiet: u64,
    sampled_ms: u64,
    written_ms: u64,
}

struct Known {
    number: u64,
    owners: Vec<RecordedOwner>,
    figures: FigureValues,
    /// When it was last read; `None`: it was not in the last sample.
    read_ms: Option<u64>,
}

impl DeltaEncoder {
    pub(super) fn new(interval_ms: u64) -> DeltaEncoder {
        DeltaEncoder {
            interval_ms,
            began_ms: None,
            known: HashMap::new(),
            next: 0,
            quiet: 0,
            sampled_ms: 0,
            written_ms: 0,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.began_ms.is_some()
    }

    /// `began_ms`: when this run began, by the current clock of the machine.
    pub(super) fn entries(&mut self, at_ms: u64, began_ms: u64, batch: &Batch) -> Vec<Entry> {
        let mut items = Vec::new();
        let is_first = self.began_ms.is_none();
        let before = *self.began_ms.get_or_insert(began_ms);
        // Compared with what is recorded, so that small steps add up.
        if before.abs_diff(began_ms) > CLOCK_SLACK_MS {
            self.began_ms = Some(began_ms);
            items.push(Item::Clock { epoch_ms: began_ms });
        }
        batch.events.iter().for_each(|event| self.event(at_ms, event, &mut items));
        if batch.outcome != Outcome::Ended {
            self.missed(at_ms, &mut items);
        }
        // The recording must show when the recorder did not run.
        let is_late = is_hole(self.interval_ms, at_ms - self.sampled_ms);
        let mut entries: Vec<_> = if is_late { self.flush().into_iter().collect() } else { Vec::new() };
        self.sampled_ms = at_ms;
        if is_first || is_late || !items.is_empty() || at_ms - self.written_ms >= SILENCE_MS {
            self.written_ms = at_ms;
            entries.push(Entry::Sample(SampleEntry { at_ms, quiet: std::mem::take(&mut self.quiet), items }));
        } else {
            self.quiet += 1;
        }
        entries
    }

    pub(super) fn finish(&mut self, at_ms: u64, why: &str) -> Vec<Entry> {
        let end = Entry::Ended { at_ms, why: why.to_owned() };
        self.flush().into_iter().chain([end]).collect()
    }

    /// The last sample, where it was not written.
    fn flush(&mut self) -> Option<Entry> {
        let quiet = std::mem::take(&mut self.quiet).checked_sub(1)?;
        self.written_ms = self.sampled_ms;
        Some(Entry::Sample(SampleEntry { at_ms: self.sampled_ms, quiet, items: Vec::new() }))
    }

    fn event(&mut self, at_ms: u64, event: &Event, items: &mut Vec<Item>) {
        let item = match event {
            // Its sample follows.
            Event::Added(_) => None,
            Event::Sample(reading) => return self.sample(at_ms, reading, items),
            Event::Raised { reading, condition, evidence } => self.number(*reading).map(|number| Item::Raised {
                number,
                condition: *condition,
                held_ms: millis(evidence.held_for),
            }),
            Event::Cleared { reading, condition, lasted } => self.cleared(*reading, *condition, *lasted),
            Event::Ended { gone, condition, lasted } => self.cleared(*gone, *condition, *lasted),
            Event::Removed(gone) => {
                let known = self.known.remove(&(gone.namespace, gone.endpoint.clone()));
                known.map(|known| Item::Gone { number: known.number })
            }
            Event::Unreadable { process, reason } => {
                let prefix = process.map_or(String::new(), |process| figures::Process::from(process).shown() + ": ");
                Some(Item::Unreadable(short(&(prefix + reason))))
            }
        };
        items.extend(item);
    }

    fn cleared<'a>(
        &self,
        listener: impl Into<ListenerRef<'a>>,
        condition: Condition,
        lasted: Duration,
    ) -> Option<Item> {
        self.number(listener).map(|number| Item::Cleared { number, condition, lasted_ms: millis(lasted) })
    }

    fn sample(&mut self, at_ms: u64, reading: &Reading, items: &mut Vec<Item>) {
        let place = (reading.namespace, reading.endpoint.clone());
        let owners = owners(reading);
        let is_new = !self.known.contains_key(&place);
        let known = self.known.entry(place).or_insert_with(|| {
            let number = self.next;
            self.next += 1;
            Known { number, owners: Vec::new(), figures: FigureValues::default(), read_ms: None }
        });
        if is_new || known.owners != owners {
            known.owners.clone_from(&owners);
            items.push(Item::Listener {
                number: known.number,
                namespace: reading.namespace.0,
                address: reading.endpoint.to_string(),
                owners,
            });
        }
        let now = figures(reading, known.figures);
        let changed: Vec<_> =
            (0..FIGURES.len()).filter(|at| now[*at] != known.figures[*at]).map(|at| (at, now[at])).collect();
        if !changed.is_empty() || known.read_ms.is_none() {
            items.push(Item::Figures { number: known.number, changed });
        }
        known.figures = now;
        known.read_ms = Some(at_ms);
    }

    /// Listeners that this sample should have and has not.
    fn missed(&mut self, at_ms: u64, items: &mut Vec<Item>) {
        for known in self.known.values_mut() {
            if known.read_ms.is_some_and(|read_ms| read_ms < at_ms) {
                known.read_ms = None;
                items.push(Item::Unread { number: known.number });
            }
        }
    }

    fn number<'a>(&self, listener: impl Into<ListenerRef<'a>>) -> Option<u64> {
        let ListenerRef { namespace, endpoint, .. } = listener.into();
        self.known.get(&(namespace, endpoint.clone())).map(|known| known.number)
    }
}

/// The counts are those of the last census.
fn figures(reading: &Reading, before: FigureValues) -> FigureValues {
    let mut figures = before;
    if let Some(census) = &reading.census {
        let counted = Figures::from(&census.counts);
        figures = [
            None,
            None,
            None,
            counted.syn_recv.map(u64::from),
            counted.queued_alive.map(u64::from),
            counted.queued_closed.map(u64::from),
            counted.queued_reset.map(u64::from),
            counted.queued_bytes,
            counted.oldest_wait_ms,
            Some(counted.established.into()),
            Some(counted.close_wait.into()),
            Some(counted.sockets.into()),
        ];
    }
    let depth = reading.depth_reading.depth;
    if depth.queued == 0 {
        // An empty queue needs no census.
        figures[OLDEST_WAIT_MS] = None;
        for count in [QUEUED_ALIVE, QUEUED_CLOSED, QUEUED_RESET, QUEUED_BYTES] {
            figures[count] = figures[count].map(|_| 0);
        }
    }
    figures[..3].copy_from_slice(&[
        Some(depth.queued.into()),
        depth.known_limit().map(u64::from),
        reading.depth_reading.drops,
    ]);
    figures
}

fn owners(reading: &Reading) -> Vec<RecordedOwner> {
    let named = reading.owners.iter().take(MOST_OWNERS);
    named.map(|owner| RecordedOwner { pid: owner.process.pid as u64, name: short(&owner.process.name) }).collect()
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accept_queue_core::outside::snapshot::Owner;
    use accept_queue_core::rules::detector::Outlook;
    use accept_queue_core::rules::history::{CensusTaken, DepthReading, Status};
    use accept_queue_core::vm::find::Candidate;
    use accept_queue_core::{Counts, Depth};

    use super::*;

    const BEGAN: u64 = 1_764_000_000_000;

    fn reading(queued: u32, counts: Option<Counts>) -> Reading {
        let depth = Depth { queued, limit: 5, drops: Some(7) };
        let process = Candidate { pid: 4711, name: "shop".to_owned(), is_beam: true, is_named: true };
        Reading {
            namespace: Namespace(1),
            endpoint: Endpoint::Unix(b"/run/shop".to_vec()),
            owners: vec![Owner { process: Arc::new(process), fd: 3 }],
            sockets: Vec::new(),
            is_new: false,
            depth_reading: DepthReading {
                depth,
                drops: Some(7),
                changes: Vec::new(),
                wants_census: false,
                outlook: Outlook::default(),
                resumed: false,
                is_sample: false,
            },
            census: counts.map(|counts| {
                let outlook = Outlook::default();
                CensusTaken { counts, changes: Vec::new(), is_sample: false, outlook }
            }),
            status: Status {
                conditions: Vec::new(),
                depth: Some(depth),
                drops: Some(7),
                counts: None,
                census_every: Duration::ZERO,
                window: None,
                watched_for: Duration::ZERO,
                read_ago: None,
            },
        }
    }

    impl DeltaEncoder {
        fn sampled(&mut self, at_ms: u64, reading: &Reading) -> Vec<Entry> {
            let batch =
                Batch { at: Duration::from_millis(at_ms), outcome: Outcome::Read, events: &[Event::Sample(reading)] };
            self.entries(at_ms, BEGAN, &batch)
        }

        fn failed(&mut self, at_ms: u64) -> Vec<Entry> {
            let batch = Batch { at: Duration::from_millis(at_ms), outcome: Outcome::Failed, events: &[] };
            self.entries(at_ms, BEGAN, &batch)
        }
    }

    fn entry(at_ms: u64, quiet: u64, items: Vec<Item>) -> Entry {
        Entry::Sample(SampleEntry { at_ms, quiet, items })
    }

    fn figures(changed: Vec<(usize, Option<u64>)>) -> Item {
        Item::Figures { number: 0, changed }
    }

    #[test]
    fn while_nothing_changes_an_entry_is_written_every_ten_seconds() {
        let mut encoder = DeltaEncoder::new(100);
        let first = encoder.sampled(0, &reading(0, None));
        let owners = vec![RecordedOwner { pid: 4711, name: "shop".to_owned() }];
        let listener = Item::Listener { number: 0, namespace: 1, address: "unix:/run/shop".to_owned(), owners };
        let depth = figures(vec![(0, Some(0)), (1, Some(5)), (2, Some(7))]);
        assert_eq!(first, [entry(0, 0, vec![listener, depth])]);
        let silence: Vec<_> = (1..100).flat_map(|tick| encoder.sampled(tick * 100, &reading(0, None))).collect();
        assert_eq!(silence, []);
        assert_eq!(encoder.sampled(10_000, &reading(0, None)), [entry(10_000, 99, vec![])]);
        assert_eq!(encoder.sampled(10_100, &reading(3, None)), [entry(10_100, 0, vec![figures(vec![(0, Some(3))])])]);
    }

    #[test]
    fn a_pause_of_the_recorder_is_recorded() {
        let mut encoder = DeltaEncoder::new(100);
        encoder.sampled(0, &reading(0, None));
        encoder.sampled(100, &reading(0, None));
        encoder.sampled(200, &reading(0, None));
        let late = encoder.sampled(60_000, &reading(0, None));
        assert_eq!(late, [entry(200, 1, vec![]), entry(60_000, 0, vec![])]);
        encoder.sampled(60_100, &reading(0, None));
        let end = Entry::Ended { at_ms: 60_150, why: "so".to_owned() };
        assert_eq!(encoder.finish(60_150, "so"), [entry(60_100, 0, vec![]), end]);
    }

    #[test]
    fn what_could_not_be_read_is_not_what_it_was() {
        let mut encoder = DeltaEncoder::new(100);
        encoder.sampled(0, &reading(2, None));
        assert_eq!(encoder.failed(100), [entry(100, 0, vec![Item::Unread { number: 0 }])]);
        assert_eq!(encoder.failed(200), []);
        assert_eq!(encoder.sampled(300, &reading(2, None)), [entry(300, 1, vec![figures(vec![])])]);
    }

    #[test]
    fn the_counts_of_an_empty_queue_are_known_without_a_census() {
        let mut encoder = DeltaEncoder::new(100);
        let counts = Counts {
            queued: 2,
            limit: 5,
            syn_recv: Some(1),
            queued_alive: Some(0),
            queued_closed: Some(2),
            oldest_wait: Some(Duration::from_millis(40)),
            sockets: 1,
            full_sockets: 0,
            ..Counts::default()
        };
        encoder.sampled(0, &reading(2, Some(counts)));
        let emptied = figures(vec![(0, Some(0)), (5, Some(0)), (8, None)]);
        assert_eq!(encoder.sampled(100, &reading(0, None)), [entry(100, 0, vec![emptied])]);
    }

    #[test]
    fn a_clock_that_is_set_is_recorded_once() {
        let mut encoder = DeltaEncoder::new(100);
        encoder.sampled(0, &reading(0, None));
        let quiet = Batch { at: Duration::from_millis(100), outcome: Outcome::Ended, events: &[] };
        assert_eq!(encoder.entries(100, BEGAN + 499, &quiet), []);
        let clock = Item::Clock { epoch_ms: BEGAN + 501 };
        assert_eq!(encoder.entries(200, BEGAN + 501, &quiet), [entry(200, 1, vec![clock])]);
        assert_eq!(encoder.entries(300, BEGAN + 501, &quiet), []);
    }
}
