//! `/proc/PID/fdinfo` of an epoll descriptor.

use accept_queue_core::Inode;
use accept_queue_core::vm::pollset::{entries, registrations, Accepting, Pollset};

pub(crate) fn fuzz(bytes: &[u8]) {
    let entries: Vec<_> = entries(bytes).collect();
    assert!(entries.len() <= bytes.split(|&byte| byte == b'\n').count());
    let first = entries.first().copied();
    let sets = [Pollset { epoll: 3, entries }];
    if let Some(entry) = first {
        let socket = Inode(entry.inode.and_then(|inode| u32::try_from(inode).ok()).unwrap_or(0));
        let found = registrations(&sets, socket, Some(entry.fd));
        assert!(found.len() <= sets[0].entries.len());
        assert_eq!(found.is_empty(), Accepting::of(&found) == Accepting::NeverAccepted);
    }
}
