//! What was found of a process, in the words of `accept-queue diagnose`: as JSON (`report.rs`) and as text (`page.rs`). The
//! findings come first (`wording/`), and under them what was observed.

mod page;
mod report;
mod wording;

use std::borrow::Cow;
use std::time::Duration;

use accept_queue_core::outside::examination;
use accept_queue_core::rules::diagnosis::{self, Finding, Gravity};
use accept_queue_core::rules::facts::{Doing, ProcessFacts, ThreadFacts};
use accept_queue_core::vm::distribution::{self, Distribution};
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::vm::threads::Call;
use accept_queue_core::{Endpoint, Error};

pub(crate) use report::Report;
pub(crate) use wording::Worded;

/// What was found of one process, over a time.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    /// The strongest first; never empty.
    pub(crate) findings: Vec<Worded>,
    candidate: Candidate,
    observed: ProcessFacts,
    distribution: Option<Distribution>,
}

impl Diagnosis {
    /// Observes a process throughout the window, and blocks for as long.
    pub(crate) fn of(pid: i32, window: Duration) -> Result<Diagnosis, Error> {
        let (candidate, observed) = examination::examine(pid, window)?;
        let distribution = node(&candidate).map(|node| distribution::read(pid, node));
        Ok(Diagnosis { distribution, ..Diagnosis::without_node(candidate, observed) })
    }

    /// Of what was observed; how other nodes reach it is not asked.
    pub(crate) fn without_node(candidate: Candidate, observed: ProcessFacts) -> Diagnosis {
        let findings = worded(&diagnosis::diagnose(&observed), candidate.pid);
        Diagnosis { findings, candidate, observed, distribution: None }
    }

    /// The same process, whose heartbeats have been missing for this long.
    pub(crate) fn of_silent(self, silent_for: Duration) -> Diagnosis {
        let findings = worded(&diagnosis::diagnose_silent(&self.observed, silent_for), self.candidate.pid);
        Diagnosis { findings, ..self }
    }
}

/// A finding as a person reads it.
#[derive(Debug)]
pub(crate) struct ShownFinding<'a> {
    pub(crate) gravity: Gravity,
    /// What, how bad, how sure.
    pub(crate) heading: String,
    pub(crate) text: Cow<'a, str>,
    pub(crate) advice: Cow<'a, str>,
}

impl Diagnosis {
    /// The findings, where one remedy is said once: all that a missing right kept from being read is one finding. The document of
    /// `--json` has them apart.
    pub(crate) fn shown(&self) -> Vec<ShownFinding<'_>> {
        let lacking: Vec<_> = self.findings.iter().filter_map(|finding| finding.lacks).collect();
        let mut is_said = lacking.len() < 2;
        let mut shown = Vec::new();
        for finding in &self.findings {
            let (text, advice) = match finding.lacks {
                Some(_) if lacking.len() > 1 && is_said => continue,
                Some(_) if !is_said => {
                    is_said = true;
                    let (text, advice) = wording::refused(&lacking);
                    (text.into(), advice.into())
                }
                _ => (finding.text.as_str().into(), finding.advice.as_str().into()),
            };
            shown.push(ShownFinding { gravity: finding.gravity, heading: finding.heading(), text, advice });
        }
        shown
    }
}

fn worded(findings: &[Finding], pid: i32) -> Vec<Worded> {
    findings.iter().map(|finding| Worded::of(finding, pid)).collect()
}

/// A BEAM without a node is named after its program.
fn node(candidate: &Candidate) -> Option<&str> {
    candidate.is_named.then_some(candidate.name.as_str())
}

fn doing(doing: &Doing) -> &'static str {
    match doing {
        Doing::Works => "works",
        Doing::Idle { .. } => "waits for work",
        Doing::Blocked(_) => "is held up",
        Doing::Spins => "computes throughout",
        Doing::Stopped => "is stopped",
        Doing::Unknown => "unknown",
    }
}

fn system_call(facts: &ThreadFacts) -> Option<String> {
    match facts.thread.call {
        Ok(Call::Waiting { number, .. }) => Some(wording::call_name(number)),
        _ => None,
    }
}

fn listens(observed: &ProcessFacts, port: u16) -> bool {
    observed.listeners.iter().any(|facts| matches!(&facts.endpoint, Endpoint::Tcp(address) if address.port == port))
}
