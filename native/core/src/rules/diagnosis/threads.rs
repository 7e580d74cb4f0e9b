//! Schedulers and poll threads: which of them are held up, and how many clients wait for them.

use std::time::Duration;

use super::case::Case;
use super::grade::{Confidence, Graded, Gravity};
use crate::rules::facts::{Blocked, Doing, ListenerFacts, ThreadFacts};
use crate::vm::pollset::{Accepting, Set};
use crate::vm::stack::Origin;
use crate::vm::threads::Role;

/// What was found of the threads.
#[derive(Debug, Clone, PartialEq)]
pub enum ThreadsFinding {
    /// A native call holds up a scheduler.
    SchedulerBlocked(Box<BlockedScheduler>),
    /// A scheduler computes without a pause, and clients wait for it.
    SchedulerSpinning {
        /// Which.
        scheduler: SchedulerThread,
        /// For how long the process was observed.
        window: Duration,
        /// Another scheduler has nothing to do.
        others_idle: bool,
        /// Clients that wait for a scheduler; `None`: no client waits.
        waiting: Option<WaitingClients>,
        /// Whether the VM can still write a crash dump.
        crash_dump: CrashDump,
    },
    /// All dirty schedulers of a kind are held up. Accept is not affected.
    DirtySchedulersExhausted {
        /// Which kind.
        kind: DirtyKind,
        /// How many there are.
        count: usize,
        /// The library that holds one of them, where its name is known.
        library: Option<String>,
    },
    /// Schedulers compute without a pause while no client waits: maybe they have a lot to do.
    SchedulerBusy {
        /// How many.
        busy: usize,
        /// Of how many.
        schedulers: usize,
        /// The thread of the first of them.
        tid: i32,
    },
}

/// A scheduler that waits for something other than work.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockedScheduler {
    /// Which.
    pub scheduler: SchedulerThread,
    /// Where it waits, and for how long.
    pub blocked: Blocked,
    /// The kernel function that it waits in, where that can be read.
    pub wait_channel: Option<String>,
    /// Clients that wait for a scheduler; `None`: no client waits.
    pub waiting: Option<WaitingClients>,
    /// Whether the VM can still write a crash dump.
    pub crash_dump: CrashDump,
}

/// A scheduler and its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerThread {
    /// Its number in the VM, from 1.
    pub number: u32,
    /// Its thread.
    pub tid: i32,
    /// Processor time that it used while observed.
    pub used: Duration,
}

/// Clients that wait for a scheduler. The listener is that of the finding, the first of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingClients {
    /// On how many listeners.
    pub listeners: usize,
    /// Connections that wait on the first listener.
    pub queued: u32,
    /// For how long its first connection has waited.
    pub longest: Duration,
}

/// Whether SIGUSR1 brings a crash dump. Erlang code handles it, and it ends the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashDump {
    /// The VM does not handle it (`+B`): it would end without one.
    NotHandled,
    /// None of the schedulers is free to handle it.
    NoneFree {
        /// How many there are.
        schedulers: usize,
    },
    /// Some are.
    SomeFree {
        /// How many.
        free: usize,
        /// Of how many.
        schedulers: usize,
    },
}

/// What dirty schedulers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirtyKind {
    /// Native calls that wait.
    Io,
    /// Native calls that compute.
    Cpu,
}

impl DirtyKind {
    fn has(self, role: Role) -> bool {
        match self {
            DirtyKind::Io => matches!(role, Role::DirtyIo(_)),
            DirtyKind::Cpu => matches!(role, Role::DirtyCpu(_)),
        }
    }
}

impl ThreadsFinding {
    pub(super) fn id(&self) -> &'static str {
        match self {
            ThreadsFinding::SchedulerBlocked(_) => "scheduler_blocked",
            ThreadsFinding::SchedulerSpinning { .. } => "scheduler_spinning",
            ThreadsFinding::DirtySchedulersExhausted { .. } => "dirty_schedulers_exhausted",
            ThreadsFinding::SchedulerBusy { .. } => "scheduler_busy",
        }
    }
}

impl SchedulerThread {
    fn of(facts: &ThreadFacts) -> SchedulerThread {
        let number = match facts.thread.role {
            Role::Scheduler(number) => number,
            _ => 0,
        };
        SchedulerThread { number, tid: facts.thread.tid, used: facts.used }
    }
}

impl WaitingClients {
    fn on(listeners: &[&ListenerFacts]) -> Option<WaitingClients> {
        let first = listeners.first()?;
        let longest = first.stalled_for.unwrap_or_default();
        Some(WaitingClients { listeners: listeners.len(), queued: first.depth.queued, longest })
    }
}

fn graded(
    found: ThreadsFinding,
    gravity: Gravity,
    confidence: Confidence,
    waiting: &[&ListenerFacts],
) -> Graded<ThreadsFinding> {
    let listener = waiting.first().map(|listener| listener.endpoint.clone());
    Graded { found, gravity, confidence, listener }
}

impl Case<'_> {
    /// Those that are blocked; where none is and clients wait for one, those that compute.
    pub(super) fn schedulers(&self) -> Vec<Graded<ThreadsFinding>> {
        let queues = self.observed.listeners.iter().flat_map(ListenerFacts::queues);
        let waiting: Vec<_> = queues.filter(|listener| self.waits_for_scheduler(listener)).collect();
        let blocked: Vec<_> = self.blocked().map(|(facts, blocked)| self.blocker(facts, blocked, &waiting)).collect();
        if blocked.is_empty() && (!waiting.is_empty() || self.silent_for.is_some()) {
            self.spinning().map(|facts| self.spinner(facts, &waiting)).collect()
        } else {
            blocked
        }
    }

    fn blocked(&self) -> impl Iterator<Item = (&ThreadFacts, &Blocked)> {
        self.observed.schedulers().filter_map(|facts| match &facts.doing {
            Doing::Blocked(blocked) if blocked.since >= self.settings.hold_for => Some((facts, blocked)),
            _ => None,
        })
    }

    fn spinning(&self) -> impl Iterator<Item = &ThreadFacts> {
        self.observed.schedulers().filter(|facts| facts.doing == Doing::Spins)
    }

    /// A listener whose event was delivered and not handled, or that is in the schedulers' own set.
    fn waits_for_scheduler(&self, listener: &ListenerFacts) -> bool {
        let is_theirs = |accepting: Accepting| match accepting {
            Accepting::Delivered | Accepting::Armed(Set::Schedulers) => true,
            Accepting::Armed(Set::PollThread) | Accepting::NotArmed(_) | Accepting::NeverAccepted => false,
        };
        self.stalled_for(listener).is_some()
            && listener.accepting.as_ref().is_none_or(|(accepting, _)| is_theirs(*accepting))
    }

    fn blocker(&self, facts: &ThreadFacts, blocked: &Blocked, waiting: &[&ListenerFacts]) -> Graded<ThreadsFinding> {
        let confidence = if waiting.is_empty() { Confidence::Likely } else { Confidence::Certain };
        let blocked = BlockedScheduler {
            scheduler: SchedulerThread::of(facts),
            blocked: blocked.clone(),
            wait_channel: facts.thread.wait_channel.clone(),
            waiting: WaitingClients::on(waiting),
            crash_dump: self.crash_dump(),
        };
        graded(ThreadsFinding::SchedulerBlocked(Box::new(blocked)), Gravity::Hang, confidence, waiting)
    }

    fn spinner(&self, facts: &ThreadFacts, waiting: &[&ListenerFacts]) -> Graded<ThreadsFinding> {
        let others_idle = self.observed.schedulers().any(|facts| matches!(facts.doing, Doing::Idle { .. }));
        let confidence = if others_idle { Confidence::Likely } else { Confidence::Possible };
        let spinning = ThreadsFinding::SchedulerSpinning {
            scheduler: SchedulerThread::of(facts),
            window: self.observed.window,
            others_idle,
            waiting: WaitingClients::on(waiting),
            crash_dump: self.crash_dump(),
        };
        graded(spinning, Gravity::Hang, confidence, waiting)
    }

    pub(super) fn crash_dump(&self) -> CrashDump {
        let schedulers = self.observed.schedulers().count();
        let is_free = |facts: &&ThreadFacts| matches!(facts.doing, Doing::Idle { .. } | Doing::Works);
        match self.observed.schedulers().filter(is_free).count() {
            _ if !self.observed.handles_usr1 => CrashDump::NotHandled,
            0 => CrashDump::NoneFree { schedulers },
            free => CrashDump::SomeFree { free, schedulers },
        }
    }

    pub(super) fn dirty_schedulers(&self) -> impl Iterator<Item = Graded<ThreadsFinding>> {
        [DirtyKind::Io, DirtyKind::Cpu].into_iter().filter_map(|kind| self.dirty(kind))
    }

    fn dirty(&self, kind: DirtyKind) -> Option<Graded<ThreadsFinding>> {
        let threads: Vec<_> = self.observed.threads.iter().filter(|facts| kind.has(facts.thread.role)).collect();
        let is_held_up = |facts: &&ThreadFacts| match &facts.doing {
            Doing::Blocked(blocked) => blocked.since >= self.settings.hold_for,
            Doing::Spins => true,
            Doing::Works | Doing::Idle { .. } | Doing::Stopped | Doing::Unknown => false,
        };
        if threads.is_empty() || !threads.iter().all(is_held_up) {
            return None;
        }
        let library = threads.iter().find_map(|facts| match &facts.doing {
            Doing::Blocked(Blocked { library: Some(frame), .. }) => match &frame.origin {
                Origin::Library(name) => Some(name.clone()),
                Origin::Emulator | Origin::System => None,
            },
            _ => None,
        });
        let exhausted = ThreadsFinding::DirtySchedulersExhausted { kind, count: threads.len(), library };
        Some(graded(exhausted, Gravity::Trouble, Confidence::Certain, &[]))
    }

    /// A scheduler that computes while no client waits for it may do what it should.
    pub(super) fn busy_schedulers(&self) -> Option<Graded<ThreadsFinding>> {
        let first = self.spinning().next()?;
        if self.observed.listeners.iter().any(|listener| self.waits_for_scheduler(listener)) {
            return None;
        }
        let busy = ThreadsFinding::SchedulerBusy {
            busy: self.spinning().count(),
            schedulers: self.observed.schedulers().count(),
            tid: first.thread.tid,
        };
        Some(graded(busy, Gravity::Note, Confidence::Possible, &[]))
    }
}
