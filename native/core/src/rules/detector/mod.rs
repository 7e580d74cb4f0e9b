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
//! `raised` raises and clears it.

mod abandoned;
mod anchor;
mod behind;
mod condition;
mod front;
mod leaking;
mod observed;
mod overflowing;
mod raised;
mod rule;
mod settings;
mod sockets;
mod stuck;
mod time;

use std::sync::Arc;
use std::time::Duration;

use self::abandoned::Abandoned;
use self::behind::Behind;
use self::leaking::Leaking;
use self::observed::Observed;
use self::overflowing::Overflowing;
use self::raised::{Judgement, Raised, Turn};
use self::rule::Rule;
use self::stuck::Stuck;
use self::time::off_step;
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Census, Counts, Depth, Members};

pub use self::condition::{Change, Condition, ConditionEvidence, SocketEvidence};
pub use self::settings::Settings;
pub(crate) use self::time::is_another;
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
    raised: Raised,
    /// The last census failed.
    census_failed_at: Option<Time>,
}

/// When the next reading of a listener is worth its cost, by what has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Its queue is empty and nothing is raised: until a connection waits there is nothing to read.
    pub is_quiet: bool,
    /// When a condition will hold if nothing changes until then, or when a reading may show that it will not.
    pub due_at: Option<Time>,
}

/// How often to take a census while something is suspicious.
const CLOSE_CENSUS: Duration = Duration::from_millis(200);

/// A little longer than a connection may wait.
fn glanced(max_wait: Duration) -> Duration {
    max_wait + off_step(max_wait)
}

impl Detector {
    /// Of a listener that has not been read yet.
    pub fn new(settings: impl Into<Arc<Settings>>) -> Detector {
        Detector {
            observed: Observed::new(settings.into()),
            behind: Behind::default(),
            overflowing: Overflowing::default(),
            stuck: Stuck,
            abandoned: Abandoned::default(),
            leaking: Leaking,
            raised: Raised::default(),
            census_failed_at: None,
        }
    }

    /// As configured.
    pub fn settings(&self) -> &Settings {
        &self.observed.settings
    }

    /// What holds now, and when it was raised.
    pub fn conditions(&self) -> impl Iterator<Item = (Condition, Time)> {
        self.raised.iter()
    }

    /// The last reading of the queue; `None`: it failed, or there was none.
    pub fn depth(&self) -> Option<Depth> {
        self.observed.depth()
    }

    /// The counts of the last census, and when it was taken.
    pub fn counts(&self) -> Option<(Time, Counts)> {
        self.observed.census
    }

    /// All that its sockets have dropped since each was opened, widened to 64 bits; one that closes takes nothing away.
    pub fn total_drops(&self) -> Option<u64> {
        self.observed.sockets.total_drops()
    }

    /// A reading failed: what was read before goes on to count for as long as a reading may be late.
    pub fn reading_failed(&mut self) {
        self.observed.reading_failed();
    }

    /// A census failed: it is tried again when the next one is due.
    pub fn census_failed(&mut self, at: Time) {
        self.census_failed_at = Some(at);
    }

    /// The last one did.
    pub fn has_census_failed(&self) -> bool {
        self.census_failed_at.is_some()
    }

    /// What has been dropped since the last reading.
    pub fn dropped(&self, members: &Members<Depth>) -> Dropped {
        self.observed.sockets.dropped(members)
    }

    /// A reading of the first tier: the depth of each socket that shares the address, and how many of its drops were overflows.
    pub fn depth_read(&mut self, at: Time, members: &Members<Depth>, overflowed: Overflowed) -> Vec<Change> {
        if self.observed.is_gap(at) {
            self.behind.forget();
            self.abandoned.forget();
            self.raised.restart();
        }
        let rise = self.observed.depth_read(at, members, overflowed);
        self.overflowing.depth_read(at, rise);
        if members.sum().queued == 0 {
            self.emptied(at);
            if self.is_idle() {
                return Vec::new();
            }
        }
        self.judge(at)
    }

    /// Nothing is raised, and an empty queue raises nothing: what is not about the queue itself a census raises at once.
    fn is_idle(&self) -> bool {
        self.overflowing.drops().at.is_none() && self.raised.is_empty()
    }

    /// A census, after a reading of the first tier at the same time.
    pub fn census_taken(&mut self, at: Time, census: &Census) -> Vec<Change> {
        self.census_failed_at = None;
        self.observed.census_taken(at, census);
        self.behind.census_taken(&self.observed, at);
        self.abandoned.census_taken(&self.observed, at);
        if self.observed.view.is_some_and(|view| view.queued == 0) {
            self.emptied(at);
        }
        self.judge(at)
    }

    /// The queue was empty up to now: the kernel was to say when a connection waits. What is read at this time begins a new
    /// observation, and nothing has been missed.
    pub fn was_empty_until(&mut self, at: Time) {
        self.observed.was_empty_until(at);
        self.emptied(at);
    }

    /// What to expect of it.
    pub fn outlook(&self, at: Time) -> Outlook {
        let is_quiet = self.depth().is_some_and(|depth| depth.queued == 0) && self.raised.is_empty();
        let to_come = Condition::ALL.into_iter().filter(|&condition| !self.raised.has(condition));
        let due_at = to_come.filter_map(|condition| self.rule(condition).due_at(&self.observed));
        let glances = [self.behind.glance_at(), self.glance_at(at)].into_iter().flatten();
        let due_at = due_at.chain(glances).filter(|&due| due > at);
        Outlook { is_quiet, due_at: if is_quiet { None } else { due_at.min() } }
    }

    /// Where the queue has had a connection in it at each reading for as long as one may wait: when to see whether it still has.
    fn glance_at(&self, at: Time) -> Option<Time> {
        let Settings { max_wait, .. } = *self.settings();
        let since = self.observed.occupied_since.filter(|&since| at.saturating_sub(since) >= max_wait)?;
        Some(since + glanced(max_wait))
    }

    fn emptied(&mut self, at: Time) {
        self.observed.emptied(at);
        self.behind.forget();
        self.abandoned.forget();
    }

    /// Whether it is time for a census. `spared`: when one was left out that was due for no other reason than the time.
    pub fn wants_census(&self, at: Time, spared: Option<Time>) -> bool {
        let taken = self.observed.census.map(|(then, _)| then);
        let usual = self.observed.settings.census;
        if self.census_failed_at.is_some_and(|failed| at.saturating_sub(failed) < usual) {
            return false;
        }
        if self.behind.may_have_begun(at) {
            return true;
        }
        let is_late = |then: Time| {
            is_another(usual, spared.map_or(then, |spared| spared.max(then)), at)
                || self.is_suspicious(at) && at.saturating_sub(then) >= CLOSE_CENSUS
        };
        taken.is_none_or(is_late) || self.observed.occupied_since.is_some() && self.is_due(at)
    }

    /// A condition has lasted long enough to be raised, unless it has ended since the last census.
    fn is_due(&self, at: Time) -> bool {
        Condition::ALL.into_iter().any(|condition| {
            let rule = self.rule(condition);
            let is_old = rule.as_of(&self.observed, at) < at;
            !self.raised.has(condition) && is_old && self.holds_since(rule, at).is_some()
        })
    }

    /// A queue that has not been empty for longer than a connection may wait, or a drop since the last census.
    fn is_suspicious(&self, at: Time) -> bool {
        let Observed { settings, occupied_since, census, .. } = &self.observed;
        let is_long = occupied_since.is_some_and(|since| at.saturating_sub(since) >= glanced(settings.max_wait));
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
                None if self.depth().is_none() || rule.may_still_hold(&self.observed) => Judgement::MayHold,
                None => Judgement::Absent,
            };
            let clear = self.observed.settings.clear;
            let turn = self.raised.follow(condition, at, as_of, judgement, clear);
            changes.extend(turn.map(|turn| match turn {
                Turn::Raised(held_for) => Change::Raised { condition, evidence: self.evidence(condition, held_for) },
                Turn::Cleared(held_for) => Change::Cleared { condition, evidence: self.evidence(condition, held_for) },
            }));
        }
        if !self.raised.has(Condition::Overflowing) {
            self.overflowing.forget_earlier_drops(at);
        }
        changes
    }

    /// Without a reading nothing holds.
    fn holds_since(&self, rule: &dyn Rule, at: Time) -> Option<Time> {
        self.depth()?;
        rule.holds_since(&self.observed, at)
    }

    fn evidence(&self, condition: Condition, held_for: Duration) -> ConditionEvidence {
        let drops = self.overflowing.drops();
        ConditionEvidence {
            held_for,
            depth: self.depth().unwrap_or(Depth { queued: 0, limit: 0, drops: None }),
            counts: self.observed.census.map(|(_, counts)| counts),
            dropped: drops.for_want_of_room,
            dropped_otherwise: drops.otherwise,
            socket: self.socket(condition),
        }
    }

    /// The one that it is about, where it is judged for each.
    fn socket(&self, condition: Condition) -> Option<SocketEvidence> {
        let socket = match condition {
            Condition::Overflowing => self.observed.sockets.overflowing(),
            Condition::Stuck => Stuck::idle(&self.observed).map(|(_, socket)| socket),
            Condition::Behind | Condition::Abandoned | Condition::Leaking => None,
        };
        socket.map(|socket| SocketEvidence { cookie: socket.cookie, depth: socket.depth })
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
}
