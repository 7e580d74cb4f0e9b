//! `accept-queue check`: one line and an exit status, by the convention of monitoring plugins.
//! <https://www.monitoring-plugins.org/doc/guidelines.html>
//!
//! [`reading`] reads on a thread of its own, for which the time-out waits; [`text`] is for people, [`performance`] for programs.

mod performance;
mod reading;
mod text;

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use accept_queue_core::rules::check::{Limits, Range, Severity};
use serde::Serialize;

use crate::args::CheckOptions;
use crate::condition::seconds;
use crate::figures::{Figures, Listener, SCHEMA, Unreadable, owners};
use crate::output::{self, printable};
use reading::{Judged, Seen};
use text::word;

/// What the exit status says, in the convention's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
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

/// Of help and version, by the guidelines.
pub(crate) const NO_RESULT: u8 = Status::Unknown as u8;
/// Beside the time that the samples take.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

impl CheckOptions {
    fn limits(&self) -> Result<Limits, String> {
        let range = |option: &str, text: &String| {
            text.parse::<Range>().map_err(|error| format!("{option} '{}': {error}", printable(text)))
        };
        let warning = self.warning.as_ref().map(|text| range("--warning", text)).transpose()?;
        let critical = self.critical.as_ref().map(|text| range("--critical", text)).transpose()?;
        let max_fill = Range::up_to(self.max_fill.into());
        Ok(Limits { max_wait: self.max_wait, warning: warning.unwrap_or(max_fill), critical })
    }

    /// From the first reading to the last.
    fn span(&self) -> Duration {
        self.interval * (self.samples - 1)
    }

    fn timeout(&self) -> Duration {
        self.timeout.map_or_else(|| self.span() + USUAL_TIMEOUT, Duration::from_secs)
    }
}

pub(crate) fn run(options: CheckOptions) -> ExitCode {
    let limits = match options.limits() {
        Ok(limits) => limits,
        Err(sentence) => return unknown(&sentence),
    };
    let (status, text, seen) = match within_time(&options, limits) {
        Ok(seen) => {
            let (status, text) = seen.summary(&options, &limits);
            (status, text + &seen.users(&options).unwrap_or_default(), seen)
        }
        Err(reason) => (Status::Unknown, reason, Seen::default()),
    };
    if options.json {
        let listeners = seen.judged.iter().map(Entry::from).collect();
        let unreadable = seen.gaps.iter().map(Unreadable::from).collect();
        match crate::json::line(&CheckReport { schema: SCHEMA, status, text, listeners, unreadable }) {
            Ok(report) => say(&report, status),
            Err(error) => unknown(&format!("the report is no JSON: {error}")),
        }
    } else {
        let left_out = performance::left_out(&seen).unwrap_or_default();
        let first = line(status, &(text + &left_out), &performance::data(&seen, &limits));
        let more = seen.details(&options, &limits).into_iter().map(|line| format!("\n{}", without_bars(&line)));
        say(&(first + &more.collect::<String>()), status)
    }
}

/// Nothing that the kernel or another process keeps waiting holds up the answer: then there is none, and the thread ends with the program.
fn within_time(options: &CheckOptions, limits: Limits) -> Result<Seen, String> {
    let (answer, answered) = mpsc::channel();
    let for_thread = options.clone();
    let reads = move || {
        // An answer that comes too late has no reader.
        let _ = answer.send(reading::read(&for_thread, &limits));
    };
    thread::Builder::new().spawn(reads).map_err(|error| format!("no thread could be started: {error}"))?;
    answered.recv_timeout(options.timeout()).map_err(|error| match error {
        RecvTimeoutError::Timeout => options.ran_out(),
        RecvTimeoutError::Disconnected => "the reading ended by an error of this program".to_owned(),
    })?
}

impl CheckOptions {
    fn ran_out(&self) -> String {
        let (timeout, span) = (self.timeout(), self.span());
        let why = if span >= timeout {
            format!("{} readings every {} ms take {}", self.samples, self.interval.as_millis(), seconds(span))
        } else {
            "not everything could be read in it".to_owned()
        };
        format!("the time-out of {} s ran out: {why}", timeout.as_secs_f64())
    }
}

/// Of a command line that cannot be understood, or a scope that cannot be read.
pub(crate) fn unknown(reason: &str) -> ExitCode {
    say(&line(Status::Unknown, reason, ""), Status::Unknown)
}

fn say(lines: &str, status: Status) -> ExitCode {
    // The status is known even where the line cannot be written.
    if let Err(error) = output::print(format!("{lines}\n").as_bytes()) {
        eprintln!("accept-queue: {error}");
    }
    ExitCode::from(status as u8)
}

/// The text before the first bar is for people, the data behind it for programs.
fn line(status: Status, text: &str, performance: &str) -> String {
    let bar = if performance.is_empty() { "" } else { " | " };
    format!("ACCEPT_QUEUE {} - {}{bar}{performance}", status.word(), without_bars(text))
}

fn without_bars(text: &str) -> String {
    text.replace('|', "/")
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Critical => "CRITICAL",
            Status::Unknown => "UNKNOWN",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bar_stands_before_the_one_that_parts_text_and_data() {
        assert_eq!(line(Status::Ok, "a|b", "'c'=1"), "ACCEPT_QUEUE OK - a/b | 'c'=1");
        assert_eq!(line(Status::Unknown, "no", ""), "ACCEPT_QUEUE UNKNOWN - no");
    }
}
