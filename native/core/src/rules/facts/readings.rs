//! What is read of a process: repeatedly, and once.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::rules::detector::Time;
use crate::vm::open_files::Descriptors;
use crate::vm::pollset::Registration;
use crate::vm::process::{Frozen, Process};
use crate::vm::stack::Frame;
use crate::vm::threads::Threads;
use crate::{Census, Depth, Endpoint, Error, Inode, Members};

/// One reading of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessReading {
    /// When.
    pub at: Time,
    /// Whether it runs.
    pub process: Process,
    /// What its threads do.
    pub threads: Threads,
    /// The queues of its listeners.
    pub queues: Vec<QueueReading>,
}

/// One reading of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueReading {
    /// Of which listener.
    pub endpoint: Endpoint,
    /// The sockets of this process that share the address.
    pub sockets: Members<SocketReading>,
    /// The census of the address, if one was taken.
    pub census: Option<Census>,
}

/// One reading of a listening socket.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketReading {
    /// Which descriptor of the process.
    pub member: Member,
    /// How deep its queue is.
    pub depth: Depth,
    /// Its entries in the epoll sets of the process, if they were read.
    pub registrations: Option<Vec<Registration>>,
}

/// A socket of a process, as the process and `/proc` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its descriptor.
    pub fd: RawFd,
    /// Its inode.
    pub inode: Inode,
}

/// What is read once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Circumstances {
    /// It runs a BEAM.
    pub is_beam: bool,
    /// Whether its control group is frozen; `None`: not known.
    pub frozen: Option<Frozen>,
    /// Descriptors, used and allowed.
    pub descriptors: Option<Descriptors>,
    /// Of its network namespace.
    pub somaxconn: Option<u64>,
    /// Of threads that did not move, by number.
    pub unmoved: HashMap<i32, Unmoved>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A thread that did not move between two readings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unmoved {
    /// The calls that it waits in; `None` where its stack could not be read.
    pub frames: Option<Vec<Frame>>,
    /// Since it was on a processor; `None` where the kernel does not say.
    pub ran_ago: Option<Duration>,
}

/// Something that could not be read, with the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Which sockets it holds, and so which listeners are its own.
    Sockets(Error),
    /// Its network namespace.
    Namespace(Error),
    /// Its queues: the kernel or a sandbox has no sock_diag for TCP.
    Diag,
    /// Its Unix sockets: the kernel has no unix_diag.
    Unix,
    /// The kernel's table of sockets.
    Queues(Error),
    /// Its epoll sets.
    Pollsets(Error),
    /// The system calls of its threads.
    Calls(Error),
    /// The stacks of its threads.
    Stacks(Error),
    /// There are more threads than are read.
    Threads,
}

impl Unread {
    /// Without it, that all is well cannot be said.
    pub fn is_vital(&self) -> bool {
        !matches!(self, Unread::Stacks(_) | Unread::Threads | Unread::Calls(_))
    }
}
