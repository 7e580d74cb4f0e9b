//! What has been read of a listener without a gap: what the rules judge by.

use std::sync::Arc;
use std::time::Duration;

use super::anchor::{Anchor, Sighting};
use super::front::Front;
use super::settings::Settings;
use super::sockets::{Rise, Socket, Sockets};
use super::time::Time;
use crate::rules::overflows::Overflowed;
use crate::{Census, Counts, Depth, Inode, Members};

/// What has been read since the observation began, or began again.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) settings: Arc<Settings>,
    /// Nothing before this counts.
    pub(super) since: Time,
    /// The last reading that did not fail.
    last: Option<Last>,
    has_failed: bool,
    /// Of each of them. Their drops go on over a gap.
    pub(super) sockets: Sockets,
    /// The queue has had a connection in it since.
    pub(super) occupied_since: Option<Time>,
    pub(super) census: Option<(Time, Counts)>,
    /// What the last census says of the sockets that are read.
    pub(super) view: Option<View>,
    pub(super) head: Head,
}

/// The last reading of the first tier.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Time,
    /// Since the reading before.
    gap: Duration,
    /// The sum over the sockets that share the address.
    depth: Depth,
}

/// The head of the queue, and since when it has been the head.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// The queue was empty, or had become shorter: something had been accepted.
    progress_at: Time,
    mark: Option<Mark>,
}

/// By what a census knows the head again.
#[derive(Debug, Clone)]
enum Mark {
    Anchor(Box<Anchor>),
    /// Of a Unix socket, in the place of an anchor.
    Front(Box<Front>),
}

/// A census, as far as it is about the sockets that are read. Other processes may listen on the same address: their
/// queues are not ours, and the kernel does not say which of the connections are in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// At our sockets.
    pub(super) queued: u32,
    /// At those of other processes.
    pub(super) foreign: u32,
    /// Several sockets share the address, or did at the anchor.
    is_shared: bool,
    /// How long the head of one of our queues has waited, at least; `None`: none waits, or those that do may all be in others' queues.
    pub(super) oldest_wait: Option<Duration>,
    /// Of our queued: the client has closed or reset. `None`: not known.
    pub(super) left: Option<u32>,
    /// `None`: they may be those of other processes.
    pub(super) close_wait: Option<u32>,
}

/// Two readings that are further apart than this, and than four of the intervals at which they should come or came before, have
/// a sleep between them.
const SLEEP: Duration = Duration::from_secs(1);

impl Observed {
    pub(super) fn new(settings: Arc<Settings>) -> Observed {
        Observed {
            settings,
            since: Time::ZERO,
            last: None,
            has_failed: false,
            sockets: Sockets::default(),
            occupied_since: None,
            census: None,
            view: None,
            head: Head::default(),
        }
    }

    /// The queue, as of the last reading; `None`: it failed, or there was none.
    pub(super) fn depth(&self) -> Option<Depth> {
        self.last.filter(|_| !self.has_failed).map(|last| last.depth)
    }

    /// A reading failed. It says nothing; the next one says how long nothing was said.
    pub(super) fn reading_failed(&mut self) {
        self.has_failed = true;
    }

    /// Whether the observation begins again with a reading at this time.
    pub(super) fn is_gap(&self, at: Time) -> bool {
        let usual = |last: &Last| SLEEP.max(last.gap.max(self.settings.interval).saturating_mul(4));
        self.last.is_none_or(|last| at.saturating_sub(last.at) > usual(&last))
    }

    /// Takes in a reading of the first tier.
    pub(super) fn depth_read(&mut self, at: Time, members: &Members<Depth>, overflowed: Overflowed) -> Rise {
        let is_gap = self.is_gap(at);
        let gap = self.last.map(|last| at.saturating_sub(last.at));
        if is_gap {
            self.begin(at);
        }
        let depth = members.sum();
        let rise = self.sockets.read(at, members, overflowed, is_gap);
        if rise.gone > 0 {
            self.head.lost(rise.gone);
        }
        if rise.has_fallen && self.sockets.is_one() && !self.is_shared() {
            self.head.progressed(at);
        }
        self.last = Some(Last { at, gap: gap.unwrap_or_default(), depth });
        self.has_failed = false;
        self.occupied_since = self.occupied_since.or(Some(at));
        rise
    }

    /// The queue was empty up to now, though it was not read.
    pub(super) fn was_empty_until(&mut self, at: Time) {
        if let Some(last) = &mut self.last {
            *last = Last { at, gap: Duration::ZERO, depth: Depth { queued: 0, ..last.depth } };
        }
        self.sockets.was_empty_until();
        self.since = at;
    }

    /// Takes in a census. Where the kernel keeps no ages, the oldest has waited at least for as long as it has been seen.
    pub(super) fn census_taken(&mut self, at: Time, census: &Census) {
        let view = View::of(census, &self.sockets, self.is_shared());
        self.sockets.counted(at, &census.sockets);
        self.head.census_taken(at, census, &view);
        let seen_for = self.head.front().map(|front| at.saturating_sub(front.since()));
        self.view = Some(View { oldest_wait: view.oldest_wait.or(seen_for), ..view });
        self.census = Some((at, Counts { oldest_wait: census.counts.oldest_wait.or(seen_for), ..census.counts }));
    }

    /// The queue is empty.
    pub(super) fn emptied(&mut self, at: Time) {
        self.occupied_since = None;
        self.sockets.progressed(at);
        self.head.progressed(at);
        // The next census may show a queue alone.
        if let Some(view) = &mut self.view {
            view.is_shared = !self.sockets.is_one() || view.foreign > 0;
        }
    }

    fn begin(&mut self, at: Time) {
        let sockets = std::mem::take(&mut self.sockets);
        *self = Observed { since: at, sockets, ..Observed::new(Arc::clone(&self.settings)) };
        self.head.progressed(at);
    }

    fn is_shared(&self) -> bool {
        !self.sockets.is_one() || self.view.is_some_and(|view| view.is_shared)
    }

    /// Since when nothing has been accepted from this socket, as far as is known; `None`: it is not.
    pub(super) fn idle_since(&self, socket: &Socket) -> Option<Time> {
        let idle_since = self.head.idle_since(socket)?;
        Some(if self.is_shared() { idle_since.max(socket.progress_at) } else { idle_since })
    }

    /// What holds since then has held throughout the observation.
    pub(super) fn is_throughout(&self, since: Time) -> bool {
        since <= self.since
    }

    /// When the last census was taken; `at` where there was none.
    pub(super) fn census_at(&self, at: Time) -> Time {
        self.census.map_or(at, |(taken, _)| taken)
    }
}

impl Head {
    fn progressed(&mut self, at: Time) {
        *self = Head { progress_at: at, ..Head::default() };
    }

    fn anchor(&self) -> Option<Anchor> {
        match &self.mark {
            Some(Mark::Anchor(anchor)) => Some(**anchor),
            _ => None,
        }
    }

    fn front(&self) -> Option<&Front> {
        match &self.mark {
            Some(Mark::Front(front)) => Some(front),
            _ => None,
        }
    }

    /// A socket has been closed, with so many connections.
    fn lost(&mut self, gone: u32) {
        if let Some(Mark::Anchor(anchor)) = &mut self.mark {
            **anchor = anchor.without(gone);
        }
    }

    fn census_taken(&mut self, at: Time, census: &Census, view: &View) {
        match &census.clients {
            Some(clients) => self.clients_seen(at, clients),
            None if self.front().is_some() => self.mark = None,
            None => {}
        }
        let Some(waits) = &census.waits else { return };
        let Counts { oldest_wait, .. } = census.counts;
        let resets = census.counts.queued_reset().unwrap_or_default();
        let sighting = Sighting::new(at, census.took, waits, oldest_wait, resets);
        let anchor = match self.anchor() {
            None if view.is_shared => Anchor::first_shared(sighting.shared(view.foreign)),
            None => Anchor::first(sighting, self.progress_at),
            Some(anchor) if view.is_shared => anchor.after_shared(sighting.shared(view.foreign), waits),
            Some(anchor) => anchor.after(sighting, waits),
        };
        self.mark = Some(Mark::Anchor(Box::new(anchor)));
    }

    fn clients_seen(&mut self, at: Time, clients: &[Inode]) {
        if !self.front().is_some_and(|front| front.may_stand(clients)) {
            self.progressed(at);
            self.mark = (!clients.is_empty()).then(|| Mark::Front(Box::new(Front::seen(at, clients))));
        }
    }

    /// How long the head has waited by now.
    pub(super) fn waited(&self, at: Time) -> Option<Duration> {
        Some(at.saturating_sub(self.anchor()?.head_arrived()?))
    }

    fn idle_since(&self, socket: &Socket) -> Option<Time> {
        match &self.mark {
            Some(Mark::Anchor(anchor)) => anchor.has_ours().then(|| anchor.idle_since()),
            Some(Mark::Front(front)) => Some(front.since()),
            // Without ages there is only the depth: one that never falls. A full queue that is accepted from is refilled at
            // once, and is the same; so may be one whose limit is not known.
            None if socket.depth.known_limit().is_some_and(|limit| socket.depth.queued <= limit) => {
                Some(socket.progress_at)
            }
            None => None,
        }
    }

    /// Whether a census says so, and not the depth alone.
    pub(super) fn is_by_census(&self) -> bool {
        self.mark.is_some()
    }
}

impl View {
    fn of(census: &Census, sockets: &Sockets, is_shared: bool) -> View {
        let Census { counts, waits, sockets: all, .. } = census;
        let is_ours = |index: usize, cookie| sockets.has(index, cookie);
        let ours = || all.iter().enumerate().filter(|&(index, &(cookie, _))| is_ours(index, cookie));
        // A reader of sums goes by the address alone.
        let has_others = ours().next().is_some() && ours().count() < all.len();
        let queued = if has_others { ours().map(|(_, &(_, queued))| queued).sum() } else { counts.queued };
        let foreign = counts.queued.saturating_sub(queued);
        let left = counts.left().map(|left| left.saturating_sub(foreign).min(queued));
        let oldest_wait = match waits {
            _ if queued == 0 => None,
            // At most so many of the oldest are in other queues.
            Some(waits) if foreign > 0 => nth_oldest(waits, foreign),
            _ => counts.oldest_wait,
        };
        View {
            queued,
            foreign,
            is_shared: is_shared || all.len() > 1,
            oldest_wait,
            left,
            close_wait: (!has_others).then_some(counts.close_wait),
        }
    }
}

fn nth_oldest(waits: &[Duration], n: u32) -> Option<Duration> {
    let mut waits = waits.to_vec();
    let n = usize::try_from(n).ok().filter(|&n| n < waits.len())?;
    let (_, nth, _) = waits.select_nth_unstable_by(n, |one, other| other.cmp(one));
    Some(*nth)
}
