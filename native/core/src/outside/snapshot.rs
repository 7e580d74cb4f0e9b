//! The accept queues of other processes: whose they are, and what stands in them. For whoever looks from outside.
//!
//! The kernel's tables say who stands where, and `/proc` says who holds the sockets: a listener belongs to each process that
//! has a descriptor of it. A process in another network namespace is looked at in its own, or through its files where that
//! is not allowed. What could not be read is told as a [`Gap`], and never left out in silence.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use crate::address::Endpoint;
use crate::linux::diag::DiagSocket;
use crate::linux::namespace::{Namespace, beside};
use crate::reading::queue::Queue;
use crate::reading::survey::{Listening, listening_through, survey_some};
use crate::reading::tcp_table::{self, PartialQueue};
use crate::vm::find::{self, Candidate};
use crate::vm::{descriptors, epmd};
use crate::{Error, Inode};

/// Whose listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of every process that runs a BEAM.
    Beams,
    /// Those of every process, and in this thread's network namespace also those that no process was seen to hold.
    All,
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
    /// Of whom.
    pub process: Arc<Candidate>,
    /// What, and why.
    pub missing: Missing,
}

/// Something that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// What it runs.
    #[error(
        "its command line could not be read ({0}), so that it may be a BEAM; run as its user, or with CAP_SYS_PTRACE"
    )]
    CommandLine(Error),
    /// Which sockets it holds.
    #[error("its descriptors could not be read ({0}); run as its user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")]
    Sockets(Error),
    /// Everything in its network namespace.
    #[error("its network namespace could not be entered ({0}); CAP_SYS_ADMIN would allow it")]
    Namespace(Error),
    /// All but a [`PartialQueue`] of its queues.
    #[error(
        "its network namespace could not be entered ({0}): of its queues no limit, drops and waits are known, and nothing \
         of its Unix sockets; CAP_SYS_ADMIN would allow it"
    )]
    Part(Error),
}

/// One look at everything in the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The queues, by namespace and address.
    pub queues: Vec<Owned>,
    /// Those of which less is known, by namespace and address.
    pub partial: Vec<Owned<PartialQueue>>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Looks once: at the tables of each namespace, and at the descriptors of the processes. [`Error::NotFound`] where there is
/// no such process or node.
pub fn take(scope: &Scope) -> Result<Snapshot, Error> {
    let Holdings { mut places, gaps } = holdings(scope)?;
    let mut seen = Snapshot { queues: Vec::new(), partial: Vec::new(), gaps };
    for place in &mut places {
        match place.open().and_then(|mut diag| place.survey(&mut diag)) {
            Ok(queues) => seen.queues.extend(queues),
            Err(error) => match place.partial() {
                Ok(partial) if !place.is_own()? => {
                    seen.partial.extend(partial);
                    seen.gaps.extend(
                        place.refused(error)?.into_iter().map(|gap| Gap { missing: Missing::Part(error), ..gap }),
                    );
                }
                _ => seen.gaps.extend(place.refused(error)?),
            },
        }
    }
    let is_there = match scope {
        Scope::Process(_) => !places.is_empty(),
        Scope::Node(name) => places.iter().any(|place| place.has_node(name)),
        Scope::Beams | Scope::All | Scope::Port(_) => true,
    };
    if !is_there && seen.gaps.is_empty() {
        return Err(Error::NotFound);
    }
    seen.queues.sort_by(|one, other| one.place().cmp(&other.place()));
    seen.partial.sort_by_key(|owned| (owned.namespace, owned.queue.address));
    Ok(seen)
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
    members: Vec<Member>,
    /// By inode. A machine may have a hundred thousand.
    held: Vec<HeldSocket>,
    takes: Takes,
    has_asked_epmd: bool,
}

/// A process of the scope. Most of a machine's hold no listener, and nobody asks what they are.
struct Member {
    pid: i32,
    candidate: OnceLock<Arc<Candidate>>,
}

/// A socket in the hands of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HeldSocket {
    inode: Inode,
    member: usize,
    fd: RawFd,
}

/// Which of a namespace's listeners are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Takes {
    Held,
    HeldByNode(String),
    All,
    Port(u16),
}

/// Whoever is in the scope, and what they hold.
pub(crate) fn holdings(scope: &Scope) -> Result<Holdings, Error> {
    let own = Namespace::own()?;
    let mut found = Holdings { places: Vec::new(), gaps: Vec::new() };
    match scope {
        Scope::Process(pid) => match find::by_pid(*pid) {
            Ok(process) => found.add(Member::from(process), &Takes::Held),
            Err(Error::NotFound) => return Err(Error::NotFound),
            Err(error) => found.miss(Member::from(Candidate::unknown(*pid)), Missing::CommandLine(error)),
        },
        Scope::Port(port) => {
            found.place(own, &Takes::Port(*port));
        }
        Scope::All => {
            found.place(own, &Takes::All);
            find::pids()?.for_each(|pid| found.add(Member { pid, candidate: OnceLock::new() }, &Takes::Held));
        }
        Scope::Beams => found.add_beams(|_| true, &Takes::Held)?,
        // A node may have got its name later than its command line; then epmd knows it.
        Scope::Node(name) => {
            found.add_beams(|beam| !beam.is_named || beam.is_node(name), &Takes::HeldByNode(name.clone()))?;
        }
    }
    // Whoever was asked for by number is told of in any case.
    if !matches!(scope, Scope::Process(_)) {
        found.gaps.retain(|gap| !find::holds_nothing(gap.process.pid));
    }
    for place in &mut found.places {
        place.held.sort_unstable();
    }
    Ok(found)
}

impl Holdings {
    fn add_beams(&mut self, is_wanted: impl Fn(&Candidate) -> bool, takes: &Takes) -> Result<(), Error> {
        for pid in find::pids()? {
            match find::beam(pid) {
                Ok(Some(beam)) if is_wanted(&beam) => self.add(Member::from(beam), takes),
                // It ended while we looked.
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => self.miss(Member { pid, candidate: OnceLock::new() }, Missing::CommandLine(error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, process: Member, takes: &Takes) {
        let mut sockets = Vec::new();
        let pid = process.pid;
        let namespace = descriptors::sockets(pid, |inode, fd| sockets.push((inode, fd))).and_then(|()| {
            // Whoever holds no socket need not be asked where.
            if sockets.is_empty() && process.candidate.get().is_none() {
                Ok(None)
            } else {
                Namespace::of(pid).map(Some)
            }
        });
        match namespace {
            Ok(Some(namespace)) => {
                let place = self.place(namespace, takes);
                let member = place.members.len();
                place.held.extend(sockets.into_iter().map(|(inode, fd)| HeldSocket { inode, member, fd }));
                place.members.push(process);
            }
            // It ended while we looked.
            Ok(None) | Err(Error::NotFound) => {}
            Err(error) => self.miss(process, Missing::Sockets(error)),
        }
    }

    fn miss(&mut self, process: Member, missing: Missing) {
        let unknown = || Arc::new(Candidate::unknown(process.pid));
        self.gaps.push(Gap { process: process.candidate().unwrap_or_else(unknown), missing });
    }

    fn place(&mut self, namespace: Namespace, takes: &Takes) -> &mut Place {
        let index = match self.places.iter().position(|place| place.namespace == namespace) {
            Some(index) => index,
            None => {
                let takes = takes.clone();
                self.places.push(Place {
                    namespace,
                    members: Vec::new(),
                    held: Vec::new(),
                    takes,
                    has_asked_epmd: false,
                });
                self.places.len() - 1
            }
        };
        &mut self.places[index]
    }
}

impl From<Candidate> for Member {
    fn from(candidate: Candidate) -> Member {
        Member { pid: candidate.pid, candidate: OnceLock::from(Arc::new(candidate)) }
    }
}

impl Member {
    /// What it is; `None`: it has ended, or does not tell.
    fn candidate(&self) -> Option<Arc<Candidate>> {
        if let Some(candidate) = self.candidate.get() {
            return Some(Arc::clone(candidate));
        }
        let candidate = Arc::new(find::by_pid(self.pid).ok()?);
        Some(Arc::clone(self.candidate.get_or_init(|| candidate)))
    }
}

impl Place {
    /// A netlink socket there.
    pub(crate) fn open(&self) -> Result<DiagSocket, Error> {
        self.inside(DiagSocket::open)
    }

    /// Every wanted queue: a dump of the listeners, and one of those who stand before the wanted ones.
    fn survey(&mut self, diag: &mut DiagSocket) -> Result<Vec<Owned>, Error> {
        let listening = listening_through(diag)?;
        self.learn_names(&listening);
        let is_wanted = |socket: &&Listening| self.owners(&socket.endpoint, [socket.inode].into_iter()).is_some();
        let wanted: HashSet<_> = listening.iter().filter(is_wanted).map(|socket| &socket.endpoint).collect();
        let queues = survey_some(diag, &wanted.into_iter().collect::<Vec<_>>())?;
        let owned = |queue: Queue| {
            let owners = self.owners(&queue.endpoint, queue.sockets.iter().map(|&(_, inode)| inode))?;
            Some(Owned { namespace: self.namespace, owners, queue })
        };
        Ok(queues.into_iter().filter_map(owned).collect())
    }

    /// What the files of a process there tell without entering.
    fn partial(&self) -> Result<Vec<Owned<PartialQueue>>, Error> {
        let owned = |queue: PartialQueue| {
            let owners = self.owners(&Endpoint::Tcp(queue.address), queue.sockets.iter().copied())?;
            Some(Owned { namespace: self.namespace, owners, queue })
        };
        let partial = self.by_any(tcp_table::read)?.unwrap_or_default();
        Ok(partial.into_iter().filter_map(owned).collect())
    }

    /// A BEAM whose command line tells no node may have become one since. epmd knows it by the port at which it listens for
    /// other nodes, and is asked once, where there is one that may be meant.
    pub(crate) fn learn_names(&mut self, listening: &[Listening]) {
        let unnamed = |member: usize| {
            self.members[member].candidate().is_some_and(|candidate| candidate.is_beam && !candidate.is_named)
        };
        let ports: Vec<(u16, usize)> = listening
            .iter()
            .filter_map(|socket| match socket.endpoint {
                Endpoint::Tcp(address) => Some((address.port, self.held(socket.inode))),
                Endpoint::Unix(_) => None,
            })
            .flat_map(|(port, held)| held.iter().map(move |held| (port, held.member)))
            .filter(|&(_, member)| unnamed(member))
            .collect();
        if ports.is_empty() || std::mem::replace(&mut self.has_asked_epmd, true) {
            return;
        }
        // Without an epmd it has no name.
        let Ok(nodes) = self.inside(epmd::nodes) else { return };
        for (port, member) in ports {
            if let Some((node, _)) = nodes.iter().find(|node| node.1 == port)
                && let Some(candidate) = self.members[member].candidate()
            {
                self.members[member] = Member::from(candidate.named(node));
            }
        }
    }

    fn has_node(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.candidate().is_some_and(|candidate| candidate.is_node(name)))
    }

    fn is_own(&self) -> Result<bool, Error> {
        Ok(Namespace::own()? == self.namespace)
    }

    /// Does something there.
    fn inside<T: Send>(&self, act: impl Fn() -> Result<T, Error> + Sync) -> Result<T, Error> {
        if self.is_own()? {
            return act();
        }
        self.by_any(|pid| beside(pid, &act))?.ok_or(Error::NotFound)
    }

    /// Any of its processes will do, for one may have ended; `None`: there is none.
    fn by_any<T>(&self, ask: impl Fn(i32) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut refusal = None;
        for process in &self.members {
            match ask(process.pid) {
                Err(error) => refusal = Some(error),
                Ok(answer) => return Ok(Some(answer)),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    /// Whose a listener with these sockets is; `None`: it is not wanted.
    pub(crate) fn owners(&self, endpoint: &Endpoint, sockets: impl Iterator<Item = Inode>) -> Option<Vec<Owner>> {
        let owner = |held: &HeldSocket| Some(Owner { process: self.members[held.member].candidate()?, fd: held.fd });
        let mut owners: Vec<_> = sockets.flat_map(|inode| self.held(inode)).filter_map(owner).collect();
        owners.sort_by_key(|owner| (owner.process.pid, owner.fd));
        owners.dedup_by_key(|owner| owner.process.pid);
        let wanted = match &self.takes {
            Takes::Held => !owners.is_empty(),
            Takes::HeldByNode(name) => {
                owners.retain(|owner| owner.process.is_node(name));
                !owners.is_empty()
            }
            Takes::All => true,
            Takes::Port(port) => matches!(endpoint, Endpoint::Tcp(address) if address.port == *port),
        };
        wanted.then_some(owners)
    }

    /// Who holds this socket.
    fn held(&self, inode: Inode) -> &[HeldSocket] {
        let begin = self.held.partition_point(|held| held.inode < inode);
        let length = self.held[begin..].partition_point(|held| held.inode == inode);
        &self.held[begin..begin + length]
    }

    /// Nobody there could be looked at. In the namespace of this thread that is an error of the whole.
    pub(crate) fn refused(&self, error: Error) -> Result<Vec<Gap>, Error> {
        if self.members.is_empty() || self.is_own()? {
            return Err(error);
        }
        let gap = |member: &Member| Some(Gap { process: member.candidate()?, missing: Missing::Namespace(error) });
        Ok(self.members.iter().filter_map(gap).collect())
    }
}
