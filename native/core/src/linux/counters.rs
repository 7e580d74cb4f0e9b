//! The limits and counters of a network namespace: what bounds every queue in it, and what was lost in all of them.

use std::os::fd::RawFd;

use crate::Error;
use crate::linux::namespace::{beside, within};
use crate::linux::proc_file::{self, KeptFile, MALFORMED};
use crate::linux::sockopt;

/// Limits and counters, those of the network namespace of the thread that asked. `None`: this kernel, or this
/// namespace, does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Clips every backlog (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
    /// Handshakes remembered while syncookies are off (`net.ipv4.tcp_max_syn_backlog`).
    pub tcp_max_syn_backlog: Option<u64>,
    /// 1: a client whose last ACK meets a full queue is reset, instead of being left to try again.
    pub tcp_abort_on_overflow: Option<u64>,
    /// 0 never, 1 when the SYN queue overflows, 2 always.
    pub tcp_syncookies: Option<u64>,
    /// How often a SYN-ACK is sent again before the handshake is given up.
    pub tcp_synack_retries: Option<u64>,
    /// SYNs, and last ACKs, that met a full accept queue (`ListenOverflows`).
    pub listen_overflows: Option<u64>,
    /// SYNs dropped for any reason, overflow among them (`ListenDrops`).
    pub listen_drops: Option<u64>,
    /// SYNs dropped because the SYN queue was full (`TCPReqQFullDrop`).
    pub tcp_req_q_full_drop: Option<u64>,
    /// SYNs answered with a cookie because the SYN queue was full (`TCPReqQFullDoCookies`).
    pub tcp_req_q_full_do_cookies: Option<u64>,
    /// Cookies sent (`SyncookiesSent`).
    pub syncookies_sent: Option<u64>,
    /// Valid cookies that came back (`SyncookiesRecv`).
    pub syncookies_recv: Option<u64>,
    /// Cookies that came back invalid (`SyncookiesFailed`).
    pub syncookies_failed: Option<u64>,
}

impl Kernel {
    /// Each by its name.
    pub fn figures(&self) -> [(&'static str, Option<u64>); 12] {
        [
            ("somaxconn", self.somaxconn),
            ("tcp_max_syn_backlog", self.tcp_max_syn_backlog),
            ("tcp_abort_on_overflow", self.tcp_abort_on_overflow),
            ("tcp_syncookies", self.tcp_syncookies),
            ("tcp_synack_retries", self.tcp_synack_retries),
            ("listen_overflows", self.listen_overflows),
            ("listen_drops", self.listen_drops),
            ("tcp_req_q_full_drop", self.tcp_req_q_full_drop),
            ("tcp_req_q_full_do_cookies", self.tcp_req_q_full_do_cookies),
            ("syncookies_sent", self.syncookies_sent),
            ("syncookies_recv", self.syncookies_recv),
            ("syncookies_failed", self.syncookies_failed),
        ]
    }
}

/// Those of the network namespace of a process.
pub fn of(pid: i32) -> Result<Kernel, Error> {
    beside(pid, read)
}

/// SYNs, and last ACKs, that met a full accept queue, in this thread's network namespace (`ListenOverflows`); `None`: it is not
/// counted there.
pub fn listen_overflows() -> Result<Option<u64>, Error> {
    listen_overflows_in(proc_file::text(NETSTAT))
}

fn listen_overflows_in(netstat: Result<String, Error>) -> Result<Option<u64>, Error> {
    let netstat = unless_missing(netstat)?.unwrap_or_default();
    Ok(Counters::parse(&netstat)?.get("TcpExt", "ListenOverflows"))
}

/// The same for one who asks again and again: the file is kept open, that of the network namespace of the thread that asked first.
#[derive(Debug)]
pub struct KeptCounters(KeptFile);

impl Default for KeptCounters {
    fn default() -> KeptCounters {
        KeptCounters(KeptFile::new(NETSTAT))
    }
}

impl KeptCounters {
    /// See [`listen_overflows`].
    pub fn listen_overflows(&mut self) -> Result<Option<u64>, Error> {
        listen_overflows_in(self.0.text())
    }
}

// `thread-self`: a thread may be in another namespace than its process.
const NETSTAT: &str = "/proc/thread-self/net/netstat";

/// The same in the network namespace of a socket. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN there.
pub fn listen_overflows_beside(socket: RawFd) -> Result<Option<u64>, Error> {
    within(&sockopt::open_namespace(socket)?, listen_overflows)
}

/// Connections whose handshake was done by a server of this thread's network namespace (`PassiveOpens`); `None`: it is not counted there.
pub fn passive_opens() -> Result<Option<u64>, Error> {
    let snmp = read_file("/proc/thread-self/net/snmp")?.unwrap_or_default();
    Ok(Counters::parse(&snmp)?.get("Tcp", "PassiveOpens"))
}

/// Reads them all. They are not of one instant.
pub fn read() -> Result<Kernel, Error> {
    from_files(read_file)
}

/// The same from files that `read` reads, by their paths; `None`: there is no such file. Pure.
pub fn from_files(read: impl Fn(&str) -> Result<Option<String>, Error>) -> Result<Kernel, Error> {
    let netstat = read(NETSTAT)?.unwrap_or_default();
    let counters = Counters::parse(&netstat)?;
    let counter = |name| counters.get("TcpExt", name);
    let sysctl = |name| match read(&format!("/proc/sys/net/{name}"))? {
        Some(text) => text.trim().parse().map(Some).map_err(|_| MALFORMED),
        None => Ok(None),
    };
    Ok(Kernel {
        somaxconn: sysctl("core/somaxconn")?,
        tcp_max_syn_backlog: sysctl("ipv4/tcp_max_syn_backlog")?,
        tcp_abort_on_overflow: sysctl("ipv4/tcp_abort_on_overflow")?,
        tcp_syncookies: sysctl("ipv4/tcp_syncookies")?,
        tcp_synack_retries: sysctl("ipv4/tcp_synack_retries")?,
        listen_overflows: counter("ListenOverflows"),
        listen_drops: counter("ListenDrops"),
        tcp_req_q_full_drop: counter("TCPReqQFullDrop"),
        tcp_req_q_full_do_cookies: counter("TCPReqQFullDoCookies"),
        syncookies_sent: counter("SyncookiesSent"),
        syncookies_recv: counter("SyncookiesRecv"),
        syncookies_failed: counter("SyncookiesFailed"),
    })
}

/// `None`: there is no such file.
fn read_file(path: &str) -> Result<Option<String>, Error> {
    unless_missing(proc_file::text(path))
}

fn unless_missing(text: Result<String, Error>) -> Result<Option<String>, Error> {
    match text {
        Err(Error::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

/// `/proc/net/netstat`: pairs of lines, the names and the values of one group (`netstat_seq_show`).
struct Counters<'a>(Vec<(&'a str, &'a str, u64)>);

impl<'a> Counters<'a> {
    fn parse(text: &'a str) -> Result<Counters<'a>, Error> {
        let mut counters = Vec::new();
        let mut lines = text.lines();
        while let Some(names) = lines.next() {
            let values = lines.next().ok_or(MALFORMED)?;
            let (group, names) = names.split_once(':').ok_or(MALFORMED)?;
            let (same_group, values) = values.split_once(':').ok_or(MALFORMED)?;
            if group != same_group {
                return Err(MALFORMED);
            }
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                // A few of the other groups are signed (`MaxConn` of Tcp); none that is asked for here.
                if let Ok(value) = value.parse() {
                    counters.push((group, name, value));
                }
            }
        }
        Ok(Counters(counters))
    }

    fn get(&self, group: &str, name: &str) -> Option<u64> {
        self.0.iter().find(|counter| counter.0 == group && counter.1 == name).map(|counter| counter.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_group_and_name() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 18446744073709551615\nIpExt: InNoRoutes\nIpExt: 7\n";
        let counters = Counters::parse(text).expect("two groups");
        assert_eq!(counters.get("TcpExt", "SyncookiesSent"), Some(3));
        assert_eq!(counters.get("TcpExt", "ListenOverflows"), Some(u64::MAX));
        assert_eq!(counters.get("IpExt", "InNoRoutes"), Some(7));
        assert_eq!(counters.get("TcpExt", "InNoRoutes"), None);
    }

    #[test]
    fn a_group_with_a_signed_counter_has_the_others() {
        let text = "Tcp: MaxConn ActiveOpens PassiveOpens\nTcp: -1 5 7\n";
        assert_eq!(Counters::parse(text).expect("a group").get("Tcp", "PassiveOpens"), Some(7));
        assert!(matches!(passive_opens(), Ok(Some(_))), "of this namespace");
    }

    #[test]
    fn half_a_pair_is_an_error() {
        for text in ["TcpExt: A\n", "TcpExt: A\nIpExt: 1\n", "no colon\nTcpExt: 1\n"] {
            assert!(Counters::parse(text).is_err(), "{text:?}");
        }
    }
}
