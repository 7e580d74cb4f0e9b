//! A queue, whatever the cause.

use accept_queue_core::rules::diagnosis::{QueueFigures, QueueFinding, QueueTrouble};
use accept_queue_core::rules::facts::Member;
use serde_json::Value;

use super::{NamedFigures, Words, millis, seconds};
use crate::figures::places;

pub(super) fn words(finding: &QueueFinding, listener: &str) -> Words {
    match finding {
        QueueFinding::Trouble(trouble, queue) => {
            let (text, advice) = trouble_words(*trouble, queue, &named(listener, queue));
            Words { text, advice: advice.to_owned(), figures: figures(queue) }
        }
        QueueFinding::BacklogClipped { limit, advice } => Words {
            text: format!("The backlog of {listener} is {limit}, which is somaxconn."),
            advice: advice.text.clone(),
            figures: advice.evidence.iter().map(|&(name, figure)| (name, Value::from(figure))).collect(),
        },
    }
}

fn trouble_words(trouble: QueueTrouble, queue: &QueueFigures, listener: &str) -> (String, &'static str) {
    match trouble {
        QueueTrouble::Behind => (
            format!("Connections of {listener} are accepted, but wait too long for it. {}", waiting(queue)),
            "More acceptors, or less work in each before it accepts again.",
        ),
        QueueTrouble::Full => (
            format!(
                "The queue of {listener} is full, {}: further clients are dropped without a word ({} dropped while we looked).",
                taken(queue),
                queue.dropped
            ),
            "A longer queue (`accept_queue:resize/2`) helps against bursts only: look first at why none is accepted.",
        ),
        QueueTrouble::WasFull => (
            format!("The queue of {listener} was full meanwhile: {} packets were dropped.", queue.dropped),
            "Bursts are larger than the backlog: `accept_queue:resize/2`, and more acceptors.",
        ),
        QueueTrouble::ClientsGone { queued, closed, reset } => (
            format!(
                "{} of the {queued} connections that wait on {listener} have already left ({closed} closed, {reset} reset): a \
                 server that accepts again works in vain at first.",
                closed + reset
            ),
            "Skip them with `accept_queue:peer_closed/1` after accept; a smaller backlog refuses sooner the clients that \
             would not be served in time.",
        ),
        QueueTrouble::CloseWaitHeld { close_wait } => (
            format!(
                "{close_wait} connections of {listener} are held in CLOSE_WAIT: their peers have closed, and this VM has not."
            ),
            "`accept_queue:holders/1` names the processes; they neither read nor close. Descriptors run out next.",
        ),
    }
}

/// How many connections wait, how many fit, and how long the first has waited.
pub(super) fn waiting(queue: &QueueFigures) -> String {
    let longest = queue.counts.and_then(|counts| counts.oldest_wait).or(queue.stalled_for);
    let longest = longest.map(|wait| format!(", the first for {}", seconds(wait))).unwrap_or_default();
    format!("Connections wait on {}{longest}.", taken(queue))
}

fn taken(queue: &QueueFigures) -> String {
    places(queue.depth.queued, queue.depth.known_limit(), queue.counts.map_or(1, |counts| counts.sockets))
}

/// With the descriptor of the socket that it is about, where several share the address.
pub(super) fn named(listener: &str, queue: &QueueFigures) -> String {
    queue.member.map_or_else(|| listener.to_owned(), |Member { fd, .. }| format!("{listener} (descriptor {fd})"))
}

pub(super) fn figures(queue: &QueueFigures) -> NamedFigures {
    let mut figures = vec![
        ("queued", Value::from(queue.depth.queued)),
        ("limit", Value::from(queue.depth.limit)),
        ("dropped", Value::from(queue.dropped)),
    ];
    if let Some(Member { fd, inode }) = queue.member {
        figures.extend([("fd", Value::from(fd)), ("inode", Value::from(inode.0))]);
    }
    if let Some(counts) = queue.counts {
        figures.extend(counts.oldest_wait.map(|wait| ("oldest_wait_ms", millis(wait))));
        figures.push(("established", Value::from(counts.established)));
        figures.push(("close_wait", Value::from(counts.close_wait)));
    }
    if let Some(events) = &queue.epoll_events {
        let masks: Vec<_> = events.iter().map(ToString::to_string).collect();
        figures.push(("epoll_events", Value::from(masks.join(" "))));
    }
    figures
}
