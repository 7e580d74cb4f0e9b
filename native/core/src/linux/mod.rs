//! The kernel's interfaces: one file each. Bytes and numbers go in, rows and figures come out; nothing here judges.

pub mod clock;
pub mod counters;
pub mod diag;
pub mod epoll;
pub mod namespace;
pub(crate) mod proc_file;
pub mod sockopt;
pub mod sockstat;
mod tcp_state;
