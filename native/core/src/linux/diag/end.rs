//! Question and answer about the sockets at one end of a port, in every state that netstat shows: what a client sees of a
//! listener, too. Pure.

use std::fmt;
use std::net::SocketAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::inet::{ANY_PORT, Family, InetDiagMessage, InetDiagRequest, Ports, States};
use super::netlink::{Envelope, MALFORMED, Question};
use crate::Error;
use crate::address::ip_from_diag;
use crate::linux::tcp_state;

/// A TCP state, in the numbers of include/net/tcp_states.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Waits for clients.
    Listen,
    /// Has sent a SYN, and no answer has come.
    SynSent,
    /// A handshake whose last ACK is missing.
    SynRecv,
    /// Open on both sides, or so this end believes.
    Established,
    /// Has closed; the other end has not confirmed it.
    FinWait1,
    /// Has closed; the other end has confirmed it and not closed.
    FinWait2,
    /// The other end has closed, this one has not.
    CloseWait,
    /// Both closed at once.
    Closing,
    /// Has closed after the other end; the confirmation is missing.
    LastAck,
    /// Closed, and kept for a minute against late packets.
    TimeWait,
}

impl TcpState {
    /// As netstat spells it.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::Listen => "LISTEN",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait1 => "FIN_WAIT1",
            TcpState::FinWait2 => "FIN_WAIT2",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::Closing => "CLOSING",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
        }
    }

    fn of(number: u8) -> Option<TcpState> {
        Some(match number {
            tcp_state::ESTABLISHED => TcpState::Established,
            tcp_state::SYN_SENT => TcpState::SynSent,
            tcp_state::SYN_RECV | tcp_state::NEW_SYN_RECV => TcpState::SynRecv,
            tcp_state::FIN_WAIT1 => TcpState::FinWait1,
            tcp_state::FIN_WAIT2 => TcpState::FinWait2,
            tcp_state::TIME_WAIT => TcpState::TimeWait,
            tcp_state::CLOSE_WAIT => TcpState::CloseWait,
            tcp_state::LAST_ACK => TcpState::LastAck,
            tcp_state::LISTEN => TcpState::Listen,
            tcp_state::CLOSING => TcpState::Closing,
            _ => return None,
        })
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sockets that belong to a listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndRequest {
    /// At the server: the listener and its children.
    Server(SocketAddr),
    /// At the clients.
    Client(SocketAddr),
}

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRow {
    /// This end.
    pub local: SocketAddr,
    /// The other end; for a listener, the unspecified address.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// How often that was sent again which is not yet confirmed: of a SYN_SENT, its SYN.
    pub retransmits: u8,
}

impl EndRequest {
    /// The kernel compares the port only: whether the socket is the listener's, or a client of it.
    pub fn wants(&self, row: &EndRow) -> bool {
        match *self {
            EndRequest::Server(address) => row.local == address,
            EndRequest::Client(address) => row.peer == address,
        }
    }
}

impl Question for EndRequest {
    type Row<'a> = EndRow;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let (address, ports) = match *self {
            EndRequest::Server(address) => (address, Ports { source: address.port(), destination: ANY_PORT }),
            EndRequest::Client(address) => (address, Ports { source: ANY_PORT, destination: address.port() }),
        };
        Envelope::dump(sequence, InetDiagRequest::new(Family::of(address.ip()), States::ALL, 0, ports))
    }

    fn row(payload: &[u8]) -> Result<Option<EndRow>, Error> {
        let (message, _) = InetDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
        let id = &message.id;
        let end = |ip, port| ip_from_diag(message.family, ip).map(|ip| SocketAddr::new(ip, port)).ok_or(MALFORMED);
        let local = end(id.source, id.source_port.get())?;
        let peer = end(id.destination, id.destination_port.get())?;
        Ok(TcpState::of(message.state).map(|state| EndRow { local, peer, state, retransmits: message.retransmits }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::{Message, messages};
    use super::*;

    const QUEUE_OF_SIX: &[u8] = include_bytes!("../../../tests/fixtures/linux-6.18-queue-of-six.bin");

    fn rows(datagram: &[u8]) -> Result<Vec<EndRow>, Error> {
        messages::<EndRequest>(datagram)
            .map(|message| match message? {
                Message::Row(Some(row)) => Ok(row),
                other => panic!("{other:?} in a datagram of rows"),
            })
            .collect()
    }

    #[test]
    fn a_captured_queue_of_six_is_in_the_states_that_netstat_would_show() {
        let rows = rows(QUEUE_OF_SIX).expect("a whole datagram");
        let mut names: Vec<_> = rows.iter().map(|row| row.state.name()).collect();
        names.sort_unstable();
        let (wait, alive) = ("CLOSE_WAIT", "ESTABLISHED");
        assert_eq!(names, [wait, wait, wait, alive, alive, alive, alive, "LISTEN"]);
        let server = "127.0.0.1:37847".parse().expect("an address");
        assert!(rows.iter().all(|row| EndRequest::Server(server).wants(row)));
        assert!(!rows.iter().any(|row| EndRequest::Client(server).wants(row)));
    }

    #[test]
    fn every_state_but_closed_is_asked_for() {
        let request = EndRequest::Client("127.0.0.1:8080".parse().expect("an address"));
        let message = request.message(1);
        let bytes = message.as_bytes();
        let asked = u32::from_ne_bytes(bytes[20..24].try_into().expect("four bytes"));
        let known = (0..=11).filter(|&number| TcpState::of(number).is_some()).map(|number| 1 << number).sum();
        assert_eq!(asked, known);
        assert_eq!(bytes[24..28], [0, 0, 0x1f, 0x90], "any source port, and this destination port");
    }
}
