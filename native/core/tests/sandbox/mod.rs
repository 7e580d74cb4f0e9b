//! A sandbox that refuses sock_diag, as gVisor, some seccomp profiles and a kernel without inet_diag do.

use std::collections::BTreeMap;
use std::error::Error;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// `socket(AF_NETLINK, _, NETLINK_SOCK_DIAG)` answers this to the calling thread, and to what it starts.
pub(crate) fn refuse_sock_diag(errno: i32) -> Result<(), Box<dyn Error>> {
    let argument =
        |index, value: i32| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value as u64);
    let refused = SeccompRule::new(vec![argument(0, libc::AF_NETLINK)?, argument(2, libc::NETLINK_SOCK_DIAG)?])?;
    let filter: BpfProgram = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_socket, vec![refused])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    Ok(seccompiler::apply_filter(&filter)?)
}
