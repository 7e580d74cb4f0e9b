//! What was read last, as the screen shows it, and what is open below the table.

use std::sync::Arc;
use std::time::Duration;

use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::linux::namespace::Namespace;

use super::examiner::Examined;
use super::row::ListenerRow;
use super::traffic::Traffic;

/// What was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Since the first reading.
    pub(crate) elapsed: Duration,
    /// How long the last reading took.
    pub(crate) took: Duration,
    pub(crate) rows: Vec<ListenerRow>,
    /// What could not be read, each printable.
    pub(crate) gaps: Vec<String>,
    pub(crate) kernel: Option<Counters>,
    pub(crate) traffic: Traffic,
    /// Processes that a signal has stopped, each printable.
    pub(crate) stopped: Vec<String>,
    /// What was found of a process, and when, since the first reading.
    pub(crate) examined: Option<(Duration, Arc<Examined>)>,
}

/// The counters of a network namespace, now and when the program began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) namespace: Namespace,
    pub(crate) now: Kernel,
    pub(crate) first: Kernel,
}

/// What is open below the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pane {
    /// All that is known of the selected listener.
    Detail,
    /// The threads of its process, and why that does not accept.
    Threads,
}
