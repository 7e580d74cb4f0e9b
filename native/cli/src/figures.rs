//! A queue in the words of the contract, as in every `--json`. Absent is null.

use std::time::Duration;

use accept_queue_core::outside::snapshot::{Gap, Owned, Owner};
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::{Counts, Depth, Endpoint, Interface, Queue};
use serde::Serialize;

/// The version of every document.
pub(crate) const SCHEMA: u32 = 1;

/// What was counted of a queue.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) queued: u32,
    pub(crate) limit: Option<u32>,
    pub(crate) full: Option<bool>,
    pub(crate) drops: Option<u64>,
    pub(crate) syn_recv: Option<u32>,
    pub(crate) queued_alive: Option<u32>,
    pub(crate) queued_closed: Option<u32>,
    pub(crate) queued_reset: Option<u32>,
    pub(crate) queued_bytes: Option<u64>,
    pub(crate) oldest_wait_ms: Option<u64>,
    pub(crate) established: u32,
    pub(crate) close_wait: u32,
    pub(crate) sockets: u32,
}

impl From<&Counts> for Figures {
    fn from(counts: &Counts) -> Figures {
        Figures {
            queued: counts.queued,
            limit: counts.known_limit(),
            full: counts.known_limit().map(|_| counts.is_full()),
            drops: counts.drops.map(u64::from),
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
}

/// `31 of 31 places (backlog 30)`: a full queue of so many sockets on one address, each of which has a place more than its backlog.
pub(crate) fn places(queued: u32, limit: Option<u32>, sockets: u32) -> String {
    match limit {
        Some(limit) => format!("{queued} of {} places (backlog {limit})", u64::from(limit) + u64::from(sockets.max(1))),
        None => format!("{queued} queued, backlog not known"),
    }
}

/// `3 queued (backlog 5)`.
pub(crate) fn queued(depth: &Depth) -> String {
    match depth.known_limit() {
        Some(limit) => format!("{} queued (backlog {limit})", depth.queued),
        None => format!("{} queued with an unknown limit", depth.queued),
    }
}

/// At most six cells.
pub(crate) fn span(span: Duration) -> String {
    let (millis, seconds) = (span.as_millis(), span.as_secs());
    match seconds {
        0 => format!("{millis}ms"),
        1..100 => format!("{:.1}s", (millis / 100) as f64 / 10.0),
        100..6000 => format!("{}m{:02}", seconds / 60, seconds % 60),
        6000..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A queue, with its address and its owners.
#[derive(Debug, Serialize)]
pub(crate) struct Listener {
    pub(crate) address: String,
    /// The number of the network namespace in which the address means what it says.
    pub(crate) namespace: u64,
    /// What it differs in from others of the address: the index of the device that it is bound to, or the inode of a Unix socket.
    #[serde(skip)]
    pub(crate) apart: String,
    pub(crate) owners: Vec<Process>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl From<&Owned> for Listener {
    fn from(owned: &Owned) -> Listener {
        Listener {
            address: owned.queue.endpoint.to_string(),
            namespace: owned.namespace.0,
            apart: apart(&owned.queue),
            owners: owners(&owned.owners),
            figures: Figures::from(&owned.queue.census.counts),
        }
    }
}

fn apart(queue: &Queue) -> String {
    match (&queue.endpoint, queue.endpoint.interface(), queue.sockets.first()) {
        (Endpoint::Unix(_), _, Some((_, inode))) => format!("%socket:[{}]", inode.0),
        (Endpoint::Tcp(_), Interface(index), _) if index > 0 => format!("%{index}"),
        _ => String::new(),
    }
}

/// A process, by number and name.
#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
}

impl From<&Candidate> for Process {
    fn from(process: &Candidate) -> Process {
        Process { pid: process.pid, name: process.name.clone() }
    }
}

/// The processes that hold a queue.
pub(crate) fn owners(owners: &[Owner]) -> Vec<Process> {
    owners.iter().map(|owner| Process::from(&*owner.process)).collect()
}

impl Process {
    /// For a terminal. A process chooses its own name: no control character of it gets there.
    pub(crate) fn shown(&self) -> String {
        format!("{} ({})", self.name.escape_debug(), self.pid)
    }
}

/// A process of which something could not be read.
#[derive(Debug, Serialize)]
pub(crate) struct Unreadable {
    #[serde(flatten)]
    pub(crate) process: Process,
    pub(crate) reason: String,
}

/// That nothing is known of a scope, of which these could not be read, why not, and what would help. Never of none.
pub(crate) fn nothing_read(gaps: &[Gap]) -> String {
    let first = gaps.first().map(Unreadable::from);
    let Some(Unreadable { process, reason }) = first else { return "everything could be read".to_owned() };
    let others = match gaps.len() - 1 {
        0 => String::new(),
        1 => " and of 1 other process".to_owned(),
        more => format!(" and of {more} other processes"),
    };
    format!("nothing could be read of {}{others}, so no listener is known: {reason}", process.shown())
}

impl From<&Gap> for Unreadable {
    fn from(gap: &Gap) -> Unreadable {
        Unreadable { process: Process::from(&*gap.process), reason: gap.missing.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_has_a_place_more_than_its_backlog() {
        for (queued, limit, sockets, text) in [
            (31, Some(30), 1, "31 of 31 places (backlog 30)"),
            (0, Some(0), 1, "0 of 1 places (backlog 0)"),
            (3, Some(20), 4, "3 of 24 places (backlog 20)"),
            (1, Some(u32::MAX - 1), 1, "1 of 4294967295 places (backlog 4294967294)"),
            (3, None, 1, "3 queued, backlog not known"),
        ] {
            assert_eq!(places(queued, limit, sockets), text);
        }
    }

    #[test]
    fn a_time_takes_no_more_than_six_cells() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (99_999, "99.9s"),
            (100_000, "1m40"),
            (5_999_000, "99m59"),
            (6_000_000, "1h40"),
            (359_999_000, "99h59"),
            (360_000_000, "4d"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
