//! The accept queue of one address, as a census finds it.

use crate::reading::tally::Group;
use crate::{Census, Cookie, Endpoint, Inode};

/// The accept queue of an address, and the connections in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The address.
    pub endpoint: Endpoint,
    /// The sockets that share it (SO_REUSEPORT); the kernel does not say which of them a connection belongs to.
    pub sockets: Vec<(Cookie, Inode)>,
    /// What was counted.
    pub census: Census,
}

impl From<Group> for Queue {
    fn from(group: Group) -> Queue {
        Queue { endpoint: Endpoint::Tcp(group.address), census: group.census(), sockets: group.sockets }
    }
}

impl Queue {
    /// Whether this socket is one of those that share it.
    pub(crate) fn has(&self, socket: Cookie) -> bool {
        self.sockets.iter().any(|&(cookie, _)| cookie == socket)
    }

    /// The sockets that share it.
    pub(crate) fn cookies(&self) -> Vec<Cookie> {
        self.sockets.iter().map(|&(cookie, _)| cookie).collect()
    }
}
