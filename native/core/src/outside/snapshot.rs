//! The accept queues of other processes, once: which process owns each, and what is in it.
//!
//! The kernel's tables say which connections are where, and `/proc` says which process holds a socket: a listener belongs to each
//! process that has a descriptor of it. The listeners of a process in another network namespace are read there, or through its
//! files where that is not allowed. What could not be read is reported as a [`Gap`], and never left out in silence.
//!
//! Cost: a walk over `/proc` and the descriptors of the processes, and one over the tables of each namespace.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::linux::diag::DiagSocket;
use crate::outside::holdings::{Holdings, Place, holdings};
use crate::reading::queue::Queue;
use crate::reading::survey::{listening_through, survey_some};
use crate::reading::tcp_table::{self, PartialQueue};
use crate::vm::find;
use crate::{Endpoint, Error, Listening};

pub use crate::outside::scope::{Gap, Missing, Owned, Owner, Scope};

/// Everything in the scope, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The queues, by namespace and address.
    pub queues: Vec<Owned>,
    /// Those of which less is known, by namespace and address.
    pub partial: Vec<Owned<PartialQueue>>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Reads the tables of each namespace, and the descriptors of the processes, once. [`Error::NotFound`] where there is
/// no such process or node.
pub fn take(scope: &Scope) -> Result<Snapshot, Error> {
    let Holdings { mut places, gaps } = holdings(scope)?;
    let mut snapshot = Snapshot { queues: Vec::new(), partial: Vec::new(), gaps };
    for place in &mut places {
        match place.open().and_then(|mut diag| Ok((place.survey(&mut diag)?, place.unread_unix(&diag)?))) {
            Ok((queues, gaps)) => {
                snapshot.queues.extend(queues);
                snapshot.gaps.extend(gaps);
            }
            // In this thread's own namespace, too, the files say something.
            Err(Error::Unsupported) if place.is_own()? => {
                let (partial, gaps) = place.without_diag()?;
                snapshot.gaps.extend(gaps);
                snapshot.partial.extend(partial);
            }
            Err(error) => match place.partial() {
                Ok(partial) if !place.is_own()? => {
                    snapshot.partial.extend(partial);
                    snapshot.gaps.extend(
                        place.refused(error)?.into_iter().map(|gap| Gap { missing: Missing::Part(error), ..gap }),
                    );
                }
                _ => snapshot.gaps.extend(place.refused(error)?),
            },
        }
    }
    let is_there = match scope {
        Scope::Process(_) => !places.is_empty(),
        Scope::Node(name) => places.iter().any(|place| place.has_node(name)),
        Scope::Beams | Scope::All | Scope::Port(_) => true,
    };
    if !is_there && snapshot.gaps.is_empty() {
        return Err(Error::NotFound);
    }
    snapshot.queues.sort_by(|one, other| one.place().cmp(&other.place()));
    snapshot.partial.sort_by_key(|owned| (owned.namespace, owned.queue.address));
    Ok(snapshot)
}

impl Place {
    /// Every wanted queue: a dump of the listeners, and a census of the wanted ones.
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

    /// What the files say in this thread's namespace, and of whom it is not all: of this process where no owner is known.
    fn without_diag(&self) -> Result<(Vec<Owned<PartialQueue>>, Vec<Gap>), Error> {
        let partial = self.partial()?;
        let owners = partial.iter().flat_map(|owned| &owned.owners);
        let mut of: BTreeMap<_, _> = owners.map(|owner| (owner.process.pid, Arc::clone(&owner.process))).collect();
        if of.is_empty() {
            let own = find::by_pid(std::process::id() as i32)?;
            of.insert(own.pid, Arc::new(own));
        }
        let gaps = of.into_values().map(|process| Gap { process, missing: Missing::Diag }).collect();
        Ok((partial, gaps))
    }

    /// What the files of a process there say without entering.
    fn partial(&self) -> Result<Vec<Owned<PartialQueue>>, Error> {
        let owned = |queue: PartialQueue| {
            let owners = self.owners(&Endpoint::Tcp(queue.address), queue.sockets.iter().copied())?;
            Some(Owned { namespace: self.namespace, owners, queue })
        };
        let partial = match self.by_any(tcp_table::read)? {
            Some(partial) => partial,
            // No process of the scope is there; this one may be.
            None if self.is_own()? => tcp_table::read(std::process::id() as i32)?,
            None => Vec::new(),
        };
        Ok(partial.into_iter().filter_map(owned).collect())
    }
}
