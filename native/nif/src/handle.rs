//! What an Erlang process holds of a listener: a reference to this.

use accept_queue_core::Listeners;
use accept_queue_core::watch::{Tick, Watch};
use rustler::ResourceArc;
use std::time::Duration;

use crate::terms::{Reason, Terms};

/// Nothing but numbers and names: dropping it closes nothing, and no process needs to be watched for it.
pub(crate) struct Handle(pub(crate) Listeners);

impl Handle {
    pub(crate) fn new(listeners: Listeners) -> ResourceArc<Handle> {
        ResourceArc::new(Handle(listeners))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for Handle {}

/// What the monitor keeps of a listener.
pub(crate) struct Watched(pub(crate) Watch);

#[rustler::resource_impl]
impl rustler::Resource for Watched {}

/// One reading of each, in order.
pub(crate) type Ticks = Vec<Result<Terms<Tick>, Reason>>;

pub(crate) fn ticks(watches: &[ResourceArc<Watched>], at_ms: u64) -> Ticks {
    let at = Duration::from_millis(at_ms);
    watches.iter().map(|watched| Ok(Terms(watched.0.tick(at)?))).collect()
}
