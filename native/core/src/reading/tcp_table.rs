//! The queues of a network namespace without sock_diag, out of `/proc/PID/net/tcp` and `tcp6`.
//!
//! These files are there where a kernel has no inet_diag, and readable where setns is not allowed: those of a rootless container, for the
//! user who started it. They say less than sock_diag: no limit, no drops, no Unix sockets. They have no ages either, but each connection is
//! named by its ends: one that is still in the queue has waited since it was seen there first.
//!
//! Cost: the kernel writes, and this parses, a line of 150 bytes for each connection of the namespace.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
use procfs::{FromReadSI, ProcError, current_system_info};

use crate::counts::UNKNOWN_LIMIT;
use crate::linux::diag::{ChildState, QueuedState, Row};
use crate::linux::proc_file as file;
use crate::reading::census;
use crate::reading::tally::{Group, Tally};
use crate::{Address, Cookie, Depth, Endpoint, Errno, Error, Inode, Interface, Listening, Queue};

/// The tables of one network namespace, read over and over.
#[derive(Debug, Default)]
pub struct TcpTables {
    /// When each connection that was queued at the last reading was first seen in a queue; `None`: there was no reading.
    first_seen: Option<HashMap<Ends, Duration>>,
    /// When the last reading was.
    read_at: Duration,
    /// By these ages are known: there was a reading before the last.
    has_ages: bool,
}

/// Local and remote. The files have no cookies: these name a connection, until a client takes the same port again.
type Ends = (SocketAddr, SocketAddr);

/// Of a file: a hundred thousand connections.
const MOST: usize = 16 << 20;

impl TcpTables {
    /// Every TCP socket that listens in the network namespace of a process, as far as the files say. [`Error::Truncated`] where there are
    /// more connections than are read. `at`: by a clock that never goes back.
    pub fn listening(&mut self, pid: i32, at: Duration) -> Result<Vec<Listening>, Error> {
        let mut listening = Vec::new();
        let mut queued = HashMap::new();
        for text in tables(pid, MOST)? {
            for entry in entries(&text)? {
                let ends = (entry.local_address, entry.remote_address);
                match row(&entry, Cookie(0), Duration::ZERO) {
                    Some(Row::Listener { address, cookie, inode, queued, limit, drops, .. }) => {
                        let depth = Depth { queued, limit, drops };
                        listening.push(Listening { endpoint: Endpoint::Tcp(address), cookie, inode, depth });
                    }
                    Some(Row::Child { state: ChildState::Queued { .. }, .. }) => {
                        let first_seen = self.first_seen.as_ref().and_then(|seen| seen.get(&ends).copied());
                        queued.insert(ends, first_seen.unwrap_or(at));
                    }
                    _ => {}
                }
            }
        }
        self.has_ages = self.first_seen.replace(queued).is_some();
        self.read_at = at;
        Ok(listening)
    }

    /// Every queue there, after its listener has been read. How long a connection has waited is how long it had been seen to wait by then:
    /// that long at least.
    pub fn queues(&self, pid: i32) -> Result<Vec<Queue>, Error> {
        self.queues_within(pid, MOST)
    }

    fn queues_within(&self, pid: i32, most: usize) -> Result<Vec<Queue>, Error> {
        let mut queues = Vec::new();
        for name in TABLES {
            let table =
                || table(pid, name, most)?.map_or(Ok(Tally::default()), |text| Ok(self.counted(&entries(&text)?)));
            let tally = census::settled(|_| table())?;
            queues.extend(tally.into_groups().into_iter().map(|group| self.queue(group)));
        }
        Ok(queues)
    }

    /// Listeners come first in the file, as in a dump.
    fn counted(&self, entries: &[TcpNetEntry]) -> Tally {
        let mut tally = Tally::default();
        let mut numbers = HashMap::new();
        for entry in entries {
            let ends = (entry.local_address, entry.remote_address);
            let next = numbers.len() as u64;
            let cookie = Cookie(*numbers.entry(ends).or_insert(next));
            let first_seen = self.first_seen.as_ref().and_then(|seen| seen.get(&ends));
            let waited = first_seen.map_or(Duration::ZERO, |&seen| self.read_at.saturating_sub(seen));
            if let Some(row) = row(entry, cookie, waited) {
                tally.add(&row);
            }
        }
        tally
    }

    fn queue(&self, group: Group) -> Queue {
        let mut queue = Queue::from(group);
        if !self.has_ages {
            // Each has waited for 0 at least: which of them are still there at the next reading says whether any was accepted.
            queue.census.counts.oldest_wait = None;
        }
        queue
    }
}

const TABLES: [&str; 2] = ["tcp", "tcp6"];

fn tables(pid: i32, most: usize) -> Result<Vec<Vec<u8>>, Error> {
    TABLES.into_iter().map(|name| table(pid, name, most)).filter_map(Result::transpose).collect()
}

/// `None`: a kernel without IPv6.
fn table(pid: i32, name: &str, most: usize) -> Result<Option<Vec<u8>>, Error> {
    match file::read(&format!("/proc/{pid}/net/{name}"), most) {
        Err(Error::NotFound) if name == TABLES[1] => Ok(None),
        read => read.map(Some),
    }
}

fn entries(text: &[u8]) -> Result<Vec<TcpNetEntry>, Error> {
    let TcpNetEntries(entries) = TcpNetEntries::from_read(text, current_system_info()).map_err(reason)?;
    Ok(entries)
}

/// `waited`: what is known of the age, which is not in the file.
fn row(entry: &TcpNetEntry, cookie: Cookie, waited: Duration) -> Option<Row> {
    let TcpNetEntry { local_address, remote_address, state, rx_queue, inode, .. } = entry;
    // The device is not in the file.
    let end = |address| Address { interface: Interface::default(), ..Address::from(address) };
    let (local, bytes, inode) = (end(*local_address), *rx_queue, Inode(*inode as u32));
    // The peer's FIN counts as a byte.
    let bytes_before_fin = bytes.saturating_sub(1);
    let queued = |state, bytes| ChildState::Queued { state, bytes, waited };
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
            ChildState::CloseWait { peer, inode, bytes: bytes_before_fin, silent: Duration::ZERO }
        }
        _ => return None,
    };
    Some(Row::Child { cookie, local, is_transparent: false, state })
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
    use proptest::prelude::*;

    use super::*;
    use crate::Counts;

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
        let tables = TcpTables::default();
        let entries = entries(FILE.as_bytes()).expect("a table");
        let queues: Vec<_> =
            tables.counted(&entries).into_groups().into_iter().map(|group| tables.queue(group)).collect();
        let [queue] = &queues[..] else { panic!("one listener: {queues:?}") };
        let address = Address::from("127.0.0.1:9999".parse::<SocketAddr>().expect("an address"));
        assert_eq!((&queue.endpoint, queue.sockets[0].1), (&Endpoint::Tcp(address), Inode(5001)));
        let counts = queue.census.counts;
        let expected = Counts {
            queued: 3,
            limit: UNKNOWN_LIMIT,
            drops: None,
            syn_recv: Some(1),
            queued_alive: Some(1),
            queued_closed: Some(1),
            queued_bytes: Some(3),
            oldest_wait: None,
            established: 1,
            close_wait: 1,
            sockets: 1,
            full_sockets: 0,
        };
        assert_eq!((counts, counts.queued_reset()), (expected, Some(1)));
        assert_eq!(
            (counts.is_full(), counts.depth().known_limit(), &queue.census.waits),
            (false, None, &Some(vec![Duration::ZERO; 2]))
        );
    }

    #[test]
    fn a_connection_has_waited_for_as_long_as_it_has_been_seen_to_wait() {
        let own = std::process::id() as i32;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let _early = std::net::TcpStream::connect(address).expect("a client");
        let mut tables = TcpTables::default();
        let mut read = |second| {
            let is_it = |endpoint: &Endpoint| *endpoint == Endpoint::Tcp(address.into());
            let listening = tables.listening(own, Duration::from_secs(second)).expect("a table");
            let depth = listening.iter().find(|socket| is_it(&socket.endpoint)).expect("the listener").depth;
            let queues = tables.queues(own).expect("a table");
            (depth, queues.into_iter().find(|queue| is_it(&queue.endpoint)).expect("the queue").census)
        };
        let (depth, census) = read(10);
        assert_eq!((depth.queued, depth.known_limit(), depth.drops), (1, None, None));
        assert_eq!(
            (census.waits, census.counts.oldest_wait),
            (Some(vec![Duration::ZERO]), None),
            "nothing was seen before"
        );
        let _late = std::net::TcpStream::connect(address).expect("another");
        for (second, expected) in [(12, [0, 2]), (15, [3, 5])] {
            let (_, census) = read(second);
            let mut waits = census.waits.expect("ages");
            waits.sort_unstable();
            assert_eq!(waits, expected.map(Duration::from_secs));
            assert_eq!(census.counts.oldest_wait, waits.last().copied());
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(TcpTables::default().listening(i32::MAX, Duration::ZERO).map(drop), Err(Error::NotFound));
        assert_eq!(TcpTables::default().queues(i32::MAX).map(drop), Err(Error::NotFound));
    }

    #[test]
    fn a_table_that_is_too_long_is_an_error_and_not_its_beginning() {
        let own = std::process::id() as i32;
        assert_eq!(TcpTables::default().queues_within(own, 10).map(drop), Err(Error::Truncated));
        assert!(TcpTables::default().queues(own).is_ok());
    }

    /// A line of the file with anything in the place of some of its words, or anything at all.
    fn line() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            40 => Just(None),
            1 => "[0-9A-F]{0,40}(:[0-9A-F]{0,8})?".prop_map(Some),
            1 => "\\PC{0,20}".prop_map(Some),
        ];
        let changed = |words: Vec<Option<String>>| {
            let line = FILE.lines().nth(3).expect("a connection");
            let of = |(index, word): (usize, &str)| words.get(index).cloned().flatten().unwrap_or(word.to_owned());
            line.split_ascii_whitespace().enumerate().map(of).collect::<Vec<_>>().join(" ")
        };
        prop_oneof![3 => prop::collection::vec(word, 0..20).prop_map(changed), 1 => "\\PC{0,200}"]
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>) {
            let _ = entries(&bytes).map(|entries| TcpTables::default().counted(&entries));
        }
    }

    #[test]
    fn whatever_the_lines_are_no_more_is_counted_than_they_are() {
        proptest!(|(lines in prop::collection::vec(line(), 0..6))| {
            let text = format!("{}\n{}\n", FILE.lines().next().expect("a heading"), lines.join("\n"));
            if let Ok(entries) = entries(text.as_bytes()) {
                prop_assert!(entries.len() <= text.lines().count());
                let tables = TcpTables::default();
                let groups = tables.counted(&entries).into_groups();
                prop_assert!(groups.len() <= entries.len());
                for counts in groups.into_iter().map(|group| tables.queue(group).census.counts) {
                    let rows = counts.queued_alive.unwrap_or(0) + counts.queued_closed.unwrap_or(0) + counts.established;
                    prop_assert!(rows as usize <= entries.len());
                }
            }
        });
    }
}
