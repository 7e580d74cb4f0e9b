//! The accept queues of other processes over time: [`crate::outside::snapshot`], again and again, judged by the same detector as a
//! listener that is watched from inside.
//!
//! A sample is one dump of the listeners of each network namespace, in the place of the owner's `getsockopt`. Whose they are is
//! looked up when a listener is new, and every few seconds, for a server may have begun in another namespace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::address::Endpoint;
use crate::linux::diag::DiagSocket;
use crate::linux::namespace::Namespace;
use crate::outside::snapshot::{Gap, Holdings, Owner, Place, Scope, holdings};
use crate::reading::survey::{Listening, listening_through, survey_some};
use crate::rules::detector::{Change, Condition, Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::{Census, Cookie, Depth, Error, Inode};

/// Follows whatever is in its scope.
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

/// A network namespace that is looked at.
struct Visited {
    place: Place,
    diag: Option<DiagSocket>,
    /// It could not be entered. Not tried again before the next search: each attempt costs a thread.
    refusal: Option<Error>,
    known: HashSet<Cookie>,
    followed: BTreeMap<Endpoint, Followed>,
}

struct Followed {
    sockets: Vec<(Cookie, Inode)>,
    owners: Vec<Owner>,
    history: History,
    /// What this sample read.
    fresh: Option<(DepthReading, Option<CensusTaken>)>,
    /// What has changed since the last sample that succeeded.
    untold: Vec<Change>,
    /// Whether a sample that succeeded had it.
    is_told: bool,
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
    /// The sockets that share it.
    pub sockets: Vec<(Cookie, Inode)>,
    /// It was not there in the sample before.
    pub is_new: bool,
    /// How deep it is, and what that changed.
    pub depth_reading: DepthReading,
    /// Who stands in it, if that was looked at now, and what that changed.
    pub census: Option<CensusTaken>,
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
pub enum CensusScope {
    /// Where the detector wants it.
    Wanted,
    /// There, and wherever somebody waits.
    Occupied,
    /// At all of them.
    All,
}

impl Observer {
    /// Nothing is read yet.
    pub fn new(scope: Scope, settings: Settings) -> Observer {
        Observer { scope, settings, visited: Vec::new(), gaps: Vec::new(), gone: Vec::new(), searched: None }
    }

    /// Reads everything in the scope. [`Error::NotFound`] where the scope is one process and it has ended.
    ///
    /// After an error the next sample that succeeds tells what has changed since: a change is told once, and never lost.
    pub fn sample(&mut self, at: Time, looks: CensusScope) -> Result<Sample, Error> {
        let is_due = self.searched.is_none_or(|searched| at.saturating_sub(searched) >= SEARCH);
        let (mut listening, mut has_strangers) = self.listening();
        if is_due || has_strangers {
            self.search(at)?;
            (listening, has_strangers) = self.listening();
        }
        if has_strangers {
            // Somebody has begun to listen since.
            self.searched = None;
        }
        let mut gaps = self.gaps.clone();
        for (visited, listening) in self.visited.iter_mut().zip(listening) {
            let read = listening.and_then(|listening| {
                self.gone.extend(visited.fold(at, listening, self.settings));
                visited.look(at, looks)
            });
            if let Err(error) = read {
                visited.followed.values_mut().for_each(Followed::reading_failed);
                if error == Error::NotFound {
                    // Whoever was to be visited has ended.
                    self.searched = None;
                }
                gaps.extend(visited.place.refused(error)?);
            }
        }
        let readings = self.visited.iter_mut().flat_map(|visited| visited.tell(at)).collect();
        Ok(Sample { readings, gone: std::mem::take(&mut self.gone), gaps })
    }

    /// What is followed is followed no longer, and is told as gone. For when the scope is one process and it has ended.
    pub fn forget(&mut self, at: Time) -> Vec<Gone> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.extend(self.visited.drain(..).flat_map(|visited| visited.forget(at)));
        self.searched = None;
        gone
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
                Some(index) => Visited { place, refusal: None, ..before.swap_remove(index) },
                None => Visited { place, diag: None, refusal: None, known: HashSet::new(), followed: BTreeMap::new() },
            });
        }
        // Nobody of the scope is left there.
        self.gone.extend(before.into_iter().flat_map(|visited| visited.forget(at)));
        self.visited.sort_by_key(|visited| visited.place.namespace);
        self.gaps = gaps;
        self.searched = Some(at);
        Ok(())
    }
}

impl Visited {
    /// A socket that failed may have the rest of an answer in it.
    fn with_diag<T>(&mut self, ask: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        let mut diag = match (self.diag.take(), self.refusal) {
            (Some(diag), _) => diag,
            (None, Some(refusal)) => return Err(refusal),
            (None, None) => self.place.open().inspect_err(|&error| self.refusal = Some(error))?,
        };
        let answer = ask(&mut diag)?;
        self.diag = Some(diag);
        Ok(answer)
    }

    /// Takes in how deep the queues are. What is no longer there comes back.
    fn fold(&mut self, at: Time, listening: Vec<Listening>, settings: Settings) -> Vec<Gone> {
        let mut before = std::mem::take(&mut self.followed);
        let mut gone = Vec::new();
        self.place.learn_names(&listening);
        for (endpoint, sockets) in by_endpoint(listening) {
            let inodes = sockets.iter().map(|socket| socket.inode);
            let Some(owners) = self.place.owners(&endpoint, inodes) else { continue };
            let Some(depth) = sockets.iter().map(|socket| socket.depth).reduce(Depth::plus) else { continue };
            let sockets: Vec<_> = sockets.iter().map(|socket| (socket.cookie, socket.inode)).collect();
            let same = match before.remove(&endpoint) {
                Some(followed) if followed.sockets == sockets => Some(followed),
                Some(other) => {
                    gone.extend(other.gone(at, self.place.namespace, endpoint.clone()));
                    None
                }
                None => None,
            };
            let mut followed = same.unwrap_or_else(|| Followed::new(sockets, settings, at));
            followed.owners = owners;
            followed.depth_read(at, depth);
            self.followed.insert(endpoint, followed);
        }
        let namespace = self.place.namespace;
        gone.extend(before.into_iter().filter_map(|(endpoint, followed)| followed.gone(at, namespace, endpoint)));
        gone
    }

    /// Takes in who stands in them, where that is wanted.
    fn look(&mut self, at: Time, looks: CensusScope) -> Result<(), Error> {
        let is_wanted = |followed: &Followed| match looks {
            CensusScope::Wanted => followed.wants_census(),
            CensusScope::Occupied => followed.wants_census() || followed.is_occupied(),
            CensusScope::All => true,
        };
        let wanted: Vec<_> =
            self.followed.iter().filter(|(_, f)| is_wanted(f)).map(|(endpoint, _)| endpoint.clone()).collect();
        let begun = Instant::now();
        let queues = self.with_diag(|diag| survey_some(diag, &wanted.iter().collect::<Vec<_>>()))?;
        let took = begun.elapsed();
        let looks: HashMap<_, _> =
            queues.into_iter().map(|queue| (queue.endpoint, queue.census.taken_in(took))).collect();
        for endpoint in wanted {
            if let (Some(followed), Some(look)) = (self.followed.get_mut(&endpoint), looks.get(&endpoint)) {
                followed.census_taken(at, look);
            }
        }
        Ok(())
    }

    /// What was read just now.
    fn tell(&mut self, at: Time) -> impl Iterator<Item = Reading> {
        let namespace = self.place.namespace;
        self.followed.iter_mut().filter_map(move |(endpoint, followed)| {
            let (depth_reading, census) = followed.fresh.take()?;
            Some(Reading {
                namespace,
                endpoint: endpoint.clone(),
                owners: followed.owners.clone(),
                sockets: followed.sockets.clone(),
                is_new: !std::mem::replace(&mut followed.is_told, true),
                depth_reading,
                census,
                status: followed.history.status(at),
            })
        })
    }

    fn forget(self, at: Time) -> impl Iterator<Item = Gone> {
        let namespace = self.place.namespace;
        self.followed.into_iter().filter_map(move |(endpoint, followed)| followed.gone(at, namespace, endpoint))
    }
}

impl Followed {
    fn new(sockets: Vec<(Cookie, Inode)>, settings: Settings, at: Time) -> Followed {
        Followed {
            sockets,
            owners: Vec::new(),
            history: History::new(settings, at),
            fresh: None,
            untold: Vec::new(),
            is_told: false,
        }
    }

    fn depth_read(&mut self, at: Time, depth: Depth) {
        self.put_off();
        let mut tick = self.history.depth_read(at, depth);
        tick.changes.splice(0..0, self.untold.drain(..));
        self.fresh = Some((tick, None));
    }

    fn wants_census(&self) -> bool {
        self.fresh.as_ref().is_some_and(|(tick, _)| tick.wants_census)
    }

    fn is_occupied(&self) -> bool {
        self.fresh.as_ref().is_some_and(|(tick, _)| tick.depth.queued > 0)
    }

    fn census_taken(&mut self, at: Time, look: &Census) {
        if let Some((_, looked)) = &mut self.fresh {
            *looked = Some(self.history.census_taken(at, look));
        }
    }

    fn reading_failed(&mut self) {
        self.put_off();
        self.history.reading_failed();
    }

    /// What a sample that failed had found out.
    fn put_off(&mut self) {
        if let Some((tick, looked)) = self.fresh.take() {
            self.untold.extend(tick.changes);
            self.untold.extend(looked.into_iter().flat_map(|looked| looked.changes));
        }
    }

    /// Of one that nobody was told of, there is nothing to tell.
    fn gone(self, at: Time, namespace: Namespace, endpoint: Endpoint) -> Option<Gone> {
        let Followed { owners, history, is_told, .. } = self;
        is_told.then(|| Gone { namespace, endpoint, owners, conditions: history.status(at).conditions })
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
