//! Processes seen from outside, through `/proc` alone, and by what epmd tells of them.

pub mod descriptors;
pub mod epmd;
pub mod find;
pub mod namespace;
pub mod pollset;
pub mod tcp_table;

use rustix::io::Errno;

use crate::Error;

/// Of a process that has ended, `/proc` has no folder, or one that answers nothing.
fn ended(errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::SRCH => Error::NotFound,
        errno => errno.into(),
    }
}
