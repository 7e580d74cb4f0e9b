//! The accept queues of other processes: whose they are, and what stands in them. For whoever looks from outside.
//!
//! The kernel's tables say who stands where, and `/proc` says who holds the sockets: a listener belongs to each process that
//! has a descriptor of it. A process in another network namespace is looked at in its own. What could not be read is told as
//! a [`Gap`], and never left out in silence.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::address::Endpoint;
use crate::diag::DiagSocket;
use crate::survey::{Queue, survey_through};
use crate::vm::find::{self, Candidate};
use crate::vm::namespace::{Namespace, diag_beside};
use crate::{Error, Inode};

/// Whose listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of every process that runs a BEAM.
    Beams,
    /// Those of every process, and in this thread's network namespace also those that no process was seen to hold.
    Everybody,
    /// Those of one process, whatever it runs.
    Process(i32),
    /// Those of the BEAMs that run a node of this name.
    Node(String),
    /// Those on this port in this thread's network namespace; whose they are is not looked up.
    Port(u16),
}

/// A process that holds a descriptor of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub process: Arc<Candidate>,
    /// The number of its descriptor.
    pub fd: RawFd,
}

/// A queue, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Where the address means what it says.
    pub namespace: Namespace,
    /// Every process of the scope that holds it, by number; several where a server forks.
    pub owners: Vec<Owner>,
    /// The queue.
    pub queue: Queue,
}

/// What could not be read of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Of whom.
    pub process: Arc<Candidate>,
    /// What, and why.
    pub missing: Missing,
}

/// Something that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Which sockets it holds.
    #[error("its descriptors could not be read ({0}); run as its user, or with CAP_SYS_PTRACE")]
    Sockets(Error),
    /// Its network namespace.
    #[error("its network namespace could not be entered ({0}); CAP_SYS_ADMIN would allow it")]
    Namespace(Error),
}

/// One look at everything in the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The queues, by namespace and address.
    pub queues: Vec<Owned>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Looks once: one walk over the tables of each namespace, and one over the descriptors of the processes.
pub fn snapshot(scope: &Scope) -> Result<Snapshot, Error> {
    let Holdings { mut places, mut gaps } = holdings(scope)?;
    let mut queues = Vec::new();
    for place in &mut places {
        match place.open().and_then(|mut diag| survey_through(&mut diag)) {
            Ok(found) => queues.extend(found.into_iter().filter_map(|queue| {
                let owners = place.owners(&queue.endpoint, queue.sockets.iter().map(|&(_, inode)| inode))?;
                Some(Owned { namespace: place.namespace, owners, queue })
            })),
            Err(error) => gaps.extend(place.refused(error)?),
        }
    }
    queues.sort_by(|one, other| one.place().cmp(&other.place()));
    Ok(Snapshot { queues, gaps })
}

impl Owned {
    /// What tells it from every other.
    pub fn place(&self) -> (Namespace, &Endpoint) {
        (self.namespace, &self.queue.endpoint)
    }
}

/// Who holds which sockets, by network namespace.
pub(crate) struct Holdings {
    pub(crate) places: Vec<Place>,
    pub(crate) gaps: Vec<Gap>,
}

/// A network namespace, and those of its processes that are in the scope.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    processes: Vec<Arc<Candidate>>,
    holders: HashMap<Inode, Vec<Owner>>,
    takes: Takes,
}

/// Which of a namespace's listeners are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Held,
    All,
    Port(u16),
}

/// Whoever is in the scope, and what they hold.
pub(crate) fn holdings(scope: &Scope) -> Result<Holdings, Error> {
    let own = Namespace::own()?;
    let mut found = Holdings { places: Vec::new(), gaps: Vec::new() };
    let processes = match scope {
        Scope::Process(pid) => vec![find::by_pid(*pid)?],
        Scope::Port(port) => {
            found.place(own, Takes::Port(*port));
            Vec::new()
        }
        Scope::Everybody => {
            found.place(own, Takes::All);
            find::candidates()?
        }
        Scope::Beams => find::candidates()?.into_iter().filter(|process| process.is_beam).collect(),
        Scope::Node(name) => {
            find::candidates()?.into_iter().filter(|process| process.is_beam && process.is_node(name)).collect()
        }
    };
    for process in processes {
        found.add(Arc::new(process));
    }
    Ok(found)
}

impl Holdings {
    fn add(&mut self, process: Arc<Candidate>) {
        match find::sockets(process.pid).and_then(|held| Ok((held, Namespace::of(process.pid)?))) {
            Ok((held, namespace)) => {
                let place = self.place(namespace, Takes::Held);
                for (inode, fd) in held {
                    place.holders.entry(inode).or_default().push(Owner { process: Arc::clone(&process), fd });
                }
                place.processes.push(process);
            }
            // It ended while we looked.
            Err(Error::NotFound) => {}
            Err(error) => self.gaps.push(Gap { process, missing: Missing::Sockets(error) }),
        }
    }

    fn place(&mut self, namespace: Namespace, takes: Takes) -> &mut Place {
        let index = match self.places.iter().position(|place| place.namespace == namespace) {
            Some(index) => index,
            None => {
                self.places.push(Place { namespace, processes: Vec::new(), holders: HashMap::new(), takes });
                self.places.len() - 1
            }
        };
        &mut self.places[index]
    }
}

impl Place {
    /// A netlink socket there.
    pub(crate) fn open(&self) -> Result<DiagSocket, Error> {
        // Any of its processes will do; one may have ended.
        let mut refusal = None;
        for process in &self.processes {
            match diag_beside(process.pid) {
                Err(error) => refusal = Some(error),
                opened => return opened,
            }
        }
        refusal.map_or_else(DiagSocket::open, Err)
    }

    /// Whose a listener with these sockets is; `None`: it is not wanted.
    pub(crate) fn owners(&self, endpoint: &Endpoint, sockets: impl Iterator<Item = Inode>) -> Option<Vec<Owner>> {
        let mut owners: Vec<_> = sockets.filter_map(|inode| self.holders.get(&inode)).flatten().cloned().collect();
        owners.sort_by_key(|owner| owner.process.pid);
        owners.dedup_by_key(|owner| owner.process.pid);
        let wanted = match self.takes {
            Takes::Held => !owners.is_empty(),
            Takes::All => true,
            Takes::Port(port) => matches!(endpoint, Endpoint::Tcp(address) if address.port == port),
        };
        wanted.then_some(owners)
    }

    /// Nobody there could be looked at. In the namespace of this thread that is an error of the whole.
    pub(crate) fn refused(&self, error: Error) -> Result<Vec<Gap>, Error> {
        if self.processes.is_empty() || Namespace::own()? == self.namespace {
            return Err(error);
        }
        let gap = |process: &Arc<Candidate>| Gap { process: Arc::clone(process), missing: Missing::Namespace(error) };
        Ok(self.processes.iter().map(gap).collect())
    }
}
