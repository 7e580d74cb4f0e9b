//! Whether a process accepts on a listener, from the epoll sets of the BEAMs that hold it.
//!
//! Reading the sets of a process takes at most a hundredth of the time.

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accept_queue_core::outside::snapshot::Owner;
use accept_queue_core::rules::detector::Time;
use accept_queue_core::vm::descriptors;
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::vm::pollset::{self, Accepting, Registration};
use accept_queue_core::{Cookie, Error, Inode};

/// The sockets of a listener, and the processes that own it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a> {
    pub(crate) owners: &'a [Owner],
    pub(crate) sockets: &'a [(Cookie, Inode)],
}

/// A listening socket in the epoll sets of its owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EpollState {
    pub(crate) socket: Inode,
    /// Where it was found.
    pub(crate) found: Vec<(Arc<Candidate>, Registration)>,
    /// What that means; `None`: an owner is no BEAM, or could not be read.
    pub(crate) accepting: Option<Accepting>,
}

/// The epoll sets of the BEAMs in the scope, by process.
#[derive(Debug, Default)]
pub(crate) struct EpollReader(HashMap<i32, Known>);

/// What is known of one process.
#[derive(Debug, Default)]
struct Known {
    epolls: Throttled<Vec<RawFd>>,
    registrations: Throttled<HashMap<Inode, Vec<Registration>>>,
}

/// A BEAM makes its sets when it starts.
const FIND_AGAIN: Duration = Duration::from_secs(5);

impl EpollReader {
    /// Of the sockets of each listener.
    pub(crate) fn read(&mut self, at: Time, listeners: &[Held<'_>]) -> Vec<Vec<EpollState>> {
        let mut wanted: HashMap<i32, Vec<(Inode, Option<RawFd>)>> = HashMap::new();
        for listener in listeners {
            for owner in listener.owners.iter().filter(|owner| owner.process.is_beam) {
                let number = (listener.sockets.len() == 1).then_some(owner.fd);
                let sockets = listener.sockets.iter().map(|&(_, inode)| (inode, number));
                wanted.entry(owner.process.pid).or_default().extend(sockets);
            }
        }
        self.0.retain(|pid, _| wanted.contains_key(pid));
        for (&pid, sockets) in &wanted {
            self.0.entry(pid).or_default().read(at, pid, sockets);
        }
        listeners
            .iter()
            .map(|listener| listener.sockets.iter().map(|&(_, inode)| self.state(listener, inode)).collect())
            .collect()
    }

    fn state(&self, listener: &Held<'_>, socket: Inode) -> EpollState {
        let mut found = Vec::new();
        let mut is_known_of_all = !listener.owners.is_empty();
        for owner in listener.owners {
            match self.0.get(&owner.process.pid).and_then(|known| known.registrations(socket)) {
                Some(theirs) => {
                    found.extend(theirs.iter().map(|&registration| (Arc::clone(&owner.process), registration)));
                }
                None => is_known_of_all = false,
            }
        }
        let registrations: Vec<_> = found.iter().map(|&(_, registration)| registration).collect();
        let accepting = (is_known_of_all || !found.is_empty()).then(|| Accepting::of(&registrations));
        EpollState { socket, found, accepting }
    }
}

impl Known {
    fn read(&mut self, at: Time, pid: i32, sockets: &[(Inode, Option<RawFd>)]) {
        self.epolls.ask(at, FIND_AGAIN, || descriptors::epolls(pid));
        let Some(epolls) = &self.epolls.answer else { return self.registrations = Throttled::default() };
        self.registrations.ask(at, Duration::ZERO, || {
            let sets = pollset::read(pid, epolls, sockets)?;
            let of = |&(socket, fd)| (socket, pollset::registrations(&sets, socket, fd));
            Ok(sockets.iter().collect::<HashSet<_>>().into_iter().map(of).collect())
        });
    }

    /// `None`: it is not known.
    fn registrations(&self, socket: Inode) -> Option<&Vec<Registration>> {
        let polls_some_other_way = self.epolls.answer.as_ref()?.is_empty();
        if polls_some_other_way { None } else { self.registrations.answer.as_ref()?.get(&socket) }
    }
}

/// An answer that may cost much: it is asked for so seldom that this takes no more than a hundredth of the time.
#[derive(Debug)]
struct Throttled<T> {
    answer: Option<T>,
    again_at: Time,
}

impl<T> Default for Throttled<T> {
    fn default() -> Throttled<T> {
        Throttled { answer: None, again_at: Time::ZERO }
    }
}

impl<T> Throttled<T> {
    fn ask(&mut self, at: Time, every: Duration, ask: impl FnOnce() -> Result<T, Error>) {
        if at >= self.again_at {
            let begun = Instant::now();
            self.answer = ask().ok();
            self.again_at = at + (begun.elapsed() * 100).max(every);
        }
    }
}
