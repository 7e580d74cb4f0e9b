//! What an Erlang process holds of a listener: a reference to this.

use accept_queue_core::Listeners;
use accept_queue_core::watch::Watch;
use rustler::ResourceArc;

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
