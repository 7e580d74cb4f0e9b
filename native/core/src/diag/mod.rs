//! sock_diag: the kernel's table of sockets, over netlink (man 7 sock_diag).
//!
//! [`request`] makes the question, [`socket`] asks it, [`reply`] turns the answer's bytes into rows. Reading needs no
//! privilege; the network namespace of the thread that opens the socket decides what is seen.

pub mod reply;
pub mod request;
pub mod socket;

pub use reply::{QueuedState, Row};
pub use request::{Family, Request, States};
pub use socket::DiagSocket;
