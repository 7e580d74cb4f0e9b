//! The accept queues of other processes, once: which process owns each, and what is in it.
//!
//! The kernel's tables say which connections are where, and `/proc` says which process holds a socket: a listener belongs to each
//! process that has a descriptor of it. The listeners of a process in another network namespace are read there, or through its
//! files where that is not allowed. What could not be read is reported as a [`Gap`], and never left out in silence.
//!
//! Cost: a walk over `/proc` and the descriptors of the processes, and one over the tables of each namespace.

use std::collections::HashSet;

use crate::outside::holdings::{Holdings, Place, holdings};
use crate::outside::source::Source;
use crate::reading::queue::Queue;
use crate::rules::detector::Time;
use crate::{Error, Listening};

pub use crate::outside::scope::{Gap, Missing, Owned, Owner, Scope};

/// Everything in the scope, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The queues, by namespace and address.
    pub queues: Vec<Owned>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Reads the tables of each namespace, and the descriptors of the processes, once. [`Error::NotFound`] where there is
/// no such process or node.
pub fn take(scope: &Scope) -> Result<Snapshot, Error> {
    let Holdings { mut places, gaps } = holdings(scope)?;
    let mut snapshot = Snapshot { queues: Vec::new(), gaps };
    for place in &mut places {
        match place.survey() {
            Ok((queues, gaps)) => {
                snapshot.queues.extend(queues);
                snapshot.gaps.extend(gaps);
            }
            Err(error) => snapshot.gaps.extend(place.refused(error)?),
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
    Ok(snapshot)
}

impl Place {
    /// Every wanted queue, and what is missing: a reading of the listeners, and a census of the wanted ones.
    fn survey(&mut self) -> Result<(Vec<Owned>, Vec<Gap>), Error> {
        let mut source = Source::open(self)?;
        let listening = source.listening(self, Time::ZERO)?;
        self.learn_names(&listening);
        let is_wanted = |socket: &&Listening| self.owners(&socket.endpoint, [socket.inode].into_iter()).is_some();
        let wanted: HashSet<_> = listening.iter().filter(is_wanted).map(|socket| &socket.endpoint).collect();
        let queues = source.survey(self, &wanted.into_iter().collect::<Vec<_>>())?;
        let owned = |queue: Queue| {
            let owners = self.owners(&queue.endpoint, queue.sockets.iter().map(|&(_, inode)| inode))?;
            Some(Owned { namespace: self.namespace, owners, queue })
        };
        let queues: Vec<_> = queues.into_iter().filter_map(owned).collect();
        let gaps = source.missing(self, queues.iter().flat_map(|owned| &owned.owners))?;
        Ok((queues, gaps))
    }
}
