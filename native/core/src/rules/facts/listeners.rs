//! What a queue did throughout the readings, and whether a thread waits for its next connection.

use std::time::Duration;

use super::{Member, ProcessReading, QueueReading, SocketReading};
use crate::rules::detector::{Condition, Detector, Settings, Time};
use crate::rules::overflows::Overflowed;
use crate::vm::calls;
use crate::vm::pollset::{Accepting, Registration, Set};
use crate::vm::threads::{Call, Role, State};
use crate::{Census, Cookie, Counts, Depth, Endpoint, Members};

/// A listener over the time of the readings.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerFacts {
    /// Where.
    pub endpoint: Endpoint,
    /// Which of the sockets that share the address; `None`: all of this process, as one.
    pub member: Option<Member>,
    /// Each of several sockets that share the address, alone: one that no process accepts on is not seen in a sum.
    pub members: Vec<ListenerFacts>,
    /// The last reading.
    pub depth: Depth,
    /// The last census.
    pub counts: Option<Counts>,
    /// No connection was accepted, and the first has waited for this long; `None`: one was, or none waits.
    pub stalled_for: Option<Duration>,
    /// A connection was seen to be accepted.
    pub has_accepted: bool,
    /// Dropped between the first reading and the last.
    pub dropped: u32,
    /// What the detector says of the readings.
    pub conditions: Vec<Condition>,
    /// How it was registered in the epoll sets at the last reading, and the entries that say so; `None`: not known.
    pub accepting: Option<(Accepting, Vec<Registration>)>,
    /// It was registered like this in every reading.
    pub is_steady: bool,
    /// A thread was seen to wait in `epoll_wait` on the set that would report the next connection.
    pub is_attended: bool,
}

/// The kernel gives ages in jiffies, and a dump takes a few ms.
const SAME_HEAD: Duration = Duration::from_millis(50);

/// A reading of a listener, or of one of the sockets that share it.
struct Seen<'a> {
    at: Time,
    depth: Members<Depth>,
    registrations: Option<Vec<Registration>>,
    census: Option<&'a Census>,
}

impl ListenerFacts {
    pub(super) fn of(readings: &[ProcessReading], last: &QueueReading) -> ListenerFacts {
        let queues: Vec<(Time, &QueueReading)> = readings
            .iter()
            .filter_map(|reading| {
                let queue = reading.queues.iter().find(|queue| queue.endpoint == last.endpoint)?;
                Some((reading.at, queue))
            })
            .collect();
        let seen: Vec<_> = queues.iter().map(|&(at, queue)| Seen::all(at, queue)).collect();
        let whole = ListenerFacts::over(readings, &last.endpoint, &seen);
        if last.sockets.is_one() {
            return whole;
        }
        let member = |(cookie, socket): (Cookie, &SocketReading)| {
            let seen: Vec<_> = queues.iter().filter_map(|&(at, queue)| Seen::one(at, queue, cookie)).collect();
            let alone = ListenerFacts::over(readings, &last.endpoint, &seen);
            // The kernel does not say at which of them a connection waits: none has waited for longer than the first of all.
            let oldest_wait = whole.counts.map_or(alone.stalled_for, |counts| counts.oldest_wait);
            let stalled_for = alone.stalled_for.zip(oldest_wait).map(|(alone, oldest)| alone.min(oldest));
            ListenerFacts { member: Some(socket.member), stalled_for, ..alone }
        };
        ListenerFacts { members: last.sockets.iter().map(member).collect(), ..whole }
    }

    /// What is judged alone: each of several sockets, or the only one.
    pub fn queues(&self) -> &[ListenerFacts] {
        if self.members.is_empty() { std::slice::from_ref(self) } else { &self.members }
    }

    /// A client that comes to it is dropped, or one that the kernel sends to this one of its sockets.
    pub fn is_full(&self) -> bool {
        self.queues().iter().any(|queue| queue.depth.queued > queue.depth.limit)
    }

    fn over(readings: &[ProcessReading], endpoint: &Endpoint, seen: &[Seen]) -> ListenerFacts {
        let censuses: Vec<(Time, &Counts)> =
            seen.iter().filter_map(|seen| Some((seen.at, &seen.census?.counts))).collect();
        let has_accepted = has_accepted(seen, &censuses);
        let waited = censuses.last().and_then(|(_, counts)| counts.oldest_wait).or_else(|| occupied_for(seen));
        let mut detector = Detector::new(Settings::default());
        for Seen { at, depth, census, .. } in seen {
            detector.depth_read(*at, depth, Overflowed::default());
            if let Some(census) = census {
                detector.census_taken(*at, census);
            }
        }
        let depth = seen.last().map_or(Depth { queued: 0, limit: 0, drops: None }, |last| last.depth.sum());
        let registrations: Vec<_> = seen.iter().filter_map(|seen| seen.registrations.as_ref()).collect();
        let accepting = registrations.last().map(|all| (Accepting::of(all), (*all).clone()));
        let is_steady =
            registrations.iter().all(|all| Some(Accepting::of(all)) == accepting.as_ref().map(|known| known.0));
        ListenerFacts {
            endpoint: endpoint.clone(),
            member: None,
            members: Vec::new(),
            depth,
            counts: censuses.last().map(|(_, counts)| **counts),
            stalled_for: waited.filter(|_| depth.queued > 0 && !has_accepted),
            has_accepted,
            dropped: dropped(seen),
            conditions: detector.conditions().map(|(condition, _)| condition).collect(),
            is_attended: is_attended(readings, accepting.as_ref()),
            accepting,
            is_steady,
        }
    }
}

impl Seen<'_> {
    fn all(at: Time, queue: &QueueReading) -> Seen<'_> {
        let registrations: Option<Vec<_>> =
            queue.sockets.iter().map(|(_, socket)| socket.registrations.clone()).collect();
        let depth = queue.sockets.map(|socket| socket.depth);
        Seen { at, depth, registrations: registrations.map(|all| all.concat()), census: queue.census.as_ref() }
    }

    /// A census is one of all of them.
    fn one(at: Time, queue: &QueueReading, cookie: Cookie) -> Option<Seen<'_>> {
        let socket = queue.sockets.get(cookie)?;
        let registrations = socket.registrations.clone();
        Some(Seen { at, depth: Members::one(cookie, socket.depth), registrations, census: None })
    }
}

/// The depths of each socket at each two readings in turn at which it was there.
fn steps(seen: &[Seen]) -> impl Iterator<Item = (Depth, Depth)> {
    seen.windows(2).flat_map(|pair| {
        let (before, after) = (&pair[0].depth, &pair[1].depth);
        before.iter().filter_map(|(cookie, &before)| Some((before, *after.get(cookie)?)))
    })
}

fn dropped(seen: &[Seen]) -> u32 {
    let more = |(before, after): (Depth, Depth)| Some(after.drops?.wrapping_sub(before.drops?));
    steps(seen).filter_map(more).fold(0, u32::wrapping_add)
}

/// A queue has become shorter, the head has changed, or there are more accepted connections.
fn has_accepted(seen: &[Seen], censuses: &[(Time, &Counts)]) -> bool {
    let shrank = steps(seen).any(|(before, after)| after.queued < before.queued);
    let moved_on = censuses.windows(2).any(|pair| {
        let arrived = |(at, counts): (Time, &Counts)| counts.oldest_wait.map(|waited| at.saturating_sub(waited));
        let is_new_head = match (arrived(pair[0]), arrived(pair[1])) {
            (Some(before), Some(after)) => {
                before.abs_diff(after) > SAME_HEAD && pair[0].1.queued_reset() >= pair[1].1.queued_reset()
            }
            _ => false,
        };
        let accepted = |counts: &Counts| counts.established + counts.close_wait;
        is_new_head || accepted(pair[1].1) > accepted(pair[0].1)
    });
    shrank || moved_on
}

/// For how long the queue was not empty in any reading.
fn occupied_for(seen: &[Seen]) -> Option<Duration> {
    let last = seen.last()?.at;
    let since = seen.iter().rev().take_while(|seen| seen.depth.sum().queued > 0).last()?.at;
    Some(last.saturating_sub(since))
}

fn is_attended(readings: &[ProcessReading], accepting: Option<&(Accepting, Vec<Registration>)>) -> bool {
    let Some((Accepting::Armed(set), registrations)) = accepting else { return false };
    let is_set = |registration: &&Registration| {
        let is_schedulers = registration.events.0 & libc::EPOLLONESHOT as u32 == 0;
        is_schedulers == (*set == Set::Schedulers)
    };
    let sets: Vec<u64> =
        registrations.iter().filter(is_set).filter_map(|found| u64::try_from(found.epoll).ok()).collect();
    readings.iter().flat_map(|reading| &reading.threads.list).any(|thread| match thread.call {
        // A thread that a debugger has stopped in its call does not come back from it.
        _ if matches!(thread.state, State::Stopped | State::Traced) => false,
        Ok(Call::Waiting { number, first, .. }) => calls::is_epoll(number) && sets.contains(&first),
        // A scheduler that runs polls in between.
        Ok(Call::Running) => *set == Set::Schedulers && matches!(thread.role, Role::Scheduler(_)),
        _ => false,
    })
}
