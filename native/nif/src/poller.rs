//! The thread that reads what is watched, as an Erlang process holds it, and its reports as messages.

use std::sync::LazyLock;
use std::time::Instant;

use accept_queue_core::detector::{Time, on_clock};
use accept_queue_core::patrol::{Patrol, Report, Reporter};
use rustler::{LocalPid, OwnedEnv, ResourceArc};

use crate::terms::{Reason, Terms};

/// The thread ends with the last reference to this. The library is never unmapped (`build.rs`), so that it may take its time.
pub(crate) struct PollerHandle(pub(crate) Patrol);

impl PollerHandle {
    pub(crate) fn start(reports_to: LocalPid) -> Result<ResourceArc<PollerHandle>, Reason> {
        let poller = Patrol::start(now, reporter(reports_to)).map_err(|error| Reason::Core(error.into()))?;
        Ok(ResourceArc::new(PollerHandle(poller)))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for PollerHandle {}

/// The one clock of what is watched. The VM's own may only be asked by its schedulers.
pub(crate) fn now() -> Time {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    on_clock(BEGUN.elapsed())
}

/// A message to this process, `{accept_queue_poller, Report}`. Where it has ended, whoever comes next asks what holds.
pub(crate) fn reporter(pid: LocalPid) -> Reporter {
    let mut env = OwnedEnv::new();
    Box::new(move |report: Report| {
        let _ = env.send_and_clear(&pid, |_| Terms(report));
    })
}
