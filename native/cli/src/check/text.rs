//! What was read, in words: the line for people, and the lines of `-v` after it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use accept_queue_core::Counts;
use accept_queue_core::outside::snapshot::{Missing, Scope};
use accept_queue_core::rules::check::{Limits, Severity, Trouble, fill_percent};
use accept_queue_core::rules::detector::Condition;
use accept_queue_core::vm::process;
use rustix::process::geteuid;

use super::Status;
use super::performance::{WORST, rounded};
use super::reading::{Judged, Seen, Taken};
use crate::args::CheckOptions;
use crate::condition::{self, many};
use crate::figures::{Unreadable, owners, places};

/// More listeners in trouble than this are counted and not named.
const NAMED: usize = 3;

impl Judged {
    fn sentence(&self, limits: &Limits) -> String {
        let mut sentence = format!("{}{}: ", self.endpoint, self.owner());
        for trouble in &self.troubles {
            let _ = write!(sentence, "{}, ", word(*trouble));
        }
        sentence + &self.figures(limits)
    }

    fn owner(&self) -> String {
        owners(&self.owners).first().map(|owner| format!(" of {}", owner.shown())).unwrap_or_default()
    }

    /// Those that say what is wrong.
    fn figures(&self, limits: &Limits) -> String {
        let Judged { counts, troubles, .. } = self;
        let mut figures = filled(counts);
        // Writing to a string does not fail.
        for trouble in troubles {
            if let Trouble::Filled(severity) | Trouble::Underfilled(severity) = *trouble {
                let _ = write!(figures, "{}", by_range(counts, severity, limits).unwrap_or_default());
            }
        }
        if let Some(left) = counts.left().filter(|&left| left > 0) {
            let _ = write!(figures, ", {left} of them gone");
        }
        if let Some(wait) = counts.oldest_wait {
            let _ = write!(figures, ", oldest waits {} ms", wait.as_millis());
        }
        if troubles.contains(&Trouble::Condition(Condition::Leaking)) {
            let _ = write!(figures, ", {} in CLOSE_WAIT", counts.close_wait);
        }
        figures
    }

    /// Of `-v`.
    fn line(&self, options: &CheckOptions, limits: &Limits) -> String {
        let words = self.troubles.iter().map(|trouble| format!("{}, ", word(*trouble))).collect::<String>();
        let status = Status::from(self.severity()).word();
        let line = format!("{status} {}{}: {words}{}", self.place(), self.owner(), self.figures(limits));
        if options.verbose < 3 { line } else { format!("{line}; {}", self.every_figure()) }
    }

    /// Of `-vvv`.
    fn every_figure(&self) -> String {
        let Judged { counts, depths, .. } = self;
        let or_dash = |figure: Option<u32>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
        let readings = depths.iter().map(|depth| depth.queued.to_string()).collect::<Vec<_>>().join(" ");
        format!(
            "queued at each reading {readings}; alive {}, closed {}, reset {}, drops {}, SYN_RECV {}, established {}, CLOSE_WAIT {}, sockets {}",
            or_dash(counts.queued_alive),
            or_dash(counts.queued_closed),
            or_dash(counts.queued_reset()),
            or_dash(counts.drops),
            or_dash(counts.syn_recv),
            counts.established,
            counts.close_wait,
            counts.sockets
        )
    }
}

impl Seen {
    pub(super) fn summary(&self, options: &CheckOptions, limits: &Limits) -> (Status, String) {
        let worst = self.judged.iter().map(Judged::severity).max();
        match (worst, self.gaps.first()) {
            (None, None) => (Status::Unknown, options.scope.no_listener()),
            (Some(severity @ (Severity::Warning | Severity::Critical)), _) => (severity.into(), self.troubles(limits)),
            // Of every process: the queues of this namespace were read, also those whose owner is not known.
            (Some(Severity::Ok), _) if options.scope.scope() == Scope::All && !self.is_partial() => {
                (Status::Ok, self.fullest())
            }
            (_, Some(_)) => (Status::Unknown, self.unreadable()),
            (Some(Severity::Ok), None) => (Status::Ok, self.fullest()),
        }
    }

    /// Any user may give a process the name of a node: which users have, where they are not this one.
    pub(super) fn users(&self, options: &CheckOptions) -> Option<String> {
        let Scope::Node(_) = options.scope.scope() else { return None };
        let owners = self.judged.iter().flat_map(|judged| &judged.owners);
        let uids: BTreeSet<_> = owners.filter_map(|owner| process::uid(owner.process.pid).ok()).collect();
        let uids: Vec<_> =
            uids.into_iter().filter(|uid| *uid != geteuid().as_raw()).map(|uid| uid.to_string()).collect();
        (!uids.is_empty()).then(|| format!("; the node runs as uid {}", uids.join(" and ")))
    }

    /// Lines after the first, by how much is asked for.
    pub(super) fn details(&self, options: &CheckOptions, limits: &Limits) -> Vec<String> {
        if options.verbose == 0 {
            return Vec::new();
        }
        let shown = if options.verbose == 1 { WORST } else { usize::MAX };
        let mut lines: Vec<_> = self.worst().iter().take(shown).map(|judged| judged.line(options, limits)).collect();
        match self.judged.len().saturating_sub(shown) {
            0 => {}
            others => lines.push(format!("and {others} more, which -vv shows")),
        }
        lines.extend(self.gaps.iter().map(Unreadable::from).map(|gap| format!("not read: {}", gap_in_words(&gap))));
        if options.verbose >= 2 {
            lines.push(judged_by(options, limits));
        }
        if options.verbose >= 3 {
            lines.extend(self.taken.iter().enumerate().map(|(number, taken)| reading(number + 1, taken)));
        }
        lines
    }

    fn troubles(&self, limits: &Limits) -> String {
        let mut judged = self.worst();
        judged.retain(|judged| judged.severity() > Severity::Ok);
        let mut sentences: Vec<_> = judged.iter().take(NAMED).map(|judged| judged.sentence(limits)).collect();
        if judged.len() > NAMED {
            sentences.push(format!("and {} more", judged.len() - NAMED));
        }
        sentences.join("; ")
    }

    fn fullest(&self) -> String {
        let fullest = self.judged.iter().max_by_key(|judged| judged.counts.queued);
        let count = many(self.judged.len() as u64, "listener");
        let fullest = fullest.map_or_else(String::new, |Judged { endpoint, counts, .. }| {
            format!(", most at {endpoint}: {}", filled(counts))
        });
        match self.gaps.len() {
            0 => count + &fullest,
            1 => format!("{count}{fullest}; 1 process could not be read"),
            gaps => format!("{count}{fullest}; {gaps} processes could not be read"),
        }
    }

    /// The queues of this namespace were not read by sock_diag.
    fn is_partial(&self) -> bool {
        self.gaps.iter().any(|gap| gap.missing == Missing::Diag)
    }

    fn unreadable(&self) -> String {
        let first = self.gaps.first().map(Unreadable::from);
        let sentence = first.as_ref().map(gap_in_words).unwrap_or_default();
        match self.gaps.len() {
            0 | 1 => sentence,
            gaps => format!("{gaps} processes could not be read: {sentence}"),
        }
    }
}

fn gap_in_words(Unreadable { process, reason }: &Unreadable) -> String {
    format!("{}: {reason}", process.shown())
}

fn filled(counts: &Counts) -> String {
    places(counts.queued, counts.known_limit(), counts.sockets)
}

/// `, 60% of the backlog (warning range 50)`.
fn by_range(counts: &Counts, severity: Severity, limits: &Limits) -> Option<String> {
    let range = limits.range(severity)?;
    let fill = fill_percent(&counts.depth()).filter(|fill| fill.is_finite())?;
    let name = if severity == Severity::Critical { "critical" } else { "warning" };
    Some(format!(", {}% of the backlog ({name} range {range})", rounded(fill)))
}

/// Of `-vv`.
fn judged_by(options: &CheckOptions, limits: &Limits) -> String {
    let readings = match options.samples {
        1 => "1 reading".to_owned(),
        samples => format!("{samples} readings, {} ms apart", options.interval.as_millis()),
    };
    let critical = limits.critical.map(|range| format!(", or the percent full by range {range}")).unwrap_or_default();
    format!(
        "judged: {}, {readings}, time-out {} s; warning: a wait of more than {} ms, or the percent full by range {}; critical: a full \
         queue{critical}",
        options.scope.subject(),
        options.timeout().as_secs_f64(),
        limits.max_wait.as_millis(),
        limits.warning,
    )
}

/// Of `-vvv`.
fn reading(number: usize, Taken { after, took, listeners, queued }: &Taken) -> String {
    let took = took.as_secs_f64() * 1e3;
    let listeners = many(*listeners as u64, "listener");
    format!("reading {number}: after {} ms, took {took:.1} ms, {listeners}, {queued} queued", after.as_millis())
}

pub(super) fn word(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Condition(condition) => condition::name(condition),
        Trouble::Filled(_) => "filled",
        Trouble::Underfilled(_) => "underfilled",
    }
}

#[cfg(test)]
mod tests {
    use accept_queue_core::Endpoint;

    use super::super::reading::judged;
    use super::*;

    fn at(name: &str, queued: u32, trouble: Trouble) -> Judged {
        let counts = Counts { queued, queued_alive: Some(queued), limit: 10, ..Counts::default() };
        judged(Endpoint::Unix(name.as_bytes().to_vec()), counts, vec![trouble])
    }

    #[test]
    fn the_worst_are_named_first_and_the_others_counted() {
        let mut queues: Vec<_> = ["a", "b", "c"].map(|name| at(name, 1, Trouble::Condition(Condition::Behind))).into();
        queues.push(at("d", 1, Trouble::Condition(Condition::Stuck)));
        let text = Seen { judged: queues, ..Seen::default() }.troubles(&Limits::default());
        assert!(text.starts_with("unix:d: stuck, 1 of 11 places (backlog 10); unix:a: behind,"), "{text}");
        assert!(text.ends_with("; and 1 more"), "{text}");
    }

    #[test]
    fn a_range_that_is_broken_is_named_with_the_percent() {
        let limits = Limits { critical: "10:80".parse().ok(), ..Limits::default() };
        for (queued, trouble, sentence) in [
            (
                6,
                Trouble::Filled(Severity::Warning),
                "unix:a: filled, 6 of 11 places (backlog 10), 60% of the backlog (warning range 50)",
            ),
            (
                9,
                Trouble::Filled(Severity::Critical),
                "unix:a: filled, 9 of 11 places (backlog 10), 90% of the backlog (critical range 10:80)",
            ),
            (
                0,
                Trouble::Underfilled(Severity::Critical),
                "unix:a: underfilled, 0 of 11 places (backlog 10), 0% of the backlog (critical range 10:80)",
            ),
        ] {
            assert_eq!(at("a", queued, trouble).sentence(&limits), sentence);
        }
    }
}
