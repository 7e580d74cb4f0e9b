//! One or more listening sockets that answer as one: the members of a SO_REUSEPORT group, or all that one port number means.

use std::collections::HashSet;

use crate::reading::queue::Queue;
use crate::{Census, Counts, Depth, Error, Listener};

/// Sockets whose figures are told as their sum. One that has been closed is left out, until all have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners(Vec<Listener>);

impl From<Listener> for Listeners {
    fn from(listener: Listener) -> Listeners {
        Listeners(vec![listener])
    }
}

impl Listeners {
    /// All of these as one.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Listeners>) -> Listeners {
        Listeners(parts.into_iter().flat_map(|part| part.0.iter().cloned()).collect())
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
        self.sum(Listener::depth, Depth::plus)
    }

    /// The sum of the counts: one dump an address, however many sockets share it.
    pub fn counts(&self) -> Result<Counts, Error> {
        self.census().map(|census| census.counts)
    }

    /// The same with what they were made of.
    pub fn census(&self) -> Result<Census, Error> {
        let mut seen = HashSet::new();
        let mut total: Option<Census> = None;
        for listener in &self.0 {
            if seen.contains(&listener.cookie()) {
                continue;
            }
            match listener.census() {
                Ok((look, members)) => {
                    seen.extend(members);
                    total = added(total, look, Census::plus);
                }
                Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        total.ok_or(Error::Closed)
    }

    /// The same from a census of all, if each of the sockets is in it; it is not where they live in another namespace.
    pub fn census_among(&self, everybody: &[Queue]) -> Option<Census> {
        let mut seen = HashSet::new();
        let mut total: Option<Census> = None;
        for listener in &self.0 {
            let (index, queue) = everybody
                .iter()
                .enumerate()
                .find(|(_, queue)| queue.sockets.iter().any(|socket| socket.0 == listener.cookie()))?;
            if seen.insert(index) {
                total = added(total, queue.census.clone(), Census::plus);
            }
        }
        total
    }

    /// Gives each of them this backlog; answers the sum of the limits now in force.
    pub fn resize(&self, backlog: u32) -> Result<u32, Error> {
        self.sum(|listener| listener.resize(backlog), u32::saturating_add)
    }

    #[inline]
    fn sum<T>(&self, read: impl Fn(&Listener) -> Result<T, Error>, plus: impl Fn(T, T) -> T) -> Result<T, Error> {
        let mut total = None;
        for listener in &self.0 {
            match read(listener) {
                Ok(figure) => total = added(total, figure, &plus),
                Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        total.ok_or(Error::Closed)
    }
}

#[inline]
fn added<T>(sum: Option<T>, figure: T, plus: impl Fn(T, T) -> T) -> Option<T> {
    Some(match sum {
        Some(sum) => plus(sum, figure),
        None => figure,
    })
}
