//! What epmd knows: which nodes have registered here, and at which port each listens for other nodes.
//!
//! The protocol is that of the Erlang distribution (ERTS user's guide, Distribution Protocol, NAMES_REQ).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::{Errno, Error};

/// epmd's own, wherever ERL_EPMD_PORT does not say otherwise.
pub const PORT: u16 = 4369;
/// `NAMES_REQ`, with its length before it.
const NAMES_REQUEST: [u8; 3] = [0, 1, b'n'];
/// epmd answers from memory. A silent one is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// Erlang's own limit of a node's name. What answers with a longer one is no epmd.
const NAME: usize = 255;
/// Room for hundreds of nodes.
const ROOM: usize = 64 * 1024;

/// A node and the port of its distribution.
pub type Node = (String, u16);

/// The nodes that have registered in the network namespace of this thread.
pub fn nodes() -> Result<Vec<Node>, Error> {
    nodes_at(PORT)
}

/// The same of an epmd at another port.
pub fn nodes_at(port: u16) -> Result<Vec<Node>, Error> {
    ask((Ipv4Addr::LOCALHOST, port).into())
}

fn ask(epmd: SocketAddr) -> Result<Vec<Node>, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&epmd, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&NAMES_REQUEST)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // It closes when it has said everything.
    while answer.len() < ROOM {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(Error::Timeout)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(Error::Timeout),
            Err(error) => return Err(error.into()),
        }
    }
    named(&answer)
}

/// All that epmd answered.
#[doc(hidden)] // for the fuzzer
pub fn named(answer: &[u8]) -> Result<Vec<Node>, Error> {
    // Four bytes with epmd's own port stand before the text.
    let text = answer.get(4..).ok_or(Error::Errno(Errno::BAD_MESSAGE))?;
    Ok(String::from_utf8_lossy(text).lines().filter_map(node).collect())
}

/// `name shop at port 40123`.
fn node(line: &str) -> Option<Node> {
    let (name, port) = line.strip_prefix("name ")?.rsplit_once(" at port ")?;
    (name.len() <= NAME).then_some(())?;
    Some((name.to_owned(), port.trim_end().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Asks an epmd that gives this answer; `None`: it says nothing, and does not hang up.
    fn asked(answer: Option<&'static [u8]>) -> Result<Vec<Node>, Error> {
        let epmd = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = epmd.local_addr().expect("its address");
        let served = thread::spawn(move || {
            let mut client = epmd.accept().expect("a question").0;
            let mut request = [0; 3];
            client.read_exact(&mut request).expect("the whole of it");
            assert_eq!(request, NAMES_REQUEST);
            match answer {
                Some(answer) => client.write_all(answer).expect("an answer"),
                // Until the other side has given up.
                None => assert_eq!(client.read(&mut request).expect("its end"), 0),
            }
        });
        let nodes = ask(address);
        served.join().expect("an epmd");
        nodes
    }

    #[test]
    fn each_line_is_a_node_and_its_port() {
        let answer = b"\0\0\x11\x11name shop at port 40123\nname a b at port 1\nnonsense\nname x at port 70000\n";
        assert_eq!(asked(Some(answer)), Ok(vec![("shop".to_owned(), 40123), ("a b".to_owned(), 1)]));
    }

    #[test]
    fn a_name_that_no_node_can_have_is_none() {
        let answer = |letters| format!("\0\0\x11\x11name {} at port 1\n", "x".repeat(letters));
        assert_eq!(named(answer(NAME).as_bytes()).map(|nodes| nodes.len()), Ok(1));
        assert_eq!(named(answer(60_000).as_bytes()), Ok(vec![]));
    }

    #[test]
    fn an_answer_without_a_head_is_malformed() {
        assert_eq!(asked(Some(b"\0")), Err(Error::Errno(Errno::BAD_MESSAGE)));
    }

    #[test]
    fn a_silent_one_is_not_waited_for() {
        let asked_at = Instant::now();
        assert_eq!(asked(None), Err(Error::Timeout));
        assert!(asked_at.elapsed() >= PATIENCE);
    }
}
