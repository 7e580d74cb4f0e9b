//! Rows in, counts out, for Unix stream sockets. Pure.
//!
//! Children are known by the name and the file that they have from their listener: a path that was unlinked and bound again
//! is another file. An abstract name that was closed and bound again is the same; the connections of the earlier listener
//! are counted with the later one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::linux::diag::{UnixChild, UnixFile, UnixName, UnixRow, UnixSocketRequest};
use crate::reading::queue::Queue;
use crate::{Census, Cookie, Counts, Endpoint, Inode};

/// A count in progress. The kernel dumps listeners and connections in no order, and repeats some where its table changes
/// meanwhile.
#[derive(Debug, Default)]
pub(crate) struct UnixTally {
    listeners: Vec<UnixListener>,
    by_cookie: HashMap<Cookie, usize>,
    connections: HashSet<Cookie>,
    children: HashMap<Option<UnixFile>, HashMap<Vec<u8>, Children>>,
}

#[derive(Debug)]
struct UnixListener {
    name: Vec<u8>,
    file: Option<UnixFile>,
    cookie: Cookie,
    inode: Inode,
    counts: Counts,
    clients: Option<Vec<Inode>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Children {
    established: u32,
    close_wait: u32,
}

/// Of the clients of a queue so many are kept, from its head: whether it moves, the first few show.
const CLIENTS_KEPT: usize = 64;
/// The peer of a connection whose client has closed.
const CLOSED: Inode = Inode(0);

impl UnixTally {
    pub(crate) fn add(&mut self, row: UnixRow<'_>) {
        match row {
            UnixRow::Listener { name: UnixName { name, file }, cookie, inode, queued, limit, clients } => {
                let index = *self.by_cookie.entry(cookie).or_insert(self.listeners.len());
                if index == self.listeners.len() {
                    let counts = Counts { queued, limit, sockets: 1, ..Counts::default() };
                    let name = name.to_vec();
                    self.listeners.push(UnixListener { name, file, cookie, inode, counts, clients: None });
                }
                if let Some(clients) = clients {
                    self.listeners[index].take_in(clients.inodes());
                } else if queued == 0 {
                    self.listeners[index].take_in([].into_iter());
                }
            }
            UnixRow::Child { cookie, name: UnixName { name, file }, state } => {
                if !self.connections.insert(cookie) {
                    return;
                }
                let of_file = self.children.entry(file).or_default();
                if !of_file.contains_key(name) {
                    of_file.insert(name.to_vec(), Children::default());
                }
                if let Some(children) = of_file.get_mut(name) {
                    match state {
                        UnixChild::Established => children.established += 1,
                        UnixChild::PeerClosed => children.close_wait += 1,
                    }
                }
            }
        }
    }

    /// A question about the clients of each listener of which they are not known, and so few that the answer fits.
    pub(crate) fn unknown_clients(&self) -> Vec<UnixSocketRequest> {
        let is_unknown = |listener: &&UnixListener| {
            listener.clients.is_none() && listener.counts.queued <= UnixSocketRequest::MOST_CLIENTS
        };
        let request = |listener: &UnixListener| UnixSocketRequest {
            inode: listener.inode,
            cookie: listener.cookie,
            clients: true,
        };
        self.listeners.iter().filter(is_unknown).map(request).collect()
    }

    /// Whether a listener has more clients than that.
    pub(crate) fn has_many_clients(&self) -> bool {
        let has_many = |listener: &UnixListener| listener.counts.queued > UnixSocketRequest::MOST_CLIENTS;
        self.listeners.iter().any(has_many)
    }

    /// The rest of them: what is not wanted need not be asked for.
    pub(crate) fn keep(&mut self, is_wanted: impl Fn(Cookie) -> bool) {
        self.listeners.retain(|listener| is_wanted(listener.cookie));
        self.by_cookie = self.listeners.iter().enumerate().map(|(index, listener)| (listener.cookie, index)).collect();
    }

    /// Takes in a row that was asked for later; not one of a listener that was not there before.
    pub(crate) fn add_clients(&mut self, row: UnixRow<'_>) {
        if matches!(row, UnixRow::Listener { cookie, .. } if self.by_cookie.contains_key(&cookie)) {
            self.add(row);
        }
    }

    /// Every listener.
    pub(crate) fn into_queues(self) -> Vec<Queue> {
        let UnixTally { listeners, children, .. } = self;
        let with_children = |listener: UnixListener| {
            let UnixListener { name, file, cookie, inode, counts, clients } = listener;
            let of_it = children.get(&file).and_then(|of_file| of_file.get(&name)).copied();
            let Children { established, close_wait } = of_it.unwrap_or_default();
            Queue {
                endpoint: Endpoint::Unix(name),
                sockets: vec![(cookie, inode)],
                census: Census {
                    counts: Counts { established, close_wait, ..counts },
                    waits: None,
                    clients,
                    took: Duration::ZERO,
                    sockets: vec![(cookie, counts.queued)],
                },
            }
        };
        listeners.into_iter().map(with_children).collect()
    }

    /// What was counted for this socket.
    pub(crate) fn census_of(self, cookie: Cookie) -> Option<Census> {
        let own = self.into_queues().into_iter().find(|queue| queue.sockets[0].0 == cookie)?;
        Some(own.census)
    }
}

impl UnixListener {
    /// The list of its clients is the queue, of one moment.
    fn take_in(&mut self, inodes: impl ExactSizeIterator<Item = Inode>) {
        let queued = inodes.len() as u32;
        let (mut closed, mut first) = (0, Vec::new());
        for inode in inodes {
            closed += u32::from(inode == CLOSED);
            if first.len() < CLIENTS_KEPT {
                first.push(inode);
            }
        }
        let (queued_alive, queued_closed) = (Some(queued - closed), Some(closed));
        self.counts = Counts { queued, queued_alive, queued_closed, ..self.counts };
        self.clients = Some(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &'static [u8]) -> UnixName<'static> {
        UnixName { name, file: None }
    }

    fn listener(name: UnixName<'static>, cookie: u64, queued: u32) -> UnixRow<'static> {
        let (cookie, inode) = (Cookie(cookie), Inode(cookie as u32));
        UnixRow::Listener { name, cookie, inode, queued, limit: 5, clients: None }
    }

    fn child(name: UnixName<'static>, cookie: u64, state: UnixChild) -> UnixRow<'static> {
        UnixRow::Child { cookie: Cookie(cookie), name, state }
    }

    #[test]
    fn a_connection_may_be_dumped_before_its_listener_and_twice() {
        let mut tally = UnixTally::default();
        tally.add(child(at(b"/run/a"), 10, UnixChild::PeerClosed));
        tally.add(listener(at(b"/run/a"), 1, 2));
        tally.add(listener(at(b"/run/a"), 1, 2));
        tally.add(child(at(b"/run/a"), 11, UnixChild::Established));
        tally.add(child(at(b"/run/a"), 11, UnixChild::Established));
        tally.add(child(at(b"/run/b"), 12, UnixChild::Established));
        let counts = tally.census_of(Cookie(1)).expect("the listener").counts;
        assert_eq!((counts.queued, counts.established, counts.close_wait, counts.sockets), (2, 1, 1, 1));
        assert_eq!((counts.drops, counts.syn_recv, counts.queued_bytes), (None, None, None));
    }

    #[test]
    fn clients_are_asked_for_where_they_fit_in_an_answer_and_are_unknown_elsewhere() {
        let mut tally = UnixTally::default();
        let most = UnixSocketRequest::MOST_CLIENTS;
        tally.add(listener(at(b"\0empty"), 1, 0));
        tally.add(listener(at(b"\0some"), 2, most));
        tally.add(listener(at(b"\0many"), 3, most + 1));
        let asked: Vec<_> = tally.unknown_clients().iter().map(|request| request.cookie).collect();
        assert_eq!((asked, tally.has_many_clients()), (vec![Cookie(2)], true));
        let counts: Vec<_> = tally.into_queues().iter().map(|queue| queue.census.counts).collect();
        assert_eq!([counts[0].queued_alive, counts[1].queued_alive, counts[2].queued_alive], [Some(0), None, None]);
        assert_eq!(counts[2].queued_reset(), None);
    }
}
