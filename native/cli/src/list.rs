//! `accept-queue list`: one reading of every listener of the processes that were asked for.

mod table;

use std::io::{self, ErrorKind, Write};

use accept_queue_core::outside::snapshot::{self, Owned};
use accept_queue_core::rules::detector::Time;
use serde::Serialize;

use crate::accepting;
use crate::accepting::epoll::{EpollReader, EpollState, Held};
use crate::args::ListOptions;
use crate::figures::{Listener, Process, SCHEMA, Unreadable};
pub(crate) use table::cut;

/// The document of `--json`.
#[derive(Serialize)]
struct ListReport {
    schema: u32,
    listeners: Vec<Row>,
    unreadable: Vec<Unreadable>,
}

/// A listener, and whether a process accepts on it.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    listener: Listener,
    /// Of the worst of its sockets; absent where it is not known.
    accepts: Option<&'static str>,
    /// How many of them that is true of.
    accepts_sockets: Option<usize>,
    #[serde(skip)]
    accepts_text: String,
}

impl Row {
    fn new(owned: &Owned, sockets: &[EpollState]) -> Row {
        let (accepts, accepts_sockets) = accepting::worst_word(sockets).unzip();
        Row { listener: Listener::from(owned), accepts, accepts_sockets, accepts_text: accepting::text(sockets) }
    }
}

pub(crate) fn run(options: &ListOptions) -> Result<(), String> {
    let snapshot = snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    let queues = snapshot.queues.iter();
    let held = queues.map(|owned| Held { owners: &owned.owners, sockets: &owned.queue.sockets });
    let sockets = EpollReader::default().read(Time::ZERO, &held.collect::<Vec<_>>());
    let report = ListReport {
        schema: SCHEMA,
        listeners: snapshot.queues.iter().zip(&sockets).map(|(owned, sockets)| Row::new(owned, sockets)).collect(),
        unreadable: snapshot.gaps.iter().map(Unreadable::from).collect(),
    };
    if options.scope.port.is_some() && report.listeners.is_empty() {
        return Err(options.scope.no_listener());
    }
    if options.json {
        write(&mut io::stdout(), &json(&report)?)?;
    } else {
        if !report.listeners.is_empty() {
            let table = if options.wide { table::wide } else { table::narrow };
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
        let named = processes.iter().take(NAMED).map(|process| process.shown()).collect::<Vec<_>>().join(", ");
        match processes.len().saturating_sub(NAMED) {
            0 => format!("accept-queue: {named}: {reason}\n"),
            more => format!("accept-queue: {named} and {more} more: {reason}\n"),
        }
    };
    by_reason.into_iter().map(line).collect()
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
