//! The accept queue of one address, as a census finds it.

use std::collections::HashMap;

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
    /// The sockets that share it.
    pub(crate) fn cookies(&self) -> Vec<Cookie> {
        self.sockets.iter().map(|&(cookie, _)| cookie).collect()
    }
}

/// Queues, by the sockets that share each.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    by_cookie: HashMap<Cookie, usize>,
}

impl From<Vec<Queue>> for Queues {
    fn from(queues: Vec<Queue>) -> Queues {
        let mut all = Queues::default();
        all.extend(queues);
        all
    }
}

/// Of a socket that has a queue already, the new one counts.
impl Extend<Queue> for Queues {
    fn extend<T: IntoIterator<Item = Queue>>(&mut self, queues: T) {
        for queue in queues {
            self.by_cookie.extend(queue.sockets.iter().map(|&(cookie, _)| (cookie, self.queues.len())));
            self.queues.push(queue);
        }
    }
}

impl Queues {
    /// The queue of this socket.
    pub(crate) fn of(&self, socket: Cookie) -> Option<&Queue> {
        self.by_cookie.get(&socket).map(|&index| &self.queues[index])
    }
}
