//! For tests of commands that answer once: the program, and BEAMs.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../running/mod.rs"]
mod running;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use serde_json::Value;

pub(crate) use running::{listen, own_pid as own, until};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_accept-queue");
/// `setpriv` to a user who owns nothing.
pub(crate) const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// The output of the program, and its exit status.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said {
            status: output.status.code().expect("an exit status"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn run(arguments: &[&str]) -> Said {
    command(&[&[PROGRAM], arguments].concat()).output().expect("the program").into()
}

pub(crate) fn run_as_nobody(arguments: &[&str]) -> Said {
    command(&[&AS_NOBODY[..], &[PROGRAM], arguments].concat()).output().expect("the program").into()
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// The listener at this address.
pub(crate) fn at<'a>(report: &'a Value, address: &str) -> Option<&'a Value> {
    report["listeners"].as_array().expect("listeners").iter().find(|listener| listener["address"] == address)
}

/// A program that prints a line when it is ready, and ends with its standard input or with the test.
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    /// That line.
    pub(crate) line: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Server {
        Server::ready(command.stdin(Stdio::piped()))
    }

    /// One whose standard input is something to hold: it ends with the test.
    pub(crate) fn holding(command: &mut Command, held: OwnedFd) -> Server {
        Server::ready(command.stdin(held))
    }

    fn ready(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a server");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        out.read_line(&mut line).expect("a line");
        let stdin = child.stdin.take();
        let server = Server { child, stdin, line: line.trim().to_owned() };
        assert!(!server.line.is_empty(), "it ended before it was ready");
        server
    }

    /// A BEAM that runs these expressions, listens on a free port on loopback, and prints the port.
    pub(crate) fn beam(before: &[&str], flags: &[&str], expressions: &str) -> Server {
        let eval = format!(
            "{expressions}{{ok, L}} = gen_tcp:listen(0, [{{ip, loopback}}, {{backlog, 5}}]), {{ok, Port}} = inet:port(L),
             Clients = [gen_tcp:connect({{127, 0, 0, 1}}, Port, []) || _ <- lists:seq(1, 3)],
             io:format(\"~b~n\", [Port]), io:get_line(\"\"), halt()."
        );
        Server::start(&mut command(&[before, &["erl", "-noshell"], flags, &["-eval", &eval]].concat()))
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.line)
    }

    pub(crate) fn end(&mut self) {
        self.stdin = None;
        self.child.wait().expect("its end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
