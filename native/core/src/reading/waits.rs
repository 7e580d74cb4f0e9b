//! How long the accepted connections of a listener had waited: a histogram that any thread adds to without a lock.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::members::Sum;
use crate::{Cookie, Listener, Listeners};

/// The buckets: waits up to so many milliseconds, and more than the one before. Three to a decade, which is finer than what a
/// wait is measured with (a tick of the kernel's clock, 1 to 10 ms) and coarse enough for a metric of each bucket. What waited
/// longer is in one more bucket, behind these.
pub const BUCKETS_MS: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000];

const BUCKETS: usize = BUCKETS_MS.len() + 1;

/// Which bucket a wait is in.
pub fn bucket_of(ms: u64) -> usize {
    BUCKETS_MS.partition_point(|&up_to| up_to < ms)
}

/// The waits of the connections that were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    counts: [u64; BUCKETS],
    /// Of all of them.
    pub sum_ms: u64,
    longest_ms: u64,
}

impl Waits {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest; `None` where there was none.
    pub fn max_ms(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.longest_ms)
    }

    /// So many of a hundred waited no longer than this: the upper end of the bucket in which the last of them is, or the longest
    /// wait where that is shorter. `None` where there was none.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        let rank = (u128::from(count) * u128::from(percent.min(100))).div_ceil(100).max(1) as u64;
        let mut seen = 0;
        self.buckets()
            .find(|&(_, of_bucket)| {
                seen += of_bucket;
                count > 0 && seen >= rank
            })
            .map(|(up_to, _)| up_to.map_or(self.longest_ms, |up_to| up_to.min(self.longest_ms)))
    }

    /// The upper end of each bucket, `None` of the last one, and how many waits are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        BUCKETS_MS.into_iter().map(Some).chain([None]).zip(self.counts)
    }
}

impl Sum for Waits {
    fn plus(self, other: Waits) -> Waits {
        let mut counts = self.counts;
        for (count, more) in counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        Waits { counts, sum_ms: self.sum_ms + other.sum_ms, longest_ms: self.longest_ms.max(other.longest_ms) }
    }
}

/// The waits of one listener, as they are counted.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ms: AtomicU64,
    longest_ms: AtomicU64,
}

impl Histogram {
    /// Counts one. Three atomic additions.
    pub fn add(&self, wait: Duration) {
        let ms = wait.as_millis() as u64;
        // What is longest first, so that no reader finds a wait in a bucket and none that is longest.
        self.longest_ms.fetch_max(ms, Relaxed);
        self.sum_ms.fetch_add(ms, Relaxed);
        self.counts[bucket_of(ms)].fetch_add(1, Relaxed);
    }

    /// What was counted. A wait that is being counted may be in the sum and not yet in its bucket.
    pub fn read(&self) -> Waits {
        Waits {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Relaxed)),
            sum_ms: self.sum_ms.load(Relaxed),
            longest_ms: self.longest_ms.load(Relaxed),
        }
    }
}

/// The histogram of each listener, by its cookie. Those of listeners that have been closed are forgotten.
#[derive(Debug)]
pub struct Histograms<S>(Mutex<Kept<S>>);

#[derive(Debug)]
struct Kept<S> {
    by_cookie: BTreeMap<Cookie, (S, Arc<Histogram>)>,
    /// Where the search for closed ones has come to.
    searched: Cookie,
}

/// How many others are looked at when one is added: more are forgotten than added, and no call is long.
const SEARCHED_AT_ONCE: usize = 4;

impl<S: Clone> Default for Histograms<S> {
    fn default() -> Self {
        Histograms::new()
    }
}

impl<S: Clone> Histograms<S> {
    /// None yet.
    pub const fn new() -> Histograms<S> {
        Histograms(Mutex::new(Kept { by_cookie: BTreeMap::new(), searched: Cookie(0) }))
    }

    /// That of a listener: the one that is there, or a new one. `is_open` is asked of a few others.
    pub fn of(&self, cookie: Cookie, socket: &S, is_open: impl Fn(&S) -> bool) -> Arc<Histogram> {
        // A thread that panicked with the lock in hand has left histograms, and nothing that could be broken by half.
        let kept = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept.by_cookie.get(&cookie) {
            return Arc::clone(found);
        }
        kept.forget_closed(is_open);
        let new = Arc::<Histogram>::default();
        kept.by_cookie.insert(cookie, (socket.clone(), Arc::clone(&new)));
        new
    }

    /// What was counted of these listeners so far: the sum.
    pub fn read(&self, cookies: impl IntoIterator<Item = Cookie>) -> Waits {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cookies.into_iter().filter_map(|cookie| kept.by_cookie.get(&cookie));
        found.map(|(_, histogram)| histogram.read()).reduce(Waits::plus).unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_cookie.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S> Kept<S> {
    fn forget_closed(&mut self, is_open: impl Fn(&S) -> bool) {
        let next: Vec<_> = self.by_cookie.range((Excluded(self.searched), Unbounded)).take(SEARCHED_AT_ONCE).collect();
        let (ended, last) = (next.len() < SEARCHED_AT_ONCE, next.last().map(|&(&cookie, _)| cookie));
        let closed: Vec<_> =
            next.iter().filter(|(_, (socket, _))| !is_open(socket)).map(|&(&cookie, _)| cookie).collect();
        for cookie in closed {
            self.by_cookie.remove(&cookie);
        }
        self.searched = if ended { Cookie(0) } else { last.unwrap_or(Cookie(0)) };
    }
}

static OF_THIS_PROCESS: Histograms<Listener> = Histograms::new();

/// The histograms of a listener of this process, found once.
#[derive(Debug)]
pub struct Found(Vec<(Listener, Arc<Histogram>)>);

impl Found {
    /// Of each of its sockets.
    pub fn of(listeners: &Listeners) -> Found {
        let of = |socket: &Listener| OF_THIS_PROCESS.of(socket.cookie(), socket, Listener::is_open);
        Found(listeners.sockets().iter().map(|socket| (socket.clone(), of(socket))).collect())
    }

    /// Counts a connection, and says whether a socket was there to count it with. Where they are several, nothing says which of
    /// them it came from: it is counted with the first that is open.
    pub fn add(&self, wait: Duration) -> bool {
        let found = match self.0.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|(socket, _)| socket.is_open()),
        };
        found.map(|(_, histogram)| histogram.add(wait)).is_some()
    }
}

/// The waits of a listener of this process: the sum over its sockets. From memory.
pub fn of(listeners: &Listeners) -> Waits {
    OF_THIS_PROCESS.read(listeners.sockets().iter().map(Listener::cookie))
}
