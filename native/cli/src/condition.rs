//! A condition in the words of a person on call: what, which figures say so, what to try.

use std::time::Duration;

use accept_queue_core::rules::detector::{Condition, ConditionEvidence};

use crate::figures;

/// The same in every output.
pub(crate) fn name(condition: Condition) -> &'static str {
    match condition {
        Condition::Behind => "behind",
        Condition::Overflowing => "overflowing",
        Condition::Stuck => "stuck",
        Condition::Abandoned => "abandoned",
        Condition::Leaking => "leaking",
    }
}

/// It has begun: sentences that continue the name of the listener.
pub(crate) fn raised(condition: Condition, evidence: &ConditionEvidence) -> String {
    format!("{}. {}. {}", what(condition, evidence), read(evidence), remedy(condition))
}

/// It has ended: the same.
pub(crate) fn cleared(condition: Condition, lasted: Duration) -> String {
    format!("is no longer {}, after {}.", name(condition), seconds(lasted))
}

fn what(condition: Condition, evidence: &ConditionEvidence) -> String {
    let held = seconds(evidence.held_for);
    match condition {
        Condition::Behind => format!("is behind: the oldest connection has waited too long, for {held} now"),
        Condition::Overflowing if evidence.dropped == 0 => {
            "is overflowing: it is full, and the next client will be dropped".to_owned()
        }
        Condition::Overflowing => {
            format!("is overflowing: {} of clients dropped", many(evidence.dropped, "packet"))
        }
        Condition::Stuck => format!("is stuck: connections wait, and none has been accepted for {held}"),
        Condition::Abandoned => format!("is abandoned: {} of the queued clients have already left", left(evidence)),
        Condition::Leaking => {
            let close_wait = evidence.counts.map_or(0, |counts| counts.close_wait);
            format!("is leaking: {close_wait} accepted connections are held that their clients have closed")
        }
    }
}

/// What was read of the queue.
fn read(evidence: &ConditionEvidence) -> String {
    let ConditionEvidence { depth, counts, dropped_otherwise, .. } = evidence;
    let oldest = counts.and_then(|counts| counts.oldest_wait);
    let left = left(evidence);
    // One of several: the sum says less than its own queue.
    let socket = evidence.socket.filter(|socket| socket.depth.limit < depth.limit);
    let known = [
        Some(figures::queued(depth)),
        socket.map(|socket| {
            format!(
                "{} (backlog {}) at the socket with cookie {}",
                socket.depth.queued, socket.depth.limit, socket.cookie.0
            )
        }),
        oldest.map(|wait| format!("the oldest for {} ms", wait.as_millis())),
        (left > 0).then(|| format!("{left} have left")),
        depth.drops.map(|drops| format!("{drops} dropped since it was opened")),
        (*dropped_otherwise > 0).then(|| format!("{dropped_otherwise} dropped with room left: not for want of places")),
    ];
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn left(evidence: &ConditionEvidence) -> u32 {
    evidence.counts.and_then(|counts| counts.left()).unwrap_or(0)
}

fn remedy(condition: Condition) -> &'static str {
    match condition {
        Condition::Behind => "Try: more acceptors, or less work between accept and the next accept.",
        Condition::Overflowing => "Try: a larger backlog if it is bursts; more acceptors if it lasts.",
        Condition::Stuck => {
            "Try: find out what the acceptors do instead. In an Erlang VM accept_queue:acceptors/1 shows it; where that \
             does not answer, the VM hangs."
        }
        Condition::Abandoned => "Try: skip those that have left, after accept; accept_queue:peer_closed/1 finds them.",
        Condition::Leaking => {
            "Try: close what the client has closed; in an Erlang VM accept_queue:holders/1 names the processes."
        }
    }
}

/// `0.4 s`, `12.3 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `1 packet`, `2 packets`.
pub(crate) fn many(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use accept_queue_core::{Counts, Depth};

    use super::*;

    #[test]
    fn a_sentence_says_what_which_figures_say_so_and_what_to_try() {
        let counts = Counts {
            queued: 31,
            limit: 30,
            queued_alive: Some(29),
            queued_closed: Some(1),
            oldest_wait: Some(Duration::from_millis(5316)),
            close_wait: 1001,
            ..Counts::default()
        };
        let evidence = ConditionEvidence {
            held_for: Duration::from_millis(5049),
            depth: Depth { queued: 31, limit: 30, drops: Some(390) },
            counts: Some(counts),
            dropped: 7,
            dropped_otherwise: 0,
            socket: None,
        };
        assert_eq!(
            raised(Condition::Overflowing, &evidence),
            "is overflowing: 7 packets of clients dropped. 31 queued (backlog 30), the oldest for 5316 ms, 2 have left, 390 \
             dropped since it was opened. Try: a larger backlog if it is bursts; more acceptors if it lasts."
        );
        for (condition, what) in [
            (Condition::Behind, "is behind: the oldest connection has waited too long, for 5.0 s now."),
            (Condition::Stuck, "is stuck: connections wait, and none has been accepted for 5.0 s."),
            (Condition::Abandoned, "is abandoned: 2 of the queued clients have already left."),
            (Condition::Leaking, "is leaking: 1001 accepted connections are held that their clients have closed."),
        ] {
            let said = raised(condition, &evidence);
            assert!(said.starts_with(what) && said.contains("Try: "), "{said}");
        }
        let full = ConditionEvidence { dropped: 0, counts: None, dropped_otherwise: 3, ..evidence };
        assert!(raised(Condition::Overflowing, &full).starts_with(
            "is overflowing: it is full, and the next client will be dropped. 31 queued (backlog 30), 390 dropped since it \
                 was opened, 3 dropped with room left: not for want of places."
        ));
        assert_eq!(cleared(Condition::Stuck, Duration::from_secs(61)), "is no longer stuck, after 61.0 s.");
    }
}
