//! Looks at one BEAM from outside, several times, and gathers the evidence for [`crate::rules::diagnosis`].
//!
//! The process is never stopped, attached to or signalled, and its memory is read only: a VM that is well does not notice.
//!
//! Cost of a look: four small files a thread, and a dump of the listeners of its namespace. The first look, one in the middle and the last
//! also walk the kernel's table of connections and read the epoll sets. Opening walks the descriptors of the process once.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::os::fd::RawFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Endpoint;
use crate::linux::counters;
use crate::linux::diag::DiagSocket;
use crate::linux::namespace::beside;
use crate::reading::survey::{listening_through, survey_through};
use crate::rules::detector::Time;
use crate::rules::evidence::{Circumstances, Evidence, Lack, QueueSight, Rest, Sight, still};
use crate::vm::find::{self, Candidate};
use crate::vm::process::{self, Process};
use crate::vm::stack::{self, Code, Origin};
use crate::vm::threads::{self, Call, Role};
use crate::vm::{calls, descriptors, open_files, pollset};
use crate::{Census, Depth, Error, Inode, Sum};

/// Looks at one process, and remembers what does not change between two looks.
pub struct Examiner {
    pid: i32,
    candidate: Candidate,
    began: u64,
    sockets: HashMap<Inode, RawFd>,
    epolls: Vec<RawFd>,
    diag: Option<DiagSocket>,
    lacks: Vec<Lack>,
}

/// How close to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closeness {
    /// At threads, and at how deep the queues are.
    Passing,
    /// Also at who stands in the queues, and at the epoll sets.
    Close,
}

/// Two looks are this far apart, or as far as it takes for [`MOST_LOOKS`].
const INTERVAL: Duration = Duration::from_millis(200);
const MOST_INTERVAL: Duration = Duration::from_millis(500);
const LEAST_LOOKS: u32 = 5;
/// Reading a stack waits for locks of the process's memory, and a file of its may be on a disk that does not answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Stacks beyond these are not read.
const MOST_STACKS: usize = 256;

/// Looks at a process throughout a time, and says what was seen. [`Error::NotFound`] where there is no such process, or it
/// has ended meanwhile.
pub fn examine(pid: i32, window: Duration) -> Result<(Candidate, Evidence), Error> {
    examine_while(pid, window, || true)
}

/// The same for as long as somebody wants it, which is asked before each look but the first: what was seen until then.
pub fn examine_while(
    pid: i32,
    window: Duration,
    mut is_wanted: impl FnMut() -> bool,
) -> Result<(Candidate, Evidence), Error> {
    let mut examiner = Examiner::open(pid)?;
    let begun = Instant::now();
    let interval =
        (window / LEAST_LOOKS).min(INTERVAL).max(window / 60).min(MOST_INTERVAL).max(Duration::from_millis(10));
    let steps = (window.as_secs_f64() / interval.as_secs_f64()).ceil().max(1.0) as u32;
    let mut sights = Vec::with_capacity(steps as usize + 1);
    for step in 0..=steps {
        if let Some(pause) = (interval * step).min(window).checked_sub(begun.elapsed()) {
            thread::sleep(pause);
        }
        if step > 0 && !is_wanted() {
            break;
        }
        let closeness = if [0, steps / 2, steps].contains(&step) { Closeness::Close } else { Closeness::Passing };
        sights.push(examiner.look(begun.elapsed(), closeness)?);
    }
    let circumstances = examiner.circumstances(&sights);
    Ok((examiner.candidate, Evidence::of(&sights, circumstances)))
}

impl Examiner {
    /// Finds its sockets, its epoll sets and its network namespace. What of these cannot be read is a [`Lack`], not an error.
    pub fn open(pid: i32) -> Result<Examiner, Error> {
        let candidate = find::by_pid(pid)?;
        let began = Process::read(pid)?.began;
        let mut lacks = Vec::new();
        let sockets = known(descriptors::by_inode(pid), Lack::Sockets, &mut lacks)?.unwrap_or_default();
        let epolls =
            if candidate.is_beam { known(descriptors::epolls(pid), Lack::Pollsets, &mut lacks)? } else { None };
        let diag = known(beside(pid, DiagSocket::open), Lack::Namespace, &mut lacks)?;
        Ok(Examiner { pid, candidate, began, sockets, epolls: epolls.unwrap_or_default(), diag, lacks })
    }

    /// Looks once.
    pub fn look(&mut self, at: Time, closeness: Closeness) -> Result<Sight, Error> {
        let process = Process::read(self.pid)?;
        if process.began != self.began {
            return Err(Error::NotFound);
        }
        let threads = threads::read(self.pid)?;
        let queues = match self.queues(closeness) {
            Ok(queues) => queues,
            Err(error) => {
                // The rest of an answer may still be in it.
                self.diag = None;
                self.lack(Lack::Queues(error));
                Vec::new()
            }
        };
        Ok(Sight { at, process, threads, queues })
    }

    fn queues(&mut self, closeness: Closeness) -> Result<Vec<QueueSight>, Error> {
        let Some(diag) = &mut self.diag else { return Ok(Vec::new()) };
        let found: Vec<Found> = match closeness {
            Closeness::Passing => by_endpoint(
                listening_through(diag)?.into_iter().map(|socket| (socket.endpoint, socket.inode, socket.depth)),
            ),
            Closeness::Close => survey_through(diag)?
                .into_iter()
                .map(|queue| {
                    let depth = queue.census.counts.depth();
                    (queue.endpoint, queue.sockets.iter().map(|&(_, inode)| inode).collect(), depth, Some(queue.census))
                })
                .collect(),
        };
        let own =
            found.into_iter().filter(|(_, inodes, _, _)| inodes.iter().any(|inode| self.sockets.contains_key(inode)));
        let own: Vec<_> = own.collect();
        let sets = match closeness {
            Closeness::Close if !self.epolls.is_empty() => match pollset::read(self.pid, &self.epolls) {
                Ok(sets) => Some(sets),
                Err(error) => {
                    self.lack(Lack::Pollsets(error));
                    None
                }
            },
            _ => None,
        };
        let registrations = |inodes: &[Inode]| {
            let sets = sets.as_ref()?;
            let of = |inode: &Inode| pollset::registrations(sets, *inode, self.sockets.get(inode).copied());
            Some(inodes.iter().filter(|inode| self.sockets.contains_key(inode)).flat_map(of).collect())
        };
        let mut queues: Vec<_> = own
            .into_iter()
            .map(|(endpoint, inodes, depth, look)| QueueSight {
                endpoint,
                depth,
                look,
                registrations: registrations(&inodes),
            })
            .collect();
        queues.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        Ok(queues)
    }

    /// What is read once, after the last look.
    pub fn circumstances(&mut self, sights: &[Sight]) -> Circumstances {
        let pid = self.pid;
        let refused =
            sights.last().into_iter().flat_map(|sight| &sight.threads.list).find_map(|thread| thread.call.err());
        if let Some(error) = refused {
            self.lack(Lack::Calls(error));
        }
        let still = resting(sights);
        let rests = match within(PATIENCE, move || rests(pid, &still)) {
            Ok(rests) => rests,
            Err(error) => {
                self.lack(Lack::Stacks(error));
                HashMap::new()
            }
        };
        Circumstances {
            is_beam: self.candidate.is_beam,
            frozen: process::is_frozen(pid).unwrap_or(None),
            descriptors: open_files::read(pid).ok(),
            somaxconn: counters::of(pid).ok().and_then(|kernel| kernel.somaxconn),
            rests,
            lacks: self.lacks.clone(),
        }
    }

    fn lack(&mut self, lack: Lack) {
        if !self.lacks.contains(&lack) {
            self.lacks.push(lack);
        }
    }
}

/// A process that has ended is an error; what we may not read of one that lives is a lack.
fn known<T>(read: Result<T, Error>, lack: fn(Error) -> Lack, lacks: &mut Vec<Lack>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound) => Err(Error::NotFound),
        Err(error) => {
            lacks.push(lack(error));
            Ok(None)
        }
    }
}

/// An address, its sockets, how deep its queue is, and maybe who stands in it.
type Found = (Endpoint, Vec<Inode>, Depth, Option<Census>);

/// Sockets that share an address are one queue to whoever connects, also where they are of several processes.
fn by_endpoint(sockets: impl Iterator<Item = (Endpoint, Inode, Depth)>) -> Vec<Found> {
    let mut shared: BTreeMap<Endpoint, (Vec<Inode>, Depth)> = BTreeMap::new();
    for (endpoint, inode, depth) in sockets {
        match shared.entry(endpoint) {
            Entry::Vacant(new) => {
                new.insert((vec![inode], depth));
            }
            Entry::Occupied(mut known) => {
                let (inodes, sum) = known.get_mut();
                inodes.push(inode);
                *sum = sum.plus(depth);
            }
        }
    }
    shared.into_iter().map(|(endpoint, (inodes, depth))| (endpoint, inodes, depth, None)).collect()
}

/// A thread that has not moved, and its call.
type Resting = (i32, Result<Call, Error>);

/// Those that have not moved and whose place decides something.
fn resting(sights: &[Sight]) -> Vec<Resting> {
    let decides =
        |role: Role| matches!(role, Role::Scheduler(_) | Role::DirtyCpu(_) | Role::DirtyIo(_) | Role::Poller(_));
    still(sights)
        .into_iter()
        .filter(|(thread, _)| decides(thread.role))
        .map(|(thread, _)| (thread.tid, thread.call))
        .take(MOST_STACKS)
        .collect()
}

fn rests(pid: i32, still: &[Resting]) -> Result<HashMap<i32, Rest>, Error> {
    let code = if still.iter().any(|(_, call)| call.is_ok()) { Some(Code::read(pid)?) } else { None };
    let mut rests = HashMap::with_capacity(still.len());
    for &(tid, call) in still {
        let stand = call.ok().and_then(Call::stand);
        let mut frames = match (stand, &code) {
            (Some(stand), Some(code)) => Some(stack::frames(pid, stand, code)?),
            _ => None,
        };
        let is_rest = matches!(call, Ok(Call::Waiting { number, .. }) if calls::is_rest(number));
        if let (Some(frames), Some(code)) = (&mut frames, &code) {
            let is_in_library = frames.first().is_some_and(|frame| matches!(frame.origin, Origin::Library(_)));
            if is_in_library || !is_rest {
                frames.iter_mut().for_each(|frame| stack::name(pid, frame, code));
            }
        }
        let ran_ago = threads::last_ran(pid, tid);
        rests.insert(tid, Rest { frames, ran_ago });
    }
    Ok(rests)
}

/// An answer that comes in time. A thread that goes on waiting is left behind: it ends with the program.
fn within<T: Send + 'static>(
    patience: Duration,
    ask: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().spawn(move || tell.send(ask()))?;
    told.recv_timeout(patience).unwrap_or(Err(Error::Timeout))
}
