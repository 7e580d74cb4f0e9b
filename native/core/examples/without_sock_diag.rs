//! Runs a program in a sandbox that refuses sock_diag: `without_sock_diag PROGRAM ARGUMENTS...`. For the tests of what is left
//! without it.

#[path = "../tests/sandbox/mod.rs"]
mod sandbox;

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: without_sock_diag PROGRAM ARGUMENTS...")?;
    // The refusal of a usual seccomp profile.
    sandbox::refuse_sock_diag(libc::EPERM)?;
    Err(Command::new(program).args(arguments).exec().into())
}
