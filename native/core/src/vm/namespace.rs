//! The network namespace of a process: its listeners are in no other's dump.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::fs::fstat;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;
use crate::diag::DiagSocket;

/// A network namespace, by the inode that `/proc/PID/ns/net` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(pub u64);

impl Namespace {
    /// Of this thread.
    pub fn own() -> Result<Namespace, Error> {
        identify(&open("thread-self")?)
    }

    /// Of a process. Needs the same user, or CAP_SYS_PTRACE.
    pub fn of(pid: i32) -> Result<Namespace, Error> {
        identify(&open(&pid.to_string())?)
    }
}

/// A netlink socket in the namespace of a process. In another than this thread's it needs CAP_SYS_ADMIN.
pub(crate) fn diag_beside(pid: i32) -> Result<DiagSocket, Error> {
    let theirs = open(&pid.to_string())?;
    if identify(&theirs)? == Namespace::own()? { DiagSocket::open() } else { DiagSocket::inside(&theirs) }
}

/// Does something in the network namespace of a process, on a thread of its own. In another than this thread's it needs
/// CAP_SYS_ADMIN.
pub(crate) fn inside<T: Send>(pid: i32, visit: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let theirs = open(&pid.to_string())?;
    if identify(&theirs)? == Namespace::own()? {
        return visit();
    }
    thread::scope(|scope| {
        let visitor = thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(theirs.as_fd(), Some(LinkNameSpaceType::Network))?;
            visit()
        })?;
        visitor.join().unwrap_or(Err(Error::Unsupported))
    })
}

fn open(process: &str) -> Result<OwnedFd, Error> {
    match File::open(format!("/proc/{process}/ns/net")) {
        Ok(file) => Ok(file.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::NotFound),
        Err(error) => Err(error.into()),
    }
}

fn identify(namespace: &OwnedFd) -> Result<Namespace, Error> {
    Ok(Namespace(fstat(namespace)?.st_ino))
}
