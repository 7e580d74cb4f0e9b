//! The question: which sockets of which family, in which states, on which port. Pure: a request is a value, and its
//! bytes are the kernel's own layout.

use std::net::IpAddr;

use zerocopy::byteorder::{BigEndian, NativeEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::netlink::{Envelope, Question};
use super::reply::{self, Row};
use crate::Error;

/// The address family of a *socket*: a dual-stack listener and all its children are [`Family::Inet6`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6, and IPv4 over a dual-stack socket.
    Inet6,
}

impl Family {
    /// Both of them; the kernel has no request for "any family".
    pub const ALL: [Family; 2] = [Family::Inet, Family::Inet6];

    /// The family of the socket that is bound to this address.
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    fn number(self) -> u8 {
        match self {
            Family::Inet => libc::AF_INET as u8,
            Family::Inet6 => libc::AF_INET6 as u8,
        }
    }
}

/// A set of TCP states (include/net/tcp_states.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

pub(super) const ESTABLISHED: u8 = 1;
pub(super) const SYN_RECV: u8 = 3;
pub(super) const FIN_WAIT1: u8 = 4;
pub(super) const FIN_WAIT2: u8 = 5;
pub(super) const CLOSE: u8 = 7;
pub(super) const CLOSE_WAIT: u8 = 8;
pub(super) const LAST_ACK: u8 = 9;
pub(super) const LISTEN: u8 = 10;
pub(super) const CLOSING: u8 = 11;

impl States {
    /// The listeners alone. The kernel keeps them in a table of their own: this never touches the connections.
    pub const LISTENERS: States = States(1 << LISTEN);
    /// The listeners, and what the peer has closed and somebody may still hold.
    pub const LISTENERS_AND_CLOSE_WAIT: States = States(1 << LISTEN | 1 << CLOSE_WAIT);
    /// The listeners and all that can be a child of one. The kernel walks every bucket of the table of connections.
    pub const LISTENERS_AND_CHILDREN: States = States(1 << LISTEN | 1 << ESTABLISHED | 1 << SYN_RECV | 1 << CLOSE_WAIT);
    /// Every state in which a socket has a peer or listens; not TCP_CLOSE, and not what is no more than bound.
    pub const ALL: States = States(((1 << (CLOSING + 1)) - 2) & !(1 << CLOSE));

    /// Any of these.
    pub(super) fn these(states: &[u8]) -> States {
        States(states.iter().fold(0, |bits, state| bits | 1 << state))
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// One dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Sockets of this family.
    pub family: Family,
    /// In these states.
    pub states: States,
    /// With this local port, or with any.
    pub port: Option<u16>,
}

/// `struct inet_diag_req_v2`, include/uapi/linux/inet_diag.h.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InetDiagRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    _pad: u8,
    states: U32<NativeEndian>,
    id: SocketId,
}

/// The ports of the connections asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

pub(super) const ANY_PORT: u16 = 0;

impl InetDiagRequest {
    pub(super) fn new(family: Family, states: States, extensions: u8, ports: Ports) -> InetDiagRequest {
        let id = SocketId {
            source_port: U16::new(ports.source),
            destination_port: U16::new(ports.destination),
            source: [0; 16],
            destination: [0; 16],
            interface: U32::new(0),
            cookie: NO_COOKIE,
        };
        InetDiagRequest {
            family: family.number(),
            protocol: libc::IPPROTO_TCP as u8,
            extensions,
            _pad: 0,
            states: U32::new(states.bits()),
            id,
        }
    }
}

/// `struct inet_diag_sockid`: the only big-endian figures are the ports and addresses.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SocketId {
    pub(super) source_port: U16<BigEndian>,
    pub(super) destination_port: U16<BigEndian>,
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) interface: U32<NativeEndian>,
    pub(super) cookie: [U32<NativeEndian>; 2],
}

/// Attributes of a row, include/uapi/linux/inet_diag.h; a request asks for number N by setting bit N - 1.
pub(super) const INET_DIAG_INFO: u16 = 2;
pub(super) const INET_DIAG_SKMEMINFO: u16 = 7;
/// `INET_DIAG_NOCOOKIE`: any socket.
pub(super) const NO_COOKIE: [U32<NativeEndian>; 2] = [U32::from_bytes([0xff; 4]); 2];

impl Question for Request {
    type Row<'a> = Row;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let extensions = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
        let ports = Ports { source: self.port.unwrap_or(ANY_PORT), destination: ANY_PORT };
        Envelope::dump(sequence, InetDiagRequest::new(self.family, self.states, extensions, ports))
    }

    fn row(payload: &[u8]) -> Result<Option<Row>, Error> {
        reply::row(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_the_kernel_reads() {
        let request = Request { family: Family::Inet6, states: States::LISTENERS, port: Some(0x1f90) };
        let message = request.message(7);
        let bytes = message.as_bytes();
        assert_eq!(bytes.len(), 72, "16 of nlmsghdr and 56 of inet_diag_req_v2");
        assert_eq!(&bytes[..4], 72u32.to_ne_bytes());
        assert_eq!(&bytes[4..6], 20u16.to_ne_bytes());
        assert_eq!(&bytes[6..8], 0x301u16.to_ne_bytes(), "REQUEST, ROOT and MATCH");
        assert_eq!(&bytes[16..20], [10, 6, 0b0100_0010, 0], "AF_INET6, TCP, INFO and SKMEMINFO");
        assert_eq!(&bytes[20..24], (1u32 << 10).to_ne_bytes());
        assert_eq!(&bytes[24..26], [0x1f, 0x90], "the port in network order");
        assert_eq!(&bytes[64..72], [0xff; 8], "no cookie");
    }
}
