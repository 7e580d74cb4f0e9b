//! The document of `diagnose --json`.

use accept_queue_core::rules::facts::{Doing, ListenerFacts, Member, ProcessFacts, Run, ThreadFacts};
use accept_queue_core::vm::distribution::{Distribution, Epmd};
use accept_queue_core::vm::open_files::Descriptors;
use accept_queue_core::vm::pollset::Set;
use accept_queue_core::vm::stack::Origin;
use accept_queue_core::vm::threads::Role;
use serde::Serialize;
use serde_json::{Map, Value};

use super::wording::unread;
use super::{Diagnosis, Worded, doing, listens, node, system_call};
use crate::accepting;
use crate::figures::{Figures, Process, SCHEMA};

/// The document of `--json`.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    schema: u32,
    #[serde(flatten)]
    process: Process,
    is_beam: bool,
    state: &'static str,
    window_ms: u64,
    looks: usize,
    findings: Vec<FindingReport<'a>>,
    listeners: Vec<ListenerReport>,
    threads: Vec<ThreadReport<'a>>,
    descriptors: Option<DescriptorsReport>,
    node: Option<NodeReport<'a>>,
    somaxconn: Option<u64>,
    handles_usr1: bool,
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct FindingReport<'a> {
    id: &'static str,
    gravity: &'static str,
    confidence: &'static str,
    listener: Option<&'a str>,
    text: &'a str,
    advice: &'a str,
    evidence: Map<String, Value>,
}

#[derive(Serialize)]
struct ThreadReport<'a> {
    tid: i32,
    name: &'a str,
    role: String,
    state: &'static str,
    doing: &'static str,
    cpu_ms: u64,
    system_call: Option<String>,
    wait_channel: Option<&'a str>,
    held_ms: Option<u64>,
    library: Option<&'a str>,
    symbol: Option<&'a str>,
}

#[derive(Serialize)]
struct DescriptorsReport {
    used: u64,
    limit: Option<u64>,
}

#[derive(Serialize)]
struct NodeReport<'a> {
    name: &'a str,
    port: Option<u16>,
    is_listening: Option<bool>,
    epmd: Option<&'static str>,
    epmd_port: Option<u16>,
}

#[derive(Serialize)]
struct RegistrationReport {
    descriptor: i32,
    set: &'static str,
    events: String,
}

#[derive(Serialize)]
struct ListenerReport {
    address: String,
    queued: u32,
    limit: u32,
    accepting: Option<&'static str>,
    epoll: Vec<RegistrationReport>,
    standing_ms: Option<u64>,
    has_accepted: bool,
    dropped: u32,
    counts: Option<Figures>,
    /// Where several share the address.
    sockets: Vec<SocketReport>,
}

#[derive(Serialize)]
struct SocketReport {
    fd: i32,
    inode: u32,
    queued: u32,
    limit: u32,
    accepting: Option<&'static str>,
    standing_ms: Option<u64>,
    has_accepted: bool,
    dropped: u32,
}

impl Diagnosis {
    /// The document of `--json`.
    pub(crate) fn report(&self) -> Report<'_> {
        let Diagnosis { findings, candidate, observed, distribution } = self;
        Report {
            schema: SCHEMA,
            process: Process::from(candidate),
            is_beam: observed.is_beam,
            state: state(&observed.run),
            window_ms: observed.window.as_millis() as u64,
            looks: observed.readings,
            findings: findings.iter().map(finding).collect(),
            listeners: observed.listeners.iter().map(listener).collect(),
            threads: observed.threads.iter().map(thread).collect(),
            descriptors: observed.descriptors.map(|Descriptors { used, limit }| DescriptorsReport { used, limit }),
            node: node(candidate).map(|name| distributed(name, observed, distribution.as_ref())),
            somaxconn: observed.somaxconn,
            handles_usr1: observed.handles_usr1,
            unreadable: observed.unread.iter().map(unread).collect(),
        }
    }
}

fn state(run: &Run) -> &'static str {
    match run {
        Run::Runs => "runs",
        Run::Stopped => "stopped",
        Run::Traced(_) => "traced",
        Run::Frozen(_) => "frozen",
        Run::Ended => "ended",
    }
}

fn finding(finding: &Worded) -> FindingReport<'_> {
    FindingReport {
        id: finding.id,
        gravity: finding.gravity.name(),
        confidence: finding.confidence.name(),
        listener: finding.listener.as_deref(),
        text: &finding.text,
        advice: &finding.advice,
        evidence: finding.figures.iter().map(|(name, figure)| ((*name).to_owned(), figure.clone())).collect(),
    }
}

fn listener(facts: &ListenerFacts) -> ListenerReport {
    let registrations = facts.accepting.iter().flat_map(|(_, registrations)| registrations);
    ListenerReport {
        address: facts.endpoint.to_string(),
        queued: facts.depth.queued,
        limit: facts.depth.limit,
        accepting: facts.accepting.as_ref().map(|(how, _)| accepting::word(*how)),
        epoll: registrations
            .map(|found| RegistrationReport {
                descriptor: found.epoll,
                set: match found.set {
                    Set::PollThread => "poll_thread",
                    Set::Schedulers => "schedulers",
                },
                events: found.events.to_string(),
            })
            .collect(),
        standing_ms: standing_ms(facts),
        has_accepted: facts.has_accepted,
        dropped: facts.dropped,
        counts: facts.counts.as_ref().map(Figures::from),
        sockets: facts.members.iter().filter_map(|facts| Some(socket(facts.member?, facts))).collect(),
    }
}

fn socket(Member { fd, inode }: Member, facts: &ListenerFacts) -> SocketReport {
    SocketReport {
        fd,
        inode: inode.0,
        queued: facts.depth.queued,
        limit: facts.depth.limit,
        accepting: facts.accepting.as_ref().map(|(how, _)| accepting::word(*how)),
        standing_ms: standing_ms(facts),
        has_accepted: facts.has_accepted,
        dropped: facts.dropped,
    }
}

fn standing_ms(facts: &ListenerFacts) -> Option<u64> {
    facts.stalled_for.map(|stalled_for| stalled_for.as_millis() as u64)
}

fn thread(facts: &ThreadFacts) -> ThreadReport<'_> {
    let blocked = match &facts.doing {
        Doing::Blocked(blocked) => Some(blocked),
        _ => None,
    };
    let frame = blocked.and_then(|blocked| blocked.library.as_ref().or(blocked.frame.as_ref()));
    ThreadReport {
        tid: facts.thread.tid,
        name: &facts.thread.name,
        role: role(facts.thread.role),
        state: facts.thread.state.name(),
        doing: doing(&facts.doing),
        cpu_ms: facts.used.as_millis() as u64,
        system_call: system_call(facts),
        wait_channel: facts.thread.wait_channel.as_deref(),
        held_ms: blocked.map(|blocked| blocked.since.as_millis() as u64),
        library: frame.and_then(|frame| match &frame.origin {
            Origin::Library(name) => Some(name.as_str()),
            Origin::Emulator | Origin::System => None,
        }),
        symbol: frame.and_then(|frame| frame.symbol.as_deref()),
    }
}

fn role(role: Role) -> String {
    let (word, number) = match role {
        Role::Scheduler(number) => ("scheduler", Some(number)),
        Role::DirtyCpu(number) => ("dirty_cpu_scheduler", Some(number)),
        Role::DirtyIo(number) => ("dirty_io_scheduler", Some(number)),
        Role::Poller(number) => ("poller", Some(number)),
        Role::Aux(number) => ("aux", Some(number)),
        Role::Async(number) => ("async", Some(number)),
        Role::Signals => ("signals", None),
        Role::Messages => ("messages", None),
        Role::Main => ("main", None),
        Role::Other => ("other", None),
    };
    number.map_or_else(|| word.to_owned(), |number| format!("{word} {number}"))
}

fn distributed<'a>(name: &'a str, observed: &ProcessFacts, distribution: Option<&Distribution>) -> NodeReport<'a> {
    let port = distribution.and_then(|known| match known.epmd {
        Epmd::Port(port) => Some(port),
        Epmd::Unknown | Epmd::Silent(_) => None,
    });
    NodeReport {
        name,
        port,
        is_listening: port.map(|port| listens(observed, port)),
        epmd: distribution.map(|known| epmd(known.epmd)),
        epmd_port: distribution.map(|known| known.epmd_port),
    }
}

fn epmd(epmd: Epmd) -> &'static str {
    match epmd {
        Epmd::Port(_) => "knows",
        Epmd::Unknown => "does_not_know",
        Epmd::Silent(_) => "silent",
    }
}
