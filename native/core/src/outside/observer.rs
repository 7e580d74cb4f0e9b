//! The accept queues of other processes over time: [`crate::outside::snapshot`], again and again, judged by the same detector as a
//! listener that is watched from inside.
//!
//! A sample is one dump of the listeners of each network namespace, in the place of the owner's `getsockopt`; where that is refused,
//! one reading of `/proc/PID/net/tcp`, which has less in it. The processes that
//! own a listener are looked up when it is new, and all of them every few seconds, for a server may have begun in another
//! namespace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::outside::followed::Followed;
use crate::outside::holdings::{Holdings, Place, holdings};
use crate::outside::scope::{Gap, Scope};
use crate::outside::source::Source;
use crate::rules::detector::{Settings, Time};
use crate::rules::overflows::Overflows;
use crate::{Cookie, Endpoint, Error, Listening, Members, QueueKey};

pub use crate::outside::sample::{Gone, Reading, Sample};

/// Follows the queues in a scope.
pub struct Observer {
    scope: Scope,
    settings: Settings,
    visited: Vec<Visited>,
    gaps: Vec<Gap>,
    /// What has gone since the last sample that succeeded.
    gone: Vec<Gone>,
    searched: Option<Time>,
}

/// How often to look for servers in namespaces that are not known.
const SEARCH: Duration = Duration::from_secs(5);

/// A network namespace that is read.
struct Visited {
    place: Place,
    source: Option<Source>,
    /// It could not be entered. Not tried again before the next search: each attempt costs a thread.
    refusal: Option<Error>,
    /// It may be that more can be read there now.
    may_improve: bool,
    known: HashSet<Cookie>,
    followed: BTreeMap<QueueKey, Followed>,
    overflows: Overflows,
}

/// Of which queues to take a census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CensusScope {
    /// Where the detector wants it.
    Wanted,
    /// There, and wherever a connection waits.
    Occupied,
    /// All of them.
    All,
}

impl Observer {
    /// Nothing is read yet.
    pub fn new(scope: Scope, settings: Settings) -> Observer {
        Observer { scope, settings, visited: Vec::new(), gaps: Vec::new(), gone: Vec::new(), searched: None }
    }

    /// Reads everything in the scope. [`Error::NotFound`] where the scope is one process and it has ended.
    ///
    /// After an error the next sample that succeeds reports what has changed since: a change is reported once, and never lost.
    pub fn sample(&mut self, at: Time, scope: CensusScope) -> Result<Sample, Error> {
        let is_due = self.searched.is_none_or(|searched| at.saturating_sub(searched) >= SEARCH);
        let (mut listening, mut has_new) = self.listening(at);
        if is_due || has_new {
            self.search(at)?;
            (listening, has_new) = self.listening(at);
        }
        if has_new {
            // Another socket has begun to listen since.
            self.searched = None;
        }
        let mut gaps = self.gaps.clone();
        for (visited, listening) in self.visited.iter_mut().zip(listening) {
            let read = listening.and_then(|listening| {
                self.gone.extend(visited.fold(at, listening, self.settings));
                visited.take_census(at, scope)?;
                gaps.extend(visited.missing()?);
                Ok(())
            });
            if let Err(error) = read {
                visited.followed.values_mut().for_each(Followed::reading_failed);
                if error == Error::NotFound {
                    // The process by which the namespace was to be entered has ended.
                    self.searched = None;
                }
                gaps.extend(visited.place.refused(error)?);
            }
        }
        let readings = self.visited.iter_mut().flat_map(|visited| visited.report(at)).collect();
        Ok(Sample { readings, gone: std::mem::take(&mut self.gone), gaps })
    }

    /// Forgets what is followed, and reports it as gone. For when the scope is one process and it has ended.
    pub fn forget(&mut self, at: Time) -> Vec<Gone> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.extend(self.visited.drain(..).flat_map(|visited| visited.forget(at)));
        self.searched = None;
        gone
    }

    /// The listening sockets of each namespace, and whether any of them is new.
    fn listening(&mut self, at: Time) -> (Vec<Result<Vec<Listening>, Error>>, bool) {
        let mut has_new = false;
        let mut ask = |visited: &mut Visited| {
            let listening = visited.with_source(|source, place| source.listening(place, at))?;
            let now: HashSet<_> = listening.iter().map(|socket| socket.cookie).collect();
            has_new |= !now.is_subset(&visited.known);
            visited.known = now;
            Ok(listening)
        };
        (self.visited.iter_mut().map(&mut ask).collect(), has_new)
    }

    fn search(&mut self, at: Time) -> Result<(), Error> {
        let Holdings { places, gaps } = holdings(&self.scope)?;
        let mut before = std::mem::take(&mut self.visited);
        for place in places {
            let known = before.iter().position(|visited| visited.place.namespace == place.namespace);
            self.visited.push(match known {
                Some(index) => Visited { place, refusal: None, may_improve: true, ..before.swap_remove(index) },
                None => Visited {
                    place,
                    source: None,
                    refusal: None,
                    may_improve: false,
                    known: HashSet::new(),
                    followed: BTreeMap::new(),
                    overflows: Overflows::default(),
                },
            });
        }
        // No process of the scope is left there.
        self.gone.extend(before.into_iter().flat_map(|visited| visited.forget(at)));
        self.visited.sort_by_key(|visited| visited.place.namespace);
        self.gaps = gaps;
        self.searched = Some(at);
        Ok(())
    }
}

impl Visited {
    /// A netlink socket that failed may have the rest of an answer in it, and is opened again.
    fn with_source<T>(&mut self, ask: impl FnOnce(&mut Source, &Place) -> Result<T, Error>) -> Result<T, Error> {
        let may_improve = std::mem::take(&mut self.may_improve);
        let mut source = match (self.source.take(), self.refusal) {
            (Some(source), _) if may_improve && source.is_partial() => match Source::open(&self.place) {
                Ok(better) if !better.is_partial() => better,
                _ => source,
            },
            (Some(source), _) => source,
            (None, Some(refusal)) => return Err(refusal),
            (None, None) => Source::open(&self.place).inspect_err(|&error| self.refusal = Some(error))?,
        };
        let answer = ask(&mut source, &self.place)?;
        self.source = Some(source);
        Ok(answer)
    }

    /// What its source does not say.
    fn missing(&self) -> Result<Vec<Gap>, Error> {
        let owners = self.followed.values().flat_map(Followed::owners);
        self.source.as_ref().map_or(Ok(Vec::new()), |source| source.missing(&self.place, owners))
    }

    /// Takes in how deep the queues are. What is no longer there, and has not been opened again in time, comes back.
    fn fold(&mut self, at: Time, listening: Vec<Listening>, settings: Settings) -> Vec<Gone> {
        let mut before = std::mem::take(&mut self.followed);
        let mut gone = Vec::new();
        self.place.learn_names(&listening);
        let mut read = Vec::new();
        let queues = by_queue(listening);
        let closed: Vec<_> = before.keys().filter(|key| !queues.contains_key(key)).cloned().collect();
        for (key, mut sockets) in queues {
            sockets.retain(|socket| self.place.has(socket.inode));
            let inodes = sockets.iter().map(|socket| socket.inode);
            let Some(owners) = self.place.owners(&key.endpoint, inodes) else { continue };
            let Ok(members) = Members::read(sockets.iter().map(|socket| (socket.cookie, Ok(socket.depth)))) else {
                continue;
            };
            let sockets: Vec<_> = sockets.iter().map(|socket| (socket.cookie, socket.inode)).collect();
            // A Unix path that was closed and bound again has another key.
            let known = before
                .remove(&key)
                .or_else(|| before.remove(closed.iter().find(|closed| closed.endpoint == key.endpoint)?));
            let same = match known {
                Some(followed) if followed.goes_on_with(&sockets) || followed.is_reopened_by(&owners, at) => {
                    Some(followed)
                }
                Some(other) => {
                    gone.extend(other.gone(at, self.place.namespace, key.endpoint.clone()));
                    None
                }
                None => None,
            };
            let followed = same.unwrap_or_else(|| Followed::new(settings, at)).with_sockets(sockets);
            read.push((key, followed, owners, members));
        }
        let dropped: Vec<_> = read.iter().map(|(_, followed, _, members)| followed.dropped(members)).collect();
        let is_due = read.iter().any(|(_, followed, ..)| followed.is_census_due(at));
        let place = &self.place;
        let overflowed = self.overflows.attribute(&dropped, is_due, || place.listen_overflows());
        for ((key, mut followed, owners, members), overflowed) in read.into_iter().zip(overflowed) {
            followed.depth_read(at, owners, &members, overflowed);
            self.followed.insert(key, followed);
        }
        let namespace = self.place.namespace;
        let (closed, ended): (Vec<_>, Vec<_>) = before.into_iter().partition(|(_, followed)| followed.may_reopen(at));
        self.followed.extend(closed);
        gone.extend(ended.into_iter().filter_map(|(key, followed)| followed.gone(at, namespace, key.endpoint)));
        gone
    }

    /// Takes a census, where that is wanted.
    fn take_census(&mut self, at: Time, scope: CensusScope) -> Result<(), Error> {
        let is_wanted = |followed: &Followed| match scope {
            CensusScope::Wanted => followed.wants_census(),
            CensusScope::Occupied => followed.wants_census() || followed.is_occupied(),
            CensusScope::All => true,
        };
        let wanted: Vec<_> = self.followed.iter().filter(|(_, f)| is_wanted(f)).map(|(key, _)| key.clone()).collect();
        let endpoints: Vec<_> = wanted.iter().map(|key| &key.endpoint).collect();
        let queues = self.with_source(|source, place| source.survey(place, &endpoints))?;
        let taken: HashMap<_, _> =
            queues.into_iter().map(|queue| (key(&queue.endpoint, queue.sockets[0].0), queue.census)).collect();
        for key in wanted {
            if let (Some(followed), Some(census)) = (self.followed.get_mut(&key), taken.get(&key)) {
                followed.census_taken(at, census);
            }
        }
        Ok(())
    }

    /// What was read just now.
    fn report(&mut self, at: Time) -> impl Iterator<Item = Reading> {
        let namespace = self.place.namespace;
        self.followed.iter_mut().filter_map(move |(key, followed)| followed.report(at, namespace, &key.endpoint))
    }

    fn forget(self, at: Time) -> impl Iterator<Item = Gone> {
        let namespace = self.place.namespace;
        self.followed.into_iter().filter_map(move |(key, followed)| followed.gone(at, namespace, key.endpoint))
    }
}

/// By queue, within the namespace that is read.
fn key(endpoint: &Endpoint, cookie: Cookie) -> QueueKey {
    QueueKey::of(endpoint, None, cookie)
}

/// The TCP sockets that share an address are one queue to a client.
fn by_queue(listening: Vec<Listening>) -> BTreeMap<QueueKey, Vec<Listening>> {
    let mut shared: BTreeMap<QueueKey, Vec<Listening>> = BTreeMap::new();
    for socket in listening {
        shared.entry(key(&socket.endpoint, socket.cookie)).or_default().push(socket);
    }
    for sockets in shared.values_mut() {
        sockets.sort_by_key(|socket| socket.cookie);
    }
    shared
}
