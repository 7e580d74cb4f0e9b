//! The process as a whole: whether it runs, has descriptors left, and sends heartbeats.

use std::time::Duration;

use super::case::Case;
use super::grade::{Confidence, Graded, Gravity};
use super::threads::CrashDump;
use crate::rules::facts::Run;
use crate::vm::open_files::Descriptors;

/// What was found of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessFinding {
    /// It has ended, and its parent has not asked for its status yet.
    Ended,
    /// Its control group is frozen. Every thread is stopped, and signals wait until it is thawed.
    Frozen {
        /// The file that says so; `None`: the place where its threads wait says so.
        file: Option<String>,
    },
    /// A signal has stopped it.
    Stopped,
    /// A debugger or another tracer has stopped it.
    Traced {
        /// That process.
        tracer: i32,
    },
    /// As many descriptors are open as its limit allows: each accept fails with `EMFILE`.
    DescriptorsExhausted {
        /// Open descriptors.
        used: u64,
        /// The limit in force.
        limit: u64,
    },
    /// Its heartbeats are missing, and no other finding says why.
    NoHeartbeat {
        /// For how long.
        silent_for: Duration,
        /// Whether it can still write a crash dump.
        crash_dump: CrashDump,
    },
}

impl ProcessFinding {
    pub(super) fn id(&self) -> &'static str {
        match self {
            ProcessFinding::Ended => "process_ended",
            ProcessFinding::Frozen { .. } => "cgroup_frozen",
            ProcessFinding::Stopped | ProcessFinding::Traced { .. } => "process_stopped",
            ProcessFinding::DescriptorsExhausted { .. } => "descriptors_exhausted",
            ProcessFinding::NoHeartbeat { .. } => "no_heartbeat",
        }
    }
}

fn certain(found: ProcessFinding, gravity: Gravity) -> Graded<ProcessFinding> {
    Graded { found, gravity, confidence: Confidence::Certain, listener: None }
}

impl Case<'_> {
    pub(super) fn not_running(&self) -> Option<Graded<ProcessFinding>> {
        let finding = match &self.observed.run {
            Run::Runs => return None,
            Run::Ended => ProcessFinding::Ended,
            Run::Stopped => ProcessFinding::Stopped,
            Run::Traced(tracer) => ProcessFinding::Traced { tracer: *tracer },
            Run::Frozen(file) => ProcessFinding::Frozen { file: file.clone() },
        };
        Some(certain(finding, Gravity::Hang))
    }

    pub(super) fn descriptors(&self) -> Option<Graded<ProcessFinding>> {
        let Descriptors { used, limit } = self.observed.descriptors.filter(Descriptors::are_exhausted)?;
        let is_stalled = self.observed.listeners.iter().any(|listener| self.stalled_for(listener).is_some());
        let gravity = if is_stalled { Gravity::Hang } else { Gravity::Trouble };
        Some(certain(ProcessFinding::DescriptorsExhausted { used, limit: limit? }, gravity))
    }

    pub(super) fn no_heartbeat(&self) -> Option<Graded<ProcessFinding>> {
        let finding = ProcessFinding::NoHeartbeat { silent_for: self.silent_for?, crash_dump: self.crash_dump() };
        Some(certain(finding, Gravity::Hang))
    }
}
