//! The figures: how deep a queue is, and what the kernel knows of the connections in it.

use std::time::Duration;

/// The first tier: how deep a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force; full is `queued > limit`.
    pub limit: u32,
    /// Packets dropped; `None` where the kernel does not tell, and for Unix sockets, which drop none.
    pub drops: Option<u32>,
}

impl Depth {
    /// The two as one.
    pub fn plus(self, other: Depth) -> Depth {
        Depth {
            queued: self.queued + other.queued,
            limit: self.limit.saturating_add(other.limit),
            drops: both(self.drops, other.drops, u32::wrapping_add),
        }
    }
}

/// Everything the kernel knows of one listening address at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force.
    pub limit: u32,
    /// Packets dropped; `None` where the kernel does not tell, and for Unix sockets, which drop none.
    pub drops: Option<u32>,
    /// Handshakes not finished; `None` for a Unix socket, which has none.
    pub syn_recv: Option<u32>,
    /// Of the queued: the client is still there.
    pub queued_alive: u32,
    /// Of the queued: the client has closed while it waited.
    pub queued_closed: u32,
    /// Request bytes that queued clients have sent; `None` for a Unix socket: the kernel does not tell.
    pub queued_bytes: Option<u64>,
    /// How long the longest-waiting queued connection has waited; `None` where none waits, and for Unix sockets.
    pub oldest_wait: Option<Duration>,
    /// Accepted and open on both sides.
    pub established: u32,
    /// Accepted; the peer has closed and the application still holds the socket.
    pub close_wait: u32,
    /// Sockets that share the address; the figures above are their sum.
    pub sockets: u32,
}

impl Counts {
    /// A TCP listener before whom nobody stands.
    pub(crate) const NOBODY: Counts = Counts {
        queued: 0,
        limit: 0,
        drops: None,
        syn_recv: Some(0),
        queued_alive: 0,
        queued_closed: 0,
        queued_bytes: Some(0),
        oldest_wait: None,
        established: 0,
        close_wait: 0,
        sockets: 0,
    };

    /// The next client will be turned away. The queue holds one more than its limit.
    pub fn is_full(&self) -> bool {
        self.queued > self.limit
    }

    /// Of the queued: the client has reset. No row is left of it, only its place in the queue.
    pub fn queued_reset(&self) -> u32 {
        self.queued.saturating_sub(self.queued_alive + self.queued_closed)
    }

    /// The two as one. A figure that one of them does not have, the sum does not have; of the ages the greater counts.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            queued: self.queued.saturating_add(other.queued),
            limit: self.limit.saturating_add(other.limit),
            drops: both(self.drops, other.drops, u32::wrapping_add),
            syn_recv: both(self.syn_recv, other.syn_recv, u32::saturating_add),
            queued_alive: self.queued_alive.saturating_add(other.queued_alive),
            queued_closed: self.queued_closed.saturating_add(other.queued_closed),
            queued_bytes: both(self.queued_bytes, other.queued_bytes, u64::saturating_add),
            oldest_wait: self.oldest_wait.max(other.oldest_wait),
            established: self.established.saturating_add(other.established),
            close_wait: self.close_wait.saturating_add(other.close_wait),
            sockets: self.sockets.saturating_add(other.sockets),
        }
    }
}

/// Counts, and what they were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// What was counted.
    pub counts: Counts,
    /// How long each of the queued that still has a row has waited, in no order; `None` for a Unix socket, of which the
    /// kernel keeps no ages.
    pub waits: Option<Vec<Duration>>,
    /// How long it took to find out: the ages are those of some moment between the time of the look and so much later.
    pub took: Duration,
}

impl Census {
    /// With how long it took since the time of the look.
    pub fn taken_in(self, took: Duration) -> Census {
        Census { took, ..self }
    }

    /// The two as one.
    pub fn plus(self, other: Census) -> Census {
        Census {
            counts: self.counts.plus(other.counts),
            waits: both(self.waits, other.waits, |one, other| [one, other].concat()),
            took: self.took.max(other.took),
        }
    }
}

/// The sum of two figures that may be absent.
pub(crate) fn both<T>(one: Option<T>, other: Option<T>, plus: impl Fn(T, T) -> T) -> Option<T> {
    one.zip(other).map(|(one, other)| plus(one, other))
}
