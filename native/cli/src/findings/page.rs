//! What `diagnose` prints for a person.

use std::fmt::Write as _;

use accept_queue_core::rules::facts::{Blocked, Doing, ListenerFacts, Member, ThreadFacts};
use accept_queue_core::vm::distribution::Epmd;
use accept_queue_core::vm::threads::Role;
use comfy_table::{Table, presets};

use super::{Diagnosis, doing, listens, node, system_call};
use crate::accepting;
use crate::figures::Process;

impl Diagnosis {
    /// Which process was observed, how often and for how long.
    pub(crate) fn title(&self) -> String {
        let Diagnosis { candidate, observed, .. } = self;
        format!(
            "{}, looked at {} times in {:.1} s",
            Process::from(candidate).shown(),
            observed.readings,
            observed.window.as_secs_f64()
        )
    }

    /// The findings, then what was observed.
    pub(crate) fn page(&self) -> String {
        let mut page = format!("{}\n\n", self.title());
        for finding in self.shown() {
            let _ = writeln!(page, "{}\n  {}\n  -> {}\n", finding.heading, finding.text, finding.advice);
        }
        if !self.observed.listeners.is_empty() {
            page.push_str(&self.listeners());
        }
        page.push_str(&self.threads());
        let descriptors = self.observed.descriptors.map_or_else(
            || "unknown".to_owned(),
            |open| {
                let limit = open.limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string());
                format!("{} of {limit}", open.used)
            },
        );
        let _ = writeln!(page, "descriptors: {descriptors}");
        page + &self.node().unwrap_or_default()
    }

    fn listeners(&self) -> String {
        let rows = self.observed.listeners.iter().flat_map(ListenerFacts::queues).map(|facts| {
            let events = facts.accepting.iter().flat_map(|(_, found)| found).map(|found| found.events.to_string());
            let stalled = facts.stalled_for.map(|stalled_for| format!("{:.1}", stalled_for.as_secs_f64()));
            vec![
                match facts.member {
                    Some(Member { fd, .. }) => format!("{} (descriptor {fd})", facts.endpoint),
                    None => facts.endpoint.to_string(),
                },
                format!("{}/{}", facts.depth.queued, facts.depth.limit),
                stalled.unwrap_or_else(|| "-".to_owned()),
                facts.accepting.as_ref().map_or("?", |(how, _)| accepting::word(*how)).to_owned(),
                events.collect::<Vec<_>>().join(" "),
            ]
        });
        table(&["LISTENER", "QUEUED", "STALLED s", "ACCEPTS", "EPOLL"], rows)
    }

    /// Whether other nodes can connect to it.
    fn node(&self) -> Option<String> {
        let (node, known) = (node(&self.candidate)?, self.distribution.as_ref()?);
        let said = match known.epmd {
            Epmd::Port(port) if listens(&self.observed, port) => {
                format!("epmd knows its port, {port}, and it listens there")
            }
            Epmd::Port(port) => format!("epmd says port {port}, where this process does not listen"),
            Epmd::Unknown => "epmd does not know it: other nodes cannot connect".to_owned(),
            Epmd::Silent(error) => format!("epmd does not answer on port {} ({error})", known.epmd_port),
        };
        Some(format!("node {}: {said}\n", node.escape_debug()))
    }

    /// A table of schedulers and poll threads, and of other threads that are not idle.
    pub(crate) fn threads(&self) -> String {
        let is_shown = |facts: &&ThreadFacts| {
            matches!(facts.thread.role, Role::Scheduler(_) | Role::Poller(_))
                || matches!(facts.doing, Doing::Blocked(_) | Doing::Spins)
        };
        let rows = self.observed.threads.iter().filter(is_shown).take(MOST_ROWS).map(|facts| {
            let place =
                system_call(facts).or_else(|| facts.thread.wait_channel.clone()).unwrap_or_else(|| "-".to_owned());
            let since = match &facts.doing {
                Doing::Blocked(Blocked { since, .. }) => format!("{:.1}", since.as_secs_f64()),
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
}

/// A screen or two; the JSON document has all of them.
const MOST_ROWS: usize = 64;

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    table.trim_fmt() + "\n\n"
}
