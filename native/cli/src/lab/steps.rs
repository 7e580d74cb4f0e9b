//! The steps of the experiment: when each has settled, and what it shows. Pure.

use accept_queue_core::linux::diag::TcpState;
use serde::Serialize;

use super::client_process::Action;
use super::experiment::{Accepted, Observation};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Listening,
    Connected,
    Retried,
    Closed,
    Reset,
    Accepted,
}

/// What was asked for, and the limit in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) backlog: u16,
    /// The backlog in force.
    pub(crate) limit: u32,
    pub(crate) clients: u16,
}

impl Plan {
    /// The queue is full when it is longer than its limit.
    pub(crate) fn places(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The clients that fit.
    pub(crate) fn inside(&self) -> u32 {
        self.places().min(self.clients.into())
    }
}

impl Step {
    pub(crate) const ALL: [Step; 6] =
        [Step::Listening, Step::Connected, Step::Retried, Step::Closed, Step::Reset, Step::Accepted];

    /// What the clients do as it begins.
    pub(crate) fn action(self) -> Option<Action> {
        match self {
            Step::Closed => Some(Action::Close),
            Step::Reset => Some(Action::Reset),
            Step::Listening | Step::Connected | Step::Retried | Step::Accepted => None,
        }
    }

    /// Whether the step is complete, the clients having run its action.
    pub(crate) fn has_settled(self, plan: &Plan, observed: &Observation) -> bool {
        let Observation { counts, server, clients, .. } = observed;
        let connecting = clients.in_state(TcpState::SynSent);
        // One end has closed, and the other has seen it, or has seen the reset that came after.
        let left = clients.count([TcpState::FinWait2]);
        let is_seen = server.count([TcpState::CloseWait]) == left && counts.queued_closed == Some(left);
        match self {
            Step::Listening => server.count([TcpState::Listen]) == 1,
            Step::Connected => {
                counts.queued == plan.inside() && clients.count([TcpState::Established]) >= plan.inside()
            }
            Step::Retried => connecting.retrying == connecting.sockets,
            Step::Closed => {
                is_seen && left == plan.inside() && clients.count([TcpState::SynSent, TcpState::Established]) == 0
            }
            Step::Reset => is_seen,
            Step::Accepted => {
                counts.queued == 0
                    && server.count([TcpState::Established, TcpState::CloseWait, TcpState::LastAck]) == 0
                    && left == 0
            }
        }
    }

    /// Whether the server has seen every SYN that the clients sent: each that met the full queue is a drop. Of a great
    /// burst some are lost on their way, in the queue of a network device, so this cannot be waited for without end.
    pub(crate) fn is_accounted_for(self, observed: &Observation) -> bool {
        let connecting = observed.clients.in_state(TcpState::SynSent);
        observed.counts.drops.is_none_or(|drops| drops >= connecting.sockets + connecting.retransmits)
    }

    pub(crate) fn title(self, plan: &Plan) -> String {
        match self {
            Step::Listening => format!("A server listens with backlog {}, and does not accept", plan.backlog),
            Step::Connected => format!("{} connect", number_of_clients(plan.clients.into())),
            Step::Retried => "The others send their SYN again".to_owned(),
            Step::Closed => "The clients give up".to_owned(),
            Step::Reset => "Every other one of them resets its connection".to_owned(),
            Step::Accepted => "The server accepts at last".to_owned(),
        }
    }

    /// What the step shows, in one line.
    pub(crate) fn explanation(self, plan: &Plan, observed: &Observation) -> String {
        let Observation { counts, clients, .. } = observed;
        let (inside, outside) = (plan.inside(), clients.count([TcpState::SynSent]));
        match self {
            Step::Listening if plan.limit < u32::from(plan.backlog) => format!(
                "somaxconn clips the backlog to {}, in silence: {} will fit.",
                plan.limit,
                number_of_clients(plan.places())
            ),
            Step::Listening => {
                format!("Full is longer than the backlog: {} will fit.", number_of_clients(plan.places()))
            }
            Step::Connected => {
                // A handshake whose last ACK met the full queue: the client takes it for done.
                let mistaken = clients.count([TcpState::Established]).saturating_sub(inside);
                let mistaken = if mistaken == 0 { String::new() } else { format!(" half-way: {mistaken};") };
                format!("Handshakes without the server: {inside};{mistaken} dropped in silence: {outside}.")
            }
            Step::Retried if outside == 0 => "Every client is in the queue.".to_owned(),
            Step::Retried => "Their SYNs are dropped like the first ones: such a client just hangs.".to_owned(),
            Step::Closed => {
                format!(
                    "A closed connection keeps its place in the queue: {} CLOSE_WAIT, as in 2009.",
                    counts.queued_closed.unwrap_or_default()
                )
            }
            Step::Reset => {
                let reset = counts.queued_reset().unwrap_or_default();
                format!("Of a reset connection no socket is left, only the place in the queue: {reset}.")
            }
            Step::Accepted => {
                let Accepted { connections, dead } = observed.accepted.unwrap_or_default();
                format!("Accepted: {connections}. Dead, for their clients had left long before: {dead}.")
            }
        }
    }
}

fn number_of_clients(number: u32) -> String {
    if number == 1 { "1 client".to_owned() } else { format!("{number} clients") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(backlog: u16, limit: u32, clients: u16) -> Plan {
        Plan { backlog, limit, clients }
    }

    #[test]
    fn one_more_fits_than_the_limit_says() {
        assert_eq!((plan(30, 30, 100).places(), plan(30, 30, 100).inside()), (31, 31));
        assert_eq!(plan(0, 0, 100).inside(), 1);
        assert_eq!(plan(30, 30, 7).inside(), 7);
    }

    #[test]
    fn a_clipped_backlog_is_explained_as_one() {
        let nothing = Observation::default();
        assert_eq!(
            Step::Listening.explanation(&plan(65_535, 4096, 1), &nothing),
            "somaxconn clips the backlog to 4096, in silence: 4097 clients will fit."
        );
        assert_eq!(
            Step::Listening.explanation(&plan(0, 0, 1), &nothing),
            "Full is longer than the backlog: 1 client will fit."
        );
    }

    #[test]
    fn nothing_has_settled_before_the_server_listens() {
        for step in Step::ALL.into_iter().take(2) {
            assert!(!step.has_settled(&plan(30, 30, 100), &Observation::default()), "{step:?}");
        }
    }
}
