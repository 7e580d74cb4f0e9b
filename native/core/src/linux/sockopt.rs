//! The first tier: `getsockopt` on a descriptor that another part of the process owns.
//!
//! This is the only file of the project with unsafe code. It is here because neither socket2 nor rustix reads `TCP_INFO` of a
//! listener, `SO_MEMINFO`, the namespace of a socket or what a packet socket knows, and because the descriptor of an Erlang
//! port is a number that its owner may close at any moment: every function takes the bare number and lets the kernel say what
//! it stands for.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::fs::{AtFlags, StatxFlags, fstat, statx};

use super::tcp_state;
use crate::{Cookie, Depth, Errno, Error, Inode};

/// A connection, from `TCP_INFO`. One system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The peer has closed or reset.
    pub peer_closed: bool,
    /// Whether this end has ever sent a byte.
    pub has_sent: bool,
    /// Since this end last sent, or since the handshake ended.
    pub since_sent: Duration,
}

/// As much of `struct tcp_info` as a LISTEN socket fills (include/uapi/linux/tcp.h); the kernel copies no more than it
/// is asked for.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TcpInfo {
    state: u8,
    _options: [u8; 7],
    _timeouts: [u32; 4],
    unacked: u32,
    sacked: u32,
}

/// The same as far as the segments that carried data; since Linux 4.6.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TcpInfoOfConnection {
    head: TcpInfo,
    _lost: [u32; 3],
    last_data_sent: u32,
    _path: [u32; 27],
    data_segments_out: u32,
}

const _: () = {
    assert!(std::mem::offset_of!(TcpInfo, unacked) == 24);
    assert!(std::mem::offset_of!(TcpInfoOfConnection, last_data_sent) == 44);
    assert!(std::mem::offset_of!(TcpInfoOfConnection, data_segments_out) == 156);
};

/// include/uapi/asm-generic/socket.h, since Linux 4.12; nine words, the last one is `sk_drops`.
const SO_MEMINFO: c_int = 55;
/// include/uapi/asm-generic/socket.h, since Linux 4.12.
const SO_COOKIE: c_int = 57;
/// include/uapi/asm-generic/socket.h, since Linux 5.1.
const SO_BINDTOIFINDEX: c_int = 62;
/// include/uapi/asm-generic/socket.h, since Linux 5.14.
const SO_NETNS_COOKIE: c_int = 71;
/// include/uapi/linux/sockios.h: a descriptor of the network namespace of a socket.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// include/uapi/asm-generic/sockios.h: the time at which the last packet read was received.
const SIOCGSTAMPNS: libc::Ioctl = 0x8907;

const DROPS_WORD: usize = libc::SK_MEMINFO_DROPS as usize;

/// How deep the accept queue of a TCP listener is: two system calls. `tcp_get_info` puts `sk_ack_backlog` and
/// `sk_max_ack_backlog` of a listener into `tcpi_unacked` and `tcpi_sacked`.
#[inline]
pub fn depth(fd: RawFd) -> Result<Depth, Error> {
    let mut info = TcpInfo::default();
    read(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    if info.state != tcp_state::LISTEN {
        return Err(Error::NotListening);
    }
    Ok(Depth { queued: info.unacked, limit: info.sacked, drops: drops(fd)? })
}

/// Packets this socket has dropped since it was made. `None` before Linux 4.12.
#[inline]
fn drops(fd: RawFd) -> Result<Option<u32>, Error> {
    let mut words = [0u32; DROPS_WORD + 1];
    match read(fd, libc::SOL_SOCKET, SO_MEMINFO, &mut words) {
        Ok(()) => Ok(Some(words[DROPS_WORD])),
        Err(Error::Errno(Errno(libc::ENOPROTOOPT))) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What has become of a connection.
pub fn connection(fd: RawFd) -> Result<Connection, Error> {
    let mut info = TcpInfoOfConnection::default();
    read(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    let peer_closed = match info.head.state {
        tcp_state::CLOSE | tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK | tcp_state::CLOSING => true,
        tcp_state::ESTABLISHED | tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 => false,
        _ => return Err(Error::Errno(Errno(libc::ENOTCONN))),
    };
    Ok(Connection {
        peer_closed,
        has_sent: info.data_segments_out > 0,
        since_sent: Duration::from_millis(info.last_data_sent.into()),
    })
}

/// The protocol of the socket that the number stands for.
#[inline]
pub fn protocol(fd: RawFd) -> Result<c_int, Error> {
    let mut protocol = 0u32;
    read(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL, &mut protocol)?;
    Ok(protocol as c_int)
}

/// Whether the number stands for a socket that listens.
pub fn is_listening(fd: RawFd) -> bool {
    let mut answer = 0u32;
    read(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, &mut answer).is_ok() && answer != 0
}

/// The inode of the socket that the number stands for now. Waits for no file system: a file on a server that does not answer is
/// ENOTSOCK at once.
pub fn inode(fd: RawFd) -> Result<Inode, Error> {
    // `sockfd_lookup_light` refuses what is no socket by its operations, and asks the file nothing.
    let mut kind = 0u32;
    read(fd, libc::SOL_SOCKET, libc::SO_TYPE, &mut kind)?;
    // Between the two calls the number may become that of a file: its file system is not to be asked for what it has now.
    let (mode, inode) = match statx(
        borrow(fd)?,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        StatxFlags::TYPE | StatxFlags::INO,
    ) {
        Ok(status) => (u32::from(status.stx_mode), status.stx_ino),
        // A sandbox without statx.
        Err(rustix::io::Errno::NOSYS) => fstat(borrow(fd)?).map(|status| (status.st_mode, status.st_ino))?,
        Err(errno) => return Err(errno.into()),
    };
    // Inode numbers of other file systems mean other things.
    match mode & libc::S_IFMT {
        libc::S_IFSOCK => Ok(Inode(inode as u32)),
        _ => Err(Error::Errno(Errno(libc::ENOTSOCK))),
    }
}

/// What names the network namespace of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketNamespace {
    /// Its cookie, never given twice.
    Cookie(u64),
    /// The inode that `/proc/PID/ns/net` shows. Given to another namespace when it has gone, which it has not while it has
    /// a socket.
    Inode(u64),
}

/// The network namespace of a socket; `None` before Linux 5.14 without CAP_NET_ADMIN there.
pub fn namespace(fd: RawFd) -> Result<Option<SocketNamespace>, Error> {
    let mut cookie = 0u64;
    match read(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie) {
        Ok(()) => Ok(Some(SocketNamespace::Cookie(cookie))),
        Err(Error::Errno(Errno(libc::ENOPROTOOPT))) => namespace_before_5_14(fd),
        Err(error) => Err(error),
    }
}

/// The same, by a descriptor of the namespace.
pub(super) fn namespace_before_5_14(fd: RawFd) -> Result<Option<SocketNamespace>, Error> {
    match open_namespace(fd) {
        Ok(namespace) => Ok(Some(SocketNamespace::Inode(fstat(namespace)?.st_ino))),
        Err(Error::Errno(Errno(libc::EPERM))) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A socket's network namespace, for `setns`. Needs CAP_NET_ADMIN there.
pub fn open_namespace(fd: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: SIOCGSKNS takes no argument and touches no memory of ours.
    let namespace = unsafe { libc::ioctl(fd, SIOCGSKNS) };
    if namespace < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just made this descriptor for us; nothing else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Takes this thread, and what it starts, into a network namespace of its own, which is gone with the last that uses it.
/// Needs CAP_SYS_ADMIN.
pub fn into_new_namespace() -> Result<(), Error> {
    // SAFETY: what makes `unshare` unsafe is a table of descriptors or a memory no longer shared with other threads; a
    // network namespace is neither.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?)
}

/// Whether this process has rights that its caller has not: by setuid, setgid or file capabilities (AT_SECURE, man 3 getauxval).
pub fn has_borrowed_rights() -> bool {
    // SAFETY: it reads what the kernel has given this process at its start, and takes no pointer.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// When the packet that was read last from this socket came, since 1970. The first call asks the kernel to note that:
/// `None` until something has been read. (`sock_gettstamp`)
pub fn received_at(fd: RawFd) -> Result<Option<Duration>, Error> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: SIOCGSTAMPNS writes one `timespec`, to which we hold the only reference.
    let status = unsafe { libc::ioctl(fd, SIOCGSTAMPNS, std::ptr::from_mut(&mut time)) };
    if status == 0 {
        return Ok(Some(Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)));
    }
    match Error::from(std::io::Error::last_os_error()) {
        Error::Errno(Errno(libc::ENOENT)) => Ok(None),
        error => Err(error),
    }
}

/// Packets for which a packet socket (man 7 packet) had no room, since this was last asked.
pub fn packets_lost(fd: RawFd) -> Result<u32, Error> {
    let mut packets_and_drops = [0u32; 2];
    read(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut packets_and_drops)?;
    Ok(packets_and_drops[1])
}

/// The index of the device that a socket is bound to (`SO_BINDTODEVICE`, or the scope of a link-local address); 0: to none, and
/// always so before Linux 5.1.
pub fn bound_device(fd: RawFd) -> Result<u32, Error> {
    let mut index = 0u32;
    match read(fd, libc::SOL_SOCKET, SO_BINDTOIFINDEX, &mut index) {
        Ok(()) => Ok(index),
        Err(Error::Errno(Errno(libc::ENOPROTOOPT))) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Which socket the number stands for now.
#[inline]
pub fn cookie(fd: RawFd) -> Result<Cookie, Error> {
    let mut cookie = 0u64;
    read(fd, libc::SOL_SOCKET, SO_COOKIE, &mut cookie)?;
    Ok(Cookie(cookie))
}

/// The descriptor for crates that want more than a number. It promises nothing about what the number stands for: a
/// caller that needs to know compares cookies after it has read.
pub fn borrow(fd: RawFd) -> Result<BorrowedFd<'static>, Error> {
    if fd < 0 {
        return Err(Error::Errno(Errno(libc::EBADF)));
    }
    // SAFETY: `fd` is not -1, which is all that the type's layout needs. It is handed to system calls that read and
    // never close, and the kernel checks the number on each of them.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Types that any bytes of the kernel make a valid value of.
trait Plain: Copy {}
impl Plain for TcpInfo {}
impl Plain for TcpInfoOfConnection {}
impl Plain for u32 {}
impl Plain for u64 {}
impl<const N: usize> Plain for [u32; N] {}

/// One `getsockopt` that must fill the whole of `value`.
#[inline]
fn read<T: Plain>(fd: RawFd, level: c_int, name: c_int, value: &mut T) -> Result<(), Error> {
    let size = size_of::<T>() as libc::socklen_t;
    let mut length = size;
    // SAFETY: `value` is exclusively borrowed and `length` is its size, so the kernel writes only into it; `T` is
    // `Plain`, so whatever it writes is a value.
    let status = unsafe { libc::getsockopt(fd, level, name, std::ptr::from_mut(value).cast::<c_void>(), &mut length) };
    if status != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if length < size { Err(Error::Unsupported) } else { Ok(()) }
}
