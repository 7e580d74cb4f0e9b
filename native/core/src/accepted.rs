//! A connection that this process has just accepted: how long it stood in the queue, and whether its client has left.

use std::os::fd::RawFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sockopt::{self, Connection};
use crate::{Errno, Error};

/// How long it stood in the queue: the time since its handshake ended, while nothing has been written to it. One system
/// call. Unix sockets have no such clock.
pub fn waited(fd: RawFd) -> Result<Duration, Error> {
    match connection(fd)? {
        Some(Connection { has_sent: true, .. }) => Err(Error::AlreadyWritten),
        Some(Connection { since_sent, .. }) => Ok(since_sent),
        None => Err(Error::Unsupported),
    }
}

/// Whether the peer has closed or reset. One that closed only its sending side, and still reads, looks the same.
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
