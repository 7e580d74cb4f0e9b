//! Whether a process runs at all: stopped, frozen, traced, or ended. And which signals it handles.

use super::threads::{Stat, State};
use crate::Error;
use crate::linux::proc_file as file;

/// What a process is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Of its first thread.
    pub state: State,
    /// Which process traces it, a debugger as a rule; 0: none.
    pub tracer: i32,
    /// It handles SIGUSR1. A BEAM does so in Erlang code, with a crash dump; where it does not, the signal kills.
    pub handles_usr1: bool,
    /// When it began: another process that is given the number began later.
    pub began: u64,
}

impl Process {
    /// Of a process. Needs no rights.
    pub fn read(pid: i32) -> Result<Process, Error> {
        let stat = Stat::parse(&file::read(&format!("/proc/{pid}/stat"), PAGE)?).ok_or(Error::Unsupported)?;
        let status = file::read(&format!("/proc/{pid}/status"), STATUS)?;
        let (tracer, handles_usr1) = status_of(&status).ok_or(Error::Unsupported)?;
        Ok(Process { state: stat.state, tracer, handles_usr1, began: stat.began })
    }
}

/// The user that a process runs as (its effective uid). Needs no rights.
pub fn uid(pid: i32) -> Result<u32, Error> {
    uid_of(&file::read(&format!("/proc/{pid}/status"), STATUS)?).ok_or(Error::Unsupported)
}

const PAGE: usize = 16 * 1024;
/// A process may be in 65,536 groups (NGROUPS_MAX), and `Groups` names each.
const STATUS: usize = 1024 * 1024;

/// `TracerPid`, and whether `SigCgt` has SIGUSR1. The kernel escapes newlines in `Name` (`proc_task_name`), so no name can add
/// a line.
fn status_of(status: &[u8]) -> Option<(i32, bool)> {
    let text = String::from_utf8_lossy(status);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let caught = u64::from_str_radix(field("SigCgt:")?, 16).ok()?;
    Some((field("TracerPid:")?.parse().ok()?, caught & (1 << (libc::SIGUSR1 - 1)) != 0))
}

/// The second of `Uid: real effective saved filesystem`.
fn uid_of(status: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(status);
    text.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether the control group of a process is frozen (`docker pause`, `systemctl freeze`); `None` where no freezer can be read
/// from here. Needs no rights.
pub fn is_frozen(pid: i32) -> Result<Option<Frozen>, Error> {
    let groups = file::read(&format!("/proc/{pid}/cgroup"), CGROUPS)?;
    let Ok(mounts) = file::read("/proc/self/mountinfo", MOUNTS) else { return Ok(None) };
    let mut is_known = false;
    for (file, word) in freezers(&String::from_utf8_lossy(&groups), &String::from_utf8_lossy(&mounts)) {
        let Ok(text) = file::read(&file, PAGE) else { continue };
        is_known = true;
        let text = String::from_utf8_lossy(&text);
        if text.lines().any(|line| line.trim() == word) {
            return Ok(Some(Frozen::Yes(file)));
        }
    }
    Ok(is_known.then_some(Frozen::No))
}

/// Of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frozen {
    /// It runs.
    No,
    /// This file says that it does not.
    Yes(String),
}

const CGROUPS: usize = 64 * 1024;
const MOUNTS: usize = 1024 * 1024;

/// The files that say so, and what they say when it is: `cgroup.events` of version 2, `freezer.state` of version 1.
fn freezers(groups: &str, mounts: &str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (kind, option, file, word) = match controllers {
            "" => ("cgroup2", None, "cgroup.events", "frozen 1"),
            names if names.split(',').any(|name| name == "freezer") => {
                ("cgroup", Some("freezer"), "freezer.state", "FROZEN")
            }
            _ => continue,
        };
        found.extend(mounted(mounts, kind, option).map(|(root, at)| {
            let inside =
                path.strip_prefix(root.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            let below = inside.unwrap_or(path).trim_matches('/');
            let slash = if below.is_empty() { "" } else { "/" };
            (format!("{at}{slash}{below}/{file}"), word)
        }));
    }
    found
}

/// Root and place of each mount of this kind, `36 35 98:0 /root /place options - type source super,options`.
fn mounted<'a>(mounts: &'a str, kind: &'a str, option: Option<&'a str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    mounts.lines().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_kind = after.next()? == kind;
        let has_option =
            option.is_none_or(|option| after.nth(1).is_some_and(|all| all.split(',').any(|one| one == option)));
        let mut before = before.split(' ').skip(3);
        let (root, at) = (before.next()?, before.next()?);
        (is_kind && has_option).then_some((root, at))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str =
        "Name:\tbeam.smp\\nSigCgt:\\t0\nState:\tS (sleeping)\nTracerPid:\t0\nSigCgt:\t0000000100004206\n";

    #[test]
    fn a_beam_handles_usr1() {
        assert_eq!(status_of(STATUS.as_bytes()), Some((0, true)));
        let other = STATUS.replace("4206", "4006").replace("TracerPid:\t0", "TracerPid:\t17");
        assert_eq!(status_of(other.as_bytes()), Some((17, false)));
        assert_eq!(status_of(b"Name:\tx\n"), None);
        assert_eq!(uid_of(b"Name:\tx\nUid:\t1000\t65534\t0\t0\n"), Some(65534));
    }

    #[test]
    fn the_freezer_of_either_version_is_found_where_it_is_mounted() {
        let mounts = "40 35 0:35 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                      41 35 0:36 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      42 35 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            freezers("6:freezer:/\n4:memory:/a\n0::/shop/web\n", mounts),
            [
                ("/sys/fs/cgroup/freezer/freezer.state".to_owned(), "FROZEN"),
                ("/sys/fs/cgroup/unified/shop/web/cgroup.events".to_owned(), "frozen 1"),
            ]
        );
        let inside = "42 35 0:37 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(
            freezers("0::/docker/abc/web\n", inside),
            [("/sys/fs/cgroup/web/cgroup.events".to_owned(), "frozen 1")]
        );
        assert_eq!(freezers("garbage\n::\n0::/x\n", "garbage - \n - cgroup2\n"), []);
    }

    #[test]
    fn this_process_runs() {
        let own = std::process::id() as i32;
        let process = Process::read(own).expect("itself");
        assert!(!process.handles_usr1 && !matches!(process.state, State::Stopped | State::Traced | State::Zombie));
        assert!(!matches!(is_frozen(own), Ok(Some(Frozen::Yes(_)))));
        assert_eq!(Process::read(i32::MAX), Err(Error::NotFound));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>, groups in "([0-9]?:[a-z,]{0,8}:?[/a-z.]{0,9}\n?){0,4}", mounts: String) {
            let _ = (status_of(&bytes), uid_of(&bytes), freezers(&groups, &mounts), freezers(&mounts, &groups));
        }
    }
}
