//! How far a listening socket has fallen behind its acceptors, as the Linux kernel counts it.
//!
//! A client whose handshake is done waits in the listener's *accept queue* until some process calls `accept`. The queue
//! holds `limit + 1` of them. When it is full, Linux drops the next client's SYN without a word to anybody, and the
//! owner of the socket never learns of it. This crate reads that queue and judges it.
//!
//! | to ask | go to | cost |
//! |---|---|---|
//! | how deep is the queue of a socket this process owns | [`Listener::depth`] | three `getsockopt` |
//! | who stands in it: alive, closed, reset, how long | [`Listener::counts`] | one walk over the kernel's table of connections |
//! | which sockets listen in this network namespace | [`listening`] | one dump of the listeners, never of the connections |
//! | who stands in front of all of them | [`survey`] | one walk for each address family |
//! | which sockets does this process listen on | [`survey::own`] | one system call a descriptor |
//! | which closed connections are still held | [`held::by`] | one walk, and one system call a descriptor |
//! | how long did this connection wait, has its client left | [`accepted`] | one `getsockopt` |
//! | what a person should be told of a reading | [`verdict`] | nothing |
//! | how bad it is, for a monitoring system | [`check`] | nothing beside the readings |
//! | does a queue stand, overflow, get stuck, over time | [`detector`], kept by a [`history`] | nothing beside the readings |
//! | whose are the queues of other processes, once | [`outside::snapshot`] | a walk over `/proc` and one over the tables |
//! | and over time | an [`observer::Observer`] | one dump of the listeners a sample |
//! | the same of the sockets of another process, asked for one by one | a [`remote::Remote`] | a dump, and one look at `/proc` a socket |
//! | in which states are the sockets at either end of a port | [`ends`] | one walk |
//! | does any process of a BEAM wait in accept, from outside | [`vm::pollset`] | a look at each descriptor once, then a file an epoll set |
//! | is a VM that beats silent for too long | a [`heartbeat::Heartbeat`] | nothing |
//! | the limits and counters of the namespace | [`kernel::read`] | a few files of `/proc` |
//! | what is set wrongly | [`advice::advise`] | none: facts in, advice out |
//!
//! The way of a reading: [`sockopt`] or [`diag`] ask the kernel, `diag::reply` turns bytes into rows, [`census`] turns
//! rows into counts. Everything between the system call and the figure is a pure function.
//!
//! # Words
//!
//! | word | means | in the kernel |
//! |---|---|---|
//! | `queued` | connections that wait for `accept` | `sk_ack_backlog` |
//! | `limit` | the backlog in force; full is `queued > limit` | `sk_max_ack_backlog` |
//! | `drops` | packets the listener has dropped, overflow first among the causes | `sk_drops` |
//! | `syn_recv` | handshakes not finished: the SYN queue | rows in SYN_RECV |

use std::os::fd::RawFd;

use rustix::fs::fstat;

pub mod accepted;
pub mod address;
pub mod advice;
pub mod census;
pub mod check;
pub mod detector;
pub mod diag;
pub mod diagnosis;
pub mod ends;
mod error;
pub mod evidence;
pub mod examination;
pub mod heartbeat;
pub mod held;
pub mod history;
pub mod kernel;
mod listener;
mod listeners;
pub mod observer;
pub mod outside;
pub mod patrol;
pub mod remote;
pub mod remote_watch;
pub mod sockopt;
pub mod survey;
mod unix_census;
pub mod verdict;
pub mod vm;
pub mod watch;

pub use address::{Address, Endpoint, Interface};
pub use census::{Census, Counts};
pub use error::{Errno, Error};
pub use listener::{Depth, Listener};
pub use listeners::Listeners;
pub use survey::{Listening, Queue, listening, survey};

/// The number that names a socket for as long as the machine runs; never given twice (`sk_cookie`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// The number that `/proc/PID/fd` shows for a socket; 0 for a connection that no process has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u32);

impl Inode {
    /// Of the socket that the number stands for now.
    pub fn of(fd: RawFd) -> Result<Inode, Error> {
        let status = fstat(sockopt::borrow(fd)?)?;
        // Inode numbers of other file systems mean other things.
        match status.st_mode & libc::S_IFMT {
            libc::S_IFSOCK => Ok(Inode(status.st_ino as u32)),
            _ => Err(Error::Errno(Errno(libc::ENOTSOCK))),
        }
    }
}
