//! How many sockets of a listening address are in which state, at the server or at its clients: what
//! `netstat | sort | uniq -c` counts.
//!
//! One walk over the kernel's table for each end. It gives states, not meanings: which of them are still queued,
//! [`crate::reading::census`] says.

use std::collections::BTreeMap;

use crate::Error;
use crate::linux::diag::{DiagSocket, EndRequest, EndRow, TcpState};

/// The sockets in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketCount {
    /// How many.
    pub sockets: u32,
    /// Those of them that have sent something again.
    pub retrying: u32,
    /// How often, all together.
    pub retransmits: u32,
}

/// The sockets of one end, by state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ends(BTreeMap<TcpState, SocketCount>);

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
    pub fn in_state(&self, state: TcpState) -> SocketCount {
        self.0.get(&state).copied().unwrap_or_default()
    }

    /// How many are in one of these states.
    pub fn count<const N: usize>(&self, states: [TcpState; N]) -> u32 {
        states.into_iter().map(|state| self.in_state(state).sockets).sum()
    }

    /// The states that at least one socket is in.
    pub fn iter(&self) -> impl Iterator<Item = (TcpState, SocketCount)> {
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
        for (state, retransmits) in [(TcpState::SynSent, 0), (TcpState::SynSent, 3), (TcpState::Established, 0)] {
            ends.add(&EndRow { local: at, peer: at, state, retransmits });
        }
        assert_eq!(ends.in_state(TcpState::SynSent), SocketCount { sockets: 2, retrying: 1, retransmits: 3 });
        assert_eq!(ends.count([TcpState::SynSent, TcpState::Established, TcpState::TimeWait]), 3);
        assert_eq!(ends.iter().count(), 2);
    }
}
