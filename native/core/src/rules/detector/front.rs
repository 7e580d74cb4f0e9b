//! Whether a Unix socket's queue moves, by the clients at its front. Pure.
//!
//! The kernel keeps no ages of the connections of a Unix socket, and a queue that is refilled as fast as it is accepted from
//! is as deep as one that stands still. Its clients are known by their inodes, in order: as long as nothing is accepted, each
//! keeps its place. A client that closes keeps it too, and loses its inode; whether it was accepted instead cannot be seen
//! where those behind it have closed as well.

use super::time::Time;
use crate::Inode;

/// The clients at the front of a queue, and since when they have been seen there.
#[derive(Debug, Clone)]
pub(super) struct Front {
    clients: Vec<Inode>,
    since: Time,
}

/// What the kernel has in the place of a client that has closed.
const CLOSED: Inode = Inode(0);

impl Front {
    /// As a census shows it.
    pub(super) fn seen(at: Time, clients: &[Inode]) -> Front {
        Front { clients: clients.to_vec(), since: at }
    }

    /// The head of the queue has waited since then, or longer, and nothing has been accepted since.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// Whether nothing that a later census shows speaks for an accept since this was seen.
    pub(super) fn may_stand(&self, later: &[Inode]) -> bool {
        let is_there = |(&then, &now): (&Inode, &Inode)| now == then || now == CLOSED;
        later.len() >= self.clients.len() && self.clients.iter().zip(later).all(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_keeps_its_place_until_one_is_accepted() {
        for (sentence, then, now, stands) in [
            ("nothing has happened", &[7, 8, 9][..], &[7, 8, 9][..], true),
            ("another has come", &[7, 8], &[7, 8, 9], true),
            ("the first was accepted", &[7, 8, 9], &[8, 9], false),
            ("the first was accepted, and another has come", &[7, 8, 9], &[8, 9, 10], false),
            ("the first has closed", &[7, 8, 9], &[0, 8, 9], true),
            ("one behind has closed", &[7, 8, 9], &[7, 0, 9], true),
            ("one that had closed was accepted", &[0, 8, 9], &[8, 9, 10], false),
            ("of those that have closed one was accepted", &[0, 0, 9], &[0, 9, 0], false),
            ("all have closed, or others that have closed came up", &[7, 8], &[0, 0], true),
            ("all had closed, and nothing can be seen", &[0, 0], &[0, 0, 0], true),
            ("all were accepted", &[7], &[], false),
        ] {
            let inodes = |numbers: &[u32]| numbers.iter().copied().map(Inode).collect::<Vec<_>>();
            assert_eq!(Front::seen(Time::ZERO, &inodes(then)).may_stand(&inodes(now)), stands, "{sentence}");
        }
    }
}
