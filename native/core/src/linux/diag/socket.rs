//! The asking: one netlink socket, one dump at a time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netdevice::index_to_name;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use zerocopy::IntoBytes;

use super::netlink::{MALFORMED, Message, Question, answers};
use crate::linux::namespace::within;
use crate::linux::sockopt::{self, SocketNamespace};
use crate::{Errno as CoreErrno, Error, Interface};

/// A netlink socket to sock_diag, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct DiagSocket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
    /// This kernel has no unix_diag.
    lacks_unix: bool,
}

/// That of one thread, kept from one reading to the next: to make one is a part of what a dump costs, and others see it come and go.
#[derive(Debug, Default)]
pub struct KeptDiagSocket(Option<DiagSocket>);

/// The kernel fills datagrams of up to this size once a reader had so much room (`netlink_recvmsg` keeps
/// `max_recvmsg_len`, capped at 32 KiB).
const DATAGRAM: usize = 32 * 1024;
/// The kernel answers within the system call; silence is a sandbox that swallows the question.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that is not in use now, and its namespace, which is the one this process lives in: elsewhere it
/// would keep the namespace alive. To make and to close one costs 4 us, and where the table of descriptors has become full it
/// is there already. A second reader at the same time makes one of its own.
static SPARE: Mutex<Option<(SocketNamespace, DiagSocket)>> = Mutex::new(None);

impl KeptDiagSocket {
    /// Reads through it; where there is none, it is opened in the network namespace of this thread.
    pub fn with<T>(&mut self, read: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        // On an error the rest of the answer may still be in the socket: it is not put back.
        let mut diag = self.0.take().map_or_else(DiagSocket::open, Ok)?;
        let reading = read(&mut diag)?;
        self.0 = Some(diag);
        Ok(reading)
    }
}

impl DiagSocket {
    /// Opens the socket. Linux lets every process do this, so any refusal is a sandbox that does not offer sock_diag.
    pub fn open() -> Result<DiagSocket, Error> {
        DiagSocket::with_room(DATAGRAM)
    }

    /// Reads through one in the network namespace of a socket, which may be another than that of this thread. There it needs
    /// CAP_NET_ADMIN and CAP_SYS_ADMIN.
    pub fn beside<T>(socket: RawFd, read: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        DiagSocket::beside_by(sockopt::namespace, socket, read)
    }

    fn beside_by<T>(
        namespace: fn(RawFd) -> Result<Option<SocketNamespace>, Error>,
        socket: RawFd,
        read: impl FnOnce(&mut DiagSocket) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let theirs = namespace(socket)?;
        let kept = spare().take_if(|(home, _)| Some(*home) == theirs);
        let (home, mut diag) = match kept {
            Some((home, diag)) => (Some(home), diag),
            None => {
                let here = DiagSocket::open()?;
                match (namespace(here.fd.as_raw_fd())?, theirs) {
                    (Some(ours), Some(theirs)) if ours != theirs => {
                        (None, DiagSocket::inside(&sockopt::open_namespace(socket)?)?)
                    }
                    (home, _) => (home, here),
                }
            }
        };
        let reading = read(&mut diag)?;
        if let Some(home) = home {
            spare().get_or_insert((home, diag));
        }
        Ok(reading)
    }

    /// Opens it in another network namespace.
    pub fn inside(namespace: &OwnedFd) -> Result<DiagSocket, Error> {
        within(namespace, DiagSocket::open)
    }

    /// The same with room for datagrams of another size; too little of it makes every larger dump an error.
    pub fn with_room(bytes: usize) -> Result<DiagSocket, Error> {
        let fd =
            net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))
                .map_err(|errno| match errno {
                    Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Error::from(errno),
                    _ => Error::Unsupported,
                })?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        Ok(DiagSocket { fd, sequence: 0, buffer: vec![0; bytes].into(), lacks_unix: false })
    }

    /// The name of a device of its network namespace; `None`: there is none of this index.
    pub(crate) fn device(&self, Interface(index): Interface) -> Option<String> {
        index_to_name(Some(&self.fd).filter(|_| index > 0)?, index).ok()
    }

    /// That the kernel has refused to tell of Unix sockets.
    pub(crate) fn note_missing_unix(&mut self) {
        self.lacks_unix = true;
    }

    /// Whether it has.
    pub(crate) fn lacks_unix(&self) -> bool {
        self.lacks_unix
    }

    /// One whose answers the other end of a pair of sockets gives.
    #[cfg(test)]
    pub(crate) fn played(patience: Duration) -> (DiagSocket, OwnedFd) {
        let (ours, kernel) =
            net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
        set_socket_timeout(&ours, Timeout::Recv, Some(patience)).expect("a time-out");
        (DiagSocket { fd: ours, sequence: 0, buffer: vec![0; DATAGRAM].into(), lacks_unix: false }, kernel)
    }

    /// With what the kernel says to the first questions in turn: the end of a dump where the error is 0.
    #[cfg(test)]
    pub(crate) fn answered(answers: &[i32]) -> (DiagSocket, OwnedFd) {
        let (diag, kernel) = DiagSocket::played(Duration::from_millis(50));
        for (sequence, &errno) in (1u32..).zip(answers) {
            let kind = if errno == 0 { libc::NLMSG_DONE } else { libc::NLMSG_ERROR } as u16;
            let mut answer = Vec::from(20u32.to_ne_bytes());
            answer.extend([kind, 0].iter().flat_map(|half| half.to_ne_bytes()));
            answer.extend(sequence.to_ne_bytes());
            answer.extend([0; 4]);
            answer.extend((-errno).to_ne_bytes());
            net::send(&kernel, &answer, net::SendFlags::empty()).expect("said");
        }
        (diag, kernel)
    }

    /// Asks, and hands each row to `each` as it comes. On an error the rows so far are not the whole: throw them
    /// away, and the socket too, for the rest of the answer may still be in it.
    pub fn dump<Q: Question>(&mut self, question: &Q, mut each: impl FnMut(Q::Row<'_>)) -> Result<(), Error> {
        let sequence = self.send(question)?;
        loop {
            let datagram = self.receive()?;
            for message in answers::<Q>(datagram, sequence) {
                match message? {
                    Message::Row(Some(row)) => each(row),
                    Message::Row(None) => {}
                    Message::Done => return Ok(()),
                }
            }
        }
    }

    /// Asks for one socket, whose row is the whole answer. `None`: there is none any more, another has its number, or its row
    /// does not fit in a page.
    pub(crate) fn one<Q: Question, T>(
        &mut self,
        question: &Q,
        read: impl FnOnce(Q::Row<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let sequence = self.send(question)?;
        loop {
            return match answers::<Q>(self.receive()?, sequence).next() {
                Some(Ok(Message::Row(row))) => Ok(row.map(read)),
                // ENOENT is the first of these; that the kernel has no such table, a dump has shown before.
                Some(Err(Error::Unsupported | Error::Errno(CoreErrno(libc::ESTALE | libc::EMSGSIZE)))) => Ok(None),
                Some(Err(error)) => Err(error),
                Some(Ok(Message::Done)) => Err(MALFORMED),
                None => continue,
            };
        }
    }

    /// Returns the number that its answer bears.
    fn send<Q: Question>(&mut self, question: &Q) -> Result<u32, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = question.message(self.sequence);
        retry_on_intr(|| net::send(&self.fd, message.as_bytes(), SendFlags::empty()))?;
        Ok(self.sequence)
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        // With TRUNC the second figure is the datagram's true length, also where it did not fit.
        let (copied, length) = retry_on_intr(|| net::recv(&self.fd, &mut *self.buffer, RecvFlags::TRUNC)).map_err(
            |errno| match errno {
                Errno::AGAIN => Error::Timeout,
                Errno::NOBUFS => Error::Truncated,
                errno => errno.into(),
            },
        )?;
        match length {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            length if length > copied => Err(Error::Truncated),
            length => Ok(&self.buffer[..length]),
        }
    }
}

/// A thread that panicked with the lock in hand has left a socket there, or none.
fn spare() -> MutexGuard<'static, Option<(SocketNamespace, DiagSocket)>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other end of a pair of sockets plays the kernel, with real system calls between the two.
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::linux::net::SocketAddrExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Instant;

    use rustix::net::send;
    use seccompiler::{SeccompAction, SeccompFilter};

    use super::super::{Family, Request, Row, States, UnixRequest, UnixRow};
    use super::*;

    const QUEUE_OF_SIX: &[u8] = include_bytes!("../../../tests/fixtures/linux-6.18-queue-of-six.bin");
    const DONE: &[u8] = include_bytes!("../../../tests/fixtures/linux-6.18-done.bin");
    const REQUEST: Request = Request { family: Family::Inet, states: States::LISTENERS_AND_CHILDREN, port: None };

    fn diag(patience: Duration) -> (DiagSocket, OwnedFd) {
        let (diag, kernel) = DiagSocket::played(patience);
        (DiagSocket { buffer: vec![0; 2 * QUEUE_OF_SIX.len()].into(), ..diag }, kernel)
    }

    fn say(kernel: &OwnedFd, datagram: &[u8]) {
        assert_eq!(send(kernel, datagram, SendFlags::empty()), Ok(datagram.len()));
    }

    /// How many rows came before it ended, and how it ended, when the kernel says these.
    fn reads(datagrams: &[&[u8]]) -> (usize, Result<(), Error>) {
        let (mut diag, kernel) = diag(Duration::from_millis(50));
        datagrams.iter().for_each(|datagram| say(&kernel, datagram));
        dump(&mut diag)
    }

    fn dump(diag: &mut DiagSocket) -> (usize, Result<(), Error>) {
        let mut rows = 0;
        let ended = diag.dump(&REQUEST, |_: Row| rows += 1);
        (rows, ended)
    }

    #[test]
    fn whatever_the_kernel_says_is_the_whole_answer_or_an_error() {
        let row = QUEUE_OF_SIX.len() / 8;
        let (first, rest) = QUEUE_OF_SIX.split_at(row);
        let mut lies_about_its_length = first.to_vec();
        lies_about_its_length[..4].copy_from_slice(&(row as u32 + 4).to_ne_bytes());
        let mut of_another_kind = first.to_vec();
        of_another_kind[4] = 0x77;
        let mut of_no_family = first.to_vec();
        of_no_family[16] = 0xee;
        let mut of_another_question = QUEUE_OF_SIX.to_vec();
        of_another_question.chunks_mut(row).for_each(|message| message[8] ^= 1);
        let mut refused_before = DONE.to_vec();
        refused_before[4] = libc::NLMSG_ERROR as u8;
        refused_before[8] ^= 1;
        refused_before[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let too_long = [QUEUE_OF_SIX, QUEUE_OF_SIX, QUEUE_OF_SIX].concat();
        for (sentence, datagrams, expected) in [
            ("an answer in one datagram", vec![QUEUE_OF_SIX, DONE], (8, Ok(()))),
            ("an answer in several", vec![first, rest, DONE], (8, Ok(()))),
            ("nothing listens", vec![DONE], (0, Ok(()))),
            ("an answer to another question before it", vec![&of_another_question, QUEUE_OF_SIX, DONE], (8, Ok(()))),
            ("the refusal of another question before it", vec![&refused_before, QUEUE_OF_SIX, DONE], (8, Ok(()))),
            ("the answer to another question alone", vec![&of_another_question], (0, Err(Error::Timeout))),
            ("the end does not come", vec![QUEUE_OF_SIX], (8, Err(Error::Timeout))),
            ("nothing comes", vec![], (0, Err(Error::Timeout))),
            ("a datagram is cut within a row", vec![&QUEUE_OF_SIX[..row + 40], DONE], (1, Err(MALFORMED))),
            ("a datagram is cut within a header", vec![&first[..7], DONE], (0, Err(MALFORMED))),
            ("more than there is room for", vec![first, &too_long, DONE], (1, Err(Error::Truncated))),
            ("a length that lies", vec![&lies_about_its_length, DONE], (0, Err(MALFORMED))),
            ("a message of another kind", vec![&of_another_kind, DONE], (0, Err(MALFORMED))),
            ("a socket of no family", vec![&of_no_family, DONE], (0, Err(MALFORMED))),
        ] {
            assert_eq!(reads(&datagrams), expected, "{sentence}");
        }
    }

    #[test]
    fn a_kernel_that_hangs_up_is_an_error() {
        let (mut diag, kernel) = diag(PATIENCE);
        say(&kernel, &QUEUE_OF_SIX[..QUEUE_OF_SIX.len() / 8]);
        rustix::net::shutdown(&kernel, rustix::net::Shutdown::Write).expect("hung up");
        let (rows, ended) = dump(&mut diag);
        assert_eq!(rows, 1);
        assert!(matches!(ended, Err(Error::Errno(_))), "{ended:?}");
    }

    #[test]
    fn signals_do_not_end_a_reading() {
        let handled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::clone(&handled)).expect("a handler");
        let (mut diag, kernel) = diag(PATIENCE);
        let (sender, receiver) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            sender.send(rustix::thread::gettid()).expect("its number");
            dump(&mut diag)
        });
        // The number of a thread is enough for the kernel to give the signal to it (`complete_signal`).
        let thread = receiver.recv().expect("its number");
        let waits_in_recv = || {
            let call = std::fs::read_to_string(format!("/proc/self/task/{}/syscall", thread.as_raw_pid()));
            call.is_ok_and(|call| call.starts_with(&format!("{} ", libc::SYS_recvfrom)))
        };
        for _ in 0..20 {
            eventually(waits_in_recv);
            handled.store(false, Ordering::SeqCst);
            rustix::process::kill_process(thread, rustix::process::Signal::USR2).expect("a signal");
            eventually(|| handled.load(Ordering::SeqCst));
        }
        say(&kernel, QUEUE_OF_SIX);
        say(&kernel, DONE);
        assert_eq!(reader.join().expect("no panic"), (8, Ok(())));
    }

    fn eventually(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "not within ten seconds");
            thread::yield_now();
        }
    }

    /// A filter holds for the thread that applies it.
    fn refusing(call: libc::c_long, errno: i32) -> (usize, Result<(), Error>) {
        let (mut diag, kernel) = diag(PATIENCE);
        say(&kernel, QUEUE_OF_SIX);
        say(&kernel, DONE);
        let refused = thread::spawn(move || {
            let filter = SeccompFilter::new(
                BTreeMap::from([(call, vec![])]),
                SeccompAction::Allow,
                SeccompAction::Errno(errno as u32),
                std::env::consts::ARCH.try_into().expect("a known machine"),
            );
            let program: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
            seccompiler::apply_filter(&program).expect("applied");
            dump(&mut diag)
        });
        refused.join().expect("no panic")
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
        for (call, errno, named) in [
            (libc::SYS_recvfrom, libc::ENOBUFS, Error::Truncated),
            (libc::SYS_recvfrom, libc::ENOMEM, Error::Errno(CoreErrno(libc::ENOMEM))),
            (libc::SYS_sendto, libc::ENOBUFS, Error::Errno(CoreErrno(libc::ENOBUFS))),
            (libc::SYS_sendto, libc::EPERM, Error::Errno(CoreErrno(libc::EPERM))),
        ] {
            assert_eq!(refusing(call, errno), (0, Err(named)), "{call} says {errno}");
        }
    }

    #[test]
    fn a_listener_in_another_namespace_is_found_also_where_the_kernel_gives_namespaces_no_numbers() {
        let elsewhere = thread::spawn(|| {
            sockopt::into_new_namespace()?;
            let bound = std::os::unix::net::SocketAddr::from_abstract_name("elsewhere").expect("a name");
            Ok::<_, Error>(std::os::unix::net::UnixListener::bind_addr(&bound).expect("a listener"))
        });
        let listener = match elsewhere.join().expect("no panic") {
            Ok(listener) => listener,
            Err(error) => return eprintln!("skipped: no network namespace: {error}"),
        };
        let inode = sockopt::inode(listener.as_raw_fd()).expect("its inode");
        for namespace in [sockopt::namespace, sockopt::namespace_before_5_14] {
            let mut found = false;
            let request = UnixRequest { states: States::LISTENERS, clients: false };
            let read = DiagSocket::beside_by(namespace, listener.as_raw_fd(), |diag| {
                diag.dump(&request, |row| {
                    found |= matches!(row, UnixRow::Listener { inode: of, .. } if of == inode);
                })
            });
            assert_eq!((read, found), (Ok(()), true));
        }
    }

    #[test]
    fn what_a_reading_has_left_in_the_socket_is_not_taken_for_the_next_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let request = Request { port: Some(port), ..REQUEST };
        for _ in 0..3 {
            let panicked = std::panic::catch_unwind(|| {
                DiagSocket::beside(listener.as_raw_fd(), |diag| diag.dump(&request, |row: Row| panic!("at {row:?}")))
            });
            assert!(panicked.is_err(), "there is a row, and the end behind it");
            let mut rows = 0;
            let read = DiagSocket::beside(listener.as_raw_fd(), |diag| diag.dump(&request, |_| rows += 1));
            assert_eq!((rows, read), (1, Ok(())));
        }
    }
}
