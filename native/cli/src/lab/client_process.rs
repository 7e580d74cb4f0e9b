//! All clients, in one process. It connects, prints a line, and runs the actions on its standard input, each followed by a line. It
//! ends with its input, that is with the program that started it, and after some minutes in any case.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::args::LabClientsOptions;
use crate::output::refusal;

/// A line of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Clients that are connected close; those that are not give up.
    Close,
    /// Every other closed connection is reset.
    Reset,
}

impl Action {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Action::Close => "close",
            Action::Reset => "reset",
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Action, String> {
        let actions = [Action::Close, Action::Reset];
        actions
            .into_iter()
            .find(|action| action.word() == word)
            .ok_or_else(|| format!("no action: {}", word.escape_debug()))
    }
}

/// Printed once the clients have connected, and after each action.
pub(crate) const DONE: &str = "done\n";

/// Longer than all steps together.
const LIFETIME: Duration = Duration::from_secs(300);
/// Descriptors beside the clients' own.
const OTHER_FILES: u64 = 16;
/// An address has 28,232 ports to connect from (`net.ipv4.ip_local_port_range`). Other programs use some, and once half of
/// them are taken, the search for a free one takes a millisecond.
const CLIENTS_PER_ADDRESS: u32 = 5000;
/// Addresses for the most clients that `--clients` allows.
pub(crate) const ADDRESSES: u32 = 4;

/// The limit of open files that this many clients need.
pub(crate) fn check_limit(clients: u16) -> Result<Rlimit, String> {
    let needed = u64::from(clients) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum {
        Some(maximum) if maximum < needed => Err(format!(
            "--clients {clients} needs {needed} open files, and the hard limit RLIMIT_NOFILE is {maximum}: raise it \
             (ulimit -Hn){}",
            match maximum.saturating_sub(OTHER_FILES) {
                0 => String::new(),
                fewer => format!(", or use at most {fewer} clients"),
            }
        )),
        maximum => Ok(Rlimit { current: limit.current.map(|current| current.max(needed)), maximum }),
    }
}

pub(crate) fn run(options: &LabClientsOptions) -> Result<(), String> {
    let limit = check_limit(options.clients)?;
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("RLIMIT_NOFILE: {}", refusal(&error.into())))?;
    let deadline = Instant::now() + LIFETIME;
    let mut sockets = Vec::with_capacity(options.clients.into());
    for number in 0..u32::from(options.clients) {
        let own = own_address(options.from, number);
        let socket = start_connecting(own, options.server).map_err(|error| {
            format!("client {} of {} could not start: {}", number + 1, options.clients, refusal(&error))
        })?;
        sockets.push(socket);
    }
    print_done()?;
    while let Some(line) = next_line(deadline)? {
        run_action(line.trim().parse()?, &mut sockets);
        print_done()?;
    }
    Ok(())
}

/// Sends a SYN, and does not wait for the handshake.
fn start_connecting(own: Ipv4Addr, server: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

fn own_address(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number / CLIENTS_PER_ADDRESS)
}

fn run_action(action: Action, sockets: &mut Vec<Socket>) {
    match action {
        // A socket in SYN_SENT has no peer yet: it is dropped, and its SYN is not sent again. The others keep their
        // descriptors, so that they can still be reset: the kernel sends the same FIN on shutdown as on close.
        Action::Close => {
            sockets.retain(|socket| socket.peer_addr().is_ok() && socket.shutdown(Shutdown::Write).is_ok());
        }
        Action::Reset => {
            let mut number = 0;
            sockets.retain(|socket| {
                number += 1;
                // With a linger of no time, the kernel closes by a reset.
                number % 2 == 0 || socket.set_linger(Some(Duration::ZERO)).is_err()
            });
        }
    }
}

fn print_done() -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(DONE.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| format!("standard output: {}", refusal(&error)))
}

/// `None`: the input has ended.
fn next_line(deadline: Instant) -> Result<Option<String>, String> {
    let mut stdin = io::stdin().lock();
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
    if ready.map_err(|error| format!("standard input: {}", refusal(&error.into())))? == 0 {
        return Err(format!("no action came within {} s", LIFETIME.as_secs()));
    }
    let mut line = String::new();
    let read = stdin.read_line(&mut line).map_err(|error| format!("standard input: {}", refusal(&error)))?;
    Ok((read > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_read_as_it_was_written() {
        for action in [Action::Close, Action::Reset] {
            assert_eq!(action.word().parse(), Ok(action));
        }
        assert_eq!("dance\u{1b}".parse::<Action>(), Err("no action: dance\\u{1b}".to_owned()));
    }

    #[test]
    fn every_client_has_an_address_with_ports_to_spare() {
        let own = |number| own_address(Ipv4Addr::LOCALHOST, number).to_string();
        assert_eq!([0, 4999, 5000].map(own), ["127.0.0.1", "127.0.0.1", "127.0.0.2"]);
        let most = 20_000;
        assert_eq!((most - 1) / CLIENTS_PER_ADDRESS + 1, ADDRESSES);
    }
}
