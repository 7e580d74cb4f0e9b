//! Reads the accept queues of listening sockets from the Linux kernel, and judges them.
//!
//! A client whose handshake is done waits in the listener's *accept queue* until a process calls `accept`. The queue holds
//! `limit + 1` connections. When it is full, Linux drops the next SYN, and the owner of the socket is not notified.
//!
//! # Folders
//!
//! Each folder is a floor: it uses those above it in this table, and none below (`tests/floors.rs`).
//!
//! | folder | what it does |
//! |---|---|
//! | root | the vocabulary: [`Address`], [`Cookie`], [`Depth`], [`Counts`], [`Members`], [`Error`] |
//! | [`linux`] | the kernel's interfaces, one file each: system calls, sock_diag, counters, namespaces |
//! | [`vm`] | a BEAM process as `/proc` shows it |
//! | [`reading`] | asks the kernel, and makes figures of rows |
//! | [`rules`] | judges. Pure: no clock, no I/O |
//! | [`monitor`], [`outside`] | follow the listeners of this process, and of other processes, over time |
//!
//! # Questions
//!
//! | question | answer | cost |
//! |---|---|---|
//! | how deep is the queue of a socket of this process | [`Listener::depth`] | three `getsockopt` |
//! | what is in it: alive, closed, reset, how long | [`Listener::counts`] | one walk over the kernel's table of connections |
//! | which sockets listen in this network namespace | [`listening`] | one dump of the listeners, never of the connections |
//! | what is in the queues of all of them | [`survey()`] | one walk for each address family |
//! | on which sockets does this process listen | [`reading::survey::own`] | one system call a descriptor |
//! | which closed connections does it still hold | [`reading::held::by`] | one walk, and one system call a descriptor |
//! | how long did this connection wait, has its client left | [`reading::accepted`] | one `getsockopt` |
//! | how long did all accepted connections of a listener wait | [`reading::waits`] | nothing: they were counted |
//! | in which states are the sockets at either end of a port | [`reading::ends`] | one walk |
//! | what does one reading show | [`rules::verdict`] | nothing |
//! | how bad is it, for a monitoring system | [`rules::check`] | nothing beside the readings |
//! | is a queue behind, overflowing, stuck, over time | [`rules::detector`], kept by a [`rules::history`] | nothing beside the readings |
//! | what is configured wrongly | [`rules::advice`] | nothing: facts in, advice out |
//! | is a VM silent for too long | [`rules::heartbeat`] | nothing |
//! | which queues do other processes have, once | [`outside::snapshot`] | a walk over `/proc` and one over the tables |
//! | and over time | [`outside::observer`] | one dump of the listeners a sample |
//! | the same of single sockets of another process | [`outside::remote`] | a dump, and one link of `/proc` a socket |
//! | does a process of a BEAM wait in accept, from outside | [`vm::pollset`] | each descriptor once, then a file an epoll set |
//! | the limits and counters of the namespace | [`linux::counters`] | a few files of `/proc` |

mod address;
mod counts;
mod error;
pub mod linux;
mod members;
pub mod monitor;
pub mod outside;
pub mod reading;
pub mod rules;
mod socket;
pub mod vm;

pub use address::{Address, Endpoint, Interface, QueueKey};
pub use counts::{Census, Counts, Depth};
pub use error::{Errno, Error};
pub use members::{Members, Sum};
pub use reading::listener::Listener;
pub use reading::listeners::Listeners;
pub use reading::queue::Queue;
pub use reading::survey::{Listening, listening, survey};
pub use socket::{Cookie, Inode};
