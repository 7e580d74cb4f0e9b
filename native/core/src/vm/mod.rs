//! Processes seen from outside, through `/proc` alone, and by what epmd tells of them.

pub mod calls;
pub mod descriptors;
pub mod distribution;
pub mod epmd;
mod file;
pub mod find;
pub mod namespace;
pub mod open_files;
pub mod pollset;
pub mod process;
pub mod stack;
#[doc(hidden)] // for the fuzzer
pub mod symbols;
pub mod tcp_table;
pub mod threads;

use rustix::io::Errno;

use crate::Error;

/// Of a process that has ended, `/proc` has no folder, or one that answers nothing.
fn ended(errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::SRCH => Error::NotFound,
        errno => errno.into(),
    }
}
