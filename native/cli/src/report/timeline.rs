//! Entries of a recording, one after the other -> what the page draws. Pure, and bounded whatever the recording holds.

use std::collections::HashMap;

use accept_queue_core::rules::detector::Condition;
use serde::Serialize;

use super::bins::{MOST_BINS, Series, Sums};
use crate::condition;
use crate::recording::{Entry, FIGURES, Figures, Item, Process, Sample, is_hole};

/// Listeners that come when there are so many are not kept.
const MOST_LISTENERS: usize = 500;
/// The same for conditions of one listener, runs, holes and sentences.
const MOST_SPANS: usize = 500;

/// The end of the year 9999: no date has more than four digits.
pub(super) const LATEST_MS: u64 = 253_402_300_799_999;

/// Everything the page shows; its words are those of the contract.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Timeline {
    schema: u32,
    /// The name of the file.
    source: String,
    /// Of the last run.
    host: String,
    scope: String,
    version: String,
    interval_ms: u64,
    /// Milliseconds since the epoch.
    from: u64,
    to: u64,
    /// Of a step.
    step_ms: u64,
    /// Something of the file behind this could not be read.
    torn_bytes: u64,
    runs: Spans<Run>,
    /// When nobody recorded.
    holes: Spans<Hole>,
    unreadable: Spans<Note>,
    /// What a watchdog has found, for a person.
    found: Vec<String>,
    listeners: Vec<Track>,
    /// There were others, which are not kept.
    has_more_listeners: bool,
    #[serde(skip)]
    state: State,
}

/// The first of them, and how many more there were.
#[derive(Debug, Serialize)]
struct Spans<T> {
    first: Vec<T>,
    more: u64,
}

#[derive(Debug, Serialize)]
struct Run {
    from: u64,
    /// `None`: how it ended is not recorded.
    ended: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hole {
    from: u64,
    to: u64,
}

#[derive(Debug, Serialize)]
struct Note {
    at: u64,
    text: String,
}

/// One listener over all of it.
#[derive(Debug, Serialize)]
struct Track {
    address: String,
    namespace: u64,
    owners: Vec<Owner>,
    worst: Option<Worst>,
    longest_wait_ms: Option<u64>,
    most_close_wait: Option<u64>,
    dropped_in_all: u64,
    conditions: Spans<Held>,
    queued: Series,
    limit: Series,
    /// Of the queued: the client has closed or reset.
    left: Series,
    oldest_wait_ms: Series,
    close_wait: Series,
    dropped: Sums,
    #[serde(skip)]
    now: Figures,
    #[serde(skip)]
    is_read: bool,
}

#[derive(Debug, Serialize)]
struct Owner {
    pid: u64,
    name: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Worst {
    at: u64,
    queued: u64,
    limit: u64,
}

#[derive(Debug, Serialize)]
struct Held {
    condition: &'static str,
    from: u64,
    /// `None`: it held at the end of what is recorded.
    to: Option<u64>,
    #[serde(skip)]
    is_open: bool,
}

/// Where in the recording we are.
#[derive(Debug, Default)]
struct State {
    /// Of this run, when the clock shows 0 ms.
    epoch_ms: u64,
    /// Of the last entry.
    at_ms: u64,
    /// The same, since the epoch.
    now: u64,
    has_begun: bool,
    /// By the numbers of this run.
    numbers: HashMap<u64, usize>,
    /// By namespace and address.
    known: HashMap<(u64, String), usize>,
}

impl<T> Default for Spans<T> {
    fn default() -> Spans<T> {
        Spans { first: Vec::new(), more: 0 }
    }
}

impl<T> Spans<T> {
    fn push(&mut self, one: T) {
        if self.first.len() < MOST_SPANS { self.first.push(one) } else { self.more += 1 }
    }
}

impl Timeline {
    pub(crate) fn new(source: String) -> Timeline {
        Timeline { schema: crate::figures::SCHEMA, source, step_ms: 1, ..Timeline::default() }
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { epoch_ms, interval_ms, version, host, scope } => {
                (self.host, self.scope, self.version) = (host, scope, version);
                self.interval_ms = interval_ms;
                self.end_run();
                let before = self.state.now;
                (self.state.epoch_ms, self.state.at_ms) = (epoch_ms, 0);
                if self.state.has_begun {
                    self.clock();
                    self.holes.push(Hole { from: before, to: self.state.now });
                } else {
                    self.state.has_begun = true;
                    let now = self.epoch_now();
                    (self.from, self.to, self.state.now) = (now, now, now);
                }
                self.runs.push(Run { from: self.state.now, ended: None });
            }
            Entry::Sample(sample) => self.sample(sample),
            Entry::Ended { at_ms, why } => {
                self.state.at_ms = at_ms;
                self.clock();
                if let Some(run) = self.runs.first.last_mut()
                    && self.runs.more == 0
                {
                    run.ended = Some(why);
                }
                self.end_run();
            }
        }
    }

    pub(crate) fn found(&mut self, found: Vec<String>) {
        self.found = found;
        self.found.truncate(MOST_SPANS);
    }

    /// There is no more. What was worst comes first.
    pub(crate) fn finish(mut self, torn_bytes: u64) -> Timeline {
        self.torn_bytes = torn_bytes;
        self.listeners.sort_by(|one, other| other.gravity().total_cmp(&one.gravity()));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.state.has_begun
    }

    fn sample(&mut self, Sample { at_ms, quiet, items }: Sample) {
        let passed = at_ms.saturating_sub(self.state.at_ms);
        let before = self.state.now;
        // The clock may be set by this very sample.
        for item in &items {
            if let Item::Clock { epoch_ms } = item {
                self.state.epoch_ms = *epoch_ms;
            }
        }
        self.state.at_ms = at_ms;
        let is_late = quiet == 0 && is_hole(self.interval_ms, passed);
        let has_slept =
            self.epoch_now().saturating_sub(before) > passed && is_hole(self.interval_ms, self.epoch_now() - before);
        if is_late || has_slept && quiet == 0 {
            let step = self.step();
            self.listeners.iter_mut().for_each(|track| track.hide(step));
            self.clock();
            self.holes.push(Hole { from: before, to: self.state.now });
            let step = self.step();
            self.listeners.iter_mut().filter(|track| track.is_read).for_each(|track| track.show(step));
        } else {
            self.clock();
        }
        items.into_iter().for_each(|item| self.item(item));
    }

    fn item(&mut self, item: Item) {
        let (now, step) = (self.state.now, self.step());
        match item {
            Item::Listener { number, namespace, address, owners } => self.declared(number, namespace, address, owners),
            Item::Figures { number, changed } => self.with(number, |track| track.changed(now, step, &changed)),
            Item::Unread { number } => self.with(number, |track| track.unread(step)),
            Item::Raised { number, condition, .. } => self.with(number, |track| track.raised(now, condition)),
            Item::Cleared { number, condition, .. } => self.with(number, |track| track.cleared(now, condition)),
            Item::Gone { number } => {
                self.with(number, |track| track.gone(now, step));
                self.state.numbers.remove(&number);
            }
            Item::Unreadable(text) => self.unreadable.push(Note { at: now, text }),
            Item::Clock { .. } => {}
        }
    }

    fn declared(&mut self, number: u64, namespace: u64, address: String, owners: Vec<Process>) {
        let place = (namespace, address);
        let index = match self.state.known.get(&place) {
            Some(index) => *index,
            None if self.listeners.len() == MOST_LISTENERS => {
                self.has_more_listeners = true;
                self.state.numbers.remove(&number);
                return;
            }
            None => {
                let (namespace, address) = place.clone();
                self.listeners.push(Track::new(namespace, address));
                self.state.known.insert(place, self.listeners.len() - 1);
                self.listeners.len() - 1
            }
        };
        self.listeners[index].owners = owners.into_iter().map(|Process { pid, name }| Owner { pid, name }).collect();
        // A recorder gives each one number.
        if self.state.numbers.len() < MOST_LISTENERS || self.state.numbers.contains_key(&number) {
            self.state.numbers.insert(number, index);
        }
    }

    /// Of one that is counted only, nothing is kept.
    fn with(&mut self, number: u64, change: impl FnOnce(&mut Track)) {
        if let Some(index) = self.state.numbers.get(&number) {
            change(&mut self.listeners[*index]);
        }
    }

    /// Nothing is known from here to the next run.
    fn end_run(&mut self) {
        let (now, step) = (self.state.now, self.step());
        for track in &mut self.listeners {
            track.unread(step);
            track.now = Figures::default();
            track.close(now, true);
        }
        self.state.numbers.clear();
    }

    fn epoch_now(&self) -> u64 {
        self.state.epoch_ms.saturating_add(self.state.at_ms).min(LATEST_MS)
    }

    /// It is now as late as the last entry says. A clock that was set back does not make anything happen before what has been.
    fn clock(&mut self) {
        self.state.now = self.epoch_now().max(self.state.now);
        self.to = self.state.now;
        while (self.to - self.from) / self.step_ms >= MOST_BINS {
            self.step_ms *= 2;
            self.listeners.iter_mut().for_each(Track::halve);
        }
    }

    fn step(&self) -> u64 {
        (self.state.now - self.from) / self.step_ms
    }
}

const QUEUED: usize = 0;
const LIMIT: usize = 1;
const DROPS: usize = 2;
const CLOSED: usize = 5;
const RESET: usize = 6;
const OLDEST: usize = 8;
const CLOSE_WAIT: usize = 10;

impl Track {
    fn new(namespace: u64, address: String) -> Track {
        Track {
            address,
            namespace,
            owners: Vec::new(),
            worst: None,
            longest_wait_ms: None,
            most_close_wait: None,
            dropped_in_all: 0,
            conditions: Spans::default(),
            queued: Series::default(),
            limit: Series::default(),
            left: Series::default(),
            oldest_wait_ms: Series::default(),
            close_wait: Series::default(),
            dropped: Sums::default(),
            now: Figures::default(),
            is_read: false,
        }
    }

    fn changed(&mut self, at: u64, step: u64, changed: &[(usize, Option<u64>)]) {
        let drops_before = self.now[DROPS];
        for (figure, value) in changed.iter().filter(|(figure, _)| *figure < FIGURES.len()) {
            self.now[*figure] = *value;
        }
        self.is_read = true;
        self.show(step);
        let [queued, limit, oldest, close_wait] = [QUEUED, LIMIT, OLDEST, CLOSE_WAIT].map(|figure| self.now[figure]);
        if let (Some(queued), Some(limit)) = (queued, limit)
            && queued > 0
        {
            let now = Worst { at, queued, limit };
            if self.worst.is_none_or(|worst| worst.fill() < now.fill()) {
                self.worst = Some(now);
            }
        }
        self.longest_wait_ms = self.longest_wait_ms.max(oldest);
        self.most_close_wait = self.most_close_wait.max(close_wait);
        if let (Some(before), Some(after)) = (drops_before, self.now[DROPS]) {
            let dropped = after.saturating_sub(before);
            self.dropped.add(step, dropped);
            self.dropped_in_all = self.dropped_in_all.saturating_add(dropped);
        }
    }

    /// What is known of it holds from here on.
    fn show(&mut self, step: u64) {
        self.queued.set(step, self.now[QUEUED]);
        self.limit.set(step, self.now[LIMIT]);
        let left = self.now[CLOSED].zip(self.now[RESET]).map(|(closed, reset)| closed.saturating_add(reset));
        self.left.set(step, left);
        self.oldest_wait_ms.set(step, self.now[OLDEST]);
        self.close_wait.set(step, self.now[CLOSE_WAIT]);
    }

    fn hide(&mut self, step: u64) {
        for series in self.series() {
            series.set(step, None);
        }
    }

    fn unread(&mut self, step: u64) {
        self.is_read = false;
        self.hide(step);
    }

    /// Another that listens there begins anew.
    fn gone(&mut self, at: u64, step: u64) {
        self.unread(step);
        self.now = Figures::default();
        self.close(at, false);
    }

    fn raised(&mut self, at: u64, condition: Condition) {
        self.conditions.push(Held { condition: condition::name(condition), from: at, to: None, is_open: true });
    }

    fn cleared(&mut self, at: u64, condition: Condition) {
        let name = condition::name(condition);
        for held in self.conditions.first.iter_mut().filter(|held| held.is_open && held.condition == name) {
            (held.to, held.is_open) = (Some(at), false);
        }
    }

    /// What still holds holds no longer, or it is not known whether it does.
    fn close(&mut self, at: u64, is_unknown: bool) {
        for held in self.conditions.first.iter_mut().filter(|held| held.is_open) {
            held.to = Some(at).filter(|_| !is_unknown);
            held.is_open = false;
        }
    }

    fn halve(&mut self) {
        self.series().into_iter().for_each(Series::halve);
        self.dropped.halve();
    }

    fn series(&mut self) -> [&mut Series; 5] {
        [&mut self.queued, &mut self.limit, &mut self.left, &mut self.oldest_wait_ms, &mut self.close_wait]
    }

    /// What somebody should see first: who overflowed or stood still, dropped anything, had anything else wrong; then who was the fullest.
    fn gravity(&self) -> f64 {
        let held = &self.conditions.first;
        let has_failed = held.iter().any(|held| matches!(held.condition, "overflowing" | "stuck"));
        let is = |gravity: f64, holds: bool| if holds { gravity } else { 0.0 };
        is(1e9, has_failed)
            + is(1e8, self.dropped_in_all > 0)
            + is(1e7, !held.is_empty())
            + self.worst.map_or(0.0, |worst| worst.fill())
    }
}

impl Worst {
    fn fill(&self) -> f64 {
        self.queued as f64 / (self.limit as f64 + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::recording::tests::entries;

    proptest! {
        #[test]
        fn whatever_is_recorded_can_be_drawn(entries in vec(entries(), 0..30)) {
            let timeline = drawn(entries);
            let (from, to, step) = (&timeline["from"], &timeline["to"], &timeline["step_ms"]);
            let steps = (to.as_u64().expect("a time") - from.as_u64().expect("a time")) / step.as_u64().expect("a time");
            prop_assert!(steps < MOST_BINS && to.as_u64() <= Some(LATEST_MS));
        }
    }

    const EPOCH: u64 = 1_764_000_000_000;

    fn begun(epoch_ms: u64) -> Entry {
        let [version, host, scope] = ["0.1.0", "vm", "every BEAM"].map(str::to_owned);
        Entry::Begun { epoch_ms, interval_ms: 100, version, host, scope }
    }

    fn sample(at_ms: u64, quiet: u64, items: Vec<Item>) -> Entry {
        Entry::Sample(Sample { at_ms, quiet, items })
    }

    fn listener(number: u64, address: &str) -> Item {
        let owners = vec![Process { pid: 4711, name: "shop@vm".to_owned() }];
        Item::Listener { number, namespace: 1, address: address.to_owned(), owners }
    }

    fn depth(number: u64, queued: u64, limit: u64, drops: u64) -> Item {
        let changed = vec![(QUEUED, Some(queued)), (LIMIT, Some(limit)), (DROPS, Some(drops))];
        Item::Figures { number, changed }
    }

    fn looked(closed: u64, oldest: u64, close_wait: u64) -> Item {
        let changed =
            vec![(CLOSED, Some(closed)), (RESET, Some(0)), (OLDEST, Some(oldest)), (CLOSE_WAIT, Some(close_wait))];
        Item::Figures { number: 0, changed }
    }

    fn drawn(entries: Vec<Entry>) -> Value {
        let mut timeline = Timeline::new("a.aq".to_owned());
        entries.into_iter().for_each(|entry| timeline.add(entry));
        serde_json::to_value(timeline.finish(0)).expect("JSON")
    }

    #[test]
    fn a_queue_that_fills_is_drawn_with_its_limit_its_wait_its_drops_and_what_held() {
        let condition = Condition::Overflowing;
        let timeline = drawn(vec![
            begun(EPOCH),
            sample(0, 0, vec![listener(0, "0.0.0.0:8080"), depth(0, 0, 30, 500)]),
            sample(
                200,
                1,
                vec![depth(0, 31, 30, 507), looked(3, 250, 2), Item::Raised { number: 0, condition, held_ms: 0 }],
            ),
            sample(600, 3, vec![depth(0, 0, 30, 507), Item::Cleared { number: 0, condition, lasted_ms: 400 }]),
            Entry::Ended { at_ms: 700, why: "it was to end".to_owned() },
        ]);
        assert_eq!(
            (&timeline["from"], &timeline["to"], &timeline["step_ms"]),
            (&json!(EPOCH), &json!(EPOCH + 700), &json!(1))
        );
        let track = &timeline["listeners"][0];
        assert_eq!(track["queued"], json!([[0, 0], [200, 0, 31, 31], [600, 0, 31, 0], [700, 0, 0, null]]));
        assert_eq!(track["left"], json!([[200, 3], [700, 3, 3, null]]));
        assert_eq!(track["oldest_wait_ms"], json!([[200, 250], [700, 250, 250, null]]));
        assert_eq!(track["dropped"], json!([[200, 7]]), "not what was dropped before anybody looked");
        assert_eq!((&track["dropped_in_all"], &track["most_close_wait"]), (&json!(7), &json!(2)));
        assert_eq!(track["worst"], json!({"at": EPOCH + 200, "queued": 31, "limit": 30}));
        let held = json!([{"condition": "overflowing", "from": EPOCH + 200, "to": EPOCH + 600}]);
        assert_eq!(track["conditions"]["first"], held);
        assert_eq!(timeline["runs"]["first"][0]["ended"], "it was to end");
    }

    #[test]
    fn what_nobody_read_is_not_drawn() {
        let at = |at_ms, quiet| sample(at_ms, quiet, vec![]);
        let begin = || vec![begun(EPOCH), sample(0, 0, vec![listener(0, "a:1"), depth(0, 3, 5, 0)])];
        for (sentence, rest, queued) in [
            ("nothing changes", vec![at(10_000, 99), at(20_000, 99)], json!([[0, 3]])),
            ("the recorder was stopped", vec![at(9000, 0)], json!([[0, 3, 3, null], [1125, 3]])),
            (
                "it could not be read",
                vec![sample(1, 0, vec![Item::Unread { number: 0 }])],
                json!([[0, 3], [1, 3, 3, null]]),
            ),
            (
                "the machine slept, and the clock shows it",
                vec![sample(100, 0, vec![Item::Clock { epoch_ms: EPOCH + 9000 }])],
                json!([[0, 3, 3, null], [1137, 3]]),
            ),
            (
                "the clock was set back: time stands still until it is later",
                vec![
                    sample(100, 0, vec![Item::Clock { epoch_ms: EPOCH - 9000 }]),
                    sample(200, 0, vec![depth(0, 4, 5, 0)]),
                ],
                json!([[0, 3, 4, 4]]),
            ),
            (
                "closed, and opened anew",
                vec![
                    sample(1, 0, vec![Item::Gone { number: 0 }]),
                    sample(2, 0, vec![listener(1, "a:1"), depth(1, 1, 5, 0)]),
                ],
                json!([[0, 3], [1, 3, 3, null], [2, 1]]),
            ),
            (
                "another run",
                vec![begun(EPOCH + 10), sample(1, 0, vec![listener(7, "a:1"), depth(7, 1, 5, 0)])],
                json!([[0, 3, 3, null], [11, 1]]),
            ),
        ] {
            let timeline = drawn([begin(), rest].concat());
            assert_eq!(timeline["listeners"].as_array().map(Vec::len), Some(1), "{sentence}");
            assert_eq!(timeline["listeners"][0]["queued"], queued, "{sentence}");
        }
    }

    #[test]
    fn a_week_is_no_larger_than_an_hour_and_keeps_its_peaks() {
        let mut entries = vec![begun(EPOCH), sample(0, 0, vec![listener(0, "a:1"), depth(0, 0, 900, 0)])];
        let second = |second: u64| {
            sample(second * 1000, 9, vec![depth(0, if second == 400_000 { 777 } else { second % 3 }, 900, second)])
        };
        entries.extend((1..=604_800).map(second));
        let timeline = drawn(entries);
        let track = &timeline["listeners"][0];
        let [queued, dropped] = ["queued", "dropped"].map(|name| track[name].as_array().expect("a series"));
        assert!((600..=1200).contains(&queued.len()) && (600..=1200).contains(&dropped.len()), "{}", queued.len());
        assert!(queued.iter().any(|step| step[2] == 777), "the peak");
        assert_eq!(dropped.iter().filter_map(|step| step[1].as_u64()).sum::<u64>(), 604_800);
    }

    #[test]
    fn a_recording_that_lies_costs_nothing() {
        let many = (0..10_000).map(|number| listener(number, &format!("a:{number}"))).collect();
        let held = (0..10_000).map(|_| Item::Raised { number: 0, condition: Condition::Stuck, held_ms: 0 }).collect();
        let timeline = drawn(vec![
            sample(5, 5, vec![depth(9, 1, 1, 1)]),
            begun(EPOCH),
            sample(u64::MAX, u64::MAX, many),
            sample(0, 0, held),
            begun(0),
            Entry::Ended { at_ms: u64::MAX, why: String::new() },
        ]);
        assert_eq!(timeline["listeners"].as_array().map(Vec::len), Some(MOST_LISTENERS));
        assert_eq!(timeline["has_more_listeners"], true);
        let conditions = &timeline["listeners"][0]["conditions"];
        assert_eq!(
            (conditions["first"].as_array().map(Vec::len), &conditions["more"]),
            (Some(MOST_SPANS), &json!(9500))
        );
    }
}
