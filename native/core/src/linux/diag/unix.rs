//! Unix stream sockets: the question and the answer (net/unix/diag.c).
//!
//! A connection to a Unix listener is queued by `connect` itself; there is no handshake, no drop, and the kernel keeps no
//! age. A client that meets a full queue waits in `connect`, or gets EAGAIN.

use zerocopy::byteorder::{NativeEndian, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::inet::{NO_COOKIE, States};
use super::netlink::{Envelope, MALFORMED, Question, attribute, cookie, word};
use crate::linux::tcp_state::{ESTABLISHED, LISTEN};
use crate::{Cookie, Error, Inode};

/// What a row of the kernel's table of Unix sockets means to the owner of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixRow<'a> {
    /// A socket that listens.
    Listener {
        /// What it is bound to: a path, or a NUL and an abstract name.
        name: &'a [u8],
        /// Which socket.
        cookie: Cookie,
        /// As `/proc/PID/fd` shows it.
        inode: Inode,
        /// Connections that wait for `accept`.
        queued: u32,
        /// The backlog in force.
        limit: u32,
        /// Of the queued: the client is still there.
        queued_alive: u32,
        /// Of the queued: the client has closed.
        queued_closed: u32,
    },
    /// The server's end of an accepted connection: it bears the listener's name.
    Child {
        /// The listener's name.
        name: &'a [u8],
        /// What has become of it.
        state: UnixChild,
    },
}

/// The server's end of an accepted connection to a Unix listener. Those that wait have no inode, and the kernel leaves
/// such sockets out of the dump (`sk_diag_dump` in net/unix/diag.c): they are known by their clients alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixChild {
    /// The peer is there.
    Established,
    /// The peer has closed.
    PeerClosed,
}

/// A dump of the listeners, or of the listeners and the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixRequest {
    /// In these states.
    pub states: States,
}

/// `struct unix_diag_req`, include/uapi/linux/unix_diag.h.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UnixDiagRequest {
    family: u8,
    protocol: u8,
    _pad: [u8; 2],
    states: U32<NativeEndian>,
    inode: U32<NativeEndian>,
    show: U32<NativeEndian>,
    cookie: [U32<NativeEndian>; 2],
}

/// `struct unix_diag_msg`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UnixDiagMessage {
    _family: u8,
    kind: u8,
    state: u8,
    _pad: u8,
    inode: U32<NativeEndian>,
    cookie: [U32<NativeEndian>; 2],
}

/// `UDIAG_SHOW_*`.
const SHOW_NAME: u32 = 0x01;
const SHOW_PEER: u32 = 0x04;
const SHOW_WAITING: u32 = 0x08;
const SHOW_QUEUE: u32 = 0x10;
/// Attributes of a row (`UNIX_DIAG_*`).
const NAME: u16 = 0;
const PEER: u16 = 2;
const WAITING: u16 = 3;
const QUEUE: u16 = 4;

impl Question for UnixRequest {
    type Row<'a> = UnixRow<'a>;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let body = UnixDiagRequest {
            family: libc::AF_UNIX as u8,
            protocol: 0,
            _pad: [0; 2],
            states: U32::new(self.states.bits()),
            inode: U32::new(0),
            show: U32::new(SHOW_NAME | SHOW_PEER | SHOW_WAITING | SHOW_QUEUE),
            cookie: NO_COOKIE,
        };
        Envelope::dump(sequence, body)
    }

    fn row(payload: &[u8]) -> Result<Option<UnixRow<'_>>, Error> {
        let (message, attributes) = UnixDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
        if i32::from(message.kind) != libc::SOCK_STREAM {
            return Ok(None);
        }
        // A socket that was never bound has no name, and is no server's end.
        let Some(name) = attribute(attributes, NAME)?.map(bound_name) else { return Ok(None) };
        let queue = attribute(attributes, QUEUE)?.ok_or(MALFORMED)?;
        let [Some(queued), Some(limit)] = [word(queue, 0), word(queue, 4)] else { return Err(MALFORMED) };
        Ok(match message.state {
            LISTEN => {
                let (queued_alive, queued_closed) = waiting(attribute(attributes, WAITING)?.unwrap_or(&[]));
                Some(UnixRow::Listener {
                    name,
                    cookie: cookie(message.cookie),
                    inode: Inode(message.inode.get()),
                    queued,
                    limit,
                    queued_alive,
                    queued_closed,
                })
            }
            ESTABLISHED => {
                // The kernel keeps the peer of a connected socket until this end closes; one that has closed has lost
                // its inode.
                let peer = attribute(attributes, PEER)?.and_then(|peer| word(peer, 0)).unwrap_or(0);
                let state = if peer == 0 { UnixChild::PeerClosed } else { UnixChild::Established };
                Some(UnixRow::Child { name, state })
            }
            _ => None,
        })
    }
}

/// A path comes with its terminating NUL, an abstract name begins with one and ends where it ends.
fn bound_name(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, ..] => bytes,
        [path @ .., 0] => path,
        path => path,
    }
}

/// The inodes of the clients that wait; 0 for one that has closed (`sk_diag_dump_icons`).
fn waiting(inodes: &[u8]) -> (u32, u32) {
    let (inodes, _) = inodes.as_chunks::<4>();
    let closed = inodes.iter().filter(|&&inode| inode == [0; 4]).count() as u32;
    (inodes.len() as u32 - closed, closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_the_kernel_reads() {
        let request = UnixRequest { states: States::LISTENERS };
        let message = request.message(1);
        let bytes = message.as_bytes();
        assert_eq!(bytes.len(), 40, "16 of nlmsghdr and 24 of unix_diag_req");
        assert_eq!(&bytes[16..20], [1, 0, 0, 0]);
        assert_eq!(&bytes[20..24], (1u32 << 10).to_ne_bytes());
        assert_eq!(&bytes[28..32], 0x1du32.to_ne_bytes());
    }

    #[test]
    fn a_name_may_hold_any_byte() {
        assert_eq!(bound_name(b"/run/a\0"), b"/run/a");
        assert_eq!(bound_name(b"\0abstract\0"), b"\0abstract\0");
        assert_eq!(bound_name(b"\xff\x01"), b"\xff\x01");
    }

    #[test]
    fn a_client_without_an_inode_has_closed() {
        assert_eq!(waiting(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]), (2, 1));
        assert_eq!(waiting(&[]), (0, 0));
    }
}
