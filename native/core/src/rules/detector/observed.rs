//! What has been read of a listener without a gap: what the rules judge by.

use std::time::Duration;

use super::anchor::{Anchor, Sighting};
use super::front::Front;
use super::settings::Settings;
use super::time::Time;
use crate::{Census, Counts, Depth, Inode, Members};

/// What has been read since the observation began, or began again.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) settings: Settings,
    /// Nothing before this counts.
    pub(super) since: Time,
    /// `None`: the reading failed, or there was none.
    pub(super) last: Option<Last>,
    /// The queue has had a connection in it since.
    pub(super) occupied_since: Option<Time>,
    pub(super) census: Option<(Time, Counts)>,
    pub(super) head: Head,
}

/// The last reading of the first tier.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) at: Time,
    /// Since the reading before.
    gap: Duration,
    /// Of each socket that shares the address.
    members: Members<Depth>,
}

/// The head of the queue, and since when it has been the head.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// The queue was empty, or had become shorter: something had been accepted.
    progress_at: Time,
    anchor: Option<Anchor>,
    /// Of a Unix socket, in the place of an anchor.
    front: Option<Front>,
}

/// What a reading of the first tier follows on.
pub(super) enum Before {
    /// This reading.
    Reading(Depth),
    /// None: the observation begins here.
    Gap,
}

/// Two readings that are further apart than this, and four times as far as those before, have a sleep between them.
const SLEEP: Duration = Duration::from_secs(1);

impl Observed {
    pub(super) fn new(settings: Settings) -> Observed {
        Observed { settings, since: Time::ZERO, last: None, occupied_since: None, census: None, head: Head::default() }
    }

    /// The queue, as of the last reading.
    pub(super) fn depth(&self) -> Option<Depth> {
        self.last.as_ref().map(|last| last.members.sum())
    }

    /// Takes in a reading of the first tier.
    pub(super) fn depth_read(&mut self, at: Time, members: Members<Depth>) -> Before {
        let depth = members.sum();
        let gap = self.last.as_ref().map(|last| at.saturating_sub(last.at));
        let before = match (&self.last, gap) {
            (Some(last), Some(gap)) if gap <= SLEEP.max(last.gap * 4) => {
                let before = last.members.sum();
                if depth.queued < before.queued {
                    self.head.progressed(at);
                }
                Before::Reading(before)
            }
            _ => {
                self.begin(at);
                Before::Gap
            }
        };
        self.last = Some(Last { at, gap: gap.unwrap_or_default(), members });
        self.occupied_since = self.occupied_since.or(Some(at));
        before
    }

    /// Takes in a census, and returns its counts: where the kernel keeps no ages, the oldest has waited at least for as long as
    /// it has been seen.
    pub(super) fn census_taken(&mut self, at: Time, census: &Census) -> Counts {
        self.head.census_taken(at, census);
        let seen_for = self.head.front.as_ref().map(|front| at.saturating_sub(front.since()));
        let counts = Counts { oldest_wait: census.counts.oldest_wait.or(seen_for), ..census.counts };
        self.census = Some((at, counts));
        counts
    }

    /// The queue is empty.
    pub(super) fn emptied(&mut self, at: Time) {
        self.occupied_since = None;
        self.head.progressed(at);
    }

    fn begin(&mut self, at: Time) {
        *self = Observed { since: at, ..Observed::new(self.settings) };
        self.head.progressed(at);
    }

    /// What holds since then has held throughout the observation.
    pub(super) fn is_throughout(&self, since: Time) -> bool {
        since <= self.since
    }

    /// When the last census was taken; `at` where there was none.
    pub(super) fn census_at(&self, at: Time) -> Time {
        self.census.map_or(at, |(taken, _)| taken)
    }
}

impl Head {
    fn progressed(&mut self, at: Time) {
        *self = Head { progress_at: at, ..Head::default() };
    }

    fn census_taken(&mut self, at: Time, census: &Census) {
        match &census.clients {
            Some(clients) => self.clients_seen(at, clients),
            None => self.front = None,
        }
        let Some(waits) = &census.waits else { return };
        let Counts { oldest_wait, .. } = census.counts;
        let resets = census.counts.queued_reset().unwrap_or_default();
        let sighting = Sighting::new(at, census.took, waits, oldest_wait, resets);
        self.anchor = Some(match self.anchor {
            None => Anchor::first(sighting, self.progress_at),
            Some(anchor) => anchor.after(sighting, waits),
        });
    }

    fn clients_seen(&mut self, at: Time, clients: &[Inode]) {
        if !self.front.as_ref().is_some_and(|front| front.may_stand(clients)) {
            self.progressed(at);
            self.front = (!clients.is_empty()).then(|| Front::seen(at, clients));
        }
    }

    /// How long the head has waited by now.
    pub(super) fn waited(&self, at: Time) -> Option<Duration> {
        Some(at.saturating_sub(self.anchor?.head_arrived()?))
    }

    /// Since when nothing has been accepted, as far as is known; `None`: it is not.
    pub(super) fn idle_since(&self, depth: Depth) -> Option<Time> {
        match (self.anchor, &self.front) {
            (Some(anchor), _) => Some(anchor.idle_since()),
            (None, Some(front)) => Some(front.since()),
            // Without ages there is only the depth: one that never falls. A full queue that is accepted from is refilled at
            // once, and is the same.
            (None, None) if depth.queued <= depth.limit => Some(self.progress_at),
            (None, None) => None,
        }
    }

    /// Whether a census says so, and not the depth alone.
    pub(super) fn is_by_census(&self) -> bool {
        self.anchor.is_some() || self.front.is_some()
    }
}
