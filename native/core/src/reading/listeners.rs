//! One or more listening sockets that answer as one: the members of a SO_REUSEPORT group, or all listeners of one port number.

use std::sync::Arc;

use crate::members::{Members, Sum};
use crate::reading::queue::Queues;
use crate::{Census, Cookie, Counts, Depth, Error, Listener};

/// Sockets whose figures are summed. One that has been closed is left out; [`Error::Closed`] where all have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners(Arc<[Listener]>);

impl From<Listener> for Listeners {
    fn from(listener: Listener) -> Listeners {
        Listeners([listener].into())
    }
}

impl Listeners {
    /// All of these as one.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Listeners>) -> Listeners {
        let mut parts = parts.into_iter().peekable();
        match (parts.next(), parts.peek()) {
            (Some(only), None) => only.clone(),
            (first, _) => Listeners(first.into_iter().chain(parts).flat_map(|part| part.0.iter().cloned()).collect()),
        }
    }

    /// The sockets.
    pub fn sockets(&self) -> &[Listener] {
        &self.0
    }

    /// Whether any of them is still open. One system call a socket.
    pub fn is_open(&self) -> bool {
        self.0.iter().any(Listener::is_open)
    }

    /// Whether [`Listeners::depth`] is a few `getsockopt`.
    #[inline]
    pub fn has_first_tier(&self) -> bool {
        self.0.iter().all(Listener::has_first_tier)
    }

    /// The sum of the depths: three system calls a socket.
    #[inline]
    pub fn depth(&self) -> Result<Depth, Error> {
        self.depths().map(|depths| depths.sum())
    }

    /// The depth of each: three system calls a socket.
    #[inline]
    pub fn depths(&self) -> Result<Members<Depth>, Error> {
        self.each(Listener::depth)
    }

    /// The sum of the counts: one dump an address, however many sockets share it.
    pub fn counts(&self) -> Result<Counts, Error> {
        self.census().map(|census| census.counts)
    }

    /// The same with what they were made of.
    pub fn census(&self) -> Result<Census, Error> {
        self.each_address(Listener::census)
    }

    /// The same from the queues of a namespace, if each of the sockets is in them; it is not where it lives in another.
    pub fn census_among(&self, queues: &Queues) -> Option<Census> {
        let find = |listener: &Listener| {
            let queue = queues.of(listener.cookie()).ok_or(Error::NotFound)?;
            Ok((queue.census.clone(), queue.cookies()))
        };
        self.each_address(find).ok()
    }

    /// Gives each of them this backlog; returns the sum of the limits now in force.
    pub fn resize(&self, backlog: u32) -> Result<u32, Error> {
        self.each(|listener| listener.resize(backlog)).map(|limits| limits.sum())
    }

    #[inline]
    fn each<T>(&self, read: impl Fn(&Listener) -> Result<T, Error>) -> Result<Members<T>, Error> {
        Members::read(self.0.iter().map(|listener| (listener.cookie(), read(listener))))
    }

    fn each_address<T: Sum + Clone>(
        &self,
        read: impl Fn(&Listener) -> Result<(T, Vec<Cookie>), Error>,
    ) -> Result<T, Error> {
        Members::read_shared(&*self.0, |listener| listener.cookie(), |listener| read(listener)).map(|all| all.sum())
    }
}
