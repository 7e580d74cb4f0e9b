//! Rows in, counts and ages out: the connections in front of each TCP listener. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::linux::diag::{ChildState, QueuedState, Row};
use crate::{Address, Census, Cookie, Counts, Inode, Sum};

/// A listening address and what has been counted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The address.
    pub address: Address,
    /// The sockets that share it (SO_REUSEPORT); the kernel does not say which of them a connection belongs to.
    pub sockets: Vec<(Cookie, Inode)>,
    /// What was counted.
    pub counts: Counts,
    /// How many are queued at each of the sockets.
    depths: Vec<u32>,
    /// How long each of the queued that still has a row has waited, in no order.
    waits: Vec<Duration>,
}

impl Group {
    /// What was counted, and what it was made of.
    pub fn census(&self) -> Census {
        let waits = (!self.is_transparent()).then(|| self.waits.clone());
        let sockets = self.sockets.iter().zip(&self.depths).map(|(&(cookie, _), &queued)| (cookie, queued)).collect();
        Census { counts: self.counts, waits, clients: None, took: Duration::ZERO, sockets }
    }
}

/// A count in progress. Listeners must be added before their children, as the kernel dumps them (`inet_diag_dump_icsk`
/// walks the table of listeners first). Of a child nothing is kept but its cookie, and its age while it is queued.
#[derive(Debug, Default)]
pub struct Tally {
    groups: Vec<Group>,
    by_port: HashMap<u16, HashMap<Address, usize>>,
    by_cookie: HashMap<Cookie, usize>,
    children: HashSet<Cookie>,
}

impl Tally {
    /// Counts one row. A connection that fits no listener is left out: it is an outgoing one, or the handshake of a
    /// listener that has closed. So is a row that has been counted: where the table changes during the walk, the kernel
    /// repeats some.
    pub fn add(&mut self, row: &Row) {
        match *row {
            Row::Listener { address, cookie, inode, queued, limit, drops, is_transparent } => {
                let full_sockets = (queued > limit).into();
                let own = Counts { queued, limit, drops, sockets: 1, full_sockets, ..Counts::EMPTY };
                self.listener(address, (cookie, inode), if is_transparent { own.without_rows() } else { own });
            }
            Row::Child { cookie, local, is_transparent, state } => {
                // One of a transparent proxy may seem to be another listener's.
                if let Some(index) = self.index_for(&local)
                    && (!is_transparent || self.groups[index].is_transparent())
                    && self.children.insert(cookie)
                {
                    self.groups[index].child(state);
                }
            }
        }
    }

    /// Whether more are queued somewhere than there are rows: connections that were reset. Acceptors at work leave the same
    /// picture, so this asks for another walk.
    pub(crate) fn has_resets(&self) -> bool {
        self.groups.iter().any(|group| group.counts.queued_reset() > Some(0))
    }

    /// Takes in a second reading of the listeners, made after the children were counted, and keeps the smaller depth of
    /// each: what was accepted meanwhile is no longer taken for a connection without a row.
    pub(crate) fn settle(&mut self, after: &Tally) {
        for group in &mut self.groups {
            if let Some(later) = after.index_at(&group.address) {
                group.counts.queued = group.counts.queued.min(after.groups[later].counts.queued);
            }
        }
    }

    /// Takes in a second tally, and of each group the one with fewer resets: a reset connection keeps its place until it is
    /// accepted, while one that came as another went during the walk has a row the second time.
    pub(crate) fn keep_lasting_resets(&mut self, again: Tally) {
        for later in again.groups {
            if let Some(index) = self.index_at(&later.address)
                && later.counts.queued_reset() < self.groups[index].counts.queued_reset()
            {
                // It may be of other sockets.
                self.by_cookie.extend(later.sockets.iter().map(|&(cookie, _)| (cookie, index)));
                self.groups[index] = later;
            }
        }
    }

    /// The address that this socket listens on, and its counts.
    pub fn group_of(&self, cookie: Cookie) -> Option<&Group> {
        self.by_cookie.get(&cookie).map(|&index| &self.groups[index])
    }

    /// Every listening address.
    pub fn into_groups(self) -> Vec<Group> {
        self.groups
    }

    /// The listening address whose child this connection is.
    pub fn address_for(&self, local: &Address) -> Option<Address> {
        self.index_for(local).map(|index| self.groups[index].address)
    }

    fn listener(&mut self, address: Address, socket: (Cookie, Inode), own: Counts) {
        if self.by_cookie.contains_key(&socket.0) {
            return;
        }
        let index = *self.by_port.entry(address.port).or_default().entry(address).or_insert(self.groups.len());
        match self.groups.get_mut(index) {
            Some(group) => {
                group.sockets.push(socket);
                group.depths.push(own.queued);
                group.counts = group.counts.plus(own);
            }
            None => self.groups.push(Group {
                address,
                sockets: vec![socket],
                counts: own,
                depths: vec![own.queued],
                waits: Vec::new(),
            }),
        }
        self.by_cookie.insert(socket.0, index);
    }

    fn index_at(&self, address: &Address) -> Option<usize> {
        self.by_port.get(&address.port)?.get(address).copied()
    }

    /// The listener that the kernel would have chosen. Most connections of a machine are of a port on which none listens.
    fn index_for(&self, local: &Address) -> Option<usize> {
        let same_port = self.by_port.get(&local.port)?;
        local.listened_on().find_map(|address| same_port.get(&address).copied())
    }
}

impl Group {
    /// No connection waits, nor came while the others were counted.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Counts { queued, queued_alive, queued_closed, .. } = self.counts;
        queued == 0 && [queued_alive, queued_closed].into_iter().flatten().sum::<u32>() == 0
    }

    fn is_transparent(&self) -> bool {
        self.counts.queued_alive.is_none()
    }

    fn child(&mut self, state: ChildState) {
        let is_transparent = self.is_transparent();
        let Group { counts, waits, .. } = self;
        let one_more = |count: &mut Option<u32>| *count = count.map(|count| count + 1);
        match state {
            ChildState::Handshake => one_more(&mut counts.syn_recv),
            ChildState::Queued { state, bytes, waited } => {
                match state {
                    QueuedState::Alive => one_more(&mut counts.queued_alive),
                    QueuedState::Closed => one_more(&mut counts.queued_closed),
                }
                counts.queued_bytes = counts.queued_bytes.map(|sum| sum + u64::from(bytes));
                if !is_transparent {
                    counts.oldest_wait = counts.oldest_wait.max(Some(waited));
                    waits.push(waited);
                }
            }
            ChildState::Established => counts.established += 1,
            ChildState::CloseWait { .. } => counts.close_wait += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Interface;

    fn at(ip: &str) -> Address {
        Address { ip: ip.parse().expect("an address"), port: 80, interface: Interface(0) }
    }

    fn listener(ip: &str, cookie: u64, queued: u32) -> Row {
        Row::Listener {
            address: at(ip),
            cookie: Cookie(cookie),
            inode: Inode(cookie as u32),
            queued,
            limit: 5,
            drops: Some(1),
            is_transparent: false,
        }
    }

    fn child(ip: &str, state: ChildState) -> Row {
        static COOKIES: AtomicU64 = AtomicU64::new(1000);
        Row::Child {
            cookie: Cookie(COOKIES.fetch_add(1, Ordering::Relaxed)),
            local: at(ip),
            is_transparent: false,
            state,
        }
    }

    fn queued(ip: &str, state: QueuedState, waited_ms: u64) -> Row {
        child(ip, ChildState::Queued { state, bytes: 10, waited: Duration::from_millis(waited_ms) })
    }

    fn tally(rows: &[Row]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.add(row));
        tally
    }

    #[test]
    fn a_queued_connection_without_a_row_was_reset() {
        let tally = tally(&[
            listener("127.0.0.1", 1, 6),
            queued("127.0.0.1", QueuedState::Alive, 10),
            queued("127.0.0.1", QueuedState::Alive, 30),
            queued("127.0.0.1", QueuedState::Alive, 20),
            queued("127.0.0.1", QueuedState::Closed, 5),
            queued("127.0.0.1", QueuedState::Closed, 5),
        ]);
        let counts = tally.group_of(Cookie(1)).expect("the listener").counts;
        assert_eq!((counts.queued_alive, counts.queued_closed, counts.queued_reset()), (Some(3), Some(2), Some(1)));
        assert_eq!(counts.oldest_wait, Some(Duration::from_millis(30)));
        assert_eq!(counts.queued_bytes, Some(50));
        assert!(tally.has_resets());
    }

    #[test]
    fn what_was_accepted_during_the_walk_is_not_taken_for_reset() {
        let mut tally = tally(&[listener("127.0.0.1", 1, 6), queued("127.0.0.1", QueuedState::Alive, 10)]);
        tally.settle(&self::tally(&[listener("127.0.0.1", 1, 1)]));
        let counts = tally.group_of(Cookie(1)).expect("the listener").counts;
        assert_eq!((counts.queued, counts.queued_reset()), (1, Some(0)));
        assert!(!tally.has_resets());
    }

    #[test]
    fn what_came_and_went_during_the_walk_is_not_taken_for_reset() {
        let mut tally = tally(&[listener("127.0.0.1", 1, 2), queued("127.0.0.1", QueuedState::Alive, 10)]);
        tally.keep_lasting_resets(self::tally(&[
            listener("127.0.0.1", 1, 3),
            queued("127.0.0.1", QueuedState::Alive, 10),
            queued("127.0.0.1", QueuedState::Alive, 5),
            queued("127.0.0.1", QueuedState::Alive, 1),
        ]));
        let counts = tally.group_of(Cookie(1)).expect("the listener").counts;
        assert_eq!((counts.queued, counts.queued_alive, counts.queued_reset()), (3, Some(3), Some(0)));
    }

    #[test]
    fn more_rows_than_places_is_no_negative_number_of_resets() {
        let tally = tally(&[listener("127.0.0.1", 1, 0), queued("127.0.0.1", QueuedState::Alive, 10)]);
        assert_eq!(tally.into_groups()[0].counts.queued_reset(), Some(0));
    }

    #[test]
    fn listeners_of_one_port_do_not_see_each_others_clients() {
        let tally = tally(&[
            listener("127.0.0.1", 1, 1),
            listener("0.0.0.0", 2, 2),
            listener("::", 3, 1),
            queued("127.0.0.1", QueuedState::Alive, 1),
            queued("127.0.0.2", QueuedState::Alive, 2),
            queued("127.0.0.3", QueuedState::Alive, 3),
            queued("::ffff:127.0.0.1", QueuedState::Alive, 4),
        ]);
        let alive = |cookie| tally.group_of(Cookie(cookie)).expect("a listener").counts.queued_alive;
        assert_eq!((alive(1), alive(2), alive(3)), (Some(1), Some(2), Some(1)));
    }

    #[test]
    fn sockets_that_share_an_address_are_summed() {
        let tally = tally(&[
            listener("127.0.0.1", 1, 1),
            listener("127.0.0.1", 2, 0),
            queued("127.0.0.1", QueuedState::Alive, 1),
        ]);
        let group = tally.group_of(Cookie(2)).expect("the group");
        assert_eq!(group.sockets, [(Cookie(1), Inode(1)), (Cookie(2), Inode(2))]);
        let Counts { queued, limit, drops, sockets, .. } = group.counts;
        assert_eq!((queued, limit, drops, sockets), (1, 10, Some(2), 2));
    }

    #[test]
    fn a_handshake_that_outlived_its_listener_is_credited_to_no_other() {
        let tally = tally(&[listener("127.0.0.2", 1, 0), child("127.0.0.1", ChildState::Handshake)]);
        assert_eq!(tally.into_groups()[0].counts.syn_recv, Some(0));
    }

    #[test]
    fn a_row_that_comes_twice_is_counted_once() {
        let twice = |row| [row, row];
        let rows: Vec<_> = [
            listener("127.0.0.1", 1, 1),
            listener("127.0.0.1", 2, 1),
            queued("127.0.0.1", QueuedState::Alive, 10),
            queued("127.0.0.1", QueuedState::Closed, 10),
            child("127.0.0.1", ChildState::Handshake),
            child("127.0.0.1", ChildState::Established),
        ]
        .into_iter()
        .flat_map(twice)
        .collect();
        let group = tally(&rows).into_groups().remove(0);
        let Counts { queued, queued_alive, queued_closed, syn_recv, established, sockets, .. } = group.counts;
        assert_eq!((queued, sockets, group.sockets.len(), established), (2, 2, 2, 1));
        assert_eq!((queued_alive, queued_closed, syn_recv), (Some(1), Some(1), Some(1)));
        assert_eq!(group.census().waits.map(|waits| waits.len()), Some(2));
    }

    #[test]
    fn of_a_transparent_proxy_the_queue_is_known_and_not_what_is_in_it() {
        let Row::Listener { address, cookie, inode, queued: six, limit, drops, .. } = listener("0.0.0.0", 1, 6) else {
            panic!("a listener")
        };
        let tally = tally(&[
            Row::Listener { address, cookie, inode, queued: six, limit, drops, is_transparent: true },
            queued("127.0.0.1", QueuedState::Alive, 10),
        ]);
        assert!(!tally.has_resets());
        let Census { counts, waits, .. } = tally.into_groups()[0].census();
        assert_eq!(
            (counts.queued, counts.queued_alive, counts.queued_closed, counts.queued_reset()),
            (6, None, None, None)
        );
        assert_eq!((counts.syn_recv, counts.queued_bytes, counts.oldest_wait, waits), (None, None, None, None));
    }
}
