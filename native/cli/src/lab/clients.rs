//! The clients as the experiment sees them: a process that runs actions, and must not end while a step settles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client_process::{Action, DONE};
use super::hosts::Hosts;
use super::refusal;

pub(crate) struct Clients {
    process: Child,
    /// The clients end when it is closed. `None` once it is.
    actions: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Clients {
    /// Starts this program again, in the clients' namespace, and waits until all of them have begun to connect.
    pub(crate) fn start(hosts: &Hosts, server: SocketAddr, clients: u16, deadline: Instant) -> Result<Clients, String> {
        let own = std::env::current_exe().map_err(|error| format!("/proc/self/exe: {}", refusal(&error)))?;
        let mut command = Command::new(own);
        let from = hosts.first_client_ip(server.port());
        command.arg("lab-clients").args([from.to_string(), server.to_string(), clients.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = hosts.clients.visit(|| command.spawn())?;
        let mut process = started.map_err(|error| format!("the clients could not be started: {}", refusal(&error)))?;
        let (Some(actions), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the clients were started without pipes".to_owned());
        };
        let mut all = Clients { process, actions: Some(actions), reports: BufReader::new(stdout) };
        all.wait_until_done(deadline)?;
        Ok(all)
    }

    /// Has the clients run an action, and waits until it is done.
    pub(crate) fn run(&mut self, action: Action, deadline: Instant) -> Result<(), String> {
        let line = format!("{}\n", action.word());
        let written = self.actions.as_mut().map_or(Ok(()), |actions| actions.write_all(line.as_bytes()));
        written.map_err(|_| self.exit_reason())?;
        self.wait_until_done(deadline)
    }

    fn wait_until_done(&mut self, deadline: Instant) -> Result<(), String> {
        if !self.has_output(deadline.saturating_duration_since(Instant::now()))? {
            return Err("the clients did not answer in time".to_owned());
        }
        let mut line = String::new();
        match self.reports.read_line(&mut line) {
            Ok(_) if line == DONE => Ok(()),
            Ok(length) if length > 0 => Err(format!("the clients said {line:?}")),
            _ => Err(self.exit_reason()),
        }
    }

    /// Waits a moment. Output in that time is an error: the clients have ended.
    pub(crate) fn pause(&mut self, moment: Duration) -> Result<(), String> {
        if self.has_output(moment)? { Err(self.exit_reason()) } else { Ok(()) }
    }

    fn has_output(&self, within: Duration) -> Result<bool, String> {
        let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        match poll(&mut [PollFd::new(self.reports.get_ref(), PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            // Stopped and continued.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(format!("poll: {}", refusal(&error.into()))),
        }
    }

    /// The first line of their standard error.
    fn exit_reason(&mut self) -> String {
        self.actions = None;
        let mut text = String::new();
        // The message is an error already, with or without the reason.
        let _ = self.process.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut text));
        let line = text.lines().next().unwrap_or("without a message");
        format!("the clients ended: {}", line.trim_start_matches("accept-queue: ").escape_debug())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.actions = None;
        // Its input has ended, but it may be stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
