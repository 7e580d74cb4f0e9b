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
        /// What it is bound to.
        name: UnixName<'a>,
        /// Which socket.
        cookie: Cookie,
        /// As `/proc/PID/fd` shows it.
        inode: Inode,
        /// Connections that wait for `accept`.
        queued: u32,
        /// The backlog in force.
        limit: u32,
        /// Their clients, if they were asked for.
        clients: Option<UnixClients<'a>>,
    },
    /// The server's end of an accepted connection: it bears the listener's name.
    Child {
        /// Which socket.
        cookie: Cookie,
        /// The listener's name.
        name: UnixName<'a>,
        /// What has become of it.
        state: UnixChild,
    },
}

/// What a listener is bound to. A path that was unlinked may be bound again, to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnixName<'a> {
    /// A path, or a NUL and an abstract name.
    pub name: &'a [u8],
    /// The file of a path.
    pub file: Option<UnixFile>,
}

/// The file that a path stands for, or stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnixFile {
    inode: u32,
    device: u32,
}

/// The clients of the connections that wait, in the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixClients<'a>(&'a [[u8; 4]]);

impl UnixClients<'_> {
    /// The inode of each; 0 for one that has closed (`sk_diag_dump_icons`).
    pub fn inodes(&self) -> impl ExactSizeIterator<Item = Inode> {
        self.0.iter().map(|&inode| Inode(u32::from_ne_bytes(inode)))
    }
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
    /// Also list the clients that wait. Those of one listener must fit in one datagram, 32 KiB, which is about 8,100. Where
    /// they do not, the kernel ends the dump there as if it were whole (`unix_diag_dump`, `netlink_dump`).
    pub clients: bool,
}

/// One listener. The answer is a page at most (`unix_diag_get_exact`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixSocketRequest {
    /// Its inode, by which the kernel finds it.
    pub inode: Inode,
    /// Its cookie, which the kernel compares.
    pub cookie: Cookie,
    /// Also list the clients that wait, no more than [`UnixSocketRequest::MOST_CLIENTS`].
    pub clients: bool,
}

impl UnixSocketRequest {
    /// With a name of any length they fit in a page.
    pub const MOST_CLIENTS: u32 = 900;
}

/// `struct unix_diag_req`, include/uapi/linux/unix_diag.h.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct UnixDiagRequest {
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
pub(super) struct UnixDiagMessage {
    _family: u8,
    kind: u8,
    state: u8,
    _pad: u8,
    inode: U32<NativeEndian>,
    pub(super) cookie: [U32<NativeEndian>; 2],
}

/// `UDIAG_SHOW_*`.
const SHOW_NAME: u32 = 0x01;
const SHOW_FILE: u32 = 0x02;
const SHOW_PEER: u32 = 0x04;
const SHOW_WAITING: u32 = 0x08;
const SHOW_QUEUE: u32 = 0x10;
/// Attributes of a row (`UNIX_DIAG_*`).
const NAME: u16 = 0;
const FILE: u16 = 1;
const PEER: u16 = 2;
const WAITING: u16 = 3;
const QUEUE: u16 = 4;

/// All that a row is made of, but for the clients.
const SHOW_ROW: u32 = SHOW_NAME | SHOW_FILE | SHOW_PEER | SHOW_QUEUE;

impl UnixDiagMessage {
    pub(super) fn is_stream(&self) -> bool {
        i32::from(self.kind) == libc::SOCK_STREAM
    }
}

impl UnixDiagRequest {
    /// `show`: the attributes of each row.
    pub(super) fn new(states: States, show: u32) -> UnixDiagRequest {
        UnixDiagRequest {
            family: libc::AF_UNIX as u8,
            protocol: 0,
            _pad: [0; 2],
            states: U32::new(states.bits()),
            inode: U32::new(0),
            show: U32::new(show),
            cookie: NO_COOKIE,
        }
    }
}

fn row_with(clients: bool) -> u32 {
    if clients { SHOW_ROW | SHOW_WAITING } else { SHOW_ROW }
}

impl Question for UnixRequest {
    type Row<'a> = UnixRow<'a>;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        Envelope::dump(sequence, UnixDiagRequest::new(self.states, row_with(self.clients)))
    }

    fn row(payload: &[u8]) -> Result<Option<UnixRow<'_>>, Error> {
        row(payload)
    }
}

impl Question for UnixSocketRequest {
    type Row<'a> = UnixRow<'a>;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let UnixSocketRequest { inode, cookie, clients } = *self;
        let body = UnixDiagRequest {
            inode: U32::new(inode.0),
            cookie: [U32::new(cookie.0 as u32), U32::new((cookie.0 >> 32) as u32)],
            ..UnixDiagRequest::new(States::LISTENERS, row_with(clients))
        };
        Envelope::one(sequence, body)
    }

    fn row(payload: &[u8]) -> Result<Option<UnixRow<'_>>, Error> {
        row(payload)
    }
}

fn row(payload: &[u8]) -> Result<Option<UnixRow<'_>>, Error> {
    let (message, attributes) = UnixDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
    if !message.is_stream() {
        return Ok(None);
    }
    // A socket that was never bound has no name, and is no server's end.
    let Some(name) = attribute(attributes, NAME)?.map(bound_name) else { return Ok(None) };
    let file =
        attribute(attributes, FILE)?.and_then(|file| Some(UnixFile { inode: word(file, 0)?, device: word(file, 4)? }));
    let name = UnixName { name, file };
    let cookie = cookie(message.cookie);
    let queue = attribute(attributes, QUEUE)?.ok_or(MALFORMED)?;
    let [Some(queued), Some(limit)] = [word(queue, 0), word(queue, 4)] else { return Err(MALFORMED) };
    Ok(match message.state {
        LISTEN => {
            let clients = attribute(attributes, WAITING)?.map(|inodes| UnixClients(inodes.as_chunks().0));
            Some(UnixRow::Listener { name, cookie, inode: Inode(message.inode.get()), queued, limit, clients })
        }
        ESTABLISHED => {
            // The kernel keeps the peer of a connected socket until this end closes; one that has closed has lost
            // its inode.
            let peer = attribute(attributes, PEER)?.and_then(|peer| word(peer, 0)).unwrap_or(0);
            let state = if peer == 0 { UnixChild::PeerClosed } else { UnixChild::Established };
            Some(UnixRow::Child { cookie, name, state })
        }
        _ => None,
    })
}

/// A path comes with its terminating NUL, an abstract name begins with one and ends where it ends.
fn bound_name(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, ..] => bytes,
        [path @ .., 0] => path,
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_the_kernel_reads() {
        let request = UnixRequest { states: States::LISTENERS, clients: true };
        let message = request.message(1);
        let bytes = message.as_bytes();
        assert_eq!(bytes.len(), 40, "16 of nlmsghdr and 24 of unix_diag_req");
        assert_eq!(&bytes[16..20], [1, 0, 0, 0]);
        assert_eq!(&bytes[20..24], (1u32 << 10).to_ne_bytes());
        assert_eq!(&bytes[28..32], 0x1fu32.to_ne_bytes());
    }

    #[test]
    fn one_socket_is_asked_for_by_its_two_numbers_and_not_for_its_clients() {
        let request = UnixSocketRequest { inode: Inode(7), cookie: Cookie(0x1_0000_0002), clients: false };
        let message = request.message(1);
        let bytes = message.as_bytes();
        assert_eq!(&bytes[6..8], (libc::NLM_F_REQUEST as u16).to_ne_bytes(), "no dump");
        assert_eq!(&bytes[24..28], 7u32.to_ne_bytes());
        assert_eq!(&bytes[28..32], 0x17u32.to_ne_bytes());
        assert_eq!([&bytes[32..36], &bytes[36..40]], [2u32.to_ne_bytes(), 1u32.to_ne_bytes()]);
    }

    #[test]
    fn a_name_may_hold_any_byte() {
        assert_eq!(bound_name(b"/run/a\0"), b"/run/a");
        assert_eq!(bound_name(b"\0abstract\0"), b"\0abstract\0");
        assert_eq!(bound_name(b"\xff\x01"), b"\xff\x01");
    }
}
