//! What a queue did throughout the readings, and whether a thread waits for its next connection.

use std::time::Duration;

use super::{ProcessReading, QueueReading};
use crate::rules::detector::{Condition, Detector, Settings, Time};
use crate::rules::overflows::Overflowed;
use crate::vm::calls;
use crate::vm::pollset::{Accepting, Registration, Set};
use crate::vm::threads::{Call, Role, State};
use crate::{Cookie, Counts, Depth, Endpoint, Members};

/// A listener over the time of the readings.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerFacts {
    /// Where.
    pub endpoint: Endpoint,
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

/// The sockets that share an address, as one.
const SUM: Cookie = Cookie(0);
/// The kernel gives ages in jiffies, and a dump takes a few ms.
const SAME_HEAD: Duration = Duration::from_millis(50);

impl ListenerFacts {
    pub(super) fn of(readings: &[ProcessReading], last: &QueueReading) -> ListenerFacts {
        let endpoint = &last.endpoint;
        let seen: Vec<(Time, &QueueReading)> = readings
            .iter()
            .filter_map(|reading| Some((reading.at, reading.queues.iter().find(|queue| &queue.endpoint == endpoint)?)))
            .collect();
        let censuses: Vec<(Time, &Counts)> =
            seen.iter().filter_map(|(at, queue)| Some((*at, &queue.census.as_ref()?.counts))).collect();
        let has_accepted = has_accepted(&seen, &censuses);
        let waited = censuses.last().and_then(|(_, counts)| counts.oldest_wait).or_else(|| occupied_for(&seen));
        let mut detector = Detector::new(Settings::default());
        for (at, queue) in &seen {
            detector.depth_read(*at, &Members::one(SUM, queue.depth), Overflowed::default());
            if let Some(census) = &queue.census {
                detector.census_taken(*at, census);
            }
        }
        let drops = |queue: &QueueReading| queue.depth.drops;
        let dropped = seen.first().and_then(|(_, first)| Some(drops(last)?.wrapping_sub(drops(first)?)));
        let registrations: Vec<_> = seen.iter().filter_map(|(_, queue)| queue.registrations.as_ref()).collect();
        let accepting = registrations.last().map(|all| (Accepting::of(all), (*all).clone()));
        let is_steady =
            registrations.iter().all(|all| Some(Accepting::of(all)) == accepting.as_ref().map(|known| known.0));
        ListenerFacts {
            endpoint: endpoint.clone(),
            depth: last.depth,
            counts: censuses.last().map(|(_, counts)| **counts),
            stalled_for: waited.filter(|_| last.depth.queued > 0 && !has_accepted),
            has_accepted,
            dropped: dropped.unwrap_or_default(),
            conditions: detector.conditions().map(|(condition, _)| condition).collect(),
            is_attended: is_attended(readings, accepting.as_ref()),
            accepting,
            is_steady,
        }
    }
}

/// The queue has become shorter, its head has changed, or there are more accepted connections.
fn has_accepted(seen: &[(Time, &QueueReading)], censuses: &[(Time, &Counts)]) -> bool {
    let shrank = seen.windows(2).any(|pair| pair[1].1.depth.queued < pair[0].1.depth.queued);
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
fn occupied_for(seen: &[(Time, &QueueReading)]) -> Option<Duration> {
    let (last, _) = seen.last()?;
    let since = seen.iter().rev().take_while(|(_, queue)| queue.depth.queued > 0).last()?.0;
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
