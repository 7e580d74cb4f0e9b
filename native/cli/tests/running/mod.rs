//! The program and other processes, which end with the test.
#![allow(dead_code)] // each test file uses a part of it

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Long enough for a busy machine.
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
    /// Reads its standard output line by line.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let lines = lines(child.stdout.take().expect("its output"));
        Running { child, lines }
    }

    /// The first line that is wanted.
    pub(crate) fn line(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: {seen:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Its status, and its standard error.
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

/// Repeats `ask` until it has an answer.
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

/// Begins a handshake.
pub(crate) fn connect(at: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    // In progress is its error.
    let _ = socket.connect(&at.into());
    socket
}

/// A process that looks like the BEAM of a node, its scheduler included, and holds a listener, alone from here on.
pub(crate) fn fake_beam(node: &str, listener: Socket) -> Running {
    let mut command = Command::new("sh");
    // It stops itself, and so ends with the test only.
    command.args([
        "-c",
        "printf 1_scheduler >/proc/$$/comm && kill -STOP $$",
        "sh",
        "-root",
        "/",
        "-bindir",
        "/",
        "-progname",
        "erl",
        "-sname",
        node,
    ]);
    Running::start(command.stdin(OwnedFd::from(listener)))
}

/// Another process that holds a listener, by any name. It has stopped itself when this returns: before that it still may have the
/// name of this test.
pub(crate) fn holder(name: &str, listener: Socket) -> Running {
    let running =
        Running::start(Command::new("sh").arg0(name).args(["-c", "kill -STOP $$"]).stdin(OwnedFd::from(listener)));
    let stat = format!("/proc/{}/stat", running.child.id());
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
        assert!(Instant::now() < deadline, "it has not stopped itself");
        thread::yield_now();
    }
    running
}

pub(crate) fn own_pid() -> String {
    std::process::id().to_string()
}
