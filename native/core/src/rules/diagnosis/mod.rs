//! Why a VM does not accept: what was observed of a process -> findings, the strongest first. Pure.
//!
//! A finding is an id, how bad it is, how sure that is, the listener, and the figures that say so; the program words it. What is
//! only a consequence of a stronger finding is left out: that no thread polls a listener is no news of a VM that has been stopped.
//!
//! A finding of [`Gravity::Hang`] needs two things: clients wait and none is accepted, or a thread cannot go on; and this held for
//! as long as `behind` asks for ([`Settings::hold_for`]). A healthy VM never has both.
//!
//! What cannot be known from outside: which Erlang process should accept and what it does instead, whether a pool has reached
//! a limit of its own, and where a thread is that runs on a processor.

mod accepting;
mod case;
mod coverage;
mod grade;
mod process;
mod queue;
mod threads;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

pub use accepting::{AcceptingFinding, NotAccepting, StoppedThreads};
pub use coverage::CoverageFinding;
pub use grade::{Confidence, Gravity};
pub use process::ProcessFinding;
pub use queue::{QueueFigures, QueueFinding, QueueTrouble};
pub use threads::{BlockedScheduler, CrashDump, DirtyKind, SchedulerThread, ThreadsFinding, WaitingClients};

use case::Case;
use grade::Graded;

use crate::Endpoint;
use crate::rules::detector::Settings;
use crate::rules::facts::ProcessFacts;

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What, with its figures.
    pub subject: Subject,
    /// How bad.
    pub gravity: Gravity,
    /// How sure.
    pub confidence: Confidence,
    /// Of which listener; `None`: of the process.
    pub listener: Option<Endpoint>,
    /// So many others with the same id are left out: the last of [`MOST_ALIKE`] has their number.
    pub more: usize,
}

/// Findings with the same id that are kept: those of the deepest queues. A VM may have thousands of listeners, and an address as many
/// sockets.
pub const MOST_ALIKE: usize = 8;

/// What a finding is about. Each kind has its own figures.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// The process as a whole.
    Process(ProcessFinding),
    /// Schedulers and poll threads.
    Threads(ThreadsFinding),
    /// Why no process accepts on a listener.
    Accepting(AcceptingFinding),
    /// A queue, whatever the cause.
    Queue(QueueFinding),
    /// What was read, and what could not be.
    Coverage(CoverageFinding),
}

impl Finding {
    /// Its stable name, as in JSON.
    pub fn id(&self) -> &'static str {
        match &self.subject {
            Subject::Process(finding) => finding.id(),
            Subject::Threads(finding) => finding.id(),
            Subject::Accepting(finding) => finding.id(),
            Subject::Queue(finding) => finding.id(),
            Subject::Coverage(finding) => finding.id(),
        }
    }

    /// How many wait in the queue that it is about.
    fn queued(&self) -> u32 {
        match &self.subject {
            Subject::Accepting(AcceptingFinding::NotAccepting(_, queue))
            | Subject::Queue(QueueFinding::Trouble(_, queue)) => queue.depth.queued,
            Subject::Process(_)
            | Subject::Threads(_)
            | Subject::Accepting(AcceptingFinding::PoolAtLimit { .. })
            | Subject::Queue(QueueFinding::BacklogClipped { .. })
            | Subject::Coverage(_) => 0,
        }
    }
}

/// What is wrong, the strongest first; never empty: where nothing is wrong, `healthy` or `cannot_tell` is the only one.
pub fn diagnose(observed: &ProcessFacts) -> Vec<Finding> {
    judge(&Case { observed, settings: Settings::default(), silent_for: None })
}

/// The same of a VM whose heartbeats have been missing for this long: it hangs, whether clients wait or not.
pub fn diagnose_silent(observed: &ProcessFacts, silent_for: Duration) -> Vec<Finding> {
    judge(&Case { observed, settings: Settings::default(), silent_for: Some(silent_for) })
}

fn judge(case: &Case) -> Vec<Finding> {
    let listeners = &case.observed.listeners;
    let mut found: Vec<Finding> = case.not_running().into_iter().map(about(Subject::Process)).collect();
    // Where the process does not run, everything else that does not go on is a consequence.
    let runs = found.is_empty();
    if runs {
        found.extend(case.descriptors().map(about(Subject::Process)));
        found.extend(case.schedulers().into_iter().map(about(Subject::Threads)));
        let is_explained = !found.is_empty();
        found.extend(case.no_heartbeat().filter(|_| !is_explained).map(about(Subject::Process)));
        found.extend(
            listeners.iter().flat_map(|listener| case.accepting(listener, is_explained)).map(about(Subject::Accepting)),
        );
        found.extend(listeners.iter().filter_map(|listener| case.pool(listener)).map(about(Subject::Accepting)));
    }
    found.extend(listeners.iter().flat_map(|listener| case.queue(listener)).map(about(Subject::Queue)));
    if runs {
        found.extend(case.dirty_schedulers().map(about(Subject::Threads)));
        found.extend(case.busy_schedulers().map(about(Subject::Threads)));
    }
    found.extend(case.coverage().into_iter().map(about(Subject::Coverage)));
    if !found.iter().any(|finding| finding.gravity < Gravity::Healthy) {
        found.push(about(Subject::Coverage)(case.healthy()));
    }
    // A stable sort: within a gravity the order above is the order of strength.
    found.sort_by_key(|finding| finding.gravity);
    bounded(found)
}

/// Of those that are alike the gravest and deepest few, in the order in which they stand.
fn bounded(found: Vec<Finding>) -> Vec<Finding> {
    let mut alike: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, finding) in found.iter().enumerate() {
        alike.entry(finding.id()).or_default().push(index);
    }
    let mut more = vec![Some(0); found.len()];
    for mut indices in alike.into_values().filter(|indices| indices.len() > MOST_ALIKE) {
        indices.sort_by_key(|&index| (found[index].gravity, Reverse(found[index].queued())));
        let left_out = indices.split_off(MOST_ALIKE);
        if let Some(&last) = indices.iter().max() {
            more[last] = Some(left_out.len());
        }
        left_out.into_iter().for_each(|index| more[index] = None);
    }
    found.into_iter().zip(more).filter_map(|(finding, more)| Some(Finding { more: more?, ..finding })).collect()
}

/// Of findings that were graded by their subject.
fn about<T>(subject: fn(T) -> Subject) -> impl Fn(Graded<T>) -> Finding {
    move |Graded { found, gravity, confidence, listener }| Finding {
        subject: subject(found),
        gravity,
        confidence,
        listener,
        more: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::facts::{Doing, Run, ThreadFacts};
    use crate::vm::threads::{Role, State, Thread};
    use crate::{Depth, Error};

    fn scheduler(number: u32, doing: Doing) -> ThreadFacts {
        let thread = Thread {
            tid: number as i32,
            name: format!("{number}_scheduler"),
            role: Role::Scheduler(number),
            state: State::Running,
            cpu: Duration::ZERO,
            delayed: Duration::ZERO,
            wait_channel: None,
            call: Err(Error::Unsupported),
        };
        ThreadFacts { thread, used: Duration::ZERO, doing }
    }

    fn full(name: usize, queued: u32) -> Finding {
        let queue = QueueFigures {
            member: None,
            depth: Depth { queued, limit: 5, drops: None },
            dropped: 0,
            counts: None,
            stalled_for: None,
            epoll_events: None,
        };
        Finding {
            subject: Subject::Queue(QueueFinding::Trouble(QueueTrouble::Full, Box::new(queue))),
            gravity: Gravity::Trouble,
            confidence: Confidence::Certain,
            listener: Some(Endpoint::Unix(format!("/{name}").into_bytes())),
            more: 0,
        }
    }

    #[test]
    fn of_many_that_are_alike_the_deepest_are_kept_and_the_others_counted() {
        let few: Vec<_> = (0..MOST_ALIKE).map(|name| full(name, 6)).collect();
        assert_eq!(bounded(few.clone()), few);
        let many = (0..5000).map(|name| full(name, (name / 1000) as u32));
        let kept = bounded(many.collect());
        let mut expected: Vec<_> = (4000..4000 + MOST_ALIKE).map(|name| full(name, 4)).collect();
        expected[MOST_ALIKE - 1].more = 5000 - MOST_ALIKE;
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_vm_without_heartbeats_is_never_healthy() {
        let idle = Doing::Idle { is_sure: true };
        for (sentence, doing, usually, silent) in [
            ("all are idle", idle.clone(), "healthy", "no_heartbeat"),
            ("one computes, and it is known not to be Erlang code", Doing::Spins, "healthy", "scheduler_spinning"),
        ] {
            let threads = vec![scheduler(1, idle.clone()), scheduler(2, doing)];
            let observed = ProcessFacts { is_beam: true, readings: 7, threads, ..ProcessFacts::default() };
            let first = |findings: Vec<Finding>| findings.first().map(Finding::id);
            assert_eq!(first(diagnose(&observed)), Some(usually), "{sentence}");
            assert_eq!(first(diagnose_silent(&observed, Duration::from_secs(5))), Some(silent), "{sentence}");
            let stopped = ProcessFacts { run: Run::Stopped, ..observed };
            assert_eq!(
                first(diagnose_silent(&stopped, Duration::from_secs(5))),
                Some("process_stopped"),
                "{sentence}, but it has been stopped"
            );
        }
    }
}
