//! Where a listener listens, and which connections can be its children.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// How narrowly a listener's address fits a connection. The kernel goes by the address first
/// (`__inet_lookup_listener`: the bucket of the address, then that of the wildcard) and then at the device
/// (`compute_score`), so the order of the fields is the order of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    exact_address: bool,
    exact_interface: bool,
}

impl Address {
    /// How well a connection with this local end fits a listener here; `None` if it cannot be a child of it.
    pub fn fit(&self, child: &Address) -> Option<Fit> {
        let same_family = self.ip.is_ipv4() == child.ip.is_ipv4();
        let exact_address = self.ip == child.ip;
        let exact_interface = self.interface == child.interface;
        (same_family
            && self.port == child.port
            && (exact_address || is_wildcard(self.ip, child.ip))
            && (exact_interface || self.interface == Interface::default()))
        .then_some(Fit { exact_address, exact_interface })
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

/// A listener on `::` takes everything; one on `::ffff:0.0.0.0` takes all that came over IPv4.
fn is_wildcard(listener: IpAddr, child: IpAddr) -> bool {
    match (listener, child) {
        (IpAddr::V4(listener), _) => listener.is_unspecified(),
        (IpAddr::V6(listener), IpAddr::V6(child)) => {
            listener.is_unspecified()
                || (listener.to_ipv4_mapped() == Some(Ipv4Addr::UNSPECIFIED) && child.to_ipv4_mapped().is_some())
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
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
            assert_eq!(listener.fit(&child).is_some(), fits, "{listener:?} and {child:?}");
        }
        let other_port = Address { port: 81, ..at("127.0.0.1", 0) };
        assert_eq!(at("0.0.0.0", 0).fit(&other_port), None);
    }

    #[test]
    fn no_control_character_of_a_name_is_shown() {
        assert_eq!(Endpoint::Unix(b"/run/\x1b[2J".to_vec()).to_string(), "unix:/run/\\x1b[2J");
        assert_eq!(Endpoint::Unix(b"\0shop\n".to_vec()).to_string(), "unix:@shop\\n");
    }

    #[test]
    fn the_address_counts_for_more_than_the_device() {
        let child = at("127.0.0.1", 2);
        let exact = at("127.0.0.1", 0).fit(&child);
        let device = at("0.0.0.0", 2).fit(&child);
        let wildcard = at("0.0.0.0", 0).fit(&child);
        assert!(exact > device && device > wildcard && wildcard.is_some());
    }

    #[test]
    fn only_a_link_local_address_shows_its_scope() {
        assert_eq!(at("fe80::1", 2).to_string(), "[fe80::1%2]:80");
        assert_eq!(at("::1", 2).to_string(), "[::1]:80");
        assert_eq!(at("127.0.0.1", 2).to_string(), "127.0.0.1:80");
    }
}
