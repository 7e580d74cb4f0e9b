//! The accept queues of other processes over time: [`crate::outside`], again and again, judged by the same detector as a
//! listener that is watched from inside.
//!
//! A sample is one dump of the listeners of each network namespace, in the place of the owner's `getsockopt`. Whose they are is
//! looked up when a listener is new, and every few seconds, for a server may have begun in another namespace.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::address::Endpoint;
use crate::detector::{Condition, Settings, Time};
use crate::diag::DiagSocket;
use crate::history::{History, Looked, Status, Tick};
use crate::outside::{Gap, Holdings, Owner, Place, Scope, holdings};
use crate::survey::{Listening, listening_through, survey_some};
use crate::vm::namespace::Namespace;
use crate::{Cookie, Depth, Error};

/// Follows whatever is in its scope.
pub struct Observer {
    scope: Scope,
    settings: Settings,
    visited: Vec<Visited>,
    gaps: Vec<Gap>,
    searched: Option<Time>,
}

/// How often to look for servers in namespaces that are not known.
const SEARCH: Duration = Duration::from_secs(5);

/// A network namespace that is looked at.
struct Visited {
    place: Place,
    diag: Option<DiagSocket>,
    known: HashSet<Cookie>,
    followed: BTreeMap<Endpoint, Followed>,
}

struct Followed {
    sockets: Vec<Cookie>,
    owners: Vec<Owner>,
    history: History,
}

/// What one sample brought.
#[derive(Debug, Default)]
pub struct Sample {
    /// Every queue in the scope, by namespace and address.
    pub readings: Vec<Reading>,
    /// Those that were there in the sample before.
    pub gone: Vec<Gone>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
}

/// One queue in one sample.
#[derive(Debug)]
pub struct Reading {
    /// Where the address means what it says.
    pub namespace: Namespace,
    /// The address.
    pub endpoint: Endpoint,
    /// Whose it is, as of the last search.
    pub owners: Vec<Owner>,
    /// It was not there in the sample before.
    pub is_new: bool,
    /// How deep it is, and what that changed.
    pub tick: Tick,
    /// Who stands in it, if that was looked at now, and what that changed.
    pub looked: Option<Looked>,
    /// Everything that is known of it.
    pub status: Status,
}

/// A queue whose listener has been closed, or has been made anew.
#[derive(Debug)]
pub struct Gone {
    /// Where the address meant what it says.
    pub namespace: Namespace,
    /// The address.
    pub endpoint: Endpoint,
    /// Whose it was.
    pub owners: Vec<Owner>,
    /// What stood.
    pub conditions: Vec<(Condition, Duration)>,
}

/// At which queues to look closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Where the detector wants it.
    Wanted,
    /// At all of them.
    All,
}

impl Observer {
    /// Nothing is read yet.
    pub fn new(scope: Scope, settings: Settings) -> Observer {
        Observer { scope, settings, visited: Vec::new(), gaps: Vec::new(), searched: None }
    }

    /// Reads everything in the scope. [`Error::NotFound`] where the scope is one process and it has ended.
    pub fn sample(&mut self, at: Time, looks: Looks) -> Result<Sample, Error> {
        let is_due = self.searched.is_none_or(|searched| at.saturating_sub(searched) >= SEARCH);
        let (mut listening, mut has_strangers) = self.listening();
        if is_due || has_strangers {
            self.search(at)?;
            (listening, has_strangers) = self.listening();
        }
        let mut sample = Sample::default();
        for (visited, listening) in self.visited.iter_mut().zip(listening) {
            if let Err(error) =
                listening.and_then(|listening| visited.read(at, listening, looks, self.settings, &mut sample))
            {
                visited.followed.values_mut().for_each(|followed| followed.history.missed());
                sample.gaps.extend(visited.place.refused(error)?);
            }
        }
        if has_strangers {
            // Somebody has begun to listen since.
            self.searched = None;
        }
        sample.gaps.extend(self.gaps.iter().cloned());
        Ok(sample)
    }

    /// Who listens in each namespace, and whether anybody is new there.
    fn listening(&mut self) -> (Vec<Result<Vec<Listening>, Error>>, bool) {
        let mut has_strangers = false;
        let mut ask = |visited: &mut Visited| {
            let listening = visited.with_diag(listening_through)?;
            let now: HashSet<_> = listening.iter().map(|socket| socket.cookie).collect();
            has_strangers |= !now.is_subset(&visited.known);
            visited.known = now;
            Ok(listening)
        };
        (self.visited.iter_mut().map(&mut ask).collect(), has_strangers)
    }

    fn search(&mut self, at: Time) -> Result<(), Error> {
        let Holdings { places, gaps } = holdings(&self.scope)?;
        let mut before = std::mem::take(&mut self.visited);
        for place in places {
            let known = before.iter().position(|visited| visited.place.namespace == place.namespace);
            self.visited.push(match known {
                Some(index) => Visited { place, ..before.swap_remove(index) },
                None => Visited { place, diag: None, known: HashSet::new(), followed: BTreeMap::new() },
            });
        }
        self.visited.sort_by_key(|visited| visited.place.namespace);
        self.gaps = gaps;
        self.searched = Some(at);
        Ok(())
    }
}

impl Visited {
    /// A socket that failed may have the rest of an answer in it.
    fn with_diag<T>(&mut self, ask: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        let mut diag = self.diag.take().map_or_else(|| self.place.open(), Ok)?;
        let answer = ask(&mut diag)?;
        self.diag = Some(diag);
        Ok(answer)
    }

    fn read(
        &mut self,
        at: Time,
        listening: Vec<Listening>,
        looks: Looks,
        settings: Settings,
        sample: &mut Sample,
    ) -> Result<(), Error> {
        let mut before = std::mem::take(&mut self.followed);
        let mut ticks = Vec::new();
        self.place.learn_names(&listening);
        for (endpoint, sockets) in by_endpoint(listening) {
            let inodes = sockets.iter().map(|socket| socket.inode);
            let Some(owners) = self.place.owners(&endpoint, inodes) else { continue };
            let Some(depth) = sockets.iter().map(|socket| socket.depth).reduce(Depth::plus) else { continue };
            let cookies: Vec<_> = sockets.iter().map(|socket| socket.cookie).collect();
            let same = match before.remove(&endpoint) {
                Some(followed) if followed.sockets == cookies => Some(followed),
                Some(other) => {
                    sample.gone.push(other.gone(at, self.place.namespace, endpoint.clone()));
                    None
                }
                None => None,
            };
            let is_new = same.is_none();
            let mut history = same.map_or_else(|| History::new(settings, at), |followed| followed.history);
            let tick = history.depth_read(at, depth);
            ticks.push((endpoint.clone(), is_new, tick));
            self.followed.insert(endpoint, Followed { sockets: cookies, owners, history });
        }
        let namespace = self.place.namespace;
        sample.gone.extend(before.into_iter().map(|(endpoint, followed)| followed.gone(at, namespace, endpoint)));
        let wanted: Vec<_> = ticks
            .iter()
            .filter(|(_, _, tick)| looks == Looks::All || tick.wants_look)
            .map(|(endpoint, _, _)| endpoint.clone())
            .collect();
        let queues = self.with_diag(|diag| survey_some(diag, &wanted.iter().collect::<Vec<_>>()))?;
        for (endpoint, is_new, tick) in ticks {
            let Some(followed) = self.followed.get_mut(&endpoint) else { continue };
            let seen = queues.iter().find(|queue| queue.endpoint == endpoint && wanted.contains(&endpoint));
            let looked = seen.map(|queue| followed.history.look_taken(at, &queue.look));
            sample.readings.push(Reading {
                namespace,
                owners: followed.owners.clone(),
                is_new,
                tick,
                looked,
                status: followed.history.status(at),
                endpoint,
            });
        }
        Ok(())
    }
}

impl Followed {
    fn gone(self, at: Time, namespace: Namespace, endpoint: Endpoint) -> Gone {
        let conditions = self.history.status(at).conditions;
        Gone { namespace, endpoint, owners: self.owners, conditions }
    }
}

/// Sockets that share an address are one queue to whoever connects.
fn by_endpoint(listening: Vec<Listening>) -> BTreeMap<Endpoint, Vec<Listening>> {
    let mut shared: BTreeMap<Endpoint, Vec<Listening>> = BTreeMap::new();
    for socket in listening {
        shared.entry(socket.endpoint.clone()).or_default().push(socket);
    }
    for sockets in shared.values_mut() {
        sockets.sort_by_key(|socket| socket.cookie);
    }
    shared
}
