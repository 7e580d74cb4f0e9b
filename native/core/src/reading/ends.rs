//! How many sockets of a listening address are in which state, at the server or at its clients: what somebody counts with
//! netstat, sort and uniq.
//!
//! One walk over the kernel's table for each end. It tells states, not meanings: who is still queued, [`crate::reading::census`]
//! knows.

use std::collections::BTreeMap;

use crate::Error;
use crate::linux::diag::{DiagSocket, EndRequest, EndRow, State};

/// The sockets in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many.
    pub sockets: u32,
    /// Those of them that have sent something again.
    pub retrying: u32,
    /// How often, all together.
    pub retransmits: u32,
}

/// The sockets of one end, by state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ends(BTreeMap<State, Standing>);

impl Ends {
    /// Reads them, in the namespace of the netlink socket.
    pub fn read(diag: &mut DiagSocket, request: &EndRequest) -> Result<Ends, Error> {
        let mut ends = Ends::default();
        diag.dump(request, |row| {
            if request.wants(&row) {
                ends.add(&row);
            }
        })?;
        Ok(ends)
    }

    fn add(&mut self, row: &EndRow) {
        let standing = self.0.entry(row.state).or_default();
        standing.sockets += 1;
        standing.retrying += u32::from(row.retransmits > 0);
        standing.retransmits += u32::from(row.retransmits);
    }

    /// Those in one state.
    pub fn standing(&self, state: State) -> Standing {
        self.0.get(&state).copied().unwrap_or_default()
    }

    /// How many are in one of these states.
    pub fn count<const N: usize>(&self, states: [State; N]) -> u32 {
        states.into_iter().map(|state| self.standing(state).sockets).sum()
    }

    /// The states that at least one socket is in.
    pub fn iter(&self) -> impl Iterator<Item = (State, Standing)> {
        self.0.iter().map(|(&state, &standing)| (state, standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_summed_by_state() {
        let mut ends = Ends::default();
        let at = "127.0.0.1:1".parse().expect("an address");
        for (state, retransmits) in [(State::SynSent, 0), (State::SynSent, 3), (State::Established, 0)] {
            ends.add(&EndRow { local: at, peer: at, state, retransmits });
        }
        assert_eq!(ends.standing(State::SynSent), Standing { sockets: 2, retrying: 1, retransmits: 3 });
        assert_eq!(ends.count([State::SynSent, State::Established, State::TimeWait]), 3);
        assert_eq!(ends.iter().count(), 2);
    }
}
