//! `accept-queue list`: one reading of every listener of the processes that were asked for.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};

use accept_queue_core::outside::snapshot;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::args::ListOptions;
use crate::figures::{Listener, Process, SCHEMA, Unreadable};

/// The document of `--json`.
#[derive(Serialize)]
struct ListReport {
    schema: u32,
    listeners: Vec<Listener>,
    unreadable: Vec<Unreadable>,
}

pub(crate) fn run(options: &ListOptions) -> Result<(), String> {
    let snapshot = snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    let report = ListReport {
        schema: SCHEMA,
        listeners: snapshot.queues.iter().map(Listener::from).collect(),
        unreadable: snapshot.gaps.iter().map(Unreadable::from).collect(),
    };
    if options.scope.port.is_some() && report.listeners.is_empty() {
        return Err(options.scope.no_listener());
    }
    if options.json {
        write(&mut io::stdout(), &json(&report)?)?;
    } else {
        if !report.listeners.is_empty() {
            write(&mut io::stdout(), &table(&report.listeners))?;
        } else if report.unreadable.is_empty() {
            write(&mut io::stdout(), &format!("{}\n", capital(&options.scope.no_listener())))?;
        }
        write(&mut io::stderr(), &missing(&report.unreadable))?;
    }
    if report.listeners.is_empty() && !report.unreadable.is_empty() {
        return Err("nothing could be read".to_owned());
    }
    Ok(())
}

fn write(to: &mut impl Write, text: &str) -> Result<(), String> {
    match to.write_all(text.as_bytes()) {
        // The reader of the pipe has gone.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("the output could not be written: {error}")),
    }
}

fn json(report: &ListReport) -> Result<String, String> {
    crate::json::line(report).map(|text| text + "\n").map_err(|error| format!("the report is no JSON: {error}"))
}

const HEADING: [&str; 13] = [
    "ADDRESS",
    "QUEUED",
    "LIMIT",
    "",
    "ALIVE",
    "CLOSED",
    "RESET",
    "OLDEST ms",
    "DROPS",
    "SYN_RECV",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "OWNER",
];

fn table(listeners: &[Listener]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADING).add_rows(cells_of(listeners));
    for (column, heading) in table.column_iter_mut().zip(HEADING) {
        if !["ADDRESS", "", "OWNER"].contains(&heading) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// Where two rows would look alike, the address is followed by what they differ in.
fn cells_of(listeners: &[Listener]) -> impl Iterator<Item = [String; HEADING.len()]> {
    let mut namespaces: HashMap<&str, HashMap<u64, usize>> = HashMap::new();
    for Listener { address, namespace, .. } in listeners {
        *namespaces.entry(address).or_default().entry(*namespace).or_default() += 1;
    }
    listeners.iter().map(move |listener| {
        let Listener { address, apart, namespace, .. } = listener;
        let alike = &namespaces[address.as_str()];
        let mut cells = cells(listener);
        if alike[namespace] > 1 {
            cells[0] += apart;
        }
        if alike.len() > 1 {
            cells[0] += &format!("%net:[{namespace}]");
        }
        cells
    })
}

fn cells(Listener { address, owners, figures, .. }: &Listener) -> [String; HEADING.len()] {
    let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    [
        address.clone(),
        figures.queued.to_string(),
        or_dash(figures.limit.map(u64::from)),
        if figures.full == Some(true) { "full" } else { "" }.to_owned(),
        or_dash(figures.queued_alive.map(u64::from)),
        or_dash(figures.queued_closed.map(u64::from)),
        or_dash(figures.queued_reset.map(u64::from)),
        or_dash(figures.oldest_wait_ms),
        or_dash(figures.drops),
        or_dash(figures.syn_recv.map(u64::from)),
        figures.established.to_string(),
        figures.close_wait.to_string(),
        if owners.is_empty() { "-".to_owned() } else { join(owners.iter()) },
    ]
}

/// More processes than this are counted and not named: the JSON has all of them.
const NAMED: usize = 8;

/// A line for each reason.
fn missing(unreadable: &[Unreadable]) -> String {
    let mut by_reason: Vec<(&str, Vec<&Process>)> = Vec::new();
    for Unreadable { process, reason } in unreadable {
        match by_reason.iter_mut().find(|(known, _)| known == reason) {
            Some((_, processes)) => processes.push(process),
            None => by_reason.push((reason, vec![process])),
        }
    }
    let line = |(reason, processes): (&str, Vec<&Process>)| {
        let named = join(processes.iter().copied().take(NAMED));
        match processes.len().saturating_sub(NAMED) {
            0 => format!("accept-queue: {named}: {reason}\n"),
            more => format!("accept-queue: {named} and {more} more: {reason}\n"),
        }
    };
    by_reason.into_iter().map(line).collect()
}

fn join<'a>(processes: impl Iterator<Item = &'a Process>) -> String {
    processes.map(Process::shown).collect::<Vec<_>>().join(", ")
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use accept_queue_core::Counts;

    use super::*;
    use crate::figures::Figures;

    #[test]
    fn rows_that_would_look_alike_say_what_they_differ_in() {
        let shown = |rows: &[(&str, &str, u64)]| {
            let listener = |&(address, apart, namespace): &(&str, &str, u64)| Listener {
                address: address.to_owned(),
                namespace,
                apart: apart.to_owned(),
                owners: Vec::new(),
                figures: Figures::from(&Counts::default()),
            };
            let listeners: Vec<_> = rows.iter().map(listener).collect();
            cells_of(&listeners).map(|[address, ..]| address).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[("0.0.0.0:80", "%2", 1), ("0.0.0.0:81", "", 1)]), ["0.0.0.0:80", "0.0.0.0:81"]);
        assert_eq!(shown(&[("0.0.0.0:80", "", 1), ("0.0.0.0:80", "%2", 1)]), ["0.0.0.0:80", "0.0.0.0:80%2"]);
        let two = shown(&[("0.0.0.0:80", "", 1), ("0.0.0.0:80", "", 7)]);
        assert_eq!(two, ["0.0.0.0:80%net:[1]", "0.0.0.0:80%net:[7]"]);
    }
}
