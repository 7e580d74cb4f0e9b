//! One listening socket that this process owns: what identifies it, how deep its queue is, what is in it.

use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::netdevice::index_to_name;
use socket2::{Protocol, SockAddr, SockRef, Type};

use crate::address::{Address, Endpoint, Interface, QueueKey};
use crate::linux::diag::{DiagSocket, Family, Request, Row, States, UnixRow, UnixSocketRequest};
use crate::linux::{namespace, sockopt};
use crate::reading::census;
use crate::{Census, Cookie, Counts, Depth, Error, Inode};

/// A listening stream socket, by descriptor number and cookie. It holds nothing open: when the owner closes the socket,
/// every later reading is [`Error::Closed`], also when the number has been given to another socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    fd: RawFd,
    cookie: Cookie,
    endpoint: Endpoint,
    /// Of a multipath socket (MPTCP): the listening socket within it, which is the one that the kernel's table has. `None`: of
    /// another, or it could not be asked for.
    subflow: Option<Cookie>,
    is_multipath: bool,
}

impl Listener {
    /// The listening socket of a descriptor number of this process. [`Error::Closed`] where the number stands for nothing,
    /// [`Error::NotListening`] where for something else.
    pub fn open(fd: RawFd) -> Result<Listener, Error> {
        Listener::resolve(fd).map_err(of_number)
    }

    fn resolve(fd: RawFd) -> Result<Listener, Error> {
        let borrowed = sockopt::borrow(fd)?;
        let socket = SockRef::from(&borrowed);
        let protocol = socket.protocol()?;
        // The protocols that have streams alone; a Unix socket has none.
        let is_stream = matches!(protocol, Some(Protocol::TCP | Protocol::MPTCP)) || socket.r#type()? == Type::STREAM;
        if !is_stream || !socket.is_listener()? {
            return Err(Error::NotListening);
        }
        let mut listener = Listener {
            fd,
            cookie: sockopt::cookie(fd)?,
            endpoint: endpoint(&socket.local_addr()?, fd)?,
            subflow: None,
            is_multipath: protocol == Some(Protocol::MPTCP),
        };
        if listener.is_multipath {
            listener.subflow = listener.listening_subflow().ok().map(|(cookie, _)| cookie);
        }
        Ok(listener)
    }

    /// Its descriptor number.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Which socket it is, for as long as the machine runs, as the kernel's table has it.
    pub fn cookie(&self) -> Cookie {
        self.subflow.unwrap_or(self.cookie)
    }

    /// Which socket it is, as `/proc/PID/fd` shows it. Three system calls.
    pub fn inode(&self) -> Result<Inode, Error> {
        self.vouched(sockopt::inode(self.fd))
    }

    /// What it is bound to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is one queue to a client. Two system calls, and one more in another network namespace.
    pub fn queue_key(&self) -> QueueKey {
        let namespace = namespace::foreign(self.fd).map(|foreign| namespace::number(foreign, self.fd));
        QueueKey::of(&self.endpoint, namespace, self.cookie())
    }

    /// The name of the device that it is bound to, as it is now.
    pub fn device(&self) -> Option<String> {
        let Interface(index) = self.endpoint.interface();
        index_to_name(self.borrow().ok().filter(|_| index > 0)?, index).ok()
    }

    /// Whether [`Listener::depth`] is a few `getsockopt`. Of a Unix socket the kernel's table alone has the depth, and of a
    /// multipath socket the drops.
    #[inline]
    pub fn has_first_tier(&self) -> bool {
        matches!(self.endpoint, Endpoint::Tcp(_)) && !self.is_multipath
    }

    /// How deep the queue is: three system calls, no allocation; a question to the kernel's table for a Unix
    /// socket, a dump of the listening ones for a multipath one.
    #[inline]
    pub fn depth(&self) -> Result<Depth, Error> {
        self.vouched(match &self.endpoint {
            Endpoint::Tcp(_) if self.is_multipath => self.multipath_depth(),
            Endpoint::Tcp(_) => sockopt::depth(self.fd),
            Endpoint::Unix(_) => self.unix_depth(),
        })
    }

    /// The depth of the listening socket that a descriptor number stands for now: three system calls. `None`: it has no first tier
    /// ([`Listener::has_first_tier`]).
    #[inline]
    pub fn depth_at(fd: RawFd) -> Result<Option<Depth>, Error> {
        let depth = match sockopt::protocol(fd) {
            Ok(libc::IPPROTO_TCP) => sockopt::depth(fd).map(Some),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
        depth.map_err(of_number)
    }

    /// What is in the queue, for the address that this socket listens on: one walk over the kernel's table.
    pub fn counts(&self) -> Result<Counts, Error> {
        self.census().map(|(census, _)| census.counts)
    }

    /// The same with what they were made of, and with the sockets that share the address and whose sum they are.
    pub(crate) fn census(&self) -> Result<(Census, Vec<Cookie>), Error> {
        self.vouched(match &self.endpoint {
            Endpoint::Tcp(address) => self.tcp_census(address),
            Endpoint::Unix(_) => self.unix_census().map(|census| (census, vec![self.cookie])),
        })
    }

    /// Gives the socket another backlog, and returns the one that is now in force. `listen(2)` on a listening socket does
    /// nothing else; what is queued stays queued.
    pub fn resize(&self, backlog: u32) -> Result<u32, Error> {
        let backlog = i32::try_from(backlog).map_err(|_| Error::Errno(crate::Errno(libc::EINVAL)))?;
        // A descriptor of our own: whatever happens to the owner's, this one stays the socket that we compare.
        let own = fcntl_dupfd_cloexec(self.borrow()?, 0).map_err(|_| Error::Closed)?;
        if rustix::net::sockopt::socket_cookie(&own)? != self.cookie.0 {
            return Err(Error::Closed);
        }
        if !rustix::net::sockopt::socket_acceptconn(&own)? {
            return Err(Error::NotListening);
        }
        rustix::net::listen(&own, backlog)?;
        self.depth().map(|depth| depth.limit)
    }

    /// Reads through a netlink socket in the namespace of this listener.
    pub(crate) fn dump<T>(&self, read: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        DiagSocket::beside(self.fd, read)
    }

    /// The reading, if the descriptor is still this listener's after it. A socket that has left a descriptor does not come
    /// back to it, so what is ours now was ours during the calls before; and an error of another socket's is not our
    /// listener's.
    #[inline]
    pub(crate) fn vouched<T>(&self, reading: Result<T, Error>) -> Result<T, Error> {
        if self.is_open() { reading } else { Err(Error::Closed) }
    }

    /// Whether the descriptor is still this listener's. One system call.
    #[inline]
    pub fn is_open(&self) -> bool {
        sockopt::cookie(self.fd) == Ok(self.cookie)
    }

    fn borrow(&self) -> Result<BorrowedFd<'static>, Error> {
        sockopt::borrow(self.fd)
    }

    fn tcp_census(&self, address: &Address) -> Result<(Census, Vec<Cookie>), Error> {
        let tally = self.dump(|diag| census::tcp(diag, Family::of(address.ip), Some(address.port)))?;
        let group = tally.group_of(self.cookie()).ok_or_else(|| self.no_row())?;
        Ok((group.census(), group.sockets.iter().map(|&(cookie, _)| cookie).collect()))
    }

    /// `SO_MEMINFO` asks the outer socket, which drops nothing (`sk_get_meminfo`): where there is no row, the drops are unknown.
    fn multipath_depth(&self) -> Result<Depth, Error> {
        match self.listening_subflow() {
            Err(Error::Unsupported) => sockopt::depth(self.fd).map(|depth| Depth { drops: None, ..depth }),
            row => row.map(|(_, depth)| depth),
        }
    }

    /// The row of a multipath socket: it has the cookie of the socket within, and the inode of the outer one.
    fn listening_subflow(&self) -> Result<(Cookie, Depth), Error> {
        let Endpoint::Tcp(Address { ip, port, .. }) = self.endpoint else { return Err(Error::Unsupported) };
        let request = Request { family: Family::of(ip), states: States::LISTENERS, port: Some(port) };
        let (outer, mut own) = (self.inode()?, None);
        self.dump(|diag| {
            diag.dump(&request, |row| match row {
                Row::Listener { cookie, inode, queued, limit, drops, .. } if inode == outer => {
                    own = Some((cookie, Depth { queued, limit, drops }));
                }
                _ => {}
            })
        })?;
        own.ok_or_else(|| self.no_row())
    }

    fn unix_depth(&self) -> Result<Depth, Error> {
        let request = UnixSocketRequest { inode: self.inode()?, cookie: self.cookie, clients: false };
        let depth = self.dump(|diag| {
            diag.one(&request, |row| match row {
                UnixRow::Listener { queued, limit, .. } => Some(Depth { queued, limit, drops: None }),
                UnixRow::Child { .. } => None,
            })
        })?;
        match depth.flatten() {
            Some(depth) => Ok(depth),
            // A kernel without unix_diag answers alike (ENOENT); to a dump it does not.
            None => self.unix_census().map(|Census { counts: Counts { queued, limit, drops, .. }, .. }| Depth {
                queued,
                limit,
                drops,
            }),
        }
    }

    fn unix_census(&self) -> Result<Census, Error> {
        let tally = self.dump(|diag| census::unix_some(diag, |cookie| cookie == self.cookie))?;
        tally.census_of(self.cookie).ok_or_else(|| self.no_row())
    }

    /// Why the kernel's table has no listener of this cookie.
    fn no_row(&self) -> Error {
        if sockopt::is_listening(self.fd) { Error::NotFound } else { Error::NotListening }
    }
}

/// What an error says of a descriptor number.
fn of_number(error: Error) -> Error {
    match error {
        Error::Errno(errno) if errno.0 == libc::EBADF => Error::Closed,
        Error::Errno(errno) if errno.0 == libc::ENOTSOCK => Error::NotListening,
        error => error,
    }
}

fn endpoint(local: &SockAddr, fd: RawFd) -> Result<Endpoint, Error> {
    match local.as_socket() {
        Some(address) => {
            Ok(Endpoint::Tcp(Address { interface: Interface(sockopt::bound_device(fd)?), ..address.into() }))
        }
        None => unix_endpoint(local).ok_or(Error::NotListening),
    }
}

fn unix_endpoint(local: &SockAddr) -> Option<Endpoint> {
    let name = match (local.as_pathname(), local.as_abstract_namespace()) {
        (Some(path), _) => path.as_os_str().as_bytes().to_vec(),
        (None, Some(name)) => [&[0], name].concat(),
        (None, None) => return None,
    };
    Some(Endpoint::Unix(name))
}
