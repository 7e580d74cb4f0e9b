//! Readings of one listener over time -> conditions, raised once and cleared once.
//!
//! The question is not how deep a queue is, but whether it *stands*. Forty clients that are gone a tenth of a second later
//! are a burst, and bursts are what the queue is for; one client that nobody takes is trouble. This is the idea of CoDel
//! (RFC 8289): judge by how long the head of the queue has waited, throughout an interval.
//!
//! Pure: no clock and no kernel. The caller passes what it read and when it read it, by a clock that never goes back.
//!
//! # What is never judged
//!
//! Time that was not observed. When a reading fails, or comes so late that the VM must have slept, everything that was
//! pending starts anew: acceptors that slept as well get their chance before anybody is warned.

use std::time::Duration;

use crate::{Census, Counts, Depth};

/// A point on the caller's clock: see [`on_clock`].
pub type Time = Duration;

/// The time at which so much has passed since whatever the caller counts from. Who waits in a queue may have come before that,
/// so the clock has begun long before it.
pub fn on_clock(passed: Duration) -> Time {
    const BEFORE: Duration = Duration::from_secs(1 << 32);
    BEFORE + passed
}

/// When a condition holds. The defaults stand here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How often to read how deep the queue is.
    pub interval: Duration,
    /// `behind`: somebody has waited longer than this ...
    pub max_wait: Duration,
    /// ... throughout this time. A queue that is full throughout it is `overflowing`.
    pub hold_for: Duration,
    /// `stuck`: connections wait, and none was accepted for this long.
    pub stuck: Duration,
    /// `abandoned`: this part of the queued has left ...
    pub abandoned_ratio: f64,
    /// ... and at least so many.
    pub abandoned_min: u32,
    /// `leaking`: more accepted sockets than this in CLOSE_WAIT.
    pub close_wait_max: u32,
    /// A condition is cleared after it has been absent for this long.
    pub clear: Duration,
    /// How often to look at who stands in the queue when nothing is suspicious.
    pub census: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            interval: Duration::from_millis(100),
            max_wait: Duration::from_millis(100),
            hold_for: Duration::from_millis(1000),
            stuck: Duration::from_millis(5000),
            abandoned_ratio: 0.5,
            abandoned_min: 5,
            close_wait_max: 1000,
            clear: Duration::from_millis(5000),
            census: Duration::from_millis(5000),
        }
    }
}

impl Settings {
    /// Whether so many of the queued have left that the rest is hardly worth it.
    pub fn is_abandoned(&self, queued: u32, left: u32) -> bool {
        left >= self.abandoned_min && f64::from(left) >= f64::from(queued) * self.abandoned_ratio
    }

    /// Whether too many accepted sockets stand in CLOSE_WAIT.
    pub fn is_leaking(&self, close_wait: u32) -> bool {
        close_wait > self.close_wait_max
    }
}

/// What can be wrong with a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// The head of the queue waits too long, and goes on doing so.
    Behind,
    /// Connections are being dropped, or will be: the queue is full.
    Overflowing,
    /// Connections wait and nobody takes the first of them.
    Stuck,
    /// Many of those who wait have already left.
    Abandoned,
    /// The application holds many connections that their peers have closed.
    Leaking,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 5] =
        [Condition::Behind, Condition::Overflowing, Condition::Stuck, Condition::Abandoned, Condition::Leaking];
}

/// A condition that begins or ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It holds. The evidence is what raised it.
    Raised {
        /// Which.
        condition: Condition,
        /// What was read.
        evidence: ConditionEvidence,
    },
    /// It no longer holds. The evidence is what was read last.
    Cleared {
        /// Which.
        condition: Condition,
        /// What was read.
        evidence: ConditionEvidence,
    },
}

/// The figures behind a condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConditionEvidence {
    /// How long it has held, or had held when it was cleared.
    pub held_for: Duration,
    /// The queue.
    pub depth: Depth,
    /// Who stands in it, as of the last look.
    pub counts: Option<Counts>,
    /// Dropped since the drops began to rise with the queue near full; 0 where none were.
    pub dropped: u32,
    /// Dropped with the queue far from full: not for want of room. Ask the kernel's other counters.
    pub dropped_otherwise: u32,
}

/// A look at the queue against which later ones are held. As long as nothing is accepted, whoever stood there then stands
/// there still, or has been reset and left its place; and nobody stands before the head.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: Time,
    /// Who came so much later may have been among them.
    took: Duration,
    head_arrived: Option<Time>,
    places: u32,
    resets: u32,
    /// Nothing has been accepted since.
    idle_since: Time,
}

/// Whether a condition holds, and since when it has or has not.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    /// Since when it held when it was raised.
    since: Time,
    raised_at: Option<Time>,
    absent_since: Option<Time>,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct Detector {
    settings: Settings,
    last: Option<Last>,
    /// Nothing before this counts.
    observed_since: Time,
    /// The queue was empty, or had become shorter: something had been accepted.
    progress_at: Time,
    /// The queue has had somebody in it since.
    occupied_since: Option<Time>,
    full_since: Option<Time>,
    behind_since: Option<Time>,
    anchor: Option<Anchor>,
    counts: Option<(Time, Counts)>,
    drops: Drops,
    tracks: [Track; Condition::ALL.len()],
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at: Time,
    gap: Duration,
    depth: Depth,
}

/// What has been dropped lately.
#[derive(Debug, Clone, Copy, Default)]
struct Drops {
    for_want_of_room: u32,
    otherwise: u32,
    /// The last time a drop for want of room was seen.
    at: Option<Time>,
}

/// Two readings that are further apart than this, and four times as far as those before, have a sleep between them.
const SLEEP: Duration = Duration::from_secs(1);
/// The kernel tells ages in jiffies of up to 10 ms. How long a dump took is told apart: on a busy machine that is a tenth of a
/// second now and then.
const AGE_TOLERANCE: Duration = Duration::from_millis(30);
/// How often to look at who stands in the queue while something is suspicious.
const CLOSE_LOOK: Duration = Duration::from_millis(200);

impl Detector {
    /// Of a listener that has not been read yet.
    pub fn new(settings: Settings) -> Detector {
        Detector {
            settings,
            last: None,
            observed_since: Time::ZERO,
            progress_at: Time::ZERO,
            occupied_since: None,
            full_since: None,
            behind_since: None,
            anchor: None,
            counts: None,
            drops: Drops::default(),
            tracks: [Track::default(); Condition::ALL.len()],
        }
    }

    /// What holds now, and since when.
    pub fn conditions(&self) -> impl Iterator<Item = (Condition, Time)> {
        Condition::ALL.into_iter().filter_map(|condition| Some((condition, self.track(condition).raised_at?)))
    }

    /// The last reading of the queue.
    pub fn depth(&self) -> Option<Depth> {
        self.last.map(|last| last.depth)
    }

    /// The last look at who stands in it, and when that was.
    pub fn counts(&self) -> Option<(Time, Counts)> {
        self.counts
    }

    /// A reading failed: what follows is not of one piece with what was before.
    pub fn reading_failed(&mut self) {
        self.last = None;
    }

    /// The first tier.
    pub fn depth_read(&mut self, at: Time, depth: Depth) -> Vec<Change> {
        let gap = self.last.map(|last| at.saturating_sub(last.at));
        match (self.last, gap) {
            (Some(last), Some(gap)) if gap <= SLEEP.max(last.gap * 4) => self.follow(at, last.depth, depth),
            _ => self.begin(at),
        }
        self.last = Some(Last { at, gap: gap.unwrap_or_default(), depth });
        let full = depth.queued > depth.limit;
        self.full_since = if full { self.full_since.or(Some(at)) } else { None };
        self.occupied_since = self.occupied_since.or(Some(at));
        if depth.queued == 0 {
            self.found_empty(at);
        }
        self.judge(at)
    }

    /// The second tier, after a reading of the first at the same time.
    pub fn census_taken(&mut self, at: Time, look: &Census) -> Vec<Change> {
        let counts = look.counts;
        self.counts = Some((at, counts));
        if let Some(waits) = &look.waits {
            self.anchor = Some(self.anchored(at, &counts, waits, look.took));
        }
        let waited = counts.oldest_wait.map(|waited| waited.max(self.head_waited(at).unwrap_or_default()));
        self.behind_since = waited.filter(|&waited| waited > self.settings.max_wait).map(|waited| {
            // Whoever has waited for so long now has done so since then, whether we looked or not.
            let since = (at.saturating_sub(waited) + self.settings.max_wait).max(self.observed_since);
            self.behind_since.map_or(since, |before| before.min(since))
        });
        if counts.queued == 0 {
            self.found_empty(at);
        }
        self.judge(at)
    }

    /// A head that nobody has taken may have been reset: no row tells its age any more, and others wait behind its place.
    fn head_waited(&self, at: Time) -> Option<Duration> {
        Some(at.saturating_sub(self.anchor?.head_arrived?))
    }

    fn found_empty(&mut self, at: Time) {
        self.progress_at = at;
        self.occupied_since = None;
        self.behind_since = None;
        self.anchor = None;
    }

    fn anchored(&self, at: Time, counts: &Counts, waits: &[Duration], took: Duration) -> Anchor {
        let head_arrived = counts.oldest_wait.map(|waited| at.saturating_sub(waited));
        let resets = counts.queued_reset();
        let fresh = Anchor { at, took, head_arrived, places: waits.len() as u32 + resets, resets, idle_since: at };
        match self.anchor {
            None => {
                let arrived_at_the_latest = head_arrived.map(|arrived| (arrived + took).min(at)).unwrap_or_default();
                Anchor { idle_since: self.progress_at.max(arrived_at_the_latest), ..fresh }
            }
            Some(anchor) => {
                let asked = at.saturating_sub(anchor.at + anchor.took + AGE_TOLERANCE);
                let from_before = waits.iter().filter(|&&waited| waited >= asked).count() as u32;
                let same_head = match (head_arrived, anchor.head_arrived) {
                    // Nobody steps in before the head: one that seems to have come earlier was read late.
                    (Some(now), Some(then)) => now <= then + AGE_TOLERANCE + anchor.took,
                    (_, None) => true,
                    (None, Some(_)) => false,
                };
                if from_before + resets < anchor.places {
                    fresh
                } else if same_head && took < anchor.took && head_arrived.is_some() {
                    // The same people, and a sharper picture of them.
                    Anchor { idle_since: anchor.idle_since, ..fresh }
                } else if same_head {
                    // Two who came almost together are told apart at once, or never: not by how their ages are rounded. An age
                    // that was read late makes its owner come early, so the latest is the best.
                    Anchor { head_arrived: head_arrived.max(anchor.head_arrived), ..anchor }
                } else if resets > anchor.resets {
                    // The head itself may have been reset.
                    anchor
                } else {
                    fresh
                }
            }
        }
    }

    /// Whether it is time to look at who stands in the queue.
    pub fn wants_census(&self, at: Time) -> bool {
        let looked = self.counts.map(|(then, _)| at.saturating_sub(then));
        let every = if self.is_suspicious(at) { CLOSE_LOOK } else { self.settings.census };
        looked.is_none_or(|ago| ago >= every) || self.is_due(at)
    }

    /// Something has lasted long enough to be raised, unless it has ended since the last look.
    fn is_due(&self, at: Time) -> bool {
        [Condition::Behind, Condition::Stuck].into_iter().any(|condition| {
            let untold = self.track(condition).raised_at.is_none();
            untold && self.seen(condition, at) < at && self.holds_since(condition, at).is_some()
        })
    }

    /// A queue that has not been empty for as long as nobody should wait, or a drop since the last look.
    fn is_suspicious(&self, at: Time) -> bool {
        let stands = self.occupied_since.is_some_and(|since| at.saturating_sub(since) >= self.settings.max_wait);
        let looked = self.counts.map(|(then, _)| then);
        stands || self.drops.at.is_some_and(|dropped| looked.is_none_or(|looked| looked < dropped))
    }

    fn begin(&mut self, at: Time) {
        self.observed_since = at;
        self.progress_at = at;
        self.occupied_since = None;
        self.full_since = None;
        self.behind_since = None;
        self.anchor = None;
        self.counts = None;
        self.drops.at = None;
        for track in &mut self.tracks {
            track.absent_since = None;
        }
    }

    fn follow(&mut self, at: Time, before: Depth, now: Depth) {
        if now.queued < before.queued {
            self.progress_at = at;
            self.anchor = None;
        }
        let (Some(earlier), Some(later)) = (before.drops, now.drops) else { return };
        // The kernel's figure wraps.
        let dropped = later.wrapping_sub(earlier);
        if dropped == 0 {
            return;
        }
        // A queue that filled between two readings has left half of itself at one of them, or it drains faster than
        // anybody needs to be told.
        if before.queued.max(now.queued) > now.limit / 2 {
            self.drops.for_want_of_room = self.drops.for_want_of_room.saturating_add(dropped);
            self.drops.at = Some(at);
        } else {
            self.drops.otherwise = self.drops.otherwise.saturating_add(dropped);
        }
    }

    /// Since when each condition holds; `None`: it does not.
    fn holds_since(&self, condition: Condition, at: Time) -> Option<Time> {
        let depth = self.last?.depth;
        let counts = self.counts.map(|(_, counts)| counts);
        match condition {
            Condition::Behind => long_enough(self.behind_since, at, self.settings.hold_for),
            Condition::Overflowing => {
                let full = long_enough(self.full_since, at, self.settings.hold_for);
                let dropped = self.drops.at.filter(|&then| then == at);
                full.or(dropped)
            }
            Condition::Stuck if depth.queued == 0 => None,
            Condition::Stuck => long_enough(Some(self.idle_since(depth)?), at, self.settings.stuck),
            Condition::Abandoned => {
                let counts = self.counts_of_these()?;
                let left = counts.queued_closed + counts.queued_reset();
                self.settings.is_abandoned(counts.queued, left).then_some(at)
            }
            Condition::Leaking => self.settings.is_leaking(counts?.close_wait).then_some(at),
        }
    }

    /// Nothing that has been seen since the readings began, or began anew, speaks against it; they may not have gone on for
    /// long enough to tell that it holds.
    fn may_still_hold(&self, condition: Condition) -> bool {
        let throughout = |since: Time| since <= self.observed_since;
        let Some(Last { depth, .. }) = self.last else { return true };
        match condition {
            Condition::Behind => depth.queued > 0 && self.behind_since.map_or(self.counts.is_none(), throughout),
            Condition::Overflowing => self.full_since.is_some_and(throughout),
            Condition::Stuck => depth.queued > 0 && self.idle_since(depth).is_some_and(throughout),
            Condition::Abandoned => depth.queued > 0 && self.counts.is_none(),
            Condition::Leaking => self.counts.is_none(),
        }
    }

    /// The last look, where it was at a queue that has not been empty since: it says nothing of those who came later.
    fn counts_of_these(&self) -> Option<Counts> {
        let (looked, counts) = self.counts?;
        (looked >= self.occupied_since?).then_some(counts)
    }

    /// Since when nothing has been accepted, as far as can be told; `None`: it cannot.
    fn idle_since(&self, depth: Depth) -> Option<Time> {
        match self.anchor {
            Some(anchor) => Some(anchor.idle_since),
            // Without ages there is only the depth: one that never falls. A full queue from which somebody takes is refilled
            // at once, and looks the same.
            None if depth.queued <= depth.limit => Some(self.progress_at),
            None => None,
        }
    }

    fn judge(&mut self, at: Time) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in Condition::ALL {
            let seen = self.seen(condition, at);
            let holds = self.holds_since(condition, seen);
            let track = *self.track(condition);
            self.tracks[condition as usize] = match (track.raised_at, holds) {
                (None, Some(since)) => {
                    changes.push(Change::Raised { condition, evidence: self.evidence(at.saturating_sub(since)) });
                    Track { since, raised_at: Some(at), absent_since: None }
                }
                (None, None) => track,
                (Some(_), Some(_)) => Track { absent_since: None, ..track },
                (Some(_), None) if self.may_still_hold(condition) => Track { absent_since: None, ..track },
                (Some(_), None) => {
                    let absent = track.absent_since.unwrap_or(seen);
                    if seen.saturating_sub(absent) < self.settings.clear {
                        Track { absent_since: Some(absent), ..track }
                    } else {
                        let held_for = absent.saturating_sub(track.since);
                        changes.push(Change::Cleared { condition, evidence: self.evidence(held_for) });
                        Track::default()
                    }
                }
            };
        }
        if self.track(Condition::Overflowing).raised_at.is_none() && self.drops.at.is_some_and(|then| then != at) {
            self.drops = Drops::default();
        }
        changes
    }

    /// As of when it is known whether it holds: what a look has shown may have ended since, unseen.
    fn seen(&self, condition: Condition, at: Time) -> Time {
        let by_look = match condition {
            Condition::Behind => self.behind_since.is_some(),
            Condition::Stuck => self.anchor.is_some(),
            Condition::Leaking => true,
            Condition::Overflowing | Condition::Abandoned => false,
        };
        self.counts.filter(|_| by_look).map_or(at, |(looked, _)| looked)
    }

    fn evidence(&self, held_for: Duration) -> ConditionEvidence {
        ConditionEvidence {
            held_for,
            depth: self.last.map_or(Depth { queued: 0, limit: 0, drops: None }, |last| last.depth),
            counts: self.counts.map(|(_, counts)| counts),
            dropped: self.drops.for_want_of_room,
            dropped_otherwise: self.drops.otherwise,
        }
    }

    fn track(&self, condition: Condition) -> &Track {
        &self.tracks[condition as usize]
    }
}

fn long_enough(since: Option<Time>, at: Time, duration: Duration) -> Option<Time> {
    since.filter(|&since| at.saturating_sub(since) >= duration)
}
