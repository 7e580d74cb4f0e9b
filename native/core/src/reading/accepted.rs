//! A connection that this process has just accepted: how long it waited in the queue, and whether its client has left.

use std::os::fd::RawFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::linux::sockopt::{self, Connection};
use crate::{Errno, Error};

/// How long it waited in the queue: the time since its handshake ended, while nothing has been written to it. One system
/// call. Unix sockets have no such clock.
pub fn waited(fd: RawFd) -> Result<Duration, Error> {
    connection(fd)?.ok_or(Error::Unsupported).and_then(|connection| waited_of(&connection))
}

/// The same, of what is known of it.
pub(crate) fn waited_of(connection: &Connection) -> Result<Duration, Error> {
    if connection.has_sent { Err(Error::AlreadyWritten) } else { Ok(connection.since_sent) }
}

/// An accepted connection, from one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How long it waited in the queue.
    pub wait: Duration,
    /// Whether the peer has closed or reset.
    pub peer_closed: bool,
}

/// [`waited`] and [`peer_closed`] at once, with the errors of the first.
pub fn accepted(fd: RawFd) -> Result<Accepted, Error> {
    connection(fd)?.ok_or(Error::Unsupported).and_then(|connection| accepted_of(&connection))
}

/// The same, of what is known of it.
pub(crate) fn accepted_of(connection: &Connection) -> Result<Accepted, Error> {
    Ok(Accepted { wait: waited_of(connection)?, peer_closed: connection.peer_closed })
}

/// Whether the peer has closed or reset. One that closed only its sending side, and still reads, is the same.
pub fn peer_closed(fd: RawFd) -> Result<bool, Error> {
    match connection(fd)? {
        Some(Connection { peer_closed, .. }) => Ok(peer_closed),
        None => has_hung_up(fd),
    }
}

/// `None`: not TCP.
fn connection(fd: RawFd) -> Result<Option<Connection>, Error> {
    match sockopt::connection(fd) {
        Ok(connection) => Ok(Some(connection)),
        Err(Error::Errno(Errno(libc::EOPNOTSUPP | libc::ENOPROTOOPT))) => Ok(None),
        Err(Error::Errno(Errno(libc::EBADF))) => Err(Error::Closed),
        Err(error) => Err(error),
    }
}

fn has_hung_up(fd: RawFd) -> Result<bool, Error> {
    let borrowed = sockopt::borrow(fd)?;
    let mut watched = [PollFd::new(&borrowed, PollFlags::RDHUP)];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(watched[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}
