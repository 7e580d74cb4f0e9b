//! The processes whose listeners are asked for, and what cannot be read of them.

use std::os::fd::RawFd;
use std::sync::Arc;

use crate::linux::namespace::Namespace;
use crate::reading::queue::Queue;
use crate::vm::find::Candidate;
use crate::{Endpoint, Error};

/// The listeners of which processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of every process that runs a BEAM.
    Beams,
    /// Those of every process, and in this thread's network namespace also those that no process is known to hold.
    All,
    /// Those of one process, whatever it runs.
    Process(i32),
    /// Those of the BEAMs that run a node of this name.
    Node(String),
    /// Those on this port in this thread's network namespace; their owners are not looked up.
    Port(u16),
}

/// A process that holds a descriptor of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub process: Arc<Candidate>,
    /// The number of its descriptor.
    pub fd: RawFd,
}

/// A queue, and the processes that own it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned<Q = Queue> {
    /// The network namespace of its address.
    pub namespace: Namespace,
    /// Every process of the scope that holds it, by number; several where a server forks.
    pub owners: Vec<Owner>,
    /// The queue.
    pub queue: Q,
}

/// What could not be read of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The process.
    pub process: Arc<Candidate>,
    /// What, and why.
    pub missing: Missing,
}

/// Something that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// What it runs.
    #[error(
        "its command line could not be read ({0}), so that it may be a BEAM; run as its user or with sudo, or with CAP_SYS_PTRACE"
    )]
    CommandLine(Error),
    /// Which sockets it holds.
    #[error(
        "its descriptors could not be read ({0}); run as its user or with sudo, or with CAP_SYS_PTRACE and \
         CAP_DAC_READ_SEARCH"
    )]
    Sockets(Error),
    /// Everything in its network namespace.
    #[error("its network namespace could not be entered ({0}); CAP_SYS_ADMIN would allow it")]
    Namespace(Error),
    /// Its Unix sockets.
    #[error("its Unix sockets could not be read: this kernel has no unix_diag (CONFIG_UNIX_DIAG)")]
    Unix,
    /// All that `/proc/net/tcp` does not say of its queues, for the kernel tells no more.
    #[error(
        "of its queues no limit and no drops are known, waits only while they are watched, and nothing of its Unix sockets: \
         this kernel or sandbox has no sock_diag for TCP (modules inet_diag and tcp_diag)"
    )]
    Diag,
    /// All that `/proc/net/tcp` does not say of its queues.
    #[error(
        "its network namespace could not be entered ({0}): of its queues no limit and no drops are known, waits only while \
         they are watched, and nothing of its Unix sockets; CAP_SYS_ADMIN would allow it"
    )]
    Part(Error),
}

impl Missing {
    /// Its queues are read from files that say less.
    pub fn is_partial(&self) -> bool {
        matches!(self, Missing::Diag | Missing::Part(_))
    }
}

impl Owned {
    /// What identifies it: no other queue has both.
    pub fn place(&self) -> (Namespace, &Endpoint) {
        (self.namespace, &self.queue.endpoint)
    }
}
