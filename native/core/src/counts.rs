//! The figures: how deep a queue is, and what the kernel knows of the connections in front of it.

use std::time::Duration;

use crate::Cookie;

/// The first tier: how deep a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force; full is `queued > limit`.
    pub limit: u32,
    /// Packets dropped; `None` before Linux 4.12, and for Unix sockets, which drop none. Wraps at 32 bits.
    pub drops: Option<u32>,
}

/// Everything the kernel knows of one listening address at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force.
    pub limit: u32,
    /// Packets dropped; `None` before Linux 4.12, and for Unix sockets, which drop none. Wraps at 32 bits.
    pub drops: Option<u32>,
    /// Handshakes not finished; `None` for a Unix socket, which has none.
    pub syn_recv: Option<u32>,
    /// Of the queued: the client is still there.
    pub queued_alive: u32,
    /// Of the queued: the client has closed while it waited.
    pub queued_closed: u32,
    /// Request bytes that queued clients have sent; `None` for a Unix socket: the kernel does not say.
    pub queued_bytes: Option<u64>,
    /// How long the longest-waiting queued connection has waited; `None` where none waits, and for Unix sockets.
    pub oldest_wait: Option<Duration>,
    /// Accepted and open on both sides.
    pub established: u32,
    /// Accepted; the peer has closed and the application still holds the socket.
    pub close_wait: u32,
    /// Sockets that share the address; the figures above are their sum.
    pub sockets: u32,
    /// Of these: full, whatever room the others have. The kernel sends a client to one of them without regard to that.
    pub full_sockets: u32,
}

impl Counts {
    /// Of a TCP listener that has not been counted yet.
    pub(crate) const EMPTY: Counts = Counts {
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
        full_sockets: 0,
    };

    /// The next client's SYN will be dropped, or may be where several sockets share the address. A queue holds one more than its
    /// limit.
    pub fn is_full(&self) -> bool {
        self.full_sockets > 0 || self.queued > self.limit
    }

    /// The queue alone.
    pub fn depth(&self) -> Depth {
        Depth { queued: self.queued, limit: self.limit, drops: self.drops }
    }

    /// Of the queued: the client has reset. No row is left of it, only its place in the queue.
    pub fn queued_reset(&self) -> u32 {
        self.queued.saturating_sub(self.queued_alive + self.queued_closed)
    }
}

/// A census of one address: the counts, and what they were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// What was counted.
    pub counts: Counts,
    /// How long each of the queued that still has a row has waited, in no order; `None` for a Unix socket, of which the
    /// kernel keeps no ages.
    pub waits: Option<Vec<Duration>>,
    /// How long it took: the ages are those of some moment between the time of the census and so much later.
    pub took: Duration,
    /// The sockets that share the address, whichever process owns them, and how many are queued at each.
    pub sockets: Vec<(Cookie, u32)>,
}

impl Census {
    /// The same, with how long it took.
    pub fn taken_in(self, took: Duration) -> Census {
        Census { took, ..self }
    }
}
