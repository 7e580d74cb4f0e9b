//! What a thread did throughout the readings.

use std::collections::HashMap;
use std::time::Duration;

use super::{ProcessReading, Unmoved};
use crate::rules::detector::Time;
use crate::vm::calls;
use crate::vm::stack::{Frame, Origin};
use crate::vm::threads::{Call, Role, Stand, State, Thread};

/// A thread over the time of the readings.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadFacts {
    /// As in the last reading.
    pub thread: Thread,
    /// Processor time that it has used.
    pub used: Duration,
    /// What it did.
    pub doing: Doing,
}

/// What a thread did throughout.
#[derive(Debug, Clone, PartialEq)]
pub enum Doing {
    /// It runs and waits by turns.
    Works,
    /// Waits for work.
    Idle {
        /// Its stack says so too; otherwise it may as well wait for a lock of native code.
        is_sure: bool,
    },
    /// Waits for something that is not work.
    Blocked(Blocked),
    /// Has used all of a processor, as far as it was given one, and was in no reading seen to wait.
    Spins,
    /// A signal or a debugger has stopped it.
    Stopped,
    /// Not known.
    Unknown,
}

/// What a thread waits for that is not work.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocked {
    /// In this system call.
    pub call: Option<i64>,
    /// The innermost call outside of the C library.
    pub frame: Option<Frame>,
    /// The library that is to blame, where one is among the innermost calls.
    pub library: Option<Frame>,
    /// For at least this long.
    pub since: Duration,
}

/// A thread that was on a processor for less than this part of the time, and always in the same place, has not moved.
const STILL: f64 = 0.02;
/// One that was on a processor for more than this part of it had no pause.
const BUSY: f64 = 0.9;

/// A thread in one of the readings.
type Seen<'a> = (Time, &'a Thread);

pub(super) fn facts(
    readings: &[ProcessReading],
    window: Duration,
    unmoved: &HashMap<i32, Unmoved>,
) -> Vec<ThreadFacts> {
    let Some(last) = readings.last() else { return Vec::new() };
    let mut seen: HashMap<i32, Vec<Seen>> = HashMap::with_capacity(last.threads.list.len());
    for reading in readings {
        for thread in &reading.threads.list {
            seen.entry(thread.tid).or_default().push((reading.at, thread));
        }
    }
    let facts = |thread: &Thread| {
        let seen = &seen[&thread.tid];
        let first = seen.first().map_or(thread, |&(_, first)| first);
        let used = thread.cpu.saturating_sub(first.cpu);
        // On a machine with fewer processors than work it has also waited for its turn.
        let wanted = used + thread.delayed.saturating_sub(first.delayed);
        let doing = if seen.len() > 1 { doing(seen, wanted, window, unmoved.get(&thread.tid)) } else { Doing::Unknown };
        ThreadFacts { thread: thread.clone(), used, doing }
    };
    last.threads.list.iter().map(facts).collect()
}

/// Threads that did not move between the last two readings, with their place.
pub fn unmoved(readings: &[ProcessReading]) -> Vec<(&Thread, Option<Stand>)> {
    let [.., before, last] = readings else { return Vec::new() };
    let before: HashMap<i32, &Thread> = before.threads.list.iter().map(|thread| (thread.tid, thread)).collect();
    let is_still = |thread: &&Thread| before.get(&thread.tid).is_some_and(|before| is_same_place(before, thread));
    let place = |thread: &Thread| thread.call.ok().and_then(Call::stand);
    last.threads.list.iter().filter(is_still).map(|thread| (thread, place(thread))).collect()
}

fn is_same_place(one: &Thread, other: &Thread) -> bool {
    waits(one) && waits(other) && (one.call, &one.wait_channel) == (other.call, &other.wait_channel)
}

fn waits(thread: &Thread) -> bool {
    matches!(thread.state, State::Sleeping | State::Uninterruptible)
}

fn share(used: Duration, of: Duration) -> f64 {
    used.as_secs_f64() / of.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn doing(seen: &[Seen], wanted: Duration, window: Duration, unmoved: Option<&Unmoved>) -> Doing {
    let Some(&(_, last)) = seen.last() else { return Doing::Unknown };
    if seen.iter().all(|(_, thread)| thread.state == State::Running) && share(wanted, window) >= BUSY {
        return Doing::Spins;
    }
    match last.state {
        State::Sleeping | State::Uninterruptible => {}
        State::Stopped | State::Traced => return Doing::Stopped,
        State::Running | State::Zombie | State::Other => return Doing::Works,
    }
    let awaits_work = matches!(last.role, Role::Main | Role::Aux(_) | Role::Signals | Role::Messages | Role::Other);
    if awaits_work {
        // Each in its own way: select, read, poll. No client waits for them.
        return Doing::Idle { is_sure: false };
    }
    let is_rest = match (last.call, &last.wait_channel) {
        (Ok(Call::Waiting { number, .. }), _) => calls::is_rest(number),
        (Ok(Call::Outside(_)), _) => false,
        (Ok(Call::Running), _) => return Doing::Works,
        (Err(_), Some(channel)) => calls::is_rest_channel(channel),
        (Err(_), None) => return Doing::Unknown,
    };
    let frames = unmoved.and_then(|unmoved| unmoved.frames.as_deref());
    let innermost = frames.and_then(<[Frame]>::first);
    let is_in_library = innermost.is_some_and(|frame| matches!(frame.origin, Origin::Library(_)));
    if is_rest && !is_in_library {
        // The stack of one that has only just come to its place was not read, and need not be: it is not held up.
        let has_come = seen.len() > 1 && !is_same_place(seen[seen.len() - 2].1, last);
        return Doing::Idle { is_sure: innermost.is_some() || has_come };
    }
    blocked(seen, unmoved).map_or(Doing::Works, Doing::Blocked)
}

/// Where it waits, if it has been there for long enough to be sure.
fn blocked(seen: &[Seen], unmoved: Option<&Unmoved>) -> Option<Blocked> {
    let &(at, last) = seen.last()?;
    let &(since, first) = seen.iter().rev().take_while(|(_, thread)| is_same_place(thread, last)).last()?;
    let stood = at.saturating_sub(since);
    if stood.is_zero() || share(last.cpu.saturating_sub(first.cpu), stood) > STILL {
        return None;
    }
    let frames = unmoved.and_then(|unmoved| unmoved.frames.as_deref()).unwrap_or_default();
    Some(Blocked {
        call: match last.call {
            Ok(Call::Waiting { number, .. }) => Some(number),
            _ => None,
        },
        frame: frames.first().cloned(),
        library: frames.iter().find(|frame| matches!(frame.origin, Origin::Library(_))).cloned(),
        since: unmoved.and_then(|unmoved| unmoved.ran_ago).unwrap_or_default().max(stood),
    })
}
