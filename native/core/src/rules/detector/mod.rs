//! Readings of one listener over time -> conditions, raised once and cleared once.
//!
//! The question is not how deep a queue is, but whether it drains. Forty clients that are gone a tenth of a second later are a
//! burst, and bursts are what the queue is for; one client that is not accepted is trouble. This is the idea of CoDel (RFC
//! 8289): judge by how long the head of the queue has waited, throughout an interval.
//!
//! Pure: no clock and no kernel. The caller passes what it read and when it read it, by a clock that never goes back. Cost: some
//! comparisons a reading; a census also passes over the age of each queued connection.
//!
//! # What is never judged
//!
//! Time that was not observed. When a reading fails, or comes so late that the VM must have slept, a new observation period
//! begins: acceptors that slept as well get their chance before anything is raised.
//!
//! # Files
//!
//! `observed` keeps what was read, `anchor` the head of the queue, and `front` that of a Unix socket's. Each condition is a file that says when it holds, and
//! `track` raises and clears it.

mod abandoned;
mod anchor;
mod behind;
mod condition;
mod front;
mod leaking;
mod observed;
mod overflowing;
mod rule;
mod settings;
mod stuck;
mod time;
mod track;

use std::time::Duration;

use self::abandoned::Abandoned;
use self::behind::Behind;
use self::leaking::Leaking;
use self::observed::{Before, Observed};
use self::overflowing::Overflowing;
use self::rule::Rule;
use self::stuck::Stuck;
use self::track::{Judgement, Track, Turn};
use crate::{Census, Counts, Depth, Members};

pub use self::condition::{Change, Condition, ConditionEvidence};
pub use self::settings::Settings;
pub use self::time::{Time, on_clock};

/// One listener.
#[derive(Debug, Clone)]
pub struct Detector {
    observed: Observed,
    behind: Behind,
    overflowing: Overflowing,
    stuck: Stuck,
    abandoned: Abandoned,
    leaking: Leaking,
    tracks: [Track; Condition::ALL.len()],
}

/// How often to take a census while something is suspicious.
const CLOSE_CENSUS: Duration = Duration::from_millis(200);

impl Detector {
    /// Of a listener that has not been read yet.
    pub fn new(settings: Settings) -> Detector {
        Detector {
            observed: Observed::new(settings),
            behind: Behind::default(),
            overflowing: Overflowing::default(),
            stuck: Stuck,
            abandoned: Abandoned,
            leaking: Leaking,
            tracks: [Track::default(); Condition::ALL.len()],
        }
    }

    /// What holds now, and when it was raised.
    pub fn conditions(&self) -> impl Iterator<Item = (Condition, Time)> {
        Condition::ALL.into_iter().filter_map(|condition| Some((condition, self.track(condition).raised_at()?)))
    }

    /// The last reading of the queue; `None`: it failed, or there was none.
    pub fn depth(&self) -> Option<Depth> {
        self.observed.depth()
    }

    /// The counts of the last census, and when it was taken.
    pub fn counts(&self) -> Option<(Time, Counts)> {
        self.observed.census
    }

    /// A reading failed: the next one begins a new observation period.
    pub fn reading_failed(&mut self) {
        self.observed.last = None;
    }

    /// A reading of the first tier: the depth of each socket that shares the address.
    pub fn depth_read(&mut self, at: Time, members: Members<Depth>) -> Vec<Change> {
        let depth = members.sum();
        let before = match self.observed.depth_read(at, members) {
            Before::Reading(before) => Some(before),
            Before::Gap => {
                self.behind.forget();
                self.tracks.iter_mut().for_each(Track::restart);
                None
            }
        };
        self.overflowing.depth_read(at, before, depth);
        if depth.queued == 0 {
            self.emptied(at);
        }
        self.judge(at)
    }

    /// A census, after a reading of the first tier at the same time.
    pub fn census_taken(&mut self, at: Time, census: &Census) -> Vec<Change> {
        let counts = self.observed.census_taken(at, census);
        self.behind.census_taken(&self.observed, at, &counts);
        if census.counts.queued == 0 {
            self.emptied(at);
        }
        self.judge(at)
    }

    fn emptied(&mut self, at: Time) {
        self.observed.emptied(at);
        self.behind.forget();
    }

    /// Whether it is time for a census.
    pub fn wants_census(&self, at: Time) -> bool {
        let taken = self.observed.census.map(|(then, _)| at.saturating_sub(then));
        let every = if self.is_suspicious(at) { CLOSE_CENSUS } else { self.observed.settings.census };
        taken.is_none_or(|ago| ago >= every) || self.is_due(at)
    }

    /// A condition has lasted long enough to be raised, unless it has ended since the last census.
    fn is_due(&self, at: Time) -> bool {
        Condition::ALL.into_iter().any(|condition| {
            let rule = self.rule(condition);
            let is_old = rule.as_of(&self.observed, at) < at;
            !self.track(condition).is_raised() && is_old && self.holds_since(rule, at).is_some()
        })
    }

    /// A queue that has not been empty for as long as a connection may wait, or a drop since the last census.
    fn is_suspicious(&self, at: Time) -> bool {
        let Observed { settings, occupied_since, census, .. } = &self.observed;
        let is_long = occupied_since.is_some_and(|since| at.saturating_sub(since) >= settings.max_wait);
        let is_new = |dropped| census.is_none_or(|(taken, _)| taken < dropped);
        is_long || self.overflowing.drops().at.is_some_and(is_new)
    }

    fn judge(&mut self, at: Time) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in Condition::ALL {
            let rule = self.rule(condition);
            let as_of = rule.as_of(&self.observed, at);
            let judgement = match self.holds_since(rule, as_of) {
                Some(since) => Judgement::Holds(since),
                None if self.observed.last.is_none() || rule.may_still_hold(&self.observed) => Judgement::MayHold,
                None => Judgement::Absent,
            };
            let clear = self.observed.settings.clear;
            changes.extend(self.tracks[condition as usize].follow(at, as_of, judgement, clear).map(
                |turn| match turn {
                    Turn::Raised(held_for) => Change::Raised { condition, evidence: self.evidence(held_for) },
                    Turn::Cleared(held_for) => Change::Cleared { condition, evidence: self.evidence(held_for) },
                },
            ));
        }
        if !self.track(Condition::Overflowing).is_raised() {
            self.overflowing.forget_earlier_drops(at);
        }
        changes
    }

    /// Without a reading nothing holds.
    fn holds_since(&self, rule: &dyn Rule, at: Time) -> Option<Time> {
        self.observed.last.as_ref()?;
        rule.holds_since(&self.observed, at)
    }

    fn evidence(&self, held_for: Duration) -> ConditionEvidence {
        let drops = self.overflowing.drops();
        ConditionEvidence {
            held_for,
            depth: self.depth().unwrap_or(Depth { queued: 0, limit: 0, drops: None }),
            counts: self.observed.census.map(|(_, counts)| counts),
            dropped: drops.for_want_of_room,
            dropped_otherwise: drops.otherwise,
        }
    }

    fn rule(&self, condition: Condition) -> &dyn Rule {
        match condition {
            Condition::Behind => &self.behind,
            Condition::Overflowing => &self.overflowing,
            Condition::Stuck => &self.stuck,
            Condition::Abandoned => &self.abandoned,
            Condition::Leaking => &self.leaking,
        }
    }

    fn track(&self, condition: Condition) -> &Track {
        &self.tracks[condition as usize]
    }
}
