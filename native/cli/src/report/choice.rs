//! What of a recording is drawn: times, a node, a port. Pure.

use std::time::{Duration, UNIX_EPOCH};

use super::clock::LATEST_MS;
use super::ranking::Ranking;
use crate::args::{Moment, ReportOptions};
use crate::output::printable;
use crate::recording::RecordedOwner;

/// By default everything.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Milliseconds since the epoch.
    pub(super) from: u64,
    /// This moment included.
    pub(super) to: u64,
    node: Option<String>,
    port: Option<u16>,
}

impl Default for Choice {
    fn default() -> Self {
        Choice::between(0, LATEST_MS)
    }
}

impl Choice {
    /// Every listener in this time.
    pub(super) fn between(from: u64, to: u64) -> Choice {
        Choice { from, to, node: None, port: None }
    }

    /// Whether the end of the recording has to be known before.
    pub(super) fn needs_end(options: &ReportOptions) -> bool {
        [options.from, options.to].iter().any(|moment| matches!(moment, Some(Moment::BeforeEnd(_))))
    }

    /// What the command line says of a recording that ends then, or what is wrong with it.
    pub(super) fn new(options: &ReportOptions, end: u64) -> Result<Choice, String> {
        let at = |moment| match moment {
            Moment::At(at) => at,
            Moment::BeforeEnd(before) => end.saturating_sub(before),
        };
        let choice = Choice {
            from: options.from.map_or(0, at).min(LATEST_MS),
            to: options.to.map_or(LATEST_MS, at).min(LATEST_MS),
            node: options.node.clone(),
            port: options.port,
        };
        if choice.from >= choice.to {
            return Err(format!("--from, {}, has to be before --to, {}", time(choice.from), time(choice.to)));
        }
        Ok(choice)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.from == 0 && self.to == LATEST_MS && self.node.is_none() && self.port.is_none()
    }

    pub(super) fn names_node(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn takes(&self, address: &str, owners: &[RecordedOwner]) -> bool {
        let is_port = self.port.is_none_or(|port| port_of(address) == Some(port));
        is_port && self.node.as_ref().is_none_or(|node| owners.iter().any(|owner| is_node(&owner.name, node)))
    }

    /// The chosen listeners in words.
    pub(super) fn listeners(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" of {}", printable(node)));
        let port = self.port.map(|port| format!(" on port {port}"));
        format!("{}{}", node.unwrap_or_default(), port.unwrap_or_default())
    }

    /// Why there is nothing to draw, where there is nothing.
    pub(super) fn refusal(&self, ranking: &Ranking) -> Option<String> {
        let (first, last) = ranking.span()?;
        if self.is_everything() || !ranking.is_empty() {
            return None;
        }
        let (from, to) = (time(self.from.max(first.min(self.to))), time(self.to.min(last.max(self.from))));
        let recording = format!("the recording is from {} to {}", time(first), time(last));
        if self.to < first || last < self.from {
            return Some(format!("nothing is recorded from {from} to {to}: {recording}"));
        }
        let listeners = self.listeners();
        let others: Vec<_> = ranking.others().map(printable).collect();
        Some(match &others[..] {
            [] => format!("no listener{listeners} is recorded from {from} to {to}: {recording}"),
            others => format!(
                "no listener{listeners} is recorded from {from} to {to}; what is recorded is of {}",
                others.join(", ")
            ),
        })
    }
}

/// A TCP address ends with its port; that of a Unix socket is a path.
fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':').filter(|_| !address.starts_with("unix:"))?;
    port.parse().ok()
}

/// Where either says no host, any host will do.
fn is_node(owner: &str, name: &str) -> bool {
    match (owner.split_once('@'), name.split_once('@')) {
        (Some((node, _)), None) => node == name,
        (None, Some((node, _))) => owner == node,
        _ => owner == name,
    }
}

pub(super) fn time(ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS));
    match ms % 1000 {
        0 => humantime::format_rfc3339_seconds(at).to_string(),
        _ => humantime::format_rfc3339_millis(at).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_chosen_by_its_port_and_the_name_of_an_owner() {
        let owners = [("shop@vm", 1), ("nginx", 2)].map(|(name, pid)| RecordedOwner { pid, name: name.to_owned() });
        let takes = |node: Option<&str>, port, address| {
            Choice { node: node.map(str::to_owned), port, ..Choice::default() }.takes(address, &owners)
        };
        for (node, port, address, expected) in [
            (None, None, "unix:/run/a", true),
            (None, Some(80), "0.0.0.0:80", true),
            (None, Some(80), "[::1%2]:80", true),
            (None, Some(80), "0.0.0.0:8080", false),
            (None, Some(80), "unix:/run/a:80", false),
            (None, Some(80), "", false),
            (Some("shop"), None, "a:1", true),
            (Some("shop@vm"), Some(1), "a:1", true),
            (Some("shop@other"), None, "a:1", false),
            (Some("nginx"), None, "a:1", true),
            (Some("nginx@vm"), None, "a:1", true),
            (Some("sho"), None, "a:1", false),
            (Some("shop"), Some(2), "a:1", false),
        ] {
            assert_eq!(takes(node, port, address), expected, "{node:?} {port:?} {address}");
        }
    }
}
