//! Question and answer about the connections that a process holds, each with its inode and what `getsockopt` would say of it. Pure.

use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::inet::{ANY_PORT, Family, INET_DIAG_INFO, InetDiagMessage, InetDiagRequest, LAST_DATA_SENT, Ports, States};
use super::netlink::{Envelope, MALFORMED, Question, attribute, word};
use crate::linux::sockopt::Connection;
use crate::linux::tcp_state::{CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
use crate::{Error, Inode};

/// A dump of all connections of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) family: Family,
}

/// Whatever their peers have done.
const HELD: [u8; 6] = [ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING];
/// `tcpi_data_segs_out` in `struct tcp_info`: segments with data, sent.
const DATA_SEGMENTS_SENT: usize = 156;

impl Question for Connections {
    type Row<'a> = (Inode, Connection);

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let extensions = 1 << (INET_DIAG_INFO - 1);
        let ports = Ports { source: ANY_PORT, destination: ANY_PORT };
        Envelope::dump(sequence, InetDiagRequest::new(self.family, States::these(&HELD), extensions, ports))
    }

    /// `None`: no process holds it, as it is with what is left of a connection in TIME_WAIT, which comes under the name of
    /// FIN_WAIT2 and has no TCP_INFO.
    fn row(payload: &[u8]) -> Result<Option<(Inode, Connection)>, Error> {
        let (message, attributes) = InetDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
        let inode = Inode(message.inode.get());
        if inode == Inode(0) {
            return Ok(None);
        }
        let info = attribute(attributes, INET_DIAG_INFO)?.ok_or(Error::Unsupported)?;
        let figure = |offset| word(info, offset).ok_or(Error::Unsupported);
        let connection = Connection {
            peer_closed: matches!(message.state, CLOSE_WAIT | LAST_ACK | CLOSING),
            has_sent: figure(DATA_SEGMENTS_SENT)? > 0,
            since_sent: Duration::from_millis(figure(LAST_DATA_SENT)?.into()),
        };
        Ok(Some((inode, connection)))
    }
}
