//! Threads for readings that walk a table, with a bounded queue.
//!
//! A VM has few threads for calls that take long. When all of them hang, the reading that says so must not need one.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::linux::clock::Wakeup;

/// A reading, and what is done with its answer.
pub type Job = Box<dyn FnOnce() + Send>;

/// As many jobs wait as may. The job is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A second one, so that a reading that takes seconds does not hold up all others.
const THREADS: usize = 2;
/// The longest queue.
const WAITING_MAX: usize = 4096;

/// The threads. Dropping this ends them, each after the job in hand; the jobs that wait are dropped.
pub struct Reader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    control: Mutex<Control>,
    wakeup: Wakeup,
}

#[derive(Default)]
struct Control {
    jobs: VecDeque<Job>,
    has_ended: bool,
}

impl Reader {
    /// Starts the threads.
    pub fn start() -> io::Result<Reader> {
        // Where only the first can be started, dropping this ends it.
        let reader = Reader { shared: Arc::default() };
        for _ in 0..THREADS {
            let shared = Arc::clone(&reader.shared);
            thread::Builder::new().name("accept_queue_rd".into()).spawn(move || run(&shared))?;
        }
        Ok(reader)
    }

    /// Does not block.
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        let mut control = self.shared.control();
        if control.jobs.len() >= WAITING_MAX {
            return Err(Full);
        }
        control.jobs.push_back(job);
        drop(control);
        self.shared.wakeup.wake();
        Ok(())
    }
}

/// Does not wait for the threads.
impl Drop for Reader {
    fn drop(&mut self) {
        let waiting = {
            let mut control = self.shared.control();
            control.has_ended = true;
            std::mem::take(&mut control.jobs)
        };
        drop(waiting);
        self.shared.wakeup.wake();
    }
}

fn run(shared: &Shared) {
    while let Some(job) = shared.next_job() {
        // A panic is a fault of ours in this one reading: the next may work.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl Shared {
    fn next_job(&self) -> Option<Job> {
        loop {
            let ticket = self.wakeup.ticket();
            {
                let mut control = self.control();
                if control.has_ended {
                    return None;
                }
                if let Some(job) = control.jobs.pop_front() {
                    return Some(job);
                }
            }
            self.wakeup.sleep(ticket, None);
        }
    }

    /// A thread that panicked with the lock in hand has left a queue, and nothing that could be broken by half.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[test]
    fn a_job_that_panics_does_not_end_the_threads() {
        let reader = Reader::start().expect("threads");
        for _ in 0..2 * THREADS {
            reader.submit(Box::new(|| panic!("a fault, for this test"))).expect("room");
        }
        let (sender, answers) = channel();
        reader.submit(Box::new(move || sender.send(7).expect("a test that waits"))).expect("room");
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(7));
    }

    #[test]
    fn the_queue_is_bounded_and_the_threads_end_with_the_reader() {
        let reader = Reader::start().expect("threads");
        let (begun, has_begun) = channel();
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..THREADS {
            let (begun, held) = (begun.clone(), Arc::clone(&held));
            let job = move || {
                begun.send(()).expect("a test that waits");
                let _ = held.lock().expect("no panic").recv();
            };
            reader.submit(Box::new(job)).expect("room");
        }
        for _ in 0..THREADS {
            has_begun.recv_timeout(DEADLINE).expect("each thread has a job");
        }
        for _ in 0..WAITING_MAX {
            reader.submit(Box::new(|| ())).expect("room");
        }
        assert_eq!(reader.submit(Box::new(|| ())), Err(Full));
        let shared = Arc::downgrade(&reader.shared);
        drop(reader);
        drop(hold);
        let begun = std::time::Instant::now();
        while shared.upgrade().is_some() {
            assert!(begun.elapsed() < DEADLINE, "the threads end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
