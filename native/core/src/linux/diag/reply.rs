//! The answer about TCP sockets: bytes in, rows out. Pure, and without allocation.

use std::time::Duration;

use zerocopy::FromBytes;

use super::inet::{INET_DIAG_INFO, INET_DIAG_SKMEMINFO, INET_DIAG_SOCKOPT, InetDiagMessage, LAST_DATA_SENT};
use super::netlink::{MALFORMED, attribute, cookie, word};
use crate::address::ip_from_diag;
use crate::linux::tcp_state::{CLOSE_WAIT, ESTABLISHED, LISTEN, SYN_RECV};
use crate::{Address, Cookie, Error, Inode, Interface};

/// What a row of the kernel's table means to the owner of a listener.
///
/// The kernel uses the same two columns for a listener's queue and for a connection's bytes; here they part ways on the
/// first line that sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// A socket that listens.
    Listener {
        /// The address that it listens on.
        address: Address,
        /// Which socket.
        cookie: Cookie,
        /// As `/proc/PID/fd` shows it.
        inode: Inode,
        /// Connections that wait for `accept`.
        queued: u32,
        /// The backlog in force.
        limit: u32,
        /// Packets dropped; `None` before Linux 4.12.
        drops: Option<u32>,
        /// It takes connections to addresses and ports that are not its own (IP_TRANSPARENT). Not known before Linux 5.10.
        is_transparent: bool,
    },
    /// What may be a child of one.
    Child {
        /// Which connection. A handshake passes its cookie on to the socket that comes of it (`inet_csk_clone_lock`).
        cookie: Cookie,
        /// Its local end.
        local: Address,
        /// It is of a listener that is. Not known before Linux 5.10, and of a handshake.
        is_transparent: bool,
        /// What has become of it.
        state: ChildState,
    },
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// Its handshake is not finished.
    Handshake,
    /// No process has accepted it: its inode is 0.
    Queued {
        /// Whether the client is still there.
        state: QueuedState,
        /// Request bytes that wait to be read; the client's FIN is not among them.
        bytes: u32,
        /// Since the handshake ended; since it began, where the client has used TCP Fast Open and it goes on.
        waited: Duration,
    },
    /// A process has accepted it, and it is open on both sides.
    Established,
    /// CLOSE_WAIT, and accepted: the peer has closed, and a process still holds the socket.
    CloseWait {
        /// The end that has closed.
        peer: Address,
        /// As `/proc/PID/fd` shows it; never 0.
        inode: Inode,
        /// Bytes that wait to be read; the peer's FIN is not among them.
        bytes: u32,
        /// Since anything came from the peer. Nothing comes after a FIN but acknowledgements of what is still sent to it.
        silent: Duration,
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

/// `tcpi_last_ack_recv`: since the last segment with an ACK, and a FIN is one.
const LAST_ACK_RECEIVED: usize = 56;
/// `SK_MEMINFO_DROPS` words of four bytes into INET_DIAG_SKMEMINFO.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize * 4;
/// The sixth bit field of `struct inet_diag_sockopt`, which the compiler lays out by the order of the machine's bytes.
const TRANSPARENT: u8 = if cfg!(target_endian = "little") { 1 << 5 } else { 1 << 2 };

/// One message of a dump of TCP sockets.
pub(super) fn row(payload: &[u8]) -> Result<Option<Row>, Error> {
    read(payload, true)
}

/// The same of a dump that was not asked for ages.
pub(super) fn row_without_ages(payload: &[u8]) -> Result<Option<Row>, Error> {
    read(payload, false)
}

fn read(payload: &[u8], has_ages: bool) -> Result<Option<Row>, Error> {
    let (message, attributes) = InetDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
    let id = &message.id;
    let end = |ip, port| -> Result<Address, Error> {
        let ip = ip_from_diag(message.family, ip).ok_or(MALFORMED)?;
        Ok(Address { ip, port, interface: Interface(id.interface.get()) })
    };
    let local = end(id.source, id.source_port.get())?;
    // A kernel that does not give an age has no TCP_INFO in sock_diag at all: then nothing here can be trusted.
    let age = |offset| -> Result<Duration, Error> {
        if !has_ages {
            return Ok(Duration::ZERO);
        }
        let info = attribute(attributes, INET_DIAG_INFO)?.ok_or(Error::Unsupported)?;
        word(info, offset).map(|ms| Duration::from_millis(ms.into())).ok_or(Error::Unsupported)
    };
    let bytes = message.receive_queue.get();
    // `tcp_rcv_nxt` counts the peer's FIN as a byte.
    let bytes_before_fin = bytes.saturating_sub(1);
    let inode = message.inode.get();
    let options = attribute(attributes, INET_DIAG_SOCKOPT)?.and_then(|options| options.first());
    let is_transparent = options.is_some_and(|options| options & TRANSPARENT != 0);
    let queued = |state, bytes| age(LAST_DATA_SENT).map(|waited| ChildState::Queued { state, bytes, waited });
    let state = match (message.state, inode) {
        (LISTEN, _) => {
            return Ok(Some(Row::Listener {
                address: local,
                cookie: cookie(id.cookie),
                inode: Inode(inode),
                queued: message.receive_queue.get(),
                limit: message.send_queue.get(),
                drops: attribute(attributes, INET_DIAG_SKMEMINFO)?.and_then(|words| word(words, DROPS)),
                is_transparent,
            }));
        }
        // A request is no socket yet, and has no TCP_INFO (`inet_req_diag_fill`). With TCP Fast Open the socket is there, and
        // can be accepted, before the handshake has ended.
        (SYN_RECV, 0) if attribute(attributes, INET_DIAG_INFO)?.is_none() => ChildState::Handshake,
        (ESTABLISHED | SYN_RECV, 0) => queued(QueuedState::Alive, bytes)?,
        (CLOSE_WAIT, 0) => queued(QueuedState::Closed, bytes_before_fin)?,
        (ESTABLISHED | SYN_RECV, _) => ChildState::Established,
        (CLOSE_WAIT, _) => ChildState::CloseWait {
            peer: end(id.destination, id.destination_port.get())?,
            inode: Inode(inode),
            bytes: bytes_before_fin,
            silent: age(LAST_ACK_RECEIVED)?,
        },
        _ => return Ok(None),
    };
    Ok(Some(Row::Child { cookie: cookie(id.cookie), local, is_transparent, state }))
}

#[cfg(test)]
mod tests {
    use super::super::netlink::tests::{HEADER, message};
    use super::super::netlink::{Message, SOCK_DIAG_BY_FAMILY, messages};
    use super::*;
    use crate::linux::diag::Request;

    const QUEUE_OF_SIX: &[u8] = include_bytes!("../../../tests/fixtures/linux-6.18-queue-of-six.bin");
    const DONE: &[u8] = include_bytes!("../../../tests/fixtures/linux-6.18-done.bin");

    fn rows(datagram: &[u8]) -> Result<Vec<Row>, Error> {
        messages::<Request>(datagram)
            .map(|message| match message? {
                Message::Row(Some(row)) => Ok(row),
                other => panic!("{other:?} in a datagram of rows"),
            })
            .collect()
    }

    #[test]
    fn a_captured_queue_of_six_reads_as_it_was() {
        let rows = rows(QUEUE_OF_SIX).expect("a whole datagram");
        let Row::Listener { address, queued, limit, drops, .. } = rows[0] else { panic!("the listener comes first") };
        assert_eq!((address.to_string().as_str(), queued, limit, drops), ("127.0.0.1:37847", 6, 10, Some(0)));

        let mut waiting: Vec<_> = rows
            .iter()
            .filter_map(|row| match *row {
                Row::Child { state: ChildState::Queued { state, bytes, waited }, .. } => Some((bytes, state, waited)),
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

        let is_open = |row: &&Row| matches!(row, Row::Child { state: ChildState::Established, .. });
        assert_eq!(rows.iter().filter(is_open).count(), 1);
        let held: Vec<_> = rows
            .iter()
            .filter_map(|row| match *row {
                Row::Child { state: ChildState::CloseWait { peer, inode, bytes, silent }, .. } => {
                    Some((peer.ip, inode, bytes, silent))
                }
                _ => None,
            })
            .collect();
        let [(peer, inode, 0, silent)] = held[..] else { panic!("{held:?}") };
        assert!(peer.is_loopback() && inode.0 != 0);
        assert!((400..500).contains(&silent.as_millis()), "it closed about 400 ms before: {silent:?}");
    }

    #[test]
    fn a_dump_ends() {
        assert_eq!(messages::<Request>(DONE).collect::<Vec<_>>(), [Ok(Message::Done)]);
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
                assert!(messages::<Request>(&bytes).count() <= bytes.len() / HEADER);
                bytes[index] = kept;
            }
        }
    }

    #[test]
    fn a_row_that_is_too_short_is_malformed() {
        let short = message(i32::from(SOCK_DIAG_BY_FAMILY), 0, &[0; 10]);
        assert_eq!(rows(&short), Err(MALFORMED));
    }

    #[test]
    fn a_queued_row_without_its_age_is_no_row() {
        // The first row that is neither the listener's nor accepted, cut off before its attributes.
        let size = HEADER + size_of::<InetDiagMessage>();
        let bare: Vec<_> = QUEUE_OF_SIX
            .chunks(QUEUE_OF_SIX.len() / 8)
            .filter(|bytes| matches!(rows(bytes).as_deref(), Ok([Row::Child { state: ChildState::Queued { .. }, .. }])))
            .map(|bytes| message(i32::from(SOCK_DIAG_BY_FAMILY), 0, &bytes[HEADER..size]))
            .collect();
        assert_eq!(bare.len(), 5);
        for datagram in bare {
            assert_eq!(rows(&datagram), Err(Error::Unsupported));
        }
    }
}
