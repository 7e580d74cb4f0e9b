//! How many descriptors a process has open, against how many it may.
//!
//! A process at its limit cannot accept: each `accept` fails, and the queued connections go on waiting.

use std::fs;

use crate::Error;
use crate::linux::proc_file as file;

/// Descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Open now.
    pub used: u64,
    /// How many it may have (the soft limit, which counts); `None`: as many as it likes.
    pub limit: Option<u64>,
}

impl Descriptors {
    /// The next one will be refused.
    pub fn are_exhausted(&self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}

/// Reads both. From Linux 6.2 on the number is that of the folder and costs nothing; before, the folder is listed, which
/// needs the same user or CAP_SYS_PTRACE.
pub fn read(pid: i32) -> Result<Descriptors, Error> {
    let limits = file::read(&format!("/proc/{pid}/limits"), LIMITS)?;
    let limit = limit(&limits).ok_or(Error::Unsupported)?;
    let folder = format!("/proc/{pid}/fd");
    let used = match fs::metadata(&folder).map_err(|error| file::reason(&error))?.len() {
        0 => fs::read_dir(folder).map_err(|error| file::reason(&error))?.count() as u64,
        counted => counted,
    };
    Ok(Descriptors { used, limit })
}

/// A line for each of 16 limits.
const LIMITS: usize = 16 * 1024;

/// The soft limit; the inner `None` is "unlimited" (`proc_pid_limits`, fs/proc/base.c).
fn limit(limits: &[u8]) -> Option<Option<u64>> {
    let text = str::from_utf8(limits).ok()?;
    let soft = text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?;
    if soft == "unlimited" { Some(None) } else { soft.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_soft_limit_is_the_one_that_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            20000                1048576              files     \n";
        assert_eq!(limit(text.as_bytes()), Some(Some(20_000)));
        assert_eq!(limit(b"Max open files            unlimited            unlimited            files\n"), Some(None));
        assert_eq!(limit(b"Max open files\n"), None);
        assert_eq!(limit(b"Max open files            many\n"), None);
    }

    #[test]
    fn as_many_as_the_limit_are_all() {
        for (used, limit, exhausted) in
            [(99, Some(100), false), (100, Some(100), true), (9, Some(8), true), (9, None, false)]
        {
            assert_eq!(Descriptors { used, limit }.are_exhausted(), exhausted, "{used} of {limit:?}");
        }
    }

    #[test]
    fn one_more_open_file_is_one_more() {
        let own = std::process::id() as i32;
        let before = read(own).expect("own descriptors").used;
        let _held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").expect("a file")).collect();
        // Other tests open and close a few meanwhile.
        assert!(read(own).expect("own descriptors").used > before + 100);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>) {
            let _ = limit(&bytes);
        }
    }
}
