//! Which sockets and epoll sets a process holds.
//!
//! A machine may have a hundred thousand descriptors, and each costs a system call: nothing is allocated for one.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat, readlinkat_raw};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::linux::proc_file::ended;
use crate::linux::sockopt;
use crate::{Error, Inode};

/// Room for the names of some hundred descriptors.
const FOLDER: usize = 16 * 1024;
/// `socket:[4294967295]`; what is longer is the path of a file, and is cut short.
const TARGET: usize = 32;

/// Hands each descriptor that is a socket to `each`. Needs the same user, or CAP_SYS_PTRACE; [`Error::NotFound`] where the
/// process has ended.
pub fn sockets(pid: i32, mut each: impl FnMut(Inode, RawFd)) -> Result<(), Error> {
    descriptors(pid, |target, fd| {
        if let Some(inode) = socket(target) {
            each(inode, fd);
        }
    })
}

/// Each socket that a process holds, with the number of a descriptor of it. The same rights and errors.
pub fn by_inode(pid: i32) -> Result<HashMap<Inode, RawFd>, Error> {
    let mut held = HashMap::new();
    sockets(pid, |inode, fd| {
        held.insert(inode, fd);
    })?;
    Ok(held)
}

/// The epoll sets that a process has open, by number. The same rights and errors.
pub fn epolls(pid: i32) -> Result<Vec<RawFd>, Error> {
    let mut found = Vec::new();
    descriptors(pid, |target, fd| {
        if target == b"anon_inode:[eventpoll]" {
            found.push(fd);
        }
    })?;
    Ok(found)
}

/// The inode of the socket that a descriptor number stands for. EBADF where it stands for nothing, ENOTSOCK where for another
/// thing.
pub(crate) fn inode(pid: i32, fd: RawFd) -> Result<Inode, Error> {
    let target = readlinkat(CWD, format!("/proc/{pid}/fd/{fd}"), Vec::new()).map_err(|errno| match errno {
        Errno::NOENT => Errno::BADF,
        errno => errno,
    })?;
    socket(target.as_bytes()).ok_or(Error::from(Errno::NOTSOCK))
}

/// A copy of a descriptor (`pidfd_getfd(2)`), if it is still that of this socket; otherwise [`Error::Closed`]. Needs the right to
/// trace the process, and is EPERM without it.
pub(crate) fn copy(pid: i32, fd: RawFd, wanted: Inode) -> Result<OwnedFd, Error> {
    let process = pidfd_open(Pid::from_raw(pid).ok_or(Error::NotFound)?, PidfdFlags::empty())?;
    let copy = match pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()) {
        Err(Errno::BADF) => return Err(Error::Closed),
        // Before Linux 5.6.
        Err(Errno::NOSYS) => return Err(Errno::PERM.into()),
        copy => copy?,
    };
    if sockopt::inode(copy.as_raw_fd()) == Ok(wanted) { Ok(copy) } else { Err(Error::Closed) }
}

/// Hands each descriptor with what it stands for, or the beginning of that, to `each`.
fn descriptors(pid: i32, mut each: impl FnMut(&[u8], RawFd)) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()).map_err(ended)?;
    let mut room = [MaybeUninit::uninit(); FOLDER];
    let mut entries = RawDir::new(&folder, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(ended)?;
        // All but `.` and `..` are numbers.
        let Some(fd) = number(entry.file_name().to_bytes()) else { continue };
        let mut room = [MaybeUninit::uninit(); TARGET];
        match readlinkat_raw(&folder, entry.file_name(), &mut room) {
            Ok((target, _)) => each(target, fd),
            // Closed after the folder was listed.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(ended(errno)),
        }
    }
    Ok(())
}

fn socket(target: &[u8]) -> Option<Inode> {
    number(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).map(Inode)
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_one() {
        assert_eq!(socket(b"socket:[4711]"), Some(Inode(4711)));
        for other in
            [&b"pipe:[4711]"[..], b"/tmp/socket:[4711]", b"socket:[]", b"socket:[47", b"anon_inode:[eventpoll]"]
        {
            assert_eq!(socket(other), None);
        }
    }

    #[test]
    fn this_process_holds_the_socket_it_opened() {
        let opened = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut held = Vec::new();
        sockets(std::process::id() as i32, |inode, fd| held.push((inode, fd))).expect("own descriptors");
        assert!(
            held.contains(&(crate::linux::sockopt::inode(opened.as_raw_fd()).expect("its inode"), opened.as_raw_fd()))
        );
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(sockets(i32::MAX, |_, _| {}), Err(Error::NotFound));
    }
}
