//! The two numbers by which the kernel names a socket.

/// The number that names a socket for as long as the machine runs; never given twice (`sk_cookie`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// The number that `/proc/PID/fd` shows for a socket; 0 for a connection that no process has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u32);
