//! What is judged, and by which settings.

use std::time::Duration;

use crate::rules::detector::Settings;
use crate::rules::facts::{ListenerFacts, ProcessFacts};

pub(super) struct Case<'a> {
    pub(super) observed: &'a ProcessFacts,
    pub(super) settings: Settings,
    /// No heartbeat for this long.
    pub(super) silent_for: Option<Duration>,
}

impl Case<'_> {
    /// For how long none was accepted while clients waited, where that is long enough to judge.
    pub(super) fn stalled_for(&self, listener: &ListenerFacts) -> Option<Duration> {
        listener.stalled_for.filter(|&stalled_for| stalled_for >= self.settings.hold_for)
    }
}
