//! How other nodes reach a BEAM: its node's name, the port that epmd knows for it, and whether epmd answers at all.
//!
//! A VM that hangs looks to other nodes like one that epmd has forgotten, and the other way round. epmd is asked as
//! `epmd -names` asks it: one connection to loopback, in the network namespace of the process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::file;
use super::namespace::inside;
use crate::Error;

/// How others reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// The port on which epmd was asked.
    pub epmd_port: u16,
    /// What it said.
    pub epmd: Epmd,
}

/// What epmd says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epmd {
    /// It is reached at this port.
    Port(u16),
    /// It knows no node of this name.
    Unknown,
    /// It does not answer.
    Silent(Error),
}

/// `epmd_port` of erl_epmd.hrl.
const PORT: u16 = 4369;
const PATIENCE: Duration = Duration::from_millis(250);
/// A thousand nodes on one machine.
const ANSWER: u64 = 64 * 1024;
const ENVIRONMENT: u64 = 256 * 1024;
/// `EPMD_NAMES_REQ`, with its length before it.
const NAMES: [u8; 3] = [0, 1, b'n'];

/// Asks for a node, by its whole name or the part before the `@`.
pub fn read(pid: i32, node: &str) -> Distribution {
    let epmd_port = file::read(&format!("/proc/{pid}/environ"), ENVIRONMENT).ok().and_then(|all| port_of(&all)).unwrap_or(PORT);
    let name = node.split_once('@').map_or(node, |(name, _)| name);
    let epmd = inside(pid, || ask(epmd_port)).map_or_else(Epmd::Silent, |answer| answer_for(name, &answer));
    Distribution { epmd_port, epmd }
}

fn ask(port: u16) -> Result<Vec<u8>, Error> {
    let mut epmd = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    epmd.set_read_timeout(Some(PATIENCE))?;
    epmd.write_all(&NAMES)?;
    let mut answer = Vec::new();
    epmd.take(ANSWER).read_to_end(&mut answer).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Timeout,
        _ => error.into(),
    })?;
    Ok(answer)
}

/// `ERL_EPMD_PORT` of a process.
fn port_of(environment: &[u8]) -> Option<u16> {
    let value = environment.split(|&byte| byte == 0).find_map(|variable| variable.strip_prefix(b"ERL_EPMD_PORT="))?;
    str::from_utf8(value).ok()?.parse().ok()
}

/// Four bytes, then `name shop at port 40001` a line.
fn answer_for(name: &str, answer: &[u8]) -> Epmd {
    let Some(text) = answer.get(4..) else { return Epmd::Silent(Error::Truncated) };
    let text = String::from_utf8_lossy(text);
    let port = text.lines().find_map(|line| {
        line.strip_prefix("name ")?.strip_prefix(name)?.strip_prefix(" at port ")?.trim().parse().ok()
    });
    port.map_or(Epmd::Unknown, Epmd::Port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_is_told_from_one_whose_name_begins_the_same() {
        let answer = b"\0\0\x11\x11name shop2 at port 40002\nname shop at port 40001\n";
        assert_eq!(answer_for("shop", answer), Epmd::Port(40001));
        assert_eq!(answer_for("sho", answer), Epmd::Unknown);
        assert_eq!(answer_for("shop", b"\0\0"), Epmd::Silent(Error::Truncated));
    }

    #[test]
    fn the_port_of_epmd_may_be_set_in_the_environment() {
        assert_eq!(port_of(b"HOME=/\0ERL_EPMD_PORT=5000\0X=1\0"), Some(5000));
        assert_eq!(port_of(b"NOT_ERL_EPMD_PORT=5000\0"), None);
        assert_eq!(port_of(b"ERL_EPMD_PORT=99999\0"), None);
    }

    #[test]
    fn nobody_at_the_port_is_silence() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        assert!(matches!(ask(unused), Err(Error::Errno(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>, name: String) {
            let _ = (answer_for(&name, &bytes), port_of(&bytes));
        }
    }
}
