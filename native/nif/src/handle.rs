//! What an Erlang process holds of a listener: a reference to this.

use accept_queue_core::Listener;

/// Nothing but numbers: dropping it closes nothing, and no process needs to be watched for it.
pub(crate) struct Handle(pub(crate) Listener);

#[rustler::resource_impl]
impl rustler::Resource for Handle {}
