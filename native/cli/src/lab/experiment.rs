//! The server that does not accept, and one observation of both ends.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use accept_queue_core::linux::counters::{self, Kernel};
use accept_queue_core::linux::diag::{DiagSocket, EndRequest, Family};
use accept_queue_core::linux::sockopt;
use accept_queue_core::reading::accepted;
use accept_queue_core::reading::census;
use accept_queue_core::reading::ends::Ends;
use accept_queue_core::{Cookie, Counts, Error};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::hosts::Hosts;
use super::refusal;

pub(crate) struct Experiment {
    hosts: Hosts,
    listener: Socket,
    cookie: Cookie,
    pub(crate) address: SocketAddr,
    at_server: DiagSocket,
    at_clients: DiagSocket,
    before: Kernel,
    since: Instant,
    accepted: Option<Accepted>,
}

/// Everything that is read at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) counts: Counts,
    pub(crate) server: Ends,
    pub(crate) clients: Ends,
    pub(crate) counters: Counters,
    pub(crate) accepted: Option<Accepted>,
    pub(crate) elapsed: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    pub(crate) connections: u32,
    /// Of them, closed or reset by their clients before.
    pub(crate) dead: u32,
}

/// How far the kernel's counters have risen since the server began to listen. They belong to the whole network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) listen_overflows: Option<u64>,
    pub(crate) listen_drops: Option<u64>,
    pub(crate) tcp_req_q_full_drop: Option<u64>,
    pub(crate) tcp_req_q_full_do_cookies: Option<u64>,
    pub(crate) syncookies_sent: Option<u64>,
    pub(crate) syncookies_recv: Option<u64>,
    pub(crate) syncookies_failed: Option<u64>,
}

impl Counters {
    fn between(before: &Kernel, now: &Kernel) -> Counters {
        let rise = |figure: fn(&Kernel) -> Option<u64>| Some(figure(now)?.wrapping_sub(figure(before)?));
        Counters {
            listen_overflows: rise(|kernel| kernel.listen_overflows),
            listen_drops: rise(|kernel| kernel.listen_drops),
            tcp_req_q_full_drop: rise(|kernel| kernel.tcp_req_q_full_drop),
            tcp_req_q_full_do_cookies: rise(|kernel| kernel.tcp_req_q_full_do_cookies),
            syncookies_sent: rise(|kernel| kernel.syncookies_sent),
            syncookies_recv: rise(|kernel| kernel.syncookies_recv),
            syncookies_failed: rise(|kernel| kernel.syncookies_failed),
        }
    }

    /// Those that moved, under the kernel's names.
    pub(crate) fn moved(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let named = [
            ("ListenOverflows", self.listen_overflows),
            ("ListenDrops", self.listen_drops),
            ("TCPReqQFullDrop", self.tcp_req_q_full_drop),
            ("TCPReqQFullDoCookies", self.tcp_req_q_full_do_cookies),
            ("SyncookiesSent", self.syncookies_sent),
            ("SyncookiesRecv", self.syncookies_recv),
            ("SyncookiesFailed", self.syncookies_failed),
        ];
        named.into_iter().filter_map(|(name, rise)| Some((name, rise.filter(|&rise| rise > 0)?)))
    }
}

impl Experiment {
    /// Binds a socket to a free port. No client can connect before [`Experiment::listen`].
    pub(crate) fn bind(hosts: Hosts) -> Result<Experiment, String> {
        let at = SocketAddr::from((hosts.server_ip, 0));
        let bound = hosts.server.visit(|| -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&at.into())?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        let listener = bound.map_err(|error| format!("{at}: {}", refusal(&error)))?;
        let address = listener.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.ok_or("the address of a socket could not be read")?;
        let read = |error: Error| format!("the kernel's sockets could not be read: {error}");
        Ok(Experiment {
            cookie: sockopt::cookie(listener.as_raw_fd()).map_err(read)?,
            at_server: hosts.server.diag().map_err(read)?,
            at_clients: hosts.clients.diag().map_err(read)?,
            before: kernel_of(&hosts)?,
            since: Instant::now(),
            accepted: None,
            listener,
            address,
            hosts,
        })
    }

    pub(crate) fn listen(&self, backlog: u16) -> Result<(), String> {
        self.listener.listen(backlog.into()).map_err(|error| format!("listen: {}", refusal(&error)))
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Clips every backlog.
    pub(crate) fn somaxconn(&self) -> Option<u64> {
        self.before.somaxconn
    }

    /// Reads the clients first and the counters last: every SYN in it has been counted.
    pub(crate) fn observe(&mut self) -> Result<Observation, String> {
        let read = |error: Error| format!("the kernel's sockets could not be read: {error}");
        let clients = Ends::read(&mut self.at_clients, &EndRequest::Client(self.address)).map_err(read)?;
        let family = Family::of(self.address.ip());
        let tally = census::tcp(&mut self.at_server, family, Some(self.address.port())).map_err(read)?;
        let group = tally.group_of(self.cookie).ok_or("the kernel's table has no row of the listener")?;
        Ok(Observation {
            counts: group.counts,
            server: Ends::read(&mut self.at_server, &EndRequest::Server(self.address)).map_err(read)?,
            clients,
            counters: Counters::between(&self.before, &kernel_of(&self.hosts)?),
            accepted: self.accepted,
            elapsed: self.since.elapsed(),
        })
    }

    /// Accepts all queued connections, and closes them.
    pub(crate) fn accept(&mut self) -> Result<(), String> {
        let mut sum = self.accepted.unwrap_or_default();
        loop {
            match self.listener.accept() {
                Ok((connection, _)) => {
                    let dead = accepted::peer_closed(connection.as_raw_fd());
                    let dead = dead.map_err(|error| format!("an accepted connection could not be read: {error}"))?;
                    sum.connections += 1;
                    sum.dead += u32::from(dead);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Linux returns errors of the connection from accept (man 2 accept).
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(format!("accept: {}", refusal(&error))),
            }
        }
        self.accepted = Some(sum);
        Ok(())
    }
}

fn kernel_of(hosts: &Hosts) -> Result<Kernel, String> {
    hosts.server.visit(counters::read)?.map_err(|error| format!("the kernel's counters could not be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_shown_by_its_rise_and_left_out_where_it_has_none() {
        let before = Kernel { listen_overflows: Some(5), listen_drops: Some(9), ..Kernel::default() };
        let now = Kernel { listen_overflows: Some(74), ..before };
        let counters = Counters::between(&before, &now);
        assert_eq!((counters.listen_overflows, counters.listen_drops), (Some(69), Some(0)));
        assert_eq!(counters.syncookies_sent, None, "a kernel that does not have it");
        assert_eq!(counters.moved().collect::<Vec<_>>(), [("ListenOverflows", 69)]);
    }
}
