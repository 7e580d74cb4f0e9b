//! One queue that an observer follows: its history, and what of it has not been reported yet.

use crate::linux::namespace::Namespace;
use crate::outside::sample::{Gone, Reading};
use crate::outside::scope::Owner;
use crate::rules::detector::{Change, Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, REOPEN};
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Census, Cookie, Depth, Endpoint, Inode, Members};

pub(super) struct Followed {
    sockets: Vec<(Cookie, Inode)>,
    owners: Vec<Owner>,
    history: History,
    seen_at: Time,
    /// What this sample read.
    fresh: Option<(DepthReading, Option<CensusTaken>)>,
    /// What has changed since the last sample that succeeded.
    unreported: Vec<Change>,
    /// Whether a sample that succeeded had it.
    is_reported: bool,
}

impl Followed {
    pub(super) fn new(settings: Settings, at: Time) -> Followed {
        Followed {
            sockets: Vec::new(),
            owners: Vec::new(),
            history: History::new(settings, at),
            seen_at: at,
            fresh: None,
            unreported: Vec::new(),
            is_reported: false,
        }
    }

    /// Whether any of these is one of its sockets: others have come or gone. By inode, for the files have no cookies.
    pub(super) fn goes_on_with(&self, sockets: &[(Cookie, Inode)]) -> bool {
        self.sockets.iter().any(|(_, known)| sockets.iter().any(|(_, inode)| inode == known))
    }

    pub(super) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Its sockets have closed, and it may be opened again.
    pub(super) fn may_reopen(&self, at: Time) -> bool {
        at.saturating_sub(self.seen_at) < REOPEN
    }

    /// These wholly new sockets at its address are the same listener: it was closed and opened again by a process that had it.
    pub(super) fn is_reopened_by(&self, owners: &[Owner], at: Time) -> bool {
        let is_owner = |owner: &Owner| self.owners.iter().any(|known| known.process.pid == owner.process.pid);
        self.may_reopen(at) && owners.iter().any(is_owner)
    }

    pub(super) fn with_sockets(self, sockets: Vec<(Cookie, Inode)>) -> Followed {
        Followed { sockets, ..self }
    }

    pub(super) fn is_census_due(&self, at: Time) -> bool {
        self.history.wants_census(at)
    }

    pub(super) fn dropped(&self, members: &Members<Depth>) -> Dropped {
        self.history.dropped(members)
    }

    pub(super) fn depth_read(
        &mut self,
        at: Time,
        owners: Vec<Owner>,
        members: &Members<Depth>,
        overflowed: Overflowed,
    ) {
        self.owners = owners;
        self.seen_at = at;
        self.put_off();
        let mut reading = self.history.depth_read(at, members, overflowed);
        reading.changes.splice(0..0, self.unreported.drain(..));
        self.fresh = Some((reading, None));
    }

    pub(super) fn wants_census(&self) -> bool {
        self.fresh.as_ref().is_some_and(|(reading, _)| reading.wants_census)
    }

    pub(super) fn is_occupied(&self) -> bool {
        self.fresh.as_ref().is_some_and(|(reading, _)| reading.depth.queued > 0)
    }

    pub(super) fn census_taken(&mut self, at: Time, census: &Census) {
        if let Some((_, taken)) = &mut self.fresh {
            *taken = Some(self.history.census_taken(at, census));
        }
    }

    pub(super) fn reading_failed(&mut self) {
        self.put_off();
        self.history.reading_failed();
    }

    /// What a sample that failed had found out.
    fn put_off(&mut self) {
        if let Some((reading, census)) = self.fresh.take() {
            self.unreported.extend(reading.changes);
            self.unreported.extend(census.into_iter().flat_map(|census| census.changes));
        }
    }

    /// What was read just now.
    pub(super) fn report(&mut self, at: Time, namespace: Namespace, endpoint: &Endpoint) -> Option<Reading> {
        let (depth_reading, census) = self.fresh.take()?;
        Some(Reading {
            namespace,
            endpoint: endpoint.clone(),
            owners: self.owners.clone(),
            sockets: self.sockets.clone(),
            is_new: !std::mem::replace(&mut self.is_reported, true),
            depth_reading,
            census,
            status: self.history.status(at),
        })
    }

    /// Of one that was never reported, there is nothing to report.
    pub(super) fn gone(self, at: Time, namespace: Namespace, endpoint: Endpoint) -> Option<Gone> {
        let Followed { owners, history, is_reported, .. } = self;
        is_reported.then(|| Gone { namespace, endpoint, owners, conditions: history.status(at).conditions })
    }
}
