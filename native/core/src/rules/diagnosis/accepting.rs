//! Why no process takes the head of a queue: from the epoll sets and from what the threads do.

use std::time::Duration;

use super::case::Case;
use super::grade::{Confidence, Graded, Gravity};
use super::queue::QueueFigures;
use super::threads::CrashDump;
use crate::rules::facts::{Doing, ListenerFacts, ThreadFacts};
use crate::vm::pollset::{Accepting, Set};
use crate::vm::threads::Role;

/// What was found of the accept on a listener.
#[derive(Debug, Clone, PartialEq)]
pub enum AcceptingFinding {
    /// Connections are not accepted, or will not be.
    NotAccepting(NotAccepting, Box<QueueFigures>),
    /// The pool may have reached its own limit of connections: from outside it is like one that is stuck.
    PoolAtLimit {
        /// Accepted connections, open on both sides.
        established: u32,
        /// Accepted connections that their peers have closed.
        close_wait: u32,
    },
}

/// Why. Where nothing else is said, clients wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAccepting {
    /// The listener is in no epoll set: no process has ever waited in accept.
    NeverAccepted,
    /// The same, before the first client.
    NotYetAccepted,
    /// No process is in accept, and some process has been.
    NoneInAccept,
    /// The same, while no client waits.
    NoneInAcceptIdle {
        /// For how long the process was observed.
        window: Duration,
    },
    /// The event was delivered, all schedulers are free to handle it, and no process has called accept since.
    NoneAfterDelivery,
    /// The event was delivered, and nothing has come of it.
    EventNotHandled {
        /// Threads that a debugger has stopped.
        stopped: Option<StoppedThreads>,
        /// Whether the VM can still write a crash dump.
        crash_dump: CrashDump,
    },
    /// The listener is armed in the schedulers' epoll set, and no thread waits on that set.
    UnattendedPollset {
        /// Threads that a debugger has stopped.
        stopped: Option<StoppedThreads>,
    },
    /// The listener is armed, and no thread fetches its event.
    NotPolled {
        /// A poll thread that waits elsewhere.
        blocked_poller: Option<String>,
        /// Threads that a debugger has stopped.
        stopped: Option<StoppedThreads>,
    },
}

/// Threads that a debugger has stopped, while the process as a whole goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedThreads {
    /// How many.
    pub count: usize,
    /// The name of the first.
    pub name: String,
    /// Its number.
    pub tid: i32,
}

impl AcceptingFinding {
    pub(super) fn id(&self) -> &'static str {
        match self {
            AcceptingFinding::NotAccepting(why, _) => why.id(),
            AcceptingFinding::PoolAtLimit { .. } => "pool_at_limit",
        }
    }
}

impl NotAccepting {
    fn id(&self) -> &'static str {
        match self {
            NotAccepting::NeverAccepted | NotAccepting::NotYetAccepted => "never_accepted",
            NotAccepting::NoneInAccept | NotAccepting::NoneInAcceptIdle { .. } | NotAccepting::NoneAfterDelivery => {
                "nobody_in_accept"
            }
            NotAccepting::EventNotHandled { .. } => "event_not_handled",
            NotAccepting::UnattendedPollset { .. } => "unattended_pollset",
            NotAccepting::NotPolled { .. } => "nobody_polls",
        }
    }
}

impl Case<'_> {
    /// Of each socket that shares the address; where all are alike, of the listener.
    pub(super) fn accepting(&self, listener: &ListenerFacts, is_explained: bool) -> Vec<Graded<AcceptingFinding>> {
        let all: Vec<_> = listener.queues().iter().map(|queue| (queue, self.why(queue, is_explained))).collect();
        let are_alike = all.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let graded = |(queue, why): (&ListenerFacts, Option<_>)| {
            let (why, gravity, confidence) = why?;
            let found = AcceptingFinding::NotAccepting(why, Box::new(QueueFigures::from(queue)));
            Some(Graded { found, gravity, confidence, listener: Some(queue.endpoint.clone()) })
        };
        if are_alike {
            let first = all.into_iter().next();
            return first.and_then(|(_, why)| graded((listener, why))).into_iter().collect();
        }
        all.into_iter().filter_map(graded).collect()
    }

    fn why(&self, listener: &ListenerFacts, is_explained: bool) -> Option<(NotAccepting, Gravity, Confidence)> {
        let (accepting, _) = listener.accepting.as_ref()?;
        let is_stalled = self.stalled_for(listener).is_some();
        let is_settled = self.observed.window >= self.settings.hold_for && listener.is_steady && !listener.has_accepted;
        Some(match (accepting, is_stalled) {
            // An acceptor that finds a client at once leaves no trace in the epoll sets: likely, not certain.
            (Accepting::NeverAccepted, true) => (NotAccepting::NeverAccepted, Gravity::Hang, Confidence::Likely),
            (Accepting::NeverAccepted, false) if is_settled => {
                (NotAccepting::NotYetAccepted, Gravity::Trouble, Confidence::Likely)
            }
            (Accepting::NotArmed(_), true) => (NotAccepting::NoneInAccept, Gravity::Hang, Confidence::Certain),
            (Accepting::NotArmed(_), false) if is_settled => {
                let window = self.observed.window;
                (NotAccepting::NoneInAcceptIdle { window }, Gravity::Note, Confidence::Possible)
            }
            (Accepting::Delivered | Accepting::Armed(_), true) if is_explained => return None,
            (Accepting::Delivered, true) if self.are_schedulers_free() => {
                (NotAccepting::NoneAfterDelivery, Gravity::Hang, Confidence::Likely)
            }
            (Accepting::Delivered, true) => {
                let why = NotAccepting::EventNotHandled { stopped: self.stopped(), crash_dump: self.crash_dump() };
                (why, Gravity::Hang, Confidence::Likely)
            }
            (Accepting::Armed(Set::Schedulers), true) if !listener.is_attended && self.are_calls_known() => {
                let why = NotAccepting::UnattendedPollset { stopped: self.stopped() };
                (why, Gravity::Hang, Confidence::Likely)
            }
            (Accepting::Armed(_), true) => {
                let blocked_poller = self.blocked_poller();
                let confidence = if blocked_poller.is_some() { Confidence::Certain } else { Confidence::Likely };
                (NotAccepting::NotPolled { blocked_poller, stopped: self.stopped() }, Gravity::Hang, confidence)
            }
            (Accepting::NeverAccepted | Accepting::NotArmed(_) | Accepting::Delivered | Accepting::Armed(_), false) => {
                return None;
            }
        })
    }

    /// The epoll set alone shows a pool's limit from outside, and shows no more than that no process is in accept.
    pub(super) fn pool(&self, listener: &ListenerFacts) -> Option<Graded<AcceptingFinding>> {
        let is_left = |queue: &ListenerFacts| {
            let accepting = queue.accepting.as_ref().map(|known| known.0);
            matches!(accepting, Some(Accepting::NotArmed(_))) && self.stalled_for(queue).is_some()
        };
        if !listener.queues().iter().any(is_left) {
            return None;
        }
        let (established, close_wait) = listener.counts.map(|counts| (counts.established, counts.close_wait))?;
        (established + close_wait > 0).then(|| Graded {
            found: AcceptingFinding::PoolAtLimit { established, close_wait },
            gravity: Gravity::Hang,
            confidence: Confidence::Possible,
            listener: Some(listener.endpoint.clone()),
        })
    }

    /// Every scheduler was seen to wait for work, or to do some, and its stack says so; and no poll thread that may have fetched
    /// an event is kept from passing it on.
    fn are_schedulers_free(&self) -> bool {
        let mut schedulers = self.observed.schedulers().peekable();
        let is_kept = |facts: &ThreadFacts| {
            matches!(facts.thread.role, Role::Poller(_)) && matches!(facts.doing, Doing::Blocked(_) | Doing::Stopped)
        };
        schedulers.peek().is_some()
            && !self.observed.threads.iter().any(is_kept)
            && schedulers.all(|facts| matches!(facts.doing, Doing::Idle { is_sure: true } | Doing::Works))
    }

    fn are_calls_known(&self) -> bool {
        self.observed.schedulers().any(|facts| facts.thread.call.is_ok())
    }

    fn blocked_poller(&self) -> Option<String> {
        let is_blocked = |facts: &&ThreadFacts| {
            matches!(facts.thread.role, Role::Poller(_)) && matches!(facts.doing, Doing::Blocked(_))
        };
        self.observed.threads.iter().find(is_blocked).map(|facts| facts.thread.name.clone())
    }

    fn stopped(&self) -> Option<StoppedThreads> {
        let mut stopped = self.observed.threads.iter().filter(|facts| facts.doing == Doing::Stopped);
        let first = &stopped.next()?.thread;
        Some(StoppedThreads { count: stopped.count() + 1, name: first.name.clone(), tid: first.tid })
    }
}
