//! The question: which sockets of which family, in which states, on which port. Pure: a request is a value, and its
//! bytes are the kernel's own layout.

use zerocopy::{Immutable, IntoBytes};

use super::inet::{ANY_PORT, Family, INET_DIAG_INFO, INET_DIAG_SKMEMINFO, InetDiagRequest, Ports, States};
use super::netlink::{Envelope, Question};
use super::reply::{self, Row};
use crate::Error;

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

impl Question for Request {
    type Row<'a> = Row;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        // Of a listener TCP_INFO has nothing that the row does not have, and to make it is most of what a dump costs.
        let info = if self.states == States::LISTENERS { 0 } else { 1 << (INET_DIAG_INFO - 1) };
        self.dump(sequence, info)
    }

    fn row(payload: &[u8]) -> Result<Option<Row>, Error> {
        reply::row(payload)
    }
}

impl Request {
    fn dump(&self, sequence: u32, extensions: u8) -> impl IntoBytes + Immutable + use<> {
        let ports = Ports { source: self.port.unwrap_or(ANY_PORT), destination: ANY_PORT };
        let extensions = extensions | 1 << (INET_DIAG_SKMEMINFO - 1);
        Envelope::dump(sequence, InetDiagRequest::new(self.family, self.states, extensions, ports))
    }
}

/// The same dump without ages, in a third of the time: each is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithoutAges(pub Request);

impl Question for WithoutAges {
    type Row<'a> = Row;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        self.0.dump(sequence, 0)
    }

    fn row(payload: &[u8]) -> Result<Option<Row>, Error> {
        reply::row_without_ages(payload)
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
        assert_eq!(&bytes[16..20], [10, 6, 0b0100_0000, 0], "AF_INET6, TCP, SKMEMINFO");
        assert_eq!(&bytes[20..24], (1u32 << 10).to_ne_bytes());
        assert_eq!(&bytes[24..26], [0x1f, 0x90], "the port in network order");
        assert_eq!(&bytes[64..72], [0xff; 8], "no cookie");
    }
    #[test]
    fn ages_are_asked_for_where_connections_are() {
        let request = Request { family: Family::Inet, states: States::LISTENERS_AND_CHILDREN, port: None };
        assert_eq!(request.message(1).as_bytes()[18], 0b0100_0010, "INFO and SKMEMINFO");
        assert_eq!(WithoutAges(request).message(1).as_bytes()[18], 0b0100_0000, "SKMEMINFO");
    }
}
