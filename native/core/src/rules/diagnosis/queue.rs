//! What the detector and the limits say of a queue, whatever the cause.

use std::time::Duration;

use super::case::Case;
use super::grade::{Confidence, Graded, Gravity};
use crate::rules::advice::{self, Advice, Facts};
use crate::rules::detector::Condition;
use crate::rules::facts::{ListenerFacts, Member};
use crate::vm::pollset::Events;
use crate::{Counts, Depth, Endpoint};

/// What was found of a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueFinding {
    /// Clients are lost or served late.
    Trouble(QueueTrouble, Box<QueueFigures>),
    /// The backlog that was asked for was perhaps larger than `somaxconn`, which is in force instead.
    BacklogClipped {
        /// The backlog in force.
        limit: u32,
        /// The advice of the same rule.
        advice: Advice,
    },
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueTrouble {
    /// Connections wait too long, though some are accepted.
    Behind,
    /// The queue is full now.
    Full,
    /// It was full while observed, and connections were dropped.
    WasFull,
    /// Many of the queued clients have left.
    ClientsGone {
        /// Connections that wait.
        queued: u32,
        /// Of these, closed by the client.
        closed: u32,
        /// Of these, reset by the client.
        reset: u32,
    },
    /// Many accepted connections are held that their peers have closed.
    CloseWaitHeld {
        /// How many.
        close_wait: u32,
    },
}

/// The figures of a queue that go with a finding.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFigures {
    /// Which of the sockets that share the address; `None`: all of the process.
    pub member: Option<Member>,
    /// The last reading.
    pub depth: Depth,
    /// Dropped while observed.
    pub dropped: u32,
    /// The last census, where there was one.
    pub counts: Option<Counts>,
    /// For how long none was accepted while connections waited; `None`: one was, or none waits.
    pub stalled_for: Option<Duration>,
    /// Its masks in the epoll sets of the process; `None`: they could not be read.
    pub epoll_events: Option<Vec<Events>>,
}

impl QueueFinding {
    pub(super) fn id(&self) -> &'static str {
        match self {
            QueueFinding::Trouble(QueueTrouble::Behind, _) => "behind",
            QueueFinding::Trouble(QueueTrouble::Full | QueueTrouble::WasFull, _) => "queue_full",
            QueueFinding::Trouble(QueueTrouble::ClientsGone { .. }, _) => "clients_gone",
            QueueFinding::Trouble(QueueTrouble::CloseWaitHeld { .. }, _) => "close_wait_held",
            QueueFinding::BacklogClipped { .. } => "backlog_clipped",
        }
    }
}

impl From<&ListenerFacts> for QueueFigures {
    fn from(listener: &ListenerFacts) -> QueueFigures {
        let registrations = listener.accepting.as_ref().map(|(_, registrations)| registrations);
        QueueFigures {
            member: listener.member,
            depth: listener.depth,
            dropped: listener.dropped,
            counts: listener.counts,
            stalled_for: listener.stalled_for,
            epoll_events: registrations.map(|all| all.iter().map(|registration| registration.events).collect()),
        }
    }
}

impl Case<'_> {
    pub(super) fn queue(&self, listener: &ListenerFacts) -> Vec<Graded<QueueFinding>> {
        let mut found: Vec<_> = self
            .troubles(listener)
            .into_iter()
            .map(|(trouble, queue)| Graded {
                found: QueueFinding::Trouble(trouble, Box::new(QueueFigures::from(queue))),
                gravity: Gravity::Trouble,
                confidence: Confidence::Certain,
                listener: Some(listener.endpoint.clone()),
            })
            .collect();
        found.extend(self.backlog_clipped(listener));
        found
    }

    /// With what each is of: one socket, or all that share the address.
    fn troubles<'a>(&self, listener: &'a ListenerFacts) -> Vec<(QueueTrouble, &'a ListenerFacts)> {
        let holds = |condition| listener.conditions.contains(&condition);
        let mut troubles = Vec::new();
        if holds(Condition::Behind) && listener.has_accepted {
            troubles.push((QueueTrouble::Behind, listener));
        }
        let full: Vec<_> = listener.queues().iter().filter(|queue| queue.is_full()).collect();
        if full.len() == listener.queues().len() {
            troubles.push((QueueTrouble::Full, listener));
        } else if !full.is_empty() {
            troubles.extend(full.into_iter().map(|queue| (QueueTrouble::Full, queue)));
        } else if holds(Condition::Overflowing) {
            troubles.push((QueueTrouble::WasFull, listener));
        }
        if let Some(counts) = listener.counts {
            let queued = counts.queued;
            if let (Some(closed), Some(reset)) = (counts.queued_closed, counts.queued_reset())
                && self.settings.is_abandoned(queued, closed + reset)
            {
                troubles.push((QueueTrouble::ClientsGone { queued, closed, reset }, listener));
            }
            if self.settings.is_leaking(counts.close_wait) {
                troubles.push((QueueTrouble::CloseWaitHeld { close_wait: counts.close_wait }, listener));
            }
        }
        troubles
    }

    fn backlog_clipped(&self, listener: &ListenerFacts) -> Option<Graded<QueueFinding>> {
        let limit = listener.queues().iter().map(|queue| queue.depth.limit).max()?;
        let facts = Facts {
            limit: Some(limit).filter(|_| matches!(listener.endpoint, Endpoint::Tcp(_))),
            somaxconn: self.observed.somaxconn,
            ..Facts::default()
        };
        let advice = advice::advise(&facts).into_iter().find(|advice| advice.id == "somaxconn_clips")?;
        let has_effect = listener.is_full() || listener.dropped > 0;
        Some(Graded {
            found: QueueFinding::BacklogClipped { limit, advice },
            gravity: if has_effect { Gravity::Trouble } else { Gravity::Note },
            confidence: Confidence::Possible,
            listener: Some(listener.endpoint.clone()),
        })
    }
}
