//! The network namespaces of server and clients: both this program's, or one each with a cable (veth) between them. These have no
//! name: each goes with the last descriptor and process in it, however this program ends.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{self, Command, Stdio};
use std::thread;

use accept_queue_core::linux::diag::DiagSocket;
use accept_queue_core::linux::sockopt;
use accept_queue_core::{Errno, Error};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{client_process, refusal};

/// A network namespace; `None` is that of this program.
pub(crate) struct Host(Option<OwnedFd>);

pub(crate) struct Hosts {
    pub(crate) server: Host,
    pub(crate) clients: Host,
    pub(crate) server_ip: Ipv4Addr,
}

/// TEST-NET-1 (RFC 5737): never a real address.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The name of both ends of the cable, in namespaces without other devices.
const CABLE: &str = "lab0";

impl Hosts {
    /// Server and clients on loopback.
    pub(crate) fn one() -> Hosts {
        Hosts { server: Host(None), clients: Host(None), server_ip: Ipv4Addr::LOCALHOST }
    }

    /// Two new ones. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
    pub(crate) fn two() -> Result<Hosts, String> {
        let hosts = Hosts { server: Host::new()?, clients: Host::new()?, server_ip: SERVER };
        if let Some(namespace) = &hosts.clients.0 {
            let other_end = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
            hosts.server.ip(&format!(
                "link add {CABLE} type veth peer name {CABLE} netns {other_end}\n\
                 address add {SERVER}/24 dev {CABLE}\nlink set {CABLE} up\n"
            ))?;
            let client_ips =
                (0..client_process::ADDRESSES).map(|number| Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + number));
            let addresses: String = client_ips.map(|ip| format!("address add {ip}/24 dev {CABLE}\n")).collect();
            hosts.clients.ip(&format!("{addresses}link set {CABLE} up\n"))?;
        }
        Ok(hosts)
    }

    /// The first of the [`client_process::ADDRESSES`] that the clients of a server on this port come from. All of 127.0.0.0/8 is
    /// loopback, so each server there has clients with addresses of their own: experiments share no port, nor one that is
    /// in TIME_WAIT.
    pub(crate) fn first_client_ip(&self, server_port: u16) -> Ipv4Addr {
        match &self.clients.0 {
            Some(_) => FIRST_CLIENT,
            None => {
                let [high, low] = server_port.to_be_bytes();
                Ipv4Addr::new(127, high, low, 1)
            }
        }
    }
}

impl Host {
    fn new() -> Result<Host, String> {
        let made = on_a_thread(|| {
            sockopt::into_new_namespace()?;
            File::open("/proc/thread-self/ns/net").map_err(Error::from)
        })?;
        match made {
            Ok(file) => Ok(Host(Some(file.into()))),
            Err(Error::Errno(errno)) if errno == EPERM => Err(NO_RIGHTS.to_owned()),
            Err(error) => Err(format!("--hosts: no network namespace could be made: {error}")),
        }
    }

    /// Runs `work` on a thread in the namespace; processes and sockets that it starts stay in it.
    pub(crate) fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let Some(namespace) = &self.0 else { return Ok(work()) };
        let visit = on_a_thread(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok::<T, Error>(work())
        })?;
        visit.map_err(|error| format!("--hosts: a network namespace could not be entered: {error}"))
    }

    /// A netlink socket in the namespace.
    pub(crate) fn diag(&self) -> Result<DiagSocket, Error> {
        self.0.as_ref().map_or_else(DiagSocket::open, DiagSocket::inside)
    }

    /// Runs a batch of the tool `ip` in the namespace.
    fn ip(&self, batch: &str) -> Result<(), String> {
        self.visit(|| {
            let started = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let mut tool = started.map_err(|error| match error.kind() {
                ErrorKind::NotFound => "--hosts needs the tool `ip` (package iproute2), which is not here".to_owned(),
                _ => format!("--hosts: `ip`: {}", refusal(&error)),
            })?;
            // It ends with its input; where it did not read the batch, its standard error says why.
            let written = tool.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(batch.as_bytes()));
            let ended = tool.wait_with_output().map_err(|error| format!("--hosts: `ip`: {}", refusal(&error)))?;
            match (ended.status.success(), written) {
                (true, Ok(())) => Ok(()),
                (true, Err(error)) => Err(format!("--hosts: `ip`: {}", refusal(&error))),
                (false, _) => Err(complaint(&String::from_utf8_lossy(&ended.stderr))),
            }
        })?
    }
}

const EPERM: Errno = Errno(rustix::io::Errno::PERM.raw_os_error());
const NO_RIGHTS: &str = "--hosts makes network namespaces, which needs CAP_SYS_ADMIN and CAP_NET_ADMIN: be root, or try \
                         `unshare --user --map-root-user accept-queue lab --hosts`";

fn complaint(stderr: &str) -> String {
    let line = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a message");
    let hint = if line.contains("Operation not permitted") { "; CAP_NET_ADMIN is needed" } else { "" };
    format!("--hosts: `ip`: {}{hint}", line.escape_debug())
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work).map_err(|error| refusal(&error))?;
        thread.join().map_err(|_| "a thread of this program panicked".to_owned())
    })
}
