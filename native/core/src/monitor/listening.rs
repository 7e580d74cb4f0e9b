//! Whether other sockets listen than a second ago: then the VM is searched for its listeners.
//!
//! Looked at each second, the cheap things first:
//!
//! | what | when | finds |
//! |---|---|---|
//! | how many sockets and descriptors there are, and whether a hundred of the watched are open | each second | nearly every change, in a third of the time of a dump |
//! | which sockets listen in this network namespace | when one of those has changed, and each five seconds | a listener that came in the same second in which another socket went |
//! | which descriptors of this process listen | each ten seconds | a listener of another network namespace, or one that was handed to this process |

use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::fstat;

use crate::linux::diag::DiagSocket;
use crate::monitor::watch::Watch;
use crate::reading::survey;
use crate::{Cookie, Error};

/// The sockets that listen, as of the last look.
#[derive(Debug, Default)]
pub(super) struct ListeningSockets {
    counts: Counts,
    counted: Option<Counted>,
    /// Kept from one dump to the next: to make one is a part of what a dump costs.
    diag: Option<DiagSocket>,
    shown: Vec<Cookie>,
    own: Option<Vec<(RawFd, Cookie)>>,
    looks: u32,
    has_just_changed: bool,
}

/// Every so many looks ...
const DUMP_EACH: u32 = 5;
/// ... and every so many.
const OWN_EACH: u32 = 10;

impl ListeningSockets {
    /// Whether they have changed, or did at the last look: a socket may listen before the VM lists it. To be called once a second, with
    /// some of what is watched: where one has been closed, another may listen in its place, and no number is another one.
    pub(super) fn look(&mut self, watched: &[Arc<Watch>]) -> bool {
        self.looks = self.looks.wrapping_add(1);
        let counted = self.counts.read();
        let may_have_changed =
            counted.is_none() || counted != self.counted || !watched.iter().all(|watch| watch.are_open());
        let is_due = |each| self.looks.is_multiple_of(each);
        let (dump_is_due, own_are_due) = (is_due(DUMP_EACH), is_due(OWN_EACH));
        let mut changed = false;
        if may_have_changed || dump_is_due {
            let shown = self.dump();
            changed |= self.shows(shown);
            // What could not be dumped is dumped again.
            self.counted = counted.filter(|_| self.diag.is_some());
        }
        if own_are_due {
            changed |= self.owns(survey::own_cookies());
        }
        std::mem::replace(&mut self.has_just_changed, changed) || changed
    }

    fn dump(&mut self) -> Result<Vec<Cookie>, Error> {
        // On an error the rest of the answer may still be in the socket: it is not put back.
        let mut diag = self.diag.take().map_or_else(DiagSocket::open, Ok)?;
        let cookies = survey::listening_cookies(&mut diag)?;
        self.diag = Some(diag);
        Ok(cookies)
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

/// Two numbers of sockets in this network namespace, and of the descriptors of this process: each listener that comes or goes changes them,
/// unless another socket goes or comes. `None`: not to be had.
type Counted = (Vec<u8>, Vec<u8>, i64);

/// The files, which are kept open.
#[derive(Debug, Default)]
struct Counts {
    descriptors: Option<File>,
    v4: Option<File>,
    v6: Option<File>,
}

impl Counts {
    /// `None`: there is no such file, as in a sandbox.
    fn read(&mut self) -> Option<Counted> {
        let sockets = contents(&mut self.v4, "/proc/thread-self/net/sockstat")?;
        // A kernel without IPv6 has none.
        let sockets_v6 = contents(&mut self.v6, "/proc/thread-self/net/sockstat6").unwrap_or_default();
        // The number of descriptors since Linux 6.2, and 0 before (`proc_fd_getattr`).
        if self.descriptors.is_none() {
            self.descriptors = File::open("/proc/self/fd").ok();
        }
        let descriptors =
            self.descriptors.as_ref().and_then(|folder| fstat(folder).ok()).map_or(0, |status| status.st_size);
        Some((sockets, sockets_v6, descriptors))
    }
}

fn contents(file: &mut Option<File>, path: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 512];
    if file.is_none() {
        *file = File::open(path).ok();
    }
    let length = file.as_ref()?.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::Listener;
    use crate::rules::detector::{Settings, Time};

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
        let mut listening = ListeningSockets::default();
        assert!(listening.look(&[]), "the first look shows them all");
        let one = TcpListener::bind("127.0.0.1:0").expect("a listener");
        assert!(listening.look(&[]));
        assert!(listening.look(&[]), "reported twice");

        // Another socket goes in the same second: one of the next looks sees it.
        let connection = TcpStream::connect(one.local_addr().expect("an address")).expect("a connection");
        let _ = (listening.look(&[]), listening.look(&[]));
        drop(connection);
        let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
        assert!((0..DUMP_EACH).any(|_| listening.look(&[])));

        // One is closed, and opened again.
        let address = other.local_addr().expect("an address");
        let listener = Listener::open(other.as_raw_fd()).expect("it listens");
        let watch = Arc::new(Watch::new(1, listener.into(), Settings::default(), Time::ZERO));
        while listening.look(&[Arc::clone(&watch)]) {}
        drop(other);
        let _again = TcpListener::bind(address).expect("the same address");
        assert!(listening.look(&[watch]));
    }
}
