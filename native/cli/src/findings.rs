//! What was found of a process, in the words of `accept-queue diagnose`: as JSON and as text. The findings come first, the
//! evidence under them.

use std::fmt::Write as _;
use std::time::Duration;

use accept_queue_core::outside::examination;
use accept_queue_core::rules::diagnosis::{self, Figure, Finding};
use accept_queue_core::rules::evidence::{Doing, Evidence, Held, ListenerFacts, Run, ThreadFacts};
use accept_queue_core::vm::calls;
use accept_queue_core::vm::distribution::{self, Distribution, Epmd};
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::vm::open_files::Descriptors;
use accept_queue_core::vm::pollset::{Accepting, Set};
use accept_queue_core::vm::stack::Origin;
use accept_queue_core::vm::threads::{Call, Role};
use accept_queue_core::{Endpoint, Error};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Map, Value};

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
    listeners: Vec<Listener>,
    threads: Vec<ThreadReport<'a>>,
    descriptors: Option<Open>,
    node: Option<Node<'a>>,
    somaxconn: Option<u64>,
    handles_usr1: bool,
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct FindingReport<'a> {
    id: &'static str,
    gravity: &'static str,
    confidence: &'static str,
    listener: Option<String>,
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
struct Open {
    used: u64,
    limit: Option<u64>,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    port: Option<u16>,
    is_listening: Option<bool>,
    epmd: Option<&'static str>,
    epmd_port: Option<u16>,
}

#[derive(Serialize)]
struct Registered {
    descriptor: i32,
    set: &'static str,
    events: String,
}

#[derive(Serialize)]
struct Listener {
    address: String,
    queued: u32,
    limit: u32,
    accepting: Option<&'static str>,
    epoll: Vec<Registered>,
    standing_ms: Option<u64>,
    has_accepted: bool,
    dropped: u32,
    counts: Option<Figures>,
}

/// What was found of one process, in a time.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub(crate) findings: Vec<Finding>,
    candidate: Candidate,
    evidence: Evidence,
    distribution: Option<Distribution>,
}

impl Diagnosis {
    /// CensusScope at a process throughout the time.
    pub(crate) fn of(pid: i32, window: Duration) -> Result<Diagnosis, Error> {
        let (candidate, evidence) = examination::examine(pid, window)?;
        let distribution = node(&candidate).map(|node| distribution::read(pid, node));
        Ok(Diagnosis { distribution, ..Diagnosis::without_node(candidate, evidence) })
    }

    /// Of what was seen; nobody is asked how other nodes reach it.
    pub(crate) fn without_node(candidate: Candidate, evidence: Evidence) -> Diagnosis {
        let findings = diagnosis::diagnose(candidate.pid, &evidence);
        Diagnosis { findings, candidate, evidence, distribution: None }
    }

    /// Whom, and how often, and for how long.
    pub(crate) fn title(&self) -> String {
        let Diagnosis { candidate, evidence, .. } = self;
        format!(
            "{}, looked at {} times in {:.1} s",
            Process::from(candidate).shown(),
            evidence.looks,
            evidence.window.as_secs_f64()
        )
    }

    /// A table of those that decide, and of whoever else does not rest.
    pub(crate) fn threads(&self) -> String {
        threads(&self.evidence)
    }

    /// It should have been heard of, and has not for so long.
    pub(crate) fn of_silent(self, silent: Duration) -> Diagnosis {
        let findings = diagnosis::diagnose_silent(self.candidate.pid, &self.evidence, silent);
        Diagnosis { findings, ..self }
    }

    /// For a program.
    pub(crate) fn report(&self) -> Report<'_> {
        let Diagnosis { findings, candidate, evidence, distribution } = self;
        Report {
            schema: SCHEMA,
            process: Process::from(candidate),
            is_beam: evidence.is_beam,
            state: state(&evidence.run),
            window_ms: evidence.window.as_millis() as u64,
            looks: evidence.looks,
            findings: findings.iter().map(finding).collect(),
            listeners: evidence.listeners.iter().map(listener).collect(),
            threads: evidence.threads.iter().map(thread).collect(),
            descriptors: evidence.descriptors.map(|Descriptors { used, limit }| Open { used, limit }),
            node: node(candidate).map(|name| distributed(name, evidence, distribution.as_ref())),
            somaxconn: evidence.somaxconn,
            handles_usr1: evidence.handles_usr1,
            unreadable: evidence.lacks.iter().map(ToString::to_string).collect(),
        }
    }

    /// For a person.
    pub(crate) fn page(&self) -> String {
        let Diagnosis { findings, candidate, evidence, distribution } = self;
        let mut page = format!("{}\n\n", self.title());
        for finding in findings {
            let _ = writeln!(page, "{}\n  {}\n  -> {}\n", heading(finding), finding.text, finding.advice);
        }
        if !evidence.listeners.is_empty() {
            let rows = evidence.listeners.iter().map(|facts| {
                let events = facts.accepting.iter().flat_map(|(_, found)| found).map(|found| found.events.to_string());
                vec![
                    facts.endpoint.to_string(),
                    format!("{}/{}", facts.depth.queued, facts.depth.limit),
                    facts.standing.map_or_else(|| "-".to_owned(), |standing| format!("{:.1}", standing.as_secs_f64())),
                    facts.accepting.as_ref().map_or("?", |(accepting, _)| accepting_word(*accepting)).to_owned(),
                    events.collect::<Vec<_>>().join(" "),
                ]
            });
            page.push_str(&table(&["LISTENER", "QUEUED", "STANDS s", "ACCEPT", "EPOLL"], rows));
        }
        page.push_str(&threads(evidence));
        let descriptors = evidence.descriptors.map_or_else(
            || "unknown".to_owned(),
            |open| {
                format!(
                    "{} of {}",
                    open.used,
                    open.limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string())
                )
            },
        );
        let _ = writeln!(page, "descriptors: {descriptors}");
        if let (Some(node), Some(known)) = (node(candidate), distribution) {
            let said = match known.epmd {
                Epmd::Port(port) if listens(evidence, port) => {
                    format!("epmd knows its port, {port}, and it listens there")
                }
                Epmd::Port(port) => format!("epmd says port {port}, where this process does not listen"),
                Epmd::Unknown => "epmd does not know it: other nodes cannot connect".to_owned(),
                Epmd::Silent(error) => format!("epmd does not answer on port {} ({error})", known.epmd_port),
            };
            let _ = writeln!(page, "node {}: {said}", node.escape_debug());
        }
        page
    }
}

/// What, how bad, how sure.
pub(crate) fn heading(Finding { id, gravity, confidence, .. }: &Finding) -> String {
    format!("{} ({}, {})", id.name(), gravity.name(), confidence.name())
}

fn node(candidate: &Candidate) -> Option<&str> {
    // A BEAM without a node bears the name of its program.
    candidate.is_named.then_some(candidate.name.as_str())
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

fn finding(finding: &Finding) -> FindingReport<'_> {
    FindingReport {
        id: finding.id.name(),
        gravity: finding.gravity.name(),
        confidence: finding.confidence.name(),
        listener: finding.listener.as_ref().map(Endpoint::to_string),
        text: &finding.text,
        advice: &finding.advice,
        evidence: finding.figures.iter().map(|(name, figure)| ((*name).to_owned(), value(figure))).collect(),
    }
}

fn value(figure: &Figure) -> Value {
    match figure {
        Figure::Number(number) => Value::from(*number),
        Figure::Text(text) => Value::from(text.as_str()),
    }
}

fn listener(facts: &ListenerFacts) -> Listener {
    let registrations = facts.accepting.iter().flat_map(|(_, registrations)| registrations);
    Listener {
        address: facts.endpoint.to_string(),
        queued: facts.depth.queued,
        limit: facts.depth.limit,
        accepting: facts.accepting.as_ref().map(|(accepting, _)| accepting_word(*accepting)),
        epoll: registrations
            .map(|found| Registered {
                descriptor: found.epoll,
                set: match found.set {
                    Set::PollThread => "poll_thread",
                    Set::Schedulers => "schedulers",
                },
                events: found.events.to_string(),
            })
            .collect(),
        standing_ms: facts.standing.map(|standing| standing.as_millis() as u64),
        has_accepted: facts.has_accepted,
        dropped: facts.dropped,
        counts: facts.counts.as_ref().map(Figures::from),
    }
}

fn accepting_word(accepting: Accepting) -> &'static str {
    match accepting {
        Accepting::Armed(_) => "armed",
        Accepting::Delivered => "delivered",
        Accepting::NotArmed(_) => "not_armed",
        Accepting::NeverAccepted => "never_accepted",
    }
}

fn thread(facts: &ThreadFacts) -> ThreadReport<'_> {
    let held = match &facts.doing {
        Doing::Held(held) => Some(held),
        _ => None,
    };
    let frame = held.and_then(|held| held.library.as_ref().or(held.frame.as_ref()));
    ThreadReport {
        tid: facts.thread.tid,
        name: &facts.thread.name,
        role: role(facts.thread.role),
        state: facts.thread.state.name(),
        doing: doing(&facts.doing),
        cpu_ms: facts.used.as_millis() as u64,
        system_call: system_call(facts),
        wait_channel: facts.thread.wait_channel.as_deref(),
        held_ms: held.map(|held| held.since.as_millis() as u64),
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

fn doing(doing: &Doing) -> &'static str {
    match doing {
        Doing::Moves => "works",
        Doing::Rests { .. } => "waits for work",
        Doing::Held(_) => "is held up",
        Doing::Spins => "computes throughout",
        Doing::Stopped => "is stopped",
        Doing::Unknown => "unknown",
    }
}

fn system_call(facts: &ThreadFacts) -> Option<String> {
    match facts.thread.call {
        Ok(Call::Waiting { number, .. }) => Some(calls::name(number).map_or_else(|| number.to_string(), str::to_owned)),
        _ => None,
    }
}

fn distributed<'a>(name: &'a str, evidence: &Evidence, distribution: Option<&Distribution>) -> Node<'a> {
    let port = distribution.and_then(|known| match known.epmd {
        Epmd::Port(port) => Some(port),
        Epmd::Unknown | Epmd::Silent(_) => None,
    });
    Node {
        name,
        port,
        is_listening: port.map(|port| listens(evidence, port)),
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

fn listens(evidence: &Evidence, port: u16) -> bool {
    evidence.listeners.iter().any(|facts| matches!(&facts.endpoint, Endpoint::Tcp(address) if address.port == port))
}

/// Those that decide, and whoever of the others does not rest.
fn threads(evidence: &Evidence) -> String {
    let is_told = |facts: &&ThreadFacts| {
        matches!(facts.thread.role, Role::Scheduler(_) | Role::Poller(_))
            || matches!(facts.doing, Doing::Held(_) | Doing::Spins)
    };
    let rows = evidence.threads.iter().filter(is_told).take(MOST_ROWS).map(|facts| {
        let place = system_call(facts).or_else(|| facts.thread.wait_channel.clone()).unwrap_or_else(|| "-".to_owned());
        let since = match &facts.doing {
            Doing::Held(Held { since, .. }) => format!("{:.1}", since.as_secs_f64()),
            _ => "-".to_owned(),
        };
        vec![
            facts.thread.tid.to_string(),
            facts.thread.name.escape_debug().to_string(),
            doing(&facts.doing).to_owned(),
            place.escape_debug().to_string(),
            since,
            facts.used.as_millis().to_string(),
        ]
    });
    table(&["TID", "THREAD", "DOES", "IN", "SINCE s", "CPU ms"], rows)
}

/// A screen or two; all of them are in the JSON document.
const MOST_ROWS: usize = 64;

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    table.trim_fmt() + "\n\n"
}
