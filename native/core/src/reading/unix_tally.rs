//! Rows in, counts out, for Unix stream sockets. Pure.
//!
//! Children are known by their name, which they have from their listener. Two listeners may have had one name, where a path
//! was unlinked and bound again: the kernel does not distinguish their children, and each is shown with all of them.

use std::collections::HashMap;
use std::time::Duration;

use crate::linux::diag::{UnixChild, UnixRow};
use crate::reading::queue::Queue;
use crate::{Census, Cookie, Counts, Endpoint};

/// A count in progress. The kernel dumps listeners and connections in no order.
#[derive(Debug, Default)]
pub(crate) struct UnixTally {
    listeners: Vec<Queue>,
    children: HashMap<Vec<u8>, Children>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Children {
    established: u32,
    close_wait: u32,
}

impl UnixTally {
    pub(crate) fn add(&mut self, row: UnixRow<'_>) {
        match row {
            UnixRow::Listener { name, cookie, inode, queued, limit, queued_alive, queued_closed } => {
                let (queued_alive, queued_closed) = (Some(queued_alive), Some(queued_closed));
                let counts = Counts { queued, limit, queued_alive, queued_closed, sockets: 1, ..Counts::default() };
                self.listeners.push(Queue {
                    endpoint: Endpoint::Unix(name.to_vec()),
                    sockets: vec![(cookie, inode)],
                    census: Census { counts, waits: None, took: Duration::ZERO },
                });
            }
            UnixRow::Child { name, state } => {
                if !self.children.contains_key(name) {
                    self.children.insert(name.to_vec(), Children::default());
                }
                if let Some(children) = self.children.get_mut(name) {
                    match state {
                        UnixChild::Established => children.established += 1,
                        UnixChild::PeerClosed => children.close_wait += 1,
                    }
                }
            }
        }
    }

    /// Every listener.
    pub(crate) fn into_queues(self) -> Vec<Queue> {
        let UnixTally { listeners, children } = self;
        let with_children = |mut queue: Queue| {
            if let Endpoint::Unix(name) = &queue.endpoint
                && let Some(&Children { established, close_wait }) = children.get(name)
            {
                queue.census.counts = Counts { established, close_wait, ..queue.census.counts };
            }
            queue
        };
        listeners.into_iter().map(with_children).collect()
    }

    /// What was counted for this socket.
    pub(crate) fn counts_of(self, cookie: Cookie) -> Option<Counts> {
        let own = self.into_queues().into_iter().find(|queue| queue.sockets[0].0 == cookie)?;
        Some(own.census.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Inode;

    #[test]
    fn a_connection_may_be_dumped_before_its_listener() {
        let mut tally = UnixTally::default();
        tally.add(UnixRow::Child { name: b"/run/a", state: UnixChild::PeerClosed });
        tally.add(UnixRow::Listener {
            name: b"/run/a",
            cookie: Cookie(1),
            inode: Inode(1),
            queued: 2,
            limit: 5,
            queued_alive: 1,
            queued_closed: 1,
        });
        tally.add(UnixRow::Child { name: b"/run/a", state: UnixChild::Established });
        tally.add(UnixRow::Child { name: b"/run/b", state: UnixChild::Established });
        let counts = tally.counts_of(Cookie(1)).expect("the listener");
        assert_eq!((counts.queued, counts.established, counts.close_wait), (2, 1, 1));
        assert_eq!((counts.drops, counts.syn_recv, counts.queued_bytes), (None, None, None));
    }
}
