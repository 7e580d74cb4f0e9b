//! The one closed list of what can go wrong. "Could not read" is always one of these, never a zero.

use std::fmt;

/// Why a reading could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel, or the sandbox around this process, does not offer the call.
    #[error("this kernel or sandbox does not offer the call that the reading needs")]
    Unsupported,
    /// A socket, but not one that listens.
    #[error("the socket does not listen")]
    NotListening,
    /// The listener has been closed, whatever its descriptor number stands for now.
    #[error("the listener has been closed")]
    Closed,
    /// No socket listens there.
    #[error("no listener was found")]
    NotFound,
    /// The time in the queue of a connection that has been written to is not to be had: what the kernel keeps is the time
    /// since it last sent.
    #[error("the connection has already been written to")]
    AlreadyWritten,
    /// The reply was larger than the room for it: rows are lost, so no figure can be given.
    #[error("the kernel's reply was cut short")]
    Truncated,
    /// The table changed under the walk in a way that the kernel itself calls inconsistent.
    #[error("the kernel's dump was interrupted")]
    Interrupted,
    /// The kernel did not answer in time.
    #[error("the kernel did not answer in time")]
    Timeout,
    /// Any other refusal, under the kernel's own name for it.
    #[error("the kernel refused: {0}")]
    Errno(Errno),
}

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// A reply whose bytes are not what the protocol promises.
    pub const BAD_MESSAGE: Errno = Errno(libc::EBADMSG);

    /// The name in lower case, as Erlang spells it: `einval`.
    pub fn name(self) -> &'static str {
        match self.0 {
            libc::EACCES => "eacces",
            libc::EAFNOSUPPORT => "eafnosupport",
            libc::EAGAIN => "eagain",
            libc::EBADF => "ebadf",
            libc::EBADMSG => "ebadmsg",
            libc::EBUSY => "ebusy",
            libc::ECONNREFUSED => "econnrefused",
            libc::EFAULT => "efault",
            libc::EINTR => "eintr",
            libc::EINVAL => "einval",
            libc::EIO => "eio",
            libc::EISDIR => "eisdir",
            libc::ELOOP => "eloop",
            libc::EMFILE => "emfile",
            libc::ENAMETOOLONG => "enametoolong",
            libc::ENFILE => "enfile",
            libc::ENOBUFS => "enobufs",
            libc::ENODEV => "enodev",
            libc::ENOENT => "enoent",
            libc::ENOMEM => "enomem",
            libc::ENOPROTOOPT => "enoprotoopt",
            libc::ENOSYS => "enosys",
            libc::ENOTCONN => "enotconn",
            libc::ENOTDIR => "enotdir",
            libc::ENOTSOCK => "enotsock",
            libc::EOPNOTSUPP => "eopnotsupp",
            libc::EOVERFLOW => "eoverflow",
            libc::EPERM => "eperm",
            libc::EPROTONOSUPPORT => "eprotonosupport",
            libc::ESOCKTNOSUPPORT => "esocktnosupport",
            libc::ESRCH => "esrch",
            libc::ETIMEDOUT => "etimedout",
            _ => "eunknown",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Error::Errno(Errno(errno.raw_os_error()))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Error::Errno(Errno(number)),
            None => Error::Errno(Errno::BAD_MESSAGE),
        }
    }
}
