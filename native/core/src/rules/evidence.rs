//! Several looks at a BEAM -> what can be said of it for the whole time between the first and the last. Pure.
//!
//! One look shows where everybody stands; only that they stand there still tells a hang. A look is a [`Sight`], whoever took
//! it; what was read once, since it does not change or costs too much, are the [`Circumstances`].

use std::collections::HashMap;
use std::time::Duration;

use crate::rules::detector::{Condition, Detector, Settings, Time};
use crate::vm::calls;
use crate::vm::open_files::Descriptors;
use crate::vm::pollset::{Accepting, Registration, Set};
use crate::vm::process::{Frozen, Process};
use crate::vm::stack::{Frame, Origin};
use crate::vm::threads::{Call, Role, Stand, State, Thread, Threads};
use crate::{Census, Cookie, Counts, Depth, Endpoint, Error, Members};

/// One look at a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// When.
    pub at: Time,
    /// Whether it runs.
    pub process: Process,
    /// What its threads do.
    pub threads: Threads,
    /// The queues of its listeners.
    pub queues: Vec<QueueSight>,
}

/// One look at a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSight {
    /// Whose.
    pub endpoint: Endpoint,
    /// How deep.
    pub depth: Depth,
    /// Who stands in it, if that was looked at.
    pub look: Option<Census>,
    /// How its sockets stand in the epoll sets, if that was looked at.
    pub registrations: Option<Vec<Registration>>,
}

/// What was read once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Circumstances {
    /// It runs a BEAM.
    pub is_beam: bool,
    /// Whether its control group is frozen; `None`: nobody can tell.
    pub frozen: Option<Frozen>,
    /// Descriptors, used and allowed.
    pub descriptors: Option<Descriptors>,
    /// Of its network namespace.
    pub somaxconn: Option<u64>,
    /// Of threads that did not move: the calls they are in, and for how long they have not run.
    pub rests: HashMap<i32, Rest>,
    /// What could not be read.
    pub lacks: Vec<Lack>,
}

/// A thread that does not move.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rest {
    /// The calls that it waits in; `None` where its stack could not be read.
    pub frames: Option<Vec<Frame>>,
    /// Since it was on a processor; `None` where the kernel does not tell.
    pub ran_ago: Option<Duration>,
}

/// Something that could not be read, and what would allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Which sockets it holds, and so which listeners are its own.
    #[error(
        "which sockets it holds could not be read ({0}); run as its user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    )]
    Sockets(Error),
    /// Its network namespace.
    #[error("its network namespace could not be entered ({0}); CAP_SYS_ADMIN and CAP_SYS_PTRACE would allow it")]
    Namespace(Error),
    /// The kernel's table of sockets.
    #[error("the kernel's table of sockets could not be read ({0})")]
    Queues(Error),
    /// Its epoll sets.
    #[error("its epoll sets could not be read ({0}); run as its user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")]
    Pollsets(Error),
    /// Where its threads stand.
    #[error(
        "the system calls of its threads could not be read ({0}); CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH would allow it, or the same user where \
         kernel.yama.ptrace_scope is 0"
    )]
    Calls(Error),
    /// What is on their stacks.
    #[error(
        "the stacks of its threads could not be read ({0}); CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH would allow it"
    )]
    Stacks(Error),
    /// There are too many.
    #[error("it has more threads than are looked at")]
    Threads,
}

impl Lack {
    /// Without it nobody can say that all is well.
    pub fn is_vital(self) -> bool {
        !matches!(self, Lack::Stacks(_) | Lack::Threads | Lack::Calls(_))
    }
}

/// What is known of a process over a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// Between the first look and the last.
    pub window: Duration,
    /// How many looks.
    pub looks: usize,
    /// It runs a BEAM.
    pub is_beam: bool,
    /// Whether it runs.
    pub run: Run,
    /// It handles SIGUSR1 itself.
    pub handles_usr1: bool,
    /// Its threads, in the order in which they began.
    pub threads: Vec<ThreadFacts>,
    /// Its listeners, by address.
    pub listeners: Vec<ListenerFacts>,
    /// Descriptors.
    pub descriptors: Option<Descriptors>,
    /// Of its network namespace.
    pub somaxconn: Option<u64>,
    /// What could not be read.
    pub lacks: Vec<Lack>,
}

/// Whether a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Run {
    /// As far as can be told.
    #[default]
    Runs,
    /// A signal has stopped it.
    Stopped,
    /// This process has stopped it, to look into it.
    Traced(i32),
    /// Its control group is frozen, says this file; `None`: the place where its threads wait says so.
    Frozen(Option<String>),
    /// It has ended.
    Ended,
}

/// A thread over the time of the looks.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadFacts {
    /// As it was seen last.
    pub thread: Thread,
    /// Processor time that it has used.
    pub used: Duration,
    /// What it did.
    pub doing: Doing,
}

/// What a thread did throughout.
#[derive(Debug, Clone, PartialEq)]
pub enum Doing {
    /// Now this and now that.
    Moves,
    /// Waits for work.
    Rests {
        /// Its stack says so too; otherwise it may as well wait for a lock of native code.
        is_sure: bool,
    },
    /// Waits for something that is not work.
    Held(Held),
    /// Has used all of a processor, as far as it was given one, and was never seen to wait.
    Spins,
    /// Was not let go on: a signal, or a debugger, has stopped it.
    Stopped,
    /// Nobody can tell.
    Unknown,
}

/// A thread that waits for something that is not work.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// In this system call.
    pub call: Option<i64>,
    /// The innermost call outside of the C library.
    pub frame: Option<Frame>,
    /// The library that is to blame, where one is among the innermost calls.
    pub library: Option<Frame>,
    /// For at least so long.
    pub since: Duration,
}

/// A listener over the time of the looks.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerFacts {
    /// Where.
    pub endpoint: Endpoint,
    /// The last reading.
    pub depth: Depth,
    /// The last look at who stands in it.
    pub counts: Option<Counts>,
    /// Nobody was taken from the queue, and its head has waited for so long; `None`: somebody was, or nobody waits.
    pub standing: Option<Duration>,
    /// Somebody was seen to be taken.
    pub has_accepted: bool,
    /// Dropped between the first look and the last.
    pub dropped: u32,
    /// What the detector says of the readings.
    pub conditions: Vec<Condition>,
    /// How it stood in the epoll sets at the last look, and the evidence; `None`: not known.
    pub accepting: Option<(Accepting, Vec<Registration>)>,
    /// It stood there so at every look.
    pub is_steady: bool,
    /// A thread was seen to wait in `epoll_wait` on the set that would tell of the next connection.
    pub is_attended: bool,
}

/// A thread that was on a processor for less than this part of the time, and always in the same place, has not moved.
const STILL: f64 = 0.02;
/// One that was on a processor for more than this part of it had no rest.
const BUSY: f64 = 0.9;
/// The kernel tells ages in jiffies, and a dump takes a few ms.
const SAME_HEAD: Duration = Duration::from_millis(50);

impl Evidence {
    /// Of looks in the order in which they were taken. Without any nothing is known.
    pub fn of(sights: &[Sight], circumstances: Circumstances) -> Evidence {
        let (Some(first), Some(last)) = (sights.first(), sights.last()) else { return Evidence::default() };
        let window = last.at.saturating_sub(first.at);
        let threads: Vec<_> = facts_of_threads(sights, window, &circumstances.rests);
        let listeners = last.queues.iter().map(|queue| ListenerFacts::of(sights, &queue.endpoint, queue)).collect();
        let mut lacks = circumstances.lacks;
        if last.threads.is_cut {
            lacks.push(Lack::Threads);
        }
        Evidence {
            window,
            looks: sights.len(),
            is_beam: circumstances.is_beam,
            run: run(last, circumstances.frozen),
            handles_usr1: last.process.handles_usr1,
            threads,
            listeners,
            descriptors: circumstances.descriptors,
            somaxconn: circumstances.somaxconn,
            lacks,
        }
    }

    /// Those that run Erlang code.
    pub fn schedulers(&self) -> impl Iterator<Item = &ThreadFacts> {
        self.threads.iter().filter(|facts| matches!(facts.thread.role, Role::Scheduler(_)))
    }
}

fn run(sight: &Sight, frozen: Option<Frozen>) -> Run {
    if let Some(Frozen::Yes(file)) = frozen {
        return Run::Frozen(Some(file));
    }
    // Of the first thread of a process that has ended, while others go on, the state is the same.
    let all = |wanted: State| sight.threads.list.iter().all(|thread| thread.state == wanted);
    match sight.process.state {
        State::Stopped => Run::Stopped,
        State::Traced => Run::Traced(sight.process.tracer),
        State::Zombie if all(State::Zombie) => Run::Ended,
        _ if is_in_freezer(&sight.threads) => Run::Frozen(None),
        _ => Run::Runs,
    }
}

/// Where the freezers of both versions let threads wait: `do_freezer_trap`, `__refrigerator`.
fn is_in_freezer(threads: &Threads) -> bool {
    let is_frozen = |thread: &Thread| {
        thread.wait_channel.as_deref().is_some_and(|wait| wait.contains("freezer") || wait.contains("refrigerator"))
    };
    !threads.list.is_empty() && threads.list.iter().all(is_frozen)
}

fn facts_of_threads(sights: &[Sight], window: Duration, rests: &HashMap<i32, Rest>) -> Vec<ThreadFacts> {
    let Some(last) = sights.last() else { return Vec::new() };
    let mut seen: HashMap<i32, Vec<Seen>> = HashMap::with_capacity(last.threads.list.len());
    for sight in sights {
        for thread in &sight.threads.list {
            seen.entry(thread.tid).or_default().push((sight.at, thread));
        }
    }
    let facts = |thread: &Thread| {
        let seen = &seen[&thread.tid];
        let first = seen.first().map_or(thread, |&(_, first)| first);
        let used = thread.cpu.saturating_sub(first.cpu);
        // On a machine that has less processors than work it has waited for its turn, and wanted it none the less.
        let wanted = used + thread.delayed.saturating_sub(first.delayed);
        let doing = if seen.len() > 1 { doing(seen, wanted, window, rests.get(&thread.tid)) } else { Doing::Unknown };
        ThreadFacts { thread: thread.clone(), used, doing }
    };
    last.threads.list.iter().map(facts).collect()
}

/// A thread in one of the looks.
type Seen<'a> = (Time, &'a Thread);

/// Threads that have not moved between the last two looks, with where they stand.
pub fn still(sights: &[Sight]) -> Vec<(&Thread, Option<Stand>)> {
    let [.., before, last] = sights else { return Vec::new() };
    let before: HashMap<i32, &Thread> = before.threads.list.iter().map(|thread| (thread.tid, thread)).collect();
    let is_still = |thread: &&Thread| before.get(&thread.tid).is_some_and(|before| is_same_place(before, thread));
    let stand = |thread: &Thread| thread.call.ok().and_then(Call::stand);
    last.threads.list.iter().filter(is_still).map(|thread| (thread, stand(thread))).collect()
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

fn doing(seen: &[Seen], wanted: Duration, window: Duration, rest: Option<&Rest>) -> Doing {
    let Some(&(at, last)) = seen.last() else { return Doing::Unknown };
    if seen.iter().all(|(_, thread)| thread.state == State::Running) && share(wanted, window) >= BUSY {
        return Doing::Spins;
    }
    match last.state {
        State::Sleeping | State::Uninterruptible => {}
        State::Stopped | State::Traced => return Doing::Stopped,
        State::Running | State::Zombie | State::Other => return Doing::Moves,
    }
    let awaits_work = matches!(last.role, Role::Main | Role::Aux(_) | Role::Signals | Role::Messages | Role::Other);
    if awaits_work {
        // Each in a way of its own: select, read, poll. Nobody waits for them.
        return Doing::Rests { is_sure: false };
    }
    let is_rest = match (last.call, &last.wait_channel) {
        (Ok(Call::Waiting { number, .. }), _) => calls::is_rest(number),
        (Ok(Call::Outside(_)), _) => false,
        (Ok(Call::Running), _) => return Doing::Moves,
        (Err(_), Some(channel)) => calls::is_rest_channel(channel),
        (Err(_), None) => return Doing::Unknown,
    };
    let frames = rest.and_then(|rest| rest.frames.as_deref());
    let innermost = frames.and_then(<[Frame]>::first);
    let is_in_library = innermost.is_some_and(|frame| matches!(frame.origin, Origin::Library(_)));
    if is_rest && !is_in_library {
        // Of one that has only just come to its place nobody has read the stack, and nobody needs to: it is not held up.
        let has_come = seen.len() > 1 && !is_same_place(seen[seen.len() - 2].1, last);
        return Doing::Rests { is_sure: innermost.is_some() || has_come };
    }
    let Some(&(since, first)) = seen.iter().rev().take_while(|(_, thread)| is_same_place(thread, last)).last() else {
        return Doing::Moves;
    };
    let stood = at.saturating_sub(since);
    if stood.is_zero() || share(last.cpu.saturating_sub(first.cpu), stood) > STILL {
        return Doing::Moves;
    }
    Doing::Held(Held {
        call: match last.call {
            Ok(Call::Waiting { number, .. }) => Some(number),
            _ => None,
        },
        frame: innermost.cloned(),
        library: frames.into_iter().flatten().find(|frame| matches!(frame.origin, Origin::Library(_))).cloned(),
        since: rest.and_then(|rest| rest.ran_ago).unwrap_or_default().max(stood),
    })
}

/// The sockets that share an address, as one.
const SUM: Cookie = Cookie(0);

impl ListenerFacts {
    fn of(sights: &[Sight], endpoint: &Endpoint, last: &QueueSight) -> ListenerFacts {
        let seen: Vec<(Time, &QueueSight)> = sights
            .iter()
            .filter_map(|sight| Some((sight.at, sight.queues.iter().find(|queue| &queue.endpoint == endpoint)?)))
            .collect();
        let looks: Vec<(Time, &Counts)> =
            seen.iter().filter_map(|(at, queue)| Some((*at, &queue.look.as_ref()?.counts))).collect();
        let has_accepted = has_accepted(&seen, &looks);
        let waited = looks.last().and_then(|(_, counts)| counts.oldest_wait).or_else(|| occupied(&seen));
        let mut detector = Detector::new(Settings::default());
        for (at, queue) in &seen {
            detector.depth_read(*at, Members::one(SUM, queue.depth));
            if let Some(look) = &queue.look {
                detector.census_taken(*at, look);
            }
        }
        let drops = |queue: &QueueSight| queue.depth.drops;
        let dropped = seen.first().and_then(|(_, first)| Some(drops(last)?.wrapping_sub(drops(first)?)));
        let registrations: Vec<_> = seen.iter().filter_map(|(_, queue)| queue.registrations.as_ref()).collect();
        let accepting = registrations.last().map(|all| (Accepting::of(all), (*all).clone()));
        let is_steady =
            registrations.iter().all(|all| Some(Accepting::of(all)) == accepting.as_ref().map(|known| known.0));
        ListenerFacts {
            endpoint: endpoint.clone(),
            depth: last.depth,
            counts: looks.last().map(|(_, counts)| **counts),
            standing: waited.filter(|_| last.depth.queued > 0 && !has_accepted),
            has_accepted,
            dropped: dropped.unwrap_or_default(),
            conditions: detector.conditions().map(|(condition, _)| condition).collect(),
            is_attended: is_attended(sights, accepting.as_ref()),
            accepting,
            is_steady,
        }
    }
}

/// The queue has become shorter, its head has changed, or there are more connections that somebody has accepted.
fn has_accepted(seen: &[(Time, &QueueSight)], looks: &[(Time, &Counts)]) -> bool {
    let shrank = seen.windows(2).any(|pair| pair[1].1.depth.queued < pair[0].1.depth.queued);
    let moved_on = looks.windows(2).any(|pair| {
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

/// For how long somebody has been seen to wait.
fn occupied(seen: &[(Time, &QueueSight)]) -> Option<Duration> {
    let (last, _) = seen.last()?;
    let since = seen.iter().rev().take_while(|(_, queue)| queue.depth.queued > 0).last()?.0;
    Some(last.saturating_sub(since))
}

fn is_attended(sights: &[Sight], accepting: Option<&(Accepting, Vec<Registration>)>) -> bool {
    let Some((Accepting::Armed(set), registrations)) = accepting else { return false };
    let is_set = |registration: &&Registration| {
        let is_schedulers = registration.events.0 & libc::EPOLLONESHOT as u32 == 0;
        is_schedulers == (*set == Set::Schedulers)
    };
    let sets: Vec<u64> =
        registrations.iter().filter(is_set).filter_map(|found| u64::try_from(found.epoll).ok()).collect();
    sights.iter().flat_map(|sight| &sight.threads.list).any(|thread| match thread.call {
        // A debugger that has stopped a thread leaves it in its call, from which it will not come back.
        _ if matches!(thread.state, State::Stopped | State::Traced) => false,
        Ok(Call::Waiting { number, first, .. }) => calls::is_epoll(number) && sets.contains(&first),
        // Who is not waiting polls in between.
        Ok(Call::Running) => *set == Set::Schedulers && matches!(thread.role, Role::Scheduler(_)),
        _ => false,
    })
}
