//! One listening socket that this process owns: what identifies it, how deep its queue is, who stands in it.

use std::os::fd::RawFd;

use rustix::fs::fstat;
use socket2::{Domain, SockRef, Type};

use crate::census::{Census, Counts, Group};
use crate::diag::{DiagSocket, Family, Request, Row, States};
use crate::{Address, Cookie, Error, Inode, sockopt};

/// A listening TCP socket, by descriptor number and cookie. It holds nothing open: when the owner closes the socket,
/// every later reading is [`Error::Closed`], also when the number has been given to another socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    fd: RawFd,
    cookie: Cookie,
    inode: Inode,
    family: Family,
    port: u16,
}

/// The first tier: what three `getsockopt` tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force; full is `queued > limit`.
    pub limit: u32,
    /// Packets dropped; `None` where the kernel does not tell.
    pub drops: Option<u32>,
}

impl Listener {
    /// Looks at a descriptor number of this process and remembers which socket it is.
    pub fn open(fd: RawFd) -> Result<Listener, Error> {
        Listener::resolve(fd).map_err(|error| match error {
            Error::Errno(errno) if errno.0 == libc::EBADF => Error::Closed,
            Error::Errno(errno) if errno.0 == libc::ENOTSOCK => Error::NotListening,
            error => error,
        })
    }

    fn resolve(fd: RawFd) -> Result<Listener, Error> {
        let borrowed = sockopt::borrow(fd)?;
        let socket = SockRef::from(&borrowed);
        let domain = socket.domain()?;
        if socket.r#type()? != Type::STREAM || ![Domain::IPV4, Domain::IPV6].contains(&domain) {
            return Err(Error::NotListening);
        }
        sockopt::queue(fd)?;
        let local = socket.local_addr()?.as_socket().ok_or(Error::NotListening)?;
        Ok(Listener {
            fd,
            cookie: sockopt::cookie(fd)?,
            inode: Inode(fstat(borrowed)?.st_ino as u32),
            family: Family::of(local.ip()),
            port: local.port(),
        })
    }

    /// Which socket it is, for as long as the machine runs.
    pub fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// Which socket it is, as `/proc/PID/fd` shows it.
    pub fn inode(&self) -> Inode {
        self.inode
    }

    /// How deep the queue is: three system calls, no allocation.
    #[inline]
    pub fn depth(&self) -> Result<Depth, Error> {
        let reading = sockopt::queue(self.fd).and_then(|queue| Ok((queue, sockopt::drops(self.fd)?)));
        // The cookie comes last. A socket that has left a descriptor does not come back to it, so what is ours now was
        // ours during the calls before; and an error of another socket's is not our listener's.
        match sockopt::cookie(self.fd) {
            Ok(cookie) if cookie == self.cookie => {
                let (queue, drops) = reading?;
                Ok(Depth { queued: queue.queued, limit: queue.limit, drops })
            }
            _ => Err(Error::Closed),
        }
    }

    /// Who stands in the queue, for the address this socket listens on: one walk over the kernel's table.
    pub fn counts(&self) -> Result<Counts, Error> {
        let census = count(&mut DiagSocket::open()?, self.family, Some(self.port))?;
        self.depth()?;
        // The descriptor is ours and listens, yet no row bears its cookie: it lives in another network namespace.
        census.group_of(self.cookie).map(|group| group.counts).ok_or(Error::NotFound)
    }
}

/// A settled census of one port, or of all.
fn count(diag: &mut DiagSocket, family: Family, port: Option<u16>) -> Result<Census, Error> {
    let mut dump = |states| {
        let mut census = Census::default();
        diag.dump(&Request { family, states, port }, |row| census.add(&row)).map(|()| census)
    };
    let mut census = dump(States::LISTENERS_AND_CHILDREN)?;
    if census.is_unsettled() {
        census.settle(&dump(States::LISTENERS)?);
    }
    Ok(census)
}

/// Both families in turn. A kernel without IPv6 has no IPv6 listeners.
fn each_family(mut read: impl FnMut(&mut DiagSocket, Family) -> Result<(), Error>) -> Result<(), Error> {
    let mut diag = DiagSocket::open()?;
    read(&mut diag, Family::Inet)?;
    match read(&mut diag, Family::Inet6) {
        Err(Error::Unsupported) => Ok(()),
        answer => answer,
    }
}

/// A socket that listens somewhere in this network namespace, whoever owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub address: Address,
    /// Which socket.
    pub cookie: Cookie,
    /// As `/proc/PID/fd` shows it.
    pub inode: Inode,
    /// The queue.
    pub depth: Depth,
}

/// Every listening TCP socket of this thread's network namespace. Never touches the table of connections.
pub fn listening() -> Result<Vec<Listening>, Error> {
    let mut found = Vec::new();
    each_family(|diag, family| {
        let request = Request { family, states: States::LISTENERS, port: None };
        diag.dump(&request, |row| {
            if let Row::Listener { address, cookie, inode, queued, limit, drops } = row {
                found.push(Listening { address, cookie, inode, depth: Depth { queued, limit, drops } });
            }
        })
    })?;
    Ok(found)
}

/// Every listening TCP address of this thread's network namespace, with who stands in front of it.
pub fn survey() -> Result<Vec<Group>, Error> {
    let mut groups = Vec::new();
    each_family(|diag, family| {
        groups.append(&mut count(diag, family, None)?.into_groups());
        Ok(())
    })?;
    Ok(groups)
}
