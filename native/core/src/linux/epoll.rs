//! An epoll set of listening sockets: the kernel says when a connection waits (man 7 epoll).
//!
//! A listening socket is readable while its accept queue is not empty. A set of our own leaves that of the VM alone, holds no
//! descriptor open, and forgets a socket by itself when its last descriptor is closed. An entry costs the connections less than a
//! microsecond each, whether it is armed or not.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::Error;
use crate::linux::clock::Wakeup;

/// In the upper half of what an entry carries, above the token.
const MARK: u64 = 0x6163_7165;

/// Whether what an entry carries, as `/proc/PID/fdinfo` shows it, is of a set like this one, and not of the VM's.
pub(crate) fn is_marked(data: u64) -> bool {
    data >> 32 == MARK
}

/// Names what was armed.
pub type Token = u32;

/// Waits for connections, for a time, or for another thread. Where the process has no descriptor left, for the last two alone.
#[derive(Debug)]
pub struct Arrivals {
    set: Option<Set>,
    wakeup: Wakeup,
}

#[derive(Debug)]
struct Set {
    epoll: OwnedFd,
    /// In the set: another thread writes to it.
    woken: OwnedFd,
}

/// The token of the entry by which another thread wakes the one that waits.
const WOKEN: u64 = u64::MAX;
/// More follow with the next wait.
const AT_ONCE: usize = 256;

impl Arrivals {
    /// An empty set.
    pub fn new() -> Arrivals {
        Arrivals { set: Set::new().ok(), wakeup: Wakeup::default() }
    }

    /// To be taken before the condition is looked at for which the thread would wait.
    pub fn ticket(&self) -> u32 {
        self.wakeup.ticket()
    }

    /// The next time that a connection waits at this socket, or if one does now, [`Arrivals::wait`] returns the token, once.
    pub fn arm(&self, socket: impl AsFd, token: Token) -> Result<(), Error> {
        let Some(set) = &self.set else { return Err(Error::Unsupported) };
        let data = EventData::new_u64(MARK << 32 | u64::from(token));
        let events = EventFlags::IN | EventFlags::ONESHOT;
        match epoll::modify(&set.epoll, &socket, data, events) {
            Err(Errno::NOENT) => epoll::add(&set.epoll, &socket, data, events)?,
            answer => answer?,
        }
        Ok(())
    }

    /// Waits until a connection does, or [`Arrivals::wake`] was called since the ticket was taken. May return early, with nothing.
    pub fn wait(&self, ticket: u32, at_most: Duration) -> Vec<Token> {
        let Some(set) = &self.set else {
            self.wakeup.sleep(ticket, Some(at_most));
            return Vec::new();
        };
        let mut events = Vec::with_capacity(AT_ONCE);
        let at_most = Timespec::try_from(at_most).ok();
        // EINTR is an end like any other.
        let _ = epoll::wait(&set.epoll, rustix::buffer::spare_capacity(&mut events), at_most.as_ref());
        events.iter().filter_map(|event| set.token(event)).collect()
    }

    /// Ends the wait of the thread that waits, or its next one.
    pub fn wake(&self) {
        self.wakeup.wake();
        if let Some(set) = &self.set {
            // It fails only where it would overflow, and wakes all the same then.
            let _ = rustix::io::write(&set.woken, &1u64.to_ne_bytes());
        }
    }
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals::new()
    }
}

impl Set {
    fn new() -> Result<Set, Errno> {
        let set = Set {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            woken: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        epoll::add(&set.epoll, &set.woken, EventData::new_u64(WOKEN), EventFlags::IN)?;
        Ok(set)
    }

    fn token(&self, event: &Event) -> Option<Token> {
        // A packed field.
        let data = event.data;
        match data.u64() {
            WOKEN => {
                let _ = rustix::io::read(&self.woken, &mut [0; 8]);
                None
            }
            data => Some(data as Token),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const NOW: Duration = Duration::ZERO;

    fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener")
    }

    fn client(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().expect("its address")).expect("a client")
    }

    #[test]
    fn a_connection_is_reported_once_until_it_is_asked_for_again() {
        let (arrivals, listener) = (Arrivals::new(), listener());
        arrivals.arm(&listener, 7).expect("armed");
        assert_eq!(arrivals.wait(arrivals.ticket(), NOW), [], "nothing waits");
        let _client = client(&listener);
        assert_eq!(arrivals.wait(arrivals.ticket(), LONG), [7]);
        let _another = client(&listener);
        assert_eq!(arrivals.wait(arrivals.ticket(), NOW), [], "one shot");
        arrivals.arm(&listener, 8).expect("armed");
        assert_eq!(arrivals.wait(arrivals.ticket(), LONG), [8], "what waits already is reported");
    }

    #[test]
    fn a_socket_that_is_closed_is_forgotten_and_its_number_may_be_another_s() {
        let (arrivals, listener) = (Arrivals::new(), listener());
        for token in 0..100 {
            let other = self::listener();
            arrivals.arm(&other, token).expect("armed");
        }
        arrivals.arm(&listener, 1000).expect("armed");
        let _client = client(&listener);
        assert_eq!(arrivals.wait(arrivals.ticket(), LONG), [1000]);
    }

    #[test]
    fn a_wait_ends_with_a_wake_up_and_does_not_begin_after_one() {
        let arrivals = Arc::new(Arrivals::new());
        for _ in 0..3 {
            let ticket = arrivals.ticket();
            let waiting = Arc::clone(&arrivals);
            let begun = Instant::now();
            let thread = thread::spawn(move || waiting.wait(ticket, LONG));
            arrivals.wake();
            assert_eq!(thread.join().expect("no panic"), []);
            assert!(begun.elapsed() < LONG);
        }
    }

    #[test]
    fn without_a_descriptor_it_waits_all_the_same() {
        let arrivals = Arrivals { set: None, wakeup: Wakeup::default() };
        assert_eq!(arrivals.arm(listener(), 1), Err(Error::Unsupported));
        let ticket = arrivals.ticket();
        assert_eq!(arrivals.wait(ticket, Duration::from_millis(1)), []);
        arrivals.wake();
        assert_eq!(arrivals.wait(ticket, LONG), []);
    }
}
