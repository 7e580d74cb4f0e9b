//! One datagram of a dump of Unix sockets.

use accept_queue_core::linux::diag::{UnixRequest, UnixRow};

use crate::datagram;

pub(crate) fn fuzz(bytes: &[u8]) {
    datagram::rows::<UnixRequest>(bytes, |row| match row {
        UnixRow::Listener { name, queued_alive, queued_closed, .. } => {
            assert!(name.len() + 4 * (queued_alive as usize + queued_closed as usize) < bytes.len());
        }
        UnixRow::Child { name, .. } => assert!(name.len() < bytes.len()),
    });
}
