//! The counters, the numbers of sockets and the limits of `/proc`: before the first NUL the text of the counters and the numbers, behind it that
//! of every limit; without a NUL there are no limits.

use accept_queue_core::linux::counters::from_files;
use accept_queue_core::linux::sockstat::in_use;

pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (netstat, limits) = text.split_once('\0').map_or((text, None), |(netstat, limits)| (netstat, Some(limits)));
    let read = |path: &str| Ok(if path.ends_with("/netstat") { Some(netstat) } else { limits }.map(str::to_owned));
    if let Ok(kernel) = from_files(read) {
        assert_eq!(kernel.somaxconn.is_some(), limits.is_some(), "a limit that is there was read");
        assert!(kernel.listen_overflows.is_none() || netstat.contains("ListenOverflows"));
    }
    assert!(in_use(netstat, "TCP").is_err() || netstat.contains("TCP:"), "a number that is there was read");
}
