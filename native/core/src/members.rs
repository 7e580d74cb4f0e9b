//! Several sockets that answer as one: a reading of each, by its cookie, and their sum.
//!
//! The members of a SO_REUSEPORT group share an address, and each has a queue of its own. A sum answers the caller; what is
//! compared over time is compared member by member, for a sum over other members is another sum.

use std::collections::HashSet;

use crate::{Census, Cookie, Counts, Depth, Error};

/// A reading of each socket that is open, at least of one. One socket alone needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members<T> {
    first: (Cookie, T),
    others: Vec<(Cookie, T)>,
}

/// Figures of several sockets as one.
pub trait Sum {
    /// The two as one.
    fn plus(self, other: Self) -> Self;
}

impl<T> Members<T> {
    /// One socket.
    #[inline]
    pub fn one(cookie: Cookie, reading: T) -> Members<T> {
        Members { first: (cookie, reading), others: Vec::new() }
    }

    /// The readings of all that are open. [`Error::Closed`] where none is; any other error is one of the whole.
    #[inline]
    pub fn read(readings: impl IntoIterator<Item = (Cookie, Result<T, Error>)>) -> Result<Members<T>, Error> {
        let mut members: Option<Members<T>> = None;
        for (cookie, reading) in readings {
            match (reading, &mut members) {
                (Ok(reading), Some(members)) => members.others.push((cookie, reading)),
                (Ok(reading), None) => members = Some(Members::one(cookie, reading)),
                (Err(Error::Closed), _) => {}
                (Err(error), _) => return Err(error),
            }
        }
        members.ok_or(Error::Closed)
    }

    /// The same where a reading is one of several sockets: `read` returns it with the cookies of all of them, and is asked
    /// for one of them.
    pub(crate) fn read_shared<S>(
        sockets: impl IntoIterator<Item = S>,
        cookie: impl Fn(&S) -> Cookie,
        mut read: impl FnMut(&S) -> Result<(T, Vec<Cookie>), Error>,
    ) -> Result<Members<T>, Error> {
        let mut covered = HashSet::new();
        Members::read(sockets.into_iter().filter_map(|socket| {
            let cookie = cookie(&socket);
            if covered.contains(&cookie) {
                return None;
            }
            let reading = read(&socket).map(|(reading, cookies)| {
                covered.extend(cookies);
                reading
            });
            Some((cookie, reading))
        }))
    }
}

impl<T> Members<T> {
    /// Each socket's own.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (Cookie, &T)> {
        std::iter::once(&self.first).chain(&self.others).map(|(cookie, reading)| (*cookie, reading))
    }

    /// That of one socket.
    pub(crate) fn get(&self, wanted: Cookie) -> Option<&T> {
        self.iter().find_map(|(cookie, reading)| (cookie == wanted).then_some(reading))
    }

    /// There is one socket alone.
    pub(crate) fn is_one(&self) -> bool {
        self.others.is_empty()
    }

    /// A part of each reading.
    pub(crate) fn map<U>(&self, part: impl Fn(&T) -> U) -> Members<U> {
        let of = |(cookie, reading): &(Cookie, T)| (*cookie, part(reading));
        Members { first: of(&self.first), others: self.others.iter().map(of).collect() }
    }
}

impl<T: Sum + Clone> Members<T> {
    /// All as one.
    #[inline]
    pub fn sum(&self) -> T {
        self.others.iter().fold(self.first.1.clone(), |sum, (_, reading)| sum.plus(reading.clone()))
    }
}

impl Sum for Depth {
    /// Drops are added modulo 2³², as the kernel counts them.
    #[inline]
    fn plus(self, other: Depth) -> Depth {
        Depth {
            queued: self.queued.saturating_add(other.queued),
            limit: self.limit.saturating_add(other.limit),
            drops: both(self.drops, other.drops, u32::wrapping_add),
        }
    }
}

impl Sum for Counts {
    /// A figure that one of them does not have, the sum does not have; of the ages the greater counts.
    fn plus(self, other: Counts) -> Counts {
        Counts {
            queued: self.queued.saturating_add(other.queued),
            limit: self.limit.saturating_add(other.limit),
            drops: both(self.drops, other.drops, u32::wrapping_add),
            syn_recv: both(self.syn_recv, other.syn_recv, u32::saturating_add),
            queued_alive: both(self.queued_alive, other.queued_alive, u32::saturating_add),
            queued_closed: both(self.queued_closed, other.queued_closed, u32::saturating_add),
            queued_bytes: both(self.queued_bytes, other.queued_bytes, u64::saturating_add),
            oldest_wait: self.oldest_wait.max(other.oldest_wait),
            established: self.established.saturating_add(other.established),
            close_wait: self.close_wait.saturating_add(other.close_wait),
            sockets: self.sockets.saturating_add(other.sockets),
            full_sockets: self.full_sockets.saturating_add(other.full_sockets),
        }
    }
}

impl Sum for Census {
    fn plus(self, other: Census) -> Census {
        Census {
            counts: self.counts.plus(other.counts),
            waits: both(self.waits, other.waits, |one, other| [one, other].concat()),
            // Two queues have no order.
            clients: None,
            took: self.took.max(other.took),
            sockets: [self.sockets, other.sockets].concat(),
        }
    }
}

/// Limits.
impl Sum for u32 {
    fn plus(self, other: u32) -> u32 {
        self.saturating_add(other)
    }
}

/// Nothing but that they are open.
impl Sum for () {
    fn plus(self, (): ()) {}
}

/// The sum of two figures that may be absent.
fn both<T>(one: Option<T>, other: Option<T>, plus: impl Fn(T, T) -> T) -> Option<T> {
    one.zip(other).map(|(one, other)| plus(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Cookie = Cookie(1);
    const OTHER: Cookie = Cookie(2);

    #[test]
    fn a_closed_member_is_left_out_until_all_are_closed() {
        let sum = |readings: [Result<u32, Error>; 2]| {
            Members::read([ONE, OTHER].into_iter().zip(readings)).map(|members| members.sum())
        };
        assert_eq!(sum([Ok(3), Ok(4)]), Ok(7));
        assert_eq!(sum([Err(Error::Closed), Ok(4)]), Ok(4));
        assert_eq!(sum([Err(Error::Closed); 2]), Err(Error::Closed));
        assert_eq!(sum([Ok(3), Err(Error::Timeout)]), Err(Error::Timeout));
    }

    #[test]
    fn a_sum_stays_at_the_greatest_number_and_drops_wrap_as_the_kernel_counts_them() {
        let most = Depth { queued: u32::MAX, limit: u32::MAX, drops: Some(u32::MAX) };
        let sum = most.plus(Depth { queued: 1, limit: 1, drops: Some(1) });
        assert_eq!(sum, Depth { queued: u32::MAX, limit: u32::MAX, drops: Some(0) });
    }

    #[test]
    fn a_reading_that_several_share_is_taken_once() {
        let mut reads = Vec::new();
        let members = Members::read_shared(
            [ONE, OTHER],
            |&cookie| cookie,
            |&cookie| {
                reads.push(cookie);
                Ok((5, vec![ONE, OTHER]))
            },
        );
        assert_eq!((members, reads), (Ok(Members::one(ONE, 5)), vec![ONE]));
    }
}
