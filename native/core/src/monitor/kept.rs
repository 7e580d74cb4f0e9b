//! What the poller keeps open to ask for the sockets of its own network namespace.

use crate::linux::diag::KeptDiagSocket;
use crate::linux::sockstat::Sockstat;

/// Opened where it is first needed.
#[derive(Debug, Default)]
pub struct Kept {
    pub(super) diag: KeptDiagSocket,
    pub(super) sockstat: Sockstat,
}
