//! Examines one process repeatedly, for as long as its threads are shown; on a thread of its own, so that the screen does not
//! wait for a `/proc` that does not answer.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::outside::examination;
use accept_queue_core::rules::facts::ProcessFacts;
use accept_queue_core::vm::find::Candidate;
use rustix::time::{ClockId, clock_gettime};

use crate::findings::Diagnosis;

/// What was found.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) pid: i32,
    /// Or why it could not be examined.
    pub(crate) outcome: Result<Diagnosis, String>,
}

/// As `diagnose` without `--for`.
pub(super) const WINDOW: Duration = Duration::from_secs(2);
/// From the end of one examination to the beginning of the next, so that a person can read what was found.
const REST: Duration = Duration::from_secs(1);
/// Examining takes no more than one part in so many of the time.
const SHARE: u32 = 100;

/// The handle of the thread. Dropping it stops the thread.
pub(super) struct ExaminerThread(Sender<Option<i32>>);

impl ExaminerThread {
    /// Examines nothing until [`ExaminerThread::examine`] is called. Stops also when `report` answers `false`.
    pub(super) fn start(report: impl FnMut(Examined) -> bool + Send + 'static) -> ExaminerThread {
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || run(&requests, report));
        ExaminerThread(sender)
    }

    /// This process from now on, or none.
    pub(super) fn examine(&self, pid: Option<i32>) {
        // The thread has ended only where the screen has.
        let _ = self.0.send(pid);
    }
}

fn run(requests: &Receiver<Option<i32>>, mut report: impl FnMut(Examined) -> bool) {
    let mut wanted = None;
    loop {
        let Some(pid) = wanted else {
            let Ok(newer) = requests.recv() else { return };
            wanted = newer;
            continue;
        };
        let used_before = used();
        let mut newer = None;
        let seen = examination::examine_while(pid, WINDOW, || {
            newer = newest(requests);
            newer.is_none()
        });
        if newer.is_none() {
            if !report(Examined { pid, outcome: outcome(pid, seen) }) {
                return;
            }
            let examining = used().saturating_sub(used_before);
            newer = match requests.recv_timeout((examining * SHARE).saturating_sub(WINDOW).max(REST)) {
                Ok(newer) => Some(newer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
        wanted = newer.unwrap_or(wanted);
    }
}

fn outcome(pid: i32, seen: Result<(Candidate, ProcessFacts), Error>) -> Result<Diagnosis, String> {
    match seen {
        Ok((candidate, observed)) => Ok(Diagnosis::without_node(candidate, observed)),
        Err(Error::NotFound) => Err(format!("Process {pid} has ended.")),
        Err(error) => Err(format!("Process {pid} could not be read: {error}.")),
    }
}

/// The last of the requests that have come meanwhile. Without a handle, no process is wanted.
fn newest(requests: &Receiver<Option<i32>>) -> Option<Option<i32>> {
    let mut newest = None;
    loop {
        match requests.try_recv() {
            Ok(request) => newest = Some(request),
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

    fn start() -> (ExaminerThread, Receiver<Examined>) {
        let (sender, reports) = mpsc::channel();
        (ExaminerThread::start(move |examined| sender.send(examined).is_ok()), reports)
    }

    fn own() -> i32 {
        i32::try_from(std::process::id()).expect("a pid")
    }

    #[test]
    fn the_wanted_process_is_examined_repeatedly_and_none_when_none_is_wanted() {
        let (examiner, reports) = start();
        assert!(reports.recv_timeout(Duration::from_millis(50)).is_err(), "no process is wanted");
        examiner.examine(Some(own()));
        for _ in 0..2 {
            let examined = reports.recv_timeout(PATIENCE).expect("an examination");
            assert_eq!(examined.pid, own());
            let diagnosis = examined.outcome.expect("of this process");
            assert!(diagnosis.threads().contains("TID"));
        }
        examiner.examine(None);
        drop(examiner);
        assert_eq!(reports.recv_timeout(PATIENCE).err(), Some(RecvTimeoutError::Disconnected), "its thread has ended");
    }

    #[test]
    fn another_process_is_examined_without_waiting_for_the_first() {
        let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = i32::try_from(other.id()).expect("a pid");
        let (examiner, reports) = start();
        examiner.examine(Some(own()));
        examiner.examine(Some(pid));
        assert_eq!(reports.recv_timeout(PATIENCE).expect("an examination").pid, pid);
        other.kill().and_then(|()| other.wait()).expect("its end");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let examined = reports.recv_timeout(PATIENCE).expect("an examination");
            if examined.outcome.is_err() {
                assert_eq!(examined.outcome.err(), Some(format!("Process {pid} has ended.")));
                break;
            }
            assert!(Instant::now() < deadline, "its end is reported");
        }
    }
}
