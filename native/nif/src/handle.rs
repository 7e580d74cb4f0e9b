//! What an Erlang process holds of a listener: a reference to this.

use accept_queue_core::Listeners;
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
