//! The poller thread as a resource of an Erlang process, and its reports as messages.

use accept_queue_core::monitor::poller::{Poller, Report, Reporter};
use rustler::{LocalPid, OwnedEnv, ResourceArc};

use crate::clock::now;
use crate::terms::{Reason, Terms};

/// Dropping the last reference ends the thread, some time later: the library is never unmapped (`build.rs`).
pub(crate) struct PollerHandle(pub(crate) Poller);

impl PollerHandle {
    pub(crate) fn start(reports_to: LocalPid) -> Result<ResourceArc<PollerHandle>, Reason> {
        let poller = Poller::start(now, reporter(reports_to)).map_err(|error| Reason::Core(error.into()))?;
        Ok(ResourceArc::new(PollerHandle(poller)))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for PollerHandle {}

/// Sends `{accept_queue_poller, Report}` to this process. Where it has ended, the next monitor reads the state of each watch.
pub(crate) fn reporter(pid: LocalPid) -> Reporter {
    let mut env = OwnedEnv::new();
    Box::new(move |report: Report| {
        let _ = env.send_and_clear(&pid, |_| Terms(report));
    })
}
