//! How sock_diag carries questions and answers about TCP sockets (include/uapi/linux/inet_diag.h): which sockets may be asked
//! for, and the layout of both messages. Pure.

use std::net::IpAddr;

use zerocopy::byteorder::{BigEndian, NativeEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::linux::tcp_state::{CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, LISTEN, SYN_RECV};

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

impl States {
    /// The listeners alone. The kernel keeps them in a table of their own: this never touches the connections.
    pub const LISTENERS: States = States(1 << LISTEN);
    /// The listeners, and what the peer has closed and a process may still hold.
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
/// Not asked for: it comes with every socket since Linux 5.10 (`inet_diag_msg_attrs_fill`).
pub(super) const INET_DIAG_SOCKOPT: u16 = 22;
/// `INET_DIAG_NOCOOKIE`: any socket.
pub(super) const NO_COOKIE: [U32<NativeEndian>; 2] = [U32::from_bytes([0xff; 4]); 2];

/// `struct inet_diag_msg`, include/uapi/linux/inet_diag.h.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InetDiagMessage {
    pub(super) family: u8,
    pub(super) state: u8,
    _timer: u8,
    pub(super) retransmits: u8,
    pub(super) id: SocketId,
    _expires: U32<NativeEndian>,
    pub(super) receive_queue: U32<NativeEndian>,
    pub(super) send_queue: U32<NativeEndian>,
    _uid: U32<NativeEndian>,
    pub(super) inode: U32<NativeEndian>,
}

/// `tcpi_last_data_sent` in `struct tcp_info`, in milliseconds.
pub(super) const LAST_DATA_SENT: usize = 44;
