//! The entries of a listener in the epoll sets of a BEAM: whether any process waits in `accept` on it, as the kernel knows it.
//!
//! A BEAM asks the kernel to report a connection only when a process calls `accept`, so its epoll sets show, from
//! outside and also while the VM hangs, whether a process does. It has two kinds of sets: those of its poll threads, whose
//! entries fire once (EPOLLONESHOT), and that of its schedulers, whose entries do not. A descriptor that wakes the VM again
//! and again moves from the first to the second and leaves a bare entry behind (erts/emulator/sys/common/erl_check_io.c).
//!
//! `/proc/PID/fdinfo` of an epoll descriptor lists its entries. That is evidence ([`Registration`]); only
//! [`Accepting::of`] says what it means. An idle moment between two calls of `accept` is like a pool that has left, and an armed
//! listener may belong to a VM whose threads all sleep: a reading has a meaning together with the queue, and over time.
//!
//! Cost: finding the sets takes a system call for each descriptor of the process; a reading copies every entry, and the VM can neither
//! change nor poll the set meanwhile (`ep->mtx`): milliseconds with thousands of connections (`make bench PARTS=diagnose`).

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::linux::epoll;
use crate::linux::proc_file::ended;
use crate::{Error, Inode};

/// An epoll set of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pollset {
    /// The process's number for it.
    pub epoll: RawFd,
    /// What is in it; of [`read`], the sockets that were asked for.
    pub entries: Vec<Entry>,
}

/// A descriptor in an epoll set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number when it was put there.
    pub fd: RawFd,
    /// What the set waits for.
    pub events: Events,
    /// What it stands for; absent before Linux 4.13. Inodes of other things than sockets may be wider.
    pub inode: Option<u64>,
}

/// A mask of `EPOLL` flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(pub u32);

/// As the kernel writes it.
impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

const IN: u32 = libc::EPOLLIN as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
/// Flags that say how to wake, and not on what (EP_PRIVATE_BITS, fs/eventpoll.c). One that has fired keeps these alone.
const PRIVATE: u32 = (libc::EPOLLWAKEUP | libc::EPOLLONESHOT | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32;

/// Whose set it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// A poll thread's.
    PollThread,
    /// The schedulers'.
    Schedulers,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Set::PollThread => "the poll thread's set",
            Set::Schedulers => "the schedulers' set",
        })
    }
}

/// Where a socket was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// In whose set.
    pub set: Set,
    /// By which number the process knows the set.
    pub epoll: RawFd,
    /// What the set waits for.
    pub events: Events,
}

/// Whether a process accepts on a listener of a BEAM, as far as its epoll sets show. From best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepting {
    /// A process waits in `accept`, and the kernel will report the next connection to the VM.
    Armed(Set),
    /// The kernel has reported a connection to the VM, and no process has called `accept` since.
    Delivered,
    /// No process is in `accept` now; some has been.
    NotArmed(Set),
    /// No process has ever had to wait in `accept`.
    NeverAccepted,
}

impl Accepting {
    /// Of everything that is registered for a socket.
    pub fn of(registrations: &[Registration]) -> Accepting {
        let find = |wanted: &dyn Fn(u32) -> bool| registrations.iter().find(|found| wanted(found.events.0));
        if let Some(found) = find(&|events| events & IN != 0) {
            Accepting::Armed(found.set)
        } else if let Some(found) = find(&|events| events & !PRIVATE != 0) {
            Accepting::NotArmed(found.set)
        } else if registrations.is_empty() {
            Accepting::NeverAccepted
        } else {
            Accepting::Delivered
        }
    }
}

/// The entries of some sockets, each with its number in the process, in some epoll sets, those that [`super::descriptors::epolls`]
/// has found. Needs the same user, or CAP_SYS_PTRACE. [`Error::NotFound`] where the process has ended or a set has been closed.
pub fn read(pid: i32, epolls: &[RawFd], sockets: &[(Inode, Option<RawFd>)]) -> Result<Vec<Pollset>, Error> {
    let inodes: HashSet<_> = sockets.iter().map(|(inode, _)| u64::from(inode.0)).collect();
    let numbers: HashSet<_> = sockets.iter().filter_map(|&(_, fd)| fd).collect();
    // A set may have a million entries: those of other sockets are not kept.
    let is_wanted = |entry: &Entry| match entry.inode {
        Some(inode) => inodes.contains(&inode),
        None => numbers.contains(&entry.fd),
    };
    let read = |&epoll: &RawFd| {
        let file = File::open(format!("/proc/{pid}/fdinfo/{epoll}")).map_err(reason)?;
        let mut entries = Vec::new();
        for line in BufReader::with_capacity(PART, file).split(b'\n') {
            let line = line.map_err(reason)?;
            entries.extend(str::from_utf8(&line).ok().and_then(entry).filter(is_wanted));
        }
        Ok(Pollset { epoll, entries })
    };
    epolls.iter().take(MOST_SETS).map(read).collect()
}

/// The kernel has the whole text in hand when it gives the first of it.
const PART: usize = 64 * 1024;
/// A BEAM has a few.
const MOST_SETS: usize = 1024;

/// The entries of a socket in the sets of its process; `fd` is its number there, for kernels that do not give inodes.
pub fn registrations(sets: &[Pollset], socket: Inode, fd: Option<RawFd>) -> Vec<Registration> {
    let is_socket = |entry: &Entry| match entry.inode {
        Some(inode) => inode == u64::from(socket.0),
        None => Some(entry.fd) == fd,
    };
    let whose = |events: Events| if events.0 & ONESHOT == 0 { Set::Schedulers } else { Set::PollThread };
    sets.iter()
        .flat_map(|set| set.entries.iter().map(move |entry| (set.epoll, entry)))
        .filter(|(_, entry)| is_socket(entry))
        .map(|(epoll, entry)| Registration { set: whose(entry.events), epoll, events: entry.events })
        .collect()
}

/// The entries in the text of an epoll descriptor's fdinfo (`ep_show_fdinfo`, fs/eventpoll.c), but for those by which this library
/// waits in the VM. Other lines mean other things.
pub fn entries(fdinfo: &[u8]) -> impl Iterator<Item = Entry> {
    fdinfo.split(|&byte| byte == b'\n').filter_map(|line| entry(str::from_utf8(line).ok()?))
}

/// `tfd:       21 events: 40000018 data:               15  pos:0 ino:2360ca sdev:9`
fn entry(line: &str) -> Option<Entry> {
    let mut words = line.strip_prefix("tfd:")?.split_ascii_whitespace();
    let fd = words.next()?.parse().ok()?;
    let _ = words.next().filter(|&label| label == "events:")?;
    let events = Events(u32::from_str_radix(words.next()?, 16).ok()?);
    let data = words.clone().skip_while(|&word| word != "data:").nth(1);
    if data.and_then(|data| u64::from_str_radix(data, 16).ok()).is_some_and(epoll::is_marked) {
        return None;
    }
    let inode = words.find_map(|word| word.strip_prefix("ino:"));
    let inode = inode.map(|inode| u64::from_str_radix(inode, 16)).transpose().ok()?;
    Some(Entry { fd, events, inode })
}

fn reason(error: std::io::Error) -> Error {
    Errno::from_io_error(&error).map_or_else(|| error.into(), ended)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use proptest::prelude::*;
    use rustix::event::epoll;

    use super::super::descriptors::epolls;
    use super::*;

    /// OTP 25: five listeners of either backend, and a pipe that has moved to the schedulers' set.
    const POLL_THREAD: &[u8] = include_bytes!("../../tests/fixtures/linux-6.18-otp-25-poll-thread.fdinfo");
    const SCHEDULERS: &[u8] = include_bytes!("../../tests/fixtures/linux-6.18-otp-25-schedulers.fdinfo");

    fn captured() -> Vec<Pollset> {
        [(4, POLL_THREAD), (6, SCHEDULERS)]
            .map(|(epoll, text)| Pollset { epoll, entries: entries(text).collect() })
            .into()
    }

    fn accepting(socket: u32) -> Accepting {
        Accepting::of(&registrations(&captured(), Inode(socket), None))
    }

    #[test]
    fn a_vm_says_of_each_listener_who_accepts() {
        for (what, socket, expected) in [
            ("a process waits in accept", 0x23_60c9, Accepting::Armed(Set::PollThread)),
            ("the only acceptor has left", 0x23_60ca, Accepting::NotArmed(Set::PollThread)),
            ("no process has ever accepted", 0x23_60c7, Accepting::NeverAccepted),
            ("socket backend, a process waits in accept", 0x23_614c, Accepting::Armed(Set::PollThread)),
            ("socket backend, the only acceptor has left", 0x23_614d, Accepting::Delivered),
            ("the bare entry left behind does not count", 0x23_6416, Accepting::Armed(Set::Schedulers)),
        ] {
            assert_eq!(accepting(socket), expected, "{what}");
        }
        let evidence = registrations(&captured(), Inode(0x23_6416), None);
        let found: Vec<_> = evidence.iter().map(|found| (found.epoll, found.events.to_string())).collect();
        assert_eq!(found, [(4, "40000000".to_owned()), (6, "19".to_owned())]);
    }

    #[test]
    fn each_mask_has_one_meaning() {
        let one = |events| Accepting::of(&[registration(events)]);
        assert_eq!(one(0x4000_0018), Accepting::NotArmed(Set::PollThread));
        assert_eq!(one(0x18), Accepting::NotArmed(Set::Schedulers));
        assert_eq!(one(0x4000_0019), Accepting::Armed(Set::PollThread));
        assert_eq!(one(0x19), Accepting::Armed(Set::Schedulers));
        assert_eq!(one(0x4000_0000), Accepting::Delivered);
        assert_eq!(Accepting::of(&[]), Accepting::NeverAccepted);
        let moved = [registration(0x4000_0000), registration(0x18)];
        assert_eq!(Accepting::of(&moved), Accepting::NotArmed(Set::Schedulers));
    }

    fn registration(events: u32) -> Registration {
        let set = if events & ONESHOT == 0 { Set::Schedulers } else { Set::PollThread };
        Registration { set, epoll: 4, events: Events(events) }
    }

    #[test]
    fn an_old_kernel_tells_numbers_only() {
        let text = b"pos:\t0\nflags:\t02\nmnt_id:\t9\ntfd:       18 events: 40000019 data:     55ab00000012\n";
        let sets = [Pollset { epoll: 4, entries: entries(text).collect() }];
        assert_eq!(registrations(&sets, Inode(7), Some(18)).len(), 1);
        assert!(registrations(&sets, Inode(7), Some(19)).is_empty());
        assert!(registrations(&sets, Inode(7), None).is_empty());
    }

    #[test]
    fn the_number_of_a_descriptor_does_not_stand_for_a_socket_that_has_left_it() {
        let sets = [Pollset { epoll: 4, entries: entries(POLL_THREAD).collect() }];
        assert!(registrations(&sets, Inode(1), Some(20)).is_empty());
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for line in [
            "",
            "tfd:",
            "tfd: 3",
            "tfd: 3 events:",
            "tfd: 3 events: 1g data: 0",
            "tfd: 3 events: 1ffffffff data: 0",
            "tfd: -x events: 19 data: 0",
            "tfd: 3 data: 19 events: 0",
            "tfd: 3 events: 19 data: 0 pos:0 ino:zz sdev:9",
            " tfd: 3 events: 19",
        ] {
            assert_eq!(entry(line), None, "{line:?}");
        }
        assert_eq!(entries(b"\xff\xfe\ntfd: 3 events: 19 data: 0\n\xfftfd: 4 events: 19\n").count(), 1);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_no_line_becomes_two_entries(bytes: Vec<u8>) {
            prop_assert!(entries(&bytes).count() <= bytes.split(|&byte| byte == b'\n').count());
        }

        #[test]
        fn what_the_kernel_writes_is_read_back(fd in 0..i32::MAX, events: u32, data: u64, inode: u64, position: i64) {
            let line = format!("tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:{position} ino:{inode:x} sdev:9");
            prop_assert_eq!(entry(&line), Some(Entry { fd, events: Events(events), inode: Some(inode) }));
        }

        #[test]
        fn a_mangled_entry_is_read_as_something_or_not_at_all(
            line in "tfd:[ 0-9a-z:-]{0,60}( events:[ 0-9a-fx]{0,20})?( ino:[0-9a-z]{0,20})?"
        ) {
            if let Some(entry) = entry(&line) {
                prop_assert!(line.contains(&entry.fd.to_string()));
            }
        }
    }

    #[test]
    fn the_kernel_here_is_read_as_the_captured_one() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let inode = crate::linux::sockopt::inode(socket.as_raw_fd()).expect("its inode");
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a set");
        let own = std::process::id() as i32;
        let number = poll.as_raw_fd();
        let found = || {
            assert!(epolls(own).expect("own descriptors").contains(&number));
            let sets = read(own, &[number], &[(inode, None)]).expect("own sets");
            Accepting::of(&registrations(&sets, inode, Some(socket.as_raw_fd())))
        };
        assert_eq!(found(), Accepting::NeverAccepted);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&poll, &socket, epoll::EventData::new_u64(1), flags).expect("armed");
        assert_eq!(found(), Accepting::Armed(Set::PollThread));
        let none = epoll::EventFlags::ONESHOT;
        epoll::modify(&poll, &socket, epoll::EventData::new_u64(1), none).expect("not armed");
        assert_eq!(found(), Accepting::NotArmed(Set::PollThread));
        epoll::modify(&poll, &socket, epoll::EventData::new_u64(1), flags).expect("armed");
        let _client = std::net::TcpStream::connect(socket.local_addr().expect("its address")).expect("a client");
        let mut events = Vec::with_capacity(1);
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).expect("a connection");
        assert_eq!(found(), Accepting::Delivered);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(epolls(i32::MAX), Err(Error::NotFound));
        assert_eq!(read(i32::MAX, &[3], &[]), Err(Error::NotFound));
    }
}
