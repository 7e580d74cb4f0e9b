//! `accept-queue check`: one line and an exit status, by the convention of monitoring plugins.
//! <https://www.monitoring-plugins.org/doc/guidelines.html>

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading};
use accept_queue_core::outside::snapshot::{self, Gap, Missing, Owned, Owner, Scope};
use accept_queue_core::rules::check::{Limits, Severity, Trouble};
use accept_queue_core::rules::detector::{Condition, on_clock};
use accept_queue_core::vm::process;
use accept_queue_core::{Counts, Endpoint};
use rustix::process::geteuid;
use serde::Serialize;

use crate::args::CheckOptions;
use crate::figures::{Figures, Listener, SCHEMA, Unreadable, owners};
use crate::{condition, output};

/// What the exit status says, in the convention's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// A listener and what is wrong with it.
struct Judged {
    namespace: Namespace,
    endpoint: Endpoint,
    owners: Vec<Owner>,
    counts: Counts,
    troubles: Vec<Trouble>,
}

/// Everything that was read.
struct Seen {
    judged: Vec<Judged>,
    gaps: Vec<Gap>,
}

/// The document of `--json`.
#[derive(Serialize)]
struct CheckReport {
    schema: u32,
    status: Status,
    text: String,
    listeners: Vec<Entry>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Entry {
    status: Status,
    troubles: Vec<&'static str>,
    #[serde(flatten)]
    listener: Listener,
}

/// More listeners in trouble than this are counted and not named.
const NAMED: usize = 3;

impl CheckOptions {
    fn limits(&self) -> Limits {
        Limits { max_wait: self.max_wait, max_fill: self.max_fill }
    }
}

pub(crate) fn run(options: &CheckOptions) -> ExitCode {
    let seen = match options.samples {
        1 => at_once(options),
        samples => over_time(options, samples),
    };
    let (status, text, seen) = match seen {
        Ok(seen) => {
            let (status, text) = seen.summary(options);
            (status, text + &seen.users(options).unwrap_or_default(), seen)
        }
        Err(reason) => (Status::Unknown, reason, Seen { judged: Vec::new(), gaps: Vec::new() }),
    };
    if options.json {
        let listeners = seen.judged.iter().map(Entry::from).collect();
        let unreadable = seen.gaps.iter().map(Unreadable::from).collect();
        match crate::json::line(&CheckReport { schema: SCHEMA, status, text, listeners, unreadable }) {
            Ok(report) => say(&report, status),
            Err(error) => unknown(&format!("the report is no JSON: {error}")),
        }
    } else {
        say(&line(status, &text, &performance(&seen.judged, &options.limits())), status)
    }
}

/// Of a command line that cannot be understood, or a scope that cannot be read.
pub(crate) fn unknown(reason: &str) -> ExitCode {
    say(&line(Status::Unknown, reason, ""), Status::Unknown)
}

fn say(line: &str, status: Status) -> ExitCode {
    // The status is known even where the line cannot be written.
    if let Err(error) = output::print(format!("{line}\n").as_bytes()) {
        eprintln!("accept-queue: {error}");
    }
    ExitCode::from(status as u8)
}

/// The text before the first bar is for people, the data behind it for programs.
fn line(status: Status, text: &str, performance: &str) -> String {
    let word = match status {
        Status::Ok => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    };
    let bar = if performance.is_empty() { "" } else { " | " };
    format!("ACCEPT_QUEUE {word} - {}{bar}{performance}", text.replace('|', "/"))
}

fn at_once(options: &CheckOptions) -> Result<Seen, String> {
    let snapshot = snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    let limits = options.limits();
    let judged = |Owned { namespace, owners, queue }: Owned| {
        let counts = queue.census.counts;
        Judged { namespace, endpoint: queue.endpoint, owners, counts, troubles: limits.at_once(&counts) }
    };
    Ok(Seen { judged: snapshot.queues.into_iter().map(judged).collect(), gaps: snapshot.gaps })
}

fn over_time(options: &CheckOptions, samples: u32) -> Result<Seen, String> {
    let limits = options.limits();
    let settings = limits.settings(options.interval * (samples - 1));
    let mut observer = Observer::new(options.scope.scope(), settings);
    let begun = Instant::now();
    let mut read = |sample: u32| {
        thread::sleep((options.interval * sample).saturating_sub(begun.elapsed()));
        observer.sample(on_clock(begun.elapsed()), CensusScope::All).map_err(|error| options.scope.refused(error))
    };
    for sample in 0..samples - 1 {
        read(sample)?;
    }
    let last = read(samples - 1)?;
    if last.readings.is_empty() {
        // An observer waits for a server to come back; a check says that it has gone.
        snapshot::take(&options.scope.scope()).map_err(|error| options.scope.refused(error))?;
    }
    let judged = |reading: Reading| {
        // It was closed before its census.
        let counts = reading.census?.counts;
        let troubles = limits.over_time(&reading.status);
        Some(Judged {
            namespace: reading.namespace,
            endpoint: reading.endpoint,
            owners: reading.owners,
            counts,
            troubles,
        })
    };
    Ok(Seen { judged: last.readings.into_iter().filter_map(judged).collect(), gaps: last.gaps })
}

impl Judged {
    fn severity(&self) -> Severity {
        self.troubles.iter().map(|trouble| trouble.severity()).max().unwrap_or(Severity::Ok)
    }

    fn sentence(&self) -> String {
        let Judged { endpoint, counts, troubles, .. } = self;
        let owner = owners(&self.owners).first().map(|owner| format!(" of {}", owner.shown())).unwrap_or_default();
        let troubles: Vec<_> = troubles.iter().copied().map(word).collect();
        let mut sentence = format!("{endpoint}{owner}: {}, {}", troubles.join(", "), filled(counts));
        // Writing to a string does not fail.
        if let Some(left) = counts.left().filter(|&left| left > 0) {
            let _ = write!(sentence, ", {left} of them gone");
        }
        if let Some(wait) = counts.oldest_wait {
            let _ = write!(sentence, ", oldest waits {} ms", wait.as_millis());
        }
        if troubles.contains(&word(Trouble::Condition(Condition::Leaking))) {
            let _ = write!(sentence, ", {} in CLOSE_WAIT", counts.close_wait);
        }
        sentence
    }
}

impl Seen {
    fn summary(&self, options: &CheckOptions) -> (Status, String) {
        let worst = self.judged.iter().map(Judged::severity).max();
        match (worst, self.gaps.first()) {
            (None, None) => (Status::Unknown, options.scope.no_listener()),
            (Some(severity @ (Severity::Warning | Severity::Critical)), _) => (severity.into(), self.troubles()),
            // Of every process: the queues of this namespace were read, also those whose owner is not known.
            (Some(Severity::Ok), _) if options.scope.scope() == Scope::All && !self.is_partial() => {
                (Status::Ok, self.fullest())
            }
            (_, Some(_)) => (Status::Unknown, self.unreadable()),
            (Some(Severity::Ok), None) => (Status::Ok, self.fullest()),
        }
    }

    /// Any user may give a process the name of a node: which users have, where they are not this one.
    fn users(&self, options: &CheckOptions) -> Option<String> {
        let Scope::Node(_) = options.scope.scope() else { return None };
        let owners = self.judged.iter().flat_map(|judged| &judged.owners);
        let uids: BTreeSet<_> = owners.filter_map(|owner| process::uid(owner.process.pid).ok()).collect();
        let uids: Vec<_> =
            uids.into_iter().filter(|uid| *uid != geteuid().as_raw()).map(|uid| uid.to_string()).collect();
        (!uids.is_empty()).then(|| format!("; the node runs as uid {}", uids.join(" and ")))
    }

    fn troubles(&self) -> String {
        let mut judged: Vec<_> = self.judged.iter().filter(|judged| judged.severity() > Severity::Ok).collect();
        judged.sort_by_key(|judged| std::cmp::Reverse(judged.severity()));
        let mut sentences: Vec<_> = judged.iter().take(NAMED).map(|judged| judged.sentence()).collect();
        if judged.len() > NAMED {
            sentences.push(format!("and {} more", judged.len() - NAMED));
        }
        sentences.join("; ")
    }

    fn fullest(&self) -> String {
        let fullest = self.judged.iter().max_by_key(|judged| judged.counts.queued);
        let count = match self.judged.len() {
            1 => "1 listener".to_owned(),
            count => format!("{count} listeners"),
        };
        let fullest = fullest.map_or_else(String::new, |Judged { endpoint, counts, .. }| {
            format!(", most at {endpoint}: {}", filled(counts))
        });
        match self.gaps.len() {
            0 => count + &fullest,
            gaps => format!("{count}{fullest}; {gaps} processes could not be read"),
        }
    }

    /// The queues of this namespace were not read by sock_diag.
    fn is_partial(&self) -> bool {
        self.gaps.iter().any(|gap| gap.missing == Missing::Diag)
    }

    fn unreadable(&self) -> String {
        let first = self.gaps.first().map(Unreadable::from);
        let sentence = first.map(|Unreadable { process, reason }| format!("{}: {reason}", process.shown()));
        match self.gaps.len() {
            0 | 1 => sentence.unwrap_or_default(),
            gaps => format!("{} processes could not be read: {}", gaps, sentence.unwrap_or_default()),
        }
    }
}

impl From<Severity> for Status {
    fn from(severity: Severity) -> Status {
        match severity {
            Severity::Ok => Status::Ok,
            Severity::Warning => Status::Warning,
            Severity::Critical => Status::Critical,
        }
    }
}

impl From<&Judged> for Entry {
    fn from(judged: &Judged) -> Entry {
        Entry {
            status: judged.severity().into(),
            troubles: judged.troubles.iter().copied().map(word).collect(),
            listener: Listener {
                address: judged.endpoint.to_string(),
                namespace: judged.namespace.0,
                apart: String::new(),
                owners: owners(&judged.owners),
                figures: Figures::from(&judged.counts),
            },
        }
    }
}

fn filled(counts: &Counts) -> String {
    match counts.known_limit() {
        Some(limit) => format!("{} queued, limit {limit}", counts.queued),
        None => format!("{} queued, limit not known", counts.queued),
    }
}

fn word(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Condition(condition) => condition::name(condition),
        Trouble::Filled => "filled",
    }
}

/// `'LABEL'=VALUE[UNIT];WARNING;CRITICAL;MINIMUM;MAXIMUM`, parted by spaces.
fn performance(judged: &[Judged], limits: &Limits) -> String {
    let own = Namespace::own();
    let data = judged.iter().flat_map(|Judged { namespace, endpoint, counts, .. }| {
        let place =
            if own == Ok(*namespace) { endpoint.to_string() } else { format!("{endpoint} netns:{}", namespace.0) };
        let label = |figure: &str| format!("'{} {figure}'", label(&place));
        let queued = format!("{}={}", label("queued"), counts.queued);
        let queued = match counts.known_limit() {
            Some(limit) => format!("{queued};{};{limit};0;{limit}", limits.most_queued(limit)),
            None => format!("{queued};;;0"),
        };
        // An empty queue has no oldest; a Unix socket has no ages.
        let wait = counts.syn_recv.is_some().then(|| {
            let wait = counts.oldest_wait.unwrap_or_default().as_millis();
            format!("{}={wait}ms;{};;0", label("oldest wait"), limits.max_wait.as_millis())
        });
        let drops = counts.drops.map(|drops| format!("{}={drops}c;;;0", label("drops")));
        [Some(queued), wait, drops].into_iter().flatten()
    });
    data.collect::<Vec<_>>().join(" ")
}

/// A label has no equals sign, and a quote is written twice.
fn label(text: &str) -> String {
    text.replace(['=', '|'], "_").replace('\'', "''")
}

#[cfg(test)]
mod tests {
    use accept_queue_core::linux::namespace::Namespace;

    use super::*;

    fn judged(endpoint: Endpoint, counts: Counts, troubles: Vec<Trouble>) -> Judged {
        let namespace = Namespace::own().expect("own namespace");
        Judged { namespace, endpoint, owners: Vec::new(), counts, troubles }
    }

    #[test]
    fn performance_data_can_be_parsed_whatever_the_name_of_a_socket() {
        let counts = Counts { queued: 3, limit: 10, ..Counts::default() };
        let unix = judged(Endpoint::Unix(b"/run/it's a=b|\n".to_vec()), counts, vec![]);
        assert_eq!(performance(&[unix], &Limits::default()), r"'unix:/run/it\''s a_b_\n queued'=3;5;10;0;10");
    }

    #[test]
    fn no_bar_stands_before_the_one_that_parts_text_and_data() {
        assert_eq!(line(Status::Ok, "a|b", "'c'=1"), "ACCEPT_QUEUE OK - a/b | 'c'=1");
        assert_eq!(line(Status::Unknown, "no", ""), "ACCEPT_QUEUE UNKNOWN - no");
    }

    #[test]
    fn the_worst_are_named_first_and_the_others_counted() {
        let at = |name: &str, condition| {
            let counts = Counts { queued: 1, queued_alive: Some(1), limit: 10, ..Counts::default() };
            judged(Endpoint::Unix(name.as_bytes().to_vec()), counts, vec![Trouble::Condition(condition)])
        };
        let mut queues: Vec<_> = ["a", "b", "c"].map(|name| at(name, Condition::Behind)).into();
        queues.push(at("d", Condition::Stuck));
        let text = Seen { judged: queues, gaps: Vec::new() }.troubles();
        assert!(text.starts_with("unix:d: stuck, 1 queued, limit 10; unix:a: behind,"), "{text}");
        assert!(text.ends_with("; and 1 more"), "{text}");
    }
}
