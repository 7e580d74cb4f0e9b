//! Entries of a recording, one after the other -> what the page draws. Pure, and bounded whatever the recording holds.

use std::collections::HashMap;

use accept_queue_core::detector::Condition;
use serde::Serialize;

use super::bins::{MOST_BINS, Series, Sums};
use crate::condition;
use crate::recording::{Entry, FIGURES, Figures, Item, Process, Sample, is_hole};

/// Listeners that come when there are so many are not kept.
const MOST_LISTENERS: usize = 500;
/// The same for conditions of one listener, runs, holes and sentences.
const MOST_SPANS: usize = 500;

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
                    (self.from, self.to, self.state.now) = (epoch_ms, epoch_ms, epoch_ms);
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
        self.state.epoch_ms.saturating_add(self.state.at_ms)
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

    /// What somebody should see first.
    fn gravity(&self) -> f64 {
        let held = self.conditions.first.len() as f64 * 1000.0;
        held + self.worst.map_or(0.0, |worst| worst.fill()) + if self.dropped_in_all > 0 { 100.0 } else { 0.0 }
    }
}

impl Worst {
    fn fill(&self) -> f64 {
        self.queued as f64 / (self.limit as f64 + 1.0)
    }
}
