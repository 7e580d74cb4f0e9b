//! Reads one BEAM from outside several times, for [`crate::rules::diagnosis`].
//!
//! The process is never stopped, attached to or signalled, and its memory is read only: a healthy VM does not notice.
//!
//! Cost of a reading: four small files a thread, and a dump of the listeners of its namespace. The first reading, one in the middle
//! and the last also walk the kernel's table of connections and read the epoll sets. Opening walks the descriptors of the
//! process once.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Endpoint;
use crate::linux::counters;
use crate::linux::diag::DiagSocket;
use crate::linux::namespace::beside;
use crate::reading::queue::Queue;
use crate::reading::survey::{Listening, listening_through, survey_through};
use crate::reading::unix_table;
use crate::rules::detector::Time;
use crate::rules::facts::{
    Circumstances, Member, ProcessFacts, ProcessReading, QueueReading, SocketReading, Unmoved, Unread, unmoved,
};
use crate::vm::find::{self, Candidate};
use crate::vm::process::{self, Process};
use crate::vm::stack::{self, Code, Origin};
use crate::vm::threads::{self, Call, Role};
use crate::vm::{calls, descriptors, open_files, pollset};
use crate::{Error, Inode, Members};

/// Reads one process, and keeps what does not change between two readings.
pub struct Examiner {
    pid: i32,
    candidate: Candidate,
    began: u64,
    sockets: HashMap<Inode, RawFd>,
    epolls: Vec<RawFd>,
    diag: Option<DiagSocket>,
    unread: Vec<Unread>,
}

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Threads, and the depths of the queues.
    Depths,
    /// Also a census of each queue, and the epoll sets.
    Full,
}

/// Between two readings, or longer where the window is longer than [`MOST_STEPS`] of these.
const INTERVAL: Duration = Duration::from_millis(200);
const MOST_INTERVAL: Duration = Duration::from_millis(500);
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
const LEAST_STEPS: u32 = 5;
const MOST_STEPS: u32 = 60;
/// Reading a stack waits for locks of the process's memory, and one of its files may be on a disk that does not answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Stacks beyond these are not read.
const MOST_STACKS: usize = 256;

/// Observes a process throughout a time, and blocks for as long. [`Error::NotFound`] where there is no such process, or it
/// has ended meanwhile.
pub fn examine(pid: i32, window: Duration) -> Result<(Candidate, ProcessFacts), Error> {
    examine_while(pid, window, || true)
}

/// The same, but ends early when `is_wanted`, which is called before each reading but the first, answers `false`.
pub fn examine_while(
    pid: i32,
    window: Duration,
    mut is_wanted: impl FnMut() -> bool,
) -> Result<(Candidate, ProcessFacts), Error> {
    let mut examiner = Examiner::open(pid)?;
    let begun = Instant::now();
    let interval = (window / LEAST_STEPS).min(INTERVAL).max(window / MOST_STEPS).min(MOST_INTERVAL).max(LEAST_INTERVAL);
    let steps = (window.as_secs_f64() / interval.as_secs_f64()).ceil().max(1.0) as u32;
    let mut readings = Vec::with_capacity(steps as usize + 1);
    for step in 0..=steps {
        if let Some(pause) = (interval * step).min(window).checked_sub(begun.elapsed()) {
            thread::sleep(pause);
        }
        if step > 0 && !is_wanted() {
            break;
        }
        let extent = if [0, steps / 2, steps].contains(&step) { Extent::Full } else { Extent::Depths };
        readings.push(examiner.read(begun.elapsed(), extent)?);
    }
    let circumstances = examiner.circumstances(&readings);
    Ok((examiner.candidate, ProcessFacts::of(&readings, circumstances)))
}

impl Examiner {
    /// Finds its sockets, its epoll sets and its network namespace. What of these cannot be read is an [`Unread`], not an error.
    pub fn open(pid: i32) -> Result<Examiner, Error> {
        let candidate = find::by_pid(pid)?;
        let began = Process::read(pid)?.began;
        let mut unread = Vec::new();
        let sockets = known(descriptors::by_inode(pid), Unread::Sockets, &mut unread)?.unwrap_or_default();
        let epolls =
            if candidate.is_beam { known(descriptors::epolls(pid), Unread::Pollsets, &mut unread)? } else { None };
        let diag = known(beside(pid, DiagSocket::open), unless_unsupported(Unread::Namespace), &mut unread)?;
        Ok(Examiner { pid, candidate, began, sockets, epolls: epolls.unwrap_or_default(), diag, unread })
    }

    /// Takes one reading.
    pub fn read(&mut self, at: Time, extent: Extent) -> Result<ProcessReading, Error> {
        let process = Process::read(self.pid)?;
        if process.began != self.began {
            return Err(Error::NotFound);
        }
        let threads = threads::read(self.pid)?;
        let queues = match self.queues(extent) {
            Ok(queues) => queues,
            Err(error) => {
                // The rest of an answer may still be in it.
                self.diag = None;
                self.could_not_read(unless_unsupported(Unread::Queues)(error));
                Vec::new()
            }
        };
        Ok(ProcessReading { at, process, threads, queues })
    }

    fn queues(&mut self, extent: Extent) -> Result<Vec<QueueReading>, Error> {
        let Some(diag) = &mut self.diag else { return Ok(Vec::new()) };
        let mut own: BTreeMap<Endpoint, Vec<(Listening, Member)>> = BTreeMap::new();
        for socket in listening_through(diag)? {
            if let Some(&fd) = self.sockets.get(&socket.inode) {
                let member = Member { fd, inode: socket.inode };
                own.entry(socket.endpoint.clone()).or_default().push((socket, member));
            }
        }
        let mut queues = match extent {
            Extent::Depths => Vec::new(),
            Extent::Full => survey_through(diag)?,
        };
        let lacks_unix = extent == Extent::Full && diag.lacks_unix();
        if lacks_unix && self.may_have_unix_listeners() {
            self.could_not_read(Unread::Unix);
        }
        let sockets: Vec<_> = own.values().flatten().map(|(_, member)| (member.inode, Some(member.fd))).collect();
        let sets = match extent {
            Extent::Full if !self.epolls.is_empty() => match pollset::read(self.pid, &self.epolls, &sockets) {
                Ok(sets) => Some(sets),
                Err(error) => {
                    self.could_not_read(Unread::Pollsets(error));
                    None
                }
            },
            _ => None,
        };
        let reading = |(socket, member): &(Listening, Member)| {
            let registrations = sets.as_ref().map(|sets| pollset::registrations(sets, member.inode, Some(member.fd)));
            (socket.cookie, Ok(SocketReading { member: *member, depth: socket.depth, registrations }))
        };
        own.into_iter()
            .map(|(endpoint, group)| {
                // Two queues may look alike: this is the one that these sockets share.
                let is_it = |queue: &Queue| group.iter().any(|(socket, _)| queue.cookies().contains(&socket.cookie));
                let census = queues.iter().position(is_it).map(|index| queues.swap_remove(index).census);
                Ok(QueueReading { endpoint, sockets: Members::read(group.iter().map(reading))?, census })
            })
            .collect()
    }

    fn may_have_unix_listeners(&self) -> bool {
        let listening = unix_table::listening(self.pid);
        listening.map_or(true, |listening| listening.iter().any(|inode| self.sockets.contains_key(inode)))
    }

    /// What is read once, after the last reading.
    pub fn circumstances(&mut self, readings: &[ProcessReading]) -> Circumstances {
        let pid = self.pid;
        let refused =
            readings.last().into_iter().flat_map(|reading| &reading.threads.list).find_map(|thread| thread.call.err());
        if let Some(error) = refused {
            self.could_not_read(Unread::Calls(error));
        }
        let still = deciding(readings);
        let unmoved = match within(PATIENCE, move || places(pid, &still)) {
            Ok(unmoved) => unmoved,
            Err(error) => {
                self.could_not_read(Unread::Stacks(error));
                HashMap::new()
            }
        };
        Circumstances {
            is_beam: self.candidate.is_beam,
            frozen: process::is_frozen(pid).unwrap_or(None),
            descriptors: open_files::read(pid).ok(),
            somaxconn: counters::of(pid).ok().and_then(|kernel| kernel.somaxconn),
            unmoved,
            unread: self.unread.clone(),
        }
    }

    fn could_not_read(&mut self, unread: Unread) {
        if !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
    }
}

/// That the process has ended is an error; what cannot be read of one that runs is noted.
fn known<T>(
    read: Result<T, Error>,
    what: impl Fn(Error) -> Unread,
    unread: &mut Vec<Unread>,
) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound) => Err(Error::NotFound),
        Err(error) => {
            unread.push(what(error));
            Ok(None)
        }
    }
}

/// [`Unread::Diag`] where the kernel has no sock_diag for TCP.
fn unless_unsupported(what: fn(Error) -> Unread) -> impl Fn(Error) -> Unread {
    move |error| if error == Error::Unsupported { Unread::Diag } else { what(error) }
}

/// A thread that did not move, and its call.
type Still = (i32, Result<Call, Error>);

/// Threads that did not move and whose place decides something.
fn deciding(readings: &[ProcessReading]) -> Vec<Still> {
    let decides =
        |role: Role| matches!(role, Role::Scheduler(_) | Role::DirtyCpu(_) | Role::DirtyIo(_) | Role::Poller(_));
    unmoved(readings)
        .into_iter()
        .filter(|(thread, _)| decides(thread.role))
        .map(|(thread, _)| (thread.tid, thread.call))
        .take(MOST_STACKS)
        .collect()
}

fn places(pid: i32, still: &[Still]) -> Result<HashMap<i32, Unmoved>, Error> {
    let code = if still.iter().any(|(_, call)| call.is_ok()) { Some(Code::read(pid)?) } else { None };
    let mut places = HashMap::with_capacity(still.len());
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
        places.insert(tid, Unmoved { frames, ran_ago });
    }
    Ok(places)
}

/// The answer, or [`Error::Timeout`]. A thread that still waits then is left running: it ends when the kernel answers.
fn within<T: Send + 'static>(
    patience: Duration,
    ask: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, answer) = mpsc::channel();
    thread::Builder::new().spawn(move || sender.send(ask()))?;
    answer.recv_timeout(patience).unwrap_or(Err(Error::Timeout))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What is missing of this process where the kernel answers so.
    fn unread_where(answers: &[i32]) -> Vec<Unread> {
        let mut examiner = Examiner::open(std::process::id() as i32).expect("this process");
        let (diag, _kernel) = DiagSocket::answered(answers);
        examiner.diag = Some(diag);
        examiner.read(Duration::ZERO, Extent::Full).expect("a reading");
        examiner.unread
    }

    #[test]
    fn a_kernel_without_a_module_is_said() {
        let path = std::env::temp_dir().join(format!("accept-queue-examined-{}", std::process::id()));
        let _listener = UnixListener::bind(&path).expect("a listener");
        std::fs::remove_file(&path).expect("its name");
        let missing = libc::ENOENT;
        assert_eq!(unread_where(&[0; 6]), []);
        assert_eq!(unread_where(&[0, 0, missing, 0, 0, missing]), [Unread::Unix]);
        assert_eq!(unread_where(&[missing]), [Unread::Diag]);
        assert_eq!(unread_where(&[libc::EPERM]), [Unread::Queues(Error::Errno(crate::Errno(libc::EPERM)))]);
    }
}
