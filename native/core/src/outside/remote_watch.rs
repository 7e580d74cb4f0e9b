//! The watched listeners of another process, each by a number that the asker has given it: what [`crate::monitor::watch`] is to this
//! process. When the program that holds this ends, the numbers are unknown to the next one, and so they say.

use std::collections::HashMap;
use std::time::Instant;

use crate::outside::remote::{Remote, RemoteSocket};
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::{Census, Depth, Error};

/// What is remembered of each.
#[derive(Debug, Default)]
pub struct Watches(HashMap<u64, Watched>);

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

/// What a watch has to say of itself.
pub type Answer<T> = Result<Result<T, Error>, Lost>;

impl Watches {
    /// Begins now.
    pub fn begin(&mut self, id: u64, sockets: Vec<RemoteSocket>, settings: Settings, at: Time) {
        if self.0.len() >= MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, watched)| watched.asked).map(|(&id, _)| id)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(id, Watched { sockets, history: History::new(settings, at), asked: at });
    }

    /// Remembers it no longer.
    pub fn end(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Reads the first tier of each: one dump for all.
    pub fn read(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<DepthReading>> {
        let shown = remote.shown(self.sockets(ids));
        let read = |watched: &mut Watched| {
            let depth: Result<Depth, Error> =
                shown.as_ref().map_err(|&error| error).and_then(|shown| remote.depth_among(&watched.sockets, shown));
            let depth = depth.inspect_err(|_| watched.history.reading_failed())?;
            Ok(watched.history.depth_read(at, depth))
        };
        self.each(ids, at, read)
    }

    /// Looks at who stands in each of these queues: one walk for all.
    pub fn census(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<CensusTaken>> {
        let begun = Instant::now();
        let everybody = remote.survey(self.sockets(ids));
        let read = |watched: &mut Watched| {
            let look: Result<Census, Error> =
                everybody.as_ref().map_err(|&error| error).and_then(|all| remote.census_among(&watched.sockets, all));
            Ok(watched.history.census_taken(at, &look?.taken_in(begun.elapsed())))
        };
        self.each(ids, at, read)
    }

    /// What is known.
    pub fn status(&self, id: u64, at: Time) -> Result<Status, Lost> {
        self.0.get(&id).map(|watched| watched.history.status(at)).ok_or(Lost)
    }

    fn sockets(&self, ids: &[u64]) -> Vec<&RemoteSocket> {
        ids.iter().filter_map(|id| self.0.get(id)).flat_map(|watched| &watched.sockets).collect()
    }

    fn each<T>(
        &mut self,
        ids: &[u64],
        at: Time,
        mut read: impl FnMut(&mut Watched) -> Result<T, Error>,
    ) -> Vec<Answer<T>> {
        let answer = |id| {
            let watched = self.0.get_mut(id).ok_or(Lost)?;
            watched.asked = at;
            Ok(read(watched))
        };
        ids.iter().map(answer).collect()
    }
}
