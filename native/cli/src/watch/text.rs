//! An event -> a line of text.

use std::time::SystemTime;

use accept_queue_core::outside::observer::Reading;
use anstyle::{AnsiColor, Style};

use crate::condition;
use crate::figures::{self, Process};
use crate::follow::event::{Event, ListenerRef};

pub(super) fn line(at: SystemTime, event: &Event) -> String {
    let (style, sentence) = match event {
        Event::Added(reading) => {
            let read = format!("is watched: {}.", figures::queued(&reading.depth_reading.depth));
            (Style::new(), sentence((*reading).into(), &read))
        }
        Event::Sample(reading) => (Style::new().dimmed(), sentence((*reading).into(), &sample(reading))),
        Event::Raised { reading, condition, evidence } => {
            (AnsiColor::Red.on_default(), sentence((*reading).into(), &condition::raised(*condition, evidence)))
        }
        Event::Cleared { reading, condition, lasted } => {
            (AnsiColor::Green.on_default(), sentence((*reading).into(), &condition::cleared(*condition, *lasted)))
        }
        Event::Ended { gone, condition, lasted } => {
            (AnsiColor::Green.on_default(), sentence((*gone).into(), &condition::cleared(*condition, *lasted)))
        }
        Event::Removed(gone) => (Style::new(), sentence((*gone).into(), "is watched no longer: it has been closed.")),
        Event::Unreadable { process: Some(process), reason } => {
            (AnsiColor::Yellow.on_default(), format!("{}: {reason}", Process::from(*process).shown()))
        }
        Event::Unreadable { process: None, reason } => (AnsiColor::Yellow.on_default(), format!("{reason}.")),
    };
    let time = humantime::format_rfc3339_millis(at);
    format!("{time} {style}{sentence}{style:#}\n")
}

fn sentence(listener: ListenerRef, what: &str) -> String {
    let owners: Vec<_> = listener.owners.iter().map(|owner| Process::from(&*owner.process).shown()).collect();
    let owners = if owners.is_empty() { String::new() } else { format!(" of {}", owners.join(", ")) };
    format!("{}{owners} {what}", listener.endpoint)
}

fn sample(reading: &Reading) -> String {
    let counts = reading.census.as_ref().map(|census| census.counts);
    let parts = [
        Some(figures::queued(&reading.depth_reading.depth)),
        counts.and_then(|counts| {
            let (alive, closed, reset) = (counts.queued_alive?, counts.queued_closed?, counts.queued_reset()?);
            Some(format!("{alive} alive, {closed} closed, {reset} reset"))
        }),
        counts.and_then(|c| c.oldest_wait).map(|wait| format!("the oldest for {} ms", wait.as_millis())),
        reading.depth_reading.drops.map(|drops| format!("{drops} dropped")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
