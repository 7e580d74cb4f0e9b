//! sock_diag: the kernel's table of sockets, over netlink (man 7 sock_diag).
//!
//! [`request`] makes the question about TCP sockets, [`socket`] asks it, [`netlink`] opens the envelopes of the answer and
//! [`reply`] turns what is in them into rows; [`inet`] has the layout of both. [`unix`] is both question and answer about Unix
//! sockets, [`end`] about the sockets at one end of a port, `connection` about those that a process holds, `cookies` about
//! which sockets listen. Reading needs no
//! privilege; the network namespace of the thread that opens the socket decides what is in it.

mod connection;
mod cookies;
pub mod end;
pub mod inet;
pub mod netlink;
pub mod reply;
pub mod request;
pub mod socket;
pub mod unix;

pub(crate) use connection::Connections;
pub(crate) use cookies::{TcpListeners, UnixListeners};
pub use end::{EndRequest, EndRow, TcpState};
pub use inet::{Family, States};
pub use reply::{ChildState, QueuedState, Row};
pub use request::{Request, WithoutAges};
pub use socket::{DiagSocket, KeptDiagSocket};
pub use unix::{UnixChild, UnixClients, UnixFile, UnixName, UnixRequest, UnixRow, UnixSocketRequest};
