//! What an Erlang process holds of a listener: a reference to this.

use std::sync::Arc;

use accept_queue_core::Listeners;
use accept_queue_core::monitor::watch::Watch;
use accept_queue_core::rules::detector::Settings;
use rustler::ResourceArc;

use crate::patrol::now;

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
pub(crate) struct Watched(pub(crate) Arc<Watch>);

impl Watched {
    /// Read once, since what was dropped before this was not watched; whether that works the first round tells.
    pub(crate) fn new(id: u64, handle: &Handle, settings: Settings) -> ResourceArc<Watched> {
        let watch = Watch::new(id, handle.0.clone(), settings, now());
        let _ = watch.read(now());
        ResourceArc::new(Watched(Arc::new(watch)))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for Watched {}
