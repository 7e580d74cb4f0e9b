//! Why a VM does not accept, asked again and again of one process while somebody wants to know; on a thread of its own, so that
//! no screen waits for a `/proc` that does not answer.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use accept_queue_core::evidence::Evidence;
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::{Error, examination};
use rustix::time::{ClockId, clock_gettime};

use crate::findings::Diagnosis;

/// What was found.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) pid: i32,
    /// Or why it could not be looked at.
    pub(crate) outcome: Result<Diagnosis, String>,
}

/// As `diagnose` without `--for`.
pub(super) const WINDOW: Duration = Duration::from_secs(2);
/// From the end of one examination to the beginning of the next: whoever reads what was found wants it to stay for a while.
const REST: Duration = Duration::from_secs(1);
/// Of the time, looking takes no more than one part in so many.
const SHARE: u32 = 100;

/// Whom to look at; nobody, until somebody is wanted.
pub(super) struct Lookout(Sender<Option<i32>>);

impl Lookout {
    /// Until this is dropped. What is found is told for as long as somebody takes it.
    pub(super) fn start(tell: impl FnMut(Examined) -> bool + Send + 'static) -> Lookout {
        let (sender, orders) = mpsc::channel();
        thread::spawn(move || watch(&orders, tell));
        Lookout(sender)
    }

    /// From now on at this process, or at none.
    pub(super) fn look_at(&self, pid: Option<i32>) {
        // It ends with the screen, and no sooner.
        let _ = self.0.send(pid);
    }
}

fn watch(orders: &Receiver<Option<i32>>, mut tell: impl FnMut(Examined) -> bool) {
    let mut order = None;
    loop {
        let Some(pid) = order else {
            let Ok(newer) = orders.recv() else { return };
            order = newer;
            continue;
        };
        let used_before = used();
        let mut newer = None;
        let seen = examination::examine_while(pid, WINDOW, || {
            newer = newest(orders);
            newer.is_none()
        });
        if newer.is_none() {
            if !tell(Examined { pid, outcome: outcome(pid, seen) }) {
                return;
            }
            let looking = used().saturating_sub(used_before);
            newer = match orders.recv_timeout((looking * SHARE).saturating_sub(WINDOW).max(REST)) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
        order = newer.unwrap_or(order);
    }
}

fn outcome(pid: i32, seen: Result<(Candidate, Evidence), Error>) -> Result<Diagnosis, String> {
    match seen {
        Ok((candidate, evidence)) => Ok(Diagnosis::without_node(candidate, evidence)),
        Err(Error::NotFound) => Err(format!("Process {pid} has ended.")),
        Err(error) => Err(format!("Process {pid} could not be looked at: {error}.")),
    }
}

/// The last of the orders that have come meanwhile. Whoever will not give one again wants nobody to be looked at.
fn newest(orders: &Receiver<Option<i32>>) -> Option<Option<i32>> {
    let mut newest = None;
    loop {
        match orders.try_recv() {
            Ok(order) => newest = Some(order),
            Err(TryRecvError::Empty) => return newest,
            Err(TryRecvError::Disconnected) => return Some(None),
        }
    }
}

/// Processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
