//! Which sockets listen, and nothing else of them: the least that a dump can be.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::inet::{ANY_PORT, Family, InetDiagMessage, InetDiagRequest, Ports, States};
use super::netlink::{Envelope, MALFORMED, Question, cookie};
use super::unix::{UnixDiagMessage, UnixDiagRequest};
use crate::{Cookie, Error};

/// Those of TCP, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpListeners(pub(crate) Family);

/// Those of Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnixListeners;

impl Question for TcpListeners {
    type Row<'a> = Cookie;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        let ports = Ports { source: ANY_PORT, destination: ANY_PORT };
        Envelope::dump(sequence, InetDiagRequest::new(self.0, States::LISTENERS, 0, ports))
    }

    fn row(payload: &[u8]) -> Result<Option<Cookie>, Error> {
        let (message, _) = InetDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
        Ok(Some(cookie(message.id.cookie)))
    }
}

impl Question for UnixListeners {
    type Row<'a> = Cookie;

    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
        Envelope::dump(sequence, UnixDiagRequest::new(States::LISTENERS, 0))
    }

    fn row(payload: &[u8]) -> Result<Option<Cookie>, Error> {
        let (message, _) = UnixDiagMessage::ref_from_prefix(payload).map_err(|_| MALFORMED)?;
        Ok(message.is_stream().then(|| cookie(message.cookie)))
    }
}
