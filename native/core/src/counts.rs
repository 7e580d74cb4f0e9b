//! The figures: how deep a queue is, and what the kernel knows of the connections in front of it.

use std::time::Duration;

use crate::{Cookie, Inode};

/// The limit of a queue where that cannot be read (`/proc/net/tcp` does not have it): none is so long, so that none is full. The kernel has
/// no greater one than 2³¹ - 1.
pub(crate) const UNKNOWN_LIMIT: u32 = u32::MAX;

/// The first tier: how deep a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force; full is `queued > limit`. The greatest number where it is not known: see [`Depth::known_limit`].
    pub limit: u32,
    /// Packets dropped; `None` before Linux 4.12, and for Unix sockets, which drop none. Wraps at 32 bits.
    pub drops: Option<u32>,
}

impl Depth {
    /// The backlog in force; `None` where it is not known: of what is followed from outside, where sock_diag is refused.
    pub fn known_limit(&self) -> Option<u32> {
        (self.limit != UNKNOWN_LIMIT).then_some(self.limit)
    }
}

/// Everything the kernel knows of one listening address at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force, as in [`Depth`].
    pub limit: u32,
    /// Packets dropped; `None` before Linux 4.12, and for Unix sockets, which drop none. Wraps at 32 bits.
    pub drops: Option<u32>,
    /// Handshakes not finished; `None` for a Unix socket, which has none.
    pub syn_recv: Option<u32>,
    /// Of the queued: the client is still there. `None` where that is not known: of a transparent proxy, whose connections have
    /// other local ends than it, and of a Unix socket with more clients than the kernel lists.
    pub queued_alive: Option<u32>,
    /// Of the queued: the client has closed while it waited. `None` where that is not known.
    pub queued_closed: Option<u32>,
    /// Request bytes that queued clients have sent; `None` for a Unix socket: the kernel does not say.
    pub queued_bytes: Option<u64>,
    /// How long the longest-waiting queued connection has waited; `None` where none waits, and where that is not known. Of a
    /// Unix socket that is followed over time, how long its head has been the head: that long at least.
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
        queued_alive: Some(0),
        queued_closed: Some(0),
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

    /// As [`Depth::known_limit`].
    pub fn known_limit(&self) -> Option<u32> {
        self.depth().known_limit()
    }

    /// The queue alone.
    pub fn depth(&self) -> Depth {
        Depth { queued: self.queued, limit: self.limit, drops: self.drops }
    }

    /// Of the queued: the client has reset. No row is left of it, only its place in the queue. `None` where that is not known.
    pub fn queued_reset(&self) -> Option<u32> {
        let with_a_row = self.queued_alive?.saturating_add(self.queued_closed?);
        Some(self.queued.saturating_sub(with_a_row))
    }

    /// Of the queued: the client has closed or reset. `None` where that is not known.
    pub fn left(&self) -> Option<u32> {
        Some(self.queued_closed?.saturating_add(self.queued_reset()?))
    }

    /// The same, where rows of connections cannot be credited.
    pub(crate) fn without_rows(self) -> Counts {
        Counts { syn_recv: None, queued_alive: None, queued_closed: None, queued_bytes: None, ..self }
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
    /// Of a Unix socket: the inodes of the first clients of the queue, in its order, 0 for one that has closed. `None` where
    /// that is not known, and of TCP.
    pub clients: Option<Vec<Inode>>,
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
