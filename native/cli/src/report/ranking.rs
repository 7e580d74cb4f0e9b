//! Which of the recorded listeners the page draws: the first reading of a recording, before [`super::timeline`] draws them in
//! the second. Pure, and bounded whatever the recording holds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::rc::Rc;

use accept_queue_core::rules::check::{Severity, Trouble};
use accept_queue_core::rules::detector::Condition;

use super::choice::Choice;
use super::clock::Clock;
use crate::recording::{Entry, Item, QUEUED, RecordedOwner};

/// Listeners that are drawn: those that had the gravest conditions, then those where most waited, then by address.
pub(super) const MOST_LISTENERS: usize = 500;

/// Listeners that are compared. Where there are more, the closed ones that had no condition make room.
const MOST_COMPARED: usize = 50_000;

/// `record` keeps 1024 bytes of an address; a longer one is one with what begins alike.
const LONGEST_ADDRESS: usize = 1024;

/// Names or addresses that a refusal shows.
const MOST_OTHERS: usize = 5;
const LONGEST_OTHER: usize = 100;

/// Namespace and address: what a listener is over all runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) namespace: u64,
    pub(super) address: String,
}

impl Place {
    pub(super) fn new(namespace: u64, mut address: String) -> Place {
        address.truncate(address.floor_char_boundary(LONGEST_ADDRESS));
        address.shrink_to_fit();
        Place { namespace, address }
    }
}

/// The worst of a listener so far.
#[derive(Debug, Clone, Copy)]
struct Score {
    gravest: Severity,
    most_queued: u64,
    is_open: bool,
    /// At the last reading.
    queued: u64,
    held: [bool; Condition::ALL.len()],
}

impl Score {
    /// It is closed, and nothing was wrong with it.
    fn is_idle(&self) -> bool {
        !self.is_open && self.gravest == Severity::Ok
    }

    fn hold(&mut self, condition: Condition, is_held: bool) {
        if let Some(index) = Condition::ALL.iter().position(|known| *known == condition) {
            self.held[index] = is_held;
        }
    }
}

/// The score of each listener.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    scores: HashMap<Rc<Place>, Score>,
    /// By the numbers of this run.
    numbers: HashMap<u64, Rc<Place>>,
    idle: usize,
    /// That are not compared any more, or never were.
    passed_over: u64,
    choice: Choice,
    clock: Clock,
    /// Whether the chosen time has begun.
    has_begun: bool,
    /// Of listeners that were not chosen: the first names, or addresses.
    others: BTreeSet<String>,
}

/// The listeners that are drawn.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// In the order of the page.
    pub(super) places: Vec<Place>,
    /// Listeners that are not drawn. One that was passed over counts each time that it comes again.
    pub(super) left_out: u64,
}

impl Ranking {
    pub(super) fn new(choice: Choice) -> Ranking {
        Ranking { choice, ..Ranking::default() }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        let passed = self.clock.follow(&entry);
        let now = self.clock.span().map_or(0, |(_, now)| now);
        let is_over = now > self.choice.to;
        if passed.is_hole && is_over && !self.has_begun {
            self.end_run();
        }
        match entry {
            Entry::Sample(sample) => {
                self.begin(now);
                if !is_over {
                    sample.items.into_iter().for_each(|item| self.item(item));
                }
            }
            Entry::Begun { .. } => {
                self.end_run();
                self.begin(now);
            }
            Entry::Ended { .. } => {
                self.begin(now);
                self.end_run();
            }
        }
    }

    /// The chosen time begins with what is open then, and with what is queued and held.
    fn begin(&mut self, now: u64) {
        if self.has_begun || now < self.choice.from {
            return;
        }
        self.has_begun = true;
        for score in self.scores.values_mut() {
            score.most_queued = score.queued;
            let held = Condition::ALL.into_iter().zip(score.held).filter(|(_, is_held)| *is_held);
            score.gravest = Severity::of(held.map(|(condition, _)| condition));
        }
    }

    fn end_run(&mut self) {
        for (_, place) in mem::take(&mut self.numbers) {
            self.gone(&place);
        }
    }

    /// The first and the last moment of the recording.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.clock.span()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_begun || self.scores.is_empty()
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// After the last entry.
    pub(super) fn choose(self) -> Chosen {
        let all = self.scores.len();
        let best = best(self.scores.into_iter().collect(), MOST_LISTENERS);
        let left_out = self.passed_over + (all - best.len()) as u64;
        Chosen { places: best.into_iter().map(|(place, _)| Rc::unwrap_or_clone(place)).collect(), left_out }
    }

    fn item(&mut self, item: Item) {
        match item {
            Item::Listener { number, namespace, address, owners } => {
                if self.choice.takes(&address, &owners) {
                    self.declared(number, Place::new(namespace, address));
                } else {
                    self.not_chosen(number, address, owners);
                }
            }
            Item::Figures { number, changed } => {
                let queued = changed.iter().filter(|(figure, _)| *figure == QUEUED).filter_map(|(_, value)| *value);
                for queued in queued {
                    self.with(number, |score| {
                        (score.queued, score.most_queued) = (queued, score.most_queued.max(queued));
                    });
                }
            }
            Item::Raised { number, condition, .. } => {
                let severity = Trouble::Condition(condition).severity();
                self.with(number, |score| {
                    score.gravest = score.gravest.max(severity);
                    score.hold(condition, true);
                });
            }
            Item::Cleared { number, condition, .. } => self.with(number, |score| score.hold(condition, false)),
            Item::Gone { number } => {
                if let Some(place) = self.numbers.remove(&number) {
                    self.gone(&place);
                }
            }
            Item::Unread { .. } | Item::Unreadable(_) | Item::Clock { .. } => {}
        }
    }

    /// A listener of others from here on, if it was not before.
    fn not_chosen(&mut self, number: u64, address: String, owners: Vec<RecordedOwner>) {
        if let Some(place) = self.numbers.remove(&number) {
            self.gone(&place);
        }
        let others =
            if self.choice.names_node() { owners.into_iter().map(|owner| owner.name).collect() } else { vec![address] };
        for other in others {
            if self.others.len() < MOST_OTHERS {
                self.others.insert(other.chars().take(LONGEST_OTHER).collect());
            }
        }
    }

    fn declared(&mut self, number: u64, place: Place) {
        if !self.scores.contains_key(&place) && !self.make_room() {
            self.passed_over += 1;
            self.numbers.remove(&number);
            return;
        }
        let place = Rc::new(place);
        let place = self.scores.get_key_value(&place).map_or(place, |(known, _)| Rc::clone(known));
        let new = Score {
            gravest: Severity::Ok,
            most_queued: 0,
            is_open: true,
            queued: 0,
            held: [false; Condition::ALL.len()],
        };
        let score = self.scores.entry(Rc::clone(&place)).or_insert(new);
        self.idle -= usize::from(score.is_idle());
        score.is_open = true;
        // A recorder gives each listener one number.
        if self.numbers.len() < MOST_COMPARED || self.numbers.contains_key(&number) {
            self.numbers.insert(number, place);
        }
    }

    fn with(&mut self, number: u64, change: impl FnOnce(&mut Score)) {
        let score = self.numbers.get(&number).and_then(|place| self.scores.get_mut(place));
        if let Some(score) = score.filter(|score| score.is_open) {
            change(score);
        }
    }

    fn gone(&mut self, place: &Place) {
        if !self.has_begun {
            self.scores.remove(place);
        } else if let Some(score) = self.scores.get_mut(place).filter(|score| score.is_open) {
            score.is_open = false;
            (score.queued, score.held) = (0, [false; Condition::ALL.len()]);
            self.idle += usize::from(score.is_idle());
        }
    }

    /// Whether there is room for one more. It is made for many at a time, so that it costs little for each.
    fn make_room(&mut self) -> bool {
        if self.scores.len() < MOST_COMPARED {
            return true;
        }
        if self.idle < MOST_COMPARED / 4 {
            return false;
        }
        let idle = self.scores.extract_if(|_, score| score.is_idle()).collect();
        let kept = best(idle, MOST_LISTENERS);
        self.passed_over += (self.idle - kept.len()) as u64;
        self.idle = kept.len();
        self.scores.extend(kept);
        true
    }
}

/// The first of them in the order of the page.
fn best(mut all: Vec<(Rc<Place>, Score)>, most: usize) -> Vec<(Rc<Place>, Score)> {
    all.sort_unstable_by(|(place, score), (other_place, other)| {
        let worst = |score: &Score| Reverse((score.gravest, score.most_queued));
        // Addresses first: the number of a namespace says nothing to a reader.
        let by_address = |place: &Rc<Place>, other: &Rc<Place>| {
            (&place.address, place.namespace).cmp(&(&other.address, other.namespace))
        };
        worst(score).cmp(&worst(other)).then_with(|| by_address(place, other_place))
    });
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::SampleEntry;

    fn listener(number: u64, address: String) -> Item {
        Item::Listener { number, namespace: 1, address, owners: vec![] }
    }

    fn queued(number: u64, queued: u64) -> Item {
        Item::Figures { number, changed: vec![(QUEUED, Some(queued))] }
    }

    fn raised(number: u64, condition: Condition) -> Item {
        Item::Raised { number, condition, held_ms: 0 }
    }

    fn ranking(samples: impl IntoIterator<Item = Vec<Item>>) -> Ranking {
        let mut ranking = Ranking::default();
        ranking.add(Entry::Begun {
            epoch_ms: 0,
            interval_ms: 100,
            version: String::new(),
            host: String::new(),
            scope: String::new(),
        });
        for items in samples {
            ranking.add(Entry::Sample(SampleEntry { at_ms: 0, quiet: 0, items }));
        }
        ranking
    }

    #[test]
    fn the_gravest_condition_comes_first_then_the_deepest_queue_then_the_address() {
        let named = ["d", "c", "b", "a", "deep", "leaking", "stuck"];
        let listeners = (0..).zip(named).map(|(number, name)| listener(number, name.to_owned())).collect();
        let worse = vec![
            queued(4, 9),
            queued(4, 0),
            raised(5, Condition::Leaking),
            queued(5, 1),
            raised(6, Condition::Stuck),
            Item::Cleared { number: 6, condition: Condition::Stuck, lasted_ms: 1 },
        ];
        let Chosen { places, left_out } = ranking([listeners, worse]).choose();
        let in_order: Vec<_> = places.iter().map(|place| place.address.as_str()).collect();
        assert_eq!((in_order, left_out), (vec!["stuck", "leaking", "deep", "a", "b", "c", "d"], 0));
    }

    #[test]
    fn listeners_that_come_and_go_leave_room_for_those_that_stay() {
        let come_and_go = (0..3 * MOST_COMPARED as u64)
            .map(|number| vec![listener(number, format!("a:{number}")), Item::Gone { number }]);
        let last = vec![listener(u64::MAX, "z:1".to_owned()), raised(u64::MAX, Condition::Stuck)];
        let ranking = ranking(come_and_go.chain([last]));
        assert!(ranking.scores.len() <= MOST_COMPARED && ranking.idle < ranking.scores.len());
        let Chosen { places, left_out } = ranking.choose();
        assert_eq!((places.len(), &places[0]), (MOST_LISTENERS, &Place::new(1, "z:1".to_owned())));
        assert_eq!(left_out, 3 * MOST_COMPARED as u64 + 1 - MOST_LISTENERS as u64);
    }

    #[test]
    fn more_than_are_compared_at_a_time_are_counted() {
        let more = MOST_COMPARED as u64 + 7;
        let ranking = ranking([(0..more).map(|number| listener(number, format!("a:{number}"))).collect()]);
        assert_eq!((ranking.scores.len(), ranking.numbers.len()), (MOST_COMPARED, MOST_COMPARED));
        assert_eq!(ranking.choose().left_out, more - MOST_LISTENERS as u64);
    }
}
