//! `accept-queue list`: one reading of every listener of the processes that were asked for.

use std::io::Write;

use accept_queue_core::census::Group;
use accept_queue_core::vm::find::{self, Candidate};
use accept_queue_core::{Error, survey};
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
    pid: i32,
    name: String,
    address: String,
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

/// A process whose descriptors this user may not see.
#[derive(Serialize)]
struct Unreadable {
    pid: i32,
    name: String,
    reason: String,
}

pub(crate) fn run(options: &ListOptions) -> Result<(), String> {
    let candidates = match options.pid {
        Some(pid) => vec![find::by_pid(pid).map_err(|error| match error {
            Error::NotFound => format!("there is no process {pid}"),
            error => format!("process {pid}: {error}"),
        })?],
        None => find::candidates().map_err(|error| format!("the processes could not be read: {error}"))?,
    };
    let wanted = candidates.into_iter().filter(|process| process.is_beam || options.all || options.pid.is_some());
    let groups = survey().map_err(|error| format!("the kernel's sockets could not be read: {error}"))?;
    let report = report(wanted, &groups);
    let text = if options.json { json(&report)? } else { table(&report) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("standard output: {error}")),
    }
}

fn report(processes: impl Iterator<Item = Candidate>, groups: &[Group]) -> Report {
    let mut report = Report { schema: 1, listeners: Vec::new(), unreadable: Vec::new() };
    for process in processes {
        match find::sockets(process.pid) {
            Ok(held) => {
                let own = groups.iter().filter(|group| group.sockets.iter().any(|(_, inode)| held.contains(inode)));
                report.listeners.extend(own.map(|group| listener(&process, group)));
            }
            // It ended while we looked.
            Err(Error::NotFound) => {}
            Err(error) => {
                let reason = format!("{error}; CAP_SYS_PTRACE or its own user may look");
                report.unreadable.push(Unreadable { pid: process.pid, name: process.name, reason });
            }
        }
    }
    report
}

fn listener(process: &Candidate, group: &Group) -> Listener {
    let counts = &group.counts;
    Listener {
        pid: process.pid,
        name: process.name.clone(),
        address: group.address.to_string(),
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

fn json(report: &Report) -> Result<String, String> {
    serde_json::to_string(report).map(|text| text + "\n").map_err(|error| format!("the report is no JSON: {error}"))
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    if report.listeners.is_empty() {
        text.push_str("No TCP listener found.\n");
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
            "PID",
            "NAME",
        ]);
        table.add_rows(report.listeners.iter().map(cells));
        text.push_str(&table.trim_fmt());
        text.push('\n');
    }
    for Unreadable { pid, name, reason } in &report.unreadable {
        text.push_str(&format!("not seen: process {pid} ({}): {reason}\n", name.escape_debug()));
    }
    text
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
        listener.pid.to_string(),
        // A process chooses its own name: no control character of it reaches the terminal.
        listener.name.escape_debug().to_string(),
    ]
}
