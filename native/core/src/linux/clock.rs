//! The kernel's monotonic clock, and a wait of a length that the kernel measures.
//!
//! `Instant` and `Condvar` use the C library's clock, which a preloaded library may replace: under libfaketime a wait with a
//! time-out may never end. Neither goes through the C library here.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// CLOCK_MONOTONIC, since the machine was started.
pub fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// What this thread has taken of processors.
pub fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Wakes threads from a sleep.
#[derive(Debug, Default)]
pub struct Wakeup {
    woken: AtomicU32,
}

impl Wakeup {
    /// To be taken before the condition is looked at for which the thread would sleep.
    pub fn ticket(&self) -> u32 {
        self.woken.load(Ordering::Acquire)
    }

    /// Sleeps until there was a wake-up since the ticket was taken; `None`: however long that takes. May return early.
    pub fn sleep(&self, ticket: u32, at_most: Option<Duration>) {
        let at_most = at_most.map(|time| Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
        // EAGAIN, EINTR and ETIMEDOUT are ends like any other.
        let _ = futex::wait(&self.woken, futex::Flags::PRIVATE, ticket, at_most.as_ref());
    }

    /// Wakes all that sleep.
    pub fn wake(&self) {
        self.woken.fetch_add(1, Ordering::Release);
        // It fails for an address that is none.
        let _ = futex::wake(&self.woken, futex::Flags::PRIVATE, i32::MAX as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_sleep_ends_with_its_time() {
        let begun = monotonic();
        Wakeup::default().sleep(0, Some(Duration::from_millis(20)));
        assert!(monotonic() - begun >= Duration::from_millis(20));
    }

    #[test]
    fn a_sleep_ends_with_a_wake_up_and_does_not_begin_after_one() {
        let wakeup = Arc::new(Wakeup::default());
        let ticket = wakeup.ticket();
        let sleeper = Arc::clone(&wakeup);
        let thread = thread::spawn(move || sleeper.sleep(ticket, None));
        wakeup.wake();
        thread.join().expect("no panic");
        wakeup.sleep(ticket, None);
    }
}
