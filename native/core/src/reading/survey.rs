//! All listeners at once: those of a network namespace, and those of this process.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::os::fd::RawFd;

use crate::linux::diag::{DiagSocket, Family, Request, Row, States, TcpListeners, UnixListeners, UnixRequest, UnixRow};
use crate::linux::{proc_file, sockopt};
use crate::reading::census;
use crate::reading::queue::Queue;
use crate::reading::tally::{Group, Tally};
use crate::{Cookie, Depth, Endpoint, Error, Inode, Listener};

/// A socket that listens in a network namespace, whichever process owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// What it is bound to.
    pub endpoint: Endpoint,
    /// Which socket.
    pub cookie: Cookie,
    /// As `/proc/PID/fd` shows it.
    pub inode: Inode,
    /// The queue.
    pub depth: Depth,
}

/// Every listening TCP and Unix stream socket of this thread's network namespace. Never touches the table of connections.
pub fn listening() -> Result<Vec<Listening>, Error> {
    listening_through(&mut DiagSocket::open()?)
}

/// Which sockets these are, in the order of their cookies: to see whether one is new or gone.
pub fn cookies(listening: Vec<Listening>) -> Vec<Cookie> {
    let mut cookies: Vec<_> = listening.into_iter().map(|listening| listening.cookie).collect();
    cookies.sort_unstable();
    cookies
}

/// Which sockets listen in the namespace of the netlink socket, in the order of their cookies: the least that shows whether one is new or gone.
pub(crate) fn listening_cookies(diag: &mut DiagSocket) -> Result<Vec<Cookie>, Error> {
    let mut cookies = Vec::new();
    each_family(|family| diag.dump(&TcpListeners(family), |cookie| cookies.push(cookie)))?;
    if !diag.lacks_unix() {
        let answer = diag.dump(&UnixListeners, |cookie| cookies.push(cookie));
        unless_unsupported(diag, answer)?;
    }
    cookies.sort_unstable();
    Ok(cookies)
}

/// The same sockets with what a row has of each, in the namespace of the netlink socket.
pub(crate) fn listening_through(diag: &mut DiagSocket) -> Result<Vec<Listening>, Error> {
    let mut found = Vec::new();
    each_family(|family| tcp_listening(diag, family, None, &mut found))?;
    let answer = unix_listening(diag, &mut found);
    unless_unsupported(diag, answer)?;
    Ok(found)
}

/// Those of TCP on one port. The kernel leaves the others out.
pub(crate) fn listening_on(diag: &mut DiagSocket, port: u16) -> Result<Vec<Listening>, Error> {
    let mut found = Vec::new();
    each_family(|family| tcp_listening(diag, family, Some(port), &mut found))?;
    Ok(found)
}

/// The sockets that listen at these endpoints, and maybe others, in the namespace of the netlink socket.
pub(crate) fn listening_some(diag: &mut DiagSocket, wanted: &[&Endpoint]) -> Result<Vec<Listening>, Error> {
    if wanted.len() > FEW {
        return listening_through(diag);
    }
    let mut found = Vec::new();
    for endpoint in wanted {
        if let Endpoint::Tcp(address) = endpoint {
            tcp_listening(diag, Family::of(address.ip), Some(address.port), &mut found)?;
        }
    }
    if wanted.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_))) {
        unix_listening(diag, &mut found)?;
    }
    Ok(found)
}

/// Whether the kernel tells of TCP at all: [`Error::Unsupported`] where inet_diag or tcp_diag is missing. Both families are asked for one
/// port.
pub(crate) fn has_tcp(diag: &mut DiagSocket) -> Result<(), Error> {
    each_family(|family| tcp_listening(diag, family, Some(1), &mut Vec::new()))
}

fn tcp_listening(
    diag: &mut DiagSocket,
    family: Family,
    port: Option<u16>,
    found: &mut Vec<Listening>,
) -> Result<(), Error> {
    diag.dump(&Request { family, states: States::LISTENERS, port }, |row| {
        if let Row::Listener { address, cookie, inode, queued, limit, drops, .. } = row {
            let depth = Depth { queued, limit, drops };
            found.push(Listening { endpoint: Endpoint::Tcp(address), cookie, inode, depth });
        }
    })
}

fn unix_listening(diag: &mut DiagSocket, found: &mut Vec<Listening>) -> Result<(), Error> {
    diag.dump(&UnixRequest { states: States::LISTENERS, clients: false }, |row| {
        if let UnixRow::Listener { name, cookie, inode, queued, limit, .. } = row {
            let depth = Depth { queued, limit, drops: None };
            found.push(Listening { endpoint: Endpoint::Unix(name.name.to_vec()), cookie, inode, depth });
        }
    })
}

/// Every accept queue of this thread's network namespace.
pub fn survey() -> Result<Vec<Queue>, Error> {
    survey_through(&mut DiagSocket::open()?)
}

/// The same, in the namespace of the netlink socket.
pub(crate) fn survey_through(diag: &mut DiagSocket) -> Result<Vec<Queue>, Error> {
    let mut queues = Vec::new();
    each_family(|family| {
        queues.extend(census::tcp(diag, family, None)?.into_groups().into_iter().map(Queue::from));
        Ok(())
    })?;
    let answer = census::unix(diag).map(|tally| queues.extend(tally.into_queues()));
    unless_unsupported(diag, answer)?;
    Ok(queues)
}

/// The queues of some endpoints, and maybe others, each once, in the namespace of the netlink socket.
pub(crate) fn survey_some(diag: &mut DiagSocket, wanted: &[&Endpoint]) -> Result<Vec<Queue>, Error> {
    counted_some(diag, wanted, |diag, family, port| census::tcp(diag, family, port).map(Tally::into_groups))
}

/// The same in less time, without those queues of TCP in which a connection waits; with what is counted in these states.
pub(crate) fn at_rest_some(diag: &mut DiagSocket, wanted: &[&Endpoint], states: States) -> Result<Vec<Queue>, Error> {
    counted_some(diag, wanted, |diag, family, port| census::tcp_at_rest(diag, family, port, states))
}

fn counted_some(
    diag: &mut DiagSocket,
    wanted: &[&Endpoint],
    tcp: impl Fn(&mut DiagSocket, Family, Option<u16>) -> Result<Vec<Group>, Error>,
) -> Result<Vec<Queue>, Error> {
    let addresses = || {
        wanted.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some((Family::of(address.ip), Some(address.port))),
            Endpoint::Unix(_) => None,
        })
    };
    let ports: HashSet<_> = addresses().collect();
    let dumps = if ports.len() > FEW { addresses().map(|(family, _)| (family, None)).collect() } else { ports };
    let mut queues = Vec::new();
    for (family, port) in dumps {
        queues.extend(tcp(diag, family, port)?.into_iter().map(Queue::from));
    }
    if wanted.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_))) {
        queues.extend(census::unix(diag)?.into_queues());
    }
    Ok(queues)
}

/// A dump of one port leaves out what is on others in the kernel; one of all of them brings every connection here.
pub(crate) const FEW: usize = 4;

/// Every listener among the descriptors of this process, in whatever namespace. One system call a descriptor.
pub fn own() -> Result<Vec<Listener>, Error> {
    // One that is closed meanwhile is no listener of ours any more.
    Ok(descriptor_numbers()?.filter(|&fd| sockopt::is_listening(fd)).filter_map(|fd| Listener::open(fd).ok()).collect())
}

/// Which they are, and no more.
pub(crate) fn own_cookies() -> Result<Vec<(RawFd, Cookie)>, Error> {
    let listening = descriptor_numbers()?.filter(|&fd| sockopt::is_listening(fd));
    Ok(listening.filter_map(|fd| Some((fd, sockopt::cookie(fd).ok()?))).collect())
}

/// The descriptor number of each of the wanted sockets that this process holds. One system call a descriptor.
pub(crate) fn own_by_inode(wanted: &[Inode]) -> Result<HashMap<Inode, RawFd>, Error> {
    let mut missing: HashSet<Inode> = wanted.iter().copied().collect();
    let mut found = HashMap::with_capacity(missing.len());
    for fd in descriptor_numbers()? {
        if missing.is_empty() {
            break;
        }
        if let Ok(inode) = sockopt::inode(fd)
            && missing.remove(&inode)
        {
            found.insert(inode, fd);
        }
    }
    Ok(found)
}

/// Every number that may stand for a descriptor of this process. To ask what a free number stands for costs a tenth of
/// what `/proc/self/fd` takes to name a used one.
fn descriptor_numbers() -> Result<Range<RawFd>, Error> {
    let status = proc_file::text("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).and_then(|size| size.trim().parse().ok());
    Ok(0..size.ok_or(Error::Unsupported)?)
}

/// Both families in turn. A kernel without IPv6 answers that there are none: `inet_diag` registers for both.
fn each_family(mut read: impl FnMut(Family) -> Result<(), Error>) -> Result<(), Error> {
    read(Family::Inet)?;
    read(Family::Inet6)
}

/// Without unix_diag the queues of TCP are read all the same. That those of Unix sockets are not is noted in `diag`.
fn unless_unsupported(diag: &mut DiagSocket, answer: Result<(), Error>) -> Result<(), Error> {
    match answer {
        Err(Error::Unsupported) => {
            diag.note_missing_unix();
            Ok(())
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_where(answers: &[i32]) -> (Result<Vec<Listening>, Error>, bool) {
        let (mut diag, _kernel) = DiagSocket::answered(answers);
        let found = listening_through(&mut diag);
        (found, diag.lacks_unix())
    }

    #[test]
    fn a_family_that_cannot_be_read_is_an_error_or_noted() {
        let missing = libc::ENOENT;
        assert_eq!(listening_where(&[0, 0, 0]), (Ok(vec![]), false), "nothing listens");
        assert_eq!(listening_where(&[0, 0, missing]), (Ok(vec![]), true), "no unix_diag");
        assert_eq!(listening_where(&[missing]), (Err(Error::Unsupported), false), "no inet_diag");
        assert_eq!(listening_where(&[0, missing]), (Err(Error::Unsupported), false), "half an inet_diag");
    }
}
