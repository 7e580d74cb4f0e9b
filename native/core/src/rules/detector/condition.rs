//! What can be wrong with a listener, and how its beginning and end are reported.

use std::time::Duration;

use crate::{Cookie, Counts, Depth};

/// What can be wrong with a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// The head of the queue waits too long, and goes on doing so.
    Behind,
    /// Connections are being dropped, or will be: the queue is full.
    Overflowing,
    /// Connections wait, and no process accepts the first of them.
    Stuck,
    /// Many of the queued clients have already left.
    Abandoned,
    /// The application holds many connections that their peers have closed.
    Leaking,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 5] =
        [Condition::Behind, Condition::Overflowing, Condition::Stuck, Condition::Abandoned, Condition::Leaking];
}

/// A condition that begins or ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It holds. The evidence is what raised it.
    Raised {
        /// The condition.
        condition: Condition,
        /// What was read.
        evidence: ConditionEvidence,
    },
    /// It no longer holds. The evidence is what was read last.
    Cleared {
        /// The condition.
        condition: Condition,
        /// What was read.
        evidence: ConditionEvidence,
    },
}

/// The figures behind a condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConditionEvidence {
    /// How long it has held, or had held when it was cleared.
    pub held_for: Duration,
    /// The queue.
    pub depth: Depth,
    /// What is in it, as of the last census.
    pub counts: Option<Counts>,
    /// Dropped for want of room since such drops began; 0 where none were.
    pub dropped: u64,
    /// Dropped for another cause than want of room. Ask the kernel's other counters.
    pub dropped_otherwise: u64,
    /// `overflowing` and `stuck`: the socket that is full, or that no process accepts from.
    pub socket: Option<SocketEvidence>,
}

/// One of the sockets that share an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEvidence {
    /// Which.
    pub cookie: Cookie,
    /// Its queue.
    pub depth: Depth,
}
