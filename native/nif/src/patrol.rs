//! The thread that reads what is watched, as an Erlang process holds it, and its reports as messages.

use std::sync::LazyLock;
use std::time::Instant;

use accept_queue_core::monitor::poller::{Poller, Report, Reporter};
use accept_queue_core::rules::detector::{Time, on_clock};
use rustler::{LocalPid, OwnedEnv, ResourceArc};

use crate::terms::{Reason, Terms};

/// The thread ends with the last reference to this. The library is never unmapped (`build.rs`), so that it may take its time.
pub(crate) struct Patrolling(pub(crate) Poller);

impl Patrolling {
    pub(crate) fn start(reports_to: LocalPid) -> Result<ResourceArc<Patrolling>, Reason> {
        let patrol = Poller::start(now, reporter(reports_to)).map_err(|error| Reason::Core(error.into()))?;
        Ok(ResourceArc::new(Patrolling(patrol)))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for Patrolling {}

/// The one clock of what is watched. The VM's own may only be asked by its schedulers.
pub(crate) fn now() -> Time {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    on_clock(BEGUN.elapsed())
}

/// A message to this process, `{accept_queue_patrol, Report}`. Where it has ended, whoever comes next asks what holds.
pub(crate) fn reporter(pid: LocalPid) -> Reporter {
    let mut env = OwnedEnv::new();
    Box::new(move |report: Report| {
        let _ = env.send_and_clear(&pid, |_| Terms(report));
    })
}
