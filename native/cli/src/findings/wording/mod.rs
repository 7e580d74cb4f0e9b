//! The findings of core in the words of a person on call: what, since when, which figure says so, and what to try.

mod accepting;
mod coverage;
mod process;
mod queue;
mod threads;

use std::time::Duration;

use accept_queue_core::Endpoint;
use accept_queue_core::rules::diagnosis::{Confidence, CoverageFinding, Finding, Gravity, Subject};
use accept_queue_core::rules::facts::Unread;
use serde_json::Value;

use coverage::is_for_want_of_a_right;
pub(super) use coverage::{refused, unread};
pub(super) use threads::call_name;

use crate::condition::seconds;

/// A finding with its words.
#[derive(Debug)]
pub(crate) struct Worded {
    pub(crate) id: &'static str,
    pub(crate) gravity: Gravity,
    pub(super) confidence: Confidence,
    pub(super) listener: Option<String>,
    /// What, since when, which figure says so. Printable.
    pub(crate) text: String,
    /// What to try. Nothing here makes it worse, unless it says so. Printable.
    pub(crate) advice: String,
    /// Numbers, times in ms, and names as the process spells them: these may have any character in them.
    pub(super) figures: NamedFigures,
    /// What a missing right keeps from being read.
    pub(super) lacks: Option<Unread>,
}

type NamedFigures = Vec<(&'static str, Value)>;

/// Text, advice and figures of one finding.
struct Words {
    text: String,
    advice: String,
    figures: NamedFigures,
}

impl Worded {
    /// Of a finding about this process.
    pub(super) fn of(finding: &Finding, pid: i32) -> Worded {
        let listener = finding.listener.as_ref().map(Endpoint::to_string);
        let at = listener.as_deref().unwrap_or_default();
        let Words { text, advice, figures } = match &finding.subject {
            Subject::Process(found) => process::words(found, pid),
            Subject::Threads(found) => threads::words(found, pid, at),
            Subject::Accepting(found) => accepting::words(found, pid, at),
            Subject::Queue(found) => queue::words(found, at),
            Subject::Coverage(found) => coverage::words(found),
        };
        let Finding { gravity, confidence, more, .. } = *finding;
        let text = if more > 0 { format!("{text} {more} more are like this one, and not listed.") } else { text };
        let lacks = match finding.subject {
            Subject::Coverage(CoverageFinding::Unread(what)) if is_for_want_of_a_right(&what) => Some(what),
            _ => None,
        };
        Worded { id: finding.id(), gravity, confidence, listener, text, advice, figures, lacks }
    }

    /// What, how bad, how sure.
    pub(crate) fn heading(&self) -> String {
        format!("{} ({}, {})", self.id, self.gravity.name(), self.confidence.name())
    }
}

fn millis(time: Duration) -> Value {
    Value::from(time.as_millis() as u64)
}

fn debugger(pid: i32) -> String {
    format!("`gdb -p {pid} -batch -ex 'thread apply all bt'` shows every native stack; it stops the VM while it looks.")
}

#[cfg(test)]
mod tests;
