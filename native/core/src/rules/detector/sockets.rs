//! Each socket that shares the address: how deep its queue is, since when it has been full, what it has dropped.
//!
//! The kernel gives each member of a SO_REUSEPORT group a queue and a counter of drops of its own. A sum of them falls when one
//! closes, and hides one that no process accepts from.

use super::time::Time;
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Cookie, Depth, Members};

/// The sockets of the last reading, in its order.
#[derive(Debug, Clone, Default)]
pub(super) struct Sockets {
    list: Vec<Socket>,
    /// All that they have dropped, and those that have closed since.
    total_drops: Option<u64>,
    /// The overflows that the kernel had counted before the last reading.
    counted_before: Option<u64>,
    /// Of the overflows of the last reading, drops that may have come after it.
    second_drops: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Socket {
    pub(super) cookie: Cookie,
    pub(super) depth: Depth,
    /// Full at each reading since.
    pub(super) full_since: Option<Time>,
    /// Its queue was empty, or had become shorter: something had been accepted.
    pub(super) progress_at: Time,
    /// The last reading at which it had dropped something for want of room.
    pub(super) overflowed_at: Option<Time>,
}

/// What a reading brought.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rise {
    /// Dropped for want of room.
    pub(super) overflowed: u64,
    /// Dropped for another cause.
    pub(super) otherwise: u64,
    /// The queue of some socket has become shorter.
    pub(super) has_fallen: bool,
    /// So many were queued at sockets that are no longer there.
    pub(super) gone: u32,
}

impl Sockets {
    /// What has been dropped since the last reading, whenever that was.
    pub(super) fn dropped(&self, now: &Members<Depth>) -> Dropped {
        let mut all = Dropped { since: self.counted_before, ..Dropped::default() };
        for (index, (cookie, &depth)) in now.iter().enumerate() {
            if let Some(before) = find(&self.list, index, cookie) {
                let dropped = dropped(before.depth, depth);
                all.count += dropped;
                all.is_near_full |= dropped > 0 && is_near_full(before.depth, depth);
            }
        }
        all
    }

    /// Takes in a reading. After a gap nothing of the past is known but the drops.
    pub(super) fn read(&mut self, at: Time, now: &Members<Depth>, overflowed: Overflowed, is_gap: bool) -> Rise {
        let mut rise = self.attribute(at, now, overflowed);
        self.counted_before = overflowed.since;
        for (index, (cookie, &depth)) in now.iter().enumerate() {
            let known = find(&self.list, index, cookie).map(|known| known.depth);
            rise.has_fallen |= known.is_some_and(|known| depth.queued < known.queued);
            self.add_drops(known, depth);
        }
        // Almost always they are the same, and nothing is allocated.
        if self.list.iter().map(|socket| socket.cookie).eq(now.iter().map(|(cookie, _)| cookie)) {
            for (socket, (cookie, &depth)) in self.list.iter_mut().zip(now.iter()) {
                *socket = Socket::after(at, cookie, depth, Some(socket), is_gap);
            }
            return rise;
        }
        let before = std::mem::take(&mut self.list);
        let after = |(index, (cookie, &depth)): (usize, (Cookie, &Depth))| {
            Socket::after(at, cookie, depth, find(&before, index, cookie), is_gap)
        };
        self.list = now.iter().enumerate().map(after).collect();
        let is_there = |socket: &&Socket| self.list.iter().any(|now| now.cookie == socket.cookie);
        rise.gone = before.iter().filter(|socket| !is_there(socket)).map(|socket| socket.depth.queued).sum();
        rise
    }

    /// Which of the drops since the last reading were for want of room; it is noted of each socket.
    fn attribute(&mut self, at: Time, now: &Members<Depth>, overflowed: Overflowed) -> Rise {
        let mut rise = Rise::default();
        let mut left = overflowed.at_most;
        let mut second_drops = 0u64;
        // Those that are near full first: the others have what they leave of the overflows.
        let has_near_full = left.is_some() && self.dropped(now).is_near_full;
        for is_first in [true, false] {
            for (index, (cookie, &depth)) in now.iter().enumerate() {
                let Some(place) = place(&self.list, index, cookie) else { continue };
                let known = &mut self.list[place];
                let is_near_full = is_near_full(known.depth, depth);
                let is_turn = is_first == (is_near_full || !has_near_full);
                let dropped = if is_turn { dropped(known.depth, depth) } else { 0 };
                if dropped == 0 {
                    continue;
                }
                let overflows = match &mut left {
                    Some(left) => {
                        let overflows = dropped.min(*left);
                        *left -= overflows;
                        overflows
                    }
                    None if is_near_full => dropped,
                    None => 0,
                };
                rise.overflowed += overflows;
                // The last ACK of a handshake that meets a full queue is one overflow and two drops (net/ipv4/tcp_ipv4.c:
                // tcp_v4_syn_recv_sock, and tcp_v4_rcv, which discards the packet).
                let explained = overflows.saturating_mul(2);
                rise.otherwise += dropped.saturating_sub(explained);
                second_drops = second_drops.saturating_add(explained.saturating_sub(dropped));
                if overflows > 0 {
                    known.overflowed_at = Some(at);
                }
            }
            if !has_near_full {
                break;
            }
        }
        // The counter is read after the drops: it may have been ahead of them.
        let before = std::mem::replace(&mut self.second_drops, second_drops);
        rise.otherwise = rise.otherwise.saturating_sub(before);
        rise
    }

    /// Something has been accepted from each of these: fewer are queued than were read.
    pub(super) fn counted(&mut self, at: Time, queued: &[(Cookie, u32)]) {
        for (index, &(cookie, queued)) in queued.iter().enumerate() {
            let place = place(&self.list, index, cookie);
            if let Some(socket) = place.map(|place| &mut self.list[place])
                && (queued == 0 || queued < socket.depth.queued)
            {
                socket.progress_at = at;
            }
        }
    }

    /// Nothing waited at any of them up to now.
    pub(super) fn was_empty_until(&mut self) {
        self.list.iter_mut().for_each(|socket| (socket.depth.queued, socket.full_since) = (0, None));
    }

    /// Something has been accepted from each.
    pub(super) fn progressed(&mut self, at: Time) {
        self.list.iter_mut().for_each(|socket| socket.progress_at = at);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.list.iter()
    }

    pub(super) fn is_one(&self) -> bool {
        self.list.len() <= 1
    }

    pub(super) fn has(&self, index: usize, cookie: Cookie) -> bool {
        place(&self.list, index, cookie).is_some()
    }

    /// Widened to 64 bits, and never less than before.
    pub(super) fn total_drops(&self) -> Option<u64> {
        self.total_drops
    }

    /// The one that has been full for the longest.
    pub(super) fn full_since(&self) -> Option<Time> {
        self.list.iter().filter_map(|socket| socket.full_since).min()
    }

    /// The one that overflows: it has dropped something at the last reading, or has been full for the longest.
    pub(super) fn overflowing(&self) -> Option<&Socket> {
        let last = self.list.iter().filter(|socket| socket.overflowed_at.is_some() || socket.full_since.is_some());
        last.max_by_key(|socket| (socket.overflowed_at, socket.full_since.map(std::cmp::Reverse), socket.depth.queued))
    }

    fn add_drops(&mut self, known: Option<Depth>, now: Depth) {
        if let Some(drops) = now.drops {
            let more = known.map_or(u64::from(drops), |known| dropped(known, now));
            self.total_drops = Some(self.total_drops.unwrap_or(0) + more);
        }
    }
}

/// A reading has the sockets in the order of the one before, but where one has come or gone.
fn place(list: &[Socket], index: usize, cookie: Cookie) -> Option<usize> {
    let is_it = |socket: &Socket| socket.cookie == cookie;
    if list.get(index).is_some_and(is_it) { Some(index) } else { list.iter().position(is_it) }
}

fn find(list: &[Socket], index: usize, cookie: Cookie) -> Option<&Socket> {
    place(list, index, cookie).map(|place| &list[place])
}

impl Socket {
    /// After a gap nothing is known of the time before it.
    fn after(at: Time, cookie: Cookie, depth: Depth, before: Option<&Socket>, is_gap: bool) -> Socket {
        let overflowed_at = before.and_then(|before| before.overflowed_at).filter(|&then| !is_gap || then == at);
        let before = before.filter(|_| !is_gap);
        let is_served = depth.queued == 0 || before.is_some_and(|before| depth.queued < before.depth.queued);
        Socket {
            cookie,
            depth,
            full_since: (depth.queued > depth.limit).then(|| before.and_then(|before| before.full_since).unwrap_or(at)),
            progress_at: before.filter(|_| !is_served).map_or(at, |before| before.progress_at),
            overflowed_at,
        }
    }
}

/// Modulo 2³², as the kernel counts.
fn dropped(before: Depth, now: Depth) -> u64 {
    before.drops.zip(now.drops).map_or(0, |(before, now)| now.wrapping_sub(before).into())
}

/// A queue that filled between two readings has left half of itself at one of them, or it drains faster than it is read.
fn is_near_full(before: Depth, now: Depth) -> bool {
    before.queued.max(now.queued) > now.limit / 2
}
