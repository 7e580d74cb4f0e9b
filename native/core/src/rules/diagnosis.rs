//! Evidence -> findings: why a VM does not accept, and what can be done that does no harm. Pure.
//!
//! The strongest finding comes first. What is only a consequence of a stronger one is left to its text: a listener that nobody
//! polls is no news of a VM that has been stopped. A finding of [`Gravity::Hang`] asks for two things at once: that clients
//! wait and nobody takes them, or that something cannot go on; and that it was so for as long as `behind` asks for
//! ([`Settings::hold_for`]). A VM that is well never has both.
//!
//! What cannot be told from outside: which Erlang process should accept and what it does instead, whether a pool has reached
//! a limit of its own, and where a thread stands that is on a processor.

use std::fmt;
use std::time::Duration;

use crate::rules::advice::{self, Facts};
use crate::rules::detector::{Condition, Settings};
use crate::rules::evidence::{Doing, Evidence, Held, Lack, ListenerFacts, Run, ThreadFacts};
use crate::vm::calls;
use crate::vm::open_files::Descriptors;
use crate::vm::pollset::{Accepting, Set};
use crate::vm::stack::Origin;
use crate::vm::threads::Role;
use crate::{Counts, Endpoint};

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What.
    pub id: Id,
    /// How bad.
    pub gravity: Gravity,
    /// How sure.
    pub confidence: Confidence,
    /// Of which listener; `None`: of the process.
    pub listener: Option<Endpoint>,
    /// For the person on call: what, since when, which figure says so.
    pub text: String,
    /// What to try. Nothing here makes it worse, but where it says so.
    pub advice: String,
    /// The figures.
    pub figures: Vec<(&'static str, Figure)>,
}

/// One figure of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Figure {
    /// A number, or a time in ms where its name ends in `_ms`.
    Number(u64),
    /// A name, as the process spells it: any character may stand in it.
    Text(String),
}

/// What can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    /// The process has ended.
    ProcessEnded,
    /// Its control group is frozen.
    CgroupFrozen,
    /// A signal or a debugger has stopped it.
    ProcessStopped,
    /// No descriptor is left.
    DescriptorsExhausted,
    /// A native call holds up a scheduler.
    SchedulerBlocked,
    /// A scheduler does nothing but compute.
    SchedulerSpinning,
    /// Its heartbeats stay away, and nothing else says why.
    NoHeartbeat,
    /// The kernel has told of a connection, and nothing has come of it.
    EventNotHandled,
    /// The set that waits for the listener is nobody's.
    UnattendedPollset,
    /// The listener is armed, and nobody fetches the event.
    NobodyPolls,
    /// Nobody has ever called accept.
    NeverAccepted,
    /// No process is in accept.
    NobodyInAccept,
    /// The pool may have reached its limit.
    PoolAtLimit,
    /// Connections wait too long, though somebody accepts.
    Behind,
    /// The queue is full.
    QueueFull,
    /// Many of those who wait have left.
    ClientsGone,
    /// Many connections are held that their peers have closed.
    CloseWaitHeld,
    /// All dirty schedulers of a kind are held up.
    DirtySchedulersExhausted,
    /// `somaxconn` is smaller than the backlog that was asked for, as it seems.
    BacklogClipped,
    /// Something could not be read.
    CannotTell,
    /// One scheduler works without a rest; maybe it has a lot to do.
    SchedulerBusy,
    /// Nothing is wrong.
    Healthy,
}

impl Id {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Id::ProcessEnded => "process_ended",
            Id::CgroupFrozen => "cgroup_frozen",
            Id::ProcessStopped => "process_stopped",
            Id::DescriptorsExhausted => "descriptors_exhausted",
            Id::SchedulerBlocked => "scheduler_blocked",
            Id::SchedulerSpinning => "scheduler_spinning",
            Id::NoHeartbeat => "no_heartbeat",
            Id::EventNotHandled => "event_not_handled",
            Id::UnattendedPollset => "unattended_pollset",
            Id::NobodyPolls => "nobody_polls",
            Id::NeverAccepted => "never_accepted",
            Id::NobodyInAccept => "nobody_in_accept",
            Id::PoolAtLimit => "pool_at_limit",
            Id::Behind => "behind",
            Id::QueueFull => "queue_full",
            Id::ClientsGone => "clients_gone",
            Id::CloseWaitHeld => "close_wait_held",
            Id::DirtySchedulersExhausted => "dirty_schedulers_exhausted",
            Id::BacklogClipped => "backlog_clipped",
            Id::CannotTell => "cannot_tell",
            Id::SchedulerBusy => "scheduler_busy",
            Id::Healthy => "healthy",
        }
    }
}

/// How bad it is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gravity {
    /// Clients wait, or will, and nobody takes them.
    Hang,
    /// Clients are lost or served late, but the VM goes on.
    Trouble,
    /// What could not be read might be a hang.
    Unknown,
    /// All is well.
    Healthy,
    /// Worth knowing.
    Note,
}

impl Gravity {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Gravity::Hang => "hang",
            Gravity::Trouble => "trouble",
            Gravity::Unknown => "unknown",
            Gravity::Healthy => "healthy",
            Gravity::Note => "note",
        }
    }
}

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The kernel says so.
    Certain,
    /// The figures allow hardly anything else.
    Likely,
    /// One of several explanations.
    Possible,
}

impl Confidence {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Certain => "certain",
            Confidence::Likely => "likely",
            Confidence::Possible => "possible",
        }
    }
}

/// What is wrong, the strongest first; never empty: the last word is "healthy" or "cannot tell".
pub fn diagnose(pid: i32, evidence: &Evidence) -> Vec<Finding> {
    judge(&Case { pid, evidence, settings: Settings::default(), silent: None })
}

/// The same of a VM that should have been heard of, and has not for so long: it hangs, whether clients wait or not.
pub fn diagnose_silent(pid: i32, evidence: &Evidence, silent: Duration) -> Vec<Finding> {
    judge(&Case { pid, evidence, settings: Settings::default(), silent: Some(silent) })
}

fn judge(case: &Case) -> Vec<Finding> {
    let evidence = case.evidence;
    let mut found = case.process();
    // Of one that does not run, whatever else does not go on is a consequence.
    let runs = found.is_empty();
    if runs {
        found.extend(case.descriptors());
        let threads = case.threads();
        let is_explained = !found.is_empty() || !threads.is_empty();
        found.extend(threads);
        found.extend(case.silent.filter(|_| !is_explained).map(|silent| case.no_heartbeat(silent)));
        found.extend(evidence.listeners.iter().filter_map(|listener| case.accepting(listener, is_explained)));
        found.extend(evidence.listeners.iter().filter_map(|listener| case.pool(listener)));
    }
    found.extend(evidence.listeners.iter().flat_map(|listener| case.queue(listener)));
    if runs {
        found.extend(case.dirty());
        found.extend(case.busy());
    }
    found.extend(case.lacks());
    if !found.iter().any(|finding| finding.gravity < Gravity::Healthy) {
        found.push(case.healthy());
    }
    // A stable sort: within a gravity the order above is the order of strength.
    found.sort_by_key(|finding| finding.gravity);
    found
}

type IsKind = fn(Role) -> bool;

struct Case<'a> {
    pid: i32,
    evidence: &'a Evidence,
    settings: Settings,
    /// Its heartbeats have stayed away for so long.
    silent: Option<Duration>,
}

impl Case<'_> {
    fn process(&self) -> Vec<Finding> {
        let Case { pid, evidence, .. } = self;
        let nothing_inside =
            "Nothing inside can be asked meanwhile, and no signal but SIGCONT and SIGKILL has an effect.";
        let (id, text, advice, figures) = match &evidence.run {
            Run::Runs => return Vec::new(),
            Run::Ended => (
                Id::ProcessEnded,
                "The process has ended; its parent has not asked for its status yet.".to_owned(),
                "Start it again; look at the parent, which should have noticed.".to_owned(),
                vec![],
            ),
            Run::Stopped => (
                Id::ProcessStopped,
                "The process has been stopped by a signal (SIGSTOP, or job control of a shell): all its threads stand still."
                    .to_owned(),
                format!("Find out who stopped it and why; `kill -CONT {pid}` lets it go on. {nothing_inside}"),
                vec![],
            ),
            Run::Traced(tracer) => (
                Id::ProcessStopped,
                format!("Process {tracer} traces it and has stopped it: all its threads stand still."),
                format!(
                    "If process {tracer} is a debugger that was forgotten, let it detach. No second debugger can attach, and \
                     SIGCONT does not help."
                ),
                vec![("tracer", Figure::Number(u64::try_from(*tracer).unwrap_or_default()))],
            ),
            Run::Frozen(file) => (
                Id::CgroupFrozen,
                "Its control group is frozen: all its threads stand still.".to_owned(),
                format!(
                    "Whoever froze it (docker pause, systemctl freeze, an orchestrator, a snapshot) can thaw it{}. Signals are \
                     delivered then, and a debugger that attaches hangs until then.",
                    file.as_ref().map(|file| thaw(file)).unwrap_or_default()
                ),
                file.iter().map(|file| ("file", Figure::Text(file.clone()))).collect(),
            ),
        };
        vec![Finding {
            id,
            gravity: Gravity::Hang,
            confidence: Confidence::Certain,
            listener: None,
            text,
            advice,
            figures,
        }]
    }

    fn descriptors(&self) -> Option<Finding> {
        let descriptors = self.evidence.descriptors.filter(Descriptors::are_exhausted)?;
        let limit = descriptors.limit?;
        let waits = self.evidence.listeners.iter().any(|listener| self.stands(listener).is_some());
        Some(Finding {
            id: Id::DescriptorsExhausted,
            gravity: if waits { Gravity::Hang } else { Gravity::Trouble },
            confidence: Confidence::Certain,
            listener: None,
            text: format!(
                "{} of {limit} descriptors are open: each accept fails with emfile, until one is closed.",
                descriptors.used
            ),
            advice:
                "Census for who holds them (`ls -l /proc/PID/fd`; CLOSE_WAIT in `accept-queue list`) and let them go. A \
                     higher limit (`ulimit -n`, LimitNOFILE) counts from the next start of the VM, which reads it once."
                    .replace("PID", &self.pid.to_string()),
            figures: vec![("descriptors", Figure::Number(descriptors.used)), ("limit", Figure::Number(limit))],
        })
    }

    /// Nobody is taken, and the head of the queue has waited for long.
    fn stands(&self, listener: &ListenerFacts) -> Option<Duration> {
        listener.standing.filter(|&standing| standing >= self.settings.hold_for)
    }

    fn held(&self) -> impl Iterator<Item = (&ThreadFacts, &Held)> {
        self.evidence.schedulers().filter_map(|facts| match &facts.doing {
            Doing::Held(held) if held.since >= self.settings.hold_for => Some((facts, held)),
            _ => None,
        })
    }

    /// A listener whose connections wait for a scheduler: told of and not handled, or in the schedulers' own set.
    fn waits_for_scheduler(&self, listener: &ListenerFacts) -> bool {
        let is_theirs = |accepting: Accepting| match accepting {
            Accepting::Delivered | Accepting::Armed(Set::Schedulers) => true,
            Accepting::Armed(Set::PollThread) | Accepting::NotArmed(_) | Accepting::NeverAccepted => false,
        };
        self.stands(listener).is_some()
            && listener.accepting.as_ref().is_none_or(|(accepting, _)| is_theirs(*accepting))
    }

    fn threads(&self) -> Vec<Finding> {
        let waiting: Vec<_> =
            self.evidence.listeners.iter().filter(|listener| self.waits_for_scheduler(listener)).collect();
        let mut found: Vec<_> = self.held().map(|(facts, held)| self.blocked(facts, held, &waiting)).collect();
        if found.is_empty() && (!waiting.is_empty() || self.silent.is_some()) {
            let spins = self.evidence.schedulers().filter(|facts| facts.doing == Doing::Spins);
            found.extend(spins.map(|facts| self.spinning(facts, &waiting)));
        }
        found
    }

    fn blocked(&self, facts: &ThreadFacts, held: &Held, waiting: &[&ListenerFacts]) -> Finding {
        let number = match facts.thread.role {
            Role::Scheduler(number) => number,
            _ => 0,
        };
        let call = held
            .call
            .map(|call| calls::name(call).map_or_else(|| format!("system call {call}"), |name| format!("{name}(2)")));
        let channel = facts.thread.wait_channel.as_ref();
        let place = match (&call, channel) {
            (Some(call), _) => call.clone(),
            (None, Some(channel)) => format!("the kernel, in {}", channel.escape_debug()),
            (None, None) => "the kernel, outside of any call (for a page)".to_owned(),
        };
        let frame = held.library.as_ref().or(held.frame.as_ref());
        let by = match frame.map(|frame| (&frame.origin, &frame.symbol)) {
            Some((Origin::Library(library), Some(symbol))) => {
                format!(", called by {} of {}", symbol.escape_debug(), library.escape_debug())
            }
            Some((Origin::Library(library), None)) => format!(", called by {}", library.escape_debug()),
            Some((_, Some(symbol))) => format!(", called by the emulator itself, {}", symbol.escape_debug()),
            Some((_, None)) => ", called by the emulator itself or one of its drivers".to_owned(),
            None => String::new(),
        };
        let is_called_by_library = matches!(frame.map(|frame| &frame.origin), Some(Origin::Library(_)));
        let what = if is_called_by_library {
            "A native call of more than 1 ms belongs on a dirty scheduler"
        } else if held.call == Some(libc::SYS_close) {
            "A close that lingers (`{linger, {true, Seconds}}`) waits for a peer that does not read: leave linger out, or close \
             from a port of its own"
        } else {
            "A call of the emulator that waits for a disk, a peer or a page holds up everything on this scheduler"
        };
        let advice = format!(
            "{what}; `+sfwi 500` lets other schedulers take over meanwhile, from the next start on. The VM comes back when the \
             call returns; a restart ends it and does not mend it. {}{}",
            self.about_dump(),
            if frame.is_some() { "" } else { DEBUGGER }
        )
        .replace("PID", &self.pid.to_string());
        let mut figures = vec![
            ("scheduler", Figure::Number(number.into())),
            ("tid", Figure::Number(u64::try_from(facts.thread.tid).unwrap_or_default())),
            ("since_ms", Figure::Number(held.since.as_millis() as u64)),
            ("cpu_ms", Figure::Number(facts.used.as_millis() as u64)),
            ("waiting_listeners", Figure::Number(waiting.len() as u64)),
        ];
        figures.extend(call.map(|_| ("system_call", Figure::Text(call_name(held.call)))));
        figures.extend(channel.map(|channel| ("wait_channel", Figure::Text(channel.clone()))));
        if let Some(frame) = frame {
            if let Origin::Library(library) = &frame.origin {
                figures.push(("library", Figure::Text(library.clone())));
            }
            figures.extend(frame.symbol.iter().map(|symbol| ("symbol", Figure::Text(symbol.clone()))));
        }
        Finding {
            id: Id::SchedulerBlocked,
            gravity: Gravity::Hang,
            confidence: if waiting.is_empty() { Confidence::Likely } else { Confidence::Certain },
            listener: waiting.first().map(|listener| listener.endpoint.clone()),
            text: format!(
                "Scheduler {number} has been in {place}{by} for {} without using a processor{}.",
                Seconds(held.since),
                meanwhile(waiting)
            ),
            advice,
            figures,
        }
    }

    fn spinning(&self, facts: &ThreadFacts, waiting: &[&ListenerFacts]) -> Finding {
        let number = match facts.thread.role {
            Role::Scheduler(number) => number,
            _ => 0,
        };
        let others_rest = self.evidence.schedulers().any(|facts| matches!(facts.doing, Doing::Rests { .. }));
        Finding {
            id: Id::SchedulerSpinning,
            gravity: Gravity::Hang,
            confidence: if others_rest { Confidence::Likely } else { Confidence::Possible },
            listener: waiting.first().map(|listener| listener.endpoint.clone()),
            text: format!(
                "Scheduler {number} has computed throughout ({} of {}){}. {}",
                Seconds(facts.used),
                Seconds(self.evidence.window),
                meanwhile(waiting),
                if others_rest {
                    "Others have nothing to do, so it is no Erlang code, which they would share: native code that does not \
                     come back."
                } else {
                    "All others compute too: native code that does not come back, or far too much to do."
                }
            ),
            advice: format!(
                "The kernel does not tell where a thread stands that is on a processor: `perf record -g -t {}` does, without \
                 stopping it. A native call of more than 1 ms belongs on a dirty scheduler. {}",
                facts.thread.tid,
                self.about_dump()
            ),
            figures: vec![
                ("scheduler", Figure::Number(number.into())),
                ("tid", Figure::Number(u64::try_from(facts.thread.tid).unwrap_or_default())),
                ("cpu_ms", Figure::Number(facts.used.as_millis() as u64)),
                ("window_ms", Figure::Number(self.evidence.window.as_millis() as u64)),
                ("waiting_listeners", Figure::Number(waiting.len() as u64)),
            ],
        }
    }

    /// Whether a crash dump can be had. SIGUSR1 is handled by Erlang code, and ends the VM.
    fn about_dump(&self) -> String {
        let all = self.evidence.schedulers().count();
        let free = self
            .evidence
            .schedulers()
            .filter(|facts| matches!(facts.doing, Doing::Rests { .. } | Doing::Moves))
            .count();
        if !self.evidence.handles_usr1 {
            "Do not send SIGUSR1: this VM does not handle it (`+B`), and would end without a crash dump. ".to_owned()
        } else if free == 0 {
            format!(
                "SIGUSR1 brings no crash dump now: it is handled by Erlang code, and none of the {all} schedulers is free. "
            )
        } else {
            format!(
                "SIGUSR1 ends the VM with a crash dump only where Erlang code still runs: {free} of {all} schedulers are free, \
                 so it may, or may wait for the one that is not. "
            )
        }
    }

    fn no_heartbeat(&self, silent: Duration) -> Finding {
        Finding {
            id: Id::NoHeartbeat,
            gravity: Gravity::Hang,
            confidence: Confidence::Certain,
            listener: None,
            text: format!(
                "No heartbeat of this VM for {}: at least one of its schedulers runs no Erlang process, and no thread shows why.",
                Seconds(silent)
            ),
            advice: format!(
                "See whether the machine gives the VM the processors that it counts on (a quota of its control group, steal \
                 time), and whether somebody has blocked its schedulers. {}",
                self.about_dump()
            )
            .replace("PID", &self.pid.to_string()),
            figures: vec![("silent_ms", Figure::Number(silent.as_millis() as u64))],
        }
    }

    /// Why nobody takes the head of this queue.
    fn accepting(&self, listener: &ListenerFacts, is_explained: bool) -> Option<Finding> {
        let (accepting, _) = listener.accepting.as_ref()?;
        let endpoint = &listener.endpoint;
        let stands = self.stands(listener);
        let waiting = self.waiting(listener);
        let settled = self.evidence.window >= self.settings.hold_for && listener.is_steady;
        let ask_inside = "The VM runs, so ask it, in a remote shell: `accept_queue:acceptors/1` shows who should accept and what \
                          each does instead. Free the pool or start it again; the VM need not be restarted.";
        let (id, gravity, confidence, text, advice) = match (accepting, stands) {
            (Accepting::NeverAccepted, Some(_)) => (
                Id::NeverAccepted,
                Gravity::Hang,
                // An acceptor that finds a client at once leaves no trace in them.
                Confidence::Likely,
                format!(
                    "No process has ever had to wait in accept on {endpoint}, as one does that is called before the client \
                     comes: it is in none of the VM's epoll sets. {waiting}"
                ),
                "Start whatever should accept on it: the VM itself runs. Census in a remote shell for the process that owns the \
                 socket (`accept_queue:list/0`), and at what it waits for. A restart helps only if acceptors are started then."
                    .to_owned(),
            ),
            (Accepting::NeverAccepted, None) if settled && !listener.has_accepted => (
                Id::NeverAccepted,
                Gravity::Trouble,
                Confidence::Likely,
                format!(
                    "No process has called accept on {endpoint} so far: it is in none of the VM's epoll sets. Clients will be \
                     queued up to {}, and nobody will take them.",
                    u64::from(listener.depth.limit) + 1
                ),
                "Start whatever should accept on it, unless it is about to be: the VM itself runs.".to_owned(),
            ),
            (Accepting::NotArmed(_), Some(_)) => (
                Id::NobodyInAccept,
                Gravity::Hang,
                Confidence::Certain,
                format!(
                    "No process is in accept on {endpoint}, and some process has been: the pool is stuck, has died, or has \
                     reached its limit. {waiting}"
                ),
                ask_inside.to_owned(),
            ),
            (Accepting::NotArmed(_), None) if settled && !listener.has_accepted => (
                Id::NobodyInAccept,
                Gravity::Note,
                Confidence::Possible,
                format!("No process was in accept on {endpoint} during {}; nobody waits.", Seconds(self.evidence.window)),
                "Well, if all acceptors are at work. If they have left, the first client will wait: `accept_queue:acceptors/1` \
                 tells."
                    .to_owned(),
            ),
            (Accepting::Delivered, Some(_)) if is_explained => return None,
            (Accepting::Delivered, Some(_)) if self.all_rest() => (
                Id::NobodyInAccept,
                Gravity::Hang,
                Confidence::Likely,
                format!(
                    "The kernel has told the VM of a connection on {endpoint}, and no process has called accept since; all \
                     schedulers are free to. A socket of the `socket` module looks like this when its acceptors are stuck, have \
                     died, or have reached their limit. {waiting}"
                ),
                ask_inside.to_owned(),
            ),
            (Accepting::Delivered, Some(_)) => (
                Id::EventNotHandled,
                Gravity::Hang,
                Confidence::Likely,
                format!(
                    "The kernel has told the VM of a connection on {endpoint}, and nothing has come of it: a scheduler that \
                     does not come round to it, or (with the `socket` module) no process in accept{}. {waiting}",
                    self.stopped()
                ),
                format!("The threads below show who is at work. {}{DEBUGGER}", self.about_dump())
                    .replace("PID", &self.pid.to_string()),
            ),
            (Accepting::Armed(_), Some(_)) if is_explained => return None,
            (Accepting::Armed(Set::Schedulers), Some(_)) if !listener.is_attended && self.calls_known() => (
                Id::UnattendedPollset,
                Gravity::Hang,
                Confidence::Likely,
                format!(
                    "{endpoint} is armed in the schedulers' epoll set, and no thread waits on that set: nobody will learn of its \
                     connections before some scheduler polls again{}. {waiting}",
                    self.stopped()
                ),
                "Any activity may wake a scheduler: a message to the VM, a timer. If this repeats, report it to OTP with this \
                 output; `+IOs false` keeps descriptors out of that set from the next start on."
                    .to_owned(),
            ),
            (Accepting::Armed(_), Some(_)) => (
                Id::NobodyPolls,
                Gravity::Hang,
                if self.poller_held().is_some() { Confidence::Certain } else { Confidence::Likely },
                format!(
                    "{endpoint} is armed, and connections have come, but nobody fetches the event{}{}. {waiting}",
                    self.poller_held().map(|name| format!(": {} waits elsewhere", name.escape_debug())).unwrap_or_default(),
                    self.stopped()
                ),
                format!("Keep this output: it is evidence of a fault of the emulator or of what stops its threads.{DEBUGGER}")
                    .replace("PID", &self.pid.to_string()),
            ),
            (Accepting::NeverAccepted | Accepting::NotArmed(_) | Accepting::Delivered | Accepting::Armed(_), None) => {
                return None;
            }
        };
        let figures = self.figures(listener);
        Some(Finding { id, gravity, confidence, listener: Some(endpoint.clone()), text, advice, figures })
    }

    /// From outside nothing but the epoll set tells of a pool's limit, and it tells no more than that nobody accepts.
    fn pool(&self, listener: &ListenerFacts) -> Option<Finding> {
        let (Accepting::NotArmed(_), Some(_)) = (listener.accepting.as_ref()?.0, self.stands(listener)) else {
            return None;
        };
        let counts = listener.counts?;
        let served = counts.established + counts.close_wait;
        (served > 0).then(|| Finding {
            id: Id::PoolAtLimit,
            gravity: Gravity::Hang,
            confidence: Confidence::Possible,
            listener: Some(listener.endpoint.clone()),
            text: format!(
                "{} connections of {} are being served: the pool may have reached its limit of connections. From outside that \
                 looks like a pool that is stuck: the epoll set tells only that nobody is in accept.",
                served, listener.endpoint
            ),
            advice: "Compare that number with `max_connections` (ranch), `num_acceptors` (Thousand Island) and the like; \
                     `ranch:info/1` tells both."
                .to_owned(),
            figures: vec![
                ("established", Figure::Number(counts.established.into())),
                ("close_wait", Figure::Number(counts.close_wait.into())),
            ],
        })
    }

    /// What the detector and the limits say of a queue, whoever is to blame.
    fn queue(&self, listener: &ListenerFacts) -> Vec<Finding> {
        let ListenerFacts { endpoint, depth, counts, .. } = listener;
        let mut found = Vec::new();
        let mut say = |id, gravity, confidence, text, advice: &str| {
            let figures = self.figures(listener);
            let advice = advice.to_owned();
            found.push(Finding { id, gravity, confidence, listener: Some(endpoint.clone()), text, advice, figures });
        };
        let holds = |condition| listener.conditions.contains(&condition);
        if holds(Condition::Behind) && listener.has_accepted {
            say(
                Id::Behind,
                Gravity::Trouble,
                Confidence::Certain,
                format!("Connections of {endpoint} are accepted, but wait too long for it. {}", self.waiting(listener)),
                "More acceptors, or less work in each before it accepts again.",
            );
        }
        let is_full = depth.queued > depth.limit;
        if is_full {
            say(
                Id::QueueFull,
                Gravity::Trouble,
                Confidence::Certain,
                format!(
                    "The queue of {endpoint} is full ({} of {}): further clients are dropped without a word ({} dropped \
                     while we looked).",
                    depth.queued,
                    u64::from(depth.limit) + 1,
                    listener.dropped
                ),
                "A longer queue (`accept_queue:resize/2`) helps against bursts only: look first at why nobody takes them.",
            );
        } else if holds(Condition::Overflowing) {
            say(
                Id::QueueFull,
                Gravity::Trouble,
                Confidence::Certain,
                format!("The queue of {endpoint} was full meanwhile: {} packets were dropped.", listener.dropped),
                "Bursts are larger than the backlog: `accept_queue:resize/2`, and more acceptors.",
            );
        }
        if let Some(counts) = counts {
            let left = counts.queued_closed + counts.queued_reset();
            if self.settings.is_abandoned(counts.queued, left) {
                say(
                    Id::ClientsGone,
                    Gravity::Trouble,
                    Confidence::Certain,
                    format!(
                        "{left} of the {} connections that wait on {endpoint} have already left ({} closed, {} reset): a server \
                         that accepts again works for nobody at first.",
                        counts.queued,
                        counts.queued_closed,
                        counts.queued_reset()
                    ),
                    "Skip them with `accept_queue:peer_closed/1` after accept; a smaller backlog turns away sooner those whom \
                     nobody will serve in time.",
                );
            }
            if self.settings.is_leaking(counts.close_wait) {
                say(
                    Id::CloseWaitHeld,
                    Gravity::Trouble,
                    Confidence::Certain,
                    format!(
                        "{} connections of {endpoint} are held in CLOSE_WAIT: their peers have closed, and this VM has not.",
                        counts.close_wait
                    ),
                    "`accept_queue:holders/1` names the processes; they neither read nor close. Descriptors run out next.",
                );
            }
        }
        let clipped = advice::advise(&Facts {
            limit: Some(depth.limit).filter(|_| matches!(endpoint, Endpoint::Tcp(_))),
            somaxconn: self.evidence.somaxconn,
            ..Facts::default()
        });
        if let Some(clipped) = clipped.into_iter().find(|advice| advice.id == "somaxconn_clips") {
            let is_felt = is_full || listener.dropped > 0;
            found.push(Finding {
                id: Id::BacklogClipped,
                gravity: if is_felt { Gravity::Trouble } else { Gravity::Note },
                confidence: Confidence::Possible,
                listener: Some(endpoint.clone()),
                text: format!("The backlog of {endpoint} is {}, which is somaxconn.", depth.limit),
                advice: clipped.text,
                figures: clipped.evidence.into_iter().map(|(name, figure)| (name, Figure::Number(figure))).collect(),
            });
        }
        found
    }

    fn dirty(&self) -> Vec<Finding> {
        let is_io: IsKind = |role| matches!(role, Role::DirtyIo(_));
        let is_cpu: IsKind = |role| matches!(role, Role::DirtyCpu(_));
        let all_held = |is_kind: IsKind| {
            let threads: Vec<_> = self.evidence.threads.iter().filter(|facts| is_kind(facts.thread.role)).collect();
            let is_held = |facts: &&ThreadFacts| match &facts.doing {
                Doing::Held(held) => held.since >= self.settings.hold_for,
                Doing::Spins => true,
                Doing::Moves | Doing::Rests { .. } | Doing::Stopped | Doing::Unknown => false,
            };
            (!threads.is_empty() && threads.iter().all(is_held)).then_some(threads)
        };
        [("I/O", is_io), ("CPU", is_cpu)]
            .into_iter()
            .filter_map(|(kind, is_kind)| {
                let threads = all_held(is_kind)?;
                let library = threads.iter().find_map(|facts| match &facts.doing {
                    Doing::Held(Held { library: Some(frame), .. }) => match &frame.origin {
                        Origin::Library(name) => Some(name.clone()),
                        Origin::Emulator | Origin::System => None,
                    },
                    _ => None,
                });
                let in_library = library.as_ref().map(|name| format!(", in {}", name.escape_debug())).unwrap_or_default();
                let mut figures = vec![("schedulers", Figure::Number(threads.len() as u64))];
                figures.extend(library.map(|library| ("library", Figure::Text(library))));
                Some(Finding {
                    id: Id::DirtySchedulersExhausted,
                    gravity: Gravity::Trouble,
                    confidence: Confidence::Certain,
                    listener: None,
                    text: format!(
                        "All {} dirty {kind} schedulers have been held up throughout{in_library}: files and NIFs that need one \
                         wait. Accept is not affected; what comes after it may be.",
                        threads.len()
                    ),
                    advice: format!(
                        "Census at what the calls wait for (a disk, a lock, a peer); {} allows more from the next start on.",
                        if kind == "I/O" { "`+SDio N`" } else { "`+SDcpu N`" }
                    ),
                    figures,
                })
            })
            .collect()
    }

    /// With no client waiting for it a scheduler that computes may well compute what it should.
    fn busy(&self) -> Option<Finding> {
        let busy: Vec<_> = self.evidence.schedulers().filter(|facts| facts.doing == Doing::Spins).collect();
        if busy.is_empty() || self.evidence.listeners.iter().any(|listener| self.waits_for_scheduler(listener)) {
            return None;
        }
        Some(Finding {
            id: Id::SchedulerBusy,
            gravity: Gravity::Note,
            confidence: Confidence::Possible,
            listener: None,
            text: format!(
                "{} of {} schedulers have computed throughout. From outside Erlang code and a native call that does not come \
                 back look alike while no client waits.",
                busy.len(),
                self.evidence.schedulers().count()
            ),
            advice: "`perf top -t TID` tells the two apart; so does the next client."
                .replace("TID", &busy[0].thread.tid.to_string()),
            figures: vec![("busy_schedulers", Figure::Number(busy.len() as u64))],
        })
    }

    fn lacks(&self) -> Vec<Finding> {
        let evidence = self.evidence;
        let mut found: Vec<_> = evidence
            .lacks
            .iter()
            .map(|lack| {
                let is_blind = matches!(lack, Lack::Calls(_)) && !self.schedulers_known();
                cannot_tell(lack.is_vital() || is_blind, format!("Not seen: {lack}."), "Census again with that right.")
            })
            .collect();
        if !evidence.is_beam {
            let text = "This process runs no BEAM, as far as its command line tells: only its queues were judged, not its threads.";
            found.push(cannot_tell(true, text.to_owned(), "`accept-queue list` shows which processes do."));
        } else if evidence.listeners.is_empty() && !evidence.lacks.iter().any(|lack| lack.is_vital()) {
            let text = "This process listens nowhere.";
            found.push(cannot_tell(
                false,
                text.to_owned(),
                "If it should, look at whether its application was started.",
            ));
        }
        found
    }

    fn healthy(&self) -> Finding {
        let evidence = self.evidence;
        let queued: u64 = evidence.listeners.iter().map(|listener| u64::from(listener.depth.queued)).sum();
        let listeners = evidence.listeners.len();
        Finding {
            id: Id::Healthy,
            gravity: Gravity::Healthy,
            confidence: if self.schedulers_known() { Confidence::Likely } else { Confidence::Possible },
            listener: None,
            text: format!(
                "No sign of a hang in {} looks over {}: {} listener{}, {queued} queued, no scheduler held up.",
                evidence.looks,
                Seconds(evidence.window),
                listeners,
                if listeners == 1 { "" } else { "s" }
            ),
            advice: "If clients hang all the same, look in front of the VM: firewall, load balancer, name resolution."
                .to_owned(),
            figures: vec![("listeners", Figure::Number(listeners as u64)), ("queued", Figure::Number(queued))],
        }
    }

    /// Every scheduler was seen to wait for work, or to do some, and its stack says so; and nobody who may have fetched an event
    /// is kept from handing it on.
    fn all_rest(&self) -> bool {
        let mut schedulers = self.evidence.schedulers().peekable();
        let is_kept = |facts: &ThreadFacts| {
            matches!(facts.thread.role, Role::Poller(_)) && matches!(facts.doing, Doing::Held(_) | Doing::Stopped)
        };
        schedulers.peek().is_some()
            && !self.evidence.threads.iter().any(is_kept)
            && schedulers.all(|facts| matches!(facts.doing, Doing::Rests { is_sure: true } | Doing::Moves))
    }

    fn schedulers_known(&self) -> bool {
        let mut schedulers = self.evidence.schedulers().peekable();
        schedulers.peek().is_some() && schedulers.all(|facts| facts.doing != Doing::Unknown)
    }

    fn calls_known(&self) -> bool {
        self.evidence.schedulers().any(|facts| facts.thread.call.is_ok())
    }

    fn poller_held(&self) -> Option<&str> {
        self.evidence
            .threads
            .iter()
            .find(|facts| matches!(facts.thread.role, Role::Poller(_)) && matches!(facts.doing, Doing::Held(_)))
            .map(|facts| facts.thread.name.as_str())
    }

    /// Threads that somebody else holds, while the process as a whole goes on.
    fn stopped(&self) -> String {
        let is_stopped = |facts: &&ThreadFacts| facts.doing == Doing::Stopped;
        let stopped: Vec<_> = self.evidence.threads.iter().filter(is_stopped).map(|facts| &facts.thread).collect();
        match stopped[..] {
            [] => String::new(),
            [one] => format!("; a debugger has stopped {} (thread {})", one.name.escape_debug(), one.tid),
            [first, ..] => {
                format!("; a debugger has stopped {} threads, {} first", stopped.len(), first.name.escape_debug())
            }
        }
    }

    fn waiting(&self, listener: &ListenerFacts) -> String {
        let longest = listener.counts.and_then(|counts| counts.oldest_wait).or(listener.standing);
        let queued = listener.depth.queued;
        let noun = if queued == 1 { "connection waits" } else { "connections wait" };
        let longest = longest.map(|wait| format!(", the first for {}", Seconds(wait))).unwrap_or_default();
        format!("{queued} {noun} ({} fit){longest}.", u64::from(listener.depth.limit) + 1)
    }

    fn figures(&self, listener: &ListenerFacts) -> Vec<(&'static str, Figure)> {
        let number = |figure: u32| Figure::Number(figure.into());
        let mut figures = vec![
            ("queued", number(listener.depth.queued)),
            ("limit", number(listener.depth.limit)),
            ("dropped", number(listener.dropped)),
        ];
        if let Some(Counts { oldest_wait, established, close_wait, .. }) = listener.counts {
            figures.extend(oldest_wait.map(|wait| ("oldest_wait_ms", Figure::Number(wait.as_millis() as u64))));
            figures.push(("established", number(established)));
            figures.push(("close_wait", number(close_wait)));
        }
        if let Some((_, registrations)) = &listener.accepting {
            let masks: Vec<_> = registrations.iter().map(|found| found.events.to_string()).collect();
            figures.push(("epoll_events", Figure::Text(masks.join(" "))));
        }
        figures
    }
}

const DEBUGGER: &str =
    " `gdb -p PID -batch -ex 'thread apply all bt'` shows every native stack; it stops the VM while it looks.";

fn cannot_tell(is_vital: bool, text: String, advice: &str) -> Finding {
    Finding {
        id: Id::CannotTell,
        gravity: if is_vital { Gravity::Unknown } else { Gravity::Note },
        confidence: Confidence::Certain,
        listener: None,
        text,
        advice: advice.to_owned(),
        figures: vec![],
    }
}

fn call_name(call: Option<i64>) -> String {
    call.map_or_else(String::new, |call| calls::name(call).map_or_else(|| call.to_string(), str::to_owned))
}

fn thaw(file: &str) -> String {
    let escaped = file.escape_debug().to_string();
    match (escaped.strip_suffix("cgroup.events"), escaped.strip_suffix("freezer.state")) {
        (Some(folder), _) => format!(", or `echo 0 > {folder}cgroup.freeze` there or in a group above"),
        (None, Some(_)) => format!(", or `echo THAWED > {escaped}` there or in a group above"),
        (None, None) => String::new(),
    }
}

fn meanwhile(waiting: &[&ListenerFacts]) -> String {
    let Some(first) = waiting.first() else { return "; no client waits so far".to_owned() };
    let others = match waiting.len() {
        1 => String::new(),
        all => format!(" and {} more listeners", all - 1),
    };
    let standing = first.standing.unwrap_or_default();
    format!(
        "; meanwhile {} wait on {}{others}, the first for {}",
        first.depth.queued,
        first.endpoint,
        Seconds(standing)
    )
}

/// For a person: `0.4 s`, `12.3 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::vm::threads::{State, Thread};

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

    #[test]
    fn a_vm_that_is_silent_is_never_told_to_be_well() {
        let rests = Doing::Rests { is_sure: true };
        for (sentence, doing, usually, silent) in [
            ("all rest", rests.clone(), Id::Healthy, Id::NoHeartbeat),
            ("one computes, and it is known not to be Erlang code", Doing::Spins, Id::Healthy, Id::SchedulerSpinning),
        ] {
            let threads = vec![scheduler(1, rests.clone()), scheduler(2, doing)];
            let evidence = Evidence { is_beam: true, looks: 7, threads, ..Evidence::default() };
            let first = |findings: Vec<Finding>| findings.first().map(|finding| finding.id);
            assert_eq!(first(diagnose(7, &evidence)), Some(usually), "{sentence}");
            assert_eq!(first(diagnose_silent(7, &evidence, Duration::from_secs(5))), Some(silent), "{sentence}");
            let stopped = Evidence { run: Run::Stopped, ..evidence };
            assert_eq!(
                first(diagnose_silent(7, &stopped, Duration::from_secs(5))),
                Some(Id::ProcessStopped),
                "{sentence}, but it has been stopped"
            );
        }
    }
}
