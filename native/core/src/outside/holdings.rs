//! The sockets that the processes of a scope hold, by network namespace.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use crate::linux::counters;
use crate::linux::namespace::{Namespace, beside};
use crate::outside::scope::{Gap, Missing, Owner, Scope};
use crate::reading::unix_table;
use crate::vm::find::{self, Candidate};
use crate::vm::{descriptors, epmd};
use crate::{Endpoint, Error, Inode, Listening};

/// Which process holds which sockets, by network namespace.
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

/// A process of the scope. Most of a machine's hold no listener: what they are is looked up when it is asked for.
struct Member {
    pid: i32,
    candidate: OnceLock<Arc<Candidate>>,
}

/// A socket that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HeldSocket {
    inode: Inode,
    member: usize,
    fd: RawFd,
}

/// Another descriptor of a socket costs its process nothing. From here on each socket of it is kept once.
const MANY: usize = 65_536;

/// Which of a namespace's listeners are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Takes {
    Held,
    HeldByNode(String),
    All,
    Port(u16),
}

/// The processes of the scope, and what they hold.
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
    // A gap of a process that was asked for by number is reported in any case.
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
                // It has ended meanwhile.
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
            if sockets.len() > MANY {
                sockets.sort_unstable();
                sockets.dedup_by_key(|&mut (inode, _)| inode);
                sockets.shrink_to_fit();
            }
            // The namespace of a process without sockets is not needed.
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
            // It has ended meanwhile.
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
    /// What it is; `None`: it has ended, or may not be read.
    fn candidate(&self) -> Option<Arc<Candidate>> {
        if let Some(candidate) = self.candidate.get() {
            return Some(Arc::clone(candidate));
        }
        let candidate = Arc::new(find::by_pid(self.pid).ok()?);
        Some(Arc::clone(self.candidate.get_or_init(|| candidate)))
    }
}

impl Place {
    /// `None`: listeners of other ports, or of none, are wanted as well.
    pub(crate) fn only_port(&self) -> Option<u16> {
        match self.takes {
            Takes::Port(port) => Some(port),
            Takes::Held | Takes::HeldByNode(_) | Takes::All => None,
        }
    }

    /// A BEAM whose command line names no node may have become one since. epmd knows it by the port at which it listens for
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

    pub(crate) fn has_node(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.candidate().is_some_and(|candidate| candidate.is_node(name)))
    }

    pub(crate) fn is_own(&self) -> Result<bool, Error> {
        Ok(Namespace::own()? == self.namespace)
    }

    /// Runs `act` there.
    pub(crate) fn inside<T: Send>(&self, act: impl Fn() -> Result<T, Error> + Sync) -> Result<T, Error> {
        if self.is_own()? {
            return act();
        }
        self.by_any(|pid| beside(pid, &act))?.ok_or(Error::NotFound)
    }

    /// Reads files of this place without entering it: those of any process there.
    pub(crate) fn in_files<T>(&self, mut read: impl FnMut(i32) -> Result<T, Error>) -> Result<T, Error> {
        if self.is_own()? {
            return read(std::process::id() as i32);
        }
        self.by_any(read)?.ok_or(Error::NotFound)
    }

    /// Any of its processes will do, for one may have ended; `None`: there is none.
    fn by_any<T>(&self, mut ask: impl FnMut(i32) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut refusal = None;
        for process in &self.members {
            match ask(process.pid) {
                // What is too long is the namespace's, and the same for each of them.
                Err(Error::Truncated) => return Err(Error::Truncated),
                Err(error) => refusal = Some(error),
                Ok(answer) => return Ok(Some(answer)),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    /// `ListenOverflows` there, where it may be entered.
    pub(crate) fn listen_overflows(&self) -> Option<u64> {
        self.inside(counters::listen_overflows).ok()?
    }

    /// Whether a socket is to be judged: one that no process of the scope holds is not, though it may share an address with
    /// one that is.
    pub(crate) fn has(&self, socket: Inode) -> bool {
        match self.takes {
            Takes::All | Takes::Port(_) => true,
            Takes::Held | Takes::HeldByNode(_) => !self.held(socket).is_empty(),
        }
    }

    /// The processes that own a listener with these sockets; `None`: it is not wanted.
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

    /// Those who hold a Unix socket that listens: the kernel refused to list these.
    pub(crate) fn unread_unix(&self) -> Result<Vec<Gap>, Error> {
        let listening = self.by_any(unix_table::listening)?.unwrap_or_default();
        let holders = listening.iter().flat_map(|&inode| self.held(inode)).map(|held| held.member);
        let holders: BTreeSet<_> = holders.collect();
        let gap = |member: usize| Some(Gap { process: self.members[member].candidate()?, missing: Missing::Unix });
        Ok(holders.into_iter().filter_map(gap).collect())
    }

    /// The descriptors of this socket.
    fn held(&self, inode: Inode) -> &[HeldSocket] {
        let begin = self.held.partition_point(|held| held.inode < inode);
        let length = self.held[begin..].partition_point(|held| held.inode == inode);
        &self.held[begin..begin + length]
    }

    /// Nothing there could be read. In the namespace of this thread that is an error of the whole.
    pub(crate) fn refused(&self, error: Error) -> Result<Vec<Gap>, Error> {
        if self.members.is_empty() || self.is_own()? {
            return Err(error);
        }
        Ok(self.gaps(Missing::Namespace(error)))
    }

    /// That something is missing of each of its processes.
    pub(crate) fn gaps(&self, missing: Missing) -> Vec<Gap> {
        self.members.iter().filter_map(|member| Some(Gap { process: member.candidate()?, missing })).collect()
    }
}
