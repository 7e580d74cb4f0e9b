//! The sockets of another process, by their descriptor numbers there: what [`crate::Listener`],
//! [`crate::reading::accepted`] and [`crate::reading::held`] are to this process.
//!
//! netlink takes the place of `getsockopt`, and the link `/proc/PID/fd/N` that of the cookie that vouches for a descriptor.
//! What has no row in the tables of the process's own network namespace (a listener in another one, a connection that was
//! reset), and what only a descriptor can do (`listen(2)`), goes through a copy of the descriptor, held for as long as the
//! reading takes: that needs the right to trace the process (`pidfd_getfd(2)`), and is EPERM without it.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use procfs::process::Process;
use rustix::process::{PTracer, Pid, Signal, set_parent_process_death_signal, set_ptracer};

use crate::address::Endpoint;
use crate::linux::counters;
use crate::linux::diag::{Connections, DiagSocket, Family};
use crate::linux::namespace::beside;
use crate::linux::sockopt::Connection;
use crate::reading::accepted::{self, Accepted};
use crate::reading::held::{self, Held};
use crate::reading::queue::Queues;
use crate::reading::survey::{listening_some, listening_through, survey_some};
use crate::vm::descriptors;
use crate::{Census, Cookie, Depth, Errno, Error, Inode, Listener, Listening, Members, QueueKey};

/// A process that is read from outside.
#[derive(Debug)]
pub struct Remote {
    pid: i32,
    diag: Option<DiagSocket>,
}

/// A listening socket of it, by descriptor number and cookie. Holds nothing open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSocket {
    /// Its number there.
    pub fd: RawFd,
    /// Which socket, for as long as the machine runs.
    pub cookie: Cookie,
    /// As `/proc/PID/fd` shows it.
    pub inode: Inode,
    /// What it is bound to.
    pub endpoint: Endpoint,
}

/// A VM starts its port programs through a process of its own (`erl_child_setup`).
const GENERATIONS: usize = 2;

impl RemoteSocket {
    /// What is one queue to a client, in the process's own network namespace.
    pub fn queue_key(&self) -> QueueKey {
        QueueKey::of(&self.endpoint, None, self.cookie)
    }
}

/// Whether this process was started by that one, or by a child of it.
pub fn is_descendant_of(pid: i32) -> bool {
    let parent = |pid: i32| Some(Process::new(pid).ok()?.stat().ok()?.ppid);
    let ancestors = std::iter::successors(parent(std::process::id() as i32), |&pid| parent(pid));
    ancestors.take(GENERATIONS).any(|ancestor| ancestor == pid)
}

/// Asks the kernel to end this process when its parent ends, also if it is stopped then.
pub fn end_with_parent() -> Result<(), Error> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Lets that process, and those that it starts, read the memory of this one, where Yama would not
/// (`kernel.yama.ptrace_scope` 1): until it ends, or another is named in its place (`PR_SET_PTRACER`). EINVAL where the kernel
/// has no Yama, and nothing needs to be allowed.
pub fn allow_ptrace(pid: i32) -> Result<(), Error> {
    let reader = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Error::NotFound)?;
    Ok(set_ptracer(PTracer::ProcessID(reader))?)
}

impl Remote {
    /// Nothing is read yet.
    pub fn new(pid: i32) -> Remote {
        Remote { pid, diag: None }
    }

    /// The listening socket of a descriptor number there: one dump of the listeners. [`Error::Closed`] where the number stands
    /// for nothing, [`Error::NotListening`] where for something else.
    pub fn open(&mut self, fd: RawFd) -> Result<RemoteSocket, Error> {
        let inode = self.inode(fd).map_err(|error| match error {
            Error::Errno(Errno(libc::EBADF)) => Error::Closed,
            Error::Errno(Errno(libc::ENOTSOCK)) => Error::NotListening,
            error => error,
        })?;
        let found = self.listening()?.into_iter().find(|listening| listening.inode == inode);
        let (cookie, endpoint) = match found {
            Some(listening) => (listening.cookie, listening.endpoint),
            None => match descriptors::copy(self.pid, fd, inode) {
                Ok(copy) => {
                    let listener = Listener::open(copy.as_raw_fd())?;
                    (listener.cookie(), listener.endpoint().clone())
                }
                // Then one that listens in another namespace cannot be distinguished from one that does not listen.
                Err(Error::Errno(Errno(libc::EPERM))) => return Err(Error::NotListening),
                Err(error) => return Err(error),
            },
        };
        let socket = RemoteSocket { fd, cookie, inode, endpoint };
        self.vouched(&socket).map(|()| socket)
    }

    /// The sum of the depths: one dump of the listeners of each port.
    pub fn depth(&mut self, sockets: &[RemoteSocket]) -> Result<Depth, Error> {
        let shown = self.shown(sockets)?;
        self.depths_among(sockets, &shown).map(|depths| depths.sum())
    }

    /// How deep the queue of each of these is, as far as the process's own namespace shows them.
    pub(crate) fn shown<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a RemoteSocket>,
    ) -> Result<HashMap<Cookie, Depth>, Error> {
        let endpoints = endpoints(sockets);
        let listening = self.ask(|diag| listening_some(diag, &endpoints))?;
        Ok(listening.into_iter().map(|socket| (socket.cookie, socket.depth)).collect())
    }

    /// The depth of each, from a dump.
    pub(crate) fn depths_among(
        &self,
        sockets: &[RemoteSocket],
        shown: &HashMap<Cookie, Depth>,
    ) -> Result<Members<Depth>, Error> {
        each(sockets, |socket| match shown.get(&socket.cookie) {
            Some(&depth) => self.vouched(socket).map(|()| depth),
            None => self.through_copy(socket, Listener::depth),
        })
    }

    /// `ListenOverflows` of its network namespace.
    pub(crate) fn listen_overflows(&self) -> Result<Option<u64>, Error> {
        beside(self.pid, counters::listen_overflows)
    }

    /// A census: one walk for each address, however many sockets share it.
    pub fn census(&mut self, sockets: &[RemoteSocket]) -> Result<Census, Error> {
        let queues = self.queues(sockets)?;
        self.census_among(sockets, &queues)
    }

    /// The queues of these, and maybe others.
    pub(crate) fn queues<'a>(&mut self, sockets: impl IntoIterator<Item = &'a RemoteSocket>) -> Result<Queues, Error> {
        let endpoints = endpoints(sockets);
        self.ask(|diag| survey_some(diag, &endpoints)).map(Queues::from)
    }

    /// The sum over those of the queues that are of these sockets.
    pub(crate) fn census_among(&self, sockets: &[RemoteSocket], queues: &Queues) -> Result<Census, Error> {
        let read = |socket: &&RemoteSocket| match queues.of(socket.cookie) {
            Some(queue) => self.vouched(socket).map(|()| (queue.census.clone(), queue.cookies())),
            None => self.through_copy(socket, Listener::census),
        };
        Members::read_shared(sockets, |socket| socket.cookie, read).map(|all| all.sum())
    }

    /// Whether any of them is still open.
    pub fn is_open(&self, sockets: &[RemoteSocket]) -> Result<bool, Error> {
        match each(sockets, |socket| self.vouched(socket)) {
            Ok(_) => Ok(true),
            Err(Error::Closed) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The connections that their peers have closed and that process holds, the longest held first.
    pub fn held(&mut self, sockets: &[RemoteSocket]) -> Result<Vec<Held>, Error> {
        let mut all = Vec::new();
        for socket in sockets {
            let found = match self.ask(|diag| held::before(diag, &socket.endpoint, socket.cookie)) {
                Err(Error::NotFound) => self.through_copy(socket, |copy| held::by(&copy.clone().into()))?,
                found => found.and_then(|found| self.vouched(socket).map(|()| found))?,
            };
            all.extend(found);
        }
        held::longest_first(&mut all);
        let own = descriptors::by_inode(self.pid)?;
        for held in &mut all {
            held.fd = own.get(&held.inode).copied();
        }
        Ok(all)
    }

    /// Gives each of them this backlog; returns the sum of the limits now in force.
    pub fn resize(&self, sockets: &[RemoteSocket], backlog: u32) -> Result<u32, Error> {
        each(sockets, |socket| self.through_copy(socket, |copy| copy.resize(backlog))).map(|limits| limits.sum())
    }

    /// The listening sockets of its network namespace.
    pub fn listening(&mut self) -> Result<Vec<Listening>, Error> {
        self.ask(listening_through)
    }

    /// Every listener among its descriptors, as far as its own network namespace shows them, each with the name of the device that it is
    /// bound to.
    pub fn own(&mut self) -> Result<Vec<(RemoteSocket, Option<String>)>, Error> {
        let held = descriptors::by_inode(self.pid)?;
        self.ask(|diag| {
            let own =
                listening_through(diag)?.into_iter().filter_map(|Listening { endpoint, cookie, inode, .. }| {
                    let device = diag.device(endpoint.interface());
                    held.get(&inode).map(|&fd| (RemoteSocket { fd, cookie, inode, endpoint }, device))
                });
            Ok(own.collect())
        })
    }

    /// How long a connection waited in the queue: one walk over the connections.
    pub fn waited(&mut self, fd: RawFd) -> Result<Duration, Error> {
        self.of_connection(fd, accepted::waited_of, accepted::waited)
    }

    /// Both at once, with the errors of the first. One walk over the connections.
    pub fn accepted(&mut self, fd: RawFd) -> Result<Accepted, Error> {
        self.of_connection(fd, accepted::accepted_of, accepted::accepted)
    }

    /// Whether the peer has closed or reset. One walk over the connections.
    pub fn peer_closed(&mut self, fd: RawFd) -> Result<bool, Error> {
        self.of_connection(fd, |connection| Ok(connection.peer_closed), accepted::peer_closed)
    }

    /// Of the socket that the number stands for now. [`Errno`] EBADF where it stands for nothing, ENOTSOCK where for another
    /// thing.
    pub fn inode(&self, fd: RawFd) -> Result<Inode, Error> {
        descriptors::inode(self.pid, fd)
    }

    fn of_connection<T>(
        &mut self,
        fd: RawFd,
        of_row: impl FnOnce(&Connection) -> Result<T, Error>,
        of_copy: impl FnOnce(RawFd) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let inode = self.inode(fd).map_err(|error| match error {
            Error::Errno(Errno(libc::EBADF)) => Error::Closed,
            error => error,
        })?;
        match self.connection(inode)? {
            Some(connection) => of_row(&connection),
            None => of_copy(descriptors::copy(self.pid, fd, inode)?.as_raw_fd()),
        }
    }

    fn connection(&mut self, wanted: Inode) -> Result<Option<Connection>, Error> {
        self.ask(|diag| {
            for family in Family::ALL {
                let mut found = None;
                diag.dump(&Connections { family }, |(inode, connection)| {
                    if inode == wanted {
                        found = Some(connection);
                    }
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
    }

    /// What was read before this was read of this socket, for it is still there: a socket that has left a descriptor does
    /// not come back to it.
    fn vouched(&self, socket: &RemoteSocket) -> Result<(), Error> {
        match self.inode(socket.fd) {
            Ok(inode) if inode == socket.inode => Ok(()),
            Ok(_) | Err(Error::Errno(Errno(libc::EBADF | libc::ENOTSOCK))) => Err(Error::Closed),
            Err(error) => Err(error),
        }
    }

    fn through_copy<T>(
        &self,
        socket: &RemoteSocket,
        read: impl FnOnce(&Listener) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let copy = descriptors::copy(self.pid, socket.fd, socket.inode)?;
        let listener = Listener::open(copy.as_raw_fd())?;
        if listener.cookie() == socket.cookie { read(&listener) } else { Err(Error::Closed) }
    }

    /// A socket that failed may have the rest of an answer in it.
    fn ask<T>(&mut self, question: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        let mut diag = self.diag.take().map_or_else(|| beside(self.pid, DiagSocket::open), Ok)?;
        let answer = question(&mut diag)?;
        self.diag = Some(diag);
        Ok(answer)
    }
}

fn each<T>(sockets: &[RemoteSocket], read: impl Fn(&RemoteSocket) -> Result<T, Error>) -> Result<Members<T>, Error> {
    Members::read(sockets.iter().map(|socket| (socket.cookie, read(socket))))
}

fn endpoints<'a>(sockets: impl IntoIterator<Item = &'a RemoteSocket>) -> Vec<&'a Endpoint> {
    // Members of a group share an endpoint.
    let distinct: BTreeSet<_> = sockets.into_iter().map(|socket| &socket.endpoint).collect();
    distinct.into_iter().collect()
}
