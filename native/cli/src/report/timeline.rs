//! The entries of a recording, in order -> what the page draws. Pure, and bounded whatever the recording holds.

use std::collections::HashMap;

use serde::Serialize;

use super::bins::MOST_BINS;
use super::bounded::{Bounded, MOST_ENTRIES};
use super::ranking::{Chosen, MOST_LISTENERS, Place};
use super::track::{Track, TrackOwner};
use crate::output::printable;
use crate::recording::{Entry, Item, RecordedOwner, SampleEntry, is_hole};

/// Later owners of a listener are left out. A server that forks has as many as processors.
const MOST_OWNERS: usize = 200;

/// The end of the year 9999: no date has more than four digits.
pub(super) const LATEST_MS: u64 = 253_402_300_799_999;

/// Everything the page shows, under the names of the contract.
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
    step_ms: u64,
    /// Bytes at the end of the file that are no intact entry.
    torn_bytes: u64,
    runs: Bounded<RecordedRun>,
    /// Times that are not recorded.
    holes: Bounded<Hole>,
    unreadable: Bounded<Note>,
    /// The findings of a watchdog, as text.
    found: Vec<String>,
    /// The chosen ones, in the order of the page.
    listeners: Vec<Track>,
    /// Listeners that were not chosen.
    left_out: u64,
    #[serde(skip)]
    position: Position,
}

#[derive(Debug, Serialize)]
struct RecordedRun {
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

/// The current position in the recording.
#[derive(Debug, Default)]
struct Position {
    /// At 0 ms of this run.
    epoch_ms: u64,
    /// Of the last entry.
    at_ms: u64,
    /// The same in milliseconds since the epoch.
    now: u64,
    has_begun: bool,
    /// By the numbers of this run.
    numbers: HashMap<u64, usize>,
    chosen: HashMap<Place, usize>,
}

impl Timeline {
    pub(super) fn new(source: String, Chosen { places, left_out }: Chosen) -> Timeline {
        let track = |place: &Place| Track::new(place.namespace, printable(&place.address));
        Timeline {
            schema: crate::figures::SCHEMA,
            source,
            step_ms: 1,
            listeners: places.iter().map(track).collect(),
            left_out,
            position: Position { chosen: places.into_iter().zip(0..).collect(), ..Position::default() },
            ..Timeline::default()
        }
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { epoch_ms, interval_ms, version, host, scope } => {
                (self.host, self.scope, self.version) = (printable(&host), printable(&scope), printable(&version));
                self.interval_ms = interval_ms;
                self.end_run();
                let before = self.position.now;
                (self.position.epoch_ms, self.position.at_ms) = (epoch_ms, 0);
                if self.position.has_begun {
                    self.clock();
                    self.holes.push(Hole { from: before, to: self.position.now });
                } else {
                    self.position.has_begun = true;
                    let now = self.epoch_now();
                    (self.from, self.to, self.position.now) = (now, now, now);
                }
                self.runs.push(RecordedRun { from: self.position.now, ended: None });
            }
            Entry::Sample(sample) => self.sample(sample),
            Entry::Ended { at_ms, why } => {
                self.position.at_ms = at_ms;
                self.clock();
                if let Some(run) = self.runs.first.last_mut()
                    && self.runs.more == 0
                {
                    run.ended = Some(printable(&why));
                }
                self.end_run();
            }
        }
    }

    pub(crate) fn found(&mut self, found: Vec<String>) {
        self.found = found.iter().take(MOST_ENTRIES).map(|text| printable(text)).collect();
    }

    /// After the last entry.
    pub(crate) fn finish(mut self, torn_bytes: u64) -> Timeline {
        self.torn_bytes = torn_bytes;
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.position.has_begun
    }

    fn sample(&mut self, SampleEntry { at_ms, quiet, items }: SampleEntry) {
        let passed = at_ms.saturating_sub(self.position.at_ms);
        let before = self.position.now;
        // The sample itself may set the clock.
        for item in &items {
            if let Item::Clock { epoch_ms } = item {
                self.position.epoch_ms = *epoch_ms;
            }
        }
        self.position.at_ms = at_ms;
        let is_late = quiet == 0 && is_hole(self.interval_ms, passed);
        let has_slept =
            self.epoch_now().saturating_sub(before) > passed && is_hole(self.interval_ms, self.epoch_now() - before);
        if is_late || has_slept && quiet == 0 {
            let step = self.step();
            self.listeners.iter_mut().for_each(|track| track.hide(step));
            self.clock();
            self.holes.push(Hole { from: before, to: self.position.now });
            let step = self.step();
            self.listeners.iter_mut().filter(|track| track.is_read).for_each(|track| track.show(step));
        } else {
            self.clock();
        }
        items.into_iter().for_each(|item| self.item(item));
    }

    fn item(&mut self, item: Item) {
        let (now, step) = (self.position.now, self.step());
        match item {
            Item::Listener { number, namespace, address, owners } => self.declared(number, namespace, address, owners),
            Item::Figures { number, changed } => self.with(number, |track| track.changed(now, step, &changed)),
            Item::Unread { number } => self.with(number, |track| track.unread(step)),
            Item::Raised { number, condition, .. } => self.with(number, |track| track.raised(now, condition)),
            Item::Cleared { number, condition, .. } => self.with(number, |track| track.cleared(now, condition)),
            Item::Gone { number } => {
                self.with(number, |track| track.gone(now, step));
                self.position.numbers.remove(&number);
            }
            Item::Unreadable(text) => self.unreadable.push(Note { at: now, text: printable(&text) }),
            Item::Clock { .. } => {}
        }
    }

    fn declared(&mut self, number: u64, namespace: u64, address: String, owners: Vec<RecordedOwner>) {
        let Some(&index) = self.position.chosen.get(&Place::new(namespace, address)) else {
            self.position.numbers.remove(&number);
            return;
        };
        self.listeners[index].owners = owners
            .into_iter()
            .map(|RecordedOwner { pid, name }| TrackOwner { pid, name: printable(&name) })
            .take(MOST_OWNERS)
            .collect();
        // A recorder gives each listener one number.
        if self.position.numbers.len() < MOST_LISTENERS || self.position.numbers.contains_key(&number) {
            self.position.numbers.insert(number, index);
        }
    }

    /// Does nothing where the listener was not chosen.
    fn with(&mut self, number: u64, change: impl FnOnce(&mut Track)) {
        if let Some(index) = self.position.numbers.get(&number) {
            change(&mut self.listeners[*index]);
        }
    }

    /// Nothing is known until the next run.
    fn end_run(&mut self) {
        let (now, step) = (self.position.now, self.step());
        for track in &mut self.listeners {
            track.end(now, step);
        }
        self.position.numbers.clear();
    }

    fn epoch_now(&self) -> u64 {
        self.position.epoch_ms.saturating_add(self.position.at_ms).min(LATEST_MS)
    }

    /// Moves to the time of the last entry. Where the clock was set back, time does not move until it is later again.
    fn clock(&mut self) {
        self.position.now = self.epoch_now().max(self.position.now);
        self.to = self.position.now;
        while (self.to - self.from) / self.step_ms >= MOST_BINS {
            self.step_ms *= 2;
            self.listeners.iter_mut().for_each(Track::halve);
        }
    }

    fn step(&self) -> u64 {
        (self.position.now - self.from) / self.step_ms
    }
}

#[cfg(test)]
mod tests;
