//! What was read and what could not be: whether `healthy` can be said at all.

use std::time::Duration;

use super::case::Case;
use super::grade::{Confidence, Graded, Gravity};
use crate::rules::facts::{Doing, Unread};

/// What is known, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoverageFinding {
    /// Something could not be read.
    Unread(Unread),
    /// The process runs no BEAM, as far as its command line and the names of its threads show: only its queues were judged.
    NoBeam,
    /// It has no listener.
    NoListener,
    /// Nothing is wrong.
    Healthy {
        /// How many readings were taken.
        readings: usize,
        /// Between the first and the last of them.
        window: Duration,
        /// How many listeners there are.
        listeners: usize,
        /// Connections that wait on all of them.
        queued: u64,
    },
}

impl CoverageFinding {
    pub(super) fn id(&self) -> &'static str {
        match self {
            CoverageFinding::Unread(_) | CoverageFinding::NoBeam | CoverageFinding::NoListener => "cannot_tell",
            CoverageFinding::Healthy { .. } => "healthy",
        }
    }
}

fn graded(found: CoverageFinding, gravity: Gravity, confidence: Confidence) -> Graded<CoverageFinding> {
    Graded { found, gravity, confidence, listener: None }
}

impl Case<'_> {
    pub(super) fn coverage(&self) -> Vec<Graded<CoverageFinding>> {
        let observed = self.observed;
        let cannot_tell =
            |what, is_vital| graded(what, if is_vital { Gravity::Unknown } else { Gravity::Note }, Confidence::Certain);
        let unread = |unread: &Unread| {
            let is_blind = matches!(unread, Unread::Calls(_)) && !self.are_schedulers_known();
            cannot_tell(CoverageFinding::Unread(*unread), unread.is_vital() || is_blind)
        };
        let mut found: Vec<_> = observed.unread.iter().map(unread).collect();
        if !observed.is_beam {
            found.push(cannot_tell(CoverageFinding::NoBeam, true));
        } else if observed.listeners.is_empty() && !observed.unread.iter().any(Unread::is_vital) {
            found.push(cannot_tell(CoverageFinding::NoListener, false));
        }
        found
    }

    pub(super) fn healthy(&self) -> Graded<CoverageFinding> {
        let observed = self.observed;
        let confidence = if self.are_schedulers_known() { Confidence::Likely } else { Confidence::Possible };
        let healthy = CoverageFinding::Healthy {
            readings: observed.readings,
            window: observed.window,
            listeners: observed.listeners.len(),
            queued: observed.listeners.iter().map(|listener| u64::from(listener.depth.queued)).sum(),
        };
        graded(healthy, Gravity::Healthy, confidence)
    }

    fn are_schedulers_known(&self) -> bool {
        let mut schedulers = self.observed.schedulers().peekable();
        schedulers.peek().is_some() && schedulers.all(|facts| facts.doing != Doing::Unknown)
    }
}
