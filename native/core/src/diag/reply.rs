//! The answer: bytes in, rows out. Pure, without allocation, and without trust in a single length.

use std::time::Duration;

use zerocopy::byteorder::{NativeEndian, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::request::{
    CLOSE_WAIT, ESTABLISHED, Header, INET_DIAG_INFO, INET_DIAG_SKMEMINFO, LISTEN, SOCK_DIAG_BY_FAMILY, SYN_RECV,
    SocketId,
};
use crate::address::ip_from_diag;
use crate::{Address, Cookie, Errno, Error, Inode, Interface};

/// What a row of the kernel's table means to the owner of a listener.
///
/// The kernel uses the same two columns for a listener's queue and for a connection's bytes; here they part ways on the
/// first line that sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// A socket that listens.
    Listener {
        /// Where.
        address: Address,
        /// Which socket.
        cookie: Cookie,
        /// As `/proc/PID/fd` shows it.
        inode: Inode,
        /// Connections that wait for `accept`.
        queued: u32,
        /// The backlog in force.
        limit: u32,
        /// Packets dropped; `None` where the kernel does not tell.
        drops: Option<u32>,
    },
    /// A handshake that is not finished.
    Handshake {
        /// Its local end.
        local: Address,
    },
    /// A connection that no process has accepted: its inode is 0.
    Queued {
        /// Its local end.
        local: Address,
        /// Whether the client is still there.
        state: QueuedState,
        /// Request bytes that wait to be read; the client's FIN is not among them.
        bytes: u32,
        /// Since the handshake ended.
        waited: Duration,
    },
    /// A connection that a process holds.
    Accepted {
        /// Its local end.
        local: Address,
        /// Whether the peer has closed: CLOSE_WAIT rather than ESTABLISHED.
        peer_closed: bool,
        /// As `/proc/PID/fd` shows it; never 0.
        inode: Inode,
    },
}

/// A queued connection that still has a row. One that was reset has none: only its place in the queue is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedState {
    /// ESTABLISHED: the client is there.
    Alive,
    /// CLOSE_WAIT: the client has closed.
    Closed,
}

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A socket; `None` for one in a state that nobody asked for.
    Row(Option<Row>),
    /// The end of the dump.
    Done,
}

/// `struct inet_diag_msg`, include/uapi/linux/inet_diag.h.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InetDiagMessage {
    family: u8,
    state: u8,
    _timer: u8,
    _retransmits: u8,
    id: SocketId,
    _expires: U32<NativeEndian>,
    receive_queue: U32<NativeEndian>,
    send_queue: U32<NativeEndian>,
    _uid: U32<NativeEndian>,
    inode: U32<NativeEndian>,
}

/// netlink pads every message and attribute to four bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// `struct nlattr`: length and type, two bytes each.
const ATTRIBUTE_HEADER: usize = 4;
/// The upper two bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_KIND: u16 = 0x3fff;
/// `tcpi_last_data_sent` in `struct tcp_info`, in milliseconds.
const LAST_DATA_SENT: usize = 44;
/// `SK_MEMINFO_DROPS` words of four bytes into INET_DIAG_SKMEMINFO.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize * 4;

/// The messages of one datagram, in order; the first error ends it.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message, Error>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match split_message(rest) {
            Ok((message, after)) => {
                rest = after;
                Some(Ok(message))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

const MALFORMED: Error = Error::Errno(Errno::BAD_MESSAGE);

fn split_message(bytes: &[u8]) -> Result<(Message, &[u8]), Error> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| MALFORMED)?;
    let length = header.length.get() as usize;
    let payload = bytes.get(size_of::<Header>()..length).ok_or(MALFORMED)?;
    let rest = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    if i32::from(header.flags.get()) & libc::NLM_F_DUMP_INTR != 0 {
        return Err(Error::Interrupted);
    }
    let message = match i32::from(header.kind.get()) {
        libc::NLMSG_DONE => match status(payload) {
            // A dump that failed half-way says so in its last message.
            Some(negative) if negative < 0 => return Err(refused(-negative)),
            _ => Message::Done,
        },
        libc::NLMSG_ERROR => return Err(status(payload).map_or(MALFORMED, |status| refused(status.wrapping_neg()))),
        libc::NLMSG_OVERRUN => return Err(Error::Truncated),
        kind if kind == i32::from(SOCK_DIAG_BY_FAMILY) => Message::Row(row(payload)?),
        _ => return Err(MALFORMED),
    };
    Ok((message, rest))
}

fn status(payload: &[u8]) -> Option<i32> {
    payload.first_chunk().copied().map(i32::from_ne_bytes)
}

/// `sock_diag_rcv_msg` answers ENOENT where the module for the family is missing, EOPNOTSUPP or EINVAL where it is too
/// old for the request.
fn refused(errno: i32) -> Error {
    match errno {
        libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT => Error::Unsupported,
        libc::ENOBUFS => Error::Truncated,
        errno => Error::Errno(Errno(errno)),
    }
}

fn row(payload: &[u8]) -> Result<Option<Row>, Error> {
    let (message, attributes) = InetDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
    let id = &message.id;
    let local = Address {
        ip: ip_from_diag(message.family, id.source).ok_or(MALFORMED)?,
        port: id.source_port.get(),
        interface: Interface(id.interface.get()),
    };
    let inode = message.inode.get();
    Ok(match message.state {
        LISTEN => Some(Row::Listener {
            address: local,
            cookie: Cookie(u64::from(id.cookie[0].get()) | u64::from(id.cookie[1].get()) << 32),
            inode: Inode(inode),
            queued: message.receive_queue.get(),
            limit: message.send_queue.get(),
            drops: word(attributes, INET_DIAG_SKMEMINFO, DROPS)?,
        }),
        SYN_RECV => Some(Row::Handshake { local }),
        ESTABLISHED | CLOSE_WAIT if inode != 0 => {
            Some(Row::Accepted { local, peer_closed: message.state == CLOSE_WAIT, inode: Inode(inode) })
        }
        ESTABLISHED | CLOSE_WAIT => {
            let state = if message.state == CLOSE_WAIT { QueuedState::Closed } else { QueuedState::Alive };
            // `tcp_rcv_nxt` counts the client's FIN as a byte.
            let fin = u32::from(state == QueuedState::Closed);
            // A kernel that does not tell the age has no TCP_INFO in sock_diag at all: then nothing here can be trusted.
            let waited = word(attributes, INET_DIAG_INFO, LAST_DATA_SENT)?.ok_or(Error::Unsupported)?;
            Some(Row::Queued {
                local,
                state,
                bytes: message.receive_queue.get().saturating_sub(fin),
                waited: Duration::from_millis(waited.into()),
            })
        }
        _ => None,
    })
}

/// The 32-bit word at `offset` of the attribute `kind`; `None` where the kernel sent no such attribute, or a shorter one.
fn word(mut attributes: &[u8], kind: u16, offset: usize) -> Result<Option<u32>, Error> {
    while !attributes.is_empty() {
        let header: [u8; ATTRIBUTE_HEADER] = *attributes.first_chunk().ok_or(MALFORMED)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(ATTRIBUTE_HEADER..length).ok_or(MALFORMED)?;
        if u16::from_ne_bytes([header[2], header[3]]) & ATTRIBUTE_KIND == kind {
            return Ok(value.get(offset..).and_then(<[u8]>::first_chunk).copied().map(u32::from_ne_bytes));
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE_OF_SIX: &[u8] = include_bytes!("../../tests/fixtures/linux-6.18-queue-of-six.bin");
    const DONE: &[u8] = include_bytes!("../../tests/fixtures/linux-6.18-done.bin");
    const HEADER: usize = size_of::<Header>();

    fn rows(datagram: &[u8]) -> Result<Vec<Row>, Error> {
        messages(datagram)
            .map(|message| match message? {
                Message::Row(Some(row)) => Ok(row),
                other => panic!("{other:?} in a datagram of rows"),
            })
            .collect()
    }

    fn message(kind: i32, flags: i32, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER + payload.len()) as u32;
        let mut bytes = Vec::from(length.to_ne_bytes());
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend((flags as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_captured_queue_of_six_reads_as_it_stood() {
        let rows = rows(QUEUE_OF_SIX).expect("a whole datagram");
        let Row::Listener { address, queued, limit, drops, .. } = rows[0] else { panic!("the listener comes first") };
        assert_eq!((address.to_string().as_str(), queued, limit, drops), ("127.0.0.1:37847", 6, 10, Some(0)));

        let mut waiting: Vec<_> = rows
            .iter()
            .filter_map(|row| match *row {
                Row::Queued { state, bytes, waited, .. } => Some((bytes, state, waited)),
                _ => None,
            })
            .collect();
        waiting.sort_by_key(|&(bytes, state, _)| (state == QueuedState::Closed, bytes));
        let without_age: Vec<_> = waiting.iter().map(|&(bytes, state, _)| (bytes, state)).collect();
        let (alive, closed) = (QueuedState::Alive, QueuedState::Closed);
        // The one that was reset has no row; a FIN is not among the bytes.
        assert_eq!(without_age, [(0, alive), (0, alive), (5, alive), (0, closed), (3, closed)]);
        for (_, _, waited) in waiting {
            assert!((100..200).contains(&waited.as_millis()), "{waited:?} of about 100 ms");
        }

        let accepted: Vec<_> = rows
            .iter()
            .filter_map(|row| match *row {
                Row::Accepted { peer_closed, inode, .. } => Some((peer_closed, inode.0 != 0)),
                _ => None,
            })
            .collect();
        assert_eq!(accepted.len(), 2);
        assert!(accepted.contains(&(false, true)) && accepted.contains(&(true, true)));
    }

    #[test]
    fn a_dump_ends() {
        assert_eq!(messages(DONE).collect::<Vec<_>>(), [Ok(Message::Done)]);
        assert_eq!(messages(&[]).count(), 0);
    }

    #[test]
    fn a_datagram_cut_anywhere_is_an_error_or_fewer_whole_rows() {
        let row = QUEUE_OF_SIX.len() / 8;
        for length in 0..QUEUE_OF_SIX.len() {
            match rows(&QUEUE_OF_SIX[..length]) {
                Ok(rows) => assert_eq!(rows.len() * row, length, "whole rows only"),
                Err(error) => assert_eq!(error, MALFORMED),
            }
        }
    }

    #[test]
    fn no_byte_of_a_reply_is_trusted() {
        let mut bytes = QUEUE_OF_SIX.to_vec();
        for index in 0..bytes.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let kept = std::mem::replace(&mut bytes[index], value);
                // Any answer but a panic or an endless loop: there are never more messages than headers that fit.
                assert!(messages(&bytes).count() <= bytes.len() / HEADER);
                bytes[index] = kept;
            }
        }
    }

    #[test]
    fn refusals_are_named() {
        let refusal = |errno: i32| message(libc::NLMSG_ERROR, 0, &(-errno).to_ne_bytes());
        for (datagram, error) in [
            (refusal(libc::ENOENT), Error::Unsupported),
            (refusal(libc::EOPNOTSUPP), Error::Unsupported),
            (refusal(libc::EPERM), Error::Errno(Errno(libc::EPERM))),
            (refusal(libc::ENOBUFS), Error::Truncated),
            (message(libc::NLMSG_ERROR, 0, &[]), MALFORMED),
            (message(libc::NLMSG_OVERRUN, 0, &[]), Error::Truncated),
            (message(libc::NLMSG_DONE, 0, &(-libc::ENOMEM).to_ne_bytes()), Error::Errno(Errno(libc::ENOMEM))),
            (message(libc::NLMSG_DONE, libc::NLM_F_DUMP_INTR, &[0; 4]), Error::Interrupted),
            (message(0x7777, 0, &[]), MALFORMED),
            (message(i32::from(SOCK_DIAG_BY_FAMILY), 0, &[0; 10]), MALFORMED),
        ] {
            assert_eq!(messages(&datagram).collect::<Vec<_>>(), [Err(error)], "{datagram:?}");
        }
    }

    #[test]
    fn a_queued_row_without_its_age_is_no_row() {
        // The first row that is neither the listener's nor accepted, cut off before its attributes.
        let size = HEADER + size_of::<InetDiagMessage>();
        let bare: Vec<_> = QUEUE_OF_SIX
            .chunks(QUEUE_OF_SIX.len() / 8)
            .filter(|bytes| matches!(rows(bytes).as_deref(), Ok([Row::Queued { .. }])))
            .map(|bytes| message(i32::from(SOCK_DIAG_BY_FAMILY), 0, &bytes[HEADER..size]))
            .collect();
        assert_eq!(bare.len(), 5);
        for datagram in bare {
            assert_eq!(rows(&datagram), Err(Error::Unsupported));
        }
    }
}
