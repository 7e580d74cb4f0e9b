//! `accept-queue list`: one reading of every listener of the processes that were asked for.

use std::io::Write;

use accept_queue_core::Error;
use accept_queue_core::outside::{self, Owned};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::ListOptions;
use crate::figures::{self, Figures, Process, SCHEMA, Unreadable};

/// The document of `--json`.
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
    #[serde(flatten)]
    figures: Figures,
}

pub(crate) fn run(options: &ListOptions) -> Result<(), String> {
    let snapshot = outside::snapshot(&options.scope.scope()).map_err(|error| match (error, options.scope.pid) {
        (Error::NotFound, Some(pid)) => format!("there is no process {pid}"),
        (error, _) => format!("the kernel's sockets could not be read: {error}"),
    })?;
    let report = Report {
        schema: SCHEMA,
        listeners: snapshot.queues.iter().map(listener).collect(),
        unreadable: snapshot.gaps.iter().map(Unreadable::from).collect(),
    };
    let text = if options.json { json(&report)? } else { table(&report) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("standard output: {error}")),
    }
}

fn listener(owned: &Owned) -> Listener {
    Listener {
        address: owned.queue.endpoint.to_string(),
        owners: figures::owners(&owned.owners),
        figures: Figures::from(&owned.queue.look.counts),
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
    for Unreadable { process, reason } in &report.unreadable {
        text.push_str(&format!("not seen: {}: {reason}\n", process.shown()));
    }
    text
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn cells(Listener { address, owners, figures }: &Listener) -> Vec<String> {
    let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    vec![
        address.clone(),
        figures.queued.to_string(),
        figures.limit.to_string(),
        figures.queued_alive.to_string(),
        figures.queued_closed.to_string(),
        figures.queued_reset.to_string(),
        or_dash(figures.oldest_wait_ms),
        or_dash(figures.drops),
        or_dash(figures.syn_recv.map(u64::from)),
        figures.established.to_string(),
        figures.close_wait.to_string(),
        join(owners.iter().map(Process::shown)),
    ]
}
