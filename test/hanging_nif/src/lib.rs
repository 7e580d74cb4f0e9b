//! Loaded by `test/hanging_nif.erl`.

use std::hint;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[rustler::nif(schedule = "Normal")]
fn sleep(ms: u64) -> bool {
    thread::sleep(Duration::from_millis(ms));
    true
}

/// Waits for a lock that is never given up: the system call is that of a scheduler without work.
#[rustler::nif(schedule = "Normal")]
fn lock(ms: u64) -> bool {
    let held = Mutex::new(());
    let guard = held.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = Condvar::new().wait_timeout_while(guard, Duration::from_millis(ms), |()| true);
    waited.is_ok_and(|(_, outcome)| outcome.timed_out())
}

#[rustler::nif(schedule = "Normal")]
fn spin(ms: u64) -> bool {
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        hint::spin_loop();
    }
    true
}

#[rustler::nif(schedule = "DirtyIo")]
fn sleep_dirty(ms: u64) -> bool {
    thread::sleep(Duration::from_millis(ms));
    true
}

rustler::init!("hanging_nif");
