//! Why a VM does not accept, asked again and again of one process while somebody wants to know; on a thread of its own, so that
//! no screen waits for a `/proc` that does not answer.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::outside::examination;
use accept_queue_core::rules::observed::Observed;
use accept_queue_core::vm::find::Candidate;
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

fn outcome(pid: i32, seen: Result<(Candidate, Observed), Error>) -> Result<Diagnosis, String> {
    match seen {
        Ok((candidate, observed)) => Ok(Diagnosis::without_node(candidate, observed)),
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn start() -> (Lookout, Receiver<Examined>) {
        let (sender, told) = mpsc::channel();
        (Lookout::start(move |examined| sender.send(examined).is_ok()), told)
    }

    fn own() -> i32 {
        i32::try_from(std::process::id()).expect("a pid")
    }

    #[test]
    fn who_is_wanted_is_looked_at_again_and_again_and_who_is_not_is_left_alone() {
        let (lookout, told) = start();
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "nobody is wanted");
        lookout.look_at(Some(own()));
        for _ in 0..2 {
            let examined = told.recv_timeout(PATIENCE).expect("an examination");
            assert_eq!(examined.pid, own());
            let diagnosis = examined.outcome.expect("of this process");
            assert!(diagnosis.threads().contains("TID"));
        }
        lookout.look_at(None);
        drop(lookout);
        assert_eq!(told.recv_timeout(PATIENCE).err(), Some(RecvTimeoutError::Disconnected), "its thread has ended");
    }

    #[test]
    fn another_that_is_wanted_is_not_waited_for() {
        let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = i32::try_from(other.id()).expect("a pid");
        let (lookout, told) = start();
        lookout.look_at(Some(own()));
        lookout.look_at(Some(pid));
        assert_eq!(told.recv_timeout(PATIENCE).expect("an examination").pid, pid);
        other.kill().and_then(|()| other.wait()).expect("its end");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let examined = told.recv_timeout(PATIENCE).expect("an examination");
            if examined.outcome.is_err() {
                assert_eq!(examined.outcome.err(), Some(format!("Process {pid} has ended.")));
                break;
            }
            assert!(Instant::now() < deadline, "its end is told");
        }
    }
}
