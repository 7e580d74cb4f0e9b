//! Runs a program in a sandbox that refuses sock_diag, as gVisor and some seccomp profiles do:
//! `without_sock_diag PROGRAM ARGUMENTS...`. For the tests of what is left without it.

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: without_sock_diag PROGRAM ARGUMENTS...")?;
    seccompiler::apply_filter(&filter()?)?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// `socket(AF_NETLINK, _, NETLINK_SOCK_DIAG)` answers EPERM, the refusal of a usual seccomp profile.
fn filter() -> Result<BpfProgram, Box<dyn Error>> {
    let argument =
        |index, value: i32| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value as u64);
    let refused = SeccompRule::new(vec![argument(0, libc::AF_NETLINK)?, argument(2, libc::NETLINK_SOCK_DIAG)?])?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_socket, vec![refused])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
