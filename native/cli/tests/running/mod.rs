//! The program as somebody runs it, and processes for it to see. Whatever a test starts ends with it.
#![allow(dead_code)] // each suite uses a part of it

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Long enough for a machine that has other things to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_accept-queue"))
}

impl Running {
    /// Its standard output is read line by line.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let lines = lines(child.stdout.take().expect("its output"));
        Running { child, lines }
    }

    /// Lines until one of them is it.
    pub(crate) fn line(&self, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: {seen:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// How it ended, and what it said to standard error.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let status = until(|| self.child.try_wait().expect("ours to wait for"));
        let mut said = String::new();
        self.child.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
        (status, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    thread::spawn(move || {
        for text in BufReader::new(from).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                break;
            }
        }
    });
    lines
}

/// Asks until there is an answer.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come about in time");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn listen(backlog: i32) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(backlog).expect("listen");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("its address");
    (socket, address)
}

/// Begins a handshake; whether it ends is the server's affair.
pub(crate) fn knock(at: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    // In progress is what it says.
    let _ = socket.connect(&at.into());
    socket
}

/// A process that looks like the BEAM of a node, and holds a listener, which is nobody else's from here on.
pub(crate) fn stand_in_for_a_beam(node: &str, listener: Socket) -> Running {
    let mut command = Command::new("sh");
    // It stops itself, so that nothing but the end of the test ends it.
    command.args(["-c", "kill -STOP $$", "sh", "-root", "/", "-bindir", "/", "-progname", "erl", "-sname", node]);
    Running::start(command.stdin(OwnedFd::from(listener)))
}

/// The same without a likeness, by any name.
pub(crate) fn holder(name: &str, listener: Socket) -> Running {
    Running::start(Command::new("sh").arg0(name).args(["-c", "kill -STOP $$"]).stdin(OwnedFd::from(listener)))
}

pub(crate) fn own_pid() -> String {
    std::process::id().to_string()
}
