//! The clients as the experiment sees them: a process that is given orders, and is watched while a step settles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{DONE, Order};
use super::hosts::Hosts;
use super::refusal;

pub(crate) struct Crowd {
    process: Child,
    /// Closed last: the clients end with it. `None` only while they are sent home.
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts this program once more, where the clients live, and waits until all of them have begun to connect.
    pub(crate) fn start(hosts: &Hosts, server: SocketAddr, clients: u16, deadline: Instant) -> Result<Crowd, String> {
        let own = std::env::current_exe().map_err(|error| format!("/proc/self/exe: {}", refusal(&error)))?;
        let mut command = Command::new(own);
        let from = hosts.first_client_ip(server.port());
        command.arg("lab-clients").args([from.to_string(), server.to_string(), clients.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = hosts.clients.visit(|| command.spawn())?;
        let mut process = started.map_err(|error| format!("the clients could not be started: {}", refusal(&error)))?;
        let (Some(orders), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the clients were started without pipes".to_owned());
        };
        let mut crowd = Crowd { process, orders: Some(orders), reports: BufReader::new(stdout) };
        crowd.wait_until_done(deadline)?;
        Ok(crowd)
    }

    /// Tells the clients what to do, and waits until it is done.
    pub(crate) fn obey(&mut self, order: Order, deadline: Instant) -> Result<(), String> {
        let line = format!("{}\n", order.word());
        let written = self.orders.as_mut().map_or(Ok(()), |orders| orders.write_all(line.as_bytes()));
        written.map_err(|_| self.epitaph())?;
        self.wait_until_done(deadline)
    }

    fn wait_until_done(&mut self, deadline: Instant) -> Result<(), String> {
        if !self.has_spoken(deadline.saturating_duration_since(Instant::now()))? {
            return Err("the clients did not answer in time".to_owned());
        }
        let mut line = String::new();
        match self.reports.read_line(&mut line) {
            Ok(_) if line == DONE => Ok(()),
            Ok(length) if length > 0 => Err(format!("the clients said {line:?}")),
            _ => Err(self.epitaph()),
        }
    }

    /// Waits a moment for nothing to happen; that the clients end is an error.
    pub(crate) fn linger(&mut self, moment: Duration) -> Result<(), String> {
        if self.has_spoken(moment)? { Err(self.epitaph()) } else { Ok(()) }
    }

    fn has_spoken(&self, within: Duration) -> Result<bool, String> {
        let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        match poll(&mut [PollFd::new(self.reports.get_ref(), PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            // Stopped and continued: nothing was said.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(format!("poll: {}", refusal(&error.into()))),
        }
    }

    /// What the clients said as they ended.
    fn epitaph(&mut self) -> String {
        self.orders = None;
        let mut words = String::new();
        // What cannot be read is missing in the message, which is an error already.
        let _ = self.process.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut words));
        let line = words.lines().next().unwrap_or("without a word");
        format!("the clients ended: {}", line.trim_start_matches("accept-queue: ").escape_debug())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.orders = None;
        // Its input has ended, but it may be held up (stopped, say): it is ours, and has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
