//! The experiment as JSON and as text.

use std::collections::BTreeMap;

use accept_queue_core::linux::diag::TcpState;
use accept_queue_core::reading::ends::{Ends, SocketCount};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::experiment::{Accepted, Counters, Observation};
use super::steps::{Plan, Step};
use crate::figures::{Figures, SCHEMA};

/// The object of `--json`.
#[derive(Serialize)]
pub(crate) struct LabReport {
    schema: u32,
    server: String,
    hosts: bool,
    backlog: u16,
    somaxconn: Option<u64>,
    limit: u32,
    clients: u16,
    steps: Vec<StepReport>,
    pcap: Option<Pcap>,
}

#[derive(Serialize)]
struct StepReport {
    step: Step,
    title: String,
    explanation: String,
    elapsed_ms: u64,
    counts: Figures,
    server_states: BTreeMap<&'static str, u32>,
    client_states: BTreeMap<&'static str, u32>,
    /// Of the clients in SYN_SENT.
    syn_retransmits: u32,
    counters: Counters,
    accepted: Option<u32>,
    accepted_dead: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct Pcap {
    pub(crate) file: String,
    pub(crate) packets: u64,
    pub(crate) lost: u64,
}

impl LabReport {
    pub(crate) fn new(server: String, hosts: bool, somaxconn: Option<u64>, plan: &Plan) -> LabReport {
        let Plan { backlog, limit, clients } = *plan;
        LabReport { schema: SCHEMA, server, hosts, backlog, somaxconn, limit, clients, steps: Vec::new(), pcap: None }
    }

    pub(crate) fn add(&mut self, step: Step, plan: &Plan, observed: &Observation) {
        self.steps.push(StepReport {
            step,
            title: step.title(plan),
            explanation: step.explanation(plan, observed),
            elapsed_ms: observed.elapsed.as_millis() as u64,
            counts: Figures::from(&observed.counts),
            server_states: by_name(&observed.server),
            client_states: by_name(&observed.clients),
            syn_retransmits: observed.clients.in_state(TcpState::SynSent).retransmits,
            counters: observed.counters,
            accepted: observed.accepted.map(|accepted| accepted.connections),
            accepted_dead: observed.accepted.map(|accepted| accepted.dead),
        });
    }

    pub(crate) fn set_pcap(&mut self, pcap: Pcap) {
        self.pcap = Some(pcap);
    }

    pub(crate) fn json(&self) -> Result<String, String> {
        crate::json::line(self).map(|text| text + "\n").map_err(|error| format!("the report is no JSON: {error}"))
    }
}

fn by_name(ends: &Ends) -> BTreeMap<&'static str, u32> {
    ends.iter().map(|(state, count)| (state.name(), count.sockets)).collect()
}

/// As wide as the terminals of 2009.
const WIDTH: u16 = 80;

/// A step as text.
pub(crate) fn text(number: usize, step: Step, plan: &Plan, observed: &Observation) -> String {
    let columns = [states(&observed.server), states(&observed.clients), queue(observed), counters(observed)];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["SERVER", "CLIENTS", "ACCEPT QUEUE", "KERNEL COUNTERS"]);
    table.add_row(columns.map(|lines| lines.join("\n")));
    let seconds = observed.elapsed.as_secs_f64();
    let table: String = table.trim_fmt().lines().map(|line| format!("  {line}\n")).collect();
    format!("{number}. {} ({seconds:.1} s)\n{table}{}\n", step.title(plan), step.explanation(plan, observed))
}

fn states(ends: &Ends) -> Vec<String> {
    aligned("none", ends.iter().map(|(state, SocketCount { sockets, .. })| (sockets.into(), state.name())))
}

/// Depth and limit; other figures where they are not 0.
fn queue(observed: &Observation) -> Vec<String> {
    let counts = &observed.counts;
    let rest = [
        (counts.queued_alive.unwrap_or(0), "alive"),
        (counts.queued_closed.unwrap_or(0), "closed"),
        (counts.queued_reset().unwrap_or(0), "reset"),
        (counts.drops.unwrap_or(0), "drops"),
    ];
    let depth = [(counts.queued, "queued"), (counts.limit, "limit")];
    let accepted =
        observed.accepted.map(|Accepted { connections, dead }| [(connections, "accepted"), (dead, "of them dead")]);
    let shown = depth.into_iter().chain(rest.into_iter().filter(|&(figure, _)| figure > 0));
    aligned("", shown.chain(accepted.into_iter().flatten()).map(|(figure, word)| (figure.into(), word)))
}

fn counters(observed: &Observation) -> Vec<String> {
    let syns = observed.clients.in_state(TcpState::SynSent).retransmits;
    let syns = (syns > 0).then_some((syns.into(), "SYNs sent again"));
    aligned("nothing moved", observed.counters.moved().map(|(name, rise)| (rise, name)).chain(syns))
}

/// A line a figure, right-aligned.
fn aligned(nothing: &str, figures: impl Iterator<Item = (u64, &'static str)>) -> Vec<String> {
    let figures: Vec<_> = figures.map(|(figure, word)| (figure.to_string(), word)).collect();
    let width = figures.iter().map(|(figure, _)| figure.len()).max().unwrap_or(0);
    if figures.is_empty() {
        return vec![nothing.to_owned()];
    }
    figures.into_iter().map(|(figure, word)| format!("{figure:>width$} {word}")).collect()
}
