//! The sockets of another process, asked for by their descriptor numbers there: what [`crate::Listener`],
//! [`crate::reading::accepted`] and [`crate::reading::held`] are to this process.
//!
//! netlink stands in the place of `getsockopt`, and the link `/proc/PID/fd/N` in the place of the cookie that vouches for a
//! descriptor. What has no row in the tables of the process's own network namespace (a listener in another one, a
//! connection that was reset), and what only a descriptor can do (`listen(2)`), goes through a copy of the descriptor, held
//! for as long as the reading takes: that needs the right to trace the process (`pidfd_getfd(2)`), and is EPERM without it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use procfs::process::Process;
use rustix::process::{
    PTracer, Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, set_parent_process_death_signal,
    set_ptracer,
};

use crate::address::Endpoint;
use crate::linux::diag::{Connections, DiagSocket, Family};
use crate::linux::namespace::beside;
use crate::linux::sockopt::{self, Connection};
use crate::reading::accepted;
use crate::reading::held::{self, Held};
use crate::reading::queue::Queue;
use crate::reading::survey::{listening_some, listening_through, survey_some};
use crate::vm::descriptors;
use crate::{Census, Cookie, Depth, Errno, Error, Inode, Listener, Listening};

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

/// Lets that process, and whatever it starts, read the memory of this one, where Yama would not (`kernel.yama.ptrace_scope` 1):
/// until it ends, or another is named in its place. EINVAL where the kernel has no Yama, and nothing needs to be allowed.
pub fn allow_ptrace(pid: i32) -> Result<(), Error> {
    let reader = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Error::NotFound)?;
    Ok(set_ptracer(PTracer::ProcessID(reader))?)
}

impl Remote {
    /// Nothing is read yet.
    pub fn new(pid: i32) -> Remote {
        Remote { pid, diag: None }
    }

    /// Looks at a descriptor number there and remembers which socket it is: one dump of the listeners.
    pub fn open(&mut self, fd: RawFd) -> Result<RemoteSocket, Error> {
        let inode = self.inode(fd).map_err(|error| match error {
            Error::Errno(Errno(libc::EBADF)) => Error::Closed,
            Error::Errno(Errno(libc::ENOTSOCK)) => Error::NotListening,
            error => error,
        })?;
        let found = self.listening()?.into_iter().find(|listening| listening.inode == inode);
        let (cookie, endpoint) = match found {
            Some(listening) => (listening.cookie, listening.endpoint),
            None => match self.copy(fd, inode) {
                Ok(copy) => {
                    let listener = Listener::open(copy.as_raw_fd())?;
                    (listener.cookie(), listener.endpoint().clone())
                }
                // Then one that listens in another namespace cannot be told from one that does not listen.
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
        self.depth_among(sockets, &shown)
    }

    /// How deep the queue of each of these is, as far as the process's own namespace shows them.
    pub(crate) fn shown<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a RemoteSocket>,
    ) -> Result<HashMap<Cookie, Depth>, Error> {
        let endpoints = places(sockets);
        let listening = self.ask(|diag| listening_some(diag, &endpoints))?;
        Ok(listening.into_iter().map(|socket| (socket.cookie, socket.depth)).collect())
    }

    /// The sum of the depths, from a dump.
    pub(crate) fn depth_among(&self, sockets: &[RemoteSocket], shown: &HashMap<Cookie, Depth>) -> Result<Depth, Error> {
        sum(
            sockets.iter().map(|socket| match shown.get(&socket.cookie) {
                Some(&depth) => self.vouched(socket).map(|()| depth),
                None => self.through_copy(socket, Listener::depth),
            }),
            Depth::plus,
        )
    }

    /// Who stands in the queues: one walk for each address, however many sockets share it.
    pub fn census(&mut self, sockets: &[RemoteSocket]) -> Result<Census, Error> {
        let everybody = self.survey(sockets)?;
        self.census_among(sockets, &everybody)
    }

    /// The queues of these, and maybe others.
    pub(crate) fn survey<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a RemoteSocket>,
    ) -> Result<Vec<Queue>, Error> {
        let endpoints = places(sockets);
        self.ask(|diag| survey_some(diag, &endpoints))
    }

    /// The sum of the counts, from a census.
    pub(crate) fn census_among(&self, sockets: &[RemoteSocket], everybody: &[Queue]) -> Result<Census, Error> {
        let mut seen = HashSet::new();
        let mut looks = Vec::new();
        for socket in sockets {
            if seen.contains(&socket.cookie) {
                continue;
            }
            let is_its = |queue: &&Queue| queue.sockets.iter().any(|&(cookie, _)| cookie == socket.cookie);
            let looked = match everybody.iter().find(is_its) {
                Some(queue) => {
                    let members = queue.sockets.iter().map(|&(cookie, _)| cookie).collect();
                    self.vouched(socket).map(|()| (queue.census.clone(), members))
                }
                None => self.through_copy(socket, Listener::census),
            };
            looks.push(looked.map(|(look, members)| {
                seen.extend::<Vec<Cookie>>(members);
                look
            }));
        }
        sum(looks, Census::plus)
    }

    /// Whether any of them is still open.
    pub fn is_open(&self, sockets: &[RemoteSocket]) -> Result<bool, Error> {
        match sum(sockets.iter().map(|socket| self.vouched(socket)), |(), ()| ()) {
            Ok(()) => Ok(true),
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

    /// Gives each of them this backlog; answers the sum of the limits now in force.
    pub fn resize(&self, sockets: &[RemoteSocket], backlog: u32) -> Result<u32, Error> {
        let limits = sockets.iter().map(|socket| self.through_copy(socket, |copy| copy.resize(backlog)));
        sum(limits, u32::saturating_add)
    }

    /// Whoever listens in its network namespace.
    pub fn listening(&mut self) -> Result<Vec<Listening>, Error> {
        self.ask(listening_through)
    }

    /// Every listener among its descriptors, as far as its own network namespace shows them.
    pub fn own(&mut self) -> Result<Vec<RemoteSocket>, Error> {
        let held = descriptors::by_inode(self.pid)?;
        let own = self.listening()?.into_iter().filter_map(|Listening { endpoint, cookie, inode, .. }| {
            held.get(&inode).map(|&fd| RemoteSocket { fd, cookie, inode, endpoint })
        });
        Ok(own.collect())
    }

    /// How long a connection stood in the queue: one walk over the connections.
    pub fn waited(&mut self, fd: RawFd) -> Result<Duration, Error> {
        self.of_connection(fd, accepted::waited_of, accepted::waited)
    }

    /// Whether the peer has closed or reset. One walk over the connections.
    pub fn peer_closed(&mut self, fd: RawFd) -> Result<bool, Error> {
        self.of_connection(fd, |connection| Ok(connection.peer_closed), accepted::peer_closed)
    }

    /// Of the socket that the number stands for now.
    pub fn inode(&self, fd: RawFd) -> Result<Inode, Error> {
        let target = std::fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Errno(Errno(libc::EBADF)),
            _ => error.into(),
        })?;
        let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.map(Inode).ok_or(Error::Errno(Errno(libc::ENOTSOCK)))
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
            None => of_copy(self.copy(fd, inode)?.as_raw_fd()),
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
        let copy = self.copy(socket.fd, socket.inode)?;
        let listener = Listener::open(copy.as_raw_fd())?;
        if listener.cookie() == socket.cookie { read(&listener) } else { Err(Error::Closed) }
    }

    fn copy(&self, fd: RawFd, inode: Inode) -> Result<OwnedFd, Error> {
        let pid = Pid::from_raw(self.pid).ok_or(Error::NotFound)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let copy = match pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()) {
            Err(rustix::io::Errno::BADF) => return Err(Error::Closed),
            Err(rustix::io::Errno::NOSYS) => return Err(Error::Errno(Errno(libc::EPERM))),
            copy => copy?,
        };
        if sockopt::inode(copy.as_raw_fd()) == Ok(inode) { Ok(copy) } else { Err(Error::Closed) }
    }

    /// A socket that failed may have the rest of an answer in it.
    fn ask<T>(&mut self, question: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        let mut diag = self.diag.take().map_or_else(|| beside(self.pid, DiagSocket::open), Ok)?;
        let answer = question(&mut diag)?;
        self.diag = Some(diag);
        Ok(answer)
    }
}

fn places<'a>(sockets: impl IntoIterator<Item = &'a RemoteSocket>) -> Vec<&'a Endpoint> {
    // Members of a group share an endpoint.
    let distinct: BTreeSet<_> = sockets.into_iter().map(|socket| &socket.endpoint).collect();
    distinct.into_iter().collect()
}

/// Of those that are still open; [`Error::Closed`] where none is.
fn sum<T>(figures: impl IntoIterator<Item = Result<T, Error>>, plus: impl Fn(T, T) -> T) -> Result<T, Error> {
    let mut total = None;
    for figure in figures {
        match figure {
            Ok(figure) => {
                total = Some(match total {
                    Some(total) => plus(total, figure),
                    None => figure,
                });
            }
            Err(Error::Closed) => {}
            Err(error) => return Err(error),
        }
    }
    total.ok_or(Error::Closed)
}
