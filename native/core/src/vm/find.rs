//! Which processes run a BEAM, and which sockets a process holds.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::Path;

use procfs::ProcError;
use procfs::process::{FDTarget, Process};

use crate::{Errno, Error, Inode};

/// A process that may own listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub pid: i32,
    /// The node's name where it runs a BEAM that has one, else the program's.
    pub name: String,
    /// Whether it runs a BEAM.
    pub is_beam: bool,
}

/// Every process whose command line can be read. One that ends meanwhile is left out.
pub fn candidates() -> Result<Vec<Candidate>, Error> {
    let processes = procfs::process::all_processes().map_err(reason)?;
    Ok(processes.filter_map(|process| candidate(&process.ok()?).ok()).collect())
}

/// One process. [`Error::NotFound`] where there is none.
pub fn by_pid(pid: i32) -> Result<Candidate, Error> {
    candidate(&Process::new(pid).map_err(reason)?)
}

impl Candidate {
    /// Whether its node has this name; without a host it is a node's on any host.
    pub fn is_node(&self, name: &str) -> bool {
        self.name == name || self.name.split_once('@').is_some_and(|(node, _)| node == name)
    }
}

/// The sockets that a process holds, each with the number of a descriptor of it. Needs the same user, or CAP_SYS_PTRACE.
pub fn sockets(pid: i32) -> Result<HashMap<Inode, RawFd>, Error> {
    let descriptors = Process::new(pid).and_then(|process| process.fd()).map_err(reason)?;
    let mut held = HashMap::new();
    for descriptor in descriptors {
        match descriptor {
            Ok(descriptor) => {
                if let FDTarget::Socket(inode) = descriptor.target {
                    held.insert(Inode(inode as u32), descriptor.fd);
                }
            }
            // Closed between the listing of the folder and the look at it.
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(reason(error)),
        }
    }
    Ok(held)
}

fn candidate(process: &Process) -> Result<Candidate, Error> {
    let arguments = process.cmdline().map_err(reason)?;
    let program = arguments.first().and_then(|path| Path::new(path).file_name()).map(|name| name.to_string_lossy());
    let is_beam = program.as_deref() == Some("beam.smp") || is_beam(&arguments);
    let node = is_beam.then(|| node_name(&arguments)).flatten();
    let name = match (node, program) {
        (Some(node), _) => node.to_owned(),
        (None, Some(program)) => program.into_owned(),
        (None, None) => process.stat().map_err(reason)?.comm,
    };
    Ok(Candidate { pid: process.pid, name, is_beam })
}

/// `erlexec` hands these to every emulator, whatever a release calls the program (erts/etc/common/erlexec.c).
fn is_beam(arguments: &[String]) -> bool {
    ["-root", "-bindir", "-progname"].iter().all(|flag| arguments.iter().any(|argument| argument == flag))
}

fn node_name(arguments: &[String]) -> Option<&str> {
    let flag = arguments.iter().position(|argument| argument == "-sname" || argument == "-name")?;
    arguments.get(flag + 1).map(String::as_str)
}

fn reason(error: ProcError) -> Error {
    match error {
        ProcError::NotFound(_) => Error::NotFound,
        ProcError::PermissionDenied(_) => Error::Errno(Errno(libc::EACCES)),
        ProcError::Io(error, _) => error.into(),
        ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_) => {
            Error::Errno(Errno::BAD_MESSAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_release_that_renames_the_emulator_is_still_a_beam() {
        let renamed = arguments(
            "/srv/shop/bin/shop -- -root /srv/shop -bindir /srv/shop/erts/bin -progname shop -- -name shop@host",
        );
        assert!(is_beam(&renamed));
        assert_eq!(node_name(&renamed), Some("shop@host"));
        assert!(!is_beam(&arguments("find / -root")));
    }

    #[test]
    fn this_process_holds_the_socket_it_opened() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let inode = rustix::fs::fstat(&socket).expect("its inode").st_ino as u32;
        let own = std::process::id() as i32;
        assert!(sockets(own).expect("own descriptors").contains_key(&Inode(inode)));
        assert!(!by_pid(own).expect("itself").is_beam);
        assert!(candidates().expect("a list").iter().any(|candidate| candidate.pid == own));
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(by_pid(i32::MAX), Err(Error::NotFound));
        assert_eq!(sockets(i32::MAX), Err(Error::NotFound));
    }
}
