//! The watched listeners of another process, each by a number that the asker has given it: what [`crate::monitor::watch`] is to
//! this process. They live as long as the program that holds this: the next one answers [`Lost`] to their numbers.

use std::collections::HashMap;
use std::time::Instant;

use crate::outside::remote::{Remote, RemoteSocket};
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::rules::overflows::{Dropped, Overflows};
use crate::{Depth, Error, Members};

/// What is remembered of each.
#[derive(Debug, Default)]
pub struct Watches {
    by_id: HashMap<u64, Watched>,
    overflows: Overflows,
}

#[derive(Debug)]
struct Watched {
    sockets: Vec<RemoteSocket>,
    history: History,
    asked: Time,
}

/// More are not watched at once. Those of an asker that was killed are asked for no more, and are forgotten first.
const MOST: usize = 16_384;

/// There is no watch of this number: it was made before this program began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// The answer about one watch.
pub type Answer<T> = Result<Result<T, Error>, Lost>;

impl Watches {
    /// Begins now.
    pub fn begin(&mut self, id: u64, sockets: Vec<RemoteSocket>, settings: Settings, at: Time) {
        if self.by_id.len() >= MOST
            && let Some(oldest) = self.by_id.iter().min_by_key(|(_, watched)| watched.asked).map(|(&id, _)| id)
        {
            self.by_id.remove(&oldest);
        }
        self.by_id.insert(id, Watched { sockets, history: History::new(settings, at), asked: at });
    }

    /// Forgets it.
    pub fn end(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    /// Goes on with these sockets, where there is such a watch: one has come or gone, or all have been closed and opened again.
    pub fn replace_sockets(&mut self, id: u64, sockets: Vec<RemoteSocket>) {
        if let Some(watched) = self.by_id.get_mut(&id) {
            watched.sockets = sockets;
        }
    }

    /// Reads the first tier of each: one dump for all.
    pub fn read(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<DepthReading>> {
        let shown = remote.shown(self.sockets(ids));
        let depths = self.each(ids, at, |watched| {
            let depths = shown.as_ref().map_err(|&error| error);
            let depths = depths.and_then(|shown| remote.depths_among(&watched.sockets, shown));
            let depths = depths.inspect_err(|_| watched.history.reading_failed())?;
            let is_due = watched.history.wants_census(at);
            Ok((watched.history.dropped(&depths), is_due, depths))
        });
        let known = |answer: &Answer<(Dropped, bool, Members<Depth>)>| match answer {
            Ok(Ok((dropped, is_due, _))) => (*dropped, *is_due),
            _ => (Dropped::default(), false),
        };
        let (dropped, is_due): (Vec<_>, Vec<_>) = depths.iter().map(known).unzip();
        let overflowed =
            self.overflows.attribute(&dropped, is_due.contains(&true), || remote.listen_overflows().ok()?);
        let answer = |((id, answer), overflowed): ((&u64, Answer<_>), _)| {
            let watched = self.by_id.get_mut(id).ok_or(Lost)?;
            Ok(answer?.map(|(_, _, depths)| watched.history.depth_read(at, &depths, overflowed)))
        };
        ids.iter().zip(depths).zip(overflowed).map(answer).collect()
    }

    /// Takes a census of each: one walk for all.
    pub fn census(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<CensusTaken>> {
        let begun = Instant::now();
        let queues = remote.queues(self.sockets(ids));
        let read = |watched: &mut Watched| {
            let queues = queues.as_ref().map_err(|&error| error);
            let census = queues.and_then(|queues| remote.census_among(&watched.sockets, queues));
            let census = census.inspect_err(|_| watched.history.census_failed(at))?;
            Ok(watched.history.census_taken(at, &census.taken_in(begun.elapsed())))
        };
        self.each(ids, at, read)
    }

    /// What is known, without a reading.
    pub fn status(&self, id: u64, at: Time) -> Result<Status, Lost> {
        self.by_id.get(&id).map(|watched| watched.history.status(at)).ok_or(Lost)
    }

    /// The sockets of one.
    pub fn sockets_of(&self, id: u64) -> Result<&[RemoteSocket], Lost> {
        self.by_id.get(&id).map(|watched| watched.sockets.as_slice()).ok_or(Lost)
    }

    fn sockets(&self, ids: &[u64]) -> Vec<&RemoteSocket> {
        ids.iter().filter_map(|id| self.by_id.get(id)).flat_map(|watched| &watched.sockets).collect()
    }

    fn each<T>(
        &mut self,
        ids: &[u64],
        at: Time,
        mut read: impl FnMut(&mut Watched) -> Result<T, Error>,
    ) -> Vec<Answer<T>> {
        let answer = |id| {
            let watched = self.by_id.get_mut(id).ok_or(Lost)?;
            watched.asked = at;
            Ok(read(watched))
        };
        ids.iter().map(answer).collect()
    }
}
