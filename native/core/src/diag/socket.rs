//! The asking: one netlink socket, one dump at a time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use zerocopy::IntoBytes;

use super::netlink::{Message, Question, messages};
use crate::vm::namespace::within;
use crate::{Error, sockopt};

/// A netlink socket to sock_diag, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct DiagSocket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// The kernel fills datagrams of up to this size once it has seen a reader with so much room (`netlink_recvmsg` keeps
/// `max_recvmsg_len`, capped at 32 KiB).
const DATAGRAM: usize = 32 * 1024;
/// The kernel answers within the system call; silence is a sandbox that swallows the question.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that nobody reads from now, and the number of its namespace, which is the one this process lives in: elsewhere it
/// would keep the namespace alive. To make and to close one costs 4 us, and where the table of descriptors has become full it
/// is there already. A second reader at the same time makes one of its own.
static SPARE: Mutex<Option<(u64, DiagSocket)>> = Mutex::new(None);

impl DiagSocket {
    /// Opens the socket. Linux lets everybody do this, so any refusal is a sandbox that does not offer sock_diag.
    pub fn open() -> Result<DiagSocket, Error> {
        DiagSocket::with_room(DATAGRAM)
    }

    /// Reads through one in the network namespace of a socket, which may be another than that of this thread. There it needs
    /// CAP_NET_ADMIN and CAP_SYS_ADMIN.
    pub fn beside<T>(socket: RawFd, read: impl FnOnce(&mut DiagSocket) -> Result<T, Error>) -> Result<T, Error> {
        let theirs = sockopt::namespace(socket)?;
        let kept = spare().take_if(|(home, _)| Some(*home) == theirs);
        let (home, mut diag) = match kept {
            Some((home, diag)) => (Some(home), diag),
            None => {
                let here = DiagSocket::open()?;
                match (sockopt::namespace(here.fd.as_raw_fd())?, theirs) {
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
        Ok(DiagSocket { fd, sequence: 0, buffer: vec![0; bytes].into() })
    }

    /// Asks, and hands each row to `each` as it comes. On an error the rows seen so far are not the whole: throw them
    /// away, and the socket too, for the rest of the answer may still be in it.
    pub fn dump<Q: Question>(&mut self, question: &Q, mut each: impl FnMut(Q::Row<'_>)) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = question.message(self.sequence);
        retry_on_intr(|| net::send(&self.fd, message.as_bytes(), SendFlags::empty()))?;
        loop {
            let datagram = self.receive()?;
            for message in messages::<Q>(datagram) {
                match message? {
                    Message::Row(Some(row)) => each(row),
                    Message::Row(None) => {}
                    Message::Done => return Ok(()),
                }
            }
        }
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
fn spare() -> MutexGuard<'static, Option<(u64, DiagSocket)>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
