//! Several readings of a BEAM -> what can be said of it for the whole time between the first and the last. Pure.
//!
//! One reading shows where every thread and queue is; only that they are there still shows a hang. A reading is a
//! [`ProcessReading`]; what is read once, because it does not change or costs too much, are the [`Circumstances`].

mod listeners;
mod readings;
mod threads;

use std::time::Duration;

pub use listeners::ListenerFacts;
pub use readings::{Circumstances, Member, ProcessReading, QueueReading, SocketReading, Unmoved, Unread};
pub use threads::{Blocked, Doing, ThreadFacts, unmoved};

use crate::vm::open_files::Descriptors;
use crate::vm::process::Frozen;
use crate::vm::threads::{Role, State, Thread, Threads};

/// What was observed of a process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessFacts {
    /// Between the first reading and the last.
    pub window: Duration,
    /// How many readings.
    pub readings: usize,
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
    /// Descriptors, used and allowed.
    pub descriptors: Option<Descriptors>,
    /// Of its network namespace.
    pub somaxconn: Option<u64>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// Whether a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Run {
    /// As far as can be seen.
    #[default]
    Runs,
    /// A signal has stopped it.
    Stopped,
    /// This process traces it, and has stopped it.
    Traced(i32),
    /// Its control group is frozen, says this file; `None`: the place where its threads wait says so.
    Frozen(Option<String>),
    /// It has ended.
    Ended,
}

impl ProcessFacts {
    /// Of readings in the order in which they were taken. Without any, nothing is known.
    pub fn of(readings: &[ProcessReading], circumstances: Circumstances) -> ProcessFacts {
        let (Some(first), Some(last)) = (readings.first(), readings.last()) else { return ProcessFacts::default() };
        let window = last.at.saturating_sub(first.at);
        let threads = threads::facts(readings, window, &circumstances.unmoved);
        let listeners = last.queues.iter().map(|queue| ListenerFacts::of(readings, queue)).collect();
        let mut unread = circumstances.unread;
        if last.threads.is_cut {
            unread.push(Unread::Threads);
        }
        ProcessFacts {
            window,
            readings: readings.len(),
            is_beam: circumstances.is_beam,
            run: run(last, circumstances.frozen),
            handles_usr1: last.process.handles_usr1,
            threads,
            listeners,
            descriptors: circumstances.descriptors,
            somaxconn: circumstances.somaxconn,
            unread,
        }
    }

    /// The threads that run Erlang code.
    pub fn schedulers(&self) -> impl Iterator<Item = &ThreadFacts> {
        self.threads.iter().filter(|facts| matches!(facts.thread.role, Role::Scheduler(_)))
    }
}

fn run(reading: &ProcessReading, frozen: Option<Frozen>) -> Run {
    if let Some(Frozen::Yes(file)) = frozen {
        return Run::Frozen(Some(file));
    }
    // The first thread of a process may have ended while others go on: its state is the same then.
    let all = |wanted: State| reading.threads.list.iter().all(|thread| thread.state == wanted);
    match reading.process.state {
        State::Stopped => Run::Stopped,
        State::Traced => Run::Traced(reading.process.tracer),
        State::Zombie if all(State::Zombie) => Run::Ended,
        _ if are_in_freezer(&reading.threads) => Run::Frozen(None),
        _ => Run::Runs,
    }
}

/// Where threads wait in the freezers of both versions of control groups: `do_freezer_trap`, `__refrigerator`.
fn are_in_freezer(threads: &Threads) -> bool {
    let is_frozen = |thread: &Thread| {
        thread.wait_channel.as_deref().is_some_and(|wait| wait.contains("freezer") || wait.contains("refrigerator"))
    };
    !threads.list.is_empty() && threads.list.iter().all(is_frozen)
}
