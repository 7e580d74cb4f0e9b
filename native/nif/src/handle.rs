//! The resources behind the references that an Erlang process holds of a listener.

use std::sync::{Arc, OnceLock};

use accept_queue_core::Listeners;
use accept_queue_core::monitor::watch::Watch;
use accept_queue_core::reading::waits::Found;
use accept_queue_core::rules::detector::Settings;
use rustler::ResourceArc;

use crate::clock::now;

/// Nothing but numbers and names: dropping it closes nothing, and no process needs to be watched for it.
pub(crate) struct Handle(pub(crate) Listeners, OnceLock<Found>);

impl Handle {
    pub(crate) fn new(listeners: Listeners) -> ResourceArc<Handle> {
        ResourceArc::new(Handle(listeners, OnceLock::new()))
    }

    /// Where the waits of its connections are counted: looked up with the first of them.
    pub(crate) fn histograms(&self) -> &Found {
        self.1.get_or_init(|| Found::of(&self.0))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for Handle {}

/// What the monitor keeps of a listener.
pub(crate) struct Watched(pub(crate) Arc<Watch>);

impl Watched {
    /// Reads the listener once, so that later drops are counted from here. An error is that of the first poll.
    pub(crate) fn new(id: u64, handle: &Handle, settings: Settings) -> ResourceArc<Watched> {
        let watch = Watch::new(id, handle.0.clone(), settings, now());
        let _ = watch.read(now());
        ResourceArc::new(Watched(Arc::new(watch)))
    }
}

#[rustler::resource_impl]
impl rustler::Resource for Watched {}
