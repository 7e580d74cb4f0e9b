//! `accept-queue list`: one reading of every listener of the processes that were asked for.

use std::io::Write;

use accept_queue_core::Error;
use accept_queue_core::outside::{self, Gap, Owned, Owner, Scope};
use accept_queue_core::vm::find::Candidate;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::ListOptions;

/// The document of `--json`; absent figures are null.
#[derive(Serialize)]
struct Report {
    schema: u32,
    listeners: Vec<Listener>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Listener {
    address: String,
    owners: Vec<Process>,
    queued: u32,
    limit: u32,
    drops: Option<u32>,
    syn_recv: Option<u32>,
    queued_alive: u32,
    queued_closed: u32,
    queued_reset: u32,
    queued_bytes: Option<u64>,
    oldest_wait_ms: Option<u64>,
    established: u32,
    close_wait: u32,
    sockets: u32,
}

#[derive(Serialize)]
struct Process {
    pid: i32,
    name: String,
}

/// A process of which something could not be read.
#[derive(Serialize)]
struct Unreadable {
    #[serde(flatten)]
    process: Process,
    reason: String,
}

pub(crate) fn run(options: &ListOptions) -> Result<(), String> {
    let scope = match options.pid {
        Some(pid) => Scope::Process(pid),
        None if options.all => Scope::Everybody,
        None => Scope::Beams,
    };
    let snapshot = outside::snapshot(&scope).map_err(|error| match (error, options.pid) {
        (Error::NotFound, Some(pid)) => format!("there is no process {pid}"),
        (error, _) => format!("the kernel's sockets could not be read: {error}"),
    })?;
    let report = Report {
        schema: 1,
        listeners: snapshot.queues.iter().map(listener).collect(),
        unreadable: snapshot.gaps.iter().map(unreadable).collect(),
    };
    let text = if options.json { json(&report)? } else { table(&report) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("standard output: {error}")),
    }
}

fn listener(owned: &Owned) -> Listener {
    let counts = &owned.queue.look.counts;
    Listener {
        address: owned.queue.endpoint.to_string(),
        owners: owned.owners.iter().map(|Owner { process, .. }| Process::of(process)).collect(),
        queued: counts.queued,
        limit: counts.limit,
        drops: counts.drops,
        syn_recv: counts.syn_recv,
        queued_alive: counts.queued_alive,
        queued_closed: counts.queued_closed,
        queued_reset: counts.queued_reset(),
        queued_bytes: counts.queued_bytes,
        oldest_wait_ms: counts.oldest_wait.map(|wait| wait.as_millis() as u64),
        established: counts.established,
        close_wait: counts.close_wait,
        sockets: counts.sockets,
    }
}

fn unreadable(gap: &Gap) -> Unreadable {
    Unreadable { process: Process::of(&gap.process), reason: gap.missing.to_string() }
}

impl Process {
    fn of(process: &Candidate) -> Process {
        Process { pid: process.pid, name: process.name.clone() }
    }
}

fn json(report: &Report) -> Result<String, String> {
    serde_json::to_string(report).map(|text| text + "\n").map_err(|error| format!("the report is no JSON: {error}"))
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    if report.listeners.is_empty() {
        text.push_str("No listener found.\n");
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "ADDRESS",
            "QUEUED",
            "LIMIT",
            "ALIVE",
            "CLOSED",
            "RESET",
            "OLDEST ms",
            "DROPS",
            "SYN_RECV",
            "ESTABLISHED",
            "CLOSE_WAIT",
            "OWNER",
        ]);
        table.add_rows(report.listeners.iter().map(cells));
        text.push_str(&table.trim_fmt());
        text.push('\n');
    }
    for Unreadable { process: Process { pid, name }, reason } in &report.unreadable {
        text.push_str(&format!("not seen: process {pid} ({}): {reason}\n", name.escape_debug()));
    }
    text
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn cells(listener: &Listener) -> Vec<String> {
    let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    vec![
        listener.address.clone(),
        listener.queued.to_string(),
        listener.limit.to_string(),
        listener.queued_alive.to_string(),
        listener.queued_closed.to_string(),
        listener.queued_reset.to_string(),
        or_dash(listener.oldest_wait_ms),
        or_dash(listener.drops.map(u64::from)),
        or_dash(listener.syn_recv.map(u64::from)),
        listener.established.to_string(),
        listener.close_wait.to_string(),
        // A process chooses its own name: no control character of it reaches the terminal.
        join(listener.owners.iter().map(|owner| format!("{} ({})", owner.name.escape_debug(), owner.pid))),
    ]
}
