//! What is wrong with a listener, by one reading. Pure: one reading in, symptoms out.
//!
//! One reading has no past. That a burst drains, or that drops go on, only readings over time can show.

use std::time::Duration;

use crate::rules::detector::Settings;

/// A listener and its acceptors, by one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerState {
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// The backlog in force.
    pub limit: u32,
    /// A queue is full: any of them, where several sockets share the address.
    pub is_full: bool,
    /// Of the queued: the client has closed or reset; `None` where that is not known.
    pub left: Option<u32>,
    /// How long the longest-waiting one has waited; `None` where none waits, or the kernel does not say.
    pub oldest_wait: Option<Duration>,
    /// Accepted, closed by the peer, and still held.
    pub close_wait: u32,
    /// Processes that are blocked in accept; `None` where that is not known.
    pub waiting_acceptors: Option<u32>,
}

/// Something that is wrong with a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// The next client's SYN will be dropped.
    Full,
    /// Connections wait, and no process is in accept to take them.
    NoAcceptor,
    /// Connections wait longer than they should, though a process accepts, or may accept.
    Behind,
    /// So many of the queued are no longer there.
    Left(u32),
    /// So many accepted connections are held that their peers have closed.
    Leaking(u32),
}

/// What is wrong, the gravest first; nothing where all is well. A pool that keeps up may be busy when a client comes, and a
/// few clients leave at any time: the limits are those of the conditions.
pub fn verdict(standing: &ListenerState, settings: &Settings) -> Vec<Symptom> {
    let ListenerState { queued, is_full, left, oldest_wait, close_wait, waiting_acceptors, .. } = *standing;
    // Without an age a fresh queue and one that does not drain are the same.
    let is_waiting = queued > 0 && oldest_wait.is_none_or(|wait| wait > settings.max_wait);
    let no_acceptor = is_waiting && waiting_acceptors == Some(0);
    [
        is_full.then_some(Symptom::Full),
        no_acceptor.then_some(Symptom::NoAcceptor),
        (is_waiting && oldest_wait.is_some() && !no_acceptor).then_some(Symptom::Behind),
        left.filter(|&left| settings.is_abandoned(queued, left)).map(Symptom::Left),
        settings.is_leaking(close_wait).then_some(Symptom::Leaking(close_wait)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::Symptom::{Behind, Full, Leaking, Left, NoAcceptor};
    use super::*;

    fn queue(queued: u32, oldest_ms: u64) -> ListenerState {
        ListenerState {
            queued,
            limit: 30,
            is_full: queued > 30,
            left: Some(0),
            oldest_wait: (queued > 0).then_some(Duration::from_millis(oldest_ms)),
            close_wait: 0,
            waiting_acceptors: Some(0),
        }
    }

    #[test]
    fn a_reading_shows_what_is_wrong() {
        let accepting = Some(10);
        for (sentence, standing, findings) in [
            (
                "an empty queue is well with acceptors",
                ListenerState { waiting_acceptors: accepting, ..queue(0, 0) },
                vec![],
            ),
            ("an empty queue is well while the pool is busy", queue(0, 0), vec![]),
            ("a client that has just come to a busy pool is no trouble", queue(1, 100), vec![]),
            ("a client that waits longer while no process accepts is", queue(1, 101), vec![NoAcceptor]),
            (
                "it is not forgotten that some accept",
                ListenerState { waiting_acceptors: accepting, ..queue(1, 101) },
                vec![Behind],
            ),
            (
                "whether a process accepts may be unknown",
                ListenerState { waiting_acceptors: None, ..queue(1, 101) },
                vec![Behind],
            ),
            ("as many as the limit are not full", queue(30, 5), vec![]),
            ("one more than the limit is full, also while it drains", queue(31, 5), vec![Full]),
            (
                "one full member of a group is full",
                ListenerState { is_full: true, limit: 120, ..queue(31, 5) },
                vec![Full],
            ),
            ("a backlog of 0 holds one", ListenerState { limit: 0, is_full: true, ..queue(1, 5) }, vec![Full]),
            (
                "the experiment of 2009 after the clients' time-outs",
                ListenerState { left: Some(31), ..queue(31, 9000) },
                vec![Full, NoAcceptor, Left(31)],
            ),
            ("a few that have left are usual", ListenerState { left: Some(4), ..queue(4, 5) }, vec![]),
            ("five of ten have left", ListenerState { left: Some(5), ..queue(10, 5) }, vec![Left(5)]),
            ("five of eleven are less than half", ListenerState { left: Some(5), ..queue(11, 5) }, vec![]),
            (
                "a queue without an age is taken not to drain where no process accepts",
                ListenerState { oldest_wait: None, ..queue(1, 0) },
                vec![NoAcceptor],
            ),
            (
                "and nothing is said of its age where one does",
                ListenerState { oldest_wait: None, waiting_acceptors: accepting, ..queue(1, 0) },
                vec![],
            ),
            ("a thousand in CLOSE_WAIT are many but pass", ListenerState { close_wait: 1000, ..queue(0, 0) }, vec![]),
            ("more are a leak", ListenerState { close_wait: 1001, ..queue(0, 0) }, vec![Leaking(1001)]),
        ] {
            assert_eq!(verdict(&standing, &Settings::default()), findings, "{sentence}");
        }
    }
}
