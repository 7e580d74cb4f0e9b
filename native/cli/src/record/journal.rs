//! What there is to tell of a sample -> what of it is not known from the samples before. Pure.

use std::collections::HashMap;
use std::time::Duration;

use accept_queue_core::Endpoint;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::rules::detector::Condition;

use super::millis;
use crate::figures::{self, Figures as Counted};
use crate::follow::event::{Event, Listener};
use crate::follow::{Outcome, Told};
use crate::recording::{Entry, FIGURES, Figures, Item, Process, SILENCE_MS, Sample, is_hole};

/// More owners than these are not named: a server that forks may have a thousand.
const MOST_OWNERS: usize = 8;
/// Of a name that somebody has chosen, so many bytes at most.
const LONGEST: usize = 1024;
/// The clock of the machine is not where it was expected to be.
const CLOCK_SLACK_MS: u64 = 500;

/// What has been recorded in this run.
pub(super) struct Journal {
    interval_ms: u64,
    /// When it has begun, as recorded last.
    began_ms: Option<u64>,
    known: HashMap<(Namespace, Endpoint), Known>,
    next: u64,
    /// Samples since the last that was written.
    quiet: u64,
    sampled_ms: u64,
    written_ms: u64,
}

struct Known {
    number: u64,
    owners: Vec<Process>,
    figures: Figures,
    /// When it was read last; `None`: it was not in the last sample.
    read_ms: Option<u64>,
}

impl Journal {
    pub(super) fn new(interval_ms: u64) -> Journal {
        Journal { interval_ms, began_ms: None, known: HashMap::new(), next: 0, quiet: 0, sampled_ms: 0, written_ms: 0 }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.began_ms.is_some()
    }

    /// `began_ms` is when this run has begun, by what the clock of the machine shows now.
    pub(super) fn told(&mut self, at_ms: u64, began_ms: u64, told: &Told) -> Vec<Entry> {
        let mut items = Vec::new();
        let is_first = self.began_ms.is_none();
        let before = *self.began_ms.get_or_insert(began_ms);
        // Held against what is recorded, so that little by little adds up.
        if before.abs_diff(began_ms) > CLOCK_SLACK_MS {
            self.began_ms = Some(began_ms);
            items.push(Item::Clock { epoch_ms: began_ms });
        }
        told.events.iter().for_each(|event| self.event(at_ms, event, &mut items));
        if told.outcome != Outcome::Ended {
            self.missed(at_ms, &mut items);
        }
        // When the recorder was at work must be seen from what is written.
        let is_late = is_hole(self.interval_ms, at_ms - self.sampled_ms);
        let mut entries: Vec<_> = if is_late { self.flush().into_iter().collect() } else { Vec::new() };
        self.sampled_ms = at_ms;
        if is_first || is_late || !items.is_empty() || at_ms - self.written_ms >= SILENCE_MS {
            self.written_ms = at_ms;
            entries.push(Entry::Sample(Sample { at_ms, quiet: std::mem::take(&mut self.quiet), items }));
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
        Some(Entry::Sample(Sample { at_ms: self.sampled_ms, quiet, items: Vec::new() }))
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
                let who = process.map_or(String::new(), |process| figures::Process::from(process).shown() + ": ");
                Some(Item::Unreadable(short(&(who + reason))))
            }
        };
        items.extend(item);
    }

    fn cleared<'a>(&self, listener: impl Into<Listener<'a>>, condition: Condition, lasted: Duration) -> Option<Item> {
        self.number(listener).map(|number| Item::Cleared { number, condition, lasted_ms: millis(lasted) })
    }

    fn sample(&mut self, at_ms: u64, reading: &Reading, items: &mut Vec<Item>) {
        let place = (reading.namespace, reading.endpoint.clone());
        let owners = owners(reading);
        let is_new = !self.known.contains_key(&place);
        let known = self.known.entry(place).or_insert_with(|| {
            let number = self.next;
            self.next += 1;
            Known { number, owners: Vec::new(), figures: Figures::default(), read_ms: None }
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

    /// Those that this sample should have had.
    fn missed(&mut self, at_ms: u64, items: &mut Vec<Item>) {
        for known in self.known.values_mut() {
            if known.read_ms.is_some_and(|read_ms| read_ms < at_ms) {
                known.read_ms = None;
                items.push(Item::Unread { number: known.number });
            }
        }
    }

    fn number<'a>(&self, listener: impl Into<Listener<'a>>) -> Option<u64> {
        let Listener { namespace, endpoint, .. } = listener.into();
        self.known.get(&(namespace, endpoint.clone())).map(|known| known.number)
    }
}

/// Who stands in the queue is known as of the last look.
fn figures(reading: &Reading, before: Figures) -> Figures {
    let mut figures = before;
    if let Some(looked) = &reading.census {
        let counted = Counted::from(&looked.counts);
        figures = [
            None,
            None,
            None,
            counted.syn_recv.map(u64::from),
            Some(counted.queued_alive.into()),
            Some(counted.queued_closed.into()),
            Some(counted.queued_reset.into()),
            counted.queued_bytes,
            counted.oldest_wait_ms,
            Some(counted.established.into()),
            Some(counted.close_wait.into()),
            Some(counted.sockets.into()),
        ];
    }
    let depth = reading.depth_reading.depth;
    if depth.queued == 0 {
        // Who stands there is known without a look: nobody.
        let [.., alive, closed, reset, bytes, oldest, _, _, _] = &mut figures;
        *oldest = None;
        for nobody in [alive, closed, reset, bytes] {
            *nobody = nobody.map(|_| 0);
        }
    }
    figures[..3].copy_from_slice(&[Some(depth.queued.into()), Some(depth.limit.into()), reading.depth_reading.drops]);
    figures
}

fn owners(reading: &Reading) -> Vec<Process> {
    let named = reading.owners.iter().take(MOST_OWNERS);
    named.map(|owner| Process { pid: owner.process.pid as u64, name: short(&owner.process.name) }).collect()
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accept_queue_core::outside::snapshot::Owner;
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
                resumed: false,
            },
            census: counts.map(|counts| CensusTaken { counts, changes: Vec::new() }),
            status: Status {
                conditions: Vec::new(),
                depth: Some(depth),
                drops: Some(7),
                counts: None,
                window: None,
                watched_for: Duration::ZERO,
                read_ago: None,
            },
        }
    }

    impl Journal {
        fn sampled(&mut self, at_ms: u64, reading: &Reading) -> Vec<Entry> {
            let told =
                Told { at: Duration::from_millis(at_ms), outcome: Outcome::Read, events: &[Event::Sample(reading)] };
            self.told(at_ms, BEGAN, &told)
        }

        fn failed(&mut self, at_ms: u64) -> Vec<Entry> {
            let told = Told { at: Duration::from_millis(at_ms), outcome: Outcome::Failed, events: &[] };
            self.told(at_ms, BEGAN, &told)
        }
    }

    fn entry(at_ms: u64, quiet: u64, items: Vec<Item>) -> Entry {
        Entry::Sample(Sample { at_ms, quiet, items })
    }

    fn figures(changed: Vec<(usize, Option<u64>)>) -> Item {
        Item::Figures { number: 0, changed }
    }

    #[test]
    fn nothing_is_written_while_nothing_changes_but_a_sign_of_life() {
        let mut journal = Journal::new(100);
        let first = journal.sampled(0, &reading(0, None));
        let owners = vec![Process { pid: 4711, name: "shop".to_owned() }];
        let listener = Item::Listener { number: 0, namespace: 1, address: "unix:/run/shop".to_owned(), owners };
        let depth = figures(vec![(0, Some(0)), (1, Some(5)), (2, Some(7))]);
        assert_eq!(first, [entry(0, 0, vec![listener, depth])]);
        let silence: Vec<_> = (1..100).flat_map(|tick| journal.sampled(tick * 100, &reading(0, None))).collect();
        assert_eq!(silence, []);
        assert_eq!(journal.sampled(10_000, &reading(0, None)), [entry(10_000, 99, vec![])]);
        assert_eq!(journal.sampled(10_100, &reading(3, None)), [entry(10_100, 0, vec![figures(vec![(0, Some(3))])])]);
    }

    #[test]
    fn when_the_recorder_was_not_at_work_can_be_seen() {
        let mut journal = Journal::new(100);
        journal.sampled(0, &reading(0, None));
        journal.sampled(100, &reading(0, None));
        journal.sampled(200, &reading(0, None));
        let late = journal.sampled(60_000, &reading(0, None));
        assert_eq!(late, [entry(200, 1, vec![]), entry(60_000, 0, vec![])]);
        journal.sampled(60_100, &reading(0, None));
        let end = Entry::Ended { at_ms: 60_150, why: "so".to_owned() };
        assert_eq!(journal.finish(60_150, "so"), [entry(60_100, 0, vec![]), end]);
    }

    #[test]
    fn what_could_not_be_read_is_not_what_it_was() {
        let mut journal = Journal::new(100);
        journal.sampled(0, &reading(2, None));
        assert_eq!(journal.failed(100), [entry(100, 0, vec![Item::Unread { number: 0 }])]);
        assert_eq!(journal.failed(200), []);
        assert_eq!(journal.sampled(300, &reading(2, None)), [entry(300, 1, vec![figures(vec![])])]);
    }

    #[test]
    fn who_stands_in_an_empty_queue_is_known_without_a_look() {
        let mut journal = Journal::new(100);
        let counts = Counts {
            queued: 2,
            limit: 5,
            syn_recv: Some(1),
            queued_closed: 2,
            oldest_wait: Some(Duration::from_millis(40)),
            sockets: 1,
            ..Counts::default()
        };
        journal.sampled(0, &reading(2, Some(counts)));
        let emptied = figures(vec![(0, Some(0)), (5, Some(0)), (8, None)]);
        assert_eq!(journal.sampled(100, &reading(0, None)), [entry(100, 0, vec![emptied])]);
    }

    #[test]
    fn a_clock_that_is_set_is_told_once() {
        let mut journal = Journal::new(100);
        journal.sampled(0, &reading(0, None));
        let quiet = Told { at: Duration::from_millis(100), outcome: Outcome::Ended, events: &[] };
        assert_eq!(journal.told(100, BEGAN + 499, &quiet), []);
        let clock = Item::Clock { epoch_ms: BEGAN + 501 };
        assert_eq!(journal.told(200, BEGAN + 501, &quiet), [entry(200, 1, vec![clock])]);
        assert_eq!(journal.told(300, BEGAN + 501, &quiet), []);
    }
}
