//! The entries of a recording, in order -> what the page draws. Pure, and bounded whatever the recording holds.

use std::collections::HashMap;

use serde::Serialize;

use super::bins::MOST_BINS;
use super::bounded::{Bounded, LONGEST_NAME, LONGEST_SENTENCE, cut};
use super::choice::{self, Choice};
use super::clock::{Clock, Passed};
use super::evidence::Found;
use super::ranking::{Chosen, MOST_LISTENERS, Place};
use super::track::{Track, TrackOwner};
use crate::output::printable;
use crate::recording::{Entry, Item, RecordedOwner, SampleEntry};

/// Owners of a listener. A server that forks has as many as processors.
pub(super) const MOST_OWNERS: usize = 200;

/// Points of all curves, and bars: where there would be more, steps are joined. A point is 10 to 70 bytes of the page.
const MOST_POINTS: usize = 300_000;

/// Conditions and owners of all listeners, beyond the first few of each, which no other listener can take away.
const MOST_IN_ALL: usize = 10_000;
const FIRST_OF_EACH: usize = 10;

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
    /// What of the recording was chosen, as text.
    chosen: Option<String>,
    /// Bytes at the end of the file that are no intact entry.
    torn_bytes: u64,
    runs: Bounded<RecordedRun>,
    /// Times that are not recorded.
    holes: Bounded<Hole>,
    unreadable: Bounded<Note>,
    /// Of a watchdog.
    found: Option<Found>,
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
    clock: Clock,
    choice: Choice,
    /// What is drawn has begun: what was before is known, and not drawn.
    has_begun: bool,
    /// What comes now is not drawn any more.
    is_over: bool,
    /// By the numbers of this run.
    numbers: HashMap<u64, usize>,
    chosen: HashMap<Place, usize>,
}

impl Timeline {
    pub(super) fn new(source: String, choice: Choice, Chosen { places, left_out }: Chosen) -> Timeline {
        let track = |place: &Place| Track::new(place.namespace, printable(&place.address));
        Timeline {
            schema: crate::figures::SCHEMA,
            source,
            step_ms: 1,
            listeners: places.iter().map(track).collect(),
            left_out,
            position: Position { choice, chosen: places.into_iter().zip(0..).collect(), ..Position::default() },
            ..Timeline::default()
        }
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        if self.position.is_over {
            return;
        }
        let passed = self.position.clock.follow(&entry);
        match entry {
            Entry::Begun { interval_ms, version, host, scope, .. } => {
                self.end_run();
                self.advance(passed);
                if self.position.is_over {
                    return;
                }
                [self.host, self.scope, self.version] = [host, scope, version].map(|text| cut(&text, LONGEST_NAME));
                self.interval_ms = interval_ms;
                if !self.position.has_begun {
                    self.runs = Bounded::default();
                }
                self.runs.push(RecordedRun { from: self.to, ended: None });
            }
            Entry::Sample(sample) => self.sample(sample, passed),
            Entry::Ended { why, .. } => {
                self.advance(passed);
                if !self.position.is_over {
                    self.run_ended(cut(&why, LONGEST_NAME));
                    self.end_run();
                }
            }
        }
    }

    pub(crate) fn found(&mut self, found: Option<Found>) {
        self.found = found;
    }

    /// After the last entry.
    pub(crate) fn finish(mut self, torn_bytes: u64, span: Option<(u64, u64)>) -> Timeline {
        self.torn_bytes = torn_bytes;
        let (mut conditions, mut owners) = (MOST_IN_ALL, MOST_IN_ALL);
        for track in &mut self.listeners {
            track.conditions.share(FIRST_OF_EACH, &mut conditions);
            track.owners.share(FIRST_OF_EACH, &mut owners);
        }
        let choice = &self.position.choice;
        if let Some((first, last)) = span.filter(|_| !choice.is_everything()) {
            let [from, to, first, last] = [self.from, self.to, first, last].map(choice::time);
            let listeners = choice.listeners();
            self.chosen =
                Some(format!("Of a recording from {first} to {last}: the listeners{listeners}, from {from} to {to}."));
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.position.has_begun
    }

    fn sample(&mut self, sample: SampleEntry, passed: Passed) {
        let step = self.step();
        if passed.is_hole {
            self.listeners.iter_mut().for_each(|track| track.hide(step));
        }
        self.advance(passed);
        if self.position.is_over {
            return;
        }
        let step = self.step();
        if passed.is_hole {
            self.listeners.iter_mut().filter(|track| track.is_read).for_each(|track| track.show(step));
        }
        sample.items.into_iter().for_each(|item| self.item(item));
    }

    fn item(&mut self, item: Item) {
        let (now, step) = (self.now(), self.step());
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
            Item::Unreadable(text) if self.position.has_begun => {
                self.unreadable.push_with(|| Note { at: now, text: cut(&text, LONGEST_SENTENCE) });
            }
            Item::Unreadable(_) | Item::Clock { .. } => {}
        }
    }

    fn declared(&mut self, number: u64, namespace: u64, address: String, owners: Vec<RecordedOwner>) {
        let is_taken = self.position.choice.takes(&address, &owners);
        let index = self.position.chosen.get(&Place::new(namespace, address)).filter(|_| is_taken).copied();
        let Some(index) = index else {
            // Where it was of an owner that is chosen, it is no longer.
            let (now, step) = (self.now(), self.step());
            self.with(number, |track| track.gone(now, step));
            self.position.numbers.remove(&number);
            return;
        };
        let mut kept = Bounded::default();
        for RecordedOwner { pid, name } in owners {
            kept.push_with(|| TrackOwner { pid, name: cut(&name, LONGEST_NAME) });
        }
        self.listeners[index].owners = kept;
        // A recorder gives each listener one number.
        if self.position.numbers.len() < MOST_LISTENERS || self.position.numbers.contains_key(&number) {
            self.position.numbers.insert(number, index);
        }
    }

    /// Does nothing where the listener was not chosen.
    fn with(&mut self, number: u64, change: impl FnOnce(&mut Track)) {
        if let Some(index) = self.position.numbers.get(&number) {
            let track = &mut self.listeners[*index];
            change(track);
            if !self.position.has_begun {
                track.forget();
            }
        }
    }

    /// Nothing is known until the next run.
    fn end_run(&mut self) {
        let (now, step) = (self.to, self.step());
        for track in &mut self.listeners {
            track.end(now, step);
            if !self.position.has_begun {
                track.forget();
            }
        }
        self.position.numbers.clear();
    }

    fn run_ended(&mut self, why: String) {
        if let Some(run) = self.runs.first.last_mut().filter(|_| self.runs.more == 0) {
            run.ended = Some(why);
        }
    }

    /// Of the last entry.
    fn now(&self) -> u64 {
        self.position.clock.span().map_or(0, |(_, now)| now)
    }

    /// Moves to the time of the last entry, and no further than what is drawn.
    fn advance(&mut self, Passed { before, is_hole }: Passed) {
        let (now, from, to) = (self.now(), self.position.choice.from, self.position.choice.to);
        if self.position.clock.span().is_none() || now < from {
            return;
        }
        if !self.position.has_begun {
            if before.is_none() && now > to {
                self.position.is_over = true;
                return;
            }
            self.position.has_begun = true;
            self.from = if before.is_none() { now } else { from };
            self.to = self.from;
            let at = if is_hole { now } else { self.from };
            self.listeners.iter_mut().for_each(|track| track.begin(at));
        }
        let step_before = self.step();
        self.to = now.min(to);
        let step = self.step();
        while (self.to - self.from) / self.step_ms >= MOST_BINS {
            self.halve();
        }
        // Within a step there is at most one point more of each curve.
        if step != step_before {
            while self.step_ms < self.to - self.from && self.points() > MOST_POINTS {
                self.halve();
            }
        }
        if let Some(before) = before.filter(|_| is_hole) {
            self.holes.push(Hole { from: before.max(self.from), to: self.to });
        }
        if now > to {
            self.position.is_over = true;
            self.run_ended("drawn no further".to_owned());
        }
    }

    fn halve(&mut self) {
        self.step_ms *= 2;
        self.listeners.iter_mut().for_each(Track::halve);
    }

    fn points(&self) -> usize {
        self.listeners.iter().map(Track::points).sum()
    }

    fn step(&self) -> u64 {
        (self.to - self.from) / self.step_ms
    }
}

#[cfg(test)]
mod tests;
