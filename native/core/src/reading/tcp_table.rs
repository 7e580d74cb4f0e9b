//! The queues of a network namespace that cannot be entered, out of `/proc/PID/net/tcp` and `tcp6`.
//!
//! These files are readable where setns is not allowed: those of a rootless container, for the user who started it. They
//! say less than sock_diag, so what was counted has a type of its own: no limit, no drops, no ages, no Unix sockets.

use std::collections::HashMap;
use std::time::Duration;

use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
use procfs::{FromReadSI, ProcError, current_system_info};

use crate::linux::diag::{ChildState, QueuedState, Row};
use crate::linux::proc_file as file;
use crate::reading::census;
use crate::reading::tally::{Group, Tally};
use crate::{Address, Cookie, Errno, Error, Inode, Interface};

/// A queue, as far as these files show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialQueue {
    /// The address.
    pub address: Address,
    /// The sockets that share it (SO_REUSEPORT); the figures are their sum.
    pub sockets: Vec<Inode>,
    /// Connections that wait for `accept`.
    pub queued: u32,
    /// Of the queued: the client is still there.
    pub queued_alive: Option<u32>,
    /// Of the queued: the client has closed while it waited.
    pub queued_closed: Option<u32>,
    /// Of the queued: the client has reset.
    pub queued_reset: Option<u32>,
    /// Request bytes that queued clients have sent.
    pub queued_bytes: Option<u64>,
    /// Handshakes not finished.
    pub syn_recv: Option<u32>,
    /// Accepted and open on both sides.
    pub established: u32,
    /// Accepted; the peer has closed and the application still holds the socket.
    pub close_wait: u32,
}

/// Of a file: a hundred thousand connections.
const MOST: usize = 16 << 20;

/// Every TCP queue in the network namespace of a process. [`Error::Truncated`] where there are more connections than are read.
pub fn read(pid: i32) -> Result<Vec<PartialQueue>, Error> {
    read_within(pid, MOST)
}

fn read_within(pid: i32, most: usize) -> Result<Vec<PartialQueue>, Error> {
    let mut partial = Vec::new();
    for name in ["tcp", "tcp6"] {
        let table = || match file::read(&format!("/proc/{pid}/net/{name}"), most) {
            Ok(text) => entries(&text).map(|entries| counted(&entries)),
            // A kernel without the family, or the process has ended: the other file says.
            Err(Error::NotFound) if !partial.is_empty() => Ok(Tally::default()),
            Err(error) => Err(error),
        };
        let tally = census::settled(|_| table())?;
        partial.extend(tally.into_groups().into_iter().map(PartialQueue::from));
    }
    Ok(partial)
}

fn entries(text: &[u8]) -> Result<Vec<TcpNetEntry>, Error> {
    let TcpNetEntries(entries) = TcpNetEntries::from_read(text, current_system_info()).map_err(reason)?;
    Ok(entries)
}

/// Listeners come first in the file, as in a dump. The file has no cookies: the two ends are what names a connection.
fn counted(entries: &[TcpNetEntry]) -> Tally {
    let mut tally = Tally::default();
    let mut ends = HashMap::new();
    for entry in entries {
        let number = ends.len() as u64;
        let cookie = Cookie(*ends.entry((entry.local_address, entry.remote_address)).or_insert(number));
        if let Some(row) = row(entry, cookie) {
            tally.add(&row);
        }
    }
    tally
}

/// What the file does not say is made up here, and left out again in [`PartialQueue`].
fn row(entry: &TcpNetEntry, cookie: Cookie) -> Option<Row> {
    const UNKNOWN_AGE: Duration = Duration::ZERO;
    const UNKNOWN_LIMIT: u32 = 0;
    let TcpNetEntry { local_address, remote_address, state, rx_queue, inode, .. } = entry;
    // The device is not in the file.
    let end = |address| Address { interface: Interface::default(), ..Address::from(address) };
    let (local, bytes, inode) = (end(*local_address), *rx_queue, Inode(*inode as u32));
    // The peer's FIN counts as a byte.
    let bytes_before_fin = bytes.saturating_sub(1);
    let queued = |state, bytes| ChildState::Queued { state, bytes, waited: UNKNOWN_AGE };
    let state = match (state, inode) {
        (TcpState::Listen, _) => {
            return Some(Row::Listener {
                address: local,
                cookie: Cookie(inode.0.into()),
                inode,
                queued: bytes,
                limit: UNKNOWN_LIMIT,
                drops: None,
                is_transparent: false,
            });
        }
        (TcpState::SynRecv | TcpState::NewSynRecv, _) => ChildState::Handshake,
        (TcpState::Established, Inode(0)) => queued(QueuedState::Alive, bytes),
        (TcpState::CloseWait, Inode(0)) => queued(QueuedState::Closed, bytes_before_fin),
        (TcpState::Established, _) => ChildState::Established,
        (TcpState::CloseWait, _) => {
            let peer = end(*remote_address);
            ChildState::CloseWait { peer, inode, bytes: bytes_before_fin, silent: UNKNOWN_AGE }
        }
        _ => return None,
    };
    Some(Row::Child { cookie, local, is_transparent: false, state })
}

impl From<Group> for PartialQueue {
    fn from(Group { address, sockets, counts, .. }: Group) -> PartialQueue {
        PartialQueue {
            address,
            sockets: sockets.into_iter().map(|(_, inode)| inode).collect(),
            queued: counts.queued,
            queued_alive: counts.queued_alive,
            queued_closed: counts.queued_closed,
            queued_reset: counts.queued_reset(),
            queued_bytes: counts.queued_bytes,
            syn_recv: counts.syn_recv,
            established: counts.established,
            close_wait: counts.close_wait,
        }
    }
}

/// The bytes are read already: what is wrong is what they say.
fn reason(error: ProcError) -> Error {
    match error {
        ProcError::Io(error, _) => error.into(),
        _ => Error::Errno(Errno::BAD_MESSAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18, without the lines of others. Six had connected to port 9999 with room for eleven: one was accepted and
    /// left, one was accepted and stays, one waits, one left while it waited after 3 bytes, one reset, one handshake.
    const FILE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:270F 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 5001 1 0 100 0 0 10 0
   1: 0100007F:270F 0100007F:8001 03 00000000:00000000 01:00000064 00000000     0        0 0 1 0
   2: 0100007F:270F 0100007F:8002 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   3: 0100007F:270F 0100007F:8003 08 00000000:00000004 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   4: 0100007F:270F 0100007F:8004 01 00000000:00000000 00:00000000 00000000     0        0 5002 1 0 20 4 30 10 -1
   5: 0100007F:270F 0100007F:8005 08 00000000:00000001 00:00000000 00000000     0        0 5003 1 0 20 4 30 10 -1
   6: 0100007F:8001 0100007F:270F 06 00000000:00000000 03:00000FA0 00000000     0        0 0 3 0
";

    #[test]
    fn a_file_tells_who_waits_and_who_has_left_but_no_limit() {
        let entries = entries(FILE.as_bytes()).expect("a table");
        let partial: Vec<_> = counted(&entries).into_groups().into_iter().map(PartialQueue::from).collect();
        let address = Address::from("127.0.0.1:9999".parse::<std::net::SocketAddr>().expect("an address"));
        let expected = PartialQueue {
            address,
            sockets: vec![Inode(5001)],
            queued: 3,
            queued_alive: Some(1),
            queued_closed: Some(1),
            queued_reset: Some(1),
            queued_bytes: Some(3),
            syn_recv: Some(1),
            established: 1,
            close_wait: 1,
        };
        assert_eq!(partial, [expected]);
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(read(i32::MAX), Err(Error::NotFound));
    }

    #[test]
    fn a_table_that_is_too_long_is_an_error_and_not_its_beginning() {
        let own = std::process::id() as i32;
        assert_eq!(read_within(own, 10), Err(Error::Truncated));
        assert!(read(own).is_ok());
    }
}
