//! Which processes there are, and which of them run a BEAM.

use std::fs;
use std::io;
use std::path::Path;

use procfs::process::{Process, StatFlags};

use crate::Error;
use crate::linux::proc_file as file;
use crate::vm::threads;

/// A process that may own listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub pid: i32,
    /// The node's name where it runs a BEAM that is known to have one, else the program's. Its parent chose it, with any
    /// character.
    pub name: String,
    /// Whether it runs a BEAM, as far as its command line and the names of its threads say.
    pub is_beam: bool,
    /// Whether the name is a node's.
    pub is_named: bool,
}

/// Erlang's own limit of a node's name; no more is needed of a program's.
const NAME: usize = 255;
/// As much of a command line is read: two of the longest arguments that the kernel takes (MAX_ARG_STRLEN). A process may show as
/// its own as much of its memory as it likes (PR_SET_MM_MAP), gigabytes that cost it nothing.
const LINE: usize = 256 * 1024;

/// The numbers of all processes that this one may know of.
pub fn pids() -> Result<impl Iterator<Item = i32>, Error> {
    let numbered = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(fs::read_dir("/proc")?.filter_map(numbered))
}

/// What a process is. [`Error::NotFound`] where there is none.
pub fn by_pid(pid: i32) -> Result<Candidate, Error> {
    let line = command_line(pid)?;
    Ok(match confirmed(beam_of(pid, &line))? {
        Some(beam) => beam,
        None => {
            Candidate { pid, name: program_of(&line).map_or_else(|| comm(pid), Ok)?, is_beam: false, is_named: false }
        }
    })
}

/// The BEAM that it runs, if it runs one.
pub fn beam(pid: i32) -> Result<Option<Candidate>, Error> {
    confirmed(beam_of(pid, &command_line(pid)?))
}

/// A command line may say anything: what has no scheduler is no BEAM, or none yet. The names of threads are claims too.
fn confirmed(beam: Option<Candidate>) -> Result<Option<Candidate>, Error> {
    match beam {
        Some(beam) if !threads::has_scheduler(beam.pid)? => Ok(None),
        beam => Ok(beam),
    }
}

impl Candidate {
    /// One of which nothing but its number is known.
    pub(crate) fn unknown(pid: i32) -> Candidate {
        Candidate { pid, name: "?".to_owned(), is_beam: false, is_named: false }
    }

    /// The same under the name of its node.
    pub(crate) fn named(&self, node: &str) -> Candidate {
        Candidate { name: node.to_owned(), is_named: true, ..*self }
    }

    /// Whether its node has this name. Where either says no host, as epmd and `-sname shop` do not, any host will do.
    pub fn is_node(&self, name: &str) -> bool {
        let same = match (self.name.split_once('@'), name.split_once('@')) {
            (Some((node, _)), None) => node == name,
            (None, Some((node, _))) => self.name == node,
            _ => self.name == name,
        };
        self.is_named && same
    }
}

/// Whether it can hold no socket: it is a thread of the kernel, or has ended and only its parent has not noticed.
pub(crate) fn holds_nothing(pid: i32) -> bool {
    let stat = Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| {
        stat.state == 'Z' || StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD)
    })
}

/// The arguments, each with a NUL behind it; of a line that is too long those that are whole. What says that a process is a BEAM
/// is among the first (`erlexec` puts it there).
fn command_line(pid: i32) -> Result<Vec<u8>, Error> {
    let (mut line, is_cut) = file::beginning(&format!("/proc/{pid}/cmdline"), LINE)?;
    if is_cut && let Some(end) = line.iter().rposition(|&byte| byte == 0) {
        line.truncate(end);
    }
    Ok(line)
}

/// What the kernel calls it, where it has no command line.
fn comm(pid: i32) -> Result<String, Error> {
    let name = file::read(&format!("/proc/{pid}/comm"), NAME)?;
    Ok(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

fn arguments(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|&byte| byte == 0)
}

/// What `/proc/PID/cmdline` says of it.
#[doc(hidden)] // for the fuzzer
pub fn beam_of(pid: i32, line: &[u8]) -> Option<Candidate> {
    let program = program_of(line)?;
    // `erlexec` hands these to every emulator, whatever a release calls the program (erts/etc/common/erlexec.c).
    let started_by_erlexec = || {
        [&b"-root"[..], b"-bindir", b"-progname"].iter().all(|flag| arguments(line).any(|argument| argument == *flag))
    };
    (program == "beam.smp" || started_by_erlexec()).then(|| {
        let node = node_of(line);
        Candidate { pid, is_beam: true, is_named: node.is_some(), name: node.unwrap_or(program) }
    })
}

fn program_of(line: &[u8]) -> Option<String> {
    let first = String::from_utf8_lossy(arguments(line).next()?);
    Some(bounded(Path::new(&*first).file_name()?.to_str()?))
}

fn node_of(line: &[u8]) -> Option<String> {
    let mut arguments = arguments(line);
    arguments.find(|argument| [&b"-sname"[..], b"-name"].contains(argument))?;
    Some(bounded(&String::from_utf8_lossy(arguments.next()?)))
}

fn bounded(name: &str) -> String {
    name.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beam(line: &str) -> Option<Candidate> {
        beam_of(1, line.replace(' ', "\0").as_bytes())
    }

    #[test]
    fn a_release_that_renames_the_emulator_is_still_a_beam() {
        let renamed = "/srv/shop/bin/shop -- -root /srv/shop -bindir /srv/shop/erts/bin -progname shop --";
        let named = |node: &str| beam(&format!("{renamed} {node}")).expect("a beam");
        assert_eq!((named("-name shop@host").name, named("-name shop@host").is_named), ("shop@host".to_owned(), true));
        assert_eq!((named("-noshell").name, named("-noshell").is_named), ("shop".to_owned(), false));
        assert_eq!(beam("find / -root"), None);
        assert_eq!(beam(""), None);
    }

    #[test]
    fn a_node_whose_host_is_not_known_is_called_by_its_name_with_any_host() {
        // `-sname shop`, and whatever epmd knows.
        let node = beam("/usr/lib/erlang/erts/bin/beam.smp -- -sname shop").expect("a beam");
        assert!(node.is_node("shop@host") && node.is_node("shop"));
        assert!(!node.is_node("shopping@host") && !node.is_node("host") && !node.is_node("@host"));
    }

    #[test]
    fn a_node_is_called_by_its_name_with_or_without_the_host() {
        let node = beam("/usr/lib/erlang/erts/bin/beam.smp -- -sname shop@host").expect("a beam");
        assert!(node.is_node("shop@host") && node.is_node("shop") && !node.is_node("host"));
        let unnamed = beam("/usr/lib/erlang/erts/bin/beam.smp --").expect("a beam");
        assert!(!unnamed.is_node("beam.smp"), "the name of a program is no node's");
        assert!(unnamed.named("shop").is_node("shop"));
    }

    #[test]
    fn a_name_may_hold_anything_but_is_never_without_an_end() {
        let longest = beam(&format!("beam.smp -sname {}", "x".repeat(100_000))).expect("a beam");
        assert_eq!(longest.name.len(), NAME);
        assert_eq!(program_of(b"\xff\xfe\n\0").as_deref(), Some("\u{fffd}\u{fffd}\n"));
    }

    #[test]
    fn this_process_is_among_all_and_no_beam() {
        let own = std::process::id() as i32;
        assert!(!by_pid(own).expect("itself").is_beam);
        assert!(pids().expect("a list").any(|pid| pid == own));
        assert!(!holds_nothing(own));
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(by_pid(i32::MAX), Err(Error::NotFound));
    }
}
