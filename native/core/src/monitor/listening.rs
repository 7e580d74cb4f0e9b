//! Whether other sockets listen than a second ago: then the VM is searched for its listeners.
//!
//! Looked at each second, the cheap things first:
//!
//! | what | when | finds |
//! |---|---|---|
//! | how many sockets and descriptors there are, and whether thirty of the watched are open, others each time | each second | nearly every change, in a fifth of the time of a dump |
//! | which sockets listen in this network namespace | when one of those has changed, and each five to thirty seconds | a listener that came in the same second in which another socket went, or whose IPv6 socket had been there before it listened |
//! | which descriptors of this process listen | when there are more or fewer, each ten to sixty seconds; each sixty otherwise | a listener of another network namespace, or one that was handed to this process |
//!
//! The more listeners, the longer such a look takes, and the more rarely it comes: it takes a twenty-thousandth of a core.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::fs::fstat;

use crate::linux::clock::processor_time;
use crate::monitor::kept::Kept;
use crate::reading::survey;
use crate::{Cookie, Error};

/// The sockets that listen, as of the last look.
#[derive(Debug)]
pub(super) struct ListeningSockets {
    counted: Option<Counted>,
    descriptors: Option<File>,
    shown: Vec<Cookie>,
    own: Option<Vec<(RawFd, Cookie)>>,
    /// How many descriptors there were then.
    own_of: Option<i64>,
    dump: Pace,
    search_own: Pace,
    has_just_changed: bool,
}

/// The numbers of sockets in this network namespace, and of the descriptors of this process where the kernel says it: each listener that comes
/// or goes changes them, unless another socket goes or comes.
type Counted = (String, Option<i64>);

impl Default for ListeningSockets {
    fn default() -> ListeningSockets {
        ListeningSockets {
            counted: None,
            descriptors: None,
            shown: Vec::new(),
            own: None,
            own_of: None,
            dump: Pace::new(DUMP_EACH),
            search_own: Pace::new(OWN_EACH),
            has_just_changed: false,
        }
    }
}

/// So many looks from one dump to the next ...
const DUMP_EACH: RangeInclusive<u32> = 5..=30;
/// ... and from one search of our own descriptors.
const OWN_EACH: RangeInclusive<u32> = 10..=60;
/// How often one that takes so long would fill a core.
const SHARE: u32 = 20_000;

impl ListeningSockets {
    /// Whether they have changed, or did at the last look: a socket may listen before the VM lists it. To be called once a second.
    /// `one_has_closed`: of those that are watched, so another may listen in its place, and no number is another one.
    pub(super) fn look(&mut self, kept: &mut Kept, one_has_closed: bool) -> bool {
        let counted = self.count(kept);
        let may_have_changed = counted.is_none() || counted != self.counted || one_has_closed;
        let descriptors = counted.as_ref().and_then(|&(_, descriptors)| descriptors);
        let own_may_be_others = descriptors.is_none() || descriptors != self.own_of;
        let (dump_is_due, own_are_due) = (self.dump.is_due(), self.search_own.is_due());
        let mut changed = false;
        if may_have_changed || dump_is_due {
            let shown = self.dump.timed(|| kept.diag.with(survey::listening_cookies));
            // What could not be dumped is dumped again.
            self.counted = counted.filter(|_| shown.is_ok());
            changed |= self.shows(shown);
        }
        if own_are_due && (own_may_be_others || self.search_own.is_overdue()) {
            self.own_of = descriptors;
            let own = self.search_own.timed(survey::own_cookies);
            changed |= self.owns(own);
        }
        std::mem::replace(&mut self.has_just_changed, changed) || changed
    }

    /// `None`: not to be had, as in a sandbox.
    fn count(&mut self, kept: &mut Kept) -> Option<Counted> {
        let sockets = kept.sockstat.text().ok()?;
        if self.descriptors.is_none() {
            self.descriptors = File::open("/proc/self/fd").ok();
        }
        let status = self.descriptors.as_ref().and_then(|folder| fstat(folder).ok());
        // Before Linux 6.2 the size is 0 (`proc_fd_getattr`).
        Some((sockets, status.map(|status| status.st_size).filter(|&size| size > 0)))
    }

    /// What could not be read has not changed.
    fn shows(&mut self, now: Result<Vec<Cookie>, Error>) -> bool {
        now.is_ok_and(|now| now != std::mem::replace(&mut self.shown, now.clone()))
    }

    /// Likewise; and the first time there is nothing to compare with.
    fn owns(&mut self, now: Result<Vec<(RawFd, Cookie)>, Error>) -> bool {
        now.is_ok_and(|now| self.own.replace(now.clone()).is_some_and(|before| before != now))
    }
}

/// At which of the looks something is done, by what it cost the last time.
#[derive(Debug)]
struct Pace {
    each: RangeInclusive<u32>,
    /// As many looks lie between two at least ...
    least: u32,
    /// ... and so many have been.
    looks: u32,
}

impl Pace {
    fn new(each: RangeInclusive<u32>) -> Pace {
        Pace { least: *each.start(), each, looks: 0 }
    }

    /// To be asked at each look. It is due until it is done.
    fn is_due(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.looks >= self.least
    }

    /// It has waited for as long as it may.
    fn is_overdue(&self) -> bool {
        self.looks >= *self.each.end()
    }

    fn timed<T>(&mut self, look: impl FnOnce() -> T) -> T {
        let before = processor_time();
        let seen = look();
        self.took(processor_time().saturating_sub(before));
        seen
    }

    fn took(&mut self, cost: Duration) {
        let looks = cost.saturating_mul(SHARE).as_secs().try_into().unwrap_or(u32::MAX);
        self.least = looks.clamp(*self.each.start(), *self.each.end());
        self.looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_could_not_be_read_has_not_changed() {
        let mut listening = ListeningSockets::default();
        let cookies = |cookies: &[u64]| Ok(cookies.iter().copied().map(Cookie).collect());
        let shown = [cookies(&[1]), cookies(&[1]), Err(Error::Truncated), cookies(&[1]), cookies(&[1, 2])];
        assert_eq!(shown.map(|now| listening.shows(now)), [true, false, false, false, true]);
        let own = |own: &[(RawFd, u64)]| Ok(own.iter().map(|&(fd, cookie)| (fd, Cookie(cookie))).collect());
        let owned = [own(&[(5, 1)]), own(&[(5, 1)]), Err(Error::Truncated), own(&[(6, 1)])];
        assert_eq!(owned.map(|now| listening.owns(now)), [false, false, false, true]);
    }

    /// A namespace of its own is not to be had in a unit test: others' sockets may come and go meanwhile, so a change may be seen that is not
    /// ours, and none is missed.
    #[test]
    fn one_that_comes_is_seen_whatever_else_happens() {
        let (mut listening, mut kept) = (ListeningSockets::default(), Kept::default());
        let mut look = |one_has_closed| listening.look(&mut kept, one_has_closed);
        assert!(look(false), "the first look shows them all");
        let one = TcpListener::bind("127.0.0.1:0").expect("a listener");
        assert!(look(false));
        assert!(look(false), "reported twice");

        // Another socket goes in the same second: one of the next looks sees it.
        let connection = TcpStream::connect(one.local_addr().expect("an address")).expect("a connection");
        let _ = (look(false), look(false));
        drop(connection);
        let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
        assert!((0..*DUMP_EACH.end()).any(|_| look(false)));

        // One is closed, and opened again.
        let address = other.local_addr().expect("an address");
        while look(false) {}
        drop(other);
        let _again = TcpListener::bind(address).expect("the same address");
        assert!(look(true));
    }

    #[test]
    fn the_more_a_look_costs_the_more_rarely_it_comes() {
        let mut pace = Pace::new(5..=30);
        let mut looks = || 1 + (0..).take_while(|_| !pace.is_due()).count();
        assert_eq!((looks(), looks()), (5, 1), "the first time, and until it is done");
        while !pace.is_overdue() {
            assert!(pace.is_due());
        }
        assert_eq!(pace.looks, 30);
        for (cost, expected) in [(100, 5), (250, 5), (725, 14), (7_250, 30), (u64::MAX / 2, 30)] {
            let mut pace = Pace::new(5..=30);
            pace.took(Duration::from_micros(cost));
            assert_eq!(1 + (0..).take_while(|_| !pace.is_due()).count(), expected, "{cost} us");
        }
    }
}
