//! One watched listener of this process: its sockets and its history. What the monitor keeps of each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::linux::counters::{self, KeptCounters};
use crate::linux::diag::States;
use crate::linux::epoll::{Arrivals, Token};
use crate::linux::namespace;
use crate::linux::sockopt::{self, SocketNamespace};
use crate::monitor::kept::Kept;
use crate::reading::queue::Queues;
use crate::reading::survey;
use crate::reading::waits::{self, Waits};
use crate::rules::detector::{Settings, Time};
use crate::rules::history::{CensusTaken, DepthReading, History, Status};
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Depth, Endpoint, Error, Listener, Listeners, Members};

/// A listener that is read again and again. Its status may be asked for at any time, from any thread.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    settings: Arc<Settings>,
    /// `None`: that of this process, or not known.
    namespace: Option<SocketNamespace>,
    /// All sockets are of TCP. Those that come later are at the same address.
    is_tcp: bool,
    listeners: Mutex<Listeners>,
    /// After the last census, by what it cost; in ms.
    census_pause_ms: AtomicU64,
    /// How often the sockets have been replaced.
    sockets_version: AtomicU64,
    history: Mutex<History>,
    reported: Mutex<Reported>,
}

/// The failures that have been reported, and how often the watches had been replaced by then.
#[derive(Debug, Default)]
struct Reported {
    generation: u64,
    depth: Option<Error>,
    census: Option<Error>,
}

/// Which of the two tiers was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tier {
    Depth,
    Census,
}

/// What became of a reading of the first tier.
pub(super) enum Taken {
    /// It was taken in.
    Whole(DepthReading),
    /// So much was dropped, and it is not known yet whether that was for want of room: [`Watch::take_in`] waits for it.
    Dropped(Members<Depth>, Dropped),
}

impl Watch {
    /// Begins now, by the number that its owner gives it.
    pub fn new(id: u64, listeners: Listeners, settings: Settings, at: Time) -> Watch {
        let settings = shared(settings);
        let namespace = listeners.sockets().first().and_then(|socket| namespace::foreign(socket.fd()));
        let is_tcp = listeners.sockets().iter().all(|socket| matches!(socket.endpoint(), Endpoint::Tcp(_)));
        let history = Mutex::new(History::new(Arc::clone(&settings), at));
        let listeners = Mutex::new(listeners);
        let (census_pause_ms, sockets_version, reported) = <_>::default();
        Watch { id, settings, namespace, is_tcp, listeners, census_pause_ms, sockets_version, history, reported }
    }

    /// Its owner's number for it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often it wants to be read.
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// How often a census of it is taken while nothing happens.
    pub(super) fn census(&self) -> Duration {
        self.settings.census
    }

    /// Goes on with these sockets: one has come or gone, or all have been closed and opened again. What is known stays.
    pub fn replace_sockets(&self, listeners: Listeners) {
        *locked(&self.listeners) = listeners;
        self.sockets_version.fetch_add(1, Ordering::Release);
    }

    /// Another number when the sockets have been replaced.
    pub(super) fn sockets_version(&self) -> u64 {
        self.sockets_version.load(Ordering::Acquire)
    }

    /// From now on, and until it is read again, its queue is empty as long as the kernel does not say that a connection waits.
    /// [`Error::Closed`]: a descriptor is no longer that of its socket. Then what another socket was armed for may be lost.
    pub(super) fn wait_for_a_connection(&self, arrivals: &Arrivals, token: Token) -> Result<(), Error> {
        let listeners = self.listeners();
        for socket in listeners.sockets() {
            // What is its own before and after was so in between.
            socket.vouched(Ok(()))?;
            socket.vouched(arrivals.arm(sockopt::borrow(socket.fd())?, token))?;
        }
        locked(&self.history).wait_for_a_connection();
        Ok(())
    }

    /// Whether each of its sockets is open. One system call a socket.
    pub(super) fn are_open(&self) -> bool {
        self.listeners().sockets().iter().all(Listener::is_open)
    }

    /// Whether it is time for a census.
    pub(super) fn wants_census(&self, at: Time) -> bool {
        locked(&self.history).wants_census(at)
    }

    /// No connection waits, as far as is known. In another network namespace a dump of this one does not say more.
    fn is_at_rest(&self) -> bool {
        self.namespace.is_none() && locked(&self.history).is_at_rest()
    }

    /// No census is needed if there are no more in CLOSE_WAIT than this. Of a Unix socket one walk brings everything.
    fn spares(&self, at: Time) -> Option<u32> {
        if self.is_tcp && self.namespace.is_none() { locked(&self.history).spares(at) } else { None }
    }

    /// No census is taken for so long.
    pub(super) fn pauses_for(&self, pause: Duration) {
        self.census_pause_ms.store(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether it has a queue that may overflow and drain without being seen: the kernel counts that, but not of a Unix socket.
    pub(super) fn may_drop(&self) -> bool {
        self.is_tcp
    }

    /// Reads the first tier: three system calls a socket. [`Error::Closed`] where all of its sockets have been closed.
    pub fn read(&self, at: Time) -> Result<DepthReading, Error> {
        let depths = self.depths()?;
        Ok(self.take_in(at, &depths, Overflowed::default()))
    }

    /// The same without taking it in.
    fn depths(&self) -> Result<Members<Depth>, Error> {
        self.listeners().depths().inspect_err(|_| locked(&self.history).reading_failed())
    }

    /// The same, taken in where nothing was dropped since the reading before. `counted`: the overflows of its namespace before it.
    pub(super) fn read_unless_dropped(&self, at: Time, counted: Option<u64>) -> Result<Taken, Error> {
        let depths = self.depths()?;
        let mut history = locked(&self.history);
        let dropped = history.dropped(&depths);
        if dropped.count > 0 {
            return Ok(Taken::Dropped(depths, dropped));
        }
        Ok(Taken::Whole(history.depth_read(at, &depths, Overflowed { at_most: None, since: counted })))
    }

    /// A second reading at the same time, taken in where its queue has been emptied meanwhile and nothing was dropped.
    pub(super) fn read_if_empty(&self, at: Time, counted: Option<u64>) -> Option<DepthReading> {
        let depths = self.listeners().depths().ok().filter(|depths| depths.sum().queued == 0)?;
        let mut history = locked(&self.history);
        (history.dropped(&depths).count == 0)
            .then(|| history.depth_read(at, &depths, Overflowed { at_most: None, since: counted }))
    }

    /// Takes a reading in.
    pub(super) fn take_in(&self, at: Time, depths: &Members<Depth>, overflowed: Overflowed) -> DepthReading {
        locked(&self.history).depth_read(at, depths, overflowed)
    }

    /// The network namespace of its sockets; `None`: that of this process, or not known.
    pub(super) fn namespace(&self) -> Option<SocketNamespace> {
        self.namespace
    }

    /// `ListenOverflows` of the network namespace of its sockets, where that may be entered. `kept`: those of this process.
    pub(super) fn listen_overflows(&self, kept: &mut KeptCounters) -> Option<u64> {
        match self.namespace {
            None => kept.listen_overflows().ok()?,
            Some(_) => counters::listen_overflows_beside(self.listeners().sockets().first()?.fd()).ok()?,
        }
    }

    /// A reading failed: whether that is to be reported. It is not where the one before failed alike.
    pub(super) fn has_failed(&self, tier: Tier, error: Error, generation: u64) -> bool {
        let mut reported = locked(&self.reported);
        // The monitor may be another one.
        let is_known = std::mem::replace(&mut reported.generation, generation) == generation;
        reported.of(tier).replace(error) != Some(error) || !is_known
    }

    /// A reading succeeded: whether the one before failed.
    pub(super) fn has_recovered(&self, tier: Tier) -> bool {
        locked(&self.reported).of(tier).take().is_some()
    }

    fn listeners(&self) -> Listeners {
        locked(&self.listeners).clone()
    }

    /// How long the connections waited that were accepted from it, as far as they were counted.
    pub fn waits(&self) -> Waits {
        waits::of(&self.listeners())
    }

    /// What is known, without a reading.
    pub fn status(&self, at: Time) -> Status {
        let status = locked(&self.history).status(at);
        let pause = Duration::from_millis(self.census_pause_ms.load(Ordering::Relaxed));
        Status { census_every: status.census_every.max(pause), ..status }
    }
}

impl Reported {
    fn of(&mut self, tier: Tier) -> &mut Option<Error> {
        match tier {
            Tier::Depth => &mut self.depth,
            Tier::Census => &mut self.census,
        }
    }
}

/// Those of another watch where they are the same: almost always all have the same.
fn shared(settings: Settings) -> Arc<Settings> {
    static KNOWN: Mutex<Vec<Weak<Settings>>> = Mutex::new(Vec::new());
    let mut known = locked(&KNOWN);
    if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|known| **known == settings) {
        return same;
    }
    known.retain(|known| known.strong_count() > 0);
    let settings = Arc::new(settings);
    known.push(Arc::downgrade(&settings));
    settings
}

/// A thread that panicked with the lock in hand has left figures, and nothing that could be broken by half.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a census of each that cannot be spared it; `None`: that is, and what no rule asks for was not counted. Of those at which no connection
/// waits it is taken for all together, and without ages; of the others, where they are many, by one dump for each family.
pub fn census(
    kept: &mut Kept,
    watches: &[&Watch],
    at: Time,
    is_sampled: bool,
) -> Vec<Result<Option<CensusTaken>, Error>> {
    let begun = Instant::now();
    let spared = if is_sampled { vec![false; watches.len()] } else { spared(kept, watches, at) };
    let due: Vec<_> = watches.iter().zip(&spared).map(|(watch, spared)| (!spared).then(|| Due::of(watch))).collect();
    let rest: Vec<_> = due.iter().flatten().collect();
    let mut counted = at_rest(kept, &rest, States::LISTENERS_AND_CHILDREN);
    if rest.iter().filter(|due| due.listeners.census_among(&counted).is_none()).count() > survey::FEW {
        // Where this fails, each census fails on its own.
        counted.extend(survey::survey().unwrap_or_default());
    }
    let take = |(watch, due): (&&Watch, &Option<Due>)| {
        let Some(Due { listeners, .. }) = due else {
            locked(&watch.history).census_spared(at);
            return Ok(None);
        };
        let census = listeners.census_among(&counted).map_or_else(|| listeners.census(), Ok);
        let mut history = locked(&watch.history);
        let census = census.inspect_err(|_| history.census_failed(at))?;
        Ok(Some(history.census_taken(at, &census.taken_in(begun.elapsed()))))
    };
    watches.iter().zip(&due).map(take).collect()
}

/// A watch that wants a census.
struct Due {
    listeners: Listeners,
    is_at_rest: bool,
}

impl Due {
    fn of(watch: &Watch) -> Due {
        Due { listeners: watch.listeners(), is_at_rest: watch.is_at_rest() }
    }
}

/// Which of them have no more in CLOSE_WAIT than they may.
fn spared(kept: &mut Kept, watches: &[&Watch], at: Time) -> Vec<bool> {
    let most: Vec<_> = watches.iter().map(|watch| watch.spares(at)).collect();
    let Some(&least) = most.iter().flatten().min() else {
        return vec![false; watches.len()];
    };
    // No more can be than there are sockets with a peer.
    let listening = most.iter().flatten().count() as u32;
    if kept.sockstat.tcp_in_use().is_ok_and(|in_use| in_use.saturating_sub(listening) <= least) {
        return most.iter().map(Option::is_some).collect();
    }
    let asked: Vec<_> = watches.iter().zip(&most).filter_map(|(watch, most)| most.map(|_| Due::of(watch))).collect();
    let counted = at_rest(kept, &asked.iter().collect::<Vec<_>>(), States::LISTENERS_AND_CLOSE_WAIT);
    let is_spared = |(watch, most): (&&Watch, &Option<u32>)| {
        most.is_some_and(|most| {
            watch.listeners().census_among(&counted).is_some_and(|census| census.counts.close_wait <= most)
        })
    };
    watches.iter().zip(&most).map(is_spared).collect()
}

/// What is counted of those at rest; nothing where that fails.
fn at_rest(kept: &mut Kept, due: &[&Due], states: States) -> Queues {
    let resting = due.iter().filter(|due| due.is_at_rest);
    let endpoints: Vec<_> = resting.flat_map(|due| due.listeners.sockets()).map(Listener::endpoint).collect();
    if endpoints.is_empty() {
        return Queues::default();
    }
    kept.diag.with(|diag| survey::at_rest_some(diag, &endpoints, states)).unwrap_or_default().into()
}
