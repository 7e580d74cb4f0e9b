//! The network namespace of a process: its listeners are in no other's dump.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::LazyLock;
use std::thread;

use rustix::fs::{CWD, readlinkat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::proc_file::ended;
use super::sockopt::{self, SocketNamespace};
use crate::Error;

/// A network namespace, by the inode that `/proc/PID/ns/net` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(pub u64);

impl Namespace {
    /// Of this thread.
    pub fn own() -> Result<Namespace, Error> {
        identify("thread-self")
    }

    /// Of a process. Needs the same user, or CAP_SYS_PTRACE.
    pub fn of(pid: i32) -> Result<Namespace, Error> {
        identify(&pid.to_string())
    }
}

/// The network namespace of a socket; `None`: that of this process, or not known.
pub(crate) fn foreign(socket: RawFd) -> Option<SocketNamespace> {
    of_socket(socket).filter(|namespace| Some(*namespace) != *HOME)
}

/// The network namespace of this process.
static HOME: LazyLock<Option<SocketNamespace>> = LazyLock::new(|| of_socket(UnixDatagram::unbound().ok()?.as_raw_fd()));

fn of_socket(socket: RawFd) -> Option<SocketNamespace> {
    sockopt::namespace(socket).ok()?
}

/// Its number to a person: the inode that `/proc/PID/ns/net` shows, or its cookie where that may not be known.
pub(crate) fn number(namespace: SocketNamespace, socket: RawFd) -> u64 {
    match (namespace, sockopt::namespace_before_5_14(socket)) {
        (SocketNamespace::Inode(inode), _) | (_, Ok(Some(SocketNamespace::Inode(inode)))) => inode,
        (SocketNamespace::Cookie(cookie), _) => cookie,
    }
}

/// Runs `act` in the network namespace of a process. In another than this thread's it needs CAP_SYS_ADMIN.
pub(crate) fn beside<T: Send>(pid: i32, act: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if Namespace::of(pid)? == Namespace::own()? { act() } else { within(&open(pid)?, act) }
}

/// Runs `act` in a network namespace. A thread of its own goes there, so that no other does; a socket stays in the namespace
/// in which it was made, whichever thread uses it.
pub(crate) fn within<T: Send>(namespace: &OwnedFd, act: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let visitor = thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        })?;
        visitor.join().unwrap_or(Err(Error::Unsupported))
    })
}

fn open(pid: i32) -> Result<OwnedFd, Error> {
    match File::open(format!("/proc/{pid}/ns/net")) {
        Ok(file) => Ok(file.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::NotFound),
        Err(error) => Err(error.into()),
    }
}

/// The link reads `net:[4026531840]`.
fn identify(process: &str) -> Result<Namespace, Error> {
    let link = readlinkat(CWD, format!("/proc/{process}/ns/net"), Vec::new()).map_err(ended)?;
    let number = || link.to_str().ok()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok();
    number().map(Namespace).ok_or(Error::from(Errno::BADMSG))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_namespace_has_the_number_of_its_inode() {
        let inode = std::fs::metadata("/proc/self/ns/net").expect("own namespace").ino();
        assert_eq!(
            (Namespace::own(), Namespace::of(std::process::id() as i32)),
            (Ok(Namespace(inode)), Ok(Namespace(inode)))
        );
        assert_eq!(Namespace::of(i32::MAX), Err(Error::NotFound));
    }
}
