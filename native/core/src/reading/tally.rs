//! Rows in, counts and ages out: the connections in front of each TCP listener. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::linux::diag::{QueuedState, Row};
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
        let sockets = self.sockets.iter().zip(&self.depths).map(|(&(cookie, _), &queued)| (cookie, queued)).collect();
        Census { counts: self.counts, waits: Some(self.waits.clone()), took: Duration::ZERO, sockets }
    }
}

/// A count in progress. Listeners must be added before their children, as the kernel dumps them (`inet_diag_dump_icsk`
/// walks the table of listeners first). Of a child nothing is kept but its age, while it is queued.
#[derive(Debug, Default)]
pub struct Tally {
    groups: Vec<Group>,
    by_port: HashMap<u16, Vec<usize>>,
}

impl Tally {
    /// Counts one row. A connection that fits no listener is left out: it is an outgoing one, or the handshake of a
    /// listener that has closed.
    pub fn add(&mut self, row: &Row) {
        match *row {
            Row::Listener { address, cookie, inode, queued, limit, drops } => {
                let group = self.group(address);
                group.sockets.push((cookie, inode));
                group.depths.push(queued);
                let full_sockets = (queued > limit).into();
                let own = Counts { queued, limit, drops, sockets: 1, full_sockets, ..Counts::EMPTY };
                group.counts = if group.sockets.len() == 1 { own } else { group.counts.plus(own) };
            }
            Row::Handshake { local } => {
                self.child(&local, |Group { counts, .. }| {
                    counts.syn_recv = counts.syn_recv.map(|handshakes| handshakes + 1);
                });
            }
            Row::Queued { local, state, bytes, waited } => self.child(&local, |Group { counts, waits, .. }| {
                match state {
                    QueuedState::Alive => counts.queued_alive += 1,
                    QueuedState::Closed => counts.queued_closed += 1,
                }
                counts.queued_bytes = counts.queued_bytes.map(|sum| sum + u64::from(bytes));
                counts.oldest_wait = counts.oldest_wait.max(Some(waited));
                waits.push(waited);
            }),
            Row::Established { local } => self.child(&local, |group| group.counts.established += 1),
            Row::CloseWait { local, .. } => self.child(&local, |group| group.counts.close_wait += 1),
        }
    }

    /// Whether more are queued somewhere than there are rows: connections that were reset. Acceptors at work leave the same
    /// picture, so this asks for another walk.
    pub(crate) fn has_resets(&self) -> bool {
        self.groups.iter().any(|group| group.counts.queued_reset() > 0)
    }

    /// Takes in a second reading of the listeners, made after the children were counted, and keeps the smaller depth of
    /// each: what was accepted meanwhile is no longer taken for a connection without a row.
    pub(crate) fn settle(&mut self, after: &Tally) {
        for group in &mut self.groups {
            if let Some(later) = after.groups.iter().find(|later| later.address == group.address) {
                group.counts.queued = group.counts.queued.min(later.counts.queued);
            }
        }
    }

    /// Takes in a second tally, and of each group the one with fewer resets: a reset connection keeps its place until it is
    /// accepted, while one that came as another went during the walk has a row the second time.
    pub(crate) fn keep_lasting_resets(&mut self, again: Tally) {
        for later in again.groups {
            if let Some(group) = self.groups.iter_mut().find(|group| group.address == later.address)
                && later.counts.queued_reset() < group.counts.queued_reset()
            {
                *group = later;
            }
        }
    }

    /// The address that this socket listens on, and its counts.
    pub fn group_of(&self, cookie: Cookie) -> Option<&Group> {
        self.groups.iter().find(|group| group.sockets.iter().any(|socket| socket.0 == cookie))
    }

    /// Every listening address.
    pub fn into_groups(self) -> Vec<Group> {
        self.groups
    }

    fn group(&mut self, address: Address) -> &mut Group {
        let same_port = self.by_port.entry(address.port).or_default();
        let index = match same_port.iter().find(|&&index| self.groups[index].address == address) {
            Some(&index) => index,
            None => {
                same_port.push(self.groups.len());
                self.groups.push(Group {
                    address,
                    sockets: Vec::new(),
                    counts: Counts::EMPTY,
                    depths: Vec::new(),
                    waits: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        &mut self.groups[index]
    }

    /// The listening address whose child this connection is.
    pub fn address_for(&self, local: &Address) -> Option<Address> {
        self.index_for(local).map(|index| self.groups[index].address)
    }

    /// The listener that the kernel would have chosen.
    fn index_for(&self, local: &Address) -> Option<usize> {
        let same_port = self.by_port.get(&local.port)?;
        let fits = same_port.iter().filter_map(|&index| Some((self.groups[index].address.fit(local)?, index)));
        fits.max_by_key(|&(fit, _)| fit).map(|(_, index)| index)
    }

    fn child(&mut self, local: &Address, count: impl FnOnce(&mut Group)) {
        if let Some(index) = self.index_for(local) {
            count(&mut self.groups[index]);
        }
    }
}

#[cfg(test)]
mod tests {
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
        }
    }

    fn queued(ip: &str, state: QueuedState, waited_ms: u64) -> Row {
        Row::Queued { local: at(ip), state, bytes: 10, waited: Duration::from_millis(waited_ms) }
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
        assert_eq!((counts.queued_alive, counts.queued_closed, counts.queued_reset()), (3, 2, 1));
        assert_eq!(counts.oldest_wait, Some(Duration::from_millis(30)));
        assert_eq!(counts.queued_bytes, Some(50));
        assert!(tally.has_resets());
    }

    #[test]
    fn what_was_accepted_during_the_walk_is_not_taken_for_reset() {
        let mut tally = tally(&[listener("127.0.0.1", 1, 6), queued("127.0.0.1", QueuedState::Alive, 10)]);
        tally.settle(&self::tally(&[listener("127.0.0.1", 1, 1)]));
        let counts = tally.group_of(Cookie(1)).expect("the listener").counts;
        assert_eq!((counts.queued, counts.queued_reset()), (1, 0));
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
        assert_eq!((counts.queued, counts.queued_alive, counts.queued_reset()), (3, 3, 0));
    }

    #[test]
    fn more_rows_than_places_is_no_negative_number_of_resets() {
        let tally = tally(&[listener("127.0.0.1", 1, 0), queued("127.0.0.1", QueuedState::Alive, 10)]);
        assert_eq!(tally.into_groups()[0].counts.queued_reset(), 0);
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
        assert_eq!((alive(1), alive(2), alive(3)), (1, 2, 1));
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
        let tally = tally(&[listener("127.0.0.2", 1, 0), Row::Handshake { local: at("127.0.0.1") }]);
        assert_eq!(tally.into_groups()[0].counts.syn_recv, Some(0));
    }
}
