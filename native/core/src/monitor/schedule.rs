//! When to read which watches. Pure: the caller passes the time.
//!
//! A watch is *polled*, at its interval, or *waited for*: its queue has been empty for a while, and the kernel says when a connection
//! comes. One to which connections come soon after each other costs less when it is polled.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::linux::epoll::Token;
use crate::monitor::watch::Watch;
use crate::rules::detector::{Outlook, Time};

/// What is watched.
#[derive(Default)]
pub(super) struct Schedule {
    /// By number, so that some of them can be taken in turn.
    followed: BTreeMap<u64, Followed>,
    /// Those that are polled, by interval.
    grids: BTreeMap<Duration, Grid>,
    /// Those that are to be read before their turn: a connection has come, or a condition is about to hold.
    early: BTreeSet<(Time, u64)>,
    tokens: HashMap<Token, u64>,
    next_token: Token,
    search_due: Time,
    /// The last of those that were looked at in the last search.
    looked_at: u64,
    overflows_due: Time,
    censuses_due: Time,
    /// The shortest time from one census to the next that one of them has.
    census: Option<Duration>,
    wants_samples: bool,
    generation: u64,
}

struct Followed {
    watch: Arc<Watch>,
    mode: Mode,
    /// How long its queue must have been empty before it is waited for.
    patience: Duration,
    early: Option<Time>,
}

#[derive(Clone, Copy)]
enum Mode {
    Polled { quiet_since: Option<Time> },
    Waited { since: Time, token: Token, sockets: u64 },
}

/// The watches of one interval, read together: each waking costs more than what is done in it. Never empty.
struct Grid {
    due: Time,
    watches: BTreeMap<u64, Arc<Watch>>,
}

/// What is due now.
pub(super) struct Poll {
    pub(super) at: Time,
    pub(super) watches: Vec<Arc<Watch>>,
    /// It comes later than the next one was due, by this much.
    pub(super) late: Option<Duration>,
    /// It is time to see whether a listener is new or gone.
    pub(super) search: Option<Search>,
    /// Readings that change nothing are to be reported too, at the pace of each watch.
    pub(super) wants_samples: bool,
    /// How often the watches have been replaced.
    pub(super) generation: u64,
}

/// Once a second.
pub(super) struct Search {
    /// Some of the watches, others each time: one may have been closed.
    pub(super) some: Vec<Arc<Watch>>,
    /// Those that are waited for, when one may want a census or have overflowed; otherwise none.
    pub(super) waited: Vec<Arc<Watch>>,
    /// It is also time to see whether one of their queues has overflowed and drained unseen.
    pub(super) may_have_overflowed: bool,
}

/// How often to see whether a listener is new or gone: a dump of the listening sockets.
const SEARCH: Duration = Duration::from_secs(1);
/// How often to see whether a queue has overflowed and drained unseen: a file, which costs as much.
const OVERFLOWS: Duration = Duration::from_secs(5);
/// How many are looked at each time: one system call a socket.
const SOME: usize = 30;
/// A shorter interval would take a processor of its own.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long a queue must have been empty before it is waited for ...
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// ... how much longer after one has come sooner than that ...
const LESS_HASTE: u32 = 8;
/// ... and at most: also after one that came within its interval.
const MOST_PATIENCE: Duration = Duration::from_secs(64);

impl Schedule {
    /// Replaces what is watched. One that was there before goes on as it did, unless its sockets are others.
    pub(super) fn replace(&mut self, now: Time, watches: Vec<Arc<Watch>>, wants_samples: bool) {
        self.wants_samples = wants_samples;
        self.generation += 1;
        self.grids.values_mut().for_each(|grid| grid.watches.clear());
        let mut before = std::mem::take(&mut self.followed);
        let follow = |watch: Arc<Watch>| {
            let known = before.remove(&watch.id()).filter(|known| Arc::ptr_eq(&known.watch, &watch));
            (watch.id(), known.unwrap_or_else(|| Followed::new(watch)))
        };
        self.followed = watches.into_iter().map(follow).collect();
        self.early = self.followed.iter().filter_map(|(&id, followed)| Some((followed.early?, id))).collect();
        let goes_on = |one: &Followed| !wants_samples && one.is_waited_for() && !one.has_other_sockets();
        let polled: Vec<_> = self.followed.iter().filter(|(_, one)| !goes_on(one)).map(|(&id, _)| id).collect();
        polled.into_iter().for_each(|id| self.poll(now, id));
        self.grids.retain(|_, grid| !grid.watches.is_empty());
        self.census = self.followed.values().map(|followed| followed.watch.census()).min();
        let followed = &self.followed;
        self.tokens.retain(|_, id| followed.get(id).is_some_and(Followed::is_waited_for));
    }

    /// What is due; `None`: nothing is.
    pub(super) fn due(&mut self, at: Time) -> Option<Poll> {
        let (mut watches, mut late) = (Vec::new(), None);
        while let Some(&(due, id)) = self.early.first().filter(|(due, _)| *due <= at) {
            self.early.remove(&(due, id));
            let Some(followed) = self.followed.get_mut(&id) else { continue };
            followed.early = None;
            let is_due_anyway = self.grids.get(&interval(&followed.watch)).is_some_and(|grid| grid.due <= at);
            if !is_due_anyway {
                watches.push(Arc::clone(&followed.watch));
            }
        }
        for (&interval, grid) in self.grids.iter_mut().filter(|(_, grid)| grid.due <= at) {
            watches.extend(grid.watches.values().cloned());
            late = late.max(Some(at - grid.due).filter(|&late| late > interval));
            grid.due = next_on_grid(interval, at);
        }
        let search = is_due(&mut self.search_due, SEARCH, at).then(|| self.search(at));
        let Schedule { wants_samples, generation, .. } = *self;
        (search.is_some() || !watches.is_empty()).then_some(Poll {
            at,
            watches,
            late,
            search,
            wants_samples,
            generation,
        })
    }

    fn search(&mut self, at: Time) -> Search {
        let may_have_overflowed = is_due(&mut self.overflows_due, OVERFLOWS, at);
        let may_want_census = self.census.is_some_and(|census| is_due(&mut self.censuses_due, census, at));
        let waited = self.followed.values().filter(|followed| followed.is_waited_for()).map(|followed| &followed.watch);
        let waited = if may_have_overflowed || may_want_census { waited.cloned().collect() } else { Vec::new() };
        let next = self.followed.range((Bound::Excluded(self.looked_at), Bound::Unbounded));
        let some: Vec<_> = next.chain(self.followed.range(..=self.looked_at)).take(SOME).collect();
        self.looked_at = some.last().map_or(0, |&(&id, _)| id);
        let some = some.into_iter().map(|(_, followed)| Arc::clone(&followed.watch)).collect();
        Search { some, waited, may_have_overflowed }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Time {
        let grids = self.grids.values().map(|grid| grid.due);
        let early = self.early.first().map(|&(due, _)| due);
        grids.chain(early).fold(self.search_due, Time::min)
    }

    /// A watch has been read: whether it is to be waited for from now on, and by which token. Then it is, unless
    /// [`Schedule::poll_again`] says that it cannot be.
    pub(super) fn was_read(&mut self, at: Time, id: u64, outlook: Outlook) -> Option<Token> {
        self.read_early(id, outlook.due_at);
        let wants_samples = self.wants_samples;
        let followed = self.followed.get_mut(&id)?;
        let Mode::Polled { quiet_since } = &mut followed.mode else { return None };
        if !outlook.is_quiet {
            *quiet_since = None;
            return None;
        }
        let quiet_for = at.saturating_sub(*quiet_since.get_or_insert(at));
        if wants_samples || quiet_for < followed.patience {
            return None;
        }
        self.next_token = self.next_token.wrapping_add(1);
        let token = self.next_token;
        followed.mode = Mode::Waited { since: at, token, sockets: followed.watch.sockets_version() };
        self.tokens.insert(token, id);
        if let Entry::Occupied(mut grid) = self.grids.entry(interval(&followed.watch)) {
            grid.get_mut().watches.remove(&id);
            if grid.get().watches.is_empty() {
                grid.remove();
            }
        }
        Some(token)
    }

    /// A connection waits: it is read at once.
    pub(super) fn arrived(&mut self, at: Time, token: Token) {
        let Some(&id) = self.tokens.get(&token) else { return };
        if let Some(followed) = self.followed.get_mut(&id)
            && let Mode::Waited { since, .. } = followed.mode
        {
            let patience = match at.saturating_sub(since) {
                // Polled, it would have been read as soon.
                waited if waited < interval(&followed.watch) => MOST_PATIENCE,
                waited if waited < followed.patience => followed.patience * LESS_HASTE,
                _ => LEAST_PATIENCE,
            };
            followed.patience = patience.min(MOST_PATIENCE);
            self.poll_at_once(at, id);
        }
    }

    /// It cannot be waited for, or something may have happened to it of which the kernel does not say a word.
    pub(super) fn poll_again(&mut self, at: Time, id: u64) {
        if self.followed.get(&id).is_some_and(Followed::is_waited_for) {
            self.poll_at_once(at, id);
        }
    }

    /// All of them.
    pub(super) fn poll_all_again(&mut self, at: Time) {
        let waited: Vec<_> = self.followed.iter().filter(|(_, one)| one.is_waited_for()).map(|(&id, _)| id).collect();
        waited.into_iter().for_each(|id| self.poll_at_once(at, id));
    }

    fn poll_at_once(&mut self, at: Time, id: u64) {
        self.read_early(id, Some(at));
        self.poll(at, id);
    }

    /// It is read before its turn at this time, and at no other.
    fn read_early(&mut self, id: u64, due: Option<Time>) {
        let Some(followed) = self.followed.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut followed.early, due) {
            self.early.remove(&(before, id));
        }
        self.early.extend(due.map(|due| (due, id)));
    }

    fn poll(&mut self, now: Time, id: u64) {
        let Some(followed) = self.followed.get_mut(&id) else { return };
        if let Mode::Waited { token, .. } = followed.mode {
            self.tokens.remove(&token);
            followed.mode = Mode::Polled { quiet_since: None };
        }
        let interval = interval(&followed.watch);
        let grid = self
            .grids
            .entry(interval)
            .or_insert_with(|| Grid { due: next_on_grid(interval, now), watches: BTreeMap::new() });
        grid.watches.insert(id, Arc::clone(&followed.watch));
    }
}

impl Followed {
    fn new(watch: Arc<Watch>) -> Followed {
        Followed { watch, mode: Mode::Polled { quiet_since: None }, patience: LEAST_PATIENCE, early: None }
    }

    fn is_waited_for(&self) -> bool {
        matches!(self.mode, Mode::Waited { .. })
    }

    fn has_other_sockets(&self) -> bool {
        matches!(self.mode, Mode::Waited { sockets, .. } if sockets != self.watch.sockets_version())
    }
}

fn interval(watch: &Watch) -> Duration {
    watch.interval().max(SHORTEST)
}

/// Whether it is; then it is due again on the grid.
fn is_due(due: &mut Time, interval: Duration, at: Time) -> bool {
    let is_due = *due <= at;
    if is_due {
        *due = next_on_grid(interval, at);
    }
    is_due
}

/// The multiples of an interval since the clock began: grids meet where they can. What has been missed is left out.
fn next_on_grid(interval: Duration, at: Time) -> Time {
    let past = at.as_nanos() % interval.as_nanos();
    at + interval - Duration::from_nanos(past as u64)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::Listener;
    use crate::rules::detector::Settings;

    const QUIET: Outlook = Outlook { is_quiet: true, due_at: None };

    /// How long its queue is empty before it is waited for.
    fn patience(schedule: &mut Schedule, from: Time) -> (Duration, Token) {
        let step = Duration::from_millis(100);
        (0..)
            .find_map(|n| schedule.was_read(from + n * step, 1, QUIET).map(|token| (n * step, token)))
            .expect("it is waited for at some time")
    }

    #[test]
    fn the_sooner_a_connection_comes_the_longer_it_is_polled() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let listener = Listener::open(listener.as_raw_fd()).expect("it listens");
        let mut schedule = Schedule::default();
        let mut at = Time::from_secs(1000);
        schedule.replace(at, vec![Arc::new(Watch::new(1, listener.into(), Settings::default(), at))], false);
        let comes_after = [
            // Of the one before it, what it is waited for then.
            (Duration::from_secs(3600), LEAST_PATIENCE),
            (Duration::from_millis(500), LEAST_PATIENCE * LESS_HASTE),
            (Duration::from_secs(7), MOST_PATIENCE),
            (Duration::from_secs(65), LEAST_PATIENCE),
            (Duration::from_millis(99), MOST_PATIENCE),
            (Duration::ZERO, MOST_PATIENCE),
        ];
        let (mut quiet_for, mut token) = patience(&mut schedule, at);
        assert_eq!(quiet_for, LEAST_PATIENCE);
        for (after, expected) in comes_after {
            at += quiet_for + after;
            schedule.arrived(at, token);
            (quiet_for, token) = patience(&mut schedule, at);
            assert_eq!(quiet_for, expected, "a connection after {after:?}");
        }
    }
}
