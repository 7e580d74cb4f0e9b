//! What an Erlang process holds of a listener: a reference to this.

use accept_queue_core::Listeners;
use accept_queue_core::detector::{Time, on_clock};
use accept_queue_core::history::Tick;
use accept_queue_core::watch::Watch;
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

/// By the clock of the VM, in milliseconds since it started.
pub(crate) fn time(at_ms: u64) -> Time {
    on_clock(Duration::from_millis(at_ms))
}

/// What there is to say, with the place of the watch it is about, counted from 1.
pub(crate) type Ticks = Vec<(usize, Result<Terms<Tick>, Reason>)>;

/// Reads each. A tick that changed nothing and wants nothing is left out, unless all are asked for.
pub(crate) fn ticks(watches: &[ResourceArc<Watched>], at_ms: u64, all: bool) -> Ticks {
    let at = time(at_ms);
    let tick = |(index, watched): (usize, &ResourceArc<Watched>)| match watched.0.tick(at) {
        Ok(tick) if !all && tick.is_quiet() => None,
        tick => Some((index + 1, tick.map(Terms).map_err(Reason::from))),
    };
    watches.iter().enumerate().filter_map(tick).collect()
}
