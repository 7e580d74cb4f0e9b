//! What was read, and what could not be.

use accept_queue_core::Error;
use accept_queue_core::outside::snapshot::Missing;
use accept_queue_core::rules::diagnosis::CoverageFinding;
use accept_queue_core::rules::facts::Unread;
use serde_json::Value;

use super::{Words, seconds};

pub(super) fn words(finding: &CoverageFinding) -> Words {
    let cannot_tell = |text: String, advice: &str| Words { text, advice: advice.to_owned(), figures: vec![] };
    match finding {
        CoverageFinding::Unread(what) => {
            let advice = match what {
                Unread::Diag => "`modprobe -a inet_diag tcp_diag`, and look again; or look from outside the sandbox.",
                Unread::Unix => "`modprobe unix_diag`, and look again.",
                _ => "Look again with that right.",
            };
            cannot_tell(format!("Not seen: {}.", unread(what)), advice)
        }
        CoverageFinding::NoBeam => cannot_tell(
            "This process runs no BEAM, as far as its command line and the names of its threads show: only its queues were judged, \
             not its threads."
                .to_owned(),
            "`accept-queue list` shows which processes do.",
        ),
        CoverageFinding::NoListener => cannot_tell(
            "This process listens nowhere.".to_owned(),
            "If it should, look at whether its application was started.",
        ),
        CoverageFinding::Healthy { readings, window, listeners, queued } => Words {
            text: format!(
                "No sign of a hang in {readings} readings over {}: {listeners} listener{}, {queued} queued, no scheduler held up.",
                seconds(*window),
                if *listeners == 1 { "" } else { "s" }
            ),
            advice: "If clients hang all the same, look in front of the VM: firewall, load balancer, name resolution."
                .to_owned(),
            figures: vec![("listeners", Value::from(*listeners)), ("queued", Value::from(*queued))],
        },
    }
}

/// What could not be read, why, and the right that would allow it.
pub(in crate::findings) fn unread(unread: &Unread) -> String {
    match unread {
        Unread::Sockets(error) => format!(
            "which sockets it holds could not be read ({error}); run as its user or with sudo, or with CAP_SYS_PTRACE and \
             CAP_DAC_READ_SEARCH"
        ),
        Unread::Namespace(error) => format!(
            "its network namespace could not be entered ({error}); CAP_SYS_ADMIN and CAP_SYS_PTRACE would allow it"
        ),
        Unread::Diag => {
            "its queues could not be read: this kernel or sandbox has no sock_diag for TCP (modules inet_diag and tcp_diag)"
                .to_owned()
        }
        Unread::Unix => Missing::Unix.to_string(),
        Unread::Queues(error) => format!("the kernel's table of sockets could not be read ({error})"),
        Unread::Pollsets(error) => format!(
            "its epoll sets could not be read ({error}); run as its user or with sudo, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
        ),
        Unread::Calls(error) => format!(
            "the system calls of its threads could not be read ({error}); CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH would allow \
             it, or the same user where kernel.yama.ptrace_scope is 0"
        ),
        Unread::Stacks(error) => format!(
            "the stacks of its threads could not be read ({error}); CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH would allow it"
        ),
        Unread::Threads => "it has more threads than are read".to_owned(),
    }
}

pub(super) fn is_for_want_of_a_right(unread: &Unread) -> bool {
    match unread {
        Unread::Sockets(error)
        | Unread::Namespace(error)
        | Unread::Pollsets(error)
        | Unread::Calls(error)
        | Unread::Stacks(error) => {
            matches!(error, Error::Errno(errno) if matches!(errno.name(), "eacces" | "eperm"))
        }
        Unread::Diag | Unread::Unix | Unread::Queues(_) | Unread::Threads => false,
    }
}

/// All that was refused for want of a right, and the one remedy.
pub(in crate::findings) fn refused(all: &[Unread]) -> (String, String) {
    let what = |unread: &Unread| match unread {
        Unread::Sockets(_) => "which sockets it holds",
        Unread::Namespace(_) => "its network namespace",
        Unread::Pollsets(_) => "its epoll sets",
        Unread::Calls(_) => "the system calls of its threads",
        _ => "the stacks of its threads",
    };
    let what: Vec<_> = all.iter().map(what).collect();
    let admin = if all.iter().any(|unread| matches!(unread, Unread::Namespace(_))) { ", CAP_SYS_ADMIN" } else { "" };
    (
        format!("Not seen for want of a right: {}.", what.join(", ")),
        format!(
            "Run this with sudo, or with CAP_SYS_PTRACE{admin} and CAP_DAC_READ_SEARCH: all of it can be read then."
        ),
    )
}
