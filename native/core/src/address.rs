//! Where a listener listens, and which connections can be its children.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Cookie;

/// The index of a network device that a socket is bound to; 0 where it is bound to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Interface(pub u32);

/// The local end of a TCP socket, as the kernel keeps it.
///
/// The family is that of the socket, not of the client: the IPv4 clients of a dual-stack listener are children of an
/// IPv6 socket, and are in the kernel's table with mapped addresses (`::ffff:192.0.2.1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address bound to; unspecified where the listener takes clients on all of them.
    pub ip: IpAddr,
    /// The port, in host order.
    pub port: u16,
    /// The device bound to. For a link-local IPv6 address this is its scope.
    pub interface: Interface,
}

/// What a listener is bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp(Address),
    /// A Unix stream socket: a path, or a NUL and an abstract name. Either may hold any byte.
    Unix(Vec<u8>),
}

/// What is one queue to a client, though others may be shown with its address: sockets that share all of this share their clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// The address, with the device that a socket is bound to.
    pub endpoint: Endpoint,
    /// The network namespace, where that is another one than the reader's.
    pub namespace: Option<u64>,
    /// Of a Unix socket: a path that was unlinked and bound again names two, each with a queue of its own.
    pub cookie: Option<Cookie>,
}

impl QueueKey {
    /// That of a socket.
    pub fn of(endpoint: &Endpoint, namespace: Option<u64>, cookie: Cookie) -> QueueKey {
        let is_unix = matches!(endpoint, Endpoint::Unix(_));
        QueueKey { endpoint: endpoint.clone(), namespace, cookie: is_unix.then_some(cookie) }
    }
}

impl Endpoint {
    /// The device that it is bound to.
    pub fn interface(&self) -> Interface {
        match self {
            Endpoint::Tcp(address) => address.interface,
            Endpoint::Unix(_) => Interface::default(),
        }
    }
}

impl Address {
    /// Where a listener may listen that has a connection with this local end as its child, first the one that the kernel
    /// prefers: it goes by the address (`__inet_lookup_listener`: the bucket of the address, then that of the wildcard) and then
    /// by the device (`compute_score`).
    pub(crate) fn listened_on(&self) -> impl Iterator<Item = Address> {
        let &Address { ip, port, interface } = self;
        let by_address = [[Some(ip), None], [Some(all_of(ip)), all_mapped(ip)]];
        let by_device = [Some(interface), (interface != Interface::default()).then_some(Interface::default())];
        by_address.into_iter().flat_map(move |ips| {
            by_device
                .into_iter()
                .flatten()
                .flat_map(move |interface| ips.into_iter().flatten().map(move |ip| Address { ip, port, interface }))
        })
    }

    /// The address as `std` and Erlang spell it. The scope is kept for link-local addresses only: elsewhere the device
    /// is no part of the address.
    pub fn socket_addr(&self) -> SocketAddr {
        let mut address = SocketAddr::new(self.ip, self.port);
        if let SocketAddr::V6(v6) = &mut address
            && v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(self.interface.0);
        }
        address
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let scope = match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Address { ip: address.ip(), port: address.port(), interface: Interface(scope) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.socket_addr(), f)
    }
}

/// A path is shown as `unix:/run/a`, an abstract name as `unix:@a`; what is not printable ASCII is escaped.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => fmt::Display::fmt(address, f),
            Endpoint::Unix(name) => match name.as_slice() {
                [0, name @ ..] => write!(f, "unix:@{}", name.escape_ascii()),
                path => write!(f, "unix:{}", path.escape_ascii()),
            },
        }
    }
}

/// A listener on `0.0.0.0` takes what comes over IPv4 to a socket of its family, one on `::` takes everything.
fn all_of(child: IpAddr) -> IpAddr {
    match child {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// One on `::ffff:0.0.0.0` takes all that came over IPv4.
fn all_mapped(child: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(child) = child else { return None };
    child.to_ipv4_mapped().map(|_| Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into())
}

/// The 16 bytes in which sock_diag carries an address; for IPv4 the first four hold it.
pub(crate) fn ip_from_diag(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str, interface: u32) -> Address {
        Address { ip: ip.parse().expect("an address"), port: 80, interface: Interface(interface) }
    }

    #[test]
    fn a_listener_takes_what_the_kernel_would_give_it() {
        for (listener, child, fits) in [
            (at("127.0.0.1", 0), at("127.0.0.1", 0), true),
            (at("127.0.0.1", 0), at("127.0.0.2", 0), false),
            (at("0.0.0.0", 0), at("127.0.0.2", 0), true),
            (at("0.0.0.0", 0), at("::ffff:127.0.0.2", 0), false),
            (at("::", 0), at("127.0.0.1", 0), false),
            (at("::", 0), at("::ffff:127.0.0.1", 0), true),
            (at("::", 0), at("::1", 0), true),
            (at("::ffff:0.0.0.0", 0), at("::ffff:127.0.0.1", 0), true),
            (at("::ffff:0.0.0.0", 0), at("::1", 0), false),
            (at("0.0.0.0", 2), at("127.0.0.1", 2), true),
            (at("0.0.0.0", 2), at("127.0.0.1", 3), false),
            (at("fe80::1", 2), at("fe80::1", 2), true),
        ] {
            assert_eq!(child.listened_on().any(|address| address == listener), fits, "{listener:?} and {child:?}");
        }
        let other_port = Address { port: 81, ..at("127.0.0.1", 0) };
        assert!(other_port.listened_on().all(|address| address.port == 81));
    }

    #[test]
    fn no_control_character_of_a_name_is_shown() {
        assert_eq!(Endpoint::Unix(b"/run/\x1b[2J".to_vec()).to_string(), "unix:/run/\\x1b[2J");
        assert_eq!(Endpoint::Unix(b"\0shop\n".to_vec()).to_string(), "unix:@shop\\n");
    }

    #[test]
    fn the_address_counts_for_more_than_the_device() {
        let listened_on: Vec<_> = at("127.0.0.1", 2).listened_on().collect();
        assert_eq!(listened_on, [at("127.0.0.1", 2), at("127.0.0.1", 0), at("0.0.0.0", 2), at("0.0.0.0", 0)]);
        let mapped: Vec<_> = at("::ffff:127.0.0.1", 0).listened_on().collect();
        assert_eq!(mapped, [at("::ffff:127.0.0.1", 0), at("::", 0), at("::ffff:0.0.0.0", 0)]);
    }

    #[test]
    fn only_a_link_local_address_shows_its_scope() {
        assert_eq!(at("fe80::1", 2).to_string(), "[fe80::1%2]:80");
        assert_eq!(at("::1", 2).to_string(), "[::1]:80");
        assert_eq!(at("127.0.0.1", 2).to_string(), "127.0.0.1:80");
    }
}
