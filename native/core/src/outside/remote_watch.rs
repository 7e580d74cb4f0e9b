//! The watched listeners of another process, each by a number that the asker has given it: what [`crate::monitor::watch`] is to
//! this process. They live as long as the program that holds this: the next one answers [`Lost`] to their numbers.

use std::collections::HashMap;
use std::time::Instant;

use crate::Error;
use crate::outside::remote::{Remote, RemoteSocket};
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};

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

/// The answer about one watch.
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

    /// Forgets it.
    pub fn end(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Reads the first tier of each: one dump for all.
    pub fn read(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<DepthReading>> {
        let shown = remote.shown(self.sockets(ids));
        let read = |watched: &mut Watched| {
            let depths = shown.as_ref().map_err(|&error| error);
            let depths = depths.and_then(|shown| remote.depths_among(&watched.sockets, shown));
            let depths = depths.inspect_err(|_| watched.history.reading_failed())?;
            Ok(watched.history.depth_read(at, depths))
        };
        self.each(ids, at, read)
    }

    /// Takes a census of each: one walk for all.
    pub fn census(&mut self, remote: &mut Remote, ids: &[u64], at: Time) -> Vec<Answer<CensusTaken>> {
        let begun = Instant::now();
        let queues = remote.queues(self.sockets(ids));
        let read = |watched: &mut Watched| {
            let queues = queues.as_ref().map_err(|&error| error)?;
            let census = remote.census_among(&watched.sockets, queues)?.taken_in(begun.elapsed());
            Ok(watched.history.census_taken(at, &census))
        };
        self.each(ids, at, read)
    }

    /// What is known, without a reading.
    pub fn status(&self, id: u64, at: Time) -> Result<Status, Lost> {
        self.0.get(&id).map(|watched| watched.history.status(at)).ok_or(Lost)
    }

    /// The sockets of one.
    pub fn sockets_of(&self, id: u64) -> Result<&[RemoteSocket], Lost> {
        self.0.get(&id).map(|watched| watched.sockets.as_slice()).ok_or(Lost)
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
