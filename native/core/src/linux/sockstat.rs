//! How many sockets a network namespace has: `/proc/net/sockstat` and `/proc/net/sockstat6`, the least that the kernel can be asked.

use crate::Error;
use crate::linux::proc_file::{self, KeptFile};

/// The two files, which are kept open: those of the network namespace of the thread that read them first.
#[derive(Debug)]
pub struct Sockstat {
    v4: KeptFile,
    v6: KeptFile,
}

impl Default for Sockstat {
    fn default() -> Sockstat {
        let [v4, v6] = ["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"].map(KeptFile::new);
        Sockstat { v4, v6 }
    }
}

impl Sockstat {
    /// The first file, to be compared with what it was: sockets of every family are in it, those that listen on IPv4, and what the
    /// connections of both take of memory. [`Error::NotFound`]: there is none, as in a sandbox.
    pub fn text(&mut self) -> Result<String, Error> {
        self.v4.text()
    }

    /// How many TCP sockets listen or have a peer, of both families. None of TIME_WAIT, and no handshake of a listener
    /// (`sock_prot_inuse_get`).
    pub fn tcp_in_use(&mut self) -> Result<u32, Error> {
        let v4 = in_use(&self.text()?, "TCP")?;
        match self.v6.text() {
            Ok(text) => Ok(v4.saturating_add(in_use(&text, "TCP6")?)),
            // A kernel without IPv6 has none.
            Err(Error::NotFound) => Ok(v4),
            Err(error) => Err(error),
        }
    }
}

/// How many sockets of a protocol such a file says to be in use: `TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 1`. Pure.
pub fn in_use(text: &str, protocol: &str) -> Result<u32, Error> {
    let mut lines = text.lines();
    let figures = lines.find_map(|line| line.strip_prefix(protocol)?.strip_prefix(':')).ok_or(proc_file::MALFORMED)?;
    let mut words = figures.split_whitespace().skip_while(|&word| word != "inuse");
    words.nth(1).and_then(|number| number.parse().ok()).ok_or(proc_file::MALFORMED)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_figure_is_found_by_its_protocol_and_its_name() {
        let text = "sockets: used 4\nTCP: inuse 12 orphan 0 tw 3\nUDP: inuse 7 mem 0\nRAW: inuse 0\n";
        assert_eq!(in_use(text, "TCP"), Ok(12));
        assert_eq!(in_use("TCP6: inuse 3\n", "TCP6"), Ok(3));
        for broken in ["", "TCP: orphan 0\n", "TCP: inuse\n", "TCP: inuse -1\n", "TCP6: inuse 3\n"] {
            assert!(in_use(broken, "TCP").is_err(), "{broken:?}");
        }
    }

    /// Other tests have sockets too, so there are at least these. Where there is no IPv6 there is one family.
    #[test]
    fn listeners_and_both_ends_of_a_connection_are_in_use_in_both_families() {
        let mut sockstat = Sockstat::default();
        let v4: Vec<_> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener")).collect();
        assert!(sockstat.tcp_in_use().expect("the files") >= 20);
        let v6: Vec<_> = (0..20).filter_map(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok()).collect();
        let all = v4.iter().chain(&v6);
        let clients: Vec<_> =
            all.map(|one| TcpStream::connect(one.local_addr().expect("an address")).expect("a client")).collect();
        assert!(sockstat.tcp_in_use().expect("the files") as usize >= v4.len() + v6.len() + 2 * clients.len());
    }
}
